"""FMoW by year: the subsets of WILDS' table, against the rules applied row by row."""

import csv
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader

from datamodels.errors import InputError, MissingFileError, MissingPackageError, UsageError
from datamodels.published import fmow
from datamodels.published.fmow import FMoWDataset

SUBSETS = ("train", "id_val", "id_test", "val", "test")
NAMES = """
airport airport_hangar airport_terminal amusement_park aquaculture archaeological_site
barn border_checkpoint burial_site car_dealership construction_site crop_field dam
debris_or_rubble educational_institution electric_substation factory_or_powerplant fire_station
flooded_road fountain gas_station golf_course ground_transportation_station helipad hospital
impoverished_settlement interchange lake_or_pond lighthouse military_facility
multi-unit_residential nuclear_powerplant office_building oil_or_gas_facility park
parking_lot_or_garage place_of_worship police_station port prison race_track railway_bridge
recreational_facility road_bridge runway shipyard shopping_mall single-unit_residential smokestack
solar_farm space_facility stadium storage_tank surface_mine swimming_pool toll_booth tower
tunnel_opening waste_disposal water_treatment_facility wind_farm zoo
"""
CLASSES = NAMES.split()  # as WILDS numbers them
HEADER = ["", "img_filename", "split", "category", "region", "timestamp", "country_code"]
Row = tuple[str, str, str]  # split, category, timestamp

# Small tables have neither 62 classes nor the published numbers of examples; the tests of these
# warnings expect them by name.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def write_table(root: Path, rows: Iterable[Row]) -> Path:
    """A table among WILDS' other columns; returns its path."""
    folder = root / "fmow_v1.1"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rgb_metadata.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number, (split, category, timestamp) in enumerate(rows):
            name = f"{category}_{number}_rgb.jpg"
            writer.writerow([number, name, split, category, "Asia, with\ncomma", timestamp, "CHN"])
    return path


def random_rows(seed: int, n: int = 400) -> list[Row]:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        moment = datetime(2002, 1, 1, tzinfo=UTC) + timedelta(days=int(rng.integers(16 * 365)))
        split = rng.choice(["train", "val", "test", "seq"], p=[0.5, 0.2, 0.2, 0.1])
        timestamp = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        rows.append((str(split), str(rng.choice(CLASSES)), timestamp))
    return rows


def expected(rows: list[Row], subset: str, year: int) -> list[tuple[int, int]]:
    """(row, label) by the rules, one row after the other, by moments and not by calendar years."""
    names = sorted({category for _, category, _ in rows})
    found = []
    for number, (split, category, timestamp) in enumerate(rows):
        moment = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        after = [moment >= datetime(year - ago, 1, 1, tzinfo=UTC) for ago in (4, 3, 0)]
        if after == [True, False, False]:
            kind = {"train": "train", "val": "id_val", "test": "id_test"}.get(split)
        elif after == [True, True, False]:
            kind = {"val": "val"}.get(split)
        elif after == [True, True, True]:
            kind = {"test": "test"}.get(split)
        else:
            kind = None
        if kind == subset:
            found.append((number, names.index(category)))
    return found


def assert_follows_rules(rows: list[Row], root: Path, year: int) -> None:
    dataset = FMoWDataset(root, f"time_after_{year}")
    for name in SUBSETS:
        subset = dataset.get_subset(name)
        pairs = list(zip(subset.rows.tolist(), subset.labels.tolist(), strict=True))
        assert pairs == expected(rows, name, year)
        assert len(subset) == len(pairs)
        assert subset.rows.dtype == subset.labels.dtype == np.int64


@pytest.mark.parametrize("year", [2006, 2010, 2016, 2017, 2021])
def test_subsets_follow_the_rules(tmp_path: Path, year: int) -> None:
    rows = random_rows(year)
    write_table(tmp_path, rows)
    assert_follows_rules(rows, tmp_path, year)


near_new_year = st.builds(
    lambda year, seconds, hours: (
        (datetime(year, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
        .astimezone(timezone(timedelta(hours=hours)))
        .isoformat()
    ),
    st.integers(2011, 2017),
    st.integers(-90_000, 90_000),
    st.integers(-12, 14),
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["train", "val", "test", "seq"]),
            st.sampled_from(CLASSES[:5]),
            near_new_year,
        ),
        max_size=40,
    )
)
def test_years_are_in_utc_whatever_the_offset(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row]
) -> None:
    rows = [("train", "zoo", "2012-06-01T00:00:00Z"), *rows]
    root = tmp_path_factory.mktemp("fmow")
    write_table(root, rows)
    assert_follows_rules(rows, root, 2016)


