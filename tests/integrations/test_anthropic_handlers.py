import json

import pytest
from anthropic.types import ToolUseBlock
from stand_in_service import KEY, SANDBOX_ID, StandInService

from podflare_nb.client import Sandbox
from podflare_nb.integrations.anthropic import (
    Provenance,
    bash_tool,
    code_execution_tool,
    handle_bash_tool_use,
    handle_bash_tool_use_async,
    handle_code_execution_tool_use,
    handle_code_execution_tool_use_async,
    handle_text_editor_tool_use,
    handle_text_editor_tool_use_async,
    handle_tool_use,
    handle_tool_use_async,
    text_editor_tool,
    tools,
)

EDITOR = "str_replace_based_edit_tool"


def block(name="code_execution", use_id="toolu_1", **arguments):
    return {"type": "tool_use", "id": use_id, "name": name, "input": arguments}


def sdk_block(name="code_execution", **arguments):
    return ToolUseBlock(type="tool_use", id="toolu_1", name=name, input=arguments)


def text_of(result):
    return "\n".join(part["text"] for part in result["content"] if part["type"] == "text")


def bash(sandbox, command):
    return text_of(handle_bash_tool_use(block("bash", command=command), sandbox))


def edit(sandbox, **arguments):
    return handle_text_editor_tool_use(block(EDITOR, **arguments), sandbox)


@pytest.mark.parametrize("make", [block, sdk_block])
def test_code_runs_from_a_dictionary_and_from_the_sdks_object(sandbox, make):
    assert handle_code_execution_tool_use(make(code="print(6 * 7)"), sandbox) == {
        "type": "tool_result",
        "tool_use_id": "toolu_1",
        "content": [{"type": "text", "text": "42"}],
        "is_error": False,
    }


def test_pictures_are_image_blocks(sandbox):
    code = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"
    [_, picture] = handle_code_execution_tool_use(block(code=code), sandbox)["content"]
    assert picture["source"]["media_type"] == "image/png"
    assert picture["source"]["data"].startswith("iVBOR")


def test_an_error_has_only_text_because_the_provider_takes_no_pictures_there(sandbox):
    code = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show(); 1 / 0"
    result = handle_code_execution_tool_use(block(code=code), sandbox)
    assert result["is_error"]
    assert [part["type"] for part in result["content"]] == ["text"]
    assert "cannot be shown: 1;" in text_of(result)
    assert "ZeroDivisionError" in text_of(result)


@pytest.mark.parametrize(
    "picture",
    [
        "b'no picture'",
        "b'\\x89PNG\\r\\n\\x1a\\n' + bytes(100)",
        "b'\\x89PNG\\r\\n\\x1a\\n' + bytes(8) + (8001).to_bytes(4, 'big') * 2",
    ],
)
def test_a_picture_that_would_make_the_provider_refuse_the_request_is_named_instead(sandbox, picture):
    code = f"import base64\ndisplay({{'image/png': base64.b64encode({picture}).decode()}}, raw=True)"
    result = handle_code_execution_tool_use(block(code=code), sandbox)
    assert not result["is_error"]
    assert [part["type"] for part in result["content"]] == ["text"]
    assert "cannot be shown: 1;" in text_of(result)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("code_execution", {}, "The argument code is missing."),
        ("code_execution", {"code": 7}, "is a number, not a string"),
        ("code_execution", {"code": "1", "file": "x"}, "no argument 'file'"),
        ("bash", {}, "The command is missing."),
        ("bash", {"command": "  "}, "The command is missing."),
        ("bash", {"command": ["ls"]}, "is an array, not a string"),
        ("bash", {"command": "ls", "restart": "yes"}, "is a string, not a boolean"),
        (EDITOR, {}, "The argument command, path is missing."),
        (EDITOR, {"command": "undo_edit", "path": "x"}, "command cannot be 'undo_edit'"),
        (EDITOR, {"command": "view", "path": " "}, "The path is empty."),
        (EDITOR, {"command": "view", "path": "x", "view_range": [3, 1]}, "view_range is [first, last]"),
        (EDITOR, {"command": "view", "path": "x", "view_range": [True, 2]}, "view_range is [first, last]"),
        (EDITOR, {"command": "view", "path": "x", "file_text": "y"}, "no argument 'file_text'"),
        (EDITOR, {"command": "create", "path": "x"}, "file_text is missing"),
        (EDITOR, {"command": "create", "path": "x", "file_text": "\0"}, "NUL"),
        (EDITOR, {"command": "str_replace", "path": "x", "old_str": ""}, "old_str is empty"),
        (EDITOR, {"command": "insert", "path": "x", "insert_line": "1", "insert_text": "y"}, "not an integer"),
        (EDITOR, {"command": "insert", "path": "x", "insert_line": -1, "insert_text": "y"}, "counts from 0"),
        ("web", {}, "There is no tool 'web' here. The tools are code_execution, bash, " + EDITOR),
    ],
)
def test_wrong_arguments_are_answered_with_what_is_wrong(sandbox, name, arguments, said):
    for form in (block(name, **arguments), sdk_block(name, **arguments)):
        result = handle_tool_use(form, sandbox)
        assert result["is_error"]
        assert said in text_of(result)


