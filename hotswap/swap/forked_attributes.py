"""Attributes of classes that are forks: while old calls are in flight, who asks decides what an attribute is."""

from __future__ import annotations

import functools
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from types import FrameType, FunctionType, MethodType
from typing import Any, Protocol

from hotswap import walk
from hotswap.swap.absent import ABSENT, without
from hotswap.swap.callers import caller, looked_through
from hotswap.swap.forwarding import target_of, ways_of
from hotswap.swap.junctions import Junction
from hotswap.swap.loads import is_called_at_once
from hotswap.swap.order import Op
from hotswap.swap.parts import functions_behind
from hotswap.swap.ways import Changed, Ways

__all__ = ["Attribute", "asking", "attribute_of", "behind", "cloned", "is_forked", "passed"]

_frame = sys._getframe
_SET = type.__setattr__
_WAYS: Any = vars(walk.Fork)["ways"]

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
        ),
        *("__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__", "__type_params__"),
        *("__orig_bases__", "__parameters__", "__firstlineno__", "__static_attributes__", "__abstractmethods__"),
        *("__slotnames__", "_abc_impl", "__set_name__"),
    )
)
"""What describes a class, or is asked for by whoever makes one below it."""

_FIELDS = frozenset(
    ("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__attrs_attrs__", "__attrs_props__")
)
"""What says which fields an object has. It goes with the constructor and with the defaults: who gets the one gets all.

It is asked for by `getattr`, which takes "there is none" for an answer.
"""


