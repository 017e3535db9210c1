import pytest

from podflare_nb.cli.terminal_filter import TerminalFilter

KEPT = [
    b"plain \xe2\x80\x9dquoted\xe2\x80\x9c \xc3\x9d\xc2\xa9\r\n",
    b"\x1b[31mred\x1b[0m\x1b[2J\x1b[5;5H\x1b[?1049h\x1b(B\x1b7\x1b8\x1bM\x1b=",
    b"\x07bell",
    b"\x9d\x90 not UTF-8",
]
DROPPED = [
    b"\x1b]0;owned\x07",
    b"\x1b]52;c;b3duZWQ=\x1b\\",
    b"\x1b]8;;https://elsewhere.invalid\x1b\\",
    b"\x1bP+q544e\x1b\\",
    b"\x1b_Gowned\x1b\\\x1b^owned\x1b\\\x1bXowned\x1b\\",
    b"\xc2\x9d0;owned\xc2\x9c",
    b"\x1b]0;owned\x18",
]


@pytest.mark.parametrize("text", KEPT)
def test_what_is_drawn_comes_through(text):
    assert TerminalFilter().feed(text) == text


@pytest.mark.parametrize("sequence", DROPPED)
def test_control_strings_are_left_out_however_they_are_cut(sequence):
    whole = b"before" + sequence + b"after"
    assert TerminalFilter().feed(whole) == b"beforeafter"
    for cut in range(1, len(whole)):
        pieces = TerminalFilter()
        assert pieces.feed(whole[:cut]) + pieces.feed(whole[cut:]) == b"beforeafter"
    one_by_one = TerminalFilter()
    assert b"".join(one_by_one.feed(whole[at : at + 1]) for at in range(len(whole))) == b"beforeafter"


def test_one_that_never_ends_holds_no_memory_and_ends_with_the_next_sequence():
    endless = TerminalFilter()
    assert endless.feed(b"\x1b]0;") == b""
    assert [endless.feed(b"x" * 100_000) for _ in range(10)] == [b""] * 10
    assert endless.feed(b"\x1b[31mred") == b"\x1b[31mred"


def test_an_escape_at_the_end_of_a_piece_comes_with_the_next():
    pieces = TerminalFilter()
    assert pieces.feed(b"a\x1b") == b"a"
    assert pieces.feed(b"[1m") == b"\x1b[1m"
