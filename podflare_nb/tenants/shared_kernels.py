"""Jupyter's ``/api/kernels`` with sandboxes among the kernels, so that people share one with an agent.

Sandboxes are looked up where they live whenever somebody asks; none is ever among the manager's own kernels, so
Jupyter's culler, its shutdown and its counts do not concern them. A kernel of a sandbox is not shut down from here:
one who asks for that by name is told how, and a notebook that is closed lets go of it. In a user's own Jupyter
server the local tenant's sandboxes are offered; ``kernels`` makes a service for many of it.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import zmq.asyncio
from jupyter_server._tz import isoformat
from jupyter_server.base.call_context import CallContext
from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado import web
from traitlets import default

from .channels import SharedChannels
from .sandbox_kernel import (
    LiveSandbox,
    LiveSandboxes,
    SandboxKernel,
    execution_state,
    is_over,
    kernel_id_of,
    sandbox_id_of,
)
from .tenant import LOCAL_TENANT_ID

MOST_MESSAGE_BYTES = 64 << 20
"""Of one message of a kernel; beyond it ZeroMQ ends the connection and makes another."""

RECONNECT_MILLISECONDS = 10
RECONNECT_AT_MOST_MILLISECONDS = 1000


def install(server: ServerApp) -> None:
    """Have a user's own Jupyter server list sandboxes' kernels, unless it was given managers of its own.

    To be called before the server makes its parts (``_link_jupyter_server_extension``).
    """
    # The server makes the gateway's client later, and then takes this one; its own defaults depend on it.
    if GatewayClient.instance(parent=server).gateway_enabled or "kernel_manager_class" in server.config.ServerApp:
        return
    server.kernel_manager_class = SharedKernelManager
    if "kernel_websocket_connection_class" not in server.config.ServerApp:
        server.kernel_websocket_connection_class = SharedChannels


def offer(manager: object, sandboxes: LiveSandboxes) -> None:
    """Offer sandboxes to those who use ``manager``, Jupyter's manager of kernels, if it is one of ours."""
    if isinstance(manager, SharedKernelManager):
        manager.sandboxes = sandboxes


