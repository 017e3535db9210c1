"""What a kernel says of its variables: right, equal for equal state, bounded, and without running the user's code."""

import gc
import json
import os
import sys
import time

import pytest

from podflare_nb.provisioning.kernel.variables import MAX_JSON_BYTES, MAX_VARIABLES, describe

SECONDS = 30.0


def run(source):
    namespace = {"__name__": "__main__"}
    exec(source, namespace)
    return namespace


def described(namespace, seconds=SECONDS, **options):
    answer = describe(namespace, seconds, **options)
    assert len(json.dumps(answer)) <= MAX_JSON_BYTES
    return {entry["name"]: entry for entry in answer["variables"]}


def of(source, name="x", seconds=SECONDS):
    return described(run(source), seconds)[name]


def library(*names):
    for name in names:
        pytest.importorskip(name)


BUILTINS = [
    ("x = 1", "x = 2"),
    ("x = 1", "x = 1.0"),
    ("x = 1", "x = True"),
    ("x = 0.0", "x = -0.0"),
    ("x = 10**5000", "x = 10**5000 + 1"),
    ("x = 'a'", "x = b'a'"),
    ("x = 'a\\udcff'", "x = 'a\\udcfe'"),
    ("x = [1, 2]", "x = [2, 1]"),
    ("x = [1, [2]]", "x = [[1], 2]"),
    ("x = [1, 2]", "x = (1, 2)"),
    ("x = ['ab', 'c'] * 20", "x = ['a', 'bc'] * 20"),
    ("x = list(range(10_000))", "x = [*range(9_999), 0]"),
    ("x = [0.5] * 100", "x = [0.5] * 99 + [0.25]"),
    ("x = [1] * 100", "x = [1.0] * 100"),
    ("x = [2**70] * 100", "x = [2**70] * 99 + [0]"),
    ("x = {'a': 1, 'b': 2}", "x = {'b': 2, 'a': 1}"),
    ("x = {'a': 1}", "x = {'a': 2}"),
    ("x = {1, 'a', (1, 2)}", "x = {1, 'a', (2, 1)}"),
    ("x = {*'abcdefg'}", "x = frozenset('abcdefg')"),
    ("x = [1]; x.append(x)", "x = [1]; x.append([1])"),
    ("y = [1]; x = [y, y]", "x = [[1], [1]]"),
    ("x = lambda a: a + 1", "x = lambda a: a + 2"),
    ("def x(a, b=1): return a", "def x(a, b=2): return a"),
    ("def f(n):\n def g(): return n\n return g\nx = f(1)", "def f(n):\n def g(): return n\n return g\nx = f(2)"),
    ("class x:\n a = 1", "class x:\n a = 2"),
    ("class x:\n def m(self): return 1", "class x:\n def m(self): return 2"),
    ("class C:\n pass\nx = C(); x.a = 1", "class C:\n pass\nx = C(); x.a = 2"),
    ("class C:\n __slots__ = ('a', 'b')\nx = C(); x.a = 1", "class C:\n __slots__ = ('a', 'b')\nx = C(); x.b = 1"),
    ("class C(list):\n pass\nx = C([1]); x.a = 1", "class C(list):\n pass\nx = C([2]); x.a = 1"),
    ("class C(dict):\n pass\nx = C(a=1)", "class C(dict):\n pass\nx = C(a=2)"),
    ("class C(int):\n pass\nx = C(5)", "class C(int):\n pass\nx = C(6)"),
    ("class C(str):\n pass\nx = C('5')", "class C(str):\n pass\nx = C('6')"),
    ("x = ValueError('a')", "x = ValueError('b')"),
    ("import sys as x", "import os as x"),
    ("x = range(3)", "x = range(4)"),
    ("x = slice(1, 2)", "x = slice(1, 3)"),
    ("x = bytearray(b'1')", "x = bytearray(b'2')"),
    ("x = [].append", "x = [1].append"),
    ("import enum\nclass E(enum.Enum):\n a = 1\n b = 2\nx = E.a",
     "import enum\nclass E(enum.Enum):\n a = 1\n b = 2\nx = E.b"),
    ("import dataclasses as d\n@d.dataclass\nclass D:\n a: int = 1\nx = D(1)",
     "import dataclasses as d\n@d.dataclass\nclass D:\n a: int = 1\nx = D(2)"),
    ("import datetime as d; x = d.datetime(2020, 1, 1, tzinfo=d.timezone.utc)",
     "import datetime as d; x = d.datetime(2020, 1, 1)"),
    ("import decimal as d; x = d.Decimal('1.0')", "import decimal as d; x = d.Decimal('1.00')"),
    ("import collections as c; x = c.deque([1], 3)", "import collections as c; x = c.deque([1], 4)"),
    ("import collections as c; x = c.OrderedDict(a=1, b=2)", "import collections as c; x = c.OrderedDict(b=2, a=1)"),
    ("import collections as c; x = c.Counter('aab')", "import collections as c; x = c.Counter('abb')"),
    ("import collections as c; x = c.defaultdict(list, a=[1])",
     "import collections as c; x = c.defaultdict(set, a=[1])"),
    ("import functools as f; x = f.partial(max, 1)", "import functools as f; x = f.partial(max, 2)"),
    ("import re; x = re.compile('a')", "import re; x = re.compile('a', re.I)"),
    ("import pathlib as p; x = p.Path('/a/b')", "import pathlib as p; x = p.Path('/a/c')"),
    ("import random as r; x = r.Random(1)", "import random as r; x = r.Random(2)"),
    ("import uuid; x = uuid.UUID(int=1)", "import uuid; x = uuid.UUID(int=2)"),
]  # fmt: skip

