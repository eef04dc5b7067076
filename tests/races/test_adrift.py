"""Calls adrift: no function has the code any more that they run, and the next swaps have to know them all the same.

A rollback gives functions back what they were, but not the code that calls in flight run; a handover leads calls on
that run the code of a version before. Whether a call meets the helpers of its own version then shows in signatures:
those of shape 1 take an argument more than those of shape 0, and so does every call in the loops.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from tests.races.threads import forks_go
from tests.waiting import until

pytestmark = pytest.mark.threads  # what has drained is settled in one, and a clock hands calls over

CORE = """
import functools
import sys
from . import sibling as near
package = sys.modules[__package__]

def helper({more}n): return "{v}"
@functools.lru_cache
def cached({more}n): return "{v}"
changing, lasting = functools.partial(helper, {pass_}1), functools.partial(helper)

class Tool:
    kind = "{v}"
    def __init__(self, {more}n): self.made = "{v}"
    def step(self, {more}n): return "{v}"

def rows():
    tool, held = Tool({pass_}1), helper
    while True:
        from . import sibling
        from .sibling import name
        seen = [helper({pass_}1), held({pass_}1), tool.step({pass_}1), Tool({pass_}1).made, Tool.kind]
        seen += [near.name({pass_}1), sibling.name({pass_}1), name({pass_}1), package.sibling.name({pass_}1)]
        seen += [cached({pass_}1), changing(), lasting({pass_}1)]
        yield {{*seen}}

def begins():
    while True:
        yield rows()

def nested():
    def inner():
        while True:
            yield {{helper({pass_}1), Tool({pass_}1).step({pass_}1)}}
    return inner()

def lambdas():
    while True:
        def inner(): return (lambda: helper({pass_}1))()
        seen = {{helper({pass_}1), inner(), (lambda: Tool({pass_}1).step({pass_}1))()}}
        yield seen | {{*(helper({pass_}1) for _ in "1")}} | {{*map(lambda n: helper({pass_}n), "1")}}

def run(jobs, done):
    for _ in jobs:
        done({{helper({pass_}1), Tool({pass_}1).step({pass_}1)}})
"""

SIBLING = """
def name({more}n): return "{v}"
"""

STAYS = """
from .core import Tool, helper
def rows():
    tool = Tool(1)
    while True:
        yield {helper(1), tool.step(1), Tool(1).made}
