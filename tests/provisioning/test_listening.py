"""What listens in a sandbox's network, as the supervisor tells it, and sockets in it."""

import asyncio
import socket

import pytest

from podflare_nb.errors import ConflictError, NotFoundError
from podflare_nb.provisioning import listening
from podflare_nb.provisioning.client import Supervisor

from .conftest import KernelClient, new_directories, templates

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVE = """
import socket, threading
listeners = []
for family, address in [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, "0.0.0.0")]:
    listener = socket.socket(family)
    listener.bind((address, 8000 + len(listeners)))
    listener.listen()
    listeners.append(listener)
def answer():
    while True:
        listeners[0].accept()[0].sendall(b"from inside")
threading.Thread(target=answer, daemon=True).start()
"""
ROW = "   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 {inode} 1 0\n"


async def test_what_listens_is_told_with_its_address_and_process(kernel, client):
    assert await kernel.listening() == []
    outcome = await client.run(SERVE)
    assert outcome.error is None
    told = await kernel.listening()
    assert [(each.port, each.address) for each in told] == [(8000, "127.0.0.1"), (8001, "::1"), (8002, "0.0.0.0")]
    assert {each.process for each in told} == {(await client.run("print(open('/proc/self/comm').read())")).text.strip()}


async def test_a_socket_in_the_network_connects_to_what_listens_there_alone(kernel, client):
    await client.run(SERVE)
    with await kernel.dial(socket.AF_INET) as sock:
        sock.settimeout(0)
        async with asyncio.timeout(30):
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", 8000))
            assert await asyncio.get_running_loop().sock_recv(sock, 100) == b"from inside"
    with socket.socket() as outside:  # the same address on this machine is another one
        outside.bind(("127.0.0.1", 0))
        outside.listen()
        with await kernel.dial(socket.AF_INET) as sock:
            sock.settimeout(0)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.get_running_loop().sock_connect(sock, outside.getsockname())


async def test_a_fork_has_its_familys_network(kernel, client):
    await client.run(SERVE)
    (child,) = (await kernel.fork(1)).children
    try:
        told = await child.listening()
        assert [each.port for each in told] == [8000, 8001, 8002]
    finally:
        await child.kill()


async def test_a_kernel_that_has_ended_has_no_network(supervisor):
    kernel = await supervisor.acquire("python-minimal")
    await kernel.kill()
    with pytest.raises(NotFoundError):
        await kernel.listening()
    with pytest.raises(NotFoundError):
        await kernel.dial(socket.AF_INET)


async def test_without_isolation_nothing_of_this_machine_is_shown_or_reached():
    async with await Supervisor.start(templates(0), isolation="none", **new_directories()) as supervisor:
        kernel = await supervisor.acquire("python-minimal")
        connected = KernelClient(kernel)
        for refused in (kernel.listening(), kernel.dial(socket.AF_INET)):
            with pytest.raises(ConflictError, match="no network of its own"):
                await refused
        connected.close()
        await kernel.kill()


async def test_the_services_own_listeners_are_left_out_and_no_line_is_read_in_vain():
    def row(address, port, state="0A", inode=7):
        return ROW.format(address=address, port=port, state=state, inode=inode)

    def lines():
        yield row("3500007F", 53)
        yield row("3500007F", 61128)
        yield row("3500007F", 8080)
        yield row("0000000000000000FFFF00000100007F", 9000)
        yield row("0100007F", 1234, state="01")
        raise AssertionError("what is connected stands behind what listens, and may be endless")

    found = [(each.address, each.port, each.inode) for each in listening.parse(lines())]
    assert found == [("127.0.0.53", 8080, 7), ("127.0.0.1", 9000, 7)]
