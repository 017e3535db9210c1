"""A kernel in the place of another one, through a real supervisor: its clients find it there."""
# ruff: noqa: ASYNC110, PTH208 - what is looked at is a kernel's workspace, of which nobody is told

import asyncio
import os
import queue
from contextlib import suppress

import pytest
from jupyter_client.asynchronous.client import AsyncKernelClient

from podflare_nb.errors import ConflictError

from .conftest import ended, talking

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="jails need root"),
]
SECONDS = 60
MERGES = 12
HESITATES_TO_SUCCEED = """
import functools, gc, os, time
from podflare_nb.provisioning.kernel.orders import Orders
def slowly(rekey, key):
    open('stands', 'w').close()
    while not os.path.exists('go'):
        time.sleep(0.001)
    rekey(key)
for each in gc.get_objects():
    if type(each) is Orders:  # the parent's, too
        each._rekey = functools.partial(slowly, each._rekey)
"""
"""Its predecessor stands still by then, until there is a file ``go``."""
RUNS_UNTIL_SOMETHING_IS_ASKED = """
open('begun', 'w').close()
assert get_ipython().kernel.shell_stream.socket.poll(60_000)
print('ran')
"""
NEVER_ENDS = """
import threading
class Endless:
    def __dir__(self):
        threading.Event().wait()
endless = Endless()
def target(comm, opened):
    comm.on_msg(lambda _: threading.Event().wait())
get_ipython().kernel.comm_manager.register_target('endless', target)
"""
"""What looks at the object, and a message to a comm of this target."""
TAKES_ALL_DESCRIPTORS = """
import os
held = []
try:
    while True:
        held.append(os.open('/dev/null', os.O_RDONLY))
except OSError:
    print('all')
"""
TELLS_OF_TWENTY_REQUESTS = """
import gc, threading, time
from podflare_nb.provisioning.kernel.shell_channel import ShellChannel
(shell,) = [each for each in gc.get_objects() if type(each) is ShellChannel]
def watch():
    while len(shell.pending) < 20:
        time.sleep(0.001)
    open('arrived', 'w').close()
threading.Thread(target=watch, daemon=True).start()
"""
"""By a file ``arrived``, when they have come and none is begun."""


async def test_a_successor_is_found_where_its_predecessor_was(supervisor):
    predecessor = await supervisor.acquire("python-minimal")
    async with talking(predecessor) as (connected,):
        await connected.run("x = 'of the parent'")
        (child,) = (await predecessor.fork(1)).children
        async with talking(child) as (its,):
            await its.run("x = 'of the child'; open('note', 'w').write('of the child')")
        before = dict(predecessor.connection_info)
        successor = await supervisor.succeed(predecessor, child)
        assert successor.connection_info == before
        assert [(await ended(each)).cause for each in (predecessor, child)] == ["closed", "closed"]
        connected._subscribed = False  # the successor welcomes whoever comes again
        assert (await connected.run("print(x, open('note').read())")).text == "of the child of the child\n"
    assert os.listdir(successor.workspace_fd) == ["note"]
    await successor.kill()


async def test_what_clients_have_asked_of_a_kernel_is_done_before_another_one_succeeds_it(supervisor):
    predecessor = await supervisor.acquire("python-minimal")
    async with talking(predecessor, predecessor) as (one, two), asyncio.TaskGroup() as tasks:
        (child,) = (await predecessor.fork(1)).children
        running = tasks.create_task(one.run(RUNS_UNTIL_SOMETHING_IS_ASKED))
        async with asyncio.timeout(SECONDS):
            while "begun" not in os.listdir(predecessor.workspace_fd):
                await asyncio.sleep(0.01)
        succeeding = tasks.create_task(supervisor.succeed(predecessor, child))
        waiting = tasks.create_task(two.run("print('waited')"))
        assert (await running).text == "ran\n"
        assert (await waiting).text == "waited\n"
        successor = await succeeding
    await successor.kill()


async def test_what_comes_while_another_kernel_succeeds_is_answered_as_aborted(supervisor):
    predecessor = await supervisor.acquire("python-minimal")
    (child,) = (await predecessor.fork(1)).children
    async with talking(child, predecessor) as (its, ours):
        await its.run("x = 'of the child'")
        for each, code in ((its, HESITATES_TO_SUCCEED), (ours, TELLS_OF_TWENTY_REQUESTS)):
            assert (await each.run(code)).error is None
    client = AsyncKernelClient()
    client.load_connection_info(predecessor.connection_info)
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=SECONDS)
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
            succeeding = tasks.create_task(supervisor.succeed(predecessor, child))
            while "stands" not in os.listdir(child.workspace_fd):
                await asyncio.sleep(0.001)
            asked = [client.execute("x = 'of nobody'") for _ in range(20)]
            while "arrived" not in os.listdir(predecessor.workspace_fd):
                await asyncio.sleep(0.001)
            os.close(os.open("go", os.O_CREAT | os.O_WRONLY, dir_fd=child.workspace_fd))
            replies = [await client.get_shell_msg(timeout=SECONDS) for _ in asked]
            idle = set()
            while not idle.issuperset(asked):
                message = await client.get_iopub_msg(timeout=SECONDS)
                if message["content"].get("execution_state") == "idle":
                    idle.add(message["parent_header"].get("msg_id"))
            successor = await succeeding
        assert [each["parent_header"]["msg_id"] for each in replies] == asked
        assert {each["content"]["status"] for each in replies} == {"aborted"}
    finally:
        client.stop_channels()
    async with talking(successor) as (its,):
        assert (await its.run("print(x)")).text == "of the child\n"
    await successor.kill()


