"""Programs that people use work in a real sandbox, by wire and through the proxy: git over HTTP, websocket sessions."""

import os
import ssl

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="jails need root")
RULES = {"allow": ["files.example.org:80", "files.example.org:443"]}
POLICIES = pytest.mark.parametrize("egress", [True, RULES], ids=["true", "rules"])
SECURE = pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
CLONE = """
import json, os, subprocess
def clone(url):
    command = ["git", "-c", "http.sslCAInfo=/workspace/authority.pem", "clone", "-q", url, "/workspace/copy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"})
    return done.stderr or open("/workspace/copy/README").read()
"""
SESSION = """
import asyncio, json, ssl, websockets
class Session:
    # Stays open from cell to cell.
    async def open(self, url):
        context = ssl.create_default_context(cafile="/workspace/authority.pem") if url.startswith("wss") else None
        self.connection = await websockets.connect(url, ssl=context, max_size=None, open_timeout=30)
    async def say(self, message):
        try:
            async with asyncio.timeout(30):
                await self.connection.send(message)
                return await self.connection.recv()
        except (websockets.ConnectionClosed, TimeoutError) as error:
            return type(error).__name__
session = Session()
"""
PING = "async with asyncio.timeout(30):\n    await (await session.connection.ping())\nprint(json.dumps('pong'))"


@pytest.fixture
def sandbox(lab, supervisors):
    made = []

    def make(egress):
        made.append(supervisors().sandbox(egress))
        authority = lab.certificate.read_text().partition(ssl.PEM_FOOTER)[0] + ssl.PEM_FOOTER
        assert made[-1].run(f"open('/workspace/authority.pem', 'w').write({authority!r})").error is None
        return made[-1]

    yield make
    for each in made:
        each.close()


@POLICIES
@SECURE
def test_git_clones(sandbox, egress, secure):
    url = f"http{'s' * secure}://files.example.org/git/project.git"
    assert sandbox(egress).told(f"{CLONE}print(json.dumps(clone({url!r})))") == "from the internet\n"


@pytest.mark.parametrize(
    ("egress", "why"),
    [(RULES, "error: 403"), ({"allow": ["files.example.org:443"]}, "error: 403"), (False, "Could not resolve")],
)
def test_git_says_at_once_that_it_may_not(sandbox, egress, why):
    host = "www.example.com" if egress is RULES else "files.example.org"
    assert why in sandbox(egress).told(f"{CLONE}print(json.dumps(clone('http://{host}/git/project.git')))")


@POLICIES
@SECURE
def test_a_websocket_session_goes_on_until_the_policy_ends_it(sandbox, egress, secure):
    inside = sandbox(egress)
    opened = inside.run(f"{SESSION}await session.open('ws{'s' * secure}://files.example.org/socket')")
    assert opened.error is None, opened
    assert inside.told("print(json.dumps([await session.say(str(n)) for n in range(100)]))") == [*map(str, range(100))]
    assert inside.told("large = bytes(5_000_000)\nprint(json.dumps(await session.say(large) == large))") is True
    assert inside.told(PING) == "pong"
    inside.set_egress({"allow": ["www.example.com"]})
    assert inside.told("print(json.dumps(await session.say('more')))") == "ConnectionClosedError"


def test_without_a_policy_that_allows_it_there_is_no_websocket_session(sandbox):
    opened = sandbox({"allow": ["www.example.com"]}).run(
        f"{SESSION}await session.open('ws://files.example.org/socket')"
    )
    assert "403" in opened.error
