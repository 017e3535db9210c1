"""The policy is the family's: branches, bash, terminals and woken checkpoints have it; a change is for all at once."""

import asyncio
import os

import pytest

from podflare_nb.provisioning.handle import TerminalCommand

from ..provisioning.network.lab import PROBE, PUBLIC, PUBLIC_6, Target, reached
from ..provisioning.network.places import SECONDS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="jails need root")
WORLD = [Target("public", PUBLIC), Target("public by UDP", PUBLIC, "udp"), Target("public by IPv6", PUBLIC_6)]
CONNECT = f"""
import json, socket, time
def connect(address):
    sock = socket.create_connection((address, 7000), 20)
    sock.sendall(b"?")
    assert sock.recv(100).startswith(b"reached")
    return sock
open_connection = connect("{PUBLIC}")
"""
STILL = """
def still(sock):
    sock.settimeout(20)
    try:
        sock.sendall(b"more")
        return sock.recv(100).decode() or "closed"
    except TimeoutError:
        return "hangs"
    except OSError as error:
        return type(error).__name__
print(json.dumps(still(open_connection)))
"""
TUNNEL = """
import json, socket
open_connection = socket.create_connection(("127.0.0.53", 61128), 20)
open_connection.sendall(b"CONNECT files.example.org:7000 HTTP/1.1\\r\\nHost: files.example.org:7000\\r\\n\\r\\n")
assert b" 200 " in open_connection.recv(1000)
open_connection.sendall(b"?\\n")
assert open_connection.recv(100).startswith(b"reached")
"""
LARGE = """
import threading, urllib.request
took = []
def download():
    try:
        with urllib.request.urlopen("http://files.example.org/large", timeout=20) as answer:
            begun.set()
            while part := answer.read(65536):
                took.append(len(part))
    except OSError as error:
        ended.append(repr(error))
begun, ended = threading.Event(), []
thread = threading.Thread(target=download, daemon=True)
thread.start()
assert begun.wait(20)
"""
SERVICE = """
import json, os, sys, threading, time
(service,) = (thread for thread in threading.enumerate() if thread.name == "Control")
"""
BUSY_BEFORE = f"{SERVICE}service._io_loop.add_callback(time.sleep, 0.5)"
"""The thread that hears of changes comes late to that."""
BUSY_WITH_IT = f"""{SERVICE}
orders = sys.modules["podflare_nb.provisioning.kernel.orders"]
change = orders.change_environment
def late(*what):
    time.sleep(0.5)
    change(*what)
    orders.change_environment = change
orders.change_environment = late
"""
"""It takes long with the next change."""


@pytest.fixture
def sandbox(supervisors):
    made = []

    def make(egress):
        made.append(supervisors().sandbox(egress))
        return made[-1]

    make.also = made.append
    yield make
    for each in made:
        each.close()


def members(sandbox, first):
    """A kernel, its live child, and a checkpoint of it that woke."""
    (child,) = first.fork()
    (sleeping,) = first.fork(asleep=True)
    woken = first.wake(sleeping)
    for each in (child, woken):
        sandbox.also(each)
    first.lab.run(sleeping.kill())
    return {"kernel": first, "child": child, "woken": woken}


def by_bash(member):
    code = (
        f'import json, subprocess, sys\nsource = {PROBE!r} + \'print(probe([["x", "tcp", "{PUBLIC}", 7000]])["x"])\'\n'
    )
    return member.told(
        code + "ran = subprocess.run(['bash', '-c', 'exec \"$0\" -c \"$1\"', sys.executable, source], "
        "capture_output=True, text=True)\nprint(json.dumps(ran.stdout.strip() or ran.stderr))"
    )


def by_terminal(member):
    source = f"{PROBE}open('/workspace/answer', 'w').write(probe([['x', 'tcp', '{PUBLIC}', 7000]])['x'])"

    async def run():
        command = TerminalCommand(["python", "-c", source], {}, None, (80, 24))
        terminal = await member.kernel.open_terminal(command)
        await terminal.exited
        os.close(terminal.master)

    member.lab.run(run())
    return member.told("import json\nprint(json.dumps(open('/workspace/answer').read()))")


def seen(member):
    """What a member reaches, by itself, by bash and by a terminal."""
    return {reached(each) for each in (*member.probe(WORLD).values(), by_bash(member), by_terminal(member))}


def test_all_of_a_family_have_the_policy_and_what_it_is_changed_to(sandbox):
    family = members(sandbox, sandbox(True))
    assert {name: seen(each) for name, each in family.items()} == {name: {True} for name in family}
    family["child"].set_egress(False)
    assert {name: seen(each) for name, each in family.items()} == {name: {False} for name in family}
    family["woken"].set_egress(True)
    assert {name: seen(each) for name, each in family.items()} == {name: {True} for name in family}


def test_a_checkpoint_wakes_into_the_policy_of_now(sandbox):
    first = sandbox(True)
    (sleeping,) = first.fork(asleep=True)
    first.set_egress({"allow": ["files.example.org"]})
    woken = first.wake(sleeping)
    sandbox.also(woken)
    assert seen(woken) == {False}
    look = "import json, os\nprint(json.dumps(os.environ.get('HTTPS_PROXY')))"
    assert woken.told(look) == "http://127.0.0.53:61128"
    first.lab.run(sleeping.kill())


