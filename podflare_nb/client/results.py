"""What a run of code gave: text, rich results, the error and how it ended, gathered from the events of a stream.

No input or output happens here. ``ResultCollector`` reads events one by one; ``ExecResult`` is what it ends as.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .display import bytes_of_base64, html_of_bundle, preformatted, text_of
from .errors import CodeError, UnexpectedAnswerError
from .networks import NetworkConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .events import Event

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_SHOWN_IN_REPR = 60


@dataclass(frozen=True, slots=True)
class Result:
    """One rich output: a displayed object or the value of the last expression, in all forms that it has."""

    data: dict[str, Any]
    """Its MIME bundle: base64 text for pictures, text for the rest, objects for JSON."""
    metadata: dict[str, Any] = field(default_factory=dict)
    is_value: bool = False
    """True for the value of the last expression, False for what was displayed."""
    display_id: str | None = None

    @property
    def png(self) -> bytes | None:
        """The picture as PNG bytes, ready to be written to a file."""
        return bytes_of_base64(self.data.get("image/png"))

    @property
    def svg(self) -> str | None:
        """The picture as SVG."""
        return text_of(self.data.get("image/svg+xml")) or None

    @property
    def html(self) -> str | None:
        """The HTML form, as the sandbox made it: not to be trusted."""
        return text_of(self.data.get("text/html")) or None

    @property
    def text(self) -> str | None:
        """The plain text form."""
        return text_of(self.data.get("text/plain")) or None

    @property
    def json(self) -> Any:
        """The JSON form, decoded; None where there is none."""
        return self.data.get("application/json")

    def __repr__(self) -> str:
        forms = ", ".join(self.data)
        return f"<Result {_short(self.text or '')!r}: {forms}>"

    def _repr_html_(self) -> str:
        return html_of_bundle(self.data)


@dataclass(frozen=True, slots=True)
class ExecutionError:
    """The exception that ended the code."""

    ename: str
    evalue: str
    traceback: tuple[str, ...] = ()
    """As IPython made it, with its colours."""

    @property
    def text(self) -> str:
        """The traceback without colours."""
        return _ANSI.sub("", "\n".join(self.traceback))

    def __str__(self) -> str:
        return f"{self.ename}: {self.evalue}" if self.evalue else self.ename


@dataclass(frozen=True, slots=True)
class Notice:
    """A remark of the service: output was cut, the kernel was replaced, a connection was refused."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class ExecResult:
    """How a run of code ended and what it gave.

    ``stdout`` and ``stderr`` are the lines joined by newlines, without a last one; ``exit_code`` is 0, 1 for an
    exception, n of ``sys.exit(n)``, bash's own, 124 at a timeout, 130 interrupted, 137 when the kernel died.
    """

    stdout: str
    stderr: str
    exit_code: int
    results: list[Result] = field(default_factory=list)
    error: ExecutionError | None = None
    status: str = "ok"
    """ok, error, interrupted, timeout or died."""
    execution_count: int | None = None
    state_preserved: bool = True
    """False: the kernel had to be replaced, so variables are gone."""
    message: str | None = None
    """The service's sentence about a timeout or a death."""
    notices: tuple[Notice, ...] = ()
    refused: tuple[NetworkConnection, ...] = ()
    """Connections that the egress policy refused while it ran; each is a notice, too."""
    cell_id: str | None = None
    """The cell of the notebook that records it."""
    turn_id: str | None = None
    """The turn that it was: what ``rewind`` takes."""

    @property
    def ok(self) -> bool:
        """Whether the code ended with exit code 0."""
        return self.exit_code == 0

    @property
    def truncated(self) -> bool:
        """Whether the service dropped output; the notice tells how much there was."""
        return any(notice.code == "output_truncated" for notice in self.notices)

    @property
    def pngs(self) -> list[bytes]:
        """Every picture among the results."""
        return [png for result in self.results if (png := result.png) is not None]

    def raise_for_error(self) -> ExecResult:
        """Raise CodeError with the code's own error if it failed; else give the result itself."""
        if not self.ok:
            why = self.message or (str(self.error) if self.error else None) or self.stderr.strip()
            raise CodeError(
                why or f"The code ended with exit code {self.exit_code}.", details={"exit_code": self.exit_code}
            )
        return self

    def __repr__(self) -> str:
        shown = [f"exit_code={self.exit_code}"]
        if self.error:
            shown.append(f"error={_short(str(self.error))!r}")
        if self.stdout:
            shown.append(f"stdout={_short(self.stdout)!r}")
        if self.stderr and not self.error:
            shown.append(f"stderr={_short(self.stderr)!r}")
        if self.results:
            shown.append(f"results={self.results!r}")
        if self.truncated:
            shown.append("truncated")
        if self.refused:
            shown.append(f"refused={_short(', '.join(one.host for one in self.refused))!r}")
        return f"<ExecResult {' '.join(shown)}>"

    def _repr_html_(self) -> str:
        parts = [preformatted(self.stdout), *(html_of_bundle(result.data) for result in self.results)]
        parts.append(preformatted(self.stderr, "#b3261e"))
        parts += [preformatted(notice.message, "#7a5b00") for notice in self.notices]
        if self.message:
            parts.append(preformatted(self.message, "#b3261e"))
        return "".join(parts)


