"""Templates with system packages, installed once in a jail, from an archive that the test made and signed."""

import json
import os
import shutil
import signal
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from podflare_nb.errors import NoCapacityError
from podflare_nb.provisioning.client import Supervisor
from podflare_nb.provisioning.kernelspec import TemplateSpec
from podflare_nb.provisioning.network import links
from podflare_nb.provisioning.network.config import NetworkConfig

from ..faults.traces import until
from .conftest import KernelClient, new_directories, templates
from .network.mirror.sources import Server, lines_of, offer_debian
from .network.places import SECONDS, Place

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="jails need root")
POSTINST = """#!/bin/sh
set -e
echo made by a script > /var/lib/pfnb-made
ln /var/lib/pfnb-made /var/lib/pfnb-linked
install -o www-data -g www-data -m 4755 /usr/bin/true /usr/bin/pfnb-www
ln -s pfnb-www /usr/bin/pfnb-link
rm /etc/shells /usr/bin/yes
rm -r /etc/skel && mkdir /etc/skel && echo new > /etc/skel/new
echo passing > /tmp/pfnb; echo passing > /var/tmp/pfnb; echo passing > /workspace/pfnb
echo kept > /srv/pfnb
sleep 1000 > /dev/null 2>&1 &
"""
LOOK = """
import json, os, subprocess
def said(command):
    done = subprocess.run(command, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.strip()
def there(*paths):
    return [path for path in paths if os.path.lexists(path)]
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A place with an apt of its own, where the archive is."""
    apt = tmp_path_factory.mktemp("apt")
    with Place("host", {"/etc/apt": apt}) as place:
        place.ask(links.up(links.LOOPBACK_INDEX))
        server = place.call(Server)
        key = offer_debian(server, tmp_path_factory.mktemp("archive"), POSTINST)
        (apt / "keyrings").mkdir()
        shutil.copy(key, apt / "keyrings")
        signed = f"[signed-by=/etc/apt/keyrings/{key.name}]"
        (apt / "sources.list").write_text(f"deb {signed} http://deb.test/debian test main\n")
        config = tmp_path_factory.mktemp("operator") / "packages.toml"
        archive = f"http://localhost:{server.port}/debian"
        config.write_text("\n".join(lines_of({"debian.archives": {"http://deb.test/debian": archive}})))
        place.server, place.network = server, NetworkConfig(packages=str(config))
        yield place
        server.close()


@pytest.fixture(scope="module")
def directories():
    made = new_directories()
    yield made
    for directory in made.values():
        shutil.rmtree(directory)


@contextmanager
def running(host, directories, *specs, **options):
    supervisor = host.run(Supervisor.start(specs, **directories, network=host.network, **options))
    try:
        yield supervisor
    finally:
        host.run(supervisor.aclose())
        assert attached(directories["work_dir"]) == []


