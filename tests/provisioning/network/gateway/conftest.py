import contextlib
import threading

import pytest

from . import servers
from .internet import METADATA, OTHER_PUBLIC, PRIVATE, PRIVATE_6, PUBLIC, PUBLIC_6, World
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


@pytest.fixture
def serve(world):
    """Start servers in threads; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(server):
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return server

        yield start


@pytest.fixture
def http_servers(world, serve):
    """An HTTP server on port 80 of every address outside, by address."""
    addresses = (PUBLIC, OTHER_PUBLIC, PRIVATE, METADATA, PUBLIC_6, PRIVATE_6, "64:ff9b::5db8:d822")
    return {address: serve(servers.HttpServer(world.listen(address, 80))) for address in addresses}
