"""How a kernel ended: classified into a cause and a sentence for its user.

The supervisor reports the raw facts (wait status, the cgroup's out-of-memory count, whether we ended it);
``classify`` turns them into a cause. Pure, so that every case is a line in a test.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

from ..protocol.states import ExitCause

FAULTS = frozenset({
    signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class KernelExit:
    """The end of a kernel process; ``message`` is the sentence that users read."""

    cause: ExitCause
    message: str
    exit_code: int | None = None
    signal: int | None = None


def classify(wait_status: int | None, *, oom_kills: int, ended_by_us: bool, memory_mib: int | None) -> KernelExit:
    """Classify the end of a kernel from ``wait_status`` (as of ``os.wait``; None if it could not be read)."""
    if ended_by_us:
        return KernelExit("closed", "The kernel was ended by the service.")
    if wait_status is None:
        return KernelExit("killed", "The kernel is gone; how it ended could not be read. Its memory is lost.")
    code = os.waitstatus_to_exitcode(wait_status)
    if code >= 0:
        return KernelExit(
            "exited", f"The kernel process exited with code {code}; its variables are lost.", exit_code=code
        )
    number = -code
    name = signal.Signals(number).name if number in signal.valid_signals() else f"signal {number}"
    if number == signal.SIGKILL and oom_kills:
        limit = f" of {memory_mib} MiB" if memory_mib else ""
        return KernelExit(
            "oom",
            f"The kernel ran out of memory (limit{limit}) and was killed; its variables are lost. "
            "Work on less data at a time, or create the sandbox with a larger ram_mib.",
            signal=number,
        )
    if number in FAULTS:
        return KernelExit("crashed", f"The kernel crashed ({name}); its variables are lost.", signal=number)
    return KernelExit("killed", f"The kernel was killed ({name}); its variables are lost.", signal=number)
