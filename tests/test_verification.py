"""Judging a candidate: verdicts, messages, names and reports."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import math
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any, NoReturn

import pytest

from hotswap.verification import (
    Candidate,
    Check,
    CheckResult,
    Report,
    Verdict,
    current_token,
    is_inside_check,
    run_checks,
)

LONG = 30.0  # seconds for what is expected to happen at once: only a broken test waits that long


def judge(
    function: Callable[[Candidate], object],
    *,
    timeout: float = LONG,
    token: object | None = None,
) -> CheckResult:
    """The result of one check."""
    (result,) = run_checks([Check("subject", function, timeout)], {}, token=token)
    return result


class NumpyBool:
    def __init__(self, value: bool) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return self.value


NumpyBool.__name__ = "bool_"


class Falsy:
    def __bool__(self) -> bool:
        return False


def raising(error: BaseException) -> Callable[[Candidate], None]:
    """A check that raises this."""

    def check(_: Candidate) -> None:
        raise error

    return check


class TestVerdicts:
    @pytest.mark.parametrize("value", [None, True, 1, 0, "", "text", [], {}, Falsy(), NumpyBool(True), object()])
    def test_whatever_is_returned_passes(self, value: object) -> None:
        result = judge(lambda _: value)
        assert (result.verdict, result.detail) == (Verdict.PASSED, "")

    @pytest.mark.parametrize("value", [False, NumpyBool(False)])
    def test_but_for_false(self, value: object) -> None:
        result = judge(lambda _: value)
        assert result.verdict is Verdict.FAILED
        assert "returned False" in result.message

    @pytest.mark.parametrize("verdict", Verdict)
    def test_one_that_is_returned_is_the_verdict(self, verdict: Verdict) -> None:
        assert judge(lambda _: verdict).verdict is verdict

    def test_an_assertion_fails(self) -> None:
        def check(_: Candidate) -> None:
            raise AssertionError("arithmetic")

        result = judge(check)
        assert result.verdict is Verdict.FAILED
        assert "AssertionError: arithmetic" in result.message

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("wrong"),
            SystemExit(3),
            GeneratorExit(),
            StopIteration(1),
            asyncio.CancelledError(),
            RecursionError("deep"),
            BaseExceptionGroup("several", [SystemExit()]),
            BaseException("base"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_any_other_exception_is_an_error(self, error: BaseException) -> None:
        def check(_: Candidate) -> NoReturn:
            raise error

        result = judge(check)
        assert result.verdict is Verdict.ERROR
        assert result.message.startswith(type(error).__name__)
        assert type(error).__name__ in result.detail

    @pytest.mark.threads  # an async check runs in an event loop
    def test_an_assertion_in_a_task_of_a_group_fails(self) -> None:
        async def compare() -> None:
            raise AssertionError("arithmetic")

        async def breaks() -> None:
            raise OSError("the network is gone")

        async def check(_: Candidate) -> None:
            async with asyncio.TaskGroup() as outer:
                outer.create_task(breaks())
                async with asyncio.TaskGroup() as inner:
                    inner.create_task(compare())

        result = judge(check)
        assert result.verdict is Verdict.FAILED
        assert result.message.startswith("AssertionError: arithmetic (test_verification.py:")
        assert "OSError: the network is gone" in result.detail

    def test_groups_are_looked_into_only_so_far(self) -> None:
        many = [ValueError() for _ in range(997)]
        assert judge(raising(ExceptionGroup("several", [*many, AssertionError()]))).verdict is Verdict.FAILED
        many += [ValueError(), ValueError()]
        assert judge(raising(ExceptionGroup("several", [*many, AssertionError()]))).verdict is Verdict.ERROR

    @pytest.mark.threads
    def test_an_interrupt_raised_by_the_check_is_an_error(self) -> None:
        def check(_: Candidate) -> NoReturn:
            raise KeyboardInterrupt

        assert judge(check).verdict is Verdict.ERROR

    def test_a_generator_has_checked_nothing(self) -> None:
        ran: list[object] = []

        def check(_: Candidate) -> Iterator[None]:
            ran.append(1)
            yield

        result = judge(check)
        assert result.verdict is Verdict.ERROR
        assert "yield" in result.message
        assert ran == []

    def test_nor_has_an_async_generator(self) -> None:
        async def check(_: Candidate) -> AsyncIterator[None]:
            yield

        result = judge(check)
        assert result.verdict is Verdict.ERROR
        assert "yield" in result.message

    def test_a_check_that_takes_no_candidate_is_an_error_that_names_its_line(self) -> None:
        def check() -> None: ...

        result = judge(check)  # type: ignore[arg-type]
        assert result.verdict is Verdict.ERROR
        assert "takes 0 positional arguments" in result.message
        assert f"test_verification.py:{check.__code__.co_firstlineno}" in result.message

    def test_a_value_whose_truth_can_not_be_told_is_an_error(self) -> None:
        class Confused:
            def __bool__(self) -> bool:
                raise ValueError("ambiguous")

        Confused.__name__ = "bool"
        assert judge(lambda _: Confused()).verdict is Verdict.ERROR

    def test_the_candidate_is_its_only_argument(self) -> None:
        candidate = {"shop": ModuleType("shop")}
        seen: list[tuple[object, ...]] = []

        def check(*args: object) -> None:
            seen.append(args)

        run_checks([Check("subject", check, LONG)], candidate)
        ((given,),) = seen
        assert given is candidate

    def test_an_object_that_is_not_iterable_will_do_as_candidate(self) -> None:
        class Modules:
            def __getitem__(self, name: str) -> ModuleType:
                return ModuleType(name)

        def check(candidate: Candidate) -> bool:
            return candidate["shop"].__name__ == "shop"

        assert run_checks([Check("subject", check, LONG)], Modules()).passed  # type: ignore[arg-type]


class TestMessages:
    def test_the_line_is_that_of_the_check_not_of_the_code_it_judged(self) -> None:
        namespace: dict[str, Any] = {}
        exec(compile("def quote(n):\n    raise LookupError('no price')\n", "candidate.py", "exec"), namespace)

        def check(_: Candidate) -> None:
            namespace["quote"](1)

        result = judge(check)
        assert f"LookupError: no price (test_verification.py:{check.__code__.co_firstlineno + 1})" in result.message
        assert 'File "candidate.py", line 2, in quote' in result.detail

    def test_an_exception_without_text_shows_the_source(self) -> None:
        def check(_: Candidate) -> None:
            exec("raise AssertionError")

        result = judge(check)
        assert "AssertionError (test_verification.py:" in result.message
        assert 'exec("raise AssertionError")' in result.message

    @pytest.mark.threads
    def test_our_own_frames_are_left_out(self) -> None:
        def check(_: Candidate) -> NoReturn:
            raise ValueError("wrong")

        async def check_async(_: Candidate) -> NoReturn:
            raise ValueError("wrong")

        for function in (check, check_async):
            detail = judge(function).detail
            assert detail.splitlines()[0] == "Traceback (most recent call last):"
            assert "running.py" not in detail
            assert detail.endswith("ValueError: wrong\n")

    def test_the_cause_is_in_the_detail(self) -> None:
        def check(_: Candidate) -> None:
            try:
                raise KeyError("cause")
            except KeyError as error:
                raise ValueError("effect") from error

        assert "KeyError: 'cause'" in judge(check).detail

    def test_is_one_short_line(self) -> None:
        def check(_: Candidate) -> NoReturn:
            raise ValueError("many\nlines " * 10_000)

        result = judge(check)
        assert "\n" not in result.message
        assert len(result.message) < 400
        assert "test_verification.py:" in result.message
        assert len(result.detail) <= 20_000

    def test_an_unreadable_exception_is_still_an_answer(self) -> None:
        class Unreadable(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

            def __getattribute__(self, name: str) -> Any:
                raise RuntimeError("no")

        def check(_: Candidate) -> NoReturn:
            raise Unreadable

        result = judge(check)
        assert result.verdict is Verdict.ERROR
        assert "Unreadable" in result.message

    @pytest.mark.parametrize("kind", ["decorated", "partial", "object", "method", "builtin"])
    def test_the_line_is_found_through(self, kind: str) -> None:
        def plain(_: Candidate, extra: object = None) -> NoReturn:
            raise ValueError("wrong")

        @functools.wraps(plain)
        def decorated(candidate: Candidate) -> object:
            return plain(candidate)

        class Callables:
            def __call__(self, candidate: Candidate) -> NoReturn:
                raise ValueError("wrong")

            def method(self, candidate: Candidate) -> NoReturn:
                raise ValueError("wrong")

        functions: dict[str, Callable[[Candidate], object]] = {
            "decorated": decorated,
            "partial": functools.partial(plain, extra=1),
            "object": Callables(),
            "method": Callables().method,
            "builtin": int,  # type: ignore[dict-item]
        }
        result = judge(functions[kind])
        assert result.verdict is Verdict.ERROR
        assert ("test_verification.py:" in result.message) is (kind != "builtin")

    def test_a_callable_with_hostile_attributes_is_still_judged(self) -> None:
        class Hostile:
            def __call__(self, _: Candidate) -> NoReturn:
                raise ValueError("wrong")

            def __getattr__(self, name: str) -> NoReturn:
                raise RuntimeError("no attributes here")

        result = judge(Hostile())
        assert result.verdict is Verdict.ERROR
        assert "ValueError: wrong" in result.message


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class TestContext:
    """A check sees the caller's context variables, and leaves them alone."""

    def caller(self, check: Callable[[Candidate], object]) -> str:
        variable.set("caller")
        judge(check)
        return variable.get()

    def test_in_a_plain_check(self) -> None:
        seen: list[str] = []

        def check(_: Candidate) -> None:
            seen.append(variable.get())
            variable.set("changed")

        assert contextvars.copy_context().run(self.caller, check) == "caller"
        assert seen == ["caller"]

    @pytest.mark.threads
    def test_in_a_fresh_loop(self) -> None:
        seen: list[str] = []

        async def check(_: Candidate) -> None:
            seen.append(variable.get())
            variable.set("changed")

        assert contextvars.copy_context().run(self.caller, check) == "caller"
        assert seen == ["caller"]


