import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICE_PARTS = ("jupyter_server", "zmq", "nbformat", "sqlalchemy", "pydantic", "pydantic_ai", "tornado", "rich")


@pytest.mark.parametrize("name", ["Sandbox", "AsyncSandbox"])
def test_the_client_loads_nothing_of_the_service(name):
    code = f"import sys; from podflare_nb import {name}; print([m for m in {SERVICE_PARTS!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["Sandbox", "AsyncSandbox"])
def test_a_client_of_this_machine_needs_no_httpx(stand_in, name):
    code = f"""
import asyncio, sys
from podflare_nb import {name}
sandbox = {name}(host={stand_in.url!r}, api_key="pnb_stand_in")
async def use():
    async with sandbox:
        return await sandbox.run_code("x")
result = asyncio.run(use()) if {name!r} == "AsyncSandbox" else sandbox.run_code("x")
print(result.stdout, "httpx" in sys.modules, len(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    answer, has_httpx, count = done.stdout.split()
    assert (answer, has_httpx) == ("42", "False")
    # Bare Python has some sixty, asyncio and json three times as many; a framework would bring hundreds.
    assert int(count) < 260


def test_the_synchronous_client_is_current():
    script = ROOT / "scripts" / "generate_sync_client.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_httpx_keeps_its_command_line_importable():
    code = "import podflare_nb.client, httpx, importlib; importlib.import_module('httpx._main')"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.mark.skipif(not hasattr(sys, "platform") or sys.platform == "win32", reason="there is no fork on Windows")
def test_a_forked_child_speaks_on_sockets_of_its_own(stand_in):
    code = f"""
import os
from podflare_nb.client import Sandbox
sandbox = Sandbox(host={stand_in.url!r}, api_key="pnb_stand_in")
child = os.fork()
assert sandbox.run_code("x").stdout == "42"
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=True, timeout=60)
    assert len(stand_in.connections) == 2
