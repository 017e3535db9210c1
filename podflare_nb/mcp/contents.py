"""Content of the service in bounded memory: a file or a notebook, whole, or refused at its limit.

A sandbox's files are as large as its disk, and what a model may be given is not. Stands on the client's connection.
"""

from __future__ import annotations

from podflare_nb.client import AsyncClient, TooLargeError
from podflare_nb.client.paths import url_path, url_segment

FILE_BYTES = 2 << 20
"""Of a file that a tool gives: as base64 in one message it is a third more."""

NOTEBOOK_BYTES = 16 << 20
"""Of a notebook that is read as a resource: hosts keep it, models are not given it whole."""


async def file_content(client: AsyncClient, sandbox_id: str, path: str) -> bytes:
    """Give a file. Raises TooLargeError above FILE_BYTES."""
    said = f"{path} is larger than the {FILE_BYTES} bytes that this tool gives: read a part of it with run_python."
    return await _bounded(client, f"/v1/sandboxes/{url_segment(sandbox_id)}/files/{url_path(path)}", FILE_BYTES, said)


async def notebook_content(client: AsyncClient, sandbox_id: str, form: str) -> bytes:
    """Give a notebook as ``ipynb``, ``md`` or ``py``. Raises TooLargeError above NOTEBOOK_BYTES."""
    said = (
        f"The notebook is larger than {NOTEBOOK_BYTES} bytes: save it with "
        f"`podflare-nb export {sandbox_id} -o notebook.{form}`."
    )
    return await _bounded(client, f"/v1/sandboxes/{url_segment(sandbox_id)}/notebook.{form}", NOTEBOOK_BYTES, said)


async def _bounded(client: AsyncClient, path: str, limit: int, said: str) -> bytes:
    content = bytearray()
    async with client.connection.download(path) as chunks:
        async for chunk in chunks:
            content += chunk
            if len(content) > limit:
                raise TooLargeError(said, details={"limit": limit})
    return bytes(content)
