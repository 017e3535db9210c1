"""What a sandbox may reach, on the page: shown, chosen, changed; and what was refused. Scripted service."""

from chat_page import ask, open_page
from fake_service import FakeService
from playwright.sync_api import Locator, Page, expect
from scripted_events import code, stream

WHY = "elsewhere.example.net:80 is not allowed: this sandbox's egress allows files.example.org"


def network_of(page: Page) -> Locator:
    return page.get_by_title("What it may reach")


def change(page: Page, label: str, rules: str = "") -> None:
    network_of(page).click()
    dialog = page.get_by_role("dialog", name="Network")
    dialog.get_by_label("What it may reach").select_option(label=label)
    if rules:
        dialog.get_by_label("Hosts, one a line").fill(rules)
    dialog.get_by_role("button", name="Change it").click()
    expect(dialog).to_have_count(0)


def test_the_network_is_shown_and_changed(page: Page, fake: FakeService):
    sandbox = fake.add("python-datasci")
    open_page(page, f"{fake.url}#{sandbox.id}")
    expect(network_of(page)).to_have_text("internet")
    change(page, "Nothing")
    expect(network_of(page)).to_have_text("no network")
    change(page, "Only these hosts", "files.example.org\n *.example.com:443 \n\n")
    expect(network_of(page)).to_have_text("only files.example.org and 1 more")
    assert sandbox.egress == {"allow": ["files.example.org", "*.example.com:443"]}
    network_of(page).click()
    expect(page.get_by_label("Hosts, one a line")).to_have_value("files.example.org\n*.example.com:443")
    page.get_by_role("button", name="Cancel").click()
    expect(network_of(page)).to_have_text("only files.example.org and 1 more")


def test_a_rule_that_is_none_is_told_with_the_services_sentence_and_changes_nothing(page: Page, fake: FakeService):
    sandbox = fake.add("python-datasci")
    open_page(page, f"{fake.url}#{sandbox.id}")
    change(page, "Only these hosts", "two words")
    expect(page.locator(".toast")).to_contain_text("'two words', which is no host name")
    expect(network_of(page)).to_have_text("internet")


def test_a_new_sandbox_has_the_network_that_was_chosen_or_the_usual_one(page: Page, fake: FakeService):
    open_page(page, fake.url)
    for label, asked in (("As usual here", True), ("Only these hosts", {"allow": ["files.example.org"]})):
        page.get_by_role("button", name="New sandbox from a template").click()
        page.get_by_role("menuitem", name="With options").click()
        dialog = page.get_by_role("dialog", name="New sandbox")
        dialog.get_by_label("What it may reach").select_option(label=label)
        if isinstance(asked, dict):
            dialog.get_by_label("Hosts, one a line").fill("files.example.org")
        dialog.get_by_role("button", name="Create it").click()
        expect(network_of(page)).to_have_text("internet" if asked is True else "only files.example.org")
        assert list(fake.sandboxes.values())[-1].egress == asked


def test_a_refused_connection_is_a_quiet_sentence_below_its_cell_and_no_markup(page: Page, fake: FakeService):
    notice = {"type": "notice", "data": {"code": "network_refused", "message": f"{WHY} <b>", "cell_id": "c1"}}
    start, out, end = code("c1", "ask()", stream("403\n"))
    fake.scripts["ask"] = [start, out, notice, end]
    open_page(page, fake.url)
    ask(page, "ask")
    expect(page.locator(".cell-code .notices")).to_have_text(f"{WHY} <b>")
    expect(page.locator(".cell-code .outputs")).to_have_text("403")
    expect(page.locator(".toast")).to_have_count(0)
