"""Trials: the probes and hooks of a patcher, and the bakes of its rollouts.

    while a rollout bakes      what happens
    confirm()                  the bake is ended: permanent
    rollback()                 the bake is ended: rolled back
    stage(), verify(), arm()   as ever; a rollback aborts what was staged on it
    commit(), apply()          refused with BusyError; apply(wait=...) waits for the end of the bake
    the process ends           it was on trial, so it is not taken up again (`store`)
    the process is forked      the parent judges; in the child it stays on trial

So what nobody has judged yet never becomes permanent because something else came.

Concurrency. Guarantees: `turned`, `returned` and `confirmed` are called under the patcher's lock and run no user code;
`begin`, and what judges, are not. Assumes: one rollout of a patcher is live at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, overload

from hotswap import tally
from hotswap.bake import Bake, Baked, BakeVerdict, Baking, Baseline, Hung, Probe, checked_bake
from hotswap.errors import StateError
from hotswap.hooks import Hook, HookName, Hooks
from hotswap.periods import now

__all__ = ["Registering", "Trials"]

Function = TypeVar("Function", bound=Callable[..., object])

_TIMEOUT = 30.0
"""Seconds that a hook may take, and a probe at most, unless they say otherwise."""


class Trials:
    """What a patcher knows of trials. Lives as long as the patcher.

    Arguments:
        patcher: whose they are.
        bake: as the patcher was told.
        note: writes the record of a rollout into the history.
        wake: is called when a bake is over.
    """

    def __init__(self, patcher: Any, bake: Baked, note: Callable[[Any], None], wake: Callable[[], None]) -> None:
        self.hooks = Hooks(patcher)
        self.probes: list[Probe] = []
        self._bake = checked_bake(None if bake is ... else bake)
        self._patcher, self._note, self._wake = patcher, note, wake
        self._baseline = Baseline(now().number)
        self._rollout: Any = None
        """The one that bakes, or was the last to."""
        if self._bake is not None:
            tally.want(patcher)

    def baking(self) -> Any:
        """Return the rollout that bakes; None if none does."""
        rollout = self._rollout
        return None if rollout is None or rollout.baking is None or rollout.baking.is_over else rollout

    def terms(self, asked: Baked) -> Bake | None:
        """Return what the bake of a rollout goes by; sessions are counted from then on."""
        bake = self._bake if asked is ... else checked_bake(asked)
        if bake is not None:
            tally.want(self._patcher)
        return bake

    def turned(self, rollout: Any, first: int) -> None:
        """Note that a rollout has gone live.

        Arguments:
            rollout: is to bake, if it has terms for it.
            first: the number of the first period of the new generation.
        """
        old = self._baseline.commit(first, now().keeper.counts)
        self._rollout = None
        rollout.baking = None
        if rollout.limits is None:
            return
        rollout.baked.clear()
        rollout.baking = Baking(
            rollout,
            rollout.limits,
            list(self.probes),
            namespaces=frozenset(id(vars(module)) for module in rollout.candidate.modules.values()),
            first=first,
            old=old,
            present=lambda: now().keeper.counts,
            told=partial(self._told, rollout),
            over=partial(self._over, rollout.baked),
        )
        self._rollout = rollout

    def begin(self, rollout: Any) -> None:
        """Begin the bake of a rollout that has gone live; not under a lock, since it tells."""
        if rollout.baking is not None:
            rollout.baking.begin()

    def returned(self, rollout: Any, first: int) -> None:
        """Note that a rollout was taken back, and since which period."""
        self._baseline.rollback(first)
        if rollout.baking is not None:
            rollout.baking.end("it was rolled back by hand")

    def confirmed(self, rollout: Any) -> None:
        """Note that a rollout was confirmed."""
        if rollout.baking is not None:
            rollout.baking.end("it was confirmed by hand")

    def refuse_to_confirm(self, rollout: Any) -> None:
        """Raise StateError if the bake of a rollout has failed, and takes it back in this moment."""
        baking = rollout.baking
        if baking is not None and baking.verdict is BakeVerdict.FAILED and not baking.is_over:
            raise StateError(
                f"its bake has failed, and it is just taken back: {baking.reason}",
                patch=rollout.label,
                running=self._patcher.versions,
                advice="mend what the bake has found, and apply it as a newer version",
            )

    def _told(self, rollout: Any) -> None:
        self._note(rollout)  # the history has the figures, also where the state stays
        self.hooks.after("baked", rollout)

    def _over(self, baked: Any, forked: bool) -> None:
        baked.set()
        if not forked:  # there nobody waits, and the lock may be held by a thread of the parent
            self._wake()


class Registering:
    """The part of a patcher's face that takes probes and hooks. Lives as long as the patcher."""

    _trials: Trials

    @overload
    def probe(
        self,
        function: Function,
        *,
        every: float = ...,
        failures: int = ...,
        timeout: float | None = ...,
        hung: Hung = ...,
        name: str | None = ...,
    ) -> Function: ...

    @overload
    def probe(
        self,
        function: None = None,
        *,
        every: float = ...,
        failures: int = ...,
        timeout: float | None = ...,
        hung: Hung = ...,
        name: str | None = ...,
    ) -> Callable[[Function], Function]: ...

    def probe(
        self,
        function: Function | None = None,
        *,
        every: float = 1.0,
        failures: int = 3,
        timeout: float | None = None,
        hung: Hung = "failed",
        name: str | None = None,
    ) -> Function | Callable[[Function], Function]:
        """Register a probe: a sync or async callable that judges the process while a rollout bakes.

        It has failed if it raises AssertionError or returns False, or if code of the patch raises in it. Whatever else
        it raises is an error: then nothing is known of the rollout. It may call the patcher; if it takes an argument,
        it gets the rollout.

        Arguments:
            function: the probe; without it this returns a decorator.
            every: seconds from one run to the next; the first is at the swap.
            failures: how many in a row take the rollout back.
            timeout: seconds that a run may take; 30, or 5 times `every` if that is less, by default.
            hung: whether a run that takes longer has `failed`, or is an `error`.
            name: what figures call it; its own name by default.

        Raises TypeError or ValueError for a probe that can't be one.
        """

        def register(probe: Function) -> Function:
            seconds = min(_TIMEOUT, 5 * every) if timeout is None else timeout
            self._trials.probes.append(Probe(_name(probe, name), probe, every, failures, seconds, hung))
            return probe

        return register if function is None else register(function)

    @overload
    def hook(
        self, point: HookName, function: Function, *, timeout: float = ..., name: str | None = ...
    ) -> Function: ...

    @overload
    def hook(
        self, point: HookName, function: None = None, *, timeout: float = ..., name: str | None = ...
    ) -> Callable[[Function], Function]: ...

    def hook(
        self, point: HookName, function: Function | None = None, *, timeout: float = _TIMEOUT, name: str | None = None
    ) -> Function | Callable[[Function], Function]:
        """Register a hook: a sync or async callable that gets the rollout at one of its turns, and may return an undo.

        Arguments:
            point: `before_stage` and `before_commit`, which may refuse it by raising; `after_commit`,
                `before_rollback`, `after_rollback`, `settled` and `baked`, which can't.
            function: the hook; without it this returns a decorator.
            timeout: seconds that it may take, and its undo.
            name: what events and errors call it; its own name by default.

        Raises TypeError or ValueError for a hook that can't be one.
        """

        def register(hook: Function) -> Function:
            self._trials.hooks.add(Hook(point, _name(hook, name), hook, timeout))
            return hook

        return register if function is None else register(function)


def _name(function: object, given: str | None) -> str:
    return given or getattr(function, "__name__", None) or type(function).__name__
