"""Reads what an object is and holds, without running a line of its class's code.

``obj.x``, ``len(obj)``, ``isinstance(obj, C)``, ``vars(obj)`` and even a dict keyed by types may all call methods that
the user wrote, on the object, its class or its metaclass. What is used here instead: ``type()``, identity, and the
descriptors that C code put into a class (slots, the instance's ``__dict__``), which cannot be replaced unnoticed.
``fingerprints``, ``value_texts`` and ``reseed`` stand on this.
"""

from __future__ import annotations

import types
from typing import Any

HEAP_TYPE = 1 << 9
"""Py_TPFLAGS_HEAPTYPE: made at run time, by a class statement or a module in C; all others are C and complete."""
MISSING = object()
_POINTER = 8
_TYPE = type.__dict__
_flags, _mro, _basicsize = (_TYPE[name].__get__ for name in ("__flags__", "__mro__", "__basicsize__"))
_module, _qualname = (_TYPE[name].__get__ for name in ("__module__", "__qualname__"))
class_dict: Any = _TYPE["__dict__"].__get__
"""The names of a class, as a mapping that is only safe to iterate: its keys may be the user's, too."""
_module_dict: Any = vars(types.ModuleType)["__dict__"]
_C_DESCRIPTORS = (id(types.GetSetDescriptorType), id(types.MemberDescriptorType))
MAX_TYPE_NAME = 200


def mro(kind: type) -> tuple[type, ...]:
    """The class and all it inherits from."""
    found: tuple[type, ...] = _mro(kind)
    return found


def is_heap_type(kind: type) -> bool:
    """Whether a class statement could have made it."""
    return bool(_flags(kind) & HEAP_TYPE)


def inherits(kind: type, base: type) -> bool:
    """As issubclass, without asking either."""
    return any(one is base for one in _mro(kind))


def type_name(kind: type) -> str:
    """``module.Class``, or ``Class`` of builtins; at most ``MAX_TYPE_NAME`` characters."""
    module = module_name(kind)
    name: str = _qualname(kind)[:MAX_TYPE_NAME]
    if module in {"", "builtins"}:
        return name
    return f"{module[:MAX_TYPE_NAME]}.{name}"[:MAX_TYPE_NAME]


def module_name(kind: type) -> str:
    """Where the class says that it was made; empty if it does not say so in a str."""
    try:
        module = _module(kind)
    except AttributeError:
        return ""
    return module if type(module) is str else ""


def class_entry(kind: type, name: str) -> Any:
    """What the class itself has under a name, unbound; MISSING if nothing."""
    for key, value in class_dict(kind).items():
        if type(key) is str and key == name:
            return value
    return MISSING


def module_dict(module: types.ModuleType) -> dict[Any, Any]:
    """The names of a module, of that very class."""
    return _module_dict.__get__(module)  # type: ignore[no-any-return]  # the getter says dict


def module_entry(module: Any, name: str) -> Any:
    """What a module has under a name; its ``__getattr__`` is not asked."""
    if type(module) is not types.ModuleType:
        return MISSING
    for key, value in list(module_dict(module).items()):
        if type(key) is str and key == name:
            return value
    return MISSING


def attribute(value: object, name: str) -> Any:
    """What C code or the instance's dict holds under a name; MISSING if only code of the class could tell."""
    for base in _mro(type(value)):
        entry = class_entry(base, name)
        if id(type(entry)) in _C_DESCRIPTORS:
            try:
                return entry.__get__(value)
            except (AttributeError, TypeError):
                return MISSING
    held = instance_dict(value)
    if held is not None:
        for key, entry in list(dict.items(held)):
            if type(key) is str and key == name:
                return entry
    return MISSING


def instance_dict(value: object) -> dict[Any, Any] | None:
    """The object's own dict, if it has one that is one: ask only ``dict``'s own methods about it."""
    for base in _mro(type(value)):
        entry = class_entry(base, "__dict__")
        if entry is MISSING:
            continue
        if id(type(entry)) not in _C_DESCRIPTORS:
            return None
        return _checked_dict(entry, value)
    return None


def _checked_dict(getter: Any, value: object) -> dict[Any, Any] | None:
    try:
        held = getter.__get__(value)
    except (AttributeError, TypeError):
        return None
    return held if inherits(type(held), dict) else None


class Layout:
    """Where the state of a class's instances is. ``core``: the class in C that they are built on.

    ``is_open``: slots, dict and what the core holds are all there is; else the class, or one below it, is C code with
    fields of its own that nobody can see.
    """

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.name = type_name(kind)
        self.core: type = next(base for base in _mro(kind) if not is_heap_type(base))
        self.slots: list[tuple[str, Any]] = []
        self._dict: Any = MISSING
        has_weakref = False
        heap_slots = 0
        for base in _mro(kind):
            for key, entry in class_dict(base).items():
                if type(key) is not str:
                    continue
                if key == "__dict__":
                    self._dict = entry if self._dict is MISSING else self._dict
                elif key == "__weakref__":
                    has_weakref = True
                elif type(entry) is types.MemberDescriptorType:
                    self.slots.append((key, entry))
                    heap_slots += is_heap_type(base)
        fields = heap_slots + has_weakref + (self._dict is not MISSING)
        size = int(_basicsize(kind)) - int(_basicsize(self.core))
        self.is_open = size <= _POINTER * fields
        if self._dict is not MISSING and id(type(self._dict)) not in _C_DESCRIPTORS:
            self._dict, self.is_open = MISSING, False  # the user's own, in front of the one that holds the state

    def dict_of(self, value: object) -> dict[Any, Any] | None:
        """As ``instance_dict``."""
        return None if self._dict is MISSING else _checked_dict(self._dict, value)

    def slots_of(self, value: object) -> list[tuple[str, object]]:
        """The slots that are filled."""
        filled = []
        for name, slot in self.slots:
            try:
                filled.append((name, slot.__get__(value)))
            except (AttributeError, TypeError):
                continue  # an empty slot, or a member of another class that was copied into this one
        return filled
