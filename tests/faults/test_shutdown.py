"""A signal ends the service in the middle of everything, within seconds, and nothing is left behind."""

import signal
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from .caller import SECONDS, Caller
from .services import running
from .traces import Traces, until

END_SECONDS = 20
ENDLESS = "print('begun', flush=True)\nwhile True: pass"
STUBBORN = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + ENDLESS


@contextmanager
def upload_under_way(service, sandbox):
    """A PUT that has sent half of its body, and goes on to wait."""
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), SECONDS) as sock:
        sock.sendall(
            f"PUT {address.path}/v1/sandboxes/{sandbox}/files/half.bin HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {service.key}\r\nContent-Length: {16 << 20}\r\n\r\n".encode()
        )
        sock.sendall(b"x" * (8 << 20))
        yield


@contextmanager
def creates_under_way(service):
    """One create after another, none of which fits the pool, for as long as somebody answers."""
    begun = threading.Event()

    def create():
        with Caller(service) as caller:
            while True:
                begun.set()
                try:
                    answer = caller.http.post("/v1/sandboxes", json={"template": "python-minimal", "env": {"A": "1"}})
                except httpx.TransportError:
                    return
                if answer.status_code != 200:
                    assert answer.status_code == 503, answer.text
                    return

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert begun.wait(SECONDS)
    yield
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT], ids=lambda signum: signum.name)
def test_a_signal_in_the_middle_of_everything_ends_it_cleanly(tmp_path, signum):
    with running(tmp_path) as service, Caller(service) as caller, ExitStack() as stack:
        sandboxes = [caller.create() for _ in range(3)]
        code = {"exec": ENDLESS, "stubborn": STUBBORN}
        streams = [
            stack.enter_context(caller.stream(sandbox, each))
            for sandbox, each in zip(sandboxes, code.values(), strict=False)
        ]
        for stream in streams:
            stream.until("stdout")
        turn = stack.enter_context(caller.turn(sandboxes[2], f"```python\n{ENDLESS}\n```"))
        turn.until("cell-output")
        stack.enter_context(upload_under_way(service, sandboxes[0]))
        stack.enter_context(creates_under_way(service))
        traces = Traces.of(service)
        service.process.send_signal(signum)
        assert service.process.wait(END_SECONDS) == 0
        traces.until_gone(END_SECONDS)
        for stream in streams:
            ended = [event["type"] for event in stream.rest()]
            assert ended.count("exit") <= 1
        assert [path.name for path in service.runtime_dir.iterdir()] == []
        assert not (service.data_dir / "service.json").exists()


def test_a_signal_while_a_template_loads_does_not_wait_for_it(tmp_path):
    slow = tmp_path / "python"
    slow.write_text(f'#!/bin/sh\ncase "$*" in *"import template"*) exec sleep 60 ;; esac\nexec {sys.executable} "$@"\n')
    slow.chmod(0o755)
    with running(tmp_path, python=str(slow)) as service:
        until(lambda: slow_template(service) is not None, SECONDS, "the templates are loading")
        traces = Traces.of(service)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(END_SECONDS) == 0
        traces.until_gone(END_SECONDS)


def slow_template(service):
    return next((each for each in Traces.of(service).processes if each.command.startswith("sleep 60")), None)
