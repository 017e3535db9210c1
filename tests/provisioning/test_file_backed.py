"""Memory that was moved into a file, page by page where it was. Each case in processes of its own."""

import json
import os
import signal
import subprocess
import sys

import pytest

from podflare_nb.provisioning import file_backed

BEGINNING = """
import ctypes, gc, json, os, sys
from podflare_nb.provisioning import file_backed, pages
libc = ctypes.CDLL(None, use_errno=True)
libc.mremap.restype = libc.malloc.restype = libc.calloc.restype = ctypes.c_void_p
with pages.Gathered() as gathered:
    objects = [{"name": str(i), "list": list(range(i % 50))} for i in range(100_000)]
moves = sys.argv[1] == "moved"

def moved():
    return [line.split() for line in open("/proc/self/maps") if "memfd:podflare-template" in line]

def in_a_child(act):
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def lay_out():
    pages.lay_out(gathered) if moves else gc.freeze()
"""


def run(case: str, how: str = "moved"):
    ran = subprocess.run(
        [sys.executable, "-c", BEGINNING + case, how], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_what_was_moved_is_as_it_was_and_goes_on():
    same, inside, outside = run("""
import decimal, numpy
before = json.dumps(objects)
lay_out()
same = json.dumps(objects) == before
reading, writing = os.pipe()
def change():
    for each in objects:
        each["name"] += "!"
        each["list"].append(each["name"])
    more = [decimal.Decimal(i) / 7 for i in range(50_000)]
    gc.unfreeze(); gc.collect()
    ok = objects[49]["list"][-1] == "49!" and int(more[700]) == 100 and numpy.arange(1000).sum() == 499500
    os.write(writing, bytes([bool(ok)]))
in_a_child(change)
print(json.dumps([same, os.read(reading, 1)[0], objects[49]["name"]]))
""")
    assert (same, inside, outside) == (True, 1, "49")


PAGE_TABLE = """
lay_out()
reading, writing = os.pipe()
def tell():
    found = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")]
    os.write(writing, found[0].encode())
in_a_child(tell)
print(os.read(reading, 100).decode())
"""


def test_a_fork_copies_little_of_the_page_table():
    """Each page of which it has an entry counts as resident in the child."""
    assert run(PAGE_TABLE) * 2 < run(PAGE_TABLE, "as it is")


def test_where_another_thread_could_write_nothing_is_moved():
    """The same with that thread gone."""
    with_thread, without = run("""
import threading
go_on = threading.Event()
thread = threading.Thread(target=go_on.wait)
thread.start()
pages.lay_out(gathered)
with_thread = len(moved())
go_on.set()
thread.join()
pages.lay_out(gathered)
print(json.dumps([with_thread, len(moved())]))
""")
    assert with_thread == 0 < without


def test_signals_wait_meanwhile(monkeypatch):
    """Their handlers would run where the C library calls itself, on a small stack, and write to what was copied."""
    blocked = []

    class Chain(file_backed._Chain):
        def run(self, *_):
            blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    monkeypatch.setattr(file_backed, "_Chain", Chain)
    monkeypatch.setattr(file_backed, "_threads", lambda: 1)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert file_backed.move([file_backed.Mapping(0, 4096, 1)])
    assert {signal.SIGALRM, signal.SIGCHLD, signal.SIGTERM} <= blocked[0]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


ZEROS = """
held = [libc.malloc(ctypes.c_size_t(60_000)) for _ in range(400)]
for each in held:
    ctypes.memset(each, 7, 60_000)
for each in held[:399]:
    libc.free(ctypes.c_void_p(each))
lay_out()
libc.malloc_trim(ctypes.c_size_t(0))
dirty = 0
for _ in range(600):
    address = libc.calloc(ctypes.c_size_t(1), ctypes.c_size_t(40_000))
    dirty += ctypes.string_at(address, 40_000) != bytes(40_000)
print(dirty)
"""


def test_what_the_c_library_gives_back_to_linux_is_not_taken_for_zeros_afterwards():
    assert run(ZEROS) == 0


GROWS = """
lay_out()
start, end = (int(each, 16) for each in max(moved(), key=lambda line: int(line[2], 16))[0].split("-"))
offset = int(max(moved(), key=lambda line: int(line[2], 16))[2], 16)
def grow():
    length = end - start
    address = libc.mremap(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_size_t(length + (1 << 20)), 1)
    ctypes.string_at(address + length + 4096, 1)
print(in_a_child(grow))
"""


def test_nobody_makes_the_file_grow_by_reading_on():
    """Pages that nobody counts as his would be there until the template ends: a way to fill the machine's memory."""
    assert run(GROWS) == -signal.SIGBUS


@pytest.mark.parametrize(("seals", "result"), [("file_backed.SEALS", "EPERM"), ("0", "written")])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may open such a file at all")
def test_nobody_writes_to_the_file(seals, result):
    assert result == run(f"""
import errno
file_backed.SEALS = {seals}
lay_out()
each = max(moved(), key=lambda line: int(line[2], 16))
fd = os.open("/proc/self/map_files/" + each[0], os.O_RDWR)
try:
    os.pwrite(fd, os.pread(fd, 1, int(each[2], 16)), int(each[2], 16))
    print('"written"')
except PermissionError as error:
    print(json.dumps(errno.errorcode[error.errno]))
""")


def test_what_lies_where_python_has_given_memory_back_is_not_moved():
    """It may be anybody's, who may have it grow: the file's next pages would be in it."""
    lies_there, is_moved = run("""
import mmap
gathered.end_here()
start, end = gathered._start, gathered._end
taken = [mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) for _ in range(100)]
addresses = [ctypes.addressof(ctypes.c_char.from_buffer(each)) for each in taken]
for each in taken:
    each[:] = bytes(1 << 20)
inside = [each for each in addresses if start <= each < end]
pages.lay_out(gathered)
ranges = [[int(bound, 16) for bound in line[0].split("-")] for line in moved()]
print(json.dumps([len(inside), sum(low <= each < high for low, high in ranges for each in inside)]))
""")
    assert lies_there > 0
    assert is_moved == 0
