"""Templates with packages of their own, installed once, from an index that the test made."""

import asyncio
import base64
import fcntl
import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from podflare_nb.errors import InvalidArgumentError, NoCapacityError
from podflare_nb.protocol.egress import Egress
from podflare_nb.provisioning import claimed_directory, kernelspec
from podflare_nb.provisioning.client import Supervisor
from podflare_nb.provisioning.network.config import NetworkConfig
from podflare_nb.provisioning.template_environments import KEPT_SECONDS, TemplateEnvironments

from .conftest import KernelClient, new_directories, templates
from .network.mirror.sources import Answer, Server, lines_of, sha256, simple_page, wheel

pytestmark = pytest.mark.asyncio(loop_scope="module")
LISTED = ("spam<2",)
PAGE, WHEEL = "/simple/spam/", "/files/spam-1.0-py3-none-any.whl"
VERSION = "import importlib.metadata as m; print(m.version('spam'))"


def spec(name: str, *packages: str, **more: object) -> kernelspec.TemplateSpec:
    (minimal,) = templates(pool_size=0)
    return replace(minimal, name=name, packages=packages, **more)


@pytest.fixture(scope="module")
def index() -> Server:
    """Offers two versions of spam, and one of what the interpreter's environment has already."""
    server = Server()
    for name, *versions in (("spam", "1.0", "2.0"), ("idna", "99.0")):
        files = [wheel(name, version) for version in versions]
        listed = [
            {"filename": file, "url": f"../../files/{file}", "hashes": {"sha256": sha256(body)}} for file, body in files
        ]
        server.answers[f"/simple/{name}/"] = simple_page(name, listed)
        server.answers |= {f"/files/{file}": Answer(body) for file, body in files}
    yield server
    server.close()


@pytest.fixture(scope="module")
def network(index, tmp_path_factory) -> NetworkConfig:
    """The operator's: an index with a password. Sandboxes reach that."""
    config = tmp_path_factory.mktemp("operator") / "packages.toml"
    url = f"http://localhost:{index.port}/simple/"
    config.write_text("\n".join(lines_of({"python": {"index_url": url, "username": "me", "password": "hunter2"}})))
    return NetworkConfig(Egress.from_json({"allow": ["localhost"]}), packages=str(config))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def work_dir():
    directories = new_directories()
    yield directories["work_dir"]
    for directory in directories.values():
        shutil.rmtree(directory)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def supervisor(work_dir, network):
    specs = [
        spec("listed", *LISTED),
        spec("preloaded", *LISTED, preload=("spam",)),
        spec("missing", "spam", "no-such-package"),
        spec("satisfied", "idna"),
        spec("newer", "idna>=99"),
        spec("plain"),
    ]
    directories = new_directories()
    async with await Supervisor.start(
        specs, runtime_dir=directories["runtime_dir"], work_dir=work_dir, network=network
    ) as running:
        yield running
    for directory in directories.values():
        shutil.rmtree(directory)


async def told(supervisor: Supervisor, template: str, *cells: str) -> list[str]:
    """What a new kernel of the template prints."""
    kernel = await supervisor.acquire(template)
    client = KernelClient(kernel)
    try:
        outcomes = [await client.run(cell) for cell in cells]
    finally:
        client.close()
        await kernel.kill()
    assert [outcome.error for outcome in outcomes] == [None] * len(cells)
    return [outcome.text.strip() for outcome in outcomes]


def bash(command: str) -> str:
    """A cell that runs it and prints what it says."""
    run = f"subprocess.run({command!r}, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)"
    return f"import subprocess; print({run}.stdout)"


async def test_kernels_and_their_programs_import_what_the_template_lists(supervisor):
    kernel, program, isolated = await told(
        supervisor, "listed", "import spam; print(spam.VALUE)", bash("python -c 'import spam; print(spam.VALUE)'"),
        bash("python -I -c 'import spam, ipykernel; print(spam.VALUE)'"),
    )  # fmt: skip
    assert (kernel, program, isolated) == ("42", "42", "42")


