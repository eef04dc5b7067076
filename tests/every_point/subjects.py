"""A program under test: a package in which one version takes the place of the other at one point of its run."""

from __future__ import annotations

import gc
import importlib
import itertools
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import hotswap
from hotswap import walk
from tests.every_point.programs import Drive, Outcome, Program
from tests.every_point.tracing import Point, Tracer

__all__ = ["THREADS", "Subject", "elsewhere"]

Make = Callable[..., ModuleType]

NEWER = "1.4.0"
"""The version of each patch."""

ENDS_WITHIN = 5.0
"""Seconds within which what nobody runs any more has drained."""


def _here(act: Callable[[], object]) -> None:
    act()


def elsewhere(act: Callable[[], object], name: str = "committing") -> None:
    """Do something in a thread of its own, and wait for it; what it raises is raised here."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name=name)
    thread.start()
    thread.join()
    if failed:
        raise failed.pop()


THREADS: dict[str, Callable[[Callable[[], object]], None]] = {"same": _here, "another": elsewhere}
"""Who makes a swap: the thread that has reached the point, or another one while that waits there."""


class Subject:
    """A program of which both versions are live in turn. Lives as long as a test.

    Arguments:
        make: the fixture `make_package`.
        program: what is run.
        thread: who makes the swaps, of `THREADS`. The other one makes the ways back.
        opcodes: whether each instruction is a point.

    Attributes:
        failures: the points at which something else than the old or the new came out.
        tried: how many points were tried.
        pure: what each call comes to in the old version, and in the new.
        met: what happens at each point of both, by thread.
    """

    def __init__(self, make: Make, program: Program, thread: str, *, opcodes: bool = False) -> None:
        self._make, self._program, self._opcodes = make, program, opcodes
        self._act = THREADS[thread], next(act for name, act in THREADS.items() if name != thread)
        self.failures: list[str] = []
        self.tried = 0
        self.pure: list[list[object]] = []
        self._labels: list[str] = []
        self.met: list[dict[str, list[str]]] = []
        for version in (0, 1):
            self._package = self._written(version)
            drive, tracer = self._run()
            called = [call(argument) for _, call, argument in drive.later]
            self.pure.append([*(outcome.got for outcome in drive.outcomes), *called])
            self._labels = [*(outcome.label for outcome in drive.outcomes), *(label for label, *_ in drive.later)]
            self.met.append(tracer.met)
        self._fresh()

    @property
    def points(self) -> tuple[list[Point], list[Point]]:
        """Those of the old version, and those of the new."""
        old, new = (
            [Point(thread, number) for thread, ones in met.items() for number in range(len(ones))] for met in self.met
        )
        return old, new

    def run(self, *, until: int | None = None, every: int = 1) -> None:
        """Make the swap at each point of the old version, and the way back at each of the new; note what fails.

        Arguments:
            until: how many failures are enough.
            every: take each second point, or each third, and so on.
        """
        for old, new in itertools.islice(itertools.zip_longest(*self.points), 0, None, every):
            if until is not None and len(self.failures) >= until:
                return
            try:
                self._there(old)
                self._back(new)
            except (_Failed, hotswap.HotswapError) as error:
                if not isinstance(error, _Failed):
                    self.failures.append(f"{old} {new}: {type(error).__name__}: {error}")
                self._fresh()

    def _there(self, at: Point | None) -> None:
        rollout = self._patcher.stage(self._patch)
        rollout.verify()
        if at is None:
            rollout.commit()
            return
        self._judge(0, at, rollout, rollout.commit)

    def _back(self, at: Point | None) -> None:
        rollout = self._patcher.current
        assert rollout is not None
        if at is None:
            rollout.rollback()
        else:
            self._judge(1, at, rollout, rollout.rollback)

    def _judge(self, version: int, at: Point, rollout: hotswap.Rollout, swap: Callable[[], object]) -> None:
        """Run it in one version, and have the other one come at a point."""
        self.tried += 1

        def act() -> None:
            self._act[version](swap)
            if rollout._drain is not None and rollout._drain.drained.is_set():
                rollout.wait_settled(ENDS_WITHIN)  # a thread settles it, which nothing runs into then

        drive, tracer = self._run(at, act)
        wrong = [*self._unsettled(rollout)]
        for label, call, argument in drive.later:
            drive(label, call, argument)
        wrong += self._wrong(version, drive.outcomes)
        if not tracer.committed:
            wrong.append("the point was not reached: its events are not the same in each run")
        for thread, met in tracer.met.items():
            # CPython tells of some instructions only now and then (`super().step` on 3.12).
            if not self._opcodes and met != self.met[version].get(thread, [])[: len(met)]:
                wrong.append(f"other events than before in {thread}")
        after, _ = self._run(late=True)
        wrong += self._wrong(version, after.outcomes, "after it, ")
        if wrong:
            where = f"point {at.number} of {at.thread} ({self.met[version][at.thread][at.number]})"
            self.failures.append(f"{'the way back' if version else 'the swap'} at {where}: {'; '.join(wrong)}")
            raise _Failed

    def _wrong(self, version: int, outcomes: list[Outcome], when: str = "") -> Iterator[str]:
        if [outcome.label for outcome in outcomes] != self._labels[: len(outcomes)]:
            yield f"{when}other calls: {outcomes}"
            return
        for number, outcome in enumerate(outcomes):
            allowed = [self.pure[version ^ outcome.late][number]]
            if outcome.either:
                allowed.append(self.pure[version ^ outcome.late ^ 1][number])
            if outcome.got not in allowed:
                began = "began after it" if outcome.late else "began before it"
                yield f"{when}{outcome.label}, which {began}, gave {outcome.got} instead of {allowed}"

    def _unsettled(self, rollout: hotswap.Rollout) -> Iterator[str]:
        """Wait until nothing of the generation that went is left. What a cycle holds needs a collection."""
        if not rollout.wait_settled(0.2):
            gc.collect()
            if not rollout.wait_settled(ENDS_WITHIN):
                yield f"it has not drained; in flight: {rollout.in_flight()}"
        if walk.forked:
            yield "forks stand, and nobody needs them"

    def _run(
        self, at: Point | None = None, act: Callable[[], None] = lambda: None, *, late: bool = False
    ) -> tuple[Drive, Tracer]:
        tracer = Tracer(self._package, at, act, opcodes=self._opcodes)
        drive = Drive(self._package, tracer)

        def traced() -> None:
            with tracer.tracing():
                self._program.drive(drive)

        if late:
            tracer.committed = True
            self._program.drive(drive)
        else:
            # The main thread hands a commit to a thread of its own, which shields it from interrupts: another does not.
            elsewhere(traced, name="driver")
        return drive, tracer

    def _written(self, version: int) -> str:
        texts = self._program.versions[version]
        package = self._make({f"{name.replace('.', '/')}.py": text for name, text in texts.items()}).__name__
        for name in texts:
            if name != "__init__":
                importlib.import_module(f"{package}.{name}")
        return package

    def _fresh(self) -> None:
        """Begin with a package that nothing has happened to."""
        self._package = self._written(0)
        self._patcher: Any = hotswap.Patcher([self._package], load_timeout=None)
        sources = {
            self._package if name == "__init__" else f"{self._package}.{name}": text
            for name, text in self._program.versions[1].items()
        }
        self._patch = hotswap.Patch.from_sources(sources, version=NEWER)


class _Failed(Exception):
    """A point has failed, and was noted: what comes next begins anew."""
