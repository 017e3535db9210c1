"""docs/integrations/mcp.md: its configurations are what their hosts read, and lead to a server that answers."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from podflare_nb.mcp.catalog import TOOLS

from ..conftest import Service
from .conftest import ACCEPT, SECONDS, STDIO, answer_of, initialize

PAGE = Path(__file__).parents[2] / "docs" / "integrations" / "mcp.md"
KEY = re.compile(r"Bearer \$\{(?:env:|input:)?\w+\}")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def servers() -> Iterator[dict[str, Any]]:
    """The servers of every configuration on the page, each under the key that its host looks below."""
    for configuration in [*map(json.loads, blocks("json")), *map(tomllib.loads, blocks("toml"))]:
        (named,) = [configuration[name] for name in ("mcpServers", "servers", "mcp_servers") if name in configuration]
        assert list(named) == ["podflare-nb"]
        yield named["podflare-nb"]


def test_the_page_has_configurations_for_both_ways_in():
    kinds = ["command" if "command" in server else "url" for server in servers()]
    assert kinds.count("command") == 3
    assert kinds.count("url") == 5
    assert all(server["args"] == ["mcp"] for server in servers() if "command" in server)
    for line in "".join(blocks("bash")).splitlines():
        assert line.partition(" -- ")[2] == "podflare-nb mcp"


def test_the_command_of_the_page_is_the_one_that_is_tested():
    """As ``test_mcp_stdio`` starts it."""
    program, *arguments = STDIO
    for server in servers():
        if "command" in server:
            assert [server["command"], *server["args"]] == [Path(program).name, *arguments]


def test_the_urls_and_headers_of_the_page_lead_to_the_endpoint(service: Service):
    for server in servers():
        if "command" in server:
            continue
        url = server.get("url") or server["httpUrl"]
        assert url.startswith("http://127.0.0.1:8888/podflare")
        headers = server.get("headers") or {"Authorization": f"Bearer ${{{server['bearer_token_env_var']}}}"}
        headers = {name: KEY.sub(f"Bearer {service.key}", value) for name, value in headers.items()}
        url = url.replace("http://127.0.0.1:8888/podflare", service.url)
        begun = httpx.post(url, json=initialize(), headers={**ACCEPT, **headers}, timeout=SECONDS)
        assert answer_of(begun)["result"]["serverInfo"]["name"] == "podflare-nb"
        session = {**ACCEPT, **headers, "Mcp-Session-Id": begun.headers["Mcp-Session-Id"]}
        assert httpx.delete(url, headers=session, timeout=SECONDS).status_code == 204


def test_the_program_of_the_page_runs(service: Service):
    (program,) = blocks("python")
    env = {**os.environ, "PODFLARE_NB_URL": service.url, "PODFLARE_NB_API_KEY": service.key}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, env=env, text=True, timeout=SECONDS
    )
    assert done.stdout == "42\n"


def test_the_table_of_tools_names_all_of_them():
    table = PAGE.read_text().partition("## The tools")[2].partition("- **One")[0]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == {tool.name for tool in TOOLS}
