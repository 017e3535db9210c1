import pytest

from podflare_nb.cli.branch_commands import BranchCommands
from podflare_nb.errors import InvalidArgumentError

ROOT, ONE, TWO, GONE = "sbx_root", "sbx_one", "sbx_two", "sbx_gone"


def row(name, **more):
    forked = None if name == ROOT else {"sandbox_id": ROOT, "turn_id": "t1", "at": "2026-01-01T12:00:00Z"}
    given = {"id": name, "forked_from": forked, "state": "ready", "end_reason": None, "merged_into": None}
    return given | {"title": None} | more


FAMILY = {
    "branches": [
        row(ROOT, title="load\x1b]0;evil\x07 it"),
        row(ONE),
        row(TWO),
        row(GONE, state="closed", end_reason="idle_timeout"),
        row("sbx_won", state="closed", end_reason="merged", merged_into=ROOT),
    ],
    "checkpoints": [{"turn_id": name, "at": "2026-01-01T12:00:00Z", "private_bytes": 1} for name in ("t1", "t2")],
}
DIFFERENCE = {
    "files": {"added": [{"path": "/workspace/a", "size": 1}], "removed": [], "modified": [], "truncated": True},
    "variables": {
        "added": [{"name": "y", "type": "int", "shape": None, "repr": "2"}],
        "removed": [],
        "changed": [{"name": "x", "before": {"repr": "1"}, "after": {"repr": "\x1b[2J2"}}],
        "unknown": ["odd"],
    },
    "cells": {"added": 2, "removed": 0, "modified": 0, "nbdime": []},
}


class RecordedApi:
    """Answers what a service would, and keeps what it was asked."""

    def __init__(self):
        self.calls = []
        self.family = FAMILY
        self.difference = DIFFERENCE

    def call(self, method, path, body=None):
        self.calls.append((method, path, body))
        return {
            "branches": self.family,
            "fork": {"children": [ONE, TWO], "warnings": ["The thread w stays."], "failures": []},
            "diff": self.difference,
            "rewind": {"branch": ONE},
        }.get(path.split("/")[2])

    @property
    def changes(self):
        return [(path, body) for method, path, body in self.calls if method == "POST"]


@pytest.fixture
def api():
    return RecordedApi()


@pytest.fixture
def commands(api):
    return BranchCommands(api, ROOT)


@pytest.mark.parametrize("message", ["hello", "/tmp/a.csv is my file", "/forks", "x = 1 /fork", "/Fork"])
def test_what_is_no_command_is_for_the_agent(commands, api, message):
    assert not commands.run(message)
    assert api.calls == []


def test_fork_makes_branches_and_tells_what_stayed_behind(commands, api, capsys):
    assert commands.run("/fork 2")
    assert api.changes == [(f"sandboxes/{ROOT}/fork", {"n": 2})]
    shown = capsys.readouterr().out
    assert "The thread w stays." in shown
    assert f"2  {ONE}" in shown
    assert f"3  {TWO}" in shown
    assert GONE not in shown
    assert commands.run(" /fork ")
    assert api.changes[-1] == (f"sandboxes/{ROOT}/fork", {"n": 1})


def test_branches_draws_the_family_marks_the_one_in_use_and_lists_what_can_be_rewound_to(commands, capsys):
    commands.sandbox = ONE
    commands.run("/branches")
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == f"   1  {ROOT}  ready  load]0;evil it"
    assert lines[0] == f"*  2  ├─ {ONE}  ready"
    assert lines[2] == f"   4  ├─ {GONE}  closed (idle_timeout)"
    assert lines[3] == f"   5  └─ sbx_won  merged into {ROOT}"
    assert lines[4].startswith("rewind 1: turn t1, 2026-01-01")


@pytest.mark.parametrize("named", ["3", TWO, "sbx_t"])
def test_switch_takes_a_number_an_id_or_its_beginning(commands, named):
    commands.run(f"/switch {named}")
    assert commands.sandbox == TWO


@pytest.mark.parametrize("named", ["", "0", "6", "sbx_", "two", "-1", "٣٤٥"])
def test_switch_to_what_is_none_or_several_says_what_to_name(commands, named):
    with pytest.raises(InvalidArgumentError, match="/branches"):
        commands.run(f"/switch {named}")
    assert commands.sandbox == ROOT


def test_switch_to_an_ended_branch_says_where_its_notebook_is(commands):
    with pytest.raises(InvalidArgumentError, match=f"podflare-nb export {GONE}"):
        commands.run("/switch 4")


def test_diff_shows_files_variables_and_cells_and_steers_no_terminal(commands, api, capsys):
    commands.run("/diff 2")
    assert api.changes == [(f"sandboxes/{ROOT}/diff", {"other": ONE})]
    shown = capsys.readouterr().out
    assert shown.splitlines() == [
        "+ /workspace/a",
        "  ... and more files",
        "+ y: 2",
        "~ x: 1 -> [2J2",
        "? odd: could not be compared",
        "cells: 2 added, 0 removed, 0 modified",
    ]


def test_of_many_files_some_are_shown_and_the_rest_is_counted(commands, api, capsys):
    files = {"added": [{"path": f"/workspace/{number}", "size": 1} for number in range(25)]}
    api.difference = {"files": files, "variables": {}, "cells": {}}
    commands.run("/diff 2")
    assert capsys.readouterr().out.splitlines()[20:] == ["  ... and 5 more files"]


def test_no_difference_is_said(commands, api, capsys):
    api.difference = {"files": {}, "variables": {}, "cells": {}}
    commands.run("/diff 2")
    assert capsys.readouterr().out == "No difference.\n"


def test_merge_with_a_name_makes_this_one_that_branch(commands, api):
    commands.run("/merge 2")
    assert api.changes == [(f"sandboxes/{ROOT}/merge_into/{ONE}", None)]
    assert commands.sandbox == ROOT


def test_merge_alone_merges_this_branch_into_where_it_came_from_and_goes_there(commands, api):
    commands.sandbox = TWO
    commands.run("/merge")
    assert api.changes == [(f"sandboxes/{ROOT}/merge_into/{TWO}", None)]
    assert commands.sandbox == ROOT


def test_merge_alone_of_the_first_sandbox_asks_for_a_branch(commands, api):
    with pytest.raises(InvalidArgumentError, match="name the branch"):
        commands.run("/merge")
    assert api.changes == []


def test_rewind_takes_a_turn_and_names_the_way_not_taken(commands, api, capsys):
    commands.run("/rewind 1")
    commands.run("/rewind t2")
    assert [body for _, body in api.changes] == [{"turn_id": "t1"}, {"turn_id": "t2"}]
    assert ONE in capsys.readouterr().out


def test_rewind_where_nothing_is_kept_says_how_to_keep_it(commands, api):
    api.family = FAMILY | {"checkpoints": []}
    with pytest.raises(InvalidArgumentError, match="--checkpoints"):
        commands.run("/rewind 1")


def test_a_fork_of_what_is_no_number_is_refused_here(commands, api):
    with pytest.raises(InvalidArgumentError, match="number of branches"):
        commands.run("/fork many")
    assert api.calls == []


def test_help_names_every_command(commands, capsys):
    commands.run("/help")
    shown = capsys.readouterr().out
    for name in ("/fork", "/branches", "/switch", "/diff", "/merge", "/rewind", "/quit"):
        assert name in shown


def test_live_branches_are_those_to_close(commands):
    assert commands.live() == [ROOT, ONE, TWO]
