"""From what a run put out to what a model is told of it: plain text with a bound, and a few images.

The notebook records everything; this is only the model's view. Escape sequences are taken out, a progress bar
leaves its last state, and of a long text the head and the tail stay, with a line that tells how much was cut.
Pure. Above it stand our own agent (``chat``) and the adapters for other people's agents (``integrations``), so
that both tell a model the same.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Output = Mapping[str, Any]
"""An output in nbformat's form, or one of the two that change earlier ones (``update_display_data``,
``clear_output``)."""

DEFAULT_LIMIT = 8_000
"""Characters of one run that a model is given."""

MAX_IMAGES = 4
MAX_IMAGE_BASE64 = 5_000_000
"""Per image; the smallest limit among the providers."""

_LONGEST_LINE = 16_000
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_TEXT_TYPES = ("text/plain", "text/markdown", "text/latex", "application/json", "text/html")


class Ending(Protocol):
    """How a run ended, as the service and its clients each hold it."""

    @property
    def status(self) -> str:
        """One of ``states.ExecutionStatus``; a newer service may know more."""

    @property
    def exit_code(self) -> int:
        """0 for a good end."""

    @property
    def message(self) -> str | None:
        """The sandbox's sentence about a timeout or a death."""

    @property
    def state_preserved(self) -> bool:
        """False: the kernel was replaced, variables are gone."""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that the run showed."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What the model is told. ``text`` is never empty; ``message`` is the sandbox's sentence about a bad end."""

    text: str
    images: tuple[Image, ...]
    status: str
    message: str | None = None


def strip_ansi(text: str) -> str:
    """Take out colours and other escape sequences."""
    return _ANSI.sub("", text)


def shorten(text: str, limit: int) -> str:
    """Head and tail of a text that is longer than ``limit``, with a line between them that says what was cut."""
    if len(text) <= limit:
        return text
    head = text[: limit * 2 // 3]
    tail = text[len(text) - (limit - len(head)) :]
    return f"{head}\n[... {len(text) - limit:,} of {len(text):,} characters cut here ...]\n{tail}"


class _HeadAndTail:
    """Text of any length in bounded memory: the first and the last characters, and how many there were."""

    def __init__(self, limit: int) -> None:
        self._head_limit = limit * 2 // 3
        self._tail_limit = limit - self._head_limit
        self.head = ""
        self.tail = ""
        self.total = 0

    def add(self, text: str) -> None:
        self.total += len(text)
        room = self._head_limit - len(self.head)
        if room > 0:
            self.head += text[:room]
            text = text[room:]
        if text:
            self.tail = (self.tail + text)[-self._tail_limit :]

    def text(self) -> str:
        cut = self.total - len(self.head) - len(self.tail)
        if not cut:
            return self.head + self.tail
        return f"{self.head}\n[... {cut:,} of {self.total:,} characters cut here ...]\n{self.tail}"


class Observation:
    """Takes the outputs of one run as they come; ``finish`` makes the model's view of them."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._clear_first = False
        self._start_over()

    def _start_over(self) -> None:
        self._text = _HeadAndTail(self._limit)
        self._line = ""
        self._images: list[Image] = []

    def add(self, output: Output) -> None:
        """One output in nbformat's form, or one of the two that change earlier ones."""
        kind = output.get("output_type")
        if kind == "clear_output":
            self._clear_first = True
            if not output.get("wait"):
                self._start_over()
            return
        if self._clear_first:
            self._clear_first = False
            self._start_over()
        if kind == "stream":
            self._stream(joined(output.get("text")))
        elif kind == "error":
            self._paragraph("\n".join(output.get("traceback") or [f"{output.get('ename')}: {output.get('evalue')}"]))
        else:
            self._bundle(output.get("data") or {})

    def finish(self, result: Ending, notices: Sequence[str] = ()) -> Observed:
        """The whole, below notices of the sandbox and a line that says so when the run did not end well."""
        self._flush_line()
        told = [line for line in (*notices, _ending(result), self._text.text().strip("\n")) if line]
        return Observed("\n".join(told) or "(no output)", tuple(self._images), result.status, result.message)

    def _stream(self, text: str) -> None:
        """Whole lines go on; of a line that is rewritten by carriage returns only the last state does."""
        lines = strip_ansi(self._line + text).replace("\r\n", "\n").split("\n")
        for line in lines[:-1]:
            self._text.add(line.rpartition("\r")[2] + "\n")
        rest = lines[-1]
        self._line = rest if rest.endswith("\r") else rest.rpartition("\r")[2]
        if len(self._line) > _LONGEST_LINE:
            self._flush_line()

    def _flush_line(self) -> None:
        self._text.add(self._line.rstrip("\r").rpartition("\r")[2])
        self._line = ""

    def _paragraph(self, text: str) -> None:
        if self._line:
            self._stream("\n")
        self._text.add(strip_ansi(text).rstrip("\n") + "\n")

    def _bundle(self, data: dict[str, object]) -> None:
        for media_type in _TEXT_TYPES:
            if media_type in data:
                self._paragraph(joined(data[media_type]))
                break
        for media_type in _IMAGE_TYPES:
            if media_type in data:
                self._image(joined(data[media_type]), media_type)
                return
        if "image/svg+xml" in data:
            self._paragraph("[image/svg+xml: shown to the user, not to you]")

    def _image(self, encoded: str, media_type: str) -> None:
        if len(encoded) > MAX_IMAGE_BASE64:
            self._paragraph(f"[{media_type} of {len(encoded) * 3 // 4:,} bytes: shown to the user, too big for you]")
        elif len(self._images) >= MAX_IMAGES:
            self._paragraph(f"[{media_type}: shown to the user; you are given the first {MAX_IMAGES} of a run]")
        else:
            try:
                data = base64.b64decode(encoded)
            except binascii.Error:
                self._paragraph(f"[{media_type} that is not valid base64]")
            else:
                self._images.append(Image(data, media_type))


def observe(
    outputs: Iterable[Output], result: Ending, limit: int = DEFAULT_LIMIT, notices: Sequence[str] = ()
) -> Observed:
    """The model's view of a run that is over."""
    observation = Observation(limit)
    for output in outputs:
        observation.add(output)
    return observation.finish(result, notices)


def joined(value: object) -> str:
    """A text of a notebook as one string: nbformat keeps long ones as lists of lines."""
    if isinstance(value, list):
        return "".join(str(line) for line in value)
    return value if isinstance(value, str) else str(value if value is not None else "")


def _ending(result: Ending) -> str:
    if result.status == "ok":
        return ""
    said = {
        "interrupted": "The code was interrupted.",
        "timeout": "The code was stopped at its time limit.",
        "died": "The kernel died while the code ran.",
    }.get(result.status, f"The code failed (exit code {result.exit_code}).")
    parts = [said, result.message or ""]
    if not result.state_preserved:
        parts.append("The kernel was started anew: variables are gone, files are still there.")
    return " ".join(part for part in parts if part)
