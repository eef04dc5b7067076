"""Forks that a thread has in its hands while swaps put others in their place, or take them away."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, walk
from hotswap.swap.forked_attributes import Attribute
from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads


class Asking(Versions):
    source = """
import functools

class Job:
    kind = "{v}"
    @property
    def shown(self): return "{v}"
    def _deep(self, {more}x): return "{v}"
    deep = functools.partialmethod(_deep, {pass_}1)

def asks(job):
    got = None
    while True:
        fork = yield "{v}", got
        got = fork.__get__(job, type(job))
        got = got if isinstance(got, str) else got()
"""

    def fork(self, name: str) -> Attribute:
        """What stands in the class for an attribute now."""
        fork = walk.class_space(self.core.Job)[name]
        assert isinstance(fork, Attribute)
        return fork

    def started(self, job: Any) -> Any:
        """A loop of the live version."""
        loop = self.core.asks(job)
        next(loop)
        return loop


@pytest.fixture
def asking(make_package: Callable[..., ModuleType]) -> Asking:
    return Asking(make_package, handover=None)


@pytest.mark.parametrize("name", ["kind", "shown", "deep"])
class TestAFork:
    """A loop asks the fork that it found before."""

    def test_before_a_rollback(self, asking: Asking, name: str) -> None:
        job = asking.core.Job()
        old = asking.started(job)
        rollout = asking.apply("2")
        fork = asking.fork(name)
        assert old.send(fork) == ("1", "1")
        rollout.rollback()
        assert old.send(fork) == ("1", "1")
        old.close()
        assert forks_go()
        assert asking.started(job).send(fork) == ("1", "1")

    def test_before_a_version_goes_and_comes_again(self, asking: Asking, name: str) -> None:
        job = asking.core.Job()
        old = asking.started(job)
        rollout = asking.apply("2")
        new = asking.started(job)
        of_the_first = asking.fork(name)
        rollout.rollback()
        of_the_rollback = asking.fork(name)
        again = asking.apply("2")
        for fork in (of_the_first, of_the_rollback):
            assert old.send(fork) == ("1", "1")
            assert new.send(fork) == ("2", "2")
        old.close()
        new.close()
        again.rollback()
        assert forks_go()

    def test_before_one_is_armed_that_goes_live(self, asking: Asking, name: str) -> None:
        job = asking.core.Job()
        old = asking.started(job)
        first = asking.apply("2")
        new = asking.started(job)
        fork = asking.fork(name)
        third = asking.patcher.stage(Patch.from_sources({asking.name: asking.text("3", 0)}, version="3"))
        third.verify()
        third.arm()
        third.commit()
        assert old.send(fork) == ("1", "1")
        assert new.send(fork) == ("2", "2")
        third.rollback()
        assert old.send(fork) == ("1", "1")
        assert new.send(fork) == ("2", "2")
        old.close()
        new.close()
        assert first.drained.wait(20)
        assert forks_go()
