"""httpx without its command line: the one place where it is imported.

Wherever click and rich are installed, ``import httpx`` loads them, and pygments with them, for its own ``httpx``
command: three fifths of its import time. It is written to go without, so its command line is kept from it for
the moment of the import. Whoever imported httpx before keeps what they have.
"""

from __future__ import annotations

import sys

_COMMAND_LINE = "httpx._main"

if "httpx" not in sys.modules:
    # None is how Python spells "this module cannot be imported".
    sys.modules[_COMMAND_LINE] = None  # type: ignore[assignment]
    try:
        import httpx
    finally:
        del sys.modules[_COMMAND_LINE]
else:
    import httpx

__all__ = ["httpx"]