TABLES = [
    ("x = n.arange(6)", "x = n.arange(6)[::-1]"),
    ("x = n.arange(6)", "x = n.arange(6).reshape(2, 3)"),
    ("x = n.arange(6)", "x = n.arange(6, dtype='i4')"),
    ("x = n.float32(1)", "x = n.float64(1)"),
    ("x = n.array([1, 'a', None], dtype=object)", "x = n.array([1, 'b', None], dtype=object)"),
    ("x = n.zeros(3, dtype=[('a', 'i4'), ('b', 'f8')])", "x = n.zeros(3, dtype=[('a', 'i4'), ('c', 'f8')])"),
    ("x = n.ma.array([1, 2], mask=[0, 1])", "x = n.ma.array([1, 2], mask=[1, 0])"),
    ("x = n.datetime64('2020')", "x = n.datetime64('2021')"),
    ("x = p.DataFrame({'a': [1, 2], 'b': ['x', 'y']})", "x = p.DataFrame({'a': [1, 2], 'b': ['x', 'z']})"),
    ("x = p.DataFrame({'a': [1, 2]})", "x = p.DataFrame({'b': [1, 2]})"),
    ("x = p.DataFrame({'a': [1, 2]}, index=[0, 1])", "x = p.DataFrame({'a': [1, 2]}, index=[0, 2])"),
    ("x = p.DataFrame({'a': [1], 'b': [2.0]})", "x = p.DataFrame({'b': [2.0], 'a': [1]})"),
    ("x = p.Series([1, 2], name='s')", "x = p.Series([1, 2], name='t')"),
    ("x = p.Series(['a', 'b'], dtype='category')", "x = p.Series(['a', 'a'], dtype='category')"),
    ("x = p.Series([1, None], dtype='Int64')", "x = p.Series([1, 2], dtype='Int64')"),
    ("x = p.date_range('2020', periods=3, tz='UTC')", "x = p.date_range('2020', periods=3, tz='Europe/Berlin')"),
    ("x = p.MultiIndex.from_tuples([(1, 'a')])", "x = p.MultiIndex.from_tuples([(1, 'b')])"),
    ("x = p.period_range('2020', periods=2, freq='D')", "x = p.period_range('2020', periods=2, freq='M')"),
    ("x = p.interval_range(0, 2)", "x = p.interval_range(0, 3)"),
    ("x = p.Timestamp('2020', tz='UTC')", "x = p.Timestamp('2020', tz='Asia/Tokyo')"),
    ("x = p.DataFrame({'a': [[1], {2}]})", "x = p.DataFrame({'a': [[1], {3}]})"),
    ("x = a.table({'a': [1, None], 'b': ['x', 'y']})", "x = a.table({'a': [1, 2], 'b': ['x', 'y']})"),
    ("x = a.array([1, 2, 3]).slice(1)", "x = a.array([1, 2, 4]).slice(1)"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "another"), BUILTINS)
