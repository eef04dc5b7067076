"""Ways: what somebody gets by who asks, while calls or sessions of several generations go on.

The one rule, in this order:

1. the caller is old code whose own body was changed: old; it is new code whose own body was changed: new;
2. the caller's session began before the swap: old, and else new;
3. the caller is old code with an unchanged body: old until the handover, then new;
4. the caller is new code: new;
5. anybody else: new; but old as long as the new is armed.

Code that is nobody's, and only called on behalf of its caller, is looked through: that of the standard library, but for
loops (`callers`), and that of modules that stay where nothing else tells.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import CodeType, FrameType, FunctionType
from typing import Any, NamedTuple

from hotswap import walk
from hotswap.session import Session, here
from hotswap.swap.callers import caller
from hotswap.swap.handed_on import is_handed_on
from hotswap.swap.junctions import ARMED, Junction
from hotswap.swap.lineage import Reference
from hotswap.swap.opening import stays

__all__ = ["Changed", "ClosureWays", "CodeWays", "PrivateWays", "Ways"]

_frame = sys._getframe


class Ways:
    """What somebody gets by who asks: old generations, the newest first, and what everybody else gets.

    As a constant of a forwarder it is called, and gives what is to be called then.

    Arguments:
        old: what is of old generations.
        new: what everybody else gets.
        aim: what a function with these ways leads to, and None if to itself; of an attribute, what it is when it is
            plain again.
        own: the function that runs the code which such a one would have.
    """

    __slots__ = ("aim", "new", "old", "own")

    def __init__(
        self, old: Iterable[tuple[Junction, Any]], new: Any, aim: Any, own: FunctionType | None = None
    ) -> None:
        self.old = [(junction, value) for junction, value in old if junction.serves]
        self.new = new
        self.aim, self.own = aim, own

    def of(self, frame: FrameType) -> Any:
        """What the code in a frame gets."""
        old = self.old  # another thread may take a generation out meanwhile
        if not old:
            return self.new
        session = here()
        while id(frame.f_code) in Junction.wrappers:  # what is of another module is for whoever has called the wrapper
            space, code = id(frame.f_globals), frame.f_code
            for junction, value in reversed(old):
                if junction.has(code, space, session) and not _is_lent(junction, value):
                    return value
            old = _not_left(old, frame)
            if not old:
                return self.new
            if frame.f_back is None:
                break
            frame = caller(frame.f_back)
        if len(old) > 1:
            way = _at_home(old[::-1], frame, session)
            if way is not None:
                return way[1]
            old = _not_left(old, frame)
            if not old:
                return self.new
            # The oldest first: who stands between may be code of a newer one, and be called for an older.
            way = _claimed(old[::-1], frame, session)
            if way is not None:
                return way[1]
        newest, value = old[0]
        asks: FrameType | None = frame
        while asks is not None:  # as `claims` does, and what is new in between is told
            space, code = id(asks.f_globals), asks.f_code
            if newest.asks(asks, session, itself=asks is frame):
                return value
            if space in newest.others and id(code) not in newest.same and (session is not None or asks is frame):
                return self.new
            if not newest.passes(asks, session):
                break
            asks = None if asks.f_back is None else caller(asks.f_back)
        if session is not None and (number := session.number) is not None:
            way = _of_session(old[::-1], session, number)
            return self.new if way is None else way[1]
        if newest.number is ARMED and (asks is None or id(asks.f_globals) not in newest.others):
            return value
        return self.new

    def moved(self, old: Iterable[tuple[Junction, Any]], new: Any, aim: Any) -> Ways:
        """Return ways from the same place to something else. The arguments are those of the constructor."""
        return Ways(old, new, aim)

    def is_of_code(self, value: Any, frame: FrameType) -> bool:
        """Whether the code in a frame, which has got a value, got it because it is old.

        Who got it by his session alone, and everybody while the new is armed, gets another one as soon as the session
        is left or the swap is made; but not in a session that old code has opened.
        """
        session = here()
        mine = [junction for junction, known in self.old if known is value and junction.number is not ARMED]
        if session is None:
            return bool(mine)
        return any(junction.claims(frame, None) or stays(junction, session) for junction in mine)

    def __call__(self) -> Any:
        """Return what the caller of a forwarder gets."""
        return self.of(caller(_frame(1)))

    def leave(self, junction: Junction) -> None:
        """Have nobody get what is of a generation any more."""
        self.old = [(other, value) for other, value in self.lasting if other is not junction]

    @property
    def lasting(self) -> list[tuple[Junction, Any]]:
        """The old generations that have something in flight."""
        return [(junction, value) for junction, value in self.old if junction.serves]


class CodeWays(Ways):
    """Ways of what a cache calls: only old code gets the old.

    What a session got would be remembered for everybody.
    """

    __slots__ = ()

    def of(self, frame: FrameType) -> Any:
        """What the code in a frame gets."""
        space, code = id(frame.f_globals), frame.f_code
        return next((value for junction, value in self.old if junction.has(code, space, None)), self.new)


class ClosureWays(Ways):
    """Ways of a closure: of one that was led on while something old is in flight, or while a candidate is armed.

    Arguments:
        old: what is of old generations.
        new: what everybody else gets.
        plain: the code that the closure gets when there is nothing old any more, or when the candidate is disarmed.
        aim: what it leads to; None if to itself.
        own: the function that runs its own code, if so.
    """

    __slots__ = ("plain",)

    def __init__(
        self,
        old: Iterable[tuple[Junction, Any]],
        new: Any,
        plain: CodeType,
        aim: FunctionType | None = None,
        own: FunctionType | None = None,
    ) -> None:
        super().__init__(old, new, aim, own)
        self.plain = plain

    def moved(self, old: Iterable[tuple[Junction, Any]], new: Any, aim: Any) -> ClosureWays:
        """Return ways from the same closure to something else."""
        return ClosureWays(old, new, self.plain, aim)


class PrivateWays(Ways):
    """Ways from what stands in the globals of an old generation: who is neither new code nor in a session gets old.

    They last as long as that code does, which may be longer than anything of it is in flight: closures stay old. For
    everybody else there may be more old generations by then: a loop that was handed over is old once more in the next
    swap, and a session keeps the generation that it began with.

    A function is held weakly: what has these ways in its code keeps it besides, where the collector looks (`fronts`).

    Arguments:
        junction: the generation.
        value: what is of it.
        aim: what everybody else gets.
        old: what is of other old generations.
    """

    __slots__ = ("held", "junction")

    def __init__(self, junction: Junction, value: Any, aim: Any, old: Iterable[tuple[Junction, Any]] = ()) -> None:
        super().__init__(old, aim, aim)
        self.junction, self.held = junction, self.hold(value)

    @staticmethod
    def hold(value: Any) -> Any:
        """Return what `held` has to be, for what is of the generation."""
        return Reference(value) if type(value) is FunctionType else value

    @property
    def value(self) -> Any:
        """What is of the generation.

        A thread may come from a code of the function that was replaced since: what that gave may be gone by now.
        """
        held = self.held
        return held if type(held) is not Reference else held() or self.new

    def moved(self, old: Iterable[tuple[Junction, Any]], new: Any, aim: Any) -> PrivateWays:
        """Return ways from the same place: whoever gets what is of its generation still does."""
        ways = PrivateWays(self.junction, self.value, aim, old)
        ways.new = new
        return ways

    def of(self, frame: FrameType) -> Any:
        """What the code in a frame gets."""
        own = self.junction
        if self.old:  # calls of other generations may run in these globals, too, and sessions may be older
            session = here()
            ways = sorted((*self.old, (own, self.value)), key=lambda way: way[0].number)
            found = _at_home(ways, frame, session)
            if found is None:
                ways = _not_left(ways[::-1], frame)[::-1]
                found = _claimed(ways, frame, session)
            if found is None and session is not None and (number := session.number) is not None:
                found = _of_session(ways, session, number)
            if found is not None:
                return found[1]
        # When nothing of it is in flight any more, what others got hold of has been led on.
        value = self.value
        keeps = own.claims(frame, here()) if own.over else own.keeps(frame) or is_handed_on(own, value, frame)
        return value if keeps else super().of(frame)


class Changed(NamedTuple):
    """An attribute of a class that a swap changes: what it was, and what the candidate has; `walk.MISSING`: nothing."""

    cls: type
    name: str
    was: Any
    will: Any


def _of_session(ways: Iterable[tuple[Junction, Any]], session: Session, number: int) -> tuple[Junction, Any] | None:
    """What a session gets; None if what is live, or armed. `ways`: the oldest first; `number`: that of its period."""
    return next((way for way in ways if way[0].older(session, number)), None)


def _at_home(
    ways: Iterable[tuple[Junction, Any]], frame: FrameType, session: Session | None
) -> tuple[Junction, Any] | None:
    """What a session gets in code of its own generation, whatever others that is of. `ways`: the oldest first."""
    if session is None or (number := session.number) is None:
        return None
    way = _of_session(ways, session, number)
    return way if way is not None and way[0].is_home(id(frame.f_globals)) else None


def _claimed(
    ways: list[tuple[Junction, Any]], frame: FrameType, session: Session | None
) -> tuple[Junction, Any] | None:
    """What the code in a frame gets because it is that code; None if nothing. `ways`: the oldest first."""
    return next((way for way in ways if way[0].claims(frame, session)), None)


def _not_left(old: list[tuple[Junction, Any]], frame: FrameType) -> list[tuple[Junction, Any]]:
    """Those ways that the code in a frame may take: new code whose body was changed has left what was before it.

    Arguments:
        old: the ways, the newest first.
        frame: the frame.
    """
    space, code = id(frame.f_globals), frame.f_code
    found, left = [], False
    for way in old:
        junction = way[0]
        left = left or junction.has_left(code, space)
        # What came back is the code of that generation, too, or of a module that stayed when it went.
        known = id(code) in junction.strays or id(code) in junction.shared
        if not left or known or junction.is_home(space):
            found.append(way)
    return found


def _is_lent(junction: Junction, value: Any) -> bool:
    """Whether what a generation gets is of a module that stayed when it went."""
    function = walk.function_behind(value)
    if type(function) is not FunctionType:
        return False
    facts = function.__globals__
    return id(facts) not in junction.spaces or function.__module__ != facts.get("__name__")
