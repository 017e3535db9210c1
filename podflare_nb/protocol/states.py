"""The words for states and endings, shared by the wire, the books and the transcript."""

from __future__ import annotations

from typing import Literal

Language = Literal["python", "bash"]

SandboxState = Literal["ready", "busy", "closing", "closed"]

EndReason = Literal["closed", "idle_timeout", "lifetime", "merged", "oom", "crashed", "shutdown"]
"""Why a sandbox is over (410). ``shutdown``: the service itself ended."""

ExitCause = Literal["closed", "oom", "killed", "crashed", "exited"]
"""How a kernel process ended: ended by us; out of memory; by a signal from outside (SIGKILL, SIGTERM);
by a fault of its own (SIGSEGV, SIGABRT, ...); by exit."""

ExecutionStatus = Literal["ok", "error", "interrupted", "timeout", "died"]
"""``timeout``: ended at its deadline; ``died``: the kernel ended under it."""

CellRole = Literal["user", "tool", "assistant"]

Speaker = Literal["assistant", "user"]
"""Who says something; what code printed is a tool's."""

TurnStatus = Literal["running", "ok", "error", "cancelled", "limit"]

ErrorCode = Literal[
    "invalid_argument",
    "unauthenticated",
    "forbidden",
    "not_found",
    "merged",
    "method_not_allowed",
    "conflict",
    "gone",
    "too_large",
    "range_not_satisfiable",
    "quota_exceeded",
    "internal",
    "no_capacity",
    "isolation",
]
"""What went wrong, for programs; ``handlers.statuses`` has the HTTP status of each."""
