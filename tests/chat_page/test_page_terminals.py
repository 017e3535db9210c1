"""Terminals on the page: opened, typed into, several of them, taken up again, ended. Scripted service."""

import re
from collections.abc import Callable

from chat_page import open_page, send
from fake_service import FakeService
from fake_terminals import PROMPT, FakeTerminal
from playwright.sync_api import Browser, Locator, Page, expect
from scripted_events import HOLD

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
TOGGLE = "Control+`"
FRAMES = 3600


def panel(page: Page) -> Locator:
    return page.get_by_role("region", name="Terminals of the sandbox")


def screen(page: Page) -> Locator:
    return page.locator(".terminal-pane:visible .xterm-rows")


def note(page: Page) -> Locator:
    return page.locator(".terminal-note:visible")


def button(page: Page, name: str) -> Locator:
    return panel(page).get_by_role("button", name=name, exact=True)


def a_terminal(page: Page, fake: FakeService) -> FakeTerminal:
    """The page with a sandbox and one terminal, which has the focus."""
    if not fake.sandboxes:
        fake.add()
    page.goto(f"{fake.url}#{next(iter(fake.sandboxes))}")
    expect(page.locator(".title-detail")).to_contain_text("ready")
    page.keyboard.press(TOGGLE)
    expect(screen(page)).to_contain_text("root@sandbox")
    return terminals(fake)[-1]


def terminals(fake: FakeService) -> list[FakeTerminal]:
    return next(iter(fake.terminals.values()))


def typed(page: Page, terminal: FakeTerminal, wanted: bytes) -> None:
    """Wait until the program has got what was typed."""
    terminal.say(b"[told]")
    expect(screen(page)).to_contain_text("[told]")
    until(page, lambda: len(terminal.typed) >= len(wanted))
    assert terminal.typed == wanted


def until(page: Page, holds: Callable[[], bool]) -> None:
    """Wait until the service has seen something, a minute at most; then fail."""
    for _ in range(FRAMES):
        if holds():
            return
        page.evaluate("new Promise(requestAnimationFrame)")
    raise AssertionError("the service has not seen it")


def test_a_terminal_opens_by_its_button_and_the_emulator_is_loaded_only_then(page: Page, fake: FakeService):
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    open_page(page, fake.url)
    assert not [url for url in loaded if "emulator" in url]
    page.get_by_role("button", name="Terminals").click()
    expect(screen(page)).to_contain_text("root@sandbox:/workspace#")  # its sandbox was made by the way
    assert [url for url in loaded if "emulator" in url]
    page.keyboard.type("ls -la")
    page.keyboard.press("Enter")
    expect(screen(page)).to_contain_text("ls -la")
    (terminal,) = terminals(fake)
    typed(page, terminal, b"ls -la\r")
    assert "shellCmd" not in terminal.asked
    assert len(fake.sandboxes) == 1


def test_keys_go_to_the_program_in_order_and_one_key_leaves(page: Page, fake: FakeService):
    fake.scripts["slow"] = [HOLD]
    fake.add()
    page.goto(f"{fake.url}#{next(iter(fake.sandboxes))}")
    send(page, "slow")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.keyboard.press(TOGGLE)
    expect(screen(page)).to_contain_text("root@sandbox")
    (terminal,) = terminals(fake)
    terminal.echoes = False
    text = "".join(chr(97 + n % 26) for n in range(120))
    page.keyboard.type(text)
    for key in ("Escape", "Tab", "Control+c", "Control+k", "Control+/", "?", "ArrowUp"):
        page.keyboard.press(key)
    page.keyboard.insert_text("é")
    typed(page, terminal, text.encode() + b"\x1b\t\x03\x0b?\x1b[A" + "é".encode())
    expect(page.get_by_role("button", name="Stop")).to_be_visible()  # Escape stopped nothing
    assert len(fake.sandboxes) == 1
    page.keyboard.press(TOGGLE)
    expect(panel(page)).to_be_hidden()
    expect(page.get_by_role("button", name="Terminals")).to_be_focused()
    page.keyboard.press(TOGGLE)
    page.keyboard.type("!")
    typed(page, terminal, text.encode() + b"\x1b\t\x03\x0b?\x1b[A" + "é".encode() + b"!")
    page.get_by_label("Message", exact=True).click()
    page.keyboard.press(TOGGLE)  # from elsewhere it goes there
    expect(page.get_by_role("textbox", name="Terminal 1")).to_be_focused()


