"""Packages of Debian archives are kept by the hash that an index lists, and passed through where none counts."""

import bz2
import gzip
import lzma

import pytest

from podflare_nb.provisioning.network.mirror.debian_indexes import ARCHITECTURE, Reading

from .conftest import get
from .sources import Answer, sha256

POOL = "pool/main/h/hello_1.0_all.deb"
DEB = b"a package" * 1000
ARCHIVE = "http://deb.test/debian"
PACKINGS = {"xz": lzma.compress, "gz": gzip.compress, "bz2": bz2.compress, "plain": bytes}


def stanza(path=POOL, content=DEB):
    return f"Package: hello\nVersion: 1.0\nFilename: {path}\nSize: 1\nSHA256: {sha256(content)}\n\n".encode()


def offer_index(upstream, text, pack=lzma.compress, architecture=ARCHITECTURE):
    """The index's address, as a sandbox asks for it."""
    body = pack(text)
    path = f"dists/test/main/binary-{architecture}/by-hash/SHA256/{sha256(body)}"
    upstream.answers[f"/debian/{path}"] = Answer(body)
    return f"{ARCHIVE}/{path}"


@pytest.fixture
def archive(mirror, upstream):
    upstream.answers[f"/debian/{POOL}"] = Answer(DEB)
    first, second = mirror.open("first"), mirror.open("second")

    def fetch(target=f"{ARCHIVE}/{POOL}", by=first):
        status, _, body = get(by, target)
        return status, body

    fetch.asked = lambda: upstream.paths().count(f"/debian/{POOL}")
    fetch.second = second
    return fetch


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_what_an_index_lists_is_fetched_once_for_all_sandboxes(mirror, upstream, archive, pack):
    archive(offer_index(upstream, stanza("pool/other.deb", b"") * 3000 + stanza(), pack))
    assert archive() == archive(by=archive.second) == (200, DEB)
    assert archive.asked() == 1
    assert f"sha256-{sha256(DEB)}" in mirror.kept()


def test_without_an_index_nothing_is_kept(archive):
    assert archive() == archive() == (200, DEB)
    assert archive.asked() == 2


@pytest.mark.parametrize(
    "text",
    [b"Package: x\n" * 10, b"\0" * 3_000_000, stanza("pool/other.deb"), stanza().replace(b"SHA256", b"SHA1")],
    ids=["no stanza", "no list", "another file", "a weak hash"],
)
def test_an_index_that_does_not_list_it_changes_nothing(upstream, archive, text):
    archive(offer_index(upstream, text))
    assert archive() == archive() == (200, DEB)
    assert archive.asked() == 2


def test_neither_does_one_of_another_architecture_or_one_that_is_broken(upstream, archive):
    archive(offer_index(upstream, stanza(), architecture="riscv64"))
    archive(offer_index(upstream, stanza(), pack=lambda text: lzma.compress(text)[:40] + bytes(40)))
    assert archive() == archive() == (200, DEB)
    assert archive.asked() == 2


def test_a_package_that_is_another_than_listed_is_passed_through_for_apt_to_judge_and_not_kept(
    mirror, upstream, archive
):
    archive(offer_index(upstream, stanza(content=b"as it was once")))
    assert archive() == archive() == (200, DEB)
    assert archive.asked() == 2
    assert f"sha256-{sha256(DEB)}" not in mirror.kept()


def test_where_indexes_do_not_agree_what_was_kept_is_not_given_out(upstream, archive):
    archive(offer_index(upstream, stanza()))
    assert archive() == (200, DEB)
    upstream.answers[f"/debian/{POOL}"] = Answer(b"built anew")
    archive(offer_index(upstream, stanza(content=b"built anew")))
    assert archive() == archive(by=archive.second) == (200, b"built anew")


def test_what_is_kept_is_refused_as_well_where_the_policy_does_not_allow_the_archive(mirror, upstream, archive):
    archive(offer_index(upstream, stanza()))
    assert archive() == (200, DEB)
    assert archive(by=mirror.open("third", {"allow": ["files.example.org"]}))[0] == 403


@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_an_index_reads_the_same_in_parts_of_any_size(pack, size):
    packed = pack(b"".join(stanza(f"pool/{number}.deb", b"%d" % number) for number in range(300)))
    reading = Reading()
    reading.feed(packed[:10])
    for start in range(10, len(packed), size):
        reading.feed(packed[start : start + size])
    listing = reading.listing()
    assert len(listing) == 300
    assert {number: listing.get(f"pool/{number}.deb").hex() for number in range(300)} == {
        number: sha256(b"%d" % number) for number in range(300)
    }
    assert listing.get("pool/300.deb") is None


def test_what_unpacks_to_too_much_is_given_up(monkeypatch):
    monkeypatch.setattr("podflare_nb.provisioning.network.mirror.debian_indexes.MAX_TEXT_BYTES", 1 << 20)
    packed = lzma.compress(stanza() * 100_000)
    with pytest.raises(ValueError, match="too large"):
        Reading().feed(packed)
