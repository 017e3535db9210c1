"""Open files and shared memory come along: each process has its own, in its own root."""

import contextlib
import fcntl
import os
import shutil
import subprocess

import pytest

OPEN = """
import os, tempfile, mmap
home = os.environ['HOME']
with open(home + '/text', 'w') as f: f.write('one\\ntwo\\nthree\\n')
reading = open(home + '/text'); reading.readline()
writing = open(home + '/log', 'w'); writing.write('before\\n'); writing.flush()
appending = open(home + '/all', 'a'); appending.write('first\\n'); appending.flush()
unlinked = tempfile.TemporaryFile(); unlinked.write(b'0123456789'); unlinked.flush(); unlinked.seek(4)
copy = os.dup(reading.fileno())
raw = os.open(home + '/text', os.O_RDONLY)
directory = os.open(home, os.O_RDONLY)
"""
SHARE = """
import os, mmap, multiprocessing, tempfile
home = os.environ['HOME']
with open(home + '/data', 'wb') as f: f.write(b'data' * 2048)
file = open(home + '/data', 'r+b'); mapped = mmap.mmap(file.fileno(), 0)
anonymous = mmap.mmap(-1, 10000); anonymous[:4] = b'anon'
gone = tempfile.TemporaryFile(); gone.write(b'gone' * 2048); gone.flush(); unnamed = mmap.mmap(gone.fileno(), 0)
memory = os.memfd_create('x'); os.write(memory, b'memf' * 100); inside = mmap.mmap(memory, 400)
value = multiprocessing.Value('i', 5)
"""
LOCK = """
import fcntl, os, struct
files = [open(os.environ['HOME'] + f'/locked{number}', 'w+') for number in range(3)]
fcntl.flock(files[0], fcntl.LOCK_EX)
fcntl.lockf(files[1], fcntl.LOCK_EX, 10, 5)
fcntl.fcntl(files[2], 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))
"""
SHARED = "bytes(mapped[:4]), bytes(anonymous[:4]), bytes(unnamed[:4]), bytes(inside[:4]), value.value"


def locked(home):
    """Which of the files somebody has locked; of the second, bytes 5 to 14."""
    found = []
    for number, (lock, *where) in enumerate([(fcntl.flock,), (fcntl.lockf, 1, 14), (fcntl.lockf,)]):
        with (home / f"locked{number}").open("r+") as file:
            try:
                lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *where)
            except BlockingIOError:
                found.append(number)
            if number == 1:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 15)
    return found


GIVEN_UP = """
import asyncio, os
home = os.environ['HOME']
with open(home + '/text', 'w') as f: f.write('one\\ntwo\\nthree\\n')
late = open(home + '/text'); copy = os.dup(late.fileno()); os.read(copy, 4)
number = late.fileno()
asyncio.get_running_loop().call_later(3600, late.read)
del late
"""
"""A file whose last owner is something that no child has: the parent's loop."""


@pytest.fixture
def roots(kernel, tmp_path):
    """Copies of the machine as the kernel sees it, as far as it matters: its home, and /proc."""
    if os.geteuid() != 0:
        pytest.skip("a root of its own needs the right to mount")
    places = {}
    with contextlib.ExitStack() as mounts:

        def make(number):
            root = places[number] = tmp_path / f"root{number}"
            shutil.copytree(kernel.home, root / kernel.home.relative_to("/"))
            for place in ("proc", "dev"):
                (root / place).mkdir()
                subprocess.run(["mount", "--rbind", f"/{place}", root / place], check=True)
                mounts.callback(subprocess.run, ["umount", "-l", root / place], check=False, capture_output=True)
                subprocess.run(["mount", "--make-rprivate", root / place], check=True)
            return root

        def unmount(number):
            for place in ("proc", "dev"):
                subprocess.run(["umount", "-l", places[number] / place], check=True)

        make.unmount = unmount
        yield make


