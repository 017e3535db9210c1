"""Which parts of a message are code: what the direct agent runs, and what it takes for prose.

A whole message that is Python is one block; otherwise its fenced blocks are, in their order. Prose that happens
to parse as Python ("hello", "cats and dogs", "continue") stays prose, unless every name in it has been bound by
earlier code: then ``df`` shows the frame. Pure: text in, blocks out.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from ..protocol.states import Language

_LANGUAGES: dict[str, Language] = {
    "python": "python",
    "python3": "python",
    "py": "python",
    "ipython": "python",
    "ipython3": "python",
    "bash": "bash",
    "sh": "bash",
    "shell": "bash",
}
_FENCE = re.compile(
    r"^[ ]{0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^\n`]*)\n(?P<code>.*?)(?:^[ ]{0,3}(?P=fence)[`~]*[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_CELL_MAGIC = re.compile(r"\A\s*%%[A-Za-z!][^\n]*(\n|\Z)")
_BASH_MAGIC = re.compile(r"\A\s*%%(?:bash|sh)[ \t]*\n")
_LINE_MAGIC = re.compile(r"^([ \t]*)(?:%[A-Za-z]\w*\b.*|![^\s=].*|![ \t]+[\w./~].*)$", re.MULTILINE)
_ASSIGNED_MAGIC = re.compile(r"^([ \t]*[\w., \t]+=[ \t]*)[%!][^\s=].*$", re.MULTILINE)
_HELP = re.compile(r"^[ \t]*[A-Za-z_]\w*(?:\.\w+)+\?{1,2}$", re.MULTILINE)
_CODE_LINE = re.compile(
    r"^\s*(?:"
    r"(?:import|from)\s+[\w.]+(?:\s+import\b.*|\s+as\s+\w+|\s*,.*)?$"
    r"|(?:def|class)\s+\w+\s*[(:]|(?:for\s.+\sin\s.+|while\s.+|if\s.+|elif\s.+|else|try|except.*|with\s.+)[:(]"
    r"|@\w+|[\w.\[\]'\"]+\s*(?:[-+*/]?=)\s*\S"
    r"|[\w.]+\(.*[)\]}'\",:(]$|[)\]}]+,?$"
    r")"
)
_WORDS = (
    ast.Expr, ast.Name, ast.Attribute, ast.BoolOp, ast.UnaryOp, ast.BinOp, ast.Compare, ast.Tuple, ast.IfExp,
    ast.Await, ast.Yield, ast.Starred, ast.AnnAssign, ast.Pass, ast.Continue, ast.Break, ast.Return, ast.Raise,
    ast.Delete, ast.Assert, ast.Global, ast.Nonlocal, ast.expr_context, ast.operator, ast.boolop, ast.unaryop,
    ast.cmpop,
)  # fmt: skip  # a list of words reads best as one
_NEVER_ALONE = (ast.Pass, ast.Continue, ast.Break, ast.Return, ast.Global, ast.Nonlocal)
_TYPES = frozenset({"int", "str", "float", "bool", "list", "dict", "set", "tuple", "bytes", "object", "None"})


@dataclass(frozen=True, slots=True)
class Block:
    """Code to run as one cell."""

    code: str
    language: Language = "python"


@dataclass(frozen=True, slots=True)
class Parsed:
    """``whole`` tells that the message is nothing but code."""

    blocks: tuple[Block, ...]
    whole: bool = False


def parse_message(message: str, known_names: Iterable[str] = ()) -> Parsed:
    """Find the code in a message. ``known_names`` are bound in the kernel as far as earlier cells tell."""
    if bash := _BASH_MAGIC.match(message):
        return Parsed((Block(message[bash.end() :].strip("\n"), "bash"),), whole=True)
    if is_python(message, known_names):
        return Parsed((Block(textwrap.dedent(message).strip("\n").rstrip()),), whole=True)
    return Parsed(tuple(_fenced_blocks(message)))


def _fenced_blocks(message: str) -> Iterable[Block]:
    for match in _FENCE.finditer(message):
        info = match["info"].strip().split()
        label = info[0].strip("{}.").lower() if info else ""
        code = match["code"].rstrip()
        language = _LANGUAGES.get(label)
        if language is None and not label and is_python(code):
            language = "python"
        if language and code.strip():
            yield Block(code, language)


def is_python(text: str, known_names: Iterable[str] = ()) -> bool:
    """Whether a person who sends this text means it as code."""
    code = textwrap.dedent(text).strip("\n")
    if not code.strip():
        return False
    if _CELL_MAGIC.match(code):
        return True
    tree = _parsed(_without_magics(code))
    if tree is None:
        return not _FENCE.search(code) and _reads_like_code(code)
    if not tree.body:
        return False  # only comments: "# Plan" is a heading more often than a cell
    known = set(known_names)
    return any(not _is_words(statement, known) for statement in tree.body)


def depends_on_names(text: str) -> bool:
    """Whether it takes the names of earlier cells to tell if this text is code; only then they are worth reading."""
    tree = _parsed(_without_magics(textwrap.dedent(text).strip("\n")))
    if tree is None or is_python(text):
        return False
    return is_python(text, {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})


def bound_names(source: str) -> set[str]:
    """The names that a cell binds in the kernel when it runs."""
    tree = _parsed(_without_magics(source))
    names: set[str] = set()
    for node in ast.walk(tree) if tree else ():
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names


def _without_magics(code: str) -> str:
    """IPython's lines, replaced by Python ones of the same shape, so that ``ast`` can judge the rest."""
    code = _LINE_MAGIC.sub(r"\1_ = 0", code)
    code = _ASSIGNED_MAGIC.sub(r"\g<1>0", code)
    return _HELP.sub("_ = 0", code)


def _parsed(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_words(statement: ast.stmt, known: set[str]) -> bool:
    """Whether a statement holds nothing but names and the words between them, of which some name is unknown."""
    if isinstance(statement, _NEVER_ALONE):
        return True
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return False
    if not all(isinstance(node, _WORDS) for node in ast.walk(statement)):
        return False
    targets = {statement.target} if isinstance(statement, ast.AnnAssign) else set()
    names = [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and node not in targets]
    if isinstance(statement, ast.AnnAssign):
        known = known | _TYPES
    return not all(name in known or name.startswith("_") or name in ("In", "Out") for name in names)


def _reads_like_code(code: str) -> bool:
    """For text that is not valid Python: a typing error in code should show its SyntaxError, prose should not."""
    lines = [line for line in code.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    return sum(bool(_CODE_LINE.match(line)) for line in lines) * 2 > len(lines)
