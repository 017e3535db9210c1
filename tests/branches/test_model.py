"""Many random operations by several clients at once, checked against a model of what must hold."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from .conftest import Family

CLIENTS = 4
OPERATIONS = 125
MOST_BRANCHES = 5


@dataclass
class Branch:
    """What a branch must have: the model's side."""

    value: int
    lines: list[str]
    cells: int
    drawn: set[str] = field(default_factory=set)

    def copy(self) -> "Branch":
        return Branch(self.value, list(self.lines), self.cells)


class Client:
    """One client with one family; it does to the service what it does to its model, and compares."""

    def __init__(self, family: Family, number: int) -> None:
        self.family, self.random = family, random.Random(number)
        first = family.create()
        family.run(first, "import random\nx = 0\nopen('lines', 'w').close()")
        self.branches = {first: Branch(0, [], 1)}

    def work(self) -> None:
        for _ in range(OPERATIONS):
            kind = self.random.choices(
                [self.change, self.write, self.look, self.fork, self.merge, self.close, self.read],
                weights=[5, 5, 4, 3, 2, 1, 1],
            )[0]
            kind()
        for sandbox in list(self.branches):
            self._check(sandbox)
            self.family.close(sandbox)

    def _any(self) -> str:
        return self.random.choice(list(self.branches))

    def change(self) -> None:
        sandbox, step = self._any(), self.random.randrange(100)
        model = self.branches[sandbox]
        model.value += step
        model.cells += 1
        assert self.family.says(sandbox, f"x += {step}; print(x)") == str(model.value)

    def write(self) -> None:
        sandbox, line = self._any(), f"{self.random.randrange(10**6)}"
        model = self.branches[sandbox]
        model.lines.append(line)
        model.cells += 1
        self.family.says(sandbox, f"with open('lines', 'a') as f: print({line!r}, file=f)")

    def look(self) -> None:
        self._check(self._any())

    def _check(self, sandbox: str) -> None:
        model = self.branches[sandbox]
        model.cells += 1
        found = self.family.says(sandbox, "print(x, open('lines').read().split())")
        assert found == f"{model.value} {model.lines}"

    def fork(self) -> None:
        sandbox = self._any()
        n = self.random.randint(1, 3)
        if len(self.branches) + n > MOST_BRANCHES:
            return
        for child in self.family.fork(sandbox, n):
            self.branches[child] = self.branches[sandbox].copy()

    def merge(self) -> None:
        if len(self.branches) < 2:
            return
        parent, winner = self.random.sample(list(self.branches), 2)
        self.family.merge(parent, winner)
        won = self.branches.pop(winner)
        self.branches[parent].value, self.branches[parent].lines = won.value, won.lines

    def close(self) -> None:
        if len(self.branches) > 1:
            sandbox = self._any()
            del self.branches[sandbox]
            self.family.close(sandbox)

    def read(self) -> None:
        sandbox = self._any()
        lines = self.family.http.get(f"/v1/sandboxes/{sandbox}/files/lines").text.split()
        assert lines == self.branches[sandbox].lines
        self.family.notebook(sandbox)


def test_five_hundred_operations_of_four_clients_hold_to_the_model(branching):
    def client(number: int) -> None:
        with Family(branching) as family:
            Client(family, number).work()

    with ThreadPoolExecutor(CLIENTS) as threads:
        for done in [threads.submit(client, number) for number in range(CLIENTS)]:
            done.result()
