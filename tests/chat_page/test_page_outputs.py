"""Outputs on the page: each kind as a person expects to see it. Scripted service."""

import re

from chat_page import ask, open_page, outputs
from fake_service import FakeService
from playwright.sync_api import Page, expect
from scripted_events import code, display, says, stream

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAoAAAAKCAYAAACNMs+9AAAAFUlEQVR42mNk+M9Qz0AEYBxVSF+FAP5FDvcfRYWgAAAAAElFTkSuQmCC"
TABLE = '<div><style scoped>.dataframe{color:red}</style><table border="1" class="dataframe"><thead><tr style="text-align: right;"><th></th><th>n</th></tr></thead><tbody><tr><th>0</th><td>41</td></tr></tbody></table><p>1 rows</p></div>'  # noqa: E501 - as pandas writes it


def shown(page: Page, fake: FakeService, *given: dict) -> None:
    fake.scripts["show"] = code("c1", "show()", *given)
    open_page(page, fake.url)
    ask(page, "show")


def test_a_frame_is_a_table(page: Page, fake: FakeService):
    shown(page, fake, display(text_html=TABLE, text_plain="   n\n0  41"))
    expect(outputs(page).get_by_role("cell", name="41")).to_be_visible()
    expect(outputs(page)).not_to_contain_text("color:red")


def test_pictures_are_shown_and_open_large(page: Page, fake: FakeService):
    svg = '<svg viewBox="0 0 10 10" width="10" height="10"><circle r="5" cx="5" cy="5"/></svg>'
    shown(page, fake, display(image_png=DOT, text_plain="<Figure>"), {**display(), "data": {"image/svg+xml": [svg]}})

    pictures = outputs(page).locator("img")
    expect(pictures).to_have_count(2)
    assert pictures.evaluate_all("all => Promise.all(all.map(one => one.decode().then(() => one.naturalWidth)))") == [
        10,
        10,
    ]
    outputs(page).get_by_role("button", name="Enlarge: Figure").click()
    expect(page.get_by_role("dialog").get_by_role("img")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_latex_and_json_are_set(page: Page, fake: FakeService):
    shown(
        page,
        fake,
        display(text_latex=r"$\displaystyle \frac{1}{2}$"),
        {**display(), "data": {"application/json": {"a": [1, None]}}},
    )
    expect(outputs(page).locator(".katex .mfrac")).to_have_count(1)
    expect(outputs(page).locator(".out-json")).to_contain_text("a: list of 20: 11: null")


def test_colours_of_a_terminal_are_kept(page: Page, fake: FakeService):
    shown(page, fake, stream("\x1b[1;31mred\x1b[0m <b>not bold</b>\n"))
    expect(outputs(page).locator(".ansi-red-fg")).to_have_text("red")
    expect(outputs(page)).to_have_text("red <b>not bold</b>")


def test_a_progress_bar_stays_on_its_line(page: Page, fake: FakeService):
    shown(page, fake, stream("\r  0%|    |"), stream("\r 50%|##  |"), stream("\r100%|####|\ndone\n"))
    expect(outputs(page)).to_have_text("100%|####|\ndone")


def test_nested_progress_bars_each_stay_on_theirs(page: Page, fake: FakeService):
    shown(page, fake, stream("outer 1/2\ninner 1/2\x1b[A\router 2/2\n\rinner 2/2\n", "stderr"))
    expect(outputs(page)).to_have_text("outer 2/2\ninner 2/2")


def test_a_display_is_updated_in_place_and_clear_output_clears(page: Page, fake: FakeService):
    first = {**display(text_plain="loading"), "transient": {"display_id": "bar"}}
    changed = {**first, "output_type": "update_display_data", "data": {"text/plain": "loaded"}}
    gone = stream("to be cleared\n")
    shown(page, fake, gone, {"output_type": "clear_output", "wait": True}, first, stream("next\n"), changed)
    expect(outputs(page)).to_have_text(re.compile(r"^loaded\s*next$"))


def test_long_output_folds_and_opens(page: Page, fake: FakeService):
    shown(page, fake, stream("".join(f"line {number}\n" for number in range(500))))
    expect(outputs(page)).to_contain_text("line 499")
    expect(outputs(page)).not_to_contain_text("line 250")
    outputs(page).get_by_role("button", name="Show all 500 lines").click()
    expect(outputs(page)).to_contain_text("line 250")


def test_an_error_tells_its_name_first_and_its_traceback_opens(page: Page, fake: FakeService):
    error = {
        "output_type": "error",
        "ename": "KeyError",
        "evalue": "'x'",
        "traceback": ["\x1b[31mKeyError\x1b[39m"] * 60,
    }
    shown(page, fake, error)
    expect(outputs(page).locator(".error-title")).to_have_text("KeyError: 'x'")
    expect(outputs(page).locator(".out-traceback")).to_be_hidden()
    outputs(page).get_by_text("Traceback").click()
    expect(outputs(page).locator(".out-traceback .ansi-red-fg").first).to_be_visible()


def test_what_needs_scripts_falls_back_to_its_text(page: Page, fake: FakeService):
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "IntSlider(value=3)"}
    chart = {"text/html": "<div></div><script>draw()</script>", "text/plain": "<Chart>"}
    shown(page, fake, {**display(), "data": widget}, {**display(), "data": chart})
    expect(outputs(page)).to_have_text("IntSlider(value=3)<Chart>")


def test_maths_is_set_and_money_and_code_are_left_alone(page: Page, fake: FakeService):
    text = (
        "It costs $5 or $6, $a_1*b*c_2$ and `$x$`:\n\n"
        "$$\\begin{aligned} a &= b \\\\ c &= d \\end{aligned}$$\n\n```\n$not$\n```\n"
    )
    fake.scripts["explain"] = says("a1", text[:40], text[40:])
    open_page(page, fake.url)
    ask(page, "explain")
    answer = page.locator(".cell-assistant")
    expect(answer.locator(".katex")).to_have_count(2)
    expect(answer.locator(".katex-error")).to_have_count(0)
    expect(answer).to_contain_text("It costs $5 or $6,")
    expect(answer.locator("p code")).to_have_text("$x$")
    expect(answer.locator("pre")).to_have_text("$not$")
