"""Words: what the sources of one version say about a registry, told by the words in them.

Nobody has noted what an import put into a registry. So the constants and names in what fills it are read: the
statements that speak of it, the functions that do, and the statements that call those.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from types import BuiltinFunctionType, FunctionType
from typing import Any

from hotswap import walk
from hotswap.patch.sources import parse

__all__ = ["Name", "Place", "Text", "Unit", "Word", "split", "told", "words_of"]

Word = tuple[type, Any]
"""A constant with its type, or a name."""


class Name:
    """Stands for the type of a name in a call."""


_SPELLED = (ast.Constant, ast.Name, ast.List, ast.Tuple, ast.Dict, ast.Set, ast.keyword, ast.expr_context)
"""What a call is made of whose arguments are told by their words."""

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
    not of the changed modules, and that their import puts something into it. `foreign` says that code which is not of
    the managed packages may fill it, whose sources nobody reads: a library has it too, or its class is a library's.
    """

    root: str
    name: str
    keys: tuple[Any, ...] = ()
    attribute: bool = False
    put: bool = False
    foreign: bool = False

    @property
    def text(self) -> str:
        """Where it is, in words."""
        return self.root + "".join(f"[{told(key)}]" for key in self.keys)

    def at(self, key: Any) -> Place:
        """The place of what stands under a key."""
        # What an attribute holds that an import has set is no attribute itself.
        return replace(self, keys=(*self.keys, key), attribute=self.attribute and not (self.put and self.keys))

    def of(self, attribute: str) -> Place:
        """The place of what an attribute of the object is."""
        return Place(f"{self.text}.{attribute}", attribute, attribute=True)


@dataclass(frozen=True, eq=False)
class Unit:
    """A statement, or the head or the body of a function.

    `own` are the names of what it is part of; `later` says that it is a function's body, which may run at any time.
    """

    nodes: tuple[ast.AST, ...]
    own: tuple[str, ...]
    later: bool
    words: frozenset[Word]
    names: frozenset[str]

    @cached_property
    def dump(self) -> str:
        """Its text, whatever its layout."""
        return " ".join([*self.own, *map(ast.dump, self.nodes)])

    def arguments(self, name: str) -> Iterator[set[Word] | None]:
        """Yield for each call of a name the constants and names in it; None if there is more in it."""
        for node in chain.from_iterable(map(ast.walk, self.nodes)):
            if isinstance(node, ast.Call) and name == getattr(node.func, "id", getattr(node.func, "attr", None)):
                parts = [part for one in (*node.args, *node.keywords) for part in ast.walk(one)]
                plain = all(isinstance(part, _SPELLED) for part in parts)
                words: set[Word] = {(type(part.value), part.value) for part in parts if isinstance(part, ast.Constant)}
                yield words | {(Name, part.id) for part in parts if isinstance(part, ast.Name)} if plain else None


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
            self._units[text] = list(split(text))
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

    def stating(self, place: Place) -> list[Unit]:
        """The statements that concern a registry and speak of the last key of a place, beside those above it."""
        last = words_of(place.keys[-1])
        units = self.reaching(place.name).calling.get(next(iter(last)), ()) if last else ()
        if not units:
            return []  # as of most entries that the program has put in
        keys = last | self._keys(place)
        return [unit for unit in units if keys <= unit.words and not unit.later]

    def filling(self, place: Place) -> Mapping[Word, list[Unit]]:
        """The words of the functions that fill a registry, each with their bodies."""
        return self.reaching(place.name).filling

    def _keys(self, place: Place) -> set[Word]:
        """The words of the keys that a statement speaks of if it makes what stands in a place."""
        found = self.reaching(place.name)
        # What stands under the first key may be made by the function that fills the registry, with further keys.
        return {
            said for n, key in enumerate(place.keys) for said in words_of(key) if said not in found.filling or not n
        }

    def places_of(self, word: Word, place: Place) -> set[_Where]:
        """Where a word stands in what fills a registry: in functions that do, and beside the keys in statements.

        Of a registry whose name is not known, in each statement that says the word and the keys. Returns for each the
        names of what it is part of, and whether it is the body of a function.
        """
        if not place.name:
            said = {word, *(said for key in place.keys for said in words_of(key))}
            return {(unit.own, unit.later) for unit in self.saying(said)}
        found, keys = self.reaching(place.name), self._keys(place)
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
    """A key, for a reader."""
    if type(key) in (tuple, frozenset):
        return f"({', '.join(map(told, key))})"
    return repr(key) if type(key) in walk.UNIQUE_NEVER else _title(key)


def words_of(key: Any) -> frozenset[Word]:
    """What sources say for a key: of a tuple or frozenset for each part. What has no name is spoken of by no word."""
    if type(key) in walk.UNIQUE_NEVER:
        return frozenset(((type(key), key),))
    if type(key) in (tuple, frozenset):
        return frozenset(word for part in key for word in words_of(part))
    if walk.is_hashed_by_name(key):
        # ``Mode.FAST``; a combination of flags is spelled by its parts.
        names = str(key._name_).split("|")
        return frozenset((str, name) for name in (walk.class_name(type(key)).rpartition(".")[2], *names))
    return frozenset(((str, _title(key).rpartition(".")[2]),))


def _title(key: Any) -> str:
    if walk.is_class(key):
        return walk.class_name(key)
    if walk.is_hashed_by_name(key):
        return f"{walk.class_name(type(key))}.{key._name_}"
    named = type(key) in (FunctionType, BuiltinFunctionType)
    return str(key.__qualname__) if named else f"a {walk.class_name(type(key))}"


def split(text: str) -> Iterator[Unit]:
    """Yield the units of a source."""
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
            case ast.Lambda():
                words.add((str, "<lambda>"))
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
