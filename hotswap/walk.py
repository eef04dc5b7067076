"""Looking at objects without running their code.

Lazy proxies answer `isinstance`, `__class__`, `__dict__`, `==`, `hash` and even `__name__` by running something, or by
lying. These helpers use `type(o)`, the descriptors of `type` and `object`, and identity, which nobody can override.
"""

from __future__ import annotations

import enum
import operator
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import Any, cast

__all__ = [
    "ENUM_HASH",
    "FORWARDS",
    "MISSING",
    "UNIQUE_NEVER",
    "Fork",
    "callback_of",
    "class_dict",
    "class_home",
    "class_items",
    "class_name",
    "class_space",
    "codes_in",
    "descendants",
    "fact",
    "forked",
    "function_behind",
    "instance_dict",
    "is_class",
    "is_class_of",
    "is_container",
    "is_forwarder",
    "is_hashed_by_name",
    "is_same",
    "is_written_in_c",
    "kind_of",
    "members_of",
    "mro",
    "same_items",
    "slot_descriptors",
    "trace_of",
]

_TYPE_DICT = type.__dict__["__dict__"]
_TYPE_MRO = type.__dict__["__mro__"]
_TYPE_QUALNAME = type.__dict__["__qualname__"]
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_CALLBACK: Any = weakref.ReferenceType.__dict__["__callback__"]
_TRACE: Any = BaseException.__dict__["__traceback__"]
_MEMBERS: Any = BaseExceptionGroup.__dict__["exceptions"]
UNIQUE_NEVER = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis), type(NotImplemented))
"""Values of these types are shared by the interpreter: their identity says nothing about where they came from."""

ENUM_HASH: types.FunctionType = enum.Enum.__dict__["__hash__"]
"""How `enum` hashes a member: by its name."""

_CONTAINERS = (OrderedDict, dict, set, deque, list)


MISSING: Any = object()
"""Stands for an attribute that a class has not."""


class _Mark:
    def __repr__(self) -> str:
        return "hotswap: a forwarder"


FORWARDS: Any = _Mark()
"""Ends the constants of the code that leads to a successor: so it is told from other code at the price of one look."""


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """Return code, and the code that is nested in it, however deep."""
    yield code
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            yield from codes_in(constant)


def function_behind(value: Any) -> Any:
    """Return the function of a method or a property in a class, and anything else as it is."""
    if type(value) in (staticmethod, classmethod):
        return value.__func__
    return value.fget if type(value) is property else value


def is_forwarder(code: types.CodeType) -> bool:
    """Whether code only leads to a successor."""
    constants = code.co_consts
    return bool(constants) and constants[-1] is FORWARDS


class Fork:
    """Stands for an attribute of a class while calls of several generations are in flight: see `hotswap.swap.forks`."""

    __slots__ = ("ways",)

    ways: Any

    @property
    def newest(self) -> Any:
        """What the attribute is in the generation that is live, or `MISSING`."""
        return self.ways.aim


forked: dict[int, type] = {}
"""The classes in which forks stand, by their ids."""


def inherited(cls: type, name: str, default: Any = None) -> Any:
    """Return what a class has under a name, of its own or from a class above it, without running any of its code."""
    return next((class_dict(base)[name] for base in mro(cls) if name in class_dict(base)), default)


def is_class(o: object) -> bool:
    """Whether `o` really is a class; `isinstance(o, type)` may be answered by a proxy."""
    return issubclass(type(o), type)


def is_class_of(o: Any, module: str) -> bool:
    """Whether `o` is a class that says that it was defined in a module."""
    return is_class(o) and class_dict(o).get("__module__") == module


def same_items(one: Sequence[object], other: Sequence[object]) -> bool:
    """Whether two sequences hold the same objects in the same order. Comparing those might run their code."""
    return len(one) == len(other) and all(map(operator.is_, one, other))


def is_container(cls: type) -> bool:
    """Whether objects of a class are dicts, sets, lists or deques, or of a class made of one."""
    return issubclass(cls, _CONTAINERS)


def is_hashed_by_name(o: object) -> bool:
    """Whether `o` is a member of an enumeration that `enum` itself hashes, by its name, and that equals only itself.

    That runs Python code, but nobody's: it does nothing but read the name.
    """
    if not issubclass(type(type(o)), enum.EnumMeta):
        return False
    spaces = [class_dict(cls) for cls in mro(type(o))]
    hashed = next((facts["__hash__"] for facts in spaces if "__hash__" in facts), None)
    plain = all(
        type(next(facts[name] for facts in spaces if name in facts)) is types.WrapperDescriptorType
        for name in ("__eq__", "__getattribute__")
    )
    return hashed is ENUM_HASH and plain and not any("_name_" in facts for facts in spaces)


