"""What a user can leave in a kernel breaks neither its next cell nor its children's waking."""

import contextlib
import platform
import socket

import pytest

from podflare_nb.provisioning import datagrams

STRANGE = {
    "class without a module": "strange = type('X', (), {'__module__': None})()",
    "metaclass that looks": """
class Meta(type):
    def __getattribute__(cls, name): raise RuntimeError(name)
    def __hash__(cls): raise RuntimeError
class X(metaclass=Meta): pass
strange = X()""",
    "class that is computed": """
class X:
    @property
    def __class__(self): raise RuntimeError
strange = X()""",
    "key that is no name": """
class K:
    def __hash__(self): return hash('x')
    def __eq__(self, other): 1/0
globals()[K()] = 1""",
    "function's dict of its own": "class D(dict):\n    def values(self): 1/0\ndef f(): pass\nf.__dict__ = D()",
    "fake torch": "import sys, types; sys.modules['torch'] = types.ModuleType('torch')",
    "np.random.seed": "import numpy as np; np.random.seed = np.random.Generator = None",
    "random.seed": "import random; random.seed = random.Random = None",
    "seed of a subclass": """
import random
class R(random.Random):
    def __setattr__(self, name, value): 1/0
    def seed(self, *_): pass
strange = R.__new__(R)""",
}
BROKEN = {
    "numpy": ("import sys, numpy.random; sys.modules['numpy.random.mtrand']._rand = 5", "of numpy.random"),
    "torch": (
        "import sys, types; t = sys.modules['torch.random'] = types.ModuleType('t'); t.seed = lambda: 1/0",
        "of torch",
    ),
    "bits of one's own": (
        "import numpy as np\nclass Mine(np.random.BitGenerator):\n    pass\nbits = Mine(1)",
        "of type __main__.Mine",
    ),
}
STREAMS = {
    "None": "sys.stdout = None",
    "both None": "sys.stdout = sys.stderr = None",
    "an object": "sys.stderr = object()",
    "gone": "del sys.stdout, sys.stderr",
    "closed": "import io; sys.stdout = io.StringIO(); sys.stdout.close()",
    "raises": "class S:\n    def __getattr__(self, name): raise BaseException(name)\nsys.stdout = sys.stderr = S()",
    "original": "sys.__stdout__ = sys.__stderr__ = object()",
}
GENERATIONS = 1 if platform.machine() == "x86_64" else 2
"""Of processes, from a kernel to its child (``orphan_fork``)."""
HANGS = """
import ctypes
from podflare_nb.provisioning.kernel import sleeping
libc, forks = ctypes.CDLL(None), -1
@ctypes.CFUNCTYPE(None)
def hang():
    global forks
    forks += 1
    if forks == {generation}:
        libc.pause()
    if forks == {generation} - 1:  # only whoever makes the one that hangs has so little patience
        sleeping.BIRTH_SECONDS = 0.3
hang()
libc.__register_atfork(None, None, hang, None)
"""


@pytest.fixture
def woken(kernel):
    """Forks the kernel and wakes the child: it, and its client."""
    with contextlib.ExitStack() as ends:

        def fork():
            (asleep,) = kernel.fork().children
            child = asleep.serve()
            ends.callback(child.close)
            return child, child.client()

        yield fork


@pytest.mark.parametrize("deed", STRANGE)
def test_a_strange_variable_hinders_no_child_nor_the_reseeding_of_others(client, woken, deed):
    client.run("import random, numpy\nmine, rng = random.Random(1), numpy.random.default_rng(1)\nglob = random.random")
    assert client.run(STRANGE[deed]).reply["status"] == "ok"
    client.run("legacy = numpy.random.random")
    child, other = woken()
    assert child.up["warnings"] == []
    for draw in ("mine.random()", "rng.random()", "glob()", "legacy()"):
        assert client.value(draw) != other.value(draw)


@pytest.mark.parametrize("deed", BROKEN)
def test_a_generator_that_cannot_be_reseeded_is_named_and_the_child_lives(client, woken, deed):
    code, named = BROKEN[deed]
    client.run("import random, numpy; mine = random.Random(1)")
    assert client.run(code).reply["status"] == "ok"
    child, other = woken()
    (warning,) = child.up["warnings"]
    assert warning["kind"] == "random"
    assert named in warning["text"]
    assert client.value("mine.random()") != other.value("mine.random()")


def test_a_multiprocessing_that_is_something_else_hinders_no_child(client, woken):
    client.run("import multiprocessing as m; m.process._children = None")
    child, other = woken()
    assert [each["kind"] for each in child.up["warnings"]] == ["processes"]
    assert other.value("6*7") == "42"


