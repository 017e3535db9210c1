"""How an execution ended, from what the kernel replied: status and exit code as wire.md has them. Pure."""

import re
from dataclasses import dataclass
from typing import Any

from ..protocol.states import ExecutionStatus, Language

INTERRUPTED, TIMED_OUT, DIED = 130, 124, 137
_RETURNED = re.compile(r"returned non-zero exit status (-?\d{1,9})\.$")
_KILLED = re.compile(r"died with (?:<Signals\.\w+: (\d{1,3})>|unknown signal (\d{1,3}))\.$")
_NUMBER = re.compile(r"-?\d{1,9}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Status and exit code, and a sentence where the code needs one."""

    status: ExecutionStatus
    exit_code: int
    message: str | None = None


def outcome(reply: dict[str, Any], language: Language, *, interrupted: bool) -> Outcome:
    """Read an ``execute_reply``. ``interrupted``: we interrupted it, whatever the code made of that."""
    status = reply.get("status")
    if interrupted and language == "bash":
        # IPython's %%bash makes anything of an interrupt: its own end, the shell's, or nothing at all.
        return Outcome("interrupted", INTERRUPTED)
    if status == "ok":
        return Outcome("ok", 0)
    if status == "aborted":
        return Outcome("error", 1, "This cell did not run: another client's cell failed ahead of it. Run it again.")
    return _failed(str(reply.get("ename", "")), str(reply.get("evalue", "")), language)


def _failed(ename: str, evalue: str, language: Language) -> Outcome:
    if ename == "KeyboardInterrupt":
        return Outcome("interrupted", INTERRUPTED)
    if ename == "SystemExit":
        code = exit_argument(evalue)
        code = 1 if code is None else code
        return Outcome("error" if code else "ok", code)
    if language == "bash" and ename == "CalledProcessError":
        return _bash(evalue)
    return Outcome("error", 1)


def exit_argument(evalue: str) -> int | None:
    """The number given to ``sys.exit``, 0 for none; None: it was a text."""
    if evalue in ("", "None"):
        return 0
    return int(evalue) if _NUMBER.fullmatch(evalue) else None


def _bash(evalue: str) -> Outcome:
    end = evalue[-200:]  # in front of it stands the whole script
    if found := _RETURNED.search(end):
        code = int(found[1])
        return Outcome("error", code if code > 0 else 128 - code)
    if found := _KILLED.search(end):
        return Outcome("error", 128 + int(found[1] or found[2]))
    return Outcome("error", 1)