def kind_of(container: object) -> Any:
    """The class of CPython that a container is one of, or is made of."""
    return next(kind for kind in _CONTAINERS if issubclass(type(container), kind))


def mro(cls: type) -> tuple[type, ...]:
    """The method resolution order of a class."""
    return cast("tuple[type, ...]", _TYPE_MRO.__get__(cls))


def class_space(cls: type) -> types.MappingProxyType[str, Any]:
    """The namespace of a class, whatever its metaclass says."""
    return cast("types.MappingProxyType[str, Any]", _TYPE_DICT.__get__(cls))


def class_dict(cls: type) -> types.MappingProxyType[str, Any]:
    """The namespace of a class, whatever its metaclass says, as it is in the newest generation."""
    found = class_space(cls)
    if not forked or id(cls) not in forked:
        return found
    newest = {n: v.newest if issubclass(type(v), Fork) else v for n, v in list(found.items())}
    return types.MappingProxyType({name: value for name, value in newest.items() if value is not MISSING})


def class_items(cls: type) -> list[tuple[str, Any]]:
    """The namespace of a class as a list, so that others may change it meanwhile."""
    return list(class_dict(cls).items())


def class_name(cls: type) -> str:
    """The qualified name of a class."""
    return cast("str", _TYPE_QUALNAME.__get__(cls))


def fact(cls: type, name: str) -> Any:
    """What CPython knows of a class beside its namespace (`__base__`, `__flags__`), whatever its metaclass says."""
    return type.__dict__[name].__get__(cls)


def class_home(cls: type) -> str:
    """The name of the module that a class says it was made in."""
    return str(fact(cls, "__module__") if is_written_in_c(cls) else class_dict(cls).get("__module__"))


def is_written_in_c(cls: type) -> bool:
    """Whether a class is a static one of the interpreter or of an extension, rather than made while it runs."""
    return not fact(cls, "__flags__") & _HEAP_TYPE


def instance_dict(o: object) -> dict[str, Any] | None:
    """The attributes of an instance as its real dict, or None if it has none or hides it behind a property."""
    for cls in mro(type(o)):
        descriptor = class_dict(cls).get("__dict__")
        if descriptor is not None:
            # That of a `SimpleNamespace` is a member; a module has such a member, too, and is no instance.
            if type(descriptor) is not types.GetSetDescriptorType and cls is not types.SimpleNamespace:
                return None
            found = descriptor.__get__(o)
            return found if type(found) is dict else None
    return None


def is_same(before: Any, after: Any) -> bool:
    """Whether a value is what was there, or the same text or number; a fork may have been taken away since."""
    before = before.newest if issubclass(type(before), Fork) else before
    kind = type(after)
    return before is after or (kind is type(before) and kind in UNIQUE_NEVER and bool(before == after))


def slot_descriptors(cls: type) -> list[types.MemberDescriptorType]:
    """The descriptors of all slots of a class and its bases."""
    return [
        value
        for base in mro(cls)
        for value in list(class_dict(base).values())
        if type(value) is types.MemberDescriptorType
    ]


def callback_of(reference: object) -> Any:
    """The callback of a weak reference; None if it has none, or is a proxy, which answers for what it stands for."""
    return _CALLBACK.__get__(reference) if issubclass(type(reference), weakref.ReferenceType) else None


def trace_of(error: BaseException) -> types.TracebackType | None:
    """The traceback of an exception."""
    return cast("types.TracebackType | None", _TRACE.__get__(error))


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """The exceptions that are in one that is a group; none in any other."""
    is_group = issubclass(type(error), BaseExceptionGroup)
    return cast("tuple[BaseException, ...]", _MEMBERS.__get__(error)) if is_group else ()


def descendants(cls: type) -> Iterator[type]:
    """The living subclasses of a class, and theirs."""
    seen: set[int] = set()
    stack: list[type] = [cls]
    while stack:
        below: list[type] = type.__subclasses__(stack.pop())
        for child in below:
            if id(child) not in seen:
                seen.add(id(child))
                stack.append(child)
                yield child
