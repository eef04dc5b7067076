"""Starlette and FastAPI: whether a statement of a changed module registered a route, whatever its path is made of.

Such a statement has run again. So a route that it registered, and that is not registered again, is gone: its path was
put together from something that changed, ``@app.get(PREFIX + "/a")``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.adapters.parts import definition, names_of
from hotswap.swap import Facts

__all__ = ["ends", "is_registered_here"]

_NAME = r"Name\(id='(\w+)', ctx=Load\(\)\)"
_TEXT = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_LITERAL = rf"Constant\(value=(?P<text>{_TEXT})\)"
_DECORATOR = re.compile(
    rf"Call\(func=Attribute\(value=(?:{_NAME}|Attribute\(value={_NAME}, attr='(\w+)', ctx=Load\(\)\)), attr='\w+',"
    rf" ctx=Load\(\)\)(?:, args=\[(?:{_LITERAL})?)?"
)
"""In the dump of a decorator: ``app.get("/a"``, or ``main.app.get(``."""

_PREFIX = re.compile(rf"arg='prefix', value=(?:{_LITERAL})?")


def is_registered_here(facts: Facts, living: Iterable[Any], route: Any) -> bool:
    """Return whether a statement of a changed module may be the one that registered a route.

    A statement with another path, in letters, is none.

    Arguments:
        facts: knows the statements.
        living: the router, and the applications whose router it is.
        route: the route.
    """
    inside = walk.instance_dict(route) or {}
    holders = list(living)
    said = [text for holder in holders for text in facts.said(holder)]
    router = inside.get("original_router")
    if router is not None:
        prefix = getattr(route.include_context, "prefix", "")
        return any(_includes(text, name, prefix) for name in names_of(facts, router) for text in said)
    target = inside.get("endpoint", inside.get("_base_app"))
    path = inside.get("path", inside.get("host"))
    if target is None or type(path) is not str:
        return False
    if any(ends(path, text) for text in _decorated(facts, holders, definition(target))):
        return True
    return any(_registers(text, name, path) for name in names_of(facts, target) for text in said)


def _decorated(facts: Facts, holders: list[Any], function: Any) -> Iterator[str | None]:
    """The paths under which decorators put a function into these routers; None where it is not in letters."""
    if type(function) is not FunctionType or function.__module__ not in facts.old:
        return
    names = facts.old[function.__module__].__dict__
    bindings = getattr(facts.definitions[0].get(function.__module__), "bindings", {})
    for head in getattr(bindings.get(function.__qualname__), "head", ()):
        for found in _DECORATOR.finditer(head):
            direct, outer, inner, text = found.groups()
            held = names.get(direct) if direct else getattr(names.get(outer), "__dict__", {}).get(inner)
            if any(held is holder for holder in holders):
                yield _value(text)


def _includes(text: str, name: str, prefix: str) -> bool:
    for call in text.split("attr='include_router', ")[1:]:
        if f"id={name!r}" in call or f"attr={name!r}" in call:
            found = _PREFIX.search(call)
            if (found is None and not prefix) or (found is not None and _value(found["text"]) in (None, prefix)):
                return True
    return False


def _registers(text: str, name: str, path: str) -> bool:
    if "oute" not in text and "mount" not in text.lower():
        return False
    called = re.compile(
        rf"(?:{_LITERAL}, )?(?:Name\(id|Attribute\(value=Name\(id='\w+', ctx=Load\(\)\), attr)='{re.escape(name)}',"
    )
    return any(ends(path, _value(found["text"])) for found in called.finditer(text))


def ends(path: str, text: str | None) -> bool:
    """Return whether a path may come from these letters: the prefix of a router may stand before them."""
    if text is None or (path or "/").endswith(text):
        return True
    return bool(text.strip("/")) and path.rstrip("/").endswith(text.rstrip("/"))


def _value(text: str | None) -> str | None:
    return None if text is None else str(ast.literal_eval(text))
