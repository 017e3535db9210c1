"""The notebook of a sandbox: what was run and said in it, in any of the forms that the service exports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from podflare_nb.client.beside_loop import in_thread
from podflare_nb.client.errors import InvalidArgumentError

if TYPE_CHECKING:
    import os

    from podflare_nb.client._async.calls import AsyncCalls

_EXPORTS = frozenset({".ipynb", ".html", ".md", ".py"})


class AsyncTranscript:
    """The part of a sandbox that gives its notebook."""

    _calls: AsyncCalls

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
