"""Words: what sources say of a registry, as the constants and names in what fills it.

Nobody notes what an import puts where. So it is told by words: a statement that speaks of a registry, or calls a
function that does, and says a key or a value, is taken for what has put it in.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.patch.sources import parse

__all__ = ["Place", "Text", "Unit", "Word", "told", "word_of"]

Word = tuple[type, Any]
"""A constant with its type, or a name as text."""

_Where = tuple[tuple[str, ...], bool]

_CALLS = 4
"""How many functions stand between a statement and what fills a registry: a decorator, its inner function, a method."""

_AS_WRITTEN = re.compile(r"[\w .:/+*@#$%&=<>()\[\]{}|;,!?^~-]+", re.ASCII)
"""A text that stands in a source as it is."""

_OTHERWISE = re.compile(r"\d_\d|\b0[xXoObB]|\d[eE.]")
"""Numbers that may be written in another way than Python writes them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a registry is: for a reader, the name under which code speaks of it, and the keys on the way to it.

    The name is empty where it can't be known: the registry is a library's, or lies in a closure. `attribute` says that
    it is an attribute of an instance: plain values in it are the state of that object. `put` says that the registry is
    not of the changed modules, and that their import puts something into it.
    """

    root: str
    name: str
    keys: tuple[Any, ...] = ()
    attribute: bool = False
    put: bool = False

    @property
    def text(self) -> str:
        """Where it is, in words."""
        return self.root + "".join(f"[{told(key)}]" for key in self.keys)

    def at(self, key: Any) -> Place:
        """The place of what stands under a key."""
        return Place(self.root, self.name, (*self.keys, key), self.attribute, self.put)

    def of(self, attribute: str) -> Place:
        """The place of what an attribute of the object is."""
        return Place(f"{self.text}.{attribute}", attribute, attribute=True)


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A statement, or the head or the body of a function.

    `own` are the names of what it is part of; `later` says that it is a function's body, which may run at any time.
    """

    nodes: tuple[ast.AST, ...]
    own: tuple[str, ...]
    later: bool
    words: frozenset[Word]
    names: frozenset[str]

    @property
    def dump(self) -> str:
        """Its text, whatever its layout."""
        return " ".join([*self.own, *map(ast.dump, self.nodes)])


@dataclass(frozen=True, slots=True)
class _Reaching:
    """What concerns one registry: the functions that speak of it by their words, and so statements and their calls."""

    filling: Mapping[Word, list[Unit]]
    calling: Mapping[Word, list[Unit]]
    units: set[Unit]


class Text:
    """What one version says.

    Arguments:
        texts: the sources of its modules.
        units: source -> its units, as far as somebody has asked for them; shared by both versions, and by all swaps
            that are prepared of a candidate.
    """

    def __init__(self, texts: Iterable[str], units: dict[str, list[Unit]]) -> None:
        self.texts, self._units = list(texts), units
        self._known: dict[str, _Reaching] = {}

    def speaking(self, names: Iterable[str]) -> Iterator[Unit]:
        """The units of the sources that have one of some names anywhere."""
        wanted = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")
        for text in self.texts:
            if wanted.search(text):
                yield from self._units_of(text)

    def _units_of(self, text: str) -> list[Unit]:
        if text not in self._units:
            self._units[text] = list(_units(text))
        return self._units[text]

    def saying(self, words: Set[Word]) -> Iterator[Unit]:
        """The units that say some words, be they of statements or of functions."""
        for text in self.texts:
            if all(_may_say(text, word) for word in words):
                yield from (unit for unit in self._units_of(text) if words <= unit.words)

    def may_say(self, words: Iterable[Word]) -> bool:
        """Whether the sources may have some words: only what is written is looked at."""
        return all(any(_may_say(text, word) for text in self.texts) for word in words)

    def all(self) -> Iterator[Unit]:
        """The units of all sources."""
        for text in self.texts:
            yield from self._units_of(text)

    def callers(self, name: str) -> set[str]:
        """The names of the functions and classes that speak of something, be it by those of others that do."""
        found: set[str] = set()
        for _ in range(_CALLS):
            known = found | {name}
            found = {own for u in self.speaking(known) for own in u.own if not known.isdisjoint(u.names)}
        return found

    def reaching(self, name: str) -> _Reaching:
        """What concerns a registry, by the name under which code speaks of it."""
        if name not in self._known:
            callers = self.callers(name)
            filling: dict[Word, list[Unit]] = {}
            calling: dict[Word, list[Unit]] = {}
            units: set[Unit] = set()
            for unit in self.speaking(callers | {name}):
                fills = name in unit.names
                if fills or not (callers.isdisjoint(unit.names) and callers.isdisjoint(unit.own)):
                    units.add(unit)
                    for word in unit.words:
                        (filling if fills and unit.later else calling).setdefault(word, []).append(unit)
            self._known[name] = _Reaching(filling, calling, units)
        return self._known[name]

    def places_of(self, word: Word, place: Place) -> set[_Where]:
        """Where a word stands in what fills a registry: in functions that do, and beside the keys in statements.

        Of a registry whose name is not known, in each statement that says the word and the keys.

        Returns for each the names of what it is part of, and whether it is the body of a function.
        """
        if not place.name:
            return {(unit.own, unit.later) for unit in self.saying({word, *map(word_of, place.keys)})}
        found = self.reaching(place.name)
        # What stands under the first key may be made by the function that fills the registry, with further keys.
        keys = {said for n, key in enumerate(place.keys) if (said := word_of(key)) not in found.filling or not n}
        units = [unit for unit in found.calling.get(word, ()) if keys <= unit.words]
        return {(unit.own, unit.later) for unit in (*found.filling.get(word, ()), *units)}


