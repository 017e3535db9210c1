from pathlib import Path

import pytest

from podflare_nb.provisioning.jail.cgroup_mounts import Hierarchy, find


@pytest.fixture
def machine(tmp_path):
    """Writes what a machine's /proc would say; ``ROOT`` in the lines stands for where its groups are."""

    def make(mountinfo, membership, groups):
        for group in groups:
            path = tmp_path / group
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(exist_ok=True)
        for name, text in (("mountinfo", mountinfo), ("membership", membership)):
            (tmp_path / name).write_text(text.replace("ROOT", str(tmp_path)))
        return tmp_path

    return make


def found(base: Path) -> list[Hierarchy]:
    return find(base / "mountinfo", base / "membership")


def test_version_1_has_a_hierarchy_for_each_controller_and_our_path_in_each(machine):
    base = machine(
        "31 23 0:28 / ROOT rw - tmpfs tmpfs rw\n"
        "32 31 0:29 / ROOT/memory rw - cgroup cgroup rw,memory\n"
        "33 31 0:30 / ROOT/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "34 31 0:31 / ROOT/devices rw - cgroup cgroup rw,devices\n",
        "4:memory:/outer/one\n3:devices:/\n2:cpu,cpuacct:/\n1:name=systemd:/x\n",
        ["memory/outer/one", "cpu,cpuacct", "devices"],
    )
    assert found(base) == [
        Hierarchy(1, base / "memory", base / "memory/outer/one", frozenset({"memory"})),
        Hierarchy(1, base / "cpu,cpuacct", base / "cpu,cpuacct", frozenset({"cpu", "cpuacct"})),
    ]


def test_version_2_offers_what_its_controllers_file_says(machine):
    base = machine("40 31 0:37 / ROOT/cg rw - cgroup2 cgroup2 rw,nsdelegate\n", "0::/user/me\n", ["cg/user/me"])
    (base / "cg/user/me/cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
    assert found(base) == [Hierarchy(2, base / "cg", base / "cg/user/me", frozenset({"memory", "cpu", "pids"}))]


def test_of_a_mixture_each_controller_is_taken_where_it_is(machine):
    base = machine(
        "40 31 0:37 / ROOT/unified rw - cgroup2 cgroup2 rw\n32 31 0:29 / ROOT/memory rw - cgroup cgroup rw,memory\n",
        "4:memory:/\n0::/\n",
        ["unified", "memory"],
    )
    (base / "unified/cgroup.controllers").write_text("cpu memory pids\n")
    assert [(each.version, sorted(each.controllers)) for each in found(base)] == [
        (1, ["memory"]),
        (2, ["cpu", "pids"]),
    ]


def test_a_container_that_sees_only_its_part_of_the_hierarchy_uses_the_top_of_what_it_sees(machine):
    base = machine(
        "32 31 0:29 /docker/abc ROOT/memory ro - cgroup cgroup rw,memory\n"
        "33 31 0:30 /docker/other ROOT/pids ro - cgroup cgroup rw,pids\n"
        "34 31 0:31 /../.. ROOT/cpu ro - cgroup cgroup rw,cpu\n",
        "3:memory:/docker/abc/inner\n2:pids:/docker/abc\n1:cpu:/\n",
        ["memory/inner", "pids", "cpu"],
    )
    assert [each.own.relative_to(base) for each in found(base)] == [Path("memory/inner"), Path("pids"), Path("cpu")]


def test_a_machine_without_control_groups_has_none(machine):
    assert found(machine("1 0 8:1 / / rw - ext4 /dev/sda rw\n", "0::/\n", [])) == []
