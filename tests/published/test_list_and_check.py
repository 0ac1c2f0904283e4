"""``python -m datamodels.published list`` and ``check`` as a user runs them."""

import json

import numpy as np
import pytest

from datamodels.published.catalogue import published_files
from datamodels.published.layout import journal_of, partial_of
from datamodels.published.partial_file import read_journal
from tests.conftest import assert_fails
from tests.published.conftest import MARGINS, MASKS, WEIGHTS
from tests.published.downloading import FILES, download


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


def test_the_list_is_compared_with_the_bucket(run, proxy):
    result = run("published list", "--check", "--list.dataset=cifar", "--list.alpha=0.5")
    assert result.returncode == 1  # nobody puts 15 GB into a test
    lines = result.stdout.splitlines()
    assert any("masks" in line and "BYTES, NOT 15500000128" in line for line in lines)
    assert any("logits" in line and "NOT THERE" in line for line in lines)
    missing = run("published list", "--check", "--list.kinds=datamodels", "--list.splits=train",
                  "--list.alpha=0.1")  # fmt: skip
    assert missing.returncode == 0
    assert "not there, as reported" in missing.stdout
    assert not proxy.gets()


def test_downloads_are_good(downloaded, run):
    result = run("published check", ".")
    assert result.returncode == 0, result.stdout
    assert "rows 0-9,100 of 10300" in result.stdout
    assert "3 of 3 files are good" in result.stdout
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


def test_a_folder_without_published_files_is_no_good_news(run, tmp_path):
    np.save(tmp_path / "masks.npy", np.zeros(3))
    assert_fails(run("published check", "."), 1, "holds no published file")
    assert_fails(run("published check"), 2, "is required")


def test_the_command_without_a_word_lists_its_words(run):
    result = run("published")
    assert result.returncode == 0
    for word in ("list", "download", "check", "view"):
        assert f"datamodels.published {word} " in result.stdout
    assert_fails(run("published", "chek"), 2, "did you mean 'check'")