class SharedKernelManager(AsyncMappingKernelManager):
    """Jupyter's kernels and the sandboxes'. Without ``sandboxes`` it is Jupyter's own."""

    sandboxes: LiveSandboxes | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call] # Jupyter's
        self._attached: WeakValueDictionary[str, SandboxKernel] = WeakValueDictionary()
        """Kernels of sandboxes by id, as long as a websocket holds them."""

    @default("context")
    def _bounded_context(self) -> zmq.asyncio.Context:
        self._created_context = True
        context = zmq.asyncio.Context()
        context.setsockopt(zmq.MAXMSGSIZE, MOST_MESSAGE_BYTES)
        # Output is lost that a kernel sends in the time until its predecessor's clients have connected anew.
        context.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MILLISECONDS)
        context.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_AT_MOST_MILLISECONDS)
        return context

    def __contains__(self, kernel_id: str) -> bool:
        """Whether there is such a kernel, whosever it is."""
        return super().__contains__(kernel_id) or self._sandbox(kernel_id) is not None

    def get_kernel(self, kernel_id: str) -> Any:
        """Give the one that a websocket or a method below works with. Raises web.HTTPError 404."""
        sandbox = self._sandbox(kernel_id)
        if sandbox is None:
            return super().get_kernel(kernel_id)
        self._check_kernel_id(kernel_id)
        kernel = self._attached.get(kernel_id)
        if kernel is None:
            kernel = SandboxKernel(sandbox, parent=self, log=self.log, context=self.context)
            self._attached[kernel_id] = kernel
        kernel.execution_state, kernel.last_activity = execution_state(sandbox), sandbox.last_active_at
        return kernel

    def kernel_model(self, kernel_id: str) -> dict[str, Any]:
        """Describe a kernel as JSON. Raises web.HTTPError 404."""
        sandbox = self._sandbox(kernel_id)
        if sandbox is None:
            model: dict[str, Any] = super().kernel_model(kernel_id)  # type: ignore[no-untyped-call] # Jupyter's
            return model
        self._check_kernel_id(kernel_id)
        attached = self._attached.get(kernel_id)
        return {
            "id": kernel_id,
            "name": sandbox.template,
            "last_activity": isoformat(sandbox.last_active_at),
            "execution_state": execution_state(sandbox),
            "connections": attached.connections if attached is not None else 0,
        }

    def list_kernels(self) -> list[dict[str, Any]]:
        """Describe all that whoever asks may see."""
        models: list[dict[str, Any]] = super().list_kernels()  # type: ignore[no-untyped-call] # Jupyter's
        for sandbox in self.sandboxes.live.values() if self.sandboxes is not None else ():
            kernel_id = kernel_id_of(sandbox.id)
            if kernel_id is not None and not is_over(sandbox) and self._may_see(sandbox):
                models.append(self.kernel_model(kernel_id))
        return models

    async def shutdown_kernel(self, kernel_id: str, *args: Any, **kwargs: Any) -> None:  # type: ignore[override] # the synchronous base
        """End a kernel. A sandbox's is not: 409 if it is what was asked for, nothing if a notebook lets go of it."""
        if self._sandbox(kernel_id) is None:
            await super().shutdown_kernel(kernel_id, *args, **kwargs)  # type: ignore[no-untyped-call] # Jupyter's
            return
        kernel = self.get_kernel(kernel_id)
        if _is_named(kernel_id):
            await kernel.shutdown_kernel()

    async def restart_kernel(self, kernel_id: str, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override] # the same
        """Restart a kernel; a sandbox's is replaced on the sandbox's files."""
        if self._sandbox(kernel_id) is None:
            return await super().restart_kernel(kernel_id, *args, **kwargs)  # type: ignore[no-untyped-call] # Jupyter's
        await self.get_kernel(kernel_id).restart_kernel()
        return None

    def update_env(self, *, kernel_id: str, env: dict[str, str]) -> None:
        """Set the environment of a kernel's next start; a sandbox keeps its own."""
        if self._sandbox(kernel_id) is None:
            super().update_env(kernel_id=kernel_id, env=env)

    def notify_connect(self, kernel_id: str) -> None:
        """Count a websocket; called by it."""
        super().notify_connect(kernel_id)  # type: ignore[no-untyped-call] # Jupyter's
        if kernel_id in self._attached:
            self._attached[kernel_id].connections += 1

    def notify_disconnect(self, kernel_id: str) -> None:
        """Count it no more; it may say so twice."""
        super().notify_disconnect(kernel_id)  # type: ignore[no-untyped-call] # Jupyter's
        attached = self._attached.get(kernel_id)
        if attached is not None and attached.connections:
            attached.connections -= 1

    def _check_kernel_id(self, kernel_id: str) -> None:
        """Refuse what is not there or not to be seen; called at the head of every method with an id."""
        super()._check_kernel_id(kernel_id)  # type: ignore[no-untyped-call] # Jupyter's
        sandbox = self._sandbox(kernel_id)
        if sandbox is not None and not self._may_see(sandbox):
            raise web.HTTPError(404, f"Kernel does not exist: {kernel_id}")

    def _may_see(self, sandbox: LiveSandbox) -> bool:
        """Whether whoever asks may see it: a user's own server has one user, the local tenant."""
        return sandbox.tenant_id == LOCAL_TENANT_ID

    def _sandbox(self, kernel_id: str) -> LiveSandbox | None:
        """Find the sandbox of a kernel, whosever it is; None for a kernel of Jupyter's own."""
        sandbox_id = sandbox_id_of(kernel_id)
        if self.sandboxes is None or sandbox_id is None:
            return None
        sandbox = self.sandboxes.live.get(sandbox_id)
        return None if sandbox is None or is_over(sandbox) else sandbox


def _is_named(kernel_id: str) -> bool:
    """Whether the request that is being answered is for this kernel itself, not for a notebook on it."""
    handler = CallContext.get(CallContext.JUPYTER_HANDLER)
    return handler is not None and handler.path_kwargs.get("kernel_id") == kernel_id
