"""What a sandbox serves, looked at from the page: a chip, a preview, a tab, a link. The real service, real servers."""

import re
from collections.abc import Iterator

import pytest
from chat_page import open_page, send
from playwright.sync_api import Browser, FrameLocator, Locator, Page, Route, expect

KERNEL_MS = 60_000
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
APP = '''
import asyncio, sys
from pathlib import Path
from tornado import web, websocket

PAGE = """<!doctype html><meta charset="utf-8"><title>The app</title><link rel="stylesheet" href="static/app.css">
<h1>The app</h1><p id="told">…</p><p id="wrote">…</p><p id="socket">…</p><a href="second">Second page</a>
<form method="post" action="form"><input name="word" value="posted"><button>Post it</button></form>
<script type="module" src="static/app.js"></script>"""
SCRIPT = """import { base } from "./base.js";
document.getElementById("told").textContent = await (await fetch("api/word")).text();
const put = await fetch("api/word", { method: "PUT", headers: { "Content-Type": "application/json" }, body: "[1]" });
document.getElementById("wrote").textContent = (await put.text()) + " " + put.headers.get("X-Told");
const address = new URL("socket", base);
address.protocol = address.protocol.replace("http", "ws");
const socket = new WebSocket(address);
socket.onopen = () => socket.send("over the socket");
socket.onmessage = (message) => { document.getElementById("socket").textContent = message.data; };
"""

class Page(web.RequestHandler):
    def get(self):
        self.set_cookie("visits", str(int(self.get_cookie("visits", "0")) + 1))
        self.write(PAGE)

class Word(web.RequestHandler):
    def get(self):
        self.write("told by fetch, visit " + self.get_cookie("visits", "?"))
    def put(self):
        self.set_header("X-Told", "and read")
        self.write("wrote " + self.request.body.decode())

class Form(web.RequestHandler):
    def post(self):
        self.redirect("/second?word=" + self.get_body_argument("word"))

class Second(web.RequestHandler):
    def get(self):
        self.write("<h1>Second, " + self.get_query_argument("word", "nothing") + "</h1><a href='./'>Back</a>")

class Socket(websocket.WebSocketHandler):
    def on_message(self, message):
        self.write_message("heard " + message)

class Static(web.RequestHandler):
    def get(self, name):
        base = "export const base = document.baseURI;"
        body = {"app.js": SCRIPT, "base.js": base, "app.css": "h1 { color: rgb(0, 128, 0) }"}[name]
        self.set_header("Content-Type", "text/css" if name.endswith("css") else "text/javascript")
        self.write(body)

async def main():
    web.Application([(r"/", Page), (r"/api/word", Word), (r"/form", Form), (r"/second", Second), (r"/socket", Socket),
                     (r"/static/(.*)", Static)]).listen(8000)
    await asyncio.Event().wait()

asyncio.run(main())
'''
START = """from pathlib import Path
import subprocess, sys
Path("app.py").write_text({app!r})
server = subprocess.Popen([sys.executable, "app.py"])
print("started")"""


def chip(page: Page, port: int = 8000) -> Locator:
    return page.get_by_role("button", name=f"Port {port} · preview")


def panel(page: Page) -> Locator:
    return page.get_by_role("complementary", name="Preview")


def framed(page: Page) -> FrameLocator:
    return panel(page).frame_locator("iframe")


def serve(page: Page, service) -> None:
    """A turn starts the application. It has ended then: until that Enter would send nothing."""
    open_page(page, f"{service.url}?token={service.key}")
    send(page, START.format(app=APP))
    expect(chip(page)).to_be_visible(timeout=KERNEL_MS)
    # Not the sentence that says so: the one about the port may take its place at once.
    expect(page.locator(".busy")).to_have_count(0)


@pytest.fixture
def served(page: Page, service) -> Iterator[Page]:
    serve(page, service)
    return page


def test_a_server_that_a_turn_started_is_previewed_with_scripts_requests_and_sockets(served: Page):
    assert chip(served).get_attribute("aria-expanded") == "false"
    chip(served).press("Enter")
    app = framed(served)
    expect(app.get_by_role("heading", name="The app")).to_have_css("color", "rgb(0, 128, 0)")
    expect(app.locator("#told")).to_have_text("told by fetch, visit 1")
    expect(app.locator("#wrote")).to_have_text("wrote [1] and read")
    expect(app.locator("#socket")).to_have_text("heard over the socket")
    assert panel(served).locator("iframe").get_attribute("sandbox") == (
        "allow-scripts allow-forms allow-popups allow-modals allow-downloads"
    )
    app.get_by_role("button", name="Post it").click()
    expect(app.get_by_role("heading", name="Second, posted")).to_be_visible()
    app.get_by_role("link", name="Back").click()
    expect(app.locator("#told")).to_have_text("told by fetch, visit 2")
    panel(served).get_by_role("button", name="Load it again").click()
    expect(app.locator("#told")).to_have_text("told by fetch, visit 3")


