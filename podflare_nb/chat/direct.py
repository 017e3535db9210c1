"""The built-in agent: no model, it runs the code that a message holds.

It makes the whole service work offline. The user's cell holds the message, each block becomes a code cell; the
agent itself speaks only when it has something to say: that it stopped at an error, or that it found no code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..protocol.observation import joined
from .blocks import Block, bound_names, parse_message
from .turn import Ending
from .writer import TurnWriter, fenced

NAME = "direct"

_HOW_TO_RUN = (
    "I am the direct agent: I run code, I do not understand prose. Send Python as it is, `!command` for a line of "
    "shell, or fenced ```` ```python ```` and ```` ```bash ```` blocks inside a text."
)
_HOW_TO_CONFIGURE = (
    "To talk with a language model, set `ANTHROPIC_API_KEY` or `OPENAI_API_KEY` (or, for a server of your own that "
    "speaks OpenAI's protocol, `OPENAI_BASE_URL` and `PODFLARE_NB_MODEL=openai:<its model>`) in the environment of "
    "the service, and start it again."
)


@dataclass(frozen=True, slots=True)
class DirectAgent:
    """Runs one message. ``other_models`` are those that the user could choose instead."""

    message: str
    other_models: tuple[str, ...]
    known_names: frozenset[str]
    new_call_id: Callable[[], str]

    def shown_message(self) -> str:
        """The user's cell: the message, and code as code when it is nothing else."""
        parsed = parse_message(self.message, self.known_names)
        if not parsed.whole:
            return self.message
        language = parsed.blocks[0].language
        return fenced(parsed.blocks[0].code, language)

    async def run(self, writer: TurnWriter) -> Ending:
        """Run the blocks in order; the first that does not end well stops the rest."""
        blocks = parse_message(self.message, self.known_names).blocks
        if not blocks:
            writer.say(self._help())
            return Ending("ok")
        for done, block in enumerate(blocks, start=1):
            stopped = await self._run_block(writer, block)
            if stopped is not None:
                left = len(blocks) - done
                rest = f" The {left} block{'s' if left > 1 else ''} after it did not run." if left else ""
                return Ending("error", stopped + rest)
        return Ending("ok")

    async def _run_block(self, writer: TurnWriter, block: Block) -> str | None:
        """Run one; None when it went well, otherwise a sentence that says what stopped it."""
        call_id = self.new_call_id()
        decision = await writer.approval(block.code, block.language, call_id)
        if decision is not None and not decision.approved:
            return "Stopped: the code was not approved."
        observed = await writer.run(block.code, block.language, call_id, decision)
        if observed.status == "ok":
            return None
        stopped = {
            "error": "Stopped: the code ended with an error.",
            "interrupted": "Stopped: the code was interrupted.",
            "timeout": "Stopped: the code reached its time limit.",
            "died": "Stopped: the kernel died while the code ran.",
        }[observed.status]
        return f"{stopped} {observed.message}" if observed.message else stopped

    def _help(self) -> str:
        if not self.other_models:
            return f"{_HOW_TO_RUN}\n\n{_HOW_TO_CONFIGURE}"
        names = ", ".join(f"`{name}`" for name in self.other_models)
        return f"{_HOW_TO_RUN}\n\nTo talk with a language model, choose one for the message: {names}."


def names_of_notebook(notebook: dict[str, Any]) -> frozenset[str]:
    """The names that the code cells of a notebook bind."""
    names: set[str] = set()
    for cell in notebook.get("cells", []):
        if cell.get("cell_type") == "code":
            names |= bound_names(joined(cell.get("source")))
    return frozenset(names)
