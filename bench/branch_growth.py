"""How a fork grows with what the kernel holds: memory, files, generations; and what most of its time goes into.

The parts are had by subtraction: what a fork of an empty kernel takes is the fixed part, the rest is growth.
"""

from __future__ import annotations

import time

from . import memory
from .actions import Bench, close, said
from .branches import SETTLE_SECONDS, Forking, forking
from .report import Row, median
from .states import FILE_SPEED, GIB, State

FILE_TARGET = "<= 1.5x of generation 1"


def measure_branch_growth(bench: Bench) -> None:
    """Fork(1) from 0 to 8 GiB of memory, from 0 to 100 000 files, from 1 to 100 generations."""
    empty, answer = _fork_time(bench, State("nothing"))
    base = median(empty)
    fixed = f"answer {median(answer):.1f}, first exec {base - median(answer):.1f}"
    bench.report.add(Row("fork(1), empty kernel", "ms", empty, note=fixed))
    for gib in (1,) if bench.quick else (1, 2, 4, 8):
        if memory.available_mib() < gib * GIB * 1.5:
            continue
        took, answer = _fork_time(bench, State(f"{gib} GiB", mib=gib * GIB))
        bench.report.add(Row(f"fork(1), {gib} GiB of memory", "ms", took, note=_dominant(base, took, answer, "memory")))
    for count in (2_000,) if bench.quick else (1_000, 10_000, 100_000):
        took, answer = _fork_time(bench, State(f"{count} files", files=count))
        bench.report.add(Row(f"fork(1), {count} files", "ms", took, note=_dominant(base, took, answer, "files")))
    _measure_generations(bench, base)


def _fork_time(bench: Bench, state: State) -> tuple[list[float], list[float]]:
    with forking(bench, state) as parent:
        answered, took = parent.samples(1, bench.samples(15, 3))
    return took, answered


def _dominant(base: float, took: list[float], answered: list[float], what: str) -> str:
    """Name the largest of: what every fork takes, what this one takes more, the child's first exec."""
    whole, first = median(took), median(took) - median(answered)
    grown = max(0.0, whole - base)
    parts = {"first exec": first, what: grown, "fixed": max(0.0, whole - first - grown)}
    name = max(parts, key=lambda one: parts[one])
    return f"mostly {name}: {parts[name]:.1f} of {whole:.1f}"


def _measure_generations(bench: Bench, base: float) -> None:
    """A line of forks, each writes files and becomes the next parent: fork time and speed of files along it."""
    shown = (1, 3, 10) if bench.quick else (1, 10, 25, 50, 100)
    with forking(bench, State("files", files=1000, workspace_mib=64)) as line:
        first = line.sandbox_id
        took: list[float] = []
        speeds: dict[int, dict[str, float]] = {}
        for generation in range(1, shown[-1] + 1):
            took.append(_next_generation(line, generation, first))
            if generation in shown:
                speeds[generation] = _file_speed(line)
                recent = took[-5:]
                note = f"{median(recent) / base:.2f}x of an empty kernel's fork"
                bench.report.add(Row(f"fork(1), generation {generation}", "ms", recent, note=note))
        if line.sandbox_id != first:
            close(line.wire, line.sandbox_id)
    last = shown[-1]
    for name, seconds in speeds[last].items():
        ratio = seconds / speeds[1][name]
        row = Row(f"{name.replace('_', ' ')}, generation {last}", "ms", [seconds * 1000], target=FILE_TARGET,
                  note=f"{ratio:.2f}x of generation 1")  # fmt: skip
        bench.report.add(row)


def _next_generation(line: Forking, generation: int, first: str) -> float:
    """Fork, end the parent (the first is its section's to end), write in the child: the line is one longer."""
    _, took, (child,) = line.fork(1)
    parent, line.sandbox_id = line.sandbox_id, child
    if parent != first:
        close(line.wire, parent)
    said(line.wire, child, f"open('of-{generation}.txt', 'w').write('here')")
    time.sleep(SETTLE_SECONDS / 10)
    return took


def _file_speed(line: Forking) -> dict[str, float]:
    """Seconds of reading and writing small files and large ones, as the kernel itself took them."""
    told = said(line.wire, line.sandbox_id, FILE_SPEED)
    return {name: float(seconds) for name, seconds in (row.split() for row in told.splitlines())}