async def test_a_template_without_it_does_not(supervisor):
    (found,) = await told(supervisor, "plain", "import importlib.util; print(importlib.util.find_spec('spam'))")
    assert found == "None"


async def test_it_can_be_preloaded(supervisor):
    there = "import sys; print('spam' in sys.modules)"
    assert await told(supervisor, "preloaded", there) == ["True"]
    assert await told(supervisor, "listed", there) == ["False"]


async def test_both_templates_have_one_environment_and_the_index_was_asked_once(supervisor, index, work_dir):
    await told(supervisor, "listed", "import spam")
    await told(supervisor, "preloaded", "import spam")
    complete = (work_dir / "templates").glob("*/complete.json")
    listed = [json.loads(path.read_text())["packages"] for path in complete]
    assert listed.count(["spam<2"]) == 1
    assert index.paths().count(WHEEL) == 1


async def test_what_the_interpreter_has_is_not_installed_again_unless_another_version_is_listed(supervisor):
    which = "import idna, importlib.metadata as m; print(m.version('idna'), idna.__file__)"
    (had,), (satisfied,), (newer,) = [await told(supervisor, name, which) for name in ("plain", "satisfied", "newer")]
    assert satisfied == had
    assert newer.startswith("99.0 ")
    assert newer.split()[1] != had.split()[1]


async def test_what_cannot_be_had_fails_that_template_with_the_reason(supervisor):
    with pytest.raises(NoCapacityError, match=r"missing cannot be loaded: .*no-such-package"):
        await supervisor.acquire("missing")
    states = {each["name"]: each["state"] for each in (await supervisor.describe())["templates"]}
    assert states["missing"] == "failed"
    assert await told(supervisor, "plain", "print('still here')") == ["still here"]


@pytest.mark.parametrize("pip", ["pip", "python -m pip", "uv pip"])
async def test_a_sandbox_can_upgrade_and_remove_it_for_itself(supervisor, pip):
    yes = "" if pip == "uv pip" else "-y"
    before, installed, upgraded, removed = await told(
        supervisor, "listed", VERSION, bash(f"{pip} install spam==2.0"), bash(f"python -c {shlex.quote(VERSION)}"),
        bash(f"{pip} uninstall {yes} spam; python -c 'import spam'"),
    )  # fmt: skip
    assert (before, upgraded) == ("1.0", "2.0"), installed
    assert "No module named 'spam'" in removed
    assert await told(supervisor, "listed", VERSION) == ["1.0"]


async def test_a_sandbox_sees_no_password_of_the_index(supervisor, index):
    environment, configured = await told(
        supervisor, "listed", "import os; print(os.environ)", bash("pip config list; cat /var/tmp/*/templates/*/*.json")
    )
    assert "hunter2" not in environment + configured
    password = f"Basic {base64.b64encode(b'me:hunter2').decode()}"
    assert {asked.headers.get("authorization") for asked in index.asked} == {password}


async def test_a_later_supervisor_finds_it_there_and_asks_no_index(supervisor, index, work_dir, network):
    await told(supervisor, "listed", "import spam")
    before = len(index.asked)
    runtime = new_directories()
    async with await Supervisor.start(
        [spec("other", *LISTED)], runtime_dir=runtime["runtime_dir"], work_dir=work_dir, network=network
    ) as later:
        assert await told(later, "other", VERSION) == ["1.0"]
    assert len(index.asked) == before
    for directory in runtime.values():
        shutil.rmtree(directory)


async def test_of_two_supervisors_that_start_at_once_one_installs(index, network):
    shared, others = new_directories(), new_directories()
    before = index.paths().count(PAGE)
    runtimes = (shared["runtime_dir"], others["runtime_dir"])
    started = await asyncio.gather(*(
        Supervisor.start([spec("listed", *LISTED)], runtime_dir=runtime, work_dir=shared["work_dir"], network=network)
        for runtime in runtimes
    ))  # fmt: skip
    try:
        assert await asyncio.gather(*(told(each, "listed", VERSION) for each in started)) == [["1.0"], ["1.0"]]
    finally:
        for each in started:
            await each.aclose()
    assert index.paths().count(PAGE) == before + 1
    for directory in {*shared.values(), *others.values()}:
        shutil.rmtree(directory)


