import contextlib
import json
import os
import subprocess
import time

import numpy as np
import pytest

from datamodels.training.layout import StoreLayout
from datamodels.training.records import (
    RecordWriter,
    last_rows,
    loaded_versions,
    read_rows,
    read_worker,
    record_files,
)


@pytest.fixture
def layout(tmp_path):
    return StoreLayout(tmp_path)


def only_file(layout):
    (path,) = record_files(layout)
    return path


def test_rows_read_back_as_written(layout):
    began = time.time()
    writer = RecordWriter(layout, command=["python", "-m", "x"], main="train",
                          options=lambda: {"trainer.seed": 3, "odd": np.float32(1)})  # fmt: skip
    writer.row(17, "written", 0.53)
    writer.row(18, "failed", 1.5, batch=4, error="ValueError: diverged\nmore\n")
    writer.close()
    worker = read_worker(only_file(layout))
    assert worker is not None
    assert (worker.command, worker.main) == (["python", "-m", "x"], "train")
    assert (worker.pid, worker.folder) == (os.getpid(), os.getcwd())  # noqa: PTH109
    assert worker.options["trainer.seed"] == 3
    assert worker.versions["numpy"] == np.__version__
    assert began - 1 < worker.started < time.time() + 1
    first, second = read_rows(only_file(layout))
    assert (first.row, first.outcome, first.seconds, first.batch) == (17, "written", 0.53, 1)
    assert (second.row, second.outcome, second.batch) == (18, "failed", 4)
    assert second.error == "ValueError: diverged"
    assert list(read_rows(only_file(layout), only_failed=True)) == [second]
    assert last_rows(only_file(layout)) == [first, second]


def test_the_file_is_made_at_the_first_row(layout):
    asked = []
    writer = RecordWriter(layout, options=lambda: asked.append(1) or {})
    assert not layout.records.exists()
    assert not asked
    writer.row(0, "written", 0.1)
    writer.row(1, "written", 0.1)
    assert asked == [1]
    assert "python" in loaded_versions()


def test_lines_are_what_the_format_says(layout):
    RecordWriter(layout, main="m").row(3, "written", 0.25)
    head, row = map(json.loads, only_file(layout).read_text().splitlines())
    assert list(head) == ["kind", "started", "host", "pid", "command", "folder", "main",
                          "options", "versions"]  # fmt: skip
    assert row == {"kind": "row", "row": 3, "outcome": "written", "ended": row["ended"],
                   "seconds": 0.25}  # fmt: skip
    host, pid, started = only_file(layout).stem.rsplit("-", 2)
    assert (host, int(pid)) == (only_file(layout).name.split("-")[0], os.getpid())
    assert abs(int(started) / 1e9 - time.time()) < 60


@pytest.mark.parametrize("place", ["file", "nowhere", "options"])
def test_nothing_that_fails_reaches_the_caller(layout, tmp_path, place):
    options = None
    if place == "file":
        layout.records.write_text("in the way")
    if place == "nowhere":
        layout = StoreLayout(tmp_path / "gone" / "store")
    if place == "options":
        options = lambda: 1 / 0  # noqa: E731
    writer = RecordWriter(layout, options=options)
    writer.row(0, "written", 0.1)
    writer.row(1, "failed", 0.1, error="\ud800")
    writer.close()
    assert len(record_files(layout)) == (place == "options")


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path):
    folder = tmp_path / "full"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", folder]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    try:
        layout = StoreLayout(folder)
        filler = folder / "filler"
        with contextlib.suppress(OSError):
            filler.write_bytes(bytes(1 << 20))
        writer = RecordWriter(layout)
        writer.row(0, "written", 0.1)  # not even its header finds room
        filler.unlink()
        for index in range(1, 300):
            writer.row(index, "written", 0.1, batch=10**30)  # until it is full again
        writer.row(5, "failed", 0.1)
        (path,) = record_files(layout)
        assert read_worker(path) is not None
        rows = [row.row for row in read_rows(path)]
        assert rows == list(range(1, len(rows) + 1))
        assert 10 < len(rows) < 299
        writer.close()
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_line_cut_short_costs_only_itself(layout, monkeypatch):
    writer = RecordWriter(layout)
    writer.row(0, "written", 0.1)
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:20]))
    writer.row(1, "written", 0.1)
    monkeypatch.undo()
    writer.row(2, "written", 0.1)
    assert [row.row for row in read_rows(only_file(layout))] == [0, 2]
    assert [row.row for row in last_rows(only_file(layout))] == [0, 2]


