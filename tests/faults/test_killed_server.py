"""kill -9 of the server: what a client has seen is in the notebook, nothing else is left."""

import json
import os
import signal
from collections import Counter

import pytest

from .caller import SECONDS, Caller
from .services import running
from .traces import Traces, supervisor_of

ENDLESS = "import itertools\nfor n in itertools.count(): print('line', n, flush=True)"
DISPLAYS = "from IPython.display import display\nfor n in range(10**9): display({'text/plain': f'shown {n}'}, raw=True)"


def text_of(cell) -> str:
    return "".join("".join(each["text"]) for each in cell["outputs"] if each["output_type"] == "stream")


def shown_in(cell) -> set[str]:
    return {"".join(each["data"]["text/plain"]) for each in cell["outputs"] if "data" in each}


def code_cells(notebook) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A service that was killed in the middle of three streams, with its supervisor, and the next one on its data."""
    directory = tmp_path_factory.mktemp("service")
    with running(directory) as first:
        with Caller(first) as caller:
            ids = {what: caller.create() for what in ("lines", "displays", "turn", "idle")}
            with (
                caller.stream(ids["lines"], ENDLESS) as lines,
                caller.stream(ids["displays"], DISPLAYS) as displays,
                caller.turn(ids["turn"], f"```python\n{ENDLESS}\n```") as turn,
            ):
                lines.until("stdout", 20)
                displays.until("display", 5)
                turn.until("cell-output", 3)
                traces = Traces.of(first)
                for pid in (supervisor_of(first).pid, first.process.pid):
                    os.kill(pid, signal.SIGKILL)
                received = {"lines": lines.rest(), "displays": displays.rest(), "turn": turn.rest()}
        first.process.wait(SECONDS)
        traces.until_ended(SECONDS)
        with running(directory, first.runtime_dir) as second, Caller(second) as caller:
            yield caller, ids, received, traces


def notebook(caller, sandbox):
    answer = caller.http.get(f"/v1/sandboxes/{sandbox}/notebook.ipynb")
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text)


def test_nothing_but_notebooks_is_left_of_a_killed_service_once_the_next_has_started(killed):
    killed[3].until_gone(SECONDS)


def test_every_line_that_was_received_is_in_the_notebook(killed):
    caller, ids, received, _ = killed
    lines = [event["data"] for event in received["lines"] if event["type"] == "stdout"]
    (cell,) = code_cells(notebook(caller, ids["lines"]))
    assert len(lines) >= 20
    assert not Counter(lines) - Counter(text_of(cell).split("\n"))


def test_every_display_that_was_received_is_in_the_notebook(killed):
    caller, ids, received, _ = killed
    shown = {event["data"]["text/plain"] for event in received["displays"] if event["type"] == "display"}
    (cell,) = code_cells(notebook(caller, ids["displays"]))
    assert len(shown) >= 5
    assert shown <= shown_in(cell)


def test_every_cell_and_output_that_a_turn_had_told_is_in_the_notebook(killed):
    caller, ids, received, _ = killed
    told = received["turn"]
    outputs = [event["data"]["output"] for event in told if event["type"] == "cell-output"]
    cells = {cell["id"]: cell for cell in notebook(caller, ids["turn"])["cells"]}
    for event in told:
        if event["type"] == "cell-start":
            assert event["data"]["cell_id"] in cells
    (cell,) = code_cells({"cells": cells.values()})
    assert text_of(cell).startswith("".join("".join(output["text"]) for output in outputs))


def test_the_turn_that_was_cut_off_is_listed_as_ended(killed):
    caller, ids, _, _ = killed
    (turn,) = caller.http.get(f"/v1/sandboxes/{ids['turn']}/chat").json()["turns"]
    assert turn["status"] not in ("running", "ok")


@pytest.mark.parametrize("which", ["lines", "turn", "idle"])
def test_its_sandboxes_answer_410_with_reason_and_sentence(killed, which):
    caller, ids, _, _ = killed
    answer = caller.http.post(f"/v1/sandboxes/{ids[which]}/exec", json={"code": "1"})
    assert answer.status_code == 410
    assert answer.json()["details"]["reason"] == "crashed"
    assert "variables are lost" in answer.json()["error"]
    assert caller.http.get(f"/v1/sandboxes/{ids[which]}").json()["state"] == "closed"


def test_the_next_service_works(killed):
    caller = killed[0]
    with caller.sandbox() as sandbox:
        assert caller.run(sandbox, "print(6 * 7)").text() == "42"
