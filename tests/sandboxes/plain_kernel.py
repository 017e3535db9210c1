"""A plain ipykernel on sockets that exist before it does: ``python plain_kernel.py <connection file> <fd> ...``."""

import sys

import zmq
from ipykernel.kernelapp import IPKernelApp

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")


class PreboundApp(IPKernelApp):
    descriptors: dict[int, int]

    def _bind_socket(self, s, port):
        s.setsockopt(zmq.USE_FD, self.descriptors[port])
        s.bind(f"ipc://{self.ip}-{port}-prebound")
        return port


def main() -> None:
    connection_file, *descriptors = sys.argv[1:]
    app = PreboundApp.instance()
    # Ports are numbered 1 to 5 in the order of the channels.
    app.descriptors = {number: int(fd) for number, fd in enumerate(descriptors, 1)}
    app.initialize(["-f", connection_file, "--HistoryManager.enabled=False", "--quiet"])
    app.kernel._execute_sleep = 0
    app.start()


if __name__ == "__main__":
    main()
