"""A fork for which there is no room, or that the user's code forbids, is refused with a reason; the kernel goes on."""

import socket

import pytest
from supervision import RefusedError


def test_a_fork_that_cannot_be_made_is_told_with_its_reason_and_the_kernel_goes_on(client, kernel):
    client.run(
        "import os\nfrom podflare_nb.provisioning.kernel import orphan_fork\nbefore = os.listdir('/proc/self/fd')\n"
        "def no(): raise RuntimeError('not here')\norphan_fork._way = no"
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        for number in (1, 2):
            kernel.ctl.send({"op": "fork", "id": number, "n": 1, "wait_seconds": 5, "strict": False}, [theirs.fileno()])
            assert kernel.ctl.receive()["event"] == "paused"
            forked = kernel.ctl.receive()
            assert (forked["event"], forked["failed"]) == ("forked", [0])
            assert forked["error"] == "RuntimeError: not here"
            kernel.ctl.send({"op": "continue", "id": number})
            assert kernel.ctl.receive()["event"] == "continued"
        theirs.close()
    assert client.value("os.listdir('/proc/self/fd') == before") == "True"


def test_without_room_for_a_thread_a_fork_is_refused_before_anything_is_halted(client, kernel):
    client.run(
        "from podflare_nb.provisioning.kernel import service\nwas = service._start_new\n"
        'def no(*_): raise RuntimeError("can\'t start new thread")\nservice._start_new = no'
    )
    with pytest.raises(RefusedError, match="no room for another thread"):
        kernel.fork()
    assert client.value("service._start_new is no") == "True"


def test_a_thread_that_keeps_the_import_lock_is_named_and_the_kernel_goes_on(client, kernel):
    client.run(
        "import _imp, threading\n"
        "from podflare_nb.provisioning.kernel import live_fork\nlive_fork.IMPORT_SECONDS = 0.1\n"
        "held, over = threading.Event(), threading.Event()\n"
        "def hold():\n    _imp.acquire_lock(); held.set(); over.wait(); _imp.release_lock()\n"
        "thread = threading.Thread(target=hold); thread.start(); held.wait()"
    )
    with pytest.raises(RefusedError, match="import lock"):
        kernel.fork()
    client.run("over.set(); thread.join()")
    for child in kernel.fork().children:
        child.close()


def test_the_service_thread_waits_for_room_when_others_have_taken_its_place(client, kernel):
    client.run(
        "import threading\nfrom podflare_nb.provisioning.kernel import service\nrefused = 0\n"
        "class Service(service.Service):\n"
        "    def start(self):\n"
        "        global refused\n"
        "        refused += 1\n"
        '        if refused < 4: raise RuntimeError("can\'t start new thread")\n'
        "        super().start()\n"
        "service.Service = Service"
    )
    for child in kernel.fork().children:
        child.close()
    assert client.value("refused") == "4"


def test_an_order_whose_descriptors_find_no_room_is_refused_by_its_number(client, kernel):
    client.run(
        "import resource; kept = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, kept[1]))"
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        kernel.ctl.send({"op": "fork", "id": 7, "n": 1, "wait_seconds": 5, "strict": False}, [theirs.fileno()])
        refused = kernel.ctl.receive()
    assert (refused["event"], refused["id"], refused["code"]) == ("refused", 7, "failed")
    assert "RLIMIT_NOFILE" in refused["error"]
    client.run("resource.setrlimit(resource.RLIMIT_NOFILE, kept)")
    assert client.value("1") == "1"


def test_without_address_space_a_fork_is_refused_before_anything_is_halted(client, kernel):
    client.run("import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20))")
    with pytest.raises(RefusedError, match="RLIMIT_AS"):
        kernel.fork()
    assert client.value("6 * 7") == "42"


def test_an_audit_hook_that_forbids_everything_is_told_and_the_kernel_goes_on(client, kernel):
    client.run(
        "import sys\ndef no(event, _):\n"
        "    if event.startswith(('os.', 'socket.', 'open')): raise RuntimeError(event)\n"
        "sys.addaudithook(no)"
    )
    with pytest.raises(RefusedError, match="RuntimeError: "):
        kernel.fork()
    assert client.value("6 * 7") == "42"
