"""Old work finishes on old code: what had begun when the swap came goes on, and never meets a new helper.

In every program here the helper takes other arguments in the second version: a call of one generation that meets the
other's helper fails.
"""

from __future__ import annotations

import builtins
import gc
import importlib
import sys
import textwrap
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap.settlement import catch_up
from hotswap.swap.writes import Writes
from tests.conftest import unhooked
from tests.races.threads import forks_go

BEFORE = """
import sys
package = sys.modules[__package__]

class Resource:
    def __init__(self, value): self.value = value
    def read(self): return self.value

def helper(a): return a, "old"
def rows():
    yield helper(1)
    yield helper(2)
    yield from more()
def more():
    yield helper(3)
    yield helper(4)
async def work(pause):
    first = helper(1)
    await pause
    return first, helper(2)
async def stream(pause):
    yield helper(1)
    await pause
    yield helper(2)
def nested():
    def inner():
        return helper(1)
    yield inner()
    yield inner()
def in_class(resource):
    yield helper(resource.read())
    yield helper(resource.read())
def hands_out():
    yield helper(1)
    yield more()
def through(inner):
    def wrapper():
        yield "before"
        yield inner()
    return wrapper
@through
def decorated(): return helper(1)
def imports():
    yield helper(1)
    from . import core
    yield core.helper(2)
    from .core import helper as imported
    yield imported(3)
def lazy():
    return (helper(n) for n in range(3))
def worker():
    async def inner(pause):
        first = helper(1)
        await pause
        return first, helper(2)
    return inner
def by_package():
    yield helper(1)
    yield package.core.helper(2)
"""
AFTER = (
    BEFORE.replace("def helper(a): return a, ", "def helper(a, b): return a + b, ")
    .replace("helper(", "helper(0, ")
    .replace("imported(", "imported(0, ")
    .replace("def helper(0, a", "def helper(a")
    .replace('"old"', '"new"')
)


class Pause:
    """Something to wait for that needs no event loop."""

    def __await__(self) -> Any:
        yield "paused"


def drained(rollout: hotswap.Rollout) -> bool:
    """Whether the last old call has ended. Without threads that is told by the next call of a patcher."""
    gc.collect()
    catch_up()
    return rollout.drained.wait(10)


@pytest.fixture(autouse=True)
def nothing_left_in_flight() -> Iterator[None]:
    """An exception that a test has caught holds the frames that it came through until the next collection."""
    yield
    gc.collect()


@pytest.fixture
def core(make_package: Callable[..., ModuleType]) -> Any:
    package = make_package({"core.py": BEFORE}).__name__
    return importlib.import_module(f"{package}.core")


def swap(core: ModuleType) -> hotswap.Patcher:
    name = core.__name__
    patcher = hotswap.Patcher([name.partition(".")[0]])
    patcher.apply(hotswap.Patch.from_sources({name: textwrap.dedent(AFTER)}, version="1"))
    return patcher


def retire(core: ModuleType, patcher: hotswap.Patcher) -> None:
    """Go two versions on: nobody can go back to the first one any more."""
    for version in ("2", "3"):
        source = textwrap.dedent(AFTER).replace('"new"', f'"{version}"')
        patcher.apply(hotswap.Patch.from_sources({core.__name__: source}, version=version))
    gc.collect()


def finished(coroutine: Any) -> Any:
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    return end.value.value


