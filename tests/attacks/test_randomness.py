"""Kernels of one template draw different numbers, though each is a copy of the same memory."""

import json

import pytest

from ..faults.caller import Caller

DRAW = """
import json, multiprocessing, numpy, os, pandas, random, secrets, ssl, tempfile, uuid
print(json.dumps({
    "random": random.random(),
    "random of the system": random.SystemRandom().random(),
    "numpy": float(numpy.random.rand()),
    "numpy's generator": float(numpy.random.default_rng().random()),
    "pandas": int(pandas.Series(range(10**6)).sample(1).iloc[0]),
    "uuid1": uuid.uuid1().hex,
    "uuid4": uuid.uuid4().hex,
    "secrets": secrets.token_hex(8),
    "tempfile": tempfile.mktemp(),
    "urandom": os.urandom(8).hex(),
    "ssl": ssl.RAND_bytes(8).hex(),
    "authkey": bytes(multiprocessing.current_process().authkey).hex(),
    "the kernel's session": get_ipython().kernel.session.session,
    "the kernel's key": get_ipython().kernel.session.key.decode(),
}))
"""


@pytest.fixture(scope="module")
def draws(service):
    """What kernels of the pool draw, a kernel forked on demand, and one that took the place of another."""
    with Caller(service) as caller:
        sandboxes = [caller.create(template="python-datasci") for _ in range(2)]
        sandboxes.append(caller.create(template="python-datasci", env={"A": "1"}))
        drawn = [json.loads(caller.run(sandbox, DRAW).text()) for sandbox in sandboxes]
        caller.run(sandboxes[0], "import os; os._exit(0)")
        drawn.append(json.loads(caller.run(sandboxes[0], DRAW).text()))
        for sandbox in sandboxes:
            caller.close(sandbox)
    return drawn


def test_no_two_kernels_draw_the_same(draws):
    by_kind = {kind: [each[kind] for each in draws] for kind in draws[0]}
    by_kind["the kernel's key"].pop()  # a kernel in another's place has its key, so that clients reconnect
    same = {kind: values for kind, values in by_kind.items() if len(set(values)) < len(values)}
    assert same == {}


def test_children_of_a_kernel_draw_their_own(service):
    code = (
        "import os, random, uuid\nfor _ in range(3):\n    read, write = os.pipe()\n    if not os.fork():\n"
        "        os.write(write, f'{random.random()} {uuid.uuid4()}'.encode()); os._exit(0)\n"
        "    os.wait(); print(os.read(read, 99).decode())"
    )
    with Caller(service) as caller, caller.sandbox() as sandbox:
        lines = caller.run(sandbox, code).text().split("\n")
    assert len(set(lines)) == len(lines) == 3
