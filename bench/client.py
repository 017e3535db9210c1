"""What our Python client adds to raw HTTP: to a call, to a stream of lines, and to the start of a program.

Raw is ``http.client`` of the standard library on one open connection: it reads the same bytes and makes nothing of
them. The clients and it take turns within one run, a block each.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from podflare_nb.client import AsyncSandbox, Sandbox

from .actions import HOT, SANDBOXES, Bench, sandbox, timed
from .report import Row, median
from .servers import HOST

LINES = 1000
PRINTS = f"for i in range({LINES}): print(i)"
BLOCK = 30
WARM_UP = 5
START = "import time; start = time.perf_counter(); {}; print((time.perf_counter() - start) * 1000)"
IMPORT = "from podflare_nb import {}"


def measure_client(bench: Bench) -> None:
    """Calls, streams, imports."""
    with bench.ours.wire() as wire, sandbox(wire) as sandbox_id:
        raw = _Raw(bench, sandbox_id)
        ours = Sandbox.connect(sandbox_id, host=bench.ours.url, api_key=bench.ours.key)
        with asyncio.Runner() as runner:
            theirs = runner.run(AsyncSandbox.connect(sandbox_id, host=bench.ours.url, api_key=bench.ours.key))

            def by_tasks(code: str) -> tuple[float, int]:
                return runner.run(_asynchronous(theirs, code))

            clients: dict[str, Callable[[str], tuple[float, int]]] = {
                "raw": lambda code: timed(raw.stream, code),
                "Sandbox": lambda code: timed(lambda: sum(1 for _ in ours.run_code_stream(code))),
                "AsyncSandbox": by_tasks,
            }
            _measure_calls(bench, raw, ours, lambda: runner.run(_calls(theirs)))
            _measure_streams(bench, clients)
            runner.run(theirs._calls.connection.close())  # noqa: SLF001 - the sandbox is the section's to end
        raw.close()
    _measure_imports(bench)


class _Raw:
    """The same requests over http.client."""

    def __init__(self, bench: Bench, sandbox_id: str) -> None:
        self._connection = http.client.HTTPConnection(HOST, bench.ours.port)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._headers = bench.ours.headers() | {"Content-Type": "application/json"}
        self._path = f"{SANDBOXES}/{sandbox_id}"

    def close(self) -> None:
        self._connection.close()

    def call(self, method: str, rest: str = "", body: Any = None) -> bytes:
        """Exchange JSON that stays bytes."""
        content = None if body is None else json.dumps(body)
        self._connection.request(method, self._path + rest, content, self._headers)
        return self._connection.getresponse().read()

    def stream(self, code: str) -> int:
        """Read the lines of an execution one by one; give their number."""
        body = json.dumps({"code": code, "language": "python"})
        self._connection.request("POST", f"{self._path}/exec", body, self._headers)
        with self._connection.getresponse() as response:
            count = sum(1 for _ in response)
            response.read()
        return count


async def _asynchronous(sandbox: AsyncSandbox, code: str) -> tuple[float, int]:
    """Milliseconds and events, in a loop that runs: to start one is not the client's."""
    start = time.perf_counter()
    count = len([event async for event in sandbox.run_code_stream(code)])
    return (time.perf_counter() - start) * 1000, count


async def _calls(sandbox: AsyncSandbox) -> list[float]:
    """A block of executions, in milliseconds."""
    samples = []
    for _ in range(BLOCK):
        start = time.perf_counter()
        await sandbox.run_code(HOT)
        samples.append((time.perf_counter() - start) * 1000)
    return samples


def _measure_calls(bench: Bench, raw: _Raw, ours: Sandbox, by_tasks: Callable[[], list[float]]) -> None:
    took: dict[str, list[float]] = {name: [] for name in ("info raw", "info", "exec raw", "exec", "exec, asynchronous")}
    execution = {"code": HOT, "language": "python"}
    for _ in range(bench.samples(40, 8)):
        took["info raw"] += [timed(raw.call, "GET")[0] for _ in range(BLOCK)][WARM_UP:]
        took["info"] += [timed(ours.info)[0] for _ in range(BLOCK)][WARM_UP:]
        took["exec raw"] += [timed(raw.call, "POST", "/exec", execution)[0] for _ in range(BLOCK)][WARM_UP:]
        took["exec"] += [timed(ours.run_code, HOT)[0] for _ in range(BLOCK)][WARM_UP:]
        took["exec, asynchronous"] += by_tasks()[WARM_UP:]
    for name, base in (("info", "info raw"), ("exec", "exec raw"), ("exec, asynchronous", "exec raw")):
        raw_median = median(took[base])
        added = f"adds {median(took[name]) - raw_median:.2f} to {raw_median:.2f} of raw HTTP"
        bench.report.add(Row(f"client: {name}", "ms", took[name], target="adds <= 0.5 ms", note=added))


def _measure_streams(bench: Bench, clients: dict[str, Callable[[str], tuple[float, int]]]) -> None:
    took: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(bench.samples(100, 20)):
        for name, stream in clients.items():
            spent, count = stream(PRINTS)
            if count != LINES + 1:
                raise RuntimeError(f"{name} saw {count} events of {LINES + 1}")
            took[name].append(spent)
    for name in ("Sandbox", "AsyncSandbox"):
        share = f"{median(took['raw']) / median(took[name]):.0%} of raw HTTP's rate"
        bench.report.add(Row(f"client: {LINES} lines by {name}", "ms", took[name], target=">= 90 %", note=share))


def _measure_imports(bench: Bench) -> None:
    for name in ("Sandbox", "AsyncSandbox"):
        code = START.format(IMPORT.format(name))
        samples = []
        for _ in range(bench.samples(20, 5)):
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - ours
            samples.append(float(done.stdout))
        bench.report.add(Row(f"client: import {name}", "ms", samples, target="< 150 ms"))
