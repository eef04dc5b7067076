"""One patch before one gate, or all: `python -m tests.gallery.gates PATCH GATE`, in a process of its own.

The process is the service: two threads answer requests in sessions, and an event loop answers others, all the time. It
prints one line of JSON: which gate stopped the patch, at what step, and the reason.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hotswap
from hotswap import (
    Bake,
    CheckFailedError,
    HotswapError,
    Patch,
    Patcher,
    Rehearsal,
    RehearsalError,
    Rollout,
    State,
    checks,
)
from tests.gallery.patches import BAD, GOOD
from tests.gallery.till import SOURCES

__all__ = ["GATES"]

GATES = ("plan", "checks", "rehearsal", "shadow", "bake")
"""In the order in which a patch meets them, but that a rehearsal, where there is one, comes first."""

BAKES = 5.0
"""Seconds."""

SHADOWED = ("prices.quote", "prices.discount", "basket.checkout")


class Traffic:
    """Requests to what is live, all the time. What they raise is theirs: a client gets an error, and asks again."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self.lag = 0.0
        """Seconds that the event loop was late, the last time that it looked."""
        self.beat = time.monotonic()
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._ask, self._ask, self._loop)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _ask(self) -> None:
        dice = random.Random(1)
        till: Any = importlib.import_module("till")

        while not self._over.wait(0.002):
            percent = dice.choice((0, 0, 5, 10, 60))
            lines = [(dice.randrange(1, 5000), dice.choice(("food", "other")), 1 + dice.randrange(3)) for _ in range(3)]
            try:
                with hotswap.session():
                    till.api.handle({"owner": "a", "lines": lines, "percent": percent})
            except Exception:  # the session has counted it; a client asks again
                continue

    def _loop(self) -> None:
        till: Any = importlib.import_module("till")

        async def ask() -> None:
            while not self._over.is_set():
                await asyncio.sleep(0.01)
                try:
                    with hotswap.session():
                        await till.api.answer({"total": 100})
                except Exception:  # as above
                    continue

        async def beat() -> None:
            while not self._over.is_set():
                began = time.monotonic()
                await asyncio.sleep(0.02)
                self.beat = time.monotonic()
                self.lag = self.beat - began - 0.02

        async def both() -> None:
            await asyncio.gather(ask(), beat())

        asyncio.run(both())


def register_checks(patcher: Patcher) -> None:
    """The checks of the service: what it has to answer, that it is not slower, and takes no memory."""

    @patcher.check(timeout=5)
    def answers(candidate: Any) -> None:
        prices, basket = candidate["till.prices"], candidate["till.basket"]
        assert prices.quote(1000) == 1190
        assert prices.quote(1000, "food", count=2) == 2140
        assert prices.discount(total=1000, percent=10) == 900
        assert [prices.pages(total) for total in (0, 1, 20, 21)] == [0, 1, 1, 2]
        assert prices.unique(["a", "b", "a"]) == ["a", "b"]
        assert prices.unique([]) == []
        lines = [(1000, "food", 1), (500, "other", 2)]
        for _ in range(2):
            assert basket.checkout("a", lines) == {"owner": "a", "total": 2260, "kinds": ["food", "other"]}

    @patcher.check(timeout=5)
    def takes(candidate: Any) -> None:
        stock = candidate["till.stock"]
        before = stock.left("soap")
        assert stock.take("soap") <= before - 1

    @patcher.check(timeout=5)
    async def pages(candidate: Any) -> None:
        assert (await candidate["till.api"].answer({"total": 41}))["pages"] == 3

    names = [str(number) for number in range(1500)]
    patcher.check(checks.not_slower("till.prices.unique", [(names,)], ratio=3, seconds=4), timeout=20)
    patcher.check(checks.api_compatible(), timeout=30)


def register_probes(patcher: Patcher, traffic: Traffic) -> None:
    """The probes of the service: the event loop goes on, requests are answered, memory does not grow without end."""

    @patcher.probe(every=0.2, failures=5, timeout=2)
    def event_loop_goes_on() -> None:
        if hotswap.rehearsing():
            return  # the thread of the loop is not in the copy
        assert max(traffic.lag, time.monotonic() - traffic.beat) < 0.3, "the event loop is late"

    @patcher.probe(every=0.2, failures=3, timeout=2)
    def a_request_is_answered() -> None:
        till: Any = importlib.import_module("till")

        answer = till.api.handle({"owner": "probe", "lines": [(1000, "other", 1)], "percent": 0})
        assert (answer["total"], answer["kinds"]) == (1190, ["other"])
        assert answer["left"] > 0

    began = resident()

    @patcher.probe(every=0.5, failures=2, timeout=2)
    def memory_does_not_grow() -> None:
        assert resident() - began < 60_000_000


