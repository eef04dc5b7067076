"""Nested code: the code objects that stand inside those of a module's functions, each with its place.

A closure has no name that leads to it, but its code has a place: the function that it stands in, and the way from
there. Where several of one name stand side by side (lambdas, the two branches of an ``if``), it is the number among
them that counts, and only if there are as many in both versions.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import weakref
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any, ClassVar

from hotswap import collector
from hotswap.swap.defaults import Header, header_of, parameters
from hotswap.swap.forwarding import code_of, target_of
from hotswap.swap.kin import is_nested, kin
from hotswap.swap.parts import functions_of

__all__ = ["NestedCode", "Place", "functions_in", "lacking"]

_SEVERAL = 8
"""The pass compares every reference with every namespace; with more of them all functions of the process are listed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a nested code object stands.

    `root` is the qualified name of the outermost function. Each step of `path` is a name, the number among those of
    that name, and how many of them there are. `in_class` says that the way leads through the body of a local class.
    """

    module: str
    root: str
    path: tuple[tuple[str, int, int], ...]
    in_class: bool
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"

    @property
    def can_be_held(self) -> bool:
        """Whether what is made there may outlive its expression: a comprehension does not."""
        name = self.path[-1][0]
        return name == "<lambda>" or not (name.startswith("<") or name == "__annotate__")


class NestedCode:
    """The nested code of the functions of some modules. Holds it, but not the code that it stands in.

    Arguments:
        functions: the functions. Those that lead elsewhere, and those that are nested themselves, are passed over.
    """

    _every: ClassVar[dict[int, weakref.ref[NestedCode]]] = {}

    def __init__(self, functions: Iterable[FunctionType]) -> None:
        self._by_id: dict[int, tuple[CodeType, Place]] = {}
        self._by_place: dict[tuple[str, str], dict[tuple[tuple[str, int, int], ...], CodeType]] = {}
        self._globals: dict[str, dict[str, Any]] = {}
        self._outer: dict[int, CodeType] = {}
        self._headers: dict[int, Header | None] = {}
        self._every[id(self)] = weakref.ref(self, functools.partial(NestedCode._forget, id(self)))
        for function in functions:
            code, facts = code_of(function), function.__globals__
            module = facts.get("__name__")
            if is_nested(code) or target_of(code) is not None or not isinstance(module, str):
                continue
            ways: dict[tuple[tuple[str, int, int], ...], CodeType] = {}
            # A copy: somebody waits for the death of the code that the outermost function runs.
            for nested, outer, path, in_class in _nested(code.replace(), (), in_class=False):
                ways[path] = nested
                self._outer[id(nested)] = outer
                self._by_id[id(nested)] = (nested, Place(module, code.co_qualname, path, in_class, nested.co_qualname))
            # Two functions of one name in one module (a property's getter and setter) share a place: nobody's then.
            key = (module, code.co_qualname)
            self._by_place[key] = {} if key in self._by_place else ways
            self._globals[module] = facts

    def __len__(self) -> int:
        return len(self._by_id)

    @classmethod
    def _forget(cls, key: int, _: weakref.ref[NestedCode]) -> None:
        cls._every.pop(key, None)

    @classmethod
    def holds(cls) -> Counter[int]:
        """Return how often all of these hold nested code, by its id."""
        references = list(cls._every.values())  # in one C call: other patchers make some
        every = [one for reference in references if (one := reference()) is not None]
        noted = {id(pair): pair for one in every for pair in one._by_id.values()}  # who joins another shares them
        ways = {id(found): found for one in every for found in one._by_place.values()}
        held = Counter(id(code) for code, _ in noted.values())
        held.update(id(code) for found in ways.values() for code in found.values())
        held.update(id(code) for one in every for code in one._outer.values())
        return held

    def join(self, other: NestedCode) -> None:
        """Take in the nested code of more modules."""
        self._by_id |= other._by_id
        self._by_place |= other._by_place
        self._globals |= other._globals
        self._outer |= other._outer
        self._headers |= other._headers

    @property
    def modules(self) -> list[str]:
        """The names of the modules."""
        return list(self._globals)

    def referrers(self, besides: Iterable[dict[str, Any]] = ()) -> list[FunctionType]:
        """Find the functions that run code of these modules, wherever they are held: one pass over the heap.

        What `gc.freeze` has set aside is not seen.

        Arguments:
            besides: other globals in which such code is run.
        """
        if not self._by_id:
            return []
        common = [*{id(facts): facts for facts in (*self._globals.values(), *besides)}.values()]
        if len(common) > _SEVERAL:
            common = [builtins.__dict__]
        return collector.referrers_of(common, (FunctionType,))

    def names(self, value: Any) -> bool:
        """Whether a name of one of the modules stands for an object."""
        return any(value is held for facts in self._globals.values() for held in list(facts.values()))

    def _of(self, code: CodeType) -> int:
        """The id of what is one of these, or of that of which it is a copy; of itself if it is none."""
        if id(code) in self._by_id:
            return id(code)
        return next((id(one) for one in kin(code) if id(one) in self._by_id), id(code))

    def place(self, code: CodeType) -> Place | None:
        """Return where a code object stands, or None if it is not one of these, nor a copy of one."""
        found = self._by_id.get(self._of(code))
        return found[1] if found is not None else None

    def enclosing(self, code: CodeType) -> CodeType | None:
        """Return the code that nested code stands in, or a copy of it; None if it is not one of these."""
        return self._outer.get(self._of(code))

    def codes(self) -> Iterator[CodeType]:
        """Return the nested code, and the copies of it that somebody holds."""
        for code, _ in self:
            yield code
            yield from kin(code)

    def facts(self, place: Place) -> dict[str, Any]:
        """Return the globals in which the code of a place runs."""
        return self._globals[place.module]

    def facts_of(self, code: CodeType) -> dict[str, Any]:
        """Return the globals in which one of these is run."""
        return self.facts(self._by_id[id(code)][1])

    def header(self, code: CodeType) -> Header | None:
        """Return the defaults that a nested code object is given where it stands; None if they can't be told."""
        key = self._of(code)
        if key not in self._headers:  # there may be thousands of closures of one place
            outer, known = self._outer.get(key), self._by_id.get(key)
            self._headers[key] = None if outer is None or known is None else header_of(outer, known[0])
        return self._headers[key]

    def outer(self) -> Iterable[CodeType]:
        """Return the code that each nested code object stands in; it is held once for each."""
        return self._outer.values()

    def __iter__(self) -> Iterator[tuple[CodeType, Place]]:
        return iter(self._by_id.values())

    def counterpart(self, place: Place) -> tuple[CodeType, dict[str, Any]] | None:
        """Return the code that stands in a place here, and the globals of its module; None if there is none."""
        code = self._by_place.get((place.module, place.root), {}).get(place.path)
        return None if code is None else (code, self._globals[place.module])


