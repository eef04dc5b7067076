"""The place of the one rollout in progress: who has it, who waits for it, and who must not ask for it.

Guarantees: at most one rollout has the place. Code that a rollout runs (module bodies, checks) is refused instead of
waiting for itself. Assumes: nothing; every entry may be called from any thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import EllipsisType
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from weakref import WeakSet

from hotswap.bake import Baked, checked_bake
from hotswap.effects import checked_kinds
from hotswap.errors import BusyError, StateError
from hotswap.hooks import is_inside_hook
from hotswap.records import BEFORE_LIVE
from hotswap.rehearsal import Rehearsal
from hotswap.stopping import check_wait
from hotswap.verification import Visit, is_inside_check

if TYPE_CHECKING:
    from packaging.version import Version

    from hotswap.rollout import Rollout

__all__ = ["Older", "Place", "Seconds", "Terms"]

Older: TypeAlias = 'Literal["never", "undo", "always"]'
Seconds: TypeAlias = "float | EllipsisType | None"


class Terms(NamedTuple):
    """The terms on which somebody has a patch rolled out.

    Attributes:
        wait: seconds to wait for the place; 0 refuses at once, None waits for ever.
        cancelled: ends the wait, and what runs; whoever sets it calls `Place.wake`.
        allow_effects: kinds of import-time effects that may be left behind.
        handover: seconds that calls in flight have to finish; None: for ever; `...`: as the patcher has it.
        older: whether the patch may be older than what is live: never, where it was live here before, or always.
        by, why: who has it rolled out, and what for.
        bake: how the rollout is to bake; `...`: as the patcher has it.
        through: whether it is to go live at once, which it can't while another one bakes.
        loop: the event loop of the caller.
        rehearsal: how it is rehearsed before it is loaded; None: not at all.
        began: gets the rollout as soon as there is one; raises nothing.
        staged: gets it once more, before its checks.
    """

    wait: float | None
    cancelled: threading.Event
    allow_effects: frozenset[str]
    handover: Seconds = ...
    older: Older = "never"
    by: str = ""
    why: str = ""
    bake: Baked = ...
    through: bool = False
    loop: asyncio.AbstractEventLoop | None = None
    rehearsal: Rehearsal | None = None
    began: Callable[[Rollout], None] | None = None
    staged: Callable[[Rollout], object] | None = None

    @classmethod
    def of(
        cls,
        wait: float | None,
        allow_effects: Iterable[str],
        handover: Seconds,
        older: Older = "never",
        *,
        by: str = "",
        why: str = "",
        bake: Baked = ...,
        through: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        rehearsal: Rehearsal | None = None,
        began: Callable[[Rollout], None] | None = None,
        staged: Callable[[Rollout], object] | None = None,
    ) -> Terms:
        """Return terms that nobody has cancelled.

        Raises TypeError or ValueError for what is no time, no kind of effect, or no bake.
        """
        check_wait(wait)
        if handover is not ...:
            check_wait(handover, "handover")
        if bake is not ...:
            bake = checked_bake(bake)
        kinds = checked_kinds(allow_effects)
        return cls(
            wait, threading.Event(), kinds, handover, older, by, why, bake, through, loop, rehearsal, began, staged
        )


class Place:
    """The right to have a rollout in progress. Lives as long as its patcher.

    Arguments:
        token: with which checks are run that must not call back.
        running: tells what is live, for errors.
        baking: tells which rollout bakes; None: none does.
    """

    def __init__(
        self, token: object, running: Callable[[], Mapping[str, Version]], baking: Callable[[], Rollout | None]
    ) -> None:
        self.rollout: Rollout | None = None
        self._token = token
        self._running, self._baking = running, baking
        self._free = threading.Condition()
        self._taken = False
        self._owner = threading.current_thread()
        self._queue: deque[object] = deque()
        """Who waits, in the order in which they came: patches that are asked for in order go live in order."""
        # Threads and contexts that run module bodies: by thread, because a module body may leave its context, and by
        # context, because it may leave its thread. Threads themselves, since their identities are used again.
        self._loaders: WeakSet[threading.Thread] = WeakSet()
        self._loading = object()

    def take(self, label: str, terms: Terms) -> None:
        """Take the place.

        Arguments:
            label: of the patch, for errors.
            terms: how long to wait for it, and what ends the wait.

        Raises BusyError if it is not free in time, or the caller is code that the rollout in progress runs.
        """
        self.refuse_reentry("apply a patch", label)
        ticket = object()
        with self._free:
            if self._abandoned():
                self._taken, self.rollout = False, None
            self._queue.append(ticket)
            try:
                free = self._free.wait_for(
                    lambda: self._is_next(ticket, terms) or terms.cancelled.is_set(), timeout=terms.wait
                )
                if terms.cancelled.is_set():
                    raise BusyError("the caller was cancelled while it waited", patch=label, running=self._running())
                if not free and not self._taken:
                    self.refuse_while_baking(label, None)
                if not free:
                    other = self.rollout
                    what = f"{other.label} is {other.state}" if other else "another one is being staged"
                    raise BusyError(
                        f"one rollout at a time: {what}",
                        patch=label,
                        running=self._running(),
                        advice="wait for it (wait=...), or give it up (patcher.current.abort())",
                    )
                self._taken, self._owner = True, threading.current_thread()
            finally:
                self._queue.remove(ticket)
                self._free.notify_all()

    def _is_next(self, ticket: object, terms: Terms) -> bool:
        return not self._taken and self._queue[0] is ticket and not (terms.through and self._baking() is not None)

    def refuse_while_baking(self, label: str, own: Rollout | None) -> None:
        """Raise BusyError if a rollout bakes: nothing else goes live, until it is known what becomes of it.

        Arguments:
            label: what is to go live.
            own: its rollout, if it has one, which may be the one that bakes: its state tells what is wrong then.
        """
        other = self._baking()
        if other is not None and other is not own and other.bake is not None:
            raise BusyError(
                f"one rollout at a time: {other.label} bakes for another {other.bake.remaining:.0f} s",
                patch=label,
                running=self._running(),
                advice="wait for it (wait=...), or decide: patcher.current.confirm(), or patcher.rollback()",
            )

    def _abandoned(self) -> bool:
        """Whether an interrupt kept the one who has the place from leaving it.

        He has no rollout, or one whose journey is over, and he is not at work on it: he is the one who asks, or his
        thread has ended.
        """
        over = self.rollout is None or self.rollout.state not in BEFORE_LIVE
        return self._taken and over and (self._owner is threading.current_thread() or not self._owner.is_alive())

    def leave(self, rollout: Rollout | None) -> None:
        """Free the place, if this rollout has it."""
        with self._free:
            if self.rollout is rollout:
                self._taken = False
                self.rollout = None
                self._free.notify_all()

    def abort(self, reason: str) -> None:
        """Abort the rollout that is in progress, if there is one."""
        progress = self.rollout
        if progress is not None and progress.state in BEFORE_LIVE:
            with suppress(StateError):  # it was rejected meanwhile: either way it is not in progress any more
                progress.abort(reason)

    def quiet(self) -> None:
        """Have the rollout that is in progress run nothing beside live calls: what is live is about to change."""
        progress = self.rollout
        if progress is not None:
            progress.end_shadows()

    def wake(self) -> None:
        """Have everybody who waits look whether he was cancelled."""
        with self._free:
            self._free.notify_all()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Mark this thread, and the present context, as one that runs module bodies of the rollout in progress."""
        thread = threading.current_thread()
        self._loaders.add(thread)
        visit = Visit.begin(self._loading)
        try:
            yield
        finally:
            visit.end()
            self._loaders.discard(thread)

    def refuse_reentry(self, what: str, label: str | None = None) -> None:
        """Raise BusyError if the caller is a module body or a check that the rollout in progress runs."""
        if threading.current_thread() in self._loaders or is_inside_check(self._loading):
            raise BusyError(
                f"a module can't {what} while it is imported by a rollout, or migrates its state",
                patch=label,
                running=self._running(),
            )
        if is_inside_hook(self._token):
            raise BusyError(
                f"a hook can't {what} through the patcher that runs it",
                patch=label,
                running=self._running(),
                advice="a hook is part of a rollout; act after it",
            )
        if is_inside_check(self._token):
            raise BusyError(
                f"a check can't {what} through the patcher that runs it",
                patch=label,
                running=self._running(),
                advice="a check judges; act after the rollout",
            )
