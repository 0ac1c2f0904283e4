import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from datamodels.errors import InputError, UsageError
from datamodels.npy_file import longer_header, read_header
from datamodels.regression.dataset import RegressionDataset
from datamodels.training.spec import Spec
from datamodels.training.store import Store
from datamodels.training.store_growth import GrowError, grow_store
from tests.conftest import assert_fails

N, M = 7, 1200  # rows before and after: more digits, and more than a page
CALLS = ("open", "close", "pwrite", "write", "fsync", "ftruncate", "truncate", "posix_fallocate",
         "replace", "rename", "unlink", "link")  # fmt: skip


def row(index):
    return {"masks": np.arange(5) % (index + 2) == 0, "margins": np.arange(3) + index,
            "epochs": index}  # fmt: skip


@pytest.fixture
def tmp_path(tmp_path):
    """In memory where there is such a place: these tests bring files to the disk thousands of
    times."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(params=["saved spec", "public"])
def half(request, tmp_path, spec):
    """A store of 7 rows, the even ones complete; made by us, or by numpy and without a spec."""
    folder = tmp_path / "half"
    if request.param == "public":
        folder.mkdir()
        for key, field in spec.fields().items():
            np.save(folder / f"{key}.npy", np.zeros((N, *field.shape), field.dtype))
        np.save(folder / "elsewhere.npy", np.zeros((5, 2)))
    else:
        Store.create(folder, spec)
    store = Store.open(folder)
    for index in range(0, N, 2):
        store.write(index, row(index))
    return store


def assert_valid(folder, rows=(N, M), opened=None):
    """The store opens with one of these numbers of rows; every complete row is whole; and whoever
    knows the old size only reads on."""
    store = Store.open(folder)
    assert store.num_models in rows
    assert set(store.spec.schema) == {"masks", "margins", "epochs"}
    done = np.flatnonzero(store.completed)
    assert len(store.completed) == store.num_models
    for key in store.spec.schema:
        assert len(store[key]) == store.num_models
        assert len(np.load(store.layout.array(key), mmap_mode="r")) in (N, *rows)
    for index in done:
        assert store["margins"][index].tolist() == [index, index + 1, index + 2]
        assert store["epochs"][index] == index
    dataset = RegressionDataset(folder, "margins")
    assert dataset.idx.tolist() == done.tolist()
    assert dataset.n_store_rows >= N
    assert RegressionDataset(folder, "margins", ignore_completed=True).n_rows >= N
    if opened is not None:
        assert opened.completed.tolist() == store.completed[:N].tolist()
        assert opened["masks"].shape == (N, 5)
    return store


def test_a_grown_store_equals_one_made_at_that_size(half, tmp_path, spec):
    grown = grow_store(half.path, M)
    assert grown.num_models == M
    assert np.flatnonzero(grown.completed).tolist() == [0, 2, 4, 6]
    fresh = Store.create(tmp_path / "fresh", Spec.parse({**spec.to_json(), "num_models": M}))
    for index in range(0, N, 2):
        fresh.write(index, row(index))
    for path in fresh.path.glob("*.npy"):
        assert (half.path / path.name).read_bytes() == path.read_bytes()
    if half.layout.spec.exists():
        assert half.layout.spec.read_bytes() == fresh.layout.spec.read_bytes()
    assert not half.layout.growing.exists()
    grown.write(M - 1, row(M - 1))
    assert_valid(half.path, rows=(M,), opened=half)


def test_rows_are_reserved_unless_they_shall_not_be(tmp_path):
    spec = Spec.parse({"num_models": 3, "schema": {"a": {"shape": [10**5], "dtype": "uint8"}}})
    for reserve in (True, False):
        Store.create(tmp_path / str(reserve), spec, reserve=reserve)
        store = grow_store(tmp_path / str(reserve), 100, reserve=reserve)
        held = store.layout.array("a").stat().st_blocks * 512
        assert held >= 10**7 if reserve else held < 10**6


def count_calls(before_call):
    """Have every call of the system that changes a file or names one counted from 1 on, and
    ``before_call(number)`` called first; returns how to undo this."""
    real = {name: getattr(os, name) for name in CALLS if hasattr(os, name)}
    count = 0

    def counted(function):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            before_call(count)
            return function(*arguments, **options)

        return call

    for name, function in real.items():
        setattr(os, name, counted(function))
    return lambda: [setattr(os, name, function) for name, function in real.items()]


def grow_killed(folder, kill_at, rows, reserve=True):
    """Grow in a process that is killed before its ``kill_at``-th call; whether it came so far."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            count_calls(lambda n: n == kill_at and os.kill(os.getpid(), signal.SIGKILL))
            grow_store(folder, rows, reserve=reserve)
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), status
    return status != 0


