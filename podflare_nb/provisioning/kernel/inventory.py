"""What a kernel holds outside of its memory, written down before a fork; and what becomes of it in each process.

A child's birth (``part``): the parent's own descriptors are closed, dead ends take the place of what cannot be in
two places, memory and files without a name are copied. Then, in a new root, parent and child alike (``enter``): the
working directory, open files and mapped files are had again by their paths. Until then nothing is looked for by path,
since a sleeper may outlive the mounts of its root. Stands on ``descriptors``, ``open_files``,
``shared_mappings``, ``entanglements`` and ``disown``; ``live_fork`` and ``sleeping`` stand on it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from . import entanglements, open_files, shared_mappings
from .descriptors import STANDARD, Descriptor, Held, listed, local_address, numbers
from .disown import return_codes
from .entanglements import Entanglement, found
from .interrupts import Interrupts
from .transport import Transport

SQLITE = b"SQLite format 3\0"
"""How its files begin (sqlite.org/fileformat2.html, 1.3)."""
READ_ONLY = "Open connections to SQLite databases can only read in a branch; to write, connect anew there: {}."
"""SQLite takes a file for another one when its inode has another number (SQLITE_READONLY_DBMOVED), as each branch's own
has."""

_close, _pread = os.close, os.pread


@dataclass
class Inventory:
    """``own``: descriptors of the parent's own connection; ``ends``: those that lead to somebody, by what they are;
    ``noted``: all that there were; ``addresses``: where the parent listens, ``Transport.addresses``.

    ``held``: closed by whoever is done with the inventory; ``directory``: the working directory; ``return_codes``: of
    child processes, as those have them who have no such processes.
    """

    held: Held
    directory: str
    noted: frozenset[int]
    addresses: frozenset[str | bytes]
    own: list[Descriptor]
    ends: list[tuple[int, str]]
    files: list[open_files.OpenFile]
    mappings: list[shared_mappings.SharedMapping]
    return_codes: dict[int, int]
    entanglements: list[Entanglement]
    parted: bool = False

    @property
    def has_unnamed(self) -> bool:
        """Whether a child has to copy something before its parent goes on."""
        return any(each.path is None for each in self.files) or any(each.path is None for each in self.mappings)

    def part(self) -> None:
        """In a new child. What was the parent's own is gone afterwards; a child's child only copies anew."""
        if not self.parted:
            # A client's that has closed since may have left its number to a descriptor that this child needs.
            still = [each.fd for each in self.own if listed([each.fd]) == [each]]
            for fd in (*still, *self._accepted_since()):
                with contextlib.suppress(OSError):  # closed by its owner's end
                    _close(fd)
            _put_dead_ends(self.ends, self.held.null)
            open_files.let_go(self.files, self.held.null)
            self.parted = True
        copies = open_files.copy_unnamed(self.files, self.held)
        try:
            shared_mappings.copy_unnamed(self.mappings, copies)
        finally:
            for fd in copies.values():
                _close(fd)

    def _accepted_since(self) -> list[int]:
        """The parent's clients who came when all was written down: libzmq's own thread went on until the fork. A copy
        that stayed open would keep them from hearing of the parent's end."""
        return [fd for fd in numbers(self.held) if fd not in self.noted and local_address(fd) in self.addresses]

    def enter(self, root: int | None) -> list[Entanglement]:
        """Move into a root (a descriptor, which is closed) and have everything again by its path."""
        troubles = []
        if root is not None:
            lost = _change_root(root, self.directory)
            troubles += found("files", "The working directory {} is not there any more.", lost)
        placeholder = self.held.null if self.parted else None
        if root is not None or self.parted:
            troubles += [Entanglement("files", each) for each in open_files.reopen(self.files, placeholder)]
        if root is not None:
            if not self.parted:
                lost = open_files.lock(self.files)
                troubles += found("files", "Locks of these files could not be taken again: {}.", lost)
            troubles += [Entanglement("mappings", each) for each in shared_mappings.remap(self.mappings)]
        return troubles


