"""Who reaches a port, and what it cannot do to those who look at it: visits, links, cookies, origins, redirects."""

import time
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from urllib.parse import quote, urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from ..conftest import Service
from .conftest import assert_refused, client_of, new_key, revoke_last_key
from .ports_harness import PORT, Served, serve
from .test_port_proxy import SECONDS, echoed, header, websocket

NAVIGATION = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
PAGE = {"Origin": "null", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
LIFETIMES = (1, 3, 10, 30)
"""Of a link that is to be used before it is over, in seconds: one of them is long enough on any machine."""
get = partial(httpx.get, timeout=SECONDS)
"""By whoever keeps nothing from one call to the next."""
SANDBOXED = "sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads"


@pytest.fixture(scope="module")
def served(http: httpx.Client, shared_sandbox: str) -> Served:
    return serve(http, shared_sandbox)


@contextmanager
def browser(service: Service, key: str | None = None):
    """A browser that is logged in; without a key, one of a stranger."""
    with httpx.Client(base_url=service.url, timeout=SECONDS, headers=NAVIGATION) as client:
        if key is not None:
            assert client.get("", params={"token": key}).status_code == 302
            assert any(name.startswith("podflare-nb-") for name in client.cookies)
        yield client


@pytest.fixture
def owner(service: Service):
    with browser(service, service.key) as client:
        yield client


@pytest.fixture
def somebody(service: Service):
    with browser(service) as client:
        yield client


def visited(client: httpx.Client, url: str) -> str:
    """The address to which a browser is sent, without what it asked for."""
    answer = client.get(url)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (307, "no-store"), answer.text
    return str(answer.url.join(answer.headers["Location"]))


def test_a_login_is_sent_to_an_address_that_says_who_asks(served: Served, owner: httpx.Client, somebody: httpx.Client):
    address = visited(owner, served.path("echo?a=b"))
    assert f"/sandboxes/{served.sandbox}/ports/{PORT}/~v." in address
    assert address.endswith("/echo?a=b")
    assert address != visited(owner, served.path("echo?a=b"))
    # What the page then asks for carries no cookie, but the address.
    assert echoed(somebody.post(address, headers=PAGE))["method"] == "POST"


def test_a_cookie_alone_neither_writes_nor_connects(served: Served, owner: httpx.Client):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"):
        assert_refused(owner.request(method, served.path("echo")), 403, "forbidden", "cookie")
    for origin in ("null", "https://elsewhere.example"):
        refused = owner.get(served.path("echo"), headers={"Origin": origin, "Sec-Fetch-Mode": "cors"})
        assert_refused(refused, 403, "forbidden", "cookie")
    cookies = "; ".join(f"{name}={value}" for name, value in owner.cookies.items())
    with pytest.raises(InvalidStatus) as refused, websocket(
        served, served.path("socket"), additional_headers={"Cookie": cookies}
    ):  # fmt: skip
        pass
    assert refused.value.response.status_code == 403


def test_pages_of_other_sites_neither_write_nor_connect_though_they_know_the_address(served: Served, somebody):
    address = visited(somebody, served.link())
    foreign = {"Origin": "https://elsewhere.example"}
    assert_refused(somebody.post(f"{address}echo", headers=foreign), 403, "forbidden", "another origin")
    with pytest.raises(InvalidStatus) as refused, websocket(
        served, f"{address}socket", additional_headers={}, origin="https://elsewhere.example"
    ):  # fmt: skip
        pass
    assert refused.value.response.status_code == 403
    seen = somebody.get(f"{address}echo", headers=foreign | {"Sec-Fetch-Mode": "cors"})
    assert "Access-Control-Allow-Origin" not in seen.headers
    with websocket(served, f"{address}socket", additional_headers={}, origin="null") as opened:
        opened.send("headers")
        assert f"http://localhost:{PORT}" in opened.recv(SECONDS)


def test_every_answer_is_of_a_sandboxed_origin_whatever_the_program_says(served: Served, owner, somebody):
    address = visited(owner, served.path())
    loose = quote("Content-Security-Policy:sandbox allow-scripts allow-same-origin")
    answers = [
        somebody.get(f"{address}headers?header={loose}"),
        somebody.get(f"{address}headers?header={loose}&status=404"),
        somebody.get(f"{address}headers?header={loose}&status=304"),
        owner.get(served.path()),
        owner.get(served.path("", 4444)),
        owner.get(visited(owner, served.path("", 4444))),
        somebody.get(address.replace("~v.", "~v.x")),
        somebody.get(served.path()),
        served.http.get(served.path("echo")),
    ]
    for answer in answers:
        policies = answer.headers.get_list("Content-Security-Policy")
        assert policies[0] == SANDBOXED, (answer.status_code, policies)
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answers[0].headers.get_list("Content-Security-Policy")[1:] == [
        "sandbox allow-scripts allow-same-origin"
    ]  # one more, which narrows


NOT_PASSED_ON = {
    "Set-Cookie": "_xsrf=stolen; Path=/",
    "Service-Worker-Allowed": "/",
    "Strict-Transport-Security": "max-age=1",
    "Clear-Site-Data": '"*"',
    "Alt-Svc": 'h2="elsewhere.example:443"',
    "Referrer-Policy": "unsafe-url",
    "X-Frame-Options": "DENY",
    "X-Accel-Redirect": "/etc/passwd",
    "Cross-Origin-Opener-Policy": "unsafe-none",
    "NEL": '{"report_to":"x","max_age":9}',
    "Report-To": "{}",
}


@pytest.mark.parametrize("name", NOT_PASSED_ON)
def test_what_would_speak_for_the_whole_host_is_not_passed_on(served: Served, somebody: httpx.Client, name: str):
    address = visited(somebody, served.link())
    answer = somebody.get(f"{address}headers", params={"header": [f"{name}:{NOT_PASSED_ON[name]}", "X-Other:passed"]})
    assert answer.headers["X-Other"] == "passed"
    assert answer.headers.get(name, "no-referrer") == "no-referrer"
    assert list(somebody.cookies) == []


def test_service_workers_are_refused(served: Served, somebody: httpx.Client):
    address = visited(somebody, served.link())
    refused = somebody.get(f"{address}echo", headers={"Service-Worker": "script"})
    assert (refused.status_code, "Service workers are not for" in refused.text) == (403, True)


def cookies_at(client: httpx.Client, address: str, path: str = "echo") -> list[str]:
    return header(echoed(client.get(f"{address}{path}", headers={"Sec-Fetch-Mode": "cors"})), "Cookie")


def set_cookie(client: httpx.Client, address: str, *cookies: str) -> None:
    answer = client.get(f"{address}headers", params={"header": [f"Set-Cookie:{each}" for each in cookies]})
    assert answer.status_code == 200


def test_a_programs_cookies_are_kept_for_it_and_for_each_visitor_apart(served: Served, service: Service, owner):
    own = visited(owner, served.path())
    set_cookie(owner, own, "session=of the owner; Path=/; HttpOnly", "deep=1; Path=/echo/deep", "gone=1; Max-Age=0")
    assert cookies_at(owner, own) == ["session=of the owner"]
    assert cookies_at(owner, own, "echo/deep/er") == ["deep=1; session=of the owner"]
    assert cookies_at(owner, own, "echo/deeper") == ["session=of the owner"]
    again = visited(owner, served.path())
    assert cookies_at(owner, again) == ["session=of the owner"]
    link = served.link()
    with browser(service) as first, browser(service) as second:
        addresses = [visited(first, link), visited(second, link)]
        assert [cookies_at(first, each) for each in addresses] == [[], []]
        set_cookie(first, addresses[0], "session=of a guest")
        assert [cookies_at(first, each) for each in addresses] == [["session=of a guest"], []]
    assert cookies_at(owner, own) == ["session=of the owner"]
    set_cookie(owner, own, "session=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/")
    assert cookies_at(owner, own) == []


def test_pages_read_the_answers_of_their_own_program_and_no_others(served: Served, somebody: httpx.Client):
    address = visited(somebody, served.link())
    own = somebody.get(f"{address}headers?header=X-A:b&header=Access-Control-Allow-Origin:*", headers=PAGE)
    assert own.headers.get_list("Access-Control-Allow-Origin") == ["null"]
    assert own.headers["Access-Control-Allow-Credentials"] == "true"
    assert "x-a" in own.headers["Access-Control-Expose-Headers"]
    assert own.headers["Vary"] == "Origin"
    asked = PAGE | {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a,content-type"}
    preflight = somebody.options(f"{address}echo", headers=asked)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Methods"]) == (204, "PUT")
    assert preflight.headers["Access-Control-Allow-Headers"] == "x-a,content-type"
    refused = somebody.options(served.path("echo"), headers=asked)  # without the address that says who asks
    assert refused.status_code == 401
    assert "Access-Control-Allow-Origin" not in refused.headers


REDIRECTS = {
    "/a?b=c#d": "{prefix}/a?b=c#d",
    "b": "{prefix}/b",
    "?c": "{prefix}/headers?c",
    "../../../../podflare/v1/sandboxes": "{prefix}/podflare/v1/sandboxes",
    "/%2e%2e/%2E./..%2fx/.%2e/y": "{prefix}/y",
    "/..\\..\\y": "{prefix}/y",
    f"http://localhost:{PORT}/z": "{prefix}/z",
    f"http://127.0.0.1:{PORT}": "{prefix}/",
    "http://{outside}/podflare/v1/sandboxes": "{prefix}/podflare/v1/sandboxes",
    "{prefix}/already": "{prefix}/already",
    "//evil.example/x": "http://evil.example/x",
    "/\\evil.example/x": "http://evil.example/x",
    "https://evil.example/x": "https://evil.example/x",
    "javascript:alert(1)": None,
    "data:text/html,x": None,
    "http://[bad": None,
}


@pytest.mark.parametrize("location", REDIRECTS)
def test_redirects_lead_into_the_port_or_plainly_away(served: Served, somebody: httpx.Client, location: str):
    address = visited(somebody, served.link())
    names = {"prefix": urlsplit(address).path.rstrip("/"), "outside": urlsplit(address).netloc}
    header = quote(f"Location:{location.format(**names)}", safe="")
    answer = somebody.get(f"{address}headers?status=302&header={header}")
    expected = REDIRECTS[location]
    assert answer.headers.get("Location") == (expected and expected.format(**names))


def test_links_show_a_port_until_they_are_over(served: Served, somebody: httpx.Client):
    made = served.http.post(f"/v1/sandboxes/{served.sandbox}/ports/{PORT}/links", json={"expires_seconds": 60})
    assert made.status_code == 201
    body = made.json()
    assert 50 < datetime.fromisoformat(body["expires_at"]).timestamp() - time.time() < 61
    assert visited(somebody, f"{body['url']}echo").endswith("/echo")
    program = get(f"{body['url']}echo")  # curl is not redirected
    assert echoed(program)["method"] == "GET"
    token = body["url"].rpartition("~l.")[2].rstrip("/")
    for changed in (
        token[:-1],
        token + "A",
        token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1],
        "",
        "é",
        "A" * 62,
    ):
        refused = get(served.path(f"~l.{changed}/echo"))
        assert_refused(refused, 403, "forbidden", "link is not valid")
    other = get(served.path(f"~l.{token}/echo", PORT + 1))
    assert_refused(other, 403, "forbidden", "link is not valid")
    short, address = visited_before_its_end(served, somebody)
    until_over(f"{short}echo")
    assert_refused(get(f"{short}echo"), 410, "gone", "expired")
    assert_refused(get(f"{address}echo"), 410, "gone", "expired")


def visited_before_its_end(served: Served, client: httpx.Client) -> tuple[str, str]:
    """A link that is over soon, and the address of a visit by it."""
    for seconds in LIFETIMES:
        link = served.link(expires_seconds=seconds)
        seen, visit = get(f"{link}echo"), client.get(link)
        if 410 not in {seen.status_code, visit.status_code}:
            break
    assert (seen.status_code, visit.status_code) == (200, 307)
    return link, str(visit.url.join(visit.headers["Location"]))


def until_over(url: str) -> None:
    deadline = time.monotonic() + SECONDS
    with suppress(httpx.RemoteProtocolError):  # the end cuts off what is under way just then
        while get(url).status_code == 200:
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "body", [{"expires_seconds": 0}, {"expires_seconds": 86_401}, {"expires_seconds": "1"}, {"x": 1}]
)
def test_a_link_that_cannot_be_made_is_refused(served: Served, body: dict):
    made = served.http.post(f"/v1/sandboxes/{served.sandbox}/ports/{PORT}/links", json=body)
    assert_refused(made, 400, "invalid_argument")