@pytest.mark.parametrize("deed", STREAMS)
def test_streams_that_nobody_can_write_to_are_put_back_and_the_next_cell_runs(client, deed):
    client.run("import sys")
    ran = client.run(STREAMS[deed])
    assert ran.reply["status"] in {"ok", "error"}  # IPython itself may stumble over them
    assert ("put back" in ran.text("stderr")) == (deed != "original")
    after = client.run("print(6*7); print('wrong', file=sys.stderr); 1+1")
    assert (after.text(), after.text("stderr"), after.result) == ("42\n", "wrong\n", "2")


def test_a_cell_that_breaks_the_streams_and_fails_shows_its_error(client):
    ran = client.run("import sys; sys.stdout = sys.stderr = object(); 1/0")
    assert ran.reply["ename"] == "ZeroDivisionError"
    assert ran.of("error")[0]["content"]["ename"] == "ZeroDivisionError"
    assert client.run("print(1)").text() == "1\n"


def test_a_stream_that_hangs_can_be_interrupted_and_is_put_back(client, kernel):
    flush = "def flush(self):\n        old.write('hangs'); time.sleep(1000)"
    request = client.execute(f"import sys, time\nold = sys.stdout\nclass S:\n    {flush}\nsys.stdout = S()")
    client.until_text("hangs")
    kernel.interrupt()
    client.until_text("put back")
    assert client.reply_to(request)["status"] == "ok"
    assert client.run("print(1)").text() == "1\n"


def test_a_stream_of_the_users_that_works_stays(client):
    client.run("import io, sys; mine = sys.stdout = io.StringIO()")
    client.run("print('kept')")
    client.run("sys.stdout = sys.__stdout__")
    assert client.value("mine.getvalue()") == "'kept\\n'"


def test_a_process_that_hangs_in_a_c_librarys_atfork_handler_is_killed(client, kernel):
    client.run(HANGS.format(generation=1))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.settimeout(60)
        kernel.ctl.send({"op": "fork", "id": 7, "n": 1, "wait_seconds": 5, "strict": False}, [theirs.fileno()])
        theirs.close()
        assert kernel.ctl.receive()["event"] == "paused"
        assert kernel.ctl.receive() == {"event": "forked", "id": 7, "failed": [0]}
        kernel.ctl.send({"op": "continue", "id": 7})
        assert kernel.ctl.receive()["event"] == "continued"
        with pytest.raises(datagrams.PeerClosedError):  # nobody has the other end any more
            datagrams.receive(ours)
    assert client.value("6*7") == "42"


def test_a_sleepers_child_that_hangs_is_killed_and_told_of(client, kernel):
    client.run(HANGS.format(generation=GENERATIONS + 1))
    (asleep,) = kernel.fork().children
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.settimeout(60)
        asleep.ctl.send({"op": "fork", "id": 8, "n": 1}, [theirs.fileno()])
        theirs.close()
        assert asleep.ctl.receive() == {"event": "forked", "id": 8, "failed": [0]}
        with pytest.raises(datagrams.PeerClosedError):
            datagrams.receive(ours)
    asleep.close()


REPLACED = {
    "sockets that are blocked": """
import socket
class No:
    def __new__(cls, *_, **__): 1/0
place = vars(socket), 'socket'
socket.socket = No""",
    "no function of sockets": """
import socket
place = vars(socket), 'send_fds'
socket.send_fds = socket.socketpair = None""",
    "no epoll": """
import select
place = vars(select), 'epoll'
del select.epoll, select.poll""",
    "locks that are none": """
import threading, _thread
place = vars(threading), 'Lock'
threading.Lock = threading.RLock = threading.Event = _thread.allocate_lock = None""",
    "a clock that stands still": "import time\nplace = vars(time), 'monotonic'\ntime.monotonic = lambda: 1.0",
    "signals": """
import signal
place = vars(signal), 'pthread_sigmask'
signal.pthread_sigmask = signal.set_wakeup_fd = None""",
    "json": "import json\nplace = vars(json), 'dumps'\njson.dumps = json.loads = None",
    "descriptors": "import os\nplace = vars(os), 'dup2'\nos.dup2 = os.pipe2 = os.fstat = os.listdir = None",
}


@pytest.mark.parametrize("code", REPLACED.values(), ids=REPLACED)
def test_a_standard_library_that_was_replaced_hinders_no_fork_and_stays_replaced(client, woken, code):
    client.run(f"{code}\nusers = place[0].get(place[1])")
    child, other = woken()
    with contextlib.ExitStack() as ends:
        asleep = child.fork().children[0]
        grandchild = asleep.serve()
        ends.callback(grandchild.close)
        for each in (client, other, grandchild.client()):
            assert each.value("place[0].get(place[1]) is users") == "True"
            assert each.run("print('still here')").text() == "still here\n"


def test_a_kernel_whose_control_socket_was_closed_runs_code(client):
    client.run(
        "import gc, socket\nfor each in gc.get_objects():\n"
        "    if type(each) is socket.socket and each.type == socket.SOCK_SEQPACKET: each.close()"
    )
    assert client.value("6 * 7") == "42"
