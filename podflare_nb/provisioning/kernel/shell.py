# mypy: disable-error-code="no-untyped-call, arg-type"
# (IPython is typed in part.)
"""The InteractiveShell of a forked kernel: exit never ends it, commands run as plain subprocesses.

The methods that it overrides are IPython's extension points and a few private ones, named in ``ipykernel_seam.SEAMS``.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.autocall import ZMQExitAutocall
from IPython.core.inputtransformer2 import TransformerManager, leading_indent
from traitlets import default

from . import processes
from .interrupts import cut
from .streams import KernelStream

MAX_TRACEBACK_CHARACTERS = 1 << 20
SHELL_MAGICS = ("bash", "sh")


class ExitCell(ZMQExitAutocall):
    """``exit`` and ``quit``: end the cell, as ``sys.exit`` does, not the kernel."""

    def __call__(self, code: Any = None) -> None:
        """Raise SystemExit with the code."""
        raise SystemExit if code is None else SystemExit(code)


class KernelShell(ZMQInteractiveShell):
    """See the module."""

    @default("input_transformer_manager")
    def _default_input_transformer_manager(self) -> TransformerManager:
        manager = TransformerManager()
        transforms = manager.cleanup_transforms
        manager.cleanup_transforms = [_common_indent if each is leading_indent else each for each in transforms]
        return manager

    @default("exiter")
    def _default_exiter(self) -> ExitCell:
        return ExitCell(self)

    def init_environment(self) -> None:
        """As ipykernel's, but colours are not forced: agents and bash read the output as text."""
        os.environ.setdefault("TERM", "xterm-color")
        os.environ.update(CLICOLOR="1", PAGER="cat", GIT_PAGER="cat")

    @contextmanager
    def _tee(self, channel: str) -> Iterator[None]:  # noqa: ARG002  # IPython's signature
        # IPython keeps all text that was ever printed, for %notebook: memory without bound, and a slower write.
        yield

    @property
    def db(self) -> Any:
        """The store of ``%store`` and ``%bookmark``, in the user's home, made when it is first used."""
        if self._db is None:
            from IPython.external.pickleshare import PickleShareDB  # noqa: PLC0415  # rarely used

            self._db = PickleShareDB(Path("~/.ipython/profile_default/db").expanduser())
        return self._db

    @db.setter
    def db(self, value: Any) -> None:
        self._db = value

    def init_magics(self) -> None:
        """Replace the shell magics by quicker ones."""
        super().init_magics()
        for name in SHELL_MAGICS:
            self.register_magic_function(self._shell_magic(name, self.find_cell_magic(name)), "cell", name)

    def _shell_magic(self, name: str, of_ipython: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
        def run_script(line: str, cell: str) -> Any:
            __tracebackhide__ = True
            if line.strip():  # --out, --bg and the like
                return of_ipython(line, cell)
            code = processes.run_script(name, cell, captured=self.output_is_captured)
            if code:
                raise CalledProcessError(code, name)
            return None

        run_script.__doc__ = of_ipython.__doc__
        return run_script

    @property
    def output_is_captured(self) -> bool:
        """The user has not put other objects in place of the kernel's streams."""
        return isinstance(sys.stdout, KernelStream) and isinstance(sys.stderr, KernelStream)

    def system_piped(self, cmd: str) -> None:
        """Run ``!cmd``; its return code goes to ``_exit_code``."""
        __tracebackhide__ = True
        shell = shutil.which("bash") or "/bin/sh"
        # depth 1: names are those of the frame that called system
        code = processes.run_script(shell, self.var_expand(cmd, depth=1), captured=self.output_is_captured)
        self.user_ns["_exit_code"] = code
        if getattr(self, "system_raise_on_error", False) and code:
            raise CalledProcessError(code, cmd)

    system = system_piped

    def forget_traceback(self) -> None:
        """A new cell begins."""
        self._last_traceback = None
        self._last_traceback_during_displayhook = False

    @property
    def shown_traceback(self) -> list[str]:
        """The lines that the cell's exception was shown with."""
        return self._last_traceback or []

    @property
    def display_failed(self) -> bool:
        """The cell's value could not be shown, which fails the cell."""
        return bool(self._last_traceback_during_displayhook)

    def showtraceback(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        """Show the exception of a cell; the cancellation of one that awaited shows as the interrupt it was."""
        if (
            exc_tuple is None
            and isinstance(sys.exc_info()[1], asyncio.CancelledError)
            and self.kernel.interrupts.cancelled
        ):
            exc_tuple = (KeyboardInterrupt, KeyboardInterrupt(), sys.exc_info()[2])
        self.kernel.mend_streams()
        cut((exc_tuple or sys.exc_info())[1], self.user_ns)
        super().showtraceback(exc_tuple, *args, **kwargs)

    def _showtraceback(self, etype: Any, evalue: Any, stb: list[str]) -> None:
        text = str(evalue)
        if len(text) + sum(map(len, stb)) > MAX_TRACEBACK_CHARACTERS:
            stb = [_shortened(line) for line in stb]
            evalue = _shortened(text)
        super()._showtraceback(etype, evalue, stb)


def _common_indent(lines: list[str]) -> list[str]:
    """IPython's ``leading_indent``, which also empties every line of blanks, where nothing is indented in common: those
    are lines of strings and of scripts, such as a file that a heredoc holds."""
    dedented: list[str] = leading_indent(lines)
    same = all(one == other for one, other in zip(lines, dedented, strict=False) if not one.isspace())
    return lines if same else dedented


def _shortened(text: str) -> str:
    if len(text) <= MAX_TRACEBACK_CHARACTERS // 16:
        return text
    return f"{text[: MAX_TRACEBACK_CHARACTERS // 16]} ... ({len(text)} characters in all)"
