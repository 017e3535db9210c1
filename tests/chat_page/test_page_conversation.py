"""The conversation on the page: turns that run, break, stop, ask, are refused. Scripted service."""

import re

from chat_page import ask, open_page, outputs, send
from fake_service import KEY, FakeService
from playwright.sync_api import Page, Route, expect
from scripted_events import CUT, HOLD, code, says, stream

WRITES_ON = re.compile(r"running")


def test_a_turn_fills_its_cells_while_it_runs(page: Page, fake: FakeService):
    fake.scripts["count"] = [
        *code("c1", "count()", stream("one\n"), HOLD, stream("two\n"), count=7),
        *says("a1", "That was ", "**all**."),
    ]
    open_page(page, fake.url)
    send(page, "count")

    expect(outputs(page)).to_have_text("one")
    expect(page.locator(".cell-state")).to_have_text(WRITES_ON)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()

    fake.release()
    expect(outputs(page)).to_have_text("one\ntwo")
    expect(page.locator(".count")).to_have_text("[7]")
    expect(page.locator(".cell-assistant strong")).to_have_text("all")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_torn_stream_is_taken_up_again_without_loss_or_repetition(page: Page, fake: FakeService):
    fake.scripts["long"] = [*code("c1", "f()", stream("a\n"), CUT, stream("b\n"), HOLD, stream("c\n"))]
    open_page(page, fake.url)
    send(page, "long")

    expect(outputs(page)).to_have_text("a\nb")
    fake.release()
    expect(outputs(page)).to_have_text("a\nb\nc")
    expect(page.get_by_text("The connection is lost")).to_have_count(0)


def test_a_reload_in_mid_turn_shows_the_notebook_and_follows_the_turn(page: Page, fake: FakeService):
    fake.scripts["before"] = code("c0", "x = 1", stream("kept\n"))
    fake.scripts["now"] = code("c1", "f()", stream("first\n"), HOLD, stream("last\n"))
    open_page(page, fake.url)
    ask(page, "before")
    send(page, "now")
    expect(outputs(page)).to_have_text("first")

    page.reload()

    expect(page.locator(".cell-code .outputs").first).to_have_text("kept")
    expect(outputs(page)).to_have_text("first")
    fake.release()
    expect(outputs(page)).to_have_text("first\nlast")
    expect(page.locator(".cell-code")).to_have_count(2)


def test_a_message_sent_while_the_notebook_is_still_read_shows_its_turn(page: Page, fake: FakeService):
    fake.scripts["quick"] = code("c1", "print(1)", stream("1\n"))
    held: list[Route] = []
    page.route("**/notebook", lambda route: held.append(route))  # noqa: PLW0108 - playwright takes no builtin
    page.goto(f"{fake.url}#{fake.add().id}")
    expect(page.locator(".title-detail")).to_contain_text("ready")

    send(page, "quick")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.evaluate("fetch(document.baseURI)")  # were the message on its way already, its turn would be over after this
    assert held
    for route in held:
        route.fulfill(json={"cells": []})  # as it was before the message
    expect(page.get_by_text("Opening the notebook")).to_be_hidden()

    expect(outputs(page)).to_have_text("1")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_escape_stops_the_turn(page: Page, fake: FakeService):
    fake.scripts["for ever"] = code("c1", "while True: pass", stream("busy\n"), HOLD)
    open_page(page, fake.url)
    send(page, "for ever")
    expect(outputs(page)).to_have_text("busy")

    page.keyboard.press("Escape")

    expect(page.locator(".turn-problem")).to_have_text("Stopped.")
    expect(page.locator(".cell-state")).to_contain_text("stopped")


def test_a_message_that_the_service_refuses_comes_back_with_its_sentence(page: Page, fake: FakeService):
    fake.refuse["POST .*/chat$"] = (
        429,
        {"error": "You have 5 turns running; wait for one.", "code": "quota", "details": {}},
    )
    open_page(page, fake.url)
    send(page, "please")

    expect(page.get_by_text("You have 5 turns running; wait for one.")).to_be_visible()
    expect(page.get_by_label("Message", exact=True)).to_have_value("please")
    fake.refuse.clear()
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".cell-user")).to_contain_text("please")


