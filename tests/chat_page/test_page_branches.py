"""Branches on the page: the tree, switching, comparing, merging, going back. Scripted service."""

import re

import pytest
from chat_page import ask, open_page, send
from fake_service import FakeService, Sandbox
from playwright.sync_api import Browser, Locator, Page, expect
from scripted_events import HOLD, code, display, says, stream

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def a_conversation(page: Page, fake: FakeService) -> Sandbox:
    """One turn in one sandbox, with the tree beside it."""
    fake.scripts["load"] = code("c1", "df = load()", stream("100 rows\n"))
    open_page(page, fake.url)
    ask(page, "load")
    page.get_by_role("button", name="Branches", exact=True).click()
    return next(iter(fake.sandboxes.values()))


def panel(page: Page) -> Locator:
    return page.get_by_role("complementary", name="Branches of the sandbox")


def fork(page: Page, size: str) -> None:
    panel(page).get_by_role("button", name="Fork").click()
    page.get_by_role("menuitem", name=size).click()


def row(page: Page, name: str) -> Locator:
    return panel(page).locator(".branch-row").filter(has=page.get_by_role("link", name=re.compile(f"^{name}")))


def test_a_fork_shows_its_branches_as_a_tree_and_one_click_switches(page: Page, fake: FakeService):
    a_conversation(page, fake)
    expect(panel(page)).to_contain_text("A fork is this sandbox once more")
    fork(page, "2 branches")

    expect(panel(page).get_by_role("link")).to_have_text(
        [re.compile("Main"), re.compile("Branch 1"), re.compile("Branch 2")]
    )
    assert fake.forked == [{"n": 2}]
    expect(page.get_by_text("Forked into Branch 1, Branch 2.")).to_be_visible()
    expect(page.locator(".button-count")).to_have_text("2")
    fork(page, "One branch")
    row(page, "Branch 2").get_by_role("link").click()
    expect(page.locator(".title-detail")).to_have_text("Branch 2 · python-datasci · ready")
    expect(page.locator(".cell-code .outputs")).to_have_text("100 rows")
    fork(page, "One branch")

    inner = panel(page).locator(".tree ul ul").get_by_role("link")
    expect(inner).to_have_text([re.compile("Branch 4")])
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_count(1)  # a family is one line of the list
    expect(page.locator(".branch-count")).to_have_text("4")


def test_what_did_not_come_along_is_said(page: Page, fake: FakeService):
    a_conversation(page, fake)
    fake.warnings = ["The thread 'worker' stays with the parent."]
    fork(page, "One branch")
    expect(page.get_by_text("The thread 'worker' stays with the parent.")).to_be_visible()


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (409, "Code has been running for 30 seconds. Stop it, then fork again."),
        (429, "You may have 5 sandboxes at once. Close one of them first."),
        (503, "Not one branch could be made: the disk is full."),
    ],
)
def test_a_fork_that_is_refused_says_the_services_sentence(page: Page, fake: FakeService, status: int, sentence: str):
    a_conversation(page, fake)
    fake.refuse["POST .*/fork$"] = (status, {"error": sentence, "code": "refused", "details": {}})
    fork(page, "One branch")
    expect(page.get_by_text(sentence)).to_be_visible()
    expect(panel(page).get_by_role("button", name="Fork")).to_be_enabled()
    fake.refuse.clear()
    page.get_by_role("button", name="Try again").click()
    expect(panel(page).get_by_role("link")).to_have_count(2)


