"""A swap at every point of hotswap's own code that a call runs through: in forks, forwarders, fronts and the rule.

Loops of two versions go on. One of them takes a step, and is held at some line of that code; another thread makes a
swap, or more than one, just then. Each loop must be of one version, in that step and in the next.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

import pytest

from hotswap import walk
from tests.every_point.subjects import elsewhere
from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = [pytest.mark.threads, pytest.mark.slow]

EVERY = 97 * int(os.environ.get("HOTSWAP_EVERY_NTH_POINT", "1"))
"""Each 97th point is taken; ``HOTSWAP_EVERY_NTH_POINT=10`` takes each 970th one. By hand, 1 in its place takes all."""


class Loops(Versions):
    source = """
import functools

class Registered(type): pass

class Job:
    kind = "{v}"
    def __init__(self, {more}x): self.made = "{v}"
    def deep(self, {more}x): return "{v}"
    @property
    def shown(self): return self.deep({pass_}1)
    @classmethod
    def of(cls, {more}x): return cls({pass_}1).made
    def __len__(self): return int(self.deep({pass_}1))
    part = functools.partialmethod(deep, {pass_}1)

class Task(Job, metaclass=Registered):
    def __init__(self, {more}x): super().__init__({pass_}1)

def helper({more}x): return "{v}"
part = functools.partial(helper, {pass_}1)

@functools.lru_cache
def cached({more}x): return helper({pass_}1)

def loop():
    tag, job, mine, method = "{v}", Job({pass_}1), helper, Job({pass_}1).deep
    while True:
        yield {{
            tag, job.kind, job.made, job.deep({pass_}1), job.shown, job.of({pass_}1), str(len(job)), job.part(),
            Task({pass_}1).made, helper({pass_}1), mine({pass_}1), method({pass_}1), part(), cached({pass_}1),
        }}
"""


class Operators(Loops):
    source = """
class Job:
    def __len__(self): return int(self.deep({pass_}1))
    def deep(self, {more}x): return "{v}"

def loop():
    tag, job = "{v}", Job()
    while True:
        yield {{tag, str(len(job))}}
"""


class Held:
    """Traces a thread, and acts at one point of our own code, in another thread.

    Arguments:
        at: the number of the point.
        act: what to do there.
    """

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self._at, self._act, self._met = at, act, 0
        self.where = ""

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        ours = frame.f_globals["__name__"].startswith("hotswap.") or walk.is_forwarder(frame.f_code)
        if self.where or not ours:
            return None if self.where else self.trace
        self._met += 1
        if self._met == self._at:
            sys.settrace(None)
            self.where = f"{frame.f_globals['__name__']}:{frame.f_lineno} {frame.f_code.co_name}, {event}"
            elsewhere(self._act)
        return self.trace


def step(loop: Iterator[set[str]], held: Held | None = None) -> set[str]:
    """What a loop gives next; the error, if it raises one."""
    sys.settrace(held.trace if held is not None else None)
    try:
        return next(loop)
    except Exception as error:  # shown as what was met
        return {repr(error)}
    finally:
        sys.settrace(None)


ACTS: dict[str, Callable[[Loops, Any], object]] = {
    "rollback": lambda loops, rollout: rollout.rollback(),
    "rollback-and-again": lambda loops, rollout: (rollout.rollback(), loops.apply("2")),
    "next": lambda loops, rollout: loops.apply("3", 0),
    "rollback-and-next": lambda loops, rollout: (rollout.rollback(), loops.apply("3", 0)),
    "rollback-and-another": lambda loops, rollout: (rollout.rollback(), loops.apply("3", 2)),
}
HANDED_OVER = "rollback-and-next", "old", 0
"""Which of them has no time: an old call is about to call a function which the next version does not change and which
has been handed over at once. It is the code of the version before, so it calls what is live."""


def failing(made: Callable[[], Loops], who: str, act: str, every: int) -> list[str]:
    """The points at which something else came out than what each loop is of."""
    failures: list[str] = []
    for at in range(1, sys.maxsize, every):
        loops = made()
        old = loops.core.loop()
        next(old)
        rollout = loops.apply_and_hand_over("2")
        new = loops.core.loop()
        next(new)
        held = Held(at, lambda: ACTS[act](loops, rollout))  # noqa: B023  # called in this round
        met = [step(new if who == "new" else old, held), step(old), step(new)]
        if met != [{"2" if who == "new" else "1"}, {"1"}, {"2"}]:
            failures.append(f"{at}, {held.where}: {met}")
        old.close()
        new.close()
        assert forks_go()
        if not held.where:
            break
    return failures


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("who", ["old", "new"])
@pytest.mark.parametrize("handover", [None, 0], ids=["all-forks", "narrowed"])
def test_a_swap_inside_of_a_fork(
    make_package: Callable[..., ModuleType], handover: float | None, who: str, act: str
) -> None:
    if (act, who, handover) == HANDED_OVER:
        pytest.skip("what is handed over at once calls the new, and the old call that is about to call it meets that")
    failures = failing(lambda: Loops(make_package, handover), who, act, EVERY)
    assert not failures, "\n".join([f"{len(failures)} points:", *failures])


def test_a_rollback_inside_of_an_operator(make_package: Callable[..., ModuleType]) -> None:
    """It comes to `deep` by no name that the loop spells, and a thread may be about to call that when forks go."""
    failures = failing(lambda: Operators(make_package, 0), "new", "rollback", 8)
    assert not failures, "\n".join([f"{len(failures)} points:", *failures])