"""


class Program:
    """A package of two modules; a version is a number, and a shape: 0 or 1."""

    def __init__(self, make: Callable[..., ModuleType], handover: float | None) -> None:
        files = {f"{name}.py": text for name, text in self.texts("1", 0).items()}
        self.name = make({"__init__.py": "", "stays.py": STAYS, **files}).__name__
        __import__(f"{self.name}.stays")
        self.patcher = Patcher([self.name], handover=handover)

    @staticmethod
    def texts(version: str, shape: int) -> dict[str, str]:
        facts = {"v": version, "more": "z, " * shape, "pass_": "0, " * shape}
        return {"core": CORE.format(**facts), "sibling": SIBLING.format(**facts)}

    @property
    def core(self) -> Any:
        return sys.modules[f"{self.name}.core"]

    def apply(self, version: str, shape: int, **options: Any) -> hotswap.Rollout:
        texts = {f"{self.name}.{name}": text for name, text in self.texts(version, shape).items()}
        return self.patcher.apply(Patch.from_sources(texts, version=version), **options)


@pytest.fixture
def program(make_package: Callable[..., ModuleType]) -> Iterator[Callable[..., Program]]:
    yield lambda handover=None: Program(make_package, handover)
    assert forks_go()


class TestAfterARollback:
    @pytest.mark.parametrize("name", ["rows", "nested", "lambdas"])
    def test_a_call_that_began_before_the_swap_keeps_its_version_in_the_next_swap(
        self, program: Callable[..., Program], name: str
    ) -> None:
        made = program()
        flow = getattr(made.core, name)()
        assert next(flow) == {"1"}
        made.apply("2", 1)
        assert next(flow) == {"1"}
        made.patcher.rollback()
        assert next(flow) == {"1"}
        rollout = made.apply("3", 1)
        assert next(flow) == {"1"}
        assert next(getattr(made.core, name)()) == {"3"}
        assert [call.function.rpartition(".")[2] for call in rollout.in_flight()] != []
        assert not rollout.drained.wait(0.2)
        del flow
        assert rollout.drained.wait(20)

    def test_so_does_one_that_such_a_call_began_meanwhile(self, program: Callable[..., Program]) -> None:
        made = program()
        begins = made.core.begins()
        next(begins)
        made.apply("2", 1)
        flow = next(begins)
        assert next(flow) == {"1"}
        made.patcher.rollback()
        begins.close()
        del begins
        rollout = made.apply("3", 1)
        assert next(flow) == {"1"}
        assert not rollout.drained.wait(0.2)
        assert next(flow) == {"1"}
        del flow
        assert rollout.drained.wait(20)

    def test_all_versions_there_and_back_again_and_again(self, program: Callable[..., Program]) -> None:
        made = program()
        first = made.core.rows()
        flows = {"1": [first]}
        next(first)
        for number in (2, 4, 6):
            for version, shape in ((number, 1), (number + 1, 0)):
                made.apply(str(version), shape)
                flow = made.core.rows()
                assert next(flow) == {str(version)}
                flows[str(version)] = [flow]
                made.patcher.rollback()
                again = made.core.rows()
                assert next(again) == {"1"}
                flows["1"].append(again)
                seen = {name: [next(one) for one in flows[name]] for name in flows}
                assert seen == {name: [{name}] * len(flows[name]) for name in flows}

    def test_one_that_is_the_same_in_the_next_version_has_its_time(self, program: Callable[..., Program]) -> None:
        made = program(None)
        flow = made.core.rows()
        next(flow)
        made.apply("2", 1)
        made.patcher.rollback()
        made.apply("3", 0)
        assert next(flow) == {"1"}
        made.patcher.rollback()
        rollout = made.apply("4", 0, handover=0)
        assert rollout.drained.wait(20)
        assert next(flow) == {"4"}

    def test_what_a_call_has_handed_out_meanwhile_is_led_to_the_next_version(
        self, program: Callable[..., Program]
    ) -> None:
        """A private clone that somebody has registered: its version comes back, and goes again."""
        made = program()
        flow = made.core.begins()
        next(flow)
        facts = flow.gi_frame.f_globals
        made.apply("2", 1)
        held = facts["helper"]
        assert held(1) == "1"
        made.patcher.rollback()
        flow.close()
        del flow
        assert held(1) == "1"
        made.apply("3", 1)
        assert until(lambda: made.patcher.current is not None and made.patcher.current.drained.is_set())
        assert held(0, 1) == "3"

    def test_so_does_a_call_of_a_module_that_no_version_changes(self, program: Callable[..., Program]) -> None:
        made = program()
        flow = sys.modules[f"{made.name}.stays"].rows()
        assert next(flow) == {"1"}
        made.apply("2", 1)
        assert next(flow) == {"1"}
        made.patcher.rollback()
        rollout = made.apply("3", 1)
        assert next(flow) == {"1"}
        del flow
        assert rollout.drained.wait(20)


class TestAfterAHandover:
    @pytest.mark.parametrize("name", ["rows", "nested", "lambdas"])
    def test_a_loop_that_the_next_version_changes_goes_on_with_the_one_before(
        self, program: Callable[..., Program], name: str
    ) -> None:
        made = program()
        flow = getattr(made.core, name)()
        assert next(flow) == {"1"}
        assert made.apply("2", 0, handover=0).drained.wait(20)
        assert next(flow) == {"2"}
        rollout = made.apply("3", 1, handover=0)
        for _ in range(3):
            assert next(flow) == {"2"}
        assert next(getattr(made.core, name)()) == {"3"}
        assert not rollout.drained.wait(0.2)
        assert len(rollout.in_flight()) == 1
        another = made.apply("4", 0, handover=0)
        assert next(flow) == {"2"}
        assert next(getattr(made.core, name)()) == {"4"}
        del flow
        assert rollout.drained.wait(20)
        assert another.drained.wait(20)

    @pytest.mark.parametrize("name", ["rows", "nested", "lambdas"])
    def test_a_loop_that_the_next_version_leaves_alone_has_its_time_again(
        self, program: Callable[..., Program], name: str
    ) -> None:
        made = program()
        flow = getattr(made.core, name)()
        assert next(flow) == {"1"}
        assert made.apply("2", 0, handover=0).drained.wait(20)
        assert next(flow) == {"2"}
        made.apply("3", 0)
        assert next(flow) == {"2"}
        made.patcher.rollback()
        assert next(flow) == {"2"}

    def test_a_call_of_a_module_that_no_version_changes_has_its_time_again(
        self, program: Callable[..., Program]
    ) -> None:
        made = program()
        flow = sys.modules[f"{made.name}.stays"].rows()
        assert next(flow) == {"1"}
        assert made.apply("2", 0, handover=0).drained.wait(20)
        assert next(flow) == {"2"}
        rollout = made.apply("3", 1)
        assert next(flow) == {"2"}
        del flow
        assert rollout.drained.wait(20)

    def test_beside_a_loop_that_stays_old(self, program: Callable[..., Program]) -> None:
        """What is handed over, and what is not, are of one module and of one namespace."""
        made = program()
        source = CORE + "\ndef stays(): \n    while True: yield {{helper({pass_}1), near.name({pass_}1), '{own}'}}\n"

        def apply(version: str, shape: int, own: str) -> hotswap.Rollout:
            facts = {"v": version, "more": "z, " * shape, "pass_": "0, " * shape, "own": own}
            texts = {"core": source.format(**facts), "sibling": SIBLING.format(**facts)}
            patch = Patch.from_sources({f"{made.name}.{name}": text for name, text in texts.items()}, version=version)
            return made.patcher.apply(patch, handover=0)

        apply("2", 0, "2")
        stays, flow = made.core.stays(), made.core.rows()
        assert (next(stays), next(flow)) == ({"2"}, {"2"})
        apply("3", 0, "3")
        assert (next(stays), next(flow)) == ({"2"}, {"3"})
        apply("4", 1, "4")
        assert (next(stays), next(flow)) == ({"2"}, {"3"})
        apply("5", 0, "5")
        assert (next(stays), next(flow)) == ({"2"}, {"3"})
        made.patcher.rollback()
        assert (next(stays), next(flow)) == ({"2"}, {"3"})

    def test_that_comes_after_the_change_leaves_the_loop_where_it_is(self, program: Callable[..., Program]) -> None:
        """Its time ends when the version is gone whose body is the same: nothing is left to lead it to."""
        made = program()
        flow = made.core.rows()
        assert next(flow) == {"1"}
        first = made.apply("2", 0, handover=3.0)  # longer than it takes a busy machine to apply another one
        rollout = made.apply("3", 1)
        assert next(flow) == {"1"}
        assert not first.drained.wait(4.0)
        assert next(flow) == {"1"}
        del flow
        assert first.drained.wait(20)
        assert rollout.drained.wait(20)

    @pytest.mark.parametrize("name", ["rows", "nested", "lambdas"])
    def test_in_a_rollback_too(self, program: Callable[..., Program], name: str) -> None:
        made = program()
        made.apply("2", 1)
        made.apply("3", 0)
        flow = getattr(made.core, name)()
        assert next(flow) == {"3"}
        made.patcher.rollback()
        for _ in range(2):
            assert next(flow) == {"3"}
        made.apply("4", 0)
        assert next(flow) == {"3"}
        assert next(made.core.rows()) == {"4"}


LONGER = ("01b10", "00b10", "0b1b0", "010b1", "b0101", "1b0b1", "0011b")


@pytest.mark.parametrize("steps", [*map("".join, itertools.product("01b", repeat=3)), *LONGER])
def test_any_way_there_and_back(program: Callable[..., Program], steps: str) -> None:
    """Calls of every version go on, handed over or not: none meets a helper of another shape, or two versions."""
    made = program(0)
    flows: list[Any] = []
    live = [("1", 0)]
    for number, step in enumerate(steps, 2):
        for begin in (made.core.rows, made.core.lambdas):
            flow = begin()
            assert next(flow) == {live[-1][0]}
            flows.append(flow)
        if step == "b":
            if len(live) == 1 or made.patcher.current is None:
                break
            made.patcher.rollback()
            live = live[:-1]
        else:
            live = [live[-1], (str(number), int(step))]
            made.apply(str(number), int(step))
        assert [len(next(flow)) for flow in flows] == [1] * len(flows)
    flows.clear()
    del flow
