import contextlib
import threading

import pytest

from . import servers
from .internet import WEB, World
from .running import Gateway


@pytest.fixture(scope="session")
def world():
    world = World()
    yield world
    world.close()


@pytest.fixture
def start_gateway(world, tmp_path):
    """Start gateways with their configuration's fields; they end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **configuration: stack.enter_context(contextlib.closing(Gateway(world, tmp_path, **configuration)))


@pytest.fixture
def gateway(start_gateway):
    return start_gateway()


@contextlib.contextmanager
def _starting():
    with contextlib.ExitStack() as stack:

        def start(server):
            arguments = {"poll_interval": 0.05} if isinstance(server, servers.HttpServer) else {}
            threading.Thread(target=server.serve_forever, kwargs=arguments, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return server

        yield start


@pytest.fixture
def serve():
    """Start servers in threads; they end with the test."""
    with _starting() as start:
        yield start


@pytest.fixture(scope="session")
def _web(world):
    with _starting() as start:
        yield {address: start(servers.HttpServer(world.listen(address, 80))) for address in WEB}


@pytest.fixture
def http_servers(_web):
    """An HTTP server on port 80 of every address outside, by address; none has seen anything."""
    for server in _web.values():
        server.seen.clear()
    return _web
