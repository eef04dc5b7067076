"""Forwarding: what an old function or module looks like, and how it acts, once it leads to its successor."""

from __future__ import annotations

import gc
import importlib
import inspect
import linecache
import sys
import textwrap
import traceback
import types
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, Protocol

import pytest

import hotswap
from hotswap.swap.doubles import stand_in
from hotswap.swap.forwarding import SupersededModule, closure_facade, facade, forwarder, identity_of, identity_ops

pytestmark = pytest.mark.threads  # checks, fingerprints and files of the system: not on Pyodide


class Swapped(Protocol):
    """Import a throw-away module with one source, hand it over, swap it to another source."""

    def __call__(self, before: str, after: str) -> tuple[types.SimpleNamespace, ModuleType, hotswap.Patcher]: ...


@pytest.fixture
def swapped(make_package: Callable[..., ModuleType]) -> Swapped:
    def swap(before: str, after: str) -> tuple[types.SimpleNamespace, ModuleType, hotswap.Patcher]:
        package = make_package({"core.py": before}).__name__
        old = importlib.import_module(f"{package}.core")
        held = types.SimpleNamespace(module=old, **{n: v for n, v in vars(old).items() if not n.startswith("__")})
        patcher = hotswap.Patcher([package])
        patcher.apply(hotswap.Patch.from_sources({f"{package}.core": textwrap.dedent(after)}, version="1"))
        return held, sys.modules[f"{package}.core"], patcher

    return swap


def led(old: Any, new: Callable[..., Any]) -> None:
    """Make `old` lead to `new`, as a swap does."""
    facts = identity_of(new) if isinstance(new, FunctionType) else None
    for write, *arguments in identity_ops(old, facade(old, new, facts)):
        write(*arguments)


def test_the_variables_of_its_frame_can_be_read() -> None:
    """Those of a closure: a debugger, and whoever reports errors with locals, crashed the process before 3.13."""

    def made(first: int, second: int) -> Callable[..., Any]:
        return lambda number: first + second + number

    def reads(number: int) -> dict[str, Any]:
        return sys._getframe(1).f_locals

    closure = made(1, 2)
    led(closure, reads)
    found = closure(3)
    assert (found["number"], found["first"], found["second"]) == (3, 1, 2)


SIGNATURES = [
    ("", "()"),
    ("a", "(1)"),
    ("a", "(a=1)"),
    ("a, b=2", "(1)"),
    ("a, b=2", "(1, b=3)"),
    ("a, /", "(1)"),
    ("a, /, b", "(1, 2)"),
    ("a, /, b", "(1, b=2)"),
    ("a, b=2, /, c=3", "(1)"),
    ("a, b=2, /, c=3, *, d=4", "(1, 5, c=6, d=7)"),
    ("*, a", "(a=1)"),
    ("*, a=1, b", "(b=2)"),
    ("*args", "(1, 2, 3)"),
    ("**kwargs", "(a=1, b=2)"),
    ("a, *args", "(1, 2, 3)"),
    ("a, *args, b=1, **kwargs", "(1, 2, b=3, c=4)"),
    ("a, /, **kwargs", "(1, a=2)"),
    ("self, /, *args, self_=1, **kwargs", "(1, 2, self=3)"),
    ("_hotswap_target", "(1)"),
    ("_hotswap_target, _hotswap_target_", "(1, 2)"),
    ("args, kwargs", "(1, 2)"),
    (", ".join(f"a{n}" for n in range(300)), str(tuple(range(300)))),
]