@pytest.mark.parametrize("narrowed", [False, {"allow": ["www.example.com"]}], ids=["false", "allow"])
def test_connections_to_the_internet_end_when_the_policy_is_narrowed(sandbox, narrowed):
    inside = sandbox(True)
    inside.run(CONNECT)
    assert inside.told(STILL) == "more"
    inside.set_egress(narrowed)
    assert inside.told(STILL) in {"ConnectionAbortedError", "ConnectionResetError", "BrokenPipeError"}
    inside.set_egress(True)
    assert inside.told(STILL) in {"ConnectionAbortedError", "ConnectionResetError", "BrokenPipeError"}


def test_who_only_waits_for_data_is_told_too(sandbox):
    inside = sandbox(True)
    inside.run(CONNECT)
    inside.run(
        "import threading\nheard = []\ndef wait():\n    try:\n        open_connection.settimeout(60)\n"
        "        heard.append(open_connection.recv(10).decode())\n    except OSError as error:\n"
        "        heard.append(type(error).__name__)\nthread = threading.Thread(target=wait)\nthread.start()"
    )
    inside.set_egress(False)
    assert inside.told("thread.join(20)\nprint(json.dumps(heard))") == ["ConnectionAbortedError"]


def test_connections_inside_stay_whatever_the_policy(sandbox):
    inside = sandbox(True)
    inside.run(
        "import json, socket\nserver = socket.create_server(('127.0.0.1', 7000))\n"
        "one = socket.create_connection(('127.0.0.1', 7000))\nother, _ = server.accept()"
    )
    inside.set_egress(False)
    assert inside.told("one.sendall(b'here')\nprint(json.dumps(other.recv(10).decode()))") == "here"


def test_tunnels_that_the_policy_no_longer_allows_end_and_others_go_on(sandbox):
    inside = sandbox({"allow": ["files.example.org", "www.example.com"]})
    inside.run(TUNNEL)
    inside.set_egress({"allow": ["files.example.org"]})
    assert inside.told(STILL) == "more"
    inside.set_egress({"allow": ["www.example.com"]})
    assert inside.told(STILL) in {"ConnectionResetError", "BrokenPipeError", "closed"}


def test_a_download_ends_in_the_middle_when_the_policy_is_narrowed(sandbox):
    inside = sandbox({"allow": ["files.example.org"]})
    inside.run(LARGE)
    inside.set_egress({"allow": []})
    assert inside.told("import json\nthread.join(20)\nprint(json.dumps([thread.is_alive(), bool(took)]))") == [
        False,
        True,
    ]


def test_the_proxys_variables_come_and_go_in_the_running_kernel(sandbox):
    look = "import json, os\nprint(json.dumps([os.environ.get('HTTP_PROXY'), os.environ.get('https_proxy')]))"
    inside = sandbox(True)
    assert inside.told(look) == [None, None]
    inside.set_egress({"allow": ["files.example.org"]})
    assert inside.told(look) == ["http://127.0.0.53:61128"] * 2
    get = "import json, urllib.request\nprint(json.dumps(urllib.request.urlopen('http://files.example.org/').read().decode()))"
    assert inside.told(get).startswith("reached")
    inside.set_egress(True)
    assert inside.told(look) == [None, None]
    assert inside.told(get).startswith("reached")


@pytest.mark.parametrize("how", [BUSY_BEFORE, BUSY_WITH_IT], ids=["not yet read", "read and not yet applied"])
def test_the_first_cell_after_a_change_has_the_new_variables_however_late_the_kernel_hears_of_it(sandbox, how):
    inside = sandbox(False)
    look = "print(json.dumps([os.environ.get('HTTP_PROXY'), os.environ.get('https_proxy')]))"
    for egress, wanted in (({"allow": ["files.example.org"]}, "http://127.0.0.53:61128"), (False, None)):
        assert inside.run(how).error is None
        inside.set_egress(egress)
        assert inside.told(look) == [wanted] * 2


def test_a_change_reaches_a_cell_that_runs_and_the_next_one(sandbox):
    inside = sandbox(False)
    inside.run("import json, os, time")
    waiting = "while 'HTTP_PROXY' not in os.environ:\n    time.sleep(0.01)"
    running = asyncio.run_coroutine_threadsafe(inside.client.run(waiting), inside.lab.host.loop)
    inside.set_egress({"allow": ["files.example.org"]})
    assert running.result(SECONDS).error is None
    assert inside.told("print(json.dumps(os.environ['HTTP_PROXY']))") == "http://127.0.0.53:61128"


def test_a_variable_that_the_user_set_stays(supervisors):
    inside = supervisors().sandbox({"allow": []}, env={"HTTP_PROXY": "http://127.0.0.1:3128"})
    try:
        look = "import json, os\nprint(json.dumps([os.environ['HTTP_PROXY'], os.environ.get('HTTPS_PROXY')]))"
        assert inside.told(look) == ["http://127.0.0.1:3128", "http://127.0.0.53:61128"]
        inside.set_egress(True)
        assert inside.told(look) == ["http://127.0.0.1:3128", None]
    finally:
        inside.close()


def test_another_family_keeps_its_own_policy(sandbox):
    first, second = sandbox(True), sandbox(True)
    first.set_egress(False)
    assert seen(second) == {True}