@pytest.mark.parametrize(
    ("timestamp", "subset"),
    [
        ("2011-12-31T23:59:59Z", None),
        ("2012-01-01T00:00:00Z", "id"),
        ("2012-12-31T23:59:59Z", "id"),
        ("2012-12-31T23:59:59.999Z", "id"),
        ("2013-01-01T00:00:00Z", "val"),
        ("2015-12-31T23:59:59Z", "val"),
        ("2016-01-01T00:00:00Z", "test"),
        ("2016-01-01T00:00:00", "test"),  # without an offset
        ("2016-01-01 00:00:00+00:00", "test"),
        ("2016-01-01T00:30:00+01:00", "val"),
        ("2015-12-31T23:30:00-01:00", "test"),
        ("2012-01-01", "id"),
    ],
)
def test_new_year_is_where_subsets_meet(tmp_path: Path, timestamp: str, subset: str | None) -> None:
    rows = [(split, "zoo", timestamp) for split in ("train", "val", "test", "seq")]
    rows += [("train", "zoo", "2012-06-01T00:00:00Z")]
    write_table(tmp_path, rows)
    dataset = FMoWDataset(tmp_path)
    found = {name: dataset.get_subset(name).rows.tolist() for name in SUBSETS}
    nothing: dict[str, list[int]] = {name: [] for name in SUBSETS} | {"train": [4]}
    of = {
        None: {},
        "id": {"train": [0, 4], "id_val": [1], "id_test": [2]},
        "val": {"val": [1]},
        "test": {"test": [2]},
    }
    assert found == nothing | of[subset]


def test_default_scheme_has_three_names(tmp_path: Path) -> None:
    write_table(tmp_path, random_rows(0))
    default = FMoWDataset(tmp_path)
    assert default.split_scheme == "time_after_2016"
    for scheme in ("time_after_2016", "official", "mixed-to-test"):
        dataset = FMoWDataset(str(tmp_path), split_scheme=scheme)
        assert dataset.split_scheme == "time_after_2016"
        for name in SUBSETS:
            ours = dataset.get_subset(name).rows
            assert np.array_equal(ours, default.get_subset(name).rows)


def test_root_is_the_folder_or_its_parent(tmp_path: Path) -> None:
    write_table(tmp_path, random_rows(1))
    assert FMoWDataset(tmp_path).root == FMoWDataset(tmp_path / "fmow_v1.1").root


