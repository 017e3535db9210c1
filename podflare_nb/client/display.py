"""What a sandbox made, shown in the caller's own notebook without trusting it.

The code in a sandbox may be hostile, and the caller's notebook page is not its jail: text is escaped, pictures
are pictures (an SVG too, so that its scripts do not run), HTML goes into a frame without rights.
"""

from __future__ import annotations

import base64
import binascii
import html
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_ROW_EM = 1.9
_LOWEST_FRAME_EM = 4.0
_HIGHEST_FRAME_EM = 28.0


def text_of(value: object) -> str:
    """A MIME value as one string: notebooks keep text as a list of lines too."""
    if isinstance(value, list):
        return "".join(str(part) for part in value)
    return value if isinstance(value, str) else ""


def bytes_of_base64(value: object) -> bytes | None:
    """The bytes of a picture; None for what is not base64."""
    try:
        return base64.b64decode(text_of(value)) or None
    except (binascii.Error, ValueError):
        return None


def html_of_bundle(bundle: Mapping[str, Any]) -> str:
    """The richest form of a MIME bundle that can be shown safely, as HTML."""
    for mime in PICTURES:
        if mime in bundle and (content := bytes_of_base64(bundle[mime])) is not None:
            return _picture(mime, content)
    if svg := text_of(bundle.get("image/svg+xml")):
        return _picture("image/svg+xml", svg.encode())
    if page := text_of(bundle.get("text/html")):
        return _frame(page)
    return preformatted(text_of(bundle.get("text/plain")))


def preformatted(text: str, colour: str | None = None) -> str:
    """Text as it is, in the notebook's own monospaced face; nothing for no text."""
    if not text:
        return ""
    style = f' style="color:{colour}"' if colour else ""
    return f"<pre{style}>{html.escape(text)}</pre>"


def _picture(mime: str, content: bytes) -> str:
    return f'<img alt="" src="data:{mime};base64,{base64.b64encode(content).decode()}">'


def _frame(page: str) -> str:
    """A frame with an origin of its own and no scripts; a table is given the height of its rows."""
    wanted = _LOWEST_FRAME_EM + _ROW_EM * page.lower().count("<tr")
    height = min(max(wanted, _LOWEST_FRAME_EM), _HIGHEST_FRAME_EM)
    return (
        f'<iframe sandbox="" style="width:100%;height:{height:g}em;border:0;background:white" '
        f'srcdoc="{html.escape(page)}"></iframe>'
    )
