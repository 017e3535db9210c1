"""Any mix of runs, turns, forks, merges and rewinds, checked against a model; live, and after a kill -9."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from podflare_nb.transcripts import Transcript, TranscriptStore, segments


class Text(str):
    """The source of a cell; the same one is the same cell."""

    __slots__ = ()


@dataclass
class Branch:
    """A transcript, and what its notebook must say: its sources, and after how many each turn ended."""

    transcript: Transcript
    parent: Branch | None = None
    common: int = 0
    cells: list[str] = field(default_factory=list)
    turns: dict[str, int] = field(default_factory=dict)


class World:
    """A family under random operations."""

    def __init__(self, family, parsed, seed):
        self.family, self.parsed = family, parsed
        self.chance = random.Random(seed)
        self.branches = [Branch(family.parent)]
        self.step = 0

    async def do_something(self):
        self.step += 1
        branch = self.chance.choice(self.branches)
        what = self.chance.choice(
            [self.run, self.run, self.turn, self.turn, self.fork, self.merge, self.rewind, self.read, self.rest]
        )
        await what(branch)
        assert branch.transcript.position()[1] == len(branch.cells)

    async def run(self, branch):
        text = "x" * self.chance.choice([1, 2000])
        output = {"output_type": "stream", "name": "stdout", "text": text}
        self.family.says(branch.transcript).run(f"run {self.step}", output)
        branch.cells.append(Text(f"run {self.step}"))

    async def turn(self, branch):
        turn_id = f"turn {self.step}"
        branch.transcript.begin_turn(turn_id, turn_id)
        branch.cells.append(Text(turn_id))
        await self.run(branch)
        branch.transcript.end_turn(turn_id, "ok")
        branch.turns[turn_id] = len(branch.cells)

    async def fork(self, branch):
        if len(self.branches) > 5:
            return
        child = self.family.fork(branch.transcript, f"sbx_{self.step}")
        cells, turns = branch.cells.copy(), branch.turns.copy()
        self.branches.append(Branch(child, branch, len(cells), cells, turns))

    async def merge(self, branch):
        children = [child for child in self.branches if child.parent is branch]
        if not children:
            return
        winner = self.chance.choice(children)
        branch.transcript.merge(winner.transcript, losers=[])
        shared = 0  # less than when they parted, if one of them was rewound since; what came by a merge is another's
        for mine, its in zip(branch.cells, winner.cells, strict=False):
            if mine is not its:
                break
            shared += 1
        shift = len(branch.cells) - shared
        for name, at in winner.turns.items():
            if at > shared:
                branch.turns.pop(name, None)
                branch.turns[name] = at + shift
        branch.cells += [Text(cell) for cell in winner.cells[shared:]]
        winner.transcript.end("merged")
        self.branches = [each for each in self.branches if each is not winner]
        for orphan in self.branches:
            orphan.parent = None if orphan.parent is winner else orphan.parent

    async def rewind(self, branch):
        turns = list(branch.turns)
        if not turns:
            return
        turn_id = self.chance.choice(turns)
        branch.transcript.rewind(turn_id, branch="sbx_kept")
        at = branch.turns[turn_id]
        del branch.cells[at:]
        branch.turns = {name: end for name, end in branch.turns.items() if end <= at}

    async def read(self, branch):
        assert sources(self.parsed(await branch.transcript.ipynb())) == branch.cells

    async def rest(self, branch):
        branch.transcript._projection.forget()
        branch.transcript.journal.release()


def sources(notebook):
    return [cell["source"] for cell in notebook["cells"]]


@pytest.mark.parametrize("seed", range(12))
async def test_any_mix_of_operations_is_what_a_model_says_and_the_same_after_a_kill(family, parsed, seed, monkeypatch):
    monkeypatch.setattr(segments, "SMALL", 700)
    monkeypatch.setattr("podflare_nb.transcripts.journal.SMALL", 700)
    world = World(family, parsed, seed)
    for _ in range(60):
        await world.do_something()
    live = [await branch.transcript.notebook() for branch in world.branches]
    assert [sources(notebook) for notebook in live] == [branch.cells for branch in world.branches]
    for branch, notebook in zip(world.branches, live, strict=True):
        assert parsed(await branch.transcript.ipynb()) == notebook
        branch.transcript.abandon()
    async with TranscriptStore(family.store.root) as later:
        for branch, notebook in zip(world.branches, live, strict=True):
            assert await later.open(branch.transcript.header.sandbox_id).notebook() == notebook