def test_equal_state_has_equal_fingerprints_and_another_state_has_others(source, another):
    one, again, other = of(source), of(source), of(another)
    assert not one["unknown"]
    assert one["fingerprint"] == again["fingerprint"] != other["fingerprint"]


@pytest.mark.parametrize(("source", "another"), TABLES)
def test_arrays_and_tables_are_told_by_what_they_hold(source, another):
    library("numpy", "pandas", "pyarrow")
    head = "import numpy as n, pandas as p, pyarrow as a\n"
    one, again, other = of(head + source), of(head + source), of(head + another)
    assert not one["unknown"]
    assert one["fingerprint"] == again["fingerprint"] != other["fingerprint"]


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ("x = n.arange(6).reshape(2, 3)", "x = n.asfortranarray(n.arange(6).reshape(2, 3))"),
        ("x = n.arange(3)", "x = n.arange(9)[:3]"),
        ("x = n.arange(0, 6, 2)", "x = n.arange(6)[::2]"),
        ("x = p.DataFrame(n.ones((4, 3)))", "x = p.DataFrame(n.ones((4, 3))).copy()"),
        ("x = p.DataFrame({'a': [1.0], 'b': [2.0]})", "x = p.DataFrame({'a': [1.0]}); x['b'] = [2.0]"),
        ("x = p.DataFrame({'a': [1]})", "x = p.DataFrame({'a': [1]}); x.index.is_unique; x.loc[0]; repr(x)"),
        ("x = {1, 2, 8, 16, 'a'}", "x = {'a', 16, 8}; x |= {2}; x.add(1)"),
        ("from pathlib import Path; x = Path('/a/b')", "from pathlib import Path; x = Path('/a/b'); str(x); hash(x)"),
        ("def x(a): return a", "\n\n\n\ndef x(a): return a"),
    ],
)
def test_what_is_no_state_does_not_count(source, same):
    """The layout in memory, how columns are packed, what was kept to answer quicker, the order of a set, lines."""
    library("numpy", "pandas")
    head = "import numpy as n, pandas as p\n"
    assert of(head + source)["fingerprint"] == of(head + same)["fingerprint"]


