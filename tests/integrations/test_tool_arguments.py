import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podflare_nb.integrations.arguments import read_arguments, usage
from podflare_nb.integrations.code_tool import INPUT_SCHEMA, CodeCall, code_call

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer"},
        "mode": {"type": "string", "enum": ["a", "b"]},
    },
    "required": ["name"],
}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


def test_arguments_that_are_right_come_back_without_those_that_are_null():
    assert read_arguments({"name": "x", "count": 2, "mode": None}, SCHEMA) == {"name": "x", "count": 2}


def test_arguments_may_be_json_text():
    assert code_call('{"code": "1", "language": "bash"}') == CodeCall("1", "bash")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({}, "The argument name is missing."),
        ({"name": None}, "The argument name is missing."),
        ({"name": 7}, "The argument name is a number, not a string."),
        ({"name": "x", "count": "7"}, "The argument count is a string, not an integer."),
        ({"name": "x", "count": True}, "The argument count is a boolean, not an integer."),
        ({"name": "x", "mode": "c"}, "The argument mode cannot be 'c'."),
        ({"name": "x", "more": 1, "even": 2}, "There is no argument 'more', 'even'."),
        ({"name": "x\ud800"}, "The argument name holds half of a surrogate pair, which is no character."),
        ('{"name": "\\udfff"}', "The argument name holds half of a surrogate pair, which is no character."),
        (["name"], "The arguments are an array, not an object."),
        (None, "The arguments are null, not an object."),
        ("{", "The arguments are not JSON."),
        ("[" * 100_000, "The arguments are not JSON."),
    ],
)
def test_a_fault_is_named_and_the_right_way_is_said(arguments, fault):
    assert read_arguments(arguments, SCHEMA) == f"{fault} {usage(SCHEMA)}"


def test_the_right_way_names_every_argument():
    said = 'Call it with {"name": string, "count": integer (may be left out), "mode": "a" or "b" (may be left out)}.'
    assert usage(SCHEMA) == said


def test_what_a_model_invents_does_not_make_the_sentence_long():
    assert len(read_arguments({"x" * 10_000: 1}, SCHEMA)) < 500
    assert len(read_arguments({"name": "x", "mode": "y" * 10_000}, SCHEMA)) < 500


@pytest.mark.parametrize("code", ["", " \n\t"])
def test_code_that_is_empty_is_not_run(code):
    assert "code is empty" in code_call({"code": code})


@given(ANY_JSON)
def test_whatever_comes_is_a_call_or_a_sentence(arguments):
    for form in (arguments, json.dumps(arguments)):
        outcome = code_call(form)
        assert isinstance(outcome, CodeCall) or usage(INPUT_SCHEMA) in outcome
