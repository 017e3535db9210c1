"""Branches of a kernel that holds much, beside a plain server, where the only way is to start kernels anew.

There, "fork" is: start n kernels at once and run the cells again in each. A fork counts until every child has
answered a first ``1+1``. Rewind and merge have no counterpart there but that.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from . import memory
from .actions import SANDBOXES, Bench, close, events_of, plain_kernel, prepared_exec, run, said, sandbox, timed
from .report import Row, median
from .states import ANSWER, GIB, OBJECTS, TABLE, State
from .wire import Answer, Wire, WireError, exchange_at_once

MOST = 32
CHECKPOINTS = 10
FILES_KEPT = 20_000
SETTLE_SECONDS = 0.2
"""After children were closed, until the machine is quiet."""


@dataclass(slots=True)
class Forking:
    """A sandbox to fork, and a connection for each child that there may be."""

    wire: Wire
    sandbox_id: str
    wires: list[Wire]
    server: int
    """Process id of the service."""

    def fork(self, n: int) -> tuple[float, float, list[str]]:
        """Fork; give milliseconds until the answer, until every child has answered a first exec, and the children."""
        request = self.wire.prepared("POST", f"{SANDBOXES}/{self.sandbox_id}/fork", {"n": n})
        start = time.perf_counter()
        answer = json.loads(self.wire.exchange(request).body)
        answered = (time.perf_counter() - start) * 1000
        children = list(answer["children"])
        executions = [prepared_exec(self.wire, child, ANSWER) for child in children]
        answers = exchange_at_once(list(zip(self.wires, executions, strict=False)))
        took = (time.perf_counter() - start) * 1000
        for one in answers:
            _events(one)
        if len(children) != n:
            raise WireError(f"{len(children)} of {n} children were made: {answer['failures']}")
        return answered, took, children

    def close(self, children: list[str]) -> None:
        """End children and let the machine settle."""
        for child in children:
            close(self.wire, child)
        time.sleep(SETTLE_SECONDS)

    def family(self) -> list[int]:
        """The processes of its jail: it, its branches and its checkpoints."""
        namespace = said(self.wire, self.sandbox_id, "import os; print(os.readlink('/proc/self/ns/pid'))")
        return memory.jails(self.server).get(namespace, [])

    def samples(self, n: int, count: int) -> tuple[list[float], list[float]]:
        """Fork ``count`` times, after one that warms up; give times to the answer and to the last first exec."""
        answered, took = [], []
        for turn in range(count + 1):
            first, whole, children = self.fork(n)
            self.close(children)
            if turn:
                answered.append(first)
                took.append(whole)
        return answered, took


@contextmanager
def forking(bench: Bench, state: State, most: int = 1, **options: Any) -> Iterator[Forking]:
    """A sandbox that holds ``state``, with connections for ``most`` children."""
    with ExitStack() as stack:
        wire = stack.enter_context(bench.ours.wire())
        wires = [stack.enter_context(bench.ours.wire()) for _ in range(most)]
        sandbox_id = stack.enter_context(sandbox(wire, **(state.limits() | options)))
        for cell in state.cells():
            run(wire, prepared_exec(wire, sandbox_id, cell))
        yield Forking(wire, sandbox_id, wires, bench.ours.process.pid)


def measure_branches(bench: Bench) -> None:
    """Fork, merge and rewind of kernels with a gigabyte of memory, 20 000 files and a gigabyte of workspace."""
    table = State("1 GiB table", TABLE, GIB, FILES_KEPT, GIB)
    plain = _measure_state(bench, table)
    _measure_state(bench, State("1 GiB of small objects", OBJECTS, GIB, FILES_KEPT, GIB))
    _measure_rewind(bench, table, plain)


def _measure_state(bench: Bench, state: State) -> list[float]:
    """Fork, child's memory, merge; gives what a plain server took for one kernel with that state."""
    with forking(bench, state, MOST) as parent:
        answered, took = parent.samples(1, bench.samples(20, 5))
        answered_five, took_five = parent.samples(5, bench.samples(10, 3))
        _, took_most = parent.samples(MOST, bench.samples(3, 1))
        private, used = _private_of_children(parent)
        merged, after = _merges(parent, bench.samples(20, 3))
    add = bench.report.add
    plain = _plain_forks(bench, state, 1, bench.samples(3, 1))
    plain_five = [] if bench.quick else _plain_forks(bench, state, 5, 1)
    add(Row(f"fork(1), {state.name}", "ms", took, plain, "<= 25 ms", _parts(answered, took)))
    add(Row(f"fork(5), {state.name}", "ms", took_five, plain_five, "<= 60 ms", _parts(answered_five, took_five)))
    add(Row(f"fork({MOST}), {state.name}", "ms", took_most, target="no error"))
    note = f"after its first exec {median(used):.1f}"
    add(Row(f"private memory of a child, {state.name}", "MiB", private, target="<= 8 MiB", note=note))
    add(Row(f"merge, {state.name}", "ms", merged, target="<= 15 ms", note=f"first exec after it {median(after):.1f}"))
    return plain