def attached(directory: Path) -> list[str]:
    """Files in it that are attached as devices."""
    found = [path.read_text().strip() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    return [name for name in found if name.startswith(str(directory))]


def spec(name: str, *apt: str, **more: object) -> TemplateSpec:
    (minimal,) = templates(pool_size=0)
    return replace(minimal, name=name, apt=apt, **more)


@pytest.fixture(scope="module")
def supervisor(host, directories):
    specs = spec("listed", "pfnb-hello"), spec("again", "pfnb-hello"), spec("plain"), spec("missing", "no-such-thing")
    with running(host, directories, *specs) as started:
        yield started


class Sandbox:
    def __init__(self, host, kernel):
        self.host, self.kernel = host, kernel
        self.client = host.call(KernelClient, kernel)
        self.run(LOOK)

    def run(self, code):
        outcome = self.host.run(self.client.run(code))
        assert outcome.error is None, outcome
        return outcome.text

    def told(self, expression):
        return json.loads(self.run(f"print(json.dumps({expression}))").splitlines()[-1])

    def close(self):
        self.host.call(self.client.close)
        self.host.run(self.kernel.kill())


@pytest.fixture
def sandbox(host, supervisor):
    made = []

    def make(template, by=supervisor):
        made.append(Sandbox(host, host.run(by.acquire(template))))
        return made[-1]

    make.also = made.append
    yield make
    for each in made:
        each.close()


def test_sandboxes_have_the_package_and_what_its_script_changed(sandbox):
    inside = sandbox("listed")
    assert inside.told("said('pfnb-hello')") == "hello from a package"
    assert "Status: install ok installed" in inside.told("said('dpkg -s pfnb-hello')")
    assert inside.told("said('cat /var/lib/pfnb-made /var/lib/pfnb-linked /srv/pfnb /etc/skel/new').split()") == [
        *["made", "by", "a", "script", "made", "by", "a", "script", "kept", "new"]
    ]
    assert inside.told("there('/etc/shells', '/usr/bin/yes', '/etc/skel/.bashrc')") == []
    assert inside.told("said('stat -c %U:%G:%a /usr/bin/pfnb-www')") == "www-data:www-data:4755"
    assert inside.told("said('stat -c %U:%N /usr/bin/pfnb-link')") == "root:'/usr/bin/pfnb-link' -> 'pfnb-www'"


def test_what_passes_is_not_kept(sandbox):
    inside = sandbox("listed")
    assert inside.told("there('/tmp/pfnb', '/var/tmp/pfnb', '/workspace/pfnb')") == []
    assert inside.told("said('ls /var/lib/apt/lists /var/cache/apt/archives; pgrep sleep')").split() == [
        "/var/cache/apt/archives:", "partial", "/var/lib/apt/lists:", "partial",
    ]  # fmt: skip


def test_another_templates_sandboxes_have_nothing_of_it(sandbox):
    inside = sandbox("plain")
    assert inside.told("there('/usr/bin/pfnb-hello', '/var/lib/pfnb-made', '/srv/pfnb')") == []
    assert len(inside.told("there('/etc/shells', '/usr/bin/yes')")) == 2


def test_nothing_of_the_host_was_changed():
    assert Path("/usr/bin/yes").exists()
    assert not Path("/usr/bin/pfnb-hello").exists()
    assert "pfnb-hello" not in Path("/var/lib/dpkg/status").read_text()


def test_a_sandbox_changes_and_removes_it_for_itself_alone(sandbox):
    first, second = sandbox("listed"), sandbox("listed")
    assert "Removing pfnb-hello" in first.told("said('dpkg -r pfnb-hello')")
    first.run("open('/srv/pfnb', 'w').write('mine')\nopen('/usr/bin/yes', 'w').write('back')")
    assert first.told("there('/usr/bin/pfnb-hello')") == []
    assert second.told("[said('pfnb-hello'), said('cat /srv/pfnb')]") == ["hello from a package", "kept"]
    assert second.told("there('/usr/bin/yes')") == []


def test_forks_and_woken_checkpoints_have_it_and_a_comparison_tells_what_they_did(host, sandbox):
    parent = sandbox("listed")
    parent.run("open('/srv/before', 'w').write('1')")
    child = Sandbox(host, host.run(parent.kernel.fork(1)).children[0])
    sandbox.also(child)
    (sleeping,) = host.run(parent.kernel.fork(1, asleep=True)).children
    woken = Sandbox(host, host.run(sleeping.wake()))
    sandbox.also(woken)
    for each in (parent, child, woken):
        assert each.told("[said('pfnb-hello'), there('/usr/bin/yes', '/srv/before')]") == [
            "hello from a package", ["/srv/before"],
        ]  # fmt: skip
    child.run("open('/srv/pfnb', 'w').write('changed')\nos.unlink('/var/lib/pfnb-linked')")
    changes = host.run(parent.kernel.changes(child.kernel))
    told = {kind: [each["path"] for each in changes[kind]] for kind in ("added", "removed", "modified")}
    assert told == {"added": [], "removed": ["/var/lib/pfnb-linked"], "modified": ["/srv/pfnb"]}


def test_it_is_installed_once_for_all_templates_that_list_it(host, sandbox):
    assert sandbox("again").told("said('pfnb-hello')") == sandbox("listed").told("said('pfnb-hello')")
    assert sum(path.endswith(".deb") for path in host.server.paths()) == 1


def test_what_is_not_to_be_had_fails_that_template_with_apts_reason(host, supervisor):
    with pytest.raises(
        NoCapacityError, match=r"missing cannot be loaded: no-such-thing cannot be installed: Unable to"
    ):
        host.run(supervisor.acquire("missing"))


def test_a_later_supervisor_finds_it_there(host, sandbox, directories):
    sandbox("listed")
    before = len(host.server.asked)
    others = new_directories()
    shared = {"runtime_dir": others["runtime_dir"], "work_dir": directories["work_dir"]}
    later = host.run(Supervisor.start([spec("other", "pfnb-hello")], **shared, network=host.network))
    inside = Sandbox(host, host.run(later.acquire("other")))
    assert inside.told("said('pfnb-hello')") == "hello from a package"
    inside.close()
    host.run(later.aclose())
    assert len(host.server.asked) == before
    for directory in others.values():
        shutil.rmtree(directory)


def test_half_of_it_is_made_anew(host):
    """What a supervisor leaves that was killed while it installed."""
    directories = new_directories()

    def look():
        with running(host, directories, spec("listed", "pfnb-hello")) as started:
            inside = Sandbox(host, host.run(started.acquire("listed")))
            assert inside.told("said('pfnb-hello')") == "hello from a package"
            inside.close()

    look()
    (complete,) = directories["work_dir"].glob("templates/*/complete.json")
    complete.unlink()
    (complete.parent / "disk").write_bytes(b"half")
    look()
    assert complete.exists()
    for directory in directories.values():
        shutil.rmtree(directory)


def test_a_supervisor_that_is_killed_while_it_installs_leaves_no_process_and_no_device(host):
    """The mirror of the killed one left nothing of the package in its cache: the next one asks for it again."""
    directories = new_directories()
    (path,) = (path for path in host.server.answers if path.endswith(".deb"))
    whole, release = host.server.answers[path], threading.Event()
    host.server.answers[path] = replace(whole, release=release)
    before = len(host.server.asked)
    killed = host.run(Supervisor.start([spec("listed", "pfnb-hello")], **directories, network=host.network))
    until(lambda: path in host.server.paths()[before:], SECONDS, "apt asks for the package")
    assert attached(directories["work_dir"]) != []
    os.kill(killed._process.pid, signal.SIGKILL)
    until(lambda: attached(directories["work_dir"]) == [], SECONDS, "the disks have gone with the jails")
    host.run(killed.aclose())
    release.set()
    host.server.answers[path] = whole
    assert list(directories["work_dir"].glob("templates/*/complete.json")) == []
    with running(host, directories, spec("listed", "pfnb-hello")) as started:
        inside = Sandbox(host, host.run(started.acquire("listed")))
        assert inside.told("said('pfnb-hello')") == "hello from a package"
        inside.close()
    for directory in directories.values():
        shutil.rmtree(directory)


def test_without_a_jail_it_is_refused_with_what_to_do(host):
    directories = new_directories()
    with (
        running(host, directories, spec("listed", "pfnb-hello"), isolation="none") as started,
        pytest.raises(NoCapacityError, match="--isolation namespaces"),
    ):
        host.run(started.acquire("listed"))
    for directory in directories.values():
        shutil.rmtree(directory)
