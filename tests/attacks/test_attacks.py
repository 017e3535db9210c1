"""Every attack meets the jail, and its negative control shows that it is a real one."""

import asyncio
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from podflare_nb.protocol.egress import INTERNET, OFF
from podflare_nb.provisioning.client import Supervisor
from podflare_nb.provisioning.limits import Limits
from podflare_nb.provisioning.network.config import NetworkConfig

from ..provisioning.conftest import KernelClient, new_directories, templates
from .attacks import DISK, KERNEL_SURFACE, MEMORY, NETWORKS, ON_THE_HOST, OTHER_TENANTS, PRELUDE, RESOURCES, SECRETS

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="jails need root"),
    pytest.mark.usefixtures("name_server"),
]
ALL = [*KERNEL_SURFACE, *OTHER_TENANTS, *SECRETS, *RESOURCES]
LIMITS = Limits(memory_mib=256, pids=60, disk_mib=64, inodes=4000)
MARKER = "a-secret-of-the-server-5f2c"
SECONDS = 60


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def supervisors():
    """One that leaves no layer out, and beside it one at a time that does: a machine has at most 16 supervisors. Their
    sandboxes reach nothing unless they ask."""
    running, directories = {}, []

    async def get(without=()):
        if without not in running:
            for other in [each for each in running if each and without]:
                await running.pop(other).aclose()
            ours = new_directories()
            directories.extend(ours.values())
            running[without] = await Supervisor.start(
                templates(), without=without, network=NetworkConfig(egress=OFF), **ours
            )
        return running[without]

    os.environ["PODFLARE_NB_ATTACK_MARKER"] = MARKER
    yield get
    del os.environ["PODFLARE_NB_ATTACK_MARKER"]
    for supervisor in running.values():
        await supervisor.aclose()
    for directory in directories:
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def host_port():
    """A server of the host that sandboxes must not reach."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # every address of the host
        yield server.getsockname()[1]


@pytest.fixture(scope="module")
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@asynccontextmanager
async def sandbox(supervisor, limits=LIMITS, egress=None):
    kernel = await supervisor.acquire("python-minimal", limits=limits, egress=egress)
    client = KernelClient(kernel)
    try:
        yield kernel, client
    finally:
        client.close()
        await kernel.kill()


def addresses_of_this_host():
    found = {"127.0.0.1"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # no packet is sent: it only picks the address
            found.add(sock.getsockname()[0])
        except OSError:
            pass  # a host without a network has no other
    return sorted(found)


def told(source, facts):
    for name, fact in facts.items():
        source = source.replace("{" + name + "}", str(fact))
    return source


async def answer(supervisor, attack, facts, egress=None):
    async with AsyncExitStack() as stack:
        if attack.prepares:
            neighbour, client = await stack.enter_async_context(sandbox(supervisor, egress=egress))
            facts = {**facts, "neighbour_pid": neighbour.pid}
            prepared = await client.run(told(attack.prepares, facts))
            assert prepared.error is None, prepared
        _, client = await stack.enter_async_context(sandbox(supervisor, egress=egress))
        outcome = await client.run(PRELUDE + told(attack.source, facts), SECONDS)
        assert outcome.error is None, outcome
        return outcome.text


def answer_on_the_host(attack, facts):
    """The same source in a plain process of this host, which a descriptor leads from, too."""
    outside = os.open("/", os.O_RDONLY)
    neighbour = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        source = PRELUDE + told(attack.source, {**facts, "neighbour_pid": neighbour.pid})
        return subprocess.run([sys.executable, "-c", source], pass_fds=[outside], capture_output=True,
                              text=True, timeout=SECONDS, check=True).stdout  # fmt: skip
    finally:
        neighbour.kill()
        neighbour.wait()
        os.close(outside)


@pytest.fixture(scope="module")
def name_server():
    """One of the host that knows every name. Where the host has another at that address, that knows the one here."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("127.0.0.53", 53))
        except OSError:
            yield
            return
        thread = threading.Thread(target=answer_every_query, args=[sock])
        thread.start()
        yield
        sock.sendto(b"", sock.getsockname())
        thread.join(SECONDS)


def answer_every_query(sock):
    """With an address, until an empty datagram comes."""
    while True:
        query, asker = sock.recvfrom(2000)
        if not query:
            return
        answer = query[:2] + struct.pack(">5H", 0x8180, 1, 1, 0, 0) + query[12:]
        sock.sendto(answer + struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + bytes([127, 0, 0, 1]), asker)


