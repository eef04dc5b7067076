"""Stand-ins: the modules that a rollback brings back, as they will be, for code that is loaded before it is made.

While a swap is live, the old modules are not fit to be imported: their functions lead to the new ones, and private
clones stand in their namespaces. So a stand-in gets a namespace of its own, with what the writes of the rollback will
put there; and of each function a twin that runs the old code in that namespace.

Making them changes nothing in the process. Nobody but the code that is loaded for the rollback gets hold of them, and
what it keeps of them is replaced before the swap.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, ModuleType
from typing import Any

from hotswap.generation import GONE, Definitions, Earlier, Live, ModuleView
from hotswap.swap.forwarding import target_of
from hotswap.swap.fronts import Front
from hotswap.swap.parts import LRU_CACHE
from hotswap.swap.signatures import own_attributes
from hotswap.swap.writes import Op

__all__ = ["clashes", "stand_ins"]

Outside = Callable[[Any], dict[str, Any] | None]


def stand_ins(
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    definitions: Mapping[str, Definitions],
    backward: Iterable[Op],
    carried: Mapping[str, Mapping[str, Any]],
    outside: Outside,
    live: Live,
) -> Earlier:
    """Return what a rollback brings back, to be imported before it is made.

    Arguments:
        old, new: the modules that come back, and those that go.
        definitions: what the sources of the old ones say.
        backward: the writes of the rollback.
        carried: what the old modules get besides: module -> name -> value.
        outside: gives what makes the outside of an old function while it is live, if it is one of this swap.
        live: the managed modules as they run now.
    """
    written = _written(backward)
    maker = _Maker(old, new, outside)
    for name, module in old.items():
        facts = ModuleType.__getattribute__(module, "__dict__")
        _, then = written.get(id(facts), (facts, {}))
        values = {**facts, **then, **carried.get(name, {})}
        shown = {key: maker.shown(value, facts.get(key, GONE)) for key, value in values.items() if value is not GONE}
        maker.modules[name].__dict__.update(shown)
    values = {}
    for entry in live:
        space = ModuleType.__getattribute__(entry.module, "__dict__") if entry.plain else {}
        if entry.name not in new and id(space) in written:
            then = written[id(space)][1]
            values[entry.name] = {key: maker.shown(value, space.get(key, GONE)) for key, value in then.items()}
    return Earlier(maker.modules, definitions, values, new, maker.leads)


def _written(ops: Iterable[Op]) -> dict[int, tuple[dict[str, Any], dict[str, Any]]]:
    """What writes put into dicts: id of one -> (it, what it will have under its keys)."""
    found: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
    for op in ops:
        if op[0] is dict.__setitem__ and isinstance(op[2], str):
            found.setdefault(id(op[1]), (op[1], {}))[1][op[2]] = op[3]
        elif op[0] is dict.pop and isinstance(op[2], str):
            found.setdefault(id(op[1]), (op[1], {}))[1][op[2]] = GONE
    return found


class _Maker:
    """Makes the stand-ins, and knows what each leads to."""

    def __init__(self, old: Mapping[str, ModuleType], new: Mapping[str, ModuleType], outside: Outside) -> None:
        self.modules = {name: ModuleType(name) for name in old}
        self.leads: dict[int, tuple[Any, Any]] = {}
        self._outside = outside
        self._shown: dict[int, tuple[Any, Any]] = {}
        self._spaces: dict[int, dict[str, Any]] = {}
        for name, module in old.items():
            stand_in = self.modules[name]
            facts = ModuleType.__getattribute__(module, "__dict__")
            self._spaces[id(facts)] = stand_in.__dict__
            self._note(module, stand_in)
            self._note(facts, stand_in.__dict__)
            if name in new:
                self._shown[id(new[name])] = (new[name], stand_in)

    def _note(self, value: Any, stand_in: Any) -> Any:
        self._shown[id(value)] = (value, stand_in)
        self.leads[id(stand_in)] = (stand_in, value)
        return stand_in

    def shown(self, value: Any, now: Any) -> Any:
        """Return what stands for a value.

        Arguments:
            value: what the name will have.
            now: what it has while the old version is not live; old code that is in flight runs with that.
        """
        known = self._shown.get(id(value))
        if known is not None:
            return known[1]
        kind = type(value)
        if kind is ModuleView:
            name = ModuleType.__getattribute__(value, "__dict__")["_hotswap"][0]
            return self.modules.get(name, value)
        if kind is FunctionType:
            facts = self._outside(value)
            code = value.__code__ if facts is None else facts["__code__"]
            if (facts is not None or id(value.__globals__) in self._spaces) and target_of(code) is None:
                return self._note(value, self._twin(value, facts or {}, code))
        elif kind in (LRU_CACHE, functools.partial) and now is not value:
            now = now.ways.value if type(now) is Front else now
            if type(now) is kind:
                return self._note(value, now)
        return value

    def _twin(self, function: FunctionType, facts: Mapping[str, Any], code: Any) -> FunctionType:
        # A copy of the code: somebody waits for the death of the old one.
        space = self._spaces.get(id(function.__globals__), function.__globals__)
        defaults = facts.get("__defaults__", function.__defaults__)
        twin = FunctionType(code.replace(), space, code.co_name, defaults, function.__closure__)
        twin.__kwdefaults__ = facts.get("__kwdefaults__", function.__kwdefaults__)
        twin.__qualname__ = facts.get("__qualname__", function.__qualname__)
        twin.__module__ = facts.get("__module__", function.__module__)
        twin.__doc__ = facts.get("__doc__", function.__doc__)
        twin.__dict__.update(own_attributes(facts.get("__dict__", function.__dict__)))
        return twin


def clashes(one: Iterable[Op], other: Iterable[Op], apart: Iterable[tuple[int, Any]]) -> list[Any]:
    """Return the objects into which two lists of writes would put different things.

    Arguments:
        one, other: the lists; they are about to be made in one call.
        apart: places in dicts, id and key, of which it is known that what the second puts there is right. A key of None
            stands for all.
    """
    free = {*apart}
    there = {place: op for op in one if (place := _place(op)) is not None}
    found = []
    for op in other:
        place = _place(op)
        before = there.get(place) if place is not None else None
        if before is None or place in free or (place is not None and (place[0], None) in free):
            continue
        same = len(op) == len(before) and all(a is b for a, b in zip(op[2:], before[2:], strict=True))
        if not same:
            found.append(op[1])
    return found


def _place(op: Op) -> tuple[int, Any] | None:
    """What a write writes to: id of the object, and the key or attribute, if it has one."""
    if len(op) < 2:
        return None
    by_key = op[0] in (dict.__setitem__, dict.pop, type.__setattr__, object.__setattr__, setattr)
    return id(op[1]), (op[2] if by_key and len(op) > 2 and isinstance(op[2], str) else "")
