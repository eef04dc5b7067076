"""Forks: where old and new are both reachable while old calls are in flight, and the caller decides which one it gets.

A class stays the class, and a function object that somebody holds leads to the new code. An old call that is under way
still has to get its own generation's: methods through `self`, properties, constructors, class attributes, and functions
that it holds in a local. So while old calls are in flight, a changed attribute of a class is a descriptor, and the code
of an old function asks, too. Who calls is told by the globals of the frame: those of the old modules are old code.

Guarantees: where no old call is in flight at the commit, no fork is ever installed. A fork of one attribute knows every
generation that has calls in flight, so that swaps may follow each other quickly. When the last call of the last of them
has ended, the attribute is plain again, and calls run at their own speed. Everybody else gets the new one, at the price
of a frame more while it stands.

Assumes: the nearest Python frame is the caller. Where a library stands between (a wrapper of `functools` in Python,
say), its frame is nobody's, and gets the new one. Asking for the frame is safe with the GIL and on free-threaded
builds; that installing forks and making the swap are one step is so only with the GIL (see `plan`).
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import starmap
from types import CodeType, FunctionType
from typing import Any

from hotswap import walk
from hotswap.swap.drain import Cloning, InFlight
from hotswap.swap.forwarding import forwarder, ways_of
from hotswap.swap.plan import Op
from hotswap.swap.ways import Junction, Ways, caller, looked_through

__all__ = ["Forks", "asked"]

_SET, _DELETE = type.__setattr__, type.__delattr__
_CODE: Any = vars(FunctionType)["__code__"]
_frame = sys._getframe
_APART = sys.platform != "emscripten"
"""Whether there are threads, in which forks are taken away. Where there are none, suspended calls do without."""

_DATA = ("__set__", "__delete__")
_OF_THE_CLASS = frozenset(
    (
        *(
            "__module__",
            "__qualname__",
            "__name__",
            "__doc__",
            "__dict__",
            "__weakref__",
            "__slots__",
            "__match_args__",
        ),
        *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__type_params__"),
        *("__orig_bases__", "__parameters__", "__firstlineno__", "__static_attributes__", "__abstractmethods__"),
        *("__hash__", "__slotnames__", "_abc_impl", "__set_name__", "__init_subclass__", "__class_getitem__"),
    )
)
"""What describes a class, or is asked for by whoever makes one below it."""


class _Attribute(walk.Fork):
    """Stands for an attribute of a class, as a descriptor that is no data descriptor.

    Arguments:
        cls: the class.
        name: of the attribute.
        ways: what it is for whom; `walk.MISSING` where the class has none of its own.
    """

    __slots__ = ("__weakref__", "cls", "name")

    ways: Ways

    def __init__(self, cls: type, name: str, ways: Ways) -> None:
        self.cls, self.name, self.ways = cls, name, ways

    def __getattr__(self, name: str) -> Any:
        # Who reads the namespace of the class finds this object, and asks it for `fget`, or `__isabstractmethod__`.
        if name in ("__weakref__", "cls", "name", "ways"):
            raise AttributeError(name)  # a copy that is being made has nothing yet
        return getattr(self.ways.of(caller(_frame(1))), name)

    def __get__(self, o: Any, owner: Any = None) -> Any:
        return self._got(self.ways.of(caller(_frame(1))), o, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # CPython calls `__get__`, `__set__` and `__delete__` of a class without asking for them (`slot_tp_descr_get`).
        return self.ways.of(caller(_frame(1)))(*args, **kwargs)

    def _got(self, value: Any, o: Any, owner: Any) -> Any:
        if value is walk.MISSING:
            value = self._inherited(type(o) if owner is None else owner)
        getter = _hook(type(value), "__get__")
        return value if getter is None else getter(value, o, owner)

    def _inherited(self, owner: Any) -> Any:
        above = walk.mro(owner)
        for base in above[above.index(self.cls) + 1 :] if self.cls in above else ():
            if self.name in walk.class_dict(base):
                return walk.class_dict(base)[self.name]
        raise AttributeError(f"type object {walk.class_name(self.cls)!r} has no attribute {self.name!r}")


class _DataAttribute(_Attribute):
    """The same as a data descriptor, where the attribute is one for somebody: a property."""

    __slots__ = ()

    def __get__(self, o: Any, owner: Any = None) -> Any:
        value = self.ways.of(caller(_frame(1)))
        if o is not None and _hook(type(value), "__set__") is None:
            facts = walk.instance_dict(o)
            if facts is not None and self.name in facts:
                return facts[self.name]
        return self._got(value, o, owner)

    def __set__(self, o: Any, given: Any) -> None:
        value = self.ways.of(caller(_frame(1)))
        setter = _hook(type(value), "__set__")
        if setter is not None:
            setter(value, o, given)
        else:
            self._facts(o)[self.name] = given

    def __delete__(self, o: Any) -> None:
        value = self.ways.of(caller(_frame(1)))
        deleter = _hook(type(value), "__delete__")
        if deleter is not None:
            deleter(value, o)
        elif self.name in (facts := self._facts(o)):
            del facts[self.name]
        else:
            raise AttributeError(self.name)

    def _facts(self, o: Any) -> dict[str, Any]:
        facts = walk.instance_dict(o)
        if facts is None:
            raise AttributeError(f"{walk.class_name(type(o))!r} object attribute {self.name!r} is read-only")
        return facts


def _hook(kind: type, name: str) -> Any:
    return walk.inherited(kind, name)


looked_through.add(id(globals()))


class Forks:
    """The forks of one swap, in one direction. Lives until the calls that it serves have drained.

    Arguments:
        junction: the generation that goes.
        running: tells whether a call of it is in flight.
        cloning: makes what its code gets.
        attributes: gives those that the swap changes: class, name, what it was, what it will be; `walk.MISSING`:
            nothing.
        functions: those that lead to a successor: the function, the successor, and the code that this has then.
    """

    def __init__(
        self,
        junction: Junction,
        running: InFlight,
        cloning: Cloning,
        attributes: Callable[[], Iterable[tuple[type, str, Any, Any]]],
        functions: Callable[[], Iterable[tuple[FunctionType, Any, CodeType | None]]],
    ) -> None:
        self._junction, self._cloning = junction, cloning
        self._running: InFlight | None = running
        self._given: tuple[Callable[[], Iterable[Any]], Callable[[], Iterable[Any]]] = attributes, functions
        self._held: list[Any] = []
        self._attributes: list[tuple[type, str]] = []
        self._functions: list[FunctionType] = []

    def needed(self) -> bool:
        """Whether a call is in flight, or forks stand that serve earlier generations."""
        if not _APART:
            return False
        standing = bool(walk.forked) and any(id(cls) in walk.forked for cls, *_ in self._given[0]())
        return standing or bool(self._running)

    def probe(self) -> Iterator[bool]:
        """Return an iterator of C functions that gives for each function whether a call of it is in flight."""
        return iter(()) if self._running is None or not _APART else self._running.probe()

    def ops(self) -> list[Op]:
        """Return the writes that install the forks, over those of the swap."""
        return [*self._fork_attributes(), *self._fork_functions()]

    def _fork_attributes(self) -> Iterator[Op]:
        cloning = self._cloning
        for cls, name, was, will in self._given[0]():
            if not _is_forked(cls, name, was, will):
                continue
            standing = walk.class_space(cls).get(name)
            before = standing.ways.lasting if isinstance(standing, _Attribute) else []
            self._held.append(standing)  # nothing may die within the one C call
            ways = Ways([(self._junction, _cloned(was, cloning)), *before], will)
            guarded = any(_hook(type(value), hook) for _, value in (*ways.old, (None, will)) for hook in _DATA)
            self._attributes.append((cls, name))
            walk.forked.setdefault(id(cls), cls)
            yield (_SET, cls, name, (_DataAttribute if guarded else _Attribute)(cls, name, ways))

    def _fork_functions(self) -> Iterator[Op]:
        cloning = self._cloning
        for function, successor, code in self._given[1]():
            clone = cloning.clone(function)
            if clone is function:
                continue
            standing = ways_of(function.__code__)
            ways = Ways([(self._junction, clone), *(standing.lasting if standing is not None else [])], successor)
            self._functions.append(function)
            # With the signature of the new one it would refuse the arguments of the old, and add defaults of the new.
            same = code is not None and _signature(code) == _signature(clone.__code__) and not _has_defaults(clone)
            yield (_CODE.__set__, function, forwarder(function, ways, code, anything=not same))

    @property
    def stand(self) -> bool:
        """Whether forks were installed."""
        return bool(self._attributes or self._functions)

    def landed(self) -> None:
        """Let go of the code: somebody waits for its death."""
        self._running, self._given = None, ((lambda: ()), (lambda: ()))
        self._held.clear()

    def settle(self) -> None:
        """Take away what serves nobody any more: the calls of this generation have ended.

        Nobody may make a swap meanwhile. What the calls of another generation still need stays.
        """
        self._junction.over = True
        deque(starmap(operator.call, list(self._settled())), maxlen=0)
        for cls, _ in self._attributes:
            if not any(issubclass(type(value), walk.Fork) for value in list(walk.class_space(cls).values())):
                walk.forked.pop(id(cls), None)
        self._attributes, self._functions = [], []

    def _settled(self) -> Iterator[Op]:
        for cls, name in self._attributes:
            standing = walk.class_space(cls).get(name)
            if not isinstance(standing, _Attribute):
                continue
            ways = standing.ways
            ways.old = ways.lasting
            if not ways.old:
                yield (_SET, cls, name, None if ways.new is walk.MISSING else ways.new)
                if ways.new is walk.MISSING:
                    yield (_DELETE, cls, name)
        for function in self._functions:
            standing = ways_of(function.__code__)
            if standing is None:
                continue
            standing.old = standing.lasting
            if not standing.old:
                code = standing.new.__code__ if type(standing.new) is FunctionType else None
                yield (_CODE.__set__, function, forwarder(function, standing.new, code))


def asked(function: FunctionType, aim: Any, outside: dict[str, Any]) -> dict[str, Any]:
    """Return the outside of an earlier function that leads on: it still asks if calls of its generation are in flight.

    Arguments:
        function: the function.
        aim: what it leads to.
        outside: what it looks like then.
    """
    standing = ways_of(function.__code__)
    if standing is None or not standing.lasting:
        return outside
    code = forwarder(function, Ways(standing.lasting, aim), outside["__code__"], anything=True)
    return {**outside, "__code__": code}


def _signature(code: CodeType) -> tuple[Any, ...]:
    """What a caller may pass."""
    rest = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount, rest, names


def _has_defaults(function: FunctionType) -> bool:
    return bool(function.__defaults__ or function.__kwdefaults__)


def _is_forked(cls: type, name: str, was: Any, will: Any) -> bool:
    """Whether old code is to get another attribute than new code: what makes up the class is the same for everybody."""
    if name in _OF_THE_CLASS or name.startswith("__dataclass_") or was is will:
        return False
    if walk.MISSING in (was, will) and name.startswith("__"):
        # CPython asks a class for what has no method of that name, and takes no error for an answer.
        return any(name in walk.class_dict(base) for base in walk.mro(cls)[1:])
    return True


def _cloned(value: Any, cloning: Cloning) -> Any:
    """What old code gets for what an attribute of a class was: with private clones of the functions in it."""
    kind = type(value)
    if kind in (staticmethod, classmethod):
        inner = cloning.clone(value.__func__)
        return value if inner is value.__func__ else kind(inner)
    if kind is property:
        getter, setter, deleter = (
            None if f is None else cloning.clone(f) for f in (value.fget, value.fset, value.fdel)
        )
        return property(getter, setter, deleter, value.__doc__)
    if kind is functools.cached_property:
        made: Any = functools.cached_property(cloning.clone(value.func))
        made.attrname = value.attrname
        return made
    return cloning.clone(value)
