"""Keeps an observer's failure from becoming the execution's: it is logged, the code runs on."""

import logging

from .execution import ExecutionObserver, ExecutionRequest, ExecutionResult, Output

log = logging.getLogger(__name__)


class GuardedObserver:
    """The same observer, which cannot raise. A cell that a full disk kept out of the transcript still runs."""

    def __init__(self, observer: ExecutionObserver) -> None:
        self._observer = observer

    def __repr__(self) -> str:
        return f"<GuardedObserver of {self._observer!r}>"

    def execution_started(self, cell_id: str, request: ExecutionRequest, source: str) -> None:
        """Tell of a start."""
        try:
            self._observer.execution_started(cell_id, request, source)
        except Exception:
            log.exception("The start of cell %s could not be recorded.", cell_id)

    def execution_output(self, cell_id: str, output: Output) -> None:
        """Tell of an output."""
        try:
            self._observer.execution_output(cell_id, output)
        except Exception:
            log.exception("An output of cell %s could not be recorded.", cell_id)

    def execution_ended(self, cell_id: str, result: ExecutionResult) -> None:
        """Tell of the end."""
        try:
            self._observer.execution_ended(cell_id, result)
        except Exception:
            log.exception("The end of cell %s could not be recorded.", cell_id)
