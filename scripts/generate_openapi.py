"""Generate docs/openapi.json from the wire types and the table of calls (``podflare_nb/protocol``).

``--check`` writes nothing and exits 1 when the file is not current; CI calls it so.
"""

# ruff: noqa: INP001 - a script of its own, not a module of a package

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "openapi.json"


def generate() -> str:
    """Give the text of the file."""
    # The source tree's, whatever is installed.
    sys.path.insert(0, str(ROOT))
    from podflare_nb import __version__  # noqa: PLC0415 - after the line above
    from podflare_nb.protocol.openapi import document  # noqa: PLC0415 - after the line above

    return json.dumps(document(__version__), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the file, or with ``--check`` say whether it is current."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything would change")
    check = parser.parse_args().check
    text = generate()
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == text:
        return 0
    if check:
        sys.stdout.write("docs/openapi.json is not current: run python scripts/generate_openapi.py\n")
        return 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