def test_the_preview_is_hidden_by_keyboard_and_the_focus_goes_back(served: Page):
    chip(served).press("Enter")
    expect(panel(served).get_by_role("heading", name="Port 8000")).to_be_focused()
    served.keyboard.press("Escape")
    expect(panel(served)).to_be_hidden()
    expect(panel(served).locator("iframe")).to_have_count(0)
    expect(chip(served)).to_be_focused()
    chip(served).press("Enter")
    served.get_by_role("button", name="Files", exact=True).click()
    expect(panel(served)).to_be_hidden()
    expect(chip(served)).to_have_attribute("aria-expanded", "false")


def test_the_focus_stays_where_it_was_put_while_the_preview_loads(served: Page):
    held: list[Route] = []
    looks = re.compile(r"/v1/sandboxes/\w+/ports$")
    served.route(looks, lambda route: held.append(route))  # noqa: PLW0108 - playwright takes no builtin
    chip(served).click()
    expect(panel(served).get_by_role("heading", name="Port 8000")).to_be_focused()
    served.get_by_label("Message", exact=True).focus()
    expect(framed(served).get_by_role("heading", name="The app")).to_be_visible()
    for route in held:
        with served.expect_response(looks):
            route.continue_()
    served.evaluate("() => new Promise((done) => setTimeout(done))")  # after what awaits the answer
    expect(served.get_by_label("Message", exact=True)).to_be_focused()


def test_it_opens_in_a_tab_which_has_no_hold_on_the_page(served: Page):
    chip(served).click()
    with served.context.expect_page() as opened:
        panel(served).get_by_role("link", name="Open in a tab").click()
    tab = opened.value
    expect(tab.locator("#socket")).to_have_text("heard over the socket")
    assert re.search(r"/sandboxes/sbx_\w+/ports/8000/~v\.[\w-]+/$", tab.url)
    assert tab.evaluate("[window.opener, window.origin]") == [None, "null"]


def test_a_link_shows_it_to_somebody_else_until_it_is_ended(served: Page, browser: Browser):
    served.context.grant_permissions(["clipboard-read", "clipboard-write"])
    chip(served).click()
    panel(served).get_by_role("button", name="Copy a link to show it to others").click()
    expect(panel(served)).to_contain_text("Copied. Whoever has this link sees the port until")
    link = panel(served).get_by_label("The link").input_value()
    assert served.evaluate("navigator.clipboard.readText()") == link
    other = browser.new_context()
    tab = other.new_page()
    tab.goto(link)
    expect(tab.locator("#socket")).to_have_text("heard over the socket")
    expect(tab.locator("#told")).to_have_text("told by fetch, visit 1")
    panel(served).get_by_role("button", name="End all links").click()
    expect(panel(served)).to_contain_text("The links to this port have ended.")
    tab.reload()
    expect(tab.get_by_text("This link was revoked.")).to_be_visible()
    other.close()


def test_a_server_that_ends_takes_its_chip_along(served: Page):
    chip(served).click()
    send(served, "server.kill(); server.wait(); print('ended')")
    expect(chip(served)).to_have_count(0, timeout=KERNEL_MS)
    expect(panel(served)).to_contain_text("Nothing listens on port 8000 any more.")
    panel(served).get_by_role("button", name="Load it again").click()
    expect(framed(served).get_by_text("Nothing listens on port 8000 in this sandbox")).to_be_visible()
    served.get_by_role("button", name="New sandbox", exact=True).click()
    expect(panel(served)).to_be_hidden()


def test_a_directory_is_served_by_python_itself(page: Page, service):
    open_page(page, f"{service.url}?token={service.key}")
    send(page, "open('hello.txt', 'w').write('hello')\nimport subprocess, sys\n"
         "s = subprocess.Popen([sys.executable, '-m', 'http.server', '9000'])")  # fmt: skip
    chip(page, 9000).click(timeout=KERNEL_MS)
    framed(page).get_by_role("link", name="hello.txt").click()
    expect(framed(page).get_by_text("hello")).to_be_visible()


def test_a_phone_shows_the_preview_alone(browser: Browser, service):
    context = browser.new_context(**PHONE)
    page = context.new_page()
    page.set_default_timeout(KERNEL_MS)
    serve(page, service)
    chip(page).click()
    expect(framed(page).locator("#socket")).to_have_text("heard over the socket")
    assert panel(page).bounding_box() == {"x": 0, "y": 0, "width": 390, "height": 844}
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    panel(page).get_by_role("button", name="Hide the preview").click()
    expect(page.get_by_label("Message", exact=True)).to_be_visible()
    context.close()