@pytest.mark.parametrize("handle", [handle_code_execution_tool_use, handle_bash_tool_use, handle_text_editor_tool_use])
@pytest.mark.parametrize("arguments", [None, [], 7, "{", '"text"'])
def test_arguments_that_are_no_object_are_an_error_result(sandbox, handle, arguments):
    result = handle({"type": "tool_use", "id": "t", "name": "any", "input": arguments}, sandbox)
    assert result["is_error"]
    assert "Call it with" in text_of(result)


@pytest.mark.parametrize("wrong", [{"type": "text", "text": "x"}, {"type": "tool_use", "name": "bash"}, None])
def test_what_is_no_tool_use_block_is_the_callers_mistake(sandbox, wrong):
    with pytest.raises(TypeError, match="not a tool_use block"):
        handle_tool_use(wrong, sandbox)


def test_a_sandbox_that_was_closed_answers_with_its_reason(service):
    with Sandbox(host=service.url, api_key=service.key) as closed:
        closed.close()
        for one in (block(code="1"), block("bash", command="ls"), block(EDITOR, command="view", path="/")):
            result = handle_tool_use(one, closed)
            assert result["is_error"]
            assert "closed" in text_of(result)


def test_a_service_that_is_away_is_an_error_result():
    with StandInService() as service:
        away = Sandbox.connect(SANDBOX_ID, host=service.url, api_key=KEY)
    result = handle_tool_use(block("bash", command="ls"), away)
    assert result["is_error"]
    assert "Nothing answers" in text_of(result)


def test_huge_output_is_bounded(sandbox):
    result = handle_tool_use(block("bash", command="seq 1 200000"), sandbox)
    assert len(json.dumps(result)) < 12_000
    assert "cut here" in text_of(result)


def test_the_shell_keeps_directory_variables_functions_and_options(sandbox):
    bash(sandbox, "mkdir -p /tmp/there; cd /tmp/there; plain='a  b'; export OUT=side; declare -A map=([k]=v)")
    bash(sandbox, 'twice() { echo "$1$1"; }; set -o pipefail; umask 027; readonly fixed=1')
    said = bash(
        sandbox, "pwd; echo \"$plain\" $OUT ${map[k]} $fixed; twice x; bash -c 'echo $OUT'; umask; false | true"
    )
    assert said.split("\n") == ["The code failed (exit code 1).", "/tmp/there", "a  b side v 1", "xx", "side", "0027"]


def test_a_command_that_exits_keeps_the_shell_and_says_its_code(sandbox):
    said = bash(sandbox, "kept=yes; set -e; exit 7")
    assert said.startswith("The code failed (exit code 7).")
    assert bash(sandbox, "echo $kept $-").startswith("yes e")
    bash(sandbox, "set +e")


def test_a_restart_forgets_the_shells_state_and_keeps_files(sandbox):
    bash(sandbox, "cd /tmp; gone=1; echo kept > /workspace/kept.txt")
    result = handle_bash_tool_use(block("bash", restart=True), sandbox)
    assert text_of(result) == "The shell was started anew. Files are as they were."
    assert bash(sandbox, "pwd; echo [$gone]; cat kept.txt") == "/workspace\n[]\nkept"


def test_a_shell_whose_file_was_deleted_asks_for_a_restart_and_runs_nothing(sandbox):
    bash(sandbox, "rm -r ~/.podflare_nb")
    result = handle_bash_tool_use(block("bash", command="touch /tmp/ran"), sandbox)
    assert result["is_error"]
    assert '{"restart": true}' in text_of(result)
    assert handle_bash_tool_use(block("bash", command="ls /tmp/ran", restart=True), sandbox)["is_error"]
    assert bash(sandbox, "echo again") == "again"


