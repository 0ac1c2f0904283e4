"""``python -m datamodels.published list`` and ``check`` as a user runs them."""

import json

import numpy as np
import pytest

from datamodels.cli.amounts import bytes_text
from datamodels.published.catalogue import published_files
from datamodels.published.layout import journal_of, partial_of, record_of
from datamodels.published.partial_file import read_journal
from tests.conftest import assert_fails
from tests.published.conftest import MARGINS, MASKS, WEIGHTS
from tests.published.downloading import FILES, download
from tests.published.s3_server import Refuse


@pytest.fixture
def downloaded(proxy, tmp_path):
    """Whole margins and datamodels, and some rows of the masks."""
    download(tmp_path, FILES[:1], "0-9,100")
    download(tmp_path, FILES[1:])
    return tmp_path


def test_the_list_has_every_file_and_totals(run):
    result = run("published list")
    assert result.returncode == 0
    lines = [line for line in result.stdout.splitlines() if line.startswith(("cifar", "fmow"))]
    assert len(lines) == len(published_files())
    assert "together 4.0 TiB: 372.95 USD" in result.stdout
    few = run("published list", "--list.dataset=fmow", "--list.kinds=masks", "--list.alpha=0.5")
    assert "together 3.2 GiB: 0.29 USD" in few.stdout


def test_the_list_as_json(run):
    rows = json.loads(run("published list", "--json", "--list.dataset=cifar").stdout)
    files = [file for file in published_files() if file.dataset == "cifar"]
    assert [row["key"] for row in rows] == [file.key for file in files]
    assert [row["size"] for row in rows] == [file.size for file in files]
    assert sum(row["reported_missing"] is not None for row in rows) == 3


def test_the_list_is_compared_with_the_bucket(run, proxy, objects):
    result = run("published list", "--check", "--list.dataset=cifar", "--list.alpha=0.5")
    assert result.returncode == 1  # nobody puts 15 GB into a test
    lines = result.stdout.splitlines()
    assert any("masks" in line and "BYTES, NOT 15500000128" in line for line in lines)
    assert any("logits" in line and "NOT THERE" in line for line in lines)
    assert "(missing)" not in result.stdout
    assert "to fetch all that was found" in result.stdout
    assert f"together {bytes_text(sum(map(len, objects.values())))}: < 0.01 USD" in result.stdout
    error = "error: 7 of 7 files are not as listed: not there: cifar/data/train_margins_50pct.npy"
    for said in (result.stderr, run("published list", "--check", "--json", "--list.dataset=cifar",
                                    "--list.alpha=0.5").stderr):  # fmt: skip
        assert error in said
        assert "of another size: " in said
        assert "What is found rules" in said
    missing = run("published list", "--check", "--list.kinds=datamodels", "--list.splits=train",
                  "--list.alpha=0.1")  # fmt: skip
    assert missing.returncode == 0
    assert "not there, as reported" in missing.stdout
    assert not proxy.gets()


def test_one_refusal_hides_nothing_of_the_rest(call, proxy):
    proxy.heads_of = {MASKS: Refuse(403)}
    words = ["--check", "--list.dataset=cifar", "--list.alpha=0.5"]
    result = call("published.listing", *words)
    assert_fails(result, 1, "refused (403), which is also what an absent file looks like: " + MASKS)
    (line,) = (line for line in result.stdout.splitlines() if " masks " in line)
    assert "refused: 403" in line
    assert "NOT THERE" in result.stdout
    rows = json.loads(call("published.listing", "--json", *words).stdout)
    assert [row["key"] for row in rows if row["refused"]] == [MASKS]


def test_where_all_is_refused_nothing_is_confirmed(call, proxy):
    proxy.heads = Refuse(403)
    for words in (["--list.dataset=fmow"], ["--list.kinds=datamodels", "--list.splits=train",
                                            "--list.alpha=0.1"]):  # fmt: skip
        result = call("published.listing", "--check", *words)
        assert_fails(result, 1, "is refused (403)")
        assert "refused: 403" in result.stdout
        assert "as reported" not in result.stdout


def test_a_busy_server_is_asked_as_often_as_is_said(call, proxy, monkeypatch):
    monkeypatch.setattr("datamodels.published.retries.pause_after", lambda _: 0)
    words = ["--check", "--list.dataset=cifar", "--list.alpha=0.5", "--list.kinds=masks"]
    for retries, status in ((2, "SlowDown"), (3, "not as listed")):
        proxy.head_faults.extend([Refuse(503, "SlowDown")] * 3)
        result = call("published.listing", *words, f"--list.retries={retries}")
        assert_fails(result, 1, "503" if retries == 2 else status)
    assert_fails(call("published.listing", *words, "--list.retries=-1"), 2, "write 0 to 1000")


def test_downloads_are_good(downloaded, run):
    result = run("published check", ".")
    assert result.returncode == 0, result.stdout
    assert "rows 0-9,100 of 10300" in result.stdout
    assert "2 files are whole, 1 in part" in result.stdout
    words = [line.split()[-2:] for line in result.stdout.splitlines() if line.startswith("cifar")]
    assert words[0] == ["part,", "good"]
    assert [word[-1] for word in words[1:]] == ["good", "good"]
    assert "note:" not in result.stdout.replace("note: cifar", "")  # sizes differ
    files = {row["key"]: row for row in json.loads(run("published check", ".", "--json").stdout)}
    assert set(files) == {MASKS, MARGINS, WEIGHTS}
    assert not any(row["faults"] for row in files.values())


