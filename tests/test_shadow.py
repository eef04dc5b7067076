"""Shadow runs: the candidate beside live calls, which nobody gets an answer of, and what they show."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import importlib
import inspect
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog

import hotswap
from hotswap import Patch, Patcher, ShadowError, State, StateError, clock
from hotswap.shadows import runs
from hotswap.shadows.figures import Durations, Tally, brief
from hotswap.shadows.likeness import Likeness
from hotswap.shadows.pool import Pool
from hotswap.swap.forwarding import ways_of
from tests.shadowing import Service, awaited, known, wait
from tests.waiting import until

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]


@pytest.fixture
def made(make_package: Make) -> Iterator[Callable[..., Service]]:
    """Make armed services; what is armed is given up at the end."""
    services: list[Service] = []

    def make(*args: Any, **options: Any) -> Service:
        services.append(Service(make_package, *args, **options))
        return services[-1]

    yield make
    for service in services:
        if service.rollout.state in (State.ARMED, State.VERIFIED):
            service.rollout.abort()


def shadow_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("hotswap-shadow")]


class TestAnswers:
    def test_a_candidate_that_answers_the_same_is_found_the_same(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("tax.apply")
        assert [service.tax.apply(net) for net in (100, 200)] == [19, 38]
        wait(shadow, 2)
        assert (shadow.calls, shadow.compared, shadow.mismatched, shadow.mismatches) == (2, 2, 0, ())
        assert shadow.verdict() == "passed"
        assert shadow.verdict(min_calls=3) == "inconclusive"
        assert service.tax.seen == [False, False, True, True]  # one list, which both versions have

    def test_the_caller_never_gets_what_the_candidate_answers(self, made: Callable[..., Service]) -> None:
        service = made(more=5)
        shadow = service.shadow("tax.apply")
        held = service.tax.apply
        assert [held(100), held(100, rate=7)] == [19, 7]
        wait(shadow, 2)
        assert shadow.mismatched == 2
        assert sorted(map(str, shadow.mismatches)) == ["(100, 19): 19, and now 24", "(100, 7): 7, and now 12"]
        assert shadow.verdict() == "failed"
        assert shadow.verdict(max_mismatches=2) == "passed"

    def test_a_function_that_the_patch_leaves_alone_meets_the_helpers_of_the_candidate(
        self, made: Callable[..., Service]
    ) -> None:
        service = made(more=5)
        shadow = service.shadow("pricing.quote")
        assert service.pricing.quote(100)["tax"] == 19
        wait(shadow, 1)
        (mismatch,) = shadow.mismatches
        assert "'tax': 19" in mismatch.old
        assert "'tax': 24" in mismatch.new

    def test_methods_through_bound_methods_that_were_taken_before(self, made: Callable[..., Service]) -> None:
        service = made(more=5)
        till = service.tax.Till()
        add = till.add
        shadow, state = service.shadow("tax.Till.add"), service.shadow("tax.Till.state")
        assert [add(3), till.add(4), till.state] == [3, 7, 7]
        wait(shadow, 2)
        wait(state, 1)
        assert shadow.mismatched == 2
        assert state.mismatched == 1
        assert till.count == 7  # it was the copy that the candidate has added to

    def test_every_kind_of_parameter_goes_through(self, made: Callable[..., Service]) -> None:
        service = made(more=1)
        shadow = service.shadow("tax.Till.opened")
        assert service.tax.Till.opened(1) == (1, (), "here", {}, 0)
        assert service.tax.Till.opened(1, 2, 3, where="there", x=4) == (1, (2, 3), "there", {"x": 4}, 0)
        with pytest.raises(TypeError, match=r"opened\(\) missing 1 required positional argument: 'when'"):
            service.tax.Till.opened()
        wait(shadow, 2)
        assert shadow.calls == 2
        assert {mismatch.arguments for mismatch in shadow.mismatches} == {
            "1, where='here'",
            "1, 2, 3, where='there', x=4",
        }

    def test_names_of_parameters_may_be_ours(self, make_package: Make) -> None:
        source = "def f(_hotswap_tap, _hotswap_seen=2, *_hotswap_answer, _hotswap_error=4): return {0}\n"
        package = make_package({"core.py": source.format("_hotswap_tap")}).__name__
        core: Any = importlib.import_module(f"{package}.core")
        with Patcher([package]).stage(
            Patch.from_sources({core.__name__: source.format("_hotswap_error")}, version="2")
        ) as rollout:
            rollout.verify()
            rollout.arm()
            shadow = rollout.shadow(f"{package}.core.f", share=1.0)
            assert core.f(1) == 1
            wait(shadow, 1)
            assert shadow.mismatched == 1

    def test_exceptions_are_compared_by_type_and_text(self, make_package: Make) -> None:
        source = "class Bad(Exception): pass\ndef f(n):\n    raise {0}\n"
        package = make_package({"core.py": source.format("Bad(n)")}).__name__
        core: Any = importlib.import_module(f"{package}.core")
        new = source.format("Bad(n) if n < 2 else Bad('other') if n < 3 else KeyError(n)")
        with Patcher([package]).stage(Patch.from_sources({core.__name__: new}, version="2")) as rollout:
            rollout.verify()
            rollout.arm()
            shadow = rollout.shadow(f"{package}.core.f", share=1.0, workers=1)
            for number in (1, 2, 3):
                with pytest.raises(core.Bad, match=str(number)):
                    core.f(number)
            wait(shadow, 3)
            told = [(one.old, one.new) for one in shadow.mismatches]
            assert told == [("raised Bad: 2", "raised Bad: other"), ("raised Bad: 3", "raised KeyError: 3")]

    def test_a_candidate_that_became_a_coroutine_function_is_a_mismatch(self, make_package: Make) -> None:
        package = make_package({"core.py": "def f(n): return n\n"}).__name__
        core: Any = importlib.import_module(f"{package}.core")
        with Patcher([package]).stage(
            Patch.from_sources({core.__name__: "async def f(n): return n\n"}, version="2")
        ) as rollout:
            rollout.verify()
            rollout.arm()
            shadow = rollout.shadow(f"{package}.core.f", share=1.0)
            assert core.f(1) == 1
            wait(shadow, 1)
            assert [str(one) for one in shadow.mismatches] == ["(1): 1, and now a coroutine"]


class TestLiveCalls:
    def test_traceback_has_nothing_of_the_tap(self, made: Callable[..., Service]) -> None:
        service = made()

        def told() -> list[str]:
            try:
                service.pricing.quote(-1)
            except ValueError as error:
                return [frame.line or "" for frame in traceback.extract_tb(error.__traceback__)][1:]
            raise AssertionError

        before = told()
        shadow = service.shadow("pricing.quote")
        assert told() == before == ['raise ValueError(f"negative: {net}")']
        wait(shadow, 1)
        assert shadow.mismatched == 0
        shadow.end()
        with service.shadow("pricing.quote", share=lambda *_, **__: False):
            assert told() == before

    def test_what_it_looks_like_stays(self, made: Callable[..., Service]) -> None:
        service = made()
        quote = service.pricing.quote
        before = (
            str(inspect.signature(quote)),
            quote.__name__,
            quote.__defaults__,
            quote.__kwdefaults__,
            quote.__doc__,
        )
        with service.shadow("pricing.quote"):
            assert (
                str(inspect.signature(quote)),
                quote.__name__,
                quote.__defaults__,
                quote.__kwdefaults__,
                quote.__doc__,
            ) == before
            assert quote.__code__.co_filename.endswith("pricing.py")

    def test_arguments_are_copied_before_the_call(self, make_package: Make) -> None:
        source = "def f(one, other):\n    one.append(1)\n    return one, other{0}\n"
        package = make_package({"core.py": source.format("")}).__name__
        core: Any = importlib.import_module(f"{package}.core")
        with Patcher([package]).stage(
            Patch.from_sources({core.__name__: source.format("[:]")}, version="2")
        ) as rollout:
            rollout.verify()
            rollout.arm()
            shadow = rollout.shadow(f"{package}.core.f", share=1.0)
            items: list[int] = []
            answer = core.f(items, items)
            answer[0].append(2)  # what the caller does with the answer is not the live code's
            wait(shadow, 1)
            assert items == [1, 2]
            assert shadow.mismatched == 0  # what the arguments share is shared by the copies

    @pytest.mark.parametrize("where", ["arguments", "answer"])
    def test_what_can_not_be_copied_is_counted_and_never_reaches_the_caller(
        self, made: Callable[..., Service], where: str
    ) -> None:
        service = made()
        shadow = service.shadow("pricing.quote")

        class Stubborn(int):
            def __deepcopy__(self, _: object) -> Any:
                if (self > 0) == (where == "arguments"):
                    raise RuntimeError("no copy")
                return Stubborn(-1 * self)

            def __neg__(self) -> Any:
                return self

        if where == "arguments":
            assert service.pricing.quote(Stubborn(7))["net"] == 7
        else:
            service.tax.gate = None
            with service.shadow("pricing.outer", copy=_copies_arguments_only()) as other:
                assert service.pricing.outer(100) == 19
                wait(other, 1)
                assert other.last_error == "copying the answer failed: RuntimeError: no copy"
            return
        wait(shadow, 1)
        assert (shadow.compared, shadow.errors) == (0, 1)
        assert shadow.last_error == "copying the arguments failed: RuntimeError: no copy"
        assert shadow.verdict() == "inconclusive"

    def test_interrupts_are_no_answer(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("tax.apply")

        def interrupt(_: object) -> None:
            raise KeyboardInterrupt

        service.tax.gate = interrupt
        with pytest.raises(KeyboardInterrupt):
            service.tax.apply(1)
        service.tax.gate = None
        assert (shadow.calls, shadow.left_out) == (1, 1)

    def test_context_of_the_caller_holds_in_the_run(self, made: Callable[..., Service]) -> None:
        service = made()
        user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
        shadow = service.shadow("tax.apply")
        users: list[str] = []
        service.new.gate = lambda _: users.append(user.get())
        user.set("Ada")
        with hotswap.session():
            service.tax.apply(1)
            wait(shadow, 1)
        assert users == ["Ada"]


def _ways(function: Any) -> Any:
    return ways_of(function.__code__)


def _copies_arguments_only() -> Callable[[Any], Any]:
    copied: list[Any] = []

    def once(value: Any) -> Any:
        copied.append(value)
        if len(copied) > 1:
            raise RuntimeError("no copy")
        return value

    return once


class TestChoosing:
    def test_share_is_drawn_from_the_seed(self, made: Callable[..., Service]) -> None:
        service = made()
        counts = []
        for _ in range(2):
            with service.shadow("tax.apply", share=0.3, seed=7, pending=1000) as shadow:
                for net in range(100):
                    service.tax.apply(net)
                assert until(lambda: len(shadow._places) == 1000)
                assert shadow.calls == 100
                counts.append(shadow.compared)
        assert counts[0] == counts[1]
        assert 15 < counts[0] < 45

    def test_a_callable_chooses_by_the_arguments(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("tax.apply", share=lambda net, rate: net > 50)
        for net in (1, 100, 2):
            service.tax.apply(net)
        wait(shadow, 1)
        assert (shadow.calls, shadow.compared) == (3, 1)

    def test_a_callable_that_raises_is_counted(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("tax.apply", share=lambda net: True)
        assert service.tax.apply(100) == 19
        wait(shadow, 1)
        assert shadow.last_error.startswith("choosing a call failed: TypeError: ")

    def test_who_is_on_the_candidate_is_not_shadowed(self, made: Callable[..., Service]) -> None:
        service = made(more=5)
        shadows = service.shadow("tax.apply"), service.shadow("pricing.quote")
        with service.rollout.preview():
            assert service.pricing.quote(100)["tax"] == 24
        assert [shadow.calls for shadow in shadows] == [0, 0]

    def test_calls_within_calls_count_once_each_and_runs_are_not_shadowed(self, made: Callable[..., Service]) -> None:
        service = made()
        outer, quote, apply = (service.shadow(name) for name in ("pricing.outer", "pricing.quote", "tax.apply"))
        assert service.pricing.outer(100) == 19
        for shadow in (outer, quote, apply):
            wait(shadow, 1)
        assert [shadow.calls for shadow in (outer, quote, apply)] == [1, 1, 1]
        assert sorted(service.tax.seen) == [False, True, True, True]

    def test_recursion_counts_each_call(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("pricing.deep")
        assert service.pricing.deep(3) == 0
        wait(shadow, 4)
        assert shadow.mismatched == 0


class TestComparing:
    def test_ignored_names_are_left_out_however_deep(self, made: Callable[..., Service]) -> None:
        service = made(more=5)
        shadow = service.shadow("pricing.quote", ignore=["tax"])
        service.pricing.quote(100)
        wait(shadow, 1)
        assert (shadow.compared, shadow.mismatched) == (1, 0)

    def test_ignored_exceptions_are_not_compared(self, made: Callable[..., Service]) -> None:
        service = made(more=5)
        shadow = service.shadow("pricing.quote", ignore=[ValueError])
        with pytest.raises(ValueError, match="negative"):
            service.pricing.quote(-1)
        wait(shadow, 1)
        assert (shadow.compared, shadow.left_out) == (0, 1)

    def test_own_comparison(self, made: Callable[..., Service]) -> None:
        service = made(more=5)
        shadow = service.shadow("tax.apply", compare=lambda old, new: abs(old - new) < 10)
        service.tax.apply(100)
        wait(shadow, 1)
        assert (shadow.compared, shadow.mismatched) == (1, 0)

    def test_comparison_that_raises_is_counted(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("tax.apply", compare=lambda old, new: old.missing)
        service.tax.apply(100)
        wait(shadow, 1)
        assert shadow.last_error.startswith("comparing the answers failed: AttributeError: ")
        assert shadow.compared == 0

    def test_likeness(self) -> None:
        class Plain:
            def __init__(self, **facts: object) -> None:
                vars(self).update(facts)

        class Slotted:
            __slots__ = ("a", "b")

        class Amount(float):
            pass

        def slotted(value: object) -> Slotted:
            made = Slotted()
            made.a = value  # type: ignore[attr-defined]  # mypy takes slots for no declaration
            return made

        same = Likeness().compare
        assert same(Plain(a=[Plain(b=1)]), Plain(a=[Plain(b=1)]))
        assert not same(Plain(a=[Plain(b=1)]), Plain(a=[Plain(b=2)]))
        assert not same(Plain(a=1), Plain(a=1, b=2))
        assert same({"a": (float("nan"), object())}, {"a": (float("nan"), object())})
        assert not same({"a": 1}, {"a": 1, "b": 2})
        assert not same([1], (1,))
        assert same(slotted(1), slotted(1))
        assert not same(slotted(1), slotted(2))
        assert same(1, 1.0)
        circle: list[Any] = []
        circle.append(circle)
        other = copy.deepcopy(circle)
        assert same(circle, other)
        without = Likeness({"at"}).compare
        assert without({"at": 1, "b": Plain(at=2)}, {"b": Plain(at=3)})
        one, two = Amount(1), Amount(2)
        one.at = two.at = 1  # type: ignore[attr-defined]  # it has a dict of attributes as well
        assert not without(one, two)


class TestOverload:
    def test_what_comes_above_is_dropped_before_it_is_copied(self, made: Callable[..., Service]) -> None:
        service = made()
        copied: list[object] = []

        def copying(value: object) -> object:
            copied.append(value)
            return value

        shadow = service.shadow("tax.apply", workers=1, pending=2, copy=copying)
        hold = threading.Event()
        service.new.gate = lambda _: hold.wait(20)
        for _ in range(5):
            assert service.tax.apply(100) == 19
        assert (shadow.calls, shadow.dropped, len(copied)) == (5, 3, 2 * 3)
        hold.set()
        wait(shadow, 5)
        assert shadow.compared == 2
        service.tax.apply(100)
        wait(shadow, 6)

    def test_a_run_that_hangs_is_ended_when_its_time_is_up(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("tax.apply", workers=1, timeout=0.05)
        over = threading.Event()

        def forever(net: int) -> None:
            try:
                while net == 1:
                    pass
            finally:
                over.set()

        service.new.gate = forever
        service.tax.apply(1)
        service.tax.apply(2)
        wait(shadow, 2)
        assert over.is_set()
        assert (shadow.timed_out, shadow.compared) == (1, 1)  # the thread goes on
        assert shadow.verdict() == "failed"
        assert shadow.verdict(max_mismatches=1) == "passed"

    def test_one_that_waits_in_c_keeps_its_thread_and_the_rest_is_dropped(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("tax.apply", workers=1, timeout=0.01, pending=1)
        hold = threading.Lock()
        hold.acquire()
        service.new.gate = lambda _: hold.acquire()
        service.tax.apply(1)
        assert until(lambda: shadow.timed_out)
        for _ in range(3):
            service.tax.apply(1)
        assert shadow.dropped == 3
        assert len(shadow_threads()) == 1
        hold.release()
        assert until(lambda: len(shadow._places) == 1)


class TestCoroutines:
    def test_runs_on_the_loop_of_the_caller(self, made: Callable[..., Service]) -> None:
        service = made(more=5)
        shadow = service.shadow("tax.ask")
        loops: list[object] = []
        service.new.gate = lambda _: loops.append((asyncio.get_running_loop(), hotswap.is_shadow()))

        async def main() -> tuple[int, object]:
            assert inspect.iscoroutinefunction(service.tax.ask)
            coroutine = service.tax.ask(1)
            assert inspect.iscoroutine(coroutine)
            assert coroutine.__qualname__ == "ask"
            answer = await coroutine
            await awaited(lambda: known(shadow))
            return answer, (asyncio.get_running_loop(), True)

        answer, where = asyncio.run(main())
        assert answer == 1
        assert loops == [where]
        assert [(one.old, one.new) for one in shadow.mismatches] == [("1", "6")]

    def test_traceback_and_cancellation_are_those_of_the_function(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("tax.ask")

        def fails(net: int) -> None:
            raise LookupError(net)

        async def main() -> list[str]:
            service.tax.gate = fails
            with pytest.raises(LookupError) as caught:
                await service.tax.ask(1)
            service.tax.gate = None
            task = asyncio.create_task(service.tax.ask(2))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await awaited(lambda: known(shadow) == 2)
            return [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]

        assert asyncio.run(main()) == ["main", "ask", "fails"]
        assert (shadow.left_out, shadow.mismatched) == (1, 1)

    def test_one_that_is_never_awaited_gives_its_place_back(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("tax.ask", pending=1)
        coroutine = service.tax.ask(1)
        assert not shadow._places
        coroutine.close()
        del coroutine
        assert until(lambda: len(shadow._places) == 1)

    def test_bounded_and_late(self, made: Callable[..., Service]) -> None:
        source = "import asyncio\nasync def ask(net):\n    await asyncio.sleep(60)\n    return net\n"
        source += "def apply(net, rate=19): return 0\nclass Till:\n    def add(self, net): return 0\n"
        service = made(source=source)
        shadow = service.shadow("tax.ask", workers=1, timeout=0.05)

        async def main() -> None:
            await service.tax.ask(1)
            await service.tax.ask(2)
            assert shadow.dropped == 1
            await awaited(lambda: shadow.timed_out)

        asyncio.run(main())
        assert (shadow.compared, shadow.timed_out) == (0, 1)

    def test_the_end_of_the_loop_ends_runs(self, made: Callable[..., Service]) -> None:
        source = "import asyncio\nasync def ask(net):\n    await asyncio.sleep(60)\n"
        source += "def apply(net, rate=19): return 0\n"
        service = made(source=source)
        shadow = service.shadow("tax.ask")
        asyncio.run(service.tax.ask(1))
        assert (shadow.left_out, shadow.compared) == (1, 0)
        assert until(lambda: len(shadow._places) == 100)

    def test_one_that_holds_the_loop_up_ends_the_shadow(
        self, made: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runs, "LONGEST_STEP", -1.0)  # whatever it takes is too long
        service = made()
        shadow = service.shadow("tax.ask")

        async def main() -> int:
            answer: int = await service.tax.ask(1)
            await awaited(lambda: shadow.is_over)
            await service.tax.ask(2)
            return answer

        assert asyncio.run(main()) == 1
        assert shadow.calls == 1
        assert shadow.stopped.startswith("the candidate has held the event loop up for ")
        assert shadow.verdict() == "failed"
        assert until(lambda: not shadow_threads())

    @pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="new in Python 3.12")
    def test_a_loop_that_begins_tasks_at_once_does_not_run_it_within_the_live_call(
        self, made: Callable[..., Service]
    ) -> None:
        service = made()
        shadow = service.shadow("tax.ask")
        order: list[str] = []
        service.new.gate = lambda _: order.append("candidate")

        async def main() -> None:
            factory: Any = vars(asyncio)["eager_task_factory"]
            asyncio.get_running_loop().set_task_factory(factory)
            await service.tax.ask(1)
            order.append("answered")
            await awaited(lambda: known(shadow))

        asyncio.run(main())
        assert order == ["answered", "candidate"]
        assert (shadow.compared, shadow.mismatched) == (1, 0)

    def test_without_asyncio_it_is_in_trouble(self, made: Callable[..., Service]) -> None:
        service = made(source="async def ask(net): return net\ndef apply(net, rate=19): return 0\n")
        service.tax.gate = None
        shadow = service.shadow("tax.ask", share=1.0)
        coroutine = service.tax.ask(1)
        with pytest.raises(StopIteration) as end:
            while True:
                coroutine.send(None)  # as another kind of event loop does
        assert end.value.value == 1
        assert shadow.last_error.startswith("starting a task failed: RuntimeError")

    def test_is_shadow_holds_for_tasks_and_threads_of_a_run(self, made: Callable[..., Service]) -> None:
        source = "import asyncio\nimport hotswap\nfound = []\nasync def ask(net):\n"
        source += "    async def inner(): found.append(hotswap.is_shadow())\n"
        source += (
            "    await asyncio.create_task(inner())\n    found.append(await asyncio.to_thread(hotswap.is_shadow))\n"
        )
        source += "    return net\ndef apply(net, rate=19): return 0\n"
        service = made(source=source)
        shadow = service.shadow("tax.ask")

        async def main() -> None:
            await service.tax.ask(1)
            await awaited(lambda: known(shadow))

        asyncio.run(main())
        assert service.new.found == [True, True]
        assert not hotswap.is_shadow()


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("tax.numbers", "is a generator"),
            ("tax.missing", "there is no such function"),
            ("tax.seen", "no function written in Python, but a list"),
            ("tax.Till", "a class; give the name of its method"),
            ("tax.apply.name", "apply is no class"),
        ],
    )
    def test_what_can_not_be_shadowed(self, made: Callable[..., Service], name: str, why: str) -> None:
        service = made()
        with pytest.raises(ShadowError, match=why) as refused:
            service.shadow(name)
        assert refused.value.running
        assert service.rollout.shadows == ()
        assert not shadow_threads()

    def test_other_packages(self, made: Callable[..., Service]) -> None:
        rollout = made().rollout
        with pytest.raises(ShadowError, match="of no package that this patcher manages"):
            rollout.shadow("json.dumps")
        with pytest.raises(ShadowError, match="of no package"):
            rollout.shadow("nothing")

    def test_what_the_patch_takes_away(self, made: Callable[..., Service]) -> None:
        service = made(source="def apply(net, rate=19): return 0\nasync def ask(net): return 0\n")
        with pytest.raises(ShadowError, match="the patch has no such function any more"):
            service.shadow("tax.numbers".replace("numbers", "Till.add"))

    def test_cached_ones(self, make_package: Make) -> None:
        source = "import functools\n@functools.lru_cache\ndef rate(n): return {0}\n"
        package = make_package({"core.py": source.format(1)}).__name__
        importlib.import_module(f"{package}.core")
        with Patcher([package]).stage(
            Patch.from_sources({f"{package}.core": source.format(2)}, version="2")
        ) as rollout:
            rollout.verify()
            rollout.arm()
            with pytest.raises(ShadowError, match="a function under a cache"):
                rollout.shadow(f"{package}.core.rate")

    def test_twice(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("tax.apply")
        with pytest.raises(ShadowError, match="shadowed already"):
            service.shadow("tax.apply")
        shadow.end()
        service.shadow("tax.apply").end()

    def test_a_rollout_that_is_not_armed(self, made: Callable[..., Service]) -> None:
        service = made()
        service.rollout.disarm()
        with pytest.raises(StateError, match="can't be shadowed"):
            service.shadow("tax.apply")

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"share": 0}, ValueError),
            ({"share": 1.5}, ValueError),
            ({"share": True}, TypeError),
            ({"share": "all"}, TypeError),
            ({"copy": 1}, TypeError),
            ({"compare": "=="}, TypeError),
            ({"ignore": "at"}, TypeError),
            ({"ignore": [1]}, TypeError),
            ({"ignore": ["at"], "compare": max}, ValueError),
            ({"timeout": 0}, ValueError),
            ({"workers": 0}, ValueError),
            ({"workers": None}, TypeError),
            ({"pending": 0}, ValueError),
            ({"limit": -1}, ValueError),
            ({"limit": 1.5}, TypeError),
        ],
    )
    def test_options_that_make_no_sense(
        self, made: Callable[..., Service], options: dict[str, Any], error: type[Exception]
    ) -> None:
        service = made()
        with pytest.raises(error):
            service.shadow("tax.apply", **options)
        assert not shadow_threads()


class TestDecorated:
    def test_wrappers_of_decorators(self, make_package: Make) -> None:
        source = "from {0}.deco import timed\n@timed\ndef f(n): return n + {1}\n"
        deco = "import functools\ndef timed(f):\n    @functools.wraps(f)\n    def inner(*args, **kwargs):\n"
        deco += "        return f(*args, **kwargs), 'timed'\n    return inner\n"
        package = make_package({"deco.py": deco}).__name__
        folder = Path(importlib.import_module(package).__path__[0])
        (folder / "core.py").write_text(source.format(package, 0), encoding="utf-8")
        core: Any = importlib.import_module(f"{package}.core")
        code = id(core.f.__code__)
        with Patcher([package]).stage(
            Patch.from_sources({core.__name__: source.format(package, 5)}, version="2")
        ) as rollout:
            rollout.verify()
            rollout.arm()
            shadow = rollout.shadow(f"{package}.core.f", share=1.0)
            assert core.f(1) == (1, "timed")
            wait(shadow, 1)
            assert [(one.old, one.new) for one in shadow.mismatches] == [("(1, 'timed')", "(6, 'timed')")]
        assert id(core.f.__code__) == code


class TestEnds:
    def codes(self, service: Service) -> list[int]:
        tax, pricing = service.tax, service.pricing
        return [id(one.__code__) for one in (tax.apply, tax.Till.add, tax.ask, pricing.quote, pricing.outer)]

    def shadowed(self, service: Service) -> list[Any]:
        return [service.shadow(name) for name in ("tax.apply", "tax.Till.add", "tax.ask", "pricing.quote")]

    def test_end_leaves_the_forks_of_arming_as_they_were(self, made: Callable[..., Service]) -> None:
        service = made()
        before = self.codes(service)
        seen: Any = _ways(service.tax.apply).own
        plain = seen.__code__
        shadows = self.shadowed(service)
        assert seen.__code__ is not plain
        for shadow in shadows:
            shadow.end()
            shadow.end()
        assert self.codes(service) == before
        assert seen.__code__ is plain
        assert until(lambda: not shadow_threads())

    @pytest.mark.parametrize("how", ["disarm", "abort", "commit"])
    def test_it_ends_with_the_armed_state(self, made: Callable[..., Service], make_package: Make, how: str) -> None:
        service = made(more=5)
        service.rollout.disarm()
        before = self.codes(service)
        service.rollout.arm()
        shadows = self.shadowed(service)
        assert service.pricing.quote(100)["tax"] == 19
        wait(shadows[0], 1)
        getattr(service.rollout, how)()
        assert all(shadow.is_over for shadow in shadows)
        assert until(lambda: not shadow_threads())
        count = shadows[0].calls
        assert service.pricing.quote(100)["tax"] == (24 if how == "commit" else 19)
        assert shadows[0].calls == count
        if how != "commit":
            assert self.codes(service) == before
        else:
            assert self.codes(service)[3:] == before[3:]
            assert service.rollout.drained.wait(20)
            assert service.rollout.audit() == ()
            service.rollout.rollback()
            assert service.pricing.quote(100)["tax"] == 19
        with pytest.raises(StateError):
            service.shadow("tax.apply")

    def test_a_rollback_of_what_is_live_ends_it(self, make_package: Make) -> None:
        service = Service(make_package, more=5)
        service.rollout.commit()
        assert service.rollout.drained.wait(20)
        third = Patch.from_sources({f"{service.package}.tax": "def apply(net, rate=19): return 7\n"}, version="3")
        rollout = service.patcher.stage(third)
        rollout.verify()
        rollout.arm()
        shadow = rollout.shadow(f"{service.package}.pricing.quote", share=1.0)
        other = rollout.shadow(f"{service.package}.tax.apply", share=1.0)
        assert service.pricing.quote(100)["tax"] == 24
        wait(shadow, 1)
        service.patcher.rollback()
        assert rollout.state is State.REJECTED
        assert (shadow.is_over, other.is_over) == (True, True)
        assert service.pricing.quote(100)["tax"] == 19

    def test_a_call_under_way_when_it_ends_goes_through(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("tax.apply")
        service.tax.gate = lambda _: shadow.end()
        assert service.tax.apply(100) == 19
        service.tax.gate = None
        assert shadow.compared == 0
        assert until(lambda: len(shadow._places) == 100)
        assert service.tax.apply(100) == 19

    def test_a_run_under_way_stays_on_the_candidate(self, made: Callable[..., Service]) -> None:
        service = made(more=5)
        shadow = service.shadow("pricing.quote", workers=1)
        began, go, got = threading.Event(), threading.Event(), []

        def hold(net: int) -> None:
            began.set()
            go.wait(20)
            got.append(service.pricing.apply(100))

        service.new.gate = hold
        new = service.new
        service.pricing.quote(100)
        assert began.wait(20)
        service.rollout.disarm()
        new.gate = None
        go.set()
        assert until(lambda: got)
        assert until(lambda: not shadow_threads())
        assert service.tax.seen == [False, True, True]
        assert got == [24]
        assert shadow.compared == 0

    def test_what_comes_when_the_pool_has_ended_is_dropped(self) -> None:
        """A live call may have been chosen just before: what it puts in would hold the candidate for ever."""

        class Work:
            context = contextvars.copy_context()

            def work(self) -> None:
                raise AssertionError("it is not begun")

            def overdue(self) -> None:
                raise AssertionError("nor late")

            def ended(self) -> None:
                raise AssertionError("nor ended")

        pool = Pool("hotswap-shadow test", 2, 5.0)
        pool.start()
        pool.end()
        work = Work()
        gone = weakref.ref(work)
        pool.put(work)
        del work
        assert gone() is None
        assert until(lambda: not shadow_threads())

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
    def test_a_child_of_a_fork_has_none(self, made: Callable[..., Service]) -> None:
        service = made()
        shadow = service.shadow("pricing.quote")
        before = shadow.calls
        child = os.fork()
        if not child:
            try:
                plain = service.pricing.quote(100)["tax"] == 19 and shadow.calls == before
                os._exit(0 if plain and "pricing" in service.pricing.quote.__code__.co_filename else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        service.pricing.quote(100)
        wait(shadow, 1)

    def test_where_no_thread_can_be_started(
        self, made: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = made()
        code = service.pricing.quote.__code__

        def fails(_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fails)
            with pytest.raises(ShadowError, match="no thread can be started: can't start new thread"):
                service.shadow("pricing.quote")
        assert service.pricing.quote.__code__ is code
        assert service.rollout.shadows == ()


class TestTold:
    def test_events_and_report(self, made: Callable[..., Service]) -> None:
        service = made(more=5)
        with structlog.testing.capture_logs() as events:
            shadow = service.shadow("tax.apply", workers=1)
            for net in (100, 200, 300):
                service.tax.apply(net)
            wait(shadow, 3)
            service.rollout.abort()
        told = [event for event in events if event["event"].startswith("shadow.")]
        assert [event["event"] for event in told] == ["shadow.mismatch", "shadow.ended"]  # one in ten seconds
        assert told[0]["arguments"] == "100, 19"
        assert (told[0]["old"], told[0]["new"]) == ("19", "24")
        assert (told[1]["verdict"], told[1]["calls"], told[1]["mismatched"]) == ("failed", 3, 3)
        (record,) = service.patcher.history()
        (result,) = record.report
        assert (result.name, result.verdict) == (f"shadow of {service.package}.tax.apply", "failed")
        assert result.message == "3 live calls, 3 compared, 3 answered otherwise"
        assert result.detail.splitlines()[0] == "(100, 19): 19, and now 24"
        assert "3 answered otherwise" in repr(shadow)
        assert (
            str(shadow).splitlines()[0].endswith(".tax.apply: failed; 3 live calls, 3 compared, 3 answered otherwise")
        )

    def test_without_a_limit_it_is_no_check_that_failed(self, made: Callable[..., Service]) -> None:
        """What is live has passed, whatever was seen: nobody said how much is too much."""
        service = made(more=5)
        shadow = service.shadow("tax.apply")
        service.tax.apply(100)
        wait(shadow, 1)
        service.shadow("tax.ask")  # is never called
        service.rollout.commit()
        assert sorted(result.verdict for result in service.rollout.report) == ["failed", "inconclusive"]
        assert service.rollout.report.passed

    def test_mismatches_are_told_again_after_a_while(
        self, made: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = made(more=5)
        now = [0.0]
        monkeypatch.setattr(clock, "now", lambda: now[0])
        with structlog.testing.capture_logs() as events:
            shadow = service.shadow("tax.apply", workers=1)
            for count, moment in enumerate((0.0, 9.0, 11.0), start=1):
                now[0] = moment
                service.tax.apply(100)
                wait(shadow, count)
            service.rollout.disarm()
        told = [event["mismatched"] for event in events if event["event"] == "shadow.mismatch"]
        assert told == [1, 3]

    def test_examples_are_bounded(self, made: Callable[..., Service]) -> None:
        service = made(more=5)
        shadow = service.shadow("tax.apply", pending=1000)
        for net in range(50):
            service.tax.apply(net)
        wait(shadow, 50)
        assert (shadow.mismatched, len(shadow.mismatches)) == (50, 20)
        assert max(shadow.old.median, shadow.new.median) > 0

    def test_limit_rejects_the_rollout(self, made: Callable[..., Service]) -> None:
        service = made(more=5)
        shadow = service.shadow("tax.apply", limit=1)
        service.tax.apply(100)
        wait(shadow, 1)
        assert service.rollout.state is State.ARMED
        service.tax.apply(200)
        assert until(lambda: service.rollout.state is State.REJECTED)
        assert "2 answered otherwise; more than 1" in service.rollout.reason
        assert until(lambda: not shadow_threads())
        assert until(lambda: service.patcher.current is None)
        assert service.tax.apply(100) == 19

    def test_late_runs_count_against_the_limit(self, made: Callable[..., Service]) -> None:
        service = made()
        service.shadow("tax.apply", limit=0, timeout=0.01)
        hold = threading.Event()
        service.new.gate = lambda _: hold.wait(20)
        service.tax.apply(100)
        assert until(lambda: service.rollout.state is State.REJECTED)
        hold.set()


class TestFigures:
    def test_tally_counts_what_threads_add(self) -> None:
        tally = Tally()
        threads = [threading.Thread(target=lambda: [tally.add() for _ in range(1000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert tally.value == 4000

    def test_quantiles(self) -> None:
        durations = Durations()
        assert durations.quantiles.median == 0.0
        durations.add(1.0)
        assert (durations.quantiles.median, durations.quantiles.p99, durations.quantiles.worst) == (1.0, 1.0, 1.0)
        for number in range(1, 101):
            durations.add(float(number))
        assert durations.quantiles.median == 50.0
        assert 94 <= durations.quantiles.p95 <= 96
        assert durations.quantiles.worst == 100.0

    def test_texts_are_short(self) -> None:
        assert len(brief(list(range(10_000)))) < 100
        assert len(brief("x" * 10_000)) < 150
        assert "functools" in brief(functools.partial(print))