def test_a_missing_key_is_asked_for_with_where_to_find_it(page: Page, fake: FakeService):
    fake.open_keys = False
    page.goto(fake.url)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("printed when the service started")

    dialog.get_by_label("Key").fill("wrong")
    dialog.get_by_role("button", name="Open my notebooks").click()
    expect(page.get_by_role("dialog")).to_contain_text("was not accepted")
    page.get_by_role("dialog").get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")

    expect(page.locator(".welcome")).to_be_visible()
    page.reload()
    expect(page.locator(".welcome")).to_be_visible()


def test_a_closed_sandbox_stays_readable_and_takes_no_message(page: Page, fake: FakeService):
    fake.scripts["hello"] = code("c1", "print('hello')", stream("hello\n"))
    open_page(page, fake.url)
    ask(page, "hello")
    fake.close(next(iter(fake.sandboxes.values())))

    page.reload()

    expect(outputs(page)).to_have_text("hello")
    expect(page.get_by_text("It was idle for 30 minutes. Its notebook stays readable.")).to_be_visible()
    expect(page.get_by_label("Message", exact=True)).to_be_disabled()


def test_a_run_waits_for_the_persons_yes(page: Page, fake: FakeService):
    fake.models = [{"name": "test:model", "label": "Test"}, {"name": "direct", "label": "Direct"}]
    request = {"tool_call_id": "call-1", "source": "rm -rf data", "language": "bash"}
    fake.scripts["clean up"] = [
        {"type": "approval-request", "data": request},
        HOLD,
        *code("c1", "%%bash\nrm -rf data", stream("gone\n")),
    ]
    open_page(page, fake.url)
    page.get_by_label("Ask first").check()
    send(page, "clean up")

    question = page.get_by_role("alertdialog")
    expect(question).to_contain_text("rm -rf data")
    question.get_by_role("button", name="Run it").click()

    expect(outputs(page)).to_have_text("gone")
    expect(question).to_have_count(0)
    assert fake.approvals == [{"tool_call_id": "call-1", "approved": True}]
    assert fake.sent == [{"message": "clean up", "model": "test:model", "approve": "ask"}]


def test_code_that_ran_as_it_was_sent_is_shown_once(page: Page, fake: FakeService):
    message = "Count them:\n```python\nlen(rows)\n```"
    fake.scripts[message] = code("c1", "len(rows)", stream("3\n"))
    open_page(page, fake.url)
    page.get_by_label("Message", exact=True).fill(message)
    page.get_by_role("button", name="Send").click()

    expect(outputs(page)).to_have_text("3")
    expect(page.locator(".cells").get_by_text("len(rows)")).to_have_count(1)
    expect(page.locator(".cell-user")).to_have_text(re.compile(r"Count them:\s*python, 1 line ↓"))


def test_an_uploaded_file_lands_in_the_workspace_and_is_mentioned_to_the_agent(page: Page, fake: FakeService):
    fake.models = [{"name": "test:model", "label": "Test"}, {"name": "direct", "label": "Direct"}]
    open_page(page, fake.url)
    page.locator("input[type=file]").set_input_files({"name": "été 1.csv", "mimeType": "text/csv", "buffer": b"a\n1\n"})
    expect(page.locator(".chip[data-file]")).to_contain_text("été 1.csv")
    page.get_by_role("button", name="Files", exact=True).click()
    expect(page.get_by_role("complementary")).to_contain_text("été 1.csv")
    send(page, "read it")

    expect(page.locator(".cell-user")).to_contain_text("New in the workspace: été 1.csv")
    (sandbox,) = fake.sandboxes.values()
    assert sandbox.files == {"été 1.csv": b"a\n1\n"}


