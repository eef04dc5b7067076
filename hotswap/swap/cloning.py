"""Cloning: private clones of the functions of a generation that goes, and of what is around them, for its own calls."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple

from hotswap import walk
from hotswap.generation import gate
from hotswap.swap.doubles import copy_outside
from hotswap.swap.forwarding import target_of
from hotswap.swap.kin import copied, is_nested
from hotswap.swap.parts import LRU_CACHE, cell_contents, live_behind

__all__ = ["Cloning", "InCell"]


class InCell(NamedTuple):
    """An old function that a decorator's wrapper holds in a cell.

    Attributes:
        cell: the cell.
        value: the function.
        clone: the private clone of it.
        facts: the globals in which the wrapper runs.
    """

    cell: CellType
    value: Any
    clone: Any
    facts: dict[str, Any]


class Cloning:
    """Makes the private clones of one generation's functions.

    Arguments:
        codes: id of a function -> the copy of its code that a rollback puts back; clones get copies of that.
        views: id of an old module -> what old code gets in its place.
    """

    def __init__(self, codes: Mapping[int, CodeType], views: Mapping[int, Any]) -> None:
        self._codes = codes
        self._clones: dict[int, tuple[Any, Any]] = {key: (None, view) for key, view in views.items()}
        self.cells: list[InCell] = []
        """What decorators' wrappers hold in their cells."""
        self.functions: list[tuple[FunctionType, FunctionType]] = []
        """The functions that were cloned, each with its clone."""
        self.wrapped: list[tuple[Any, Any]] = []
        """The caches and partial objects around such functions, each with its clone."""

    def clone(self, value: Any) -> Any:
        """Return what old code gets in place of `value`: a clone, a view, or `value` itself."""
        known = self._clones.get(id(value))
        if known is not None:
            return known[1]
        for wrapper, original in gate.originals():  # noted nowhere: see `gate._put_back`
            if value is original:
                return wrapper
        kind = type(value)
        if kind is FunctionType:
            return self._function(value)
        if kind is LRU_CACHE:
            inner = self.clone(value.__wrapped__)
            if inner is not value.__wrapped__:
                parameters = value.cache_parameters()
                return self._wrap(value, functools.lru_cache(**parameters)(inner))
        if kind is functools.partial:
            inner = self.clone(value.func)
            if inner is not value.func:
                return self._wrap(value, functools.partial(inner, *value.args, **value.keywords))
        return value

    def _wrap(self, value: Any, clone: Any) -> Any:
        self.wrapped.append((value, clone))
        return self._note(value, clone)

    def _function(self, function: FunctionType) -> Any:
        code = self._codes.get(id(function))
        if code is None:
            behind = live_behind(function)  # a wrapper whose decorator was patched since
            return function if behind is function or id(behind) not in self._codes else self.clone(behind)
        target = target_of(code)
        if target is not None:
            # A function of an earlier generation, in an object that is kept: what it led to until now is old enough.
            # A clone of a forwarder would be a circle through a code object, which the collector can't see.
            is_closure = type(target) is FunctionType and is_nested(target.__code__)
            if not is_closure or id(target) in self._codes or walk.is_forwarder(target.__code__):
                return self._note(function, target)
            # What a decorator has made is led on when that is patched, whoever calls it.
            return self._made(function, target, target.__code__)
        return self._made(function, function, code)

    def _made(self, original: FunctionType, function: FunctionType, code: CodeType) -> FunctionType:
        # A copy for itself: a rollback gives the function another one, so that calls of either can be told apart.
        code = copied(code)
        clone = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
        copy_outside(function, clone)
        self._note(original, clone)
        self.functions.append((original, clone))
        for cell in function.__closure__ or ():
            # The frame of a decorator's wrapper that is in flight reads the old inner function from this very cell.
            value = cell_contents(cell)
            inner = self.clone(value)
            if inner is not value:
                self.cells.append(InCell(cell, value, inner, function.__globals__))
        return clone

    def _note(self, value: Any, clone: Any) -> Any:
        self._clones[id(value)] = (value, clone)
        return clone
