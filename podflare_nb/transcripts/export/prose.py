"""Markdown as harmless HTML, with its formulas drawn.

Formulas are taken out before the HTML is sanitized and put in after it: MathML is made here and needs no
sanitizing, while a sanitizer that let MathML through would be a weaker one.
"""

from __future__ import annotations

import re
import secrets

from markupsafe import Markup
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from .formulas import to_mathml
from .sanitizer import sanitized


class _Renderer(IPythonRenderer):
    """nbconvert's, with each formula put aside under a token that no text can guess."""

    def __init__(self) -> None:
        super().__init__(escape=False, exclude_anchor_links=True)
        self.mark = secrets.token_hex(8)
        self.formulas: list[str] = []

    def block_math(self, body: str) -> str:
        return self._aside(to_mathml(body, block=True))

    def inline_math(self, body: str) -> str:
        return self._aside(to_mathml(body, block=False))

    def latex_environment(self, name: str, body: str) -> str:
        return self._aside(to_mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", block=True))

    def block_mermaidjs(self, code: str) -> str:
        return str(super().block_code(code, info=None))

    def _aside(self, formula: str) -> str:
        self.formulas.append(formula)
        return f"{self.mark}x{len(self.formulas) - 1}x"


def markdown_to_html(source: str) -> Markup:
    """Convert Markdown that anybody may have written."""
    renderer = _Renderer()
    html = sanitized(MarkdownWithMath(renderer=renderer).render(source))
    drawn = re.sub(f"{renderer.mark}x(\\d+)x", lambda match: renderer.formulas[int(match[1])], html)
    return Markup(drawn)  # noqa: S704  # sanitized above
