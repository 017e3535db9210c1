"""What a sandbox's network costs, beside the same without us: creates and forks by policy, bytes, installs.

The service runs in a network namespace of its own here (``network_places``), with a wire to where is connected to; the
plain pair of namespaces has the same wire and nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from podflare_nb.provisioning.network import namespaces

from .actions import DATASCI, SANDBOXES, Bench, close, create, prepared_exec, said, sandbox, timed
from .network_places import FAR, INDEX_PORT, RATE_PORT, Places, start
from .network_servers import PROJECT
from .report import Row, median
from .servers import OurServer
from .wire import WireError, exchange_at_once

REFILL_SECONDS = 0.25
MANY = 200
MIB = 1 << 20
POLICIES: dict[str, Any] = {
    "the default (true)": None,
    "false": False,
    "rules": {"allow": ["files.example.org", "*.example.com", f"{FAR}:{RATE_PORT}"]},
}
RATE = """
import socket, time
def rate(what, count, proxy):
    sock = socket.create_connection(("127.0.0.53", 61128) if proxy else ("{far}", {port}))
    if proxy:
        sock.sendall(b"CONNECT {far}:{port} HTTP/1.1\\r\\nHost: {far}:{port}\\r\\n\\r\\n")
        answer = b""
        while not answer.endswith(b"\\r\\n\\r\\n"):
            answer += sock.recv(1)
        assert b" 200 " in answer, answer
    begun = time.perf_counter()
    sock.sendall(f"{{what}} {{count}}".ljust(16).encode())
    chunk, left = bytearray(1 << 20), count
    if what == "send":
        while left:
            size = sock.recv_into(chunk)
            assert size
            left -= size
    else:
        while left:
            left -= sock.send(memoryview(chunk)[:left])
        sock.recv(1)
    sock.close()
    print(count / (1 << 20) / (time.perf_counter() - begun))
"""
CONNECT = f"""
import socket
with socket.create_connection(("{FAR}", {RATE_PORT}), 60) as sock:
    sock.sendall(b"send 1".ljust(16))
    assert sock.recv(1)
