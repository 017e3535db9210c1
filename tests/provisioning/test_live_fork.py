"""A live kernel forked through a real supervisor: state and files in every child, then apart, and nothing left."""
# ruff: noqa: ASYNC110, ASYNC240, PTH115, PTH208 - what is looked at is /proc and descriptors, of which nobody is told

import asyncio
import os
import re
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest

from podflare_nb.errors import ConflictError, NoCapacityError, NotFoundError
from podflare_nb.provisioning.limits import Limits

from ..faults.traces import control_groups, descendants, steady, until
from .conftest import ended, talking

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="jails need root"),
]
SECONDS = 60
WAITS_AT_BIRTH = """
import os, socket
from podflare_nb.provisioning.kernel import fork_hooks
fork_hooks.BUDGET_SECONDS = 60.0
gate = socket.socket(socket.AF_UNIX)
gate.bind(b"\\0gate")
gate.listen(64)
def wait():
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(b"\\0gate")
            sock.recv(1)
    except OSError:
        pass  # it is closed already
os.register_at_fork(after_in_child=wait)
"""
"""Children of this kernel wait when they wake, until ``gate`` is closed."""
HESITATES_TO_FORK = """
import os, time
from podflare_nb.provisioning.kernel import fork_hooks
fork_hooks.BUDGET_SECONDS = 60.0
def wait():
    open('stands', 'w').close()
    while not os.path.exists('go'):
        time.sleep(0.001)
os.register_at_fork(before=wait)
"""
"""What it holds is written down by then, until there is a file ``go``."""

LEAVES_NO_DESCRIPTORS = """
import os, resource
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
os.register_at_fork(before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1])))
"""


async def kill_all(*kernels):
    await asyncio.gather(*(kernel.kill() for kernel in kernels))


async def test_children_have_state_and_files_of_their_parent_and_then_their_own(kernel, client):
    await client.run("x = [1]; open('note', 'w').write('before')")
    fork = await kernel.fork(3)
    assert (fork.warnings, fork.failures) == ([], [])
    assert {child.family for child in fork.children} == {kernel.family}
    assert len({child.connection_info["key"] for child in (kernel, *fork.children)}) == 4
    async with talking(*fork.children) as clients:
        for number, child in enumerate(clients):
            told = await child.run(
                f"x.append({number}); b = open('note').read(); open('note', 'w').write('{number}'); print(x, b)"
            )
            assert told.text == f"[1, {number}] before\n"
        for number, child in enumerate(clients):
            assert (await child.run("print(x, open('note').read())")).text == f"[1, {number}] {number}\n"
    assert (await client.run("print(x, open('note').read())")).text == "[1] before\n"
    await kill_all(*fork.children)


async def test_the_service_sees_the_files_of_each_in_its_own_workspace(kernel, client):
    await client.run("open('note', 'w').write('x')")
    number = kernel.workspace_fd
    (child,) = (await kernel.fork(1)).children
    async with talking(child) as (its,):
        await its.run("open('childs', 'w').write('x')")
        await client.run("open('parents', 'w').write('x')")
    assert kernel.workspace_fd == number
    assert sorted(os.listdir(kernel.workspace_fd)) == ["note", "parents"]
    assert sorted(os.listdir(child.workspace_fd)) == ["childs", "note"]
    await child.kill()


async def test_the_service_sees_the_parents_files_after_a_fork_of_which_no_child_came(kernel, client):
    # Of no use to the parent, which has its loop: every child fails when it wakes.
    await client.run(
        "from podflare_nb.provisioning.kernel import attach; loop, attach._fresh_loop = attach._fresh_loop, None"
    )
    with pytest.raises(NoCapacityError, match="could not be started"):
        await kernel.fork(2)
    await client.run("open('after', 'w').write('x'); attach._fresh_loop = loop")
    assert os.listdir(kernel.workspace_fd) == ["after"]
    (child,) = (await kernel.fork(1)).children
    await child.kill()


async def test_a_fork_of_a_fork_of_a_fork(kernel, client):
    await client.run("generation = 0")
    line = [kernel]
    for number in range(1, 4):
        line.append((await line[-1].fork(1)).children[0])
        async with talking(line[-1]) as (its,):
            told = await its.run(
                f"generation += 1; open('{number}', 'w').close(); import os; print(generation, sorted(os.listdir()))"
            )
            assert told.text == f"{number} {[str(each) for each in range(1, number + 1)]}\n"
    await kill_all(*line[1:])


