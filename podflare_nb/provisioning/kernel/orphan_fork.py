"""Forks a child that is nobody's but pid 1's, at the price of one fork: no wait(2) of the user's ever finds it.

Whoever forks is the child's parent, and only if that one ends is it pid 1's. A process that is forked to stand between
would copy the page tables of a large kernel once more, for nothing, and its end takes as long again. So it is made as
vfork(2) makes one: it has the kernel's memory, the kernel stands still until it has ended, and all that it does is to
call the C library's fork. That, unlike clone(2) with CLONE_PARENT, calls what C libraries have registered (malloc's
locks, OpenBLAS' threads). Neither Python nor ctypes can be run there, since the two have one stack, and the child is to
go on where the kernel was: hence the instructions below, for x86-64. Elsewhere a plain fork stands between.

Above: ``live_fork``; below: the C library, Python's own functions around a fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform
import struct
import warnings
from collections.abc import Callable

STACK_BYTES = 1 << 20
"""For the C library's fork, and what libraries have it call. Pages that are not touched cost nothing."""
WAIT_ALL = 0x40000000
"""__WALL of wait(2): the one between sends no signal at its end, and is not found without this."""
FAILED = 70
# int orphan(void *functions[4], void *stack, int *child): 0 in the child, the process between in the kernel.
# The four functions: fork, PyOS_BeforeFork, PyOS_AfterFork_Parent, PyOS_AfterFork_Child.
_X86_64 = bytes.fromhex(
    "53 55 4154 4155 4156 4157"  # push rbx, rbp, r12 to r15
    "4883ec08"  # sub rsp, 8              the stack is aligned from here on
    "4989fc 4989f5 4989d6"  # mov r12, rdi; mov r13, rsi; mov r14, rdx
    "41ff542408"  # call [r12+8]            before
    "4889e5"  # mov rbp, rsp            where the child is to go on
    "bf00410000"  # mov edi, 0x4100         CLONE_VM | CLONE_VFORK, no signal at its end
    "4c89ee 31d2 4531d2 4531c0"  # mov rsi, r13; xor edx, edx; xor r10d, r10d; xor r8d, r8d
    "b838000000 0f05"  # mov eax, 56; syscall    clone
    "85c0 7520"  # test eax, eax; jnz      to the kernel, +32
    "41ff1424"  # call [r12]              between: fork, on the other stack
    "85c0 740c"  # test eax, eax; jz       to the child, +12
    "418906"  # mov [r14], eax          its pid; -1
    "31ff b83c000000 0f05"  # xor edi, edi; mov eax, 60; syscall    exit
    "4889ec"  # child: mov rsp, rbp
    "41ff542418"  # call [r12+24]           after, in the child
    "31c0 eb09"  # xor eax, eax; jmp       out, +9
    "89c3"  # kernel: mov ebx, eax
    "41ff542410"  # call [r12+16]           after, in the parent
    "89d8"  # mov eax, ebx
    "4883c408"  # out: add rsp, 8
    "415f 415e 415d 415c 5d 5b c3"  # pop r15 to r12, rbp, rbx; ret
)
_LIBC = ctypes.CDLL(None, use_errno=True)
# The user may put something else in their places.
_fork, _waitpid, _exit, _pipe, _read, _write, _close = (
    os.fork, os.waitpid, os._exit, os.pipe, os.read, os.write, os.close,
)  # fmt: skip


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]  # a function pointer is one


class _Between:
    """The instructions in memory, and the stack that they need. Made once, in the template."""

    def __init__(self) -> None:
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._code = mmap.mmap(-1, mmap.PAGESIZE, flags=private)
        self._code.write(_X86_64)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._code))
        page = ctypes.c_void_p(start), ctypes.c_size_t(mmap.PAGESIZE)
        if _LIBC.mprotect(*page, mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "mprotect")
        self._stack = mmap.mmap(-1, STACK_BYTES, flags=private)
        self._top = ctypes.addressof(ctypes.c_char.from_buffer(self._stack)) + STACK_BYTES
        api = ctypes.pythonapi
        around = (_LIBC.fork, api.PyOS_BeforeFork, api.PyOS_AfterFork_Parent, api.PyOS_AfterFork_Child)
        self._functions = (ctypes.c_void_p * len(around))(*map(_address, around))
        self._child = ctypes.c_int()
        self._cpu = _told_cpu()
        # With Python's lock held throughout: between fork and PyOS_AfterFork_Child no byte code may be run.
        kind = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        self._call = kind(start)

    def fork(self) -> int:
        self._child.value = -1
        between = self._call(ctypes.addressof(self._functions), self._top, ctypes.addressof(self._child))
        if between == 0:
            if self._cpu is not None:
                self._cpu.value = -1
            return 0
        if between > 0:
            with contextlib.suppress(ChildProcessError):  # a thread of the user's waits for just everything
                _waitpid(between, WAIT_ALL)
        if self._child.value < 0:
            raise BlockingIOError(errno.EAGAIN, "there is no room for another process")
        return self._child.value


def _told_cpu() -> ctypes.c_int | None:
    """Where rseq(2), by which Linux tells the C library its processor, has it told this thread: the one that forks.

    It is not inherited through shared memory: sched_getcpu(3) would go on to read what it was, and asks Linux instead
    if nothing is there."""
    try:
        offset = ctypes.c_ssize_t.in_dll(_LIBC, "__rseq_offset").value
        size = ctypes.c_uint.in_dll(_LIBC, "__rseq_size").value
    except ValueError:
        return None  # a C library without it
    if not size:
        return None
    _LIBC.pthread_self.restype = ctypes.c_void_p
    return ctypes.c_int.from_address(_LIBC.pthread_self() + offset + 4)


def _fork_twice() -> int:
    """The same with a plain fork between."""
    with warnings.catch_warnings():
        # Since 3.12 Python warns of other threads. What they are is said better in the fork's own warnings.
        warnings.simplefilter("ignore", DeprecationWarning)
        return _through_another()


def _through_another() -> int:
    reading, writing = _pipe()
    between = _fork()
    if between == 0:
        try:
            pid = _fork()
            if pid == 0:
                _close(reading)
                _close(writing)
                return 0
            _write(writing, struct.pack("i", pid))
        except BaseException:  # noqa: BLE001  # a second kernel must not live on
            _exit(FAILED)
        _exit(0)
    _close(writing)
    told = _read(reading, struct.calcsize("i"))
    _close(reading)
    with contextlib.suppress(ChildProcessError):  # a thread of the user's waits for any child
        _waitpid(between, 0)
    if not told:
        raise BlockingIOError(errno.EAGAIN, "there is no room for another process")
    return int(struct.unpack("i", told)[0])


_way: Callable[[], int] = _fork_twice


def prepare() -> None:
    """In the template: map what every fork needs."""
    global _way  # noqa: PLW0603  # one for the process, as the template is
    if platform.machine() == "x86_64":
        _way = _Between().fork


def fork() -> int:
    """As os.fork, but the child is pid 1's: 0 in it, else its pid. Raises OSError: there is no room for it."""
    return _way()
