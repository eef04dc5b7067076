"""Authorship: whether plain data that stands in a live registry was put there by a candidate's import.

Functions, classes and objects of the candidate tell by themselves where they come from. A text or a number does not,
and another thread of the service may have written it just then. So it is told by words: it is the candidate's if a
statement that its import runs says the key and the value, and speaks of the registry or calls what does. The value may
be computed where the statement speaks of the registry under the name that a managed module has for it. What a library
has, or an object whose class is one of a library, may be filled by code whose sources nobody reads: there any statement
counts that says both. A statement that sets a property says what its setter says, too.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.effects.properties import said_by_setters
from hotswap.patch import Place, Text, Unit, Word, words_of

__all__ = ["Authorship"]

_PARTS = 64
"""A value with more parts is data that somebody computes."""

_CALLS = 2
"""How many functions of its own module a statement is followed through."""

_AT_IMPORT = ("__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__")
"""The methods of a class that run when somebody calls it, or defines one below it."""


class Authorship:
    """What the import of a candidate says. Lives for one look after loading.

    Arguments:
        own: the sources of the modules that were loaded.
        around: those of the other managed modules.
        units: source -> its units, as far as they are known.
        setters: what the setters of properties say, as far as that is known; gets more.
        kinds: gives the classes whose properties the statements may set.
    """

    def __init__(
        self,
        own: Iterable[str],
        around: Iterable[str],
        units: dict[str, list[Unit]],
        setters: dict[str, frozenset[Word]],
        kinds: Callable[[], Iterable[type]] | None = None,
    ) -> None:
        own = list(own)
        self._own, self._whole = Text(own, units), Text([*own, *around], units)
        self._known: dict[str, set[str]] = {}
        self._setters, self._kinds = setters, kinds

    def has_put(self, value: Any, where: Callable[[], Place], *key: Any) -> bool:
        """Whether the candidate has put a value where it stands.

        Arguments:
            value: a plain value, or a container of such; anything else is the candidate's only if its key is.
            where: gives the place of the registry.
            key: under which key it stands; nothing, if it is an element of a list or of a set.
        """
        return self._has_put(value, where, *key) or (self._learns() and self._has_put(value, where, *key))

    def _has_put(self, value: Any, where: Callable[[], Place], *key: Any) -> bool:
        keys, words = _words(key), _words(value)
        if keys is None or not (keys or words) or not self._may_say(keys or words or ()):
            return False
        place = where()
        if place.name and keys and self._says(replace(place, foreign=False), keys):
            return True
        return (place.foreign or not (place.name and keys)) and self.says(place, value, *key)

    def says(self, place: Place, *parts: Any) -> bool:
        """Whether a statement that may fill a registry says some keys and values."""
        words = _words(parts)
        return words is not None and self._may_say(words) and self._says(place, words)

    def tells(self, place: Place, key: Any, value: Any) -> bool:
        """Whether a statement that may fill a registry says this value for a key, and nothing more."""
        words, keys = set(_words(value) or ()), set(_words(key) or ())
        for unit, said in self._filling(place) if words and keys and self._may_say(words | keys) else ():
            names = {(str, name) for name in (*unit.names, *unit.own)}
            if said.issuperset(words | keys) and said - names <= words | keys:
                return True
        return False

    def speaking(self, place: Place, key: Any) -> set[tuple[str, frozenset[Word]]]:
        """The statements that may put something under a key: of each its text, and what it says, by names too."""
        words = _words(key) or ()
        found = self._filling(place) if words and self._may_say(words) else ()
        return {(unit.dump, said) for unit, said in found if said.issuperset(words)}

    def _may_say(self, words: Iterable[Word]) -> bool:
        return self._own.may_say(word for word in words if not any(word in said for said in self._setters.values()))

    def _learns(self) -> bool:
        """Learn what is said by the setters of the properties that the statements set; whether there are such."""
        kinds, self._kinds = self._kinds, None
        if kinds is None:
            return False
        found = said_by_setters({name for unit in self._own.all() for name in _set(unit)}, kinds())
        self._setters.update(found)
        self.__dict__.pop("_running", None)
        return bool(found)

    def _says(self, place: Place, words: Iterable[Word]) -> bool:
        return any(said.issuperset(words) for _, said in self._filling(place))

    def _filling(self, place: Place) -> Iterator[tuple[Unit, frozenset[Word]]]:
        """The statements that may fill a registry: any, if nobody knows by which names code does that."""
        callers = self._callers(place.name) if place.name and not place.foreign else None
        for unit, said in self._running:
            if callers is None or not callers.isdisjoint((*unit.names, *unit.own)):
                yield unit, said

    def _callers(self, name: str) -> set[str]:
        if name not in self._known:
            self._known[name] = self._whole.callers(name) | {name}
        return self._known[name]

    @cached_property
    def _running(self) -> list[tuple[Unit, frozenset[Word]]]:
        """The units that an import runs, each with what it says itself or by what it names."""
        every = list(self._own.all())
        bodies: dict[str, list[Unit]] = {}
        for unit in every:
            if unit.later and unit.own:
                name = unit.own[-2] if unit.own[-1] in _AT_IMPORT and len(unit.own) > 1 else unit.own[-1]
                bodies.setdefault(name, []).append(unit)
        now = [unit for unit in every if not unit.later]
        bound: dict[str, list[Unit]] = {}
        own = {name for unit in now for name in _bound(unit, ast.Store)}
        for unit in now:
            # What is set in an object that was imported says nothing of it elsewhere: it is not of these sources.
            for name in own.intersection(_bound(unit, ast.expr_context)):
                bound.setdefault(name, []).append(unit)
        within: dict[tuple[str, ...], list[Unit]] = {}
        for unit in now:
            for end in range(1, len(unit.own) + 1):
                within.setdefault(unit.own[:end], []).append(unit)
        found = []
        for unit in now:
            also = [other for name in unit.names for other in bound.get(name, ())]
            also += within.get(unit.own, ())
            reached, level = {id(unit): unit}, [unit]
            for _ in range(_CALLS):
                level = [body for one in level for name in _called(one) for body in bodies.get(name, ())]
                level = [body for body in level if id(body) not in reached]
                reached.update((id(body), body) for body in level)
            said = frozenset().union(*(one.words for one in (*also, *reached.values())))
            said = said.union(*(self._setters.get(name, ()) for one in reached.values() for name in _set(one)))
            names = frozenset().union(*(one.names for one in reached.values()))
            found.append((Unit(unit.nodes, unit.own, unit.later, said, names), said))
        return found


def _words(value: Any) -> list[Word] | None:
    """What sources say for a value; None if it is or has an object that they can't name."""
    found: list[Word] = []
    stack = [value]
    while stack:
        part = stack.pop()
        kind = type(part)
        if len(found) + len(stack) > _PARTS:
            return None
        if kind in walk.UNIQUE_NEVER or kind is FunctionType or walk.is_class(part) or walk.is_hashed_by_name(part):
            found += words_of(part)
        elif kind in (tuple, list, set, frozenset):
            stack += part
        elif kind is dict:
            stack += [*part, *part.values()]
        else:
            return None
    return found