def resident() -> int:
    """Bytes in memory."""
    if Path("/proc/self/statm").exists():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0  # the other gates have to do, then


def live(_: Any) -> None:
    """What is run after the swap of a rehearsal: requests, on a copy of the state that the service has."""
    till: Any = importlib.import_module("till")

    for _ in range(20):
        answer = till.api.handle({"owner": "a", "lines": [(1000, "food", 1)], "percent": 60})
        assert answer["total"] == 428
    assert till.stock.left("soap") > 0
    assert asyncio.run(till.api.answer({"total": 20}))["pages"] == 1


class StoppedError(Exception):
    """A gate has stopped the patch."""

    def __init__(self, gate: str, step: str, reason: str) -> None:
        super().__init__(reason)
        self.gate, self.step, self.reason = gate, step, reason


@contextmanager
def stopping(otherwise: str) -> Iterator[None]:
    """Tell which gate has raised.

    Arguments:
        otherwise: the gate of errors that do not say it.
    """
    try:
        yield
    except RehearsalError as error:
        raise StoppedError("rehearsal", error.step, f"{error.code}: {error.reason}") from error
    except CheckFailedError as error:
        raise StoppedError("checks", error.reason.split(": ")[1].split()[0], error.reason) from error
    except HotswapError as error:
        raise StoppedError(otherwise, type(error).__name__, error.reason) from error


def run(patch: Patch, gate: str, traffic: Traffic) -> None:
    """Have a patch pass one gate, and what nobody can leave out; or all of them.

    Raises StoppedError if it does not.
    """
    everything = gate == "all"
    patcher = Patcher(["till"], load_timeout=5, handover=1)
    if everything or gate == "checks":
        register_checks(patcher)
    rehearse: Any = False
    if everything or gate == "rehearsal":
        rehearse = Rehearsal(time=40, cpu=30, memory=512 << 20, checks=[live])
    bake = None
    if everything or gate == "bake":
        register_probes(patcher, traffic)
        bake = Bake(BAKES, latency=5)
    with stopping("plan"):
        rollout = patcher.stage(patch, rehearse=rehearse, bake=bake)
        rollout.verify()
    if everything or gate == "shadow":
        shadow(rollout)
    if everything or gate == "bake":
        with stopping("bake"):
            rollout.commit()
        rollout.wait_baked(BAKES * 4)
        if rollout.state is not State.PERMANENT:
            figures = rollout.bake
            raise StoppedError("bake", "", rollout.reason or str(figures))
    elif rollout.state is not State.REJECTED:
        rollout.abort()


def shadow(rollout: Rollout) -> None:
    """Run functions of the candidate beside what is live, until each has been compared a hundred times."""
    with stopping("shadow"):
        rollout.arm()
        shadows = [rollout.shadow(f"till.{name}", share=0.5, limit=0) for name in SHADOWED]
    until = time.monotonic() + 15
    while rollout.state is State.ARMED and min(one.compared for one in shadows) < 100 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.2)  # who rejects it does so in a thread of its own
    if rollout.state is not State.ARMED:
        raise StoppedError("shadow", "", rollout.reason)


def main(name: str, gate: str, told: Callable[[str], object]) -> None:
    """Make the service, run it, and try the patch."""
    (piece,) = (one for one in (*BAD, *GOOD) if one.name == name)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "till")
        package.mkdir()
        (package / "__init__.py").write_text("__version__ = '1.0'\n")
        for module, source in SOURCES.items():
            (package / f"{module}.py").write_text(source)
        sys.path.insert(0, folder)
        importlib.import_module("till.api")

        with Traffic() as traffic:
            time.sleep(1)  # a bake compares with what was before
            answer = {"gate": "", "step": "", "reason": ""}
            try:
                with stopping("plan"):
                    patch = Patch.from_sources({f"till.{piece.module}": piece.source}, "1.1")
                run(patch, gate, traffic)
            except StoppedError as stopped:
                answer = {"gate": stopped.gate, "step": stopped.step, "reason": stopped.reason[:300]}
            told(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], lambda line: print(line, flush=True))
    os._exit(0)  # threads of bad patches may go on for ever