def test_revoked_links_end_at_once_with_what_goes_on_by_them(served: Served, somebody: httpx.Client, owner):
    link, address, own = served.link(), visited(somebody, served.link()), visited(owner, served.path())
    elsewhere = served.link(PORT + 1)
    with websocket(served, f"{address}socket", additional_headers={}) as opened, websocket(
        served, f"{own}socket", additional_headers={}
    ) as owners:  # fmt: skip
        opened.send("hello")
        assert opened.recv(SECONDS) == "hello"
        assert served.http.delete(f"/v1/sandboxes/{served.sandbox}/ports/{PORT}/links").status_code == 204
        with pytest.raises(ConnectionClosed):
            opened.recv(SECONDS)
        owners.send("still here")
        assert owners.recv(SECONDS) == "still here"
    assert_refused(get(f"{link}echo"), 410, "gone", "revoked")
    assert_refused(get(f"{address}echo"), 410, "gone", "revoked")
    assert_refused(get(elsewhere), 502, "unreachable")  # of another port: it says no HTTP
    assert echoed(get(f"{served.link()}echo"))


def test_a_link_ends_what_goes_on_by_it(served: Served):
    heard: list[str | bytes] = []
    for seconds in LIFETIMES:
        address = f"{served.link(expires_seconds=seconds)}socket"
        with suppress(InvalidStatus), websocket(served, address, additional_headers={}) as opened:
            heard = heard_to_the_end(opened)
        if heard:
            break
    assert heard == ["hello"]