def _bound(unit: Unit, how: type[ast.expr_context]) -> Iterator[str]:
    """The names that a statement binds, and those of what it sets something in.

    Not those in a key, as of ``TABLE[Mode.FAST] = 1``.
    """
    for node in unit.nodes:
        if isinstance(node, (ast.Assign, ast.AnnAssign, ast.For)):
            targets: list[ast.AST] = [*(node.targets if isinstance(node, ast.Assign) else [node.target])]
            while targets:
                part = targets.pop()
                if isinstance(part, ast.Name) and isinstance(part.ctx, how):
                    yield part.id
                targets += [part.value] if isinstance(part, ast.Subscript) else ast.iter_child_nodes(part)


def _set(unit: Unit) -> Iterator[str]:
    """The names of the attributes that a unit sets."""
    for node in (node for top in unit.nodes for node in ast.walk(top)):
        match node:
            case ast.Attribute(attr=str() as name, ctx=ast.Store()):
                yield name
            case ast.Call(func=ast.Name(id="setattr"), args=[_, ast.Constant(value=str() as name), _]):
                yield name
            case _:
                pass  # it sets none, or nobody knows which


def _called(unit: Unit) -> Iterator[str]:
    """The names of what a unit calls; what decorates a definition is called."""
    for top in unit.nodes:
        for node in ast.walk(top):
            callee = node.func if isinstance(node, ast.Call) else node if node is top else None
            match callee:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    yield name
                case _:
                    pass  # nobody knows what it is called
