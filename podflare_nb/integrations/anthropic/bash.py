"""Anthropic's client tool ``bash_20250124``: a shell that keeps its directory, variables, functions and options.

Bash in a sandbox is a fresh process each time. The session is a file in the sandbox: a command's shell reads it
before and writes it after, by a trap on its exit. So the session is part of the sandbox's state: it goes along
with forks, comes back with a rewind, and outlives a kernel. There is no terminal; a command that is stopped at its
time limit leaves the session as it was then, and what it ran in the foreground is ended. What does not last from
command to command: the shell's traps, its list of jobs, and redirections made by ``exec``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from ..arguments import read_arguments, usage
from ..code_tool import CodeCall, ToolOutcome
from ..steps import Steps
from .running import Run, run_steps

if TYPE_CHECKING:
    from anthropic.types import ToolBash20250124Param

NAME: Final = "bash"
INPUT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"command": {"type": "string"}, "restart": {"type": "boolean"}},
    "required": [],
}

_SETUP = r"""mkdir -p ~/.podflare_nb
cat > ~/.podflare_nb/shell <<'EOF'
# Keeps a shell's state from one command to the next: read at its beginning, written when it exits.
trap '{
  __status=$? __file=~/.podflare_nb/state
  set +o > $__file.options
  set +eux
  {
    declare -p | command -p grep -vE "^declare -[^ ]+ (_|__[a-z]+|BASH.*|EPOCH.*|[A-Z]?RANDOM|SECONDS|PIPESTATUS)="
    declare -f
    declare -xF
    shopt -p
    alias -p
    printf "umask %s\ncd %q\n" "$(umask)" "$PWD"
    printf "%s\n" "$(< $__file.options)"
  } > $__file.new
  command -p mv $__file.new $__file
} 2> /dev/null; exit $__status' EXIT
[ ! -f ~/.podflare_nb/state ] || . ~/.podflare_nb/state 2> /dev/null
EOF
"""
_PROLOGUE = ". ~/.podflare_nb/shell || exit\n"
_RESTART = "rm -f ~/.podflare_nb/state\n"
_GONE = ".podflare_nb/shell: No such file"

_prepared: WeakSet[Any] = WeakSet()
"""Sandboxes into which the file was written by this process, so that it is not part of every cell."""


def bash_tool() -> ToolBash20250124Param:
    """Give the specification for ``tools=[...]``."""
    return {"type": "bash_20250124", "name": NAME}


def bash_steps(arguments: object, sandbox: object, run: Run) -> Steps[ToolOutcome]:
    """Run a command in the session, or start the session anew."""
    given = read_arguments(arguments, INPUT_SCHEMA)
    if isinstance(given, str):
        return ToolOutcome(given, is_error=True)
    command, restart = given.get("command", ""), given.get("restart", False)
    if not restart and not command.strip():
        return ToolOutcome(f"The command is missing. {usage(INPUT_SCHEMA)}", is_error=True)
    prepare = _SETUP if restart or sandbox not in _prepared else ""
    code = prepare + (_RESTART if restart else "") + (_PROLOGUE + command if command.strip() else "")
    outcome: ToolOutcome = yield from run_steps(CodeCall(code, "bash"), run)
    if _GONE in outcome.text and outcome.is_error:
        _prepared.discard(sandbox)
        return _with(outcome, 'The shell\'s own file is gone, so nothing ran: call the tool with {"restart": true}.')
    if "time limit" in outcome.text and outcome.is_error:
        return _with(outcome, "Start long work in the background with its output in a file, and look at it later.")
    _prepared.add(sandbox)
    if restart and not command.strip() and not outcome.is_error:
        return ToolOutcome("The shell was started anew. Files are as they were.")
    return outcome


def _with(outcome: ToolOutcome, advice: str) -> ToolOutcome:
    return replace(outcome, text=f"{outcome.text}\n{advice}")