def test_62_classes_are_numbered_alphabetically(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(0).permutation(CLASSES).tolist()
    write_table(tmp_path, [("train", name, "2012-03-04T05:06:07Z") for name in shuffled])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = FMoWDataset(tmp_path)
    assert dataset.class_names == tuple(CLASSES)
    train = dataset.get_subset("train")
    assert [train.class_names[label] for label in train.labels] == shuffled
    assert train.years.tolist() == [2012] * 62


def test_other_number_of_classes_is_a_warning(tmp_path: Path) -> None:
    write_table(tmp_path, [("train", "zoo", "2012-03-04T05:06:07Z")])
    with pytest.warns(UserWarning, match="1 classes, and FMoW in WILDS 62"):
        dataset = FMoWDataset(tmp_path)
    assert dataset.class_names == ("zoo",)


def test_other_number_than_published_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows(2)
    write_table(tmp_path, rows)
    dataset = FMoWDataset(tmp_path)
    with pytest.warns(UserWarning, match="the published FMoW matrices 21404 columns"):
        train = dataset.get_subset("train")
    with pytest.warns(UserWarning, match="the published FMoW matrices 3138 columns"):
        dataset.get_subset("id_test")
    monkeypatch.setitem(fmow.PUBLISHED_COUNTS, "train", len(train))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset.get_subset("train")
        for name in ("id_val", "val", "test"):  # of which nothing is published
            dataset.get_subset(name)
    other = FMoWDataset(tmp_path, "time_after_2015")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other.get_subset("train")


# Images


@pytest.fixture
def with_images(tmp_path: Path) -> Path:
    """A table whose ten rows of 2012 have images; seq rows lie between them."""
    rows = [
        ("seq" if number % 3 == 0 else "train", CLASSES[number % 7], "2012-05-05T00:00:00Z")
        for number in range(15)
    ]
    write_table(tmp_path, rows)
    folder = tmp_path / "fmow_v1.1" / "images"
    folder.mkdir()
    for number in range(15):
        mode = ("RGB", "RGBA", "L", "P")[number % 4]
        picture = Image.new("RGB", (6, 4), (number, number, number))
        picture = picture.quantize() if mode == "P" else picture.convert(mode)
        picture.save(folder / f"rgb_img_{number}.png")
    return tmp_path


def to_array(image: Image.Image) -> np.ndarray:
    return np.asarray(image, np.int64)


def test_images_are_numbered_by_the_whole_table(with_images: Path) -> None:
    train = FMoWDataset(with_images).get_subset("train", to_array)
    assert train.rows.tolist() == [1, 2, 4, 5, 7, 8, 10, 11, 13, 14]
    assert train.missing_images() == []
    for (image, label), row in zip(train, train.rows, strict=True):
        assert np.array_equal(image, np.full((4, 6, 3), row))
        assert type(label) is int
        assert label == row % 7


def test_example_without_transform_is_a_picture_in_rgb(with_images: Path) -> None:
    image, label = FMoWDataset(with_images).get_subset("train")[0]
    assert (image.mode, image.size, label) == ("RGB", (6, 4), 1)
    assert image.getpixel((0, 0)) == (1, 1, 1)


def test_indices_are_those_of_lists(with_images: Path) -> None:
    train = FMoWDataset(with_images).get_subset("train", transform=to_array)
    assert len(train) == 10
    for index in range(-10, 0):
        image, label = train[index]
        same, same_label = train[np.int64(index + 10)]
        assert np.array_equal(image, same)
        assert label == same_label
    for index in (10, -11):
        with pytest.raises(IndexError, match="it has 10 examples"):
            train[index]
    with pytest.raises(TypeError):
        train[1.0]


def test_workers_of_a_loader_give_what_indexing_gives(with_images: Path) -> None:
    train = FMoWDataset(with_images).get_subset("train", to_array)
    loader = DataLoader(train, batch_size=3, num_workers=2)
    batches = list(loader)
    images = np.concatenate([image.numpy() for image, _ in batches])
    labels = np.concatenate([label.numpy() for _, label in batches])
    assert np.array_equal(images, np.stack([train[index][0] for index in range(10)]))
    assert np.array_equal(labels, train.labels)


def test_error_of_a_worker_names_the_image(with_images: Path) -> None:
    gone = with_images / "fmow_v1.1" / "images" / "rgb_img_4.png"
    gone.unlink()
    train = FMoWDataset(with_images).get_subset("train", to_array)
    with pytest.raises(MissingFileError, match=gone.name):
        list(DataLoader(train, num_workers=1))


def test_subset_and_dataset_pickle(with_images: Path) -> None:
    dataset = pickle.loads(pickle.dumps(FMoWDataset(with_images)))
    train = pickle.loads(pickle.dumps(dataset.get_subset("train", to_array)))
    assert train.rows.tolist() == [1, 2, 4, 5, 7, 8, 10, 11, 13, 14]
    assert train[3][1] == 5


def test_missing_images_are_listed_and_named_on_access(with_images: Path) -> None:
    folder = with_images / "fmow_v1.1" / "images"
    train = FMoWDataset(with_images).get_subset("train")
    for number in (3, 13, 2):  # 3 is a seq row
        (folder / f"rgb_img_{number}.png").unlink()
    assert train.missing_images() == [folder / "rgb_img_2.png", folder / "rgb_img_13.png"]
    with pytest.raises(MissingFileError, match=r"rgb_img_2\.png"):
        train[1]
    assert train[0][1] == 1
    folder.rename(folder.with_name("elsewhere"))
    assert train.missing_images() == [train.image_path(index) for index in range(10)]


def test_link_to_nowhere_is_a_missing_image(with_images: Path) -> None:
    train = FMoWDataset(with_images).get_subset("train")
    path = train.image_path(0)
    path.unlink()
    path.symlink_to(path.with_name("nowhere.png"))
    assert train.missing_images() == [path]


@pytest.mark.parametrize("kept", [0, 3, 8, 20, 35, 45, 52])
def test_broken_image_is_named(with_images: Path, kept: int) -> None:
    train = FMoWDataset(with_images).get_subset("train")
    path = train.image_path(-1)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"rgb_img_14\.png cannot be read as an image"):
        train[-1]


