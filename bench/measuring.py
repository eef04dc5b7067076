"""Measuring in turns: what is compared is measured round by round, so that noise of the machine hits all alike."""

from __future__ import annotations

import gc
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Gaps", "Ratio", "Spread", "compare", "spread", "watched_by_a_spinner"]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several measurements, and the quartiles around it."""

    median: float
    low: float
    high: float
    worst: float


def spread(values: Sequence[float]) -> Spread:
    """Sum up measurements."""
    if len(values) < 3:
        return Spread(statistics.median(values), min(values), max(values), max(values))
    low, _, high = statistics.quantiles(values, n=4)
    return Spread(statistics.median(values), low, high, max(values))


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long something takes as the baseline of the same round, and nanoseconds a call."""

    ratio: Spread
    nanoseconds: float


def compare(
    variants: Mapping[str, Callable[[int], None]], baseline: str, *, rounds: int, calls: int
) -> dict[str, Ratio]:
    """Measure variants in turns, in an order that changes from round to round.

    Arguments:
        variants: each makes as many calls as it is told.
        baseline: the one that the others are compared with.
        rounds: how often each is measured.
        calls: calls in one measurement.
    """
    order = list(variants)
    shuffle = random.Random(1).shuffle  # noqa: S311 - an order of measurements, not a secret
    times: dict[str, list[float]] = {name: [] for name in order}
    for run in variants.values():
        run(calls)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            shuffle(order)
            for name in order:
                run = variants[name]
                began = time.perf_counter_ns()
                run(calls)
                times[name].append((time.perf_counter_ns() - began) / calls)
    finally:
        if collecting:
            gc.enable()
    return {
        name: Ratio(
            spread([own / base for own, base in zip(taken, times[baseline], strict=True)]), statistics.median(taken)
        )
        for name, taken in times.items()
    }


class Gaps:
    """The longest time for which a thread that does nothing but look at the clock did not come to it.

    `collecting` is the longest collection meanwhile, which stops every thread too, whoever starts it. In seconds.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self.collecting = 0.0
        self.began = 0.0

    def reset(self) -> None:
        """Begin anew."""
        self.longest = self.collecting = 0.0

    def collected(self, phase: str, _: object) -> None:
        """Note how long a collection takes; the collector calls this."""
        if phase == "start":
            self.began = time.perf_counter()
        else:
            self.collecting = max(self.collecting, time.perf_counter() - self.began)


@contextmanager
def watched_by_a_spinner(interval: float = 1e-4) -> Iterator[Gaps]:
    """Run a block while another thread looks at the clock all the time.

    Arguments:
        interval: seconds after which threads are asked to give way meanwhile; a gap of less is no pause.
    """
    gaps = Gaps()
    going = True
    running = threading.Event()

    def spin() -> None:
        clock = time.perf_counter
        last = clock()
        running.set()
        while going:
            now = clock()
            if now - last > gaps.longest:
                gaps.longest = now - last
            last = now

    before = sys.getswitchinterval()
    sys.setswitchinterval(interval)
    thread = threading.Thread(target=spin, name="spinner")
    gc.callbacks.append(gaps.collected)
    thread.start()
    running.wait()
    try:
        yield gaps
    finally:
        going = False
        thread.join()
        gc.callbacks.remove(gaps.collected)
        sys.setswitchinterval(before)
