"""Libraries with threads of their own work in a child of the template that loaded them."""

import base64

import pytest

WORK = {
    "a matrix product": ("import numpy as np; a = np.ones((600, 600)); float((a @ a)[0, 0])", "600.0"),
    "a linear solve": ("import numpy as np; np.linalg.solve(np.eye(300) * 2, np.ones(300))[0].item()", "0.5"),
    "a group-by": (
        "import pandas as pd; pd.DataFrame({'k': list('aab'), 'v': [1, 2, 3]}).groupby('k').v.sum().to_dict()",
        "{'a': 3, 'b': 3}",
    ),
    "an arrow csv": (
        "import io, pyarrow.csv as c; c.read_csv(io.BytesIO(b'a,b\\n' + b'1,2\\n' * 200_000)).num_rows",
        "200000",
    ),
    "an arrow computation": (
        "import pyarrow.compute as pc, pyarrow as pa; pc.sum(pa.array(range(10_000))).as_py()",
        "49995000",
    ),
    "a fit": (
        (
            "import numpy as np; from sklearn.ensemble import RandomForestClassifier as F; x = np.arange(40)[:, None]\n"
            "int(F(10, n_jobs=2).fit(x, x[:, 0] > 20).predict([[35]])[0])"
        ),
        "1",
    ),
    "a fit with threads of OpenMP": (
        (
            "from sklearn.cluster import KMeans; import numpy as np\n"
            "len(KMeans(2, n_init=1).fit(np.random.rand(5000, 3)).cluster_centers_)"
        ),
        "2",
    ),
    "a statistic": ("from scipy import stats; round(float(stats.norm.cdf(0)), 3)", "0.5"),
}


@pytest.mark.parametrize(("code", "value"), WORK.values(), ids=WORK)
def test_work_with_threads_of_its_own_gives_its_result(science, code, value):
    assert science.value(code) == value


def test_numpy_draws_differ_between_children(science_template):
    kernels = [science_template.spawn() for _ in range(2)]
    try:
        draws = {kernel.client().value("import numpy as np; np.random.rand(3).tolist()") for kernel in kernels}
        assert len(draws) == 2
    finally:
        for kernel in kernels:
            kernel.close()


def test_a_plot_is_shown_as_a_picture(science):
    ran = science.run("import matplotlib.pyplot as plt\nplt.plot([1, 3, 2])")
    picture = ran.of("display_data")[0]["content"]["data"]["image/png"]
    assert base64.b64decode(picture).startswith(b"\x89PNG")


def test_seaborn_draws(science):
    ran = science.run(
        "import seaborn as sns, pandas as pd\nsns.barplot(pd.DataFrame({'a': ['x', 'y'], 'b': [1, 2]}), x='a', y='b')"
    )
    assert "image/png" in ran.of("display_data")[0]["content"]["data"]


def test_a_frame_is_shown_as_a_table(science):
    ran = science.run("import pandas as pd; pd.DataFrame({'a': [1]})")
    assert "<table" in ran.of("execute_result")[0]["content"]["data"]["text/html"]


def test_the_libraries_are_there_but_no_names_are(science):
    assert (
        science.value("'pandas' in __import__('sys').modules, 'pd' in globals(), '_pd' in globals()")
        == "(True, False, False)"
    )


def test_a_template_of_libraries_with_thread_pools_counts_their_threads(science_template):
    assert science_template.configured["event"] == "ready"
    assert science_template.configured["threads"] >= 1
