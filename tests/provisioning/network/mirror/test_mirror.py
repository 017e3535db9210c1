"""What a sandbox gets from the mirror, and what the supervisor hears of it."""

import hashlib
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from podflare_nb.provisioning.network.mirror.downloads import HELD_BACK

from .conftest import UID, get, get_whole, tables_for
from .sources import Answer, offer_npm, offer_wheel, sha256, simple_page, wheel

SIMPLE = "application/vnd.pypi.simple.v1+json"
FILE = "/pypi/files/spam/spam-1.0-py3-none-any.whl"


def test_it_runs_as_an_ordinary_user_without_a_capability(mirror):
    fields = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{mirror.process.pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert fields["Uid"].split() == [str(UID)] * 4
    assert {fields[name].strip("0") for name in ("CapPrm", "CapEff", "CapBnd", "CapInh", "CapAmb")} == {""}
    assert fields["NoNewPrivs"] == "1"
    assert "root" not in fields["Groups"]


def test_it_ends_when_its_pair_closes(mirror):
    assert mirror.close() == 0


def test_a_project_s_page_has_its_files_at_the_mirror_and_no_address_of_the_index(mirror, upstream):
    offer_wheel(upstream, "spam", **{"requires-python": ">=3.8"})
    url = mirror.open("n")
    status, _, body = get(url, "/pypi/simple/Spam/", headers={"Accept": SIMPLE})
    entry = json.loads(body)["files"][0]
    assert (status, entry["url"], entry["requires-python"]) == (200, FILE, ">=3.8")
    assert entry["core-metadata"]["sha256"]
    _, _, page = get(url, "/pypi/simple/spam")
    assert f'href="{FILE}#sha256=' in page.decode()
    assert str(upstream.port) not in body.decode() + page.decode()


def test_an_index_that_speaks_html_is_served_too(mirror, upstream):
    file, content = wheel("spam")
    page = (
        f'<a href="../../files/{file}#sha256={sha256(content)}" data-requires-python="&gt;=3.8" data-yanked="bad">'
        f"{file}</a>"
    )
    upstream.answers["/simple/spam/"] = Answer(page.encode(), headers={"Content-Type": "text/html; charset=utf-8"})
    upstream.answers[f"/files/{file}"] = Answer(content)
    url = mirror.open("n")
    _, _, body = get(url, "/pypi/simple/spam/", headers={"Accept": SIMPLE})
    entry = json.loads(body)["files"][0]
    assert (entry["requires-python"], entry["yanked"]) == (">=3.8", "bad")
    assert get(url, FILE) == (200, "OK", content)


def test_files_of_several_indexes_are_merged_and_the_first_index_wins(start, upstream, elsewhere):
    content = offer_wheel(upstream, "spam")
    newer, other = wheel("spam", "2.0")
    same, _ = wheel("spam")
    elsewhere.answers["/simple/spam/"] = simple_page("spam", [
        {"filename": newer, "url": f"{elsewhere.url}/{newer}", "hashes": {"sha256": sha256(other)}},
        {"filename": same, "url": f"{elsewhere.url}/{same}", "hashes": {"sha256": sha256(b"x")}},
    ])  # fmt: skip
    elsewhere.answers[f"/{newer}"] = Answer(other)
    tables = tables_for(upstream)
    tables["python"]["extra_index_urls"] = [f"{elsewhere.url}/simple/"]
    url = start(tables).open("n")
    assert get(url, f"/pypi/files/spam/{newer}")[2] == other
    assert get(url, FILE)[2] == content


def test_a_file_is_downloaded_once_and_kept_under_its_hash(mirror, upstream):
    content = offer_wheel(upstream, "spam")
    first, second = mirror.open("a"), mirror.open("b")
    assert get(first, FILE) == get(second, FILE) == (200, "OK", content)
    assert upstream.paths().count("/files/spam-1.0-py3-none-any.whl") == 1
    assert mirror.kept() == {f"sha256-{sha256(content)}"}


def test_what_was_kept_is_served_after_a_restart_without_the_index_being_asked_for_the_file(start, upstream):
    content = offer_wheel(upstream, "spam")
    before = start(tables_for(upstream))
    get(before.open("n"), FILE)
    before.close()
    again = start(tables_for(upstream), uid=UID + 1)
    assert get(again.open("n"), FILE)[2] == content
    assert upstream.paths().count("/files/spam-1.0-py3-none-any.whl") == 1


def test_downloads_of_one_file_at_the_same_time_are_one(mirror, upstream):
    content = offer_wheel(upstream, "spam", padding=5 << 20)
    release = threading.Event()
    upstream.answers["/files/spam-1.0-py3-none-any.whl"] = Answer(content, release=release)
    urls = [mirror.open(f"n{number}") for number in range(4)]
    with ExitStack() as stack:
        streams = [stack.enter_context(_begin(url)) for url in urls]
        # All four have a part of it while the index still holds the rest back.
        assert {stream.read(1 << 20) for stream in streams} == {content[: 1 << 20]}
        release.set()
        assert {content[: 1 << 20] + stream.read() for stream in streams} == {content}
    assert upstream.paths().count("/files/spam-1.0-py3-none-any.whl") == 1


@contextmanager
def _begin(url: str, file: str = FILE) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)) as connection:
        connection.request("GET", file)
        with connection.getresponse() as response:
            yield response