async def test_code_of_a_kernel_that_is_succeeded_holds_up_no_answer(supervisor):
    predecessor = await supervisor.acquire("python-minimal")
    (child,) = (await predecessor.fork(1)).children
    async with talking(child, predecessor) as (its, ours):
        for each, code in ((its, HESITATES_TO_SUCCEED), (ours, NEVER_ENDS), (ours, TELLS_OF_TWENTY_REQUESTS)):
            assert (await each.run(code)).error is None
    client = AsyncKernelClient()
    client.load_connection_info(predecessor.connection_info)
    client.start_channels()
    session, channel = client.session, client.shell_channel
    try:
        await client.wait_for_ready(timeout=SECONDS)
        channel.send(session.msg("comm_open", {"comm_id": "1", "target_name": "endless", "data": {}}))
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
            succeeding = tasks.create_task(supervisor.succeed(predecessor, child))
            while "stands" not in os.listdir(child.workspace_fd):
                await asyncio.sleep(0.001)
            for _ in range(18):
                channel.send(session.msg("comm_msg", {"comm_id": "1", "data": {}}))
            asked = [client.complete("endless."), client.execute("1")]
            while "arrived" not in os.listdir(predecessor.workspace_fd):
                await asyncio.sleep(0.001)
            os.close(os.open("go", os.O_CREAT | os.O_WRONLY, dir_fd=child.workspace_fd))
            replies = [await client.get_shell_msg(timeout=SECONDS) for _ in asked]
            successor = await succeeding
        assert [each["parent_header"]["msg_id"] for each in replies] == asked
        assert [each["content"]["status"] for each in replies] == ["aborted", "aborted"]
    finally:
        client.stop_channels()
    await successor.kill()


class Steady:
    """A Jupyter client that asks all the time."""

    def __init__(self, kernel):
        self.client = AsyncKernelClient()
        self.client.load_connection_info(kernel.connection_info)
        self.client.start_channels(hb=False)
        self.asked, self.idle, self.replies = set(), set(), {}
        self.stopped = asyncio.Event()

    async def ask(self):
        while not self.stopped.is_set():
            self.asked.add(self.client.execute("x = 1", stop_on_error=False))
            await asyncio.sleep(0.005)

    async def read_replies(self):
        while not (self.stopped.is_set() and self.asked <= self.replies.keys()):
            with suppress(queue.Empty):
                message = await self.client.get_shell_msg(timeout=0.1)
                self.replies[message["parent_header"]["msg_id"]] = message["content"]["status"]

    async def read_published(self):
        while not (self.stopped.is_set() and self.asked <= self.idle):
            with suppress(queue.Empty):
                message = await self.client.get_iopub_msg(timeout=0.1)
                if message["content"].get("execution_state") == "idle":
                    self.idle.add(message["parent_header"].get("msg_id"))

    async def caught_up(self):
        """What was asked until now is answered: what is asked next does not wait to be sent behind other requests."""
        asked = frozenset(self.asked)
        while not (asked <= self.replies.keys() and asked <= self.idle):
            await asyncio.sleep(0.001)


async def test_a_client_that_asks_all_the_time_loses_neither_an_answer_nor_an_output(supervisor):
    kernel = await supervisor.acquire("python-minimal")
    steady = Steady(kernel)
    try:
        await steady.client.wait_for_ready(timeout=SECONDS)
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
            for work in (steady.ask(), steady.read_replies(), steady.read_published()):
                tasks.create_task(work)
            for _ in range(MERGES):
                (child,) = (await kernel.fork(1)).children
                kernel = await supervisor.succeed(kernel, child)
                await steady.caught_up()
            steady.stopped.set()
    finally:
        steady.client.stop_channels()
    assert set(steady.replies.values()) <= {"ok", "aborted"}
    await kernel.kill()


async def test_a_kernel_that_has_no_descriptor_left_is_succeeded_all_the_same(supervisor):
    predecessor = await supervisor.acquire("python-minimal")
    (child,) = (await predecessor.fork(1)).children
    async with talking(predecessor) as (connected,):
        ran = await connected.run(TAKES_ALL_DESCRIPTORS)
        assert (ran.text, ran.error) == ("all\n", None)
        successor = await supervisor.succeed(predecessor, child)
        connected._subscribed = False  # as above
        assert (await connected.run("print('here')")).text == "here\n"
    await successor.kill()


async def test_strangers_and_oneself_succeed_nobody(supervisor, kernel):
    stranger = await supervisor.acquire("python-minimal")
    for successor in (stranger, kernel):
        with pytest.raises(ConflictError):
            await supervisor.succeed(kernel, successor)
    await stranger.kill()
