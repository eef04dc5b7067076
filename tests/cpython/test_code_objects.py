"""Code objects: what forwarders (`hotswap/swap/forwarding.py`) and drains (`hotswap/swap/drain.py`) build on."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import sysconfig
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from types import CodeType, FunctionType
from typing import Any

import pytest


def built_with_gil() -> bool:
    """Whether this interpreter was built with the GIL."""
    return not sysconfig.get_config_var("Py_GIL_DISABLED")


def leading_to(successor: object, flags: int = 0) -> CodeType:
    """Code of the simplest forwarder: the successor stands in its constants."""

    def forwarder(*args: Any, **kwargs: Any) -> Any:
        successor: Any = "the successor"
        return successor(*args, **kwargs)

    code = forwarder.__code__
    constants = tuple(successor if constant == "the successor" else constant for constant in code.co_consts)
    return code.replace(co_consts=constants, co_flags=code.co_flags | flags)


class TestConstants:
    """A forwarder needs neither globals nor a closure, because its successor is one of its constants."""

    def test_can_be_a_function(self) -> None:
        def old(number: int) -> int:
            return number

        def new(number: int) -> int:
            return number * 10

        old.__code__ = leading_to(new)
        assert old(3) == 30

    def test_can_be_any_object(self) -> None:
        class Callable_:
            __hash__ = None  # type: ignore[assignment]  # not even hashable

            def __call__(self) -> str:
                return "called"

        def old() -> str:
            return "old"

        old.__code__ = leading_to(Callable_())
        assert old() == "called"

    def test_keep_their_identity(self) -> None:
        marker = object()
        assert any(constant is marker for constant in leading_to(marker).co_consts)

    @pytest.mark.skipif(not built_with_gil(), reason="builds without the GIL let the collector into code objects")
    def test_are_out_of_sight_of_the_collector(self) -> None:
        """A circle through a code object is never collected: forwarders must not lead back to who holds them.

        When a function is retargeted, the circle is broken, and all of it dies.
        """

        def old() -> None: ...

        old.__code__ = leading_to(old)
        dies = weakref.ref(old)
        del old
        gc.collect()
        function = dies()
        assert function is not None
        assert not gc.is_tracked(function.__code__)
        function.__code__ = leading_to(len)
        del function
        assert dies() is None


class TestKinds:
    """A *plain* forwarder that only carries the flag returns the successor's own generator or coroutine."""

    def test_generator(self) -> None:
        made: list[Generator[int, None, None]] = []

        def old() -> Generator[int, None, None]:
            yield 1

        def new() -> Generator[int, None, None]:
            yield 2

        def successor() -> Generator[int, None, None]:
            made.append(new())
            return made[-1]

        old.__code__ = leading_to(successor, inspect.CO_GENERATOR)
        assert inspect.isgeneratorfunction(old)
        assert old() is made[0]
        assert list(old()) == [2]

    def test_coroutine(self) -> None:
        made: list[Coroutine[Any, Any, int]] = []

        async def old() -> int:
            return 1

        async def new() -> int:
            return 2

        def successor() -> Coroutine[Any, Any, int]:
            made.append(new())
            return made[-1]

        old.__code__ = leading_to(successor, inspect.CO_COROUTINE)
        assert inspect.iscoroutinefunction(old)
        assert old() is made[0]
        made[0].close()
        with pytest.raises(StopIteration) as finished:
            old().send(None)
        assert finished.value.value == 2

    def test_asynchronous_generator(self) -> None:
        async def old() -> AsyncIterator[int]:
            yield 1

        async def new() -> AsyncIterator[int]:
            yield 2

        old.__code__ = leading_to(new, inspect.CO_ASYNC_GENERATOR)
        assert inspect.isasyncgenfunction(old)
        with pytest.raises(StopIteration) as finished:
            anext(old()).__await__().send(None)
        assert finished.value.value == 2

    def test_assigning_another_kind_warns_from_3_13_on(self) -> None:
        """A warning may run Python code in the commit, so a forwarder has the kind of the function that it is for."""

        def old() -> int:
            return 1

        def new() -> Generator[int, None, None]:
            yield 1

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            FunctionType.__dict__["__code__"].__set__(old, new.__code__)
        assert bool(caught) == (sys.version_info >= (3, 13))

    def test_assigning_the_same_kind_by_flag_is_silent(self) -> None:
        async def old() -> int:
            return 1

        async def new() -> int:
            return 2

        code = leading_to(new, inspect.CO_COROUTINE)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            old.__code__ = code
        assert caught == []


class TestFreeVariables:
    def test_must_be_as_many(self) -> None:
        variable = 1

        def closure() -> int:
            return variable

        with pytest.raises(ValueError, match="closure"):
            closure.__code__ = leading_to(len)

    def test_may_be_listed_in_a_forwarder_that_does_not_use_them(self) -> None:
        variable = 1

        def closure() -> int:
            return variable

        closure.__code__ = leading_to(lambda: 2).replace(co_freevars=closure.__code__.co_freevars)
        assert closure() == 2
        assert closure.__closure__ is not None
        assert closure.__closure__[0].cell_contents == 1


