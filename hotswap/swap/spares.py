"""Spares: generators that never begin, which context managers of `contextlib` hold that decorate functions.

`@timed()` above a function, where `timed` is a `contextlib.contextmanager`, makes a context manager, with a generator
that is ready to begin, and keeps both for as long as the function is there. Each call of the function makes a context
manager of its own. So nobody will ever run that generator; but it looks like a call that has begun, and that goes on
for as long as the process. They are taken out.

Guarantees: a generator is taken out only if it has not begun, and nobody but its context manager holds it, and that is
held by nobody but the decorated function. To let go of such a one runs nobody's code.

What a candidate has made in the place of a generator that stays, and nobody gets, is closed (`close_unbegun`).

Assumes: the GIL, and that references are counted at once; elsewhere nothing is done. What is assumed of generators that
have not begun, and of `contextlib`, is proved in `tests/cpython`.
"""

from __future__ import annotations

import contextlib
import gc
import opcode
import sys
from collections.abc import Container, Iterable, Mapping
from types import AsyncGeneratorType, CellType, CodeType, FunctionType, GeneratorType, ModuleType
from typing import Any

from hotswap import collector
from hotswap.generation import managed
from hotswap.swap.calls import frame_of
from hotswap.swap.parts import cell_contents, functions_of
from hotswap.swap.writes import gil_enabled

__all__ = ["Spares", "close_unbegun", "has_begun"]

_MANAGERS: Any = (contextlib._GeneratorContextManager, contextlib._AsyncGeneratorContextManager)
_GENERATORS = (GeneratorType, AsyncGeneratorType)
_RETURN_GENERATOR = opcode.opmap["RETURN_GENERATOR"]


def _decorated(decorator: Any) -> CodeType:
    """The code of the functions that a decorator of `contextlib` makes."""
    return next(one for one in decorator.__code__.co_consts if type(one) is CodeType)


_DECORATORS: Any = (contextlib.ContextDecorator.__call__, contextlib.AsyncContextDecorator.__call__)
_CODES = {id(code): code for code in map(_decorated, _DECORATORS)}


class Spares:
    """Lets go of them. Lives as long as its patcher."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._none = _undecorated()
        self._usual = _owners(_own_cell())

    def let_go(
        self, packages: tuple[str, ...], modules: Mapping[str, ModuleType], young: list[object] | None = None
    ) -> None:
        """Let go of the spare generators of some packages, whoever uses their context managers.

        It passes over the heap if functions may have been decorated since the last time.

        Arguments:
            packages: the packages.
            modules: their modules: where somebody has frozen objects, functions are found by names alone.
            young: what a candidate has created that was loaded since; what is let go of is taken out there, too.
        """
        counts = _counts(_CODES)
        if not gil_enabled() or sum(counts) <= self._none or (counts == self._counts and young is None):
            return
        functions = collector.referrers_of(_CODES.values(), (FunctionType,))
        if gc.get_freeze_count():
            functions += [one for _, one in functions_of(modules, lambda one: id(one.__code__) in _CODES)]
        spare: dict[int, Any] = {}
        known = {*map(id, young or ())}
        for function in functions:
            for cell in (function.__closure__ or ()) if id(function.__code__) in _CODES else ():
                if self._is_spare(cell, packages, known):
                    manager: Any = cell_contents(cell)
                    spare[id(manager.gen)] = manager.gen
                    del manager.gen
        functions.clear()
        if young is not None:
            young[:] = [one for one in young if id(one) not in spare]
        self._counts = _counts(_CODES)

    def _is_spare(self, cell: CellType, packages: tuple[str, ...], known: Container[int]) -> bool:
        if _owners(cell, known) != self._usual:
            return False
        frame = frame_of(cell_contents(cell).gen)
        return frame is not None and not has_begun(frame) and managed(frame.f_globals.get("__name__", ""), packages)


def close_unbegun(dropped: Iterable[object]) -> None:
    """Close generators that nobody will ever run: those that have not begun.

    Arguments:
        dropped: what only we hold.
    """
    for one in dropped:
        frame = frame_of(one) if type(one) is GeneratorType else None
        if frame is not None and not has_begun(frame):
            one.close()  # type: ignore[attr-defined]  # it is a generator


def has_begun(frame: Any) -> bool:
    """Whether a generator has begun, by its frame."""
    made = frame.f_code.co_code[::2].index(_RETURN_GENERATOR) * 2
    return bool(frame.f_lasti > made + 2)  # CPython 3.13 has the instruction behind it as the last one


def _owners(cell: CellType, known: Container[int] = ()) -> tuple[int, int] | None:
    """How many hold the context manager in a cell, and its generator; None if there is none.

    Arguments:
        cell: the cell.
        known: the ids of what we hold ourselves.
    """
    manager = cell_contents(cell)
    generator = getattr(manager, "gen", None) if type(manager) in _MANAGERS else None
    if type(generator) not in _GENERATORS:
        return None
    return (
        sys.getrefcount(manager) - (id(manager) in known),
        sys.getrefcount(generator) - (id(generator) in known),
    )


def _undecorated() -> int:
    """How many references there are to the code of such functions while there are none of them."""
    makers = [decorator.__code__.replace(co_consts=(_decorated(decorator).replace(),)) for decorator in _DECORATORS]
    codes = {id(code): code for maker in makers for code in maker.co_consts}
    return sum(_counts(codes))


def _counts(codes: Mapping[int, CodeType]) -> list[int]:
    return [*map(sys.getrefcount, codes.values())]


def _own_cell() -> CellType:
    """A cell that holds a context manager as those of decorated functions do."""

    def generate() -> Any:
        yield

    return CellType(contextlib.contextmanager(generate)())
