"""A fork has all that its parent had, and from then on nothing of it."""

import pytest

from .conftest import Family

STATE = """
import random, os, sys
import json as j
x = {"a": [1, 2, 3]}
def double(n): return 2 * n
class Thing:
    def __init__(self): self.v = 7
thing = Thing()
numbers = (n * n for n in range(4))
os.environ["COLOUR"] = "blue"
os.makedirs("/workspace/deep/er", exist_ok=True)
open("/workspace/deep/er/note.txt", "w").write("kept")
open("/tmp/scratch", "w").write("tmp")
open(os.path.expanduser("~/.profile-of-mine"), "w").write("home")
site = next(p for p in sys.path if p.endswith("packages"))
open(site + "/installed_by_me.py", "w").write("value = 11")
os.chdir("/workspace/deep")
log = open("/workspace/log.txt", "w+"); _ = log.write("one\\n"); log.flush()
"""
SEEN = """
import installed_by_me
print(x["a"], double(4), thing.v, list(numbers), os.environ["COLOUR"], j.dumps({}), os.getcwd(),
      open("er/note.txt").read(), open("/tmp/scratch").read(), open(os.path.expanduser("~/.profile-of-mine")).read(),
      installed_by_me.value, log.tell())
"""
EXPECTED = "[1, 2, 3] 8 7 [0, 1, 4, 9] blue {} /workspace/deep kept tmp home 11 4"


def test_children_have_variables_functions_files_environment_and_directory(family):
    with family.line() as parent:
        family.run(parent, STATE)
        children = family.fork(parent, 3)
        assert len({parent, *children}) == 4
        for sandbox in (*children, parent):
            assert family.says(sandbox, SEEN) == EXPECTED


def test_memory_and_files_are_apart_in_both_directions(family):
    with family.line() as parent:
        family.run(parent, STATE)
        one, two = family.fork(parent, 2)
        family.run(one, "x['a'].append(1000); open('/workspace/only-one', 'w').close(); os.remove('/tmp/scratch')")
        family.run(parent, "x['a'].clear(); open('/workspace/deep/er/note.txt', 'w').write('changed')")
        seen = "x['a'], sorted(os.listdir('/workspace')), os.path.exists('/tmp/scratch'), open('er/note.txt').read()"
        look = f"print({seen})"
        assert family.says(one, look) == "[1, 2, 3, 1000] ['deep', 'log.txt', 'only-one'] False kept"
        assert family.says(two, look) == "[1, 2, 3] ['deep', 'log.txt'] True kept"
        assert family.says(parent, look) == "[] ['deep', 'log.txt'] True changed"


def test_an_open_file_is_everybodys_own_from_its_offset_on(family):
    with family.line() as parent:
        family.run(parent, STATE)
        one, two = family.fork(parent, 2)
        for name, sandbox in (("one", one), ("two", two), ("parent", parent)):
            family.run(sandbox, f"_ = log.write({name!r}); log.flush()")
        for name, sandbox in (("one", one), ("two", two), ("parent", parent)):
            assert family.says(sandbox, "print(repr(open('/workspace/log.txt').read()))") == repr(f"one\n{name}")


def test_the_files_route_shows_each_branch_its_own_files(family):
    with family.line() as parent:
        family.run(parent, "open('/workspace/data', 'w').write('before')")
        (child,) = family.fork(parent)
        family.http.put(f"/v1/sandboxes/{child}/files/data", content=b"child's").raise_for_status()
        assert family.says(child, "print(open('/workspace/data').read())") == "child's"
        assert family.http.get(f"/v1/sandboxes/{parent}/files/data").content == b"before"
        family.run(parent, "open('/workspace/data', 'w').write('after')")
        assert family.http.get(f"/v1/sandboxes/{parent}/files/data").content == b"after"
        assert family.http.get(f"/v1/sandboxes/{child}/files/data").content == b"child's"


def test_random_generators_differ_among_branches(family):
    with family.line() as parent:
        family.run(parent, "import random, uuid, secrets, tempfile; random.seed(1); mine = random.Random(2)")
        children = family.fork(parent, 4)
        draw = "print(random.random(), mine.random(), uuid.uuid4(), secrets.token_hex(8), tempfile.mkdtemp())"
        drawn = [family.says(sandbox, draw).split() for sandbox in (*children, parent)]
        for kind in range(5):
            assert len({each[kind] for each in drawn}) == 5, drawn


def test_a_fork_keeps_no_key_of_its_parent(family):
    with family.line() as parent:
        family.run(parent, "from ipykernel.kernelapp import IPKernelApp")
        (child,) = family.fork(parent)
        key = "print(get_ipython().kernel.session.key.hex(), get_ipython().kernel.session.session)"
        assert set(family.says(parent, key).split()).isdisjoint(family.says(child, key).split())


