"""What every section does to the two servers: make sandboxes and kernels, run code in them, end them, take the time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from .kernel_socket import KernelSocket
from .report import Report
from .servers import HOST, OurServer, PlainServer
from .wire import Wire, WireError

SANDBOXES = "/podflare/v1/sandboxes"
DATASCI = "python-datasci"
HOT = "print(6*7)"


@dataclass(frozen=True, slots=True)
class Bench:
    """Both servers, where the rows go, and how patient the person is."""

    ours: OurServer
    plain: PlainServer
    report: Report
    quick: bool

    def samples(self, full: int, quick: int) -> int:
        """How many samples to take."""
        return quick if self.quick else full


P = ParamSpec("P")
R = TypeVar("R")


def timed(action: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> tuple[float, R]:
    """Milliseconds that an action took, and what it gave."""
    start = time.perf_counter()
    value = action(*args, **kwargs)
    return (time.perf_counter() - start) * 1000, value


def create(wire: Wire, template: str = DATASCI, **options: Any) -> str:
    """Make a sandbox; give its id."""
    return str(wire.call("POST", SANDBOXES, {"template": template, **options})["id"])


def close(wire: Wire, sandbox_id: str) -> None:
    """End a sandbox."""
    wire.call("DELETE", f"{SANDBOXES}/{sandbox_id}")


def prepared_exec(wire: Wire, sandbox_id: str, code: str) -> bytes:
    """Compose an exec request."""
    return wire.prepared("POST", f"{SANDBOXES}/{sandbox_id}/exec", {"code": code, "language": "python"})


def run(wire: Wire, request: bytes) -> list[dict[str, Any]]:
    """Run prepared code; give its events. Raises WireError when it fails."""
    return events_of(wire.exchange(request).body)


def events_of(body: bytes) -> list[dict[str, Any]]:
    """Read the events of an execution. Raises WireError when it failed."""
    events = [json.loads(line) for line in body.splitlines()]
    if not events or events[-1]["type"] != "exit" or events[-1]["data"] != 0:
        raise WireError(f"the code failed: {events}")
    return events


def said(wire: Wire, sandbox_id: str, code: str) -> str:
    """Run code; give what it printed."""
    events = run(wire, prepared_exec(wire, sandbox_id, code))
    return "\n".join(event["data"] for event in events if event["type"] == "stdout")


@contextmanager
def sandbox(wire: Wire, **options: Any) -> Iterator[str]:
    """A sandbox for the time of a measurement."""
    sandbox_id = create(wire, **options)
    try:
        yield sandbox_id
    finally:
        close(wire, sandbox_id)


@contextmanager
def plain_kernel(bench: Bench) -> Iterator[KernelSocket]:
    """A plain kernel with its websocket for the time of a measurement."""
    with bench.plain.wire() as wire:
        kernel_id = wire.call("POST", "/api/kernels", {"name": "python3"})["id"]
        try:
            with KernelSocket(HOST, bench.plain.port, kernel_id, bench.plain.token) as kernel:
                yield kernel
        finally:
            wire.call("DELETE", f"/api/kernels/{kernel_id}")
