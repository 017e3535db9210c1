"""What libraries cache while a template loads, kept from one start of a template to the next, for all services.

jedi parses the sources that completions lead to, matplotlib looks at every font: seconds, each time. Both write down
what they found below the template's home, which is gone afterwards. Here it is laid out there before they look, and
what is new is kept: one file for each environment (``_key``), made whole by a rename, with a hash of what is in it. So
templates may start at once: each works on its own copy, which parso writes in place, and none sees another's half.

jedi's files are pickles: whoever writes one runs code with the service's rights. What that meets:

- Another user of the machine: the directory must be ours, no link, and open to nobody else's writing; so must the file.
- A sandbox: nothing in its root leads there; the template gets a descriptor, no path, and closes it before it forks.
- A file that was torn, or written by a failing disk: the hash tells.
- Not met: what runs with our rights, as libraries that ``preload`` names and kernels with ``--isolation none`` do. The
  hash is no signature.

What fails here makes a start slower, and never fails it.
"""

from __future__ import annotations

import gc
import hashlib
import json
import marshal
import os
import pickle
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

FILES = ("jedi/*/*.pkl", "fontlist-*.json")
"""What is kept, below XDG_CACHE_HOME, which is MPLCONFIGDIR, too. Both libraries have the format's version in the name.
parso does not load what is older than its source: so a file keeps its date."""
LOADS: dict[str, Callable[[bytes], object]] = {".pkl": pickle.loads, ".json": json.loads}
FONTS = ("/usr/share/fonts", "/usr/local/share/fonts", "/etc/fonts")
"""matplotlib does not look whether there are others by now."""
NEW = ".new-"
MAX_BYTES = 64 << 20
"""Of one file; of the standard library and the like there are 8 MiB."""
MAX_FILES = 16
"""Those that were not used for longest are given up."""
Cached = dict[str, tuple[int, bytes]]
"""By path below the home: st_mtime_ns and contents."""


def move_jedi(cache_home: str) -> None:
    """Let jedi, if it is loaded, keep its files below ``cache_home``: it looked where that is when it was imported."""
    settings: Any = sys.modules.get("jedi.settings")
    if settings is not None:
        settings.cache_directory = f"{cache_home}/jedi"


def open_directory(path: Path) -> int:
    """A descriptor of the directory, which is made if it is not there. Raises OSError, also where others could have put
    something into it."""
    for each in (path.parent, path):
        each.mkdir(mode=0o700, exist_ok=True)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _check_ours(directory, str(path))
    except BaseException:
        os.close(directory)
        raise
    return directory


