"""What a sandbox sees of the host's directories, and where."""

import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from podflare_nb.provisioning.client import Supervisor
from podflare_nb.provisioning.jail import skeleton
from podflare_nb.provisioning.jail.plan import place

from ..conftest import new_directories, templates

DPKG = Path("/var/lib/dpkg")
LOOK = """
import json, os, subprocess, sys
asked = "import json, sys; print(json.dumps([sys.prefix, sys.base_prefix, sys.path]))"
def output(*command): return subprocess.run(command, capture_output=True, text=True, check=True).stdout
print(json.dumps({
    "here": [sys.prefix, sys.base_prefix],
    "there": json.loads(output(sys.executable, "-c", asked)),
    "by a script": output(os.path.join(sys.prefix, "bin", "said")).strip(),
    "personal": output("find", "/root", "/tmp", "/workspace", "-type", "f").split(),
}))
"""
WRITE = """
import pathlib, subprocess, sys, sysconfig
place = pathlib.Path(sysconfig.get_paths()["purelib"])
(place / "brought.py").write_text("VALUE = 5")
import brought
print(brought.VALUE, subprocess.run([sys.executable, "-c", "import brought; print(brought.VALUE)"],
    capture_output=True, text=True).stdout.strip())
"""


def environment(directory: Path) -> Path:
    """A virtual environment that has what ours has, and a program of its own; its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    (own,) = directory.glob("lib/python*/site-packages")
    added = "; ".join(f"site.addsitedir({path!r})" for path in site.getsitepackages())
    (own / "ours.pth").write_text(f"import site; {added}\n")
    program = directory / "bin" / "said"
    program.write_text(f"#!{directory}/bin/python\nimport sys; print(sys.prefix)\n")
    program.chmod(0o755)
    return directory / "bin" / "python"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def supervisor():
    """With a template whose Python lies in /tmp, as an operator's may."""
    directories, operators = new_directories(), tempfile.mkdtemp(prefix="pfnb-", dir="/tmp")
    (minimal,) = templates()
    template = replace(minimal, python=str(environment(Path(operators) / "env")))
    async with await Supervisor.start([template], **directories) as running:
        yield running
    for directory in (*directories.values(), operators):
        shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="jails need root")
@pytest.mark.asyncio(loop_scope="module")
async def test_a_python_of_the_hosts_tmp_works_and_leaves_the_sandboxs_empty(client):
    outcome = await client.run(LOOK)
    assert outcome.error is None, outcome
    said = json.loads(outcome.text)
    prefix, base = said["here"]
    assert prefix.startswith("/tmp/pfnb-")
    assert said["there"][:2] == [prefix, base]
    assert f"{prefix}/lib" in " ".join(said["there"][2])
    assert said["by a script"] == prefix
    assert said["personal"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="jails need root")
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_installed_into_it_can_be_imported(client):
    assert (await client.run(WRITE)).text == "5 5\n"


def test_a_source_in_a_personal_directory_is_mounted_beside_it_at_the_same_depth():
    assert place("/root/.pyenv/versions/3.12") == "/.root/.pyenv/versions/3.12"
    assert place("/tmp/env") == "/.tmp/env"
    assert place("/workspace/.venv") == "/.workspace/.venv"
    assert [place(path) for path in ("/usr", "/tmp", "/opt/root/x", "/rooted/x")] == [
        "/usr", "/tmp", "/opt/root/x", "/rooted/x",
    ]  # fmt: skip


def test_the_skeleton_leads_from_the_hosts_path_of_a_source_to_its_place(tmp_path):
    root = skeleton.build(tmp_path / "skeleton", ["/usr", "/tmp/one/env", "/opt/python"])
    assert (root / "tmp/one/env").readlink() == Path("/.tmp/one/env")
    assert (root / ".tmp/one/env").is_dir()
    assert (root / "opt/python").is_dir()
    assert not (root / "opt/python").is_symlink()


def test_the_skeleton_knows_the_hosts_packages(tmp_path):
    root = skeleton.build(tmp_path / "skeleton", ["/usr"])
    kept = [path for path in DPKG.rglob("*") if path.is_file() and not path.match("lock*") and not path.match("*-old")]
    assert [path for path in kept if (root / path.relative_to("/")).read_bytes() != path.read_bytes()] == []
    assert not (root / "var/lib/dpkg/lock").exists()


def test_the_skeleton_shares_no_file_of_etc_with_the_host_and_no_private_key(tmp_path):
    root = skeleton.build(tmp_path / "skeleton", ["/usr"])
    files = [path for path in (root / "etc").rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if path.stat().st_nlink > 1] == []
    assert not (root / "etc/ssl/private").exists()
    links = [path for path in Path("/etc/alternatives").iterdir() if path.is_symlink()]
    assert [path for path in links if (root / "etc/alternatives" / path.name).readlink() != path.readlink()] == []
