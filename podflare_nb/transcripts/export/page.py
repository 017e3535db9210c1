"""A notebook as one HTML file that needs nothing else: no script, no network, light and dark, good on paper.

Its outputs are untrusted. Everything passes through autoescaping or the ``sanitizer``, and the page carries a
policy that allows no script and no network, so that what got past both would still do nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from nbconvert.filters.highlight import Highlight2HTML
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]  # it has none

from .outputs import output_to_html
from .prose import markdown_to_html

SPEAKERS = {"user": "You", "assistant": "Assistant", "tool": ""}
ENDINGS = {
    "running": "still running",
    "error": "failed",
    "interrupted": "interrupted",
    "timeout": "timed out",
    "died": "the kernel ended",
}
SUPERSEDED = "replaced by a merge"


def page_of(notebook: Mapping[str, Any]) -> Iterator[str]:
    """Make the page, in pieces."""
    here = files(__package__)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "page.html.j2").read_text("utf-8"))
    about = notebook["metadata"]["podflare_nb"]
    turns = about["turns"]
    yield from template.generate(
        title=turns[0]["message"] if turns else about["sandbox_id"],
        template=about["template"],
        kernel=notebook["metadata"]["kernelspec"]["display_name"],
        created_at=_day(about["created_at"]),
        sandbox_id=about["sandbox_id"],
        style=Markup((here / "page.css").read_text("utf-8") + _highlight_styles()),  # noqa: S704  # ours
        cells=(_cell(cell) for cell in notebook["cells"]),
    )


def _cell(cell: Mapping[str, Any]) -> dict[str, Any]:
    about = cell["metadata"].get("podflare_nb", {})
    if cell["cell_type"] != "code":
        role = "notice" if about.get("notice") else about.get("role", "assistant")
        return {
            "kind": role,
            "speaker": _speaker(role, about),
            "html": markdown_to_html(cell["source"]),
        }
    source, language = cell["source"], "python"
    if source.startswith("%%bash"):
        source, language = source.partition("\n")[2], "bash"
    highlight = Highlight2HTML(pygments_lexer=language)  # type: ignore[no-untyped-call]  # few types
    return {
        "kind": "code",
        "count": cell["execution_count"],
        "language": language,
        "duration": _duration(cell["metadata"].get("execution", {})),
        "ending": SUPERSEDED if "superseded_by" in about else ENDINGS.get(about.get("status", ""), ""),
        "html": Markup(highlight(source)),  # noqa: S704  # pygments escapes what it highlights
        "has_outputs": len(cell["outputs"]) > 0,
        "outputs": (output_to_html(output) for output in cell["outputs"]),
    }


def _speaker(role: str, about: Mapping[str, Any]) -> str:
    """Who says it; of an agent that ran elsewhere, which one, as it said itself."""
    speaker, operator = SPEAKERS.get(role, ""), about.get("operator")
    return f"{speaker} ({operator})" if operator and role == "assistant" else speaker


def _duration(stamps: Mapping[str, str]) -> str:
    try:
        start = datetime.fromisoformat(stamps["iopub.execute_input"])
        seconds = (datetime.fromisoformat(stamps["shell.execute_reply"]) - start).total_seconds()
    except (KeyError, ValueError):
        return ""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _day(stamp: str) -> str:
    return datetime.fromisoformat(stamp).strftime("%-d %B %Y, %H:%M UTC")


def _highlight_styles() -> str:
    light = HtmlFormatter(style="default").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return f"\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}\n.highlight {{ background: none; }}\n"
