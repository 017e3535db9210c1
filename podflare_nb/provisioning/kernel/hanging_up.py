"""Ends the connections of a ZeroMQ socket's clients without losing what they have sent.

libzmq closes a connection whatever is still on its way to it. So its clients close theirs first, as with any stream
that has two directions (shutdown(2)): they are told that nothing more comes, their libzmq ends its side at that, and
everything that it had sent until then is received. What they send later waits in their libzmq for the next connection.
Not so a message of which libzmq has written a part at that moment, as it can have of one that is large, or of one of
many: it drops the rest. So it is done when no more comes.
Stands on libzmq and ``descriptors``; ``transport`` hangs up with it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable

import zmq
from zmq.utils.monitor import parse_monitor_message

from .descriptors import Descriptor, listed, local_address, numbers

SECONDS = 1.0
"""How long a client is waited for that does not close its side: one that is stopped, or too busy."""
QUIET_MS = 1
"""When nothing has come for so long, no client is in the middle of several messages."""
NOISY_SECONDS = 0.02
"""How long that is waited for."""
_Socket = socket.socket  # the user may put something else in its place


def hang_up(clients: zmq.Socket[bytes], listener: int, receive: Callable[[], None], *, busy: bool = True) -> None:
    """Have the clients that were accepted at ``listener`` close their connections. ``receive`` takes what has come.

    ``busy``: something has come a moment ago. In the thread that uses ``clients``, which must be reached elsewhere by
    now: whoever connects anew counts as well.
    """
    until = time.monotonic() + SECONDS
    monitor = clients.get_monitor_socket(int(zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED))
    try:
        _wait_for_sends(clients, monitor)
        if busy:
            _wait_for_quiet(clients, receive)
        poller = zmq.Poller()
        poller.register(clients, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        told: set[Descriptor] = set()
        while new := accepted(listener) - told:  # one that has closed may be there for another moment
            for each in new:
                _say_no_more(each.fd)
            told |= new
            waiting = {each.fd for each in new}
            while waiting and (left := until - time.monotonic()) > 0:
                poller.poll(int(left * 1000) + 1)
                receive()
                waiting -= _closed(monitor)
        receive()
    finally:
        clients.disable_monitor()
        monitor.close()


def _wait_for_sends(clients: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> None:
    """Wait until libzmq's own thread has written what it was given: it does in order what it is told, and to close
    this is what it is told last. On a busy machine it runs late, and there is no other way to ask."""
    probe = _Socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    probe.bind("")  # a name that Linux chooses (unix(7), autobind)
    probe.listen()
    clients.setsockopt(zmq.USE_FD, probe.detach())
    clients.bind("ipc:///barrier")  # a name for libzmq only
    clients.unbind(clients.get_string(zmq.LAST_ENDPOINT))
    if monitor.poll(int(SECONDS * 1000)):
        _closed(monitor)


def _wait_for_quiet(clients: zmq.Socket[bytes], receive: Callable[[], None]) -> None:
    until = time.monotonic() + NOISY_SECONDS
    while clients.poll(QUIET_MS) and time.monotonic() < until:
        receive()


def _closed(monitor: zmq.Socket[bytes]) -> set[int]:
    """Which descriptors libzmq has closed since this was asked last."""
    gone = set()
    with contextlib.suppress(zmq.Again):
        while True:
            gone.add(parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))["value"])
    return gone


def accepted(listener: int) -> set[Descriptor]:
    """The connections that stand for those who came to this listening socket."""
    address = local_address(listener)
    sockets = {each for each in listed(numbers()) if each.is_socket and each.fd != listener}
    return {each for each in sockets if local_address(each.fd) == address} if address is not None else set()


def _say_no_more(fd: int) -> None:
    with contextlib.suppress(OSError), _Socket(fileno=os.dup(fd)) as connection:  # it may have gone by itself
        connection.shutdown(socket.SHUT_WR)