def test_screen_readers_are_told_what_appears_when_they_ask_for_it(page: Page, fake: FakeService):
    terminal = a_terminal(page, fake)
    expect(panel(page).locator(".xterm-accessibility-tree")).to_have_count(0)
    button(page, "Read the screen aloud").focus()
    page.keyboard.press("Enter")
    terminal.say(b"\r\nspoken")
    expect(panel(page).get_by_role("listitem").filter(has_text="spoken")).to_have_count(1)
    page.reload()
    expect(panel(page).get_by_role("listitem").filter(has_text="spoken")).to_have_count(1)
    described = page.get_by_role("textbox", name="Terminal 1").get_attribute("aria-describedby")
    expect(page.locator(f"#{described}")).to_contain_text("Control and backtick leaves the terminal.")


def test_escape_outside_of_the_screen_hides_the_panel(page: Page, fake: FakeService):
    a_terminal(page, fake)
    button(page, "New terminal").focus()
    page.keyboard.press("Escape")
    expect(panel(page)).to_be_hidden()
    expect(page.get_by_role("button", name="Terminals")).to_have_attribute("aria-expanded", "false")


def test_several_terminals_are_tabs_and_only_the_shown_one_is_followed(page: Page, fake: FakeService):
    first = a_terminal(page, fake)
    button(page, "New terminal").click()
    expect(panel(page).get_by_role("tab")).to_have_text(["bash", "bash 2"])
    expect(screen(page)).to_contain_text("root@sandbox")
    second = terminals(fake)[1]
    second.say(b"this is the second\r\n")
    expect(screen(page)).to_contain_text("this is the second")
    until(page, lambda: len(first.streams) == 0)
    assert len(first.streams) == 0
    panel(page).get_by_role("tab", name="bash 2").focus()
    page.keyboard.press("ArrowLeft")
    expect(panel(page).get_by_role("tab", name="bash", exact=True)).to_be_focused()
    expect(screen(page)).not_to_contain_text("second")
    first.say(b"and this the first")
    expect(screen(page)).to_contain_text("and this the first")
    assert screen(page).inner_text().count("root@") == 1  # went on where it was left
    assert first.attached == [0, len(PROMPT)]


def test_after_a_reload_what_was_said_is_there_again_and_no_question_is_answered_twice(page: Page, fake: FakeService):
    terminal = a_terminal(page, fake)
    terminal.echoes = False
    terminal.say(b"before \x1b[6n\x1b[c\x1b[?1004h")
    expect(screen(page)).to_contain_text("before")
    answered = b"\x1b[1;33R\x1b[?1;2c\x1b[I"
    typed(page, terminal, answered)
    terminal.typed = b""
    page.reload()
    expect(screen(page)).to_contain_text("before")
    terminal.say(b"\x1b[2;1H\x1b[6n")
    typed(page, terminal, b"\x1b[2;1R")
    assert len(terminals(fake)) == 1


def test_a_lost_connection_is_taken_up_behind_the_last_byte(page: Page, fake: FakeService):
    terminal = a_terminal(page, fake)
    fake.refuse["GET .*/attach"] = (503, {"error": "Not now.", "code": "no_capacity"})
    terminal.cut()
    expect(note(page)).to_contain_text("The connection is lost. The terminal goes on")
    terminal.say(b"said meanwhile")
    fake.refuse.clear()
    note(page).get_by_role("button", name="Try now").click()
    expect(screen(page)).to_contain_text("said meanwhile")
    expect(note(page)).to_have_count(0)
    assert screen(page).inner_text().count("root@") == 1
    assert set(terminal.attached) == {0, len(PROMPT)}