def damage(path, offset):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def test_every_damage_is_found(downloaded, run):
    wrong = {
        "masks": lambda: damage(partial_of(downloaded / MASKS), 128 + 300 * 5),
        "journal": lambda: journal_of(downloaded / MASKS).write_text("nonsense\n"),
        "no journal": journal_of(downloaded / MASKS).unlink,
        "margins": lambda: (downloaded / MARGINS).write_bytes(b"\x93NUMPY"),
        "weights": lambda: damage(downloaded / WEIGHTS, 3000),
        "weights cut": lambda: (downloaded / WEIGHTS).write_bytes(
            (downloaded / WEIGHTS).read_bytes()[:-100]
        ),
    }
    found = []
    for name, act in wrong.items():
        act()
        result = run("published check", ".")
        assert_fails(result, 1, "error:", "WRONG")
        found.append(result.stdout.count("error:"))
        assert "ownload it again" in result.stdout or "remove it" in result.stdout, name
    assert found == [1, 1, 1, 2, 3, 3]


def test_one_bit_amid_a_whole_file_is_found(downloaded, run):
    damage(downloaded / MARGINS, 128 + 40 * 700)
    result = run("published check", ".")
    assert_fails(result, 1, "other bytes than were downloaded", "ownload it again")
    assert "1 file is whole, 1 in part, 1 WRONG" in result.stdout


def test_without_a_record_it_is_said_what_was_looked_at(downloaded, run):
    damage(downloaded / MARGINS, 128 + 40 * 700)
    for record in (None, "nonsense\n"):
        record_of(downloaded / MARGINS).unlink()
        if record:
            record_of(downloaded / MARGINS).write_text(record)
        result = run("published check", ".")
        assert result.returncode == 0, result.stdout
        assert "only header and length were looked at" in result.stdout
        assert ("is damaged; remove it" in result.stdout) == bool(record)
        record_of(downloaded / MARGINS).touch()
    record_of(downloaded / WEIGHTS).unlink()
    damage(downloaded / WEIGHTS, 3000)  # archives have checksums of their own
    assert_fails(run("published check", "."), 1, "is damaged", "ownload it again")
    assert "only header\nand length" in run("published check", "--help").stdout


def test_a_record_is_of_use_before_it_has_its_name(downloaded, run):
    record_of(downloaded / MARGINS).rename(journal_of(downloaded / MARGINS))  # killed just before
    result = run("published check", ".")
    assert result.returncode == 0, result.stdout
    assert "the same command tidies up" in result.stdout
    damage(downloaded / MARGINS, 128 + 40 * 700)
    assert_fails(run("published check", "."), 1, "other bytes than were downloaded")


def test_what_a_killed_download_left_is_remarked_on(downloaded, call):
    left = (downloaded / MASKS).with_name(".train_masks_50pct.npy.partial.0123abcd.partial.jsonl")
    left.touch()
    result = call("published.check", downloaded)
    assert result.returncode == 0
    assert f"note: {left} was left by a process that was killed" in result.stdout


def test_a_file_that_cannot_be_read_is_no_reason_to_look_at_no_other(downloaded, run):
    (downloaded / MARGINS).unlink()
    (downloaded / MARGINS).mkdir()
    result = run("published check", ".")
    assert_fails(result, 1, "test_margins_50pct.npy", "1 file is whole, 1 in part, 1 WRONG")


def test_bytes_that_were_not_fetched_are_no_damage(downloaded, run):
    damage(partial_of(downloaded / MASKS), 128 + 300 * 50)
    assert run("published check", ".").returncode == 0
    with journal_of(downloaded / MASKS).open("ab") as file:
        file.write(b'{"start": 15')  # a process was killed here
    assert run("published check", ".").returncode == 0
    assert len(read_journal(downloaded / MASKS).ranges) == 128 + 11 * 300


def test_a_view_shows_what_is_there(downloaded, run):
    result = run("published view", ".")
    assert result.returncode == 0, result.stderr
    assert "cifar/50pct: masks, margins; 11 complete rows of 10,300" in result.stdout
    assert_fails(run("published view", "cifar"), 1, "holds no published array")
    journal_of(downloaded / MASKS).unlink()
    (downloaded / MARGINS).unlink()
    assert_fails(run("published view", "."), 1, f"of {partial_of(downloaded / MASKS).name} nothing")


def test_a_folder_without_published_files_is_no_good_news(run, tmp_path):
    np.save(tmp_path / "masks.npy", np.zeros(3))
    assert_fails(run("published check", "."), 1, "holds no published file")
    assert_fails(run("published check"), 2, "is required")
    several = run("published check", "a", "b")
    assert_fails(several, 2, "one word at most")
    assert "is required" not in several.stderr


@pytest.mark.parametrize("alpha", ["50", "0.3", "abc"])
def test_an_alpha_that_is_not_there_names_those_that_are(run, alpha):
    assert_fails(run("published list", f"--list.alpha={alpha}"), 2, "0.1, 0.2, 0.5, 0.75")


def test_the_command_without_a_word_lists_its_words(run):
    result = run("published")
    assert result.returncode == 0
    for word in ("list", "download", "check", "view"):
        assert f"datamodels.published {word} " in result.stdout
    assert_fails(run("published", "chek"), 2, "did you mean 'check'")
