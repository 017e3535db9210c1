"""What attacks on the network need: the lab, with a host and an internet of its own."""

from ..provisioning.network.conftest import lab, supervisors  # noqa: F401 - fixtures
