"""A walk over versions: patches are applied, armed, flipped and taken back while loops and sessions go on.

There are two modules; a patch changes both, or one of them. After each step everybody looks around: a loop whose
own text a patch has changed sees the version that it was of, for ever; one that is the same sees one version at a time,
the one that it had or what is live; a session sees that with which it began; and who begins sees what is live.
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
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import hotswap
from hotswap import Patch, Patcher, walk
from hotswap.testing import ManualClock
from tests.waiting import until

__all__ = ["Walk"]

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

class Jobs:
    def __init__(self, {more}x): self.num = Num({pass_}x)
    def __enter__(self): return self
    def __exit__(self, *_): self.last = self._step({pass_}1)
    def _step(self, {more}x): return self.num + (lambda: x)()
    @property
    def kind(self): return Num.kind
    def run(self):
        while True:
            fresh = Jobs({pass_}1)
            with fresh:
                pass
            yield [
                fresh._step({pass_}1), fresh.kind, fresh.last, fresh.num.shown, *facts(),
                *map(lambda one: fresh._step({pass_}one), (1,)),
            ]

class Given:
    def __init__(self, {more}items): self.items = items
    def __await__(self): yield self.items

def method(): return Jobs({pass_}1).run()

async def task():
    while True:
        await Given({pass_}[*facts(), *few(), (lambda: helper({pass_}1))(), Jobs({pass_}1).kind])

def tagged():
    tag = "tag {v}"
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


class Texts(NamedTuple):
    """What is live, or was.

    Attributes:
        mid: the version of the upper module.
        low: that of the lower one.
        shape: how many parameters the helpers have more.
        deco: the version of the module with decorators; 0 if there is none.
        inner: how many parameters more the helper has that its wrappers call.
    """

    mid: int
    low: int
    shape: int
    deco: int = 0
    inner: int = 0

    @property
    def below(self) -> Below:
        """What calls of the upper module come to."""
        return Below(self.low, self.deco)


class Below(NamedTuple):
    """The versions of the lower modules: of that with the helpers, and of that with their decorators."""

    low: int
    deco: int


@dataclass
class _Loop:
    """A loop that goes on.

    Attributes:
        kind: the name of its function.
        made: what was live when it began.
        below: the versions of the lower modules that it saw last.
        mid: that of the upper one, as far as it can be known.
        body: itself.
        since: the second in which one of these went; None as long as both are live.
        stays: other text of it was live since, so it may stay where it is.
    """

    kind: str
    made: Texts
    below: Below
    mid: int
    body: Any
    since: float | None = None
    stays: bool = False

    def step(self) -> list[str]:
        """Return what it answers."""
        answer: list[str] = self.body.send(None)
        return answer

    def is_of(self, live: Texts) -> bool:
        """Whether its own text is live."""
        return (self.kind != "tagged" or live.mid == self.made.mid) and live.shape == self.made.shape

    def is_wrapped_by(self, live: Texts) -> bool:
        """Whether what a decorator has put around it is live: it is a call of its own, and may be left behind."""
        return self.kind not in ("watched", "flowing") or live.inner == self.made.inner


class Walk:
    """The package that is patched, and who looks at it.

    A version is written with the number of parameters that its helpers have more: `3/1`. `3/1 low` and `3/1 mid` change
    one module only.

    Arguments:
        make: makes a package.
        clock: tells the time to hotswap.

    Attributes:
        live: what was live, the newest last, each with its rollout.
        armed: the candidate that is armed, if there is one.
        back: what may be armed again.
        loops, sessions: what goes on.
        can_go_back: the version before what is live is kept.
        wrong: what was seen and should not have been.
        history: the steps that were made.
    """

    first = Texts(1, 1, 0)
    kinds: tuple[str, ...] = ("tagged", "fixed", "fixed", "method", "task")
    """The loops that are chosen from by chance."""
    changes: tuple[str, ...] = ("", "", "", " low", " mid")
    """What patches change, so too."""

    def __init__(self, make: Callable[..., ModuleType], clock: ManualClock) -> None:
        self.package = make({"low.py": "", "mid.py": ""}).__name__
        folder = Path(str(sys.modules[self.package].__file__)).parent
        first = self.first
        for name, text in self._sources(first).items():
            (folder / f"{name.rpartition('.')[2]}.py").write_text(text)
        importlib.import_module(f"{self.package}.mid")
        self.patcher = Patcher([self.package], handover=HANDOVER)
        self._clock = clock
        self._warm: set[hotswap.Rollout] = set()
        self.live: list[tuple[Texts, hotswap.Rollout | None]] = [(first, None)]
        self.armed: tuple[Texts, hotswap.Rollout] | None = None
        self.back: tuple[Texts, hotswap.Rollout] | None = None
        self.loops: list[_Loop] = []
        self.sessions: list[tuple[Texts, hotswap.Session, contextvars.Context]] = []
        self.can_go_back = False
        self._import = builtins.__import__
        self.wrong: list[str] = []
        self.history: list[str] = []

    def _sources(self, texts: Texts, only: str = "") -> dict[str, str]:
        how = {"package": self.package, "pass_": "0, " * texts.shape}
        how["more"] = "".join(f"z{number}, " for number in range(texts.shape))
        sources = {"low": LOW.format(v=texts.low, **how), "mid": MID.format(v=texts.mid, **how)}
        return {f"{self.package}.{name}": text for name, text in sources.items() if only in ("", name)}

    @property
    def now(self) -> Texts:
        """What is live."""
        return self.live[-1][0]

    @property
    def mid(self) -> Any:
        """The live module."""
        return sys.modules[f"{self.package}.mid"]

    def by_chance(self, number: int, count: int, *, of_patches: bool = False) -> None:
        """Make some steps that are chosen by chance: the same ones for one number.

        Arguments:
            number: which ones.
            count: how many.
            of_patches: whether most are patches, and sessions are open over many of them.
        """
        choices = _of_patches if of_patches else _of_all
        for step in islice(_steps(self, random.Random(number), choices), count):
            self.go(step)

    def go(self, *steps: str) -> Walk:
        """Make some steps, and look around after each."""
        for step in steps:
            name, *arguments = step.split()
            self.history.append(step)
            getattr(self, f"_{name}")(*arguments)
            for loop in self.loops:
                loop.stays |= not (loop.is_of(self.now) and loop.is_wrapped_by(self.now))
                if (loop.below, loop.mid) == (self.now.below, self.now.mid):
                    loop.since = None
                elif loop.since is None:
                    loop.since = self._clock.now()
            self.look(settled=name == "settle")
        return self

    # --- steps ---

    def _patch(self, what: str, only: str = "") -> tuple[Texts, Patch]:
        version, shape = map(int, what.split("/"))
        texts = Texts(self.now.mid if only == "low" else version, self.now.low if only == "mid" else version, shape)
        assert not only or shape == self.now.shape, "who stays calls as before"
        self.back = None
        return texts, Patch.from_sources(self._sources(texts, only), version=str(version))

    def _apply(self, what: str, only: str = "") -> None:
        texts, patch = self._patch(what, only)
        self.live.append((texts, self.patcher.apply(patch)))
        self.can_go_back = True

    def _arm(self, what: str, only: str = "") -> None:
        texts, patch = self._patch(what, only)
        rollout = self.patcher.stage(patch)
        rollout.verify()
        rollout.arm()
        self.armed = texts, rollout
        self._warm.add(rollout)

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
        texts, rollout = self.live[-1]
        assert rollout is not None
        rollout.rollback()
        self.live.pop()
        self.back = (texts, rollout) if rollout in self._warm else None
        self.can_go_back = False

    def _loop(self, kind: str) -> None:
        loop = _Loop(kind, self.now, self.now.below, self.now.mid, getattr(self.mid, kind)())
        loop.step()
        self.loops.append(loop)

    def _close(self, number: str) -> None:
        self.loops.pop(int(number)).body.close()

    def _session(self) -> None:
        session, context = hotswap.session(), contextvars.Context()
        context.run(session.__enter__)
        self.sessions.append((self.now, session, context))

    def _end(self) -> None:
        _, session, context = self.sessions.pop(0)
        context.run(session.__exit__, None, None, None)

    def _wait(self) -> None:
        self._clock.advance(0.4 * HANDOVER)

    def _settle(self) -> None:
        self._clock.advance(2 * HANDOVER)
        time.sleep(0.01)  # what drains is settled in a thread
        self._clock.advance(0)

    def _drain(self) -> None:
        """Wait until what the last swap has left in flight is settled, as `settle` does not."""
        rollout = self.live[-1][1]
        assert rollout is not None
        assert rollout.drained.wait(20), "something is in flight"

    # --- who looks ---

    def look(self, *, settled: bool = False) -> None:
        """Have everybody look around. `settled`: the time of all handovers is over."""
        live = self.now
        for loop in list(self.loops):
            is_new_to_it = loop.since is not None and self._clock.now() - loop.since < HANDOVER
            stays = is_new_to_it or not loop.is_of(live)
            allowed = {loop.below} if stays else {loop.below, live.below}
            if settled and not loop.stays and self.armed is None:
                allowed = {live.below}
            seen = self._see(loop.step, f"{loop.kind} of {loop.made}, on {loop.below}", loop.made, allowed)
            if seen is None:
                self.loops.remove(loop)
            else:
                loop.below = seen
                if not is_new_to_it and seen == live.below:
                    loop.mid, loop.since = live.mid, None
        for texts, _, context in self.sessions:
            for name in ("facts", "tagged", "method"):
                self._see(partial(context.run, self._call, name), f"{name} in a session", texts, {texts.below})
        for name in ("facts", "tagged", "fixed", "method", "task"):
            self._see(partial(contextvars.Context().run, self._call, name), name, live, {live.below})
        if self.armed is not None:
            texts, rollout = self.armed
            with rollout.preview():
                self._see(partial(self._call, "tagged"), "a preview", texts, {texts.below})

    def _call(self, name: str) -> list[str]:
        found = getattr(self.mid, name)()
        if isinstance(found, list):
            return found
        answer: list[str] = found.send(None)
        found.close()
        return answer

    def _see(self, call: Callable[[], list[str]], who: str, made: Texts, allowed: set[Below]) -> Below | None:
        """Tell if what a call answers is not of versions that are allowed; return those of the lower modules."""
        try:
            seen = set(call())
        except Exception as error:  # shown as what was seen
            self._tell(f"{who} got {error!r}")
            return None
        tags = {one for one in seen if one.startswith("tag")}
        low = {int(found) for one in seen - tags if (found := one.partition("|")[0])}
        deco = self._decorators(seen - tags)
        below = Below(max(low), max(deco))
        if len(low) > 1 or len(deco) > 1 or below not in allowed or not tags <= {f"tag {made.mid}"}:
            self._tell(f"{who} saw {sorted(seen)}, and not one of {sorted(allowed)}")
        return below

    def _decorators(self, seen: set[str]) -> set[int]:
        """The versions of the decorators that answers are of."""
        return {0}

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
            loop.body.close()
        self.loops.clear()
        while self.sessions:
            self._end()
        if self.armed is not None:
            self._disarm()
        if self.back is not None and self.back[1].state == "verified":
            self._abort()


def _of_all(walk: Walk) -> list[str]:
    """The steps that may come next, each as often as it weighs."""
    choices = ["loop", "loop", "wait", "settle", "new", "new", "close"]
    choices += ["rollback"] * 3 if walk.can_go_back else []
    choices += ["new armed"] * 3 + ["rearm"] * (3 if walk.back is not None else 0)
    if walk.armed is not None:
        choices = ["commit"] * 4 + ["disarm", "loop", "wait", "settle"]
    return choices + (["session"] if len(walk.sessions) < 3 else ["end"])


def _of_patches(walk: Walk) -> list[str]:
    choices = ["new"] * 10 + ["settle"] * 8 + ["wait", "loop", "close"] * 2
    choices += ["rollback"] * walk.can_go_back
    return choices + (["session"] * 4 if len(walk.sessions) < 3 else ["end"])


def _steps(walk: Walk, chosen: random.Random, choices: Callable[[Walk], list[str]]) -> Iterator[str]:
    """Choose one step after the other, of those that can be made."""
    version = 1
    while True:
        current = walk.patcher.current
        step = chosen.choice(choices(walk))
        if step == "loop":
            yield f"loop {chosen.choice(walk.kinds)}"
        elif step == "close":
            if walk.loops:
                yield f"close {chosen.randrange(len(walk.loops))}"
        elif step in ("new", "new armed"):
            if current is not None and walk.back is not None and current is walk.back[1]:
                yield "abort"
            version += 1
            only = chosen.choice(walk.changes)
            shape = walk.now.shape if only in (" low", " mid") else chosen.choice([0, 0, 1])
            yield f"{'apply' if step == 'new' else 'arm'} {version}/{shape}{only}"
        else:
            yield step
