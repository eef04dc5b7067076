"""Left: what goes on with a candidate that was disarmed, or rejected.

It is that of an old generation to whoever is on it, and there is no way to it for anybody else: so the forks of other
swaps know it as they know all that have something in flight. It lasts until the last session on it has ended, and the
last call of its code: a task that a preview has begun goes on after the block, without a session.

Guarantees: nothing is waited for that nobody runs. Where nobody is on it when it is disarmed, nothing is left at once.
Assumes: nobody makes a swap while it begins, looks, and ends. A thread that has been told to call something of it, and
has not begun to, is not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FunctionType

from hotswap import clock
from hotswap.session import Mark
from hotswap.swap.adrift import strays
from hotswap.swap.apart import Apart
from hotswap.swap.begun import outlasting
from hotswap.swap.calls import pauses
from hotswap.swap.drain import Drain
from hotswap.swap.forwarding import code_of
from hotswap.swap.junctions import Junction
from hotswap.swap.kin import is_nested
from hotswap.swap.nested import NestedCode
from hotswap.swap.releasing import settle

__all__ = ["Left", "Runs"]

Runs = Iterable[tuple[FunctionType, FunctionType]]
"""The functions of a candidate, each with the one that runs its code."""


class Left:
    """Who is on a candidate that was disarmed. Lives until nobody is.

    Arguments:
        armed: the generation over which it was armed.
        functions: those of the candidate.
        nested: its nested code.
        later: has something done when nobody makes a swap. It is called wherever the last call ends, so it must be
            quick, and must not raise.
    """

    def __init__(
        self, armed: Junction, functions: Runs, nested: NestedCode, later: Callable[[Callable[[], None]], None]
    ) -> None:
        self.junction = Apart(armed)
        self._last: list[Callable[[], None]] = []
        self._functions = [(function, runs) for function, runs in functions if not is_nested(runs.__code__)]
        self._nested, self._later = nested, later
        self._drain = Drain((), self._ended)
        self._is_awaited, self._nested_too = False, True
        self._pauses = pauses()
        self._alarm: clock.Alarm | None = None

    def begin(self) -> bool:
        """Wait for those who are on it. Returns whether there are any."""
        junction, drain = self.junction, self._drain
        going = outlasting(junction, self._functions, self._nested, nested_too=False)
        own = {id(function): runs for function, runs in self._functions}
        before = [*strays(function for function, _ in self._functions)]
        junction.copied((code_of(own[id(stray.body)]), stray.code) for stray in before if id(stray.body) in own)
        drain.wait_for([*going, *(stray.code for stray in before), *self.marks])
        del going, before
        if clock.HAS_THREADS:
            drain.wait_for_nested(self._nested.codes())
        drain.arm()
        self._is_awaited = not drain.is_over
        if drain.is_over:
            self.end()
            return False
        self._ask()
        return True

    @property
    def marks(self) -> list[Mark]:
        """What the sessions hold that are on it."""
        return [mark for known in self.junction.marks if (mark := known()) is not None]

    def _ended(self) -> None:
        if self._is_awaited:
            self._later(self._look)

    def _look(self) -> None:
        """End, unless calls go on that others have begun."""
        drain = self._drain
        if self.junction.over or not drain.is_over:
            return
        first, self._nested_too = self._nested_too, False
        plain = [*self._nested.codes()] if first else []
        if not drain.again(outlasting(self.junction, self._functions, self._nested, nested_too=first), plain):
            self.end()

    def _ask(self) -> None:
        # A debugger, coverage, or whoever keeps a traceback, holds code that nobody runs any more.
        self._alarm = clock.after(next(self._pauses), lambda: self._later(self._look_for_unused))

    def _look_for_unused(self) -> None:
        if not self.junction.over:
            self._drain.let_go_of_unused()
            self._ask()

    def end(self) -> None:
        """Have nobody be on it any more. Nobody may make a swap meanwhile; may be repeated."""
        if self.junction.over:
            return
        settle(self.junction)
        self.junction.end()
        self._drain.end()
        if self._alarm is not None:
            self._alarm.cancel()
        self._functions.clear()
        self._act()

    def afterwards(self, act: Callable[[], None]) -> None:
        """Have something done when nobody is on it any more; it is to be quick, and to raise nothing. Never waits."""
        self._last.append(act)
        if self.junction.over:
            self._act()

    def _act(self) -> None:
        with suppress(IndexError):  # two threads may come here: each takes what the other has not
            while True:
                self._last.pop()()
