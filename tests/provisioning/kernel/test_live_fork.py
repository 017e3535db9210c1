"""A live kernel forks: its children have its state, and then everybody goes apart; whatever its user did to it."""

import ast
import contextlib
import os
import signal
import socket
import threading
from pathlib import Path

import pytest
from supervision import NotStartedError, RefusedError

from podflare_nb.provisioning import datagrams

DRAWS = {
    "random": "random.random()",
    "random object": "mine.random()",
    "random object in a closure": "draw()",
    "generator that was started": "next(draws)",
    "in a dict in a list": "kept[0]['rng'].random()",
    "attribute": "holder.rng.random()",
    "uuid1": "uuid.uuid1().hex",
    "uuid4": "uuid.uuid4().hex",
    "secrets": "secrets.token_hex()",
    "tempfile": "next(tempfile._get_candidate_names())",
    "numpy": "np.random.random()",
    "numpy's generator": "rng.random()",
    "numpy's spawned generator": "rng.spawn(1)[0].random()",
    "numpy's normal that was kept": "legacy.randn()",
    "session": "get_ipython().kernel.session.session",
    "kernel": "get_ipython().kernel.ident",
}
PREPARE_DRAWS = """
import random, uuid, secrets, tempfile, numpy as np
random.seed(1); mine = random.Random(1); np.random.seed(1); rng = np.random.default_rng(1)
legacy = np.random.RandomState(1); legacy.randn()
def make(inner=random.Random(2)):
    hidden = random.Random(3)
    return lambda: hidden.random()
draw = make()
def drawing(own=random.Random(4)):
    while True:
        yield own.random()
draws = drawing(); next(draws)
kept = [{"rng": np.random.default_rng(5)}]
class Holder: pass
holder = Holder(); holder.rng = random.Random(6)
tempfile.mktemp()
"""


@pytest.fixture
def family(kernel):
    """Forks and wakes children of the kernel; ends them all."""
    with contextlib.ExitStack() as ends:

        def fork(n=1, parent=kernel, **options):
            woken = []
            for sleeping in parent.fork(n, **options).children:
                woken.append(sleeping.serve())
                ends.callback(woken[-1].close)
            return [each.client() for each in woken]

        fork.ends = ends
        yield fork


@pytest.fixture
def sleepers(kernel):
    """Forks the kernel; ends the children, which sleep."""
    with contextlib.ExitStack() as ends:

        def fork(n=1, parent=kernel, **options):
            forked = parent.fork(n, **options)
            for child in forked.children:
                ends.callback(child.close)
            return forked

        yield fork


def test_children_have_the_state_and_go_apart(client, family):
    client.run(
        "x = [1]\ndef f(): return x\ndef g():\n    yield from range(5)\nfresh, started = g(), g(); next(started)"
    )
    first, second = family(2)
    assert first.value("f(), list(fresh), list(started)") == "([1], [0, 1, 2, 3, 4], [1, 2, 3, 4])"
    first.run("x.append(2)")
    second.run("x.append(3)")
    client.run("x.append(4)")
    assert [each.value("f()") for each in (client, first, second)] == ["[1, 4]", "[1, 2]", "[1, 3]"]
    assert client.value("list(fresh)") == "[0, 1, 2, 3, 4]"


def test_execution_counts_go_on_apart(client, family):
    client.run("1")
    (child,) = family()
    before = client.run("1").reply["execution_count"]
    assert [child.run("1").reply["execution_count"] for _ in range(3)] == [before, before + 1, before + 2]
    assert client.run("1").reply["execution_count"] == before + 1


def test_children_keep_environment_directory_and_display_hooks(client, family, tmp_path):
    client.run(f"import os\nos.environ['MINE'] = 'yes'; os.chdir({str(tmp_path)!r}); 6*7")
    (child,) = family()
    assert ast.literal_eval(child.value("os.environ['MINE'], os.getcwd(), Out[1]")) == ("yes", str(tmp_path), 42)


def test_parent_and_children_draw_different_random_numbers(client, family):
    client.run(PREPARE_DRAWS)
    clients = [client, *family(2)]
    drawn = {name: {each.value(code) for each in clients} for name, code in DRAWS.items()}
    assert {name for name, values in drawn.items() if len(values) != len(clients)} == set()