def test_a_connection_that_falls_silent_is_taken_for_lost(page: Page, fake: FakeService):
    page.clock.install()
    terminal = a_terminal(page, fake)
    for _ in range(3):
        page.clock.fast_forward(20_000)
    until(page, lambda: len(terminal.attached) == 2)
    terminal.say(b"back again")
    expect(screen(page)).to_contain_text("back again")
    assert terminal.attached == [0, len(PROMPT)]


def test_bytes_that_are_kept_no_more_are_told(page: Page, fake: FakeService):
    terminal = a_terminal(page, fake)
    fake.refuse["GET .*/attach"] = (503, {"error": "Not now.", "code": "no_capacity"})
    terminal.cut()
    expect(note(page)).to_contain_text("lost")
    terminal.say(b"x" * 100)
    terminal.kept_from = len(PROMPT) + 90
    fake.refuse.clear()
    note(page).get_by_role("button", name="Try now").click()
    expect(screen(page)).to_contain_text("[7 bytes are missing.]")
    expect(screen(page)).to_contain_text(re.compile(r"\bx{10}\b"))


def test_the_exit_code_is_shown_and_an_ended_terminal_can_be_put_away(page: Page, fake: FakeService):
    terminal = a_terminal(page, fake)
    terminal.say(b"last words\r\n")
    terminal.end(3)
    expect(note(page)).to_contain_text("It ended with exit code 3.")
    expect(panel(page).get_by_role("tab")).to_contain_text("exit 3")
    page.keyboard.type("into nothing")
    page.reload()
    expect(screen(page)).to_contain_text("last words")
    expect(note(page)).to_contain_text("It ended with exit code 3.")
    button(page, "Put this terminal away").click()
    expect(panel(page)).to_contain_text("No terminal runs in this sandbox.")
    assert terminal.typed == b""
    panel(page).get_by_text("New terminal").click()
    expect(screen(page)).to_contain_text("root@sandbox")


def test_ending_a_terminal_asks_first(page: Page, fake: FakeService):
    terminal = a_terminal(page, fake)
    button(page, "End this terminal").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    assert terminal.exit_code is None
    button(page, "End this terminal").click()
    page.get_by_role("dialog").get_by_role("button", name="End it").click()
    expect(note(page)).to_contain_text("It ended with exit code 137.")


def test_the_program_learns_the_size_of_the_panel(page: Page, fake: FakeService):
    terminal = a_terminal(page, fake)
    (made,) = terminal.sizes
    assert made != (80, 24)
    splitter = panel(page).get_by_role("separator", name="Height of the terminals")
    splitter.focus()
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    page.wait_for_function("Number(document.querySelector('.splitter').ariaValueNow) === 372")
    for _ in range(3):  # until the screen has taken the new height
        page.evaluate("new Promise(requestAnimationFrame)")
    rows = screen(page).locator("> div").count()
    assert rows > made[1]
    until(page, lambda: terminal.sizes[-1] == (made[0], rows))
    terminal.say(b"one")
    expect(screen(page)).to_contain_text("one")
    page.reload()
    expect(screen(page)).to_contain_text("one")
    assert terminal.sizes[-1] == (made[0], rows)  # the height is kept
    page.set_viewport_size({"width": 900, "height": 860})
    page.wait_for_function("document.querySelector('.xterm-screen').clientWidth < 620")
    terminal.say(b"two")
    expect(screen(page)).to_contain_text("two")
    until(page, lambda: terminal.sizes[-1][0] < made[0])


