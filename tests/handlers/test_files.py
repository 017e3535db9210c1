import hashlib
import os
import socket
from pathlib import Path

import pytest

from .conftest import assert_refused, run, stdout

MIB = 1 << 20


def url(sandbox: str, path: str = "") -> str:
    return f"/v1/sandboxes/{sandbox}/files/{path}"


def test_a_file_comes_back_as_it_was_put(http, sandbox):
    content = os.urandom(3 * MIB + 17)
    put = http.put(url(sandbox, "a/b/data.bin"), content=content)
    assert (put.status_code, put.json()) == (201, {"path": "a/b/data.bin", "size": len(content)})
    got = http.get(url(sandbox, "a/b/data.bin"))
    assert got.content == content
    assert got.headers["Content-Length"] == str(len(content))
    code = "import hashlib; print(hashlib.sha256(open('a/b/data.bin', 'rb').read()).hexdigest())"
    assert stdout(run(http, sandbox, code)) == [hashlib.sha256(content).hexdigest()]


def test_an_empty_file_is_a_file(http, sandbox):
    assert http.put(url(sandbox, "empty")).status_code == 201
    got = http.get(url(sandbox, "empty"))
    assert (got.status_code, got.content) == (200, b"")


def test_a_file_of_many_mebibytes_does_not_grow_the_server(service, http, sandbox):
    size = 192 * MIB
    before = resident_mib(service.process.pid)
    put = http.put(url(sandbox, "large"), content=(b"x" * MIB for _ in range(size // MIB)))
    assert put.json()["size"] == size
    received = 0
    with http.stream("GET", url(sandbox, "large")) as got:
        for chunk in got.iter_bytes():
            received += len(chunk)
    assert received == size
    assert resident_mib(service.process.pid) - before < 50


def resident_mib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def test_head_tells_size_and_age_without_the_content(http, sandbox):
    http.put(url(sandbox, "a.txt"), content=b"hello")
    head = http.head(url(sandbox, "a.txt"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == "5"
    assert head.headers["Content-Type"].startswith("text/plain")
    assert "Last-Modified" in head.headers


def test_a_file_that_the_client_has_already_is_not_sent_again(http, sandbox):
    http.put(url(sandbox, "a.txt"), content=b"hello")
    tag = http.get(url(sandbox, "a.txt")).headers["Etag"]
    assert http.get(url(sandbox, "a.txt"), headers={"If-None-Match": tag}).status_code == 304
    http.put(url(sandbox, "a.txt"), content=b"changed")
    assert http.get(url(sandbox, "a.txt"), headers={"If-None-Match": tag}).content == b"changed"


@pytest.mark.parametrize(
    ("asked", "content", "told"),
    [
        ("bytes=0-3", b"hell", "bytes 0-3/11"),
        ("bytes=6-", b"world", "bytes 6-10/11"),
        ("bytes=-4", b"orld", "bytes 7-10/11"),
        ("bytes=-400", b"hello world", "bytes 0-10/11"),
        ("bytes=8-400", b"rld", "bytes 8-10/11"),
    ],
)
def test_the_part_of_a_file_that_was_asked_for_is_sent(http, sandbox, asked, content, told):
    http.put(url(sandbox, "a.txt"), content=b"hello world")
    got = http.get(url(sandbox, "a.txt"), headers={"Range": asked})
    assert (got.status_code, got.content, got.headers["Content-Range"]) == (206, content, told)
    assert got.headers["Content-Length"] == str(len(content))


@pytest.mark.parametrize("asked", ["bytes=0-3,5-6", "lines=1-2", "bytes=abc", "bytes=3-2", "bytes=-", "bytes=²-"])
def test_what_is_no_single_range_is_answered_with_the_whole_file(http, sandbox, asked):
    http.put(url(sandbox, "a.txt"), content=b"hello world")
    got = http.get(url(sandbox, "a.txt"), headers={"Range": asked.encode()})
    assert (got.status_code, got.content, got.headers["Accept-Ranges"]) == (200, b"hello world", "bytes")


@pytest.mark.parametrize("asked", ["bytes=11-", "bytes=50-60", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_size(http, sandbox, asked):
    http.put(url(sandbox, "a.txt"), content=b"hello world")
    got = http.get(url(sandbox, "a.txt"), headers={"Range": asked})
    assert_refused(got, 416, "range_not_satisfiable", "11 bytes")
    assert got.headers["Content-Range"] == "bytes */11"


def test_a_part_of_a_file_that_has_changed_since_is_the_whole_new_one(http, sandbox):
    http.put(url(sandbox, "a.txt"), content=b"hello")
    headers = {"Range": "bytes=0-0", "If-Range": http.get(url(sandbox, "a.txt")).headers["Etag"]}
    assert http.get(url(sandbox, "a.txt"), headers=headers).content == b"h"
    http.put(url(sandbox, "a.txt"), content=b"changed")
    assert http.get(url(sandbox, "a.txt"), headers=headers).content == b"changed"


def test_a_part_of_a_file_does_not_become_the_whole(http, sandbox):
    http.put(url(sandbox, "a.txt"), content=b"hello")
    refused = http.put(url(sandbox, "a.txt"), content=b"J", headers={"Content-Range": "bytes 0-0/5"})
    assert (refused.status_code, "Content-Range" in refused.json()["error"]) == (400, True)
    assert http.get(url(sandbox, "a.txt")).content == b"hello"


def test_a_name_that_is_no_utf_8_is_listed_with_its_bytes(http, sandbox):
    run(http, sandbox, r"import os; os.mkdir('d'); open(b'd/bad\xff', 'w').close(); open('d/good', 'w').close()")
    assert [entry["name"] for entry in http.get(url(sandbox, "d")).json()["entries"]] == ["bad\\xff", "good"]


def test_a_directory_is_listed_by_name(http, sandbox):
    run(http, sandbox, "import os; os.mkdir('d'); open('b', 'w').write('xy'); os.symlink('b', 'a')")
    for path in ("", "."):
        listed = http.get(url(sandbox, path)).json()["entries"]
        assert [(entry["name"], entry["type"]) for entry in listed] == [
            ("a", "symlink"), ("b", "file"), ("d", "directory"),
        ]  # fmt: skip
    assert http.get(f"/v1/sandboxes/{sandbox}/files").json()["entries"][1]["size"] == 2


def test_names_with_any_letters_work(http, sandbox):
    assert http.put(
        url(sandbox, "ordner/größe 100%25 #1.txt".replace("#", "%23").replace(" ", "%20")), content=b"x"
    ).is_success
    assert [entry["name"] for entry in http.get(url(sandbox, "ordner")).json()["entries"]] == ["größe 100% #1.txt"]


def test_a_file_is_deleted_and_a_full_directory_only_when_asked_for(http, sandbox):
    http.put(url(sandbox, "d/a"), content=b"x")
    assert_refused(http.delete(url(sandbox, "d")), 409, "conflict", "recursive")
    assert http.delete(url(sandbox, "d"), params={"recursive": "true"}).status_code == 204
    http.put(url(sandbox, "a"), content=b"x")
    assert http.delete(url(sandbox, "a")).status_code == 204
    assert_refused(http.get(url(sandbox, "a")), 404, "not_found", "a")
    assert_refused(http.delete(url(sandbox, "a")), 404, "not_found")


def test_an_upload_that_breaks_off_leaves_no_file(http, sandbox):
    def broken():
        yield b"x" * MIB
        until_files(http, sandbox, there=True)
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        http.put(url(sandbox, "half"), content=broken())
    until_files(http, sandbox, there=False)


def until_files(http, sandbox, *, there):
    """Wait until the workspace has a file, or none."""
    code = f"import os, time\nwhile bool(os.listdir()) is not {there}: time.sleep(0.01)"
    assert run(http, sandbox, code, timeout_seconds=50)[-1]["status"] == "ok"


def test_a_file_over_the_disk_is_refused_from_its_headers(service, http):
    made = http.post("/v1/sandboxes", json={"template": "python-minimal", "rootfs_gb": 1}).json()["id"]
    host, port = service.url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"PUT /podflare{url(made, 'huge')} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        head += f"Authorization: Bearer {service.key}\r\nContent-Length: {2 << 30}\r\n\r\n"
        connection.sendall(head.encode())
        answer = connection.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 413")
    assert "Connection: close" in answer
    assert "1024 MiB" in answer
    http.delete(f"/v1/sandboxes/{made}")


@pytest.mark.parametrize("name", ["page.html", "picture.svg", "script.js"])
def test_what_a_sandbox_wrote_is_never_shown_as_a_page_of_ours(http, sandbox, name):
    http.put(url(sandbox, name), content=b"<script>alert(1)</script>")
    got = http.get(url(sandbox, name))
    assert got.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in got.headers["Content-Security-Policy"]
    assert got.headers["X-Content-Type-Options"] == "nosniff"


def test_a_pipe_is_not_read(http, sandbox):
    run(http, sandbox, "import os; os.mkfifo('pipe')")
    assert http.get(url(sandbox, "pipe")).status_code == 403
