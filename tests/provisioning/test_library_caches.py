"""The cache of libraries' caches: whose it must be, what is kept, how it stays small; and that no jail shows it."""

import hashlib
import marshal
import os
import pickle
from pathlib import Path

import pytest

from podflare_nb.provisioning import client as client_module
from podflare_nb.provisioning import library_caches
from podflare_nb.provisioning.client import Supervisor
from podflare_nb.provisioning.library_caches import MAX_FILES, NEW, LibraryCache, open_directory

from .conftest import KernelClient, new_directories, templates

SOMEBODY = 12_345
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="another user's files need root")
NAME, FONTLIST = "jedi/CPython-311-33/a-b.pkl", "fontlist-v390.json"
SEEN = """
import os
def memory():
    with open("/proc/self/mem", "rb", 0) as file:
        for line in open("/proc/self/maps"):
            start, end = (int(each, 16) for each in line.split()[0].split("-"))
            if line.split()[1].startswith("r") and "[v" not in line:
                try:
                    file.seek(start)
                    yield file.read(end - start)
                except OSError:
                    pass
def holds(begin, end):  # never made whole here, where it would be found
    begin, end = begin.encode(), end.encode()
    return any(after.startswith(end) for part in memory() for after in part.split(begin)[1:])
def opened():
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.exists(link)]
"""


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "caches"


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def cache(directory):
    return LibraryCache(open_directory(directory))


def write(home, name=NAME, contents=None):
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(name) if contents is None else contents)
    return path


def kept(directory):
    """What is in the only file there, if it is whole."""
    (path,) = directory.iterdir()
    digest, body = path.read_bytes()[:32], path.read_bytes()[32:]
    assert hashlib.sha256(body).digest() == digest
    return marshal.loads(body)


def start(directory, tmp_path, name="second"):
    """The home of another start, and its cache."""
    home, after = tmp_path / name, cache(directory)
    home.mkdir()
    after.lay_out(home)
    return home, after


def test_what_was_written_is_there_at_the_next_start_with_its_date(directory, home, tmp_path):
    os.utime(write(home), (1_000, 1_000))
    write(home, FONTLIST, b"{}")
    write(home, "other/file", b"")
    cache(directory).keep(home)
    later, after = start(directory, tmp_path)
    assert {str(path.relative_to(later)) for path in later.rglob("*") if path.is_file()} == {NAME, FONTLIST}
    assert pickle.loads((later / NAME).read_bytes()) == NAME
    assert (later / NAME).stat().st_mtime == 1_000
    assert after.trouble == ""


def test_a_start_that_writes_nothing_publishes_nothing(directory, home, tmp_path):
    write(home)
    cache(directory).keep(home)
    (before,) = directory.iterdir()
    inode = before.stat().st_ino
    later, after = start(directory, tmp_path)
    after.keep(later)
    assert [path.stat().st_ino for path in directory.iterdir()] == [inode]


def test_two_that_wrote_different_files_leave_both(directory, home, tmp_path):
    first, (later, second) = cache(directory), start(directory, tmp_path)
    write(home)
    write(later, FONTLIST, b"{}")
    first.keep(home)
    second.keep(later)
    assert set(kept(directory)) == {NAME, FONTLIST}


def test_a_pickle_that_ends_early_is_not_kept(directory, home):
    """As parso leaves one when the disk is full."""
    write(home, "jedi/CPython-311-33/torn.pkl", pickle.dumps(list(range(1000)))[:-100])
    write(home)
    writer = cache(directory)
    writer.keep(home)
    assert set(kept(directory)) == {NAME}
    assert "pickle" in writer.trouble


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda _: b"", lambda whole: whole[:-1] + b"\0"])
def test_a_damaged_file_is_told_and_left_and_replaced(directory, home, tmp_path, damage):
    write(home)
    cache(directory).keep(home)
    (path,) = directory.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    later, after = start(directory, tmp_path)
    assert list(later.iterdir()) == []
    assert "is damaged" in after.trouble
    write(later)
    after.keep(later)
    assert set(kept(directory)) == {NAME}


def test_a_home_with_no_room_gets_nothing(directory, home, tmp_path):
    """Not the half of a file, which parso would load."""
    for name in (NAME, "jedi/other/c-d.pkl"):
        write(home, name)
    cache(directory).keep(home)
    full = tmp_path / "full"
    write(full, "jedi/other", b"")  # in the way of a directory
    after = cache(directory)
    after.lay_out(full)
    assert after.trouble
    assert [path for path in full.rglob("*") if path.suffix == ".pkl"] == []