def test_a_forked_child_writes_a_file_of_its_own(layout):
    writer = RecordWriter(layout)
    writer.row(0, "written", 0.1)
    parents = only_file(layout)
    child = os.fork()
    if child == 0:
        writer.row(1, "written", 0.1)
        os._exit(0)
    os.waitpid(child, 0)
    writer.row(2, "written", 0.1)
    (childs,) = set(record_files(layout)) - {parents}
    assert [row.row for row in read_rows(parents)] == [0, 2]
    assert [row.row for row in read_rows(childs)] == [1]
    assert read_worker(childs).pid == child


def test_a_truncated_or_foreign_file_costs_only_its_own_lines(layout):
    writer = RecordWriter(layout)
    for index in range(3):
        writer.row(index, "written", 0.1)
    path = only_file(layout)
    whole = path.read_bytes()
    for cut in range(1, 60, 7):
        path.write_bytes(whole[:-cut])
        assert [row.row for row in read_rows(path)] == [0, 1]
        assert [row.row for row in last_rows(path)] == [0, 1]
    for content in (b"", b"hello", b"\xff\n\x00", b"[1]\n5\n{}\n", b'{"kind": "row"}\n',
                    b'{"kind": "row", "row": "x"}\n', b"{" * 5000 + b"\n"):  # fmt: skip
        path.write_bytes(content)
        assert read_worker(path) is None
        assert list(read_rows(path)) == []
        assert last_rows(path) == []
    (layout.records / "notes.txt").write_text("mine")
    (layout.records / "folder.jsonl").mkdir()
    assert record_files(layout) == [path]


def row_line(index, ended, outcome="written"):
    return json.dumps({"kind": "row", "row": index, "outcome": outcome, "ended": ended,
                       "seconds": 0.5}) + "\n"  # fmt: skip


@pytest.mark.parametrize("rows", [1, 10, 900, 5000])
def test_the_tail_is_what_reading_everything_gives(layout, rows):
    layout.records.mkdir()
    path = layout.record("h", 1, 1)
    path.write_text('{"kind": "worker"}\n' + "".join(row_line(i, float(i)) for i in range(rows)))
    everything = list(read_rows(path))
    assert [row.row for row in everything] == list(range(rows))
    for since in (-1.0, 0.0, rows / 2, rows - 3.0, float(rows)):
        assert last_rows(path, since=since) == [row for row in everything if row.ended > since]
    assert last_rows(path)[-1] == everything[-1]


def test_a_clock_that_jumps_back_loses_no_young_row(layout):
    layout.records.mkdir()
    path = layout.record("h", 1, 1)
    times = [100.0, 101.0, 50.0, 51.0, 102.0]
    path.write_text("".join(row_line(i, t) for i, t in enumerate(times)))
    assert [row.row for row in last_rows(path, since=99.0)] == [0, 1, 4]


def test_the_tail_of_a_million_rows_is_read_at_once(layout):
    layout.records.mkdir()
    path = layout.record("h", 1, 1)
    block = "".join(row_line(i, float(i)) for i in range(1000))
    with path.open("w") as file:
        for _ in range(1000):
            file.write(block)
        file.write(row_line(7, 5000.0, "failed"))
    began = time.perf_counter()
    assert len(last_rows(path, since=1500.0)) == 1
    assert time.perf_counter() - began < 0.5
    began = time.perf_counter()
    assert [row.row for row in read_rows(path, only_failed=True)] == [7]
    assert time.perf_counter() - began < 5
