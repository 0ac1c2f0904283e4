import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodels.training import spec as spec_module
from datamodels.training.spec import Spec, SpecError, preprocess_spec, verify_spec

GOOD = {
    "num_models": 3,
    "schema": {
        "masks": {"shape": [4], "dtype": "bool_"},
        "margins": {"shape": [], "dtype": "float16", "allow_nonfinite": True},
    },
}


def changed(**changes):
    """GOOD with parts replaced: ``masks__dtype="einsum"``, ``num_models=-2``."""
    content = copy.deepcopy(GOOD)
    for path, value in changes.items():
        place = content
        *folders, last = path.split("__")
        if folders:
            place = place["schema"][folders[0]]
        place[last] = value
    return content


def test_names_that_scripts_import():
    assert spec_module.COMPLETED == "_completed"
    assert (spec_module.NUM_MODELS, spec_module.SCHEMA) == ("num_models", "schema")
    assert (spec_module.DTYPE, spec_module.SHAPE) == ("dtype", "shape")


@pytest.mark.parametrize("name", ["bool_", "float16", "float", "uint8", "int", "float32", "int64"])
def test_public_dtype_names_are_accepted(name):
    parsed = Spec.parse(changed(masks__dtype=name))
    expected = {"bool_": bool, "float": float, "int": int}.get(name, name)
    assert parsed.schema["masks"].dtype == np.dtype(expected)


def test_spec_survives_json():
    parsed = Spec.parse(GOOD)
    assert Spec.parse(json.loads(json.dumps(parsed.to_json()))) == parsed


def test_preprocessed_spec_verifies_and_leaves_the_original_alone():
    before = copy.deepcopy(GOOD)
    processed = preprocess_spec(GOOD)
    assert before == GOOD
    assert processed["schema"]["_completed"] == {"dtype": "bool_", "shape": []}
    verify_spec(processed)
    assert Spec.parse(processed) == Spec.parse(GOOD)


@pytest.mark.parametrize(
    ("content", "needle"),
    [
        (changed(num_models=-2), "positive integer, not -2"),
        (changed(num_models=0), "positive integer, not 0"),
        (changed(num_models=True), "positive integer, not true"),
        (changed(num_models="10"), 'positive integer, not "10"'),
        ({"schema": GOOD["schema"]}, '"num_models" is missing'),
        (changed(schema={}), "at least one key"),
        (changed(schema=[1]), "at least one key"),
        (changed(masks__dtype="einsum"), '"einsum" is not a numpy dtype'),
        (changed(masks__dtype="object"), "not of a fixed size"),
        (changed(masks__dtype="str_"), "not of a fixed size"),
        (changed(masks__dtype="i4,f4"), "not of a fixed size"),
        (changed(masks__dtype=3), "not the name of a dtype"),
        (changed(masks__shape=["a"]), 'integers >= 0, not "a"'),
        (changed(masks__shape=[-1]), "integers >= 0, not -1"),
        (changed(masks__shape=[2.5]), "integers >= 0, not 2.5"),
        (changed(masks__shape=[True]), "integers >= 0, not true"),
        (changed(masks__shape=5), "must be a list"),
        (changed(masks__allow_nonfinite="yes"), "true or false"),
        (changed(masks__shape=[2**40, 2**30]), "more than one file can hold"),
        ({"num_models": 2, "schema": {"_completed": {"shape": [3], "dtype": "int8"}, "a": {}}},
         "name of the flags"),
        ({"num_models": 2, "schema": {"../x": GOOD["schema"]["masks"]}}, "no safe file name"),
        ({"num_models": 2, "schema": {"": GOOD["schema"]["masks"]}}, "no safe file name"),
        ({"num_models": 2, "schema": {"a": 3}}, "must be an object"),
        ([], "a spec is a JSON object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(content, needle):
    with pytest.raises(SpecError, match=None) as caught:
        verify_spec(content)
    assert needle in str(caught.value)


def test_one_error_lists_everything():
    with pytest.raises(SpecError) as caught:
        Spec.parse(changed(num_models=-2, masks__dtype="einsum", margins__shape=["a"]))
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "needle"),
    [
        (changed(num_model=3), "num_models"),
        (changed(masks__shapes=[3]), "shape"),
        (changed(comment="mine"), "unknown field 'comment'"),
    ],
)
def test_unknown_fields_warn_with_the_nearest_name(content, needle):
    with pytest.warns(UserWarning, match=needle):
        Spec.parse(content)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "spec.json"
    entry = json.dumps(GOOD["schema"]["masks"])
    path.write_text(f'{{"num_models": 2, "schema": {{"a": {entry}, "a": {entry}}}}}')
    with pytest.raises(SpecError, match='"a" stands twice'):
        Spec.read(path)


_DTYPES = ["bool_", "float16", "float", "uint8", "int64", "complex64", "S7"]
_FIELDS = st.fixed_dictionaries(
    {
        "shape": st.lists(st.integers(0, 1000), max_size=3),
        "dtype": st.sampled_from(_DTYPES),
    },
    optional={"allow_nonfinite": st.booleans()},
)
_KEYS = st.from_regex(r"[a-z][a-z0-9_.-]{0,9}", fullmatch=True)


@given(st.integers(1, 10**6), st.dictionaries(_KEYS, _FIELDS, min_size=1, max_size=4))
def test_any_spec_survives_json(num_models, schema):
    parsed = Spec.parse({"num_models": num_models, "schema": schema})
    assert Spec.parse(json.loads(json.dumps(parsed.to_json()))) == parsed