def heard_to_the_end(opened: ClientConnection) -> list[str | bytes]:
    """What an echo answers to one word, until the connection is closed from there."""
    heard = []
    with suppress(ConnectionClosed):
        opened.send("hello")
        while True:
            heard.append(opened.recv(SECONDS))
    return heard


def test_a_visit_ends_with_the_key_by_which_it_began(served: Served, service: Service):
    with browser(service, new_key(service, "local")) as client:
        address = visited(client, served.path("echo"))
        assert echoed(get(address))
        revoke_last_key(service)
        assert_refused(get(address), 401, "unauthenticated", "was revoked")


def test_a_key_in_the_address_is_refused_since_the_program_would_read_it(served: Served, service: Service):
    for url in (served.path("echo"), f"{served.link()}echo"):
        refused = get(url, params={"token": service.key, "a": "b"})
        assert_refused(refused, 400, "invalid_argument", "API key in the address")
    own = echoed(get(f"{served.link()}echo?token=the-programs-own"))
    assert own["uri"] == "/echo?token=the-programs-own"


def test_no_token_is_logged(served: Served, service: Service, somebody: httpx.Client):
    address = visited(somebody, served.link())
    token = address.rpartition("~v.")[2].rstrip("/")
    for status in (200, 404, 500):
        somebody.get(f"{address}headers?status={status}")
    somebody.request("BREW", f"{address}headers")
    somebody.get(address.replace(f"/{PORT}/", "/4444/"))
    logs = "".join(path.read_text(errors="replace") for path in service.data_dir.glob("*.log"))
    assert token not in logs


def test_links_and_ports_are_a_tenants_own(served: Served, service: Service):
    with client_of(service, new_key(service, "other")) as other:
        assert_refused(other.delete(f"/v1/sandboxes/{served.sandbox}/ports/{PORT}/links"), 404, "not_found")
    with browser(service, new_key(service, "other")) as stranger:
        assert stranger.get(served.path("echo")).status_code == 404
