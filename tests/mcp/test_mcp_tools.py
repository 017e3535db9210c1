"""Every tool by the official client, over HTTP, against the real service."""

import asyncio
import base64
import json
from collections.abc import Callable

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ImageContent, ResourceLink

from podflare_nb.mcp.catalog import TOOLS

from ..conftest import Service
from .conftest import SECONDS, connected, ran, run, sandbox_of, text_of

PLOT = "import matplotlib.pyplot as plt; plt.figure(figsize=(1, 1)); plt.plot([1, 2]); plt.show()"


async def test_the_list_of_tools_says_of_each_what_it_takes_gives_and_may_break(service: Service):
    async with connected(service) as client:
        listed = (await client.list_tools()).tools
        assert client.session.protocol_version == "2025-11-25"
    assert [tool.name for tool in listed] == [
        "run_python", "run_bash", "create_sandbox", "fork", "merge_into", "diff", "upload", "download", "notebook",
        "record", "list_sandboxes", "destroy_sandbox",
    ]  # fmt: skip
    for tool in listed:
        assert tool.title
        assert len(tool.description) > 40
        assert tool.input_schema["type"] == "object"
        assert tool.input_schema["additionalProperties"] is False
        assert tool.annotations.open_world_hint is False
    hints = {tool.name: tool.annotations for tool in listed}
    assert {name for name, hint in hints.items() if hint.read_only_hint} == {
        "diff", "download", "list_sandboxes", "notebook",
    }  # fmt: skip
    assert hints["destroy_sandbox"].destructive_hint
    assert hints["fork"].destructive_hint is False


def test_the_list_of_tools_fits_into_a_context():
    assert sum(len(tool.model_dump_json(exclude_none=True)) for tool in TOOLS) < 12_000


async def test_a_session_keeps_variables_files_and_one_sandbox(service: Service):
    async with connected(service) as client:
        first = await run(client, "x = 6 * 7; open('kept', 'w').write('file'); x")
        second = await ran(client, "run_bash", code="cat kept; pwd")
        third = await run(client, "print(x)")
    assert text_of(first) == "42"
    assert text_of(second).startswith("file")
    assert text_of(third) == "42"
    assert sandbox_of(first) == sandbox_of(second) == sandbox_of(third)


async def test_two_calls_at_once_make_one_sandbox(service: Service):
    async with connected(service) as client:
        both = await asyncio.gather(run(client, "1"), run(client, "2"))
    assert len({sandbox_of(one) for one in both}) == 1


async def test_pictures_are_images_and_long_output_is_cut_in_the_middle(service: Service):
    async with connected(service) as client:
        plotted = await run(client, PLOT)
        long = await run(client, "print('a' * 50_000 + 'the end')")
    picture = plotted.content[-1]
    assert isinstance(picture, ImageContent)
    assert picture.mime_type == "image/png"
    assert base64.b64decode(picture.data).startswith(b"\x89PNG")
    assert 8_000 <= len(text_of(long)) < 8_200
    assert "characters cut here" in text_of(long)
    assert text_of(long).endswith("the end")


async def test_code_that_fails_and_arguments_that_are_wrong_are_results_that_a_model_can_read(service: Service):
    async with connected(service) as client:
        raised = await run(client, "1 / 0")
        shell = await client.call_tool("run_bash", {"code": "exit 3"})
        missing = await client.call_tool("run_python", {})
        extra = await client.call_tool("run_python", {"code": "1", "lang": "r"})
        wrong = await client.call_tool("fork", {"n": "two"})
        many = await client.call_tool("fork", {"n": 99})
        gone = await client.call_tool("run_python", {"code": "1", "sandbox_id": "sbx_" + "0" * 32})
        template = await client.call_tool("create_sandbox", {"template": "fortran"})
        with pytest.raises(MCPError) as unknown:
            await client.call_tool("rm_rf", {})
    answers = [raised, shell, missing, extra, wrong, many, gone, template]
    assert all(answer.is_error for answer in answers)
    words = [
        "ZeroDivisionError",
        "exit code 3",
        "code is missing",
        "'lang'",
        "n is a string",
        "1 to 32",
        "sbx_0",
        "fortran",
    ]
    for answer, word in zip(answers, words, strict=True):
        assert word in text_of(answer), text_of(answer)
    assert unknown.value.error.code == -32602


async def test_progress_tells_each_line_while_the_code_runs(service: Service):
    """The code ends only once a file has come that is sent when its first line has."""
    code = (
        "import os, time\nprint('first', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('last')"
    )
    told: list[tuple[float, str]] = []
    first, last = asyncio.Event(), asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        told.append((progress, message))
        first.set()
        if message.endswith("last"):
            last.set()

    async with connected(service) as client:
        running = asyncio.create_task(client.call_tool("run_python", {"code": code}, progress_callback=on_progress))
        await asyncio.wait_for(first.wait(), SECONDS)
        assert not running.done()
        await ran(client, "upload", path="go", content="")
        answer = await asyncio.wait_for(running, SECONDS)
        await asyncio.wait_for(last.wait(), SECONDS)
    assert text_of(answer) == "first\nlast"
    assert "\n".join(message for _, message in told).splitlines() == ["first", "last"]
    assert [progress for progress, _ in told] == sorted({progress for progress, _ in told})