class TestSuspended:
    def test_generator(self, core: Any) -> None:
        suspended = core.rows()
        assert next(suspended) == (1, "old")
        swap(core)
        assert list(suspended) == [(2, "old"), (3, "old"), (4, "old")]
        assert list(core.rows()) == [(1, "new"), (2, "new"), (3, "new"), (4, "new")]

    def test_generator_that_delegates(self, core: Any) -> None:
        suspended = core.rows()
        assert [next(suspended) for _ in range(3)] == [(1, "old"), (2, "old"), (3, "old")]
        swap(core)
        assert list(suspended) == [(4, "old")]

    def test_coroutine(self, core: Any) -> None:
        suspended = core.work(Pause())
        assert suspended.send(None) == "paused"
        swap(core)
        assert finished(suspended) == ((1, "old"), (2, "old"))
        fresh = core.work(Pause())
        fresh.send(None)
        assert finished(fresh) == ((1, "new"), (2, "new"))

    def test_asynchronous_generator(self, core: Any) -> None:
        suspended = core.stream(Pause())
        assert finished(suspended.__anext__()) == (1, "old")
        step = suspended.__anext__()
        assert step.send(None) == "paused"
        swap(core)
        assert finished(step) == (2, "old")

    def test_generator_that_calls_a_nested_function(self, core: Any) -> None:
        suspended = core.nested()
        assert next(suspended) == (1, "old")
        swap(core)
        assert list(suspended) == [(1, "old")]

    def test_generator_expression_that_outlives_the_call_that_made_it(self, core: Any) -> None:
        rows = core.lazy()
        assert next(rows) == (0, "old")
        rollout = swap(core).current
        assert rollout is not None
        assert not rollout.drained.wait(0.2)
        assert list(rows) == [(1, "old"), (2, "old")]
        del rows
        assert drained(rollout)

    def test_coroutine_of_a_nested_function_that_outlives_the_call_that_made_it(self, core: Any) -> None:
        work = core.worker()(Pause())
        work.send(None)
        rollout = swap(core).current
        assert rollout is not None
        assert not rollout.drained.wait(0.2)
        assert finished(work) == ((1, "old"), (2, "old"))
        del work
        assert drained(rollout)

    def test_generator_that_was_not_started(self, core: Any) -> None:
        """It was called in the old version, so it is old work."""
        waiting = core.rows()
        swap(core)
        assert next(waiting) == (1, "old")

    def test_generator_that_uses_an_instance(self, core: Any) -> None:
        suspended = core.in_class(core.Resource(7))
        assert next(suspended) == (7, "old")
        swap(core)
        assert list(suspended) == [(7, "old")]

    def test_generator_that_old_work_has_handed_out(self, core: Any) -> None:
        """It was made by a call that began in the old version, and outlives it."""
        suspended = core.hands_out()
        next(suspended)
        patcher = swap(core)
        handed_out = next(suspended)
        suspended.close()
        del suspended
        retire(core, patcher)
        assert list(handed_out) == [(3, "old"), (4, "old")]

    def test_wrapper_of_a_decorator(self, core: Any) -> None:
        """The wrapper's frame is in flight; the decorated function has not been called yet."""
        suspended = core.decorated()
        assert next(suspended) == "before"
        retire(core, swap(core))
        assert list(suspended) == [(1, "old")]

    def test_wrapper_of_a_decorator_that_is_taken_back(self, core: Any) -> None:
        patcher = swap(core)
        suspended = core.decorated()
        assert next(suspended) == "before"
        patcher.rollback()
        gc.collect()
        assert list(suspended) == [(1, "new")]

    def test_generator_that_imports(self, core: Any) -> None:
        suspended = core.imports()
        assert next(suspended) == (1, "old")
        swap(core)
        assert list(suspended) == [(2, "old"), (3, "old")]
        assert list(core.imports()) == [(1, "new"), (2, "new"), (3, "new")]

    def test_generator_that_goes_by_the_package(self, core: Any) -> None:
        suspended = core.by_package()
        next(suspended)
        swap(core)
        assert next(suspended) == (2, "old")
        assert [*core.by_package()] == [(1, "new"), (2, "new")]

    def test_generator_of_the_new_version_goes_on_after_a_rollback(self, core: Any) -> None:
        patcher = swap(core)
        suspended = core.rows()
        assert next(suspended) == (1, "new")
        patcher.rollback()
        assert list(suspended) == [(2, "new"), (3, "new"), (4, "new")]
        assert list(core.rows()) == [(1, "old"), (2, "old"), (3, "old"), (4, "old")]

    def test_generators_of_several_versions_go_on_side_by_side(self, core: Any) -> None:
        first = core.rows()
        next(first)
        patcher = swap(core)
        second = core.rows()
        next(second)
        third_source = textwrap.dedent(BEFORE).replace('"old"', '"third"')
        patcher.apply(hotswap.Patch.from_sources({core.__name__: third_source}, version="2"))
        third = core.rows()
        assert [next(suspended)[1] for suspended in (first, second, third)] == ["old", "new", "third"]
        assert [list(suspended)[-1][1] for suspended in (first, second, third)] == ["old", "new", "third"]


LOOKS = """
import sys
from sys import modules as known
from . import near

C = "{v}"

def asked():
    name = near.__name__
    here = sys.modules[name], known[name], sys.modules.get(name), dict(known.items())[name]
    return {{one.C for one in here}} | {{sys.modules[__package__].near.C, sys.modules[__name__].C}}

def imported():
    import sys as one, sys
    from sys import modules
    name = near.__name__
    return {{one.modules[name].C, modules[name].C, sys.modules.copy()[name].C}}

def rows():
    while True:
        yield asked() | imported() | {{C}}

def changed():
    version = "{v}"
    while True:
        yield asked() | imported() | {{version}}

def writes():
    while True:
        setattr(sys.modules[__name__], "C", "written")
        yield C

def others():
    yield
    missing = f"{{__package__}}.nowhere"
    yield (
        missing in known,
        known.get(missing),
        known["json"] is sys.modules["json"],
        __name__ in known,
        {{*sys.modules}} == {{*sys.modules.keys()}},
        len(known) == len(known.values()),
        sys.version_info >= (3, 11),
        "modules" in dir(sys),
    )
"""


