"""Downloads through a connection that does harm: every one ends with the bytes of the object."""

import random
import time
from pathlib import Path

import numpy as np
import pytest

from datamodels.errors import DatamodelsError, InputError
from datamodels.npy_file import open_map
from datamodels.published.evaluation_rows import ASSUMED
from datamodels.published.layout import journal_of, partial_of
from datamodels.published.partial_file import (
    PartialFile,
    complete_rows,
    read_journal,
    read_record,
)
from datamodels.published.retries import persistently
from datamodels.published.s3_errors import (
    AccessError,
    ChangedObjectError,
    CredentialsError,
    S3Error,
    TemporaryError,
)
from datamodels.published.selection import Rows
from datamodels.published.transfer import Transfer
from tests.conftest import requires
from tests.published.conftest import MARGINS, MASKS, N_TRAIN, WEIGHTS, npy
from tests.published.downloading import CHUNK, FILES, download, planned, the_bucket
from tests.published.s3_server import Before, Cut, Lacking, Refuse, Short, Slow, Without
from tests.published.small_disk import HAS_SMALL_DISKS, small_disk


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr("datamodels.published.transfer.pause_after", lambda _: 0.001)


def assert_whole(root: Path, objects: dict[str, bytes], keys=(MASKS, MARGINS, WEIGHTS)) -> None:
    """Files with the bytes of the objects, their records, and nothing else."""
    for key in keys:
        assert (root / key).read_bytes() == objects[key]
    records = {f"{key}.jsonl" for key in keys}
    assert {str(f.relative_to(root)) for f in root.rglob("*") if f.is_file()} == {*keys, *records}


def assert_no_promise_is_broken(final: Path, raw: bytes) -> None:
    """What the journal says is there has the bytes of the object."""
    assert not final.exists()
    there = partial_of(final).read_bytes()
    for start, stop in read_journal(final).ranges.ranges:
        assert there[start:stop] == raw[start:stop]


@pytest.mark.parametrize(("workers", "chunk"), [(1, 2**30), (3, CHUNK), (8, 100_001)])
def test_files_are_the_objects_whatever_the_pieces(proxy, objects, tmp_path, workers, chunk):
    transfer = download(tmp_path, workers=workers, chunk=chunk)
    assert_whole(tmp_path, objects)
    assert transfer.received == proxy.transferred == sum(map(len, objects.values()))
    assert transfer.kept == transfer.received


def test_what_comes_of_a_large_request_is_written_as_it_comes(
    proxy, objects, tmp_path, monkeypatch
):
    monkeypatch.setattr("datamodels.published.transfer._HELD", 300_000)
    download(tmp_path, FILES[:1], workers=1, chunk=2**32)
    assert len(proxy.gets()) == 2  # one is of the header
    lengths = [part.stop - part.start for part in read_record(tmp_path / MASKS).written]
    assert max(lengths) < 300_000 + 256 * 1024  # and what is read at a time
    assert len(lengths) > 5
    assert_whole(tmp_path, objects, [MASKS])


def test_a_file_that_another_download_finished_stops_nothing_else(proxy, objects, tmp_path):
    plan = planned(tmp_path)
    download(tmp_path, FILES[:1])
    proxy.requests.clear()
    Transfer(the_bucket(), plan, workers=2, chunk=CHUNK, retries=1).run(lambda _: None)
    assert_whole(tmp_path, objects)
    assert MASKS not in {request.key for request in proxy.gets()}


def test_nothing_is_asked_about_what_is_there(proxy, tmp_path):
    download(tmp_path)
    proxy.requests.clear()
    plan = planned(tmp_path)
    assert not plan.items
    assert len(plan.complete) == 3
    assert not proxy.requests


def test_every_read_holds_to_the_object_and_says_who_pays(proxy, tmp_path):
    download(tmp_path)
    for request in proxy.requests:
        assert request.headers["x-amz-request-payer"] == "requester"
        if request.method == "GET":
            assert request.headers["If-Match"]
            assert request.headers["Range"]


