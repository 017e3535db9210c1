"""What is measured, a function each. All take turns with the plain server where it has something to compare."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from podflare_nb.client import Sandbox

from . import memory
from .actions import (
    DATASCI,
    HOT,
    SANDBOXES,
    Bench,
    close,
    create,
    plain_kernel,
    prepared_exec,
    run,
    said,
    sandbox,
    timed,
)
from .branch_growth import measure_branch_growth
from .branches import measure_branches
from .client import measure_client
from .kernel_socket import KernelSocket
from .neighbour import measure_neighbour
from .networks import measure_networks
from .report import Row, median
from .servers import HOST, UNPOOLED
from .wire import Answer, Wire, exchange_at_once

PANDAS = "import pandas as pd\nprint(pd.DataFrame({'a': [20, 22]}).a.sum())"
BLOCK = 30
WARM_UP = 5
REFILL_SECONDS = 0.25
"""Between two creates that shall find a warm kernel: users do not come faster than one alone."""


def measure_create(bench: Bench) -> None:
    """Create from the warm pool, create on a pool miss, and close."""
    warm: list[float] = []
    closing: list[float] = []
    missed: list[float] = []
    with bench.ours.wire() as wire:
        for template, times, count in (
            (DATASCI, warm, bench.samples(100, 20)),
            (UNPOOLED, missed, bench.samples(50, 10)),
        ):
            for turn in range(count + 2):
                time.sleep(REFILL_SECONDS)
                took, sandbox_id = timed(create, wire, template)
                ended, _ = timed(close, wire, sandbox_id)
                if turn >= 2:
                    times.append(took)
                    closing.append(ended)
    plain, plain_closing = _plain_creates(bench, bench.samples(5, 2))
    bench.report.add(Row("create, warm", "ms", warm, plain, "<= 3 ms p50"))
    bench.report.add(Row("create, pool miss", "ms", missed, plain, "<= 45 ms p50"))
    bench.report.add(Row("close", "ms", closing, plain_closing))


def _plain_creates(bench: Bench, count: int) -> tuple[list[float], list[float]]:
    """A plain kernel, from the request until it answers; and its end."""
    times, closing = [], []
    with bench.plain.wire() as wire:
        for _ in range(count):
            start = time.perf_counter()
            kernel_id = wire.call("POST", "/api/kernels", {"name": "python3"})["id"]
            with KernelSocket(HOST, bench.plain.port, kernel_id, bench.plain.token) as kernel:
                kernel.run("")
            times.append((time.perf_counter() - start) * 1000)
            closing.append(timed(wire.call, "DELETE", f"/api/kernels/{kernel_id}")[0])
    return times, closing


def measure_first_result(bench: Bench) -> None:
    """From create to the first result with pandas in use."""
    ours: list[float] = []
    plain: list[float] = []
    with bench.ours.wire() as wire:
        for _ in range(bench.samples(20, 5)):
            time.sleep(REFILL_SECONDS)
            start = time.perf_counter()
            sandbox_id = create(wire)
            run(wire, prepared_exec(wire, sandbox_id, PANDAS))
            ours.append((time.perf_counter() - start) * 1000)
            close(wire, sandbox_id)
    for _ in range(bench.samples(5, 2)):
        start = time.perf_counter()
        with plain_kernel(bench) as kernel:
            kernel.run(PANDAS)
            plain.append((time.perf_counter() - start) * 1000)
    bench.report.add(Row("create to first result with pandas", "ms", ours, plain))


def measure_exec(bench: Bench) -> None:
    """A hot execution, over HTTP beside a plain kernel's websocket; and what our Python client adds.

    In turns of a block each, so that a slow second of the machine meets all three, and each is hot when it is timed.
    """
    ours: list[float] = []
    plain: list[float] = []
    client: list[float] = []
    with bench.ours.wire() as wire, plain_kernel(bench) as kernel, sandbox(wire) as sandbox_id:
        request = prepared_exec(wire, sandbox_id, HOT)
        by_client = Sandbox.connect(sandbox_id, host=bench.ours.url, api_key=bench.ours.key)
        for _ in range(bench.samples(40, 8)):
            prepared = [kernel.prepared(HOT) for _ in range(BLOCK)]
            ours += [timed(run, wire, request)[0] for _ in range(BLOCK)][WARM_UP:]
            client += [timed(by_client.run_code, HOT)[0] for _ in range(BLOCK)][WARM_UP:]
            plain += [timed(kernel.execute, *one)[0] for one in prepared][WARM_UP:]
    bench.report.add(Row("hot exec print(6*7)", "ms", ours, plain, "<= 3 ms p50, >= 1.5x"))
    added = f"adds {median(client) - median(ours):.2f}"
    bench.report.add(Row("the same by our Python client", "ms", client, target="adds <= 0.5 ms", note=added))


def measure_burst(bench: Bench) -> None:
    """A hundred creates at once: how long until the last is answered, and how long each took to answer."""
    count = 100
    wires = [bench.ours.wire() for _ in range(count)]
    took: list[float] = []
    answers: list[Answer] = []
    try:
        for _ in range(bench.samples(5, 2)):
            request = wires[0].prepared("POST", SANDBOXES, {"template": DATASCI})
            spent, answers = timed(exchange_at_once, [(wire, request) for wire in wires])
            took.append(spent)
            _close_all(wires[0], answers)
            time.sleep(2)
    finally:
        for wire in wires:
            wire.close()
    failed = [answer.body for answer in answers if answer.status >= 400]
    note = f"{len(failed)} errors" + (f", the first: {failed[0][:200]!r}" if failed else "")
    bench.report.add(Row("100 creates at once, until the last", "ms", took, target="<= 2000 ms, no error", note=note))


def _close_all(wire: Wire, answers: list[Answer]) -> None:
    for answer in answers:
        if answer.status < 400:
            close(wire, json.loads(answer.body)["id"])


def measure_memory(bench: Bench) -> None:
    """Private memory of an idle data science kernel: untouched, and after one execution with pandas."""
    count = bench.samples(20, 5)
    with bench.ours.wire() as wire:
        time.sleep(2)
        before = memory.jails(bench.ours.process.pid).keys()
        ids = [create(wire) for _ in range(count)]
        time.sleep(2)
        fresh = _sizes(bench, before)
        names = {_jail_after_pandas(wire, one) for one in ids}
        time.sleep(1)
        found = memory.jails(bench.ours.process.pid)
        used = [memory.jail_mib(found[name]) for name in names if name in found]
        for one in ids:
            close(wire, one)
    with plain_kernel(bench) as kernel:
        kernel.run(PANDAS)
        plain = [memory.private_kib(pid) / 1024 for pid in memory.children(bench.plain.process.pid)]
    bench.report.add(Row("private memory, idle datasci kernel", "MiB", fresh, plain, "<= 12 MiB"))
    bench.report.add(Row("the same after using pandas", "MiB", used, plain))


def _jail_after_pandas(wire: Wire, sandbox_id: str) -> str:
    """Use pandas in a sandbox, and have it tell which jail is its own."""
    code = f"{PANDAS}\nimport os\nprint(os.readlink('/proc/self/ns/pid'))"
    return said(wire, sandbox_id, code).splitlines()[-1]


def _sizes(bench: Bench, before: Any) -> list[float]:
    """Each jail that was not there before: those given out since, and those that took their place in the pool."""
    found = memory.jails(bench.ours.process.pid)
    return [memory.jail_mib(pids) for name, pids in found.items() if name not in before]


def measure_growth(bench: Bench) -> None:
    """Create, exec and memory as the number of live kernels grows."""
    live: list[str] = []
    with bench.ours.wire() as wire:
        before = memory.jails(bench.ours.process.pid).keys()
        try:
            for count in (1, 10, 50) if bench.quick else (1, 10, 50, 100, 200):
                while len(live) < count:
                    live.append(create(wire))
                time.sleep(2)
                _measure_at(bench, wire, live, before)
        finally:
            for one in live:
                close(wire, one)


def _measure_at(bench: Bench, wire: Wire, live: list[str], before: Any) -> None:
    creating: list[float] = []
    for _ in range(bench.samples(20, 5)):
        time.sleep(REFILL_SECONDS)
        took, sandbox_id = timed(create, wire)
        creating.append(took)
        close(wire, sandbox_id)
    request = prepared_exec(wire, live[0], HOT)
    executing = [timed(run, wire, request)[0] for _ in range(bench.samples(200, 50))]
    at = f"at {len(live)} live"
    bench.report.add(Row(f"create, warm, {at}", "ms", creating))
    bench.report.add(Row(f"hot exec, {at}", "ms", executing))
    bench.report.add(Row(f"private memory a kernel, {at}", "MiB", _sizes(bench, before)))


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "create": measure_create,
    "first": measure_first_result,
    "exec": measure_exec,
    "client": measure_client,
    "burst": measure_burst,
    "memory": measure_memory,
    "growth": measure_growth,
    "branches": measure_branches,
    "branch-growth": measure_branch_growth,
    "neighbour": measure_neighbour,
    "network": measure_networks,
}
