"""Settling: what old code left in the hands of others is led to the new code, once old calls have drained.

Two things can't be led in the commit. Closures that old functions made long ago have no name; one `gc.get_referrers` of
the old globals, to which every function refers, finds them. That costs less than one full collection. And the private
clones, on which old calls went on, must stay old until those calls have ended; they may have been handed out meanwhile.

Somebody may call what was handed out at any time. So it is led first (`closures`), while forks still stand for who has
called it before; only when these calls have ended, too, the forks are taken away.

Assumes: nobody commits or reverts meanwhile; whoever runs it holds the lock for that.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType
from typing import Any, Protocol

from hotswap.swap.adrift import Stray, note
from hotswap.swap.begun import begun, outlasting
from hotswap.swap.calls import making, suspended
from hotswap.swap.clones import lead_back
from hotswap.swap.cloning import Cloning, InCell
from hotswap.swap.drain import Drain, OldWorld
from hotswap.swap.forks import Forks
from hotswap.swap.handing import hand_over, keep_changed
from hotswap.swap.junctions import Junction
from hotswap.swap.lending import staying
from hotswap.swap.lingering import Lingering
from hotswap.swap.narrowing import Spelled, narrow
from hotswap.swap.nested import NestedCode
from hotswap.swap.passed_over import is_passed_over
from hotswap.swap.signatures import own_attributes
from hotswap.swap.stragglers import Mirror
from hotswap.swap.templates import KIND_FLAGS
from hotswap.swap.variables import Variables

__all__ = ["Settled", "Settling"]


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settling has done.

    Arguments:
        led: the closures that lead to new code now, as ``module:qualified.name``, one entry for each object.
        left: the closures that stay old, each with the reason.
        defaults: those that lead to new code with a default of the old, because the new one can't be known.
        clones: how many private clones lead to new code now.
        wrapped: whether imports go on being wrapped, as long as somebody holds one of those that stay old.
        duration: seconds that it took, most of them with the GIL held.
    """

    led: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()
    clones: int = 0
    wrapped: bool = False
    duration: float = 0.0


class Waiting(Protocol):
    """Who waits for the calls in flight."""

    def end(self) -> None:
        """They have drained: wait no longer."""


