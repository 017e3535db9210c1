"""A child of pid 1's, made at the price of one fork, that is as good as one of os.fork's."""

import json
import os
import subprocess
import sys

import pytest

WAYS = ["fork", "_fork_twice"]
PROGRAM = """
import ctypes, json, os, signal, sys, threading, time
from podflare_nb.provisioning.kernel import orphan_fork
orphan_fork.prepare()
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # a subreaper: what is nobody's comes to us, and not to the host's pid 1
way = getattr(orphan_fork, {way!r})
signals = []
signal.signal(signal.SIGCHLD, lambda *_: signals.append(1))
over = threading.Event()
others = [threading.Thread(target=over.wait, daemon=True) for _ in range(3)]
def churn():
    while not over.is_set():
        [bytearray(1000) for _ in range(100)]
others.append(threading.Thread(target=churn, daemon=True))
for each in others:
    each.start()
def told(work):
    reading, writing = os.pipe()
    own = os.getpid()
    pid = way()
    if pid == 0:
        try:
            os.write(writing, json.dumps([os.getpid(), work(own)]).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        child, result = json.load(pipe)
    assert child == pid, (child, pid)
    return result
{body}
"""


def run(way: str, body: str) -> object:
    """What a program says that forks in this way, beside busy threads."""
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(way=way, body=body)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("way", WAYS)
def test_a_child_has_a_copy_of_the_memory_and_goes_on_where_its_parent_was(way):
    body = """
x = [1]
def deep(n, own):
    if n: return deep(n - 1, own)
    x.append(2)
    return x
print(json.dumps([told(lambda own: deep(200, own)), x]))"""
    assert run(way, body) == [[1, 2], [1]]


@pytest.mark.parametrize("way", WAYS)
def test_a_child_starts_threads_and_children_and_allocates(way):
    body = """
def work(own):
    began = []
    for _ in range(20):
        thread = threading.Thread(target=lambda: began.append(len(bytes(10_000_000)))); thread.start(); thread.join()
    import subprocess
    said = subprocess.run(["echo", "6"], capture_output=True).stdout.decode()
    return [len(began), threading.active_count(), said, os.sched_getaffinity(0) == set(range(0)) or 1]
print(json.dumps([told(work) for _ in range(10)][-1]))"""
    assert run(way, body) == [20, 1, "6\n", 1]


def test_the_one_between_is_not_seen_by_a_wait_nor_by_a_signal_handler():
    body = """
over.set()
pid = way()
if pid == 0:
    signal.pause()
early = len(signals)
os.kill(pid, signal.SIGKILL)
waited, status = os.wait()
print(json.dumps([early, waited == pid, os.WTERMSIG(status)]))"""
    assert run("fork", body) == [0, True, 9]


def test_a_child_of_a_child_of_a_child_works_as_well():
    body = """
reading, writing = os.pipe()
for generation in range(30):
    if way():
        os._exit(0) if generation else time.sleep(0)
        break
else:
    os.write(writing, b'30')
    os._exit(0)
print(os.read(reading, 10).decode())"""
    assert run("fork", body) == 30


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the instructions are for x86-64")
def test_a_child_asks_linux_for_its_processor():
    body = """
libc = ctypes.CDLL(None)
def work(own):
    cpus = sorted(os.sched_getaffinity(0))
    found = []
    for cpu in cpus:
        os.sched_setaffinity(0, {cpu})
        found.append(libc.sched_getcpu())
    return [cpus, found]
print(json.dumps(told(work)))"""
    cpus, found = run("fork", body)
    assert cpus == found


def test_without_room_an_error_is_raised_and_the_parent_goes_on():
    body = """
import resource
os.setgroups([]); os.setgid(54321); os.setuid(54321)
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    way()
except OSError as error:
    print(json.dumps([error.errno, len(threading.enumerate())]))"""
    assert run("fork", body) == [11, 5]
