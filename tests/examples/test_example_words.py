"""What the scripts of the examples refuse, before any work is done."""

import pytest

from tests.examples.test_examples import shell


def test_a_folder_of_other_words_is_not_used_again(tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    out.mkdir()
    words = [f"DATA={data}", "models=25", "classes=cat,dog", "per-class=1000,200",
             *(f"--training.{option}" for option in ("width=8", "epochs=6", "lr_peak_epoch=2",
                                                     "batch_size=50", "lr=0.03"))]  # fmt: skip
    (out / "words").write_text("\n".join(words) + "\n")
    script = ["bash", "examples/cifar10/example.sh", "--small", "--models=25"]
    for other, shown in (("--classes=cat,ship", "now:   classes=cat,ship"),
                         ("--training.lr=0.5", "now:   --training.lr=0.5")):  # fmt: skip
        refused = shell(*script, other, data, out)
        assert refused.returncode == 1, refused.stdout + refused.stderr
        assert "was made with other words" in refused.stderr
        assert shown in refused.stderr
    same = shell(*script, data, out)
    assert "other words" not in same.stderr  # there are no images, though
    assert same.returncode != 0
    (out / "words").unlink()
    (out / "store").mkdir()
    assert "holds something else" in shell(*script, data, out).stderr


@pytest.mark.parametrize(
    ("words", "status", "needle"),
    [
        (["--help"], 2, "usage: bash"),
        (["OUT", "abc"], 2, "MODELS=abc is no number"),
        (["OUT", "3"], 2, "must be from 50 to"),
        (["OUT", "2000"], 2, "num_models of examples/text/spec.json, 1000"),
        (["FILE", "60"], 1, "cannot be a folder"),
        (["MADE", "60"], 1, "was made with 70 models"),
    ],
)
def test_the_text_example_says_what_it_takes(tmp_path, words, status, needle):
    (tmp_path / "FILE").write_text("mine")
    (tmp_path / "MADE").mkdir()
    (tmp_path / "MADE" / "models").write_text("70\n")
    places = [str(tmp_path / word) if word.isupper() else word for word in words]
    result = shell("bash", "examples/text/example.sh", *places)
    assert result.returncode == status, result.stdout + result.stderr
    assert needle in result.stderr
