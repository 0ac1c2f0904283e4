import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from datamodels.cli import catalogue
from datamodels.cli.command_line import flatten, read_config_file, scan
from datamodels.cli.option import Option, convert_all, to_bool, to_int
from datamodels.errors import UsageError
from datamodels.near_miss import nearest_option


def test_every_way_to_write_an_option():
    argv = ["--a.b=1", "--a.c", "2", "-C", "x.yml", "--config-file=y.yml", "-Cz.yml", "--flag",
            "--a.d", "-1", "--a.e=", "--a.f=x=y", "word"]  # fmt: skip
    found = scan(argv, flags={"flag"}, declared={"a.b", "a.c", "a.d", "a.e"})
    assert found.options == {
        "a.b": "1", "a.c": "2", "flag": True, "a.d": "-1", "a.e": "", "a.f": "x=y"}  # fmt: skip
    assert found.config_files == ["x.yml", "y.yml", "z.yml"]
    assert found.positional == ["word"]


def test_the_last_of_equals_wins():
    assert scan(["--a.b=1", "--a.b=2"]).options == {"a.b": "2"}


@pytest.mark.parametrize("argv", [["--a.b"], ["--a.b", "--c.d=1"], ["-C"], ["--a.b", "-C", "f"]])
def test_a_missing_value_is_named(argv):
    with pytest.raises(UsageError, match="needs a value"):
        scan(argv, declared={"a.b"})


def test_an_undeclared_option_never_fails():
    assert scan(["--verbose", "--x.y", "--z.w=1"]).options == {
        "verbose": True, "x.y": True, "z.w": "1"}  # fmt: skip


def test_yaml_numbers_are_numbers(tmp_path):
    path = tmp_path / "c.yml"
    path.write_text(
        "cfg:\n  lr: 5e-3\n  eps: 1e-6\n  big: 2E+3\n  num: 90_000\n  half: .5\n  name: 5e-3x\n"
        "  date: abc\ncfg.k: 7\n"
    )
    assert flatten(read_config_file(path)) == {
        "cfg.lr": 0.005, "cfg.eps": 1e-6, "cfg.big": 2000.0, "cfg.num": 90000, "cfg.half": 0.5,
        "cfg.name": "5e-3x", "cfg.date": "abc", "cfg.k": 7}  # fmt: skip


def test_json_and_empty_files(tmp_path):
    (tmp_path / "a.json").write_text('{"cfg": {"k": 3}}')
    (tmp_path / "empty.yml").write_text("# nothing\n")
    assert flatten(read_config_file(tmp_path / "a.json")) == {"cfg.k": 3}
    assert read_config_file(tmp_path / "empty.yml") == {}


@pytest.mark.parametrize("text", ["- 1\n- 2\n", "a: [1", "just words"])
def test_a_file_without_sections_is_refused(tmp_path, text):
    (tmp_path / "c.yml").write_text(text)
    with pytest.raises(UsageError, match=r"c\.yml"):
        read_config_file(tmp_path / "c.yml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        read_config_file(tmp_path / "nowhere.yml")


@pytest.mark.parametrize(
    ("raw", "value"), [("90_000", 90000), ("2e3", 2000), (2e3, 2000), (True, 1), (" 7", 7)]
)
def test_whole_numbers(raw, value):
    assert to_int(raw) == value


@pytest.mark.parametrize("raw", ["2.5", 2.5, "x", "", "inf", None, []])
def test_what_is_no_whole_number(raw):
    with pytest.raises((ValueError, TypeError)):
        to_int(raw)


@pytest.mark.parametrize("raw", [False, "False", "false", "no", "off", 0, "0"])
def test_false_is_false(raw):
    assert to_bool(raw) is False


def test_one_error_lists_all_missing_and_wrong_options():
    options = {
        "a.n": Option("n", "int", "a count", required=True),
        "a.m": Option("m", "int", "another"),
        "a.d": Option("d", "float", "with a default", default=0.5),
    }
    with pytest.raises(UsageError) as caught:
        convert_all(options, {"a.m": "x"})
    assert len(str(caught.value).splitlines()) == 2
    assert convert_all(options, {"a.n": "3"}) == {"a.n": 3, "a.m": None, "a.d": 0.5}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("worker.logdr", "worker.logdir"),
        ("worker.inedx", "worker.index"),
        ("worker.idx", None),
        ("worker.do-if-complete", "worker.do_if_complete"),
        ("Worker.Index", "worker.index"),
        ("wroker.index", "worker.index"),
        ("logdir", "worker.logdir"),
        ("data.train_dataset", None),
        ("trainer.multiple", None),
        ("worker.banana", None),
        ("worker.node", None),
        ("worker.size", None),
        ("logger.index", None),
    ],
)
def test_near_misses(name, expected):
    candidates = ["worker.index", "worker.logdir", "worker.do_if_complete", "worker.job_timeout",
                  "worker.main_import"]  # fmt: skip
    assert nearest_option(name, candidates) == expected


_NAMES = st.from_regex(r"[a-z]{1,5}\.[a-z_]{1,8}", fullmatch=True)
_VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.dictionaries(_NAMES, _VALUES), st.booleans())
def test_options_read_back_however_they_are_written(options, with_equals):
    words = []
    for name, value in options.items():
        one_word = with_equals or not value or value.startswith("-")
        words += [f"--{name}={value}"] if one_word else [f"--{name}", value]
    assert scan(words, declared=set(options)).options == options


@given(st.dictionaries(_NAMES, st.integers()))
def test_nested_and_dotted_files_are_the_same(options):
    nested = {}
    for name, value in options.items():
        section, _, last = name.partition(".")
        nested.setdefault(section, {})[last] = value
    assert flatten(nested) == flatten(options) == options


# Words that users write into sections of ours, in files that serve several programs.
_UNRELATED = """
    patience epochs size steps level name path train test root device batch model loss momentum
    weight_decay num_classes mode verbose lr_schedule optimizer width depth x alpha
"""


@pytest.mark.parametrize("section", ["cfg", "data", "early_stopping", "worker", "logging", "lds"])
def test_unrelated_words_are_no_near_misses(section):
    options = [n for n in catalogue.known_names() if n.startswith(f"{section}.")]
    words = [word for word in _UNRELATED.split() if f"{section}.{word}" not in options]
    found = {word: nearest_option(f"{section}.{word}", options) for word in words}
    assert {word: close for word, close in found.items() if close} == {}


@given(st.sampled_from(sorted(catalogue.known_names())), st.data())
def test_one_slip_in_a_name_of_four_letters_or_more_is_near(name, data):
    section, last = name.rsplit(".", 1)
    assume(len(last) >= 4)
    place = data.draw(st.integers(0, len(last) - 1))
    slipped = last[:place] + last[place + 1 :]
    options = [n for n in catalogue.known_names() if n.startswith(f"{section}.")]
    assume(f"{section}.{slipped}" not in options)
    assert nearest_option(f"{section}.{slipped}", options) is not None
