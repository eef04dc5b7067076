"""Laws of the swap, over random small programs and random edits of them.

A live program that took a patch answers like a program that was started with it, through every reference that anybody
holds; a rollback is the identity; a rejected rollout changes nothing; there are never two live generations.

`programs` has the programs, `edits` draws them and their edits, `observing` asks everything that can be asked of one,
and `living` compares a live program with a fresh one: what is kept by rule is listed there, rule by rule.

``HOTSWAP_EXAMPLES=20`` looks at twenty times as many programs.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from hotswap import Patch, Patcher
from hotswap.errors import CheckFailedError, LoadError
from hotswap.generation import gate, worlds
from tests.fingerprint import collect, differences
from tests.property.edits import edited, random_program
from tests.property.living import running
from tests.property.observing import called
from tests.property.programs import Program

STEPS = 8
MANY_STEPS = 100
TIMES = int(os.environ.get("HOTSWAP_EXAMPLES", "1"))

_serial = itertools.count(1)


def tell(patch: Patch) -> None:
    """Have the sources of a patch printed if the example fails."""
    for name, source in patch.sources.items():
        note(f"--- {patch.version} {name}\n{source.data.decode()}")


def law(examples: int) -> settings:
    return settings(
        max_examples=examples * TIMES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
        # A failing program is printed as it is: to make it smaller takes minutes, and `TestFound` keeps the small ones.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        database=None,
        derandomize="CI" in os.environ,  # CI judges a change, not luck; elsewhere every run looks at other programs
    )


# A hundred edits are thousands of choices, which is more than hypothesis keeps account of: it chooses the seed.
randoms = st.randoms(use_true_random=True)


def follow(program: Program, random: Random, steps: int, *, back: float = 0.0) -> int:
    """Patch a program again and again; after each step it has to answer like a fresh one.

    Arguments:
        program: the first version.
        random: draws the edits.
        steps: how many.
        back: how many of them are taken back before they are made for good.

    Returns how many patches went live for good.
    """
    applied = 0
    with running(program) as live:
        live.check()
        for _ in range(steps):
            after = edited(random, live.program)
            patch = live.patch(after)
            if patch is None:
                continue
            tell(patch)
            if random.random() < back:
                live.there_and_back(patch, after)
                live.check()
            if live.apply(patch, after):
                applied += 1
                live.hold()
            live.check()
            live.use()
    assert not gate.installed
    assert not any(world.packages == (live.name,) for world in worlds.values())
    return applied


class TestLaws:
    @law(8)
    @given(randoms)
    def test_a_patched_program_answers_like_a_fresh_one(self, random: Random) -> None:
        follow(random_program(random), random, STEPS)

    @pytest.mark.slow
    @pytest.mark.timeout(600 * TIMES)
    @law(1)
    @given(randoms)
    def test_a_hundred_edits_in_a_row(self, random: Random) -> None:
        applied = follow(random_program(random), random, MANY_STEPS, back=0.1)
        assert applied > MANY_STEPS / 2

    @law(6)
    @given(randoms)
    def test_a_rollback_is_the_identity(self, random: Random) -> None:
        with running(random_program(random)) as live:
            for _ in range(STEPS // 2):
                after = edited(random, live.program)
                patch = live.patch(after)
                if patch is None:
                    continue
                tell(patch)
                live.check()
                before = live.fingerprint(exact=False)
                if live.there_and_back(patch, after, use=False):
                    collect()  # a class that is gone is listed below its bases until then
                    assert differences(before, live.fingerprint(exact=False), collected=False) == []
                live.check()
                if random.random() < 0.5 and live.apply(patch, after):
                    live.hold()
                    live.check()

    @law(8)
    @given(randoms, st.sampled_from(["load", "check", "abort"]))
    def test_a_rejected_rollout_changes_nothing(self, random: Random, how: str) -> None:
        with running(random_program(random)) as live:
            if how == "check":
                live.patcher.check(lambda candidate: False)
            for _ in range(STEPS // 2):
                after = edited(random, live.program)
                patch = live.patch(after, more="raise ValueError\n" if how == "load" else "")
                if patch is None or live.refuses(after):
                    continue
                gc.collect()
                before = live.fingerprint()
                if how == "abort":
                    live.patcher.stage(patch).abort()
                else:
                    with pytest.raises(LoadError if how == "load" else CheckFailedError):
                        live.patcher.apply(patch)
                assert differences(before, live.fingerprint(), collected=False) == []
                before.release()
                live.check()


class TestFound:
    """What these laws have found, each as the smallest program that shows it."""

    patchers: ClassVar[dict[str, Patcher]] = {}

    @classmethod
    def patcher_of(cls, module: ModuleType) -> Patcher:
        return cls.patchers[module.__name__.partition(".")[0]]

    @classmethod
    def warnings(cls, module: ModuleType) -> list[str]:
        rollout = cls.patcher_of(module).current
        assert rollout is not None
        return rollout.plan.warnings

    @contextmanager
    def patched(self, *versions: str | dict[str, str]) -> Iterator[Iterator[Any]]:
        """Apply one version of a package after the other; each step gives the live modules `a` and `b`.

        A version that is a text is that of `a`, from which `b` imports everything; PACKAGE stands for the package.
        """
        name = f"found{next(_serial)}"
        texts = [version if isinstance(version, dict) else {"a": version} for version in versions]
        first = {"__init__": "__version__ = '0'\n", "b": "from PACKAGE.a import *\n", **texts[0]}
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(folder)
            (Path(folder) / name).mkdir()
            for module, source in first.items():
                (Path(folder) / name / f"{module}.py").write_text(source.replace("PACKAGE", name))
            for module in sorted(first.keys() - {"__init__"}):
                importlib.import_module(f"{name}.{module}")
            patcher = self.patchers[name] = Patcher([name])

            def steps() -> Iterator[tuple[Any, Any]]:
                yield sys.modules[f"{name}.a"], sys.modules[f"{name}.b"]
                for number, version in enumerate(texts[1:], 1):
                    changed = {f"{name}.{module}": text.replace("PACKAGE", name) for module, text in version.items()}
                    patcher.apply(Patch.from_sources(changed, str(number)))
                    yield sys.modules[f"{name}.a"], sys.modules[f"{name}.b"]

            try:
                yield steps()
            finally:
                for entry in [entry for entry in sys.modules if entry.partition(".")[0] == name]:
                    del sys.modules[entry]

    def test_unchanged_cache_stays_the_same_object_and_follows_later_versions(self) -> None:
        cached = "import functools\n@functools.lru_cache(maxsize=None)\ndef f(): return {}\ndef g(): return {}\n"
        versions = [(1, 1), (1, 2), (2, 2), (2, 3), (3, 3)]
        with self.patched(*(cached.format(*version) for version in versions)) as steps:
            held = None
            for (wanted, _), (a, b) in zip(versions, steps, strict=True):
                held = held or a.f
                assert (a.f(), b.f(), held()) == (wanted,) * 3
                assert b.f is a.f
                if wanted == 1:
                    assert a.f is held

    def test_unchanged_cache_says_what_another_decorator_of_its_function_has_made_of_it(self) -> None:
        source = "import functools\ndef d(f):\n{}    def inner(x: int):\n        'Inner.'\n        return f(x)\n"
        source += "    return inner\n@functools.cache\n@d\ndef f(x):\n    'Told.'\n    return x\n"
        before, after = source.format("    @functools.wraps(f)\n"), source.format("")
        with self.patched(before, after, before) as steps:
            held = next(steps)[0].f
            for name, told, annotated in (("inner", "Inner.", True), ("f", "Told.", False)):
                a, b = next(steps)
                assert a.f is b.f is held
                assert (held.__name__, held.__qualname__.rpartition(".")[2], held.__doc__) == (name, name, told)
                assert bool(inspect.get_annotations(held)) is annotated
                assert held(3) == 3

    def test_nested_class_that_is_removed_is_gone(self) -> None:
        source = "class C:\n    x = 1\n    class Inner:\n        pass\n"
        with self.patched(source, "class C:\n    x = 2\n") as steps:
            held = next(steps)[0].C
            a, _ = next(steps)
            assert a.C is held
            assert held.x == 2
            assert not hasattr(held, "Inner")

    def test_function_that_becomes_a_cache_shows_the_signature_of_the_new(self) -> None:
        cached = "import functools\n@functools.lru_cache\ndef f(x, *, y=1):\n    'new'\n    return x, y\n"
        with self.patched("def f(a):\n    'old'\n    return a\n", cached) as steps:
            held = next(steps)[0].f
            next(steps)
            assert held(5, y=7) == (5, 7)
            assert str(inspect.signature(held)) == "(x, *, y=1)"
            assert held.__doc__ == "new"

    def test_cache_that_becomes_a_plain_function_leads_to_it(self) -> None:
        versions = [
            "import functools\n@functools.lru_cache\ndef f(): return 1\n",
            "def f(): return 2\n",
            "def f(x=3): return x\n",
            "import functools\n@functools.lru_cache\ndef f(): return 4\n",
        ]
        with self.patched(*versions) as steps:
            held = []
            for number, (a, b) in enumerate(steps, 1):
                held.append(a.f)
                assert [f() for f in (a.f, b.f, *held)] == [number] * (number + 2)
            self.patcher_of(a).rollback()
            assert [f() for f in held] == [3] * 4

    def test_cache_that_becomes_a_coroutine_keeps_its_code_and_the_plan_says_so(self) -> None:
        cached = "import functools\n@functools.lru_cache\ndef f(): return {}\n"
        with self.patched(cached.format(1), "async def f(): return 2\n", cached.format(3)) as steps:
            a, _ = next(steps)
            held = a.f
            a, _ = next(steps)
            assert called(a.f) == ["awaited", 2]
            assert held() == 1
            (sentence, *_) = [w for w in self.warnings(a) if ":f has no counterpart" in w]
            assert sentence.endswith("who still holds it keeps the old code")
            next(steps)
            assert held() == 3

    def test_method_that_changes_its_kind_is_called_as_the_new_kind(self) -> None:
        kinds = {
            "plain": "    def m(self, x): return {n}, x\n",
            "static": "    @staticmethod\n    def m(x): return {n}, x\n",
            "class": "    @classmethod\n    def m(cls, x): return {n}, x\n",
        }
        for order in itertools.permutations(kinds):
            steps_of = (*order, order[0])
            bodies = ["class C:\n" + kinds[kind].format(n=n) for n, kind in enumerate(steps_of)]
            with self.patched(*bodies) as steps:
                held: list[tuple[str, Any]] = []
                for number, (kind, (a, _)) in enumerate(zip(steps_of, steps, strict=True)):
                    held.append((kind, a.C().m))
                    for taken, m in held:
                        if kind == "plain" != taken:  # it was taken without an instance, which is what it lacks now
                            with pytest.raises(TypeError, match="missing 1 required positional argument"):
                                m("x")
                        else:
                            assert m("x") == (number, "x"), order
                self.patcher_of(a).rollback()
                for taken, m in held:
                    if order[2] != "plain" or taken == "plain":
                        assert m("x") == (2, "x"), order

    def test_function_and_class_that_were_removed_and_return_are_followed(self) -> None:
        there = "def f(): return {0}\nclass C:\n    def m(self): return {0}\n"
        with self.patched(there.format(1), "x = 1\n", there.format(3), there.format(4)) as steps:
            a, _ = next(steps)
            f, C, c = a.f, a.C, a.C()
            next(steps)
            assert (f(), c.m()) == (1, 1)
            for number in (3, 4):
                a, _ = next(steps)
                assert (f(), c.m(), a.f(), a.C().m()) == (number,) * 4
                assert a.C is C
                assert isinstance(c, a.C)

    def test_class_that_returns_with_another_layout_is_a_new_class(self) -> None:
        slots = "class C:\n    __slots__ = {}\n    def m(self): return {}\n"
        with self.patched(slots.format("('a',)", 1), "x = 1\n", slots.format("('__dict__',)", 3)) as steps:
            a, _ = next(steps)
            C, c = a.C, a.C()
            next(steps)
            a, _ = next(steps)
            assert a.C is not C
            assert (a.C().m(), c.m()) == (3, 1)
            assert any("C returns as a new class" in w for w in self.warnings(a))

    def test_what_a_closure_counts_goes_on(self) -> None:
        source = (
            "def counter():\n    n, seen = 0, []\n    def tick():\n        nonlocal n\n        n += {0}\n"
            "        seen.append(n)\n        return n, len(seen)\n    return tick\ntick = counter()\n"
        )
        with self.patched(*(source.format(step) for step in (1, 10, 100))) as steps:
            a, b = next(steps)
            held = a.tick
            assert [a.tick(), b.tick(), held()] == [(1, 1), (2, 2), (3, 3)]
            a, _ = next(steps)
            assert [a.tick(), b.tick(), held()] == [(13, 4), (23, 5), (33, 6)]
            a, _ = next(steps)
            assert [a.tick(), b.tick(), held()] == [(133, 7), (233, 8), (333, 9)]
            self.patcher_of(a).rollback()
            a = sys.modules[a.__name__]
            assert [a.tick(), b.tick(), held()] == [(343, 10), (353, 11), (363, 12)]

    def test_cache_of_a_decorator_is_kept_while_the_definition_is(self) -> None:
        source = (
            "def memoize(function):\n    cache = {{}}\n    def wrapper(x):\n        if x not in cache:\n"
            "            cache[x] = function(x)\n        return cache[x]\n"
            "    wrapper.cache = cache\n    return wrapper\n"
            "@memoize\ndef f(x): return x, {0}\ndef g(): return {1}\n"
        )
        with self.patched(source.format(1, 1), source.format(1, 2), source.format(3, 2)) as steps:
            a, b = next(steps)
            held = a.f
            cache = a.f.cache
            a.f("x")
            a, _ = next(steps)
            assert a.g() == 2
            assert a.f.cache is held.cache is cache
            assert cache == {"x": ("x", 1)}
            a, _ = next(steps)
            assert (a.f("x"), b.f("x"), held("x")) == (("x", 3),) * 3

    def test_constant_through_a_star_of_an_unchanged_module(self) -> None:
        name = f"found{next(_serial)}"
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(folder)
            files = {
                "__init__": "__version__ = '0'\n",
                "limits": "MOST = 1\n",
                "api": f"from {name}.limits import *\n",
                "far": f"from {name}.api import *\n",
                "user": f"from {name}.far import MOST\ndef most(): return MOST\n",
            }
            (Path(folder) / name).mkdir()
            for module, text in files.items():
                (Path(folder) / name / f"{module}.py").write_text(text)
            user: Any = importlib.import_module(f"{name}.user")
            patcher = Patcher([name])
            for number in (2, 3):
                patcher.apply(Patch.from_sources({f"{name}.limits": f"MOST = {number}\n"}, str(number)))
                assert [sys.modules[f"{name}.{m}"].MOST for m in ("limits", "api", "far")] == [number] * 3
                assert user.most() == number
            patcher.rollback()
            assert user.most() == 2
            for entry in [entry for entry in sys.modules if entry.partition(".")[0] == name]:
                del sys.modules[entry]

    def test_name_of_another_module_follows_where_it_came_from(self) -> None:
        partial = "import functools\ndef base(x=0): return x + {0}\npart = functools.partial(base, 10)\n"
        same = "import functools\ndef base(x=0): return x + {0}\npart = base\n"
        with self.patched(partial.format(1), same.format(2), partial.format(3)) as steps:
            for wanted, (a, b) in zip((11, 2, 13), steps, strict=True):
                assert (a.part(), b.part()) == (wanted, wanted)
            self.patcher_of(a).rollback()
            assert b.part() == 2

    def test_name_that_leaves_and_returns_by_star(self) -> None:
        versions = ["__all__ = ['T']\nT = 1\n", "__all__ = []\nT = 2\n", "__all__ = ['T']\nT = 3\n"]
        with self.patched(*versions) as steps:
            seen = [b.T for _, b in steps]
            assert seen == [1, 2, 3]

    def test_removed_name_that_a_star_took_is_named(self) -> None:
        with self.patched("T = 1\nU = 1\n", "U = 2\n") as steps:
            next(steps)
            a, b = next(steps)
            assert (b.T, b.U) == (1, 2)
            assert any(f"{b.__name__} has imported T from {a.__name__}" in w for w in self.warnings(a))

    def test_registrations_of_an_abstract_class(self) -> None:
        source = (
            "import abc\nclass Shape(abc.ABC):\n    x = {0}\nclass Round(Shape):\n    pass\n"
            "class Square:\n    pass\nRound.register(Square)\n{1}"
        )
        with self.patched(source.format(1, ""), source.format(2, "Round.register(tuple)\n")) as steps:
            a, _ = next(steps)
            Shape, Round, square = a.Shape, a.Round, a.Square()
            Round.register(frozenset)
            asked: tuple[object, ...] = ((), square, frozenset(), [])

            def answers() -> list[tuple[bool, bool]]:
                return [(isinstance(o, Shape), isinstance(o, Round)) for o in asked]

            no, yes = (False, False), (True, True)
            assert answers() == [no, yes, yes, no]
            a, _ = next(steps)
            assert a.Round is Round
            assert answers() == [yes, yes, yes, no]
            a.Round.register(list)
            assert answers() == [yes] * 4
            self.patcher_of(a).rollback()
            assert answers() == [no, yes, yes, yes]

    def test_answers_of_a_protocol_are_asked_anew(self) -> None:
        source = "import typing\n@typing.runtime_checkable\nclass Runs(typing.Protocol):\n    def run(self): ...\n{0}"
        with self.patched(source.format(""), source.format("    def stop(self): ...\n")) as steps:
            a, _ = next(steps)
            runner = type("Runner", (), {"run": lambda self: None})()
            Runs = a.Runs
            assert isinstance(runner, Runs)
            next(steps)
            assert not isinstance(runner, Runs)
            self.patcher_of(a).rollback()
            assert isinstance(runner, Runs)

    REGISTRY = (
        "handlers, classes = [], []\n"
        "class App:\n    def __init__(self): self.routes, self.table = [], {{}}\n"
        "    def route(self, path):\n"
        "        def register(function):\n"
        "            self.routes.append((path, function))\n            self.table[path] = function\n"
        "            handlers.append(function)\n            return function\n"
        "        return register\n"
        "app = App()\n"
        "class Base:\n    def __init_subclass__(cls): classes.append(cls)\n"
    )

    @staticmethod
    def registering(names: str, version: int) -> str:
        return TestFound.REGISTRY.format() + "".join(
            f"@app.route('/{name}')\ndef {name}(): return '{name}', {version}\n"
            f"class {name.upper()}(Base):\n    def says(self): return '{name}', {version}\n"
            for name in names
        )

    def test_registries_follow_definitions_that_come_and_go(self) -> None:
        steps_of = ("ab", "b", "cb", "cbd", "abcd")
        with self.patched(*(self.registering(names, n) for n, names in enumerate(steps_of))) as steps:
            app = None
            for version, (names, (a, _)) in enumerate(zip(steps_of, steps, strict=True)):
                app = app or a.app
                assert a.app is app
                wanted = sorted((f"/{name}", (name, version)) for name in names)
                assert sorted((path, function()) for path, function in app.routes) == wanted
                assert sorted((path, function()) for path, function in app.table.items()) == wanted
                assert sorted(function() for function in a.handlers) == [answer for _, answer in wanted]
                assert sorted(cls().says() for cls in a.classes) == [answer for _, answer in wanted]
            self.patcher_of(a).rollback()
            assert app is not None
            assert sorted(function() for function in app.table.values()) == [("b", 3), ("c", 3), ("d", 3)]

    def test_code_in_a_sequence_is_paired_by_its_name(self) -> None:
        with self.patched(self.registering("abc", 1), self.registering("bc", 2)) as steps:
            a, _ = next(steps)
            f, C = a.a, a.A
            next(steps)
            assert f() == ("a", 1)
            assert C().says() == ("a", 1)

    def test_class_keeps_its_line_through_swap_and_rollback(self) -> None:
        versions = [f"class C:\n    def m(self): return {number}\n" for number in range(3)]
        with self.patched(*versions) as steps:
            for source, (a, _) in zip(versions, steps, strict=True):
                assert inspect.getsource(a.C) == source
                if sys.version_info >= (3, 13):
                    assert vars(a.C)["__firstlineno__"] == 1
            patcher = self.patcher_of(a)
            patcher.rollback()
            assert inspect.getsource(sys.modules[a.__name__].C) == versions[1]

    def test_number_that_becomes_a_function_stays_a_number_elsewhere(self) -> None:
        with self.patched("f = 3\nseen = [3]\n", "def f(): pass\nseen = [3]\n") as steps:
            seen = next(steps)[0].seen
            a, b = next(steps)
            assert a.seen is b.seen is seen
            assert seen == [3]

    def test_decorator_that_returns_a_number_binds_no_other_name(self) -> None:
        source = "def decorate(f): return {0}\n@decorate\ndef f(): return {0}\n"
        with self.patched({"a": source.format(3), "b": "n = 3\n"}, source.format(4)) as steps:
            next(steps)
            a, b = next(steps)
            assert (a.f, b.n) == (4, 3)

    def test_lambda_that_is_gone_does_not_lead_to_another(self) -> None:
        with self.patched("f = lambda: 1\n", "g = lambda: 2\n") as steps:
            f = next(steps)[0].f
            a, _ = next(steps)
            assert (f(), a.g()) == (1, 2)

    def test_function_that_returns_with_a_decorator_is_followed_as_a_whole(self) -> None:
        decorated = "import contextlib\n@contextlib.contextmanager\ndef f(): yield 2\n"
        with self.patched("def f(): return 1\n", "x = 1\n", decorated) as steps:
            f = next(steps)[0].f
            next(steps)
            next(steps)
            with f() as value:
                assert value == 2

    def test_function_that_was_a_partial_in_between_shows_the_new_signature(self) -> None:
        versions = (
            "def f(): return 1\n",
            "import functools\nf = functools.partial(divmod, 7)\n",
            "async def f(x=3):\n    'new'\n    return x\n",
        )
        with self.patched(*versions) as steps:
            f = next(steps)[0].f
            next(steps)
            assert f(4) == (1, 3)
            next(steps)
            assert called(f, 4) == ["awaited", 4]
            assert (str(inspect.signature(f)), f.__doc__) == ("(x=3)", "new")

    def test_class_that_returns_has_nothing_of_its_earlier_body(self) -> None:
        versions = ("class C:\n    x = 1\n    def m(self): pass\n", "y = 1\n", "class C:\n    def n(self): pass\n")
        with self.patched(*versions) as steps:
            C = next(steps)[0].C
            next(steps)
            a, _ = next(steps)
            assert a.C is C
            assert [name for name in vars(C) if not name.startswith("__")] == ["n"]

    def test_field_of_a_new_base_stays_in_the_base(self) -> None:
        head = "import dataclasses\nclass Z: pass\n"
        base = "@dataclasses.dataclass\nclass A(Z):\n    x: int = {}\n"
        heir = "@dataclasses.dataclass\nclass B({}):\n    y: int = 0\n"
        versions = (head + base.format(n) + heir.format("A") for n in (1, 2))
        with self.patched(head + heir.format("Z"), *versions) as steps:
            old = next(steps)[0].B()
            for number in (1, 2):
                a, _ = next(steps)
                assert "x" not in vars(a.B)
                assert (old.x, a.B.x, a.B().x) == (number,) * 3

    def test_data_that_is_read_by_way_of_the_package(self) -> None:
        reading = "import PACKAGE.a\ndef f(x=PACKAGE.a.N): return x\ntable = {'n': PACKAGE.a.N}\n"
        with self.patched(
            {"a": "N = 1\n", "b": reading}, "N = 2\n", "M = 1\nN = M + 2\n", "M = 2\nN = M + 2\n"
        ) as steps:
            for number, (_, b) in enumerate(steps, 1):
                assert (b.f(), b.table) == (number, {"n": number})

    def test_class_that_a_star_left_behind_hinders_nobody(self) -> None:
        source = "from PACKAGE.a import *\nx = 1\n"
        versions = (
            {"a": "class C: pass\n", "b": source},
            {"a": "y = 1\n"},
            {"a": "def C(): return 3\n", "b": source + "z = 1\n"},
        )
        with self.patched(*versions) as steps:
            next(steps)
            _, b = next(steps)
            assert isinstance(b.C, type)
            _, b = next(steps)
            assert b.C() == 3

    def test_class_that_a_star_left_behind_and_that_returns_as_another_kind(self) -> None:
        source = "from PACKAGE.a import *\nx = 1\n"
        versions = (
            {"a": "class C: pass\n", "b": source},
            {"a": "y = 1\n"},
            {"a": "import enum\nclass C(enum.Enum):\n    ONE = 1\n", "b": source + "z = 1\n"},
        )
        with self.patched(*versions) as steps:
            *_, (a, b) = steps
            assert b.C is a.C
            assert b.C(1) is a.C.ONE

    def test_name_that_only_passed_through_is_named_when_it_goes(self) -> None:
        texts = {"a": "T = 1\n", "b": "from PACKAGE.a import *\nx = 1\n", "c": "from PACKAGE.b import *\n"}
        with self.patched(texts, {"b": "x = 2\n"}) as steps:
            next(steps)
            _, b = next(steps)
            assert any(f"has imported T from {b.__name__}" in w for w in self.warnings(b))

    def test_cache_of_another_module_goes_on_remembering(self) -> None:
        cache = "import functools\n@functools.lru_cache\ndef f(x): return x, {}\n"
        holder = "import functools\nfrom PACKAGE.a import f, g\nx = {}\np = functools.partial({}, 5)\n"
        cache += "@functools.lru_cache\ndef g(x): return x\n"
        versions = (
            {"a": cache.format(1), "b": holder.format(1, "f")},
            {"b": holder.format(2, "g")},
        )
        with self.patched(*versions) as steps:
            a, b = next(steps)
            a.f(1), a.g(1), b.p()
            next(steps)
            assert (a.f.cache_info().currsize, a.g.cache_info().currsize) == (2, 1)