@dataclass
class Settling:
    """What has to be settled when the calls of one generation have drained. Lives until then.

    Arguments:
        nested: the nested code of that generation.
        world: what that generation sees of modules.
        names: what stands for private clones in its globals: (namespace, name, clone).
        cells: what decorators' wrappers hold in their cells.
        functions: every function that was cloned, with its clone.
        cloning: has made them.
        fronts: what stands for clones under the names of old modules while something is in flight: id -> (clone, it).
        forks: what the commit has installed beside them, if calls were in flight.
        junction: tells who gets what, if so.
        drain: waits for the calls in flight.
        handover: hands them over, if there are any.
        made: the swap was made.
        cancelled: the swap was taken back.
        lingering: keeps the world for closures that stay old, if there are any.
        early: what was led while its calls go on for long.
        outcomes: what was done then, each with the reason if it failed; None if the swap was taken back.
    """

    nested: NestedCode
    world: OldWorld
    names: list[tuple[dict[str, Any], str, Any]] = field(default_factory=list)
    cells: list[InCell] = field(default_factory=list)
    functions: list[tuple[FunctionType, FunctionType]] = field(default_factory=list)
    cloning: Cloning | None = None
    fronts: dict[int, tuple[Any, Any]] = field(default_factory=dict)
    forks: Forks | None = None
    junction: Junction | None = None
    drain: Drain | None = None
    handover: Waiting | None = None
    _nested_too: bool = True
    made: bool = False
    cancelled: bool = False
    lingering: Lingering | None = None
    early: Settled | None = None
    outcomes: list[tuple[Settled | None, str]] = field(default_factory=list)

    @property
    def places(self) -> set[tuple[int, str]]:
        """The names that stand for private clones: id of a namespace, and name."""
        return {(id(facts), name) for facts, name, _ in self.names}

    def refresh(self) -> None:
        """Give the clones the defaults and attributes that their originals have now."""
        for function, clone in self.functions:
            clone.__defaults__ = function.__defaults__
            clone.__dict__.clear()
            clone.__dict__.update(own_attributes(function.__dict__))

    def join(self, other: Settling) -> None:
        """Take in what has to be settled with it: modules that go in the same commit, in the same world."""
        self.nested.join(other.nested)
        self.names += other.names
        self.cells += other.cells
        self.functions += other.functions
        self.fronts |= other.fronts

    def cancel(self) -> None:
        """Note that the swap was taken back. The clones run what is live again."""
        self.cancelled = True
        for original, clone in self.functions:
            note(Stray(clone.__code__, original, original.__globals__))
        self.names, self.cells, self.cloning = [], [], None
        # Of a swap that was prepared, and not made, nobody has got hold of anything; but it knows the clones of earlier
        # times, which may be in flight.
        if self.made and (self.junction is None or self.junction.over):
            self.lead_back()
        if self.lingering is not None:
            self.lingering.end()

    def lead_back(self) -> list[FunctionType]:
        """Lead what somebody may have got hold of to what is live, once the swap was taken back and all has drained.

        Nobody may make a swap meanwhile. Returns what was led.
        """
        led = lead_back(self)
        self.functions = []
        self.fronts.clear()
        return led

    def installed(self, forks: Forks, drain: Drain) -> None:
        """Note what waits for the calls in flight, and the forks of the commit, if there are any."""
        self.made, self.drain = True, drain
        if forks.stand:
            self.forks, self.junction = forks, forks.junction
            drain.begun = lambda: begun(self._clones)

    def begin(self) -> None:
        """Begin to tell when the calls have ended: nothing but these keeps their code by now."""
        drain, junction = self.drain, self.junction
        if drain is not None:
            drain.arm()
            if junction is not None:
                keep_changed(junction, drain.running)

    def busy(self) -> set[int]:
        """The ids of nested code that calls which go on may have made closures of."""
        return making([] if self.drain is None else self.drain.running)

    @property
    def _clones(self) -> list[tuple[FunctionType, FunctionType]]:
        """What calls in flight may have called: its own clones, and those that were lent to them."""
        lending = None if self.junction is None else self.junction.lending
        return [*self.functions, *(() if lending is None else lending.clones())]

    def _take_lent(self) -> None:
        self.functions = self._clones
        if self.junction is not None:
            self.junction.lending = None

    def goes_on(self) -> bool:
        """Whether calls go on that old calls have begun; they are waited for then. Nobody may make a swap meanwhile."""
        drain, junction = self.drain, self.junction
        if drain is None or junction is None or self.cancelled or drain.drained.is_set():
            return False
        if not drain.is_over:
            return True
        first, self._nested_too = self._nested_too, False
        others = self._others(junction)
        plain = [code for code in self.nested.codes() if first and id(code) not in others]
        return drain.again(outlasting(junction, self._clones, self.nested, nested_too=first), plain)

    @staticmethod
    def _others(junction: Junction) -> Set[int]:
        """The ids of nested code that calls of other generations run."""
        return junction.foreign.keys() | (junction.same if junction.handed_over else ())

    def let_go_of_sessions(self) -> None:
        """Wait no longer for sessions if all of them are on a generation before. Nobody may make a swap meanwhile."""
        drain, junction = self.drain, self.junction
        keeper = None if drain is None else drain.keeper
        if drain is not None and junction is not None and keeper is not None:
            key = id(keeper)
            del keeper
            if is_passed_over(junction):
                drain.let_go({key})

    @property
    def is_led(self) -> bool:
        """Whether what old code has handed out was led on; what was lent since, by a swap in between, was not."""
        return bool(self.outcomes) and (self.junction is None or self.junction.lending is None)

    def lead(self, act: Callable[[], None]) -> bool:
        """Have what old code has handed out led on; nobody may make a swap meanwhile.

        Arguments:
            act: leads it, and notes the outcome. Calls of it that begin after that are new.

        Returns whether calls go on that began before that, and need the forks still; they are waited for then.
        """
        self._take_lent()
        handed_out = [*map(weakref.ref, begun(self.functions))]
        act()
        drain, junction = self.drain, self.junction
        if drain is None or junction is None or self.cancelled:
            return False
        others = self._others(junction)
        nested = [code for code in self.nested.codes() if id(code) not in others]
        running = [code for known in handed_out if (code := known()) is not None]
        return drain.again([*running, *suspended(code for code in nested if code.co_flags & KIND_FLAGS)], nested)

    def over(self) -> None:
        """The last call has ended. Never waits, and may be called again."""
        self.world.drained()
        self._take_lent()
        drain, self.drain = self.drain, None
        if drain is not None:
            drain.end()

    @property
    def same(self) -> frozenset[int]:
        """The ids of the code of that generation that is the same in the one that came, modules that stay included."""
        return frozenset() if self.junction is None else self.junction.same.union(self.junction.shared)

    @property
    def handed_over(self) -> bool:
        """Whether unchanged code of that generation calls the new."""
        return self.junction is not None and self.junction.handed_over

    def hand_over(self, running: Iterable[CodeType], modules: Mapping[str, ModuleType]) -> list[Mirror]:
        """Have unchanged code of that generation call the new from now on. Nobody may make a swap meanwhile.

        Returns what is to keep the values in step that its calls, and live code, rebind.

        Arguments:
            running: the code that calls in flight run.
            modules: the live modules.
        """
        calls = [] if self.junction is None else hand_over(self.junction, self.nested, running, modules)
        mirrors: list[Mirror] = []
        for straggler, forward in self.world.stragglers:
            # What stays old has helpers in all modules of its generation.
            ours = [one for one in calls if one.stays_old or straggler.begun_in(one.facts, forward)]
            mirrors += [straggler.mirror(forward, ours)] if ours else []
        return mirrors

    def narrow(self, calls: Sequence[Variables]) -> None:
        """Keep only the forks that some calls may still come to: they go on for long. Nobody may make a swap meanwhile.

        Arguments:
            calls: what they hold.
        """
        if self.junction is not None:
            stayed = staying(self.junction)
            spelled = Spelled(self.junction, self._clones, self.names, self.world.namespaces(), stayed)
            narrow(self.junction, calls, spelled)

    def collapse(self) -> None:
        """Take the forks away: no call of that generation is left. Nobody may make a swap meanwhile."""
        forks, self.forks = self.forks, None
        if forks is not None:
            forks.settle()

    def collapse_if_idle(self) -> None:
        """Take the forks away at once, if nothing is in flight and nothing can have been handed out.

        Somebody held code for a moment: nobody has to see that.
        """
        if self.drain is not None and self.drain.is_over and not self.nested and not self.goes_on():
            self.collapse()

    def finish(self) -> None:
        """Take the forks away, and end: where nobody settles what drains."""
        if self.goes_on():
            return
        self.over()
        self.collapse()
        self.end()

    def end(self) -> None:
        """Everything was led to new code, or never will be: nothing needs the old world any more."""
        self.world.end()
