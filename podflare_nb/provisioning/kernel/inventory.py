"""What a kernel holds outside of its memory, written down before a fork; and what becomes of it in each process.

A child's birth (``part``): the parent's own descriptors are closed, dead ends take the place of what cannot be in
two places, memory and files without a name are copied. Then, in a new root, parent and child alike (``enter``): the
working directory, open files and mapped files are had again by their paths. Until then nothing is looked for by path,
since a sleeper may outlive the mounts of its root. Stands on ``descriptors``, ``open_files``,
``shared_mappings``, ``entanglements`` and ``disown``; ``live_fork`` and ``sleeping`` stand on it.
"""

from __future__ import annotations

import contextlib
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
    noted: frozenset[Descriptor]
    addresses: frozenset[str | bytes]
    own: list[Descriptor]
    ends: list[tuple[Descriptor, str]]
    files: list[open_files.OpenFile]
    mappings: list[shared_mappings.SharedMapping]
    return_codes: dict[int, int]
    entanglements: list[Entanglement]
    parted: bool = False

    @property
    def has_unnamed(self) -> bool:
        """Whether a child has to copy something before its parent goes on."""
        return any(each.path is None for each in self.files) or any(each.path is None for each in self.mappings)

    def part(self, made: Iterable[int]) -> None:
        """In a new child. What was the parent's own is gone afterwards; a child's child only copies anew.

        ``made``: the fork's own descriptors, opened after all was written down. What was closed since may have left
        its number to one of them: only what is the same still is touched.
        """
        if not self.parted:
            since = self._come_since(frozenset(made))
            clients = [each for each in since if each.is_socket and local_address(each.fd) in self.addresses]
            ends = [(each, end) for each in since if each not in clients and (end := _end_of_connection(each))]
            for each in (*self.own, *clients):
                if each.stands:
                    _close(each.fd)
            _put_dead_ends([*self.ends, *ends], self.held.null)
            self.files = [each for each in self.files if open_files.behind(each.fd) == each.identity]
            self.files += open_files.note(since)  # the root is the parent's still
            open_files.let_go(self.files, self.held.null)
            self.parted = True
        copies = open_files.copy_unnamed(self.files, self.held)
        try:
            shared_mappings.copy_unnamed(self.mappings, copies)
        finally:
            for fd in copies.values():
                _close(fd)

    def _come_since(self, made: frozenset[int]) -> list[Descriptor]:
        """The parent's clients, whom libzmq's own thread went on to accept until the fork; ends of connections, and
        files, that the user's threads have opened. Copies of connections that stayed open would keep the other side
        from hearing of the end; what is written to such a file the parent and other children would see."""
        return [each for each in listed(numbers(self.held)) if each not in self.noted and each.fd not in made]

    def enter(self, root: int | None) -> list[Entanglement]:
        """Move into a root (a descriptor, which is closed) and have everything again by its path."""
        if self.parted:
            troubles = self._move(root) if root is not None else []
            troubles += [Entanglement("files", each) for each in open_files.reopen(self.files, self.held.null)]
        elif root is not None:
            left = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                troubles = self._move(root)
                beside = bool(entanglements.threads())
                files = open_files.left_behind(left)
                sentences = open_files.follow(files, self.held.null, beside_threads=beside)
                if beside:  # one may have been opening a file just then
                    late = open_files.left_behind(left)
                    sentences += open_files.follow(late, self.held.null, beside_threads=beside)
            finally:
                _close(left)
            troubles += [Entanglement("files", each) for each in dict.fromkeys(sentences)]
            troubles += found("files", "Locks of these files could not be taken again: {}.", open_files.lock(files))
        else:
            return []
        if root is not None:
            troubles += [Entanglement("mappings", each) for each in shared_mappings.remap(self.mappings)]
        return troubles

    def _move(self, root: int) -> list[Entanglement]:
        lost = _change_root(root, self.directory)
        return found("files", "The working directory {} is not there any more.", lost)


def take(transport: Transport, interrupts: Interrupts, held: Held, spare: Iterable[int]) -> Inventory:
    """Write down what this kernel holds. ``spare``: more descriptors that the fork itself looks after."""
    spare = {held.null, held.proc, *spare}
    own: list[Descriptor] = []
    theirs: list[Descriptor] = []
    noted = listed(numbers())
    for each in noted:
        if each.fd < STANDARD or each.fd in spare:
            continue
        if transport.owns(each):
            own.append(each)
        elif each.stands:  # else it may have been a client's, who has gone
            theirs.append(each)
    ends = [(each, what) for each in theirs if (what := _what_end(each))]
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
        held=held,
        directory=_directory(),
        noted=frozenset(noted),
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
    if (end := _end_of_connection(descriptor)) is not None:
        return end
    with contextlib.suppress(OSError):
        link = descriptor.link
        if link.startswith("anon_inode:[eventpoll]"):
            return "poll"
        if link.startswith(("anon_inode:[eventfd]", "anon_inode:[timerfd]", "anon_inode:inotify")):
            return "event"
    return None


def _end_of_connection(descriptor: Descriptor) -> str | None:
    if descriptor.is_socket:
        return "socket"
    if descriptor.is_terminal:
        return "terminal"
    if descriptor.is_pipe:
        with descriptor.unless_gone():
            return "reading" if descriptor.reads else "writing"
    return None


def _put_dead_ends(ends: list[tuple[Descriptor, str]], null: int) -> None:
    """In each place something of the same kind that belongs to nobody: reading finds the end, writing fails."""
    for each, what in ends:
        if not each.stands:  # closed with its owner, which did not come along
            continue
        fresh = _dead_end(what, null)
        try:
            os.dup2(fresh, each.fd, inheritable=os.get_inheritable(each.fd))
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
