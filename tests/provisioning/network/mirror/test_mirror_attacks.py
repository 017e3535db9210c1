"""Attacks on the mirror, by tenants and by upstreams; each with a control that shows what stops it."""

import gzip
import hashlib
import http.client
import json
import socket
from urllib.parse import urlsplit

import pytest

from .conftest import get, get_whole, tables_for
from .sources import Answer, offer_npm, offer_wheel, sha256, simple_page, wheel

FILE = "/pypi/files/spam/spam-1.0-py3-none-any.whl"
UPSTREAM_FILE = "/files/spam-1.0-py3-none-any.whl"
SECRET = "s3cret-p4ss"


def other_bytes(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def test_a_file_with_another_hash_than_its_index_lists_is_neither_served_nor_kept(mirror, upstream):
    content = offer_wheel(upstream, "spam")
    upstream.answers[UPSTREAM_FILE] = Answer(other_bytes(content))
    url = mirror.open("n")
    status, reason, body = get(url, FILE)
    assert (status, "another hash" in reason) == (424, True)
    assert content[:20] not in body
    assert mirror.kept() == set()
    upstream.answers[UPSTREAM_FILE] = Answer(content)
    assert get(url, FILE)[2] == content


def test_without_a_hash_in_the_index_nothing_would_stop_it(mirror, upstream):
    content = offer_wheel(upstream, "spam", hashes={})
    upstream.answers[UPSTREAM_FILE] = Answer(other_bytes(content))
    assert get(mirror.open("n"), FILE)[2] == other_bytes(content)
    assert mirror.kept() == set()


def test_of_a_large_file_with_a_wrong_hash_no_client_gets_the_whole(mirror, upstream):
    content = offer_wheel(upstream, "spam", padding=8 << 20)
    upstream.answers[UPSTREAM_FILE] = Answer(other_bytes(content))
    with pytest.raises(http.client.IncompleteRead) as broken:
        get(mirror.open("n"), FILE)
    assert len(broken.value.partial) < len(content)
    assert mirror.kept() == set()


@pytest.mark.parametrize("padding", [0, 8 << 20])
def test_a_file_that_breaks_off_is_no_file(mirror, upstream, padding):
    content = offer_wheel(upstream, "spam", padding=padding)
    upstream.answers[UPSTREAM_FILE] = Answer(content, cut=len(content) - 10)
    url = mirror.open("n")
    try:
        assert get(url, FILE)[0] == 502
    except http.client.IncompleteRead as broken:
        assert len(broken.partial) < len(content)  # noqa: PT017 - which of the two depends on the size
    assert mirror.kept() == set()
    upstream.answers[UPSTREAM_FILE] = Answer(content)
    assert get(url, FILE)[2] == content


def test_a_tarball_of_npm_with_another_integrity_is_neither_served_nor_kept(mirror, upstream):
    content = offer_npm(upstream, "ham")
    upstream.answers["/ham/-/ham-1.0.0.tgz"] = Answer(other_bytes(content))
    assert get(mirror.open("n"), "/npm/ham/-/ham-1.0.0.tgz")[0] == 424
    assert mirror.kept() == set()


def test_what_is_named_by_its_hash_in_an_archive_has_that_hash(mirror, upstream):
    url = mirror.open("n")
    path = f"dists/x/main/binary-amd64/by-hash/SHA256/{sha256(b'right')}"
    upstream.answers[f"/debian/{path}"] = Answer(b"wrong")
    assert get(url, f"http://deb.test/debian/{path}")[0] == 424
    upstream.answers[f"/debian/{path}"] = Answer(b"right")
    assert get(url, f"http://deb.test/debian/{path}")[2] == b"right"
    upstream.answers[f"/debian/{path}"] = Answer(b"wrong again")
    assert get(url, f"http://deb.test/debian/{path}")[2] == b"right"


def test_a_project_that_claims_another_s_hash_harms_nobody_but_itself(mirror, upstream):
    content = offer_wheel(upstream, "spam")
    file, _ = wheel("evil")
    upstream.answers["/simple/evil/"] = simple_page(
        "evil", [{"filename": file, "url": f"{upstream.url}/files/{file}", "hashes": {"sha256": sha256(content)}}]
    )
    upstream.answers[f"/files/{file}"] = Answer(b"malware")
    url = mirror.open("n")
    assert get(url, f"/pypi/files/evil/{file}")[0] == 424
    assert get(url, FILE)[2] == content


def test_a_kept_file_that_was_changed_on_disk_is_not_served_after_a_restart(start, upstream):
    content = offer_wheel(upstream, "spam")
    before = start(tables_for(upstream))
    get(before.open("n"), FILE)
    before.close()
    (kept,) = (before.cache / "files").iterdir()
    kept.write_bytes(other_bytes(content))
    again = start(tables_for(upstream))
    assert get(again.open("n"), FILE)[2] == content
    assert upstream.paths().count(UPSTREAM_FILE) == 2


ELSEWHERE = [
    "/pypi/files/spam/../../secret",
    "/pypi/files/spam/..%2f..%2fsecret",
    "/pypi/files/spam/%2e%2e%2fsecret",
    "/pypi/files/spam/secret",
    "/pypi/files/..%2fsecret/spam-1.0-py3-none-any.whl",
    "/pypi/simple/..%2fsecret/",
    "/pypi/simple/../secret/",
    "/pypi/simple/%00secret/",
    "/pypi/simple/spam%23/",
    "/pypi/simple/",
    "/pypi//secret",
    "/pypi/files/spam/http://127.0.0.1/secret",
    "/npm/..%2fsecret",
    "/npm/@scope%2f..%2fsecret",
    "/npm/.%2fsecret",
    "/npm/%252e%252e%252fsecret",
    "/npm/spam/-/..%2fsecret",
    "/npm/spam/-/../../secret",
    "/npm/-/whoami",
    "http://deb.test/secret",
    "http://deb.test/debian/../secret",
    "http://deb.test/debian/%2e%2e/secret",
    "http://deb.test/debian/%252e%252e/secret",
    "http://deb.test/debian/..%2fsecret",
    "http://deb.test/debian/x%2f..%2f..%2fsecret",
    "http://deb.test/debian/x\\..\\secret",
    "http://deb.test/debian/./secret",
    "http://deb.test/debian//secret",
    "http://deb.test/debian/secret?x=1",
    "http://deb.test/debian/secret#x",
    "http://deb.test/debian-secret",
    "http://deb.test:81/debian/secret",
    "https://deb.test/debian/secret",
    "http://user@deb.test/debian/secret",
    "http://deb.test@127.0.0.1/debian/secret",
    "http://127.0.0.1/debian/secret",
    "http://[::ffff:127.0.0.1]/debian/secret",
    "http://2130706433/secret",
    "http://169.254.169.254/latest/meta-data/",
    "file:///etc/passwd",
    "ftp://deb.test/debian/secret",
    "//deb.test/debian/secret",
    "*",
    "deb.test:443",
]


@pytest.mark.parametrize("target", ELSEWHERE)
def test_no_spelling_of_an_address_leads_to_what_no_index_lists(mirror, upstream, target):
    offer_wheel(upstream, "spam")
    offer_npm(upstream, "spam")
    for path in ("/secret", "/debian/secret", "/secret/", "/simple/secret/"):
        upstream.answers[path] = Answer(SECRET.encode())
    upstream.answers.pop("/debian/secret")
    status, reason, body = get(mirror.open("n"), target)
    assert 400 <= status < 500
    assert SECRET not in reason + body.decode()
    assert set(upstream.paths()) <= {"/simple/spam/", "/spam"}


def test_the_same_server_gives_it_where_the_operator_has_said_so(start, upstream):
    upstream.answers["/secret"] = Answer(SECRET.encode())
    tables = tables_for(upstream)
    tables["debian.archives"] = {"http://deb.test": upstream.url}
    assert get(start(tables).open("n"), "http://deb.test/secret")[2] == SECRET.encode()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PROPFIND"])
def test_nothing_but_reading_is_done(mirror, upstream, method):
    offer_wheel(upstream, "spam")
    assert get(mirror.open("n"), FILE, method=method)[0] == 405
    assert upstream.asked == []


def on_localhost(server) -> str:
    return f"http://localhost:{server.port}"


def linked_elsewhere(upstream, elsewhere) -> bytes:
    """A project of the index whose file is at a host that the operator has not named, on an address of this machine."""
    content = offer_wheel(upstream, "spam", url=f"{on_localhost(elsewhere)}{UPSTREAM_FILE}")
    elsewhere.answers[UPSTREAM_FILE] = Answer(content)
    return content


def redirected_elsewhere(upstream, elsewhere) -> bytes:
    content = offer_wheel(upstream, "spam")
    upstream.answers[UPSTREAM_FILE] = Answer(
        status=302, headers={"Location": f"{on_localhost(elsewhere)}{UPSTREAM_FILE}"}
    )
    elsewhere.answers[UPSTREAM_FILE] = Answer(content)
    return content


@pytest.mark.parametrize("lead", [linked_elsewhere, redirected_elsewhere])
def test_a_link_or_redirect_of_an_index_does_not_lead_to_the_host_s_neighbours(mirror, upstream, elsewhere, lead):
    lead(upstream, elsewhere)
    status, reason, _ = get(mirror.open("n"), FILE)
    assert (status, "cannot be reached" in reason) == (502, True)
    assert elsewhere.asked == []


@pytest.mark.parametrize("lead", [linked_elsewhere, redirected_elsewhere])
def test_it_does_where_the_operator_names_the_host(start, upstream, elsewhere, lead):
    content = lead(upstream, elsewhere)
    mirror = start(tables_for(upstream, http={"trusted_hosts": ["localhost"]}))
    assert get(mirror.open("n"), FILE)[2] == content


def test_loopback_is_public_for_no_operator(start, upstream, elsewhere):
    linked_elsewhere(upstream, elsewhere)
    mirror = start(tables_for(upstream), public_networks=["127.0.0.0/8", "::1/128"])
    assert get(mirror.open("n"), FILE)[0] == 502


@pytest.mark.parametrize("location", ["", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://[bad", "/loop"])
def test_a_redirect_that_nobody_may_follow_ends_there(mirror, upstream, location):
    offer_wheel(upstream, "spam")
    upstream.answers[UPSTREAM_FILE] = Answer(status=302, headers={"Location": location})
    upstream.answers["/loop"] = Answer(status=302, headers={"Location": "/loop"})
    assert get(mirror.open("n"), FILE)[0] == 424


def with_credentials(upstream) -> dict:
    url = f"http://operator:{SECRET}@127.0.0.1:{upstream.port}"
    return {
        "python": {"index_url": f"{url}/simple/"},
        "npm": {"registry": f"{upstream.url}/", "token": SECRET},
        "debian.archives": {"http://deb.test/debian": f"{url}/debian"},
    }


def leaks(asked) -> Answer:
    header = asked.headers["authorization"]
    return Answer(header.encode(), 500, {"X-Echo": header, "WWW-Authenticate": header})


def unauthorized(asked) -> Answer:
    return Answer(asked.headers["authorization"].encode(), 401)


def redirects_to_itself(asked) -> Answer:
    return Answer(status=302, headers={"Location": f"http://operator:{SECRET}@127.0.0.1:1{asked.path}?{SECRET}"})


def garbage(asked) -> Answer:
    return Answer(asked.headers["authorization"].encode(), headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("answer", [leaks, unauthorized, redirects_to_itself, garbage])
@pytest.mark.parametrize(
    "target", ["/pypi/simple/spam/", FILE, "/npm/ham", "/npm/ham/-/x.tgz", "http://deb.test/debian/x"]
)
def test_credentials_do_not_leak_through_what_an_upstream_answers(start, upstream, answer, target):
    for path in ("/simple/spam/", "/ham", "/debian/x"):
        upstream.answers[path] = answer
    mirror = start(with_credentials(upstream))
    status, reason, body, headers = get_whole(mirror.open("n"), target)
    told = f"{reason} {body.decode()} {headers}"
    assert "authorization" in upstream.asked[0].headers  # they did go where they belong
    if (answer, target) != (garbage, "http://deb.test/debian/x"):  # a file is what it is: the archive's own
        assert status == (502 if answer in (leaks, redirects_to_itself) else 424)
        assert SECRET not in told
        assert "operator:" not in told
        assert "Bearer" not in told
        assert "Basic" not in told
    mirror.heard(lambda: len(mirror.records) == 1 or "n" in mirror.traffic)
    assert SECRET not in json.dumps(mirror.records)


def test_credentials_go_to_their_origin_and_not_to_where_it_points(start, upstream, elsewhere):
    content = offer_wheel(upstream, "spam", url=f"{on_localhost(elsewhere)}{UPSTREAM_FILE}")
    elsewhere.answers[UPSTREAM_FILE] = Answer(status=302, headers={"Location": f"{on_localhost(elsewhere)}/file2"})
    elsewhere.answers["/file2"] = Answer(content)
    mirror = start({**with_credentials(upstream), "http": {"trusted_hosts": ["localhost"]}})
    url = mirror.open("n")
    _, _, page = get(url, "/pypi/simple/spam/")
    assert get(url, FILE)[2] == content
    assert "authorization" in upstream.asked[0].headers
    assert not any("authorization" in asked.headers for asked in elsewhere.asked)
    assert SECRET not in page.decode()


def test_nothing_that_a_client_says_in_its_headers_goes_upstream(mirror, upstream):
    content = offer_wheel(upstream, "spam")
    headers = {
        "Authorization": "Basic dGVuYW50", "Cookie": "a=b", "X-Forwarded-For": "1.2.3.4", "If-None-Match": '"x"',
        "If-Range": '"other"', "Range": "bytes=0-1", "User-Agent": "tenant", "Accept": "x/tenant",
        "Host": "tenant.test", "Referer": "http://tenant.test/",
    }  # fmt: skip
    assert get(mirror.open("n"), FILE, headers=headers)[::2] == (200, content)
    for asked in upstream.asked:
        assert set(asked.headers) <= {"host", "user-agent", "accept", "accept-encoding"}
        assert "tenant" not in str(asked.headers)


def test_a_page_cannot_smuggle_markup_or_paths(mirror, upstream):
    hostile = {"requires-python": '"><script>alert(1)</script>', "yanked": "<b>", "hashes": {"sha256": '"><i>'}}
    offer_wheel(upstream, "spam", **hostile)
    page = upstream.answers["/simple/spam/"]
    told = json.loads(page.body)
    told["files"] += [
        {"filename": name, "url": f"{upstream.url}/{name}", "hashes": {}}
        for name in ("..%2f..%2fx", "a%0d%0ab", "-r", "<b>")
    ]
    page.body = json.dumps(told).encode()
    _, _, body = get(mirror.open("n"), "/pypi/simple/spam/")
    assert b"<script" not in body
    assert b"<i>" not in body
    assert body.count(b"<a ") == 1


def test_a_page_that_unpacks_to_more_than_its_bound_is_refused(mirror, upstream):
    bomb = gzip.compress(b"\0" * (65 << 20))
    upstream.answers["/simple/spam/"] = Answer(bomb, headers={"Content-Encoding": "gzip", "Content-Type": "text/html"})
    status, reason, _ = get(mirror.open("n"), "/pypi/simple/spam/")
    assert (status, "larger than" in reason) == (424, True)


def test_a_client_that_does_not_read_holds_up_nobody(mirror, upstream):
    content = offer_wheel(upstream, "spam", padding=16 << 20)
    url = mirror.open("n")
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 60) as silent:
        silent.sendall(f"GET {FILE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert silent.recv(12) == b"HTTP/1.1 200"
        digest = hashlib.sha256(get(mirror.open("other"), FILE)[2]).hexdigest()
    assert digest == sha256(content)


def test_one_sandbox_s_connections_are_bounded_and_another_s_are_free(mirror, upstream):
    offer_wheel(upstream, "spam")
    url = mirror.open("n")
    parts = urlsplit(url)
    many = [socket.create_connection((parts.hostname, parts.port), 60) for _ in range(128)]
    try:
        for each in many:
            each.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
            assert each.recv(12) == b"HTTP/1.1 404"
        with socket.create_connection((parts.hostname, parts.port), 60) as refused:
            assert refused.recv(1) == b""
        assert get(mirror.open("other"), FILE)[0] == 200
    finally:
        for each in many:
            each.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
        b"GET /x HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /y HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["headers", "body", "smuggling", "tls", "h2"],
)
def test_what_is_no_request_ends_its_own_connection_only(mirror, upstream, request_bytes):
    offer_wheel(upstream, "spam")
    url = mirror.open("n")
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 60) as sock:
        sock.sendall(request_bytes)
        said = b""
        while part := sock.recv(4096):
            said += part
    assert b" 200 " not in said
    assert get(url, FILE)[0] == 200
