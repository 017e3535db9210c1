"""What makes pip, uv, npm and apt inside of a sandbox ask the mirror. For everybody in it; whoever says otherwise on
the command line, in the environment or in a file of his own, wins.

Holds nothing of the host's own configuration but which archives apt uses, and the keys that sign them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from . import apt_sources

RESOLVER = "127.0.0.53"
MIRROR_PORT = 61141
PROXY_PORT = 61128
MIRROR = f"http://{RESOLVER}:{MIRROR_PORT}"
PROXY = f"http://{RESOLVER}:{PROXY_PORT}"
PYTHON_INDEX = f"{MIRROR}/pypi/simple/"
NPMRC = "/etc/npmrc"
PIP = f"""\
[global]
index-url = {PYTHON_INDEX}
disable-pip-version-check = true

[install]
# Reading the metadata of all that is installed, after each installation, is more than half of pip's time. `pip check`
# tells the same.
no-warn-conflicts = true
"""
UV = f"""\
link-mode = "copy"

[[index]]
url = "{PYTHON_INDEX}"
default = true
"""
NPM = f"""\
registry={MIRROR}/npm/
audit=false
fund=false
update-notifier=false
omit-lockfile-registry-resolved=true
"""
APT = f"""\
// Archives that the service has come through its mirror; others take the way that this sandbox's egress allows.
Acquire::http::Proxy "{PROXY}";
Acquire::https::Proxy "{PROXY}";
Acquire::Languages "none";
Acquire::Retries "0";
// There is one user to be; nobody's rights can be lowered, or need to be.
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "false";
Dpkg::Use-Pty "false";
// The disk is the sandbox's own and ends with it.
Dpkg::Options {{ "--force-unsafe-io"; "--force-confdef"; "--force-confold"; }};
"""
RESOLV_CONF = f"nameserver {RESOLVER}\noptions timeout:5 attempts:1\n"
KEYS = ("keyrings", "trusted.gpg", "trusted.gpg.d")
ENVIRONMENT = {"NPM_CONFIG_GLOBALCONFIG": NPMRC}
"""Which file npm takes for everybody's differs between its builds."""


def write(etc: Path, host_apt: Path = apt_sources.APT) -> None:
    """Write all of them into a composed /etc."""
    proxies = "".join(f'Acquire::http::Proxy::{host} "{MIRROR}";\n' for host in apt_sources.hosts(host_apt))
    files = {
        "pip.conf": PIP, "uv/uv.toml": UV, "npmrc": NPM, "resolv.conf": RESOLV_CONF,
        "apt/apt.conf.d/90podflare-nb": APT + proxies,
        **{f"apt/{name}": text for name, text in apt_sources.inside(host_apt).items()},
    }  # fmt: skip
    for name in ("apt.conf.d", "auth.conf.d", "preferences.d", "sources.list.d", "trusted.gpg.d"):
        (etc / "apt" / name).mkdir(parents=True, exist_ok=True)
    for name in KEYS:
        _copy_keys(host_apt / name, etc / "apt" / name)
    for name, text in files.items():
        (etc / name).parent.mkdir(parents=True, exist_ok=True)
        (etc / name).write_text(text)


def _copy_keys(source: Path, target: Path) -> None:
    """Public keys; what is no key, as a file for a user's password would be, stays outside."""
    found = [source] if source.is_file() else [path for path in source.glob("*") if path.is_file()]
    for path in found:
        if path.suffix in {".gpg", ".asc", ".pgp"}:
            place = target if path == source else target / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
            place.chmod(0o644)
