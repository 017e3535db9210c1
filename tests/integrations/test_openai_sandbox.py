import asyncio
import io
import json
import tarfile
from pathlib import Path

import pytest

from podflare_nb.client import Client, PodflareError, Sandbox

pytest_plugins = ["openai_sdk"]

PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.fixture(scope="module")
def sandboxes(sdk):
    """The SDK's own sandbox classes."""
    return sdk.module("agents.sandbox")


@pytest.fixture
def client(sdk, service):
    return sdk.adapter.PodflareSandboxClient(service.url, service.key)


@pytest.fixture
async def session(client):
    async with await client.create() as session:
        yield session


@pytest.fixture
def worker(sdk, sandboxes):
    """A sandbox agent whose model calls a tool with each of some arguments in turn and then says done."""

    def make(*calls, tool="exec_command", **rest):
        capabilities = sdk.module("agents.sandbox.capabilities")
        abilities = [capabilities.Filesystem(), sdk.adapter.podflare_shell()]
        return sandboxes.SandboxAgent(name="worker", model=sdk.model(tool, *calls), capabilities=abilities, **rest)

    return make


@pytest.fixture
def hello(sdk, sandboxes):
    """A manifest with a file, one in a directory, and a variable."""
    entries = sdk.module("agents.sandbox.entries")
    data = entries.Dir(children={"n": entries.File(content=b"7")})
    files = {"hello.txt": entries.File(content=b"hello "), "data": data}
    return sandboxes.Manifest(entries=files, environment={"value": {"GREETING": "s3cret"}})


def named(service, label):
    """The sandboxes with a label, ended ones too."""
    with Client(service.url, service.key) as client:
        return [info for info in client.sandboxes(include_closed=True) if info.labels.get("test") == label]


async def test_a_run_makes_a_sandbox_from_its_manifest_and_ends_it(sdk, client, worker, hello, service):
    agent = worker({"cmd": "cat hello.txt data/n; echo; echo $GREETING; pwd"}, default_manifest=hello)
    options = sdk.adapter.PodflareSandboxClientOptions(labels={"test": "run"})
    assert (await sdk.run_in(agent, client=client, options=options)).final_output == "done"
    [said] = sdk.told(agent)
    assert said.endswith("Output:\nhello 7\ns3cret\n/workspace")
    [info] = await asyncio.to_thread(named, service, "run")
    assert (info.state, info.end_reason) == ("closed", "closed")


async def test_the_options_may_be_left_out(sdk, client, worker):
    agent = worker({"cmd": "echo here"})
    await sdk.run_in(agent, client=client)
    assert sdk.told(agent)[0].endswith("Output:\nhere")


async def test_commands_and_pictures_of_an_agent_are_the_sandboxs(sdk, session, worker):
    agent = worker({"cmd": "echo out; echo err >&2; exit 3"}, {"cmd": "sleep 60", "yield_time_ms": 200}, {})
    await sdk.run_in(agent, session=session)
    ran, late, wrong = sdk.told(agent)
    assert "Process exited with code 3" in ran
    assert ran.endswith("Output:\nout\nerr")
    assert "Command timed out after 0.200 seconds." in late
    assert "cmd" in wrong
    await session.write(Path("picture.png"), io.BytesIO(PNG))
    looking = worker({"path": "picture.png"}, tool="view_image")
    await sdk.run_in(looking, session=session)
    [[image]] = sdk.told(looking)
    assert image["image_url"].startswith("data:image/png;base64,iVBOR")


async def test_the_notebook_tells_call_and_agent_and_hides_what_the_sandbox_was_made_with(sdk, client, worker, hello):
    async with await client.create(manifest=hello) as session:
        await sdk.run_in(worker({"cmd": "echo by whom"}), session=session)
        hello.environment.value["GREETING"] = "changed"
        assert (await session.exec("echo $GREETING")).stdout == b"changed"
        notebook = await client.sandbox_of(session).notebook()
    by = {"".join(cell["source"]): cell["metadata"]["podflare_nb"] for cell in notebook["cells"]}
    [asked] = [told for source, told in by.items() if "by whom" in source]
    assert (asked["tool_call_id"], asked["operator"]) == ("call_0", "worker")
    [own] = [told for source, told in by.items() if "chmod" in source and "hello.txt" in source]
    assert own["operator"] == "openai-agents"
    assert "s3cret" not in json.dumps(notebook)


