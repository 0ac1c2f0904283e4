import contextlib
import multiprocessing
import os
import shutil
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodels.errors import DatamodelsError, ExistsError, InputError
from datamodels.files import sync_folder
from datamodels.npy_file import open_map
from datamodels.published.layout import journal_of, partial_of, record_of
from datamodels.published.partial_file import (
    PartialFile,
    Source,
    complete_rows,
    present_file,
    read_journal,
    read_record,
    remove_leftovers,
)
from tests.published.conftest import npy
from tests.published.killing import kills_at_each_step

ARRAY = np.arange(60, dtype="f4").reshape(12, 5) + 1
RAW = npy(ARRAY)
SOURCE = Source("bucket", "a/key.npy", '"etag"', len(RAW))
HEADER = len(RAW) - ARRAY.nbytes
SPANS = st.lists(st.tuples(st.integers(0, len(RAW)), st.integers(0, len(RAW))), max_size=8)


def begin(folder: Path) -> PartialFile:
    return PartialFile.create(Path(folder) / "a" / "key.npy", SOURCE, RAW[:HEADER])


def write(file: PartialFile, start: int, stop: int) -> None:
    file.write(start, RAW[start:stop])


@settings(max_examples=40, deadline=None)
@given(SPANS)
def test_rows_are_complete_when_every_byte_of_them_was_written(spans):
    with TemporaryDirectory() as folder:
        with begin(folder) as file:
            for start, stop in spans:
                write(file, start, stop)
        there = np.zeros(len(RAW), bool)
        for start, stop in spans:
            there[start:stop] = True
        rows = there[HEADER:].reshape(12, -1).all(1)
        assert (complete_rows(file.path) == rows).all()
        assert (open_map(file.path)[rows] == ARRAY[rows]).all()
        assert present_file(file.final) == file.path


@settings(max_examples=40, deadline=None)
@given(SPANS, st.integers(0, 400))
def test_a_journal_cut_anywhere_promises_nothing_that_is_not_there(spans, cut):
    with TemporaryDirectory() as folder:
        with begin(folder) as file:
            least = journal_of(file.final).stat().st_size  # appears whole, or not at all
            for start, stop in spans:
                write(file, start, stop)
        journal = journal_of(file.final)
        journal.write_bytes(journal.read_bytes()[: least + cut])
        with PartialFile(file.final) as again:
            raw = again.path.read_bytes()
            for start, stop in again.ranges.ranges:
                assert raw[start:stop] == RAW[start:stop]
            for start, stop in again.missing():
                write(again, start, stop)
            again.finish()
        assert file.final.read_bytes() == RAW
        assert set(file.final.parent.iterdir()) == {file.final, record_of(file.final)}
        assert not read_record(file.final).ranges.missing(0, len(RAW))


def test_it_has_its_name_only_once_every_byte_is_there(tmp_path):
    with begin(tmp_path) as file:
        with pytest.raises(ValueError, match="lacks"):
            file.finish()
        assert not file.final.exists()
        write(file, 0, len(RAW))
        file.finish()
        assert file.final.read_bytes() == RAW
    assert complete_rows(file.final).all()