@pytest.mark.parametrize(
    "fault",
    [Cut(0), Cut(70_000), Short(0), Short(70_000), Refuse(503, "SlowDown"), Slow(0.0)],
    ids=str,
)
def test_a_fault_now_and_then_is_mended_in_one_run(proxy, objects, tmp_path, fault):
    proxy.faults.extend([None, fault, fault, None, None, fault])
    transfer = download(tmp_path)
    assert_whole(tmp_path, objects)
    # what came before a cut is not paid for again; a reset may swallow what was sent last
    assert transfer.received == sum(map(len, objects.values()))


@pytest.mark.parametrize("seed", range(5))
def test_every_resume_ends_with_the_same_bytes(proxy, objects, tmp_path, seed):
    rng = random.Random(seed)
    faults = [
        None,
        Cut(0),
        Cut(1),
        Cut(100_000),
        Short(5_000),
        Refuse(403),
        Refuse(500, "InternalError"),
    ]
    for _ in range(12):
        if not planned(tmp_path).items:
            break
        proxy.faults.clear()
        proxy.faults.extend(rng.choices(faults, [4, 1, 1, 2, 1, 1, 2], k=12))
        try:
            download(
                tmp_path,
                rows=rng.choice([None, "0-99", "evaluation", "5,77-800"]),
                chunk=rng.choice([CHUNK, 10**6]),
                retries=rng.choice([0, 1]),
            )
        except (TemporaryError, AccessError):
            for key in (MASKS, MARGINS, WEIGHTS):
                if journal_of(tmp_path / key).exists():
                    assert_no_promise_is_broken(tmp_path / key, objects[key])
    proxy.faults.clear()
    download(tmp_path)
    assert_whole(tmp_path, objects)


def test_what_was_fetched_is_not_fetched_again(proxy, objects, tmp_path):
    proxy.faults.extend([None] * 5 + [Refuse(403)] * 9)
    with pytest.raises(AccessError):
        download(tmp_path)
    first = proxy.transferred
    proxy.faults.clear()
    proxy.requests.clear()
    assert 0 < planned(tmp_path).size < sum(map(len, objects.values()))
    proxy.requests.clear()
    download(tmp_path)
    assert_whole(tmp_path, objects)
    # the headers that the next files begin with
    assert first + proxy.transferred == sum(map(len, objects.values()))


def test_an_object_that_is_replaced_between_two_reads_is_noticed(proxy, objects, tmp_path):
    other = npy(np.zeros((10_300, N_TRAIN), bool))
    assert len(other) == len(objects[MASKS])
    replace = Before(lambda: proxy.behind.put(MASKS, other))
    proxy.faults.extend([None, None, None, replace])
    with pytest.raises(ChangedObjectError, match=r"\.partial\.jsonl"):
        download(tmp_path, FILES[:1], workers=1)
    assert_no_promise_is_broken(tmp_path / MASKS, objects[MASKS])
    with pytest.raises(ChangedObjectError):  # until the user removes what he has
        download(tmp_path, FILES[:1])
    partial_of(tmp_path / MASKS).unlink()
    journal_of(tmp_path / MASKS).unlink()
    download(tmp_path, FILES[:1])
    assert_whole(tmp_path, {MASKS: other}, [MASKS])


def test_an_object_that_is_replaced_is_noticed_even_past_a_proxy_that_drops_if_match(
    proxy, objects, tmp_path
):
    download(tmp_path, FILES[:1], "0-9")
    plan = planned(tmp_path, FILES[:1])
    proxy.behind.put(MASKS, npy(np.zeros((10_300, N_TRAIN), bool)))
    proxy.always = Without("If-Match")
    with pytest.raises(ChangedObjectError):
        Transfer(the_bucket(), plan, workers=1, chunk=CHUNK, retries=1).run(lambda _: None)
    assert_no_promise_is_broken(tmp_path / MASKS, objects[MASKS])


def test_a_server_without_ranges_is_refused_before_its_bytes_are_taken(proxy, objects, tmp_path):
    proxy.always = Without("Range")
    with pytest.raises(DatamodelsError, match="the server gives 0-"):
        download(tmp_path, FILES[:1])
    download(tmp_path, FILES[2:], chunk=10**6)  # all of it is what was asked for
    assert (tmp_path / WEIGHTS).read_bytes() == objects[WEIGHTS]


