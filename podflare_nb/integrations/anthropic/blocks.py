"""Anthropic's content blocks: a ``tool_use`` block read, a ``tool_result`` block made. Pure.

Blocks come as the SDK's objects or as plain dictionaries; what goes back is a dictionary, which the SDK takes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..code_tool import Image, ToolOutcome

if TYPE_CHECKING:  # the package is loaded by its users, who have it
    from anthropic.types import ToolResultBlockParam


_BEGINNINGS = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}
_MOST_PIXELS = 8_000
"""On a side; the provider refuses a whole request for one picture that is larger, or is none."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What the model asks for. ``arguments`` are as they came: not checked."""

    id: str
    name: str
    arguments: object


def field(block: object, name: str) -> Any:
    """A field of a block in either form; None where it has none."""
    return block.get(name) if isinstance(block, Mapping) else getattr(block, name, None)


def read_tool_use(block: object) -> ToolUse:
    """Read a block. Raises TypeError for what is no ``tool_use`` block: without its id there is nothing to answer."""
    use_id, name = field(block, "id"), field(block, "name")
    if field(block, "type") != "tool_use" or not isinstance(use_id, str):
        raise TypeError(f"This is not a tool_use block of Anthropic's: {str(block)[:200]}")
    return ToolUse(use_id, str(name), field(block, "input"))


def tool_result(use: ToolUse, outcome: ToolOutcome) -> ToolResultBlockParam:
    """The answer to a block. Pictures that the provider would not take are named instead: in an error it takes none."""
    taken = [] if outcome.is_error else [image for image in outcome.images if _is_taken(image)]
    left = len(outcome.images) - len(taken)
    told = f"\n[pictures that you cannot be shown: {left}; they are in the notebook]" if left else ""
    content: list[Any] = [{"type": "text", "text": outcome.text + told}]
    for image in taken:
        data = base64.b64encode(image.data).decode()
        source = {"type": "base64", "media_type": image.media_type, "data": data}
        content.append({"type": "image", "source": source})
    return {"type": "tool_result", "tool_use_id": use.id, "content": content, "is_error": outcome.is_error}


def _is_taken(image: Image) -> bool:
    """Whether it is what it says, and not too large; of other kinds than PNG the size is not looked at."""
    begins = image.data.startswith(_BEGINNINGS.get(image.media_type, b"\0none"))
    if not begins or image.media_type != "image/png":
        return begins
    width, height = (int.from_bytes(image.data[at : at + 4], "big") for at in (16, 20))
    return 0 < width <= _MOST_PIXELS and 0 < height <= _MOST_PIXELS
