"""Ways: what somebody gets by who asks, while calls or sessions of several generations go on.

The one rule, in this order:

1. the caller is old code whose own body was changed: old; it is new code whose own body was changed: new;
2. the caller's session began before the swap: old, and else new;
3. the caller is old code with an unchanged body: old until the handover, then new;
4. the caller is new code: new;
5. anybody else: new; but old as long as the new is armed.

Code that is nobody's, and only called on behalf of its caller, is looked through: that of the standard library always,
that of modules that stay where nothing else tells.
"""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Iterable
from types import CodeType, FrameType, FunctionType
from typing import Any, ClassVar, NamedTuple

from hotswap.depth import Standing
from hotswap.session import Keeper, Mark, Session, here
from hotswap.swap.callers import caller, on_behalf
from hotswap.swap.lineage import Reference

__all__ = ["ARMED", "Apart", "Changed", "CodeWays", "Junction", "PrivateWays", "Ways"]

_frame = sys._getframe

ARMED = math.inf
"""Stands for the number of a period that has not begun: every session is older."""


class Junction:
    """One generation that has calls or sessions in flight, or had.

    Arguments:
        spaces: the ids of the globals of its modules.
        others: those of the generation that comes.

    Attributes:
        number: that of the period which began when it went; `ARMED` as long as it is about to go, and 0 before that.
        same: the ids of the code that is the same in both generations; the rest is changed, or not known to be.
        live: it was brought back: its code is nobody's old code any more, but older sessions are as old as they were.
        handed_over: unchanged code of it calls the new.
        leads_on: there is such code in its own globals, and a call runs it.
        marks: what stands for the candidate that is armed over it in the sessions that are on that, weakly.
        over: nothing of it is in flight any more.
        keeper: is there as long as sessions are that are on it, as a weak reference; None as long as it has not gone.
        depth: gives recursions their room as long as forks stand in functions.
        attributes, functions, fronts: where forks ask for it, each by its id: one that goes on for hours sees many
            swaps.
        signatures: what such functions say that they take, by the ids of their attributes (see `signatures`).
        copies: the ids of the code of its clones: calls of theirs have begun since, for a call that stays old.
        shared: the code of calls that had begun, of modules that stay, as weak references by its ids.
        owners: the functions of which that is the code, by its ids.
        staying: the ids of the globals of these modules.
        strays: other code that calls of this generation run, in globals of an earlier one or of its own: no function of
            it has it.
    """

    __slots__ = (
        *("attributes", "copies", "depth", "fronts", "functions", "handed_over", "keeper", "leads_on", "live", "marks"),
        *("number", "others", "over", "owners", "same", "shared", "signatures", "spaces", "staying", "strays"),
    )

    in_flight: ClassVar[set[Junction]] = set()
    """Those of swaps that have been made, and that something is in flight of."""

    def __init__(self, spaces: Iterable[int], others: Iterable[int]) -> None:
        self.spaces, self.others = frozenset(spaces), frozenset(others)
        self.number: float = 0
        self.same: frozenset[int] = frozenset()
        self.copies: frozenset[int] = frozenset()
        self.staying: frozenset[int] = frozenset()
        self.live = self.handed_over = self.leads_on = self.over = False
        self.attributes: dict[tuple[int, str], tuple[type, str]] = {}
        self.functions: dict[int, Reference] = {}
        self.fronts: dict[int, Reference] = {}
        self.signatures: dict[int, Any] = {}
        self.shared: dict[int, weakref.ref[CodeType]] = {}
        self.owners: dict[int, Reference] = {}
        self.strays: dict[int, weakref.ref[CodeType]] = {}
        self.marks: list[weakref.ref[Mark]] = []
        self.depth: Standing | None = None
        self.keeper: weakref.ref[Keeper] | None = None

    @property
    def serves(self) -> bool:
        """Whether somebody may get what is of it by a fork.

        Calls of one that was brought back get nothing by those of its first going; so a call that goes on for hours
        costs others nothing more for each time that a version is taken back and comes again.
        """
        if self.over:
            return False
        return not self.live or self.keeper is None or self.keeper() is not None

    def goes_after(self, keeper: Keeper) -> None:
        """Note what is there as long as sessions are that are on this generation."""
        self.keeper = weakref.ref(keeper)

    def fork(self, function: FunctionType) -> None:
        """Note a function that is a fork of this generation, as long as somebody holds it."""
        _refer(self.functions, function)
        self.depth = self.depth or Standing()

    def front(self, front: Any) -> None:
        """Note what stands in the globals of an earlier generation and gives what is of this one, too."""
        _refer(self.fronts, front)

    def share(self, code: CodeType, function: FunctionType) -> None:
        """Note code of a function of a module that stays: whoever runs it has begun on this generation."""
        _note(self.shared, code)
        self.owners[id(code)] = Reference(function)

    def follow(self, last: Junction) -> None:
        """Note what another one has known of calls of modules that stay: it goes once more."""
        for key, known in list(last.shared.items()):
            code, owner = known(), last.owners.get(key)
            function = None if owner is None else owner()
            if code is not None and function is not None:
                self.share(code, function)
            elif code is not None:
                self.stray(code)

    def stray(self, code: CodeType) -> None:
        """Note code that no function of this generation has, and that is of it."""
        _note(self.strays, code)

    def copied(self, codes: Iterable[tuple[CodeType, CodeType]]) -> None:
        """Note the code that clones run.

        Arguments:
            codes: code of each function, and that of its clone.
        """
        pairs = [(id(code), id(copy)) for code, copy in codes]
        copies = frozenset(copy for _, copy in pairs)
        same = frozenset(copy for code, copy in pairs if code in self.same)
        self.same, self.copies = self.same - copies | same, self.copies | copies

    def keep(self, code: CodeType) -> None:
        """Have calls that run some code stay old for as long as they last: there is nothing to hand them over to."""
        if self.shared.pop(id(code), None) is not None:
            self.stray(code)
        self.same -= {id(code)}

    @property
    def armed(self) -> bool:
        """Whether everybody is on this generation still, but for previews."""
        return self.number is ARMED

    def older(self, session: Session, number: int) -> bool:
        """Whether a session is on this generation, or one before it."""
        previews = session.previews
        return number < self.number and not (previews and any(mark() in previews for mark in self.marks))

    def mark(self) -> Mark:
        """Return what sessions get that are on the candidate which is armed over this generation."""
        mark = Mark()
        self.marks.append(weakref.ref(mark))
        return mark

    def has(self, code: CodeType, space: int, session: Session | None) -> bool:
        """Whether a caller gets what is of this generation because of the code that calls.

        Arguments:
            code: the code.
            space: the id of its globals.
            session: that of the caller; None if there is none.
        """
        if self.live:
            return False
        if id(code) in self.shared:
            return session is None and not self.handed_over
        if space not in self.spaces and id(code) not in self.strays:
            return False
        if id(code) not in self.same:
            return True
        return session is None and (not self.handed_over or id(code) in self.copies)

    def is_between(self, frame: FrameType) -> bool:
        """Whether the code in a frame is nobody's, and is called on behalf of whoever calls it.

        Code of modules that stay is, and what the standard library does for others there and then.
        """
        facts = frame.f_globals
        if id(facts) in self.staying:
            return id(frame.f_code) not in self.shared
        return on_behalf(frame)

    def keeps(self, frame: FrameType) -> bool:
        """Whether the code in a frame gets what is of this generation where only its code can have got hold of that.

        What old code has handed to others is called by those on its behalf: they get the old, until the handover.
        """
        session, space = here(), id(frame.f_globals)
        if self.has(frame.f_code, space, session):
            return True
        if session is not None and (number := session.number) is not None:
            return self.older(session, number)
        return not (self.handed_over or space in self.others)