class TestEnd:
    """A code object dies with the last call that runs it: how a drain learns that an old generation has ended."""

    @staticmethod
    def replaced(function: Callable[..., Any]) -> list[Any]:
        """Give a function a copy of its code; the list ends with "died" when the original dies."""
        code = function.__code__
        told: list[Any] = []
        told.append(weakref.ref(code, lambda _: told.append("died")))  # a weak reference has to outlive what it watches
        function.__code__ = code.replace()
        return told

    @staticmethod
    def made(source: str) -> Any:
        """A function whose code is not kept by the constants of this file."""
        namespace: dict[str, Any] = {}
        exec(source, namespace)
        return namespace.pop("function")

    def test_of_a_function_that_nobody_runs_is_at_once(self) -> None:
        function = self.made("def function(): pass")
        told = self.replaced(function)
        assert told[1:] == ["died"]

    def test_comes_after_the_last_frame(self) -> None:
        function = self.made("def function(callback): callback()")
        seen: list[list[Any]] = []

        def callback() -> None:
            told = self.replaced(function)
            seen.append(told)
            assert told[1:] == []

        function(callback)
        assert seen[0][1:] == ["died"]

    def test_comes_after_a_suspended_generator(self) -> None:
        function = self.made("def function(): yield 1; yield 2")
        suspended = function()
        next(suspended)
        told = self.replaced(function)
        assert told[1:] == []
        assert list(suspended) == [2]
        del suspended  # it still says whose code it ran
        assert told[1:] == ["died"]

    @pytest.mark.threads  # fails on Pyodide 3.14 for a reason that is not found yet
    def test_comes_after_a_suspended_coroutine(self) -> None:
        function = self.made("import asyncio\nasync def function(event):\n    await event.wait()")

        async def main() -> tuple[list[Any], list[Any]]:
            event = asyncio.Event()
            task = asyncio.ensure_future(function(event))
            await asyncio.sleep(0)
            told = self.replaced(function)
            while_waiting = list(told)
            event.set()
            await task
            del task
            return while_waiting, told

        while_waiting, after = asyncio.run(main())
        assert while_waiting[1:] == []
        assert after[1:] == ["died"]

    def test_waits_for_a_traceback_that_somebody_keeps(self) -> None:
        function = self.made("def function(): raise ValueError")
        with pytest.raises(ValueError) as kept:
            function()
        told = self.replaced(function)
        assert told[1:] == []
        assert kept.value.__traceback__ is not None
        kept.value.__traceback__ = None
        del kept
        gc.collect()
        assert told[1:] == ["died"]

    def test_waits_for_the_constants_of_the_code_around_it(self) -> None:
        """A nested function's code is a constant of the outer code: why only top-level code is waited for."""
        outer = self.made("def function():\n    def inner(): pass\n    return inner")
        inner = outer()
        told = self.replaced(inner)
        assert told[1:] == []
        reference = weakref.ref(outer.__code__)
        del outer
        gc.collect()
        assert reference() is None
        assert told[1:] == ["died"]

    def test_waits_for_a_clone_that_shares_the_code(self) -> None:
        """So private clones run a copy."""
        function = self.made("def function(): pass")
        clone = FunctionType(function.__code__, function.__globals__)
        told = self.replaced(function)
        assert told[1:] == []
        del clone
        assert told[1:] == ["died"]


@pytest.mark.parametrize("weakly", [False, True])
def test_a_circle_through_a_constant_is_never_collected(weakly: bool) -> None:
    """Why a closure's forwarder holds what it calls weakly, and the closure holds that with its defaults."""

    class Held:
        pass

    def make(held: Any) -> Any:
        return lambda: held

    held = Held()
    held.callback, target = make(held), make(held)  # type: ignore[attr-defined]
    code = held.callback.__code__  # type: ignore[attr-defined]
    constant = weakref.ref(target) if weakly else target
    held.callback.__code__ = code.replace(co_consts=(*code.co_consts, constant))  # type: ignore[attr-defined]
    if weakly:
        held.callback.__kwdefaults__ = {"no parameter": target}  # type: ignore[attr-defined]
        assert held.callback() is held  # type: ignore[attr-defined]
    known = weakref.ref(held)
    del held, target, constant
    gc.collect()
    assert (known() is None) is weakly
    if not weakly:
        known().callback.__code__ = code  # type: ignore[union-attr]  # so that it dies after all


class TestExceptionTable:
    """What stands in `try`, and what in its `else`, is told by the exception table alone."""

    def test_the_same_instructions_with_another_table(self) -> None:
        def inside(first: Callable[[], None], second: Callable[[], None]) -> None:
            try:
                first()
                second()
            except OSError:
                pass

        def beside(first: Callable[[], None], second: Callable[[], None]) -> None:
            try:
                first()
            except OSError:
                pass
            else:
                second()

        old, new = inside.__code__, beside.__code__
        assert old.co_code == new.co_code
        assert (old.co_consts, old.co_names, old.co_varnames) == (new.co_consts, new.co_names, new.co_varnames)
        assert old.co_exceptiontable != new.co_exceptiontable