@pytest.fixture
def forked(kernel, client, roots):
    """Runs a cell, forks the kernel, gives parent and child a root each: their clients, the old home, the roots."""
    children = []

    def fork(code):
        assert client.run(code).reply["status"] == "ok"
        parents, childs = roots(0), roots(1)
        told = kernel.fork(root=parents)
        assert told.continued["warnings"] == []
        children.append(told.children[0].serve(root=childs))
        assert children[0].up["warnings"] == []
        home = kernel.home.relative_to("/")
        return client, children[0].client(), kernel.home, (parents / home, childs / home)

    yield fork
    for child in children:
        child.close()


def test_open_files_go_on_in_the_new_root_each_with_its_own_offset(forked):
    parent, child, _, _ = forked(OPEN)
    assert child.value("reading.read(), unlinked.tell(), unlinked.read()") == "('two\\nthree\\n', 4, b'456789')"
    assert parent.value("reading.readline(), unlinked.read(2)") == "('two\\n', b'45')"
    assert parent.value("os.read(raw, 3)") == "b'one'"
    assert child.value("os.read(raw, 5)") == "b'one\\nt'"
    assert parent.value("os.read(raw, 1)") == "b'\\n'"


def test_writing_goes_to_the_own_root_only(forked):
    parent, child, old, (parents, childs) = forked(OPEN)
    for who, name in ((parent, "parent"), (child, "child")):
        assert who.run(f"for f in (writing, appending):\n    f.write({name!r}); f.flush()").reply["status"] == "ok"
        who.run(f"open({name!r}, 'w', opener=lambda n, f: os.open(n, f, dir_fd=directory)).close()")
        who.run(f"os.pwrite(unlinked.fileno(), {name[:1].encode()!r}, 0)")
    assert [(place / "log").read_text() for place in (old, parents, childs)] == [
        "before\n", "before\nparent", "before\nchild",
    ]  # fmt: skip
    assert [(place / "all").read_text() for place in (old, parents, childs)] == [
        "first\n", "first\nparent", "first\nchild",
    ]  # fmt: skip
    assert [{each.name for each in place.iterdir()} & {"parent", "child"} for place in (old, parents, childs)] == [
        set(), {"parent"}, {"child"},
    ]  # fmt: skip
    assert [who.value("os.pread(unlinked.fileno(), 1, 0)") for who in (parent, child)] == ["b'p'", "b'c'"]


def test_descriptors_that_shared_an_offset_still_do(forked):
    parent, child, _, _ = forked(OPEN)
    for who in (parent, child):
        assert who.value("os.lseek(copy, 3, 0), os.lseek(reading.fileno(), 0, 1), os.lseek(raw, 0, 1)") == "(3, 3, 0)"


def test_a_file_whose_owner_did_not_come_along_is_closed_and_its_copy_is_not(forked):
    parent, child, _, _ = forked(GIVEN_UP)
    for who in (parent, child):
        assert who.value("os.read(copy, 4)") == "b'two\\n'"
    leads = "os.path.realpath(f'/proc/self/fd/{number}').endswith('/text')"
    assert [who.value(leads) for who in (parent, child)] == ["True", "False"]


def test_shared_memory_is_everybodys_own(forked):
    parent, child, old, (parents, childs) = forked(SHARE)
    assert child.value(SHARED) == "(b'data', b'anon', b'gone', b'memf', 5)"
    for who, name in ((parent, "P"), (child, "C")):
        write = f"for each in (mapped, anonymous, unnamed, inside): each[:1] = {name.encode()!r}\nmapped.flush()"
        assert who.run(f"{write}\nvalue.value = ord({name!r})").reply["status"] == "ok"
    assert parent.value(SHARED) == "(b'Pata', b'Pnon', b'Pone', b'Pemf', 80)"
    assert child.value(SHARED) == "(b'Cata', b'Cnon', b'Cone', b'Cemf', 67)"
    assert child.value("os.pread(memory, 4, 0), os.pread(gone.fileno(), 4, 0)") == "(b'Cemf', b'Cone')"
    assert [(place / "data").read_bytes()[:4] for place in (old, parents, childs)] == [b"data", b"Pata", b"Cata"]


def test_a_file_that_is_not_in_the_new_root_is_named(kernel, client, roots):
    client.run("import os; lost = open(os.environ['HOME'] + '/lost', 'w')")
    root = roots(0)
    (root / kernel.home.relative_to("/") / "lost").unlink()
    forked = kernel.fork(root=root)
    for child in forked.children:
        child.close()
    (warning,) = forked.continued["warnings"]
    assert warning["kind"] == "files"
    assert "/lost" in warning["text"]
    assert client.value("1") == "1"


