"""Properties of folding, for any order of what can happen."""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podflare_nb.transcripts import rendering, views
from podflare_nb.transcripts.ipynb_file import in_pieces
from podflare_nb.transcripts.notebook import Notebook
from podflare_nb.transcripts.projection import Projection
from podflare_nb.transcripts.segments import FIRST

IDS = st.sampled_from(["a", "b", "c", "bad id!", ""])
TEXT = st.text(st.characters(codec=None), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MIMES = st.sampled_from(["text/plain", "text/html", "image/png", "application/json", "application/x+json"])
OUTPUTS = st.fixed_dictionaries(
    {
        "output_type": st.sampled_from(
            ["stream", "display_data", "execute_result", "error", "update_display_data", "clear_output", "?"]
        )
    },
    optional={
        "name": st.sampled_from(["stdout", "stderr"]) | JSON,
        "text": TEXT | JSON,
        "data": st.dictionaries(MIMES, JSON, max_size=3) | JSON,
        "metadata": st.dictionaries(TEXT, JSON, max_size=2) | JSON,
        "transient": st.fixed_dictionaries({"display_id": IDS}) | JSON,
        "execution_count": JSON,
        "wait": JSON,
        "ename": JSON,
        "evalue": JSON,
        "traceback": JSON,
    },
)
BY = st.fixed_dictionaries({}, optional={"role": st.sampled_from(["user", "tool"]), "operator": TEXT, "x": JSON})
AT = st.floats(0, 4e9)
RECORDS = st.one_of(
    st.fixed_dictionaries({"t": st.just("start"), "cell": IDS, "source": TEXT, "by": BY, "at": AT}),
    st.fixed_dictionaries({"t": st.just("out"), "cell": IDS, "out": OUTPUTS}),
    st.fixed_dictionaries(
        {"t": st.just("end"), "cell": IDS, "status": st.sampled_from(["ok", "error", "timeout", "died"]), "at": AT},
        optional={"exit_code": JSON, "execution_count": JSON, "message": JSON},
    ),
    st.fixed_dictionaries({"t": st.just("markdown"), "cell": IDS, "text": TEXT, "by": BY}),
    st.fixed_dictionaries({"t": st.just("text"), "cell": IDS, "text": TEXT}),
    st.fixed_dictionaries({"t": st.just("turn"), "turn_id": IDS, "cell": IDS, "text": TEXT, "by": BY, "at": AT}),
    st.fixed_dictionaries(
        {"t": st.just("turn-end"), "turn_id": IDS, "status": st.sampled_from(["ok", "limit", "error"]), "at": AT},
        optional={"usage": JSON, "error": JSON},
    ),
    st.sampled_from([{"t": "recovered", "at": 1.0}, {"t": "closed", "at": 2.0}, {"t": "lost", "records": 3}, None]),
    JSON.map(lambda value: {"t": "out", "cell": "a", "out": value}),
)

quick = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def recorded(records):
    """The records as they come back from a journal."""
    return [None if record is None else json.loads(json.dumps(record)) for record in records]


def strict(data):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(data.decode(), parse_constant=refuse)


class Told:
    """A journal in memory: record ``n`` stands at the places from ``10 n`` on."""

    def __init__(self, header, records=()):
        self.notebook = Notebook(header)
        self.said = []
        for record in records:
            self.apply(record)

    def apply(self, record):
        number = len(self.said)
        self.said.append(record)
        self.notebook.apply(record, (10 * number, 10 * number + 10))

    def records(self, begin, end=None):
        for number, record in enumerate(self.said):
            if begin <= 10 * number and (end is None or 10 * number < end):
                yield record, 10 * number, 10 * number + 10

    def ipynb(self):
        return b"".join(in_pieces(self.notebook.edition(), self))


@quick
@given(records=st.lists(RECORDS, max_size=12), read_at_once=st.sampled_from([-1, 30, 1_000_000]))
def test_any_records_fold_into_a_valid_notebook_at_every_moment(make_header, validated, records, read_at_once):
    told = Told(make_header())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "READ_AT_ONCE", read_at_once)
        patch.setattr(rendering, "READ_AT_ONCE", read_at_once)
        for record in recorded(records):
            told.apply(record)
            rendered = strict(told.ipynb())
            validated(rendered)
            ids = [cell["id"] for cell in rendered["cells"]]
            assert len(ids) == len(set(ids))


@quick
@given(records=st.lists(RECORDS, max_size=15), cut=st.integers(0, 15))
def test_a_large_cell_is_rendered_as_a_small_one(make_header, records, cut):
    told = Told(make_header(), recorded(records))
    small = told.ipynb()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "READ_AT_ONCE", cut * 10 - 1)
        patch.setattr(rendering, "READ_AT_ONCE", cut * 10 - 1)
        assert told.ipynb() == small


@quick
@given(records=st.lists(RECORDS, max_size=15), cut=st.integers(0, 15))
def test_folding_in_two_goes_is_folding_at_once(make_header, records, cut):
    at_once = Told(make_header(), recorded(records))
    in_two = Told(make_header(), recorded(records[:cut]))
    early, before = in_two.notebook.edition(), in_two.ipynb()
    twin = in_two.notebook.clone(make_header())
    for record in recorded(records[cut:]):
        in_two.apply(record)
    assert in_two.ipynb() == at_once.ipynb()
    assert b"".join(in_pieces(early, in_two)) == before, "an edition stays as it was"
    assert b"".join(in_pieces(twin.edition(), in_two)) == before, "so does a clone"


@quick
@given(pieces=st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), TEXT.filter(str.isprintable)), max_size=20))
def test_streams_lose_nothing_and_keep_their_order(make_header, pieces):
    told = Told(make_header(), [{"t": "start", "cell": "a", "source": "", "by": {}}])
    for name, text in pieces:
        told.apply({"t": "out", "cell": "a", "out": {"output_type": "stream", "name": name, "text": text}})
    outputs = strict(told.ipynb())["cells"][0]["outputs"]
    for stream in ("stdout", "stderr"):
        assert "".join(o["text"] for o in outputs if o["name"] == stream) == "".join(
            text for name, text in pieces if name == stream
        )
    assert all(a["name"] != b["name"] for a, b in pairwise(outputs))


@pytest.mark.parametrize("unreadable", [{"oot": {}}, {"out": []}, {"out": {"output_type": "stream", "name": []}}])
def test_an_output_that_cannot_be_read_is_left_out_between_two_that_can(make_header, unreadable):
    good = {"t": "out", "cell": "a", "out": {"output_type": "stream", "name": "stdout", "text": "y"}}
    told = Told(make_header(), [{"t": "start", "cell": "a", "source": "", "by": {}}])
    for record in (good, {"t": "out", "cell": "a", **unreadable}, good):
        told.apply(record)
    (output,) = strict(told.ipynb())["cells"][0]["outputs"]
    assert output["text"] == "yy"


@quick
@given(damage=st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=8)), max_size=4))
def test_a_journal_that_was_overwritten_anywhere_still_opens(make_header, validated, damage):
    lines = [make_header().to_record()]
    lines += [{"t": "start", "cell": "a", "source": "x", "by": {}, "at": 1.0}]
    lines += [{"t": "out", "cell": "a", "out": {"output_type": "stream", "name": "stdout", "text": "y" * 9}}] * 20
    data = bytearray("".join(json.dumps(line) + "\n" for line in lines).encode())
    for position, patch in damage:
        data[position : position + len(patch)] = patch
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / FIRST).write_bytes(data)
        projection = Projection(Path(directory), make_header(), live=False)
        validated(strict(b"".join(projection.ipynb())))
