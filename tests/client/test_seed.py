"""The seed's "persistent REPL pattern", word for word but for the import and the place of its data.

The seed reads its parquet file from the web; a jail has no network here, so the same bytes are put into the
workspace first and read from there. Nothing is configured in code: the client finds the service of this machine
by its data directory, as it does after ``make run``.
"""

import contextlib
import io
import textwrap

import pytest

from podflare_nb.client import Client

SEED = """
from podflare_nb import Sandbox
sbx = Sandbox(template="python-datasci", idle_timeout_seconds=1800)
WRITE_THE_FILE
# Turn 1 — load data
sbx.run_code(\"\"\"
import pandas as pd
df = pd.read_parquet('events.parquet')
print(df.shape)
\"\"\")
# Turn 2 — df is still there
r = sbx.run_code("print(df.head().to_string())")
print(r.stdout)
# Turn 3 — even a file is still there
sbx.run_code("df.head(100).to_csv('/tmp/sample.csv')")
sbx.run_code("import os; print(os.listdir('/tmp'))")
sbx.close()
"""

WRITE_THE_FILE = """
sbx.run_code(
    "import pandas as pd; pd.DataFrame({'user': ['ada', 'bob'] * 100, 'n': range(200)}).to_parquet('events.parquet')"
)
"""


@pytest.fixture
def on_this_machine(service, monkeypatch):
    for name in ("PODFLARE_NB_URL", "PODFLARE_NB_API_KEY", "PODFLARE_HOST", "PODFLARE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PODFLARE_NB_DATA_DIR", str(service.data_dir))


@pytest.mark.usefixtures("on_this_machine")
def test_the_persistent_repl_pattern_runs_with_only_the_import_changed():
    printed = io.StringIO()
    variables = {}
    with contextlib.redirect_stdout(printed):
        exec(textwrap.dedent(SEED).replace("WRITE_THE_FILE", WRITE_THE_FILE), variables)
    assert "user" in printed.getvalue()
    assert "ada" in printed.getvalue()
    cells = variables["sbx"].notebook()["cells"]
    outputs = ["".join(output.get("text", "")) for cell in cells for output in cell.get("outputs", [])]
    assert any("(200, 2)" in text for text in outputs)
    assert any("sample.csv" in text for text in outputs)


@pytest.mark.usefixtures("on_this_machine")
def test_leaving_with_closes_the_seeds_sandbox(service):
    from podflare_nb import Sandbox  # noqa: PLC0415 - as a user writes it

    with Sandbox() as sandbox:
        assert sandbox.run_code("print(6 * 7)").stdout == "42"
    with Client(service.url, service.key) as client:
        assert sandbox.id not in [info.id for info in client.sandboxes()]
