"""What a person does on the chat page, in words; the tests read as these."""

from playwright.sync_api import Locator, Page, expect


def open_page(page: Page, url: str) -> None:
    """Open the page and wait until it has spoken with the service."""
    page.goto(url)
    expect(page.locator(".welcome, .cell").first).to_be_visible()


def send(page: Page, message: str) -> None:
    """Write a message and send it, without waiting for its turn."""
    page.get_by_label("Message", exact=True).fill(message)
    page.keyboard.press("Enter")


def ask(page: Page, message: str) -> None:
    """Send a message and wait for the end of its turn."""
    send(page, message)
    expect(page.get_by_role("status").filter(has_text="The answer is complete.")).to_have_count(1)


def outputs(page: Page) -> Locator:
    """The outputs of the last code cell."""
    return page.locator(".cell-code").last.locator(".outputs")