def test_two_branches_stand_side_by_side_with_what_differs_and_the_better_one_is_kept(page: Page, fake: FakeService):
    main = a_conversation(page, fake)
    fork(page, "2 branches")
    fake.difference = {
        "files": {
            "added": [{"path": "plot.png", "size": 12_345}],
            "removed": [],
            "modified": [{"path": "data.csv", "size": 10, "other_size": 2_000}],
            "truncated": False,
        },
        "variables": {
            "added": [{"name": "<b>bold</b>", "type": "float", "shape": None, "repr": "0.93"}],
            "removed": [],
            "changed": [
                {
                    "name": "df",
                    "before": {"type": "DataFrame", "shape": [100, 3], "repr": "before"},
                    "after": {"type": "DataFrame", "shape": [90, 3], "repr": "after"},
                }
            ],
            "unknown": ["model"],
            "truncated": False,
        },
        "cells": {"diff": [], "summary": {"added": 2, "removed": 0, "modified": 0}},
    }
    fake.scripts["drop"] = code("d1", "df.dropna()", display(image_png=PIXEL), count=2)
    fake.scripts["fill"] = code("f1", "df.fillna(0)", stream("filled\n"), count=2)
    row(page, "Branch 1").get_by_role("link").click()
    ask(page, "drop")
    row(page, "Branch 2").get_by_role("link").click()
    expect(page.locator(".title-detail")).to_contain_text("Branch 2")
    ask(page, "fill")

    row(page, "Branch 1").get_by_role("button", name="Compare Branch 1 with Branch 2").click()
    dialog = page.get_by_role("dialog", name="Branch 2 beside Branch 1")
    lists = [dialog.locator("h4").filter(has_text=title) for title in ("Variables", "Files", "Cells")]
    for one, told in zip(lists, ("1 changed, 1 added", "1 changed, 1 added", "2 added"), strict=True):
        expect(one.locator("small")).to_have_text(told)
    expect(dialog.get_by_role("row").filter(has_text="plot.png").get_by_role("rowheader")).to_contain_text("added")
    changed = dialog.get_by_role("row").filter(has_text="df")
    expect(changed.get_by_role("cell")).to_have_text(
        [re.compile("DataFrame 100.3before"), re.compile("DataFrame 90.3after")]
    )
    expect(dialog.get_by_role("row").filter(has_text="<b>bold</b>")).to_contain_text("not here")
    expect(dialog.get_by_role("row").filter(has_text="data.csv").get_by_role("cell")).to_have_count(2)
    expect(dialog).to_contain_text("only running them could tell: model")
    expect(dialog.get_by_role("group", name="Cells of Branch 2")).to_contain_text("filled")
    expect(dialog.get_by_role("group", name="Cells of Branch 1").locator("img")).to_be_visible()
    expect(dialog.get_by_text("100 rows")).to_have_count(0)
    dialog.get_by_text("2 cells in common").click()
    expect(dialog.get_by_text("100 rows")).to_be_visible()

    dialog.get_by_role("button", name="Keep Branch 1").click()
    question = page.get_by_role("dialog", name="Merge Branch 1 into Main?")
    expect(question).to_contain_text("Variables and files that Main itself changed since the fork are gone.")
    question.get_by_role("button", name="Merge").click()

    expect(page.locator(".cells .cell-code").last).to_contain_text("df.dropna()")
    assert page.url.endswith(main.id)
    expect(row(page, "Branch 1")).to_contain_text("merged into Main")
    expect(row(page, "Branch 2").get_by_role("button", name="Merge Branch 2 into Main")).to_have_count(1)
    row(page, "Branch 1").get_by_role("link").click()
    expect(page.get_by_role("button", name="Open what it was merged into")).to_be_visible()
    expect(page.get_by_label("Message", exact=True)).to_be_disabled()


