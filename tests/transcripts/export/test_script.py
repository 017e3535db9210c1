"""A notebook as a Python script."""

from __future__ import annotations

import asyncio
import sys

import pytest

from podflare_nb.errors import InvalidArgumentError
from podflare_nb.transcripts.export import export


async def run(read, tmp_path):
    script = export(await read(), "py")
    path = tmp_path / "script.py"
    path.write_text(script)
    process = await asyncio.create_subprocess_exec(
        sys.executable, path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        stdout, stderr = await process.communicate()
    return script, stdout.decode(), stderr.decode()


async def test_the_script_runs_and_does_what_the_cells_did(sandbox, transcript, read, tmp_path):
    transcript.begin_turn("t1", "Count.\nThen fail.")
    sandbox.run("x = '''\nmany\nlines'''\nprint(len(x), flush=True)")
    sandbox.run('%%bash\necho "it\'s" \\\n  bash')
    sandbox.run("%%bash\necho '''quoted'''\n")
    sandbox.run("if x:\n    1/0", status="error", exit_code=1)
    sandbox.end(sandbox.start("while True: pass"), "timeout", 124)
    sandbox.run("def broken(:", status="error", exit_code=1)
    sandbox.run("x = '''\nkept'''; 1/0", status="error", exit_code=1)
    sandbox.run("print('the end')")
    script, stdout, stderr = await run(read, tmp_path)
    assert stdout == "11\nit's bash\nquoted\nZeroDivisionError('division by zero')\nthe end\n"
    assert stderr == ""
    assert "# %% [markdown]\n# Count.\n# Then fail.\n" in script
    assert "# %%bash\n" in script


async def test_prose_never_becomes_code(transcript, read, tmp_path):
    for terminator in "\n\r\x0b\x0c\x1c\x85\u2028":
        transcript.add_markdown(None, "assistant", f"words{terminator}print('code')")
    _, stdout, stderr = await run(read, tmp_path)
    assert (stdout, stderr) == ("", "")


async def test_ipythons_own_syntax_becomes_the_calls_that_it_stands_for(sandbox, read):
    sandbox.run("!ls\n%time x = 1")
    script = export(await read(), "py")
    assert "get_ipython().system('ls')" in script


def test_a_format_that_there_is_not_is_refused_by_name():
    with pytest.raises(InvalidArgumentError, match="no export to 'docx'; there are html, md, py"):
        export({}, "docx")
