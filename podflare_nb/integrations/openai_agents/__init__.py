"""The OpenAI Agents SDK: a sandbox as a function tool, and as the place where its sandbox agents work.

``podflare_code_interpreter`` goes into any agent's list of tools. ``PodflareSandboxClient`` goes into
``RunConfig(sandbox=SandboxRunConfig(client=...))`` of a ``SandboxAgent``.
"""

from __future__ import annotations

try:
    import agents as _agents  # noqa: F401 - asked for here, so that what is missing is said in one place
except ImportError as _error:
    raise ImportError(
        "podflare_nb.integrations.openai_agents needs the OpenAI Agents SDK: pip install 'openai-agents>=0.24'"
    ) from _error

from .client import PodflareSandboxClient
from .code_interpreter import PodflareCodeInterpreter, podflare_code_interpreter
from .session import PodflareSandboxSession
from .shell import podflare_shell
from .state import PodflareSandboxClientOptions, PodflareSandboxSessionState

__all__ = [
    "PodflareCodeInterpreter",
    "PodflareSandboxClient",
    "PodflareSandboxClientOptions",
    "PodflareSandboxSession",
    "PodflareSandboxSessionState",
    "podflare_code_interpreter",
    "podflare_shell",
]
