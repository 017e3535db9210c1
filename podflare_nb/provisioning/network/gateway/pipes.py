"""Pipes between two sockets, for splice(2). One is taken only while bytes are under way: an idle tunnel has none."""

from __future__ import annotations

import fcntl
import os

SIZE = 1024 * 1024
MAX_SPARE = 32


class Pipe:
    """An empty pipe. ``size``: how many bytes it takes; less than ``SIZE`` where the user has many pipes."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.size = fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, SIZE)
        except PermissionError:
            self.size = fcntl.fcntl(self.write, fcntl.F_GETPIPE_SZ)

    def close(self) -> None:
        """Close both ends."""
        os.close(self.read)
        os.close(self.write)


class Pipes:
    """Those that are not in use."""

    def __init__(self) -> None:
        self._spare: list[Pipe] = []

    def take(self) -> Pipe:
        """An empty pipe. Raises OSError when there are no descriptors."""
        return self._spare.pop() if self._spare else Pipe()

    def give_back(self, pipe: Pipe) -> None:
        """Only if it is empty: what is left in one would reach another's connection."""
        if len(self._spare) < MAX_SPARE:
            self._spare.append(pipe)
        else:
            pipe.close()

    def close(self) -> None:
        """Close the spare ones."""
        while self._spare:
            self._spare.pop().close()
