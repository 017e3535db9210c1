"""A real supervisor, and a plain client of one kernel."""

import asyncio
import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest_asyncio
import zmq
import zmq.asyncio
from jupyter_client.session import Session

from podflare_nb.provisioning import kernelspec
from podflare_nb.provisioning.client import Supervisor

REPOSITORY = Path(__file__).parents[2]
EXECUTION_SECONDS = 60


@dataclass
class Outcome:
    """What came of one execution: stream text, text results, and the error's name and value."""

    text: str
    error: str | None


class KernelClient:
    """Executes code in one kernel over its sockets."""

    def __init__(self, kernel) -> None:
        info = kernel.connection_info
        self._context = zmq.asyncio.Context()
        self._session = Session(key=info["key"].encode())
        self._shell = self._context.socket(zmq.DEALER)
        self._shell.connect(f"ipc://{info['ip']}-{info['shell_port']}")
        self._iopub = self._context.socket(zmq.SUB)
        self._iopub.subscribe(b"")
        self._iopub.connect(f"ipc://{info['ip']}-{info['iopub_port']}")
        self._subscribed = False

    async def run(self, code: str, seconds: float = EXECUTION_SECONDS) -> Outcome:
        async with asyncio.timeout(seconds):
            while not self._subscribed:
                self._subscribed = (await self._receive())["msg_type"] == "iopub_welcome"
            request = self._session.msg("execute_request", {"code": code, "silent": False, "allow_stdin": False})
            self._session.send(zmq.Socket.shadow(self._shell), request)
            return await self._collect(request["header"]["msg_id"])

    async def _collect(self, msg_id: str) -> Outcome:
        text, error = "", None
        while True:
            message = await self._receive()
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    text += content["text"]
                case "execute_result" | "display_data":
                    text += content["data"].get("text/plain", "")
                case "error":
                    error = f"{content['ename']}: {content['evalue']}"
                case "status" if content["execution_state"] == "idle":
                    return Outcome(text, error)

    async def _receive(self) -> dict:
        _, frames = self._session.feed_identities(await self._iopub.recv_multipart())
        return self._session.deserialize(frames)

    def close(self) -> None:
        self._context.destroy(linger=0)


def templates(pool_size: int = 1) -> list[kernelspec.TemplateSpec]:
    found = kernelspec.find([REPOSITORY / "kernelspecs"])
    return [replace(spec, pool_size=pool_size) for spec in found.values() if spec.name == "python-minimal"]


def new_directories() -> dict[str, Path]:
    return {
        "runtime_dir": Path(tempfile.mkdtemp(prefix="pfnb-", dir="/tmp")),
        "work_dir": Path(tempfile.mkdtemp(prefix="pfnb-", dir="/var/tmp")),
    }


def left_in(directories: dict[str, Path]) -> list[str]:
    """What is left of a supervisor, but for the cache of packages, which is for the next one."""
    left = {name: {path.name for path in directory.iterdir()} for name, directory in directories.items()}
    left["work_dir"].discard("packages")
    return [f"{name}/{each}" for name, found in left.items() for each in found]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def supervisor():
    directories = new_directories()
    async with await Supervisor.start(templates(), **directories) as running:
        yield running
    assert left_in(directories) == []
    for directory in directories.values():
        shutil.rmtree(directory)


@pytest_asyncio.fixture(loop_scope="module")
async def kernel(supervisor):
    taken = await supervisor.acquire("python-minimal")
    yield taken
    await taken.kill()


@asynccontextmanager
async def talking(*kernels):
    """Clients of these kernels."""
    clients = [KernelClient(kernel) for kernel in kernels]
    try:
        yield clients
    finally:
        for each in clients:
            each.close()


async def ended(kernel):
    """How it ended, once it has."""
    return await asyncio.wait_for(asyncio.shield(kernel.exited), EXECUTION_SECONDS)


@pytest_asyncio.fixture(loop_scope="module")
async def client(kernel):
    connected = KernelClient(kernel)
    yield connected
    connected.close()
