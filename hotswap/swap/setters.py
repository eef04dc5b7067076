"""Setters: where a property, or another data descriptor, keeps what is assigned to it.

``app.secret_key = "..."`` of Flask is an item of ``app.config``. A setter is code of somebody's, which must not run in
a commit. But most only put the value into an attribute or into a dict; so their source is read. One that does anything
else, as to call a function with the object, may do whatever it likes: of that nobody can tell what to write.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from hotswap import walk

__all__ = ["Storage", "definition_of", "storages"]

_CHECKS = (isinstance, issubclass, len, max, min, repr, round, sorted, type)
_KINDS = (bool, bytes, complex, dict, float, frozenset, int, list, set, str, tuple)
_ERRORS = (AttributeError, KeyError, LookupError, OverflowError, RuntimeError, TypeError, ValueError)

_QUIET = frozenset(known.__name__ for known in (*_CHECKS, *_KINDS, *_ERRORS))
"""The functions that setters check and convert with."""

_STATEMENTS = (ast.Assign, ast.AnnAssign, ast.Assert, ast.Expr, ast.If, ast.Pass, ast.Raise, ast.Return)


_SET = "__set__"
_SETATTR = "__setattr__"
_FSET: Any = vars(property)["fset"]


@dataclass(frozen=True, slots=True)
class Storage:
    """Where a setter puts something: an attribute of the object, or an item of a dict that is one.

    The attribute is None for an item of the object itself. `conversion` makes of plain values that are assigned what is
    put there; None if code does that which nobody knows.
    """

    attribute: str | None
    keys: tuple[Any, ...] = ()
    conversion: Callable[[Any], Any] | None = field(default=lambda value: value)


def storages(cls: type, name: str) -> list[Storage] | None:
    """Return where objects of a class keep what is assigned to an attribute; None if that can't be told.

    Arguments:
        cls: the class.
        name: the attribute.
    """
    own = walk.inherited(cls, _SETATTR)
    if type(own) is FunctionType:
        return _storages_of(own, name)
    descriptor = walk.inherited(cls, name)
    kind = type(descriptor)
    setter: Any
    setter = _FSET.__get__(descriptor) if issubclass(kind, property) else walk.inherited(kind, _SET)
    definition = _definition(setter)
    arguments = [] if definition is None else [argument.arg for argument in definition.args.args]
    if issubclass(kind, property):
        arguments.insert(0, "")
    if definition is None or len(arguments) != 3:
        return None
    reading = _Reading(setter, (arguments[0], arguments[1], arguments[2]), walk.instance_dict(descriptor) or {})
    return reading.found if reading.reads(definition.body) and reading.found else None


def _storages_of(setter: FunctionType, name: str) -> list[Storage] | None:
    """Where a class that sets attributes in its own way keeps one: ``self._state[key] = value``."""
    definition = _definition(setter)
    arguments = [] if definition is None else [argument.arg for argument in definition.args.args]
    if definition is None or len(arguments) != 3:
        return None
    reading = _Reading(setter, ("", arguments[0], arguments[2]), {}, (arguments[1], name))
    return reading.found if reading.reads(definition.body) and reading.found else None


def definition_of(function: Any) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """Return the statement that defines a function; None for what is none, or wraps one, or has no source at hand."""
    if type(function) is not FunctionType or "__wrapped__" in function.__dict__:
        return None
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None  # its source is not there
    found = tree.body[0] if tree.body else None
    return found if isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef)) else None


def _definition(setter: Any) -> ast.FunctionDef | None:
    found = definition_of(setter)
    if not isinstance(found, ast.FunctionDef) or found.name != setter.__name__ or setter.__closure__:
        return None
    return found


class _Reading:
    """Reads the body of a setter. Lives as long as that takes.

    Arguments:
        setter: the function.
        arguments: the names of its parameters: the descriptor, or nothing, the object, and what is assigned.
        made: the attributes of the descriptor.
        key: a parameter that is known, and what it is.
    """

    def __init__(
        self,
        setter: FunctionType,
        arguments: tuple[str, str, str],
        made: dict[str, Any],
        key: tuple[str, str] = ("", ""),
    ) -> None:
        self._names, self._made, self._known = setter.__globals__, made, key
        self._descriptor, self._owner, self._value = arguments
        self.found: list[Storage] = []

    def reads(self, body: list[ast.stmt]) -> bool:
        """Whether all statements are understood. `found` has what they write."""
        return all(map(self._statement, body))

    def _statement(self, node: ast.stmt) -> bool:
        if not isinstance(node, _STATEMENTS):
            return False
        if isinstance(node, ast.If):
            known = len(self.found)
            # Which branch has run, nobody can tell.
            return self._is_quiet(node.test) and self.reads([*node.body, *node.orelse]) and len(self.found) == known
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            quiet = node.value is None or self._is_quiet(node.value)
            return quiet and all(self._target(target, node.value) for target in targets)
        return all(self._is_quiet(part) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr))

    def _target(self, target: ast.expr, value: ast.expr | None) -> bool:
        if isinstance(target, ast.Name):
            return target.id not in (self._owner, self._value, self._descriptor)
        keys: tuple[str, ...] = ()
        if isinstance(target, ast.Subscript):
            key = self._key(target.slice)
            if key is None:
                return False
            keys, target = (key,), target.value
        if not (isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name)):
            return False
        if target.value.id != self._owner:
            return False
        self.found.append(Storage(target.attr, keys, self._conversion(value)))
        return True

    def _conversion(self, value: ast.expr | None) -> Callable[[Any], Any] | None:
        match value:
            case ast.Name(id=name) if name == self._value:
                return lambda value: value
            case ast.Call(func=ast.Name(id=kind), args=[ast.Name(id=name)], keywords=[]) if name == self._value:
                return next((known for known in _KINDS if known.__name__ == kind), None)
            case ast.Constant(value=constant):
                return lambda _: constant
        return None

    def _key(self, node: ast.expr) -> str | None:
        """The key of an item: it stands there, or is an attribute of the descriptor."""
        found: Any = None
        if isinstance(node, ast.Constant):
            found = node.value
        elif isinstance(node, ast.Name) and node.id == self._known[0]:
            found = self._known[1]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == self._descriptor:
            found = self._made.get(node.attr)
        return found if type(found) is str else None

    def _is_quiet(self, node: ast.expr) -> bool:
        """Whether an expression does nothing to the object: it reads attributes, and calls what only converts."""
        held: set[int] = set()
        for inner in ast.walk(node):
            if isinstance(inner, (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)):
                return False
            if isinstance(inner, ast.Attribute):
                held.add(id(inner.value))
            if isinstance(inner, ast.Call) and not self._converts(inner.func):
                return False
        parts = (part for part in ast.walk(node) if isinstance(part, ast.Name) and id(part) not in held)
        return not any(part.id in (self._owner, self._descriptor) for part in parts)

    def _converts(self, function: ast.expr) -> bool:
        """Whether what is called is one of the quiet functions, or a method of the value."""
        if isinstance(function, ast.Attribute):
            return isinstance(function.value, ast.Name) and function.value.id == self._value
        if not isinstance(function, ast.Name) or function.id not in _QUIET or function.id in self._names:
            return False
        return function.id in vars(builtins)
