# Generated from podflare_nb/client/_async by scripts/generate_sync_client.py: change it there.
# ruff: noqa: C416, RUF100, SIM117, UP028 - loops and ignores are as the asynchronous original needs them
"""Installing packages in a sandbox."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from podflare_nb.client._sync.execution import Execution
from podflare_nb.client.installations import InstallResult, ManagerResult
from podflare_nb.client.results import ResultCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Packages(Execution):
    """The part of a sandbox that installs packages: into this sandbox alone, and its forks."""

    def install_packages(
        self,
        *python: str,
        apt: Sequence[str] = (),
        npm: Sequence[str] = (),
        timeout_seconds: float | None = None,
        on_stdout: Callable[[str], object] | None = None,
        on_stderr: Callable[[str], object] | None = None,
    ) -> InstallResult:
        """Install Python packages (``"polars>=1.0"``), Debian's and npm's, and give how that ended.

        A package that cannot be had is a result with ``ok`` False, not an error. Each package manager's part is a cell
        of the notebook. The callbacks are called with each line that they print; ``timeout_seconds`` is for each.
        """
        collector = ResultCollector(on_stdout, on_stderr)
        body = {"python": list(python), "apt": list(apt), "npm": list(npm), "timeout_seconds": timeout_seconds}
        result: InstallResult | None = None
        with closing(self._events_to_exit("/packages", body)) as events:
            for event in events:
                if (run := collector.add(event)) is not None:
                    told = event.fields.get("managers") or {}
                    ends = {name: ManagerResult.from_json(manager) for name, manager in told.items()}
                    result = InstallResult(run, ends)
        if result is None:
            # _events_to_exit gives an exit or raises.
            raise AssertionError("the stream ended well without an exit")
        return result