def _nested(
    code: CodeType, way: tuple[tuple[str, int, int], ...], *, in_class: bool
) -> Iterator[tuple[CodeType, CodeType, tuple[tuple[str, int, int], ...], bool]]:
    """The nested code of a code object: each with the code that it stands in, its way, and whether a class is on it."""
    siblings: dict[str, list[CodeType]] = {}
    for constant in code.co_consts:
        if inspect.iscode(constant):
            siblings.setdefault(constant.co_name, []).append(constant)
    for name, group in siblings.items():
        for number, inner in enumerate(group):
            path = (*way, (name, number, len(group)))
            local_class = (
                in_class or not inner.co_flags & inspect.CO_OPTIMIZED
            )  # the body of a class has no fast locals
            if inner.co_flags & inspect.CO_OPTIMIZED:
                yield inner, code, path, local_class
            yield from _nested(inner, path, in_class=local_class)


def lacking(place: Place, code: CodeType, variables: Container[str], names: Container[str]) -> str:
    """Return why a closure can't run other code, or nothing if it can.

    Arguments:
        place: where the closure's own code stands.
        code: the other code.
        variables: the free variables that the closure was made with.
        names: the parameters that it was made with.
    """
    if place.in_class:
        return "belongs to a class that a function made; such classes are not followed"
    without = [name for name in code.co_freevars if name not in variables]
    if without:
        return f"was made without {', '.join(without)}, which the new version uses"
    positional, by_name = parameters(code)
    without = [name for name in (*positional, *by_name) if name not in names]
    return f"was made without the parameter {', '.join(without)} of the new version" if without else ""


def line_of(function: FunctionType) -> str:
    """How a function is told that no name leads to."""
    return f"{function.__code__.co_qualname} of line {function.__code__.co_firstlineno}"


def functions_in(modules: Mapping[str, ModuleType]) -> Iterator[FunctionType]:
    """The functions that modules define, however deep in classes and wrappers."""
    ours = {id(ModuleType.__getattribute__(module, "__dict__")) for module in modules.values()}
    return (function for _, function in functions_of(modules, lambda function: id(function.__globals__) in ours))
