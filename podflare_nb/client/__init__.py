"""The Python client: ``Sandbox`` and ``AsyncSandbox``, and what they give and raise.

Speaks the HTTP interface and loads nothing of the service. The asynchronous client is written by hand
(``_async``), the synchronous one is generated from it (``_sync``, by ``scripts/generate_sync_client.py``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._sync.branching import Fork
from ._sync.client import Client
from ._sync.files import Files
from ._sync.sandbox import Sandbox
from ._sync.terminals import Terminal
from .differences import (
    CellDifferences,
    Diff,
    FileDifference,
    FileDifferences,
    Variable,
    VariableChange,
    VariableDifferences,
)
from .errors import (
    CodeError,
    ConflictError,
    ConnectionLostError,
    ForbiddenError,
    GoneError,
    InvalidArgumentError,
    IsolationError,
    MergedError,
    NoCapacityError,
    NotFoundError,
    NotOpenError,
    PodflareError,
    QuotaExceededError,
    ServiceUnreachableError,
    StreamBrokenError,
    TimedOutError,
    TooLargeError,
    UnauthenticatedError,
    UnexpectedAnswerError,
)
from .events import ChatEvent, Event
from .family import Branch, Checkpoint, ForkedFrom
from .installations import InstallResult, ManagerResult
from .networks import Egress, EgressRules, NetworkConnection, NetworkInfo
from .pools import close_all
from .ports import PortInfo, PortLink
from .records import Capabilities, FileInfo, Layer, SandboxInfo, Template
from .results import ExecResult, ExecutionError, Notice, Result
from .terminals import TerminalInfo
from .turns import Turn, TurnCell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._async.branching import AsyncFork
    from ._async.client import AsyncClient
    from ._async.files import AsyncFiles
    from ._async.sandbox import AsyncSandbox
    from ._async.terminals import AsyncTerminal

__all__ = [
    "AsyncClient",
    "AsyncFiles",
    "AsyncFork",
    "AsyncSandbox",
    "AsyncTerminal",
    "Branch",
    "Capabilities",
    "CellDifferences",
    "ChatEvent",
    "Checkpoint",
    "Client",
    "CodeError",
    "ConflictError",
    "ConnectionLostError",
    "Diff",
    "Egress",
    "EgressRules",
    "Event",
    "ExecResult",
    "ExecutionError",
    "FileDifference",
    "FileDifferences",
    "FileInfo",
    "Files",
    "ForbiddenError",
    "Fork",
    "ForkedFrom",
    "GoneError",
    "InstallResult",
    "InvalidArgumentError",
    "IsolationError",
    "Layer",
    "ManagerResult",
    "MergedError",
    "NetworkConnection",
    "NetworkInfo",
    "NoCapacityError",
    "NotFoundError",
    "NotOpenError",
    "Notice",
    "PodflareError",
    "PortInfo",
    "PortLink",
    "QuotaExceededError",
    "Result",
    "Sandbox",
    "SandboxInfo",
    "ServiceUnreachableError",
    "StreamBrokenError",
    "Template",
    "Terminal",
    "TerminalInfo",
    "TimedOutError",
    "TooLargeError",
    "Turn",
    "TurnCell",
    "UnauthenticatedError",
    "UnexpectedAnswerError",
    "Variable",
    "VariableChange",
    "VariableDifferences",
    "capabilities",
    "close_all",
    "templates",
]


_ASYNCHRONOUS = {
    "AsyncClient": "client",
    "AsyncFiles": "files",
    "AsyncFork": "branching",
    "AsyncSandbox": "sandbox",
    "AsyncTerminal": "terminals",
}


def __getattr__(name: str) -> Any:
    """Load the asynchronous client when it is first named: asyncio is a quarter of the import time."""
    if name in _ASYNCHRONOUS:
        return getattr(import_module(f"{__name__}._async.{_ASYNCHRONOUS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def templates(host: str | None = None, api_key: str | None = None) -> Sequence[Template]:
    """List what sandboxes can be made from."""
    with Client(host, api_key) as client:
        return client.templates()


def capabilities(host: str | None = None, api_key: str | None = None) -> Capabilities:
    """Tell what the service can do, and how it isolates."""
    with Client(host, api_key) as client:
        return client.capabilities()
