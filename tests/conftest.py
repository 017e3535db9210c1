"""What all tests share: the service as a user starts it, and a count of what it leaves behind."""

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

START_SECONDS = 120
STOP_SECONDS = 60
LOG = "service.log"
LOG_SHOWN = 8_000


@dataclass(frozen=True)
class Service:
    """A running ``podflare-nb serve``. ``url`` ends in ``/podflare``."""

    url: str
    key: str
    data_dir: Path
    runtime_dir: Path
    process: subprocess.Popen


def command(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("podflare-nb")), *arguments]


def read_until(process: subprocess.Popen, pattern: str, seconds: float) -> str:
    """What the process printed, up to a line that matches; fails with all of it when it ends or is too late."""
    seen, deadline = "", time.monotonic() + seconds
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    while not re.search(pattern, seen):
        if not selector.select(max(0.0, deadline - time.monotonic())):
            raise AssertionError(f"no line like {pattern!r} within {seconds} s; it printed:\n{seen}")
        part = os.read(process.stdout.fileno(), 65536).decode(errors="replace")
        if not part:
            raise AssertionError(f"it ended with {process.wait()} before a line like {pattern!r}; it printed:\n{seen}")
        seen += part
    return seen


def start_service(data_dir: Path, *options: str, env: dict[str, str] | None = None) -> Service:
    """At a port of its own choice, unless ``options`` have one: one that was found free before may be taken by then."""
    runtime_dir = Path(tempfile.mkdtemp(prefix="pfnb-", dir="/tmp"))  # short: unix socket paths have 107 bytes
    process = subprocess.Popen(
        command("serve", "--port", "0", "--data-dir", str(data_dir), *options),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        env={**os.environ, "PODFLARE_NB_RUNTIME_DIR": str(runtime_dir), **(env or {})},
    )  # fmt: skip
    started = read_until(process, r"curl ", START_SECONDS)
    keep_log(process, data_dir / LOG, started)
    key = (data_dir / "api-key").read_text().strip()
    url = re.search(r"http://127\.0\.0\.1:\d+/podflare", started)[0]
    return Service(url, key, data_dir, runtime_dir, process)


def keep_log(process: subprocess.Popen, path: Path, started: str) -> None:
    """Write on into a file what the service prints: a full pipe would block it."""

    def copy() -> None:
        with process.stdout, path.open("ab", buffering=0) as log:
            log.write(started.encode())
            while part := os.read(process.stdout.fileno(), 65536):
                log.write(part)

    threading.Thread(target=copy, daemon=True).start()


def stop_service(service: Service, signum: int = signal.SIGTERM) -> int:
    service.process.send_signal(signum)
    code = service.process.wait(STOP_SECONDS)
    shutil.rmtree(service.runtime_dir, ignore_errors=True)
    return code


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Show what the service said lately with a test that failed."""
    report = yield
    service = getattr(item, "funcargs", {}).get("service")
    if report.failed and service is not None and (log := service.data_dir / LOG).exists():
        report.sections.append(("the service's log", log.read_text(errors="replace")[-LOG_SHOWN:]))
    return report


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(tmp_path_factory.mktemp("data"))
    yield running
    stop_service(running)
