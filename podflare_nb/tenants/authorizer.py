"""What an authenticated tenant may do at all: our own calls, and kernels made from templates.

Whose thing it is, is checked where the thing is looked up; this is the outer wall. Anything that some Jupyter
service brings along and that is not named here is refused, whoever asks.
"""

from __future__ import annotations

from jupyter_server.auth import Authorizer, User
from jupyter_server.base.handlers import JupyterHandler

from .kernels import TenantKernelManager

OWN = "podflare_nb:"
ALLOWED = frozenset({
    ("read", "api"),
    ("read", "kernelspecs"),
    ("read", "kernels"),
    ("write", "kernels"),
    ("execute", "kernels"),
})  # fmt: skip


class TenantAuthorizer(Authorizer):
    """Jupyter's seam for authorisation; called by every ``@authorized`` method."""

    def is_authorized(self, handler: JupyterHandler, user: User, action: str, resource: str) -> bool:  # noqa: ARG002 - Jupyter's signature
        """Allow what is ours or listed. Raises web.HTTPError 404 for somebody else's kernel.

        Here, because not every handler of Jupyter's lets the manager's own 404 through.
        """
        kernel_id = handler.path_kwargs.get("kernel_id")
        if resource == "kernels" and kernel_id and isinstance(handler.kernel_manager, TenantKernelManager):
            handler.kernel_manager.check_owner(kernel_id)
        return resource.startswith(OWN) or (action, resource) in ALLOWED
