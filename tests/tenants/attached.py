"""A client of a kernel over the standard websocket, as JupyterLab is one."""

import json
from pathlib import Path
from typing import Self
from uuid import UUID, uuid4

import websocket

SECONDS = 60


def kernel_id_of(sandbox: str) -> str:
    return str(UUID(sandbox.removeprefix("sbx_")))


class Attached:
    """``url`` ends before ``/api``; ``log`` has all messages that came."""

    def __init__(self, url: str, token: str, kernel: str) -> None:
        self.session = uuid4().hex
        self.log: list[dict] = []
        self._socket = websocket.WebSocket()
        self._socket.settimeout(SECONDS)
        address = f"{url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?session_id={self.session}"
        try:
            self._socket.connect(address, header=[f"Authorization: token {token}"])
        except websocket.WebSocketException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self._socket.close()
        self._socket.shutdown()  # which close leaves out once the other side has closed

    def send(self, kind: str, content: dict, channel: str = "shell") -> str:
        request = uuid4().hex
        header = {"msg_id": request, "msg_type": kind, "username": "", "session": self.session, "version": "5.3"}
        message = {"channel": channel, "header": header, "parent_header": {}, "metadata": {}, "content": content}
        self._socket.send(json.dumps(message))
        return request

    def execute(self, code: str) -> str:
        return self.send("execute_request", {"code": code, "silent": False, "store_history": True})

    def until(self, kind: str, request: str | None = None, **content) -> dict:
        """Read on to a message of this kind, to this request, with this content."""
        while True:
            opcode, data = self._socket.recv_data()
            assert opcode != websocket.ABNF.OPCODE_CLOSE, f"the service closed the websocket: {data!r}; {self.log[-5:]}"
            message = json.loads(data)
            self.log.append(message)
            wanted = message["header"]["msg_type"] == kind and content.items() <= message["content"].items()
            if wanted and request in {None, message["parent_header"].get("msg_id")}:
                return message

    def ready(self) -> None:
        """Wait until all that the kernel says comes here, as JupyterLab does."""
        self.until("kernel_info_reply", self.send("kernel_info_request", {}))

    def run(self, code: str) -> str:
        """Run a cell; gives what it printed."""
        request = self.execute(code)
        self.until("status", request, execution_state="idle")
        return "".join(
            message["content"]["text"]
            for message in self.log
            if message["header"]["msg_type"] == "stream" and message["parent_header"].get("msg_id") == request
        )

    def closed(self) -> bool:
        """Read to the end of the connection, if it has one."""
        try:
            while self._socket.recv():
                pass
        except websocket.WebSocketConnectionClosedException:
            return True
        return not self._socket.connected


def descriptors(process: int) -> int:
    return sum(1 for _ in Path("/proc", str(process), "fd").iterdir())
