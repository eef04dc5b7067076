"""Statements: whether a statement of a changed module has put something into a table of a framework.

Such a statement has run again. So what it put there, and what is not put there again, is gone: a loop over something
that changed, a name made of something that changed, a condition that does not hold any more. What was put there at run
time stays, and so does what a module that did not change has put there.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.adapters.parts import definition
from hotswap.swap import Facts

__all__ = ["Statements", "read_by"]

_NAME = r"Name\(id='(\w+)', ctx=Load\(\)\)"
_PATH = re.compile(rf"Attribute\(value={_NAME}, attr='(\w+)'")
_CALLED = re.compile(rf"Call\(func={_NAME}")
_TEXT = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_FIRST = rf"(?:, args=\[(?:Constant\(value=(?P<text>{_TEXT})\))?)?"
_METHOD = re.compile(
    rf"Attribute\(value=(?:{_NAME}|Attribute\(value={_NAME}, attr='(\w+)', ctx=Load\(\)\)),"
    rf" attr='(\w+)', ctx=Load\(\)\){_FIRST}"
)
"""In the dump of a decorator: ``app.get("/a"``, ``main.app.get(``, ``app.before_request``."""

_DEPTH = 4
"""How deep a table is looked into that a loop goes through."""

_TABLE = 10_000
"""A container with more items is data, not a table of functions."""


@dataclass(frozen=True, slots=True)
class _Statement:
    """One that puts something there: the first arguments of its calls, None if not in letters, and what it reads."""

    module: str
    text: str
    firsts: tuple[str | None, ...]
    reads: frozenset[int]


class Statements:
    """What the old versions of changed modules say about objects of a framework. Lives as long as `facts`.

    Arguments:
        facts: knows the statements.
        holders: the objects that have the table.
        verbs: the methods of theirs that put something into it.
    """

    def __init__(self, facts: Facts, holders: Iterable[Any], verbs: Collection[str]) -> None:
        self._facts, self._holders, self._verbs = facts, list(holders), verbs
        said = [each for holder in self._holders for each in facts.statements(holder)]
        calls = _calls(tuple(sorted(verbs)))
        self._statements = [
            _Statement(module, text, firsts, frozenset(read_by(self._names(module), text)))
            for module, text in said
            if (firsts := tuple(_literal(found["text"]) for found in calls.finditer(text)))
        ]
        self._makers = {(module, name) for module, text in said for name in _CALLED.findall(text)}

    def put(self, value: Any, fits: Callable[[str], bool] = lambda _: True) -> bool:
        """Return whether one of them may have put a function, or what stands around it, into the table.

        Arguments:
            value: what stands in the table.
            fits: tells whether the first argument of a call, in letters, can be that of the entry.
        """
        function = definition(value)
        if type(function) is not FunctionType:
            return any(self._is_read(statement, (value,), fits) for statement in self._statements)
        if any(text is None or fits(text) for text in self._decorated(function)):
            return True
        home, name = str(function.__module__), function.__code__.co_qualname
        outermost = name.partition(".")[0]
        if name.count("<locals>") == 1 and (home, outermost) in self._makers:
            return True  # a function of the module makes the table and what is in it: ``app = create_app()``
        label = "Lambda(" if outermost == "<lambda>" else f"id={outermost!r}"
        return any(
            self._is_read(statement, (value, function), fits)
            or (statement.module == home and label in statement.text and _fits(statement, fits))
            for statement in self._statements
        )

    def _is_read(self, statement: _Statement, values: Iterable[Any], fits: Callable[[str], bool]) -> bool:
        return any(id(value) in statement.reads for value in values) and _fits(statement, fits)

    def _names(self, module: str) -> dict[str, Any]:
        found = self._facts.old.get(module) or self._facts.removed.get(module)
        return found.__dict__ if found is not None else {}

    def _decorated(self, function: FunctionType) -> Iterator[str | None]:
        """The first arguments of decorators that put a function there; None where it is not in letters."""
        names = self._names(str(function.__module__))
        bindings = getattr(self._facts.definitions[0].get(str(function.__module__)), "bindings", {})
        for head in getattr(bindings.get(function.__qualname__), "head", ()) if names else ():
            for found in _METHOD.finditer(head):
                direct, outer, inner, verb, text = found.groups()
                held = names.get(direct or outer)
                if not direct:
                    held = (walk.instance_dict(held) or {}).get(inner)
                if verb in self._verbs and any(held is holder for holder in self._holders):
                    yield _literal(text)


def _fits(statement: _Statement, fits: Callable[[str], bool]) -> bool:
    return any(first is None or fits(first) for first in statement.firsts)


def _literal(text: str | None) -> str | None:
    return None if text is None else str(ast.literal_eval(text))


@functools.lru_cache(maxsize=32)
def _calls(verbs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"attr='(?:{'|'.join(map(re.escape, verbs))})', ctx=Load\(\)\){_FIRST}")


def read_by(names: dict[str, Any], text: str) -> Iterator[int]:
    """The ids of what a statement reads: what its names stand for, and what is in the tables among them."""
    for name in {*re.findall(_NAME, text)}:
        yield from _inside(names.get(name), _DEPTH)
    for name, attribute in {*_PATH.findall(text)}:
        if issubclass(type(names.get(name)), ModuleType):
            yield from _inside(names[name].__dict__.get(attribute), _DEPTH)


def _inside(value: Any, depth: int) -> Iterator[int]:
    yield id(value)
    kind = type(value)
    if kind is functools.partial:
        yield from _inside(value.func, depth)
    elif depth and kind in (dict, list, tuple, set, frozenset) and len(value) <= _TABLE:
        for item in list(value.values() if kind is dict else value):
            yield from _inside(item, depth - 1)
