"""Terminals through a real supervisor: real ones, in the jail, that end with what they belong to."""
# ruff: noqa: ASYNC240 - what is looked at is /proc, of which nobody is told

import asyncio
import os
import signal
from collections import Counter
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from podflare_nb.errors import ConflictError, NotFoundError
from podflare_nb.provisioning import live_fork, pseudo_terminal, terminal_opening
from podflare_nb.provisioning.client import Supervisor
from podflare_nb.provisioning.handle import TerminalRefusal
from podflare_nb.provisioning.jail.user_namespace import FIRST_ID

from ..faults.traces import (
    control_groups,
    descendants,
    descriptors,
    own_descriptors,
    process,
    steady,
    until,
    until_no_more,
)
from .conftest import new_directories, templates
from .terminal_reader import SECONDS, command, terminal

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="jails need root"),
]
SIZES = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
print(os.get_terminal_size(), 'at first', flush=True)
signal.sigwait({signal.SIGWINCH})
print(os.get_terminal_size(), 'then', flush=True)
"""


async def test_a_terminal_is_a_real_one_of_the_jails_own(kernel):
    async with terminal(kernel, "bash", "-c", "tty; stty size; ps -o tty=,sid=,pgid=,tpgid=,pid= -p $$") as reader:
        said = (await reader.rest()).split()
        assert await reader.exit_code() == 0
    assert said[:3] == ["/dev/pts/0", "24", "80"]
    assert said[3] == "pts/0"
    assert len(set(said[4:])) == 1, "it leads a session whose controlling terminal this is"


async def test_python_finds_its_terminal_by_name_and_a_login_shell_finds_the_templates_python(kernel):
    look = "python -c 'import os, sys; print(os.ttyname(0), os.environ[\"TERM\"], sys.prefix)'"
    async with terminal(kernel, "bash", "-lc", look) as reader:
        name, term, prefix = (await reader.rest()).split()
    assert (name, term) == ("/dev/pts/0", "xterm-256color")
    assert Path(prefix).samefile(Path(templates()[0].python).parents[1])


async def interrupt_until_prompt(reader):
    """Ctrl-C as often as it takes: bash says "fg" before the job has the terminal, and has no use for it itself."""
    for _ in range(40):
        reader.type("\x03")
        with suppress(AssertionError):
            await reader.until(r"\^C[^$]*\$ $", seconds=0.5)
            return
    raise AssertionError(reader.said)


async def test_a_shell_controls_its_jobs(kernel):
    async with terminal(kernel) as reader:
        await reader.until(r"\$ $")
        reader.type("sh -c 'echo $(tput cols) runs; exec sleep 1000'\r")
        await reader.until("80 runs")
        reader.type("\x1a")  # Ctrl-Z
        await reader.until("Stopped +sh -c")
        reader.type("bg; jobs\r")
        await reader.until("Running +sh -c")
        reader.type("echo front; fg\r")
        await reader.until("front\r\nsh -c.*\r\n")
        await interrupt_until_prompt(reader)
        reader.type("echo ended $?\rexit 7\r")
        await reader.until("ended 130")
        assert await reader.exit_code() == 7


async def test_an_interrupt_reaches_the_program_in_the_foreground_and_quits_it(kernel):
    async with terminal(kernel, "sleep", "1000") as reader:
        reader.type("\x03")
        assert await reader.exit_code() == 128 + signal.SIGINT


async def test_another_size_is_told_to_programs(kernel):
    async with terminal(kernel, "python", "-c", SIZES, size=(132, 43)) as reader:
        await reader.until("columns=132, lines=43.* at first")
        pseudo_terminal.resize(reader.terminal.master, 200, 50)
        await reader.until("columns=200, lines=50.* then")


@pytest.mark.parametrize("program", [("top", "-d", "1"), ("vi", "-u", "NONE", "note")])
async def test_programs_that_draw_the_whole_screen_work(kernel, program):
    if not any(Path(directory, program[0]).exists() for directory in ("/usr/bin", "/usr/local/bin", "/bin")):
        pytest.skip(f"this machine has no {program[0]}")
    async with terminal(kernel, *program) as reader:
        await reader.until("\x1b\\[[0-9;?]*[HJhm]")
        reader.type("q" if program[0] == "top" else ":q!\r")
        assert await reader.exit_code() == 0


async def test_what_cannot_be_run_is_refused_as_a_shell_would(kernel):
    refusals = [
        await kernel.open_terminal(command("no-such-program")),
        await kernel.open_terminal(command("/etc/passwd")),
        await kernel.open_terminal(command("ls", cwd="/no/such")),
    ]
    assert all(isinstance(refusal, TerminalRefusal) for refusal in refusals)
    assert [refusal.exit_code for refusal in refusals] == [127, 126, 1]
    for refusal, words in zip(refusals, ("not found", "Permission denied", "'/no/such'"), strict=True):
        assert words in refusal.message


async def test_it_runs_as_the_jails_user_in_the_kernels_control_group_and_namespaces(kernel):
    async with terminal(kernel, "sleep", "1234") as reader:
        (pid,) = [each.pid for each in descendants(os.getpid()) if each.command.startswith("sleep 1234")]
        proc, kernels = Path(f"/proc/{pid}"), Path(f"/proc/{kernel.pid}")
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
        expected = dict(line.split(":\t", 1) for line in (kernels / "status").read_text().splitlines() if ":\t" in line)
        for name in ("Uid", "Gid", "Groups", "CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh", "NoNewPrivs", "Seccomp"):
            assert status[name] == expected[name], name
        assert int(status["Uid"].split()[0]) >= FIRST_ID
        assert (proc / "cgroup").read_text() == (kernels / "cgroup").read_text()
        for name in ("user", "pid", "mnt", "net", "ipc", "uts"):
            assert (proc / "ns" / name).readlink() == (kernels / "ns" / name).readlink(), name
        assert (proc / "root").stat().st_ino == (kernels / "root").stat().st_ino
        assert [path.removeprefix("/b/0") for path in descriptors(pid)] == ["/dev/pts/0"] * 3
        assert (proc / "limits").read_text() == (kernels / "limits").read_text()
        assert (proc / "oom_score_adj").read_text() == (kernels / "oom_score_adj").read_text()
        await reader.terminal.kill()


async def test_kill_ends_all_of_its_session_and_nothing_else(kernel):
    async with terminal(kernel, "bash", "-ic", "sleep 2001 & setsid sleep 2002 & sleep 2003") as reader:
        until(lambda: len(sleeping("sleep 200")) == 3, SECONDS, "three sleepers")
        await reader.terminal.kill()
        assert await reader.exit_code() == 128 + signal.SIGKILL
        until(lambda: sleeping("sleep 200") == ["sleep 2002"], SECONDS, "the end of its session alone")


def sleeping(prefix):
    return sorted(each.command.strip() for each in descendants(os.getpid()) if each.command.startswith(prefix))


async def test_it_ends_with_its_kernel_and_says_so(supervisor):
    kernel = await supervisor.acquire("python-minimal")
    async with terminal(kernel) as reader:
        await kernel.kill()
        end = await asyncio.wait_for(asyncio.shield(reader.terminal.exited), SECONDS)
    assert end.exit_code == 128 + signal.SIGKILL
    assert "kernel ended" in end.message
    with pytest.raises(NotFoundError):
        await kernel.open_terminal(command())


async def test_terminals_leave_nothing_behind(supervisor, kernel):
    def held():
        processes = descendants(os.getpid())
        name = Path(supervisor.path).parent.name
        counted = Counter(groups=len(control_groups(name)), processes=len(processes))
        for each in processes:
            if "provisioning.supervisor" in each.command:
                counted[f"descriptors of {each.pid}"] = len(descriptors(each.pid))
        return counted

    async with terminal(kernel, "true") as reader:
        await reader.exit_code()
    before, own = steady(held, SECONDS), own_descriptors()
    for number in range(12):
        async with terminal(kernel, *((), ("true",), ("sleep", "1000"))[number % 3]):
            pass
    for _ in range(3):
        await kernel.open_terminal(command("no-such-program"))
    until_no_more(held, before, SECONDS)
    until_no_more(own_descriptors, own, SECONDS)


async def test_a_forks_parent_keeps_its_terminals_and_the_fork_has_none(kernel):
    async with terminal(kernel) as reader:
        await reader.until(r"\$ $")
        fork = await kernel.fork(1)
        assert {warning.kind for warning in fork.warnings} == {"processes", "terminals"}
        reader.type("echo parent > mine\recho wri''tten\r")
        await reader.until("written")
        (child,) = fork.children
        async with terminal(child, "bash", "-c", "ls; exit 3") as other:
            assert "mine" not in await other.rest()
            assert await other.exit_code() == 3
        await child.kill()
        with pytest.raises(ConflictError):
            await kernel.fork(1, strict=True)


async def test_terminals_and_forks_at_the_same_time_never_write_to_what_is_frozen(kernel):
    async def opens(number):
        async with terminal(kernel, "bash", "-c", f"echo {number} > file{number}") as reader:
            return await reader.exit_code()

    codes_and_forks = await asyncio.gather(*(opens(n) for n in range(6)), kernel.fork(2), return_exceptions=True)
    fork = codes_and_forks.pop()
    assert codes_and_forks == [0] * 6
    for number in range(6):
        file = os.open(f"file{number}", os.O_RDONLY, dir_fd=kernel.workspace_fd)
        assert os.read(file, 10) == b"%d\n" % number
        os.close(file)
    if not isinstance(fork, ConflictError):  # the sandbox may have been restless
        await asyncio.gather(*(child.kill() for child in fork.children))


async def test_one_jail_cannot_take_all_pseudo_terminals_of_the_machine(kernel):
    source = """