def test_a_directory_that_cannot_be_written_to_is_told(directory, home):
    writer = cache(directory)
    directory.rmdir()
    writer.lay_out(home)
    assert writer.trouble == ""  # there is nothing
    write(home)
    writer.keep(home)
    assert writer.trouble.startswith("FileNotFoundError")


def test_only_the_latest_stay(directory, home):
    opened = open_directory(directory)
    names = [f"{number:02}" for number in range(MAX_FILES)] + [f"{NEW}left-by-one-that-was-killed"]
    for age, name in enumerate(names):
        (directory / name).touch()
        os.utime(directory / name, (1_000 - age, 1_000 - age))
    write(home)
    LibraryCache(opened).keep(home)
    left = {path.name for path in directory.iterdir()}
    assert len(left) == MAX_FILES
    assert left & set(names) == set(names[: MAX_FILES - 1])


def test_another_version_or_another_font_is_another_file(monkeypatch, tmp_path):
    places = [tmp_path / name for name in ("site", "fonts")]
    for place in places:
        place.mkdir()
    monkeypatch.setattr(library_caches.sys, "path", [str(places[0])])
    monkeypatch.setattr(library_caches, "FONTS", (str(places[1]),))
    keys = [library_caches._key(), library_caches._key()]
    assert len(set(keys)) == 1
    (places[0] / "spam-1.0.dist-info").mkdir()
    keys.append(library_caches._key())
    (places[0] / "spam-1.0.dist-info").rename(places[0] / "spam-1.1.dist-info")
    keys.append(library_caches._key())
    os.utime(places[1], (1_000, 1_000))
    keys.append(library_caches._key())
    assert len(set(keys)) == 4


def test_it_is_made_for_its_owner_alone(tmp_path):
    path = tmp_path / "base" / "caches"
    for _ in range(2):
        os.close(open_directory(path))
    assert [each.stat().st_mode & 0o777 for each in (path, path.parent)] == [0o700, 0o700]


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(directory, mode):
    os.close(open_directory(directory))
    directory.chmod(mode)
    with pytest.raises(PermissionError, match="somebody else can write to it"):
        open_directory(directory)


@NEEDS_ROOT
def test_a_directory_of_somebody_else_is_refused(directory):
    os.close(open_directory(directory))
    os.chown(directory, SOMEBODY, SOMEBODY)
    with pytest.raises(PermissionError, match="somebody else can write to it"):
        open_directory(directory)


def test_a_link_to_a_directory_of_ours_is_refused(directory, tmp_path):
    (tmp_path / "ours").mkdir(mode=0o700)
    directory.symlink_to(tmp_path / "ours")
    with pytest.raises(OSError, match=r"symbolic link|Not a directory"):
        open_directory(directory)


@NEEDS_ROOT
def test_a_file_of_somebody_else_is_not_loaded(directory, home, tmp_path):
    write(home)
    cache(directory).keep(home)
    (path,) = directory.iterdir()
    os.chown(path, SOMEBODY, SOMEBODY)
    later, after = start(directory, tmp_path)
    assert list(later.iterdir()) == []
    assert "somebody else can write to it" in after.trouble


async def started(monkeypatch, caches, **options):
    monkeypatch.setattr(client_module, "default_library_caches", lambda: caches)
    return await Supervisor.start(templates(), **new_directories(), **options)


async def test_a_template_does_not_use_a_directory_that_others_may_write_to(monkeypatch, directory, capfd):
    directory.mkdir()
    directory.chmod(0o770)
    async with await started(monkeypatch, directory, isolation="none") as supervisor:
        await (await supervisor.acquire("python-minimal")).kill()
    assert list(directory.iterdir()) == []
    assert f"{directory} is not used: somebody else can write to it" in capfd.readouterr().err


async def test_a_kernel_in_a_jail_finds_neither_the_directory_nor_its_path(monkeypatch, directory):
    async with await started(monkeypatch, directory) as supervisor:
        kernel = await supervisor.acquire("python-minimal")
        client = KernelClient(kernel)
        begin, end = str(directory)[:-4], str(directory)[-4:]
        await client.run(SEEN)
        found = await client.run(f"holds({begin!r}, {end!r})")
        control = await client.run("holds('podflare_nb/provi', 'sioning/library_caches.py')")
        there = await client.run(f"os.path.exists({str(directory)!r})")  # after the search: now it knows the path
        opened = await client.run("print(*opened())")
        client.close()
        await kernel.kill()
    assert (found.text, there.text, control.text) == ("False", "False", "True")
    assert [path for path in opened.text.split() if path.endswith("caches")] == []
    assert "/dev/null" in opened.text.split()
    assert any(Path(name).match("*.pkl") for name in kept(directory))  # it was in use
