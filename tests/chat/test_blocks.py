import pytest

from podflare_nb.chat.blocks import Block, bound_names, depends_on_names, is_python, parse_message

CODE = [
    "print(6*7)", "1+1", "42", "'hello'", "df['a']", "[1, 2, 3]", "f(x)", "x = 5", "x: int", "import math",
    "import pandas as pd\ndf = pd.DataFrame()", "for i in range(3): print(i)", "def f():\n  return 1",
    "@dec\ndef f(): pass", "await foo()", "  print(1)\n  print(2)", "df.head()", "df.head?", "%pip install x",
    "  %time 1+1", "%matplotlib inline", "!ls", "! ls -la", "!pip install pandas", "files = !ls",
    "x = %timeit -o 1", "%%bash\necho hi", "%%time\nfoo()", "print('a'", "print('hello)",
    "for i in range(3)\n    print(i)",
]  # fmt: skip
PROSE = [
    "hello", "plot it", "hello world", "cats and dogs", "yes", "no", "continue", "pass", "this is it", "not now",
    "hello, world", "note: important", "global warming", "What is the mean?", "help", "return home", "well-known",
    "load a CSV, plot it, see the picture", "pip install pandas", "# Title\nsome words", "class action lawsuit",
    "what?", "node.js", "import the csv file and plot it", "from the data", "print hello", "Hi! How are you?",
    "go if ready else stop", "e.g.", "I'd like a plot of sin(x)", "50% of users", "plot sin(x)", "!", "   ", "",
]  # fmt: skip


@pytest.mark.parametrize("message", CODE)
def test_code_is_taken_for_code(message):
    assert is_python(message)


@pytest.mark.parametrize("message", PROSE)
def test_prose_is_taken_for_prose(message):
    assert not is_python(message)


def test_a_name_is_code_when_an_earlier_cell_has_bound_it():
    assert is_python("df", {"df"})
    assert is_python("df.shape", {"df"})
    assert depends_on_names("df")
    assert not depends_on_names("print(1)")
    assert not depends_on_names("plot it")


def test_fenced_blocks_are_found_in_order_whatever_their_fence():
    message = (
        "a\n```python\nprint(1)\n```\nb\n```sh\nls\n```\n```json\n{}\n```\n```\nx = 1\n```\n"
        "~~~py\n'```'\n~~~\n````{ipython}\n```\n````\n```Python title=x\nlast"
    )
    assert parse_message(message).blocks == (
        Block("print(1)"), Block("ls", "bash"), Block("x = 1"), Block("'```'"), Block("```"), Block("last"),
    )  # fmt: skip


def test_a_bash_cell_is_run_as_bash():
    parsed = parse_message("%%bash\nls\npwd\n")
    assert parsed.whole
    assert parsed.blocks == (Block("ls\npwd", "bash"),)


def test_an_indented_message_is_run_without_its_indent():
    assert parse_message("  x = 1\n  x\n").blocks == (Block("x = 1\nx"),)


def test_the_names_that_a_cell_binds():
    source = "import numpy.linalg as nl, os.path\nx, (y, *z) = f()\nfor q in []: pass\ndef g(): pass\nclass C: pass"
    assert bound_names(source) == {"nl", "os", "x", "y", "z", "q", "g", "C"}
    assert bound_names("not python at all") == set()


def test_hostile_messages_end_as_prose():
    assert not is_python("(" * 100_000)
    assert not is_python("\ud800 \ufeff")
