"""Lingering: closures that stay wholly old have old helpers, however they come by them, as long as they are held."""

from __future__ import annotations

import gc
import importlib
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import events
from hotswap.generation import gate, worlds
from hotswap.rollout import Rollout
from tests import waiting

pytestmark = pytest.mark.threads

LIMIT = 20.0
Make = Callable[..., ModuleType]

HELPERS = "def f(): return 'old'\ndef g(): return f()\n"
"""The text of `a`. Its next versions have neither."""

WAYS = {
    "module": ("import PKG.a", "return PKG.a.g()"),
    "submodule": ("from PKG import a", "return a.g()"),
    "as": ("import PKG.a as z", "return z.g()"),
    "lazy name": ("", "from PKG.a import g; return g()"),
    "lazy relative": ("", "from .a import g; return g()"),
    "lazy module": ("", "import PKG.a; return PKG.a.g()"),
    "importlib": ("import importlib", "return importlib.import_module('PKG.a').g()"),
    "__import__": ("", "return __import__('PKG.a', globals()).a.g()"),
    "helper": ("import PKG.a\ndef h():\n    from PKG.a import g\n    return g()", "return h()"),
}


class Program:
    """A package of two modules, `a` with helpers and `b` with a closure that uses them."""

    def __init__(self, make_package: Make, top: str, body: str, **options: Any) -> None:
        text = f"{top}\ndef make():\n    def inner():\n        {body}\n    return inner\n"
        package = make_package({"a.py": HELPERS})
        self.name = package.__name__
        self.text = text.replace("PKG", self.name)
        Path(package.__path__[0], "b.py").write_text(self.text)
        importlib.invalidate_caches()
        self.b: Any = importlib.import_module(f"{self.name}.b")
        self.a: Any = importlib.import_module(f"{self.name}.a")
        self.patcher = hotswap.Patcher([self.name], **options)

    def apply(self, **texts: str) -> Rollout:
        patch = hotswap.Patch.from_sources({f"{self.name}.{name}": text for name, text in texts.items()})
        rollout = self.patcher.apply(patch)
        if self.patcher_settles:
            assert rollout.wait_settled(LIMIT)
        return rollout

    patcher_settles = True

    def leave(self) -> Rollout:
        """Apply a patch that has neither the closure nor its helpers."""
        return self.apply(a="x = 2\n", b="def make(): return 'new'\n")

    @property
    def worlds(self) -> int:
        return sum(world.packages == (self.name,) for world in list(worlds.values()))


def until(reached: Callable[[], bool]) -> bool:
    """Whether something comes true: a thread of hotswap's own is at it."""
    return bool(waiting.until(reached, LIMIT))


class TestWhileItIsHeld:
    @pytest.mark.parametrize("way", WAYS)
    def test_it_has_the_modules_of_its_generation(self, make_package: Make, way: str) -> None:
        program = Program(make_package, *WAYS[way])
        held = program.b.make()
        rollout = program.leave()
        assert rollout.settled is not None
        (sentence,) = rollout.settled.left
        assert sentence == f"{program.name}.b:make.<locals>.inner has no counterpart in the new version"
        assert [held(), held()] == ["old", "old"]
        assert not hasattr(importlib.import_module(f"{program.name}.a"), "g")

    @pytest.mark.parametrize("way", WAYS)
    def test_imports_are_wrapped_only_if_something_old_imports(self, make_package: Make, way: str) -> None:
        program = Program(make_package, *WAYS[way])
        held = program.b.make()
        rollout = program.leave()
        wrapped = way not in ("module", "submodule", "as")
        assert rollout.settled is not None
        assert rollout.settled.wrapped is wrapped
        assert until(lambda: gate.installed is wrapped)
        del held
        assert until(lambda: not gate.installed)
        assert program.worlds == 0

    def test_one_that_is_made_between_two_patches_stays_with_its_own(self, make_package: Make) -> None:
        program = Program(make_package, *WAYS["lazy name"])
        first = program.b.make()
        program.apply(a="def g(): return 'second'\n", b=program.text.replace("inner", "other"))
        second = sys.modules[f"{program.name}.b"].make()
        program.leave()
        assert (first(), second()) == ("old", "second")

    def test_one_that_was_led_is_not_kept_in_the_old_world(self, make_package: Make) -> None:
        program = Program(make_package, *WAYS["lazy name"])
        held = program.b.make()
        rollout = program.apply(a="def g(): return 'new'\n", b=f"{program.text}# 2")
        assert held() == "new"
        assert rollout.settled is not None
        assert not rollout.settled.wrapped
        assert until(lambda: not gate.installed)

    def test_before_it_is_settled_it_is_as_old(self, make_package: Make) -> None:
        work = "def work(begun, go):\n    begun.set()\n    go.wait(20)\n"
        program = Program(make_package, work, WAYS["lazy name"][1])
        begun, go = threading.Event(), threading.Event()
        thread = threading.Thread(target=program.b.work, args=(begun, go))
        thread.start()
        assert begun.wait(LIMIT)
        held = program.b.make()
        program.patcher_settles = False
        rollout = program.leave()
        with program.patcher._change:  # nothing can be settled now
            go.set()
            thread.join(LIMIT)
            assert held() == "old"
        assert rollout.wait_settled(LIMIT)
        assert held() == "old"