def test_two_processes_that_were_forked_from_one_agree_until_one_changes_something():
    library("numpy", "pandas")
    namespace = run(
        "import numpy as n, pandas as p\n"
        "class C:\n pass\n"
        "kept = C(); kept.me = kept; kept.tags = {object: 1, 'b': {'x', 'y', 'z'}}\n"
        "frame = p.DataFrame({'a': n.arange(1000), 'b': ['t'] * 1000})\n"
        "numbers = n.arange(1000)\n"
        "gone = 1\n"
    )
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            namespace["frame"].loc[500, "a"] = -1
            namespace["numbers"] = namespace["numbers"].copy()
            del namespace["gone"]
            namespace["new"] = 1
            os.write(writer, json.dumps({n: e["fingerprint"] for n, e in described(namespace).items()}).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        its = json.loads(file.read())
    os.waitpid(child, 0)
    mine = {name: entry["fingerprint"] for name, entry in described(namespace).items()}
    assert (mine.keys() - its.keys(), its.keys() - mine.keys()) == ({"gone"}, {"new"})
    assert {name for name in mine.keys() & its.keys() if mine[name] != its[name]} == {"frame"}


@pytest.mark.parametrize(
    "source",
    [
        "x = (i for i in range(3))",
        "import threading; x = threading.Lock()",
        "x = iter([1])",
        "x = memoryview(b'1')",
        "import threading\nclass C:\n def __init__(self): self.lock = threading.Lock()\nx = C()",
        "class C:\n pass\nclass D(C):\n __dict__ = property(lambda self: 1 / 0)\nx = D()",
    ],
)
def test_what_nobody_can_look_into_is_unknown(source):
    assert of(source)["unknown"] is True


def test_what_can_be_seen_of_an_unknown_value_still_tells_a_change():
    source = "x = [(i for i in range(3)), {}]"
    one, other = of(source.format(1)), of(source.format(2))
    assert (one["unknown"], one["fingerprint"] != other["fingerprint"]) == (True, True)


HOSTILE = """
import sys
called = []
def hook(name):
    def method(*args, **kwargs):
        called.append(name)
        raise SystemExit(name)
    return method
NAMES = ["repr", "str", "eq", "ne", "hash", "len", "bool", "getattribute", "getattr", "iter", "getitem", "next", "call",
         "index", "int", "float", "format", "sizeof", "reduce", "reduce_ex", "getstate", "dir", "instancecheck",
         "subclasscheck", "contains", "del_", "array", "array_interface", "array_struct", "array_finalize", "fspath",
         "enter", "buffer", "class_getitem", "set_name", "mro_entries", "subclasshook", "prepare", "length_hint"]
HOOKS = {f"__{name}__": hook(name) for name in NAMES}
class Meta(type):
    for name in ("repr", "eq", "hash", "instancecheck", "subclasscheck", "call", "dir", "len", "iter", "bool"):
        locals()[f"__{name}__"] = hook("meta " + name)
    def __getattribute__(cls, name):
        called.append("meta getattribute " + name)
        raise SystemExit(name)
    mro_ = property(hook("meta mro"))
def build(*bases):
    quiet = {key: value for key, value in HOOKS.items()
             if key not in ("__getattribute__", "__set_name__", "__array_finalize__")}
    body = {**quiet, "__getattribute__": HOOKS["__getattribute__"], "__class__": property(hook("class")),
            "__doc__": property(hook("doc")), "p": property(hook("property")), "shape": property(hook("shape")),
            "dtype": property(hook("dtype")), "_mgr": property(hook("mgr")), "__name__": property(hook("name"))}
    return type.__call__(Meta, "Evil", bases, body)
def made(*bases, core=object, args=()):
    return core.__new__(build(*bases), *args)
plain = made()
in_list = [plain, made()]
in_dict = {"a": made(), 1: made()}
in_tuple = (made(), [made()])
a_list = made(list, core=list)
list.extend(a_list, [1, 2])
a_dict = made(dict, core=dict)
dict.__setitem__(a_dict, "k", 1)
an_int = made(int, core=int, args=(7,))
a_str = made(str, core=str, args=("text",))
a_float = made(float, core=float, args=(1.5,))
a_tuple = made(tuple, core=tuple, args=((1,),))
an_error = made(Exception, core=Exception)
a_class = build()
hidden_dict = type("Hidden", (), {"__dict__": property(hook("dict"))})()
fake_frame = type("DataFrame", (), {"__module__": "pandas", "_mgr": property(hook("mgr")), "__len__": hook("len")})()
strange_module = type(sys)("strange")
strange_module.__getattr__ = hook("module getattr")
called.clear()
"""


def test_hostile_objects_are_described_without_running_their_code():
    namespace = run(HOSTILE)
    found = described(namespace)
    assert namespace["called"] == []
    assert found["plain"]["repr"] == "<__main__.Evil object>"
    assert [found[name]["shape"] for name in ("a_list", "a_dict", "a_str", "in_list")] == [[2], [1], [4], [2]]
    assert not any(found[name]["unknown"] for name in ("plain", "in_list", "in_dict", "a_list", "an_int", "a_str"))


def test_hostile_subclasses_of_arrays_and_tables_are_described_without_running_their_code():
    library("numpy", "pandas")
    namespace = run(
        HOSTILE + "import numpy, pandas\n"
        "HOOKS['__array_finalize__'] = lambda *_: None\n"
        "an_array = numpy.arange(3).view(type('A', (numpy.ndarray,), HOOKS))\n"
        "objects = numpy.empty(2, dtype=object); objects[0] = plain; objects[1] = plain\n"
        "series = pandas.Series([1], name='n')\n"
        "object.__setattr__(series, '_name', plain)\n"
        "numpy.set_printoptions(formatter={'all': hook('printoptions')})\n"
        "called.clear()\n"
    )
    try:
        found = described(namespace)
    finally:
        namespace["numpy"].set_printoptions(formatter=None)
    assert namespace["called"] == []
    assert [found[name]["shape"] for name in ("an_array", "objects", "series")] == [[3], [2], [1]]


def test_a_library_that_the_user_replaced_is_not_asked():
    namespace = run(HOSTILE)
    saved = {name: sys.modules.get(name) for name in ("numpy", "pandas", "pyarrow.lib", "zoneinfo")}
    try:
        sys.modules["numpy"] = namespace["plain"]
        sys.modules["pandas"] = namespace["strange_module"]
        namespace["strange_module"].DataFrame = namespace["a_class"]
        namespace["strange_module"].ndarray = namespace["a_class"]
        sys.modules["pyarrow.lib"] = sys.modules["zoneinfo"] = namespace["strange_module"]
        described(namespace)
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    assert namespace["called"] == []


@pytest.mark.parametrize(
    "source",
    [
        "x = []\nfor _ in range(100_000): x = [x]",
        "x = ()\nfor _ in range(100): x = (x, x)",
        "x = frozenset()\nfor _ in range(1000): x = frozenset([x])",
        "x = {}\nfor _ in range(50_000): x = {'next': x}",
        "class N:\n pass\nx = N()\nfor _ in range(50_000):\n n = N(); n.next = x; x = n",
        "class N:\n pass\nx = set()\nfor _ in range(50):\n n = N(); n.all = x; x.add(n)",
        "x = 1 << 100_000_000",
        "x = [10 ** 5000] * 3",
        "x = 'y' * 50_000_000",
        "def f(): return 1\nfor _ in range(20_000):\n g = f; f = lambda g=g: g\nx = f",
        "x = {}; x['x'] = x; x[1] = [x, {2: x}]",
        "x = type('C' * 10_000_000, (), {})()",
        "x = type('C', (), {'__module__': ['no text'], '__qualname__': 'q' * 10_000_000})()",
    ],
)
def test_deep_large_and_self_containing_values_end(source):
    assert len(of(source)["repr"]) <= 240


def test_names_of_every_kind_are_told_or_left_out_and_counted():
    namespace = {"_private": 1, "__dunder__": 1, 7: 1, "a\udcff": 1, "": 1, "é": 1, "long" * 1000: 1}
    answer = describe(namespace, SECONDS)
    assert ([entry["name"] for entry in answer["variables"]], answer["truncated"]) == (["a\udcff", "", "é"], True)
    json.dumps(answer).encode("ascii")


def test_what_ipython_put_there_is_not_the_users_until_they_change_it():
    hidden = {"In": ["cell"], "exit": object(), "open": open}
    namespace = {**hidden, "open": "mine", "x": 1}
    assert set(described(namespace, hidden=hidden)) == {"open", "x"}


def test_more_variables_than_fit_are_cut_and_said():
    namespace = {f"{'n' * 150}{number}": "t" * 300 for number in range(MAX_VARIABLES + 500)}
    answer = describe(namespace, SECONDS)
    assert answer["truncated"]
    assert len(json.dumps(answer)) <= MAX_JSON_BYTES


def test_without_time_everything_is_named_and_nothing_is_compared():
    found = described({"a": 1, "b": [1, 2, 3]}, seconds=0.0)
    assert [(entry["fingerprint"], entry["unknown"]) for entry in found.values()] == [(None, True)] * 2
    assert [entry["repr"] for entry in found.values()] == ["1", "[1, 2, 3]"]


def test_one_endless_variable_does_not_take_the_time_of_the_others():
    namespace = run("endless = {i: [i] for i in range(150_000)}\n" + "\n".join(f"v{i} = {i}" for i in range(20)))
    found = described(namespace, seconds=0.4)
    assert not any(entry["unknown"] for name, entry in found.items() if name != "endless")


def test_a_list_of_ten_million_numbers_is_read_and_one_of_objects_is_given_up():
    found = described({"numbers": list(range(10_000_000)), "objects": [[] for _ in range(300_000)]})
    assert (found["numbers"]["unknown"], found["objects"]["unknown"]) == (False, True)


def test_an_array_larger_than_any_memory_is_unknown_not_read():
    numpy = pytest.importorskip("numpy")
    entry = described({"x": numpy.broadcast_to(numpy.float64(1), (10**6, 10**6))})["x"]
    assert (entry["shape"], entry["unknown"]) == ([10**6, 10**6], True)


def test_an_extension_type_of_the_users_is_not_asked_how_it_is_written():
    pyarrow = pytest.importorskip("pyarrow")
    asked = []

    class Evil(pyarrow.ExtensionType):
        def __init__(self):
            super().__init__(pyarrow.int64(), "evil")

        def __arrow_ext_serialize__(self):
            asked.append("serialize")
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage_type, serialized):
            asked.append("deserialize")

    column = pyarrow.ExtensionArray.from_storage(Evil(), pyarrow.array([1, 2]))
    tables = {"table": pyarrow.table({"a": column}), "plain": pyarrow.table({"b": pyarrow.array([1])})}
    asked.clear()
    found = described(tables)
    assert (asked, found["table"]["unknown"], found["plain"]["unknown"]) == ([], True, False)