def _parts(answered: list[float], took: list[float]) -> str:
    first = median(answered)
    return f"answer {first:.1f}, then first exec {median(took) - first:.1f}"


def _private_of_children(parent: Forking) -> tuple[list[float], list[float]]:
    """Private memory of each of five children, as they are made, and once their first exec is over."""
    before = set(parent.family())

    def private() -> list[float]:
        return [memory.private_kib(pid) / 1024 for pid in parent.family() if pid not in before]

    children = parent.wire.call("POST", f"{SANDBOXES}/{parent.sandbox_id}/fork", {"n": 5})["children"]
    time.sleep(SETTLE_SECONDS)
    made = private()
    for child in children:
        run(parent.wire, prepared_exec(parent.wire, child, ANSWER))
    used = private()
    parent.close(children)
    return made, used


def _merges(parent: Forking, count: int) -> tuple[list[float], list[float]]:
    """Fork, work in the child, merge it: the merge's time, and that of the first exec in the parent after it."""
    took, after = [], []
    for _ in range(count):
        _, _, (child,) = parent.fork(1)
        run(parent.wire, prepared_exec(parent.wire, child, "won = [0]"))
        path = f"{SANDBOXES}/{parent.sandbox_id}/merge_into/{child}"
        took.append(timed(parent.wire.exchange, parent.wire.prepared("POST", path))[0])
        request = prepared_exec(parent.wire, parent.sandbox_id, ANSWER)
        after.append(timed(run, parent.wire, request)[0])
        time.sleep(SETTLE_SECONDS)
    return took, after


def _measure_rewind(bench: Bench, state: State, plain: list[float]) -> None:
    """Back by one turn, until the first exec is answered; and what a sleeping checkpoint costs."""
    with forking(bench, state, checkpoints=CHECKPOINTS) as kept:
        before = set(kept.family())
        # What made the state were turns, too: how many are kept is read, not counted.
        time.sleep(1)
        kept_before, opened_before = len(_checkpoints(kept)), _opened(bench)
        for turn in range(CHECKPOINTS - kept_before):
            run(kept.wire, prepared_exec(kept.wire, kept.sandbox_id, f"turn = {turn}"))
        time.sleep(1)
        count = len(_checkpoints(kept))
        opened = (_opened(bench) - opened_before) / max(1, count - kept_before)
        private = [memory.private_kib(pid) / 1024 for pid in kept.family() if pid not in before]
        took = [_rewind(kept) for _ in range(bench.samples(20, 3))]
    bench.report.add(Row(f"rewind, until 1+1 is answered, {state.name}", "ms", took, plain, "<= 50 ms"))
    note = f"{count} kept, {opened:.1f} descriptors each"
    bench.report.add(Row("private memory of a sleeping checkpoint", "MiB", private, note=note))


def _opened(bench: Bench) -> int:
    """How many descriptors the service and all that belongs to it have open."""
    return memory.descriptors([bench.ours.process.pid, *memory.children(bench.ours.process.pid)])


def _checkpoints(kept: Forking) -> list[str]:
    found = kept.wire.call("GET", f"{SANDBOXES}/{kept.sandbox_id}/branches")["checkpoints"]
    return [one["turn_id"] for one in found]


def _rewind(kept: Forking) -> float:
    """Run a turn, go back to before it, and end the branch that keeps it."""
    run(kept.wire, prepared_exec(kept.wire, kept.sandbox_id, "wrong = [0]"))
    time.sleep(SETTLE_SECONDS)
    turn_id = _checkpoints(kept)[-2]
    start = time.perf_counter()
    answer = kept.wire.call("POST", f"{SANDBOXES}/{kept.sandbox_id}/rewind", {"turn_id": turn_id})
    run(kept.wire, prepared_exec(kept.wire, kept.sandbox_id, ANSWER))
    took = (time.perf_counter() - start) * 1000
    states = {
        one["id"]: one["state"] for one in kept.wire.call("GET", f"{SANDBOXES}/{kept.sandbox_id}/branches")["branches"]
    }
    if states.get(answer["branch"]) != "closed":
        close(kept.wire, answer["branch"])
    return took


def _plain_forks(bench: Bench, state: State, n: int, count: int) -> list[float]:
    """Start ``n`` plain kernels at once, make the state in each, and have each answer."""
    times = []
    for _ in range(count):
        directories = [str(bench.plain.directory / f"fork-{number}") for number in range(n)]
        with ThreadPoolExecutor(n) as threads:
            start = time.perf_counter()
            ends = list(threads.map(lambda directory: _plain_anew(bench, state, directory), directories))
        times.append((max(ends) - start) * 1000)
        for directory in directories:
            shutil.rmtree(directory)
    return times


def _plain_anew(bench: Bench, state: State, directory: str) -> float:
    """Start a kernel, make the state, answer: the moment when it had."""
    with plain_kernel(bench) as kernel:
        for cell in (*state.cells(directory), ANSWER):
            kernel.run(cell)
        return time.perf_counter()


def _events(answer: Answer) -> list[dict[str, Any]]:
    if answer.status >= 400:
        raise WireError(f"{answer.status}: {answer.body.decode(errors='replace')[:500]}")
    return events_of(answer.body)
