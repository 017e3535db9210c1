"""Fails loudly when a release of ipykernel or IPython moves what the kernel is built on."""

import importlib
import inspect

import ipykernel
import pytest
from ipykernel.kernelbase import Kernel

from podflare_nb.provisioning.kernel.ipykernel_seam import SEAMS


def test_the_release_is_one_that_was_tested():
    assert ipykernel.version_info[:2] == (7, 4)


@pytest.mark.parametrize("owner", SEAMS)
def test_every_attribute_that_is_overridden_exists(owner):
    module, _, name = owner.partition(":")
    cls = getattr(importlib.import_module(module), name)
    source = inspect.getsource(importlib.import_module(module))
    gone = [each for each in SEAMS[owner].split() if not hasattr(cls, each) and f"self.{each} = " not in source]
    assert gone == []


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("dispatch_shell", ["self", "msg", "subshell_id", "concurrent"]),
        ("shell_main", ["self", "subshell_id", "msg"]),
        ("_abort_queues", ["self", "subshell_id"]),
        ("_publish_status", ["self", "status", "channel", "parent"]),
        ("set_parent", ["self", "ident", "parent", "channel"]),
    ],
)
def test_signatures_have_not_changed(method, parameters):
    assert list(inspect.signature(getattr(Kernel, method)).parameters) == parameters