def test_threads_may_write_at_a_time(tmp_path):
    with begin(tmp_path) as file:
        threads = [
            threading.Thread(target=write, args=(file, i, min(len(RAW), i + 3)))
            for i in range(0, len(RAW), 3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        file.finish()
    assert file.final.read_bytes() == RAW


def _tell(path: str, queue) -> None:
    try:
        PartialFile(Path(path))
    except DatamodelsError as error:
        queue.put(str(error))
    else:
        queue.put("opened")


def test_one_process_at_a_time(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with begin(tmp_path) as file:
        other = context.Process(target=_tell, args=(str(file.final), queue))
        other.start()
        assert "another process" in queue.get(timeout=30)
        other.join()


def test_who_tidies_up_at_the_same_time_stops_no_download(tmp_path):
    begin(tmp_path).close()
    final, ended = tmp_path / "a" / "key.npy", threading.Event()

    def tidy_up() -> None:
        while not ended.is_set():
            remove_leftovers(final)

    others = [threading.Thread(target=tidy_up) for _ in range(2)]
    for thread in others:
        thread.start()
    try:
        for _ in range(100):
            PartialFile(final).close()
    finally:
        ended.set()
        for thread in others:
            thread.join()


def test_nothing_that_is_there_is_replaced(tmp_path):
    begin(tmp_path).close()
    with pytest.raises(ExistsError):
        begin(tmp_path)
    final = tmp_path / "b.npy"
    final.write_bytes(b"mine")
    with pytest.raises(ExistsError):
        PartialFile.create(final, SOURCE)
    assert final.read_bytes() == b"mine"


def test_a_damaged_journal_is_refused(tmp_path):
    begin(tmp_path).close()
    journal = journal_of(tmp_path / "a" / "key.npy")
    for content in (
        b"",
        b"nonsense\n",
        b'{"bucket": 1}\n',
        journal.read_bytes() + b'{"start": 1}\n',
    ):
        journal.write_bytes(content)
        with pytest.raises(InputError, match="Remove both"):
            read_journal(tmp_path / "a" / "key.npy")


def test_what_a_kill_left_after_the_last_rename_goes(tmp_path):
    final = tmp_path / "a" / "key.npy"
    begin(tmp_path).close()
    partial_of(final).write_bytes(RAW)
    final.hardlink_to(partial_of(final))
    assert present_file(final) == final
    assert read_record(final).source == SOURCE
    remove_leftovers(final)
    assert set(final.parent.iterdir()) == {final, record_of(final)}


class KilledError(BaseException):
    """What no code of ours lives to answer."""


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
@pytest.mark.parametrize("step", range(6))
def test_a_kill_at_any_step_of_finishing_leaves_what_can_be_put_in_order(
    tmp_path, monkeypatch, step, links
):
    with begin(tmp_path) as file:
        write(file, 0, len(RAW))
    final, done = file.final, []
    record_of(final).write_text("of a file that was here before, and was removed\n")

    def counted(act):
        def act_or_die(*arguments, **named):
            if len(done) >= step:
                raise KilledError
            done.append(act)
            return act(*arguments, **named)

        return act_or_die

    def no_links(*_):
        raise OSError

    with PartialFile(final) as again, monkeypatch.context() as patch:
        patch.setattr(os, "link", counted(os.link) if links else no_links)
        for name in ("unlink", "replace", "open"):
            patch.setattr(Path, name, counted(getattr(Path, name)))
        patch.setattr("datamodels.published.partial_file.sync_folder", counted(sync_folder))
        with contextlib.suppress(KilledError):
            again.finish()
    remove_leftovers(final)
    if partial_of(final).exists():  # only before it got its name
        assert not final.exists()
        with PartialFile(final) as again:
            again.finish()
    assert final.read_bytes() == RAW
    assert set(final.parent.iterdir()) == {final, record_of(final)}
    assert read_record(final).source == SOURCE


def test_a_kill_at_any_step_of_beginning_leaves_nothing_behind(tmp_path):
    final = tmp_path / "a" / "key.npy"
    for step in kills_at_each_step(
        lambda: begin(tmp_path), lambda: shutil.rmtree(final.parent, ignore_errors=True)
    ):
        remove_leftovers(final)
        journal = journal_of(final).exists()
        with PartialFile(final) if journal else begin(tmp_path) as file:
            write(file, 0, len(RAW))
            file.finish()
        assert set(final.parent.iterdir()) == {final, record_of(final)}, step
        assert final.read_bytes() == RAW
    assert step > 5
    assert journal


def test_a_file_under_way_is_not_put_in_order_by_others(tmp_path, monkeypatch):
    """As a second download plans just when the first one's file has both of its names."""
    with begin(tmp_path) as file:
        write(file, 0, len(RAW))
        links = os.link

        def link_and_plan(*names):
            links(*names)
            remove_leftovers(file.final)
            assert partial_of(file.final).exists()

        monkeypatch.setattr(os, "link", link_and_plan)
        file.finish()
    assert set(file.final.parent.iterdir()) == {file.final, record_of(file.final)}


def test_names_of_files_that_others_begin_are_not_taken_for_leftovers(tmp_path):
    neighbour = tmp_path / "a" / "key.npy.npy"
    begin(tmp_path).close()
    other = neighbour.with_name(".key.npy.npy.partial.0123abcd.partial.jsonl")
    other.touch()
    remove_leftovers(tmp_path / "a" / "key.npy")
    assert other.exists()
    remove_leftovers(neighbour)
    assert not other.exists()
