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
