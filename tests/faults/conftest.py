"""What faults of networks need: the lab, with a host and an internet of its own."""

from ..provisioning.network.conftest import lab  # noqa: F401 - a fixture
