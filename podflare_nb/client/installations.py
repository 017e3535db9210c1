"""How installing packages ended. No input or output happens here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from .errors import CodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .results import ExecResult


@dataclass(frozen=True, slots=True)
class ManagerResult:
    """How one package manager (``apt``, ``python``, ``npm``) ended."""

    status: str
    """ok, error, interrupted, timeout, died; skipped: one before it had failed."""
    exit_code: int | None = None
    """Its own; None if it was skipped."""
    cell_id: str | None = None
    """The cell of the notebook that installs these packages again."""
    message: str | None = None

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """As the service tells it."""
        return cls(str(told.get("status")), told.get("exit_code"), told.get("cell_id"), told.get("message"))


@dataclass(frozen=True, slots=True)
class InstallResult:
    """What came of it: what the package managers said, and how each of them ended, by name."""

    run: ExecResult
    managers: dict[str, ManagerResult] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all of them ended well."""
        return all(manager.status == "ok" for manager in self.managers.values())

    @property
    def stdout(self) -> str:
        """What they wrote, as ``ExecResult.stdout``."""
        return self.run.stdout

    @property
    def stderr(self) -> str:
        """What they complained of."""
        return self.run.stderr

    def raise_for_error(self) -> InstallResult:
        """Raise CodeError if one failed; else give the result itself."""
        failed = [name for name, manager in self.managers.items() if manager.status != "ok"]
        if not failed:
            return self
        why = self.run.message or self.stderr.strip() or self.stdout.strip()
        raise CodeError(f"{failed[0]} could not install everything: {why}", details={"managers": failed})

    def __repr__(self) -> str:
        told = ", ".join(f"{name}: {manager.status}" for name, manager in self.managers.items())
        return f"<InstallResult {told}>"
