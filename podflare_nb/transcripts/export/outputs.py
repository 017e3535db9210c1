"""A cell's outputs as HTML fragments that are safe on a page: the richest form of each that can be shown.

``page`` stands above.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup
from nbconvert.filters.ansi import ansi2html

from .formulas import to_mathml
from .prose import markdown_to_html
from .sanitizer import LARGEST_HTML, sanitized
from .terminal_text import overwritten

BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+")
DOLLARS = re.compile(r"\A\s*(\$\$?|\\\[|\\\()(.*?)(\$\$?|\\\]|\\\))\s*\Z", re.DOTALL)
LONGEST_TEXT = 200_000
"""Characters of one text that a page shows, head and tail; the notebook has it all."""


def output_to_html(output: Mapping[str, Any]) -> Markup:
    """Convert one output."""
    kind = output["output_type"]
    if kind == "stream":
        return _text(str(output["text"]), "stderr" if output["name"] == "stderr" else "stdout")
    if kind == "error":
        return _text("\n".join(output["traceback"]), "error")
    return _display(output["data"], output["metadata"])


def _display(data: Mapping[str, Any], metadata: Mapping[str, Any]) -> Markup:
    for mime, convert in _CONVERTERS.items():
        if mime in data and (html := convert(str(data[mime]), metadata.get(mime, {}))) is not None:
            return html
    return Markup('<p class="note">Output of type {} can be seen in JupyterLab.</p>').format(
        ", ".join(sorted(data)) or "unknown"
    )


def _text(text: str, kind: str) -> Markup:
    text = overwritten(text)
    if len(text) > LONGEST_TEXT:
        half = LONGEST_TEXT // 2
        left_out = len(text) - 2 * half
        text = f"{text[:half]}\n… {left_out:,} characters are in the notebook only …\n{text[-half:]}"
    coloured = ansi2html(text)  # type: ignore[no-untyped-call]  # nbconvert has few types
    return Markup('<pre class="text {}">{}</pre>').format(kind, Markup(coloured))  # noqa: S704  # it escapes


def _html(html: str, _: Any) -> Markup | None:
    if len(html) > LARGEST_HTML:
        return None
    clean = sanitized(html)
    is_empty = not re.search(r"<img|<hr|<table", clean) and not re.sub(r"<[^>]*>|\s", "", clean)
    # An output that is all script leaves nothing: the next form in the bundle says more.
    return None if is_empty else Markup('<div class="rich">{}</div>').format(Markup(clean))  # noqa: S704  # clean


def _markdown(text: str, _: Any) -> Markup | None:
    if len(text) > LARGEST_HTML:
        return None
    return Markup('<div class="prose">{}</div>').format(markdown_to_html(text))


def _latex(latex: str, _: Any) -> Markup:
    match = DOLLARS.match(latex)
    formula = to_mathml(match[2] if match else latex, block=True)
    return Markup('<div class="prose">{}</div>').format(Markup(formula))  # noqa: S704  # rebuilt by formulas


def _svg(svg: str, metadata: Any) -> Markup | None:
    """Show it as an image: scripts in an image do not run."""
    return _image("image/svg+xml")(base64.b64encode(svg.encode()).decode(), metadata)


def _image(mime: str) -> Callable[[str, Any], Markup | None]:
    def convert(data: str, metadata: Any) -> Markup | None:
        if not BASE64.fullmatch(data):
            return None
        size = metadata if isinstance(metadata, Mapping) else {}
        html = Markup('<img alt="output" src="data:{};base64,{}"').format(mime, "".join(data.split()))
        for side in ("width", "height"):
            if isinstance(size.get(side), int):
                html += Markup(' {}="{}"').format(side, size[side])
        return html + Markup(">")

    return convert


def _plain(text: str, _: Any) -> Markup:
    return _text(text, "result")


_CONVERTERS: dict[str, Callable[[str, Any], Markup | None]] = {
    "text/html": _html,
    "image/svg+xml": _svg,
    "image/png": _image("image/png"),
    "image/jpeg": _image("image/jpeg"),
    "image/webp": _image("image/webp"),
    "image/gif": _image("image/gif"),
    "text/markdown": _markdown,
    "text/latex": _latex,
    "text/plain": _plain,
}
"""From the richest to the plainest."""