class Looking:
    """A package whose old code looks into `sys.modules`."""

    def __init__(self, make: Callable[..., ModuleType]) -> None:
        self.name = make({f"{name}.py": text for name, text in self.texts("1").items()}).__name__
        __import__(f"{self.name}.core")
        self.patcher = hotswap.Patcher([self.name], handover=None)

    @staticmethod
    def texts(version: str) -> dict[str, str]:
        return {"core": LOOKS.format(v=version), "near": f"C = '{version}'\n"}

    @property
    def core(self) -> Any:
        return sys.modules[f"{self.name}.core"]

    def apply(self, version: str, **options: Any) -> hotswap.Rollout:
        texts = {f"{self.name}.{name}": text for name, text in self.texts(version).items()}
        return self.patcher.apply(hotswap.Patch.from_sources(texts, version=version), **options)


@pytest.fixture
def looking(make_package: Callable[..., ModuleType]) -> Iterator[Looking]:
    yield Looking(make_package)
    assert forks_go()


@pytest.mark.threads  # what has drained is settled in one
class TestTheModulesOfTheProcess:
    """Old code that looks into `sys.modules` finds its own generation, as it does when it imports."""

    @pytest.mark.parametrize("name", ["rows", "changed"])
    def test_are_those_of_the_generation_of_a_call(self, looking: Looking, name: str) -> None:
        flow = getattr(looking.core, name)()
        assert next(flow) == {"1"}
        looking.apply("2")
        later = getattr(looking.core, name)()
        assert (next(flow), next(later)) == ({"1"}, {"2"})
        looking.apply("3")
        assert (next(flow), next(later), looking.core.asked()) == ({"1"}, {"2"}, {"3"})
        looking.patcher.rollback()
        assert (next(flow), next(later), looking.core.asked()) == ({"1"}, {"2"}, {"2"})

    def test_follow_a_loop_that_is_handed_over(self, looking: Looking) -> None:
        asks = looking.core.asked

        def loop() -> Iterator[set[str]]:
            while True:
                yield asks()

        flow, own = loop(), looking.core.rows()
        assert next(own) == {"1"}
        for version in "23":
            looking.apply(version, handover=0)
            assert next(flow) == {version}
            assert next(own) - {"1"} == {version}  # a constant that it reads itself stays
        looking.apply("4")
        assert next(own) - {"1"} == {"3"}
        assert next(flow) == {"4"}

    def test_are_those_of_a_session(self, looking: Looking) -> None:
        with hotswap.session():
            looking.apply("2")
            assert looking.core.asked() | looking.core.imported() == {"1"}
        assert looking.core.asked() | looking.core.imported() == {"2"}

    def test_what_old_code_writes_into_its_module_stays_there(self, looking: Looking) -> None:
        flow = looking.core.writes()
        assert next(flow) == "written"
        looking.core.C = "1"
        looking.apply("2")
        assert next(flow) == "written"
        assert looking.core.C == "2"

    def test_are_a_mapping_like_any_other(self, looking: Looking) -> None:
        flow = looking.core.others()
        next(flow)
        looking.apply("2")
        assert next(flow) == (False, None, True, True, True, True, True, True)

    def test_are_those_of_the_process_once_nothing_old_is_left(self, looking: Looking) -> None:
        flow, old = looking.core.rows(), vars(looking.core)
        next(flow)
        rollout = looking.apply("2")
        view, known = old["sys"], old["known"]
        assert view is not sys
        del flow
        assert rollout.drained.wait(20)
        assert view.modules[looking.core.__name__] is looking.core
        assert known[looking.core.__name__] is looking.core
        assert vars(looking.core)["sys"] is sys
        looking.patcher.rollback()
        assert vars(looking.core)["sys"] is sys


class TestDrain:
    """What is in place for old calls goes when the last of them has ended."""

    def test_takes_the_import_hook_off(self, core: Any) -> None:
        original = builtins.__import__
        suspended = core.rows()
        next(suspended)
        swap(core)
        assert builtins.__import__ is not original
        list(suspended)
        del suspended
        assert unhooked(original)

    def test_survives_a_collection(self, core: Any) -> None:
        original = builtins.__import__
        suspended = core.rows()
        next(suspended)
        swap(core)
        gc.collect()
        list(suspended)
        del suspended
        assert unhooked(original)

    def test_is_at_once_when_nothing_runs(self, core: Any) -> None:
        original = builtins.__import__
        swap(core)
        gc.collect()
        assert unhooked(original)

    def test_follows_a_rollback_too(self, core: Any) -> None:
        original = builtins.__import__
        patcher = swap(core)
        suspended = core.rows()
        next(suspended)
        patcher.rollback()
        assert builtins.__import__ is not original
        suspended.close()
        del suspended
        assert unhooked(original)