async def test_half_of_an_environment_is_made_anew(network):
    """What a supervisor leaves that was killed while it installed."""
    directories = new_directories()

    async def start() -> None:
        async with await Supervisor.start([spec("listed", *LISTED)], **directories, network=network) as running:
            assert await told(running, "listed", VERSION) == ["1.0"]

    await start()
    (complete,) = directories["work_dir"].glob("templates/*/complete.json")
    complete.unlink()
    shutil.rmtree(next(complete.parent.glob("env/lib/python*/site-packages/spam")))
    await start()
    assert complete.exists()
    for directory in directories.values():
        shutil.rmtree(directory)


async def test_without_a_jail_it_is_refused_with_what_to_do():
    directories = new_directories()
    async with await Supervisor.start([spec("listed", *LISTED)], **directories, isolation="none") as running:
        with pytest.raises(NoCapacityError, match="--isolation namespaces"):
            await running.acquire("listed")
    for directory in directories.values():
        shutil.rmtree(directory)


async def test_what_nobody_has_used_for_long_is_removed(tmp_path):
    old, held, recent = (tmp_path / name for name in ("old", "held", "recent"))
    for place in (old, held, recent):
        (place / "env").mkdir(parents=True)
    for place in (old, held):
        os.utime(place, (0, place.stat().st_mtime - KEPT_SECONDS - 60))
    lock = claimed_directory.lock_now(held, fcntl.LOCK_SH)
    TemplateEnvironments(tmp_path, None).sweep()
    os.close(lock)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held", "recent"]


@pytest.mark.parametrize(
    ("packages", "said"),
    [
        ({"python": ["--index-url=http://elsewhere"]}, "it must be a requirement"),
        ({"python": ["spam @ http://elsewhere/spam.whl"]}, "it must be a requirement"),
        ({"python": ["../spam.whl"]}, "it must be a requirement"),
        ({"python": "spam"}, "packages.python must be a list"),
        ({"python": [1]}, "packages.python must be a list"),
        ({"apt": "jq"}, "packages.apt must be a list"),
        ({"apt": ["-o=x"]}, "'-o=x'; it must be the name of a Debian package"),
        ({"apt": ["./jq.deb"]}, "'./jq.deb'; it must be the name of a Debian package"),
        ({"apt": ["jq"], "npm": ["ham"]}, "packages has npm; a template can have python and apt only"),
        (["spam"], "packages must be an object"),
    ],
)
async def test_what_a_template_cannot_list_is_said(tmp_path, packages, said):
    path = tmp_path / "mine" / "kernel.json"
    write(path, packages)
    with pytest.raises(InvalidArgumentError) as refused:
        kernelspec.read(path)
    assert str(path) in refused.value.message
    assert said in refused.value.message


async def test_what_it_lists_travels_to_the_supervisor(tmp_path):
    path = tmp_path / "mine" / "kernel.json"
    write(path, {"python": ["spam >=1, <2", "polars[all]"], "apt": ["jq=1.6-2", "libgl1"]})
    found = kernelspec.read(path)
    assert found.packages == ("spam<2,>=1", "polars[all]")
    assert found.apt == ("jq=1.6-2", "libgl1")
    assert kernelspec.TemplateSpec.from_json(json.loads(json.dumps(found.to_json()))) == found


def write(path: Path, packages: object) -> None:
    ours = {"kernel_provisioner": {"provisioner_name": kernelspec.PROVISIONER}, "podflare_nb": {"packages": packages}}
    path.parent.mkdir()
    path.write_text(json.dumps({"display_name": "Mine", "language": "python", "metadata": ours}))