import os
held = []
try:
    while len(held) < 1000: held.append(os.open('/dev/ptmx', os.O_RDWR | os.O_NOCTTY))
except OSError as error:
    print(error.strerror, len(held) < 128)
"""
    async with terminal(kernel, "python", "-c", source) as reader:
        assert (await reader.rest()).strip() == "No space left on device True"


async def test_a_template_that_died_is_started_again_for_a_terminal(kernel):
    async with terminal(kernel, "true"):
        pass
    template = process(process(kernel.pid).parent)
    assert "template.main" in template.command
    os.kill(template.pid, signal.SIGKILL)
    async with terminal(kernel, "bash", "-c", "exit 5") as reader:
        assert await reader.exit_code() == 5


async def test_without_isolation_a_terminal_runs_beside_the_service():
    directories = new_directories()
    async with await Supervisor.start(templates(), isolation="none", **directories) as supervisor:
        kernel = await supervisor.acquire("python-minimal")
        async with terminal(kernel, "bash", "-c", "trap '' HUP; sleep 3001 & tty; exit 4") as reader:
            assert await reader.exit_code() == 4
        async with terminal(kernel, "bash", "-c", "sleep 3002 & sleep 3003; true") as reader:
            until(lambda: len(sleeping("sleep 300")) == 3, SECONDS, "three sleepers")
            await reader.terminal.kill()
            until(lambda: sleeping("sleep 300") == ["sleep 3001"], SECONDS, "the end of its session alone")
        for each in descendants(os.getpid()):
            if each.command.startswith("sleep 3001"):
                os.kill(each.pid, signal.SIGKILL)
        await kernel.kill()
    for directory in directories.values():
        directory.rmdir()


@dataclass
class Forkable:
    """As much of a kernel as those ask for who must not be at work in it at the same time."""

    branch: object = field(default_factory=lambda: SimpleNamespace(entering=asyncio.Lock()))
    orders: object = field(default_factory=lambda: SimpleNamespace(exclusively=nullcontext))
    exited: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())


async def test_a_terminal_is_opened_before_a_fork_or_after_it_and_never_during(monkeypatch):
    entered = []
    parent = Forkable()

    async def enter(*_):
        entered.append(parent.branch.entering.locked())

    monkeypatch.setattr(terminal_opening, "_open", enter)
    monkeypatch.setattr(live_fork, "_attempts", enter)
    async with parent.branch.entering:
        both = [
            asyncio.ensure_future(terminal_opening.open_terminal(parent, None, {})),
            asyncio.ensure_future(live_fork.fork(parent, None, None)),
        ]
        for _ in range(5):
            await asyncio.sleep(0)
        assert entered == []
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*both)
    assert entered == [True, True]
