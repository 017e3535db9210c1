"""The difference of two branches, from what hostile kernels say of their variables and tenants print into cells."""

import json
import subprocess

import nbformat
import pytest
from nbdime import patch_notebook

from podflare_nb.sandboxes import difference

DIGEST, OTHER_DIGEST = "a" * 32, "b" * 32
NOTHING = {"added": 0, "removed": 0, "modified": 0}
NO_FILES = {"added": [], "removed": [], "modified": [], "truncated": False}


def variable(name, fingerprint=DIGEST, **fields):
    return {
        "name": name, "type": "int", "shape": None, "repr": "1", "fingerprint": fingerprint, "unknown": False, **fields
    }  # fmt: skip


def said(*variables, truncated=False):
    return {"variables": list(variables), "truncated": truncated}


def code(source, cell_id, *texts):
    outputs = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in texts]
    return nbformat.v4.new_code_cell(source, id=cell_id, outputs=outputs)


def notebook(*cells):
    return json.loads(json.dumps(nbformat.v4.new_notebook(cells=list(cells))))


def test_what_only_the_other_has_is_added_and_what_it_lost_is_removed():
    found = difference.variable_changes(
        said(variable("both"), variable("mine"), variable("x")),
        said(variable("both"), variable("its"), variable("x", OTHER_DIGEST, repr="2")),
    )
    assert found == {
        "added": [{"name": "its", "type": "int", "shape": None, "repr": "1"}],
        "removed": [{"name": "mine", "type": "int", "shape": None, "repr": "1"}],
        "changed": [
            {
                "name": "x",
                "before": {"type": "int", "shape": None, "repr": "1"},
                "after": {"type": "int", "shape": None, "repr": "2"},
            }
        ],
        "unknown": [],
        "truncated": False,
    }


@pytest.mark.parametrize(
    ("mine", "its", "where"),
    [
        (variable("v"), variable("v"), None),
        (variable("v"), variable("v", OTHER_DIGEST), "changed"),
        (variable("v", shape=[3]), variable("v", shape=[4]), "changed"),
        (variable("v"), variable("v", type="str"), "changed"),
        (variable("v", None, unknown=True), variable("v", None, unknown=True), "unknown"),
        (variable("v", unknown=True), variable("v", unknown=True), "unknown"),
        (variable("v", unknown=True), variable("v", OTHER_DIGEST, unknown=True), "changed"),
        (variable("v"), variable("v", None, unknown=True), "unknown"),
    ],
)
def test_a_variable_that_both_have_is_the_same_or_changed_or_unknown(mine, its, where):
    found = difference.variable_changes(said(mine), said(its))
    assert [kind for kind in ("changed", "unknown") if found[kind]] == ([where] if where else [])


def test_a_list_that_was_cut_makes_nothing_added_or_removed():
    found = difference.variable_changes(said(variable("a"), truncated=True), said(variable("b")))
    assert (found["added"], [entry["name"] for entry in found["removed"]], found["truncated"]) == ([], ["a"], True)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"variables": None},
        {"variables": {"a": 1}},
        {"variables": [None, 7, "x", [], {}, {"name": None}, {"name": {"a": 1}}]},
        {
            "variables": [
                {"name": "ok", "type": 7, "shape": {"x": 1}, "repr": ["x"], "fingerprint": 12, "unknown": "no"}
            ]
        },
        {"variables": [{"name": "ok", "shape": [-1, 1e308, None, "9", True, 1 << 200] * 1000}]},
        {"variables": [{"name": "x" * 1_000_000, "type": "y" * 1_000_000, "repr": "z" * 1_000_000}]},
        {"variables": [{"name": "\ud800\udcff\x00\x1b[2J", "repr": "\udfff"}]},
        {"variables": [{"name": "n", "fingerprint": "f" * 10_000_000}]},
        {"variables": [{"name": str(number), "repr": "x" * 1000} for number in range(20_000)]},
    ],
)
def test_whatever_a_kernel_says_of_its_variables_comes_out_checked_and_bounded(raw):
    for found in (difference.variable_changes(raw, said()), difference.variable_changes(said(variable("ok")), raw)):
        encoded = json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
        assert len(encoded) < 8 << 20
        assert set(found) == {"added", "removed", "changed", "unknown", "truncated"}
        for entry in found["added"] + found["removed"]:
            assert [type(entry[field]) for field in ("name", "type", "repr")] == [str, str, str]
            assert entry["shape"] is None or all(type(length) is int and length >= 0 for length in entry["shape"])


