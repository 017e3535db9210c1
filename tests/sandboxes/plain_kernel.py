"""A plain ipykernel on sockets that exist before it does: ``python plain_kernel.py <directory> <fd> ...``.

The directory has its connection file. On SIGUSR1 it writes those of its variables that pickle into the fifo ``fork``
there; it begins with those of the file ``state``, if there is one.
"""

import pickle
import signal
import sys
from pathlib import Path

import zmq
from ipykernel.kernelapp import IPKernelApp
from tornado.ioloop import IOLoop

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


class PreboundApp(IPKernelApp):
    descriptors: dict[int, int]

    def _bind_socket(self, s, port):
        s.setsockopt(zmq.USE_FD, self.descriptors[port])
        s.bind(f"ipc://{self.ip}-{port}-prebound")
        return port


def pickled(variables: dict) -> bytes:
    plain = (int, str, list, dict, float)
    return pickle.dumps({k: v for k, v in variables.items() if not k.startswith("_") and type(v) in plain})


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    directory = Path(sys.argv[1])
    descriptors = sys.argv[2:]
    app = PreboundApp.instance()
    # Ports are numbered 1 to 5 in the order of the channels.
    app.descriptors = {number: int(fd) for number, fd in enumerate(descriptors, 1)}
    app.initialize(["-f", str(directory / "connection.json"), "--HistoryManager.enabled=False", "--quiet"])
    app.kernel._execute_sleep = 0
    variables = app.kernel.shell.user_ns
    if (directory / "state").exists():
        variables.update(pickle.loads((directory / "state").read_bytes()))
    # Its handlers run between cells. And it wakes for a signal that came just as it fell asleep, as Python does not.
    loop = IOLoop.current().asyncio_loop
    loop.add_signal_handler(signal.SIGUSR1, lambda: (directory / "fork").write_bytes(pickled(variables)))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])
    app.start()


if __name__ == "__main__":
    main()
