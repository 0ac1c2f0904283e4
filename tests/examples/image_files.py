"""The same labelled images as files of every kind that prepare_data reads."""

import io
import pickle

import numpy as np
from PIL import Image

from datamodels.regression.beton_format import ALLOCATION, INT, RGB_IMAGE, Field, Header

CLASSES = ("ant", "bee", "cow")
JPEG, RAW = 0, 1
PAGE = 1 << 21


def some_images(n=20, height=32, width=32, n_classes=3, seed=0):
    """Noise (n, height, width, 3) and labels (n,), in which every class occurs."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, height, width, 3)).astype(np.uint8)
    labels = np.arange(n) % n_classes
    rng.shuffle(labels)
    return images, labels.astype(np.int64)


def smooth_images(n=12, height=32, width=32, seed=0):
    """Images (n, height, width, 3) such as JPEG keeps well: slopes in every channel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    slopes = rng.uniform(-3, 3, (n, 2, 1, 1, 3))
    images = (
        128 + slopes[:, 0] * (y[..., None] - height / 2) + slopes[:, 1] * (x[..., None] - width / 2)
    )
    return images.clip(0, 255).astype(np.uint8)


def encoded(image, suffix, **options):
    """An image file's bytes."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, {"jpg": "JPEG"}.get(suffix, suffix.upper()), **options)
    return file.getvalue()


def write_python(folder, images, labels, *, split="train", protocol=2, classes=CLASSES):
    """The public python version, as Python 2 left it: text is bytes, arrays are older than now."""
    folder.mkdir(parents=True, exist_ok=True)
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    parts = np.array_split(np.arange(len(images)), 5 if split == "train" else 1)
    for number, rows in enumerate(parts, 1):
        batch = {
            b"batch_label": b"a part",
            b"labels": labels[rows].tolist(),
            b"data": planes[rows],
            b"filenames": [b"%d.png" % row for row in rows],
        }
        name = f"data_batch_{number}" if split == "train" else "test_batch"
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    meta = {b"label_names": [name.encode() for name in classes], b"num_cases_per_batch": 4}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=protocol))


def write_binary(folder, images, labels, *, split="train", classes=CLASSES):
    """The public binary version."""
    folder.mkdir(parents=True, exist_ok=True)
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    records = np.concatenate([labels.astype(np.uint8)[:, None], planes], axis=1)
    for number, part in enumerate(np.array_split(records, 5 if split == "train" else 1), 1):
        name = f"data_batch_{number}.bin" if split == "train" else "test_batch.bin"
        part.tofile(folder / name)
    (folder / "batches.meta.txt").write_text("\n".join(classes) + "\n\n")


def write_folders(folder, images, labels, *, suffix="png", classes=CLASSES):
    """A file for each image, in a folder for each class."""
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / classes[label] / f"{row:04}.{suffix}"
        path.write_bytes(encoded(image, suffix))


def write_jpeg_npz(path, images, labels, *, suffix="jpg", classes=CLASSES):
    """Image files end to end; any that Pillow reads will do, PNG to lose nothing."""
    files = [encoded(image, suffix) for image in images]
    np.savez(
        path,
        jpeg=np.frombuffer(b"".join(files), np.uint8),
        offsets=np.cumsum([0, *map(len, files)]),
        labels=labels.astype(np.uint8),
        classes=np.array(classes),
    )


def write_beton_images(
    path, images, labels, *, names=("image", "label"), image="image", jpegs=(), order=None
):
    """A .beton as FFCV writes it, with the fields ``names`` in this order, one of them ``image``.

    Images of the rows ``jpegs`` are JPEG files; ``order`` is that in the pages.
    """
    n, height, width, _ = images.shape
    fields = tuple(Field(name, RGB_IMAGE if name == image else INT) for name in names)
    label = next(name for name in names if name != image)
    blobs = [
        encoded(images[row], "jpg", quality=95) if row in jpegs else images[row].tobytes()
        for row in range(n)
    ]
    start = -(-Header(fields, n, PAGE, 0).metadata_end // PAGE) * PAGE
    table = np.zeros(n, ALLOCATION)
    page, used = 0, 0
    content = bytearray()
    for place, row in enumerate(range(n) if order is None else order):
        if used + len(blobs[row]) > PAGE:
            page, used = page + 1, 0
        content += bytes(page * PAGE + used - len(content))
        table[place] = row, start + page * PAGE + used, len(blobs[row])
        content += blobs[row]
        used += len(blobs[row])
    content += bytes((page + 1) * PAGE - len(content))
    header = Header(fields, n, PAGE, start + len(content))
    metadata = np.zeros(n, header.metadata_dtype)
    metadata[label] = labels
    metadata[image]["mode"] = [JPEG if row in jpegs else RAW for row in range(n)]
    metadata[image]["height"], metadata[image]["width"] = height, width
    metadata[image]["data_ptr"][table["sample_id"]] = table["ptr"]
    head = header.to_bytes() + metadata.tobytes()
    path.write_bytes(head + bytes(start - len(head)) + content + table.tobytes())