def take(transport: Transport, interrupts: Interrupts, spare: Iterable[int]) -> Inventory:
    """Write down what this kernel holds. ``spare``: descriptors that the fork itself looks after."""
    spare = set(spare)
    own: list[Descriptor] = []
    theirs: list[Descriptor] = []
    noted = listed(numbers())
    for each in noted:
        if each.fd < STANDARD or each.fd in spare:
            continue
        if transport.owns(each):
            own.append(each)
        elif listed([each.fd]) == [each]:  # else libzmq's own thread has closed it since: a client that has gone
            theirs.append(each)
    ends = [(each.fd, what) for each in theirs if (what := _what_end(each))]
    files = open_files.note(theirs)
    mappings, left = shared_mappings.note()
    children = entanglements.children()
    troubles = [
        *entanglements.threads(),
        *entanglements.processes(children),
        *entanglements.connections(theirs),
        *entanglements.tasks(transport.loop, interrupts.own_tasks),
        *found("mappings", "Parent and children go on sharing mapped memory: {}.", left),
        *found("files", "Files without a name are too large to copy, and stay shared: {}.", _too_large(files)),
        *found("files", "Locks of files stay the parent's: {}.", [_named(each) for each in files if each.locks]),
        *found("files", READ_ONLY, [_named(each) for each in files if _is_database(each)]),
    ]
    return Inventory(
        held=Held.open(),
        directory=_directory(),
        noted=frozenset(each.fd for each in noted),
        addresses=transport.addresses,
        own=own,
        ends=ends,
        files=files,
        mappings=mappings,
        return_codes=return_codes(children),
        entanglements=troubles,
    )


def _is_database(file: open_files.OpenFile) -> bool:
    """Whether it is one of SQLite that is written to; one in which nothing was made yet has no header."""
    if file.path is None or file.flags & (os.O_ACCMODE | os.O_PATH) != os.O_RDWR:
        return False
    with contextlib.suppress(OSError):
        return _pread(file.fd, len(SQLITE), 0) == SQLITE
    return False


def _too_large(files: Iterable[open_files.OpenFile]) -> list[str]:
    return [
        f"descriptor {each.fd} with {each.size >> 20} MiB"
        for each in files
        if each.path is None and each.size > open_files.COPY_BYTES
    ]


def _named(file: open_files.OpenFile) -> str:
    return file.path or f"a file without a name (descriptor {file.fd})"


def _directory() -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # a string is what chdir takes
    except FileNotFoundError:
        return "/"


def _what_end(descriptor: Descriptor) -> str | None:
    if descriptor.is_socket:
        return "socket"
    if descriptor.is_terminal:
        return "terminal"
    if descriptor.is_pipe:
        reads = fcntl.fcntl(descriptor.fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        return "reading" if reads else "writing"
    with contextlib.suppress(OSError):
        link = descriptor.link
        if link.startswith("anon_inode:[eventpoll]"):
            return "poll"
        if link.startswith(("anon_inode:[eventfd]", "anon_inode:[timerfd]", "anon_inode:inotify")):
            return "event"
    return None


def _put_dead_ends(ends: list[tuple[int, str]], null: int) -> None:
    """In each place something of the same kind that belongs to nobody: reading finds the end, writing fails."""
    for fd, what in ends:
        if open_files.behind(fd) is None:  # closed with its owner, which did not come along
            continue
        fresh = _dead_end(what, null)
        try:
            os.dup2(fresh, fd, inheritable=os.get_inheritable(fd))
        finally:
            _close(fresh)


def _dead_end(what: str, null: int) -> int:
    if what == "poll":
        made = select.epoll()
        return os.dup(made.fileno())
    if what == "event":
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    if what == "terminal":
        return os.dup(null)
    if what == "socket":
        end, other = socket.socketpair()
        other.close()
        return end.detach()
    reading, writing = os.pipe2(os.O_CLOEXEC)
    kept, gone = (reading, writing) if what == "reading" else (writing, reading)
    _close(gone)
    return kept


def _change_root(root: int, directory: str) -> list[str]:
    """The name of the working directory, if it is not there."""
    os.fchdir(root)
    os.chroot(".")
    _close(root)
    try:
        os.chdir(directory)
    except OSError:
        os.chdir("/")
        return [directory]
    return []
