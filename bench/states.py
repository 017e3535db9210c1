"""What a kernel holds when it is forked: code that makes it, the same for both servers; and a look at its files.

Every piece of code runs in the directory that it is started in, or in the one that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1024
"""In MiB."""

TABLE = """
import numpy as np, pandas as pd
table = pd.DataFrame(np.ones(({mib} * 2**20 // 128, 16)))
"""

OBJECTS = """
objects = [[number, str(number)] for number in range({mib} * 2**20 // 176)]
"""
"""A list, its items, an int and a str take 176 bytes together."""

FILES = """
import os
for first in range(0, {count}, 1000):
    os.makedirs(f"many/{{first}}", exist_ok=True)
    for number in range(first, min(first + 1000, {count})):
        with open(f"many/{{first}}/{{number}}", "wb") as file:
            file.write(b"x" * 64)
for number in range({mib} // 64):
    with open(f"big-{{number}}.bin", "wb") as file:
        for _ in range(64):
            file.write(b"x" * 2**20)
"""

INTO = """
import os
os.makedirs({directory!r})
os.chdir({directory!r})
"""

FILE_SPEED = """
import os, time
def files_read():
    for number in range(1000):
        with open(f"many/0/{number}", "rb") as file:
            file.read()
def files_written():
    os.makedirs("scratch", exist_ok=True)
    for number in range(1000):
        with open(f"scratch/{number}", "wb") as file:
            file.write(b"y" * 64)
    for number in range(1000):
        os.unlink(f"scratch/{number}")
def block_read():
    with open("big-0.bin", "rb", buffering=0) as file:
        while file.read(2**20):
            pass
def block_written():
    with open("scratch.bin", "wb") as file:
        for _ in range(64):
            file.write(b"y" * 2**20)
    os.unlink("scratch.bin")
for action in (files_read, files_written, block_read, block_written):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    print(action.__name__, min(times[1:]))
"""
"""Needs ``FILES`` of at least 1000 files and 64 MiB. The first of five is warm-up, the fastest of the rest counts."""

ANSWER = "1+1"


@dataclass(frozen=True, slots=True)
class State:
    """What a kernel holds. ``memory`` is one of the pieces of code above; sizes in MiB."""

    name: str
    memory: str = TABLE
    mib: int = 0
    files: int = 0
    workspace_mib: int = 0

    def cells(self, directory: str | None = None) -> list[str]:
        """The cells that make it; in a new directory, where one is named."""
        cells = [INTO.format(directory=directory)] if directory else []
        if self.mib:
            cells.append(self.memory.format(mib=self.mib))
        if self.files or self.workspace_mib:
            cells.append(FILES.format(count=self.files, mib=self.workspace_mib))
        return cells

    def limits(self) -> dict[str, int]:
        """What a sandbox needs to hold it, with some air."""
        return {"ram_mib": max(2048, int(self.mib * 1.5) + 1024), "rootfs_gb": 4 + 2 * self.workspace_mib // GIB}