async def test_a_child_lives_in_a_control_group_of_its_own_with_its_parents_limits(supervisor):
    parent = await supervisor.acquire("python-minimal", limits=Limits(memory_mib=300))
    child, other = (await parent.fork(2)).children
    assert child.limits == parent.limits
    groups = {Path(f"/proc/{each.pid}/cgroup").read_text() for each in (parent, child, other)}
    assert len(groups) == 3
    async with talking(child, other) as (its, others):
        running = asyncio.ensure_future(its.run("x = bytearray(400 << 20)"))
        assert (await ended(child)).cause == "oom"
        running.cancel()
        assert (await others.run("print(1)")).text == "1\n"
    await kill_all(parent, child, other)


@pytest.mark.parametrize(
    ("code", "cause", "told"),
    [
        ("import os; os._exit(3)", "exited", "exited with code 3"),
        ("import ctypes; ctypes.string_at(0)", "crashed", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed", "SIGKILL"),
    ],
)
async def test_the_end_of_a_branch_is_told_with_its_cause_and_ends_nobody_else(kernel, client, code, cause, told):
    (child,) = (await kernel.fork(1)).children
    async with talking(child) as (its,):
        running = asyncio.ensure_future(its.run(code))
        end = await ended(child)
        running.cancel()
    assert end.cause == cause
    assert told in end.message
    assert (await client.run("print(1)")).text == "1\n"
    await child.kill()


async def test_a_family_outlives_its_first_member(supervisor):
    first = await supervisor.acquire("python-minimal")
    async with talking(first) as (its,):
        await its.run("x = 42; open('note', 'w').write('of the first')")
    (child,) = (await first.fork(1)).children
    await first.kill()
    (grandchild,) = (await child.fork(1)).children
    async with talking(child, grandchild) as clients:
        for each in clients:
            assert (await each.run("print(x, open('note').read())")).text == "42 of the first\n"
    await kill_all(child, grandchild)


async def test_a_dead_branch_is_replaced_on_its_own_files(supervisor, kernel):
    (child,) = (await kernel.fork(1)).children
    async with talking(child) as (its,):
        await its.run("open('childs', 'w').write('kept')")
    os.kill(child.pid, signal.SIGKILL)
    await ended(child)
    replaced = await supervisor.replace(child)
    async with talking(replaced) as (its,):
        assert (await its.run("print(open('childs').read())")).text == "kept\n"
    await replaced.kill()


async def test_a_checkpoint_is_woken_again_and_again_as_it_was(kernel, client):
    await client.run("x = 'then'; open('note', 'w').write('then')")
    (checkpoint,) = (await kernel.fork(1, asleep=True)).children
    await client.run("x = 'now'; open('note', 'w').write('now')")
    assert (await checkpoint.usage()).memory_bytes < 32 << 20
    assert Path(f"/proc/{checkpoint.pid}/oom_score_adj").read_text() == "1000\n"
    for _ in range(2):
        woken = await checkpoint.wake()
        assert Path(f"/proc/{woken.pid}/oom_score_adj").read_text() == "500\n"
        async with talking(woken) as (its,):
            told = await its.run("print(x, open('note').read()); x = 'changed'; n = open('note', 'w').write('changed')")
            assert told.text == "then then\n"
        await woken.kill()
    assert (await client.run("print(x, open('note').read())")).text == "now now\n"
    await checkpoint.kill()
    with pytest.raises(NotFoundError):
        await checkpoint.wake()


async def test_a_checkpoint_outlives_the_kernel_that_it_was_made_of(supervisor):
    parent = await supervisor.acquire("python-minimal")
    async with talking(parent) as (its,):
        await its.run("x = 42")
    (checkpoint,) = (await parent.fork(1, asleep=True)).children
    await parent.kill()
    assert not checkpoint.exited.done()
    woken = await checkpoint.wake()
    async with talking(woken) as (its,):
        assert (await its.run("print(x)")).text == "42\n"
    await kill_all(woken, checkpoint)


async def test_changes_name_the_files_that_the_other_has_otherwise(kernel, client):
    await client.run("for name in 'abc': open(name, 'w').write('before')")
    (child,) = (await kernel.fork(1)).children
    async with talking(child) as (its,):
        await its.run("import os; os.remove('a'); open('b', 'w').write('changed'); open('d', 'w').write('new')")
    changes = await kernel.changes(child)
    assert [[file["path"] for file in changes[kind]] for kind in ("added", "removed", "modified")] == [
        ["/workspace/d"],
        ["/workspace/a"],
        ["/workspace/b"],
    ]
    await child.kill()


async def test_variables_are_told(kernel, client):
    await client.run("answer = 42")
    assert "answer" in str(await kernel.variables())


async def test_a_fork_waits_for_the_running_cell_and_gives_up_in_time(kernel, client):
    running = asyncio.ensure_future(client.run("import time; print('begun', flush=True); time.sleep(1000)"))
    while (await kernel.usage()).cpu_seconds is None:
        await asyncio.sleep(0)
    with pytest.raises(ConflictError):  # noqa: PT012 - until the cell has begun, it is free
        for _ in range(100):
            await kill_all(*(await kernel.fork(1, wait_seconds=0.2)).children)
    while not running.done():
        await kernel.send_signal(signal.SIGINT)
        await asyncio.wait({running}, timeout=0.1)
    await kill_all(*(await kernel.fork(1)).children)


async def test_a_second_fork_at_the_same_time_is_refused(kernel, client):
    cell = "import os, time\nopen('begun', 'x')\nwhile not os.path.exists('go'): time.sleep(0.01)"
    running = asyncio.ensure_future(client.run(cell))
    await asyncio.to_thread(until, lambda: "begun" in os.listdir(kernel.workspace_fd), SECONDS, "the cell has begun")
    forks = [asyncio.ensure_future(kernel.fork(1)) for _ in range(2)]
    (refused,), (other,) = await asyncio.wait(forks, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
    assert isinstance(refused.exception(), ConflictError)
    os.close(os.open("go", os.O_CREAT, dir_fd=kernel.workspace_fd))
    await kill_all(*(await other).children)
    assert (await running).error is None


async def test_processes_of_the_user_go_on_in_the_parents_files_and_are_named(kernel, client):
    await client.run("open('note', 'w').write('before'); import subprocess; p = subprocess.Popen(['sleep', '1000'])")
    fork = await kernel.fork(1)
    (child,) = fork.children
    assert "sleep" in " ".join(warning.text for warning in fork.warnings)
    async with talking(child) as (its,):
        assert (await its.run("print(open('note').read())")).text == "before\n"
    assert (
        await client.run("print(p.poll()); open('/proc/%d/root/workspace/note' % p.pid, 'w').write('x')")
    ).error is None
    assert (await client.run("print(open('note').read())")).text == "x\n"
    with pytest.raises(ConflictError) as refused:
        await kernel.fork(1, strict=True)
    assert any("sleep" in warning for warning in refused.value.details["warnings"])
    await child.kill()


async def test_a_full_disk_is_told_and_the_kernel_goes_on(supervisor):
    small = await supervisor.acquire("python-minimal", limits=Limits(disk_mib=64, inodes=3000))
    async with talking(small) as (its,):
        filling = (
            "n = 0\ntry:\n    while True:\n        open(f'f{n}', 'w').close(); n += 1\n"
            "except OSError as error: print(error.errno)"
        )
        assert (await its.run(filling)).text == "28\n"
        with pytest.raises(ConflictError, match="disk of the sandbox is full"):
            await small.fork(2)
        assert (await its.run("import os\nfor i in range(500): os.remove(f'f{i}')\nprint('alive')")).text == "alive\n"
        (child,) = (await small.fork(1)).children
        async with talking(child) as (childs,):
            assert (await childs.run("print(len(os.listdir()) == n - 500)")).text == "True\n"
    await kill_all(small, child)


async def test_a_kernel_with_as_many_processes_as_it_may_have_refuses_at_once_and_lives(supervisor):
    full = await supervisor.acquire("python-minimal", limits=Limits(pids=40))
    async with talking(full) as (its,):
        filling = (
            "import threading\nover = threading.Event()\n"
            "try:\n    while True: threading.Thread(target=over.wait, daemon=True).start()\n"
            "except RuntimeError as error: print(error)"
        )
        assert (await its.run(filling)).text == "can't start new thread\n"
        with pytest.raises(NoCapacityError, match="no room for another thread or process"):
            await full.fork(2)
        assert (await its.run("over.set(); print('alive')")).text == "alive\n"
        (child,) = (await full.fork(1)).children
    await kill_all(full, child)


async def test_a_removed_workspace_is_named_and_a_fork_works_once_it_is_there_again(kernel, client):
    await client.run("import os; os.chdir('/'); os.rmdir('/workspace')")
    with pytest.raises(ConflictError, match="/workspace is not there any more"):
        await kernel.fork(2)
    await client.run("os.mkdir('/workspace')")
    (child,) = (await kernel.fork(1)).children
    await child.kill()


async def test_a_parent_killed_in_the_middle_leaves_nothing(supervisor):
    for _ in range(5):
        parent = await supervisor.acquire("python-minimal")
        forking = asyncio.ensure_future(parent.fork(8))
        await supervisor.describe()  # a round trip: it is under way
        os.kill(parent.pid, signal.SIGKILL)
        (result,) = await asyncio.gather(forking, return_exceptions=True)
        if not isinstance(result, Exception):
            await kill_all(*result.children)
        await parent.kill()


async def test_a_child_killed_in_the_middle_fails_alone(supervisor):
    parent = await supervisor.acquire("python-minimal")
    async with talking(parent) as (its,):
        assert (await its.run(WAITS_AT_BIRTH)).error is None
        before = kernel_processes()
        forking = asyncio.ensure_future(parent.fork(8))
        victim = None
        while victim is None and not forking.done():
            await asyncio.sleep(0)
            new = kernel_processes() - before
            victim = next((pid for pid in new if is_child_of(parent, pid)), None)
        assert victim is not None, "the fork was over before a child was seen"
        os.kill(victim, signal.SIGKILL)
        await its.run("gate.close()")
        fork = await forking
    living = [child for child in fork.children if child.pid != victim]
    assert len(living) >= 7
    assert len(fork.children) + len(fork.failures) == 8
    async with talking(*living) as clients:
        for each in clients:
            assert (await each.run("print(1)")).text == "1\n"
    await kill_all(parent, *fork.children)


def kernel_processes():
    """Processes in jails: those of ids that are nobody's on the host."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if path.stat().st_uid >= 1_000_000_000:
                found.add(int(path.name))
        except OSError:
            continue
    return found


def is_child_of(parent, pid):
    """Whether it is a fork of that kernel: in its jail, and nobody's but pid 1's."""
    try:
        above = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        same_jail = os.readlink(f"/proc/{pid}/ns/pid") == os.readlink(f"/proc/{parent.pid}/ns/pid")
        return same_jail and Path(f"/proc/{above}/comm").read_text() == "cat\n"
    except OSError:
        return False


async def test_many_forks_leave_everything_as_it_was(supervisor):
    async def round_of(parent):
        fork = await parent.fork(4)
        (checkpoint,) = (await parent.fork(1, asleep=True)).children
        woken = await checkpoint.wake()
        await kill_all(*fork.children, woken, checkpoint)

    parent = await supervisor.acquire("python-minimal")
    await round_of(parent)
    before = await asyncio.to_thread(steady, lambda: holdings(supervisor, parent), SECONDS)
    for _ in range(5):
        await round_of(parent)
    more = lambda: holdings(supervisor, parent) - before  # noqa: E731 - asked for again and again
    await asyncio.to_thread(until, lambda: not more(), SECONDS, "no more than before")
    await parent.kill()


def holdings(supervisor, parent):
    pid = supervisor._process.pid
    counted = Counter()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            counted[re.sub(r":\[\d+\]|\d+$", "", os.readlink(path))] += 1
        except OSError:
            continue
    counted["processes"] = len(descendants(pid))
    counted["mounts"] = len(Path(f"/proc/{parent.pid}/mounts").read_text().splitlines())
    groups = control_groups(Path(supervisor.path).parent.name)
    counted["groups"] = sum(len(list(os.walk(group))) for group in groups)
    return counted


async def test_a_client_that_comes_in_the_middle_of_a_fork_hears_of_its_kernels_end(supervisor):
    parent = await supervisor.acquire("python-minimal")
    async with talking(parent) as (connected,):
        assert (await connected.run(HESITATES_TO_FORK)).error is None
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(SECONDS)
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
            forking = tasks.create_task(parent.fork(1))
            while "stands" not in os.listdir(parent.workspace_fd):
                await asyncio.sleep(0.001)
            client.connect(f"{parent.connection_info['ip']}-{parent.connection_info['iopub_port']}")
            assert await asyncio.to_thread(client.recv, 1)  # ZeroMQ's greeting: it is accepted
            os.close(os.open("go", os.O_CREAT | os.O_WRONLY, dir_fd=parent.workspace_fd))
        (child,) = (await forking).children
        await parent.kill()
        while await asyncio.to_thread(client.recv, 100):
            pass
    await child.kill()


async def test_a_kernel_that_cannot_make_children_says_why_and_goes_on(kernel, client):
    await client.run(LEAVES_NO_DESCRIPTORS)
    with pytest.raises(NoCapacityError, match="Too many open files"):
        await kernel.fork(2)
    told = await client.run("resource.setrlimit(resource.RLIMIT_NOFILE, limits); print('goes on')")
    assert told.text == "goes on\n"
