"""SIGCHLD of processes that are none of the user's: neither a handler nor ``os.wait`` of the user's shall see them.

Works below Python, on the disposition as Linux has it, so that what ``signal.getsignal`` tells stays true and
a handler that was installed by C code comes back as it was. (sigaction(2); the layout is glibc's and musl's.)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_BYTES = 256
"""``struct sigaction`` and some more: begins with the handler, a mask of 128 bytes, the flags."""
_FLAGS_AT = struct.calcsize("P") + 128
_NO_ZOMBIES = 2
_IGNORE = 1


def silence() -> bytes:
    """No handler is called from here on, and children that end can be waited for. Returns what to ``restore``."""
    return _set(bytes(_BYTES))


def reap_by_itself() -> None:
    """Children that end leave nothing behind."""
    _set(struct.pack("P", _IGNORE).ljust(_BYTES, b"\0"))


def restore(saved: bytes) -> None:
    """As it was. If children of the user's ended meanwhile, what would have happened then happens now."""
    _set(bytes(_BYTES))  # a SIGCHLD that is blocked waits for a handler; to be ignored anew discards it
    _set(saved)
    handler = struct.unpack_from("P", saved)[0]
    with contextlib.suppress(ChildProcessError):
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
        if handler == _IGNORE or struct.unpack_from("i", saved, _FLAGS_AT)[0] & _NO_ZOMBIES:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        elif handler:
            os.kill(os.getpid(), signal.SIGCHLD)


def _set(action: bytes) -> bytes:
    before = ctypes.create_string_buffer(_BYTES)
    if _LIBC.sigaction(int(signal.SIGCHLD), ctypes.create_string_buffer(action, _BYTES), before):
        raise OSError(ctypes.get_errno(), "sigaction")
    return before.raw
