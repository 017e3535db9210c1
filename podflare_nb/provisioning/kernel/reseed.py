"""Makes a forked process draw its own random numbers: every generator whose state the fork copied starts anew.

The libraries' own generators, and those that the user made and that can be reached from a variable in a few steps:
through containers, attributes, closures and generators, never by running code of the user's (``raw_access``). What
cannot be reseeded is told of in a sentence, and hinders nothing else.
"""

from __future__ import annotations

import _random
import gc
import multiprocessing.process
import os
import random
import sys
import tempfile
import types
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from .raw_access import MISSING, instance_dict, module_dict, module_name, mro, type_name

LOOKED_AT = 5_000
"""So many objects are looked at for generators."""
LARGEST = 1000
"""Containers of more are not looked into."""
DEPTH = 4
NAMED = 8
"""So many failures are told of."""
# All these are plain classes: issubclass of what type() says asks none of the user's code.
_NOT_INTO = (type, types.ModuleType, str, bytes, bytearray, int, float, complex, types.CodeType, memoryview)
_OURS = ("IPython.", "ipykernel.", "traitlets.", "podflare_nb.")
"""Where the kernel itself begins, which has no generator of the user's."""
_LENGTHS: tuple[tuple[type, Callable[[Any], int]], ...] = tuple(
    (kind, kind.__len__) for kind in (list, tuple, dict, set, frozenset, deque)
)
_NUMPYS = "numpy.random."
MT19937_WORDS = 624
"""Of 32 bits: the state of a Mersenne Twister."""
_NO_GAUSS = {"has_gauss": 0, "gauss": 0.0}
"""A normal number that a RandomState keeps for the next call goes, too."""
# The user may put something else in their places.
_random_seed, _Random, _SystemRandom = random.seed, _random.Random, random.SystemRandom


def reseed(variables: Iterable[Any]) -> list[str]:
    """Reseed what is loaded and what ``variables`` lead to; a sentence for each generator that may repeat itself.

    What asks the system each time (secrets, uuid4) or sees the fork itself (OpenSSL) needs nothing.
    """
    failures: dict[str, BaseException] = {}
    for name, renew in _LIBRARIES.items():
        _guarded(name, renew, failures)
    _guarded("of a variable", lambda: _reseed_reachable(variables, failures), failures)
    return [
        f"The random generator {name} may repeat its parent's numbers: reseeding it failed ({type_name(type(error))})."
        for name, error in list(failures.items())[:NAMED]
    ]


def reseed_users(shell: Any) -> list[str]:
    """``reseed``, with all variables of this shell but its own."""
    own = shell.user_ns_hidden
    return reseed([value for name, value in shell.user_ns.items() if type(name) is not str or name not in own])


def _guarded(name: str, renew: Callable[[], object], failures: dict[str, BaseException]) -> None:
    try:
        renew()
    except BaseException as error:  # noqa: BLE001  # the user may have put anything in anything's place; told of
        failures[name] = error


def _reseed_reachable(variables: Iterable[Any], failures: dict[str, BaseException]) -> None:
    kinds = _kinds()
    for each in _reachable(variables, tuple(kind for kind, _ in kinds)):
        renew = next(renew for kind, renew in kinds if issubclass(type(each), kind))
        _guarded(f"of type {type_name(type(each))}", partial(renew, each), failures)


def _reseed_tempfile() -> None:
    tempfile._name_sequence = None  # type: ignore[attr-defined]  # noqa: SLF001  # no public way to forget it


def _reseed_uuid() -> None:
    uuid._last_timestamp = None  # type: ignore[attr-defined]  # noqa: SLF001  # the same


def _reseed_multiprocessing() -> None:
    process: Any = multiprocessing.process.current_process()
    process.authkey = os.urandom(32)


def _reseed_numpy() -> None:
    """The one that np.random's functions draw from."""
    shared = _loaded("numpy.random.mtrand", "_rand")
    if shared is not MISSING:
        _reseed_random_state(shared)


def _reseed_torch() -> None:
    seed: Any = _loaded("torch.random", "seed")
    if seed is not MISSING:
        seed()


