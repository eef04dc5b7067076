"""Probing: whether anything of a generation is in flight, asked within the one C call of a commit."""

from __future__ import annotations

import operator
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from types import FunctionType
from typing import Any

from hotswap.periods import now
from hotswap.swap.forwarding import code_of
from hotswap.swap.kin import is_nested
from hotswap.swap.nested import NestedCode
from hotswap.swap.writes import Writes, gil_enabled

__all__ = ["InFlight"]


class InFlight:
    """Tells whether a call of a generation is in flight, or a session open, also within the one C call of a commit.

    A frame, a suspended generator and a coroutine refer to the code that they run; besides, a function does, and what
    the writes hold until the end of the call. So a code object that has more references than that is running, or
    somebody else holds it: that counts as running, too. How many references are usual is read from two code objects of
    our own that are held the same way. So do sessions refer to the keeper of their period.

    Nested code is held by closures as well, and there may be any number of them. With the first of them it counts as
    running: a closure that somebody holds may be called right after the swap, and is led on only when it is settled.

    Guarantees: `probe` gives an iterator made of C functions only. Where it says no, no thread has run since. Assumes:
    the GIL, and that references are counted at once; elsewhere everything counts as in flight.

    Arguments:
        functions: those of the generation, with their code.
        writes: those of the swap; they hold code until their call has ended.
        nested: the nested code of the generation.
    """

    def __init__(self, functions: Iterable[FunctionType], writes: Writes, nested: NestedCode) -> None:
        counts: Counter[int] = Counter()
        alone, held = (
            InFlight.__init__.__code__.replace(co_name="alone"),
            InFlight.__init__.__code__.replace(co_name="held"),
        )
        self._codes: list[Any] = [alone, held]
        self._usual = FunctionType(held, {})
        writes.hold_code(self._usual)
        del alone, held
        for function in {id(function): function for function in functions}.values():
            code = code_of(function)
            if not is_nested(code):
                if not counts[id(code)]:
                    self._codes.append(code)
                counts[id(code)] += 1
        self._counts = [counts[id(code)] for code in self._codes[2:]]
        self._codes.append(now().keeper)
        known = NestedCode.holds()
        self._nested: list[Any] = [InFlight.__init__.__code__.replace(), *nested.codes()]
        # Besides, it stands in the code of what makes it.
        self._held = [known[id(code)] + 1 for code in self._nested[1:]]

    def probe(self) -> Iterator[bool]:
        """Return an iterator that gives for each code object whether it is running; asked while it is read.

        The last but nested code tells of sessions: of those that began in the present period, or before it.
        """
        alone, usual = map(sys.getrefcount, islice(self._codes, 2))
        expected = [*(count * (usual - alone) + alone for count in self._counts), alone + 1]
        (bare,) = map(sys.getrefcount, islice(self._nested, 1))
        return chain(
            map(operator.ne, map(sys.getrefcount, islice(self._codes, 2, None)), expected),
            map(operator.ne, map(sys.getrefcount, islice(self._nested, 1, None)), [bare + n for n in self._held]),
        )

    def __bool__(self) -> bool:
        return not gil_enabled() or any(self.probe())
