"""What an authenticated tenant may do at all: our own calls, and kernels made from templates.

Whose thing it is, is checked where the thing is looked up; this is the outer wall. Anything that some Jupyter
service brings along and that is not named here is refused, whoever asks.
"""

from __future__ import annotations

from jupyter_server.auth import Authorizer, User
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado import web

from .kernels import TenantKernelManager

OWN = "podflare_nb:"
ALLOWED = frozenset({
    ("read", "api"),
    ("read", "kernelspecs"),
    ("read", "kernels"),
    ("write", "kernels"),
    ("execute", "kernels"),
    ("read", "sessions"),
    ("write", "sessions"),
})  # fmt: skip


class TenantAuthorizer(Authorizer):
    """Jupyter's seam for authorisation; called by every ``@authorized`` method."""

    def is_authorized(self, handler: JupyterHandler, user: User, action: str, resource: str) -> bool:  # noqa: ARG002 - Jupyter's signature
        """Allow what is ours or listed. Raises web.HTTPError 404 for somebody else's kernel.

        Here, because not every handler of Jupyter's lets the manager's own 404 through.
        """
        if resource in {"kernels", "sessions"} and isinstance(handler.kernel_manager, TenantKernelManager):
            kernel_id = named_kernel(handler)
            if kernel_id is not None:
                handler.kernel_manager.check_owner(kernel_id)
        return resource.startswith(OWN) or (action, resource) in ALLOWED


def named_kernel(handler: JupyterHandler) -> str | None:
    """Tell which kernel a request is for: by its path, or by the body of one that opens or changes a session.

    Raises web.HTTPError 400 for a body that Jupyter's handler would trip over.
    """
    if "kernel_id" in handler.path_kwargs:
        return handler.path_kwargs["kernel_id"]
    if not isinstance(handler, APIHandler) or handler.request.method not in {"POST", "PATCH"}:
        return None
    body: object = handler.get_json_body()
    if body is not None and not isinstance(body, dict):
        raise web.HTTPError(400, "The body must be a JSON object.")
    kernel = (body or {}).get("kernel") or {}
    if not isinstance(kernel, dict) or not isinstance(kernel.get("id"), str | None):
        raise web.HTTPError(400, 'A session\'s kernel is {"id": ...} or {"name": ...}.')
    return kernel.get("id")
