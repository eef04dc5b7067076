"""How a module body speaks of its own module: ``this = sys.modules[__name__]``, ``names = globals()``.

What it sets there is a name of the module like any other: ``this.db = None``, ``globals()["db"] = None``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

__all__ = ["Selves", "last_part"]

_NAMESPACES = frozenset({"globals", "locals", "vars"})


class Selves:
    """The names that a module body gives to its own module, and to the namespace of it.

    Arguments:
        statements: all statements of the body, without what is in functions and classes.
    """

    def __init__(self, statements: Iterable[ast.stmt]) -> None:
        self._modules: set[str] = set()
        self._namespaces: set[str] = set()
        for statement in statements:
            if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                names = {target.id for target in targets if isinstance(target, ast.Name)}
                self._modules |= names if self._is_module(statement.value) else set()
                self._namespaces |= names if self._is_namespace(statement.value) else set()

    @property
    def names(self) -> set[str]:
        """All of these names: setting something there changes nothing but the name that is set."""
        return self._modules | self._namespaces

    def bound(self, statement: ast.stmt) -> Iterator[str]:
        """The names of the module that this very statement sets through one of them."""
        if isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            stack: list[ast.expr] = [*statement.targets] if isinstance(statement, ast.Assign) else [statement.target]
            while stack:
                target = stack.pop()
                if isinstance(target, (ast.Tuple, ast.List)):
                    stack += target.elts
                else:
                    yield from self._place(target)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            yield from self._set_by(statement.value)

    def read(self, nodes: Iterable[ast.AST]) -> Iterator[str]:
        """The names of the module that are looked up through one of them."""
        for node in nodes:
            if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Load):
                for name in self._place(node):
                    yield from (name, f"{name}*")

    def _place(self, node: ast.expr) -> Iterator[str]:
        """``this.name`` or ``names["name"]``."""
        if isinstance(node, ast.Attribute) and self._is_module(node.value):
            yield node.attr
        elif isinstance(node, ast.Subscript) and self._is_namespace(node.value):
            yield from _text(node.slice)

    def _set_by(self, call: ast.Call) -> Iterator[str]:
        """``setattr(this, "name", 1)``, ``names.update(name=1)``, ``names.setdefault("name", 1)``."""
        function = call.func
        if isinstance(function, ast.Name) and function.id == "setattr" and len(call.args) == 3:
            if self._is_module(call.args[0]):
                yield from _text(call.args[1])
        elif isinstance(function, ast.Attribute) and self._is_namespace(function.value):
            if function.attr == "setdefault" and call.args:
                yield from _text(call.args[0])
            elif function.attr == "update":
                yield from (keyword.arg for keyword in call.keywords if keyword.arg)
                for argument in call.args:
                    if isinstance(argument, ast.Dict):
                        yield from (name for key in argument.keys if key is not None for name in _text(key))

    def _is_module(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._modules
        if isinstance(node, ast.Subscript):
            return last_part(node.value) == "modules" and _is_own_name(node.slice)
        if isinstance(node, ast.Call) and last_part(node.func) == "import_module":
            return len(node.args) == 1 and _is_own_name(node.args[0])
        return False

    def _is_namespace(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self._namespaces
        if isinstance(node, ast.Attribute):
            return node.attr == "__dict__" and self._is_module(node.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _NAMESPACES:
            return not node.args or (node.func.id == "vars" and self._is_module(node.args[0]))
        return False


def last_part(node: ast.expr) -> str:
    """The last part of a dotted name: ``sys.modules``, or ``modules`` alone."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_own_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "__name__"


def _text(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
