import struct

import pytest

from podflare_nb.provisioning.jail import bpf


def test_an_instruction_is_eight_bytes_of_code_jumps_and_value():
    assert bpf.assemble(bpf.refuse(38)) == struct.pack("=HBBI", 0x06, 0, 0, 0x00050000 | 38)


def test_a_condition_skips_the_block_that_it_guards():
    block = bpf.if_equal(7, bpf.refuse(1) + bpf.allow())
    assert block[0] == (0x15, 0, 2, 7)


def test_none_of_jumps_over_the_other_comparisons_and_the_block():
    block = bpf.if_none_of([1, 2, 3], bpf.refuse(1))
    assert [jump for _, jump, _, _ in block[:3]] == [3, 2, 1]


def test_a_program_that_does_not_end_in_a_verdict_is_refused():
    with pytest.raises(ValueError, match="ends in a verdict"):
        bpf.assemble(bpf.load(bpf.CALL_NUMBER))


def test_a_block_too_long_to_jump_over_is_refused():
    with pytest.raises(ValueError, match="255"):
        bpf.if_equal(1, bpf.allow() * 256)