@pytest.mark.parametrize("reserve", [True, False])
def test_a_kill_between_any_two_calls_leaves_a_store_that_the_next_grow_finishes(
    half, tmp_path, reserve
):
    for kill_at in range(1, 1000):
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(half.path, folder)
        opened = Store.open(folder)
        killed = grow_killed(folder, kill_at, M, reserve)
        store = assert_valid(folder, opened=opened)
        opened.write(1, row(1))  # by a writer of the old size
        if kill_at % 3:
            assert grow_store(folder, M).num_models == M
        else:  # the second one asks for more, and may be killed as well
            grow_killed(folder, kill_at, M + 5, reserve)
            assert_valid(folder, rows=(N, M, M + 5), opened=opened)
            assert grow_store(folder, M + 5).num_models == M + 5
        assert not store.layout.growing.exists()
        store = assert_valid(folder, rows=(M, M + 5), opened=opened)
        assert np.flatnonzero(store.completed).tolist() == [0, 1, 2, 4, 6]
        assert {p.name for p in folder.iterdir()} == {p.name for p in half.path.iterdir()}
        opened.close()
        if not killed:
            break
    assert kill_at > 25


def test_readers_and_writers_go_on_between_any_two_calls(half):
    written = []

    def look(number):
        undo()  # these calls are not the grower's
        assert_valid(half.path, opened=half)
        index = 1 if number % 2 else 3
        half.write(index, row(index), overwrite=True)
        with Store.open(half.path) as latecomer:
            latecomer.write(5, row(5), overwrite=True)
        written.append(number)
        again()

    def again():
        nonlocal undo
        undo = count_calls(look_at)

    def look_at(_):
        look(len(written) + 1)

    undo = count_calls(look_at)
    try:
        grow_store(half.path, M)
    finally:
        undo()
    store = assert_valid(half.path, rows=(M,), opened=half)
    assert len(written) > 25
    assert np.flatnonzero(store.completed).tolist() == list(range(N))


def _keep_writing(folder, stop):
    store = Store.open(folder)
    while not stop.is_set():
        for index in range(N):
            store.write(index, row(index), overwrite=True)


def _keep_reading(folder, stop):
    while not stop.is_set():
        assert Store.open(folder).num_models >= N
        assert RegressionDataset(folder, "margins", ignore_completed=True).n_rows >= N


def test_processes_write_and_read_all_along(half):
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    others = [context.Process(target=act, args=(half.path, stop))
              for act in (_keep_writing, _keep_reading)]  # fmt: skip
    for other in others:
        other.start()
    rows, end = N, time.monotonic() + 2
    while time.monotonic() < end:
        rows += 1 + rows // 10
        if grow_killed(half.path, rows % 60, rows):
            with contextlib.suppress(UsageError):
                grow_store(half.path, rows)
    stop.set()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0]
    store = assert_valid(half.path, rows=(rows,), opened=half)
    assert np.flatnonzero(store.completed).tolist() == list(range(N))


@pytest.mark.parametrize("rows", [-1, 0, 6])
def test_a_store_is_never_made_shorter(half, rows):
    before = {p.name: p.read_bytes() for p in half.path.iterdir()}
    with pytest.raises((UsageError, InputError)):
        grow_store(half.path, rows)
    assert {p.name: p.read_bytes() for p in half.path.iterdir()} == before
    assert grow_store(half.path, N).num_models == N
    assert {p.name: p.read_bytes() for p in half.path.iterdir()} == before


def test_a_half_grown_store_is_not_grown_to_less(half):
    for kill_at in range(1, 100):
        grow_killed(half.path, kill_at, M)
        if half.layout.growing.exists() and half.layout.growing.stat().st_size > 50:
            break
    with pytest.raises(UsageError, match="give 1200 or more"):
        grow_store(half.path, M - 1)
    assert grow_store(half.path, M).num_models == M


def test_of_two_growers_one_is_refused(half):
    refused = []

    def second(_):
        if not refused and half.layout.growing.exists():  # made, and locked, by the first
            refused.append(True)
            with pytest.raises(GrowError, match="another process"):
                grow_store(half.path, M + 1)

    undo = count_calls(second)
    try:
        assert grow_store(half.path, M).num_models == M
    finally:
        undo()
    assert refused


