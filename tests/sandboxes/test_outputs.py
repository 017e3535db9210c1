"""Messages as outputs that nbformat accepts, and what is kept of them."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from pydantic_core import to_json

from podflare_nb.sandboxes.messages import MalformedError, Received
from podflare_nb.sandboxes.outputs import OutputLimits, OutputTally, output_of


def received(kind, **content):
    return Received(kind, "parent", to_json(content))


def stream(text):
    return received("stream", name="stdout", text=text)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("display_data", {"data": {"text/plain": 5, "text/html": ["a", "b"], "x/y": {}}, "metadata": 3}),
        ("display_data", {"data": {"application/json": {"a": [1]}, "application/x+json": 5}, "metadata": {}}),
        ("execute_result", {"data": None, "execution_count": "one"}),
        ("execute_result", {"data": {"text/plain": "x"}, "execution_count": 2, "metadata": {}}),
        ("error", {"ename": None, "evalue": 5, "traceback": [1, "x"]}),
        ("error", {"traceback": "x"}),
        ("stream", {"name": "stderr", "text": "x"}),
    ],
)
def test_every_output_is_valid_nbformat_whatever_the_kernel_said(kind, content):
    output = output_of(kind, content)
    cell = new_code_cell("", outputs=[nbformat.from_dict(output)])
    nbformat.validate(new_notebook(cells=[cell]))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("stream", {"name": "stdin", "text": "x"}),
        ("stream", {"name": "stdout", "text": 5}),
        ("stream", {}),
        ("update_display_data", {"data": {}}),
    ],
)
def test_what_cannot_be_an_output_is_refused(kind, content):
    with pytest.raises(MalformedError):
        output_of(kind, content)


def test_a_display_id_is_kept():
    content = {"data": {}, "metadata": {}, "transient": {"display_id": "d"}}
    assert output_of("update_display_data", content)["transient"] == {"display_id": "d"}


def test_nothing_dropped_is_no_truncation():
    tally = OutputTally(OutputLimits())
    assert tally.admit(stream("x"))["text"] == "x"
    assert tally.truncation() is None


def test_streams_are_cut_at_their_bound_and_counted_beyond():
    tally = OutputTally(OutputLimits(stream_bytes=100))
    kept = [output for _ in range(10) if (output := tally.admit(stream("x" * 40)))]
    assert "".join(output["text"] for output in kept) == "x" * len(kept[0]["text"]) + kept[1]["text"]
    assert len(kept) == 2
    cut = tally.truncation()
    assert cut.kept_bytes == 100
    assert cut.produced_bytes == 10 * stream("x" * 40).size


def test_displays_are_bounded_in_number_and_bytes():
    tally = OutputTally(OutputLimits(displays=3))
    assert [bool(tally.admit(received("display_data", data={}))) for _ in range(4)] == [True] * 3 + [False]
    tally = OutputTally(OutputLimits(display_bytes=100))
    assert tally.admit(received("display_data", data={"text/plain": "x" * 200})) is None
    assert tally.admit(received("display_data", data={"text/plain": "x"})) is not None


def test_a_message_that_was_not_read_counts_with_its_size():
    tally = OutputTally(OutputLimits())
    assert tally.admit(Received("stream", "parent", b"", dropped=10**9)) is None
    assert tally.truncation().produced_bytes == 10**9