def test_a_comparison_that_is_refused_still_shows_the_notebooks(page: Page, fake: FakeService):
    a_conversation(page, fake)
    fork(page, "One branch")
    fake.refuse["POST .*/diff$"] = (409, {"error": "Code runs in Branch 1. Try again when it is done.", "code": "busy"})
    row(page, "Branch 1").get_by_role("button", name="Compare").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_have_text("Code runs in Branch 1. Try again when it is done.")
    expect(dialog.get_by_text("2 cells in common")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_merge_that_is_refused_or_not_wanted_changes_nothing(page: Page, fake: FakeService):
    main = a_conversation(page, fake)
    fork(page, "One branch")
    row(page, "Branch 1").get_by_role("button", name="Merge Branch 1 into Main").click()
    page.get_by_role("dialog").get_by_role("button", name="Not now").click()
    fake.refuse["POST .*/merge_into/"] = (409, {"error": "A turn runs in Main. Stop it first.", "code": "conflict"})
    row(page, "Branch 1").get_by_role("button", name="Merge Branch 1 into Main").click()
    page.get_by_role("dialog").get_by_role("button", name="Merge").click()
    expect(page.get_by_text("A turn runs in Main. Stop it first.")).to_be_visible()
    assert [sandbox.state for sandbox in fake.sandboxes.values()] == ["ready", "ready"]
    assert page.url.endswith(main.id)


def test_a_turn_is_rewound_to_and_the_way_not_taken_stays_as_a_branch(page: Page, fake: FakeService):
    fake.scripts["one"] = code("c1", "x = 1", stream("one\n"), count=1)
    fake.scripts["two"] = code("c2", "x = 2", stream("two\n"), count=2)
    open_page(page, fake.url)
    page.get_by_role("button", name="New sandbox from a template").click()
    page.get_by_role("menuitem", name="With options").click()
    dialog = page.get_by_role("dialog", name="New sandbox")
    dialog.get_by_label("Turns to keep").fill("5")
    dialog.get_by_label("Turns to keep").press("Enter")
    expect(page.locator(".title-detail")).to_have_text("python-datasci · ready")
    assert next(iter(fake.sandboxes.values())).checkpoints == 5
    ask(page, "one")
    expect(page.get_by_role("button", name="Rewind to here")).to_have_count(0)  # it is there already
    ask(page, "two")

    page.get_by_role("button", name="Rewind to here").press("Enter")

    expect(page.locator(".cell-code")).to_have_count(1)
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    expect(page.get_by_text("What came after it lives on as Branch 1.")).to_be_visible()
    expect(page.get_by_role("button", name="Rewind to here")).to_have_count(0)
    page.get_by_role("button", name="Open Branch 1").click()
    expect(page.locator(".cell-code")).to_have_count(2)


def test_a_rewind_that_is_refused_says_why(page: Page, fake: FakeService):
    sandbox = fake.add()
    sandbox.checkpoints = 3
    fake.scripts["one"] = code("c1", "x = 1")
    fake.scripts["two"] = code("c2", "x = 2")
    page.goto(f"{fake.url}#{sandbox.id}")
    ask(page, "one")
    ask(page, "two")
    fake.refuse["POST .*/rewind$"] = (404, {"error": "That state is no longer kept.", "code": "not_found"})
    page.get_by_role("button", name="Rewind to here").click()
    expect(page.get_by_text("That state is no longer kept.")).to_be_visible()
    expect(page.locator(".cell-code")).to_have_count(2)


def test_an_agents_branches_are_marked_while_they_run_and_only_what_was_kept_stays(page: Page, fake: FakeService):
    tried, kept = fake.add(), fake.add()
    note = f"*Forked into branches* **a** `{tried.id}`, **b** `{kept.id}`."
    line = {"cell_id": "n1", "cell_type": "markdown", "role": "tool", "source": note}

    def in_branch(name: str, sandbox: Sandbox, cell: str, text: str) -> list[dict]:
        events = code(cell, f"try_{name}()", stream(text))
        events[0]["data"]["branch"] = {"name": name, "sandbox_id": sandbox.id}
        return events

    end = {"branches": [{"name": "a", "sandbox_id": tried.id}]}
    fake.scripts["try"] = [
        {"type": "branch-fork", "data": {"branches": []}},
        {"type": "cell-start", "data": line},
        {"type": "cell-end", "data": {"cell_id": "n1", "status": "ok"}},
        *in_branch("a", tried, "ca", "worse\n"),
        *in_branch("b", kept, "cb", "better\n"),
        HOLD,
        {"type": "branch-merge", "data": {"name": "b", "sandbox_id": kept.id}},
        {"type": "branch-close", "data": end},
        *says("s1", "b it is."),
    ]
    open_page(page, fake.url)
    page.keyboard.press("Control+k")
    send(page, "try")

    expect(page.locator(".branch-badge:visible")).to_have_text(["branch a", "branch b"])
    expect(page.get_by_role("article", name="Branches")).to_contain_text("Forked into branches a notebook, b notebook.")
    main = list(fake.sandboxes.values())[-1]
    turn = main.turns[0]
    fake.release()
    expect(page.get_by_role("status").filter(has_text="The answer is complete.")).to_have_count(1)
    expect(page.locator(".cells")).to_contain_text("better")

    turn.log = [
        event for event in turn.log if event["data"].get("cell_id") != "ca"
    ]  # the notebook has only what was kept
    page.reload()
    expect(page.locator(".cells")).to_contain_text("better")
    expect(page.locator(".cells")).not_to_contain_text("worse")
    page.get_by_role("article", name="Branches").get_by_role("link", name="notebook").first.click()
    expect(page).to_have_url(re.compile(tried.id))


def test_the_question_before_a_run_says_in_which_branch(page: Page, fake: FakeService):
    asked = {"tool_call_id": "t", "source": "f()", "language": "python", "branch": {"name": "a", "sandbox_id": "sbx_1"}}
    fake.scripts["go"] = [{"type": "approval-request", "data": asked}, HOLD]
    open_page(page, fake.url)
    send(page, "go")
    expect(page.get_by_role("alertdialog")).to_contain_text("The agent asks to run this in branch a:")


def test_a_button_that_is_pressed_while_the_tree_changes_is_clicked_all_the_same(page: Page, fake: FakeService):
    a_conversation(page, fake)
    fork(page, "One branch")
    fake.scripts["go on"] = code("c2", "f()", HOLD, stream("done\n"))
    send(page, "go on")
    expect(row(page, "Main")).to_contain_text("running")
    row(page, "Branch 1").get_by_role("button", name="Compare Branch 1 with Main").hover()
    page.mouse.down()
    fake.release()
    expect(page.locator(".title-detail")).to_have_text("python-datasci · ready")
    expect(row(page, "Main")).to_contain_text("running")  # it is not drawn while something is pressed
    page.mouse.up()
    expect(page.get_by_role("dialog", name="Main beside Branch 1")).to_be_visible()
    expect(row(page, "Main")).to_contain_text("ready")


def test_branches_work_by_keyboard_alone(page: Page, fake: FakeService):
    a_conversation(page, fake)
    panel(page).get_by_role("button", name="Fork").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(panel(page).get_by_role("link")).to_have_count(3)
    expect(panel(page).get_by_role("button", name="Fork")).to_be_focused()
    row(page, "Branch 2").get_by_role("link").focus()
    expect(row(page, "Branch 2").locator(".branch-tools")).to_have_css("opacity", "1")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Main beside Branch 2")).to_be_visible()
    page.keyboard.press("Escape")
    row(page, "Branch 1").get_by_role("button", name="Merge Branch 1 into Main").press("Enter")
    page.keyboard.press("Enter")
    expect(row(page, "Branch 1")).to_contain_text("merged into Main")
    expect(row(page, "Branch 1").get_by_role("link")).to_be_focused()
    row(page, "Branch 2").get_by_role("link").press("Enter")
    expect(page.locator(".title-detail")).to_contain_text("Branch 2")


def test_the_panel_takes_the_focus_and_escape_gives_it_back(page: Page, fake: FakeService):
    a_conversation(page, fake)
    fork(page, "One branch")
    opener = page.get_by_role("button", name="Branches (1)")
    expect(panel(page).get_by_role("link")).to_have_count(2)
    panel(page).get_by_role("link").last.focus()
    page.keyboard.press("Escape")
    expect(panel(page)).to_be_hidden()
    expect(opener).to_be_focused()
    expect(opener).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    expect(row(page, "Main").get_by_role("link")).to_be_focused()
    expect(row(page, "Main").get_by_role("link")).to_have_attribute("aria-current", "page")
    expect(opener).to_have_attribute("aria-expanded", "true")


def test_closing_a_branch_asks_first_and_leaves_its_notebook(page: Page, fake: FakeService):
    a_conversation(page, fake)
    fork(page, "One branch")
    row(page, "Branch 1").get_by_role("button", name="Close Branch 1").click()
    page.get_by_role("dialog", name="Close Branch 1?").get_by_role("button", name="Close it").click()
    expect(row(page, "Branch 1")).to_contain_text("closed")
    expect(row(page, "Branch 1").get_by_role("button", name="Merge")).to_have_count(0)
    row(page, "Branch 1").get_by_role("link").click()
    expect(page.locator(".cell-code .outputs")).to_have_text("100 rows")


def test_a_phone_shows_the_tree_and_the_comparison_in_its_width(browser: Browser, fake: FakeService):
    context = browser.new_context(**PHONE)
    page = context.new_page()
    a_conversation(page, fake)
    fork(page, "2 branches")
    expect(panel(page).get_by_role("link")).to_have_count(3)
    row(page, "Branch 2").get_by_role("button", name="Compare").click()
    expect(page.get_by_role("dialog").get_by_text("2 cells in common")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["viewport"]["width"]
    assert page.evaluate("document.querySelector('.compare-body').scrollWidth") <= PHONE["viewport"]["width"]
    page.get_by_role("button", name="Close the comparison").click()
    assert panel(page).bounding_box()["width"] == PHONE["viewport"]["width"]
    row(page, "Branch 2").get_by_role("link").click()
    expect(page.locator(".title-detail")).to_contain_text("Branch 2")
    expect(panel(page)).to_be_hidden()  # it covered what was opened
    context.close()


def test_a_service_that_does_not_tell_the_family_leaves_the_rest_of_the_page_working(page: Page, fake: FakeService):
    fake.refuse["GET .*/branches$"] = (503, {"error": "The book of branches cannot be read.", "code": "no_capacity"})
    a_conversation(page, fake)
    expect(panel(page)).to_contain_text("The book of branches cannot be read.")
    expect(page.locator(".cell-code .outputs")).to_have_text("100 rows")
