"""Made: what a closure was made with beside its cells, and a function that runs other code with that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any

from hotswap.swap.defaults import Header, parameters
from hotswap.swap.forwarding import identity_of, target_of

__all__ = ["MadeWith", "cells_of", "function_of"]


@dataclass(frozen=True, slots=True)
class MadeWith:
    """What a closure was made with beside its cells, which it keeps: no later version can make that anew.

    `documented` says that it has the docstring of another function, as `functools.wraps` does. `header` is what the
    statement that made it says of its defaults.
    """

    parameters: frozenset[str]
    defaults: dict[str, Any]
    documented: bool
    header: Header | None

    @classmethod
    def of(cls, closure: FunctionType, header: Header | None) -> MadeWith:
        """Return what a closure was made with; `header` is what the statement that made it says."""
        positional, by_name = parameters(closure.__code__)
        values = closure.__defaults__ or ()
        defaults = dict(zip(positional[len(positional) - len(values) :], values, strict=True))
        defaults.update(closure.__kwdefaults__ or {})
        documented = closure.__doc__ != _docstring(closure.__code__)
        return cls(frozenset((*positional, *by_name)), defaults, documented, header)

    def under(self, header: Header | None) -> tuple[dict[str, Any], list[str]]:
        """Return the defaults under another statement, and the parameters of which they can't be known.

        A closure that has the constant that its statement gives (or no default, as it gives none) gets the constant of
        the other one (or none). Whatever was computed when it was made stays.
        """
        if header is None or self.header is None:
            return self.defaults, []
        defaults, unknown = dict(self.defaults), []
        for name in self.parameters:
            then, now = self.header.get(name), header.get(name)
            if then == now or (then and now and then.steps == now.steps):
                continue
            given = () if then is None else then.constant or None
            wanted = () if now is None else now.constant or None
            has = (self.defaults[name],) if name in self.defaults else ()
            if given is None or wanted is None or [*map(id, given)] != [*map(id, has)]:
                unknown.append(name)
                continue
            defaults.pop(name, None)
            defaults.update(dict.fromkeys([name], *wanted) if wanted else {})
        return defaults, sorted(unknown)


def function_of(
    closure: FunctionType,
    code: CodeType,
    facts: dict[str, Any],
    made_with: MadeWith,
    cells: Mapping[str, CellType],
) -> FunctionType:
    """Return a function that has the outside of a closure, and runs other code with its cells."""
    positional, by_name = parameters(code)
    own = tuple(cells[name] for name in code.co_freevars)
    function = FunctionType(code, facts, closure.__name__, _trailing(positional, made_with.defaults), own)
    function.__kwdefaults__ = {name: made_with.defaults[name] for name in by_name if name in made_with.defaults} or None
    told = identity_of(closure)
    for name in told.keys() - {"__code__", "__defaults__", "__kwdefaults__", "__doc__", "__annotations__"}:
        setattr(function, name, told[name])
    descriptor, annotations = told["__annotations__"]
    descriptor.__set__(function, annotations)
    if made_with.documented:
        function.__doc__ = closure.__doc__
    return function


def cells_of(closure: FunctionType) -> dict[str, CellType]:
    """The free variables of a closure, by name.

    A forwarder names them as the closure was made. What it leads to may have other cells for some of them.
    """
    cells = dict(zip(closure.__code__.co_freevars, closure.__closure__ or (), strict=True))
    target = target_of(closure.__code__)
    if type(target) is FunctionType:
        cells.update(zip(target.__code__.co_freevars, target.__closure__ or (), strict=True))
    return cells


def _trailing(names: tuple[str, ...], defaults: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The defaults of the last parameters, as far as all of them have one."""
    found: list[Any] = []
    for name in reversed(names):
        if name not in defaults:
            break
        found.insert(0, defaults[name])
    return tuple(found) or None


def _docstring(code: CodeType) -> str | None:
    return FunctionType(code, {}, closure=tuple(CellType() for _ in code.co_freevars)).__doc__