def test_a_directory_that_is_not_in_the_new_root_is_named(kernel, client, roots):
    client.run("import os; os.mkdir('deep'); os.chdir('deep')")
    root = roots(0)
    (root / kernel.home.relative_to("/") / "deep").rmdir()
    forked = kernel.fork(root=root)
    for child in forked.children:
        child.close()
    assert "deep" in forked.continued["warnings"][0]["text"]
    assert client.value("os.getcwd()") == "'/'"
    assert client.value("os.path.samefile('/', '/proc/self/root')") == "True"


def test_a_sleeper_needs_nothing_of_a_root_that_was_unmounted(kernel, client, roots):
    client.run(f"{OPEN}\nos.mkdir('deep'); os.chdir('deep')\n{SHARE}")
    (asleep,) = kernel.fork().children
    first = asleep.serve(root=roots(0))
    (asleep,) = first.fork().children
    first.close()
    roots.unmount(0)
    for number in (1, 2):
        (copy,) = asleep.fork()
        (copy_of_copy,) = copy.fork()
        child = copy_of_copy.serve(root=roots(number))
        try:
            assert child.up["warnings"] == []
            told = child.client().value("os.path.basename(os.getcwd()), reading.read(), unlinked.read(), value.value")
            assert told == "('deep', 'two\\nthree\\n', b'456789', 5)"
        finally:
            child.close()
            copy.close()
    asleep.close()


def test_something_else_in_a_files_place_is_not_opened_for_it(kernel, client, roots):
    client.run(OPEN)
    root = roots(0)
    for name, make in (("text", os.mkfifo), ("log", os.mkdir)):
        place = root / kernel.home.relative_to("/") / name
        place.unlink()
        make(place)
    forked = kernel.fork(root=root)
    for child in forked.children:
        child.close()
    told = "\n".join(each["text"] for each in forked.continued["warnings"])
    assert "/text (descriptor" in told
    assert "/log (descriptor" in told
    assert client.value("1") == "1"


def test_locks_of_files_stay_the_parents(kernel, client, roots):
    client.run(LOCK)
    parents, childs = roots(0), roots(1)
    forked = kernel.fork(root=parents)
    assert dict(forked.warnings)["files"].startswith("Locks of files stay the parent's: ")
    assert forked.continued["warnings"] == []
    child = forked.children[0].serve(root=childs)
    try:
        assert child.up["warnings"] == []
        home = kernel.home.relative_to("/")
        assert [locked(place) for place in (kernel.home, childs / home, parents / home)] == [[], [], [0, 1, 2]]
    finally:
        child.close()


def test_locks_end_with_the_parents_hold_even_if_a_child_sleeps(kernel, client):
    client.run(LOCK)
    (asleep,) = kernel.fork().children
    assert locked(kernel.home) == [0, 1, 2]
    client.run("for each in files: each.close()")
    assert locked(kernel.home) == []
    asleep.close()


def test_without_roots_everybody_still_has_an_own_offset(kernel, client):
    client.run(OPEN)
    (asleep,) = kernel.fork().children
    client.run("reading.read()")
    (copy,) = asleep.fork()
    child = copy.serve()
    try:
        assert child.client().value("reading.read(), unlinked.read()") == "('two\\nthree\\n', b'456789')"
    finally:
        child.close()
        asleep.close()


CONNECT = """
import os, sqlite3
kept = [sqlite3.connect(os.environ['HOME'] + '/a.db'), sqlite3.connect(os.environ['HOME'] + '/b.db')]
for each in kept: each.execute('create table t(x)'); each.execute('insert into t values (1)'); each.commit()
kept[1].close()
reading = sqlite3.connect('file:' + os.environ['HOME'] + '/b.db?mode=ro', uri=True)
"""


