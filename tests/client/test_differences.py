import pytest
from stand_in_service import DIFFERENCE, NO_DIFFERENCE

from podflare_nb.client import CellDifferences, Diff, FileDifference, Variable, VariableChange


def test_every_part_of_a_difference_is_typed():
    diff = Diff.from_json(DIFFERENCE)
    assert diff.files.modified == (FileDifference("/root/both.csv", 1, 2),)
    assert diff.variables.added == (Variable("table", "DataFrame", "(2, 3)", "..."),)
    assert diff.variables.changed == (
        VariableChange("x", Variable("x", "int", None, "1"), Variable("x", "int", None, "2")),
    )
    assert diff.variables.unknown == ("odd",)
    assert diff.cells == CellDifferences(2, 0, 1, [{"op": "patch"}])
    assert diff.raw == DIFFERENCE


def test_the_paths_of_files_are_had_by_name_as_lists():
    diff = Diff.from_json(DIFFERENCE)
    assert diff["added"] == ["/root/new.csv", "/tmp/new.csv"]
    assert diff["removed"] == ["/root/gone.csv"]
    assert diff["modified"] == ["/root/both.csv"]
    with pytest.raises(KeyError):
        diff["other"]


def test_a_difference_is_true_and_none_is_false():
    assert Diff.from_json(DIFFERENCE)
    assert not Diff.from_json(NO_DIFFERENCE)
    assert not Diff.from_json({})
    one_variable = NO_DIFFERENCE | {"variables": {"added": [{"name": "x"}]}}
    assert Diff.from_json(one_variable)


def test_files_can_be_narrowed_to_directories_whose_names_begin_alike():
    files = {"added": [{"path": "/data/a"}, {"path": "/database/b"}, {"path": "/tmp/c"}]}
    diff = Diff.from_json({"files": files}).only_below(["/data", "/tmp/"])
    assert diff["added"] == ["/data/a", "/tmp/c"]


def test_directories_may_be_one_and_begin_in_the_workspace_as_other_paths_do():
    files = {"added": [{"path": "/workspace/data/a"}, {"path": "/workspace/b"}, {"path": "/tmp/c"}]}
    diff = Diff.from_json({"files": files})
    assert diff.only_below("/workspace")["added"] == ["/workspace/b", "/workspace/data/a"]
    assert diff.only_below("data")["added"] == diff.only_below(["./data"])["added"] == ["/workspace/data/a"]


def test_names_that_code_chose_neither_break_lines_nor_steer_a_terminal():
    files = {"added": [{"path": "/workspace/a\n- b\x1b]0;title\x07é \udcff"}]}
    assert str(Diff.from_json({"files": files})) == r"+ /workspace/a\n- b\x1b]0;title\x07é \udcff"


def test_it_reads_as_lines():
    assert str(Diff.from_json(DIFFERENCE)).splitlines() == [
        "+ /root/new.csv",
        "+ /tmp/new.csv",
        "- /root/gone.csv",
        "~ /root/both.csv",
        "+ table: DataFrame = ...",
        "- old: int = 7",
        "~ x: int = 1 -> 2",
        "? odd: could not be compared",
        "3 cells: +2 -0 ~1",
    ]
    assert str(Diff.from_json(NO_DIFFERENCE)) == "No difference."