def test_code_that_runs_is_waited_for_and_then_refused(branching, family):
    with family.line() as parent, family.stream(parent, "print('on', flush=True)\nwhile True: pass") as running:
        running.until("stdout")
        with Family(branching) as other:
            answer = other.http.post(f"/v1/sandboxes/{parent}/fork", json={"n": 1, "wait_seconds": 0.2})
            assert answer.status_code == 409, answer.text
            other.http.post(f"/v1/sandboxes/{parent}/interrupt")
            running.until("exit")
            (child,) = other.fork(parent)
            assert other.says(child, "print(1 + 1)") == "2"


def test_what_cannot_come_along_is_named_and_strict_refuses(family):
    busy = """
import threading, subprocess, socket
stop = threading.Event()
threading.Thread(target=stop.wait, name="counting-thread", daemon=True).start()
sleeper = subprocess.Popen(["sleep", "1000"])
server = socket.create_server(("127.0.0.1", 0))
"""
    with family.line() as parent:
        family.run(parent, busy)
        refused = family.http.post(f"/v1/sandboxes/{parent}/fork", json={"n": 1, "strict": True})
        assert refused.status_code == 409
        assert "counting-thread" in refused.json()["error"]
        answer = family.http.post(f"/v1/sandboxes/{parent}/fork", json={"n": 1}).json()
        warnings = "\n".join(answer["warnings"])
        assert "counting-thread" in warnings
        assert "sleep" in warnings
        assert "socket" in warnings
        (child,) = answer["children"]
        assert family.says(child, "print(threading.active_count() < 5, 'alive')").endswith("alive")
        assert family.says(parent, "print(sleeper.poll(), stop.is_set())") == "None False"


@pytest.mark.parametrize(
    "hostile",
    [
        "import os\ndef no(*_): raise RuntimeError('no fork')\nos.fork = os.forkpty = os._exit = no",
        "import os\nos.register_at_fork(after_in_child=lambda: 1 / 0, after_in_parent=lambda: 1 / 0)",
        "import logging, threading\nlock = threading.Lock()\nthreading.Thread(target=lock.acquire).start()",
        "import sys, io\nsys.stdout = io.StringIO(); sys.stderr = None",
        "import signal\nsignal.signal(signal.SIGCHLD, lambda *_: 1 / 0)",
        "import builtins\nbuiltins.open = None; builtins.isinstance = None",
        "import gc, sys\ngc.disable(); sys.setrecursionlimit(60)",
    ],
    ids=["os.fork", "register_at_fork", "locks", "stdout", "SIGCHLD", "builtins", "recursion"],
)
def test_hostile_state_forks_or_is_refused_in_a_sentence_and_the_parent_lives(family, hostile):
    with family.line() as parent:
        family.run(parent, hostile)
        answer = family.http.post(f"/v1/sandboxes/{parent}/fork", json={"n": 2, "wait_seconds": 5})
        assert answer.status_code in (200, 409, 503), answer.text
        if answer.status_code == 200:
            for child in answer.json()["children"]:
                assert family.run(child, "y = 6 * 7\nget_ipython().kernel.pid if False else y").exit["data"] in (0, 1)
        else:
            assert len(answer.json()["error"]) > 20
        assert family.run(parent, "z = 1").exit["status"] != "died"


@pytest.mark.parametrize("n", [0, -1, 33, 1.5, "5", None, True, [1]])
def test_an_impossible_n_is_refused_in_a_sentence(family, n):
    with family.line() as parent:
        answer = family.http.post(f"/v1/sandboxes/{parent}/fork", json={"n": n})
        assert answer.status_code == 400
        assert "n" in answer.json()["error"]
        assert family.says(parent, "print(1)") == "1"


def test_thirty_two_at_once(family):
    with family.line() as parent:
        family.run(parent, "x = list(range(1000))")
        children = family.fork(parent, 32)
        assert len(set(children)) == 32
        assert {family.says(child, "print(sum(x))") for child in children} == {"499500"}


def test_a_hundred_generations(family):
    with family.line() as first:
        family.run(first, "trail = []; open('trail.txt', 'w').close()")
        sandbox = first
        for generation in range(100):
            (child,) = family.fork(sandbox)
            family.close(sandbox)
            write = "f = open('trail.txt', 'a'); _ = f.write('.'); f.close()"
            step = f"trail.append({generation}); {write}; print(len(trail))"
            assert family.says(child, step) == str(generation + 1)
            sandbox = child
        assert family.says(sandbox, "print(trail == list(range(100)), len(open('trail.txt').read()))") == "True 100"
        family.close(sandbox)


def test_closed_and_foreign_sandboxes_cannot_be_forked(family):
    with family.line() as parent:
        family.close(parent)
        gone = family.http.post(f"/v1/sandboxes/{parent}/fork", json={"n": 1})
        assert gone.status_code == 410
        assert family.http.post("/v1/sandboxes/sbx_" + "0" * 32 + "/fork", json={"n": 1}).status_code == 404
