"""A kernel's iopub messages as outputs, and how much of them is kept.

Takes the content of a message and gives an ``Output`` that nbformat accepts, whatever the kernel put in; then
counts it against the bounds of one execution. Pure: decides, keeps a tally, does nothing else.
"""

from dataclasses import dataclass
from typing import Any

from .execution import Output, Truncation
from .messages import MalformedError, Received

KINDS = frozenset({"stream", "display_data", "execute_result", "update_display_data", "error", "clear_output"})
"""Types of messages that are outputs."""


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """What is kept of one execution's output; the rest is dropped and counted.

    ``message_bytes`` bounds a single message: a larger one is not read into memory at all.
    """

    stream_bytes: int = 4 << 20
    display_bytes: int = 6 << 20
    displays: int = 1000
    message_bytes: int = 8 << 20


def output_of(kind: str, content: dict[str, Any]) -> Output:
    """Make the output that a message of one of ``KINDS`` is. Raises MalformedError."""
    if kind == "stream":
        name, text = content.get("name"), content.get("text")
        if name not in ("stdout", "stderr") or not isinstance(text, str):
            raise MalformedError("not a stream")
        return {"output_type": "stream", "name": name, "text": text}
    if kind == "clear_output":
        return {"output_type": "clear_output", "wait": content.get("wait") is True}
    if kind == "error":
        traceback = content.get("traceback")
        return {
            "output_type": "error",
            "ename": _text(content.get("ename")),
            "evalue": _text(content.get("evalue")),
            "traceback": [_text(line) for line in traceback] if isinstance(traceback, list) else [],
        }
    return _display(kind, content)


def _display(kind: str, content: dict[str, Any]) -> Output:
    output: Output = {
        "output_type": kind,
        "data": _bundle(content.get("data")),
        "metadata": _mapping(content.get("metadata")),
    }
    if kind == "execute_result":
        output["execution_count"] = count_of(content)
    display_id = _mapping(content.get("transient")).get("display_id")
    if isinstance(display_id, str):
        output["transient"] = {"display_id": display_id}
    elif kind == "update_display_data":
        raise MalformedError("an update of no display")
    return output


def _bundle(data: Any) -> dict[str, Any]:
    """A MIME bundle that nbformat accepts: text is a string or lines, only JSON may be anything."""
    bundle = _mapping(data)
    return {mime: value for mime, value in bundle.items() if _fits(mime, value)}


def _fits(mime: str, value: Any) -> bool:
    if mime == "application/json" or mime.endswith("+json"):
        return True
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(line, str) for line in value))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def count_of(content: dict[str, Any]) -> int | None:
    """The execution count of a reply, a result or an input."""
    count = content.get("execution_count")
    return count if type(count) is int and 0 <= count < 2**53 else None


class OutputTally:
    """Counts the outputs of one execution against its limits."""

    def __init__(self, limits: OutputLimits) -> None:
        self._limits = limits
        self._produced = 0
        self._kept = 0
        self._stream = 0
        self._display = 0
        self._displays = 0

    def admit(self, message: Received) -> Output | None:
        """Give the output to keep, cut where the bound is; None: dropped. Raises MalformedError."""
        size = message.size
        self._produced += size
        if message.dropped:
            return None
        if message.kind == "stream":
            return self._admit_stream(message, size)
        if self._display + size > self._limits.display_bytes or self._displays >= self._limits.displays:
            return None
        output = output_of(message.kind, message.content())
        self._display += size
        self._displays += 1
        self._kept += size
        return output

    def admit_page(self, text: str) -> Output | None:
        """Text for a pager, such as help on ``print?``: as if it was printed."""
        size = len(text.encode(errors="surrogatepass"))
        self._produced += size
        if self._stream >= self._limits.stream_bytes:
            return None
        return self._cut({"output_type": "stream", "name": "stdout", "text": text}, size)

    def _admit_stream(self, message: Received, size: int) -> Output | None:
        if self._stream >= self._limits.stream_bytes:
            return None
        return self._cut(output_of("stream", message.content()), size)

    def _cut(self, output: Output, size: int) -> Output:
        left = self._limits.stream_bytes - self._stream
        self._stream += size
        if size > left:
            output["text"] = output["text"][:left]
            size = left
        self._kept += size
        return output

    def truncation(self) -> Truncation | None:
        """What was dropped; None: nothing."""
        return Truncation(self._produced, self._kept) if self._kept < self._produced else None