class TestSignatures:
    @pytest.mark.parametrize(("parameters", "call"), SIGNATURES, ids=[f"{p[:40]}-{c[:20]}" for p, c in SIGNATURES])
    def test_every_call_arrives(self, parameters: str, call: str) -> None:
        namespace: dict[str, Any] = {}
        exec(f"def old(): ...\ndef new({parameters}): return locals()", namespace)
        old, new = namespace["old"], namespace["new"]
        expected = eval(f"new{call}", namespace)
        led(old, new)
        assert eval(f"old{call}", namespace) == expected
        assert inspect.signature(old) == inspect.signature(new)

    def test_of_another_callable_passes_everything_on(self) -> None:
        def old() -> None: ...

        called: Any = old
        led(old, lambda *args, **kwargs: (args, kwargs))
        assert called(1, a=2) == ((1,), {"a": 2})
        led(old, dict)
        assert called(a=1) == {"a": 1}

    def test_wrong_arguments_are_refused_in_the_name_of_the_function(self) -> None:
        def old() -> None: ...

        def new(a: int) -> None: ...

        new.__qualname__ = new.__name__ = "charge"
        led(old, new)
        with pytest.raises(TypeError, match=r"charge\(\) takes 1 positional argument but 2 were given"):
            old(1, 2)  # type: ignore[call-arg]

    def test_defaults_are_those_of_the_successor(self) -> None:
        default = object()

        def old(a: object = None, *, b: object = None) -> Any: ...

        def new(a: object = default, *, b: object = default) -> Any:
            return a, b

        led(old, new)
        assert old() == (default, default)

    def test_self_is_the_instance(self) -> None:
        class Class:
            def method(self) -> Any: ...

        method = Class.method

        def new(self: Any) -> Any:
            return self

        led(method, new)
        instance = Class()
        assert instance.method() is instance


class TestClosures:
    def test_keep_their_cells(self) -> None:
        def made(value: int) -> Any:
            def closure() -> int:
                return value

            return closure

        old, new = made(1), made(2)
        before = identity_of(old)
        led(old, new)
        assert old() == 2
        for write, *arguments in identity_ops(old, before):
            write(*arguments)
        assert old() == 1

    def test_may_lead_to_plain_functions(self) -> None:
        value = 1

        def old() -> int:
            return value

        led(old, lambda: 2)
        assert old() == 2

    def test_may_have_the_names_of_parameters_of_the_successor(self) -> None:
        value = 1

        def old() -> int:
            return value

        def new(value: int) -> int:
            return value

        led(old, new)
        assert old(2) == 2  # type: ignore[call-arg]


