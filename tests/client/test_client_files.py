import io

import pytest
from stand_in_service import NOON

from podflare_nb.client import InvalidArgumentError, NotFoundError
from podflare_nb.client.paths import parent_and_name, url_path, url_segment
from podflare_nb.client.terminals import pieces_of


def test_bytes_text_paths_and_file_objects_can_be_written(sandbox, stand_in, tmp_path):
    local = tmp_path / "local.bin"
    local.write_bytes(b"p" * 700_000)
    assert sandbox.files.write("a", b"bytes").size == 5
    sandbox.files.write("b", "t\u00e9xt")
    sandbox.files.write("c", local)
    sandbox.files.write("d", io.BytesIO(b"object"))
    assert stand_in.files == {"a": b"bytes", "b": "t\u00e9xt".encode(), "c": b"p" * 700_000, "d": b"object"}
    lengths = [request["headers"].get("Content-Length") for request in stand_in.requests if request["method"] == "PUT"]
    assert lengths == ["5", "5", "700000", None]


def test_what_was_written_is_read_back(sandbox):
    sandbox.files.write("notes.txt", "one\ntwo")
    assert sandbox.files.read("notes.txt") == b"one\ntwo"
    assert sandbox.files.read_text("notes.txt") == "one\ntwo"
    assert sandbox.download("notes.txt") == b"one\ntwo"


def test_upload_takes_a_local_path_or_bytes(sandbox, stand_in, tmp_path):
    (tmp_path / "x.csv").write_text("a,b")
    sandbox.upload(str(tmp_path / "x.csv"), "x.csv")
    sandbox.upload(b"\x00\x01", "x.bin")
    assert stand_in.files == {"x.csv": b"a,b", "x.bin": b"\x00\x01"}


def test_a_download_appears_whole_or_not_at_all(sandbox, tmp_path):
    sandbox.files.write("data", b"content")
    with pytest.raises(NotFoundError, match="no file missing"):
        sandbox.files.download("missing", tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []
    sandbox.files.write("there", b"content")
    assert sandbox.files.download("there", tmp_path / "there").read_bytes() == b"content"
    assert (tmp_path / "there").stat().st_mode & 0o077 != 0


def test_stat_and_exists_tell_of_one_file(sandbox):
    sandbox.files.write("data/x", b"1")
    info = sandbox.files.stat("data/x")
    assert (info.name, info.type, info.size, info.modified, info.is_dir) == ("x", "file", 1, NOON, False)
    assert sandbox.files.stat(".").is_dir
    assert sandbox.files.exists("data/x")
    assert not sandbox.files.exists("data/y")
    with pytest.raises(NotFoundError, match="no file data/y"):
        sandbox.files.stat("data/y")


def test_delete_is_recursive_only_when_told(sandbox, stand_in):
    sandbox.files.write("a", b"")
    sandbox.files.write("b", b"")
    sandbox.files.delete("a")
    sandbox.files.delete("b", recursive=True)
    asked = [request["uri"].rpartition("/")[2] for request in stand_in.requests if request["method"] == "DELETE"]
    assert asked == ["a", "b?recursive=true"]


def test_a_path_reaches_the_service_as_it_was_written(sandbox, stand_in):
    with pytest.raises(NotFoundError):
        sandbox.files.read("../../etc/passwd")
    assert stand_in.requests[-1]["uri"].endswith("/files/%2E%2E/%2E%2E/etc/passwd")
    with pytest.raises(InvalidArgumentError):
        sandbox.files.read("a\x00b")


def test_paths_are_quoted_for_a_url():
    assert url_path("a b/\u00fc?#%.csv") == "a%20b/%C3%BC%3F%23%25.csv"
    assert parent_and_name("a/b/c/") == ("a/b", "c")
    assert parent_and_name("c") == (".", "c")
    assert parent_and_name("/c") == ("/", "c")


@pytest.mark.parametrize(("path", "text"), [("half \ud83d", "text"), ("a", "half \ud83d of a pair")])
def test_half_of_a_surrogate_pair_in_a_path_or_a_text_is_told_and_not_sent(sandbox, stand_in, path, text):
    with pytest.raises(InvalidArgumentError, match="half of a surrogate pair"):
        sandbox.files.write(path, text)
    assert stand_in.files == {}
    with pytest.raises(InvalidArgumentError, match="half of a surrogate pair"):
        url_segment("sbx_\udc00")
    with pytest.raises(InvalidArgumentError, match="half of a surrogate pair"):
        list(pieces_of("echo \ud83d\r"))