@pytest.mark.parametrize("everything", [False, True], ids=["while it is sent", "while the index has stalled"])
def test_a_download_that_nobody_reads_any_more_ends_and_leaves_nothing(mirror, upstream, everything):
    release = threading.Event()
    contents = {name: offer_wheel(upstream, name, padding=5 << 20) for name in ("eggs", "spam")}
    for name, content in contents.items():
        upstream.answers[f"/files/{name}-1.0-py3-none-any.whl"] = Answer(content, release=release)
    # It does not end because its index is taken for dead: then this one, which began before, would end before.
    with _begin(mirror.open("stays"), FILE.replace("spam", "eggs")) as stays:
        stays.read(1)
        url = mirror.open("goes")
        with _begin(url) as goes:
            goes.read(len(contents["spam"]) // 2 - HELD_BACK if everything else 1)
            assert len(list((mirror.cache / "partial").iterdir())) == 2
        mirror.heard(lambda: mirror.records != [])
        assert [record["network"] for record in mirror.records] == ["goes"]
    mirror.heard(lambda: len(mirror.records) == 2)
    release.set()
    upstream.answers["/files/spam-1.0-py3-none-any.whl"] = Answer(contents["spam"])
    assert get(url, FILE)[2] == contents["spam"]
    assert list((mirror.cache / "partial").iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "part"), [("bytes=0-0", slice(0, 1)), ("bytes=5-9", slice(5, 10)), ("bytes=-7", slice(-7, None)),
                        ("bytes=10-", slice(10, None))],
)  # fmt: skip
def test_a_part_of_a_file_can_be_asked_for(mirror, upstream, asked, part):
    content = offer_wheel(upstream, "spam")
    status, _, body, headers = get_whole(mirror.open("n"), FILE, headers={"Range": asked})
    assert (status, body) == (206, content[part])
    assert headers["content-range"].endswith(f"/{len(content)}")


def test_a_part_that_does_not_exist_is_refused(mirror, upstream):
    offer_wheel(upstream, "spam")
    assert get(mirror.open("n"), FILE, headers={"Range": "bytes=99999999-"})[0] == 416


