#!/bin/sh
# Says whether the committed chat page is what its sources build to. Exits 1 and names the files when it is not.
cd "$(dirname "$0")/.." || exit 1
python=.venv/bin/python
[ -x "$python" ] || python=python3
exec "$python" static/build.py --check