async def test_python_of_the_same_sandbox_is_a_tool_beside_the_shell(sdk, client, session, worker):
    python = sdk.tool(client.sandbox_of(session))
    agent = worker({"code": "open('from_python', 'w').write('x')"}, tool="run_code", tools=[python])
    await sdk.run_in(agent, session=session)
    assert (await session.read(Path("from_python"))).read() == b"x"


async def test_files_are_written_listed_moved_patched_and_removed(session):
    await session.write(Path("a/b.txt"), io.StringIO("text"))
    await session.write(Path("/workspace/a/c.bin"), io.BytesIO(b"\x00\xff"))
    await session.mkdir("a/deep/down", parents=True)
    assert sorted(entry.path for entry in await session.ls("a")) == [
        "/workspace/a/b.txt", "/workspace/a/c.bin", "/workspace/a/deep",
    ]  # fmt: skip
    assert (await session.read(Path("a/c.bin"))).read() == b"\x00\xff"
    assert await session.read_bounded(Path("a/b.txt"), max_bytes=2) == b"te"
    await session.mv("a/b.txt", "a/d.txt")
    await session.apply_patch({"type": "create_file", "path": "new.txt", "diff": "+one\n+two"})
    assert (await session.read(Path("new.txt"))).read() == b"one\ntwo"
    await session.rm("a", recursive=True)
    assert [entry.path for entry in await session.ls(".")] == ["/workspace/new.txt"]


async def test_what_cannot_be_read_or_written_is_an_error_of_the_sdks(sdk, sandboxes, session):
    errors = sdk.module("agents.sandbox.errors")
    with pytest.raises(sandboxes.WorkspaceReadNotFoundError):
        await session.read(Path("nowhere"))
    with pytest.raises(sandboxes.WorkspaceReadNotFoundError):
        await session.read_bounded(Path("nowhere"), max_bytes=1)
    with pytest.raises(errors.InvalidManifestPathError):
        await session.read(Path("../etc/passwd"))
    await session.exec("ln", "-s", "/etc", "out", shell=False)
    with pytest.raises(sandboxes.WorkspaceArchiveReadError):
        await session.read(Path("out/hostname"))
    with pytest.raises(sandboxes.WorkspaceArchiveWriteError, match="was not written"):
        await session.write(Path("out/hostname"), io.BytesIO(b"x"))
    with pytest.raises(sandboxes.WorkspaceWriteTypeError):
        await session.write(Path("x"), NoBytes())


class NoBytes(io.RawIOBase):
    def read(self, _size=-1):
        return 7


async def test_what_a_podflare_sandbox_has_not_is_refused_with_a_sentence(sdk, sandboxes, client, session):
    errors = sdk.module("agents.sandbox.errors")
    with pytest.raises(errors.ConfigurationError, match="one user"):
        await session.exec("id", user="bob")
    with pytest.raises(errors.ConfigurationError, match="one user"):
        await session.read(Path("x"), user="bob")
    with pytest.raises(sandboxes.ExposedPortUnavailableError) as refused:
        await session.resolve_exposed_port(8000)
    assert "no address of its own" in refused.value.context["detail"]
    assert not session.supports_pty()
    for manifest, sentence in [
        (sandboxes.Manifest(root="/srv"), "root is /srv"),
        (sandboxes.Manifest(users=[sandboxes.User(name="bob")]), "one user"),
        (sandboxes.Manifest(extra_path_grants=[sandboxes.SandboxPathGrant(path="/opt/x")]), "paths outside"),
    ]:
        with pytest.raises(errors.ConfigurationError, match=sentence):
            await client.create(manifest=manifest)


