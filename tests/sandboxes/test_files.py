"""Files of a workspace: there and back, never beyond it."""

import asyncio
import ctypes
import os
import socket
import threading

import pytest

from podflare_nb.errors import ConflictError, ForbiddenError, InvalidArgumentError, NotFoundError, TooLargeError
from podflare_nb.sandboxes.files import WorkspaceFiles

from .conftest import SECONDS, run
from .test_floods import GROWTH_BYTES, Peak


class Handle:
    """Of a kernel handle what files use."""

    kernel_id = "k"
    owner_ids = (os.getuid(), os.getgid())

    def __init__(self, path) -> None:
        self.workspace_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "workspace").mkdir()
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "workspace"


@pytest.fixture
def files(root):
    handle = Handle(root)
    yield WorkspaceFiles(lambda: handle)
    os.close(handle.workspace_fd)


async def put(files, path, data=b"data"):
    async with await files.upload(path) as upload:
        await upload.write(data)
        return await upload.commit()


async def get(files, path):
    async with await files.open(path) as reader:
        return b"".join([chunk async for chunk in reader.chunks()])


async def test_a_file_comes_back_as_it_went_in(files, root):
    entry = await put(files, "a/b/c.bin", b"\0\xff" * 1000)
    assert (entry.name, entry.type, entry.size) == ("c.bin", "file", 2000)
    assert await get(files, "a/b/c.bin") == b"\0\xff" * 1000
    assert (root / "a/b/c.bin").stat().st_mode & 0o777 == 0o644


async def test_an_absolute_path_below_workspace_is_the_same_file(files):
    await put(files, "/workspace/a.txt")
    assert await get(files, "a.txt") == b"data"
    assert await get(files, "x/../a.txt") == b"data"


async def test_a_listing_tells_names_types_and_sizes(files, root):
    await put(files, "b.txt", b"12")
    await files.mkdir("a")
    (root / "l").symlink_to("b.txt")
    os.mkfifo(root / "p")
    found = [(entry.name, entry.type) for entry in await files.entries()]
    assert found == [("a", "directory"), ("b.txt", "file"), ("l", "symlink"), ("p", "other")]
    assert (await files.stat("l")).size == 2
    assert (await files.stat(".")).type == "directory"


async def test_the_head_of_a_file_comes_with_its_size(files):
    await put(files, "a", b"x" * 5000)
    assert await files.read_head("a", 10) == (b"x" * 10, 5000)


@pytest.mark.parametrize(
    "path",
    ["../secret", "a/../../secret", "/etc/passwd", "/workspace/../secret", "/workspacex/a", "//etc/passwd", ".."],
)
@pytest.mark.parametrize("call", ["open", "upload", "delete", "entries", "stat", "mkdir"])
async def test_a_path_that_leads_out_is_refused(files, root, path, call):
    with pytest.raises(ForbiddenError, match="workspace"):
        await getattr(files, call)(path)
    assert (root.parent / "secret").read_text() == "secret"


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "y" * 300, "\ud800"])
async def test_what_is_no_path_is_refused(files, path):
    with pytest.raises(InvalidArgumentError):
        await files.upload(path)
    with pytest.raises(InvalidArgumentError):
        await files.open(path)


@pytest.mark.parametrize("path", ["", ".", "/workspace", "a/.."])
async def test_the_workspace_itself_is_neither_written_nor_deleted(files, path):
    for call in (files.upload, files.delete, files.mkdir):
        with pytest.raises(InvalidArgumentError):
            await call(path)


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "/proc/self/root/etc/passwd", "../../../../etc/passwd"])
async def test_a_link_out_of_the_workspace_is_not_followed(files, root, target):
    (root / "link").symlink_to(target)
    for call in (files.open, files.stat, files.entries):
        with pytest.raises(ForbiddenError):
            await call("link")
    await put(files, "link", b"mine")
    assert (root.parent / "secret").read_text() == "secret"
    assert not (root / "link").is_symlink()


async def test_a_linked_directory_out_of_the_workspace_is_not_entered(files, root):
    (root / "out").symlink_to("..")
    with pytest.raises(ForbiddenError):
        await files.open("out/secret")
    with pytest.raises(ForbiddenError):
        await files.upload("out/new")
    with pytest.raises(ForbiddenError):
        await files.delete("out/secret")
    with pytest.raises(ForbiddenError):
        await files.mkdir("out/made")
    assert sorted(path.name for path in root.parent.iterdir()) == ["secret", "workspace"]
    await files.delete("out")
    assert (root.parent / "secret").exists()


async def test_a_link_inside_the_workspace_is_followed(files, root):
    await put(files, "real/a", b"1")
    (root / "link").symlink_to("real")
    assert await get(files, "link/a") == b"1"
    await put(files, "link/b/c", b"2")
    assert (root / "real/b/c").read_bytes() == b"2"


async def test_descriptors_of_the_server_cannot_be_reached_through_proc(files, root):
    (root / "fd").symlink_to("/proc/self/fd")
    with pytest.raises(ForbiddenError):
        await files.entries("fd")


async def test_pipes_sockets_and_devices_are_not_read(files, root):
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "socket"))
        for path in ("pipe", "socket"):
            with pytest.raises(ForbiddenError):
                await asyncio.wait_for(files.open(path), SECONDS)


