"""PyPI's ``podflare``, as it was published, against our service: nothing of it is patched."""

import os

import httpx
import podflare
import pytest


@pytest.fixture
def published(service):
    sandbox = podflare.Sandbox(host=service.url, api_key=service.key, template="python-minimal")
    yield sandbox
    # Its second close fails on its own side: a test that closed it already has done what is due.
    if state_of(service, sandbox.id) == "ready":
        sandbox.close()


def state_of(service, sandbox_id):
    headers = {"Authorization": f"Bearer {service.key}"}
    answer = httpx.get(f"{service.url}/v1/sandboxes/{sandbox_id}", headers=headers, timeout=30)
    return answer.json().get("state", "closed") if answer.status_code == 200 else "closed"


def test_it_makes_a_sandbox_and_runs_python_with_state(published):
    assert published.id.startswith("sbx_")
    assert published.run_code("x = 40").exit_code == 0
    result = published.run_code("print(x + 2)")
    assert (result.stdout.strip(), result.stderr, result.exit_code) == ("42", "", 0)


def test_it_runs_bash(published):
    result = published.run_code("echo out; echo err >&2; exit 3", language="bash")
    assert (result.stdout.strip(), result.stderr.strip(), result.exit_code) == ("out", "err", 3)


def test_it_sees_a_failed_cell_with_its_traceback_and_the_repl_lives(published):
    failed = published.run_code("y = 1\n1/0")
    assert failed.exit_code == 1
    assert "ZeroDivisionError" in failed.stderr
    assert published.run_code("print(y)").stdout.strip() == "1"


def test_it_sees_the_code_of_sys_exit(published):
    assert published.run_code("import sys; sys.exit(7)").exit_code == 7


def test_its_stream_gives_lines_while_rich_results_pass_it_by(published):
    code = "print('one'); print('two')\nfrom IPython.display import HTML, display\ndisplay(HTML('<b>x</b>'))"
    events = list(published.run_code_stream(code))
    assert [event.data for event in events if event.type == "stdout"] == ["one", "two"]
    assert (events[-1].type, events[-1].data) == ("exit", 0)
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert published.run_code(code).stdout.split() == ["one", "two"]


def test_it_uploads_and_downloads_bytes_and_files(published, tmp_path):
    content = os.urandom(100_000)
    published.upload(content, "/tmp/there.bin")
    assert published.download("/tmp/there.bin") == content
    (tmp_path / "local.csv").write_text("a,b\n1,2\n")
    published.upload(str(tmp_path / "local.csv"), "there.csv")
    assert published.download("there.csv") == b"a,b\n1,2\n"


def test_its_replay_gives_what_ran(published):
    published.run_code("print('again')")
    assert "again" in [event.data for event in published.replay()]


def test_its_close_ends_the_sandbox(service, published):
    published.close()
    assert state_of(service, published.id) == "closed"


def test_leaving_its_context_closes_the_sandbox(service):
    with podflare.Sandbox(host=service.url, api_key=service.key, template="python-minimal") as sandbox:
        assert sandbox.run_code("print(1)").stdout.strip() == "1"
    assert state_of(service, sandbox.id) == "closed"


def test_its_options_are_understood(service):
    with podflare.Sandbox(
        host=service.url,
        api_key=service.key,
        template="python-minimal",
        timeout_seconds=600,
        idle_timeout_seconds=300,
        ram_mib=512,
    ) as sandbox:
        headers = {"Authorization": f"Bearer {service.key}"}
        info = httpx.get(f"{service.url}/v1/sandboxes/{sandbox.id}", headers=headers, timeout=30).json()
    assert (info["timeout_seconds"], info["idle_timeout_seconds"], info["limits"]["memory_mib"]) == (600, 300, 512)


def test_it_is_told_of_a_wrong_key(service):
    # A client of our own, as the one that its constructor makes is not closed when that fails.
    client = podflare.Client(host=service.url, api_key="pfnb_wrong")
    with pytest.raises(httpx.HTTPStatusError, match="401"):
        podflare.Sandbox(client=client)
    client.close()


def test_its_client_is_told_that_the_service_is_healthy_and_makes_and_ends_sandboxes_by_id(service):
    client = podflare.Client(
        host=service.url, api_key=service.key, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    )
    assert client.healthz()
    sandbox_id = client.create_sandbox("python-minimal", persistent=False, egress=False, rootfs_gb=1)
    assert state_of(service, sandbox_id) == "ready"
    client.destroy_sandbox(sandbox_id)
    assert state_of(service, sandbox_id) == "closed"
    client.close()


def test_its_stream_gives_lines_while_the_code_still_runs(published):
    published.run_code("mkfifo /tmp/go", "bash")
    stream = published.run_code_stream("print('on', flush=True)\nopen('/tmp/go').read(); print('off')")
    assert next(stream).data == "on"
    stream.close()
    assert published.run_code("print('free')").stdout == "free"


def test_its_uploads_of_a_few_megabytes_arrive_and_its_replay_stays_readable(published):
    content = os.urandom(3_000_000)
    published.upload(content, "/tmp/deep/er/big.bin")
    assert published.download("/tmp/deep/er/big.bin") == content
    assert published.replay()[-1].type == "exit"


def test_its_failed_upload_and_download_are_errors_with_the_traceback(published):
    with pytest.raises(OSError, match="IsADirectoryError"):
        published.upload(b"x", "/tmp")
    with pytest.raises(OSError, match="FileNotFoundError"):
        published.download("/tmp/missing")


def test_what_this_version_does_not_offer_is_refused_and_not_ignored(service):
    client = podflare.Client(host=service.url, api_key=service.key)
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        podflare.Sandbox(client=client, persistent=True)
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        podflare.Sandbox.resume("spc_unknown", client=client)
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        client.delete_space("spc_unknown")
    client.close()


def test_its_sandboxes_without_options_share_a_client_that_the_environment_configures(service, monkeypatch):
    monkeypatch.setenv("PODFLARE_API_KEY", service.key)
    with podflare.Sandbox(host=service.url) as first, podflare.Sandbox(host=service.url) as second:
        assert first.run_code("print(1)").stdout == "1"
        assert second.run_code("print(2)").ok
    podflare.close_default_client()
