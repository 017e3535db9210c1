"""Reads and types at the master of a real terminal, waiting for what it says."""

import asyncio
import os
import re
from contextlib import asynccontextmanager

from podflare_nb.provisioning.handle import TerminalCommand
from podflare_nb.provisioning.waiting import readable

SECONDS = 60


class Reader:
    """``said`` is all so far, as text."""

    def __init__(self, terminal):
        self.terminal = terminal
        self.said = ""

    async def until(self, pattern, seconds=SECONDS):
        """Read on until what is said matches; fails with what was said instead."""
        try:
            async with asyncio.timeout(seconds):
                while not (found := re.search(pattern, self.said)):
                    await readable(self.terminal.master)
                    self.said += os.read(self.terminal.master, 65536).decode(errors="replace")
        except (TimeoutError, OSError) as error:
            raise AssertionError(f"nothing like {pattern!r} was said, but {self.said!r}") from error
        self.said = self.said[found.end() :]
        return found

    async def rest(self):
        """All that comes until its programs have let go of it."""
        async with asyncio.timeout(SECONDS):
            while True:
                await readable(self.terminal.master)
                try:
                    self.said += os.read(self.terminal.master, 65536).decode(errors="replace")
                except OSError:
                    return self.said

    def type(self, text):
        data = text.encode()
        assert os.write(self.terminal.master, data) == len(data)

    async def exit_code(self):
        return (await asyncio.wait_for(asyncio.shield(self.terminal.exited), SECONDS)).exit_code


def command(*argv, env=None, cwd=None, size=(80, 24)):
    return TerminalCommand(argv or ("bash", "--norc", "-i"), {"PS1": "$ ", **(env or {})}, cwd, size)


@asynccontextmanager
async def terminal(kernel, *argv, **more):
    """A terminal of a kernel's sandbox, whose end is waited for."""
    opened = await kernel.open_terminal(command(*argv, **more))
    try:
        yield Reader(opened)
    finally:
        await opened.kill()
        await asyncio.wait_for(asyncio.shield(opened.exited), SECONDS)
        os.close(opened.master)
