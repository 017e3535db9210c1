"""The command: ``python -m bench [--quick] [--only SECTION] [--json FILE]``; ``make bench`` calls it."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from podflare_nb.client import PodflareError

from . import sections
from .actions import Bench
from .report import Report
from .servers import OurServer, PlainServer
from .wire import WireError


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer samples, and growth to 50 kernels only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every raw sample, in milliseconds")
    parser.add_argument(
        "--only", action="append", choices=sorted(sections.SECTIONS), metavar="SECTION",
        help=f"repeatable; one of: {', '.join(sections.SECTIONS)}",
    )  # fmt: skip
    parser.add_argument("--isolation", default="namespaces", choices=["namespaces", "none"])
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Start both servers, run the sections, print the table; ends both servers however it ends."""
    options = parse(arguments)
    # SIGTERM shall clean up as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report()
    exit_code = 0
    try:
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="podflare-bench-")))
            say("starting podflare_nb and a plain jupyter_server ...")
            ours = stack.enter_context(OurServer(scratch / "ours", options.isolation))
            plain = stack.enter_context(PlainServer(scratch / "plain"))
            bench = Bench(ours, plain, report, quick=options.quick)
            for name, section in sections.SECTIONS.items():
                if options.only and name not in options.only:
                    continue
                say(f"{name} ...")
                try:
                    section(bench)
                except (WireError, PodflareError) as error:
                    exit_code = 1
                    say(f"{name} failed: {error}\n{ours.log_tail()}")
    except KeyboardInterrupt:
        exit_code = 130
        say("stopped; what was measured until then:")
    sys.stdout.write(report.table() + "\n")
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.platform(), "at": time.time()}
        options.json.write_text(
            json.dumps({"machine": machine, "quick": options.quick, "rows": report.raw()}, indent=1)
        )
    return exit_code


def say(line: str) -> None:
    """Tell the person who waits."""
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
