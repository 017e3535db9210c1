"""What ``Attendant`` starts in its tests: says ready, and tells again what it was told."""

import os
import socket
import sys
from contextlib import suppress

from podflare_nb.provisioning import datagrams


def main() -> None:
    sock = socket.socket(fileno=int(sys.argv[1]))
    if os.environ.get("ATTENDANT_FAILS"):
        return
    ready = False
    with suppress(datagrams.PeerClosedError):
        while True:
            told = datagrams.receive(sock)
            if told.body.get("op") == "die":
                os._exit(1)
            if told.body.get("op") == "stall":  # reads nothing until somebody writes
                os.read(told.fds[0], 1)
            if not ready:
                datagrams.send(sock, {"event": "ready"})
                ready = True
            lengths = [len(os.read(fd, 100)) if told.body.get("read") else 0 for fd in told.fds]
            datagrams.send(sock, {"event": "told", "pid": os.getpid(), "lengths": lengths, **told.body})
            told.close_fds()


if __name__ == "__main__":
    main()
