"""What opens and closes descriptors while a kernel forks: the user's threads, and libzmq's for clients that come."""

import socket
import threading

import pytest

OPENING_AND_CLOSING = """
import os, socket, tempfile, threading
stop = threading.Event()
def open_and_close():
    while not stop.is_set():
        sockets, pipe = socket.socketpair(), os.pipe()
        with tempfile.TemporaryFile() as unnamed, open("named", "a"):
            for each in sockets:
                each.close()
            for each in pipe:
                os.close(each)
busy = [threading.Thread(target=open_and_close, daemon=True) for _ in range(3)]
for each in busy:
    each.start()
"""
CONNECTING_BEFORE = """
import os, socket
def connect():
    global made
    made = socket.create_connection(("127.0.0.1", {port}))
os.register_at_fork(before=connect)
"""
FORKS, WAKE = 50, 10
"""So many forks; of every tenth a child wakes."""


@pytest.fixture
def comers(kernel):
    """Clients of a kernel that come and go without end."""
    done = threading.Event()
    path = f"{kernel.connection['ip']}-{kernel.connection['iopub_port']}"

    def come_and_go():
        while not done.is_set():
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(path)

    threads = [threading.Thread(target=come_and_go) for _ in range(2)]
    for each in threads:
        each.start()
    yield
    done.set()
    for each in threads:
        each.join()


def forks_and_wakes(client, kernel):
    for n in range(FORKS):
        client.run(f"n = {n}")
        forked = kernel.fork(2)
        assert forked.forked["failed"] == []
        first, second = forked.children
        second.close()
        if n % WAKE:
            first.close()
            continue
        woken = first.serve()
        try:
            assert woken.client().value("n") == str(n)
        finally:
            woken.close()


def test_a_fork_goes_well_while_threads_open_and_close_what_they_like(client, kernel):
    client.run(OPENING_AND_CLOSING)
    forks_and_wakes(client, kernel)


@pytest.mark.usefixtures("comers")
def test_a_fork_goes_well_while_clients_come_and_go(client, kernel):
    forks_and_wakes(client, kernel)


def test_a_connection_that_is_made_while_the_kernel_forks_is_not_held_open_by_a_child(client, kernel):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client.run(CONNECTING_BEFORE.format(port=listener.getsockname()[1]))
        (child,) = kernel.fork().children
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(60)
            client.run("made.close()")
            assert accepted.recv(1) == b""
        child.close()