def test_thirtytwo_children_are_made_at_once(client, sleepers):
    client.run("x = 1")
    forked = sleepers(32)
    assert forked.forked["failed"] == []
    assert len({child.pid for child in forked.children}) == 32


def test_a_fork_of_a_fork_of_a_fork_has_no_less_stack_and_no_more_descriptors(client, kernel):
    client.run("generation = 0")
    seen = []
    with contextlib.ExitStack() as ends:
        for _ in range(12):
            (asleep,) = kernel.fork().children
            kernel = asleep.serve()
            ends.callback(kernel.close)
            client = kernel.client()
            client.run("generation += 1")
            depth = "def deep():\n    try:\n        return 1 + deep()\n    except RecursionError:\n        return 1"
            client.run(depth)
            seen.append((client.value("deep()"), len(list(Path(f"/proc/{kernel.pid}/fd").iterdir()))))
        assert client.value("generation") == "12"
    assert len(set(seen)) == 1


def test_children_are_none_of_the_users_children(client, sleepers):
    client.run("import os, signal\nheard = []\nsignal.signal(signal.SIGCHLD, lambda *_: heard.append(1))")
    sleepers(3)
    waited = "try:\n    os.wait()\nexcept ChildProcessError:\n    print('none')"
    assert client.run(waited).text() == "none\n"
    assert client.value("heard") == "[]"


def test_a_child_process_that_ends_during_a_fork_is_heard_of(client, sleepers):
    client.run(
        "import subprocess, signal\nfrom podflare_nb.provisioning.kernel import live_fork as lf\nheard = []\n"
        "signal.signal(signal.SIGCHLD, lambda *_: heard.append(1))\n"
        "process = subprocess.Popen(['sleep', '1000'])\ntake = lf.Birth.wait\n"
        "def wait(*a, **k):\n    process.kill(); import os\n"
        "    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)\n    return take(*a, **k)\n"
        "lf.Birth.wait = wait"
    )
    sleepers()
    assert client.value("heard, process.wait()") == "([1], -9)"


def test_what_cannot_come_along_is_named(client, sleepers):
    client.run(
        "import threading, subprocess, socket, os, asyncio, pty\nstop = threading.Event()\n"
        "threading.Thread(target=stop.wait, name='my worker', daemon=True).start()\n"
        "child = subprocess.Popen(['sleep', '1234'])\nlistener = socket.create_server(('127.0.0.1', 0))\n"
        "pipe = os.pipe()\nterminal = pty.openpty()\n"
        "async def forever(): await asyncio.sleep(1000)\n"
        "task = asyncio.ensure_future(forever()); await asyncio.sleep(0)"
    )
    port = client.value("listener.getsockname()[1]")
    warnings = dict(sleepers().warnings)
    client.run("child.kill(); child.wait(); stop.set()")
    assert "my worker" in warnings["threads"]
    assert "sleep 1234" in warnings["processes"]
    assert f"127.0.0.1:{port}" in warnings["sockets"]
    assert "pipe" in warnings["sockets"]
    assert "/dev/pts" in warnings["terminals"]
    assert "forever" in warnings["tasks"]


def test_a_plain_kernel_has_nothing_to_warn_of(client, sleepers):
    client.run("import asyncio; await asyncio.sleep(0)")
    client.run("%%bash\ntrue")
    assert sleepers(strict=True).warnings == []


def test_a_strict_fork_with_warnings_does_nothing(client, kernel):
    client.run("import os; pipe = os.pipe()")
    with pytest.raises(RefusedError) as refused:
        kernel.fork(strict=True)
    told = refused.value.args[0]
    assert (told["code"], told["warnings"][0]["kind"]) == ("strict", "sockets")
    assert client.value("1") == "1"


def test_a_fork_waits_for_the_cell_and_is_refused_when_it_takes_too_long(client, kernel, sleepers):
    request = client.execute("import time\nprint('runs')\nwhile True: time.sleep(.01)")
    client.until_text("runs")
    with pytest.raises(RefusedError) as refused:
        kernel.fork(wait_seconds=0.2)
    assert refused.value.args[0]["code"] == "busy"
    threading.Timer(0.3, kernel.interrupt).start()
    forked = sleepers()  # and nobody remembers the first one
    assert forked.forked["failed"] == []
    assert client.reply_to(request)["ename"] == "KeyboardInterrupt"


