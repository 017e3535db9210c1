"""The disk of a sandbox: an ext4 file system of its own in a sparse file, attached as a loop device (loop(4)).

It bounds bytes and inodes, whatever the host's file system can do. The file is unlinked as soon as it is
attached, and the loop device detaches itself with its last user, so that nothing is left behind even when every
process of ours is killed. It does not bound the host's total: sparse files promise more than the disk may hold.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

LOOP_CONTROL = "/dev/loop-control"
LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LO_FLAGS_READ_ONLY = 1
LO_FLAGS_AUTOCLEAR = 4
LO_FLAGS_DIRECT_IO = 16
LOOP_INFO64 = struct.Struct("=5Q 4I 64s 64s 32s 2Q")
LOOP_CONFIG = struct.Struct(f"=2I {LOOP_INFO64.size}s 8Q")
ATTEMPTS = 64
# The journal is made when it is first written to. Nothing is ever recovered from it; but without one ext4 takes no
# inode again for minutes after it was deleted, and looks at all of these before it takes another (fs/ext4/ialloc.c,
# recently_deleted): where thousands of files come and go, each new one takes as long as five.
MKFS = ("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "has_journal,^resize_inode,^metadata_csum",
        "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0")  # fmt: skip
SMALL_MIB, JOURNAL_MIB, SMALL_JOURNAL_MIB = 512, 4, 1
"""The least journals there may be, with blocks of 4 KiB, and of 1 KiB on a disk that is smaller."""


class DiskStore:
    """Makes disks in ``directory``, which must be on a real file system. Blank images are made once for each size."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._serial = 0

    def create(self, disk_mib: int, inodes: int, image: Path | None = None) -> Disk:
        """A blank disk. ``image``: the file that it is to be in, to be kept. Raises OSError when no loop device is to
        be had, or the host's disk is full."""
        blank = self._directory / f"blank-{disk_mib}-{inodes}"
        if not blank.exists():
            self._make_blank(blank, disk_mib, inodes)
        if image is not None:
            _copy_sparse(blank, image)
            return attach(image)
        self._serial += 1
        image = self._directory / f"disk-{self._serial}"
        _copy_sparse(blank, image)
        try:
            return attach(image)
        finally:
            image.unlink()

    @staticmethod
    def _make_blank(path: Path, disk_mib: int, inodes: int) -> None:
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            file.truncate(disk_mib << 20)
        journal = SMALL_JOURNAL_MIB if disk_mib < SMALL_MIB else JOURNAL_MIB
        options = ("-J", f"size={journal}", "-N", str(inodes), str(temporary))
        try:
            subprocess.run([*MKFS, *options], check=True, capture_output=True)  # noqa: S603 - fixed words and our own path
        except FileNotFoundError as error:
            raise OSError(errno.ENOENT, "mkfs.ext4 is not installed (Debian: e2fsprogs)") from error
        except subprocess.CalledProcessError as error:
            raise OSError(errno.EIO, f"mkfs.ext4 failed: {error.stderr.decode(errors='replace').strip()}") from error
        temporary.rename(path)


class Disk:
    """An attached loop device; ``path`` is its block device. Held by the descriptor until ``close``."""

    def __init__(self, fd: int, path: str, image: Path) -> None:
        self._fd = fd
        self.path = path
        self._image = image

    @property
    def in_use(self) -> bool:
        """Of one in a file that is kept, after ``close``: whether something still has it mounted. Linux tells nobody
        when that ends."""
        try:
            backing = Path("/sys/block", Path(self.path).name, "loop/backing_file").read_text()
        except OSError:
            return False
        return backing.strip() == str(self._image)

    def close(self) -> None:
        """Let go; the device and its file vanish when the last mount of it does. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def attach(image: Path, *, read_only: bool = False) -> Disk:
    """Attach ``image`` to a free loop device, to be cleared with its last user (LOOP_CONFIGURE, Linux 5.8)."""
    backing = os.open(image, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
    flags = LO_FLAGS_AUTOCLEAR | (LO_FLAGS_READ_ONLY if read_only else 0)
    try:
        info = LOOP_INFO64.pack(0, 0, 0, 0, 0, 0, 0, 0, flags, b"", b"", b"", 0, 0)
        for _ in range(ATTEMPTS):
            control = os.open(LOOP_CONTROL, os.O_RDWR | os.O_CLOEXEC)
            try:
                number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            finally:
                os.close(control)
            path = f"/dev/loop{number}"
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, LOOP_CONFIGURE, LOOP_CONFIG.pack(backing, 0, info, *(0,) * 8))
            except OSError as error:
                os.close(fd)
                if error.errno == errno.EBUSY:  # somebody else took it in between
                    continue
                raise
            return Disk(fd, path, image)
        raise OSError(errno.EBUSY, "no free loop device")
    finally:
        os.close(backing)


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy only what is there, by reflink where the file system can."""
    with source.open("rb") as original, target.open("wb") as copy:
        size = os.fstat(original.fileno()).st_size
        copy.truncate(size)
        offset = 0
        while True:
            try:
                start = os.lseek(original.fileno(), offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            offset = os.lseek(original.fileno(), start, os.SEEK_HOLE)
            position = start
            while position < offset:
                position += os.copy_file_range(original.fileno(), copy.fileno(), offset - position, position, position)


def available() -> str | None:
    """Why no disk can be made here; None if it can."""
    if not Path(LOOP_CONTROL).exists():
        return "there is no /dev/loop-control (in a container: pass the host's loop devices in)"
    if shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
        return "mkfs.ext4 is not installed (Debian: apt-get install e2fsprogs)"
    return None
