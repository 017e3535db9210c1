"""Ports through the clients and the command line, on the real service: a server, its list, its URL, its link."""

import subprocess
from functools import partial

import httpx
import pytest

from podflare_nb.client import AsyncSandbox, InvalidArgumentError, Sandbox
from tests.conftest import command

SERVE = """
import subprocess, sys
open("hello.txt", "w").write("hello")
server = subprocess.Popen([sys.executable, "-u", "-m", "http.server", "8000"], stdout=subprocess.PIPE)
server.stdout.readline()
"""
get = partial(httpx.get, timeout=60)


@pytest.fixture(scope="module")
def sandbox(service):
    with Sandbox("python-minimal", host=service.url, api_key=service.key) as sandbox:
        assert sandbox.run_code(SERVE).ok
        yield sandbox


def test_a_port_is_listed_reached_and_shown(sandbox, service):
    (port,) = sandbox.ports()
    assert (port.port, port.address) == (8000, "0.0.0.0")
    assert port.url == sandbox.port_url(8000) == f"{service.url}/sandboxes/{sandbox.id}/ports/8000/"
    key = {"Authorization": f"Bearer {service.key}"}
    assert get(f"{sandbox.port_url(8000)}hello.txt", headers=key).text == "hello"
    link = sandbox.port_link(8000, expires_seconds=600)
    assert get(f"{link.url}hello.txt").text == "hello"
    sandbox.revoke_port_links(8000)
    assert get(f"{link.url}hello.txt").status_code == 410
    with pytest.raises(InvalidArgumentError, match="expires_seconds"):
        sandbox.port_link(8000, expires_seconds=0)


async def test_the_asynchronous_client_does_the_same(sandbox, service):
    other = await AsyncSandbox.connect(sandbox.id, host=service.url, api_key=service.key)
    assert [port.port for port in await other.ports()] == [8000]
    link = await other.port_link(8000)
    assert "/ports/8000/~l." in link.url
    await other.revoke_port_links(8000)


def test_the_command_line_lists_links_and_revokes(sandbox, service):
    def run(*arguments: str) -> str:
        where = ("--url", service.url, "--api-key", service.key)
        done = subprocess.run(
            command("ports", sandbox.id, *arguments, *where), capture_output=True, text=True, check=True
        )
        return done.stdout

    assert f"{service.url}/sandboxes/{sandbox.id}/ports/8000/" in run()
    link = run("--link", "8000", "--seconds", "60").strip()
    assert get(f"{link}hello.txt").text == "hello"
    assert run("--revoke", "8000") == "The links to port 8000 have ended.\n"
    assert get(f"{link}hello.txt").status_code == 410
