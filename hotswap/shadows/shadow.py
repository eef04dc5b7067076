"""The shadow of one function, for whoever asks what came of it."""

from __future__ import annotations

import os
import time
from types import TracebackType
from weakref import WeakSet

from hotswap.clock import HAS_THREADS
from hotswap.errors import ShadowError
from hotswap.shadows.engine import Engine
from hotswap.shadows.figures import Mismatch, Quantiles
from hotswap.verification import CheckResult, Verdict

__all__ = ["Shadow"]

_open: WeakSet[Shadow] = WeakSet()


class Shadow(Engine):
    """The candidate, run beside live calls of one function. Made by `Rollout.shadow`; lives as long as it is held.

    It ends with `end`, at the end of its `with` block, and when the rollout is disarmed, committed or given up. What it
    has found stays.
    """

    name: str
    """The function."""

    def __repr__(self) -> str:
        return f"<Shadow of {self._summary}>"

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.result.verdict}; {self._told}"]
        if self.compared:
            lines.append(f"  live       {_told(self.old)}")
            lines.append(f"  candidate  {_told(self.new)}")
        lines += [f"  {mismatch}" for mismatch in self.mismatches]
        if self.last_error:
            lines.append(f"  {self.last_error}")
        return "\n".join(lines)

    def __enter__(self) -> Shadow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()

    # --- what came of it ---

    @property
    def calls(self) -> int:
        """How many live calls there were, chosen or not."""
        return self._calls.value

    @property
    def compared(self) -> int:
        """How many were compared with what the candidate does."""
        return self._compared

    @property
    def mismatched(self) -> int:
        """How many of these the candidate has answered otherwise."""
        return self._mismatched

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """The first twenty of them, in texts."""
        return tuple(self._examples)

    @property
    def timed_out(self) -> int:
        """How many runs of the candidate did not end in time, or held the event loop up."""
        return self._timed_out

    @property
    def dropped(self) -> int:
        """How many calls were chosen and not shadowed, because too many were pending."""
        return self._dropped.value

    @property
    def left_out(self) -> int:
        """How many were not compared: because `ignore` says so, or because they were interrupted."""
        return self._left_out.value

    @property
    def errors(self) -> int:
        """How often the shadow itself went wrong: choosing, copying, comparing. `last_error` says how."""
        return self._errors.value

    @property
    def last_error(self) -> str:
        """What went wrong last, or empty."""
        return self._last_error

    @property
    def stopped(self) -> str:
        """Why it has ended before somebody ended it, or empty."""
        return self._stopped

    @property
    def old(self) -> Quantiles:
        """How long live calls took, in seconds: of the last thousand that were compared."""
        return self._old.quantiles

    @property
    def new(self) -> Quantiles:
        """How long the same calls took on the candidate. Coroutines waited for whatever else the loop did."""
        return self._new.quantiles

    def verdict(self, *, min_calls: int = 1, max_mismatches: int = 0) -> Verdict:
        """Judge the candidate by what was seen.

        Arguments:
            min_calls: how many calls have to be compared for a verdict in its favour.
            max_mismatches: how many of them it may answer otherwise, or not in time.

        Returns `failed` if there are more, `inconclusive` if too little was seen, and else `passed`.
        """
        with self._lock:
            if self._against > max_mismatches:
                return Verdict.FAILED
            return Verdict.INCONCLUSIVE if self._compared < min_calls else Verdict.PASSED

    @property
    def result(self) -> CheckResult:
        """The same as the result of a check, as it stands in the report of the rollout when the shadow has ended."""
        verdict = self.verdict(max_mismatches=self.options.limit or 0)
        detail = "\n".join(map(str, self.mismatches))
        seconds = (self._ended or time.perf_counter()) - self._began
        refuses = verdict is Verdict.FAILED and self.options.limit is not None
        tolerated = verdict is not Verdict.PASSED and not refuses
        return CheckResult(f"shadow of {self.name}", verdict, seconds, self._told, detail, tolerated)

    @property
    def _told(self) -> str:
        parts = [f"{self.calls} live calls", f"{self._compared} compared", f"{self._mismatched} answered otherwise"]
        more = (("late", self._timed_out), ("dropped", self.dropped), ("left out", self.left_out))
        parts += [f"{count} {what}" for what, count in more if count]
        if self.errors:
            parts.append(f"{self.errors} in trouble: {self._last_error}")
        return ", ".join([*parts, *([self._stopped] if self._stopped else [])])

    @property
    def _summary(self) -> str:
        return f"{self.name}: {self._told}"

    # --- its life ---

    def start(self) -> None:
        """Begin. The rollout calls this once, in a block in which nobody makes a swap.

        Raises ShadowError where no thread can be started; nothing was done then.
        """
        try:
            if not HAS_THREADS:
                raise RuntimeError("this platform has none")
            self.pool.start()
        except RuntimeError as error:
            raise ShadowError(f"{self.name} can't be shadowed: no thread can be started: {error}") from error
        self._put()
        _open.add(self)

    def take_out(self) -> None:
        """See no more calls, as `Engine.take_out` says."""
        super().take_out()
        _open.discard(self)

    def end(self) -> None:
        """See no more calls, and tell what was found. May be repeated.

        Runs that have begun go on for as long as they may, and stay on the candidate; they are not counted any more.
        """
        with self._owner.changing():
            self.take_out()
            over, self._ended = self._ended, self._ended or time.perf_counter()
        self.pool.end()
        if not over:
            self._owner.shadow_ended(self)
            facts: dict[str, object] = {"function": self.name, "verdict": self.result.verdict, "calls": self.calls}
            facts |= {"compared": self.compared, "mismatched": self.mismatched, "timed_out": self.timed_out}
            facts |= {"dropped": self.dropped, "left_out": self.left_out, "errors": self.errors}
            facts |= {"message": self._told, "old": self.old.median, "new": self.new.median}
            self._owner.shadow_told("shadow.ended", "warning" if self._against else "info", facts)


def _told(taken: Quantiles) -> str:
    return ", ".join(
        f"{name} {value * 1000:.3g} ms"
        for name, value in (("median", taken.median), ("p95", taken.p95), ("p99", taken.p99), ("worst", taken.worst))
    )


def _forked() -> None:
    """Take all taps out in a child of a fork: it has none of the threads. It has no other thread, so nobody swaps."""
    for shadow in list(_open):
        shadow.take_out()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
