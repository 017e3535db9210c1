"""What a create may ask for."""

import pytest

from podflare_nb.errors import InvalidArgumentError, NoCapacityError, NotFoundError
from podflare_nb.protocol.egress import INTERNET, OFF, Egress, networks
from podflare_nb.provisioning.limits import Limits
from podflare_nb.provisioning.network.addresses import Reach
from podflare_nb.sandboxes.creation import CreateSpec, plan
from podflare_nb.sandboxes.settings import NetworkSettings

from .conftest import settings

egress = Egress.from_json


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
        ({"egress": egress({"allow": ["10.0.0.0/8"]})}, "10.0.0.0/8"),
        ({"persistent": True}, "persistent"),
        ({"labels": {str(n): "" for n in range(100)}}, "labels"),
        ({"labels": {"a": "x" * 2000}}, "labels"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_sentence(spec, named):
    with pytest.raises(InvalidArgumentError, match=named):
        plan(CreateSpec(**spec), settings())


@pytest.mark.parametrize("wanted", [None, INTERNET, OFF, egress({"allow": []}), egress({"allow": ["pypi.org"]})])
def test_the_network_that_is_asked_for_is_planned_whatever_the_default_is(wanted):
    assert plan(CreateSpec(egress=wanted), settings()).egress == wanted


def test_a_private_range_can_be_named_where_the_operator_opens_it():
    wanted = egress({"allow": ["10.1.2.0/24:5432"]})
    opened = settings(network=NetworkSettings(reach=Reach(private=networks(["10.1.0.0/16"]))))
    assert plan(CreateSpec(egress=wanted), opened).egress == wanted


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (INTERNET, "egress is true, which is more .* at most: a.example, 10.1.0.0/16"),
        (egress({"allow": ["a.example", "b.example"]}), "egress allows 'b.example', which is more"),
        (egress({"allow": ["10.1.2.3", "10.0.0.0/8"]}), "egress allows '10.0.0.0/8', which is more"),
    ],
)
def test_more_than_the_operator_allows_is_refused_with_what_that_is(wanted, named):
    most = egress({"allow": ["a.example", "10.1.0.0/16"]})
    here = settings(network=NetworkSettings(most, most, Reach(private=networks(["10.0.0.0/8"]))))
    with pytest.raises(InvalidArgumentError, match=named):
        plan(CreateSpec(egress=wanted), here)
    within = egress({"allow": ["a.example:443", "10.1.2.3"]})
    assert plan(CreateSpec(egress=within), here).egress == within


def test_the_internet_is_refused_with_the_reason_where_the_machine_cannot_give_it():
    here = settings(network=NetworkSettings(no_internet="There is no veth."))
    with pytest.raises(NoCapacityError, match="There is no veth"):
        plan(CreateSpec(egress=INTERNET), here)
    assert plan(CreateSpec(egress=OFF), here).egress == OFF


def test_without_isolation_a_limit_on_the_network_is_refused():
    here = settings(network=NetworkSettings(isolated=False))
    for wanted in (OFF, egress({"allow": []})):
        with pytest.raises(InvalidArgumentError, match="--isolation none"):
            plan(CreateSpec(egress=wanted), here)
    assert plan(CreateSpec(egress=INTERNET), here).egress is None