def test_files_pass_with_their_sizes_and_names_that_any_client_can_read():
    found = difference.file_changes(
        {
            "added": [{"path": "/workspace/\udcff\udcfe.txt", "size": 3}, {"path": "/tmp/é", "size": 0}],
            "removed": [{"path": "/x", "size": -7}, {"path": 7, "size": 7}, "nonsense"],
            "modified": [{"path": "/m", "size": 1, "other_size": 2}],
            "truncated": False,
        }
    )
    assert found == {
        "added": [{"path": "/workspace/\\xff\\xfe.txt", "size": 3}, {"path": "/tmp/é", "size": 0}],
        "removed": [{"path": "/x", "size": 0}],
        "modified": [{"path": "/m", "size": 1, "other_size": 2}],
        "truncated": False,
    }


def test_files_without_an_answer_are_truncated():
    assert difference.file_changes({}) == {**NO_FILES, "truncated": True}


def test_cells_are_told_in_nbdimes_format_so_that_nbdime_can_apply_them():
    shared = [code(f"shared = {number}", f"s{number}", "text") for number in range(5)]
    one = notebook(*shared, code("train(rate=1)", "one", "loss 1"), code("report()", "end"))
    other = notebook(
        *shared, code("train(rate=2)", "two", "loss 2"), code("plot_everything()", "new"), code("report()", "end")
    )
    found = difference.cells(one, other)
    assert found["summary"] == {"added": 1, "removed": 0, "modified": 1}
    assert [operation["key"] for operation in found["diff"][0]["diff"]] == [5, 6]
    operations = nbformat.from_dict(found["diff"])
    assert patch_notebook(nbformat.from_dict(one), operations) == nbformat.from_dict(other)


def test_cells_that_only_one_has_are_counted_on_its_side():
    shared = [code("import numpy", "s")]
    long = notebook(*shared, code("first_of_the_new_cells()", "a"), code("second_of_the_new_cells()", "b"))
    assert difference.cells(notebook(*shared), long)["summary"] == {**NOTHING, "added": 2}
    assert difference.cells(long, notebook(*shared))["summary"] == {**NOTHING, "removed": 2}


def test_the_same_id_is_the_same_cell_whatever_is_in_it():
    one = notebook(code("a_name = 'something'", "same"), code("kept_as_it_is()", "kept"))
    other = notebook(code("import os; os.getcwd()", "same"), code("kept_as_it_is()", "kept"))
    assert difference.cells(one, other)["summary"] == {**NOTHING, "modified": 1}


def test_equal_notebooks_need_no_process(monkeypatch):
    monkeypatch.setattr(subprocess, "run", None)
    book = notebook(code("x", "a", "text"))
    of_a_branch = {**json.loads(json.dumps(book)), "metadata": {"forked_from": "another"}}
    assert difference.cells(book, of_a_branch) == {"diff": [], "summary": NOTHING}


def test_output_made_to_take_nbdime_for_ever_ends_with_the_counts(monkeypatch):
    """Character by character, these take difflib hours."""
    monkeypatch.setattr(difference, "NBDIME_SECONDS", 1.0)
    texts = ["".join("ab"[number * number // divisor % 2] for number in range(300_000)) for divisor in (7, 11)]
    found = difference.cells(notebook(code(texts[0], "a")), notebook(code(texts[1], "a"), code("", "b")))
    assert (found["diff"], found["summary"]) == (None, {"added": 1, "removed": 0, "modified": 1})
    assert "within 1 s" in found["message"]


def test_notebooks_too_large_to_compare_are_counted_by_ids(monkeypatch):
    monkeypatch.setattr(difference, "MAX_NOTEBOOK_BYTES", 1000)
    found = difference.cells(notebook(code("x", "a"), code("y", "b")), notebook(code("x" * 2000, "a"), code("z", "c")))
    assert (found["diff"], found["summary"]) == (None, {"added": 1, "removed": 1, "modified": 1})


def test_a_difference_too_large_to_send_is_counted(monkeypatch):
    monkeypatch.setattr(difference, "MAX_DIFF_BYTES", 100)
    found = difference.cells(notebook(), notebook(code("x" * 200, "a")))
    assert (found["diff"], found["summary"]) == (None, {**NOTHING, "added": 1})


def test_hostile_texts_in_cells_pass_the_process_as_they_are():
    text = "\ud800 \x00 \u202e " + "\n".join("<script>" for _ in range(10))
    found = difference.cells(notebook(), notebook(code(text, "a", text)))
    (cell,) = found["diff"][0]["diff"][0]["valuelist"]
    assert (cell["source"], cell["outputs"][0]["text"]) == (text, text)


def test_the_parts_make_the_answer_of_the_service():
    book = notebook()
    found = difference.compare(NO_FILES, (said(), said(variable("x"))), (book, book))
    assert found["files"] == NO_FILES
    assert [entry["name"] for entry in found["variables"]["added"]] == ["x"]
    assert found["cells"] == {"diff": [], "summary": NOTHING}
