"""Which parts of a journal a notebook is made of: all of it, but for what rewinds have taken back.

The journal only grows. A record ``rewind`` says that everything after the end of a turn is another branch's by
now; what a notebook shows is folded from what stands before that end, and from the rewind on. Pure;
``folding`` and ``position`` stand above.
"""

from __future__ import annotations

from collections.abc import Iterator

from .cells import Place
from .segments import Reader, parse

_TURN_END = b'{"t":"turn-end",'
_REWIND = b'{"t":"rewind",'


def way_taken(journal: Reader) -> tuple[list[Place], dict[str, int]]:
    """Give the parts that count, in order, and where each turn among them ended."""
    way: list[Place] = []
    begin, position = 0, 0
    ends: dict[str, int] = {}
    for line, at, after in journal.lines(0):
        position = after
        if line is None or not line.startswith((_TURN_END, _REWIND)) or (record := parse(line)) is None:
            continue
        turn_id = record.get("turn_id")
        if not isinstance(turn_id, str):
            continue
        if record["t"] == "turn-end":
            ends[turn_id] = after
        elif (target := ends.get(turn_id)) is not None:
            way = _until([*way, (begin, at)], target)
            ends = {name: end for name, end in ends.items() if end <= target}
            begin = at
    return [*way, (begin, position)], ends


def taken_back(mine: Reader, its: Reader, parted: int) -> Iterator[bytes]:
    """Give the lines before ``parted``, up to where two journals are the same, that only the other still shows.

    Rewinds are no part of it: what they took back is left out already.
    """
    [shown, others] = [_until(way_taken(journal)[0], parted) for journal in (mine, its)]
    while shown and others and shown[0] == others[0]:
        shown, others = shown[1:], others[1:]
    if shown and others and shown[0][0] == others[0][0]:
        others[0] = (min(shown[0][1], others[0][1]), others[0][1])
    for part in others:
        for line, _, _ in its.lines(*part):
            if line is not None and not line.startswith(_REWIND):
                yield line


def _until(way: list[Place], target: int) -> list[Place]:
    return [(begin, min(end, target)) for begin, end in way if begin < target]