def test_growers_at_once_end_with_the_largest(half):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        done = pool.starmap(_try_to_grow, [(half.path, M + i) for i in range(12)])
    assert any(done)
    assert Store.open(half.path).num_models == max(rows for rows in done if rows)
    assert not half.layout.growing.exists()
    assert_valid(half.path, rows=range(M, M + 12))


def _try_to_grow(folder, rows):
    try:
        return grow_store(folder, rows).num_models
    except (GrowError, UsageError):
        return 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_changes_nothing(half, small_disk, run):
    folder = small_disk / "s"
    shutil.copytree(half.path, folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert_fails(run("training.grow", folder, "--grow.num_models=90000"), 1, "No space left",
                 "--grow.reserve=false", "nothing was changed")  # fmt: skip
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert grow_store(folder, 90_000, reserve=False).num_models == 90_000
    assert_valid(folder, rows=(90_000,))


def test_a_header_without_room_is_refused_and_one_with_little_is_used(tmp_path):
    # as numpy before 1.23 padded: to a multiple of 64, and not for more digits
    path = tmp_path / "a.npy"
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (9, 5), }"
    for room in (0, 1):
        content = text.encode() + b" " * room + b"\n"
        magic = b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little")
        path.write_bytes(magic + content + bytes(45))
        longer = longer_header(path, 10_000)
        assert len(longer) == read_header(path).offset
        path.write_bytes(longer + bytes(50_000))
        assert np.load(path).shape == (10_000, 5)
    content = text.replace(" ", "").replace(",}", "}").encode() + b"\n"
    magic = b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little")
    path.write_bytes(magic + content + bytes(45))
    with pytest.raises(InputError, match="no room for 10 rows"):
        longer_header(path, 10)
    np.save(tmp_path / "_completed.npy", np.zeros(9, bool))
    before = path.read_bytes()
    with pytest.raises(InputError, match="no room"):
        grow_store(tmp_path, 10)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["_completed.npy", "a.npy"]


def test_headers_of_every_version_grow(tmp_path):
    for version in ((1, 0), (2, 0), (3, 0)):
        path = tmp_path / "a.npy"
        with path.open("wb") as file:
            np.lib.format.write_array(file, np.ones((3, 2), np.float16), version)
        path.write_bytes(longer_header(path, 4000) + path.read_bytes()[read_header(path).offset :])
        os.truncate(path, path.stat().st_size + 4 * 3997)
        assert np.load(path, mmap_mode="r").shape == (4000, 2)
        assert read_header(path).shape == (4000, 2)


def test_a_longer_file_is_no_array_unless_the_note_explains_it(half):
    with half.layout.array("masks").open("ab") as file:
        file.write(bytes(10))
    for note in (None, "", "{", '{"from": 1, "to": 5}', '{"from": 7, "to": 8}', "[]", "5"):
        if note is not None:
            half.layout.growing.write_text(note)
        with pytest.raises(InputError, match="longer than its header says"):
            Store.open(half.path)
    half.layout.growing.write_text('{"from": 7, "to": 9}')
    assert Store.open(half.path).num_models == N


@pytest.mark.parametrize("content", ["mine", '{"mine": 1}', "[1]"])
def test_somebody_elses_file_of_the_notes_name_is_left_alone(half, content):
    half.layout.growing.write_text(content)
    with pytest.raises(GrowError, match="in the way"):
        grow_store(half.path, M)
    assert half.layout.growing.read_text() == content


@pytest.mark.parametrize("content", ["", '{"fr', '{"from": 7, "to": 12'])
def test_a_note_cut_short_means_that_nothing_began(half, content):
    half.layout.growing.write_text(content)
    assert_valid(half.path)
    assert grow_store(half.path, M).num_models == M
    assert not half.layout.growing.exists()


def test_command(run, half):
    grown = run("training.grow", half.path, "--grow.num_models=90")
    assert grown.returncode == 0, grown.stderr
    assert "has 90 rows now; 86 are not complete" in grown.stdout
    again = run("training.grow", f"--grow.logdir={half.path}", "--grow.num_models=90")
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True)
    assert_fails(run("training.grow", half.path, "--grow.num_models=8"), 2, "has 90 rows")
    assert_fails(run("training.grow", Path("nowhere"), "--grow.num_models=8"), 1, "no store")
    if half.layout.spec.exists():
        assert json.loads(half.layout.spec.read_text())["num_models"] == 90
