"""The users and groups of a sandbox: Debian's own, which packages expect to be there, and nobody of this host.

Added are the names that the host's dpkg needs in order to run at all (dpkg-statoverride(1)): it knows what /usr holds,
and refuses to touch any package while one of those is missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

STATOVERRIDE = Path("/var/lib/dpkg/statoverride")
USERS = """\
root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
games:x:5:60:games:/usr/games:/usr/sbin/nologin
man:x:6:12:man:/var/cache/man:/usr/sbin/nologin
lp:x:7:7:lp:/var/spool/lpd:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
news:x:9:9:news:/var/spool/news:/usr/sbin/nologin
uucp:x:10:10:uucp:/var/spool/uucp:/usr/sbin/nologin
proxy:x:13:13:proxy:/bin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
backup:x:34:34:backup:/var/backups:/usr/sbin/nologin
list:x:38:38:Mailing List Manager:/var/list:/usr/sbin/nologin
_apt:x:42:65534::/nonexistent:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUPS = {
    "root": 0, "daemon": 1, "bin": 2, "sys": 3, "adm": 4, "tty": 5, "disk": 6, "lp": 7, "mail": 8, "news": 9,
    "uucp": 10, "man": 12, "proxy": 13, "kmem": 15, "dialout": 20, "fax": 21, "voice": 22, "cdrom": 24, "floppy": 25,
    "tape": 26, "sudo": 27, "audio": 29, "dip": 30, "www-data": 33, "backup": 34, "operator": 37, "list": 38, "irc": 39,
    "src": 40, "shadow": 42, "utmp": 43, "video": 44, "sasl": 45, "plugdev": 46, "staff": 50, "games": 60, "users": 100,
    "nogroup": 65534,
}  # fmt: skip
NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def passwd(etc: Path = Path("/etc"), overrides: Path = STATOVERRIDE) -> str:
    """The text of /etc/passwd."""
    known = {line.partition(":")[0] for line in USERS.splitlines()}
    added = _found(etc / "passwd", _named(overrides, 0) - known)
    return USERS + "".join(f"{name}:x:{ids[0]}:{ids[1]}::/nonexistent:/usr/sbin/nologin\n" for name, ids in added)


def group(etc: Path = Path("/etc"), overrides: Path = STATOVERRIDE) -> str:
    """The text of /etc/group."""
    added = _found(etc / "group", _named(overrides, 1) - set(GROUPS))
    lines = [*GROUPS.items(), *((name, int(ids[0])) for name, ids in added)]
    return "".join(f"{name}:x:{number}:\n" for name, number in lines)


def _named(overrides: Path, column: int) -> set[str]:
    """Users (column 0) or groups (1) that dpkg's overrides name; some are numbers, which need no name."""
    if not overrides.is_file():
        return set()
    rows = (line.split() for line in overrides.read_text(errors="replace").splitlines())
    return {row[column] for row in rows if len(row) >= 4 and NAME.fullmatch(row[column])}


def _found(database: Path, names: set[str]) -> Iterable[tuple[str, list[str]]]:
    """Names with their ids, as the host's passwd or group has them."""
    for line in database.read_text(errors="replace").splitlines() if names else ():
        name, _, *ids = line.split(":")
        if name in names and ids and ids[0].isdecimal():
            yield name, ids
