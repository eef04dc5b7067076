"""Absent: what CPython does with an object whose class has no special method of some name.

While calls are in flight a fork stands under the name of a special method that only one version has, and with it
CPython has a slot: it calls what the fork gives, and takes no error for "there is none". So who gets the version
without the method gets a function that does what CPython does then: it asks another special method, or raises what it
raises.

What that is, is not told here once more: the very operation is made with an object of a class of the same name, which
has just those of the other methods that the object has for the caller, and leads them to it.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from hotswap import walk
from hotswap.swap.callers import looked_through
from hotswap.swap.loads import is_load
from hotswap.swap.ways import Changed

__all__ = ["ABSENT", "companion", "without"]

_ASKED = frozenset(
    (
        *("__class_getitem__", "__copy__", "__deepcopy__", "__fspath__", "__getnewargs__", "__getnewargs_ex__"),
        *("__mro_entries__", "__replace__", "__setstate__"),
    )
)
"""Special methods that are asked for as any attribute is: "there is none" is an answer."""

_OPERATORS = frozenset(
    f"__{side}{name}__"
    for name in (
        *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
        *("lshift", "rshift", "and", "xor", "or"),
    )
    for side in ("", "r", "i")
) | {"__length_hint__"}
"""Special methods that may say that they can't do it: then another one is asked, as if there was none."""


def _awaited(o: Any) -> None:
    async def awaits() -> None:
        await o

    awaits().send(None)


def _iterated(o: Any) -> None:
    async def iterates() -> None:
        async for _ in o:
            return

    iterates().send(None)


def _entered(o: Any) -> None:
    with o:
        pass


def _entered_async(o: Any) -> None:
    async def enters() -> None:
        async with o:
            pass

    enters().send(None)


def _missing(_: Any, key: Any) -> None:
    raise KeyError(key)


_OTHERWISE: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "__abs__": (abs, ()),
    "__aiter__": (_iterated, ()),
    "__await__": (_awaited, ()),
    "__bool__": (bool, ("__len__",)),
    "__call__": (operator.call, ()),
    "__ceil__": (math.ceil, ("__float__", "__index__")),
    "__complex__": (complex, ("__float__", "__index__")),
    "__contains__": (operator.contains, ("__iter__", "__getitem__")),
    "__delitem__": (operator.delitem, ()),
    "__float__": (float, ("__index__",)),
    "__floor__": (math.floor, ("__float__", "__index__")),
    "__getitem__": (operator.getitem, ()),
    "__index__": (operator.index, ()),
    "__int__": (int, ("__index__", "__trunc__")),
    "__invert__": (operator.invert, ()),
    "__iter__": (iter, ("__getitem__",)),
    "__len__": (len, ()),
    "__missing__": (_missing, ()),
    "__neg__": (operator.neg, ()),
    "__pos__": (operator.pos, ()),
    "__reversed__": (reversed, ("__len__", "__getitem__")),
    "__round__": (round, ()),
    "__setitem__": (operator.setitem, ()),
    "__trunc__": (math.trunc, ()),
}
"""What asks for a special method, and the other ones that it asks then."""

_REFUSED: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "__aenter__": (_entered_async, ("__aexit__",)),
    "__aexit__": (_entered_async, ("__aenter__",)),
    "__anext__": (anext, ()),
    "__enter__": (_entered, ("__exit__",)),
    "__exit__": (_entered, ("__enter__",)),
    "__next__": (next, ()),
}
"""What asks for a special method that nothing else takes the place of. It is refused at once, before anything is done:
`with` calls `__enter__` only where there is an `__exit__`.
"""

ABSENT = _ASKED | _OPERATORS | _OTHERWISE.keys() | _REFUSED.keys() | {"__getattr__"}
"""The special methods for which it is known what is done without them."""

_LED: dict[str, Callable[..., Any]] = {
    "__aenter__": _missing,
    "__aexit__": _missing,
    "__enter__": _missing,
    "__exit__": _missing,
    "__float__": lambda self: float(self.led),
    "__getitem__": lambda self, key: self.led[key],
    "__index__": lambda self: operator.index(self.led),
    "__iter__": lambda self: iter(self.led),
    "__len__": lambda self: len(self.led),
    "__trunc__": lambda self: math.trunc(self.led),
}


def without(name: str, o: Any, frame: FrameType) -> Callable[..., Any] | None:
    """Return what does for an object what CPython does if its class has no special method of a name.

    Arguments:
        name: that of the method.
        o: the object.
        frame: of the code that asks. None is returned if it spells the name: then there is no such attribute.

    Raises:
        TypeError: CPython does nothing without it. The error is its own.
    """
    if name not in ABSENT or name in _ASKED or (name != "__getattr__" and _spells(frame, name)):
        return None
    if name == "__getattr__":
        return functools.partial(_raising, o)
    if name in _OPERATORS:
        return _cannot
    act, names = _REFUSED[name] if name in _REFUSED else _OTHERWISE[name]
    stand_in = _stand_in(o, tuple(one for one in names if _has(o, one, frame)))
    if name in _REFUSED:
        act(stand_in)
    return functools.partial(act, stand_in)


def companion(changed: Changed) -> Changed | None:
    """Return what has to be a fork beside an attribute of a class that changes.

    An object without `__bool__` is asked for its `__len__`, which could not tell that from a call of `len`.
    """
    cls, name, was, will = changed
    if name != "__len__" or not (was is walk.MISSING or will is walk.MISSING):
        return None
    found = (walk.class_space(base).get("__bool__", walk.MISSING) for base in walk.mro(cls))
    plain = any(value is not walk.MISSING and not issubclass(type(value), walk.Fork) for value in found)
    return None if plain else Changed(cls, "__bool__", walk.MISSING, walk.MISSING)


def _spells(frame: FrameType, name: str) -> bool:
    """Whether code asks for an attribute by its name, as in ``o.__len__``, or `hasattr`."""
    return is_load(frame) or name in frame.f_code.co_consts


def _has(o: Any, name: str, frame: FrameType) -> bool:
    """Whether the class of an object has a special method for the code in a frame."""
    for base in walk.mro(type(o)):
        value = walk.class_space(base).get(name, walk.MISSING)
        if issubclass(type(value), walk.Fork):
            value = value.ways.of(frame)
        if value is not walk.MISSING:
            return value is not None
    return False


@functools.lru_cache
def _class_of(name: str, names: tuple[str, ...]) -> type:
    return type(name, (), {"__slots__": ("led",), **{one: _LED[one] for one in names}})


def _stand_in(o: Any, names: tuple[str, ...]) -> Any:
    made: Any = _class_of(walk.class_name(type(o)), names)()
    made.led = o
    return made


def _cannot(*_: Any) -> Any:
    return NotImplemented


def _raising(o: Any, name: str) -> Any:
    """Look for an attribute once more, as it has just been looked for in vain."""
    found: Iterator[Any] = (
        walk.class_space(base)["__getattribute__"]
        for base in walk.mro(type(o))
        if "__getattribute__" in walk.class_space(base)
    )
    return next(found)(o, name)


looked_through.add(id(globals()))
