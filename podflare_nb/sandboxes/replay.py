"""The last events of a sandbox's executions, for a client that comes back: a ring, bounded in number and bytes.

Fed by the executor as outputs come, whether or not anybody reads them. The events are those that ``exec_events``
makes for a reader, with the same numbers.
"""

from collections import deque

from .exec_events import Event, EventEncoder, encode
from .execution import Execution, ExecutionResult, Output


class Replay:
    """A ring of events. What is over a bound pushes the oldest out; an event larger than all of it is left out."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events, self._max_bytes = max_events, max_bytes
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._encoder = EventEncoder("python", max_events)
        self._cell_id = ""
        self._turn_id: str | None = None

    def __repr__(self) -> str:
        return f"<Replay events={len(self._events)} bytes={self._bytes}>"

    def started(self, execution: Execution) -> None:
        """Another execution begins."""
        self._encoder = EventEncoder(execution.request.language, self._max_events)
        self._cell_id, self._turn_id = execution.cell_id, execution.request.provenance.turn_id
        self._keep([self._encoder.notice(notice, execution.begun) for notice in execution.notices])

    def output(self, output: Output, ts: int) -> None:
        """It gave an output."""
        self._keep(self._encoder.output(output, ts))

    def ended(self, result: ExecutionResult, ts: int) -> None:
        """It ended."""
        self._keep(self._encoder.end(result, self._cell_id, self._turn_id, ts))

    def ndjson(self) -> bytes:
        """All that is kept, oldest first."""
        return encode([event for event, _ in self._events])

    def _keep(self, events: list[Event]) -> None:
        for event in events:
            size = _size(event)
            if size > self._max_bytes:
                continue
            self._events.append((event, size))
            self._bytes += size
        while len(self._events) > self._max_events or self._bytes > self._max_bytes:
            self._bytes -= self._events.popleft()[1]


def _size(event: Event) -> int:
    data = event["data"]
    if isinstance(data, str):
        return 400 + len(data)
    if event["type"] in ("result", "display") and all(isinstance(value, str) for value in data.values()):
        return 800 + sum(map(len, data.values()))
    return 400 + len(encode([event]))