def test_text_is_copied_from_the_screen_and_pasted_without_its_control_characters(page: Page, fake: FakeService):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    terminal = a_terminal(page, fake)
    terminal.echoes = False
    terminal.say(b"\x1b[2J\x1b[Hsecret-word\r\n")
    expect(screen(page)).to_contain_text("secret-word")
    box = screen(page).bounding_box()
    assert box
    page.mouse.dblclick(box["x"] + 20, box["y"] + 8)
    page.keyboard.press("Control+Shift+C")
    page.wait_for_function("navigator.clipboard.readText().then(text => text === 'secret-word')")
    terminal.say(b"\x1b[?2004hbracketed")
    expect(screen(page)).to_contain_text("bracketed")
    hostile = "echo one\necho \x1b[201~two\x03"
    page.evaluate("text => navigator.clipboard.writeText(text)", hostile)
    page.keyboard.press("Control+Shift+V")
    typed(page, terminal, b"\x1b[200~echo one\recho [201~two\x1b[201~")


def test_a_flood_is_shown_to_its_end_and_the_page_answers_meanwhile(page: Page, fake: FakeService):
    terminal = a_terminal(page, fake)
    for part in range(40):
        terminal.say(b"".join(b"line %d\r\n" % (part * 5000 + line) for line in range(5000)))
    terminal.say(b"the end")
    page.get_by_label("Message", exact=True).fill("still there")
    expect(screen(page)).to_contain_text("the end")
    expect(screen(page)).to_contain_text("line 199999")


def test_colours_follow_the_page(page: Page, fake: FakeService):
    terminal = a_terminal(page, fake)
    terminal.say(b"\x1b[31mred\x1b[0m \x1b[38;5;17mdeep\x1b[0m")
    red = screen(page).get_by_text("red", exact=True)
    colour = "one => getComputedStyle(one).color"
    light = red.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        "before => getComputedStyle(document.querySelector('.xterm-rows .xterm-fg-1')).color !== before", arg=light
    )
    page.get_by_role("button", name="Colours: as the system. Change").click()  # light, whatever the system says
    page.wait_for_function(
        "light => getComputedStyle(document.querySelector('.xterm-rows .xterm-fg-1')).color === light", arg=light
    )


def test_a_phone_gets_the_whole_screen_and_the_keys_that_it_lacks(browser: Browser, fake: FakeService):
    context = browser.new_context(**PHONE)
    page = context.new_page()
    fake.add()
    page.goto(f"{fake.url}#{next(iter(fake.sandboxes))}")
    page.get_by_role("button", name="Terminals").click()
    expect(screen(page)).to_contain_text("root@sandbox")
    assert panel(page).bounding_box() == {"x": 0, "y": 0, "width": 390, "height": 844}
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    (terminal,) = terminals(fake)
    terminal.echoes = False
    for key in ("Escape", "Control C", "Up"):
        panel(page).get_by_role("button", name=key, exact=True).click()
    terminal.say(b"\x1b[?1h")
    expect(screen(page)).to_be_visible()
    typed(page, terminal, b"\x1b\x03\x1b[A")
    panel(page).get_by_role("button", name="Up", exact=True).click()
    typed(page, terminal, b"\x1b\x03\x1b[A\x1bOA")  # as the program asked for them
    button(page, "Hide the terminals (Ctrl+`)").click()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()
    context.close()


def test_a_closed_sandbox_says_why_and_takes_no_terminal(page: Page, fake: FakeService):
    page.clock.install()
    terminal = a_terminal(page, fake)
    sandbox = next(iter(fake.sandboxes.values()))
    fake.close(sandbox)
    terminal.end(137, "The sandbox was closed.")
    expect(note(page)).to_contain_text("The sandbox was closed.")
    page.clock.fast_forward(15_000)  # the page looks for news
    expect(panel(page)).to_contain_text("It was idle for 30 minutes. Its terminals ended with it.")
    expect(screen(page)).to_contain_text("root@sandbox")
    page.reload()
    expect(panel(page)).to_contain_text("It was idle for 30 minutes. Its terminals ended with it.")
    expect(button(page, "New terminal")).to_be_disabled()


