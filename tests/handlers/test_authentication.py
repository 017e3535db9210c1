import re

import httpx
import pytest

from podflare_nb.handlers.routes import ROUTES
from podflare_nb.handlers.statuses import STATUS_OF_CODE

from .conftest import assert_refused, client_of, new_key, revoke_last_key

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
PUBLIC = {r"/podflare/v1/healthz", r"/podflare/static/(.*)"}
PAGE = r"/podflare/?"
ID = "sbx_" + "0" * 32
SANDBOX_ROUTES = [route[0] for route in ROUTES if route[0].startswith(r"/podflare/v1/sandboxes/([^/]+)")]


def path_of(pattern: str, sandbox: str = ID) -> str:
    """A path that the route's pattern matches."""
    path = pattern.replace("/ports/([^/]+)", "/ports/8000").replace("(?:/.*)?", "/a.txt")
    path = path.replace(r"([^/]+)", sandbox, 1).replace(r"([^/]+)", "turn_1")
    path = path.replace(r"(?:/(.*))?", "/a.txt").replace(r"(\.ipynb)?", ".ipynb").replace(r"\.(html|md|py)", ".md")
    path = path.replace("(.*)", "page.js").replace(".*", "nothing").replace("/?", "")
    assert re.fullmatch(pattern, path)
    return path.removeprefix("/podflare")


@pytest.mark.parametrize("pattern", [route[0] for route in ROUTES])
def test_no_route_but_the_public_ones_answers_without_a_key(nobody, pattern):
    for method in METHODS:
        response = nobody.request(method, path_of(pattern))
        if pattern in PUBLIC:
            assert response.status_code in {200, 401, 403, 404, 405}
        elif pattern == PAGE and method == "GET":
            assert response.status_code == 302
            assert "/login?next=" in response.headers["Location"]
        elif method == "HEAD":
            assert response.status_code == 401
        else:
            assert_refused(response, 401, "unauthenticated", "API key", "Authorization: Bearer")


@pytest.mark.parametrize("pattern", [route[0] for route in ROUTES if route[0] not in PUBLIC | {PAGE}])
def test_a_wrong_key_is_refused_everywhere(service, pattern):
    with client_of(service, "pfnb_this-is-nobodys-key") as client:
        for method in METHODS:
            response = client.request(method, path_of(pattern))
            assert response.status_code == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "token {}"])
def test_a_key_is_taken_from_the_authorization_header(service, nobody, header):
    response = nobody.get("/v1/templates", headers={"Authorization": header.format(service.key)})
    assert response.status_code == 200


@pytest.mark.parametrize("header", ["Bearer", "Basic {}", "{}", "Bearer {} x", "Bearer x{}"])
def test_a_header_in_another_form_is_no_key(service, nobody, header):
    response = nobody.get("/v1/templates", headers={"Authorization": header.format(service.key)})
    assert response.status_code == 401


@pytest.mark.parametrize("pattern", SANDBOX_ROUTES)
def test_anothers_sandbox_answers_like_one_that_never_was(stranger, shared_sandbox, pattern):
    for method in METHODS:
        theirs = stranger.request(method, path_of(pattern, shared_sandbox), json=body_for(pattern))
        never = stranger.request(method, path_of(pattern), json=body_for(pattern))
        assert theirs.status_code == never.status_code
        assert theirs.status_code in {404, 405}
        assert theirs.text.replace(shared_sandbox, ID) == never.text


BODIES = {
    "exec": {"code": "1"},
    "chat": {"message": "1"},
    "record": {"message": "1"},
    "diff": {"other": "sbx_" + "1" * 32},
    "rewind": {"turn_id": "turn_1"},
    "approve": {"tool_call_id": "a", "approved": True},
    "input": {"data_b64": ""},
    "packages": {"python": ["six"]},
    "resize": {"cols": 80, "rows": 24},
}
"""By the last word of the route."""


def body_for(pattern: str) -> dict:
    return {"labels": {}} if pattern == SANDBOX_ROUTES[0] else BODIES.get(pattern.rpartition("/")[2], {})


def test_anothers_sandbox_is_in_no_list(stranger, shared_sandbox):
    listed = stranger.get("/v1/sandboxes", params={"include_closed": "true"}).json()["sandboxes"]
    assert shared_sandbox not in [sandbox["id"] for sandbox in listed]


def test_a_revoked_key_is_refused_at_once_and_its_login_with_it(service, nobody):
    key = new_key(service, "local")
    with client_of(service, None) as browser:
        assert browser.get("", params={"token": key}).status_code == 302
        assert browser.get("/v1/templates").status_code == 200
        revoke_last_key(service)
        assert browser.get("/v1/templates").status_code == 401
    assert nobody.get("/v1/templates", headers={"Authorization": f"Bearer {key}"}).status_code == 401


@pytest.fixture
def browser(service):
    """Logged in by a cookie."""
    with client_of(service, None) as client:
        answer = client.get("", params={"token": service.key})
        assert answer.status_code == 302
        assert service.key not in answer.headers["Location"]
        yield client


def test_a_key_in_the_pages_address_becomes_a_cookie_that_scripts_cannot_read(service, nobody):
    answer = nobody.get("", params={"token": service.key})
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert service.key not in cookie
    nobody.cookies.clear()


def test_the_login_cookie_reads_but_does_not_write_without_the_xsrf_header(browser):
    assert browser.get("").headers["Content-Type"].startswith(("text/html", "application/json"))
    assert browser.get("/v1/sandboxes").status_code == 200
    assert_refused(browser.post("/v1/sandboxes", json={"template": "no-such"}), 403, "forbidden")
    token = browser.cookies.get("_xsrf")
    assert token
    answer = browser.post("/v1/sandboxes", json={"template": "no-such"}, headers={"X-XSRFToken": token})
    assert_refused(answer, 404, "not_found", "no-such")


def test_the_login_cookie_of_a_page_of_another_origin_is_not_enough(browser):
    answer = browser.get("/v1/sandboxes", headers={"Origin": "https://evil.example"})
    assert_refused(answer, 403, "forbidden", "origin")


def test_a_host_name_that_is_not_this_machines_is_refused(http):
    answer = http.get("/v1/sandboxes", headers={"Host": "evil.example"})
    assert_refused(answer, 403, "forbidden", "evil.example")


def test_a_forged_cookie_is_nobody(service):
    name = "podflare-nb-" + re.sub(r"[^A-Za-z0-9]", "-", httpx.URL(service.url).netloc.decode())
    with client_of(service, None) as client:
        client.cookies.set(name, "2|1:0|10:1795471272|3:abc|24:a2V5X2VlM2VmZTVjYWNiNg==|" + "0" * 64)
        assert client.get("/v1/templates").status_code == 401


@pytest.mark.parametrize("path", ["/api/contents", "/api/terminals", "/api/shutdown", "/tree", "/files/x"])
def test_jupyters_own_files_and_terminals_are_not_there(service, path):
    with client_of(service, service.key) as client:
        assert client.get(service.url.removesuffix("/podflare") + path).status_code in {403, 404}


def test_every_error_code_has_a_status():
    from podflare_nb import errors  # noqa: PLC0415 - only this test walks the module

    codes = {
        value.code
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.PodflareError)
    }
    assert codes <= STATUS_OF_CODE.keys()
