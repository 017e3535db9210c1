"""Real pip, uv, npm and apt install through the mirror what servers of the test offer. Outside of sandboxes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .sources import offer_debian, offer_npm, offer_wheel

SECONDS = 120


def run(*command: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    """Without any configuration of this machine's or its user's."""
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd), "PIP_CONFIG_FILE": os.devnull, **environment}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def pip(url: str, cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    index = f"{url}/pypi/simple/"
    options = ("--isolated", "install", "--no-cache-dir", "--target", cwd / "site", "--index-url", index)
    return run(sys.executable, "-m", "pip", *options, *arguments, cwd=cwd)


def test_pip_installs_a_wheel(mirror, upstream, tmp_path):
    offer_wheel(upstream, "spam")
    done = pip(mirror.open("n"), tmp_path, "spam")
    assert "Successfully installed spam-1.0" in done.stdout, done.stderr
    assert (tmp_path / "site/spam/__init__.py").read_text() == "VALUE = 42\n"


def test_pip_takes_no_wheel_that_was_changed_on_the_way_from_the_index(mirror, upstream, tmp_path):
    content = offer_wheel(upstream, "spam")
    upstream.answers["/files/spam-1.0-py3-none-any.whl"].body = content[:-1] + b"x"
    done = pip(mirror.open("n"), tmp_path, "--retries", "0", "spam")
    assert done.returncode != 0
    assert "another hash" in done.stderr
    assert not (tmp_path / "site").exists()


def test_uv_installs_a_wheel(mirror, upstream, tmp_path):
    offer_wheel(upstream, "spam")
    index = f"{mirror.open('n')}/pypi/simple/"
    uv = Path(sys.executable).with_name("uv")
    done = run(uv, "pip", "install", "--no-cache", "--no-config", "--default-index", index, "--target", "site", "spam",
               cwd=tmp_path, UV_PYTHON=sys.executable)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/spam/__init__.py").read_text() == "VALUE = 42\n"


@pytest.mark.parametrize("name", ["ham", "@scope/ham"])
def test_npm_installs_a_package(mirror, upstream, tmp_path, name):
    offer_npm(upstream, name)
    (tmp_path / "package.json").write_text("{}")
    done = run(
        "npm", "install", "--registry", f"{mirror.open('n')}/npm/", "--no-audit", "--no-fund", name, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    used = run("node", "-p", f"require('{name}')", cwd=tmp_path)
    assert used.stdout == "42\n", used.stderr


def test_apt_verifies_and_downloads_a_package_and_the_next_one_has_it_from_the_cache(mirror, upstream, tmp_path):
    key = offer_debian(upstream, tmp_path)
    url = mirror.open("n")
    apt = apt_in(tmp_path, key, url)
    updated = run(*apt, "update", cwd=tmp_path)
    assert updated.returncode == 0, updated.stderr
    assert any("/by-hash/SHA256/" in path for path in upstream.paths())
    for name in ("first", "second"):
        (place := tmp_path / name).mkdir()
        fetched = run(*apt, "download", "pfnb-hello", cwd=place)
        assert fetched.returncode == 0, fetched.stderr
        assert (place / "pfnb-hello_1.0_all.deb").is_file()
    assert sum(path.endswith(".deb") for path in upstream.paths()) == 1


def test_apt_takes_no_package_that_is_another_than_its_index_lists(mirror, upstream, tmp_path):
    apt = apt_in(tmp_path, offer_debian(upstream, tmp_path), mirror.open("n"))
    assert run(*apt, "update", cwd=tmp_path).returncode == 0
    (path,) = (path for path in upstream.answers if path.endswith(".deb"))
    upstream.answers[path].body = upstream.answers[path].body[:-1] + b"x"
    (place := tmp_path / "place").mkdir()
    assert "Hash Sum mismatch" in run(*apt, "download", "pfnb-hello", cwd=place).stderr
    assert not (place / "pfnb-hello_1.0_all.deb").exists()


def test_apt_takes_no_index_that_its_archive_did_not_sign(mirror, upstream, tmp_path):
    key = offer_debian(upstream, tmp_path)
    release = upstream.answers["/debian/dists/test/InRelease"]
    release.body = release.body.replace(b"Suite: test", b"Suite: tost")
    assert "BADSIG" in run(*apt_in(tmp_path, key, mirror.open("n")), "update", cwd=tmp_path).stderr


def test_without_permission_apt_and_npm_tell_the_policy(mirror, upstream, tmp_path):
    url = mirror.open("n", {"allow": ["files.example.org"]})
    told = run(*apt_in(tmp_path, offer_debian(upstream, tmp_path), url), "update", cwd=tmp_path).stderr
    assert "403" in told
    assert "files.example.org" in told
    npm = run("npm", "install", "--registry", f"{url}/npm/", "ham", cwd=tmp_path).stderr
    assert "files.example.org" in npm


def apt_in(directory: Path, key: Path, proxy: str) -> list[str]:
    """The command of an apt with state of its own."""
    for name in (
        "lists/partial",
        "cache/archives/partial",
        "etc/apt.conf.d",
        "etc/preferences.d",
        "etc/sources.list.d",
    ):
        (directory / name).mkdir(parents=True)
    (directory / "etc/sources.list").write_text(f"deb [signed-by={key}] http://deb.test/debian test main\n")
    (directory / "status").touch()
    options = {
        "Acquire::http::Proxy": proxy,
        "Acquire::Retries": "0",
        "Acquire::Languages": "none",
        "Acquire::Check-Date": "false",
        "APT::Sandbox::User": "root",
        "APT::Architecture": "amd64",
        "APT::Architectures": "amd64",
        "Dir::Etc": directory / "etc",
        "Dir::State::lists": directory / "lists",
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory / "cache",
    }
    return ["apt-get", *(part for name, value in options.items() for part in ("-o", f"{name}={value}"))]
