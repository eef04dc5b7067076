"""Narrowing: what goes on for hours keeps only those forks that it may come to.

After the handover only old code that was changed goes on, until it ends. What it can still come to is told by names:
those that it uses, and those that the old functions of these names use, and so on. Forks under other names are of no
use to anybody, and are taken away. What operators and the language itself ask for (``__len__``) has no name in code, so
it stays; but a constructor is come to by its class.

Assumes: names are spelled in code, as names or as constants (`getattr`); of what a loop has in its variables, the names
that it has itself. One that is made up at run time, or that stands in a registry only, meets the new.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from types import CodeType, FrameType, FunctionType, MethodType
from typing import Any

from hotswap import walk
from hotswap.swap.lineage import Reference
from hotswap.swap.releasing import release
from hotswap.swap.sharing import named
from hotswap.swap.ways import Junction

__all__ = ["narrow", "reachable"]

_CONSTRUCTORS = ("__init__", "__new__", "__post_init__")
_ANY_CLASS = ("__class__", "type")
"""By these names an instance leads to its class."""


def reachable(frames: Iterable[FrameType], functions: Mapping[str, Iterable[CodeType]]) -> frozenset[str]:
    """Return the names that some calls may still come to.

    Arguments:
        frames: of the calls.
        functions: name -> the code of the old functions and methods of that name.
    """
    found: set[str] = set()
    stack: list[str] = []
    for frame in frames:
        stack += named(frame.f_code)
        stack += (name for value in list(frame.f_locals.values()) for name in _names_of(value))
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            for code in functions.get(name, ()):
                stack += named(code)
    return frozenset(found)


def _names_of(value: Any) -> Iterator[str]:
    if type(value) is MethodType:
        value = value.__func__
    if type(value) is FunctionType:
        yield value.__name__
        yield from named(value.__code__)
    elif walk.is_class(value):
        yield walk.class_name(value).rpartition(".")[2]


def narrow(junction: Junction, names: Container[str], aliases: Mapping[int, Iterable[str]]) -> None:
    """Take the forks of a generation away that stand under other names.

    Nobody may make a swap meanwhile, and nobody may be in a session of that generation, or of one before it.

    Arguments:
        junction: the generation.
        names: those that its calls may still come to.
        aliases: id of a function -> the names that it has in its modules.
    """
    by_instance = any(name in names for name in _ANY_CLASS)

    def constructed(cls: type) -> bool:
        own = (cls, *walk.descendants(cls))
        return by_instance or any(walk.class_name(c).rpartition(".")[2] in names for c in own)

    def stays(cls: type, name: str) -> bool:
        if name in _CONSTRUCTORS:
            return constructed(cls)
        return name in names or (name.startswith("__") and name.endswith("__"))

    def is_named(reference: Reference) -> bool:
        function: FunctionType | None = reference()
        if function is None:
            return False
        return any(name in names for name in (function.__name__, *aliases.get(id(function), ())))

    attributes = {key: one for key, one in list(junction.attributes.items()) if not stays(*one)}
    functions = {key: one for key, one in list(junction.functions.items()) if not is_named(one)}
    for key in attributes:
        del junction.attributes[key]
    for number in functions:
        junction.functions.pop(number, None)  # it may have gone meanwhile
    release(junction, attributes.values(), functions.values())
