"""Transcripts on a clock that stands still, and short ways to say what happened in a sandbox."""

from __future__ import annotations

from datetime import UTC, datetime

import nbformat
import pytest

from podflare_nb.protocol.provenance import Provenance
from podflare_nb.sandboxes.execution import ExecutionRequest, ExecutionResult, ExecutionTiming
from podflare_nb.transcripts import ForkedFrom, Recorder, TranscriptHeader, TranscriptStore

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SANDBOX = "sbx_" + "a" * 32


class Happenings:
    """What a sandbox tells its observer, in one line each."""

    def __init__(self, transcript):
        self.recorder = Recorder(transcript)
        self.transcript = transcript
        self.count = 0

    def start(self, source="print(6*7)", cell_id=None, **who):
        cell_id = cell_id or self.transcript.new_cell_id()
        self.recorder.execution_started(cell_id, ExecutionRequest(source, provenance=Provenance(**who)), source)
        return cell_id

    def output(self, cell_id, **output):
        self.recorder.execution_output(cell_id, output)

    def out(self, cell_id, text, name="stdout"):
        self.output(cell_id, output_type="stream", name=name, text=text)

    def end(self, cell_id, status="ok", exit_code=0, **how):
        self.count += 1
        timing = ExecutionTiming(busy=NOON, execute_input=NOON, execute_reply=NOON, idle=NOON)
        self.recorder.execution_ended(
            cell_id, ExecutionResult(status, exit_code, self.count, **{"timing": timing, **how})
        )

    def run(self, source, *outputs, status="ok", exit_code=0, **who):
        cell_id = self.start(source, **who)
        for output in outputs:
            self.output(cell_id, **output)
        self.end(cell_id, status, exit_code)
        return cell_id


def header(sandbox_id=SANDBOX, **changes):
    return TranscriptHeader(
        **{
            "sandbox_id": sandbox_id,
            "tenant_id": "tenant-1",
            "template": "python-datasci",
            "display_name": "Python (data science)",
            "created_at": NOON,
            **changes,
        }
    )


def valid(notebook):
    """The notebook, which nbformat accepts without repairing anything."""
    assert nbformat.validator.isvalid(notebook)
    return notebook


@pytest.fixture
def make_header():
    return header


@pytest.fixture
def validated():
    return valid


@pytest.fixture
def parsed():
    """The bytes of an .ipynb as whoever opens it sees it, validated."""
    return lambda data: valid(nbformat.reads(data.decode(), as_version=4))


@pytest.fixture
async def store(tmp_path):
    numbers = iter(range(1, 1_000_000))
    async with TranscriptStore(
        tmp_path / "transcripts", clock=NOON.timestamp, new_cell_id=lambda: f"cell-{next(numbers)}"
    ) as store:
        yield store


@pytest.fixture
def transcript(store):
    return store.create(header())


@pytest.fixture
def sandbox(transcript):
    return Happenings(transcript)


@pytest.fixture
def happenings():
    return Happenings


@pytest.fixture
def read(transcript):
    """The transcript's notebook now, validated."""

    async def read():
        return valid(await transcript.notebook())

    return read


class Family:
    """A sandbox and its branches."""

    def __init__(self, store, parent):
        self.store = store
        self.parent = parent
        self.sandbox = Happenings(parent)
        self.says = Happenings

    def fork(self, parent, sandbox_id):
        turn_id, cells = parent.position()
        origin = ForkedFrom(parent.header.sandbox_id, turn_id, cells, NOON.timestamp())
        return self.store.fork(parent, header(sandbox_id, forked_from=origin))

    async def read(self, transcript):
        return valid(await transcript.notebook())


@pytest.fixture
def family(store, transcript):
    return Family(store, transcript)
