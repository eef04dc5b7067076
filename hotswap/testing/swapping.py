"""A call under fire: it is made again and again, from several threads, while a patch goes live and is taken back."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from hotswap.errors import HotswapError
from hotswap.patch import Patch
from hotswap.session import session
from hotswap.shadows import Outcome, alike
from hotswap.testing.restoring import apply_and_restore

__all__ = ["Swapped", "under_swap"]

_EXAMPLES = 20
_EAGERLY = 1e-5
"""Seconds after which a thread gives way meanwhile."""
_STEPS = 60.0
"""Seconds in which the threads have to make a call between two swaps."""

Judge = Callable[[Any], Any]


@dataclass(frozen=True)
class Swapped:
    """What came of it.

    Attributes:
        calls: how many calls were made while the patch went there and back.
        old, new: how many of them were answered as by the old and by the new code; both, where these answer alike.
        mixtures: answers that neither gives, in texts; the first twenty.
        errors: what was raised that neither raises, in texts; the first twenty.
    """

    calls: int
    old: int
    new: int
    mixtures: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether each call was answered by one version, as a whole."""
        return not (self.mixtures or self.errors)

    def check(self) -> None:
        """Raise AssertionError, with what was found, unless it is clean."""
        if not self.clean:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        lines = [f"{self.calls} calls: {self.old} old, {self.new} new"]
        lines += [f"  neither old nor new: {text}" for text in self.mixtures]
        lines += [f"  raised: {text}" for text in self.errors]
        return "\n".join(lines)


class _Judgement:
    def __init__(self, call: Callable[[], Any], *, in_session: bool) -> None:
        self._call, self._in_session = call, in_session
        self.old: Judge = lambda _: False
        self.new: Judge = lambda _: False
        self.lock = threading.Lock()
        self.calls = self.counted_old = self.counted_new = 0
        self.mixtures: list[str] = []
        self.errors: list[str] = []
        self.made = threading.Semaphore(0)

    def outcome(self) -> Outcome:
        with session() if self._in_session else nullcontext():
            try:
                answer = self._call()
                return Outcome(asyncio.run(answer) if inspect.iscoroutine(answer) else answer)
            except Exception as error:  # noqa: BLE001 - what the call raises is what came of it
                return Outcome.raised(error)

    def judge(self) -> None:
        found = self.outcome()
        is_old, is_new = bool(self.old(found)), bool(self.new(found))
        with self.lock:
            self.calls += 1
            self.counted_old += is_old
            self.counted_new += is_new
            if not (is_old or is_new):
                kept = self.mixtures if found.error is None else self.errors
                if len(kept) < _EXAMPLES:
                    kept.append(str(found))
        self.made.release()


def under_swap(
    call: Callable[[], Any],
    patch: Patch,
    *packages: str,
    rounds: int = 20,
    threads: int = 4,
    old: Judge | None = None,
    new: Judge | None = None,
    sessions: bool = True,
    **options: Any,
) -> Swapped:
    """Make a call from several threads while a patch goes live and is taken back, again and again.

    It is first made on the old code and on the new, to know what each answers. Then each answer has to be that of one
    of the two. At the end all is taken back, as `apply_and_restore` does.

    Arguments:
        call: takes nothing; one unit of work. A coroutine function is run on a loop of its own.
        patch: what goes live and is taken back.
        packages: those that may be patched; those of the patch by default.
        rounds: how often.
        threads: how many call.
        old: gets an answer, and says whether the old code may give it; by default it has to be alike to the first one.
        new: says the same of the new code.
        sessions: whether each call is a session of its own; without one, a call of several steps may meet both.
        options: of the patcher.

    Returns what came of it. Raises what `Patcher.stage`, `Rollout.verify`, `arm` and `commit` raise, what `old` and
    `new` raise, and NotRestoredError.
    """
    judgement = _Judgement(call, in_session=sessions)
    with apply_and_restore(*packages, **options) as applying:
        rollout = applying.stage(patch)
        rollout.verify()
        judgement.old = _judge(old, judgement.outcome())
        rollout.arm()
        rollout.commit()
        judgement.new = _judge(new, judgement.outcome())
        rollout.rollback("to begin")
        with _calling(judgement, threads) as step:
            for _ in range(rounds):
                rollout.arm()
                rollout.commit()
                step()
                rollout.rollback("and back")
                step()
    counted = judgement.calls, judgement.counted_old, judgement.counted_new
    return Swapped(*counted, tuple(judgement.mixtures), tuple(judgement.errors))


def _judge(given: Judge | None, measured: Outcome) -> Judge:
    if given is None:
        return lambda found: alike(measured, found)
    return lambda found: found.error is None and given(found.value)


@contextmanager
def _calling(judgement: _Judgement, threads: int) -> Iterator[Callable[[], None]]:
    """Have threads call as long as the block lasts. Gives what waits for the next calls."""
    over, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        try:
            while not over.is_set():
                judgement.judge()
        except BaseException as error:  # noqa: BLE001 - `old` and `new` are others' code; it is raised below
            failed.append(error)
            judgement.made.release()

    def step() -> None:
        for _ in range(threads):
            if failed or not judgement.made.acquire(timeout=_STEPS):
                raise failed[0] if failed else HotswapError(f"no call has ended within {_STEPS:g} s")
        while judgement.made.acquire(blocking=False):
            pass

    interval = sys.getswitchinterval()
    sys.setswitchinterval(_EAGERLY)
    crowd = [threading.Thread(target=work, name=f"under_swap {number}") for number in range(threads)]
    try:
        for thread in crowd:
            thread.start()
        step()
        yield step
    finally:
        over.set()
        sys.setswitchinterval(interval)
        for thread in crowd:
            if thread.ident is not None:
                thread.join()