class Apart(Junction):
    """A candidate that was disarmed, as long as somebody is on it: by a session, or because its code calls.

    It stands behind all generations that were live: no session is older than it.

    Arguments:
        armed: the generation over which it was armed.
    """

    __slots__ = ()

    standing: ClassVar[set[Apart]] = set()
    """Those that somebody is on: a swap that is made beside them needs forks."""

    def __init__(self, armed: Junction) -> None:
        super().__init__(armed.others, ())
        self.number = -1
        self.same = armed.same
        self.marks = [mark for mark in armed.marks if mark() is not None]
        self.standing.add(self)

    def older(self, session: Session, number: int) -> bool:
        """Whether a session is on the candidate."""
        return any(mark() in session.previews for mark in self.marks)

    def end(self) -> None:
        """Note that nobody is on it any more."""
        self.standing.discard(self)


def _refer(known: dict[int, Reference], o: Any) -> None:
    key = id(o)
    known[key] = Reference(o, lambda _: known.pop(key, None))


def _note(known: dict[int, weakref.ref[CodeType]], code: CodeType) -> None:
    key = id(code)
    known[key] = weakref.ref(code, lambda _: known.pop(key, None))


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
        session, space, code = here(), id(frame.f_globals), frame.f_code
        for junction, value in old:
            if junction.has(code, space, session):
                return value
        newest, value = old[0]
        if space in newest.others and id(code) not in newest.same:
            return self.new
        asks: FrameType | None = frame
        while asks is not None and (newest.is_between(asks) if session is None else on_behalf(asks)):
            asks = None if asks.f_back is None else caller(asks.f_back)
            if asks is not None:
                space, code = id(asks.f_globals), asks.f_code
                for junction, kept in old:
                    if junction.has(code, space, session):
                        return kept
                if session is not None and space in newest.others and id(code) not in newest.same:
                    return self.new
        if session is not None and (number := session.number) is not None:
            for junction, value in reversed(old):
                if junction.older(session, number):
                    return value
            return self.new
        if newest.number is ARMED and (asks is None or id(asks.f_globals) not in newest.others):
            return value
        return self.new

    def is_of_code(self, value: Any) -> bool:
        """Whether somebody who has got a value got it because old code calls.

        Who is in a session, and everybody while the new is armed, gets another one as soon as the session is left or
        the swap is made.
        """
        return here() is None and any(known is value and junction.number is not ARMED for junction, known in self.old)

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


class PrivateWays(Ways):
    """Ways from what stands in the globals of an old generation: who is neither new code nor in a session gets old.

    They last as long as that code does, which may be longer than anything of it is in flight: closures stay old. For
    everybody else there may be more old generations by then: a loop that was handed over is old once more in the next
    swap, and a session keeps the generation that it began with.

    Arguments:
        junction: the generation.
        value: what is of it.
        aim: what everybody else gets.
    """

    __slots__ = ("junction", "value")

    def __init__(self, junction: Junction, value: Any, aim: Any) -> None:
        super().__init__((), aim, aim)
        self.junction, self.value = junction, value

    def of(self, frame: FrameType) -> Any:
        """What the code in a frame gets."""
        return self.value if self.junction.keeps(frame) else super().of(frame)


class Changed(NamedTuple):
    """An attribute of a class that a swap changes: what it was, and what the candidate has; `walk.MISSING`: nothing."""

    cls: type
    name: str
    was: Any
    will: Any