def test_a_command_is_stopped_at_its_time_limit_and_the_shell_goes_on(sandbox):
    bash(sandbox, "before=1")
    result = handle_bash_tool_use(block("bash", command="cd /; sleep 1000"), sandbox, timeout_seconds=0.3)
    assert result["is_error"]
    assert "time limit" in text_of(result)
    assert "in the background" in text_of(result)
    assert bash(sandbox, "cd /workspace; echo $before") == "1"


def test_a_fork_takes_the_shell_along(service):
    with Sandbox(host=service.url, api_key=service.key) as parent:
        bash(parent, "cd /tmp; mood=calm")
        [child] = parent.fork(1)
        with child:
            assert bash(child, "pwd; echo $mood; mood=wild") == "/tmp\ncalm"
            assert bash(parent, "pwd; echo $mood") == "/tmp\ncalm"


@pytest.mark.parametrize("path", ["/workspace/notes.txt", "/tmp/it's here/notes.txt", "relative.txt", "-n"])
def test_a_file_is_created_viewed_replaced_in_and_inserted_into(sandbox, path):
    text = "one\ntwo EOF\nEOF\n$HOME `ls` \\ 'quoted'"
    assert text_of(edit(sandbox, command="create", path=path, file_text=text)) == f"Wrote {path}."
    assert sandbox.run_code(f"print(open({path!r}).read() == {text!r})").stdout == "True"
    viewed = text_of(edit(sandbox, command="view", path=path)).split("\n")
    assert [line.split("\t")[1] for line in viewed] == text.split("\n")
    changed = edit(sandbox, command="str_replace", path=path, old_str="two EOF\n", new_str="2 'EOF'\n")
    assert "     2\t2 'EOF'" in text_of(changed)
    inserted = edit(sandbox, command="insert", path=path, insert_line=0, insert_text="zero")
    assert "     1\tzero\n     2\tone" in text_of(inserted)
    last = text_of(edit(sandbox, command="insert", path=path, insert_line=5, insert_text="end\n"))
    assert last.endswith("     6\tend")
    whole = "zero\none\n2 'EOF'\nEOF\n$HOME `ls` \\ 'quoted'\nend\n"
    assert sandbox.run_code(f"print(repr(open({path!r}).read()))").stdout == repr(whole)


def test_a_replacement_needs_exactly_one_place(sandbox):
    edit(sandbox, command="create", path="twice.txt", file_text="same\nother\nsame\n")
    twice = edit(sandbox, command="str_replace", path="twice.txt", old_str="same", new_str="x")
    assert twice["is_error"]
    assert "occurs 2 times in twice.txt, in the lines 1, 3." in text_of(twice)
    never = edit(sandbox, command="str_replace", path="twice.txt", old_str="sane", new_str="x")
    assert never["is_error"]
    assert "occurs 0 times" in text_of(never)
    gone = edit(sandbox, command="str_replace", path="twice.txt", old_str="other\n")
    assert not gone["is_error"]
    assert sandbox.files.read("twice.txt") == b"same\nsame\n"


def test_lines_that_end_as_in_windows_stay_so(sandbox):
    sandbox.files.write("dos.txt", b"a\r\nb\r\n")
    edit(sandbox, command="str_replace", path="dos.txt", old_str="a\nb", new_str="a\nx\nb")
    edit(sandbox, command="insert", path="dos.txt", insert_line=3, insert_text="c\n")
    assert sandbox.files.read("dos.txt") == b"a\r\nx\r\nb\r\nc\r\n"
    edit(sandbox, command="str_replace", path="dos.txt", old_str="a\r\nx\r\n", new_str="y\r\n")
    edit(sandbox, command="insert", path="dos.txt", insert_line=3, insert_text="d\r\n")
    assert sandbox.files.read("dos.txt") == b"y\r\nb\r\nc\r\nd\r\n"


def test_a_line_ends_where_the_view_ends_it_and_nowhere_else(sandbox):
    edit(sandbox, command="create", path="odd.txt", file_text="a\x0cb\u2028c\rd\x85e\nsecond\nthird\n")
    shown = text_of(edit(sandbox, command="insert", path="odd.txt", insert_line=2, insert_text="between"))
    assert shown.endswith("     2\tsecond\n     3\tbetween\n     4\tthird")
    assert sandbox.files.read("odd.txt").decode().split("\n")[1:] == ["second", "between", "third", ""]


def test_lines_of_blanks_are_written_as_they_are(sandbox):
    text = "def f():\n    \n\treturn 1\n  "
    edit(sandbox, command="create", path="blank.py", file_text=text)
    assert sandbox.files.read("blank.py").decode() == text


