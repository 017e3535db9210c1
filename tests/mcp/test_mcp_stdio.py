"""``podflare-nb mcp``, started as hosts start it, by the official client and by hand."""

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from ..conftest import Service, read_until
from .conftest import INFO, SECONDS, STDIO, initialize, ran, run, sandbox_of, text_of

NAMES = ("PODFLARE_NB_URL", "PODFLARE_NB_API_KEY", "PODFLARE_HOST", "PODFLARE_API_KEY", "PODFLARE_NB_DATA_DIR")


def environment(**more: str) -> dict[str, str]:
    """As tests have it, without what may point to another service."""
    return {name: value for name, value in os.environ.items() if name not in NAMES} | more


@asynccontextmanager
async def started(service: Service, mode: str = "auto") -> AsyncIterator[Client]:
    program, *arguments = STDIO
    here = {"PODFLARE_NB_DATA_DIR": str(service.data_dir)}
    env = environment(
        **({"PODFLARE_NB_URL": service.url, "PODFLARE_NB_API_KEY": service.key} if mode == "auto" else here)
    )
    with pytest.MonkeyPatch.context() as patch:
        # By itself it gives a process two seconds to end after its input, and kills it then.
        patch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", SECONDS)
        async with Client(
            StdioServerParameters(command=program, args=arguments, env=env), mode=mode, client_info=INFO
        ) as client:
            yield client


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_one_process_is_one_session_whose_sandbox_ends_with_its_input(
    service: Service, state_of: Callable[[str], str], mode: str
):
    """``auto`` speaks the newest version, which knows no sessions over HTTP; a process is one all the same."""
    told = []

    async def on_progress(_progress: float, _total: float | None, message: str | None) -> None:
        told.append(message)

    async with started(service, mode) as client:
        assert client.session.protocol_version == {"legacy": "2025-11-25", "auto": "2026-07-28"}[mode]
        assert len((await client.list_tools()).tools) == 12
        first = await run(client, "x = 6 * 7; x")
        second = await client.call_tool("run_python", {"code": "print(x)"}, progress_callback=on_progress)
        sandbox = sandbox_of(first)
        assert text_of(first) == text_of(second) == "42"
        assert sandbox_of(second) == sandbox
        notebook = json.loads(
            (await client.read_resource(f"podflare-nb://sandboxes/{sandbox}/notebook.ipynb")).contents[0].text
        )
        assert notebook["cells"][0]["metadata"]["podflare_nb"]["operator"] == "a host 1.2"
        assert (await ran(client, "list_sandboxes")).structured_content["sandboxes"]
        assert state_of(sandbox) == "ready"
    assert state_of(sandbox) == "closed"
    assert told == ["42"]


def test_a_signal_ends_the_sandbox_and_the_process_and_a_line_that_is_no_message_neither(
    service: Service, state_of: Callable[[str], str]
):
    call = {
        "jsonrpc": "2.0", "id": 2, "method": "tools/call",
        "params": {"name": "run_python", "arguments": {"code": "1"}},
    }  # fmt: skip
    process = subprocess.Popen(
        [*STDIO, "--data-dir", str(service.data_dir)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    )  # fmt: skip
    with process:
        process.stdin.write(b"nope\n")
        for message in (initialize(), {"jsonrpc": "2.0", "method": "notifications/initialized"}, call):
            process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        printed = read_until(process, r'"id":2.*\n', SECONDS)
        sandbox = json.loads(printed.splitlines()[-1])["result"]["_meta"]["podflare-nb/sandbox"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 128 + signal.SIGTERM
        assert process.stderr.read() == b""
    assert state_of(sandbox) == "closed"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--url", "http://127.0.0.1:9/podflare", "--api-key", "k"], "Nothing answers at http://127.0.0.1:9/podflare"),
        (["--url", "ftp://x"], "is not a URL"),
        (["--data-dir", "EMPTY"], "There is no API key for http://127.0.0.1:8888/podflare"),
        (["--url", "SERVICE", "--api-key", "pfnb_wrong"], "not known here"),
    ],
)
def test_without_a_service_that_lets_it_in_it_says_so_and_ends(
    service: Service, tmp_path: Path, options: list[str], words: str
):
    options = [{"EMPTY": str(tmp_path), "SERVICE": service.url}.get(one, one) for one in options]
    done = subprocess.run(
        [*STDIO, *options], input=b"", capture_output=True, timeout=SECONDS, env=environment(), check=False
    )
    assert done.returncode == 1
    assert done.stdout == b""
    assert words in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1
