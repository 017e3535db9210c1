"""A sandbox without a jail: a plain ipykernel behind the same interface, with an observer that records."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.manager import KernelManager

from podflare_nb.errors import NotFoundError
from podflare_nb.protocol.egress import OFF, Egress
from podflare_nb.sandboxes.execution import (
    Execution,
    ExecutionObserver,
    ExecutionRequest,
    ExecutionResult,
    Notice,
    Output,
)

OUTPUTS = ("stream", "display_data", "execute_result", "error", "update_display_data", "clear_output")


@dataclass
class Entry:
    name: str
    type: str
    size: int


class StandInFiles:
    def __init__(self, root: Path) -> None:
        self.root = root

    async def read_head(self, path: str, max_bytes: int) -> tuple[bytes, int]:
        try:
            data = (self.root / path).read_bytes()
        except OSError:
            raise NotFoundError(f"there is no file {path}") from None
        return data[:max_bytes], len(data)

    async def entries(self, path: str) -> Sequence[Entry]:
        def entry(found: os.DirEntry[str]) -> Entry:
            kind = "directory" if found.is_dir() else "file"
            return Entry(found.name, kind, found.stat().st_size)

        return sorted((entry(found) for found in os.scandir(self.root / path)), key=lambda found: found.name)


class StandInSandbox:
    id = "sbx_" + "0" * 32
    tenant_id = "tenant"

    def __init__(self, kernel: KernelManager, root: Path, observer: ExecutionObserver) -> None:
        self.egress: Egress = OFF
        self.files = StandInFiles(root)
        self.requests: list[ExecutionRequest] = []
        self.interrupts = 0
        self.ended_turns: list[str] = []
        self.refusals: list[Notice] = []
        """Connections that are refused while each execution runs."""
        self._kernel = kernel
        self._observer = observer
        self._tasks: set[asyncio.Task[None]] = set()
        self._client = AsyncKernelClient()
        self._client.load_connection_info(kernel.get_connection_info())

    async def open(self) -> None:
        self._client.start_channels(stdin=False, hb=False, control=False)
        await self._client.wait_for_ready(timeout=60)
        await self._quietly(f"%reset -f\n%cd -q {self.files.root}\n%matplotlib inline")

    async def close(self) -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)
        self._client.stop_channels()

    async def execute(self, request: ExecutionRequest) -> Execution:
        self.requests.append(request)
        assert request.cell_id is not None
        execution = Execution(request, request.cell_id, self._cancel)
        self._observer.execution_started(request.cell_id, request, execution.source)
        task = asyncio.create_task(self._work(execution))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return execution

    def turn_ended(self, turn_id: str) -> None:
        self.ended_turns.append(turn_id)

    def _cancel(self, _: Execution) -> None:
        self.interrupts += 1
        self._kernel.interrupt_kernel()

    async def _quietly(self, code: str) -> None:
        parent = self._client.execute(code, silent=True)
        await self._read(parent, lambda _: None)

    async def _work(self, execution: Execution) -> None:
        def tell(output: Output) -> None:
            self._observer.execution_output(execution.cell_id, output)
            execution.put(0, output)

        for refusal in self.refusals:
            execution.refused_connection(refusal)
        reply = await self._read(self._client.execute(execution.source, stop_on_error=False), tell)
        status = "ok" if reply["status"] == "ok" else "error"
        if reply.get("ename") == "KeyboardInterrupt":
            status = "interrupted"
        code = {"ok": 0, "error": 1, "interrupted": 130}[status]
        ended = ExecutionResult(status, code, reply.get("execution_count"))
        self._observer.execution_ended(execution.cell_id, ended)
        execution.finish(1, ended)

    async def _read(self, parent: str, tell: Any) -> dict[str, Any]:
        while True:
            message = await self._client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != parent:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind in OUTPUTS:
                tell({"output_type": kind, **content})
            elif kind == "status" and content["execution_state"] == "idle":
                break
        while True:
            reply = await self._client.get_shell_msg(timeout=60)
            if reply["parent_header"].get("msg_id") == parent:
                return reply["content"]