def test_what_is_sent_while_a_sandbox_is_started_goes_to_that_one(page: Page, fake: FakeService):
    open_page(page, fake.url)
    held: list[Route] = []
    page.route("**/v1/sandboxes", lambda route: held.append(route))  # noqa: PLW0108 - playwright takes no builtin
    file = {"name": "rain.csv", "mimeType": "text/csv", "buffer": b"1"}
    page.locator("input[type=file]").set_input_files(file)
    expect(page.locator(".chip")).to_contain_text("rain.csv")
    expect(page.get_by_text("Starting a sandbox")).to_be_visible()
    send(page, "1 + 1")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()

    for route in held:
        route.continue_()

    expect(page.get_by_role("button", name="Send")).to_be_visible()
    (sandbox,) = fake.sandboxes.values()
    assert (sandbox.files, [turn.message for turn in sandbox.turns]) == ({"rain.csv": b"1"}, ["1 + 1"])


def test_the_notebook_is_downloaded_under_its_title(page: Page, fake: FakeService):
    fake.scripts["sum it up"] = code("c1", "1 + 1")
    open_page(page, fake.url)
    ask(page, "sum it up")

    page.get_by_role("button", name="Download the notebook").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Notebook").click()

    assert download.value.suggested_filename == "sum-it-up.ipynb"


def test_the_page_works_under_a_prefix(page: Page):
    service = FakeService()
    service.scripts["hello"] = code("c1", "print('hello')", stream("hello\n"))
    with service.serve("/user/ann") as url:
        open_page(page, f"{url}?token={KEY}")
        ask(page, "hello")
        expect(outputs(page)).to_have_text("hello")
        assert "token" not in page.url
        assert page.url.startswith(f"{url}#sbx_")


def test_the_end_stays_in_view_unless_the_person_scrolled_away(page: Page, fake: FakeService):
    lines = [
        stream("".join(f"{part}.{line}\n" for line in range(30)), name)
        for part, name in enumerate(("stdout", "stderr") * 4)
    ]
    fake.scripts["much"] = code("c1", "f()", *lines[:4], HOLD, *lines[4:], HOLD, stream("the end\n"))
    open_page(page, fake.url)
    send(page, "much")
    expect(outputs(page).get_by_text("3.29")).to_be_in_viewport()
    fake.release()
    expect(outputs(page).get_by_text("7.29")).to_be_in_viewport()

    page.locator(".scroller").hover()
    page.mouse.wheel(0, -2000)
    expect(page.get_by_role("button", name="To the latest")).to_be_visible()
    fake.release()
    expect(outputs(page)).to_contain_text("the end")
    expect(outputs(page).get_by_text("the end")).not_to_be_in_viewport()
    page.get_by_role("button", name="To the latest").click()
    expect(outputs(page).get_by_text("the end")).to_be_in_viewport()


LISTS = re.compile(r"/v1/sandboxes\?")
DRAWN = """async () => {
  for (let frame = 0; frame < 10; frame += 1) await new Promise((next) => requestAnimationFrame(next));
}"""
LOOK_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"


def test_a_list_that_was_asked_for_before_a_sandbox_was_made_does_not_take_it_away(page: Page, fake: FakeService):
    fake.scripts["wait"] = code("c1", "f()", stream("first\n"), HOLD)
    open_page(page, fake.url)
    held: list[Route] = []
    page.route(LISTS, lambda route: held.append(route), times=1)  # noqa: PLW0108 - playwright takes no builtin
    with page.expect_request(LISTS):
        page.evaluate(LOOK_AGAIN)
    send(page, "wait")
    expect(page.locator(".title-detail")).to_contain_text("running")
    expect(outputs(page)).to_have_text("first")

    held[0].fulfill(json={"sandboxes": [], "next_cursor": None})
    page.evaluate(DRAWN)

    assert page.get_by_role("heading", level=1).inner_text() == "wait"  # now: the next list would have it again


def test_an_open_sandbox_that_the_list_does_not_reach_stays_what_it_is(page: Page, fake: FakeService):
    old = fake.add()
    page.route(LISTS, lambda route: route.fulfill(json={"sandboxes": [], "next_cursor": None}))
    page.goto(f"{fake.url}#{old.id}")
    expect(page.locator(".title-detail")).to_contain_text("ready")

    with page.expect_response(re.compile(rf"/v1/sandboxes/{old.id}$")):
        page.evaluate(LOOK_AGAIN)
    page.evaluate(DRAWN)

    assert "ready" in page.locator(".title-detail").inner_text()
