"""Which parts of a journal a notebook is made of: all of it, but for what rewinds have taken back.

The journal only grows. A record ``rewind`` says that everything after the end of a turn is another branch's by
now; what a notebook shows is folded from what stands before that end, and from the rewind on. Pure;
``folding`` and ``position`` stand above.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from .cells import Place
from .segments import Reader, Record, parse

_TURN_END = b'{"t":"turn-end",'
_REWIND = b'{"t":"rewind",'
_MERGES = (b'{"t":"merge",', b'{"t":"merged",', _REWIND)


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


def shown_apart(mine: Reader, its: Reader, parted: int) -> Iterator[bytes]:
    """Give the lines that the other journal shows from where it shows something else than mine.

    Up to ``parted`` the journals are the same, whatever is shown of them.
    They stand for themselves: no rewind is among them, since what it took back is left out already, and merges that
    were taken back in part end where that was.
    """
    [shown, others] = [way_taken(journal)[0] for journal in (mine, its)]
    while shown and others and shown[0] == others[0] and shown[0][1] <= parted:
        shown, others = shown[1:], others[1:]
    if shown and others and shown[0][0] == others[0][0] < parted:
        others[0] = (min(shown[0][1], others[0][1], parted), others[0][1])
    merging: list[Record] = []
    for part in others:
        for line, _, _ in its.lines(*part):
            record = parse(line) if line is not None and line.startswith(_MERGES) else None
            if line is None or record is None:
                yield from () if line is None else (line,)
            elif record["t"] == "merge":
                merging.append(record)
                yield line
            elif record["t"] == "merged":
                if merging:
                    merging.pop()
                    yield line
            else:
                yield from _interrupted(merging, record)
    yield from _interrupted(merging, {"sandbox_id": None})


def _interrupted(merging: list[Record], rewind: Record) -> Iterator[bytes]:
    """End the merges that were complete when a rewind took their end back: those of others than who was rewound."""
    while merging and rewind.get("sandbox_id") not in merging[-1]["of"]:
        yield json.dumps({**merging.pop(), "t": "merged"}, separators=(",", ":")).encode() + b"\n"


def _until(way: list[Place], target: int) -> list[Place]:
    return [(begin, min(end, target)) for begin, end in way if begin < target]