class TestTheEnd:
    def test_the_old_generation_goes_with_the_last_of_them(self, make_package: Make) -> None:
        program = Program(make_package, *WAYS["lazy name"])
        held = [program.b.make(), program.b.make()]
        gone = weakref.ref(program.a.g)
        del program.a, program.b
        program.leave()
        program.apply(a="x = 3\n")
        gc.collect()
        assert held[1]() == "old"
        held.pop()
        gc.collect()
        assert held[0]() == "old"
        held.pop()
        assert not gate.installed
        assert program.worlds == 0
        gc.collect()
        assert gone() is None

    def test_one_that_only_its_own_generation_holds_goes_with_that(self, make_package: Make) -> None:
        program = Program(make_package, "kept = []", WAYS["lazy name"][1])
        program.b.kept.append(program.b.make())
        del program.a, program.b
        rollout = program.apply(a="x = 2\n", b="kept = 2\n")
        assert rollout.settled is not None
        assert rollout.settled.left
        del rollout  # it shows what it has replaced
        program.apply(a="x = 3\n", b="x = 3\n")

        def gone() -> bool:
            gc.collect()  # whoever settles holds it for a moment longer
            return not gate.installed

        assert until(gone)
        assert program.worlds == 0

    def test_a_call_that_is_suspended_keeps_it(self, make_package: Make) -> None:
        program = Program(make_package, "", "yield 1; from PKG.a import g; yield g()")
        suspended = program.b.make()()
        assert next(suspended) == 1
        program.patcher_settles = False
        rollout = program.leave()
        assert next(suspended) == "old"
        suspended.close()
        del suspended
        assert rollout.wait_settled(LIMIT)
        assert until(lambda: not gate.installed)

    def test_what_it_has_made_itself_stays_as_old(self, make_package: Make) -> None:
        program = Program(make_package, "", "return lambda: __import__('PKG.a', globals()).a.g()")
        outer = program.b.make()
        program.leave()
        inner = outer()
        del outer
        assert inner() == "old"
        del inner
        assert until(lambda: not gate.installed)
        assert program.worlds == 0

    def test_a_view_that_somebody_took_leads_to_the_live_module_then(self, make_package: Make) -> None:
        program = Program(make_package, "", "import PKG.a; return PKG.a")
        held = program.b.make()
        program.leave()
        view = held()
        assert view.g() == "old"
        del held
        assert view.x == 2

    def test_a_rollback_makes_it_live(self, make_package: Make) -> None:
        program = Program(make_package, *WAYS["lazy name"])
        names = {*vars(program.b)}
        held = program.b.make()
        rollout = program.leave()
        rollout.rollback()
        assert rollout.wait_settled(LIMIT)
        assert until(lambda: not gate.installed)
        assert program.worlds == 0
        assert {*vars(sys.modules[f"{program.name}.b"])} == names
        assert held() == "old"
        program.apply(a="def g(): return 'new'\n", b=f"{program.text}# 2")
        assert held() == "new"

    def test_if_it_is_not_looked_for_the_world_ends_with_the_last_call(self, make_package: Make) -> None:
        program = Program(make_package, *WAYS["lazy name"], closures=False)
        program.patcher_settles = False
        held = program.b.make()
        program.leave()
        assert until(lambda: not gate.installed)
        with pytest.raises(ImportError):
            held()


class TestEvents:
    def test_the_event_says_that_imports_are_wrapped(self, make_package: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        program = Program(make_package, *WAYS["lazy name"])
        seen: list[dict[str, Any]] = []
        told = threading.Event()

        def emit(event: str, **facts: Any) -> None:
            if event == "rollout.settled" and facts["patch"] == program.name:
                seen.append(facts)
                told.set()

        monkeypatch.setattr(events, "emit", emit)
        held = program.b.make()
        program.leave()
        assert told.wait(LIMIT)
        assert [facts["wrapped"] for facts in seen] == [True]
        assert held() == "old"
