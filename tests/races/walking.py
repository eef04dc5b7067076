"""A walk over versions: patches are applied, armed, flipped and taken back while loops and sessions go on.

After each step everybody looks around: a loop with a body of its own in each version sees that version for ever; one
that is the same in all of them sees one version at a time, the one that it had or what is live; a session sees that
with which it began; and who begins sees what is live.
"""

from __future__ import annotations

import builtins
import contextvars
import importlib
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import hotswap
from hotswap import Patch, Patcher, walk
from hotswap.testing import ManualClock
from tests.waiting import until

__all__ = ["Walk", "steps"]

LOW = """
class Num:
    kind = "{v}"
    def __init__(self, {more}x): self.x = self.deep({pass_}x)
    def deep(self, {more}x): return "{v}"
    def __add__(self, o): return "{v}"
    @property
    def shown(self): return self.deep({pass_}1)
def helper({more}x): return "{v}"
def each(function, items): return [function(one) for one in items]
"""

MID = """
from {package} import low
from {package}.low import Num, helper

def facts():
    num = Num({pass_}1)
    def inner(x): return helper({pass_}x)
    return [
        helper({pass_}1), num + 1, num.x, num.shown, low.helper({pass_}1), low.Num.kind,
        (lambda: num + 1)(), (lambda: helper({pass_}1))(), next(num + i for i in (1,)),
        *low.each(lambda i: num + i, (1,)), *low.each(lambda i: helper({pass_}i), (1,)), *low.each(inner, (1,)),
        *[low.helper({pass_}i) for i in (1,)],
    ]

def few():
    num = Num({pass_}1)
    for i in range(2):
        yield helper({pass_}i)
        yield num + 1

def tagged():
    tag = "{v}"
    while True:
        num = Num({pass_}1)
        yield [
            tag, *facts(), *few(), helper({pass_}1), (lambda: num + 1)(), (lambda: low.helper({pass_}1))(),
            next(low.helper({pass_}i) for i in (1,)),
        ]

def fixed():
    while True:
        num = Num({pass_}1)
        yield [
            *facts(), *few(), helper({pass_}1), (lambda: num + 1)(), (lambda: low.helper({pass_}1))(),
            next(low.helper({pass_}i) for i in (1,)), num.shown,
        ]
"""

HANDOVER = 1.0
"""Seconds after which unchanged loops go on with the new."""


@dataclass
class _Loop:
    """A loop that goes on.

    Attributes:
        kind: the name of its function.
        made: the version of whose text it is.
        now: the version that it saw last.
        frames: itself.
        stays: a version that was live since has another text of it, so it may stay where it is.
    """

    kind: str
    made: int
    now: int
    frames: Iterator[list[str]]
    stays: bool = False


