"""Following a patcher: what is live there, as its events tell, and as it says when it is asked.

Guarantees: nothing here keeps a generation alive: rollouts are held weakly. Any thread may ask while another tells. No
lock is taken, so that a forked child goes on. Assumes: setting an attribute, and changing or copying a dict, are one
step, with the GIL and without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final
from weakref import ref

from hotswap import tally
from hotswap.bake import BakeVerdict
from hotswap.events import Event, subscribe
from hotswap.patcher import Patcher
from hotswap.periods import now
from hotswap.rollout import Rollout
from hotswap.telemetry.metrics import Measured

__all__ = ["Following"]

_SHARE: Final = 100
"""The calls in flight are not looked for again before this many times what the last look took: it passes over the heap,
with the GIL held, so that it costs the service one percent at most, however often somebody asks."""


class _Wish:
    """Has sessions counted as long as it lives."""

    __slots__ = ("__weakref__",)


class Following:
    """What is live in a patcher. Lives until it is closed.

    Arguments:
        patcher: the one that is followed.
        told: gets each of its events, once what is known here is up to date.
    """

    def __init__(self, patcher: Patcher, told: Callable[[Event], None]) -> None:
        self.patcher = patcher
        self.packages = ",".join(sorted(patcher.versions))
        """What tells this patcher from others."""
        self._told = told
        self._live: Callable[[], Rollout | None] = lambda: None
        self._swapped: dict[str, ref[Rollout]] = {}
        """The rollouts after whose swap calls may be in flight."""
        self._since = time.time()
        self._wish: _Wish | None = None
        self._look_from, self._found = 0.0, 0
        current = patcher.current
        self._first = 0 if current is None else now().number
        """The first period of the generation that is live: no session of an earlier one is on it."""
        if current is not None:
            self._live = self._swapped[current.id] = ref(current)
        self._unsubscribe = subscribe(self._tell, of=patcher)

    def close(self) -> None:
        """Follow no more."""
        self._unsubscribe()
        self._wish = None

    def _tell(self, event: Event) -> None:
        if event.name in ("rollout.live", "rollout.rolled_back"):
            self._turned(event)
        self._told(event)

    def _turned(self, event: Event) -> None:
        current = self.patcher.current
        if event.name == "rollout.live" and current is not None and current.id == event.facts["rollout"]:
            self._live = self._swapped[current.id] = ref(current)
        self._since, self._first, self._look_from = event.time, now().number, 0.0

    # --- what is asked ---------------------------------------------------------------------------------------------

    def known(self, rollout: object) -> Rollout | None:
        """Return the rollout with an id, if it is the one in progress, or was the last one that went live."""
        for one in (self._live(), self.patcher.current):
            if one is not None and one.id == rollout:
                return one
        return None

    def count_sessions(self) -> None:
        """Have sessions counted from now on, as long as this is not closed."""
        if self._wish is None:
            self._wish = _Wish()
            tally.want(self._wish)

    def asked(self, metric: str) -> Iterator[Measured]:
        """Yield what a sum or a gauge is at this moment; nothing for what is added to at each event."""
        match metric:
            case "sessions":
                live, previous = self._sessions()
                yield Measured(metric, live, {"generation": "live"})
                yield Measured(metric, previous, {"generation": "previous"})
            case "in_flight":
                yield Measured(metric, self._in_flight(), {})
            case "bakes":
                yield Measured(metric, self._bakes(), {})
            case "version.age":
                yield Measured(metric, max(0.0, time.time() - self._since), {})
            case "version.info":
                for package, version in self.patcher.versions.items():
                    yield Measured(metric, 1, {"package": package, "version": str(version)})

    def _sessions(self) -> tuple[int, int]:
        live = previous = 0
        for one in now().keeper.counts.until(0):
            open_ = max(0, one.begun - one.ended)  # one may end between the two reads
            if one.number >= self._first:
                live += open_
            else:
                previous += open_
        return live, previous

    def _in_flight(self) -> int:
        going = []
        for name, held in self._swapped.copy().items():
            rollout = held()
            if rollout is None or (rollout.drained.is_set() and held is not self._live):
                self._swapped.pop(name, None)  # only the last one may be swapped once more: taken back
            elif not rollout.drained.is_set():
                going.append(rollout)
        if not going:
            return 0
        began = time.perf_counter()
        if began >= self._look_from:
            self._found = sum(len(rollout.in_flight()) for rollout in going)
            ended = time.perf_counter()
            self._look_from = ended + _SHARE * (ended - began)
        return self._found

    def _bakes(self) -> int:
        rollout = self._live()
        figures = None if rollout is None else rollout.bake
        return int(figures is not None and figures.verdict is BakeVerdict.BAKING)
