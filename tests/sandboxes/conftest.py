"""Sandboxes on real kernels, without a supervisor."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from podflare_nb.errors import ConflictError, QuotaExceededError
from podflare_nb.provisioning.kernelspec import TemplateSpec
from podflare_nb.sandboxes.branches import Branches
from podflare_nb.sandboxes.creation import CreateSpec
from podflare_nb.sandboxes.execution import ExecutionRequest, ExecutionResult
from podflare_nb.sandboxes.manager import SandboxManager
from podflare_nb.sandboxes.outputs import OutputLimits
from podflare_nb.sandboxes.settings import ExecutionSettings, SandboxSettings

from .standin import Changes, PlainKernels, Spares

SECONDS = 60
"""No test waits longer for anything."""
TENANT = "tenant"


@dataclass
class Observed:
    """An ``ExecutionObserver`` that remembers."""

    started: list[tuple] = field(default_factory=list)
    outputs: list[tuple] = field(default_factory=list)
    ended: list[tuple] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)

    def execution_started(self, cell_id, request, source):
        self.started.append((cell_id, request, source))
        self.changes.note()

    def execution_output(self, cell_id, output):
        self.outputs.append((cell_id, output))

    def execution_ended(self, cell_id, result):
        self.ended.append((cell_id, result))
        self.changes.note()


class Book:
    """An in-memory ``SandboxRecords``."""

    def __init__(self) -> None:
        self.records: dict[str, Any] = {}

    def add(self, record):
        self.records[record.id] = record

    def update(self, sandbox_id, **changes):
        self.records[sandbox_id] = replace(self.records[sandbox_id], **changes)

    def get(self, sandbox_id):
        return self.records.get(sandbox_id)

    def family(self, first, *, limit):
        return [r for r in self.records.values() if first in (r.id, r.family)][-limit:]

    def of_fork(self, parent_id, at):
        return [r.id for r in self.records.values() if (r.parent_id, r.forked_at) == (parent_id, at)]

    def page(self, tenant_id, *, limit, before=None, include_closed=False):
        del before
        mine = [r for r in self.records.values() if r.tenant_id == tenant_id]
        return [r for r in reversed(mine) if include_closed or r.ended_at is None][:limit]


@dataclass
class Notes:
    """The ``Notebooks`` of branches; ``busy``: sandboxes in which a turn runs."""

    merges: list[tuple] = field(default_factory=list)
    rewinds: list[tuple] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)

    def position(self, sandbox_id):
        return f"turn of {sandbox_id}", 3

    def check_no_turn(self, sandbox_id):
        if sandbox_id in self.busy:
            raise ConflictError("A turn is running in this sandbox.")

    def merge(self, parent_id, winner_id, losers):
        self.merges.append((parent_id, winner_id, losers))

    def rewind(self, sandbox_id, turn_id, branch_id):
        self.rewinds.append((sandbox_id, turn_id, branch_id))

    async def nodes(self, *sandbox_ids):
        return [{"cells": [], "metadata": {"of": sandbox_id}} for sandbox_id in sandbox_ids]


@dataclass
class Admitted:
    """What branches ask places of; ``most`` at once."""

    most: int = 100
    held: int = 0

    @contextmanager
    def __call__(self, tenant_id, memory_mib, count):
        del tenant_id, memory_mib
        if self.held + count > self.most:
            raise QuotaExceededError("Too many.")
        self.held += count
        try:
            yield
        finally:
            self.held -= count


@dataclass
class House:
    """A manager with all that a test looks at beside it."""

    manager: SandboxManager
    branches: Branches
    notes: Notes
    admitted: Admitted
    kernels: PlainKernels
    book: Book
    observed: dict[str, Observed]
    ended: list

    async def sandbox(self, **spec):
        return await self.manager.create(TENANT, CreateSpec(**spec))


def template(**changes) -> TemplateSpec:
    return TemplateSpec(name="plain", display_name="Plain", description="", **changes)


def settings(**changes) -> SandboxSettings:
    execution = ExecutionSettings(
        grace_seconds=changes.pop("grace_seconds", 20.0),
        max_queued=changes.pop("max_queued", 100),
        quiet_seconds=changes.pop("quiet_seconds", 1.0),
        output=changes.pop("output", OutputLimits()),
    )
    return SandboxSettings({"plain": template()}, "plain", execution=execution, **changes)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="session")
def spares() -> Iterator[Spares]:
    spares = Spares()
    yield spares
    spares.close()


@pytest_asyncio.fixture
async def make_house(spares) -> AsyncIterator:
    houses = []

    def make(settings: SandboxSettings, **more) -> House:
        kernels, book, observed, ended = PlainKernels(spares), Book(), {}, []

        def observer_for(sandbox):
            observed[sandbox.id] = Observed()
            return observed[sandbox.id]

        def on_end(sandbox):
            ended.append(sandbox)
            kernels.changes.note()

        manager = SandboxManager(kernels, book, observer_for, settings, on_end=on_end, **more)
        notes, admitted = Notes(), Admitted()
        branches = Branches(
            manager=manager, records=book, notebooks=notes, settings=settings, admit=admitted, clock=now
        )
        houses.append(House(manager, branches, notes, admitted, kernels, book, observed, ended))
        return houses[-1]

    yield make
    for house in houses:
        await house.manager.aclose()
        await house.branches.settle()
        await house.kernels.aclose()


@pytest_asyncio.fixture
async def house(make_house) -> House:
    return make_house(settings())


@pytest_asyncio.fixture
async def sandbox(house):
    return await house.sandbox()


@dataclass
class Ran:
    """An execution that is over."""

    outputs: list
    result: ExecutionResult
    execution: Any

    @property
    def text(self) -> str:
        return "".join(o["text"] for o in self.outputs if o["output_type"] == "stream")


async def run(sandbox, code: str, **request) -> Ran:
    async with asyncio.timeout(SECONDS):
        execution = await sandbox.execute(ExecutionRequest(code, **request))
        outputs = [output async for output in execution.outputs()]
        return Ran(outputs, await execution.result(), execution)


async def first_output(execution) -> dict:
    """The first output of an execution that goes on."""
    async with asyncio.timeout(SECONDS):
        stream = execution.outputs()
        output = await anext(stream)
        await stream.aclose()
        return output


@pytest.fixture
def workspace(sandbox, house) -> Path:
    del sandbox  # it has the first kernel
    return house.kernels.handles[0].plain.workspace


async def fork(house, sandbox, n=1, **more):
    async with asyncio.timeout(SECONDS):
        return await house.branches.fork(TENANT, sandbox.id, n, **more)


async def child_of(house, sandbox):
    return (await fork(house, sandbox)).children[0]


def places(house):
    return house.manager.places.taken(TENANT), house.admitted.held
