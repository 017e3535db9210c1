"""A notebook as Markdown."""

from __future__ import annotations

from podflare_nb.transcripts.export import export

PNG = "iVBORw0KGgo="


async def test_a_turn_is_prose_code_and_outputs(sandbox, transcript, read):
    transcript.begin_turn("t1", "Plot it\nplease")
    sandbox.run(
        "plot()",
        {"output_type": "stream", "name": "stdout", "text": "1%\r\x1b[32m100%\x1b[0m\n"},
        {"output_type": "display_data", "data": {"image/png": PNG, "text/plain": "Figure"}, "metadata": {}},
        {"output_type": "execute_result", "data": {"text/html": "<b>x</b>", "text/plain": "x"}, "metadata": {}},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mE\x1b[0m: v"]},
    )
    sandbox.run("%%bash\nls", {"output_type": "display_data", "data": {"text/latex": "$x$"}, "metadata": {}})
    transcript.add_markdown("t1", "assistant", "Done.")
    assert export(await read(), "md") == (
        "> Plot it\n> please\n\n```python\nplot()\n```\n\n```text\n100%\n```\n\n"
        f"![output](data:image/png;base64,{PNG})\n\n```text\nx\n```\n\n```text\nE: v\n```\n\n"
        "```bash\nls\n```\n\n$x$\n\nDone.\n"
    )


async def test_code_that_holds_a_fence_is_fenced_with_a_longer_one(sandbox, read):
    sandbox.run("text = '''\n````\n'''")
    assert export(await read(), "md") == "`````python\ntext = '''\n````\n'''\n`````\n"


async def test_an_output_without_a_text_form_is_named(sandbox, read):
    sandbox.run("x", {"output_type": "display_data", "data": {"application/json": {}}, "metadata": {}})
    assert "<application/json>" in export(await read(), "md")