async def test_the_workspace_travels_as_a_tar_archive(session, sandboxes):
    await session.write(Path("kept/n"), io.BytesIO(b"7"))
    session.register_persist_workspace_skip_path("skipped")
    await session.write(Path("skipped/n"), io.BytesIO(b"8"))
    archive = await session.persist_workspace()
    with tarfile.open(fileobj=archive) as tar:
        assert sorted(tar.getnames()) == [".", "./kept", "./kept/n"]
    await session.rm("kept", recursive=True)
    archive.seek(0)
    await session.hydrate_workspace(archive)
    assert (await session.read(Path("kept/n"))).read() == b"7"
    assert sorted(entry.path for entry in await session.ls(".")) == ["/workspace/kept", "/workspace/skipped"]
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    evil.seek(0)
    with pytest.raises(sandboxes.WorkspaceArchiveWriteError):
        await session.hydrate_workspace(evil)


async def test_a_workspace_with_links_and_pipes_is_packed_as_it_can_be_unpacked(session, sandboxes):
    made = "echo 7 > n; ln n same; ln -s /usr/bin/python3 python; ln -s /etc out; mkfifo pipe; touch 'a b' ./-x"
    assert (await session.exec(made)).ok()
    archive = await session.persist_workspace()
    assert (await session.exec("rm -r -- *")).ok()
    archive.seek(0)
    await session.hydrate_workspace(archive)
    shown = await session.exec("cat n same; readlink python out; ls -A | wc -l; ls pipe")
    assert shown.stdout.split() == [b"7", b"7", b"/usr/bin/python3", b"/etc", b"6"]
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as tar:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("out/evil"))
    evil.seek(0)
    with pytest.raises(sandboxes.WorkspaceArchiveWriteError):
        await session.hydrate_workspace(evil)


async def test_a_session_is_resumed_by_its_state_with_variables_and_files(sdk, client, service):
    options = sdk.adapter.PodflareSandboxClientOptions(keep_open=True)
    async with await client.create(options=options) as session:
        await client.sandbox_of(session).run_code("x = 5")
        await session.write(Path("n"), io.BytesIO(b"7"))
        stored = json.dumps(client.serialize_session_state(session.state))
    assert service.key not in stored
    assert not await session.running()
    state = client.deserialize_session_state(json.loads(stored))
    async with await client.resume(state) as resumed:
        assert await resumed.running()
        assert (await resumed.read(Path("n"))).read() == b"7"
        assert (await client.sandbox_of(resumed).run_code("x")).results[0].text == "5"
        await asyncio.to_thread(end, resumed, service)


def end(session, service):
    Sandbox.connect(session.state.sandbox_id, host=service.url, api_key=service.key).close()


async def test_a_service_that_refuses_leaves_no_connection(sdk, service):
    options = sdk.adapter.PodflareSandboxClientOptions(template="no-such-template")
    with pytest.raises(PodflareError, match="no-such-template"):
        await sdk.adapter.PodflareSandboxClient(service.url, service.key).create(options=options)
    foreign = sdk.testing.scripted_sandbox_session()
    with pytest.raises(TypeError, match="not of a podflare sandbox"):
        sdk.adapter.PodflareSandboxClient.sandbox_of(sdk.module("agents.sandbox.session").SandboxSession(foreign))


async def test_a_session_whose_sandbox_has_ended_is_resumed_from_its_snapshot(client, sandboxes, tmp_path):
    snapshot = sandboxes.LocalSnapshotSpec(base_path=tmp_path)
    async with await client.create(snapshot=snapshot) as session:
        await session.write(Path("n"), io.BytesIO(b"7"))
        first = session.state.sandbox_id
    async with await client.resume(session.state) as resumed:
        assert resumed.state.sandbox_id != first
        assert (await resumed.read(Path("n"))).read() == b"7"
    await client.delete(resumed)
    with pytest.raises(TypeError, match="states of its own"):
        await client.resume(sandboxes.SandboxAgent)


async def test_a_sandbox_that_ended_in_between_is_an_error_with_its_reason(sandboxes, client, service):
    session = await client.create()
    await session.start()
    await asyncio.to_thread(end, session, service)
    with pytest.raises(sandboxes.ExecTransportError, match="closed") as gone:
        await session.exec("true")
    assert gone.value.context["reason"] == "gone"
    assert gone.value.retryable is False
    assert not await session.running()
    await session.aclose()
