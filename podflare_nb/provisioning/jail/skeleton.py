"""The root of every sandbox before anything is written to it: a small tree made once per supervisor.

/etc is composed file by file, never mounted: the same id mapping that lets the sandbox's root own /usr would make
the host's /etc/shadow, its keys and its configuration readable. What is copied is what programs need to run
(names, certificates, fonts, the linker's cache, alternatives), and nothing that tells of this host.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from fnmatch import fnmatch
from pathlib import Path

from . import accounts, package_files
from .plan import place

COPIED_FROM_ETC = (
    "adduser.conf", "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "debconf.conf",
    "debian_version", "default/locale", "deluser.conf", "dpkg", "fontconfig", "fonts", "gai.conf", "host.conf",
    "inputrc", "issue", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "locale.alias", "locale.gen", "localtime",
    "login.defs", "lsb-release", "magic", "mime.types", "nsswitch.conf", "os-release", "pki", "profile",
    "profile.d", "protocols", "python3", "rpc", "services", "shells", "skel", "terminfo", "timezone", "vim",
)  # fmt: skip
CERTIFICATES = "ssl"
"""Copied without its ``private`` directory."""
DIRECTORIES = (
    "boot", "dev", "etc", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp", "usr",
    "var/cache", "var/cache/apt/archives/partial", "var/lib", "var/lib/apt/lists/partial", "var/lib/dpkg", "var/log",
    "var/log/apt", "var/mail", "var/spool", "var/tmp", "workspace",
)  # fmt: skip
MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
LOGIN_PATH = """\
# A login shell makes PATH anew: the template's own programs come first in it nevertheless.
if [ -n "$PODFLARE_NB_PATH" ]; then
  PATH=$PODFLARE_NB_PATH
  unset PODFLARE_NB_PATH
fi
"""
Copy = Callable[[str, Path], object]
HOSTS = "127.0.0.1\tlocalhost sandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"


def build(root: Path, sources: Iterable[str]) -> Path:
    """Make the skeleton at ``root`` (which must not exist), with an empty directory where each source is mounted,
    and a link to it where the host has it, if that is elsewhere."""
    root.mkdir(mode=0o755)
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    (root / "root").chmod(0o700)
    for name in MERGED:
        host = Path("/") / name
        if host.is_symlink():
            (root / name).symlink_to(host.readlink())
    for source in sources:
        _make_place(root, source)
    _compose_etc(root / "etc")
    if Path("/var/lib/dpkg/status").is_file():
        # apt-get must know what /usr already holds. It tells package names and versions, as /usr does.
        # Three thousand files: linked, which dpkg allows, as it replaces them and never writes into one.
        _copy_tree(Path("/var/lib/dpkg"), root / "var/lib/dpkg", _link, without=("lock*", "*-old", "updates"))
        (root / "var/lib/dpkg/updates").mkdir(exist_ok=True)
    return root


def _make_place(root: Path, source: str) -> None:
    mounted = place(source)
    (root / mounted[1:]).mkdir(parents=True, exist_ok=True)
    if mounted != source:
        link = root / source[1:]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(mounted)


def _compose_etc(etc: Path) -> None:
    for name in COPIED_FROM_ETC:
        _copy(Path("/etc") / name, etc / name)
    _copy(Path("/etc") / CERTIFICATES, etc / CERTIFICATES, without=("private",))
    written = {
        "passwd": accounts.passwd(),
        "group": accounts.group(),
        "hosts": HOSTS,
        "hostname": "sandbox\n",
        "shadow": "root:*:::::::\n",
        "gshadow": "root:*::\n",
    }
    for name, text in written.items():
        (etc / name).write_text(text)
    package_files.write(etc)
    (etc / "profile.d").mkdir(exist_ok=True)
    (etc / "profile.d" / "podflare-nb.sh").write_text(LOGIN_PATH)
    os.chmod(etc / "shadow", 0o600)  # noqa: PTH101 - Path.chmod follows, as this does; kept beside the line below
    os.chmod(etc / "gshadow", 0o600)  # noqa: PTH101 - see above
    if not (etc / "mtab").exists():
        (etc / "mtab").symlink_to("/proc/self/mounts")


def _copy(source: Path, target: Path, without: tuple[str, ...] = ()) -> None:
    """Copy what is there; what is not, or what only a link outside of /etc and /usr holds, is left out."""
    if source.is_symlink():
        if str(source.readlink()).startswith(("/usr/", "../usr/", "/etc/")):
            target.symlink_to(source.readlink())
    elif source.is_dir():
        _copy_tree(source, target, shutil.copy2, without)
    elif source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)


def _copy_tree(source: Path, target: Path, copy_file: Copy, without: tuple[str, ...] = ()) -> None:
    """Copy a directory with the modes and times of what is in it; ``without``: patterns of names. Symbolic links become
    links to the very same ones, which nobody can change: a thousand inodes less to make."""
    target.mkdir(parents=True, exist_ok=True)
    with os.scandir(source) as entries:
        for entry in entries:
            place = target / entry.name
            if any(fnmatch(entry.name, pattern) for pattern in without):
                continue
            if entry.is_symlink():
                _link(entry.path, place)
            elif entry.is_dir():
                _copy_tree(Path(entry.path), place, copy_file, without)
            elif entry.is_file():
                copy_file(entry.path, place)
    shutil.copystat(source, target)


def _link(source: str, target: Path) -> None:
    """A hard link, or a copy where the two are on different file systems."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
