"""Jupyter's own ``/api/kernels`` for tenants: templates only, and each sees and touches only its own kernels.

Kernels that are started here are jailed and forked like a sandbox's, by the same supervisor; they have no transcript.
The kernels of the tenant's sandboxes are among them (``shared_kernels``). A kernel of somebody else answers 404, like
one that never was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_server.base.call_context import CallContext
from tornado import web
from traitlets import List, Unicode

from ..provisioning import kernelspec
from .sandbox_kernel import LiveSandbox
from .shared_kernels import SharedKernelManager

MOST_KERNELS = 100
"""Of one tenant at once, by this way."""


class TemplateSpecManager(KernelSpecManager):
    """Jupyter's kernelspecs, without those that would start a process outside of a jail."""

    template_dirs = List(Unicode(), help="Where templates are looked for.").tag(config=True)

    def _kernel_dirs_default(self) -> list[str]:
        return list(self.template_dirs)

    def find_kernel_specs(self) -> dict[str, str]:
        """Find the kernelspecs whose provisioner is ours."""
        templates = kernelspec.find(Path(directory) for directory in self.kernel_dirs)
        return {name: path for name, path in super().find_kernel_specs().items() if name in templates}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Read one of them. Raises NoSuchKernel."""
        if kernel_name not in self.find_kernel_specs():
            raise NoSuchKernel(kernel_name)
        return super().get_kernel_spec(kernel_name)


class TenantKernelManager(SharedKernelManager):
    """Jupyter's kernels, each with an owner: the user whose request started it, or the sandbox's tenant."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._owners: dict[str, str] = {}

    async def _async_start_kernel(self, *, kernel_id: str | None = None, path: Any = None, **kwargs: Any) -> str:
        """Start a kernel for whoever asks. ``path`` is of the service's files, which are none of a tenant's."""
        del path
        name = kwargs.get("kernel_name") or self.default_kernel_name
        specs = self.kernel_spec_manager
        if specs is None or name not in specs.find_kernel_specs():
            raise web.HTTPError(404, f"There is no template {name!r}.")
        kernel_id = kernel_id or str(uuid4())
        owner = requester()
        if kernel_id in self or kernel_id in self._owners:
            self._check_kernel_id(kernel_id)
        elif owner is not None:
            if sum(other == owner for other in self._owners.values()) >= MOST_KERNELS:
                raise web.HTTPError(429, f"You have {MOST_KERNELS} kernels; end one to start another.")
            self._owners[kernel_id] = owner
        try:
            return await super()._async_start_kernel(kernel_id=kernel_id, **kwargs)
        finally:
            if kernel_id not in self:
                self._owners.pop(kernel_id, None)

    start_kernel = _async_start_kernel  # type: ignore[assignment] # as Jupyter's own

    def remove_kernel(self, kernel_id: str) -> Any:
        """Forget a kernel that has ended; called by jupyter_client."""
        self._owners.pop(kernel_id, None)
        return super().remove_kernel(kernel_id)

    def check_owner(self, kernel_id: str) -> None:
        """Raise web.HTTPError 404 for a kernel that is not there or not the requester's."""
        self._check_kernel_id(kernel_id)

    def _check_kernel_id(self, kernel_id: str) -> None:
        """Refuse what is not there or not the requester's; called at the head of every method with an id."""
        super()._check_kernel_id(kernel_id)
        owner = requester()
        if owner is not None and self._sandbox(kernel_id) is None and self._owners.get(kernel_id) != owner:
            raise web.HTTPError(404, f"Kernel does not exist: {kernel_id}")

    def _may_see(self, sandbox: LiveSandbox) -> bool:
        """Whether whoever asks may see it: its owner, and the manager in work of its own."""
        return requester() in {None, sandbox.tenant_id}


def requester() -> str | None:
    """Name the user whose request is being answered; None in the manager's own work, such as culling.

    A task that a request has left behind still has the request in its context: it is told by its being finished.
    """
    handler = CallContext.get(CallContext.JUPYTER_HANDLER)
    if handler is None or handler._finished or handler.current_user is None:  # noqa: SLF001 - Tornado has no other sign
        return None
    return str(handler.current_user.username)
