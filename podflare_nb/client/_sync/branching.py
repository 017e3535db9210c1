# Generated from podflare_nb/client/_async by scripts/generate_sync_client.py: change it there.
# ruff: noqa: C416, RUF100, SIM117, UP028 - loops and ignores are as the asynchronous original needs them
"""Branches of a sandbox: forked, compared, merged, rewound. A branch is a sandbox like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar

from podflare_nb.client._sync.calls import Calls
from podflare_nb.client._sync.files import Files
from podflare_nb.client.differences import Diff
from podflare_nb.client.errors import InvalidArgumentError, PodflareError
from podflare_nb.client.family import Branch, Checkpoint
from podflare_nb.client.paths import url_segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Branching:
    """The part of a sandbox that branches."""

    _calls: Calls
    files: Files

    @classmethod
    def _of(cls, calls: Calls) -> Self:
        """Make the object of a sandbox that exists."""
        sandbox = cls.__new__(cls)
        sandbox._calls = calls  # noqa: SLF001 - of this very class: its constructor would make another sandbox
        sandbox.files = Files(calls)
        return sandbox

    def fork(self, n: int = 1, *, wait_seconds: float | None = None, strict: bool = False) -> Fork[Self]:
        """Make ``n`` (1 to 32) branches with this sandbox's variables, files and notebook, apart from then on.

        Code that runs is waited for, ``wait_seconds`` at most (30 unless named), then ConflictError is raised. What
        cannot come along (threads, child processes, sockets, terminals) is named in the list's ``warnings``; with
        ``strict`` that is a ConflictError. Each branch is a sandbox to close; leaving ``with`` closes all.
        """
        body = {"n": n, "wait_seconds": wait_seconds, "strict": strict or None}
        answer = self._calls.call("POST", "/fork", body, wait_seconds=wait_seconds or 0.0, keyed=True)
        children = [self._of(self._calls.beside(str(child))) for child in answer["children"]]
        return Fork(children, warnings=answer.get("warnings") or (), failures=answer.get("failures") or ())

    def merge_into(self, winner: Branching | str) -> None:
        """Become what ``winner``, a branch of this family, is: its variables, its files, its cells.

        This sandbox keeps its id. ``winner`` is used up: every call of it but those for its notebook raises
        MergedError. Other branches live on.
        """
        self._calls.call("POST", f"/merge_into/{url_segment(_id_of(winner))}")
        if not isinstance(winner, str):
            winner._calls.merged(self._calls.id)  # noqa: SLF001 - an object of this very kind

    def diff(self, other: Branching | str, paths: Sequence[str] | str | None = None) -> Diff:
        """Tell what ``other`` has and this one has not, and the other way round: files, variables and cells.

        ``paths``: only files in or below this directory or these; what is not absolute is below ``/workspace``.
        """
        body = {"other": _id_of(other)}
        diff = Diff.from_json(self._calls.call("POST", "/diff", body, repeat="always"))
        return diff if paths is None else diff.only_below(paths)

    def rewind(self, turn_id: str) -> Self:
        """Go back to the state after a turn: variables, files and notebook; ``checkpoints`` tells to which.

        Gives the branch that keeps the way not taken. Needs a sandbox that was made with ``checkpoints``.
        """
        answer = self._calls.call("POST", "/rewind", {"turn_id": turn_id})
        return self._of(self._calls.beside(str(answer["branch"])))

    def branches(self) -> list[Branch]:
        """List the whole family, this one and ended ones included."""
        answer = self._calls.call("GET", "/branches")
        return [Branch.from_json(one) for one in answer["branches"]]

    def checkpoints(self) -> list[Checkpoint]:
        """List the turns that ``rewind`` can go back to, oldest first."""
        answer = self._calls.call("GET", "/branches")
        return [Checkpoint.from_json(one) for one in answer.get("checkpoints") or ()]

    def close(self) -> None:
        """End it; defined by the class that was made."""


S = TypeVar("S", bound=Branching)


class Fork(list[S], Generic[S]):
    """The branches of one fork, as a list; leaving ``with`` closes them all.

    ``warnings``: a sentence for each thing that could not come along; ``failures``: a sentence for each branch that
    could not be made, and is not in the list.
    """

    def __init__(self, branches: Iterable[S], *, warnings: Iterable[str] = (), failures: Iterable[str] = ()) -> None:
        super().__init__(branches)
        self.warnings = tuple(str(one) for one in warnings)
        self.failures = tuple(str(one) for one in failures)

    def close(self) -> None:
        """Close every branch that is left; the first error is raised when all have been tried."""
        failed: PodflareError | None = None
        for branch in self:
            try:
                branch.close()
            except PodflareError as error:
                failed = failed or error
        if failed:
            raise failed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _id_of(sandbox: Branching | str) -> str:
    if isinstance(sandbox, str):
        return sandbox
    if not isinstance(sandbox, Branching):
        raise InvalidArgumentError(
            "A branch is named by its Sandbox, such as one of those that fork gives, or by its id; "
            f"not by a {type(sandbox).__name__}."
        )
    return sandbox._calls.id  # noqa: SLF001 - of this very module
