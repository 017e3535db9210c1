"""The standard library as it was: what a process needs of it around a fork, whatever the user put in its place.

gevent, eventlet, pytest-socket and tests of all kinds replace functions of ``socket``, ``select``, ``threading`` or
``time`` for the whole process. That is the user's right; a kernel that is forked, or wakes, must work nevertheless.
What is called at other times is noted by name where it is called. Functions and classes only: what is state (a lock, a
table of threads) stays as it is. Knows nothing of kernels.
"""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import os
import select
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_OF_OS = """
    access chdir chroot close dup dup2 eventfd fchdir fdopen fork fsdecode fspath fstat ftruncate get_inheritable getcwd
    getpgid getpgrp getpid kill killpg listdir lseek major makedev memfd_create minor open pipe pipe2 pread pwrite read
    readlink scandir set_blocking set_inheritable setsid stat strerror umask urandom waitpid write"""


def _callables(module: ModuleType, names: list[str] | None = None) -> dict[str, Any]:
    return {name: value for name in names or vars(module) if callable(value := vars(module).get(name))}


_NOTED: list[tuple[ModuleType, dict[str, Any]]] = [
    *((each, _callables(each)) for each in (_thread, select, selectors, signal, socket, threading, time)),
    (asyncio, _callables(asyncio, ["SelectorEventLoop", "Lock", "get_event_loop_policy", "set_event_loop"])),
    (os, _callables(os, _OF_OS.split())),
]
_ABSENT = object()


@contextlib.contextmanager
def standard_library() -> Iterator[None]:
    """Have it as it was when this module was imported; afterwards as the user had it. Other threads see that, too."""
    changed = [
        (names, name, names.get(name, _ABSENT), value)
        for names, noted in ((vars(module), noted) for module, noted in _NOTED)
        for name, value in noted.items()
        if names.get(name, _ABSENT) is not value
    ]
    for names, name, _, value in changed:
        names[name] = value
    try:
        yield
    finally:
        for names, name, users, value in changed:
            if names.get(name) is value:
                _put(names, name, users)


def _put(names: dict[str, Any], name: str, users: object) -> None:
    if users is _ABSENT:
        del names[name]
    else:
        names[name] = users