def test_connections_to_databases_that_can_only_read_in_a_child_are_named(kernel, client, roots):
    client.run(CONNECT)
    told = kernel.fork(root=roots(0))
    (warning,) = told.warnings
    assert "connect anew" in warning[1]
    assert ("a.db" in warning[1], "b.db" in warning[1]) == (True, False)
    woken = told.children[0].serve(root=roots(1))
    try:
        child = woken.client()
        write = "kept[0].execute('insert into t values (2)')"
        assert "readonly" in child.run(write).reply["evalue"]
        assert child.value("kept[0].execute('select x from t').fetchall()") == "[(1,)]"
        assert (
            child.run(write.replace("kept[0]", "sqlite3.connect(os.environ['HOME'] + '/a.db')")).reply["status"] == "ok"
        )
    finally:
        woken.close()


MEANWHILE = """
import os
home = os.environ['HOME']
with open(home + '/text', 'w') as f: f.write('one\\ntwo\\nthree\\n')
writing = open(home + '/log', 'w'); writing.write('before\\n'); writing.flush()
copy = os.dup(writing.fileno())
given_up = open(home + '/text'); number = given_up.fileno()
gone = open(home + '/gone', 'w')
def go_on():
    global given_up, instead, late
    writing.write('meanwhile\\n'); writing.flush()
    given_up.close(); instead = open(home + '/text', 'r+')
    late = open(home + '/late', 'a')
    os.unlink(home + '/gone')
os.register_at_fork(after_in_parent=go_on)
with open(home + '/late', 'w'): pass
"""
"""What threads do while the kernel forks, done by a function that is called at that time."""


def test_what_is_done_with_files_while_the_kernel_forks_goes_on_in_the_parents_new_root(kernel, client, roots):
    client.run(MEANWHILE)
    root = roots(0)
    home = root / kernel.home.relative_to("/")
    (home / "log").write_text("before\nmeanwhile\n")  # as in the real new root, which stands on the old one
    (home / "gone").unlink()
    told = kernel.fork(root=root)
    for child in told.children:
        child.close()
    assert told.continued["warnings"] == []
    assert client.value("instead.fileno() == number, os.lseek(copy, 0, os.SEEK_CUR)") == "(True, 17)"
    write = "for each in (writing, late, instead): each.write('after'); each.flush()"
    assert client.run(write).reply["status"] == "ok"
    client.run("os.write(copy, b'!')")
    assert (home / "log").read_text() == "before\nmeanwhile\nafter!"
    assert (home / "late").read_text() == "after"
    assert (home / "text").read_text() == "afterwo\nthree\n"
    assert (kernel.home / "late").read_text() == ""


def test_what_cannot_be_written_to_in_a_new_root_is_only_read_there(kernel, client, roots):
    client.run(f"{OPEN}\nfile = open(home + '/log', 'r+'); copies = [file.fileno(), os.dup(file.fileno())]")
    parents, childs = roots(0), roots(1)
    with contextlib.ExitStack() as mounts:
        for root in (parents, childs):
            home = root / kernel.home.relative_to("/")
            subprocess.run(["mount", "--bind", home, home], check=True)
            mounts.callback(subprocess.run, ["umount", "-l", home], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", home], check=True)
        told = kernel.fork(root=parents)
        woken = told.children[0].serve(root=childs)
        try:
            for who, warnings in ((client, told.continued["warnings"]), (woken.client(), woken.up["warnings"])):
                assert sum(each["text"].endswith("It can only be read.") for each in warnings) == 3
                assert who.value("file.read()") == "'before\\n'"
                for number in ("copies[0]", "copies[1]", "appending.fileno()"):
                    assert who.run(f"os.write({number}, b'x')").reply["ename"] == "OSError"
            assert (kernel.home / "log").read_text() == "before\n"
        finally:
            woken.close()


def test_a_file_that_is_opened_when_all_was_written_down_is_a_childs_own(forked):
    parent, child, old, (parents, childs) = forked(
        "import os; os.register_at_fork(before=lambda: globals().update(late=open(os.environ['HOME'] + '/late', 'a')));"
        "open(os.environ['HOME'] + '/late', 'w').close()"
    )
    for who, name in ((parent, "parent"), (child, "child")):
        assert who.run(f"late.write({name!r}); late.flush()").reply["status"] == "ok"
    assert [(place / "late").read_text() for place in (old, parents, childs)] == ["", "parent", "child"]
