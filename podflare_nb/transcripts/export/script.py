"""A notebook as a Python script: code as it was, prose as comments, bash cells kept and run by bash.

Cells are marked ``# %%``, which editors and jupytext read as cells. IPython's own syntax (``!ls``, ``%time``)
becomes the calls that it stands for; such a script wants ``ipython script.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from IPython.core.inputtransformer2 import TransformerManager

BASH = "%%bash"


def script_of(notebook: Mapping[str, Any]) -> Iterator[str]:
    """Make the script, in pieces; walks through the cells twice."""
    sandbox = notebook["metadata"]["podflare_nb"]["sandbox_id"]
    yield f"# Transcript of {sandbox}, recorded by podflare_nb."
    if any(_is_bash(cell) for cell in notebook["cells"]):
        yield "\nimport subprocess"
    for cell in notebook["cells"]:
        yield "\n\n"
        yield _cell(cell)
    yield "\n"


def _cell(cell: Mapping[str, Any]) -> str:
    source = cell["source"]
    if cell["cell_type"] != "code":
        return "# %% [markdown]\n" + commented(source)
    tags = cell["metadata"].get("tags", [])
    if "skip-execution" in tags:
        about = cell["metadata"]["podflare_nb"]
        why = f"it did not end by itself ({about['status']})"
        if winner := about.get("superseded_by"):
            why = f"the state that it made was replaced by that of {winner['sandbox_id']}"
        return f"# %% not run here: {why}\n" + commented(source)
    body = bash_call(source) if _is_bash(cell) else _python(source)
    if "raises-exception" in tags and not _is_bash(cell):
        indented = "\n".join(f"    {line}" if line else "" for line in body.splitlines())
        if _keeps_its_strings(body):
            return f"# %% raised\ntry:\n{indented}\nexcept BaseException as error:\n    print(repr(error))"
        return f"# %% raised: left out, so that the script goes on\n{commented(source)}"
    return f"# %%\n{body}"


def bash_call(source: str) -> str:
    """Run a bash cell's script by bash, legible in the script."""
    body = source.partition("\n")[2]
    literal = repr(body)
    if "'''" not in body and not body.endswith(("\\", "'")):
        literal = f"r'''\n{body}\n'''"
    return f'# {BASH}\nsubprocess.run(["bash"], input={literal}, text=True)'


def commented(text: str) -> str:
    """Make comments of every line, whatever a reader takes for the end of one."""
    return "\n".join(f"# {line}".rstrip() for line in text.splitlines()) or "#"


def _is_bash(cell: Mapping[str, Any]) -> bool:
    return cell["cell_type"] == "code" and str(cell["source"]).startswith(BASH)


def _python(source: str) -> str:
    manager = TransformerManager()  # type: ignore[no-untyped-call]  # IPython has few types
    return str(manager.transform_cell(source)).rstrip()


def _keeps_its_strings(body: str) -> bool:
    """Whether indenting cannot change a string that spans lines, and the code compiles at all."""
    if '"""' in body or "'''" in body or "\\\n" in body:
        return False
    try:
        compile(body, "cell", "exec")
    except (SyntaxError, ValueError):
        return False
    return bool(body.strip())