async def test_a_cancelled_call_interrupts_its_code_and_nothing_else(service: Service):
    code = "print('on', flush=True)\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    stopped = True"
    on = asyncio.Event()

    async def on_progress(*_: object) -> None:
        on.set()

    async with connected(service) as client:
        await run(client, "import time; stopped = False")
        running = asyncio.create_task(client.call_tool("run_python", {"code": code}, progress_callback=on_progress))
        await asyncio.wait_for(on.wait(), SECONDS)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert text_of(await run(client, "stopped")) == "True"


async def test_branches_are_made_compared_and_merged(service: Service):
    async with connected(service) as client:
        await run(client, "x = 1")
        made = (await ran(client, "fork", n=2)).structured_content
        winner, loser = made["branches"]
        await run(client, "x = 2; y = 3; open('new', 'w').close()", sandbox_id=winner)
        found = await ran(client, "diff", other=winner)
        assert found.structured_content["files"]["added"] == ["/workspace/new"]
        assert found.structured_content["variables"] == {"added": ["y"], "removed": [], "changed": ["x"]}
        assert "~ x: int = 1 -> 2" in text_of(found)
        merged = await ran(client, "merge_into", winner=winner)
        assert merged.structured_content == {"sandbox_id": made["sandbox_id"], "merged": winner}
        assert text_of(await run(client, "x, y")) == "(2, 3)"
        used_up = await run(client, "1", sandbox_id=winner)
        assert used_up.is_error
        assert f"Go on with sandbox_id {made['sandbox_id']}" in text_of(used_up)
        assert text_of(await run(client, "x", sandbox_id=loser)) == "1"


async def test_files_go_in_and_come_out_as_what_they_are(service: Service):
    async with connected(service) as client:
        none_yet = await client.call_tool("download", {"path": "."})
        assert none_yet.is_error
        assert "no sandbox yet" in text_of(none_yet)
        written = await ran(client, "upload", path="data/a.csv", content="a,b\n1,2\n")
        assert written.structured_content["size"] == 8
        assert text_of(await run(client, "print(open('data/a.csv').read())")).startswith("a,b")
        assert text_of(await ran(client, "download", path="data/a.csv")) == "a,b\n1,2\n"
        assert text_of(await ran(client, "download", path="data")) == "data/a.csv (8 bytes)"
        await ran(client, "upload", path="bytes", content_base64=base64.b64encode(b"\xff\x00").decode())
        blob = (await ran(client, "download", path="bytes")).content[0].resource.blob
        assert base64.b64decode(blob) == b"\xff\x00"
        await run(client, PLOT.replace("plt.show()", "plt.savefig('p.png')"))
        assert (await ran(client, "download", path="p.png")).content[0].type == "image"
        await run(client, "open('long', 'w').write('x' * 9000); open('huge', 'wb').truncate(1 << 30)")
        assert "cut here" in text_of(await ran(client, "download", path="long"))
        assert len(text_of(await ran(client, "download", path="long", max_characters=10_000))) == 9000
        huge = await client.call_tool("download", {"path": "huge"})
        both = await client.call_tool("upload", {"path": "x"})
        outside = await client.call_tool("upload", {"path": "../x", "content": ""})
    assert huge.is_error
    assert "read a part of it" in text_of(huge)
    assert both.is_error
    assert outside.is_error


async def test_files_and_notebooks_that_no_event_can_hold_arrive_whole(service: Service):
    """The official client takes events of 1 MiB at most."""
    async with connected(service) as client:
        sandbox = sandbox_of(await run(client, "print('x' * 1_500_000); open('large', 'wb').write(bytes(1_500_000))"))
        blob = (await ran(client, "download", path="large")).content[0].resource.blob
        notebook = (await client.read_resource(f"podflare-nb://sandboxes/{sandbox}/notebook.ipynb")).contents[0].text
        # The session goes on as before.
        assert text_of(await run(client, "1 + 1")) == "2"
    assert base64.b64decode(blob) == bytes(1_500_000)
    assert "x" * 1_500_000 in notebook


