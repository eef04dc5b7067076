"""Defaults: what a nested ``def`` or ``lambda`` gives its parameters, as far as the code around it tells.

The instructions that push the defaults stand right before the constant with the code. They are read backwards by what
each does to the stack; where they jump (a condition in a default) nothing is known.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

__all__ = ["Default", "Header", "header_of", "parameters"]

_DEFAULTS, _BY_NAME = 1, 2
_OPERANDS = (8, 16, 4, _BY_NAME, _DEFAULTS)
"""The flags of what a function is made with, from the top of the stack down."""
_CONSTANTS = ("LOAD_CONST", "LOAD_SMALL_INT")
_SILENT = ("CACHE", "EXTENDED_ARG", "NOP")


@dataclass(frozen=True, slots=True)
class Default:
    """The expression of a default: what it does, and the value in a tuple if it is a constant."""

    steps: tuple[Any, ...]
    constant: tuple[Any, ...] = ()


Header = dict[str, Default]
"""The defaults of a statement by parameter."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One instruction: its name, its argument, what it does to the height of the stack, and whether jumps lead to it.

    There is no effect that could be told if it may jump.
    """

    name: str
    argument: Any
    effect: int | None
    target: bool = False

    @property
    def key(self) -> Any:
        """What is the same in two versions. A function in a default is led like every closure: it does not differ."""
        if inspect.iscode(self.argument):
            return self.name
        if self.name.startswith(("LOAD_FAST", "LOAD_DEREF")):
            return "name", self.argument  # whether it is in a cell depends on who else uses it
        return self.name, repr(self.argument)


def header_of(outer: CodeType, nested: CodeType) -> Header | None:
    """Return the defaults that nested code is given by the code that it stands in; None if they can't be told."""
    steps = list(_steps(outer))
    places = [number for number, step in enumerate(steps) if step.argument is nested]
    if len(places) != 1:
        return None
    end = places[0]
    flags = 0
    for step in steps[end + 1 :]:
        if step.name not in ("MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE"):
            break
        flags |= step.argument or 0
    found: Header = {}
    positional, _ = parameters(nested)
    for flag in _OPERANDS:
        if not flags & flag:
            continue
        begin = _begin(steps, end)
        if begin is None:
            return None
        if flag in (_DEFAULTS, _BY_NAME):
            part = steps[begin:end]
            given = _by_position(part, positional) if flag == _DEFAULTS else _by_name(part)
            if given is None:
                return None
            found.update(given)
        end = begin
    return None if any(step.target for step in steps[end + 1 : places[0] + 1]) else found


def parameters(code: CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the parameters of a code object: positional ones, and those that are given by name only."""
    count = code.co_argcount
    return code.co_varnames[:count], code.co_varnames[count : count + code.co_kwonlyargcount]


def _steps(code: CodeType) -> Iterator[_Step]:
    target = False
    for found in dis.get_instructions(code):
        target |= found.is_jump_target
        if found.opname in _SILENT:
            continue
        if found.opname.startswith("LOAD_FAST") and type(found.argval) is tuple:  # two in one, since CPython 3.13
            for name in found.argval:
                yield _Step("LOAD_FAST", name, 1, target)
                target = False
            continue
        argument = found.arg if found.opname in ("MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE") else found.argval
        jumps = found.opcode in dis.hasjrel or found.opcode in dis.hasjabs
        yield _Step(found.opname, argument, None if jumps else dis.stack_effect(found.opcode, found.arg), target)
        target = False


def _begin(steps: Sequence[_Step], end: int) -> int | None:
    """Where the expression begins whose value is on the stack before a step; None if that can't be told."""
    height = 0
    while end > 0 and height < 1:
        end -= 1
        effect = steps[end].effect
        if effect is None:
            return None
        height += effect
    return end if height == 1 else None


def _expressions(steps: Sequence[_Step], count: int) -> list[Default] | None:
    """The expressions that push the last values, in their order."""
    found: list[Default] = []
    end = len(steps)
    for _ in range(count):
        begin = _begin(steps, end)
        if begin is None:
            return None
        part = steps[begin:end]
        constant = (part[0].argument,) if len(part) == 1 and part[0].name in _CONSTANTS else ()
        found.insert(0, Default(tuple(step.key for step in part), constant))
        end = begin
    return found


def _by_position(steps: Sequence[_Step], names: Sequence[str]) -> Header | None:
    last = steps[-1]
    found: list[Default] | None = None
    if last.name == "LOAD_CONST" and type(last.argument) is tuple:
        found = [Default((_Step("LOAD_CONST", value, 1).key,), (value,)) for value in last.argument]
    elif last.name == "BUILD_TUPLE":
        found = _expressions(steps[:-1], last.argument)
    return None if found is None else dict(zip(names[len(names) - len(found) :], found, strict=True))


def _by_name(steps: Sequence[_Step]) -> Header | None:
    last = steps[-1]
    if last.name == "BUILD_CONST_KEY_MAP":
        found = _expressions(steps[:-2], last.argument)
        return None if found is None else dict(zip(steps[-2].argument, found, strict=True))
    if last.name == "BUILD_MAP":
        pairs = _expressions(steps[:-1], 2 * last.argument)
        if pairs is not None:
            return {key.constant[0]: value for key, value in zip(pairs[::2], pairs[1::2], strict=True)}
    return None