def test_describing_imports_nothing_changes_nothing_and_leaves_the_collector_as_it_was():
    namespace = run("class C:\n __slots__ = ('a',)\nx = C(); y = {'a': [1]}; z = lambda: 1")
    modules, keys = set(sys.modules), list(namespace)
    described(namespace)
    gc.disable()
    try:
        described(namespace)
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert (set(sys.modules), list(namespace), namespace["y"]) == (modules, keys, {"a": [1]})


def test_the_budget_is_kept_whatever_the_variables_are():
    namespace = run("x = [[i] for i in range(190_000)]\ny = [{i} for i in range(100_000)]\nz = 'a' * (1 << 28)")
    started = time.monotonic()
    describe(namespace, 0.2)
    assert time.monotonic() - started < SECONDS


@pytest.mark.parametrize(
    ("source", "kind", "shape", "text"),
    [
        ("x = 5", "int", None, "5"),
        ("x = 'a\\nb'", "str", [3], "'a\\nb'"),
        ("x = list(range(100))", "list", [100], "[0, 1, 2, 3, 4, 5, 6, 7, ...]"),
        ("x = {'a': [1, [2, [3]]]}", "dict", [1], "{'a': [1, [...]]}"),
        ("x = (1,)", "tuple", [1], "(1,)"),
        ("x = 10 ** 5000", "int", None, "<int of 16610 bits>"),
        ("def x(a, *, b): pass", "function", None, "<function x(a, b)>"),
        ("class x: pass", "type", None, "<class __main__.x>"),
        ("import json as x", "module", None, "<module json>"),
        ("import numpy; x = numpy.zeros((3, 4))", "numpy.ndarray", [3, 4],
         "array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ...], dtype=float64)"),
        ("import pandas; x = pandas.DataFrame({'a': [1, 2], 'b': ['x', 'y']})", "pandas.DataFrame", [2, 2],
         "DataFrame of ['a', 'b']"),
        ("import pandas; x = pandas.Series([1, 2], name='s')", "pandas.Series", [2],
         "Series 's': array([1, 2], dtype=int64)"),
        ("import pyarrow; x = pyarrow.table({'a': [1]})", "pyarrow.lib.Table", [1, 1], "<pyarrow.lib.Table of a>"),
    ],
)  # fmt: skip
def test_a_variable_is_told_by_type_shape_and_the_beginning_of_its_value(source, kind, shape, text):
    for name in ("numpy", "pandas", "pyarrow"):
        if name in source:
            library(name)
    entry = of(source)
    assert (entry["type"], entry["shape"], entry["repr"]) == (kind, shape, text)