class TestOutside:
    """What others see of an old function: all of it is the successor's."""

    BEFORE = '''
        def function(a: int) -> int:
            """Old."""
            return a
        function.mark = "old"
    '''
    AFTER = '''
        # a line more
        def function(a: str, b: str = "b") -> str:
            """New."""
            return a + b
        function.mark = "new"
    '''

    def test_is_the_successors(self, swapped: Swapped) -> None:
        held, live, _ = swapped(self.BEFORE, self.AFTER)
        old, new = held.function, live.function
        assert old is not new
        assert old.__doc__ == "New."
        assert inspect.get_annotations(old) == inspect.get_annotations(new)
        assert inspect.signature(old) == inspect.signature(new)
        assert (old.__name__, old.__qualname__, old.__module__) == (new.__name__, new.__qualname__, new.__module__)
        assert (old.__defaults__, old.__kwdefaults__) == (new.__defaults__, new.__kwdefaults__)
        assert old.mark == "new"
        assert old.__code__.co_firstlineno == new.__code__.co_firstlineno
        assert old.__code__.co_filename == new.__code__.co_filename

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters are new in CPython 3.12")
    def test_has_the_type_parameters_of_the_successor_until_a_rollback(self, swapped: Swapped) -> None:
        held, live, patcher = swapped("def function[A](a: A): ...", "def function[A, B](a: A, b: B): ...")
        own, new = held.function, live.function
        assert own.__type_params__ is new.__type_params__
        assert [str(one) for one in own.__type_params__] == ["A", "B"]
        patcher.rollback()
        assert [str(one) for one in own.__type_params__] == ["A"]

    def test_is_its_own_again_after_a_rollback(self, swapped: Swapped) -> None:
        held, _, patcher = swapped(self.BEFORE, self.AFTER)
        patcher.rollback()
        old = held.function
        assert sys.modules[old.__module__].function is old
        assert old(1) == 1
        assert old.__doc__ == "Old."
        assert str(inspect.signature(old)) == "(a: int) -> int"
        assert old.mark == "old"

    def test_of_the_new_is_the_olds_after_a_rollback(self, swapped: Swapped) -> None:
        """Who took a reference while the patch was live is led back."""
        _, live, patcher = swapped(self.BEFORE, self.AFTER)
        new = vars(live)["function"]
        patcher.rollback()
        assert new(1) == 1
        assert new.__doc__ == "Old."
        assert str(inspect.signature(new)) == "(a: int) -> int"

    def test_shows_the_new_source(self, swapped: Swapped) -> None:
        held, _, _ = swapped(self.BEFORE, self.AFTER)
        linecache.checkcache()
        assert '"""New."""' in inspect.getsource(held.function)

    def test_is_of_the_same_kind(self, swapped: Swapped) -> None:
        before = """
            async def coroutine(): return 1
            def generator(): yield 1
            async def async_generator(): yield 1
        """
        held, _, _ = swapped(before, before.replace("1", "2"))
        assert inspect.iscoroutinefunction(held.coroutine)
        assert inspect.isgeneratorfunction(held.generator)
        assert inspect.isasyncgenfunction(held.async_generator)

    def test_gives_the_successors_own_generator(self, swapped: Swapped) -> None:
        """With no frame in between: what is suspended is the new code, and `close` and `send` reach it at once."""
        held, live, _ = swapped("def generator():\n    yield 1", "def generator():\n    yield (yield 2)")
        suspended = held.generator()
        assert suspended.gi_code is live.generator.__code__
        assert next(suspended) == 2
        assert suspended.send(3) == 3

    def test_has_one_frame_in_a_traceback(self, swapped: Swapped) -> None:
        held, live, _ = swapped("def function(): ...", "def function():\n    raise ValueError('new')")
        with pytest.raises(ValueError, match="new") as caught:
            held.function()
        frames = traceback.extract_tb(caught.value.__traceback__)[1:]
        assert [(frame.filename, frame.lineno, frame.name) for frame in frames] == [
            (live.__file__, 1, "function"),
            (live.__file__, 2, "function"),
        ]


class TestKinds:
    """A name may change what it stands for; who holds the function reaches whatever can be called there now."""

    @pytest.mark.parametrize(
        "after",
        [
            "async def function(): return 2",
            "def function(): yield 2",
            "import functools\ndef inner(a): return a\nfunction = functools.partial(inner, 2)",
            "class function:\n    def __init__(self): self.value = 2",
            "import functools\n@functools.lru_cache\ndef function(): return 2",
            "function = lambda: 2",
            "class C:\n    def __call__(self): return 2\nfunction = C()",
        ],
        ids=["coroutine", "generator", "partial", "class", "lru_cache", "lambda", "instance"],
    )
    def test_of_a_function_may_change(self, after: str, swapped: Swapped) -> None:
        held, _, patcher = swapped("def function(): return 1", after)
        result = held.function()
        if inspect.iscoroutine(result):
            with pytest.raises(StopIteration) as finished:
                result.send(None)
            result = finished.value.value
        elif inspect.isgenerator(result):
            result = next(result)
        assert getattr(result, "value", result) == 2
        patcher.rollback()
        assert held.function() == 1

    def test_that_cannot_be_called_is_named_in_the_plan(self, make_package: Callable[..., ModuleType]) -> None:
        package = make_package({"core.py": "def function(): return 1"}).__name__
        core = importlib.import_module(f"{package}.core")
        held = core.function
        patcher = hotswap.Patcher([package])
        patch = hotswap.Patch.from_sources({f"{package}.core": "function = 3"}, version="1")
        with patcher.stage(patch) as rollout:
            assert any(f"{package}.core:function" in line for line in str(rollout.plan).splitlines())
            rollout.verify()
            rollout.commit()
        assert held() == 1
        assert vars(sys.modules[f"{package}.core"])["function"] == 3


