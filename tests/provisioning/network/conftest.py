"""A lab for all tests of a module, and supervisors on it that are started when they are first asked for."""

import os
from collections.abc import Iterator

import pytest

from .lab import Lab, LabSupervisor


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    built = Lab.build()
    yield built
    built.close()


@pytest.fixture(scope="module")
def supervisors(lab: Lab):
    """``get(*without, network=...)``: one supervisor for each set of layers left out and each configuration."""
    running: dict[object, LabSupervisor] = {}

    def get(*without, network=None):
        key = (without, network)
        if key not in running:
            running[key] = lab.start(*without, network=network)
        return running[key]

    yield get
    for each in running.values():
        each.close()
