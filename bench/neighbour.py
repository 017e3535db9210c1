"""What a sandbox that burns 64 threads does to the executions of a neighbour; the same among plain kernels."""

from __future__ import annotations

from collections.abc import Callable

from .actions import HOT, Bench, plain_kernel, prepared_exec, run, sandbox, timed
from .report import Row, percentile

THREADS = 64
BURN = f"""
import hashlib, threading
block = bytes(1 << 20)
def burn():
    while True:
        hashlib.sha256(block).digest()
for _ in range({THREADS}):
    threading.Thread(target=burn, daemon=True).start()
"""
"""Hashing lets go of the GIL: every thread wants a processor of its own."""


def measure_neighbour(bench: Bench) -> None:
    """The p95 of a hot exec, alone and beside the burning neighbour."""
    count = bench.samples(300, 60)
    with bench.ours.wire() as wire, sandbox(wire) as quiet:
        request = prepared_exec(wire, quiet, HOT)
        alone = _times(lambda: run(wire, request), count)
        with sandbox(wire) as burning:
            run(wire, prepared_exec(wire, burning, BURN))
            beside = _times(lambda: run(wire, request), count)
    with plain_kernel(bench) as kernel:
        plain_alone = _times(lambda: kernel.run(HOT), count)
        with plain_kernel(bench) as burner:
            burner.run(BURN)
            plain_beside = _times(lambda: kernel.run(HOT), count)
    note = f"p95 {_ratio(beside, alone)}, plain {_ratio(plain_beside, plain_alone)}"
    bench.report.add(Row("hot exec alone", "ms", alone, plain_alone))
    name = f"hot exec beside {THREADS} burning threads"
    bench.report.add(Row(name, "ms", beside, plain_beside, "p95 <= 2x of alone", note))


def _times(execute: Callable[[], object], count: int) -> list[float]:
    for _ in range(5):
        execute()
    return [timed(execute)[0] for _ in range(count)]


def _ratio(beside: list[float], alone: list[float]) -> str:
    return f"{percentile(beside, 0.95) / percentile(alone, 0.95):.2f}x"
