"""A terminal is in the jail as a kernel is: the same attacks, typed there, meet the same layers."""

import asyncio
import os
import shutil
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from podflare_nb.provisioning.client import Supervisor
from podflare_nb.provisioning.limits import Limits

from ..provisioning.conftest import new_directories, templates
from ..provisioning.terminal_reader import terminal
from .attacks import KERNEL_SURFACE, ON_THE_HOST, OTHER_TENANTS, POWERLESS, PRELUDE, SECRETS, Attack
from .test_attacks import MARKER, answer_on_the_host

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="jails need root"),
]
LIMITS = Limits(memory_mib=256, pids=100, disk_mib=64, inodes=4000)
OF_TERMINALS = [
    Attack(
        "pseudo terminals without end",
        """
held = []
with contextlib.suppress(OSError):
    while len(held) < 300:
        held.append(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))
verdict(len(held) >= 128, len(held))
""",
        ON_THE_HOST,
    ),
    Attack("typing into a terminal by TIOCSTI",
           "import pty, termios\nfd = os.open('/dev/tty', os.O_RDWR) if os.path.exists('/dev/pts/0') else 0\n"
           "result = attempt(fcntl.ioctl, fd, termios.TIOCSTI, b'x')\n"
           "verdict(not isinstance(result, str) or result == 'EIO', result)\n",
           POWERLESS),
    Attack("the master of its own terminal",
           "import stat\nmasters = []\n"
           "for pid in [name for name in os.listdir('/proc') if name.isdigit()]:\n"
           "    with contextlib.suppress(OSError):\n"
           "        for name in os.listdir('/proc/%s/fd' % pid):\n"
           "            with contextlib.suppress(OSError):\n"
           "                path = '/proc/%s/fd/%s' % (pid, name)\n"
           "                masters += [path] if os.stat(path).st_rdev == os.makedev(5, 2) else []\n"
           "verdict(masters, masters)\n",
           ON_THE_HOST),
]  # fmt: skip
"""The last: the test holds the master itself, where its control looks."""
IN_JAIL = [a for a in KERNEL_SURFACE if set(a.without) <= set(POWERLESS)] + [OF_TERMINALS[1]]
OUTSIDE = [a for a in (*KERNEL_SURFACE, *OTHER_TENANTS, *SECRETS) if a.without == ON_THE_HOST]
OUTSIDE += [OF_TERMINALS[0], OF_TERMINALS[2]]


@asynccontextmanager
async def sandboxes(without=()):
    """The attacked sandbox, and a neighbour."""
    directories = new_directories()
    os.environ["PODFLARE_NB_ATTACK_MARKER"] = MARKER
    try:
        async with await Supervisor.start(templates(), without=without, **directories) as supervisor:
            kernels = [await supervisor.acquire("python-minimal", limits=LIMITS) for _ in range(2)]
            yield kernels
            await asyncio.gather(*(kernel.kill() for kernel in kernels))
    finally:
        os.environ.pop("PODFLARE_NB_ATTACK_MARKER", None)
        for directory in directories.values():
            shutil.rmtree(directory)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def jailed():
    async with sandboxes() as kernels:
        yield kernels


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def powerful():
    async with sandboxes(POWERLESS) as kernels:
        yield kernels


def source_of(attack, neighbour_pid):
    return PRELUDE + attack.source.replace("{neighbour_pid}", str(neighbour_pid)).replace("{marker}", MARKER)


async def answer(kernels, attack):
    attacked, neighbour = kernels
    async with terminal(attacked, "python", "-c", source_of(attack, neighbour.pid)) as reader:
        return (await reader.rest()).strip()


@pytest.mark.parametrize("attack", [*IN_JAIL, *OUTSIDE], ids=str)
async def test_in_a_terminal_the_jail_holds_against(jailed, attack):
    said = await answer(jailed, attack)
    assert said.startswith("HELD"), said


@pytest.mark.parametrize("attack", IN_JAIL, ids=str)
async def test_in_a_terminal_without_its_layers_it_does_not_hold_against(powerful, attack):
    said = await answer(powerful, attack)
    assert "BROKEN" in said, said


@pytest.mark.parametrize("attack", OUTSIDE, ids=str)
async def test_outside_of_a_jail_it_does_not_hold_against(attack):
    masters = [os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)]
    os.environ["PODFLARE_NB_ATTACK_MARKER"] = MARKER
    try:
        said = await asyncio.to_thread(answer_on_the_host, attack, {"marker": MARKER})
    finally:
        os.environ.pop("PODFLARE_NB_ATTACK_MARKER", None)
        os.close(masters.pop())
    assert said.startswith("BROKEN"), said
