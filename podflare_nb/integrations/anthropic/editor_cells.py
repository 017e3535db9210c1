"""The bash cells of the text editor: short enough to be read in a notebook, and exact to the byte. Pure.

Texts go in as they are (a heredoc) or as Python literals; nothing in them is taken for code. A file that cannot
be worked on ends the cell with a sentence on stderr and exit code 1.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

MOST_BYTES = 1_000_000
"""Of a file that is viewed as a whole."""

_EDIT = """\
python3 -I - <<'EOF'
import re
{literals}
def lines_of(whole):
    return re.findall("[^\\n]*\\n|[^\\n]+", whole)  # as cat -n has them; splitlines knows more ends
try:
    text = open(path, encoding="utf-8", newline="").read()
except (OSError, ValueError) as error:
    raise SystemExit(f"{{path}} cannot be edited: {{error}}. View it, or create it first.")
end = "\\r\\n" if "\\r\\n" in text else "\\n"
def fitting(part):
    return part if end == "\\n" else part.replace(end, "\\n").replace("\\n", end)
{edit}
with open(path, "w", encoding="utf-8", newline="") as file:
    file.write(text)
print(f"{{path}} was changed. It is now, from line {{max(line - 3, 1)}}:")
for number, shown in list(enumerate(lines_of(text), 1))[max(line - 4, 0) : line + added + 3]:
    print(f"{{number:6}}\\t{{shown.rstrip(end)}}")
EOF"""

_REPLACE = """\
old, new = fitting(old), fitting(new)
found = [i for i in range(len(text)) if text.startswith(old, i)]
lines = [text.count("\\n", 0, i) + 1 for i in found[:20]]
if len(found) != 1:
    where = f", in the lines {', '.join(map(str, lines))}. Give more of the text around it" if found else ""
    raise SystemExit(f"old_str occurs {len(found)} times in {path}{where}; it must occur exactly once, character by "
                     "character. Nothing was changed.")
line, added = lines[0], new.count("\\n")
text = text.replace(old, new)"""

_INSERT = """\
lines = lines_of(text)
if line > len(lines):
    raise SystemExit(f"{path} has {len(lines)} lines; insert_line can be 0 to {len(lines)}. Nothing was changed.")
new = fitting(new)
if line and not lines[line - 1].endswith("\\n"):
    lines[line - 1] += end
if line < len(lines) and not new.endswith("\\n"):
    new += end
lines.insert(line, new)
text, line, added = "".join(lines), line + 1, new.count("\\n")"""


def view(path: str, lines: Sequence[int] | None = None) -> str:
    """Show a file with line numbers, or a directory down to two levels. ``lines``: first and last, -1 for the end."""
    shown = _quoted(path)
    head = f"""\
file={shown}
[ -e "$file" ] || {{ echo "There is no file or directory $file." >&2; exit 1; }}
[ -d "$file" ] && exec find "$file" -mindepth 1 -maxdepth 2 -name '.*' -prune -o -printf '%y %p\\n'
[ -f "$file" ] || {{ echo "$file is neither a file nor a directory." >&2; exit 1; }}
[ ! -s "$file" ] || grep -qI '' "$file" || {{ echo "$file is not a text file: use code to read it." >&2; exit 1; }}
"""
    if lines is None:
        return f"""{head}\
[ "$(stat -Lc %s "$file")" -le {MOST_BYTES} ] || {{ echo "$file has over {MOST_BYTES} bytes: give view_range." >&2; exit 1; }}
cat -n "$file\""""  # noqa: E501 - a line of bash
    first, last = lines
    if first > 1:
        head += f"""\
count=$(grep -c '' "$file")
[ "$count" -ge {first} ] || {{ echo "$file has $count lines; view_range begins at line {first}." >&2; exit 1; }}
"""
    return (
        head + f"cat -n \"$file\" | sed -n '{first},{'$' if last == -1 else last}p{'' if last == -1 else f';{last}q'}'"
    )


def create(path: str, text: str) -> str:
    """Write a file, with the directories above it."""
    mark = "EOF"
    while re.search(rf"^{mark}$", text, re.MULTILINE):
        mark += "_"
    directory, _, _ = path.rpartition("/")
    make = f"mkdir -p {_quoted(directory)} && " if directory else ""
    if not text:
        return f"{make}: > {_quoted(path)}"
    # A heredoc ends with a newline, which is taken off where the text has none.
    write, body = ("cat", text) if text.endswith("\n") else ("head -c -1", text + "\n")
    return f"{make}{write} > {_quoted(path)} <<'{mark}'\n{body}{mark}"


def replace(path: str, old: str, new: str) -> str:
    """Replace a text that occurs exactly once."""
    return _EDIT.format(literals=f"path, old, new = {path!r}, {old!r}, {new!r}", edit=_REPLACE)


def insert(path: str, line: int, new: str) -> str:
    """Insert lines below a line; 0: at the beginning."""
    return _EDIT.format(literals=f"path, line, new = {path!r}, {line!r}, {new!r}", edit=_INSERT)


def _quoted(path: str) -> str:
    """For bash; a name that begins with a dash is no option."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)