_LIBRARIES: dict[str, Callable[[], object]] = {
    "of the module random": _random_seed,
    "of tempfile": _reseed_tempfile,
    "of uuid": _reseed_uuid,
    "of multiprocessing": _reseed_multiprocessing,
    "of numpy.random": _reseed_numpy,
    "of torch": _reseed_torch,
}


def _loaded(module: str, name: str) -> Any:
    """What a library's module has under a name. Looked up, where the user could have put a name in that runs code of
    theirs: to go through all names would write to the pages that they and their values lie in (reference counts)."""
    loaded = sys.modules.get(module)
    return module_dict(loaded).get(name, MISSING) if type(loaded) is types.ModuleType else MISSING


Kinds = list[tuple[type, Callable[[Any], object]]]


def _kinds() -> Kinds:
    """The classes of generators that are loaded, and how an object of each is reseeded. The first that fits."""
    found: Kinds = [(_SystemRandom, lambda _: None), (_Random, _reseed_random)]
    for module, name, renew in (
        ("numpy.random._generator", "Generator", _reseed_generator),
        ("numpy.random.mtrand", "RandomState", _reseed_random_state),
        ("numpy.random.bit_generator", "BitGenerator", _reseed_bits),
        ("torch._C", "Generator", lambda each: _loaded("torch._C", "Generator").seed(each)),
    ):
        kind = _loaded(module, name)
        if type(kind) is type:
            found.append((kind, renew))
    return found


def _reachable(variables: Iterable[Any], generators: tuple[type, ...]) -> Iterator[Any]:
    """Generators, breadth first. To look at an object writes to its memory (it counts references): hence the bounds."""
    seen: set[int] = set()
    passed_by: dict[int, bool] = {}  # by the class's id: a class can be told how to be equal
    looked = 0
    level: list[Any] = list(variables)
    for _ in range(DEPTH):
        deeper: list[Any] = []
        for each in level:
            looked += 1
            if looked > LOOKED_AT:
                return
            kind = type(each)
            if id(kind) not in passed_by:
                passed_by[id(kind)] = issubclass(kind, _NOT_INTO) or module_name(kind).startswith(_OURS)
            if passed_by[id(kind)] or id(each) in seen:
                continue
            seen.add(id(each))
            if issubclass(kind, generators):
                yield each
            else:
                deeper.extend(_inside(each))
        level = deeper


def _inside(each: Any) -> list[Any]:
    if type(each) is types.FunctionType:  # not its globals, which may be a whole library's
        parts = (each.__closure__, each.__defaults__, each.__kwdefaults__, each.__dict__)
        return gc.get_referents(*(part for part in parts if part is not None))
    if not gc.is_tracked(each) or _length(each) > LARGEST:
        return []
    return gc.get_referents(each)


def _length(each: Any) -> int:
    """What the container itself says; a subclass may say anything. 0: not a container."""
    return next((int(length(each)) for kind, length in _LENGTHS if issubclass(type(each), kind)), 0)


def _reseed_random(each: Any) -> None:
    _Random.seed(each)
    kept = instance_dict(each)
    if kept is not None:
        dict.__setitem__(kept, "gauss_next", None)


def _reseed_generator(each: Any) -> None:
    kind = _loaded("numpy.random._generator", "Generator")
    _reseed_bits(kind.bit_generator.__get__(each))


def _reseed_random_state(each: Any) -> None:
    kind = _loaded("numpy.random.mtrand", "RandomState")
    bits = kind.__dict__["_bit_generator"].__get__(each)
    if type(bits) is _loaded("numpy.random._mt19937", "MT19937"):  # as almost all are: a quarter of the work
        words = memoryview(os.urandom(4 * MT19937_WORDS)).cast("I")
        drawn = {"bit_generator": "MT19937", "state": {"key": words, "pos": MT19937_WORDS}}
        kind.set_state(each, {**drawn, **_NO_GAUSS})
        return
    fresh = _reseed_bits(bits)
    kind.set_state(each, {**fresh, **_NO_GAUSS})


def _reseed_bits(bits: Any) -> Any:
    """Give it the state of a new one, which is returned."""
    base: Any = next((each for each in mro(type(bits)) if module_name(each).startswith(_NUMPYS)), None)
    if base is None:
        raise TypeError("not one of numpy's own")
    fresh = base()
    base.__setstate__(bits, (fresh.state, fresh.seed_seq))
    return fresh.state