class TestForwarder:
    def test_has_no_names_to_look_up(self) -> None:
        """It works whatever happens to the globals of the old module."""

        def old(a: int) -> None: ...

        def new(a: int) -> None: ...

        code = forwarder(old, new, new.__code__)  # type: ignore[arg-type]
        assert code.co_names == ()
        assert sum(constant is new for constant in code.co_consts) == 1

    def test_of_the_same_shape_is_compiled_once(self) -> None:
        def old(a: int, *, b: int = 1) -> None: ...

        def one(a: int, *, b: int = 1) -> None: ...

        def two(a: int, *, b: int = 1) -> None: ...

        first = forwarder(old, one, one.__code__)  # type: ignore[arg-type]
        second = forwarder(old, two, two.__code__)  # type: ignore[arg-type]
        assert first.co_code == second.co_code


class TestSupersededModule:
    """A module object that somebody still holds leads to the live one."""

    @pytest.fixture
    def modules(self, swapped: Swapped) -> tuple[ModuleType, ModuleType, hotswap.Patcher]:
        held, live, patcher = swapped("X = 1\nONLY_OLD = 1\ndef f(): return 1", "X = 2\nADDED = 2\ndef f(): return 2")
        return held.module, live, patcher

    def test_reads(self, modules: Any) -> None:
        old, live, _ = modules
        assert type(old) is SupersededModule
        assert old is not live
        assert (old.X, old.ADDED, old.f()) == (2, 2, 2)
        assert old.f is live.f

    def test_lacks_what_is_gone(self, modules: Any) -> None:
        with pytest.raises(AttributeError, match="ONLY_OLD"):
            modules[0].ONLY_OLD

    def test_shows_the_live_namespace(self, modules: Any) -> None:
        old, live, _ = modules
        assert dir(old) == dir(live)
        assert vars(old) is vars(live)
        assert repr(old) == repr(live)
        assert old.__file__ == live.__file__

    def test_writes(self, modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """So a mock that was begun before the swap reaches the code that runs, and so does its end."""
        old, live, _ = modules
        monkeypatch.setattr(old, "X", 5)
        assert live.X == 5
        monkeypatch.undo()
        assert live.X == 2

    def test_deletes(self, modules: Any) -> None:
        old, live, _ = modules
        del old.X
        assert not hasattr(live, "X")

    def test_is_what_it_was_after_a_rollback(self, modules: Any) -> None:
        old, live, patcher = modules
        patcher.rollback()
        assert type(old) is ModuleType
        assert sys.modules[old.__name__] is old
        assert (old.X, old.ONLY_OLD, old.f()) == (1, 1, 1)
        assert (live.X, live.f()) == (1, 1), "the module that was live for a while leads back"
        assert type(live) is SupersededModule

    def test_can_be_imported_from(self, modules: Any) -> None:
        old, live, _ = modules
        namespace: dict[str, Any] = {}
        exec(f"from {old.__name__} import X, f", namespace)
        assert (namespace["X"], namespace["f"]) == (2, live.f)

    def test_can_be_reloaded_no_more_than_the_live_one(self, modules: Any) -> None:
        """`importlib.reload` insists on the module that is in `sys.modules`."""
        with pytest.raises(ImportError, match=r"not in sys\.modules"):
            importlib.reload(modules[0])


def test_what_runs_the_code_of_a_closure_that_was_led_on_holds_what_that_leads_to() -> None:
    """The code holds it weakly, and so did only the closure: a call died when that was gone."""

    def make(n: int) -> Any:
        def inner() -> int:
            return n

        return inner

    closure, target, looks = make(1), make(2), make(3)
    for write, *arguments in identity_ops(closure, closure_facade(closure, target, identity_of(target))):
        write(*arguments)
    made = stand_in(closure, closure.__code__, identity_of(looks))
    del closure, target, arguments
    gc.collect()
    assert made() == 2
