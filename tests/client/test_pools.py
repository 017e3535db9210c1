import pytest
from stand_in_service import CUT, DROP, KEY, WAIT

from podflare_nb.client import (
    AsyncSandbox,
    Sandbox,
    ServiceUnreachableError,
    StreamBrokenError,
    TimedOutError,
    close_all,
)
from podflare_nb.client._sync import connection
from podflare_nb.client.endpoint import Endpoint
from podflare_nb.client.transport import Timeouts

ELSEWHERE = "http://sandboxes.example/podflare"


@pytest.fixture
def proxy(stand_in, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{stand_in.port}")
    monkeypatch.setenv("no_proxy", "")
    return stand_in


def test_a_service_elsewhere_is_reached_through_the_proxy_of_the_environment(proxy):
    with Sandbox(host=ELSEWHERE, api_key=KEY) as sandbox:
        assert sandbox.run_code("print(6*7)").stdout == "42"
    assert all(request["headers"]["Host"] == "sandboxes.example" for request in proxy.requests)


async def test_the_asynchronous_client_uses_the_proxy_too(proxy):
    async with AsyncSandbox(host=ELSEWHERE, api_key=KEY) as sandbox:
        assert (await sandbox.run_code("print(6*7)")).stdout == "42"
    assert len(proxy.requests) == 3


def test_a_service_of_this_machine_is_never_looked_for_behind_a_proxy(stand_in, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with Sandbox(host=stand_in.url, api_key=KEY) as sandbox:
        assert sandbox.run_code("print(6*7)").stdout == "42"


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://127.0.0.1:8888/podflare", True),
        ("http://127.8.8.8/podflare", True),
        ("http://[::1]:8888/podflare", True),
        ("http://localhost:8888/podflare", True),
        ("http://127.0.0.1.example/podflare", False),
        ("https://10.0.0.1/podflare", False),
    ],
)
def test_this_machine_is_known_by_its_loopback_addresses(url, is_here):
    assert Endpoint(url, None, "").is_loopback is is_here


def test_what_goes_wrong_with_a_service_elsewhere_is_told_in_the_same_terms(proxy, monkeypatch):
    proxy.faults.append(DROP)
    with Sandbox(host=ELSEWHERE, api_key=KEY) as sandbox:
        assert len(proxy.bodies("POST", "/sandboxes")) == 2
        proxy.exec_events = [{"type": "stdout", "data": "a"}, CUT]
        with pytest.raises(StreamBrokenError, match="it may still run") as caught:
            sandbox.run_code("...")
        assert caught.value.stdout == "a"
        monkeypatch.setattr(connection, "patient", lambda _: Timeouts(read=0.2))
        proxy.faults.append(WAIT)
        with pytest.raises(TimedOutError):
            sandbox.info()
        monkeypatch.undo()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    close_all()
    with pytest.raises(ServiceUnreachableError, match="Check the URL"):
        Sandbox(host=ELSEWHERE, api_key=KEY, retries=0)


@pytest.mark.usefixtures("proxy")
async def test_a_file_goes_through_the_proxy_in_pieces_both_ways(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 600_000)
    async with AsyncSandbox(host=ELSEWHERE, api_key=KEY) as sandbox:
        await sandbox.files.upload(tmp_path / "a", "there")
        await sandbox.files.download("there", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"x" * 600_000
