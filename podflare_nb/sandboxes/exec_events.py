"""Outputs of an execution as the events of the wire: dicts, then lines of NDJSON.

stdout and stderr become one event per line, without its newline and with all else that it had, a carriage return, too;
a partial line waits for its newline or the end.
A traceback is told twice: as lines on stderr, for clients that know text only, and as an ``error`` event. The
transcript keeps all; what bash's and ``sys.exit``'s way of failing would add is left out here. Pure, but for
``stream``, which follows a live execution. Stands on ``execution`` and ``outcome``.
"""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from pydantic_core import to_json

from ..protocol.states import Language
from .execution import Execution, ExecutionResult, Notice, Output
from .outcome import exit_argument

Event = dict[str, Any]
_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


PART_CHARACTERS = 16 * 1024
"""Of a stream's text: so much at a time becomes events."""

_LINE_ENDS = re.compile("\x85|\u2028|\u2029".encode())


def encode(events: list[Event]) -> bytes:
    """Encode as NDJSON.

    What Unicode calls a line end is escaped: JSON allows it in a string, but clients that split text into lines by it
    (Python's ``str.splitlines``, and so httpx's ``iter_lines``) would cut the event in two.
    """
    lines = b"".join([to_json(event, inf_nan_mode="null") + b"\n" for event in events])
    return lines if lines.isascii() else _LINE_ENDS.sub(_escaped, lines)


def _escaped(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode())


class EventEncoder:
    """Makes the events of one execution, in order, numbered from ``first``.

    ``keep``: of one output's lines only so many of the last are made, for the replay; all are numbered.
    """

    def __init__(self, language: Language, keep: int | None = None, *, first: int = 0) -> None:
        self._language = language
        self._keep = keep
        self._seq = first
        self._partial: dict[str, list[str]] = {"stdout": [], "stderr": []}

    def notice(self, notice: Notice, ts: int) -> Event:
        """A notice."""
        return self._event("notice", {"code": notice.code, "message": notice.message}, ts)

    def output(self, output: Output, ts: int) -> list[Event]:
        """The events of one output; none while a line is not complete."""
        kind = output["output_type"]
        if kind == "stream":
            return self._lines(output["name"], output["text"], ts)
        if kind == "error":
            return self._error(output, ts)
        if kind == "clear_output":
            return []
        if kind == "network":
            return [self._event("network", {k: v for k, v in output.items() if k != "output_type"}, ts)]
        event = self._event("result" if kind == "execute_result" else "display", output["data"], ts)
        event["metadata"] = output["metadata"]
        if kind == "execute_result":
            event["execution_count"] = output["execution_count"]
        if display_id := output.get("transient", {}).get("display_id"):
            event["display_id"] = display_id
        if kind == "update_display_data":
            event["update"] = True
        return [event]

    def end(self, result: ExecutionResult, cell_id: str, turn_id: str | None, ts: int) -> list[Event]:
        """What is left of the lines, what was truncated, and the exit, which names cell and turn."""
        events = [self._event(name, "".join(parts), ts) for name, parts in self._partial.items() if parts]
        if (cut := result.truncation) is not None:
            message = (
                f"The output was over the limit: {cut.kept_bytes} of {cut.produced_bytes} bytes are kept, "
                "the rest was dropped. Write large results to a file."
            )
            data = {"code": "output_truncated", "message": message}
            notice = self._event("notice", data, ts)
            notice["data"] |= {"produced_bytes": cut.produced_bytes, "kept_bytes": cut.kept_bytes}
            events.append(notice)
        last = self._event("exit", result.exit_code, ts)
        last["status"] = result.status
        last["execution_count"] = result.execution_count
        last["state_preserved"] = result.state_preserved
        last["cell_id"] = cell_id
        if turn_id is not None:
            last["turn_id"] = turn_id
        if result.message is not None:
            last["message"] = result.message
        events.append(last)
        return events

    def _event(self, kind: str, data: Any, ts: int) -> Event:
        seq = self._seq
        self._seq = seq + 1
        return {"type": kind, "data": data, "seq": seq, "ts": ts}

    def _lines(self, name: str, text: str, ts: int) -> list[Event]:
        partial = self._partial[name]
        count = text.count("\n")
        if not count:
            partial.append(text)
            return []
        if self._keep is not None and count > self._keep:
            self._seq += count - self._keep
            lines = text.rsplit("\n", self._keep + 1)[1:]
        else:
            lines = text.split("\n")
            lines[0] = "".join((*partial, lines[0]))
        rest = lines.pop()
        partial[:] = [rest] if rest else []
        return [self._event(name, line, ts) for line in lines]

    def _error(self, output: Output, ts: int) -> list[Event]:
        ename, evalue = output["ename"], output["evalue"]
        if self._language == "bash" and ename == "CalledProcessError":
            return []  # the script's exit code says it
        if ename == "SystemExit":
            text = "" if exit_argument(evalue) is not None else f"{evalue}\n"
        else:
            text = _ANSI.sub("", "\n".join(output["traceback"]).rstrip("\n") + "\n")
        events = self._lines("stderr", text, ts) if text else []
        data = {"ename": ename, "evalue": evalue, "traceback": output["traceback"]}
        return [*events, self._event("error", data, ts)]


def _parts(output: Output) -> Iterator[Output]:
    """A long text of a stream, in parts; any other output as it is."""
    text = output["text"] if output["output_type"] == "stream" else ""
    if len(text) <= PART_CHARACTERS:
        yield output
        return
    for start in range(0, len(text), PART_CHARACTERS):
        yield {**output, "text": text[start : start + PART_CHARACTERS]}


async def stream(execution: Execution) -> AsyncIterator[bytes]:
    """The NDJSON of an execution as it runs, to its end, in pieces that are whole lines."""
    async for events in follow(execution, EventEncoder(execution.request.language)):
        yield encode(events)


async def follow(execution: Execution, encoder: EventEncoder) -> AsyncIterator[list[Event]]:
    """The events of an execution as it runs, in groups; the last of the last one is the exit.

    Bounded by the limits on output; a reader that is slow gets larger pieces, it holds up nothing. Events are made
    as they are asked for, those of some KiB of text at a time: a line of one character is an event of two hundred.
    """
    told = False
    async for ts, output in execution.stamped():
        events = []
        if not told:
            told = True
            events = [encoder.notice(notice, execution.begun) for notice in execution.notices]
        for part in _parts(output):
            events += encoder.output(part, ts)
            if events:
                yield events
                events = []
    result = await execution.result()
    events = [] if told else [encoder.notice(notice, execution.begun) for notice in execution.notices]
    turn_id = execution.request.provenance.turn_id
    yield [*events, *encoder.end(result, execution.cell_id, turn_id, execution.ended)]
