"""The notebook of a sandbox: read, saved in any of the forms that the service exports, and added to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from podflare_nb.client.beside_loop import in_thread
from podflare_nb.client.errors import InvalidArgumentError

if TYPE_CHECKING:
    import os

    from podflare_nb.client._async.calls import AsyncCalls

_EXPORTS = frozenset({".ipynb", ".html", ".md", ".py"})


class AsyncTranscript:
    """The part of a sandbox that gives its notebook, and writes into it what an agent elsewhere said."""

    _calls: AsyncCalls

    async def record(
        self,
        message: str,
        *,
        role: Literal["assistant", "user"] = "assistant",
        turn_id: str | None = None,
        operator: str | None = None,
        model: str | None = None,
    ) -> str:
        """Write a message into the notebook as a markdown cell, with its provenance; give the cell's id.

        For agents that run elsewhere: ``run_code`` records what they ran, this what they said or were told.
        ``operator`` is which agent, ``model`` is ``provider:name``, ``turn_id`` joins it to the runs of the same turn.
        Works while code runs.
        """
        body = {"message": message, "role": role, "turn_id": turn_id, "operator": operator, "model": model}
        answer = await self._calls.call("POST", "/record", body)
        return str(answer["cell_id"])

    async def notebook(self) -> dict[str, Any]:
        """Give the transcript as nbformat JSON; also after the sandbox was closed."""
        notebook: dict[str, Any] = await self._calls.call("GET", "/notebook")
        return notebook

    async def save_notebook(self, path: str | os.PathLike[str]) -> Path:
        """Write the transcript to a local file, as its suffix says: .ipynb, .html, .md or .py."""
        target = Path(path)
        if target.suffix not in _EXPORTS:
            raise InvalidArgumentError(f"A notebook is saved as {', '.join(sorted(_EXPORTS))}; not as {target.name!r}.")
        content = await self._calls.content("GET", f"/notebook{target.suffix}")
        await in_thread(target.write_bytes, content)
        return target
