"""What the client makes of a service that is killed in the middle of a stream, and comes back."""

import signal
from urllib.parse import urlsplit

import pytest

from podflare_nb.client import GoneError, Sandbox, ServiceUnreachableError, StreamBrokenError
from tests.conftest import start_service, stop_service
from tests.faults.services import light_templates

ENDLESS = "print('on', flush=True)\nwhile True: pass"


def test_a_service_that_is_killed_in_a_stream_and_comes_back_is_told_at_every_step(tmp_path):
    options = ("--template-dir", str(light_templates(tmp_path / "templates")))
    first = start_service(tmp_path / "data", *options)
    host = first.url
    sandbox = Sandbox("python-minimal", host=host, api_key=first.key)
    sandbox.record("before")
    stream = sandbox.run_code_stream(ENDLESS)
    assert next(stream).data == "on"
    stop_service(first, signal.SIGKILL)
    with pytest.raises(StreamBrokenError, match="it may still run") as caught:
        next(stream)
    assert (caught.value.last_seq, caught.value.sandbox_id) == (0, sandbox.id)
    with pytest.raises(ServiceUnreachableError, match="Nothing answers"):
        sandbox.run_code("1")

    second = start_service(tmp_path / "data", "--port", str(urlsplit(host).port), *options)
    try:
        with pytest.raises(GoneError) as gone:
            sandbox.run_code("1")
        assert gone.value.reason == "crashed"
        cells = sandbox.notebook()["cells"]
        assert ["".join(cell["source"]) for cell in cells] == ["before", ENDLESS]
        sandbox.close()
        with Sandbox("python-minimal", host=host, api_key=first.key) as other:
            assert other.run_code("print(6*7)").stdout == "42"
    finally:
        stop_service(second)