def test_a_part_of_a_file_is_viewed_by_its_lines(sandbox):
    edit(sandbox, command="create", path="lines.txt", file_text="".join(f"line {n}\n" for n in range(1, 3001)))
    shown = text_of(edit(sandbox, command="view", path="lines.txt", view_range=[2, 3]))
    assert shown == "     2\tline 2\n     3\tline 3"
    assert text_of(edit(sandbox, command="view", path="lines.txt", view_range=[3000, -1])) == "  3000\tline 3000"
    # What of a range is there is shown, when its end is not.
    assert text_of(edit(sandbox, command="view", path="lines.txt", view_range=[3000, 9999])) == "  3000\tline 3000"
    assert text_of(edit(sandbox, command="view", path="lines.txt")).endswith("[view_range shows the part that was cut]")


def test_a_directory_is_viewed_to_two_levels_without_what_is_hidden(sandbox):
    sandbox.run_code("mkdir -p tree/sub/deep tree/.git; touch tree/a tree/sub/b tree/sub/deep/c tree/.git/d", "bash")
    shown = text_of(edit(sandbox, command="view", path="/workspace/tree")).split("\n")
    expected = {"d /workspace/tree/sub", "d /workspace/tree/sub/deep", "f /workspace/tree/a", "f /workspace/tree/sub/b"}
    assert set(shown) == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"command": "view", "path": "/nowhere"}, "There is no file or directory /nowhere."),
        ({"command": "view", "path": "/dev/zero"}, "neither a file nor a directory"),
        ({"command": "view", "path": "big.bin"}, "is not a text file"),
        ({"command": "view", "path": "big.txt"}, "give view_range"),
        ({"command": "view", "path": "one.txt", "view_range": [2, 9]}, "has 1 lines; view_range begins at line 2."),
        ({"command": "create", "path": "/tmp", "file_text": "x"}, "Is a directory"),
        ({"command": "str_replace", "path": "/nowhere", "old_str": "x"}, "cannot be edited"),
        ({"command": "insert", "path": "one.txt", "insert_line": 9, "insert_text": "x"}, "insert_line can be 0 to 1"),
        ({"command": "str_replace", "path": "big.bin", "old_str": "x"}, "cannot be edited"),
    ],
)
def test_what_the_editor_cannot_do_is_said(sandbox, arguments, said):
    sandbox.files.write("big.bin", b"\0\xff" * 1000)
    sandbox.files.write("big.txt", b"0123456789\n" * 100_000)
    sandbox.files.write("one.txt", b"1\n")
    result = edit(sandbox, **arguments)
    assert result["is_error"]
    assert said in text_of(result)


def test_every_tool_leaves_its_provenance_in_the_notebook(sandbox):
    by = Provenance(operator="me", model="anthropic:claude-test", turn_id="turn_prov")
    uses = [
        block(use_id="p1", code="'mine'"),
        block("bash", use_id="p2", command="true"),
        block(EDITOR, use_id="p3", command="view", path="/workspace"),
    ]
    for one in uses:
        handle_tool_use(one, sandbox, by=by)
    told = [cell["metadata"]["podflare_nb"] for cell in sandbox.notebook()["cells"]]
    mine = [one for one in told if one.get("turn_id") == "turn_prov"]
    assert [one["tool_call_id"] for one in mine] == ["p1", "p2", "p3"]
    assert {one["operator"] for one in mine} == {"me"}


async def test_the_asynchronous_handlers_do_the_same(async_sandbox):
    ran = await handle_code_execution_tool_use_async(block(code="20 + 1"), async_sandbox)
    assert text_of(ran) == "21"
    assert text_of(await handle_bash_tool_use_async(block("bash", command="cd /tmp"), async_sandbox)) == "(no output)"
    assert text_of(await handle_tool_use_async(block("bash", command="pwd; cd /workspace"), async_sandbox)) == "/tmp"
    view = block(EDITOR, command="view", path="/nowhere")
    assert (await handle_text_editor_tool_use_async(view, async_sandbox))["is_error"]


async def test_the_wrong_kind_of_sandbox_is_named(sandbox, async_sandbox):
    with pytest.raises(TypeError, match="_async"):
        handle_tool_use(block(code="1"), async_sandbox)
    with pytest.raises(TypeError, match="without _async"):
        await handle_tool_use_async(block(code="1"), sandbox)


def test_specifications_are_the_callers_to_change():
    code_execution_tool()["input_schema"]["properties"].clear()
    assert "code" in code_execution_tool()["input_schema"]["properties"]
    assert tools() == [code_execution_tool(), bash_tool(), text_editor_tool()]