class LibraryCache:
    """``lay_out`` before libraries are loaded, ``keep`` afterwards, ``close``. None of it raises; ``trouble`` tells."""

    def __init__(self, directory: int | None) -> None:
        """``directory``: of ``open_directory``, closed with this; None: nothing is kept."""
        self._directory = directory
        self._laid_out: dict[str, int] = {}
        self.trouble = ""
        """The last that failed, a sentence without its end; empty if nothing did."""
        try:
            self._name = _key()
        except OSError as error:
            self._fail(error)
            self.close()

    def __repr__(self) -> str:
        return f"<LibraryCache files={len(self._laid_out)} trouble={self.trouble!r}>"

    def lay_out(self, home: Path) -> None:
        """Write what was kept."""
        if self._directory is None:
            return
        cached: Cached = {}
        try:
            cached = self._read()
            for name, (changed, contents) in cached.items():
                (home / name).parent.mkdir(parents=True, exist_ok=True)
                (home / name).write_bytes(contents)
                os.utime(home / name, ns=(time.time_ns(), changed))  # parso gives up what was not read for long
            self._laid_out = {name: changed for name, (changed, _) in cached.items()}
        except (OSError, ValueError) as error:
            self._fail(error)
            for name in cached:  # a torn pickle is worse than none
                with suppress(OSError):
                    (home / name).unlink()

    def keep(self, home: Path) -> None:
        """Keep what was written since then."""
        if self._directory is None:
            return
        try:
            if new := dict(self._whole(home)):
                with suppress(OSError, ValueError):
                    new = self._read() | new  # another template's of this environment, too
                self._publish(new)
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Idempotent."""
        if self._directory is not None:
            os.close(self._directory)
            self._directory = None

    def _fail(self, error: Exception) -> None:
        self.trouble = f"{type(error).__name__}: {error}"

    def _read(self) -> Cached:
        """Raises OSError, ValueError."""
        try:
            opened = os.open(self._name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        except FileNotFoundError:
            return {}
        with open(opened, "rb") as file:  # noqa: PTH123  # a descriptor
            _check_ours(opened, self._name)
            digest, body = file.read(hashlib.sha256().digest_size), file.read(MAX_BYTES)
            with suppress(OSError):  # a disk that can only be read has it all the same
                os.utime(opened)
        if hashlib.sha256(body).digest() != digest:
            raise ValueError(f"{self._name} is damaged")
        cached: Cached = marshal.loads(body)  # noqa: S302  # ours, as its pickles are
        return cached

    def _whole(self, home: Path) -> Iterator[tuple[str, tuple[int, bytes]]]:
        """What was written and can be loaded: a full disk ends a file anywhere, and parso goes on. Raises OSError."""
        for path in (path for pattern in FILES for path in home.glob(pattern)):
            name, changed = str(path.relative_to(home)), path.stat().st_mtime_ns
            if self._laid_out.get(name) == changed:
                continue
            contents = path.read_bytes()
            try:
                _try(path.suffix, contents)
            except Exception as error:  # noqa: BLE001  # whatever a pickle's beginning leads to
                self._fail(error)
            else:
                yield name, (changed, contents)

    def _publish(self, cached: Cached) -> None:
        """Raises OSError."""
        body = marshal.dumps(cached)
        if len(body) > MAX_BYTES:
            raise OSError(f"{len(body)} bytes are too many to keep")
        name = f"{NEW}{os.urandom(8).hex()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        opened = os.open(name, flags, mode=0o600, dir_fd=self._directory)
        try:
            with open(opened, "wb") as file:  # noqa: PTH123  # a descriptor
                file.write(hashlib.sha256(body).digest())
                file.write(body)
            os.replace(name, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(name, dir_fd=self._directory)
            raise
        self._sweep()

    def _sweep(self) -> None:
        """Other environments' that nobody used for long, and what those left who were killed. Raises OSError."""
        with os.scandir(self._directory) as found:
            by_use = sorted((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name) for entry in found)
        for _, name in by_use[:-MAX_FILES]:
            with suppress(FileNotFoundError):  # another template sweeps as well
                os.unlink(name, dir_fd=self._directory)


def _try(suffix: str, contents: bytes) -> None:
    """Raises whatever loading it does."""
    gc.disable()  # it would look through all of the template meanwhile, again and again
    try:
        LOADS[suffix](contents)
    finally:
        gc.enable()


def _check_ours(opened: int, name: str) -> None:
    """Raises PermissionError."""
    status = os.fstat(opened)
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(f"{name} is not used: somebody else can write to it")


def _key() -> str:
    """A hash of what makes contents differ and the libraries do not see to: the interpreter, where it finds modules,
    which versions are installed there (an installer may give a newer one an older date), fonts. Raises OSError."""
    places = [place for place in sys.path if os.path.isdir(place)]  # noqa: PTH112  # an entry is any string
    installed = [[place, sorted(filter(_is_version, os.listdir(place)))] for place in places]  # noqa: PTH208  # so is this
    fonts = [[place, os.stat(place).st_mtime_ns] for tree in FONTS for place, _, _ in os.walk(tree)]  # noqa: PTH116
    return hashlib.sha256(json.dumps([sys.version, sys.prefix, installed, fonts]).encode()).hexdigest()[:32]


def _is_version(name: str) -> bool:
    return name.endswith((".dist-info", ".egg-info"))