async def test_what_is_missing_or_of_another_kind_is_told(files):
    await put(files, "d/a")
    with pytest.raises(NotFoundError):
        await files.open("none")
    with pytest.raises(ConflictError, match="is a directory"):
        await files.open("d")
    with pytest.raises(ConflictError):
        await files.entries("d/a")
    with pytest.raises(ConflictError):
        await files.upload("d/a/b")
    with pytest.raises(ConflictError):
        await put(files, "d")
    with pytest.raises(NotFoundError):
        await files.delete("none")


async def test_an_upload_is_seen_only_when_it_is_whole(files, root):
    await put(files, "a", b"old")
    async with await files.upload("a") as upload:
        await upload.write(b"new")
        assert (root / "a").read_bytes() == b"old"
        await upload.commit()
    assert (root / "a").read_bytes() == b"new"
    assert [path.name for path in root.iterdir()] == ["a"]


async def test_an_aborted_upload_leaves_nothing(files, root):
    async with await files.upload("a") as upload:
        await upload.write(b"half")
    assert list(root.iterdir()) == []


async def test_an_upload_onto_a_directory_leaves_nothing(files, root):
    await files.mkdir("d")
    with pytest.raises(ConflictError):
        await put(files, "d")
    assert [path.name for path in root.iterdir()] == ["d"]


async def test_a_client_that_goes_away_in_the_middle_leaves_nothing(files, root):
    started = asyncio.Event()

    async def write_for_ever():
        async with await files.upload("a") as upload:
            while True:
                await upload.write(b"x" * 100_000)
                started.set()

    task = asyncio.create_task(write_for_ever())
    await asyncio.wait_for(started.wait(), SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert list(root.iterdir()) == []


async def test_a_full_disk_is_told(files, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    async with await files.upload("a") as upload:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(TooLargeError, match="disk is full"):
            await upload.write(b"x")
        monkeypatch.undo()


async def test_directories_are_deleted_whole_only_if_asked(files, root):
    await put(files, "d/e/f")
    (root / "d/link").symlink_to("../../secret")
    with pytest.raises(ConflictError, match="recursive"):
        await files.delete("d")
    await files.delete("d", recursive=True)
    assert list(root.iterdir()) == []
    assert (root.parent / "secret").exists()


async def test_directories_without_end_are_not_descended(files, root):
    where = os.open(root, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=where)
        below = os.open("d", os.O_RDONLY, dir_fd=where)
        os.close(where)
        where = below
    os.close(where)
    with pytest.raises(ConflictError, match="nested"):
        await files.delete("d", recursive=True)


async def test_a_file_that_shrinks_while_it_is_read_is_told(files, root):
    await put(files, "a", b"x" * (3 << 20))
    async with await files.open("a") as reader:
        chunks = reader.chunks()
        await anext(chunks)
        os.truncate(root / "a", 10)
        with pytest.raises(ConflictError, match="shorter"):
            await anext(chunks)


def exchange(one, other):
    """Swap two names in one step, so that neither is ever missing."""
    renamed = ctypes.CDLL(None).renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)
    assert renamed == 0


async def test_a_directory_swapped_for_a_link_meanwhile_never_leads_out(files, root):
    """The race of check and use: one side swaps, the other side reads and writes."""
    (root / "d").mkdir()
    (root / "d/secret").write_text("inside")
    (root / "evil").symlink_to("..")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            exchange(root / "d", root / "evil")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(300):
            try:
                assert await get(files, "d/secret") == b"inside"
                await put(files, f"d/new{number % 5}")
            except (ForbiddenError, NotFoundError, ConflictError):
                continue
    finally:
        stop.set()
        thread.join()
    assert sorted(path.name for path in root.parent.iterdir()) == ["secret", "workspace"]
    assert (root.parent / "secret").read_text() == "secret"


async def test_a_gibibyte_goes_in_and_out_in_flat_memory(files, root):
    del root
    block = bytes(1 << 20)
    peak = Peak()
    async with await files.upload("big") as upload:
        for _ in range(1024):
            await upload.write(block)
        await upload.commit()
    async with await files.open("big") as reader:
        size = 0
        async for chunk in reader.chunks():
            size += len(chunk)
    assert size == 1 << 30
    assert peak.growth() < GROWTH_BYTES
    await files.delete("big")


async def test_what_is_written_belongs_to_the_sandboxs_root(root):
    if os.getuid() != 0:
        pytest.skip("only root gives files away")
    handle = Handle(root)
    handle.owner_ids = (12345, 12346)
    await put(WorkspaceFiles(lambda: handle), "a/b/c")
    os.close(handle.workspace_fd)
    for path in ("a", "a/b", "a/b/c"):
        status = (root / path).stat()
        assert (status.st_uid, status.st_gid) == (12345, 12346)


async def test_between_two_kernels_the_workspace_cannot_be_had(root):
    handle = Handle(root)
    os.close(handle.workspace_fd)
    handle.workspace_fd = -1
    with pytest.raises(ConflictError, match="is ending, or its kernel is being replaced"):
        await WorkspaceFiles(lambda: handle).entries()


async def test_files_of_a_live_sandbox_are_those_its_code_sees(sandbox, workspace):
    await put(sandbox.files, "in.txt", b"from outside")
    ran = await run(sandbox, "print(open('in.txt').read()); open('out.txt', 'w').write('from inside')")
    assert ran.text == "from outside\n"
    assert await get(sandbox.files, "out.txt") == b"from inside"
    assert (workspace / "out.txt").exists()
