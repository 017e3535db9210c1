"""The supervisor as its clients see it: kernels in milliseconds, ends told truthfully, nothing left behind."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from podflare_nb.errors import NoCapacityError, NotFoundError
from podflare_nb.provisioning.client import Supervisor
from podflare_nb.provisioning.limits import Limits

from ..faults.traces import own_descriptors, until, until_no_more
from .conftest import KernelClient, left_in, new_directories, templates

pytestmark = pytest.mark.asyncio(loop_scope="module")
END_SECONDS = 60


async def end_of(kernel):
    return await asyncio.wait_for(asyncio.shield(kernel.exited), END_SECONDS)


async def test_a_kernel_runs_code_and_keeps_its_state(client):
    assert (await client.run("x = 6 * 7")).error is None
    assert (await client.run("print(x)")).text == "42\n"


async def test_the_first_cell_is_number_one(client):
    assert (await client.run("print(len(In) - 1)")).text == "1\n"


async def test_a_kernel_is_root_of_a_world_of_its_own(client):
    told = await client.run("import os; print(os.getuid(), os.getcwd(), os.path.exists('/b'), os.uname().nodename)")
    assert told.text == "0 /workspace False sandbox\n"


async def test_two_kernels_share_nothing(supervisor, client):
    other = await supervisor.acquire("python-minimal")
    stranger = KernelClient(other)
    try:
        await client.run("open('/workspace/mine', 'w').write('x'); open('/tmp/mine', 'w').write('x'); secret = 1")
        seen = await stranger.run(
            "import os; print(os.listdir('/workspace'), os.path.exists('/tmp/mine'), 'secret' in globals())"
        )
        assert seen.text == "[] False False\n"
    finally:
        stranger.close()
        await other.kill()


async def test_an_unknown_template_names_those_that_exist(supervisor):
    with pytest.raises(NotFoundError, match="python-minimal"):
        await supervisor.acquire("no-such")


@pytest.mark.parametrize(
    ("code", "cause", "told"),
    [
        ("import os; os._exit(3)", "exited", "exited with code 3"),
        ("import ctypes; ctypes.string_at(0)", "crashed", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed", "SIGKILL"),
        ("x = b'x' * (900 << 20); y = x + x", "oom", "ran out of memory"),
    ],
)
async def test_the_end_of_a_kernel_is_told_with_its_cause(kernel, client, code, cause, told):
    running = asyncio.ensure_future(client.run(code))
    end = await end_of(kernel)
    running.cancel()
    assert end.cause == cause
    assert told in end.message


async def test_a_kernel_killed_from_outside_is_told_at_once(kernel):
    os.kill(kernel.pid, signal.SIGKILL)
    assert (await end_of(kernel)).cause == "killed"


async def test_a_replaced_kernel_has_the_files_but_not_the_variables(supervisor, kernel, client):
    await client.run("x = 1; open('note.txt', 'w').write('kept')")
    os.kill(kernel.pid, signal.SIGKILL)
    await end_of(kernel)
    successor = await supervisor.replace(kernel)
    reconnected = KernelClient(successor)
    try:
        assert (await reconnected.run("print(open('note.txt').read(), 'x' in globals())")).text == "kept False\n"
    finally:
        reconnected.close()
        await successor.kill()


async def test_a_replaced_kernel_has_the_environment_of_the_one_before(supervisor):
    first = await supervisor.acquire("python-minimal", env={"GREETING": "hello"})
    os.kill(first.pid, signal.SIGKILL)
    await end_of(first)
    successor = await supervisor.replace(first)
    asking = KernelClient(successor)
    try:
        assert (await asking.run("import os; print(os.environ['GREETING'])")).text == "hello\n"
    finally:
        asking.close()
        await successor.kill()


async def test_processes_of_a_dead_kernel_do_not_outlive_its_replacement(supervisor, kernel, client):
    await client.run("import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    os.kill(kernel.pid, signal.SIGKILL)
    await end_of(kernel)
    successor = await supervisor.replace(kernel)
    reconnected = KernelClient(successor)
    try:
        listing = "import glob; print([open(path).read() for path in glob.glob('/proc/[0-9]*/comm')])"
        assert "sleep" not in (await reconnected.run(listing)).text
    finally:
        reconnected.close()
        await successor.kill()


async def test_limits_of_a_request_hold(supervisor):
    small = await supervisor.acquire("python-minimal", limits=Limits(memory_mib=200, disk_mib=256, inodes=5000))
    asking = KernelClient(small)
    try:
        told = await asking.run("import shutil; print(shutil.disk_usage('/workspace').total >> 20)")
        assert int(told.text) <= 256
        running = asyncio.ensure_future(asking.run("x = bytearray(300 << 20)"))
        assert (await end_of(small)).cause == "oom"
        running.cancel()
    finally:
        asking.close()
        await small.kill()


async def test_an_interrupt_ends_a_cell(kernel, client):
    running = asyncio.ensure_future(client.run("print('begun', flush=True)\nwhile True: pass"))
    await asyncio.sleep(0)
    for _ in range(100):
        await kernel.send_signal(signal.SIGINT)
        done, _ = await asyncio.wait({running}, timeout=0.1)
        if done:
            break
    assert running.result().error.startswith("KeyboardInterrupt")


async def test_environment_of_the_request_reaches_the_kernel_and_nothing_of_the_server_does(supervisor, monkeypatch):
    monkeypatch.setenv("SERVER_SECRET", "do-not-leak")
    taken = await supervisor.acquire("python-minimal", env={"GREETING": "hello"})
    asking = KernelClient(taken)
    try:
        told = await asking.run("import os; print(os.environ['GREETING'], 'SERVER_SECRET' in os.environ)")
        assert told.text == "hello False\n"
    finally:
        asking.close()
        await taken.kill()


async def test_many_kernels_at_once_all_answer(supervisor):
    kernels = await asyncio.gather(*(supervisor.acquire("python-minimal") for _ in range(12)))
    assert len({kernel.kernel_id for kernel in kernels}) == 12
    await asyncio.gather(*(kernel.kill() for kernel in kernels))


async def test_closing_gives_everything_back(supervisor):
    before = own_descriptors()
    kernels = await asyncio.gather(*(supervisor.acquire("python-minimal") for _ in range(4)))
    await asyncio.gather(*(kernel.kill() for kernel in kernels))
    await asyncio.to_thread(until_no_more, own_descriptors, before, END_SECONDS)


async def test_a_killed_supervisor_takes_every_kernel_with_it_and_the_next_one_sweeps_up():
    directories = new_directories()
    first = await Supervisor.start(templates(), **directories)
    taken = await first.acquire("python-minimal")
    watching = os.pidfd_open(taken.pid)
    first._process.send_signal(signal.SIGKILL)
    ended = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_reader(watching, lambda: ended.done() or ended.set_result(None))
    await asyncio.wait_for(ended, END_SECONDS)
    asyncio.get_running_loop().remove_reader(watching)
    os.close(watching)
    assert (await end_of(taken)).cause == "killed"
    with pytest.raises(NoCapacityError, match="supervisor has ended"):
        await first.acquire("python-minimal")
    await first.aclose()
    async with await Supervisor.start(templates(), **directories) as second:
        assert len(list(directories["work_dir"].glob("s-*"))) == 1
        assert second.path.startswith(str(directories["runtime_dir"]))
    assert not list(directories["work_dir"].glob("s-*"))


async def test_a_start_that_is_given_up_leaves_nothing():
    directories = new_directories()
    starting = asyncio.create_task(Supervisor.start(templates(), **directories))
    await asyncio.to_thread(until, lambda: list(directories["work_dir"].glob("s-*")) != [], END_SECONDS, "it has begun")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(starting, END_SECONDS)
    assert not [*directories["work_dir"].glob("s-*"), *directories["runtime_dir"].glob("s-*")]


async def test_a_template_that_dies_is_started_again(supervisor):
    template = find_template(supervisor._process.pid)
    os.kill(template, signal.SIGKILL)
    drained = []
    while find_template(supervisor._process.pid) in {None, template}:
        assert len(drained) < 8, "kernels come, and no template is there"
        drained.append(await supervisor.acquire("python-minimal"))  # first from the pool, then from the next template
    await asyncio.gather(*(kernel.kill() for kernel in drained))


def find_template(supervisor_pid: int) -> int | None:
    """The child of the supervisor that was started with the loader's command; None while there is none."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == supervisor_pid and any(b"kernel import template" in word for word in words):
            with contextlib.suppress(OSError):  # it ended while we looked
                if (path / "ns/pid").readlink() == Path(f"/proc/{supervisor_pid}/ns/pid").readlink():
                    return int(path.name)
    return None


async def test_clients_that_go_away_while_a_kernel_is_made_for_them_leave_nothing():
    directories = new_directories()
    async with await Supervisor.start(templates(pool_size=0), **directories) as running:
        await (await running.acquire("python-minimal")).kill()
        for _ in range(3):
            hasty = await Supervisor.connect(running.path)
            asking = [asyncio.create_task(hasty.acquire("python-minimal")) for _ in range(3)]
            await running.describe()  # a round trip: what was asked for is under way
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            await hasty.aclose()
        await asyncio.wait_for(running.aclose(), END_SECONDS)
    assert left_in(directories) == []


async def test_an_interrupt_reaches_the_command_that_a_cell_waits_for(kernel, client):
    running = asyncio.ensure_future(client.run("import os; os.system('sleep 1000')"))
    for _ in range(100):
        await kernel.send_signal(signal.SIGINT)
        done, _ = await asyncio.wait({running}, timeout=0.1)
        if done:
            break
    assert done
