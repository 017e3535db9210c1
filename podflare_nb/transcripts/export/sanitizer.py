"""Untrusted HTML as harmless HTML: what a tenant's code, or a model, may put on a page.

Kept: text, tables, lists, headings, links to the web, embedded images, a few inline styles (as pandas' Styler
needs). Dropped with all they hold: scripts, styles, frames, objects, forms. Dropped: event handlers, ids,
names, classes of the page, images from the network (opening a page must not tell anybody). This is the first
of two walls; the page's own policy, which forbids scripts and network altogether, is the second.
"""

from __future__ import annotations

import re

import bleach  # type: ignore[import-untyped]  # it has none
from bleach.css_sanitizer import CSSSanitizer  # type: ignore[import-untyped]  # it has none
from bs4 import BeautifulSoup

LARGEST_HTML = 1_000_000
"""Characters; sanitizing more would hold a thread for seconds."""

DROPPED_WHOLE = (
    *("script", "style", "template", "noscript", "title", "iframe", "object", "embed", "svg", "math"),
    *("form", "button", "select", "textarea", "link", "meta", "base", "head", "audio", "video"),
)
TAGS = frozenset(
    "a abbr b blockquote br caption code col colgroup dd del"  # noqa: SIM905  # words, not code
    " details div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i img ins kbd li mark ol p pre q s samp"
    " small span strong sub summary sup table tbody td tfoot th thead tr u ul var wbr".split()
)
STYLES = (
    *("background-color", "border", "border-collapse", "color", "display", "font-family", "font-size"),
    *("font-style", "font-weight", "margin", "margin-left", "max-width", "padding", "text-align"),
    *("text-decoration", "vertical-align", "white-space", "width", "min-width", "height"),
)
ATTRIBUTES = frozenset(
    {"align", "colspan", "rowspan", "scope", "start", "style", "title", "alt", "width", "height", "open"}
)
HIGHLIGHT_CLASS = re.compile(r"(dataframe|highlight|[a-z]{1,2}\d?)( (dataframe|highlight|[a-z]{1,2}\d?))*")
EMBEDDED_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]*")
WEB_LINK = re.compile(r"(https?://|mailto:)", re.IGNORECASE)


def sanitized(html: str) -> str:
    """Give the harmless part of ``html``."""
    soup = BeautifulSoup(html, "html.parser")
    for element in soup(DROPPED_WHOLE):
        element.decompose()
    return str(_cleaner.clean(str(soup)))


def _is_allowed(tag: str, name: str, value: str) -> bool:
    if name == "class":
        return HIGHLIGHT_CLASS.fullmatch(value) is not None
    if name == "href":
        return tag == "a" and WEB_LINK.match(value) is not None
    if name == "src":
        return tag == "img" and EMBEDDED_IMAGE.fullmatch(value) is not None
    return name in ATTRIBUTES


_cleaner = bleach.Cleaner(
    tags=TAGS,
    attributes=_is_allowed,
    protocols=["http", "https", "mailto", "data"],
    css_sanitizer=CSSSanitizer(allowed_css_properties=STYLES),
    strip=True,
)
