"""A classic BPF assembler for seccomp filters: nested blocks in, the bytes of ``struct sock_filter[]`` out.

A block is a list of instructions that ends in a verdict; a condition skips the block it guards when it does
not hold. So every jump goes forward over one block, and a filter is read from top to bottom like a list of
rules: the first that holds decides. No labels, no optimiser. ``seccomp`` above it says what the rules are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

Instruction = tuple[int, int, int, int]
"""``code, jt, jf, k`` as in ``struct sock_filter``."""
Block = list[Instruction]

_LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_JUMP_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_LONGEST_JUMP = 255
_MOST_INSTRUCTIONS = 4096

# struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; }; both machines are
# little-endian.
CALL_NUMBER = 0
ARCHITECTURE = 4


def argument(position: int) -> int:
    """Where the low half of an argument stands. The high half is ignored: so the kernel does with an int."""
    return 16 + 8 * position


def load(offset: int) -> Block:
    """Take a word of the call's data as the value that the conditions below look at."""
    return [(_LOAD_WORD, 0, 0, offset)]


def keep_bits(mask: int) -> Block:
    """Cut the value down to some of its bits."""
    return [(_AND, 0, 0, mask)]


def allow() -> Block:
    """Verdict: the call goes on to the kernel."""
    return [(_RETURN, 0, 0, _ALLOW)]


def refuse(errno: int) -> Block:
    """Verdict: the call fails with ``errno``, and the kernel does nothing."""
    return [(_RETURN, 0, 0, _ERRNO | errno)]


def if_equal(value: int, block: Block) -> Block:
    """Go through ``block`` when the value is this."""
    return [(_JUMP_EQUAL, 0, _length(block), value), *block]


def if_none_of(values: Iterable[int], block: Block) -> Block:
    """Go through ``block`` when the value is none of these."""
    wanted = list(values)
    # The jump of the first is the longest: over the other comparisons and the block.
    return [
        (_JUMP_EQUAL, _length(block, ahead=len(wanted) - 1 - place), 0, value) for place, value in enumerate(wanted)
    ] + block


def if_greater(value: int, block: Block) -> Block:
    """Go through ``block`` when the value, without sign, is greater than this."""
    return [(_JUMP_GREATER, 0, _length(block), value), *block]


def if_between(first: int, last: int, block: Block) -> Block:
    """Go through ``block`` when the value, without sign, is from ``first`` to ``last``, both included."""
    return if_greater(first - 1, [(_JUMP_GREATER, _length(block), 0, last), *block])


def if_any_bit(mask: int, block: Block) -> Block:
    """Go through ``block`` when any of these bits is set."""
    return [(_JUMP_ANY_BIT, 0, _length(block), mask), *block]


def assemble(program: Block) -> bytes:
    """Turn a program into what the kernel takes."""
    if len(program) > _MOST_INSTRUCTIONS or program[-1][0] != _RETURN:
        raise ValueError("a filter has up to 4096 instructions and ends in a verdict")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _length(block: Block, ahead: int = 0) -> int:
    length = len(block) + ahead
    if length > _LONGEST_JUMP:
        raise ValueError("a jump of classic BPF reaches over 255 instructions")
    return length
