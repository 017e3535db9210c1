"""``python -m podflare_nb`` is ``podflare-nb``."""

from __future__ import annotations

from .cli import main

if __name__ == "__main__":
    main()
