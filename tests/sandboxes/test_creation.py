"""What a create may ask for."""

import pytest

from podflare_nb.errors import InvalidArgumentError, NotFoundError
from podflare_nb.provisioning.limits import Limits
from podflare_nb.sandboxes.creation import CreateSpec, plan

from .conftest import settings


def test_an_empty_create_is_the_template_as_it_is():
    made = plan(CreateSpec(), settings())
    assert (made.template, made.limits, made.timeout_seconds) == ("plain", None, 8 * 3600)


def test_default_means_the_configured_template():
    assert plan(CreateSpec(template="default"), settings()).template == "plain"


def test_an_unknown_template_is_refused_with_those_there_are():
    with pytest.raises(NotFoundError, match="plain"):
        plan(CreateSpec(template="nope"), settings())


def test_memory_and_disk_change_the_limits():
    made = plan(CreateSpec(ram_mib=512, rootfs_gb=0.5), settings())
    assert made.limits == Limits(memory_mib=512, disk_mib=512)


def test_asking_for_what_the_template_has_keeps_the_warm_pool():
    assert plan(CreateSpec(ram_mib=2048), settings()).limits is None


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"timeout_seconds": 0}, "timeout_seconds must be between 1"),
        ({"timeout_seconds": 10**9}, "604800"),
        ({"idle_timeout_seconds": -5}, "idle_timeout_seconds"),
        ({"ram_mib": 1}, "ram_mib must be between 64"),
        ({"ram_mib": 10**9}, "ram_mib"),
        ({"rootfs_gb": float("nan")}, "rootfs_gb"),
        ({"rootfs_gb": -1.0}, "rootfs_gb"),
        ({"egress": True}, "networks are off"),
        ({"persistent": True}, "persistent"),
        ({"labels": {str(n): "" for n in range(100)}}, "labels"),
        ({"labels": {"a": "x" * 2000}}, "labels"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_sentence(spec, named):
    with pytest.raises(InvalidArgumentError, match=named):
        plan(CreateSpec(**spec), settings())