def test_the_locals_of_whoever_applies_die_when_it_returns(make_package: Callable[..., ModuleType]) -> None:
    """Staging looks at the frames of all threads; one that stays in a circle keeps the locals of every caller alive."""
    package = make_package({"core.py": "def f(): return 1\n"})
    core = importlib.import_module(f"{package.__name__}.core")
    patcher = hotswap.Patcher([package.__name__])

    class Local:
        pass

    def caller() -> weakref.ref[Local]:
        local = Local()
        patcher.apply(hotswap.Patch.from_sources({core.__name__: "def f(): return 2\n"}, version="2"))
        return weakref.ref(local)

    gc.disable()
    try:
        assert caller()() is None
    finally:
        gc.enable()


@pytest.mark.threads  # without them there are no forks
@pytest.mark.parametrize("steps", ["22b", "2b2b", "223b", "22b3b"])
@pytest.mark.parametrize("decorated", ["closure", "partial", "contextmanager", "singledispatch"])
def test_many_swaps_and_rollbacks_while_a_call_is_in_flight(
    make_package: Callable[..., ModuleType], steps: str, decorated: str
) -> None:
    """What decorators have made is led there and back as plain functions are: each version is whole, also after it."""
    source = """
        import contextlib, functools
        def deco(function):
            def wrapper(*args): return function(*args)
            return wrapper
        def helper({more}n): return "{v}"
        @deco
        def closure({more}n): return "{v}"
        partial = functools.partial(helper)
        @contextlib.contextmanager
        def managed({more}n): yield "{v}"
        def contextmanager({more}n):
            with managed({pass_}n) as found: return found
        @functools.singledispatch
        def singledispatch(n{last}): return "{v}"
        @singledispatch.register
        def _(n: int{last}): return "{v}"
        def start():
            while True: yield {{{name}({call}), "{v}"}}
        """

    def text(version: int) -> str:
        names = [f"z{number}" for number in range(version % 3)]
        zeros = ["0" for _ in names]
        single = decorated == "singledispatch"
        return textwrap.dedent(source).format(
            v=f"v{version}",
            more="".join(f"{name}, " for name in names),
            last="".join(f", {name}" for name in names),
            pass_="".join(f"{zero}, " for zero in zeros),
            name=decorated,
            call=", ".join(["1", *zeros] if single else [*zeros, "1"]),
        )

    package = make_package({"core.py": text(0)}).__name__
    core = importlib.import_module(f"{package}.core")
    patcher = hotswap.Patcher([package], handover=None)
    flight, live, version = core.start(), [0], 0
    assert next(flight) == {"v0"}
    for step in steps:
        if step == "b":
            patcher.rollback()
            live.pop()
        else:
            version += 1
            patcher.apply(hotswap.Patch.from_sources({core.__name__: text(version)}, version=str(version)))
            live.append(version)
        assert next(importlib.import_module(core.__name__).start()) == {f"v{live[-1]}"}
        assert next(flight) == {"v0"}
    del flight
    rollout = patcher.current
    assert rollout is None or rollout.drained.wait(10)
    assert next(importlib.import_module(core.__name__).start()) == {f"v{live[-1]}"}


@pytest.mark.threads  # without them there are no forks
def test_a_call_is_old_until_the_very_swap_that_brings_its_version_back(
    make_package: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version is about to be live again, and is not yet: what it asks for right before that is not the other's."""
    source = """
        class Thing:
            def kind(self): return "{v}"
        def helper({more}): return "{v}"
        def start():
            while True: yield {{helper({pass_}), Thing().kind(), "{v}"}}
        """
    old, new = (textwrap.dedent(source).format(v=v, more="z" * n, pass_="0" * n) for n, v in enumerate(("old", "new")))
    package = make_package({"core.py": old}).__name__
    core = importlib.import_module(f"{package}.core")
    rollout = hotswap.Patcher([package], handover=None).stage(
        hotswap.Patch.from_sources({core.__name__: new}, version="2")
    )
    rollout.verify()
    rollout.arm()
    flight = core.start()
    seen = [next(flight)]
    made = Writes._made

    def looked(writes: Writes, forward: bool, others: Any, crossing: Any, *args: Any, **kwargs: Any) -> float:
        if crossing is not None:  # otherwise something is settled, in a thread of its own
            seen.append(next(flight))
        return made(writes, forward, others, crossing, *args, **kwargs)

    monkeypatch.setattr(Writes, "_made", looked)
    for _ in range(3):
        rollout.commit()
        seen.append(next(flight))
        rollout.rollback()
        seen.append(next(flight))
    assert len(seen) > 12
    assert all(one == {"old"} for one in seen)
    flight.close()
    assert drained(rollout)