class ResultCollector:
    """Reads the events of one execution in order; ``result`` once an exit came.

    The callbacks are called with each line (without its newline) and each rich result as it comes.
    """

    def __init__(
        self,
        on_stdout: Callable[[str], object] | None = None,
        on_stderr: Callable[[str], object] | None = None,
        on_result: Callable[[Result], object] | None = None,
    ) -> None:
        self._on_stdout = on_stdout
        self._on_stderr = on_stderr
        self._on_result = on_result
        self._stdout: list[str] = []
        self._stderr: list[str] = []
        self._results: list[Result] = []
        self._notices: list[Notice] = []
        self._refused: list[NetworkConnection] = []
        self._error: ExecutionError | None = None

    @property
    def stdout(self) -> str:
        """The lines so far."""
        return "\n".join(self._stdout)

    @property
    def stderr(self) -> str:
        """The lines so far."""
        return "\n".join(self._stderr)

    @property
    def results(self) -> list[Result]:
        """The rich results so far."""
        return list(self._results)

    def add(self, event: Event) -> ExecResult | None:
        """Take the next event; the result when it was the exit, else None. Unknown types are skipped."""
        if event.type == "stdout":
            _add_line(event.text, self._stdout, self._on_stdout)
        elif event.type == "stderr":
            _add_line(event.text, self._stderr, self._on_stderr)
        elif event.type in {"result", "display"} and isinstance(event.data, dict):
            self._add_result(event)
        elif event.type == "error" and isinstance(event.data, dict):
            self._error = error_of(event.data)
        elif event.type == "notice" and isinstance(event.data, dict):
            self._notices.append(Notice(str(event.data.get("code")), str(event.data.get("message"))))
        elif event.type == "network" and isinstance(event.data, dict):
            self._add_connection(NetworkConnection.from_json(event.data))
        elif event.type == "exit":
            return self._ended(event)
        return None

    def _add_connection(self, connection: NetworkConnection) -> None:
        if connection.verdict == "refused":
            self._refused.append(connection)
            self._notices.append(Notice("network_refused", str(connection)))

    def _add_result(self, event: Event) -> None:
        display_id = event.fields.get("display_id")
        result = Result(
            event.data, event.fields.get("metadata") or {}, is_value=event.type == "result", display_id=display_id
        )
        if event.fields.get("update"):
            self._results = [result if one.display_id == display_id else one for one in self._results]
        else:
            self._results.append(result)
        if self._on_result:
            self._on_result(result)

    def _ended(self, event: Event) -> ExecResult:
        fields = event.fields
        exit_code = event.data
        if not isinstance(exit_code, int):
            raise UnexpectedAnswerError(f"The stream holds an exit without an exit code: {_short(repr(exit_code))}")
        return ExecResult(
            stdout=self.stdout,
            stderr=self.stderr,
            exit_code=exit_code,
            results=self._results,
            error=self._error,
            status=str(fields.get("status") or ("ok" if exit_code == 0 else "error")),
            execution_count=fields.get("execution_count"),
            state_preserved=fields.get("state_preserved", True) is not False,
            message=fields.get("message"),
            notices=tuple(self._notices),
            refused=tuple(self._refused),
            cell_id=fields.get("cell_id"),
            turn_id=fields.get("turn_id"),
        )


def error_of(data: Mapping[str, Any]) -> ExecutionError:
    """An error output as Jupyter writes it."""
    traceback = tuple(str(line) for line in data.get("traceback") or ())
    return ExecutionError(str(data.get("ename") or "Error"), str(data.get("evalue") or ""), traceback)


def _add_line(line: str, lines: list[str], callback: Callable[[str], object] | None) -> None:
    lines.append(line)
    if callback:
        callback(line)


def _short(text: str) -> str:
    """A text for a repr: its first line's worth."""
    return text if len(text) <= _SHOWN_IN_REPR else text[: _SHOWN_IN_REPR - 3] + "..."
