"""Where objects come to lie, once a template has laid out its memory. Each case in a process of its own."""

import json
import subprocess
import sys

import pytest

from podflare_nb.provisioning import pages

CASE = """
import ctypes, json, sys
from podflare_nb.provisioning import pages
malloc = ctypes.CDLL(None).malloc
malloc.restype = ctypes.c_void_p

def lie_in_old_memory():
    small = [[(i, str(i)) for i in range(40)] for _ in range(200)]
    addresses = [id(each) for group in small for pair in group for each in (pair, pair[1])]
    addresses += [malloc(size) for size in range(600, 1000, 16) for _ in range(4)]
    old = sum(pages._lies_in(address, there) for address in addresses)
    return old / len(addresses), small

# What a rehearsal leaves: three of four objects are free again.
used = [[bytes(30 + i % 400) for i in range(100_000)], [bytes(600 + i % 400) for i in range(4000)]]
used = [group[::4] for group in used]
there = sorted(pages._range(line) for line in pages._maps())
if sys.argv[1] == "filled":
    pages.fill()
    # The memory that it ended in counts as new.
part, kept = lie_in_old_memory()
print(json.dumps(part))
"""


def part_in_old_memory(how: str) -> float:
    ran = subprocess.run([sys.executable, "-c", CASE, how], check=True, capture_output=True, text=True, timeout=60)
    return float(json.loads(ran.stdout))


def test_new_objects_lie_apart_from_what_was_there_and_otherwise_among_it():
    part = part_in_old_memory("filled")
    assert part < 0.02
    assert part * 4 < part_in_old_memory("as it is")


PIECES = """
import json, mmap, sys
from contextlib import nullcontext
from podflare_nb.provisioning import pages
objects, libraries = [], []
with pages.Gathered() if sys.argv[1] == "gathered" else nullcontext():
    for _ in range(20):
        objects.append([bytes(100) for _ in range(10_000)])
        libraries.append(mmap.mmap(-1, 1 << 16))
        libraries.append(mmap.mmap(-1, 1 << 16, prot=mmap.PROT_READ))
addresses = [id(each) for group in objects for each in group]
ranges = sorted(pages._range(line) for line in pages._maps())
print(json.dumps(len({pages.bisect_right(ranges, address, key=lambda each: each[0]) for address in addresses})))
"""


def pieces(how: str) -> int:
    ran = subprocess.run([sys.executable, "-c", PIECES, how], check=True, capture_output=True, text=True, timeout=60)
    return int(ran.stdout)


def test_what_is_made_while_libraries_are_loaded_lies_in_one_piece():
    assert pieces("gathered") * 3 < pieces("as it is")


@pytest.mark.parametrize(
    ("address", "found"), [(4, False), (5, True), (9, True), (10, False), (20, True), (29, True), (30, False)]
)
def test_a_range_has_its_start_and_not_its_end(address, found):
    assert pages._lies_in(address, [(5, 10), (20, 30)]) is found
