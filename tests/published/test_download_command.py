"""``python -m datamodels.published download`` as a user runs it."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from datamodels.published.layout import journal_of, partial_of, record_of
from datamodels.published.partial_file import complete_rows, read_journal
from datamodels.read_only import read_note
from tests.conftest import ROOT, assert_fails, requires
from tests.published.conftest import MARGINS, MASKS, WEIGHTS
from tests.published.downloading import FILES, download
from tests.published.s3_server import KEY_ID, SECRET, Before, Refuse, Slow
from tests.published.small_disk import HAS_SMALL_DISKS, make_read_only, small_disk

KINDS = "--download.kinds=masks,margins,datamodels"


@pytest.fixture
def said_nothing_secret(run):
    """``run`` that fails where a command says what nobody is to see."""

    def run_command(*arguments, **settings):
        result = run("published download", *arguments, **settings)
        assert_not_said(result.stdout + result.stderr)
        return result

    return run_command


def assert_not_said(said: str) -> None:
    assert KEY_ID not in said
    assert SECRET not in said


def start(root: Path, *arguments: str, **settings) -> "subprocess.Popen[str]":
    words = [f"--download.root={root}", *arguments]
    return subprocess.Popen(
        [sys.executable, "-m", "datamodels.published", "download", *words],
        cwd=ROOT,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings},
    )


def wait_for_ranges(final: Path, count: int) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if journal_of(final).exists() and len(read_journal(final).written) >= count:
            return
        time.sleep(0.02)
    raise AssertionError("the download does not get on")


def test_it_fetches_what_is_missing_and_says_when_nothing_is(
    proxy, objects, tmp_path, said_nothing_secret
):
    words = ["--download.root=here", KINDS, "--yes"]
    first = said_nothing_secret(*words)
    assert first.returncode == 0, first.stderr
    assert "0.09 USD" in first.stdout
    for key, content in objects.items():
        assert (tmp_path / "here" / key).read_bytes() == content
    proxy.requests.clear()
    again = said_nothing_secret(*words[:2])  # nobody need agree to nothing
    assert again.returncode == 0, again.stderr
    assert "nothing is missing" in again.stdout
    assert not proxy.requests


def test_without_a_terminal_or_yes_nothing_is_spent(proxy, tmp_path, said_nothing_secret):
    for more in ([], ["--download.rows=0-9"]):
        result = said_nothing_secret("--download.root=here", KINDS, *more)
        assert_fails(result, 2, "--yes")
        assert "0.09 USD" in result.stdout  # what it would cost is no secret
        dry = said_nothing_secret("--download.root=here", KINDS, "--dry_run", "--yes", *more)
        assert dry.returncode == 0, dry.stderr
        assert "nothing was fetched" in dry.stdout
        assert "together" in dry.stdout
        assert ("at most" in dry.stdout) == bool(more)  # whose sizes the catalogue does not know
    assert not proxy.gets()
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("answer", ["y", "n", "", "\x04"])
def test_a_terminal_is_asked(proxy, objects, tmp_path, answer):
    ours, theirs = pty.openpty()
    process = start(tmp_path, "--download.kinds=datamodels", stdin=theirs)
    os.write(ours, f"{answer}\n".encode())
    out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert "USD" in out
    assert out.index("USD") < out.index("[y/N]")
    assert answer != "\x04" or out.endswith("[y/N] \n")
    assert process.returncode == (0 if answer == "y" else 1), err
    assert (tmp_path / WEIGHTS).exists() == (answer == "y")
    assert bool(proxy.gets()) == (answer == "y")


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_terminal_is_asked_before_a_header_is_read(proxy, objects, tmp_path, answer):
    """The objects are smaller than the catalogue says: which bytes rows are, is not known."""
    ours, theirs = pty.openpty()
    read_before = []
    proxy.always = Before(lambda: read_before.append(not answered.is_set()))
    answered = threading.Event()
    words = ["--download.kinds=masks,margins", "--download.rows=0-9"]
    process = start(tmp_path, *words, stdin=theirs)
    said = b""
    while b"[y/N]" not in said:
        piece = os.read(process.stdout.fileno(), 4096)
        assert piece, process.stderr.read()
        said += piece
    answered.set()
    assert b"at most" in said
    assert not proxy.gets()
    os.write(ours, f"{answer}\n".encode())
    process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert not any(read_before)
    assert process.returncode == (0 if answer == "y" else 1)
    assert bool(proxy.gets()) == (answer == "y")
    if answer == "y":
        assert len(read_journal(tmp_path / MASKS).ranges) == 128 + 10 * 300


def test_what_another_finished_meanwhile_is_not_fetched_again(proxy, objects, tmp_path):
    ours, theirs = pty.openpty()
    process = start(tmp_path, "--download.kinds=margins,datamodels", stdin=theirs)
    while b"[y/N]" not in (piece := os.read(process.stdout.fileno(), 4096)):
        assert piece, process.stderr.read()
    download(tmp_path, FILES[1:2])
    proxy.requests.clear()
    os.write(ours, b"y\n")
    _, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, err
    assert {request.key for request in proxy.gets()} == {WEIGHTS}
    assert (tmp_path / WEIGHTS).read_bytes() == objects[WEIGHTS]


@pytest.mark.parametrize("change", ["came to the bucket", "went from the disk"])
def test_no_more_is_fetched_than_was_agreed_to(proxy, tmp_path, change):
    if change == "came to the bucket":
        proxy.heads_of = {MARGINS: Refuse(404)}
    else:
        download(tmp_path, FILES[1:2])
    ours, theirs = pty.openpty()
    process = start(tmp_path, "--download.kinds=margins,datamodels", stdin=theirs)
    while b"[y/N]" not in (piece := os.read(process.stdout.fileno(), 4096)):
        assert piece, process.stderr.read()
    proxy.requests.clear()
    proxy.heads_of = {}
    (tmp_path / MARGINS).unlink(missing_ok=True)
    os.write(ours, b"y\n")
    _, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 1
    assert "were agreed to" in err
    assert change in err
    assert not proxy.gets()


def test_without_standard_input_it_is_as_without_a_terminal(proxy, tmp_path):
    command = (
        f"{sys.executable} -m datamodels.published download {KINDS} --download.root={tmp_path}"
    )
    result = subprocess.run(f"{command} <&-", shell=True, cwd=ROOT, capture_output=True, text=True)
    assert_fails(result, 2, "--yes")


def test_a_file_without_a_checksum_within_is_as_long_as_it_should_be(
    proxy, objects, tmp_path, call
):
    words = [f"--download.root={tmp_path}", "--download.kinds=datamodels", "--yes"]
    assert call("published.download", *words).returncode == 0
    for record in (True, False):
        (tmp_path / WEIGHTS).write_bytes(objects[WEIGHTS][:-100])
        if not record:
            record_of(tmp_path / WEIGHTS).unlink()
        result = call("published.download", *words)
        assert_fails(result, 1, "it is damaged. Remove it and download it again")
    proxy.requests.clear()
    (tmp_path / WEIGHTS).write_bytes(objects[WEIGHTS])
    assert call("published.download", *words).returncode == 0
    assert [request.method for request in proxy.requests] == ["HEAD"]
    proxy.heads = Refuse(403)  # it came in another way: nothing tells that it is wrong
    assert call("published.download", *words).returncode == 0


@pytest.mark.parametrize(
    ("env", "needle"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "aws configure"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "cannot reach 127.0.0.1:1"),
        ({}, "pip install 'datamodels[published]'"),  # without boto3
    ],
)
def test_what_is_there_needs_no_bucket_but_to_compare_its_size(
    proxy, objects, tmp_path, run, env, needle
):
    if not env:
        (tmp_path / "boto3.py").write_text("raise ImportError")
        env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    (tmp_path / WEIGHTS).parent.mkdir(parents=True)
    (tmp_path / WEIGHTS).write_bytes(objects[WEIGHTS])
    words = [f"--download.root={tmp_path}", "--download.kinds=datamodels", "--yes"]
    result = run("published download", *words, env=env)
    assert result.returncode == 0, result.stderr
    assert "nothing is missing" in result.stdout
    assert "size could not be compared" in result.stderr
    assert needle in result.stderr
    assert_fails(run("published download", *words[:1], KINDS, "--yes", env=env), 1, needle)


def test_a_busy_server_is_asked_as_often_as_is_said(proxy, tmp_path, call, monkeypatch):
    monkeypatch.setattr("datamodels.published.retries.pause_after", lambda _: 0)
    words = [f"--download.root={tmp_path}", "--download.kinds=masks", "--download.rows=0-9",
             "--yes"]  # fmt: skip
    for retries in (2, 3):
        proxy.head_faults.clear()
        proxy.faults.clear()
        proxy.head_faults.extend([Refuse(503, "SlowDown")] * 3)
        proxy.faults.extend([Refuse(503, "SlowDown")] * 3)  # of the read that planning takes
        result = call("published.download", *words, f"--download.retries={retries}")
        assert result.returncode == int(retries == 2), result.stderr


NO_LINKS = """
import os
def refuse(*_, **__):
    raise PermissionError(1, "Operation not permitted")