@pytest.fixture(scope="module")
def facts(host_port, free_port):
    return {"host_port": host_port, "port": free_port, "host_addresses": addresses_of_this_host(), "marker": MARKER}


@pytest.mark.parametrize("attack", ALL, ids=str)
async def test_the_jail_holds_against(supervisors, attack, facts):
    text = await answer(await supervisors(), attack, facts)
    assert text.startswith("HELD"), text


@pytest.mark.parametrize("attack", NETWORKS, ids=str)
async def test_the_jail_holds_with_the_internet_against(supervisors, attack, facts):
    supervisor = await supervisors()
    if supervisor.no_internet:
        pytest.skip(supervisor.no_internet)
    text = await answer(supervisor, attack, facts, INTERNET)
    assert text.startswith("HELD"), text


@pytest.mark.parametrize("attack", sorted(ALL, key=lambda attack: attack.without), ids=str)
async def test_without_its_layer_it_does_not_hold_against(supervisors, attack, facts):
    if attack.without == ON_THE_HOST:
        text = answer_on_the_host(attack, facts)
    else:
        text = await answer(await supervisors(attack.without), attack, facts)
    assert text.startswith("BROKEN"), text


@pytest.mark.parametrize("attack", MEMORY, ids=str)
async def test_the_limit_ends_a_kernel_that_takes_too_much(supervisors, attack):
    async with sandbox(await supervisors()) as (kernel, client):
        running = asyncio.ensure_future(client.run(PRELUDE + attack.source, SECONDS))
        end = await asyncio.wait_for(asyncio.shield(kernel.exited), SECONDS)
        running.cancel()
    assert end.cause == "oom"


@pytest.mark.parametrize("attack", MEMORY, ids=str)
async def test_without_the_limit_a_kernel_may_take_as_much(supervisors, attack):
    async with sandbox(await supervisors(attack.without)) as (_, client):
        outcome = await client.run(PRELUDE + attack.source, SECONDS)
    assert outcome.text.startswith("BROKEN"), outcome


@pytest.mark.parametrize("attack", DISK, ids=str)
async def test_the_disk_of_a_sandbox_ends_at_its_limit(supervisors, attack):
    async with sandbox(await supervisors()) as (_, client):
        outcome = await client.run(PRELUDE + attack.source, SECONDS)
    assert outcome.text.startswith("HELD ['ENOSPC'"), outcome


@pytest.mark.parametrize("attack", DISK, ids=str)
async def test_with_a_larger_limit_the_disk_takes_as_much(supervisors, attack):
    larger = replace(LIMITS, disk_mib=256, inodes=40_000)
    async with sandbox(await supervisors(), larger) as (_, client):
        outcome = await client.run(PRELUDE + attack.source, SECONDS)
    assert outcome.text.startswith("BROKEN"), outcome


def processes_with(word):
    """Processes of the host whose command line has the word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += [path] if word.encode() in path.read_bytes() else []
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return found


async def test_a_daemon_does_not_outlive_its_sandbox(supervisors):
    word = f"98765.{os.getpid()}"
    source = f"""
read, write = os.pipe()   # both close on exec: the end of the pipe tells that the daemon runs
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.execv("/usr/bin/sleep", ["sleep", "{word}"])
    os._exit(0)
os.wait()
os.close(write)
assert os.read(read, 1) == b""
"""
    async with sandbox(await supervisors()) as (_, client):
        outcome = await client.run(PRELUDE + source, SECONDS)
        assert outcome.error is None, outcome
        assert len(processes_with(word)) == 1
    assert processes_with(word) == []


def text_of_our_own_json():
    return Path(json.__file__).read_text()


async def test_what_root_writes_to_the_python_of_its_template_nobody_else_sees(supervisors):
    supervisor = await supervisors()
    append = "import json; open(json.__file__, 'a').write('# changed\\n')"
    look = "import json; print(open(json.__file__).read().endswith('# changed\\n'))"
    async with sandbox(supervisor) as (_, attacker), sandbox(supervisor) as (_, neighbour):
        await attacker.run(append)
        assert (await attacker.run(look)).text == "True\n"
        assert (await neighbour.run(look)).text == "False\n"
    assert not text_of_our_own_json().endswith("# changed\n")
