"""Small programs as data, and their text.

A program is a package of three modules, in which each may use what the ones before it define. What makes use of
something says what, and how it comes by it: by which kind of import, under which name, at import or inside of a
function.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "CALLABLE",
    "CLASSES",
    "FUNCTIONS",
    "HOWS",
    "KINDS",
    "MEMBERS",
    "MODULES",
    "STATEFUL",
    "Member",
    "Module",
    "Program",
    "Thing",
    "Use",
    "bases_of",
    "family",
    "position",
    "things_of",
]

MODULES = ("a", "b", "c")
CALLABLE = ("plain", "generator", "coroutine", "asyncgen", "lambda")
STATEFUL = ("counter", "log")
FUNCTIONS = (*CALLABLE, "factory", "decorator", "context", "dispatch", *STATEFUL)
DATA = ("number", "table", "made", "partial")
CLASSES = ("class", "dataclass", "enum")
KINDS = (*FUNCTIONS, *DATA, *CLASSES)

HOWS = ("name", "relative", "alias", "star", "module", "as", "dotted", "lazy", "lazy module")
MEMBERS = ("plain", "super", "generator", "coroutine", "property", "static", "class", "attribute")


@dataclass(frozen=True)
class Use:
    """That something makes use of `target`, and how it comes by it. `alias` is the number of the name that it gets."""

    target: str
    how: str = "name"
    alias: int = 0


@dataclass(frozen=True)
class Member:
    """A member of a class: what it is, a number in it, what it makes use of, and its own decorator."""

    kind: str = "plain"
    number: int = 0
    uses: Use | None = None
    decorator: Use | None = None


@dataclass(frozen=True)
class Thing:
    """One definition.

    Arguments:
        kind: what it is, one of `KINDS`.
        number: a number in it.
        uses: what its body makes use of, when it runs.
        reads: what is read when it is defined: a number for a default or a sum, a factory, a function.
        parameters: how many a function has.
        decorators: own decorators; `lru_cache` is a use of ``"lru_cache"`` and ``"cache"``.
        shape: a variant: a second variable in a closure, a decorator that takes arguments, a nested class.
        bases: of a class.
        members: of a class; of an enumeration, its names alone count.
    """

    kind: str
    number: int = 0
    uses: tuple[Use, ...] = ()
    reads: Use | None = None
    parameters: int = 0
    decorators: tuple[Use, ...] = ()
    shape: bool = False
    bases: tuple[Use, ...] = ()
    members: Mapping[str, Member] = field(default_factory=dict)


@dataclass(frozen=True)
class Module:
    """The things of a module, what it imports besides what they need, and a number in its comment."""

    things: Mapping[str, Thing]
    imports: tuple[Use, ...] = ()
    comment: int = 0


Program = Mapping[str, Module]
"""The names of a module's things begin with its letter, and they stand in the order of their numbers."""


def family(kind: str) -> str:
    """What a name goes on standing for: a class, an enumeration, something that can be called, or data."""
    if kind in CLASSES:
        return "enum" if kind == "enum" else "class"
    return "data" if kind in ("number", "table") else "callable"


def things_of(program: Program) -> dict[str, Thing]:
    """All things of a program, by name."""
    return {name: thing for module in program.values() for name, thing in module.things.items()}


def position(name: str) -> tuple[int, int]:
    """Where a thing stands: it may use what stands before it."""
    return MODULES.index(name[0]), int(name[1:])


def bases_of(things: Mapping[str, Thing], name: str) -> list[Use]:
    """The bases of a class that are there and that Python can put in order; none means the root."""
    found: dict[str, Use] = {}
    for use in things[name].bases:
        base = things.get(use.target)
        if base is not None and base.kind in ("class", "dataclass") and position(use.target) < position(name):
            found.setdefault(use.target, use)
    mirrors: dict[str, type] = {}
    while found:
        try:
            type("Mirror", tuple(_mirror(things, target, mirrors) for target in found), {})
        except TypeError:
            found.popitem()
        else:
            break
    return list(found.values())


def _mirror(things: Mapping[str, Thing], name: str, mirrors: dict[str, type]) -> type:
    """A class that has the bases of a class of a program, and nothing else."""
    if name not in mirrors:
        bases = tuple(_mirror(things, use.target, mirrors) for use in bases_of(things, name))
        mirrors[name] = type(name, bases or (_Root,), {})
    return mirrors[name]


class _Root:
    pass