os.symlink = refuse
"""


def test_a_disk_without_links_is_good_enough(proxy, objects, tmp_path, run):
    (tmp_path / "sitecustomize.py").write_text(NO_LINKS)
    paths = {"env": {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}}
    result = run("published download", "--download.root=here", KINDS, "--yes", **paths)
    assert result.returncode == 0, result.stderr
    assert "warning: no view can be made" in result.stderr
    assert "datamodels.published.load" in result.stderr
    for key, content in objects.items():
        assert (tmp_path / "here" / key).read_bytes() == content
    assert_fails(run("published view", "here", **paths), 1, "datamodels.published.load")
    assert not list((tmp_path / "here/cifar").glob("*50pct*"))


def test_evaluation_rows_are_those_that_are_said(proxy, tmp_path, call):
    words = [f"--download.root={tmp_path}", "--download.kinds=margins", "--yes",
             "--download.rows=evaluation"]  # fmt: skip
    told = ["--download.evaluation=first", "--download.n_evaluation=200"]
    assert call("published.download", *words, *told).returncode == 0
    note = read_note(tmp_path / "cifar/50pct")
    assert note.evaluation == range(200)
    assert complete_rows(partial_of(tmp_path / MARGINS)).nonzero()[0].tolist() == [*range(200)]
    again = call("published.download", *words)  # as the view was told
    assert "nothing is missing" in again.stdout


def test_a_download_that_fails_still_tells_its_view_what_it_was_told(proxy, tmp_path, call):
    proxy.faults.extend([None, None, Refuse(403)])  # two reads of the header, then rows
    result = call("published.download", f"--download.root={tmp_path}", "--download.kinds=margins",
                  "--download.rows=evaluation", "--yes",
                  "--download.evaluation=first", "--download.n_evaluation=200")  # fmt: skip
    assert_fails(result, 1, "is refused (403)")
    note = read_note(tmp_path / "cifar/50pct")
    assert note.evaluation == range(200)
    assert not note.evaluation_is_assumed


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_stopped_download_goes_on_where_it_was(proxy, objects, tmp_path, number, status):
    proxy.always = Slow(0.01)  # 1.6 MiB a second for each of the requests
    words = ["--download.kinds=masks", "--download.workers=2", "--download.chunk_mib=1", "--yes"]
    process = start(tmp_path, *words)
    wait_for_ranges(tmp_path / MASKS, 2)  # the header is one
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert "Traceback" not in out + err
    assert ("came and are kept" in err) == (number != signal.SIGKILL)
    assert not (tmp_path / MASKS).exists()
    have = len(read_journal(tmp_path / MASKS).ranges)
    assert 0 < have < len(objects[MASKS])
    time.sleep(0.2)  # until the proxy has sent what nobody takes
    proxy.requests.clear()
    proxy.always = None
    again = start(tmp_path, *words)
    again.communicate(timeout=60)
    assert again.returncode == 0
    assert (tmp_path / MASKS).read_bytes() == objects[MASKS]
    assert proxy.transferred == len(objects[MASKS]) - have


def test_two_downloads_of_one_file_do_not_meet(proxy, objects, tmp_path, said_nothing_secret):
    proxy.always = Slow(0.02)
    words = ["--download.kinds=masks", "--download.chunk_mib=1", "--yes"]
    process = start(tmp_path, *words)
    wait_for_ranges(tmp_path / MASKS, 1)
    other = said_nothing_secret(f"--download.root={tmp_path}", *words)
    assert_fails(other, 1, "another process")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert (tmp_path / MASKS).read_bytes() == objects[MASKS]


@pytest.mark.parametrize(
    ("env", "needle"),
    [
        ({"AWS_ENDPOINT_URL": "http://user:word@127.0.0.1:1"}, "cannot reach 127.0.0.1:1"),
        ({"AWS_ENDPOINT_URL": "nowhere"}, "AWS_ENDPOINT_URL is no URL"),
        ({"AWS_ENDPOINT_URL": "http://user:word@127.0.0.1:x1"}, "AWS_ENDPOINT_URL is no URL"),
        ({"AWS_ENDPOINT_URL": "http://user:word@[::1"}, "AWS_ENDPOINT_URL is no URL"),
        ({"AWS_DEFAULT_REGION": "us east"}, "AWS_DEFAULT_REGION"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "aws configure"),
        ({"AWS_PROFILE": "nobody"}, "ProfileNotFound"),
    ],
)
def test_what_the_user_can_mend_is_said_without_a_secret(proxy, said_nothing_secret, env, needle):
    result = said_nothing_secret("--download.root=here", KINDS, "--yes", env=env)
    assert_fails(result, 1, needle)
    assert "user:word" not in result.stderr


@pytest.mark.parametrize(
    ("refusal", "needle"),
    [
        (Refuse(403, message=f"{KEY_ID} may not"), "is refused (403)"),
        (Refuse(403, "InvalidAccessKeyId", f"no {KEY_ID}"), "InvalidAccessKeyId"),
        (Refuse(503, "SlowDown", f"{SECRET}"), "SlowDown"),
    ],
)
def test_what_a_server_says_is_not_repeated(proxy, said_nothing_secret, refusal, needle):
    proxy.always = refusal
    words = ["--download.root=here", KINDS, "--yes", "--download.retries=0"]
    assert_fails(said_nothing_secret(*words), 1, needle, "goes on from there")
    proxy.heads = refusal
    assert_fails(said_nothing_secret(*words), 1, str(refusal.status))


def test_what_is_reported_missing_is_passed_over(proxy, tmp_path, said_nothing_secret):
    words = ["--download.root=here", "--download.kinds=datamodels", "--yes"]
    alone = said_nothing_secret(*words, "--download.splits=train", "--download.alpha=0.1")
    assert_fails(alone, 1, "as reported", "error: nothing was fetched")
    assert_fails(said_nothing_secret(*words, "--download.splits=train"), 1, "there is no s3://")
    assert not (tmp_path / "here").exists()


def test_a_refusal_confirms_no_report(proxy, tmp_path, call):
    proxy.heads_of = {"cifar/datamodels/train_10pct.pt": Refuse(403)}
    words = [f"--download.root={tmp_path}", "--download.kinds=datamodels", "--yes"]
    alone = call("published.download", *words, "--download.splits=train", "--download.alpha=0.1")
    assert_fails(alone, 1, "is refused (403), which is also what an absent file looks like")
    assert "not there" not in alone.stdout + alone.stderr
    assert "as reported" not in alone.stdout + alone.stderr


def test_what_is_missing_keeps_nothing_else_from_coming(proxy, objects, tmp_path, run):
    words = ["--download.root=here", "--download.kinds=all", "--download.splits=all", "--yes"]
    result = run("published download", *words)
    lacking = ["cifar/data/train_margins_50pct.npy", "cifar/data/test_logits_50pct.npy"]
    assert_fails(result, 1, "error: 4 of the files asked for", *lacking)
    for name in lacking:
        assert f"warning: there is no s3://madrylab-datamodels/{name}" in result.stderr
    assert "as a store:" in result.stdout
    for key, content in objects.items():
        assert (tmp_path / "here" / key).read_bytes() == content
    dry = run("published download", *words[:-1], "--dry_run")
    assert_fails(dry, 1, "error: 4 of the files")


def test_a_place_that_cannot_be_a_folder_is_refused_before_anything_is_asked(
    proxy, tmp_path, said_nothing_secret
):
    (tmp_path / "file").touch()
    for place in ("file", "file/below/it"):
        result = said_nothing_secret(f"--download.root={place}", KINDS, "--yes")
        assert_fails(result, 2, f"{place} cannot be a folder: file is a file")
    assert not proxy.requests


@requires("faults", HAS_SMALL_DISKS, "mounting a small file system takes root")
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_asked(
    proxy, tmp_path, said_nothing_secret
):
    with small_disk(tmp_path / "disk", mib=2) as (root, _):
        make_read_only(root)
        for place in (root, root / "here"):
            result = said_nothing_secret(f"--download.root={place}", KINDS, "--yes")
            assert_fails(result, 1, "cannot be written", "another --download.root")
            assert "are kept" not in result.stderr
    assert not proxy.requests


@pytest.mark.parametrize(
    ("words", "needle"),
    [
        (["--download.kinds=weights"], "there are masks, margins"),
        (["--download.kinds=masks", "--download.alpha=0.4"], "there are 0.1, 0.2"),
        (["--download.kinds=masks", "--download.rows=7-5"], "5-7"),
        (
            ["--download.kinds=masks", "--download.rows=evaluatoin"],
            "'evaluatoin' is no row or range; did you mean evaluation?",
        ),
        (["--download.kinds=masks", "--download.rows=10300"], "rows 0 to 10299"),
        (["--download.kinds=masks", "--download.workers=0"], "1 to 256"),
        (["--download.kinds=masks", "--download.evaluation=end"], "last, first"),
        (["--download.kinds=masks", "--download.n_evaluation=0"], "at least 1"),
        (["--download.kinds=masks", "--download.n_evaluation=1000000"], "give 1 to 309999"),
        (["--download.kind=masks"], "did you mean --download.kinds"),
    ],
)
def test_a_wrong_wish_is_refused_before_anything_is_spent(
    proxy, said_nothing_secret, words, needle
):
    assert_fails(said_nothing_secret("--download.root=here", "--yes", *words), 2, needle)
    assert proxy.transferred <= 128  # the header, where the number of rows is in question


@requires("faults", HAS_SMALL_DISKS, "mounting a small file system takes root")
def test_too_small_a_disk_is_noticed_before_anything_is_spent(proxy, tmp_path, said_nothing_secret):
    with small_disk(tmp_path / "disk", mib=2) as (root, _):
        result = said_nothing_secret(f"--download.root={root}/here", KINDS, "--yes")
        assert_fails(result, 1, "are to be fetched", "free", "--download.rows")
        assert not proxy.gets()
        few = said_nothing_secret(
            f"--download.root={root}/here", KINDS, "--yes", "--download.rows=0-99"
        )
        assert few.returncode == 0, few.stderr
        assert (root / "here" / f"{MARGINS}.partial").exists()


def test_boto3_is_an_extra(tmp_path, run):
    (tmp_path / "boto3.py").write_text("raise ImportError")
    result = run(
        "published download",
        "--download.root=here",
        KINDS,
        "--yes",
        env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )
    assert_fails(result, 1, "pip install 'datamodels[published]'")
