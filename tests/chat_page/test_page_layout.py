"""The page's frame: sandboxes, keys, sizes, colours. Scripted service."""

from chat_page import ask, open_page, send
from fake_service import FakeService
from playwright.sync_api import Browser, Page, expect
from scripted_events import HOLD, code, display, stream

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


def test_a_new_sandbox_is_made_from_the_chosen_template(page: Page, fake: FakeService):
    open_page(page, fake.url)
    page.get_by_role("button", name="New sandbox from a template").click()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    expect(page.locator(".title-detail")).to_have_text("python-minimal · ready")
    assert [sandbox.template for sandbox in fake.sandboxes.values()] == ["python-minimal"]


def test_the_first_message_makes_a_sandbox_by_itself_and_names_it(page: Page, fake: FakeService):
    open_page(page, fake.url)
    ask(page, "How many primes are there below 100?")
    expect(page.get_by_role("navigation").get_by_role("link")).to_contain_text("How many primes")


def test_closing_a_sandbox_asks_first(page: Page, fake: FakeService):
    sandbox = fake.add()
    open_page(page, fake.url)
    page.get_by_role("button", name="Close New sandbox").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    assert sandbox.state == "ready"
    page.get_by_role("button", name="Close New sandbox").click()
    page.get_by_role("dialog").get_by_role("button", name="Close it").click()
    expect(page.locator(".sandbox[data-state=closed]")).to_have_count(1)


def test_an_example_runs_by_one_click(page: Page, fake: FakeService):
    open_page(page, fake.url)
    page.get_by_role("button", name="A plot").click()
    expect(page.get_by_role("status").filter(has_text="complete")).to_have_count(1)
    assert "matplotlib" in fake.sent[0]["message"]


def test_everything_is_reached_by_keyboard(page: Page, fake: FakeService):
    fake.scripts["hello"] = code("c1", "print('hello')", stream("hello\n"))
    open_page(page, fake.url)
    page.keyboard.type("hel")
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Backspace")
    page.keyboard.type("lo")
    page.keyboard.press("Enter")
    expect(page.locator(".cell-code")).to_have_count(1)
    seen: set[str] = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || ''")
        )
    wanted = {
        "New sandbox",
        "Files",
        "Download the notebook",
        "Copy the code",
        "Code",
        "Message",
        "Upload files to the workspace",
    }
    assert wanted <= seen
    page.keyboard.press("Control+k")
    expect(page.locator(".sandbox")).to_have_count(2)


def test_a_phone_shows_all_of_it_in_its_width(browser: Browser, fake: FakeService):
    wide = "<table class='dataframe'><tr>" + "".join(f"<td>column {n}</td>" for n in range(40)) + "</tr></table>"
    fake.scripts["wide"] = code("c1", "x = " + "1 + " * 200 + "1", display(text_html=wide), stream("y" * 3000))
    context = browser.new_context(**PHONE)
    page = context.new_page()
    open_page(page, fake.url)
    ask(page, "wide")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["viewport"]["width"]
    expect(page.get_by_role("navigation")).to_be_hidden()
    page.get_by_role("button", name="My sandboxes").click()
    expect(page.get_by_role("navigation")).to_be_visible()
    page.get_by_role("button", name="New sandbox", exact=True).click()
    expect(page.get_by_role("navigation")).to_be_hidden()
    context.close()


def test_dark_and_light_follow_the_system_or_the_choice_which_stays(page: Page, fake: FakeService):
    paper = "getComputedStyle(document.body).backgroundColor"
    open_page(page, fake.url)
    light = page.evaluate(paper)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(paper)
    assert dark != light
    page.get_by_role("button", name="Colours: as the system. Change").click()
    assert page.evaluate(paper) == light
    page.reload()
    assert page.evaluate(paper) == light


def test_a_running_sandbox_left_and_opened_again_goes_on(page: Page, fake: FakeService):
    fake.scripts["slow"] = code("c1", "f()", stream("one\n"), HOLD, stream("two\n"))
    open_page(page, fake.url)
    send(page, "slow")
    expect(page.locator(".outputs")).to_have_text("one")
    page.keyboard.press("Control+k")
    expect(page.locator(".welcome")).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="slow").click()
    expect(page.locator(".outputs")).to_have_text("one")
    fake.release()
    expect(page.locator(".outputs")).to_have_text("one\ntwo")
