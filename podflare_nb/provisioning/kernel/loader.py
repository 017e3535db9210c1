"""How a template is started: the command line that makes any environment's Python load this package's code.

The package need not be installed in that environment: its directory is appended to the end of ``sys.path`` (never
before a library of the environment) and taken off again once the code is loaded. ``-I`` keeps the working
directory, ``PYTHON*`` variables and the user's own site-packages out. Used by the supervisor.
"""

from __future__ import annotations

from pathlib import Path

SOURCE_ROOT = Path(__file__).resolve().parents[3]
"""The directory that holds ``podflare_nb``."""

_SOURCE = """\
import sys
sys.path.append({root!r})
from podflare_nb.provisioning.kernel import template
sys.path.remove({root!r})
template.main({fd})
"""


def command(python: str, fd: int) -> list[str]:
    """Make a template's argv. ``python``: an interpreter; ``fd``: its control socket, inherited under this number."""
    return [python, "-I", "-c", _SOURCE.format(root=str(SOURCE_ROOT), fd=fd), str(fd)]