async def test_pictures_that_no_event_can_hold_are_named_and_the_others_are_shown(service: Service):
    """Behind progress an answer must be an event, whatever its size."""
    code = (
        "import os\nfrom IPython.display import Image, display\nprint('begins', flush=True)\n"
        "for size in (100, 1_000_000, 200): display(Image(b'\\x89PNG\\r\\n\\x1a\\n' + os.urandom(size), format='png'))"
    )
    told = asyncio.Event()

    async def on_progress(_progress: float, _total: float | None, _message: str | None) -> None:
        told.set()

    async with connected(service) as client:
        answer = await asyncio.wait_for(
            client.call_tool("run_python", {"code": code}, progress_callback=on_progress), SECONDS
        )
    assert told.is_set()
    assert not answer.is_error
    assert [len(base64.b64decode(one.data)) for one in answer.content[1:]] == [108, 208]
    assert "[image/png of 1,000,008 bytes: in the notebook, too big for this answer]" in text_of(answer)


async def test_the_notebook_is_a_tool_and_a_resource_with_the_hosts_name_on_its_cells(service: Service):
    async with connected(service) as client:
        sandbox = sandbox_of(await run(client, "print('hello')"))
        await ran(client, "record", text="I *said* hello.")
        shown = await ran(client, "notebook")
        assert "print('hello')" in text_of(shown)
        assert "I *said* hello." in text_of(shown)
        link = shown.content[1]
        assert isinstance(link, ResourceLink)
        assert link.uri == f"podflare-nb://sandboxes/{sandbox}/notebook.ipynb"
        assert text_of(await ran(client, "notebook", format="py")).count("print('hello')") == 1
        assert link.uri in [one.uri for one in (await client.list_resources()).resources]
        template = (await client.list_resource_templates()).resource_templates[0].uri_template
        assert template.replace("{sandbox_id}", sandbox) == link.uri
        await ran(client, "destroy_sandbox")
        assert link.uri not in [one.uri for one in (await client.list_resources()).resources]
        # It stays when the sandbox has ended.
        notebook = json.loads((await client.read_resource(link.uri)).contents[0].text)
        for uri in (link.uri.replace(sandbox, "sbx_" + "0" * 32), "podflare-nb://../etc/passwd", "file:///etc/passwd"):
            with pytest.raises(MCPError) as refused:
                await client.read_resource(uri)
            assert refused.value.error.code == -32002
    by = notebook["cells"][0]["metadata"]["podflare_nb"]
    assert by["operator"] == "a host 1.2"
    assert by["tool_call_id"]
    assert notebook["cells"][1]["metadata"]["podflare_nb"]["operator"] == "a host 1.2"


async def test_a_sandbox_that_ended_is_told_and_the_next_call_starts_anew(
    service: Service, close: Callable[[str], None]
):
    async with connected(service) as client:
        sandbox = sandbox_of(await run(client, "x = 1"))
        close(sandbox)
        told = await run(client, "x")
        assert told.is_error
        assert "starts a new sandbox" in text_of(told)
        again = await run(client, "print('anew')")
        assert text_of(again) == "anew"
        assert sandbox_of(again) != sandbox
        listed = (await ran(client, "list_sandboxes")).structured_content["sandboxes"]
        assert [one["own"] for one in listed if one["sandbox_id"] == sandbox_of(again)] == [True]
        assert sandbox not in [one["sandbox_id"] for one in listed]


async def test_a_made_sandbox_has_what_was_asked_for_and_is_gone_on_with(service: Service):
    async with connected(service) as client:
        made = await ran(client, "create_sandbox", ram_mib=512, idle_timeout_seconds=60)
        assert sandbox_of(await run(client, "1")) == made.structured_content["sandbox_id"]
        assert made.structured_content["egress"] in {True, False}, "the operator's"
        closed = await ran(client, "create_sandbox", egress=False)
        assert closed.structured_content["egress"] is False
        named = await ran(client, "create_sandbox", egress={"allow": ["Files.Example.org."]})
        assert named.structured_content["egress"] == {"allow": ["files.example.org"]}
        no_rule = await client.call_tool("create_sandbox", {"egress": {"allow": ["two words"]}})
        no_policy = await client.call_tool("create_sandbox", {"egress": "none"})
        too_much = await client.call_tool("create_sandbox", {"ram_mib": 1})
    assert no_rule.is_error
    assert "two words" in text_of(no_rule)
    assert "egress is a string, not a boolean or an object" in text_of(no_policy)
    assert too_much.is_error
    assert "ram_mib" in text_of(too_much)


@pytest.mark.parametrize("named", ["../../v1/templates#", "sbx_1/files", "sbx_1?a=1", "..", "."])
async def test_an_id_that_a_model_makes_up_leads_to_nothing_else_of_the_api(service: Service, named: str):
    async with connected(service) as client:
        for tool, more in (("run_python", {"code": "1"}), ("notebook", {}), ("destroy_sandbox", {})):
            answer = await client.call_tool(tool, {"sandbox_id": named, **more})
            assert answer.is_error
            assert named in text_of(answer)
            assert "API's documentation" not in text_of(answer)


async def test_an_empty_id_is_an_id_left_out(service: Service):
    async with connected(service) as client:
        first = await run(client, "x = 1")
        assert sandbox_of(await ran(client, "run_python", code="x", sandbox_id="")) == sandbox_of(first)
