# ruff: noqa: INP001 - a script, not a package
"""Builds the chat page into podflare_nb/static/chat, or with --check tells whether the committed one is current.

With --check also whether the TypeScript SDK's wire types are those of docs/openapi.json, and whether it and its tests
type-check. Needs no Node.js of the machine's (see ``node``). Users of the package never run this; the bundle is
committed.
"""

import subprocess
import sys

from node import HERE, install_command, node


def main() -> int:
    """Type-check, then build or compare; the exit code is that of the first that fails."""
    found = node()
    steps = [
        [found.program, str(HERE / "node_modules" / "typescript" / "bin" / "tsc"), "--noEmit", "--project", "chat"],
        [found.program, str(HERE / "chat" / "build.mjs"), *sys.argv[1:]],
    ]
    if "--check" in sys.argv[1:]:
        steps.append([*found.npm, "run", "--silent", "--workspace", "podflare-nb", "check"])
    if install := install_command(found):
        steps.insert(0, install)
    for step in steps:
        code = subprocess.run(step, cwd=HERE, env=found.env, check=False).returncode  # noqa: S603 - node or npm, as found
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