def _may_say(text: str, word: Word) -> bool:
    kind, value = word
    if kind is str:
        return value in text or not _AS_WRITTEN.fullmatch(value)
    if kind in (int, float, complex):
        return repr(value).lstrip("-") in text or _OTHERWISE.search(text) is not None
    return True


def told(key: Any) -> str:
    """Return a key as a reader knows it."""
    return repr(key) if type(key) in walk.UNIQUE_NEVER else _title(key)


def _title(key: Any) -> str:
    if walk.is_class(key):
        return walk.class_name(key)
    return key.__qualname__ if type(key) is FunctionType else f"a {walk.class_name(type(key))}"


def word_of(key: Any) -> Word:
    """What sources say for a key."""
    return (type(key), key) if type(key) in walk.UNIQUE_NEVER else (str, _title(key).rpartition(".")[2])


def _units(text: str) -> Iterator[Unit]:
    for statement in parse(text):
        yield from _split(statement, (), later=False)


def _split(statement: ast.stmt, above: tuple[str, ...], *, later: bool) -> Iterator[Unit]:
    if isinstance(statement, ast.ClassDef):
        own = (*above, statement.name)
        yield from _unit([*statement.decorator_list, *statement.bases, *statement.keywords], own, later=later)
        for inner in statement.body:
            yield from _split(inner, own, later=later)
    elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        own = (*above, statement.name)
        yield from _unit([*statement.decorator_list, statement.args], own, later=later)
        yield from _unit(statement.body, own, later=True)
    else:
        yield from _unit([statement], above, later=later)


def _unit(nodes: Iterable[ast.AST], own: tuple[str, ...], *, later: bool) -> Iterator[Unit]:
    """Yield a unit of some nodes, and those of the functions and classes defined in it."""
    words: set[Word] = {(str, name) for name in own}
    names: set[str] = set()
    inner: list[ast.stmt] = []
    every = tuple(nodes)
    stack: list[ast.AST] = list(every)
    while stack:
        node = stack.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                inner.append(node)
                continue
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() | complex() as number)):
                words.add((type(number), -number))
            case ast.Constant(value=value):
                words.add((type(value), value))
            case ast.Name(id=name) | ast.Attribute(attr=name):
                names.add(name)
            case ast.keyword(arg=str() as name) | ast.arg(arg=name):
                words.add((str, name))
            case _:
                pass  # it is made of others
        stack += ast.iter_child_nodes(node)
    words |= {(str, name) for name in names}
    yield Unit(every, own, later, frozenset(words), frozenset(names))
    for statement in inner:
        yield from _split(statement, own, later=later)