def test_a_cell_that_awaits_is_not_forked_in_the_middle(client, kernel):
    request = client.execute("import asyncio\nprint('runs')\nawait asyncio.sleep(1000)")
    client.until_text("runs")
    with pytest.raises(RefusedError) as refused:
        kernel.fork(wait_seconds=0.2)
    assert refused.value.args[0]["code"] == "busy"
    kernel.interrupt()
    client.reply_to(request)


def test_one_fork_at_a_time(client, kernel):
    request = client.execute("import time\nprint('runs')\nwhile True: time.sleep(.01)")
    client.until_text("runs")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for number in (1, 2):
            order = {"op": "fork", "id": number, "n": 1, "wait_seconds": 0.5, "strict": False}
            kernel.ctl.send(order, [theirs.fileno()])
        told = [kernel.ctl.receive() for _ in range(2)]
    assert [(each["id"], each["code"]) for each in told] == [(2, "busy"), (1, "busy")]
    kernel.interrupt()
    client.reply_to(request)


@pytest.mark.parametrize(
    "order",
    [
        {"op": "fork", "id": 3, "n": 2, "wait_seconds": 1, "strict": False},
        {"op": "fork", "id": 3, "n": "x", "wait_seconds": 1},
        {"op": "fork", "id": 3},
        {"op": "no such thing", "id": 3},
        {"op": "rekey", "id": 3},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(client, kernel, order):
    kernel.ctl.send(order)
    told = kernel.ctl.receive()
    assert (told["event"], told["id"], told["code"] in {"wrong", "unknown"}) == ("refused", 3, True)
    assert client.value("1") == "1"


def test_what_is_queued_behind_a_cell_is_the_parents(client, family):
    client.run(
        "import gc, time\nfrom podflare_nb.provisioning.kernel.orders import Orders\n"
        "(orders,) = [each for each in gc.get_objects() if type(each) is Orders]\ndone = []"
    )
    first = client.execute("print('runs')\nwhile orders.claims._waiting is None: time.sleep(0.01)")
    second = client.execute("done.append(1)")
    client.until_text("runs")
    (child,) = family()
    client.reply_to(first)
    client.reply_to(second)
    assert (client.value("done"), child.value("done")) == ("[1]", "[]")


def test_without_a_word_to_continue_the_kernel_goes_on(client, kernel):
    client.run("from podflare_nb.provisioning.kernel import live_fork; live_fork.CONTINUE_SECONDS = 0.1")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        kernel.ctl.send({"op": "fork", "id": 1, "n": 1, "wait_seconds": 5, "strict": False}, [theirs.fileno()])
        theirs.close()
        events = [kernel.ctl.receive()["event"] for _ in range(3)]
        assert events == ["paused", "forked", "continued"]
        assert datagrams.receive(ours).body == {"event": "asleep"}
    assert client.value("6*7") == "42"


@pytest.mark.usefixtures("client")
def test_a_kernel_ends_when_its_supervisor_does_during_a_fork(kernel):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        kernel.ctl.send({"op": "fork", "id": 1, "n": 1, "wait_seconds": 5, "strict": False}, [theirs.fileno()])
        theirs.close()
        assert kernel.ctl.receive()["event"] == "paused"
        kernel.ctl.socket.close()
        assert kernel.ended()


DEEDS = {
    "replaced os.fork": "import os; os.fork = None; os._exit = print",
    "replaced posix": "import posix\nfor name in ('fork', '_exit', 'waitpid'):\n    setattr(posix, name, None)",
    "replaced streams": "import os, sys; sys.stdout = sys.stderr = open(os.devnull, 'w')",
    "replaced stdout": "import io, sys; sys.stdout = io.StringIO()",
    "ignores SIGCHLD": "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "handler that exits": "import signal\ndef no(*_): raise SystemExit(3)\nsignal.signal(signal.SIGCHLD, no)",
    "policy of loops": """
import asyncio
class P(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self): 1/0
asyncio.set_event_loop_policy(P())""",
    "warnings are errors": "import warnings; warnings.simplefilter('error')",
    "collects no garbage": "import gc; gc.disable(); gc.freeze()",
    "garbage collector replaced": "import gc; gc.isenabled = gc.enable = gc.disable = gc.collect = None",
    "audit hook against forks": """
import sys
def no(event, _):
    if event == 'os.fork': raise RuntimeError(event)
sys.addaudithook(no)""",
    "little stack": "import sys; sys.setrecursionlimit(120)",
    "closed standard streams": "import os\nfor fd in (0, 1, 2): os.close(fd)",
    "lock in a thread": """
import threading
lock, ready = threading.Lock(), threading.Event()
threading.Thread(target=lambda: lock.acquire() and ready.set() or threading.Event().wait(), daemon=True).start()
ready.wait()""",
    "library's lock in a thread": """
import threading, logging
ready = threading.Event()
def hold():
    logging._lock.acquire(); ready.set(); threading.Event().wait()
threading.Thread(target=hold, daemon=True).start(); ready.wait()""",
    "thread that waits for any child": """
import threading, os, subprocess
process = subprocess.Popen(["sleep", "1000"])
def wait():
    while True:
        try: os.wait()
        except ChildProcessError: return
threading.Thread(target=wait, daemon=True).start()""",
}


@pytest.mark.parametrize("deed", DEEDS)
def test_a_fork_works_whatever_the_user_did(client, sleepers, deed):
    client.run("x = 1")
    client.run(DEEDS[deed])
    (asleep,) = sleepers().children
    (copy,) = asleep.fork()
    child = copy.serve()
    try:
        disarm = "import signal; signal.setitimer(signal.ITIMER_REAL, 0)"
        for each in (child.client(), client):
            each.run(disarm)
            reply = each.run("x", user_expressions={"x": "x"}).reply
            assert reply["user_expressions"]["x"]["data"]["text/plain"] == "1"
    finally:
        child.close()
        client.run("process.kill()")


def test_a_signal_that_comes_during_a_fork_waits_and_what_its_handler_raises_is_shown(client, sleepers):
    client.run(
        "import signal, os\nfrom podflare_nb.provisioning.kernel import live_fork\n"
        "def no(*_): 1/0\nsignal.signal(signal.SIGALRM, no); wait = live_fork.Birth.wait\n"
        "def interrupted(*a, **k):\n    os.kill(os.getpid(), signal.SIGALRM); return wait(*a, **k)\n"
        "live_fork.Birth.wait = interrupted"
    )
    assert sleepers().continued == {"event": "continued", "id": 7, "warnings": []}
    client.until_text("ZeroDivisionError")
    assert client.value("1") == "1"


def test_functions_at_fork_that_hang_or_raise_are_named_and_broken_off(client, sleepers):
    client.run(
        "import os, threading\ndef hangs(): threading.Event().wait()\ndef raises(): 1/0\ncalled = []\n"
        "from podflare_nb.provisioning.kernel import fork_hooks; fork_hooks.BUDGET_SECONDS = 0.2\n"
        "os.register_at_fork(before=hangs, after_in_parent=raises, after_in_child=hangs)\n"
        "os.register_at_fork(before=lambda: called.append('before'), after_in_parent=lambda: called.append('parent'), "
        "after_in_child=lambda: called.append('child'))"
    )
    forked = sleepers()
    told = [each["text"] for each in forked.continued["warnings"]]
    assert ["hangs" in told[0], "did not end" in told[0]] == [True, True]
    assert ["raises" in told[1], "ZeroDivisionError" in told[1]] == [True, True]
    assert client.value("called") == "['before', 'parent']"
    (copy,) = forked.children[0].fork()
    child = copy.serve()
    try:
        assert "hangs" in child.up["warnings"][0]["text"]
        assert child.client().value("called") == "['before', 'child']"
    finally:
        child.close()


def test_a_kernel_whose_user_closed_every_descriptor_is_gone_for_the_supervisor(client, kernel):
    client.execute("import os; os.closerange(3, 1000)")
    assert kernel.ctl.receive() is None
    assert kernel.ended()


def test_a_child_gets_dead_ends_and_holds_nothing_open(client, family):
    client.run(
        "import os, socket\nreading, writing = os.pipe()\nhere, there = socket.socketpair()\nhere.sendall(b'mine')"
    )
    (child,) = family()
    assert client.run("os.close(writing); print(os.read(reading, 9), there.recv(9))").text() == "b'' b'mine'\n"
    assert child.value("os.read(reading, 9), there.recv(9)") == "(b'', b'')"
    assert child.run("os.write(writing, b'x')").reply["ename"] == "BrokenPipeError"


def test_children_of_the_parent_are_not_ended_with_a_child(client, kernel):
    client.run(
        "import multiprocessing as m, time\n"
        "process = m.get_context('fork').Process(target=time.sleep, args=(1000,), daemon=True); process.start()"
    )
    (asleep,) = kernel.fork().children
    child = asleep.serve()
    other = child.client()
    other.reply_to(other.request("shutdown_request", {"restart": False}, "control"), "control")
    child.close()
    assert client.value("process.is_alive()") == "True"
    client.run("process.kill(); process.join()")


def test_background_tasks_stay_with_the_parent(client, family):
    client.run(
        "import asyncio\nticks = []\nasync def tick():\n    try:\n        while True:\n            ticks.append(1)\n"
        "            await asyncio.sleep(.01)\n    finally:\n        print('cleaned up')\n"
        "task = asyncio.ensure_future(tick())"
    )
    (child,) = family()
    count = child.value("len(ticks)")
    child.run("import asyncio; await asyncio.sleep(.05)")
    assert child.value("len(ticks)") == count
    assert child.value("(await asyncio.gather(asyncio.sleep(0, 5)))") == "[5]"
    client.run("before = len(ticks); await asyncio.sleep(.1)")
    assert client.value("len(ticks) > before") == "True"
    client.run("task.cancel()")


def test_a_child_does_not_write_to_the_parents_loop_when_a_signal_comes(client, family):
    client.run(
        "import asyncio, signal, os\nheard = []\n"
        "asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.append, 1)"
    )
    (child,) = family()
    assert child.value("signal.set_wakeup_fd(-1)") == "-1"
    client.run("os.kill(os.getpid(), signal.SIGUSR1)\nwhile not heard: await asyncio.sleep(.01)")
    assert client.value("heard") == "[1]"


def test_an_idle_kernel_hears_of_a_second_fork_too(client, sleepers):
    client.run("1")
    for _ in range(3):
        assert sleepers(wait_seconds=5).forked["failed"] == []


def test_nothing_is_imported_by_a_child_that_wakes(client, family):
    client.run("import sys; before = set(sys.modules)")
    (child,) = family()
    assert child.value("set(sys.modules) - before") == "set()"


def test_an_interrupt_of_the_parents_group_does_not_reach_a_child(kernel, client, family):
    (child,) = family()
    client.run("1")
    request = child.execute("print('on'); import time; time.sleep(0.5); print('through')")
    child.until_text("on")
    os.killpg(os.getpgid(kernel.pid), signal.SIGINT)
    assert child.reply_to(request)["status"] == "ok"


def test_a_child_that_cannot_serve_says_where(client, kernel, tmp_path):
    client.run("1")
    (asleep,) = kernel.fork().children
    not_a_root = tmp_path / "file"
    not_a_root.touch()
    with pytest.raises(NotStartedError) as failure:
        asleep.serve(root=not_a_root)
    assert failure.value.args[0]["where"] == "wake"
    asleep.close()


def test_what_cells_set_in_their_context_is_a_childs_and_a_grandchilds(kernel, client, family):
    client.run(
        "import decimal, contextvars, numpy as np\nnp.seterr(divide='raise'); np.set_printoptions(precision=2)\n"
        "decimal.setcontext(decimal.Context(prec=3)); mine = contextvars.ContextVar('mine', default=0); mine.set(5)"
    )
    seen = "(np.geterr()['divide'], np.get_printoptions()['precision'], decimal.getcontext().prec, mine.get())"
    (child,) = family()
    assert child.value(seen) == "('raise', 2, 3, 5)"
    child.run("mine.set(6)")
    assert client.value("mine.get()") == "5"
    (second,) = kernel.fork().children
    family.ends.callback(second.close)
    (grandchild,) = second.fork()
    family.ends.callback(grandchild.close)
    assert grandchild.serve().client().value(seen) == "('raise', 2, 3, 5)"
