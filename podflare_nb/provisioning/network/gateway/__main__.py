"""``python -m podflare_nb.provisioning.network.gateway FD``: FD is our end of the supervisor's socket pair."""

import sys

from .process import main

main(int(sys.argv[1]))
