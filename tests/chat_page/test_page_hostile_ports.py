"""What a hostile page of a sandbox tries in its owner's browser: it cannot act as the owner, in a tab or in a preview.

Negative control: the same page without the service's policy on its answers does.
"""

import json
from collections.abc import Iterator

import httpx
import pytest
from chat_page import open_page
from playwright.sync_api import BrowserContext, Frame, Page, Route, expect

KERNEL_MS = 60_000
SERVER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        if self.path.startswith("/worker.js"):
            self.send_header("Content-Type", "text/javascript")
            self.send_header("Service-Worker-Allowed", "/")
        else:
            self.send_header("Content-Type", "text/html")
        loose = "sandbox allow-scripts allow-forms allow-same-origin allow-top-navigation"
        self.send_header("Content-Security-Policy", loose)
        self.send_header("Set-Cookie", "_xsrf=over; Path=/")
        self.send_header("Set-Cookie", "planted=yes; Path=/podflare")
        self.end_headers()
        self.wfile.write(b"" if "worker" in self.path else b"<!doctype html><h1>Hostile</h1>")
    def log_message(self, *_):
        pass

print("listening", flush=True)
ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
"""
START = (
    "import subprocess, sys\nfrom pathlib import Path\nPath('hostile.py').write_text({server!r})\n"
    "server = subprocess.Popen([sys.executable, 'hostile.py'], stdout=subprocess.PIPE)\nserver.stdout.readline()"
)
TRIES = {
    "reads cookies": "document.cookie",
    "plants a cookie": "(document.cookie = 'mine=1; path=/', document.cookie.includes('mine') || null)",
    "reads what the page stored": "Object.keys(localStorage).length + 1",
    "registers a service worker": "await navigator.serviceWorker.register('worker.js').then(() => 'registered')",
    "lists the sandboxes": (
        "await fetch('/podflare/v1/sandboxes', {credentials: 'include'})"
        ".then(async (one) => one.ok ? (await one.json()).sandboxes.length : null)"
    ),
    "makes a sandbox": (
        "await fetch('/podflare/v1/sandboxes', {method: 'POST', credentials: 'include', body: '{}', headers: "
        "{'X-XSRFToken': /_xsrf=([^;]*)/.exec(document.cookie)?.[1]}}).then((one) => one.ok || null)"
    ),
    "reads the page in a frame": (
        "await new Promise((tell) => { const frame = document.createElement('iframe'); "
        "frame.onload = () => tell(frame.contentDocument?.body.innerText ?? null); "
        "frame.src = '/podflare/v1/templates'; document.body.append(frame); })"
    ),
}
"""What each gives where it succeeds is not null; it throws, or gives null, where it does not."""
TRY = (
    "async () => {{ const late = new Promise((tell) => setTimeout(() => tell(null), {most})); "
    "try {{ return await Promise.race([late, (async () => ({code}))()]); }} catch (error) {{ return null; }} }}"
)


@pytest.fixture(scope="module")
def hostile(service) -> Iterator[str]:
    """The URL of a port that serves hostile pages."""
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.key}"}, timeout=60) as http:
        sandbox = http.post("/v1/sandboxes", json={"template": "python-minimal"}).json()["id"]
        ran = http.post(f"/v1/sandboxes/{sandbox}/exec", json={"code": START.format(server=SERVER)})
        assert '"type":"error"' not in ran.text.replace(" ", ""), ran.text
        yield f"{service.url}/sandboxes/{sandbox}/ports/8000/"
        http.delete(f"/v1/sandboxes/{sandbox}")


@pytest.fixture
def owner(context: BrowserContext, service) -> Page:
    """A tab whose person is logged in."""
    tab = context.new_page()
    open_page(tab, f"{service.url}?token={service.key}")
    return tab


def without_policy(route: Route) -> None:
    """The negative control: the answer as the program gave it."""
    answer = route.fetch()
    headers = {name: value for name, value in answer.headers.items() if name.lower() != "content-security-policy"}
    route.fulfill(response=answer, headers=headers)


def outcomes(frame: Page | Frame, most: int = KERNEL_MS // 6) -> dict:
    """What comes of every try within so many milliseconds: where it is stopped, it may never come to anything."""
    return {name: frame.evaluate(TRY.format(most=most, code=code)) for name, code in TRIES.items()}


def test_a_page_in_a_tab_cannot_act_as_its_owner(owner: Page, hostile: str):
    owner.goto(hostile)
    expect(owner.get_by_role("heading", name="Hostile")).to_be_visible()
    assert owner.evaluate("window.origin") == "null"
    assert outcomes(owner) == dict.fromkeys(TRIES)


def test_without_the_policy_it_could(owner: Page, hostile: str, service):
    visit = owner.request.get(hostile, max_redirects=0).headers["location"]
    owner.route("**/ports/8000/**", without_policy)
    owner.goto(f"{service.url.removesuffix('/podflare')}{visit}")
    expect(owner.get_by_role("heading", name="Hostile")).to_be_visible()
    found = outcomes(owner, KERNEL_MS)
    stopped_elsewhere = {"registers a service worker"}
    """The service refuses to give a worker's script, whatever the page's origin."""
    assert {name for name, outcome in found.items() if outcome is None} == stopped_elsewhere, found


def test_a_page_in_a_preview_cannot_reach_the_page_around_it(owner: Page, hostile: str, service):
    sandbox = hostile.split("/")[-4]
    owner.goto(f"{service.url}#{sandbox}")
    owner.get_by_role("button", name="Port 8000 · preview").click(timeout=KERNEL_MS)
    expect(
        owner.get_by_role("complementary", name="Preview").frame_locator("iframe").get_by_text("Hostile")
    ).to_be_visible()
    (frame,) = [each for each in owner.frames if "/ports/8000/" in each.url]
    assert outcomes(frame) == dict.fromkeys(TRIES)
    assert frame.evaluate(TRY.format(most=KERNEL_MS // 6, code="parent.document.title")) is None
    assert frame.evaluate(TRY.format(most=KERNEL_MS // 6, code="(top.location = '/podflare#gone', true)")) is None
    assert frame.evaluate(TRY.format(most=KERNEL_MS // 6, code="window.open('/podflare').document.title")) is None
    assert owner.url == f"{service.url}#{sandbox}"


def test_no_cookie_of_a_program_reaches_the_browser(owner: Page, hostile: str, service):
    before = {(each["name"], each["value"]) for each in owner.context.cookies()}
    owner.goto(hostile)
    expect(owner.get_by_role("heading", name="Hostile")).to_be_visible()
    assert {(each["name"], each["value"]) for each in owner.context.cookies()} == before
    assert json.loads(owner.request.get(f"{service.url}/v1/sandboxes").text())["sandboxes"]  # still logged in


def test_a_page_cannot_post_a_form_to_the_service(owner: Page, hostile: str, service):
    count = len(owner.request.get(f"{service.url}/v1/sandboxes").json()["sandboxes"])
    owner.goto(hostile)
    with owner.expect_response("**/v1/sandboxes") as answer:
        owner.evaluate(
            "() => { const form = document.createElement('form'); form.method = 'post'; "
            "form.action = '/podflare/v1/sandboxes'; form.enctype = 'text/plain'; "
            "document.body.append(form); form.submit(); }"
        )
    assert answer.value.status in {401, 403}
    assert len(owner.request.get(f"{service.url}/v1/sandboxes").json()["sandboxes"]) == count