def test_without_pillow_the_error_has_the_line_to_type(
    with_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = FMoWDataset(with_images).get_subset("train")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'datamodels\[published\]'"):
        train[0]


def test_labels_need_neither_pillow_nor_torch(with_images: Path) -> None:
    code = f"""
import sys
from datamodels.published.fmow import FMoWDataset
assert len(FMoWDataset({str(with_images)!r}).get_subset("train").labels) == 10
assert not {{"PIL", "torch", "pandas", "wilds"}} & set(sys.modules), sorted(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


# Mistakes


GOOD: Row = ("train", "zoo", "2012-03-04T05:06:07Z")


def test_missing_table_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        FMoWDataset(tmp_path)
    assert str(tmp_path / "fmow_v1.1" / "rgb_metadata.csv") in str(caught.value)
    assert str(tmp_path / "rgb_metadata.csv") in str(caught.value)


@pytest.mark.parametrize("column", ["split", "category", "timestamp"])
def test_missing_or_repeated_column_is_named(tmp_path: Path, column: str) -> None:
    path = write_table(tmp_path, [GOOD])
    text = path.read_text()
    path.write_text(text.replace(column, "other", 1))
    with pytest.raises(InputError, match=f"has no columns '{column}'"):
        FMoWDataset(tmp_path)
    path.write_text(text.replace("region", column, 1))
    with pytest.raises(InputError, match=f"has 2 columns '{column}'"):
        FMoWDataset(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("train", "zoo", "yesterday"), "timestamp is 'yesterday'"),
        (("train", "zoo", ""), "timestamp is ''"),
        (("train", "zoo", "2012-02-30T00:00:00Z"), "timestamp is '2012-02-30"),
        (("train", "zoo", "0001-01-01T00:00:00+01:00"), "timestamp is '0001"),
        (("Train", "zoo", GOOD[2]), "split is 'Train'; it must be one of train, val, test, seq"),
        (("train", "", GOOD[2]), "category is empty"),
    ],
)
def test_bad_row_is_named_by_its_line(tmp_path: Path, row: Row, message: str) -> None:
    # a quoted line feed makes two lines of each row: header 1, then 2-3, 4-5, 6-7
    write_table(tmp_path, [GOOD, GOOD, row, GOOD])
    with pytest.raises(InputError, match=f"line 7: {message}"):
        FMoWDataset(tmp_path)


def test_table_cut_short_is_refused_by_its_line(tmp_path: Path) -> None:
    path = write_table(tmp_path, [GOOD, GOOD])
    text = path.read_text().rstrip()
    path.write_text(text[: -len(",CHN")])
    with pytest.raises(InputError, match="line 5: 6 values for 7 columns"):
        FMoWDataset(tmp_path)
    path.write_text(text[: text.rindex("with")])  # within quotes
    with pytest.raises(InputError, match="not a CSV file"):
        FMoWDataset(tmp_path)


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path, [])
    with pytest.raises(InputError, match="no rows below its header"):
        FMoWDataset(tmp_path)
    path.write_text("")
    with pytest.raises(InputError, match=r"no columns 'split'.*has no header"):
        FMoWDataset(tmp_path)
    path.write_bytes(b"split,category,timestamp\n\xff\xfe,\n")
    with pytest.raises(InputError, match="not a CSV file in UTF-8"):
        FMoWDataset(tmp_path)
    write_table(tmp_path, [("seq", "zoo", GOOD[2])])
    with pytest.raises(InputError, match="all rows of the table are of the split seq"):
        FMoWDataset(tmp_path)


def test_byte_order_mark_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    path = write_table(tmp_path, [])
    row = ",".join(GOOD)
    path.write_text(f"\ufeffsplit,category,timestamp\r\n{row}\r\n\r\n{row}\r\n", encoding="utf-8")
    assert FMoWDataset(tmp_path).get_subset("train").rows.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        ("time_after_16", "must be time_after_YEAR"),
        ("time_after_2016 ", "must be time_after_YEAR"),
        ("time_after_20160", "must be time_after_YEAR"),
        ("time_before_2004", "must be time_after_YEAR"),
        ("oficial", r"did you mean official\?"),
        ("", "must be time_after_YEAR"),
    ],
)
def test_unknown_scheme_is_refused(tmp_path: Path, scheme: str, message: str) -> None:
    write_table(tmp_path, [GOOD])
    with pytest.raises(UsageError, match=message):
        FMoWDataset(tmp_path, scheme)


@pytest.mark.parametrize("year", ["0003", "2012", "2022", "9999"])
def test_year_that_the_images_do_not_reach_is_refused(tmp_path: Path, year: str) -> None:
    rows = [
        ("seq", "zoo", "1990-01-01"),
        ("test", "zoo", "2009-01-01"),
        ("val", "zoo", "2017-01-01"),
    ]
    write_table(tmp_path, rows)
    with pytest.raises(UsageError, match="images of 2009 to 2017; YEAR must be from 2013 to 2021"):
        FMoWDataset(tmp_path, f"time_after_{year}")
    for allowed in (2013, 2021):
        FMoWDataset(tmp_path, f"time_after_{allowed}")


def test_unknown_subset_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path, [GOOD])
    dataset = FMoWDataset(tmp_path)
    with pytest.raises(UsageError, match=r"'id-test'.*train, id_val, id_test.*mean id_test\?"):
        dataset.get_subset("id-test")
    with pytest.raises(UsageError, match="'seq'"):
        dataset.get_subset("seq")
