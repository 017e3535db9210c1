"""Outputs that attack the page: none runs, asks for input, leaves, or covers the page. Scripted service.

The negative control is the last test: the same browser, without the page's sanitiser and CSP, runs the vectors.
"""

import pytest
from chat_page import ask, open_page
from fake_service import FakeService
from playwright.sync_api import BrowserContext, Page, expect
from scripted_events import code, display, says, stream

HIT = "window.__hit=1"
SVG = f"<svg xmlns='http://www.w3.org/2000/svg' onload='{HIT}'><script>{HIT}</script></svg>"
VECTORS = [
    f"<script>{HIT}</script>",
    f"<img src=x onerror='{HIT}'>",
    f"<svg onload='{HIT}'></svg>",
    f"<svg><script>{HIT}</script></svg>",
    f"<svg><animate onbegin='{HIT}' attributeName=x dur=1s></svg>",
    f"<body onload='{HIT}'>",
    f"<iframe src='javascript:parent.{HIT}'></iframe>",
    f"<iframe srcdoc='<script>parent.{HIT}</script>'></iframe>",
    f"<a href='javascript:{HIT}'>click</a>",
    f"<a href=' jAvAsCrIpT&colon;{HIT}'>click</a>",
    f"<a href='data:text/html,<script>opener.{HIT}</script>'>click</a>",
    f"<form action='javascript:{HIT}'><input name=q autofocus onfocus='{HIT}'></form>",
    f"<button formaction='javascript:{HIT}'>go</button>",
    f"<details open ontoggle='{HIT}'>x</details>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror={HIT}&gt;'>",
    f"<noscript><p title='</noscript><img src=x onerror={HIT}>'></noscript>",
    f"<template><img src=x onerror='{HIT}'></template>",
    f"<object data='javascript:{HIT}'></object><embed src='javascript:{HIT}'>",
    f"<meta http-equiv=refresh content='0;url=javascript:{HIT}'>",
    f"<video><source onerror='{HIT}'></video><audio src=x onerror='{HIT}'></audio>",
    f"<marquee onstart='{HIT}'>x</marquee>",
    f"<div style='position:fixed;inset:0;background:url(javascript:{HIT})' class='composer toast'>cover</div>",
    f"<style>@import 'javascript:{HIT}'; .composer{{display:none}}</style>",
    "<base href='https://elsewhere.invalid/'><link rel=stylesheet href='https://elsewhere.invalid/x.css'>",
    "<img src='https://elsewhere.invalid/beacon.png'><img src='/logout'>",
    f"<div popover id=p>x</div><button popovertarget=p onclick='{HIT}'>x</button>",
]
FORBIDDEN = "script, iframe, object, embed, form, input, select, textarea, style, link, meta, base, svg, math:not(.katex *), [id], [name], [srcdoc], [popover]"  # noqa: E501 - one selector


@pytest.fixture
def attacked(context: BrowserContext, fake: FakeService) -> Page:
    """The page after a turn that brought every vector by every way there is.

    Not the ``page`` of the other tests: Chromium tells of refused handlers already when the sanitiser parses them
    in a document of its own, where they could never run.
    """
    page = context.new_page()
    bundles = [display(text_html=vector, text_plain="x") for vector in VECTORS]
    bundles += [display(text_markdown=vector) for vector in VECTORS]
    bundles += [display(text_latex=rf"\href{{javascript:{HIT}}}{{x}}\htmlData{{a=b}}{{y}}\includegraphics{{x}}")]
    bundles += [{**display(), "data": {"image/svg+xml": SVG}}, {**display(), "data": {"image/png": '"><script>'}}]
    bundles += [{**display(), "data": {"application/json": {VECTORS[0]: VECTORS[1]}}}]
    bundles += [{**display(), "data": {"application/javascript": HIT, "text/plain": "js"}}]
    bundles += [stream(f"\x1b]8;;javascript:{HIT}\x1b\\link\x1b]8;;\x1b\\ {VECTORS[1]}\n")]
    bundles += [{"output_type": "error", "ename": VECTORS[0], "evalue": VECTORS[1], "traceback": [VECTORS[1]]}]
    fake.scripts["attack"] = [
        *code("c1", VECTORS[1], *bundles),
        *(event for at, vector in enumerate(VECTORS) for event in says(f"a{at}", vector)),
        *says("m1", f'$\\href{{javascript:{HIT}}}{{x}}$ [x](javascript:{HIT}) [y]($a$"onmouseover={HIT})'),
    ]
    page.on("request", lambda request: attempts.append(request.url))
    attempts: list[str] = []
    open_page(page, fake.url)
    ask(page, "attack")
    page.attempts = attempts
    return page


def test_no_script_of_an_output_runs(attacked: Page):
    for link in attacked.locator(".cells a").all():
        href = link.get_attribute("href") or ""
        assert href.startswith(("https:", "http:", "mailto:")) or href == "", href
        assert link.get_attribute("rel") or not href
    for opener in attacked.locator(".cells summary, .cells .out-html *:visible").all()[:40]:
        opener.dispatch_event("mouseover")
    assert attacked.evaluate("window.__hit") is None


def test_nothing_that_asks_for_input_or_names_itself_is_left(attacked: Page):
    places = attacked.locator(".outputs, .prose")
    assert places.locator(FORBIDDEN).evaluate_all("all => all.map(one => one.outerHTML)") == []
    handlers = "all => all.flatMap(one => one.getAttributeNames().filter(name => name.startsWith('on')))"
    assert places.locator("*").evaluate_all(handlers) == []
    assert places.locator(".composer, .toast").count() == 0


def test_no_output_covers_the_page_or_leaves_it(attacked: Page):
    expect(attacked.get_by_label("Message", exact=True)).to_be_visible()
    attacked.get_by_label("Message", exact=True).click(trial=True)
    origin = attacked.evaluate("location.origin")
    outside = [url for url in attacked.attempts if not url.startswith((origin, "data:"))]
    assert outside == []
    assert not any("logout" in url for url in attacked.attempts)


def test_the_same_vectors_do_run_where_nothing_stops_them(page: Page):
    page.set_content("<p>bare</p>")
    page.evaluate("html => { document.body.innerHTML = html }", VECTORS[1])
    page.wait_for_function("window.__hit === 1")
