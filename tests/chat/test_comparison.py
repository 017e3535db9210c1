import pytest

from podflare_nb.chat.comparison import compared

EVERYTHING = {
    "files": {
        "added": [{"path": "plot.png", "size": 12_345}],
        "removed": [{"path": "old.csv", "size": 1}],
        "modified": [{"path": "data.csv", "size": 10, "other_size": 2_000}],
        "truncated": True,
    },
    "variables": {
        "added": [{"name": "score", "type": "float", "shape": None, "repr": "0.93"}],
        "removed": [],
        "changed": [
            {
                "name": "df",
                "before": {"type": "DataFrame", "shape": [100, 3], "repr": "   a  b\n0  1  2"},
                "after": {"type": "DataFrame", "shape": [90, 3], "repr": "x"},
            }
        ],
        "unknown": ["weird"],
    },
    "cells": {"diff": [], "summary": {"added": 2, "removed": 0, "modified": 1}},
}


def test_every_kind_of_difference_is_told():
    assert compared(EVERYTHING, "a", "b", 8000) == (
        "From a to b: files: 1 added, 1 removed, 1 changed; variables: 1 added, 1 changed; "
        "cells: 2 added, 1 changed.\n"
        "Files only in b:\n  plot.png (12,345 bytes)\n"
        "Files only in a:\n  old.csv (1 bytes)\n"
        "Files that differ:\n  data.csv: 10 -> 2,000 bytes\n"
        "[there are more files that differ than were looked at]\n"
        "Variables only in b:\n  score: float 0.93\n"
        "Variables that differ:\n  df: DataFrame [100, 3] a b 0 1 2 -> DataFrame [90, 3] x\n"
        "Variables that could not be compared:\n  weird"
    )


def test_branches_that_are_the_same_differ_in_nothing():
    assert compared({"files": {}, "variables": {}, "cells": {}}, "a", "b", 8000) == "From a to b: nothing."


def test_a_huge_difference_is_bounded_and_says_how_much_there_is():
    files = [{"path": "x" * 5000, "size": 1}] * 10_000
    variables = [{"name": f"v{n}", "type": "str", "repr": "y" * 9000} for n in range(10_000)]
    text = compared({"files": {"added": files}, "variables": {"added": variables}}, "a", "b", 2000)
    assert len(text) < 2200
    assert "files: 10,000 added; variables: 10,000 added" in text


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        {"files": None, "variables": [], "cells": "x"},
        {"files": {"added": [1, None], "modified": [{}]}, "variables": {"changed": [{"before": 3}], "unknown": 7}},
        {"cells": {"added": True, "removed": "many"}},
    ],
)
def test_nonsense_never_raises(nonsense):
    assert compared(nonsense, "a", "b", 8000).startswith("From a to b: ")
