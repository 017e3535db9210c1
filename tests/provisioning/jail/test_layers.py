import os
from collections import Counter
from pathlib import Path

import pytest

from podflare_nb.errors import IsolationError
from podflare_nb.provisioning.jail import layers
from podflare_nb.provisioning.jail.layers import Layer, require

from ...faults.traces import mounts, own_descriptors, until_no_more

SECONDS = 60
HAD = Layer("overlayfs", available=True, detail="can be mounted")


def test_every_layer_is_told_with_a_sentence_and_a_remedy_where_it_is_missing():
    found = layers.probe()
    names = [layer.name for layer in found]
    assert len(set(names)) == len(names)
    for needed in ("root", "user namespace", "overlayfs over idmapped mounts", "seccomp", "cgroups", "disk"):
        assert needed in names
    for layer in found:
        assert layer.detail
        assert bool(layer.remedy) != layer.available


def test_probing_leaves_no_process_mount_group_or_file_behind(tmp_path, monkeypatch):
    def held():
        children = (path.read_text().split() for path in Path("/proc/self/task").glob("*/children"))
        return own_descriptors() + Counter(f"child {pid}" for pids in children for pid in pids) + Counter(mounts())

    monkeypatch.setattr(layers.tempfile, "tempdir", str(tmp_path))
    before = held()
    layers.probe()
    until_no_more(held, before, SECONDS)
    assert list(tmp_path.iterdir()) == []


def test_a_probe_that_dies_or_hangs_is_a_missing_layer(monkeypatch):
    monkeypatch.setattr(layers, "PROBE_SECONDS", 0)
    probes = (
        layers._Probe("dies", lambda _: os._exit(3), "", "a remedy"),
        layers._Probe("hangs", lambda _: os.read(os.pipe()[0], 1) and None, "", "a remedy"),
    )
    monkeypatch.setattr(layers, "_PROBES", probes)
    assert [(layer.available, layer.remedy) for layer in layers.probe()] == [(False, "a remedy")] * 2


def test_all_layers_are_enough():
    require([HAD])


def test_an_ordinary_user_is_told_to_be_root_or_to_do_without_isolation():
    with pytest.raises(IsolationError) as raised:
        require([Layer("root", available=False, detail="uid 1000", remedy="x"), HAD])
    assert "as root" in raised.value.message
    assert "--isolation none" in raised.value.message
    assert raised.value.message.count(".") == 1


def test_a_missing_layer_refuses_with_one_sentence_that_names_it_and_says_what_to_do():
    missing = Layer("seccomp", available=False, detail="Invalid argument", remedy="use another Linux")
    with pytest.raises(IsolationError) as raised:
        require([HAD, missing])
    assert raised.value.details == {"missing": ["seccomp"]}
    for part in ("seccomp", "Invalid argument", "use another Linux", "--isolation none"):
        assert part in raised.value.message


def test_without_isolation_nothing_is_required():
    require([Layer("root", available=False, detail="uid 1000", remedy="x")], isolation="none")
