"""Text as a terminal leaves it."""

from __future__ import annotations

import pytest

from podflare_nb.transcripts.export.terminal_text import overwritten, plain


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("plain\ntext", "plain\ntext"),
        ("10%\r100%\n", "100%\n"),
        ("long line\rshort", "shortline"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("abc\b\bx", "ax"),
        ("\b\babc", "abc"),
        ("over\r", "over"),
    ],
)
def test_what_was_overwritten_is_gone(written, seen):
    assert overwritten(written) == seen


def test_colours_and_titles_are_dropped_from_plain_text():
    assert plain("\x1b]0;title\x07\x1b[1;31mred\x1b[0m \x1b[2Kx") == "red x"
