"""The two servers under measurement, each a process of its own with directories of its own, ended with certainty."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from podflare_nb.provisioning.client import default_runtime_dir

from .wire import Wire, WireError

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
START_SECONDS = 180.0
STOP_SECONDS = 60.0
UNPOOLED = "bench-unpooled"
"""The data science template with a pool of none: every create of it is a pool miss."""


class Server(ABC):
    """A context manager around a server process. Subclasses say what to run and when it is ready."""

    name: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.process: subprocess.Popen[bytes]
        self._log: IO[bytes]

    @abstractmethod
    def command(self) -> list[str]:
        """Give the command line."""

    def environment(self) -> dict[str, str]:
        """Give what is added to the environment."""
        return {}

    @abstractmethod
    def headers(self) -> dict[str, str]:
        """Give the headers that authenticate."""

    @abstractmethod
    def is_ready(self, wire: Wire) -> bool:
        """Whether all that is measured has been loaded."""

    def wire(self) -> Wire:
        """Open a connection."""
        return Wire(HOST, self.port, self.headers())

    def log_tail(self) -> str:
        """Give the end of what the server said."""
        return (self.directory / "log").read_text(errors="replace")[-3000:]

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._log = (self.directory / "log").open("wb")
        self.process = subprocess.Popen(  # noqa: S603 - the command lines below
            self.command(), cwd=ROOT, env={**os.environ, **self.environment()}, stdin=subprocess.DEVNULL,
            stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        """Ask it to end; after a minute, or a second Ctrl-C, end its whole session by force."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
        except BaseException:
            self._kill()
            raise
        finally:
            self._log.close()

    def _kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None or time.monotonic() > deadline:
                code = self.process.poll()
                raise SystemExit(f"bench: {self.name} did not start (exit code {code}):\n{self.log_tail()}")
            try:
                with self.wire() as wire:
                    if self.is_ready(wire):
                        return
            except (OSError, WireError):
                # It does not listen yet, or is not ready to answer.
                pass
            time.sleep(0.1)


class OurServer(Server):
    """``podflare-nb serve`` with the installed templates, and one more that has no warm pool."""

    name = "podflare_nb"

    def __init__(self, directory: Path, isolation: str, options: Sequence[str] = ()) -> None:
        super().__init__(directory)
        self.key = "pnb_" + secrets.token_urlsafe(24)
        self._isolation = isolation
        self._options = options

    @property
    def url(self) -> str:
        """Where clients call it."""
        return f"http://{HOST}:{self.port}/podflare"

    def command(self) -> list[str]:
        """Give the command line."""
        templates = self._write_templates()
        return [
            sys.executable, "-m", "podflare_nb", "serve", "--port", str(self.port), "--api-key", self.key,
            "--data-dir", str(self.directory / "data"), "--template-dir", str(templates),
            "--isolation", self._isolation, *self._options,
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Give what is added to the environment."""
        # A unix socket's path has 107 bytes at most; the temporary directory may be deep.
        return {"PODFLARE_NB_RUNTIME_DIR": str(self._runtime())}

    def _runtime(self) -> Path:
        # Beside the one that the service would take (it may be in use), on the same file system.
        return default_runtime_dir().parent / f"pfb-{os.getpid()}-{self.port}"

    def headers(self) -> dict[str, str]:
        """Give the headers that authenticate."""
        return {"Authorization": f"Bearer {self.key}"}

    def is_ready(self, wire: Wire) -> bool:
        """Whether all that is measured has been loaded."""
        states = {one["name"]: one["state"] for one in wire.call("GET", "/podflare/v1/templates")["templates"]}
        return states.get("python-datasci") == "ready" and states.get(UNPOOLED) == "ready"

    def __exit__(self, *exception: object) -> None:
        super().__exit__()
        shutil.rmtree(self._runtime(), ignore_errors=True)

    def _write_templates(self) -> Path:
        target = self.directory / "templates"
        self._runtime().mkdir(mode=0o700, exist_ok=True)
        for name in ("python-datasci", UNPOOLED):
            spec = json.loads((ROOT / "kernelspecs" / "python-datasci" / "kernel.json").read_text())
            spec["metadata"]["kernel_provisioner"]["config"]["template"] = name
            if name == UNPOOLED:
                spec["metadata"]["podflare_nb"] |= {"pool_size": 0, "default": False}
            (target / name).mkdir(parents=True)
            (target / name / "kernel.json").write_text(json.dumps(spec))
        return target


class PlainServer(Server):
    """jupyter_server as it comes, with ipykernel as it comes and none of our extension."""

    name = "plain jupyter_server"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.token = secrets.token_urlsafe(24)

    def command(self) -> list[str]:
        """Give the command line."""
        return [
            sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", f"--ServerApp.ip={HOST}",
            f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.directory}",
            "--ServerApp.terminals_enabled=False",
            # Its guard against floods counts the bench's own executions.
            "--ZMQChannelsWebsocketConnection.limit_rate=False",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        """Give what is added to the environment."""
        return {
            "JUPYTER_NO_CONFIG": "1", "JUPYTER_CONFIG_DIR": str(self.directory / "config"),
            "JUPYTER_RUNTIME_DIR": str(self.directory / "runtime"), "IPYTHONDIR": str(self.directory / "ipython"),
        }  # fmt: skip

    def headers(self) -> dict[str, str]:
        """Give the headers that authenticate."""
        return {"Authorization": f"token {self.token}"}

    def is_ready(self, wire: Wire) -> bool:
        """Whether all that is measured has been loaded."""
        return "version" in wire.call("GET", "/api")


def free_port() -> int:
    """Find a port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
