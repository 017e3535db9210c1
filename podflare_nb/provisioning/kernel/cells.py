# mypy: disable-error-code="no-untyped-call, union-attr, no-any-return"
# (ipykernel is typed in part: its methods are not, and what a kernel always has is Optional.)
"""How a forked kernel runs what its user wrote: cells, completions, comm callbacks; interruptible, never fatal.

An IPythonKernel without its connection, which ``ipykernel_seam`` adds. Overrides what ``ipykernel_seam.SEAMS`` names.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

from ipykernel.ipkernel import IPythonKernel
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, _asyncio_runner  # type: ignore[attr-defined]  # private
from traitlets import Any as AnyTrait
from traitlets import Type

from .interrupts import Interrupts
from .shell import KernelShell
from .streams import KernelStream, mend

COMM_MESSAGES = ("comm_open", "comm_msg", "comm_close")


class CellKernel(IPythonKernel):
    """Runs cells. ``interrupts`` is its SIGINT handler; ``shell_stream`` a ``shell_channel.ShellChannel``.

    ``streams``: the kernel's own stdout and stderr.
    """

    shell_class = Type(KernelShell)
    shell_stream = AnyTrait()

    def __init__(self, **kwargs: Any) -> None:
        self.interrupts = Interrupts()
        self.streams: list[KernelStream] = []
        super().__init__(**kwargs)
        self._execute_sleep = 0.0
        for kind in COMM_MESSAGES:
            self.shell_handlers[kind] = self._interruptible(self.shell_handlers[kind])

    def _interruptible(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        def handle(*args: Any) -> Any:
            try:
                with self.interrupts.arm():
                    return handler(*args)
            except KeyboardInterrupt:
                self.shell.showtraceback()

        return handle

    def _publish_execute_input(self, *args: Any) -> None:
        """A client that knows of a cell may interrupt it."""
        self.interrupts.announce()
        super()._publish_execute_input(*args)

    async def do_execute(  # noqa: PLR0913  # ipykernel's signature
        self,
        code: str,
        silent: bool,  # noqa: FBT001  # the same
        store_history: bool = True,  # noqa: FBT001, FBT002  # the same
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,  # noqa: FBT001, FBT002  # the same
        *,
        cell_meta: dict[str, Any] | None = None,
        cell_id: str | None = None,
    ) -> dict[str, Any]:
        """Run a cell; whatever it raises, the kernel lives."""
        self.shell.forget_traceback()
        options = {"store_history": store_history, "silent": silent, "cell_id": cell_id, "cell_meta": cell_meta}
        self.interrupts.cancelled = False
        self._forward_input(allow_stdin)
        try:
            with self.interrupts.arm():
                result = await self._run(code, options)
        except BaseException as error:  # noqa: BLE001  # SystemExit and KeyboardInterrupt are the cell's, not ours
            result = ExecutionResult(ExecutionInfo(code, shell_futures=True, **options))
            result.error_in_exec = error
            self.shell.showtraceback()
        finally:
            self._restore_input()
        if not self.session.in_kernel:
            os._exit(0 if result.success else 1)  # a child that the cell forked came back: it is no kernel
        self.mend_streams()
        return self._reply(result, user_expressions or {})

    def mend_streams(self) -> None:
        """See ``streams.mend``. Said on stderr."""
        with self.interrupts.arm():
            mended = mend(self.streams, self.shell.get_parent())
        for sentence in mended:
            sys.stderr.write(sentence)

    async def _run(self, code: str, options: dict[str, Any]) -> ExecutionResult:
        shell = self.shell
        # What is in ``failure`` is shown by run_cell_async, as the cell's error.
        transformed = code
        failure: Any = None if self.interrupts.begin() else (KeyboardInterrupt, KeyboardInterrupt(), None)
        try:
            transformed = shell.transform_cell(code)
        except Exception:  # noqa: BLE001  # as above
            failure = sys.exc_info()
        prepared = {"transformed_cell": transformed, "preprocessing_exc_tuple": failure}
        # To know for certain takes a compilation; most cells have neither word.
        awaits = ("await" in transformed or "async" in transformed) and shell.should_run_async(code, **prepared)
        cell = shell.run_cell_async(code, **options, **prepared)
        result = None
        try:
            if not awaits:
                result = await cell  # never suspends
            elif shell.loop_runner is _asyncio_runner:
                result = await self._run_task(cell)
            else:  # %autoawait curio or trio
                result = shell.loop_runner(cell)
        finally:
            shell.events.trigger("post_execute")
            if not options["silent"]:
                shell.events.trigger("post_run_cell", result)
        return result

    async def _run_task(self, cell: Any) -> ExecutionResult:
        self.interrupts.cell = asyncio.ensure_future(cell)
        try:
            return await self.interrupts.cell
        finally:
            self.interrupts.cell = None

    def _reply(self, result: ExecutionResult, user_expressions: dict[str, str]) -> dict[str, Any]:
        shell = self.shell
        error = result.error_before_exec if result.error_before_exec is not None else result.error_in_exec
        if isinstance(error, asyncio.CancelledError) and self.interrupts.cancelled:
            error = KeyboardInterrupt()
        reply: dict[str, Any] = {"status": "ok", "user_expressions": {}}
        if error is None and not shell.display_failed:
            reply["user_expressions"] = shell.user_expressions(user_expressions)
        else:
            # What is queued now is aborted; what a client sends when it has seen this reply is not.
            self.shell_stream.mark()
            reply.update(status="error", ename=type(error).__name__, evalue=str(error), traceback=shell.shown_traceback)
        reply["execution_count"] = shell.execution_count - 1
        reply["payload"] = shell.payload_manager.read_payload()
        shell.payload_manager.clear_payload()
        return reply

    async def do_complete(self, code: str, cursor_pos: int | None) -> dict[str, Any]:
        """Complete; none when interrupted (completing may run the user's code)."""
        try:
            with self.interrupts.arm():
                return super().do_complete(code, cursor_pos)
        except KeyboardInterrupt:
            position = len(code) if cursor_pos is None else cursor_pos
            return {"matches": [], "cursor_start": position, "cursor_end": position, "metadata": {}, "status": "ok"}

    async def do_inspect(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Inspect; nothing found when interrupted."""
        try:
            with self.interrupts.arm():
                return super().do_inspect(*args, **kwargs)
        except KeyboardInterrupt:
            return {"status": "ok", "data": {}, "metadata": {}, "found": False}

    async def do_history(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As ipykernel's; async because ipykernel warns of any other."""
        return super().do_history(*args, **kwargs)

    async def do_is_complete(self, code: str) -> dict[str, Any]:
        """As ipykernel's; async because ipykernel warns of any other."""
        return super().do_is_complete(code)

    async def do_shutdown(self, restart: bool) -> dict[str, Any]:  # noqa: FBT001  # ipykernel's signature
        """``shutdown_request`` stops the loop after its reply; ``attach`` then ends the process."""
        return {"status": "ok", "restart": restart}
