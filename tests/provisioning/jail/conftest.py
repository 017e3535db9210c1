"""Runs what a test says in a process of its own: filters, capabilities and namespaces never come off again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PRELUDE = """
import ctypes, errno, json, os, signal, socket, subprocess, sys, threading
from podflare_nb.provisioning.jail import capabilities, seccomp, user_namespace
from podflare_nb.provisioning.jail import syscalls as sc
def under_the_filter():
    sc.set_no_new_privs()
    seccomp.install(seccomp.program())
def as_root_of_a_sandbox(owner=0):
    # By default the host's own ids: without a composed root, only they may read this Python.
    userns = user_namespace.create(owner)
    sc.setns(userns, sc.CLONE_NEWUSER)
    os.close(userns)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    sc.set_dumpable(dumpable=True)
def outcome(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
"""


def run_in_child(source, *arguments):
    """Run Python ``source`` after the prelude; what it prints last is its answer, as JSON."""
    process = subprocess.run(
        [sys.executable, "-c", PRELUDE + source, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def in_child():
    return run_in_child


def pytest_collection_modifyitems(items):
    """What builds namespaces and control groups takes root; as an ordinary user the product refuses, too."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and os.geteuid() != 0 and "in_child" in item.fixturenames:
            item.add_marker(pytest.mark.skip(reason="needs root"))
