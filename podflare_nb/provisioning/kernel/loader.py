"""How a template is started: the command line that makes any environment's Python load this package's code.

The package need not be installed in that environment, and if it is, in whatever version, ours is taken: it is loaded
from its own directory by path, so that no other library is ever looked for beside it. ``-I`` keeps the working
directory, ``PYTHON*`` variables and the user's own site-packages out. Used by the supervisor.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
"""The directory ``podflare_nb``."""

_SOURCE = """\
import importlib.util, sys
spec = importlib.util.spec_from_file_location("podflare_nb", {init!r}, submodule_search_locations=[{package!r}])
sys.modules["podflare_nb"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["podflare_nb"])
from podflare_nb.provisioning import pages
with pages.Gathered() as gathered:
    from podflare_nb.provisioning.kernel import template
    template.main({fd}, gathered)
"""


def command(python: str, fd: int) -> list[str]:
    """Make a template's argv. ``python``: an interpreter; ``fd``: its control socket, inherited under this number."""
    source = _SOURCE.format(init=str(PACKAGE / "__init__.py"), package=str(PACKAGE), fd=fd)
    return [python, "-I", "-c", source, str(fd)]