class Attribute(walk.Fork):
    """Stands for an attribute of a class, as a descriptor that is no data descriptor.

    Arguments:
        cls: the class.
        name: of the attribute.
        ways: what it is for whom; `walk.MISSING` where the class has none of its own.
    """

    __slots__ = ("__weakref__", "_held", "cls", "name")

    ways: Ways

    def __init__(self, cls: type, name: str, ways: Ways) -> None:
        self.cls, self.name, self.ways = cls, name, ways
        self._held: dict[int, _Held] = {}  # kept here, since a `weakref.WeakMethod` keeps nothing

    def __getattr__(self, name: str) -> Any:
        # Who reads the namespace of the class finds this object, and asks it for `fget`, or `__isabstractmethod__`.
        if name in ("__weakref__", "_held", "cls", "name", "ways"):
            raise AttributeError(name)  # a copy that is being made has nothing yet
        return getattr(self._asked(caller(_frame(1)))[0], name)

    def __get__(self, o: Any, owner: Any = None) -> Any:
        frame = caller(_frame(1))
        return self._got(*self._asked(frame), o, owner, frame)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what CPython does with `__get__`, `__set__` and `__delete__` of a class: it calls what stands there."""
        return self._asked(caller(_frame(1)))[0](*args, **kwargs)

    def _asked(self, frame: FrameType) -> tuple[Any, Ways]:
        """What the code in a frame gets, and by which ways: those that stand when it is answered.

        A thread may have this fork in its hands when a swap puts another one in its place, and then the generation of
        its code may have come back, and be nobody's old one to these ways.
        """
        fork = self
        while True:
            ways = fork.ways
            value = ways.of(frame)
            if fork.ways is ways and type(ways) is not _Passed:
                return value, ways
            standing: Any = walk.class_space(self.cls).get(self.name)
            if not issubclass(type(standing), Attribute) or type(standing.ways) is _Passed:
                return fork.ways.new, fork.ways
            fork = standing

    def _got(self, value: Any, ways: Ways, o: Any, owner: Any, frame: FrameType) -> Any:
        if value is walk.MISSING:
            value = self._inherited(type(o) if owner is None else owner)
            if value is walk.MISSING:
                return self._absent(o, owner, frame)
        elif (
            not (o is None and type(value) is FunctionType)
            and (lasting := self._lasting(value, ways, frame)) is not None
        ):
            kind = type(value)
            if ways.is_of_code(value, frame):
                # Old code may take it to unsubscribe what it, or its predecessor, has subscribed.
                if kind is not staticmethod:
                    bound = (type(o) if owner is None else owner) if kind is classmethod else o
                    held = self._held.setdefault(
                        id(value), _Held(walk.function_behind(value), walk.function_behind(lasting))
                    )
                    return MethodType(held, bound)
            else:
                value = lasting
        getter = _hook(type(value), "__get__")
        return value if getter is None else getter(value, o, owner)

    def _lasting(self, value: Any, ways: Ways, frame: FrameType) -> Any:
        """What the class has before and after; None where it does not lead here, or the caller keeps nothing of it.

        Who calls a method there and then gets what runs, at the price of no frame. Who keeps it may call it after the
        swap, or compare it with one that was taken before: it has to be the same function, which asks when it is
        called.
        """
        aim = ways.aim
        kind = type(value)
        if kind is not type(aim) or kind not in _KEPT or is_called_at_once(frame, self.name):
            return None
        made, standing = walk.function_behind(value), walk.function_behind(aim)
        if type(made) is not FunctionType or type(standing) is not FunctionType:
            return None
        leads = ways_of(standing.__code__)
        return aim if leads is not None and leads.of(frame) is made else None

    def _inherited(self, owner: Any) -> Any:
        above = walk.mro(owner)
        for base in above[above.index(self.cls) + 1 :] if self.cls in above else ():
            if self.name in walk.class_space(base):  # as it stands there: it may be a fork, too
                return walk.class_space(base)[self.name]
        return walk.MISSING

    def _absent(self, o: Any, owner: Any, frame: FrameType) -> Any:
        """What CPython calls for a special method that the class has not; what has none raises."""
        found = None if o is None else without(self.name, o, frame)
        if found is not None:
            return found
        kind = type(o) if owner is None else owner
        whose = f"type object {walk.class_name(self.cls)!r}" if o is None else f"{walk.class_name(kind)!r} object"
        raise AttributeError(f"{whose} has no attribute {self.name!r}")


class DataAttribute(Attribute):
    """The same as a data descriptor, where the attribute is one for somebody: a property."""

    __slots__ = ()

    def __get__(self, o: Any, owner: Any = None) -> Any:
        frame = caller(_frame(1))
        value, ways = self._asked(frame)
        if o is not None and _hook(type(value), "__set__") is None:
            facts = walk.instance_dict(o)
            if facts is not None and self.name in facts:
                return facts[self.name]
        return self._got(value, ways, o, owner, frame)

    def __set__(self, o: Any, given: Any) -> None:
        value, _ = self._asked(caller(_frame(1)))
        setter = _hook(type(value), "__set__")
        if setter is not None:
            setter(value, o, given)
        else:
            self._facts(o)[self.name] = given

    def __delete__(self, o: Any) -> None:
        value, _ = self._asked(caller(_frame(1)))
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


class _Passed(Ways):
    """Ways of a fork that a swap has taken the place of: they lead everybody to what the attribute was after that."""

    __slots__ = ()


_KEPT = (FunctionType, classmethod, staticmethod)
"""What a class has under a name, and gives a function or a bound method for, which somebody may keep."""


class _Held:
    """The function of a bound method that an old call takes to keep it: the old one, which equals the one that lasts.

    It equals earlier ones, too, that lead there: who has subscribed a method before the swap can unsubscribe it. Its
    hash is that of the one that lasts, to which the swap has redirected registries.

    Arguments:
        own: what it calls: of the generation of the call.
        lasting: the function of bound methods that are taken after the swap.
    """

    __slots__ = ("__weakref__", "lasting", "own")

    def __init__(self, own: FunctionType, lasting: FunctionType) -> None:
        self.own: FunctionType = own
        self.lasting = lasting

    def __getattr__(self, name: str) -> Any:
        if name in ("lasting", "own"):
            raise AttributeError(name)  # a copy that is being made has nothing yet
        return getattr(self.own, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.own(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if type(other) is _Held:
            return other.lasting is self.lasting
        while other is not self.lasting and type(other) is FunctionType:
            other = target_of(other.__code__)
        return other is self.lasting

    def __hash__(self) -> int:
        return hash(self.lasting)


def _hook(kind: type, name: str) -> Any:
    """What a class has under a name; a fork, if one stands there: it asks the caller."""
    return next((walk.class_space(base)[name] for base in walk.mro(kind) if name in walk.class_space(base)), None)


looked_through.add(id(globals()))


def attribute_of(cls: type, name: str, ways: Ways) -> Attribute:
    """Return what stands for an attribute of a class: a data descriptor if it is one for somebody."""
    values = (*(value for _, value in ways.old), ways.new)
    guarded = any(_hook(type(value), hook) for value in values for hook in _DATA)
    return (DataAttribute if guarded else Attribute)(cls, name, ways)


def passed(cls: type, name: str, value: Any) -> tuple[list[Op], list[Op]]:
    """Return the write that has who holds the fork of an attribute ask what takes its place, and those that undo it.

    Arguments:
        cls: the class.
        name: of the attribute.
        value: what it will be, unless another fork takes the place.
    """
    standing: Any = walk.class_space(cls).get(name)
    if not issubclass(type(standing), Attribute):
        return [], []
    on = (_WAYS.__set__, standing, _Passed((), value, value))
    return [on], [(_SET, cls, name, standing), (_WAYS.__set__, standing, standing.ways)]


def asking(functions: Container[int], changed: Iterable[Changed]) -> Iterator[tuple[Op, Op]]:
    """Yield the writes that have forks lead to functions themselves, and not to what runs in their place, with undo.

    A class that stays has them under its names: decorators' wrappers, which are led on without it.

    Arguments:
        functions: the ids of the functions.
        changed: the attributes that get other forks.
    """
    others = {(id(one.cls), one.name) for one in changed}
    for cls in list(walk.forked.values()):
        for name, standing in list(walk.class_space(cls).items()):
            if not issubclass(type(standing), Attribute) or (id(cls), name) in others:
                continue
            ways: Ways = standing.ways
            if ways.new is not ways.aim and any(id(one) in functions for one in functions_behind(ways.aim)):
                asked = ways.moved(ways.lasting, ways.aim, ways.aim)
                yield (_WAYS.__set__, standing, asked), (_WAYS.__set__, standing, ways)


def behind(value: Any, standing: Any, junction: Junction) -> list[tuple[Junction, Any]]:
    """Return what an attribute is for other old generations, the newest first: those too that only its functions know.

    A class has had a decorator's wrapper by its name all along, while the decorator was changed.

    Arguments:
        value: what the attribute is.
        standing: the fork that stands for it, if one does.
        junction: the generation that goes.
    """
    ways = standing.ways.lasting if isinstance(standing, Attribute) else []
    seen = {id(junction), *(id(known) for known, _ in ways)}
    more: dict[Junction, dict[int, Any]] = {}
    for function in functions_behind(value):
        leads = ways_of(function.__code__)
        for known, old in () if leads is None else leads.lasting:
            if id(known) not in seen:
                more.setdefault(known, {})[id(function)] = old
    every = [*ways, *((known, cloned(value, _Instead(old))) for known, old in more.items())]
    return sorted((way for way in every if way[0] is not junction), key=lambda way: way[0].number, reverse=True)


def is_forked(cls: type, name: str, was: Any, will: Any) -> bool:
    """Whether old code is to get another attribute than new code: what makes up the class is the same for everybody."""
    if name in _OF_THE_CLASS or was is will:
        return was is walk.MISSING and name == "__bool__"  # it is beside `__len__`
    if name == "__match_args__" and type(was) is tuple is type(will) and walk.same_items(was, will):
        return False  # it is made anew for each class, and asked for by each `match`
    is_in_one = was is walk.MISSING or will is walk.MISSING
    if is_in_one and name.startswith("__") and name not in _FIELDS | ABSENT:
        # CPython asks a class for what has no method of that name, and takes no error for an answer.
        return any(name in walk.class_dict(base) for base in walk.mro(cls)[1:])
    return True


class _Clones(Protocol):
    def clone(self, value: Any) -> Any: ...


class _Instead:
    """Gives something in the place of functions, by their ids."""

    def __init__(self, values: Mapping[int, Any]) -> None:
        self._values = values

    def clone(self, value: Any) -> Any:
        return self._values.get(id(value), value)


def cloned(value: Any, cloning: _Clones) -> Any:
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
    if kind is functools.singledispatchmethod:
        # Its implementations are found by the dispatcher that it has: that leads on, as any function does.
        made = kind(value.func)
        made.dispatcher, made.func = cloning.clone(value.dispatcher), cloned(value.func, cloning)
        return made
    return cloning.clone(value)
