"""Branches of a sandbox: forked, compared, merged, rewound. A branch is a sandbox like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar

from podflare_nb.client._async.calls import AsyncCalls
from podflare_nb.client._async.files import AsyncFiles
from podflare_nb.client.differences import Diff
from podflare_nb.client.errors import InvalidArgumentError, PodflareError
from podflare_nb.client.family import Branch, Checkpoint
from podflare_nb.client.paths import url_segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class AsyncBranching:
    """The part of a sandbox that branches."""

    _calls: AsyncCalls
    files: AsyncFiles

    @classmethod
    def _of(cls, calls: AsyncCalls) -> Self:
        """Make the object of a sandbox that exists."""
        sandbox = cls.__new__(cls)
        sandbox._calls = calls  # noqa: SLF001 - of this very class: its constructor would make another sandbox
        sandbox.files = AsyncFiles(calls)
        return sandbox

    async def fork(self, n: int = 1, *, wait_seconds: float | None = None, strict: bool = False) -> AsyncFork[Self]:
        """Make ``n`` (1 to 32) branches with this sandbox's variables, files and notebook, apart from then on.

        Code that runs is waited for, ``wait_seconds`` at most (30 unless named), then ConflictError is raised. What
        cannot come along (threads, child processes, sockets, terminals) is named in the list's ``warnings``; with
        ``strict`` that is a ConflictError. Each branch is a sandbox to close; leaving ``async with`` closes all.
        """
        body = {"n": n, "wait_seconds": wait_seconds, "strict": strict or None}
        answer = await self._calls.call("POST", "/fork", body, wait_seconds=wait_seconds or 0.0, keyed=True)
        children = [self._of(self._calls.beside(str(child))) for child in answer["children"]]
        return AsyncFork(children, warnings=answer.get("warnings") or (), failures=answer.get("failures") or ())

    async def merge_into(self, winner: AsyncBranching | str) -> None:
        """Become what ``winner``, a branch of this family, is: its variables, its files, its cells.

        This sandbox keeps its id. ``winner`` is used up: every call of it but those for its notebook raises
        MergedError. Other branches live on.
        """
        await self._calls.call("POST", f"/merge_into/{url_segment(_id_of(winner))}")
        if not isinstance(winner, str):
            await winner._calls.merged(self._calls.id)  # noqa: SLF001 - an object of this very kind

    async def diff(self, other: AsyncBranching | str, paths: Sequence[str] | str | None = None) -> Diff:
        """Tell what ``other`` has and this one has not, and the other way round: files, variables and cells.

        ``paths``: only files in or below this directory or these; what is not absolute is below ``/workspace``.
        """
        body = {"other": _id_of(other)}
        diff = Diff.from_json(await self._calls.call("POST", "/diff", body, repeat="always"))
        return diff if paths is None else diff.only_below(paths)

    async def rewind(self, turn_id: str) -> Self:
        """Go back to the state after a turn: variables, files and notebook; ``checkpoints`` tells to which.

        Gives the branch that keeps the way not taken. Needs a sandbox that was made with ``checkpoints``.
        """
        answer = await self._calls.call("POST", "/rewind", {"turn_id": turn_id})
        return self._of(self._calls.beside(str(answer["branch"])))

    async def branches(self) -> list[Branch]:
        """List the whole family, this one and ended ones included."""
        answer = await self._calls.call("GET", "/branches")
        return [Branch.from_json(one) for one in answer["branches"]]

    async def checkpoints(self) -> list[Checkpoint]:
        """List the turns that ``rewind`` can go back to, oldest first."""
        answer = await self._calls.call("GET", "/branches")
        return [Checkpoint.from_json(one) for one in answer.get("checkpoints") or ()]

    async def close(self) -> None:
        """End it; defined by the class that was made."""


S = TypeVar("S", bound=AsyncBranching)


class AsyncFork(list[S], Generic[S]):
    """The branches of one fork, as a list; leaving ``async with`` closes them all.

    ``warnings``: a sentence for each thing that could not come along; ``failures``: a sentence for each branch that
    could not be made, and is not in the list.
    """

    def __init__(self, branches: Iterable[S], *, warnings: Iterable[str] = (), failures: Iterable[str] = ()) -> None:
        super().__init__(branches)
        self.warnings = tuple(str(one) for one in warnings)
        self.failures = tuple(str(one) for one in failures)

    async def close(self) -> None:
        """Close every branch that is left; the first error is raised when all have been tried."""
        failed: PodflareError | None = None
        for branch in self:
            try:
                await branch.close()
            except PodflareError as error:
                failed = failed or error
        if failed:
            raise failed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()


def _id_of(sandbox: AsyncBranching | str) -> str:
    if isinstance(sandbox, str):
        return sandbox
    if not isinstance(sandbox, AsyncBranching):
        raise InvalidArgumentError(
            "A branch is named by its AsyncSandbox, such as one of those that fork gives, or by its id; "
            f"not by a {type(sandbox).__name__}."
        )
    return sandbox._calls.id  # noqa: SLF001 - of this very module
