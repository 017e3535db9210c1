import nbformat
import pytest

from .conftest import assert_refused, run


def test_the_notebook_has_what_was_run_and_is_valid(http, sandbox):
    run(http, sandbox, "print('hello')")
    run(http, sandbox, "echo bash", language="bash")
    for path in ("notebook", "notebook.ipynb"):
        answer = http.get(f"/v1/sandboxes/{sandbox}/{path}")
        notebook = nbformat.reads(answer.text, as_version=4)
        nbformat.validate(notebook)
        assert [cell["source"] for cell in notebook["cells"]] == ["print('hello')", "%%bash\necho bash"]
        assert notebook["cells"][0]["outputs"][0]["text"] == "hello\n"
    assert f"{sandbox}.ipynb" in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    ("kind", "content_type"), [("html", "text/html"), ("md", "text/markdown"), ("py", "text/x-python")]
)
def test_the_notebook_is_exported(http, sandbox, kind, content_type):
    run(http, sandbox, "print('hello')")
    answer = http.get(f"/v1/sandboxes/{sandbox}/notebook.{kind}")
    assert answer.headers["Content-Type"].startswith(content_type)
    assert "hello" in answer.text
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    kept = http.get(f"/v1/sandboxes/{sandbox}/notebook.{kind}?download")
    assert f"{sandbox}.{kind}" in kept.headers["Content-Disposition"]


def test_a_closed_sandboxs_notebook_stays(http, sandbox):
    run(http, sandbox, "print('kept')")
    http.delete(f"/v1/sandboxes/{sandbox}")
    cells = http.get(f"/v1/sandboxes/{sandbox}/notebook").json()["cells"]
    assert "".join(cells[0]["source"]) == "print('kept')"


def test_a_format_that_there_is_not_is_not_found(http, sandbox):
    assert_refused(http.get(f"/v1/sandboxes/{sandbox}/notebook.pdf"), 404, "not_found", "notebook.pdf")
