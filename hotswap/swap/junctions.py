"""Junctions: one for each generation that has gone, or is about to: what code is of it, and who is on it.

Code that runs is of one generation at a time. It is told by its globals, but for what was handed over: a loop goes on
in the globals in which it began, and belongs to the version that it calls.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any, ClassVar

from hotswap import walk
from hotswap.depth import Standing
from hotswap.periods import Keeper
from hotswap.session import Mark, Session, asking, here
from hotswap.swap.callers import caller, is_first, on_behalf
from hotswap.swap.kin import is_nested, kin, relate
from hotswap.swap.lineage import Reference
from hotswap.swap.opening import stays

__all__ = ["ARMED", "Junction"]

ARMED = math.inf
"""Stands for the number of a period that has not begun: every session is older."""


class Junction:
    """One generation that has calls or sessions in flight, or had.

    Arguments:
        spaces: the ids of the globals of its modules.
        others: those of the generation that comes.
        packages: the managed packages of which it is a generation.

    Attributes:
        number: that of the period which began when it went; `ARMED` if it is about to go, and 0 before that.
        same: the ids of the code that is the same in both generations; the rest is changed, or not known to be.
        live: it was brought back: its code is nobody's old code any more, but older sessions are as old as they were.
        handed_over, leads_on: unchanged code of it calls the new; such code is in its own globals, and a call runs it.
        led: the names that the calls spell which were handed over, if others were not, and go on; else None.
        marks, over: what stands in sessions for the candidate armed over it; nothing of it is in flight any more.
        keeper, depth: is there as long as sessions are on it, weakly; gives recursions their room while forks stand.
        attributes, functions, fronts: where forks ask for it, each by its id.
        signatures: what such functions say that they take, by the ids of their attributes.
        copies: the ids of the code of its clones: calls of theirs have begun since, for a call that stays old.
        shared, owners: the code of calls that had begun, of modules that stay, weakly, and its functions, by its ids.
        staying: the ids of the globals of these modules, and of those that were imported since.
        changed: the names of the modules that this swap has changed, and later ones; None if that is not known.
        strays: other code that calls of this generation run: no function of it has it.
        lending: has made what its calls get of modules that stayed, and changed since; None if there is nothing.
        spelled: the names that its calls may still come to, once they have gone on for long; None as long as all are.
        places: the ids of the globals in which strays run, by their own, as far as these are known.
        foreign: code in its globals, or in those of modules that stayed, that calls run which were handed over to other
            generations.
        nested: its nested code, as long as something of it is in flight.
        parted: later swaps, each with the ids of nested code of this generation that is not the same since.
    """

    __slots__ = (
        *("attributes", "changed", "copies", "depth", "foreign", "fronts", "functions", "handed_over", "keeper"),
        *("leads_on", "led", "lending", "live", "marks", "nested", "packages", "parted", "places", "spelled"),
        *("number", "others", "over", "owners", "same", "shared", "signatures", "spaces", "staying", "strays"),
    )

    in_flight: ClassVar[set[Junction]] = set()
    """Those of swaps that have been made, and that something is in flight of."""

    about_to_go: ClassVar[set[Junction]] = set()
    """Those over which a candidate is armed, or was."""

    wrappers: ClassVar[dict[int, weakref.ref[CodeType]]] = {}
    """The code of wrappers of generations that have gone, which stand in modules that stay, by its ids."""

    def __init__(self, spaces: Iterable[int], others: Iterable[int], packages: tuple[str, ...]) -> None:
        self.spaces, self.others, self.packages = frozenset(spaces), frozenset(others), packages
        self.number: float = 0
        self.changed: frozenset[str] | None = None
        self.same = self.copies = self.staying = frozenset[int]()
        self.live = self.handed_over = self.leads_on = self.over = False
        self.attributes: dict[tuple[int, str], tuple[type, str]] = {}
        self.functions, self.fronts = dict[int, Reference](), dict[int, Reference]()
        self.signatures: dict[int, Any] = {}
        self.shared, self.strays, self.foreign = (dict[int, weakref.ref[CodeType]]() for _ in range(3))
        self.owners: dict[int, Reference] = {}
        self.places: dict[int, int] = {}
        self.depth: Standing | None = None
        self.lending: Any = None
        self.spelled: frozenset[str] | None = None
        self.led: frozenset[str] | None = None
        self.nested: Any = None
        self.marks, self.parted = list[weakref.ref[Mark]](), list[tuple[Junction, frozenset[int]]]()
        self.keeper: weakref.ref[Keeper] | None = None

    @property
    def serves(self) -> bool:
        """Whether somebody may get what is of it by a fork.

        Calls of one that was brought back get nothing by those of its first going; so a call that goes on for hours
        costs others nothing more for each time that a version is taken back and comes again.
        """
        return not self.over and (not self.live or self.keeper is None or self.keeper() is not None)

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

    def sharing(self) -> Iterator[tuple[CodeType, FunctionType]]:
        """Yield the code of calls of modules that stay that have begun on it, and go on, each with its function."""
        for key, known in list(self.shared.items()):
            code, owner = known(), self.owners[key]()
            if code is not None and owner is not None:
                yield code, owner

    def follow(self, last: Junction) -> None:
        """Note what another one has known of calls of modules that stay: it goes once more.

        But for those that were handed over to the other version, and are calls of that still.
        """
        others = [one for one in list(self.in_flight) if one is not last and not (one.live or one.handed_over)]
        for key, known in list(last.shared.items()):
            if any(key in one.shared or key in one.strays for one in others):
                continue
            code, owner = known(), last.owners.get(key)
            function = None if owner is None else owner()
            if code is not None and function is not None:
                self.share(code, function)
            elif code is not None:
                self.stray(code)

    def stray(self, code: CodeType, facts: dict[str, Any] | None = None) -> None:
        """Note code that no function of this generation has, and that is of it.

        Arguments:
            code: the code.
            facts: the globals in which it runs, if they are known.
        """
        _note(self.strays, code)
        self.places.pop(id(code), None)
        if facts is not None:
            self.places[id(code)] = id(facts)

    def belongs(self, code: CodeType, facts: dict[str, Any], other: Junction) -> None:
        """Note code that only calls of this generation run.

        Arguments:
            code: the code.
            facts: the globals in which it runs.
            other: a generation of which these may be, too.
        """
        for one in walk.codes_in(code):
            self.stray(one, facts)
            if id(facts) in other.spaces:
                _note(other.foreign, one)

    def give_up(self, code: CodeType, facts: dict[str, Any]) -> None:
        """Note that a call in its globals, or in those of modules that stayed, is handed over to another generation.

        Arguments:
            code: the code of the call.
            facts: the globals in which it runs.
        """
        for one in walk.codes_in(code) if self.is_home(id(facts)) else ():
            if id(one) not in self.strays and id(one) not in self.shared:
                _note(self.foreign, one)

    def leave_alone(self, coming: Junction) -> None:
        """Note the calls of modules that stay that are of what comes: they had begun before that went.

        Arguments:
            coming: what comes, and has been live before.
        """
        for code, owner in coming.sharing() if not coming.handed_over else ():
            self.give_up(code, owner.__globals__)

    def tell_apart(self) -> None:
        """Note what code in its globals calls of other generations run: its own strays are known.

        Calls of one that was brought back are of what is live.
        """
        for other in (one for one in self.in_flight - {self} if not one.live):
            known = (*list(other.strays.values()), *list(other.shared.values()))
            for code in filter(None, (reference() for reference in known)):
                own = id(code) in self.strays or id(code) in self.shared
                owner = other.owners[id(code)]() if id(code) in other.shared else None
                place = other.places.get(id(code)) if owner is None else id(owner.__globals__)
                if not own and (place is None or place in self.spaces):
                    _note(self.foreign, code)

    def copied(self, codes: Iterable[tuple[CodeType, CodeType]]) -> None:
        """Note the code that clones run.

        Arguments:
            codes: code of each function, and that of its clone, with what is nested in it.
        """
        copies: set[int] = set()
        same: set[int] = set()
        for code, copy in codes:
            _, *nested = walk.codes_in(copy)
            copies.update(map(id, (copy, *nested)))
            same.update([id(copy)] if id(code) in self.same else [])
            same.update(id(one) for one in nested if any(id(other) in self.same for other in (one, *kin(one))))
            self.copy_wrapper(code, copy)
        self.same, self.copies = self.same - copies | same, self.copies | copies

    def keep(self, code: CodeType) -> None:
        """Have calls that run some code stay old for as long as they last: there is nothing to hand them over to.

        So do the functions, lambdas, comprehensions and generator expressions in it, which are part of its text.
        """
        own, *nested = walk.codes_in(code)
        for one in (own, *nested):
            if self.shared.pop(id(one), None) is not None:
                self.stray(one)
        self.same -= {id(own), *(id(one) for inner in nested for one in (inner, *kin(inner)))}

    @property
    def armed(self) -> bool:
        """Whether everybody is on this generation still, but for previews."""
        return self.number is ARMED

    def older(self, session: Session, number: int) -> bool:
        """Whether a session is on this generation, or one before it, or code that stays on this one has opened it."""
        is_older = number < self.number and not any(mark() in session.previews for mark in self.marks)
        return is_older or (not self.armed and stays(self, session))

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
        if id(code) not in self.strays and (space not in self.spaces or id(code) in self.foreign):
            return False
        if id(code) not in self.same or (session is None and (not self.handed_over or id(code) in self.copies)):
            return True
        may_be_started = self.armed or id(code) in self.copies
        return self.is_parted(code, session) or (may_be_started and stays(self, session))

    def is_home(self, space: int) -> bool:
        """Whether globals, by their id, are those of its modules, or of modules that stay."""
        return space in self.spaces or space in self.staying

    def has_left(self, code: CodeType, space: int) -> bool:
        """Whether code is of the next generation alone: its body is not the same in this one. `space`: its globals."""
        known = id(code) in self.same or id(code) in self.strays or id(code) in self.shared
        return space in self.others and not known

    def is_parted(self, code: CodeType, session: Session | None) -> bool:
        """Whether nested code that is the same in the next version is not the same in that which a caller is on.

        Arguments:
            code: the code.
            session: that of the caller; None if there is none.
        """
        if not self.parted:
            return False
        number = None if session is None else session.number
        ours = {id(code), *map(id, kin(code))}
        for later, codes in list(self.parted):
            is_live = later.live or later.armed
            is_there = is_live if session is None or number is None else later.older(session, number)
            if not is_there and not codes.isdisjoint(ours):
                return True
        return False

    def forget_parted(self) -> list[tuple[Junction, frozenset[int]]]:
        """Forget later swaps of which nothing is in flight, and return the others. What is not the same stays so."""
        for later, codes in list(self.parted):
            if later.over:
                self.parted.remove((later, codes))
                for code, _ in self.nested if not (later.live or later.armed) else ():
                    self.same -= {id(one) for one in (code, *kin(code)) if id(code) in codes}
        return self.parted

    @classmethod
    def note_wrapper(cls, code: CodeType) -> None:
        """Note code of wrappers that have no call yet."""
        _note(cls.wrappers, code)

    @classmethod
    def copy_wrapper(cls, code: CodeType, copy: CodeType) -> None:
        """Note a copy of some code, if that is such code."""
        if id(code) in cls.wrappers:
            relate(code, copy)
            cls.note_wrapper(copy)
            for one in [one for one in list(cls.in_flight) if id(code) in one.same]:
                one.same |= {id(copy)}

    def claims(self, frame: FrameType, session: Session | None) -> bool:
        """Whether the code in a frame gets what is of this generation, for itself or for whom it is called.

        Arguments:
            frame: the frame.
            session: that of the caller; None if there is none.
        """
        asks: FrameType | None = frame
        while asks is not None and not self.asks(asks, session, itself=asks is frame):
            if not self.passes(asks, session):
                return False
            asks = None if asks.f_back is None else caller(asks.f_back)
        return asks is not None

    def asks(self, frame: FrameType, session: Session | None, *, itself: bool) -> bool:
        """Whether a caller gets what is of this generation because of the code in a frame.

        Arguments:
            frame: the frame.
            session: that of the caller; None if there is none.
            itself: whether it is the code that calls, and not what has called that.
        """
        code = frame.f_code
        return (itself or id(code) not in self.wrappers) and self.has(code, id(frame.f_globals), session)

    def is_between(self, frame: FrameType) -> bool:
        """Whether the code in a frame is nobody's, and is called on behalf of whoever calls it.

        Code of modules that stay, or were imported since, is; so are wrappers, and what the standard library does.
        """
        if id(frame.f_code) in self.wrappers:
            return True
        facts = frame.f_globals
        if id(facts) in self.staying:
            return id(frame.f_code) not in self.shared and id(frame.f_code) not in self.foreign
        if self.changed is not None and is_first(facts, self.packages, self.changed):
            self.staying |= {id(facts)}
            return True
        return on_behalf(frame)

    def passes(self, frame: FrameType, session: Session | None) -> bool:
        """Whether the caller of the code in a frame tells who gets what is of this generation.

        Nested code that is the same is that of a caller that stays old, as what it calls by a name is. In a session, so
        are private clones, and while a candidate is armed all code that is the same: changed code, in whose call it
        began, passes what is its own. What has opened the session is not called in it.
        """
        code = frame.f_code
        if id(code) in self.same and is_nested(code):
            return True
        if session is None:
            return self.is_between(frame)
        if id(code) in self.copies or session.opened_in(frame):
            return id(code) in self.copies
        ours = id(code) in self.strays or (id(frame.f_globals) in self.spaces and id(code) not in self.foreign)
        return self.is_between(frame) or (self.armed and ours and id(code) in self.same)

    def keeps(self, frame: FrameType) -> bool:
        """Whether the code in a frame gets what is of this generation where only its code can have got hold of that.

        What old code has handed to others is called by those on its behalf: they get the old, until the handover.
        """
        session, space, code = here(), id(frame.f_globals), frame.f_code
        passes = is_nested(code) or (session is not None and id(code) in self.copies)
        if self.has(code, space, session) or (passes and self.claims(frame, session)):
            return True
        if session is not None and (number := session.number) is not None:
            return self.older(session, number)
        return not (self.handed_over or space in self.others or id(code) in self.foreign)


def _refer(known: dict[int, Reference], o: Any) -> None:
    key = id(o)
    known[key] = Reference(o, lambda _: known.pop(key, None))


def _note(known: dict[int, weakref.ref[CodeType]], code: CodeType) -> None:
    key = id(code)
    known[key] = weakref.ref(code, lambda _: known.pop(key, None))


asking += [Junction.in_flight, Junction.about_to_go]
