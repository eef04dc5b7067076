"""Advance: a swap is made, and everything that has to follow the writes is done."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from traceback import clear_frames
from typing import Any

from hotswap.effects import Journal
from hotswap.errors import UnsupportedChangeError
from hotswap.generation import detach
from hotswap.session import Mark
from hotswap.shield import outlast
from hotswap.swap.arming import Arming, HandedOut
from hotswap.swap.audit import Leftover, audit
from hotswap.swap.bodies import Bodies
from hotswap.swap.calls import making
from hotswap.swap.drain import OldWorld, drain_of
from hotswap.swap.forwarding import code_of
from hotswap.swap.left import Left
from hotswap.swap.lineage import Reference
from hotswap.swap.nested import NestedCode
from hotswap.swap.pairs import Pairing
from hotswap.swap.places import adopt_children
from hotswap.swap.references import Redirection
from hotswap.swap.registrations import forget_aliases, forget_answers, forget_twins
from hotswap.swap.reversal import Reversal
from hotswap.swap.revisions import Revisions
from hotswap.swap.settling import Settling
from hotswap.swap.spares import close_unbegun
from hotswap.swap.tables import Tables
from hotswap.swap.writes import Writes

__all__ = ["Advance"]


class Advance(Reversal):
    """The part of a swap that makes it, and ends it. Lives as long as the swap."""

    _adapters: Any
    _aims: dict[int, tuple[Reference, Any, Any]]
    _also: dict[int, tuple[Any, Any]]
    _beside: Reversal | None
    _gone: list[Any]
    _journal: Journal
    _old_world: OldWorld
    _redirection: Redirection
    _revisions: Revisions
    _settled: Writes
    _tables: Tables

    _arming: Arming | None = None
    _left: Left | None = None
    """That of a candidate that was disarmed, as long as somebody is on it."""
    _is_ready = False

    def arm(self, closures: HandedOut = lambda *_: ()) -> None:
        """Make the candidate reachable for whoever previews it. Everybody else stays on what is live.

        Arguments:
            closures: gives those that are led to it.

        Raises UnsupportedChangeError as `commit` does; the candidate is spent then, and nothing else was written.
        """
        self._redirect()
        if self._candidate.world.live:
            self._come_back()
        self.keep_warm()
        self._writes.seed({id(module.__dict__) for module in self.new.values()})
        before, self._left = self._left, None
        if before is not None:  # who is on it from earlier on is on it still
            self._crossings.there.marks += before.junction.marks
        self._crossings.look_again()
        going = self._crossings.going
        callbacks = making(map(code_of, going)) if self.settling.nested else ()  # it passes over the heap
        known = {*map(id, going), *callbacks}
        held = closures(self.settling.nested, self.settling_back.nested, known, self._settled, self.going_back)
        self._arming = self._crossings.arming(self.settling, self.settling_back, held)
        self._arming.arm()
        if before is not None:
            before.end()

    def mark(self) -> Mark:
        """Return what sessions get that are on the armed candidate."""
        return self._crossings.there.mark()

    @property
    def is_armed(self) -> bool:
        """Whether forks lead to the candidate."""
        return self._arming is not None

    def disarm(self, later: Callable[[Callable[[], None]], None]) -> Left | None:
        """Take back what `arm` did, for sessions that begin; who is on the candidate goes on with it.

        Nobody may make a swap meanwhile. `later` has something done when nobody does.

        Returns what is left, if somebody is on the candidate.
        """
        arming, self._arming = self._arming, None
        if arming is not None:
            self._left = arming.disarm(later)
            self._crossings.renew()
        return self._left if self.is_left else None

    @property
    def is_left(self) -> bool:
        """Whether it was disarmed, and somebody is on the candidate still."""
        return self._left is not None and not self._left.junction.over

    def commit(self, drained: Callable[[Settling], None] = Settling.finish) -> float:
        """Make the candidate live. Returns the seconds in which no other thread ran.

        `drained` gets what is to be settled when the last old call has ended, and ends it after that; it must be
        quick, and must not raise.

        Raises UnsupportedChangeError if an object of the candidate can't be led to a living class: nothing was written
        then. If a write raises, everything is taken back and the error goes through. The candidate is spent either way.
        """
        again, armed = self._was_live, self._arming is not None
        if again and not armed:
            self._renew()
        self.make_ready()
        if again or armed:
            self._look_for_names()  # modules may have been imported since it was armed, or taken back
        self._crossings.look_again()
        self._old_world.begin()
        self.drain = drain = drain_of(self._crossings.going, partial(drained, self.settling))
        forks = self._crossings.forward(self.settling, self.settling_back, again=again)
        try:
            pause = self._writes.apply(forks, again=again)
            self._gone_by(drain, forks, forward=True)
        except BaseException as error:
            clear_frames(error.__traceback__)  # whoever keeps it would keep the period, for whose sessions we wait
            self._old_world.end()
            self.unmake()
            raise
        finally:
            forks.landed()
        self._arming, self._was_live = None, True  # its forks were part of what goes
        self.settling.installed(forks, drain)
        if again:
            self._settle_in_again()
        else:
            self.settle_in()
        self.plan.warnings += outlast({"what old calls leave behind is not led to new code": self.settling.begin})
        self.settling.collapse_if_idle()
        return pause

    def make_ready(self) -> None:
        """Rewrite what nobody but the candidate sees. Raises UnsupportedChangeError; nothing else was written then."""
        self._redirect()
        if not self._was_live:
            self.settling_back.refresh()
        self._journal.make(self._redirection.translate)

    def _redirect(self) -> None:
        if self._is_ready:
            return
        self._tables.lead_twins(self._redirection)
        self._redirection.run()
        if self._redirection.refused:
            raise UnsupportedChangeError(self._redirection.refused, patch=self._candidate.patch.label)
        adopt_children(self._live, self._candidate, self.old)
        self._is_ready = True

    def unmake(self) -> None:
        """Note that the writes were taken back."""
        self.plan.warnings += self._journal.take_back()

    def settle_in(self) -> None:
        """Note that the writes were made. What fails is told in the plan."""
        twins = [pair.new for pair in self._pairing.classes]
        self.plan.warnings += outlast(
            {
                "effects of the import may not be taken back by a rollback": self._journal.settle,
                "new modules may see old ones": self._candidate.settle_in,
                "old sources are kept in memory": self._revisions.forget,
                "dropped generators may count as calls": lambda: close_unbegun(
                    twin for twin, _ in self._keeping.twins.values()
                ),
                "dropped classes may be listed as subclasses": lambda: list(map(detach, twins)),
                "typing may remember dropped classes": forget_aliases,
                "abstract classes may remember dropped ones": lambda: forget_twins(twins),
                "abstract classes may remember old answers": lambda: forget_answers(self._asked),
            }
        )

    def _settle_in_again(self) -> None:
        """Note the same of what had been live before."""
        self.plan.warnings += outlast(
            {
                "what calls in flight had left behind may be led to what was live": self.settling_back.cancel,
                "calls in flight of unchanged modules may meet the next version": partial(
                    self._crossings.came_back, forward=True
                ),
                "effects of the import may not be taken back by a rollback": self._journal.settle,
                "new modules may see old ones": self._candidate.settle_in,
                "typing may remember dropped classes": forget_aliases,
                "abstract classes may remember old answers": lambda: forget_answers(self._asked),
            }
        )

    def audit(self) -> tuple[Leftover, ...]:
        """Look who refers to what was dropped in this swap, besides the swap itself."""
        return audit(self._redirection.dropped(), self)

    def close(self) -> None:
        """Forget the way back: the swap was taken back, or a later one has taken its place."""
        self._is_warm = False
        self._cool()
        self._candidate.forget()
        self._writes.clear()
        self._tables.clear()
        self._crossings.clear()
        self._pairing = Pairing()
        self._facts = Bodies(self._pairing, {}, ())
        self._redirection.forget()
        self._redirection = Redirection((), {}, {}, {})
        self.old, self.new, self._removed, self._adapters, self._beside = {}, {}, {}, (), None
        self._gone, self._added, self._asked, self._also = [], [], [], {}
        self._aims.clear()
        self._rebind = dict
        self._old_world = self._new_world = OldWorld((), {})
        self.settling = self.settling_back = Settling(NestedCode(()), self._old_world)