class Walk:
    """The package that is patched, and who looks at it.

    A version is written with the number of parameters that its helpers have more: `3/1`.

    Arguments:
        make: makes a package.
        clock: tells the time to hotswap.

    Attributes:
        can_go_back: the version before what is live is kept.
        wrong: what was seen and should not have been.
        history: the steps that were made.
    """

    def __init__(self, make: Callable[..., ModuleType], clock: ManualClock) -> None:
        self.package = make({"low.py": "", "mid.py": ""}).__name__
        folder = Path(str(sys.modules[self.package].__file__)).parent
        for name, text in self._texts(1, 0).items():
            (folder / f"{name.rpartition('.')[2]}.py").write_text(text)
        importlib.import_module(f"{self.package}.mid")
        self.patcher = Patcher([self.package], handover=HANDOVER)
        self._clock = clock
        self._shapes = {1: 0}
        self._warm: set[int] = set()
        self.live: list[tuple[int, hotswap.Rollout | None]] = [(1, None)]
        self.armed: tuple[int, hotswap.Rollout] | None = None
        self.back: tuple[int, hotswap.Rollout] | None = None
        self.loops: list[_Loop] = []
        self.sessions: list[tuple[int, hotswap.Session, contextvars.Context]] = []
        self.can_go_back = False
        self._import = builtins.__import__
        self.wrong: list[str] = []
        self.history: list[str] = []

    def _texts(self, version: int, shape: int) -> dict[str, str]:
        how = {"v": version, "package": self.package, "pass_": "0, " * shape}
        how["more"] = "".join(f"z{number}, " for number in range(shape))
        return {f"{self.package}.{name}": text.format(**how) for name, text in {"low": LOW, "mid": MID}.items()}

    @property
    def mid(self) -> Any:
        """The live module."""
        return sys.modules[f"{self.package}.mid"]

    def go(self, *steps: str) -> Walk:
        """Make some steps, and look around after each."""
        for step in steps:
            name, *arguments = step.split()
            self.history.append(step)
            getattr(self, f"_{name}")(*arguments)
            for loop in self.loops:
                loop.stays |= self._shapes[self.live[-1][0]] != self._shapes[loop.made]
            self.look(settled=name == "settle")
        return self

    # --- steps ---

    def _patch(self, what: str) -> tuple[int, Patch]:
        version, shape = map(int, what.split("/"))
        self._shapes[version] = shape
        self.back = None
        return version, Patch.from_sources(self._texts(version, shape), version=str(version))

    def _apply(self, what: str) -> None:
        version, patch = self._patch(what)
        self.live.append((version, self.patcher.apply(patch)))
        self.can_go_back = True

    def _arm(self, what: str) -> None:
        version, patch = self._patch(what)
        rollout = self.patcher.stage(patch)
        rollout.verify()
        rollout.arm()
        self.armed = version, rollout
        self._warm.add(version)

    def _commit(self) -> None:
        assert self.armed is not None
        self.armed[1].commit()
        self.live.append(self.armed)
        self.armed = self.back = None
        self.can_go_back = True

    def _disarm(self) -> None:
        assert self.armed is not None
        self.armed[1].disarm()
        self.armed, self.back = None, self.armed

    def _rearm(self) -> None:
        assert self.back is not None
        self.back[1].arm()
        self.armed, self.back = self.back, None

    def _abort(self) -> None:
        assert self.back is not None
        self.back[1].abort()
        self.back = None

    def _rollback(self) -> None:
        version, rollout = self.live[-1]
        assert rollout is not None
        rollout.rollback()
        self.live.pop()
        self.back = (version, rollout) if version in self._warm else None
        self.can_go_back = False

    def _loop(self, kind: str) -> None:
        frames = getattr(self.mid, kind)()
        next(frames)
        version = self.live[-1][0]
        self.loops.append(_Loop(kind, version, version, frames))

    def _close(self, number: str) -> None:
        self.loops.pop(int(number)).frames.close()  # type: ignore[attr-defined]  # a generator

    def _session(self) -> None:
        session, context = hotswap.session(), contextvars.Context()
        context.run(session.__enter__)
        self.sessions.append((self.live[-1][0], session, context))

    def _end(self) -> None:
        _, session, context = self.sessions.pop(0)
        context.run(session.__exit__, None, None, None)

    def _wait(self) -> None:
        self._clock.advance(0.4 * HANDOVER)

    def _settle(self) -> None:
        self._clock.advance(2 * HANDOVER)
        time.sleep(0.01)  # what drains is settled in a thread
        self._clock.advance(0)

    # --- who looks ---

    def look(self, *, settled: bool = False) -> None:
        """Have everybody look around. `settled`: the time of all handovers is over."""
        live = self.live[-1][0]
        for loop in list(self.loops):
            seen = self._see(f"{loop.kind} of {loop.made}", lambda: next(loop.frames))  # noqa: B023  # called at once
            if loop.kind == "tagged":
                self._expect(f"tagged of {loop.made}", seen, {loop.made})
                continue
            allowed = {loop.now} if self._shapes[live] != self._shapes[loop.made] else {loop.now, live}
            if settled and not loop.stays and self.armed is None:
                allowed = {live}
            self._expect(f"fixed of {loop.made}, on {loop.now}", seen, allowed)
            if len(seen) == 1:
                loop.now = int(seen.copy().pop())
            if not seen:
                self.loops.remove(loop)
        for version, _, context in self.sessions:
            for name in ("facts", "tagged"):
                self._expect(f"{name} in a session", self._see(name, lambda: context.run(self._call, name)), {version})  # noqa: B023  # called at once
        for name in ("facts", "tagged", "fixed"):
            seen = self._see(name, lambda: contextvars.Context().run(self._call, name))  # noqa: B023  # called at once
            self._expect(name, seen, {live})
        if self.armed is not None:
            with self.armed[1].preview():
                self._expect("preview", self._see("preview", lambda: self._call("facts")), {self.armed[0]})

    def _call(self, name: str) -> list[str]:
        found = getattr(self.mid, name)()
        answer: list[str] = found if isinstance(found, list) else next(found)
        return answer

    def _see(self, who: str, call: Callable[[], list[str]]) -> set[str]:
        try:
            return set(call())
        except Exception as error:  # shown as what was seen
            self._tell(f"{who} got {error!r}")
            return set()

    def _expect(self, who: str, seen: set[str], allowed: set[int]) -> None:
        if seen and (len(seen) > 1 or not seen <= {str(one) for one in allowed}):
            self._tell(f"{who} saw {sorted(seen)}, and not one of {sorted(allowed)}")

    def _tell(self, what: str) -> None:
        self.wrong.append(f"{what}, after: {', '.join(self.history)}")

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop()
        if kind is None and not until(self._is_over, 20):
            self.wrong.append(f"forks or the import wrapper stand still, after: {', '.join(self.history)}")

    def _is_over(self) -> bool:
        self._clock.advance(10 * HANDOVER)  # what somebody holds is looked for ever more seldom
        return not walk.forked and builtins.__import__ is self._import

    def _stop(self) -> None:
        for loop in self.loops:
            loop.frames.close()  # type: ignore[attr-defined]  # a generator
        self.loops.clear()
        while self.sessions:
            self._end()
        if self.armed is not None:
            self._disarm()
        if self.back is not None and self.back[1].state == "verified":
            self._abort()


def steps(walk: Walk, chosen: random.Random) -> Iterator[str]:
    """Choose one step after the other, of those that can be made."""
    version = 1
    while True:
        current = walk.patcher.current
        choices = ["loop", "loop", "wait", "settle", "new", "new", "close"]
        choices += ["rollback"] * 3 if walk.can_go_back else []
        choices += ["new armed"] * 3 + ["rearm"] * (3 if walk.back is not None else 0)
        if walk.armed is not None:
            choices = ["commit"] * 4 + ["disarm", "loop", "wait", "settle"]
        choices += ["session"] if len(walk.sessions) < 3 else ["end"]
        step = chosen.choice(choices)
        if step == "loop":
            yield f"loop {chosen.choice(['tagged', 'fixed', 'fixed'])}"
        elif step == "close":
            if walk.loops:
                yield f"close {chosen.randrange(len(walk.loops))}"
        elif step in ("new", "new armed"):
            if current is not None and walk.back is not None and current is walk.back[1]:
                yield "abort"
            version += 1
            yield f"{'apply' if step == 'new' else 'arm'} {version}/{chosen.choice([0, 0, 1])}"
        else:
            yield step