def test_a_terminal_that_is_refused_says_why(page: Page, fake: FakeService):
    fake.refuse["POST .*/pty$"] = (409, {"error": "A sandbox has at most 16 terminals.", "code": "conflict"})
    fake.add()
    page.goto(f"{fake.url}#{next(iter(fake.sandboxes))}")
    page.get_by_role("button", name="Terminals").click()
    expect(page.get_by_text("A sandbox has at most 16 terminals.")).to_be_visible()
    expect(panel(page)).to_contain_text("No terminal runs in this sandbox.")
    fake.refuse.clear()
    page.get_by_role("button", name="Try again").click()
    expect(screen(page)).to_contain_text("root@sandbox")


def test_another_sandbox_shows_its_own_terminals(page: Page, fake: FakeService):
    terminal = a_terminal(page, fake)
    terminal.say(b"of the first")
    expect(screen(page)).to_contain_text("of the first")
    page.get_by_role("button", name="New sandbox", exact=True).click()
    expect(panel(page)).to_contain_text("No terminal runs in this sandbox.")
    page.get_by_role("navigation").get_by_role("link").last.click()
    expect(screen(page)).to_contain_text("of the first")


HOSTILE = [
    b"\x1b]0;owned\x07",
    b"\x1b]2;owned\x1b\\",
    b"\x1b]52;c;b3duZWQ=\x07",
    b"\x1b[21t\x1b[14t\x1b[18t\x1b[8;5;5t\x1b[2t",
    b"\x1b]8;;javascript:window.__hit=1\x07click me\x1b]8;;\x07",
    b"\x1b]1337;File=name=eA==:AAAA\x07\x1b_Gowned\x1b\\",
    b"<img src=x onerror=window.__hit=1>",
    b"\x1b]7;file://x/y\x07\x1b]9;owned\x07\x1b]777;notify;owned;owned\x07",
]


def test_what_a_program_writes_steers_nothing_but_its_own_screen(page: Page, fake: FakeService):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    terminal = a_terminal(page, fake)
    page.evaluate("navigator.clipboard.writeText('mine')")
    title, (size,) = page.title(), terminal.sizes
    terminal.echoes = False
    box = screen(page).bounding_box()
    assert box
    for number, sequence in enumerate(HOSTILE):
        terminal.say(b"\x1b[2J\x1b[H" + sequence + b"\r\ndone %d" % number)
        expect(screen(page)).to_contain_text(f"done {number}")
        page.mouse.move(box["x"] + 18, box["y"] + 9)
        page.mouse.click(box["x"] + 20, box["y"] + 8)
        assert page.title() == title
        assert page.evaluate("navigator.clipboard.readText()") == "mine"
        assert page.evaluate("window.__hit") is None
        expect(page.get_by_role("dialog")).to_have_count(0)
    typed(page, terminal, b"")
    assert terminal.sizes == [size]
    assert len(page.context.pages) == 1


def test_a_link_shows_where_it_leads_before_it_opens(page: Page, fake: FakeService):
    terminal = a_terminal(page, fake)
    terminal.say(b"\x1b[2J\x1b[H\x1b]8;;https://elsewhere.invalid/x\x07https://bank.example\x1b]8;;\x07 done")
    expect(screen(page)).to_contain_text("done")
    box = screen(page).bounding_box()
    assert box
    page.mouse.move(box["x"] + 18, box["y"] + 9)
    page.mouse.click(box["x"] + 20, box["y"] + 8)
    dialog = page.get_by_role("dialog", name="Open this link?")
    expect(dialog).to_contain_text("https://elsewhere.invalid/x")
    dialog.get_by_role("button", name="Cancel").click()
    assert len(page.context.pages) == 1