def test_head_tells_size_and_that_ranges_are_served(mirror, upstream):
    content = offer_wheel(upstream, "spam")
    status, _, body, headers = get_whole(mirror.open("n"), FILE, method="HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(len(content)))
    assert headers["accept-ranges"] == "bytes"


def test_a_page_is_asked_for_again_by_its_etag(start, upstream):
    offer_wheel(upstream, "spam")
    page = upstream.answers["/simple/spam/"]
    page.headers["ETag"] = '"1"'
    answered = []

    def answer(asked):
        answered.append(304 if asked.headers.get("if-none-match") == '"1"' else 200)
        return page if answered[-1] == 200 else Answer(status=304)

    upstream.answers["/simple/spam/"] = answer
    url = start(tables_for(upstream, cache={"index_seconds": 0})).open("n")
    assert get(url, "/pypi/simple/spam/")[2] == get(url, "/pypi/simple/spam/")[2]
    assert answered == [200, 304]


def test_a_fresh_page_is_not_asked_for_again(mirror, upstream):
    offer_wheel(upstream, "spam")
    url = mirror.open("n")
    get(url, "/pypi/simple/spam/")
    get(url, FILE)
    assert upstream.paths().count("/simple/spam/") == 1


def test_a_packument_has_its_tarballs_at_the_mirror(mirror, upstream):
    content = offer_npm(upstream, "@scope/ham")
    url = mirror.open("n")
    status, _, body = get(url, "/npm/@scope%2fham")
    tarball = json.loads(body)["versions"]["1.0.0"]["dist"]["tarball"]
    assert (status, tarball) == (200, f"{url}/npm/@scope/ham/-/ham-1.0.0.tgz")
    assert get(url, urlsplit(tarball).path) == (200, "OK", content)
    assert mirror.kept() == {f"sha512-{hashlib.sha512(content).hexdigest()}"}


def test_a_scope_has_a_registry_of_its_own(start, upstream, elsewhere):
    content = offer_npm(elsewhere, "@acme/ham")
    tables = tables_for(upstream, **{'npm.scopes."@acme"': {"registry": elsewhere.url}})
    assert get(start(tables).open("n"), "/npm/@acme/ham/-/ham-1.0.0.tgz")[2] == content
    assert upstream.asked == []


def test_a_tarball_with_no_more_than_a_sha1_is_checked_and_not_kept(mirror, upstream):
    content = offer_npm(upstream, "ham", integrity="")
    url = mirror.open("n")
    assert get(url, "/npm/ham/-/ham-1.0.0.tgz")[2] == content
    assert mirror.kept() == set()
    upstream.answers["/ham/-/ham-1.0.0.tgz"] = Answer(content + b"x")
    assert get(url, "/npm/ham/-/ham-1.0.0.tgz")[0] == 424


def test_the_cache_stays_within_its_bound_and_gives_up_what_was_unused_longest(start, upstream):
    sizes = {name: len(offer_wheel(upstream, name, padding=100_000)) for name in ("aa", "bb", "cc")}
    mirror = start(tables_for(upstream, cache={"max_bytes": 2 * max(sizes.values()) + 1000}))
    url = mirror.open("n")
    paths = {name: f"/pypi/files/{name}/{name}-1.0-py3-none-any.whl" for name in sizes}
    digests = {name: f"sha256-{sha256(get(url, paths[name])[2])}" for name in ("aa", "bb")}
    get(url, paths["aa"])
    digests["cc"] = f"sha256-{sha256(get(url, paths['cc'])[2])}"
    assert mirror.kept() == {digests["aa"], digests["cc"]}


def test_a_file_larger_than_the_cache_is_an_error_that_says_so(start, upstream):
    offer_wheel(upstream, "spam", padding=100_000)
    url = start(tables_for(upstream, cache={"max_bytes": 1000})).open("n")
    status, _, body = get(url, FILE)
    assert (status, b"larger than this service's cache" in body) == (424, True)


def test_what_an_index_has_not_is_not_found(mirror, upstream):
    offer_wheel(upstream, "spam")
    url = mirror.open("n")
    assert get(url, "/pypi/simple/eggs/")[:2] == (404, "No Python index of this service has a project eggs.")
    assert get(url, "/pypi/files/spam/spam-2.0-py3-none-any.whl")[0] == 404
    assert get(url, "/npm/nothing")[0] == 404
    assert get(url, "/elsewhere")[0] == 404


@pytest.mark.parametrize(
    ("egress", "word"),
    [(False, "egress is off"), ({"allow": []}, "allows nothing"), ({"allow": ["other.example"]}, "other.example")],
)
def test_without_permission_everything_is_refused_in_a_sentence_that_tells_the_policy(mirror, upstream, egress, word):
    offer_wheel(upstream, "spam")
    url = mirror.open("n", egress)
    for target in ("/pypi/simple/spam/", FILE, "/npm/ham", "/npm/ham/-/ham-1.0.0.tgz", "http://deb.test/debian/x"):
        status, reason, body = get(url, target)
        assert (status, word in reason, word in body.decode()) == (403, True, True)
    assert upstream.asked == []
    mirror.heard(lambda: len(mirror.records) == 5)
    assert {record["verdict"] for record in mirror.records} == {"refused"}
    assert word in mirror.records[0]["reason"]


def test_a_kept_file_is_refused_as_well_once_the_policy_changes(mirror, upstream):
    offer_wheel(upstream, "spam")
    url = mirror.open("n")
    assert get(url, FILE)[0] == 200
    mirror.tell(op="egress", network="n", egress=False)
    mirror.obeyed()
    assert get(url, FILE)[0] == 403


def test_a_rule_for_the_index_s_host_and_port_is_enough(start, upstream):
    content = offer_wheel(upstream, "spam", url="../../files/spam-1.0-py3-none-any.whl")
    tables = {"python": {"index_url": f"http://localhost:{upstream.port}/simple/"}}
    mirror = start(tables)
    assert get(mirror.open("a", {"allow": [f"localhost:{upstream.port}"]}), FILE)[2] == content
    assert get(mirror.open("b", {"allow": ["localhost:1"]}), FILE)[0] == 403


def test_the_supervisor_hears_who_got_what_from_where(mirror, upstream):
    content = offer_wheel(upstream, "spam")
    get(mirror.open("one"), FILE)
    mirror.heard(lambda: len(mirror.records) == 1 and "one" in mirror.traffic)
    record = mirror.records[0]
    assert record == {
        "network": "one", "verdict": "allowed", "protocol": "http", "host": "127.0.0.1", "port": upstream.port,
        "sent": record["sent"], "received": record["received"], "reason": "",
    }  # fmt: skip
    assert mirror.traffic["one"][1] == record["received"] > len(content)


def test_a_closed_network_is_served_no_more(mirror, upstream):
    offer_wheel(upstream, "spam")
    url = mirror.open("n")
    assert get(url, FILE)[0] == 200
    with _begin(url) as kept_open:
        kept_open.read()
        mirror.tell(op="close", network="n")
        mirror.obeyed()
    with pytest.raises(ConnectionError):
        get(url, FILE)


def test_a_configuration_that_is_wrong_is_told_and_ends_it(start):
    mirror = start({"python": {"index": "https://example.org/"}})
    assert mirror.first["event"] == "failed"
    assert "python.index is not known" in mirror.first["error"]


def test_the_cache_may_lie_where_its_user_cannot_walk(start, upstream, tmp_path):
    content = offer_wheel(upstream, "spam")
    tmp_path.chmod(0o700)
    assert get(start(tables_for(upstream)).open("n"), FILE)[2] == content
