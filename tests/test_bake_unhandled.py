"""What is found in an exception that nobody handles, and hooks of others while such exceptions are listened for."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any, TypeVar

import pytest

from hotswap.bake import unhandled
from hotswap.bake.unhandled import Unhandled, runs_through

pytestmark = pytest.mark.threads

PATCHED: dict[str, Any] = {"__name__": "patched"}
exec(compile("def quote(error): raise error\n", "patched.py", "exec"), PATCHED)
THERE = frozenset({id(PATCHED)})


Raised = TypeVar("Raised", bound=BaseException)


def through(error: Raised) -> Raised:
    """The same, after it came through code of the patch."""
    with suppress(BaseException):
        PATCHED["quote"](error)
    return error


def elsewhere(error: Raised) -> Raised:
    """The same, raised by other code."""
    with suppress(BaseException):
        raise error
    return error


def found(error: BaseException) -> str:
    return runs_through(Unhandled(error, error.__traceback__), THERE)


class TestFound:
    def test_the_one_that_was_reported(self) -> None:
        assert found(through(ValueError("two"))) == "ValueError: two (patched.py:1 in quote)"

    def test_none_that_came_another_way(self) -> None:
        assert found(elsewhere(ValueError("two"))) == ""
        assert runs_through(Unhandled(None, None), THERE) == ""

    def test_what_a_module_of_the_patch_does_not_have_any_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing of the patch has run: who calls it, in a module that stays, finds it gone."""
        module = ModuleType("patched")
        monkeypatch.setitem(sys.modules, "patched", module)
        there = frozenset({id(vars(module))})

        def ask(text: str) -> str:
            space = {"__name__": "caller", "module": module, "other": ModuleType("other")}
            try:
                exec(text, space)
            except Exception as error:  # it is what is looked at
                return runs_through(unhandled.of(error), there)
            return "nothing was raised"

        gone = "module 'patched' has no attribute 'rows' (asked of the patch)"
        assert ask("module.rows") == f"AttributeError: {gone}"
        assert ask("from patched import rows").startswith("ImportError: cannot import name 'rows' from 'patched'")
        assert ask("other.rows") == ""
        assert ask("[].rows") == ""
        assert ask("from math import rows") == ""

    def test_what_a_probe_asks_for_itself_may_be_misspelt(self) -> None:
        module: Any = ModuleType("patched")

        def probe() -> None:
            module.rows()

        with pytest.raises(AttributeError) as raised:
            probe()
        there, reported = frozenset({id(vars(module))}), unhandled.of(raised.value)
        assert runs_through(reported, there) != ""
        assert runs_through(reported, there, own=probe.__code__) == ""

    def test_in_a_group(self) -> None:
        group = elsewhere(ExceptionGroup("tasks", [elsewhere(OSError()), through(ValueError("two"))]))
        assert (
            found(group)
            == "ValueError: two (patched.py:1 in quote), reported as ExceptionGroup: tasks (2 sub-exceptions)"
        )

    def test_in_groups_of_groups(self) -> None:
        group: Any = through(ValueError("two"))
        for _ in range(20):
            group = ExceptionGroup("tasks", [OSError(), group])
        assert found(group).startswith("ValueError: two (patched.py:1 in quote)")

    def test_in_a_group_that_another_was_raised_from(self) -> None:
        error = elsewhere(RuntimeError("the handler failed"))
        error.__cause__ = ExceptionGroup("tasks", [through(ValueError("two"))])
        assert found(error).endswith("in quote), reported as RuntimeError: the handler failed")

    def test_of_what_it_was_raised_from_and_of_what_was_being_handled(self) -> None:
        error = elsewhere(RuntimeError())
        error.__cause__, error.__context__ = OSError(), through(ValueError("two"))
        assert found(error).startswith("ValueError: two")

    def test_in_a_group_of_an_interrupt(self) -> None:
        error = BaseExceptionGroup("tasks", [through(KeyboardInterrupt()), through(ValueError("two"))])
        assert found(error).startswith("ValueError: two")

    @pytest.mark.parametrize("make", [KeyboardInterrupt, SystemExit])
    def test_not_what_was_done_to_the_code(self, make: type[BaseException]) -> None:
        """An interrupt that came while code of the patch ran, and in whose handler other code failed."""
        assert found(through(make())) == ""
        assert found(BaseExceptionGroup("tasks", [through(make())])) == ""
        error = elsewhere(OSError())
        error.__context__ = through(make())
        assert found(error) == ""

    def test_a_time_limit_that_was_over_in_code_of_the_patch(self) -> None:
        """As `asyncio.timeout` raises it."""
        error = elsewhere(TimeoutError())
        error.__cause__ = error.__context__ = through(KeyboardInterrupt())
        assert found(error).startswith("KeyboardInterrupt (patched.py:1 in quote)")

    def test_in_a_circle(self) -> None:
        one, two = elsewhere(ValueError()), elsewhere(OSError())
        one.__cause__, two.__cause__ = two, one
        group = ExceptionGroup("tasks", [ValueError()])
        group.exceptions[0].__context__ = group
        two.__context__ = group
        assert found(one) == ""
        group.exceptions[0].__cause__ = through(ValueError("two"))
        assert found(one).startswith("ValueError: two")

    def test_in_no_more_than_so_many(self) -> None:
        """Where two lead to each of the next two, there are more ways than anybody can go."""
        error: Exception = ValueError()
        for _ in range(60):
            group = ExceptionGroup("tasks", [ValueError(), ValueError()])
            for one in group.exceptions:
                one.__cause__ = error
            error = group
        assert found(error) == ""
        many = [ValueError() for _ in range(unhandled._EXCEPTIONS)]
        assert found(ExceptionGroup("tasks", [*many, through(ValueError())])) == ""
        assert found(ExceptionGroup("tasks", [*many[2:], through(ValueError())])) != ""

    def test_in_no_more_than_so_many_frames(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(unhandled, "_ALL_FRAMES", 3)
        deep = [elsewhere(ValueError()) for _ in range(3)]
        assert found(ExceptionGroup("tasks", [*deep[1:], through(ValueError())])) == ""
        assert found(ExceptionGroup("tasks", [*deep[2:], through(ValueError())])) != ""

    def test_without_running_its_code(self) -> None:
        def lies(_: object) -> Any:
            raise SystemExit

        names = ("exceptions", "__cause__", "__context__", "__traceback__", "__class__")
        kind: Any = type("Lies", (ExceptionGroup,), {name: property(lies) for name in names})
        error = kind("tasks", [through(ValueError("two"))])
        assert runs_through(Unhandled(error, None), THERE).startswith("ValueError: two")


Hook = Callable[[Any], object]


class TestHooks:
    @pytest.fixture
    def told(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        told: list[str] = []
        monkeypatch.setattr(threading, "excepthook", self.hook("first", told))
        return told

    @pytest.fixture
    def heard(self, told: list[str]) -> Iterator[list[str]]:
        heard: list[str] = []
        end = unhandled.listen(lambda one: heard.append(str(one.error)))
        yield heard
        end()

    def hook(self, name: str, told: list[str], below: Hook | None = None) -> Hook:
        """A hook that notes when it is called."""

        def hook(arguments: Any) -> None:
            told.append(name)
            if below is not None:
                below(arguments)

        return hook

    def raised(self, text: str) -> None:
        """Report an exception as `threading` does."""
        error = elsewhere(ValueError(text))
        threading.excepthook(threading.ExceptHookArgs((ValueError, error, error.__traceback__, None)))

    def test_one_that_does_not_chain_is_put_below_ours(self, told: list[str]) -> None:
        heard: list[str] = []
        end = unhandled.listen(lambda one: heard.append(str(one.error)))
        theirs = threading.excepthook = self.hook("theirs", told)
        self.raised("lost")
        unhandled.listen_on()
        self.raised("heard")
        assert heard == ["heard"]
        assert told == ["theirs", "theirs"]
        end()
        assert threading.excepthook is theirs
        self.raised("over")
        assert heard == ["heard"]

    def test_one_that_chains_is_heard_once(self, told: list[str], heard: list[str]) -> None:
        threading.excepthook = self.hook("theirs", told, threading.excepthook)
        self.raised("before")
        unhandled.listen_on()
        unhandled.listen_on()
        self.raised("after")
        assert heard == ["before", "after"]
        assert told == ["theirs", "first"] * 2

    def test_one_that_puts_back_ours(self, told: list[str]) -> None:
        before = threading.excepthook
        heard: list[str] = []
        end = unhandled.listen(lambda one: heard.append(str(one.error)))
        ours = threading.excepthook
        for _ in range(2):
            threading.excepthook = self.hook("theirs", told)
            unhandled.listen_on()
            threading.excepthook = ours
            unhandled.listen_on()
            assert threading.excepthook is ours
        self.raised("heard")
        assert heard == ["heard"]
        threading.excepthook = self.hook("theirs", told)
        unhandled.listen_on()
        threading.excepthook = ours
        end()
        assert threading.excepthook is before

    def test_nothing_is_put_in_when_nobody_listens(self, told: list[str]) -> None:
        before = threading.excepthook
        unhandled.listen(lambda _: None)()
        unhandled.listen_on()
        assert threading.excepthook is before