def test_a_file_that_lacks_but_its_name_gets_it_for_nothing(proxy, objects, tmp_path):
    [item] = planned(tmp_path, FILES[2:]).items
    with PartialFile.create(item.final, item.source) as file:
        file.write(0, objects[WEIGHTS])
    download(tmp_path, FILES[2:])
    assert_whole(tmp_path, objects, [WEIGHTS])
    assert not proxy.gets()


def test_an_object_that_is_not_as_long_as_its_header_says_is_refused(proxy, objects, tmp_path):
    proxy.behind.put(MASKS, objects[MASKS][:-1])
    with pytest.raises(InputError, match="its own header says"):
        download(tmp_path, FILES[:1])
    proxy.behind.put(MASKS, b"no array" * 1000)
    with pytest.raises(InputError, match=r"not a \.npy file"):
        download(tmp_path, FILES[:1])
    assert not list(tmp_path.rglob("*.np*"))


@pytest.mark.parametrize("rows", ["0", "5-9,17", "evaluation", "0-10299"])
def test_rows_cost_their_own_bytes(proxy, objects, tmp_path, rows):
    wanted = Rows(rows).of(10_300, ASSUMED, "x")
    n_rows = sum(b - a for a, b in wanted)
    plan = planned(tmp_path, FILES[:1], rows)
    asked = 128 + n_rows * N_TRAIN
    assert plan.size == asked
    proxy.requests.clear()
    download(tmp_path, FILES[:1], rows)
    assert proxy.transferred - 128 == asked  # a plan of a file unknown reads its header too
    final = tmp_path / MASKS
    path = final if n_rows == 10_300 else partial_of(final)
    complete = complete_rows(path)
    assert complete.sum() == n_rows
    published = np.frombuffer(objects[MASKS][128:], bool).reshape(-1, N_TRAIN)
    assert (open_map(path)[complete] == published[complete]).all()


def test_rows_add_up_to_the_file(proxy, objects, tmp_path):
    for rows in ("0-99", "50-199", "evaluation"):
        download(tmp_path, FILES[:2], rows)
        assert not planned(tmp_path, FILES[:2], rows).items
    assert complete_rows(partial_of(tmp_path / MARGINS)).sum() == 10_200
    download(tmp_path, FILES[:2], "200-299")
    assert_whole(tmp_path, objects, [MASKS, MARGINS])


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (Refuse(403), AccessError),
        (Refuse(403, "InvalidAccessKeyId"), CredentialsError),
        (Refuse(400, "ExpiredToken"), CredentialsError),
        (Refuse(412, "PreconditionFailed"), ChangedObjectError),
        (Refuse(416, "InvalidRange"), ChangedObjectError),
        (Refuse(503, "SlowDown"), TemporaryError),
        (Refuse(400, "Strange"), S3Error),
    ],
)
def test_refusals_are_told_apart(proxy, tmp_path, refusal, error):
    proxy.always = refusal
    with pytest.raises(error) as raised:
        download(tmp_path, FILES[2:])
    assert type(raised.value) is error


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_an_answer_without_an_etag_is_refused(proxy, tmp_path, method):
    if method == "HEAD":
        proxy.heads = Lacking("ETag")
    else:
        proxy.always = Lacking("ETag")
    with pytest.raises(S3Error, match="no ETag"):
        download(tmp_path, FILES[2:])


def test_a_server_that_is_busy_is_asked_again_with_longer_pauses(monkeypatch):
    pauses, tries = [], []
    monkeypatch.setattr(time, "sleep", pauses.append)

    def busy():
        tries.append(None)
        raise TemporaryError("busy")

    with pytest.raises(TemporaryError):
        persistently(busy, retries=4)
    assert len(tries) == 5
    assert pauses == sorted(pauses)


@requires("faults", HAS_SMALL_DISKS, "mounting a small file system takes root")
def test_a_full_disk_is_a_plain_error_and_more_room_mends_it(proxy, objects, tmp_path):
    with small_disk(tmp_path / "disk", mib=2) as (root, enlarge):
        with pytest.raises(DatamodelsError, match="room"):
            download(root)
        assert_no_promise_is_broken(root / MASKS, objects[MASKS])
        assert len(read_journal(root / MASKS).ranges) > 2**20
        enlarge(16)
        download(root)
        assert_whole(root, objects)
