import os
import stat

import pytest

from datamodels.errors import DatamodelsError, ExistsError, MissingFileError
from datamodels.files import new_file, new_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_when_the_block_ends(tmp_path):
    with new_file(tmp_path / "a.bin") as partial:
        partial.write_bytes(b"1")
        assert not (tmp_path / "a.bin").exists()
    assert (tmp_path / "a.bin").read_bytes() == b"1"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("make", [new_file, new_folder])
def test_nothing_stays_behind_when_the_block_fails(tmp_path, make, error):
    def fill():
        with make(tmp_path / "a") as partial:
            if partial.is_dir():
                (partial / "b").write_text("half")
            raise error

    with pytest.raises(error):
        fill()
    assert names(tmp_path) == []


@pytest.mark.parametrize("make", [new_file, new_folder])
def test_nothing_is_replaced(tmp_path, make):
    path = tmp_path / "a"
    path.write_text("mine")
    with pytest.raises(ExistsError, match="exists already"), make(path):
        pytest.fail("the block must not run")
    path.unlink()
    with pytest.raises(ExistsError), make(path):
        path.write_text("appeared meanwhile")
    assert path.read_text() == "appeared meanwhile"
    assert names(tmp_path) == ["a"]


def test_overwriting_is_at_once(tmp_path):
    (tmp_path / "a").write_text("old")
    with new_file(tmp_path / "a", overwrite=True) as partial:
        partial.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"


def test_a_folder_is_made_with_those_above_it(tmp_path):
    with new_folder(tmp_path / "a" / "b") as partial:
        (partial / "c").write_text("1")
    assert (tmp_path / "a" / "b" / "c").read_text() == "1"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="nowhere"), new_file(tmp_path / "nowhere" / "a"):
        pytest.fail("the block must not run")


def test_a_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    with new_file(tmp_path / "a"):
        pass
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a")}
    assert len(modes) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_refuses_is_a_failure_with_its_reason(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(DatamodelsError, match="Permission denied"), new_file(tmp_path / "a"):
        pytest.fail("the block must not run")