"""
INSTALL = """
import subprocess, sys, time, shutil, os
env = {{name: value for name, value in os.environ.items() if not name.startswith("UV_")}}
command = {command!r}
shutil.rmtree({target!r}, ignore_errors=True)
begun = time.perf_counter()
done = subprocess.run(command, capture_output=True, text=True, env=env)
took = (time.perf_counter() - begun) * 1000
assert done.returncode == 0, done.stderr + done.stdout
assert os.path.exists({target!r} + "/{project}.py")
print(took)
"""
TARGET = "/tmp/site"  # noqa: S108 - a directory of the sandbox's own


def measure_networks(bench: Bench) -> None:
    """Everything in one run of a service of its own."""
    with ExitStack() as stack:
        places = Places.make(stack)
        programs = str(Path(__file__).with_name("network_servers.py"))
        start(stack, places.far, programs, "rate", str(RATE_PORT))
        start(stack, places.far, programs, "index", str(INDEX_PORT))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podflare-bench-")))
        packages = scratch / "packages.toml"
        packages.write_text(f'[python]\nindex_url = "http://{FAR}:{INDEX_PORT}/simple/"\n')
        with namespaces.entered(places.host):
            ours = stack.enter_context(OurServer(scratch / "networks", "namespaces", ["--packages", str(packages)]))
            here = replace(bench, ours=ours)
            _measure_creates(here)
            _measure_forks(here)
            _measure_rates(here, places)
            _measure_many(here)
            _measure_installs(here, places)


def _measure_creates(bench: Bench) -> None:
    """In turns, so that a slow second of the machine meets all policies."""
    took: dict[str, list[float]] = {name: [] for name in POLICIES}
    with bench.ours.wire() as wire:
        for turn in range(bench.samples(50, 10) + 2):
            for name, egress in POLICIES.items():
                time.sleep(REFILL_SECONDS)
                options = {} if egress is None else {"egress": egress}
                spent, sandbox_id = timed(create, wire, DATASCI, **options)
                close(wire, sandbox_id)
                if turn >= 2:
                    took[name].append(spent)
    usual = median(took["the default (true)"])
    for name, times in took.items():
        note = "" if name.startswith("the default") else f"adds {median(times) - usual:.2f}"
        bench.report.add(Row(f"create, warm, egress {name}", "ms", times, target="adds <= 5 ms", note=note))


def _measure_forks(bench: Bench) -> None:
    took: dict[str, list[float]] = {}
    with ExitStack() as stack:
        wire = stack.enter_context(bench.ours.wire())
        parents = {
            name: stack.enter_context(sandbox(wire, **({} if egress is None else {"egress": egress})))
            for name, egress in POLICIES.items()
        }
        for turn in range(bench.samples(30, 6) + 2):
            for name, parent in parents.items():
                spent, answer = timed(wire.call, "POST", f"{SANDBOXES}/{parent}/fork", {"n": 1})
                for child in answer["children"]:
                    close(wire, child)
                time.sleep(REFILL_SECONDS / 2)
                if turn >= 2:
                    took.setdefault(name, []).append(spent)
    off = median(took["false"])
    for name, times in took.items():
        note = "" if name == "false" else f"adds {median(times) - off:.2f} to false"
        bench.report.add(Row(f"fork(1), egress {name}", "ms", times, target="adds <= 3 ms", note=note))


def _measure_rates(bench: Bench, places: Places) -> None:
    """MiB a second, of one TCP connection, by the same pair of programs."""
    program = RATE.format(far=FAR, port=RATE_PORT)
    count = bench.samples(512, 128) * MIB
    with bench.ours.wire() as wire, sandbox(wire) as open_to_all, sandbox(wire, egress=POLICIES["rules"]) as by_rules:
        for what, name in (("send", "to the sandbox"), ("take", "from the sandbox")):
            plain, direct, proxied = [], [], []
            for _ in range(bench.samples(9, 3)):
                plain.append(_plain_rate(places, f"{program}rate({what!r}, {count}, False)"))
                direct.append(float(said(wire, open_to_all, f"{program}rate({what!r}, {count}, False)")))
                proxied.append(float(said(wire, by_rules, f"{program}rate({what!r}, {count}, True)")))
            for through, rates, target in (("egress true", direct, 80), ("the proxy", proxied, 50)):
                share = f"{100 * median(rates) / median(plain):.0f} % of plain namespaces"
                bench.report.add(Row(f"TCP {name}, {through}", "MiB/s", rates, plain, f">= {target} %", share))


def _plain_rate(places: Places, code: str) -> float:
    with namespaces.entered(places.plain):
        return float(_output([sys.executable, "-c", code]))


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout  # noqa: S603 - ours


def _measure_many(bench: Bench) -> None:
    """All created, then all connect at once."""
    count = 50 if bench.quick else MANY
    with ExitStack() as stack:
        wire = stack.enter_context(bench.ours.wire())
        creating, ids = timed(lambda: [create(wire) for _ in range(count)])
        wires = [stack.enter_context(bench.ours.wire()) for _ in range(count)]
        try:
            requests = [prepared_exec(wire, one, CONNECT) for one in ids]
            connecting, answers = timed(exchange_at_once, list(zip(wires, requests, strict=True)))
            for answer in answers:
                if answer.status >= 400 or json.loads(answer.body.splitlines()[-1])["data"] != 0:
                    raise WireError(answer.body.decode(errors="replace")[-500:])
        finally:
            for one in ids:
                close(wire, one)
    note = f"created in {creating / 1000:.1f} s"
    bench.report.add(Row(f"{count} sandboxes connect at once", "ms", [connecting], target="no error", note=note))


def _measure_installs(bench: Bench, places: Places) -> None:
    """A cached pure wheel, from the mirror inside and from the index outside."""
    python = [
        "-m",
        "pip",
        "install",
        "--no-cache-dir",
        "--no-deps",
        "--disable-pip-version-check",
        "--target",
        TARGET,
    ]
    tools = {
        "pip install": (python, "<= 500 ms"),
        "uv pip install": (
            ["-m", "uv", "pip", "install", "--no-cache", "--no-deps", "--target", TARGET],
            "<= 200 ms",
        ),
    }
    with bench.ours.wire() as wire, sandbox(wire) as sandbox_id:
        for name, (arguments, target) in tools.items():
            if name.startswith("uv") and not _has_uv():
                continue
            index = ["--index-url", f"http://{FAR}:{INDEX_PORT}/simple/", *(["--no-config"] if "uv" in name else [])]
            index += ["--trusted-host", FAR] if "uv" not in name else []
            inside, outside = [], []
            for turn in range(bench.samples(10, 3) + 1):
                code = _install([*arguments, PROJECT])
                took = float(said(wire, sandbox_id, code).splitlines()[-1])
                code = _install([*arguments, *index, PROJECT])
                plain = _plain_rate(places, code)
                if turn:
                    inside.append(took)
                    outside.append(plain)
            bench.report.add(Row(f"{name} of a cached wheel", "ms", inside, outside, target))


def _install(arguments: list[str]) -> str:
    return INSTALL.format(command=[sys.executable, *arguments], project=PROJECT, target=TARGET)


def _has_uv() -> bool:
    return Path(sys.executable).with_name("uv").exists()
