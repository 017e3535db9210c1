"""Real template processes and kernels, without a jail."""

import importlib.util

import pytest
from supervision import Template

SCIENCE = (
    "numpy",
    "pandas",
    "scipy",
    "scipy.stats",
    "matplotlib.pyplot",
    "pyarrow",
    "pyarrow.csv",
    "seaborn",
    "sklearn",
)


@pytest.fixture(scope="session")
def template():
    template = Template()
    assert template.configured["event"] == "ready", template.configured
    yield template
    assert template.close() == 0


@pytest.fixture(scope="session")
def science_template():
    missing = [name for name in SCIENCE if importlib.util.find_spec(name.partition(".")[0]) is None]
    if missing:
        pytest.skip(f"not installed: {missing}")
    template = Template(preload=SCIENCE)
    assert template.configured["event"] == "ready", template.configured
    yield template
    assert template.close() == 0


@pytest.fixture
def kernel(template):
    kernel = template.spawn()
    yield kernel
    kernel.close()


@pytest.fixture
def client(kernel):
    return kernel.client()


@pytest.fixture
def science(science_template):
    kernel = science_template.spawn()
    yield kernel.client()
    kernel.close()
