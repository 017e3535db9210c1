"""A real browser for the chat page, and the scripted service for what a real one cannot be asked to do on cue."""

from collections.abc import Iterator

import fake_terminals
import pytest
from fake_service import FakeService
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CHROMIUM = "/usr/bin/chromium"
BOUND_MS = 60_000

expect.set_options(timeout=BOUND_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A module's own: while it runs, playwright has an event loop running in this thread, where others need theirs."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile: no cookie, no stored choice. Light, so that pictures of the page compare."""
    fresh = browser.new_context(viewport={"width": 1280, "height": 860}, color_scheme="light")
    fresh.set_default_timeout(BOUND_MS)
    yield fresh
    fresh.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab that fails its test when a script of the page threw or the CSP refused something."""
    troubles: list[str] = []
    tab = context.new_page()
    tab.on("pageerror", lambda error: troubles.append(str(error)))
    tab.on("console", lambda line: troubles.append(line.text) if "Content Security Policy" in line.text else None)
    yield tab
    assert troubles == []


@pytest.fixture
def fake() -> Iterator[FakeService]:
    """The scripted service, running; its address is ``fake.url``."""
    service = FakeService(*fake_terminals.ROUTES)
    with service.serve():
        yield service