class TestInside:
    def test_outside_there_is_no_token(self) -> None:
        assert current_token() is None
        assert not is_inside_check()

    def test_inside_it_is_the_callers(self) -> None:
        token = object()
        seen: list[object] = []
        judge(lambda _: seen.extend((current_token(), is_inside_check(), is_inside_check(token))), token=token)
        assert seen == [token, True, True]
        assert not is_inside_check()

    def test_without_one_it_is_still_known(self) -> None:
        seen: list[object] = []
        judge(lambda _: seen.extend((is_inside_check(), is_inside_check(object()))))
        assert seen == [True, False]

    @pytest.mark.threads
    def test_in_a_coroutine(self) -> None:
        token = object()
        seen: list[object] = []

        async def check(_: Candidate) -> None:
            await asyncio.sleep(0)
            seen.append(current_token())

        judge(check, token=token)
        assert seen == [token]

    def test_of_checks_in_checks_all_are_known(self) -> None:
        outer, inner = object(), object()
        seen: list[object] = []

        def check(_: Candidate) -> None:
            judge(lambda _: seen.extend((current_token(), is_inside_check(outer), is_inside_check(inner))), token=inner)
            seen.append(current_token())

        judge(check, token=outer)
        assert seen == [inner, True, True, outer]

    @pytest.mark.threads
    @pytest.mark.skipif(getattr(sys.flags, "thread_inherit_context", 0) == 1, reason="threads inherit the context here")
    def test_a_thread_that_the_check_starts_does_not_know(self) -> None:
        seen: list[object] = []

        def check(_: Candidate) -> None:
            thread = threading.Thread(target=lambda: seen.append(current_token()))
            thread.start()
            thread.join()

        judge(check, token=object())
        assert seen == [None]


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a platform without threads, or in a process that may not have another one."""

    def refuse(_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_threads")
class TestWithoutThreads:
    def test_the_check_runs_in_the_calling_thread_and_says_so(self) -> None:
        seen: list[object] = []
        result = judge(lambda _: seen.append(threading.current_thread()))
        assert result.verdict is Verdict.PASSED
        assert "no thread could be started" in result.message
        assert seen == [threading.current_thread()]

    def test_it_never_times_out(self) -> None:
        result = judge(lambda _: None, timeout=1e-9)
        assert result.verdict is Verdict.PASSED

    def test_a_failure_keeps_its_message(self) -> None:
        def check(_: Candidate) -> NoReturn:
            raise ValueError("wrong")

        result = judge(check)
        assert result.verdict is Verdict.ERROR
        assert result.message.startswith("ValueError: wrong (test_verification.py:")
        assert "no thread could be started" in result.message

    @pytest.mark.threads
    def test_a_coroutine_gets_a_fresh_loop(self) -> None:
        async def check(_: Candidate) -> bool:
            await asyncio.sleep(0)
            return False

        assert judge(check).verdict is Verdict.FAILED

    @pytest.mark.threads
    def test_but_not_inside_a_running_loop(self) -> None:
        async def check(_: Candidate) -> None: ...

        async def caller() -> CheckResult:
            return judge(check)

        result = asyncio.run(caller())
        assert result.verdict is Verdict.ERROR
        assert "an async check can't run here" in result.message

    def test_ctrl_c_is_the_way_to_end_a_check_that_hangs(self) -> None:
        def check(_: Candidate) -> NoReturn:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            judge(check)
        assert not is_inside_check()

    def test_the_callers_context_is_left_alone(self) -> None:
        judge(lambda _: variable.set("changed"))
        assert variable.get() == "unset"
        assert current_token() is None


class TestOrderAndNames:
    def test_all_run_in_order_although_one_fails(self) -> None:
        order: list[int] = []

        def note(number: int, _: Candidate) -> bool:
            order.append(number)
            return number != 1

        checks = [Check(f"check {number}", functools.partial(note, number), LONG) for number in range(4)]
        report = run_checks(checks, {})
        assert order == [0, 1, 2, 3]
        assert [result.name for result in report] == ["check 0", "check 1", "check 2", "check 3"]
        assert [result.name for result in report.failures] == ["check 1"]

    def test_equal_names_are_told_apart(self) -> None:
        checks = [Check(name, lambda _: None, LONG) for name in ("a", "a", "a-2", "b", "a")]
        names = [result.name for result in run_checks(checks, {})]
        assert names == ["a", "a-2", "a-2-2", "b", "a-3"]

    def test_checks_added_meanwhile_wait_for_the_next_run(self) -> None:
        checks: list[Check] = []
        checks.append(Check("first", lambda _: checks.append(checks[0]), LONG))
        assert len(run_checks(checks, {})) == 1


class TestCheck:
    @pytest.mark.parametrize("timeout", [0, -1.0, math.inf, -math.inf, math.nan, 1e300])
    def test_a_limit_must_be_one(self, timeout: float) -> None:
        with pytest.raises(ValueError, match=r"'slow'.* time limit must be more than 0"):
            Check("slow", lambda _: None, timeout)

    @pytest.mark.parametrize("timeout", [None, "5", True])
    def test_a_limit_must_be_a_number(self, timeout: Any) -> None:
        with pytest.raises(TypeError, match=r"'slow'.* number of seconds"):
            Check("slow", lambda _: None, timeout)

    def test_a_function_must_be_callable(self) -> None:
        with pytest.raises(TypeError, match="'slow': a int can't be called"):
            Check("slow", 3, 1.0)  # type: ignore[arg-type]

    @pytest.mark.parametrize(("name", "error"), [("", ValueError), (" ", ValueError), (None, TypeError)])
    def test_a_name_must_be_one(self, name: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match="name"):
            Check(name, lambda _: None, 1.0)

    def test_is_a_fact(self) -> None:
        check = Check("a", len, 1)
        assert check == Check("a", len, 1)
        with pytest.raises(AttributeError):
            check.timeout = 2  # type: ignore[misc]


class TestReport:
    results = (
        CheckResult("quotes are positive", Verdict.PASSED, 0.0031, ""),
        CheckResult("totals", Verdict.FAILED, 12.5, "AssertionError: 3 != 4 (checks.py:12)", "Traceback ..."),
        CheckResult("slow", Verdict.TIMED_OUT, 5.0, "no answer within 5 s; it was cancelled"),
    )

    def test_reads_as_a_table(self) -> None:
        assert str(Report(self.results)).splitlines() == [
            "3 checks: 1 passed, 1 failed, 1 timed out",
            "  passed        0.003 s  quotes are positive",
            "  failed       12.500 s  totals               AssertionError: 3 != 4 (checks.py:12)",
            "  timed out     5.000 s  slow                 no answer within 5 s; it was cancelled",
        ]

    def test_of_one_check(self) -> None:
        assert str(Report(self.results[:1])).startswith("1 check: 1 passed\n")

    def test_of_no_checks(self) -> None:
        report = run_checks([], {})
        assert (report.passed, len(report), report.failures, str(report)) == (True, 0, (), "no checks")

    def test_passes_if_all_passed(self) -> None:
        assert Report(self.results[:1]).passed
        assert not Report(self.results).passed

    def test_names_the_failures_in_order(self) -> None:
        assert Report(self.results).failures == self.results[1:]

    def test_is_a_sequence_of_results(self) -> None:
        assert tuple(Report(self.results)) == self.results
        assert len(Report(self.results)) == 3

    def test_durations_are_seconds(self) -> None:
        assert 0 <= judge(lambda _: None).duration < LONG
