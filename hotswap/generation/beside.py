"""Beside: what statements of a module body do to objects that other statements have bound to names.

``app.debug = True`` and ``setattr(app, "debug", True)`` set an attribute, ``app.db.opts["a"] = 1`` an item of what is
in one: what has been set can be read from the object. ``app.configure(debug=True)`` calls a method, which may do
anything. Only the syntax tree is read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from hotswap.generation.reads import own_statements, path_of, plain_value

__all__ = ["Assigned", "Called", "Step", "assigned_in", "called_in", "is_assignment"]

_MANY = 1_000
"""A literal of more characters, in its dump, is data."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path: an attribute, or an item under a key that is written there."""

    name: object
    is_item: bool = False


@dataclass(frozen=True, slots=True)
class Assigned:
    """A statement that sets an attribute of an object, or an item of what one of its attributes holds.

    `path` leads there from the object; `text` is the dump of the very statement, `statement` that of the one at the
    top level; `value` is what it sets, if that is written down, or `...`; `name` the dotted name of what it sets, if it
    is one.
    """

    path: tuple[Step, ...]
    text: str
    statement: str
    value: object = ...
    name: str = ""


@dataclass(frozen=True, slots=True)
class Called:
    """A statement that calls a method of an object, or of what its attributes hold.

    `path` leads to whose method it is; `text` is the dump of the statement at the top level; `words` are the keywords
    and the constants of the call, with their types, None if there is anything else among its arguments.
    """

    path: tuple[Step, ...]
    method: str
    text: str
    words: frozenset[tuple[type, object]] | None


def assigned_in(statement: ast.stmt) -> Iterator[tuple[str, Assigned]]:
    """Yield what a statement, and those of its blocks, set of named objects: the name, and what it sets."""
    top = ast.dump(statement)
    for node in own_statements(statement):
        for target, value in _targets(node):
            found = _path(target)
            # Items of a container that has a name are entries of a registry.
            if found is not None and any(not step.is_item for step in found[1]):
                yield (
                    found[0],
                    Assigned(found[1], ast.dump(node), top, _literal(value), path_of(value) if value else ""),
                )


def called_in(statement: ast.stmt) -> Iterator[tuple[str, Called]]:
    """Yield the calls of methods of named objects that are statements: the name, and the call."""
    top = ast.dump(statement)
    for node in own_statements(statement):
        match node:
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=owner, attr=method)) as call):
                found = _path(owner)
                if found is not None:
                    yield found[0], Called(found[1], method, top, _words(call))
            case ast.Expr(value=ast.Call(func=ast.Name(id="setattr"), args=[owner, *_]) as call):
                found = _path(owner)
                if found is not None and _set_by(call) is None:
                    yield found[0], Called(found[1], "setattr", top, None)
            case _:
                continue


def is_assignment(statement: ast.stmt) -> bool:
    """Whether a statement does nothing but to set what `assigned_in` yields."""
    targets = list(_targets(statement))
    paths = [_path(target) for target, _ in targets]
    every = len(statement.targets) if isinstance(statement, ast.Assign) else 1
    return len(targets) == every and all(
        found is not None and any(not step.is_item for step in found[1]) for found in paths
    )


def _targets(node: ast.stmt) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """The targets of a simple statement, each with what is assigned; None if it is computed from what is there."""
    match node:
        case ast.Assign(targets=targets, value=value):
            yield from ((target, value) for target in targets)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            yield target, value
        case ast.AugAssign(target=target):
            yield target, None
        case ast.Expr(value=ast.Call(func=ast.Name(id="setattr")) as call) if (made := _set_by(call)) is not None:
            yield made
        case _:
            return


def _set_by(call: ast.Call) -> tuple[ast.expr, ast.expr] | None:
    """What ``setattr(app, "debug", True)`` sets, as if it were an assignment."""
    match call:
        case ast.Call(args=[owner, ast.Constant(value=str() as name), value], keywords=[]):
            return ast.Attribute(value=owner, attr=name, ctx=ast.Store()), value
        case _:
            return None


def _path(node: ast.expr) -> tuple[str, tuple[Step, ...]] | None:
    """The name at the root of ``app.db.opts["a"]``, and the steps from there; None if it is anything else."""
    steps: list[Step] = []
    while not isinstance(node, ast.Name):
        match node:
            case ast.Attribute(value=above, attr=name):
                steps.append(Step(name))
            case ast.Subscript(value=above, slice=key) if (plain := plain_value(key)) is not ...:
                steps.append(Step(plain, is_item=True))
            case _:
                return None
        node = above
    return node.id, tuple(steps[::-1])


def _literal(node: ast.expr | None) -> object:
    """What is written there, lists and dicts of plain values too; `...` if it is computed."""
    if node is None or len(ast.dump(node)) > _MANY:
        return ...
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ...


def _words(call: ast.Call) -> frozenset[tuple[type, object]] | None:
    found: set[tuple[type, object]] = set()
    for keyword in call.keywords:
        if keyword.arg is None:
            return None
        found.add((str, keyword.arg))
    for value in (*call.args, *(keyword.value for keyword in call.keywords)):
        plain = plain_value(value)
        if plain is ... or type(plain) is tuple:
            return None
        found.add((type(plain), plain))
    return frozenset(found)
