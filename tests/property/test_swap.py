"""Laws of the swap, over random small programs and random edits of them.

A live program that took a patch answers like a program that was started with it, through every reference that anybody
holds; a rollback is the identity; a rejected rollout changes nothing; there are never two live generations.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from hotswap import Patch, Patcher, State
from hotswap.errors import CheckFailedError, LoadError
from hotswap.generation import gate, worlds
from tests.fingerprint import Fingerprint, differences

MODULES = ("a", "b", "c")
FUNCTIONS = ("plain", "generator", "coroutine", "wrapped", "cached")
KINDS = (*FUNCTIONS, "number", "table", "class")
MEMBERS = ("attribute", "method", "shown", "static", "made", "nested")
STEPS = 10

_serial = itertools.count(1)

WRAP = """
def wrap(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return "wrapped", function(*args, **kwargs)
    return inner
"""


@dataclass(frozen=True)
class Thing:
    """One definition: what it is, a number in it, what it makes use of, and its parameters or members."""

    kind: str
    number: int
    uses: str | None = None
    parameters: int = 0
    members: frozenset[str] = frozenset()

    def text(self, name: str, known: Mapping[str, str]) -> str:
        """The source of it. `known` are the names that were defined before it, with their kinds."""
        uses = self.uses if self.uses in known else None
        if self.kind == "cached" and known.get(uses or "") in ("number", "table"):
            uses = None  # an unchanged cache stays warm, also with results of data that changes: that is the rule
        use = _use(uses, known)
        if self.kind == "number":
            return f"{name} = {self.number}{f' + {uses}' if known.get(uses or '') == 'number' else ''}\n"
        if self.kind == "table":
            return f"{name} = {{'n': {self.number}}}\n"
        if self.kind == "class":
            return self._class(name, uses, use, known)
        parameters = ", ".join(f"p{n}={self.number + n}" for n in range(self.parameters))
        keywords = f"{parameters}{', ' if parameters else ''}*, key={self.number}"
        shown = "".join(f"p{n}, " for n in range(self.parameters))
        body = f"({name!r}, {self.number}, {shown}key, {use})"
        head = {"wrapped": "@wrap\n", "cached": "@functools.lru_cache(maxsize=None)\n", "coroutine": "async "}
        verb = "yield" if self.kind == "generator" else "return"
        return f"{head.get(self.kind, '')}def {name}({keywords}):\n    {verb} {body}\n"

    def _class(self, name: str, uses: str | None, use: str, known: Mapping[str, str]) -> str:
        number = self.number
        lines = [f"class {name}{f'({uses})' if known.get(uses or '') == 'class' else ''}:"]
        lines += ["    def __init__(self, value=0):", "        self.value = value"]
        parts = {
            "attribute": [f"    attribute = {number}"],
            "method": [
                f"    def method(self, x={number}):",
                f"        return {number}, self.value, x, __class__.__name__",
            ],
            "shown": ["    @property", "    def shown(self):", f"        return {number}, self.value"],
            "static": ["    @staticmethod", f"    def static(x={number}):", f"        return {number}, x, {use}"],
            "made": ["    @classmethod", "    def made(cls):", f"        return {number}, cls({number}).value"],
            "nested": ["    class nested:", "        @staticmethod", f"        def inside(): return {number}"],
        }
        for member in MEMBERS:
            lines += parts[member] if member in self.members else []
        return "\n".join(lines) + "\n"


def _use(uses: str | None, known: Mapping[str, str]) -> str:
    if uses is None:
        return "None"
    kind = known[uses]
    return {"number": uses, "table": f"{uses}['n']", "class": f"{uses}(1).value"}.get(kind, f"answer({uses})")


Program = Mapping[str, Mapping[str, Thing]]
"""Module -> name -> definition. The names of a module begin with its letter; a module sees those of the ones before."""


def sources(program: Program, package: str) -> dict[str, str]:
    """The source of each module."""
    written: dict[str, str] = {}
    everything: dict[str, str] = {}
    for module in MODULES:
        text = "import functools\n"
        for other in MODULES[: MODULES.index(module)]:
            names = [*program[other], *(["wrap"] if other == "a" else [])]
            text += f"from {package} import {other}\n"
            text += f"from {package}.{other} import {', '.join(names)}\n" if names else ""
        text += "def answer(function):\n    return getattr(function, '__name__', '?')\n"
        text += WRAP if module == "a" else ""
        known = dict(everything)
        for name, thing in program[module].items():
            text += thing.text(name, known)
            known[name] = thing.kind
        everything = known
        written[module] = text
    return written


# --- strategies -----------------------------------------------------------------------------------------------------

numbers = st.integers(0, 99)
members = st.frozensets(st.sampled_from(MEMBERS), min_size=1)


@st.composite
def things(draw: st.DrawFn, module: str) -> Thing:
    before = [f"{m}{n}" for m in MODULES[: MODULES.index(module) + 1] for n in range(4)]
    kind = draw(st.sampled_from(KINDS))
    # A base class is as fixed as the class: whether CPython can change it is a subject of its own.
    uses = draw(st.none() | st.sampled_from(before)) if kind != "class" else None
    return Thing(kind, draw(numbers), uses, draw(st.integers(0, 2)), draw(members))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    return {
        module: {f"{module}{n}": draw(things(module)) for n in range(draw(st.integers(1, 4)))} for module in MODULES
    }


@st.composite
def edits(draw: st.DrawFn) -> Callable[[Program], Program]:
    """A function from a program to the next version of it: one to three changes of definitions."""
    changes = draw(
        st.lists(
            st.tuples(
                st.sampled_from(MODULES),
                st.integers(0, 3),
                st.sampled_from(["number", "parameters", "kind", "members", "uses", "add", "remove"]),
                numbers,
                members,
                st.sampled_from(FUNCTIONS),
            ),
            min_size=1,
            max_size=3,
        )
    )

    def edit(program: Program) -> Program:
        after = {module: dict(program[module]) for module in MODULES}
        for module, index, what, number, chosen, kind in changes:
            name = f"{module}{index}"
            thing = after[module].get(name)
            if thing is None:
                # What was a class can't be a function in the next version: `test_rejection` has that.
                was = program[module].get(name)
                if what == "add" and (was is None or was.kind != "class"):
                    after[module][name] = Thing(kind, number, None, number % 3, chosen)
            elif what == "number":
                after[module][name] = replace(thing, number=number)
            elif what == "parameters":
                after[module][name] = replace(thing, parameters=number % 3)
            elif what == "members":  # a nested class that goes is a subject of `TestFound`
                after[module][name] = replace(thing, members=chosen | (thing.members & {"nested"}))
            elif what == "uses" and thing.kind in FUNCTIONS:
                after[module][name] = replace(thing, uses=f"{module}{number % 4}")
            elif what == "kind" and thing.kind in FUNCTIONS:
                after[module][name] = replace(thing, kind=kind)
            elif what == "remove" and len(after[module]) > 1:
                del after[module][name]
        return after

    return edit


# --- observing ------------------------------------------------------------------------------------------------------


def settle(value: Any) -> Any:
    """What a call gave, as plain data."""
    if inspect.isgenerator(value):
        return ["generated", *map(settle, value)]
    if inspect.iscoroutine(value):
        try:
            value.send(None)
        except StopIteration as stop:
            return ["awaited", settle(stop.value)]
    return tuple(map(settle, value)) if isinstance(value, tuple) else value


def called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return settle(function(*args, **kwargs))
    except TypeError:
        return "TypeError"


def answers(value: Any) -> Any:
    """Everything that can be learnt of a value by using it."""
    if isinstance(value, type):
        return value.__name__, of_class(value), of_instance(value(7))
    if callable(value):
        signature = str(inspect.signature(value))
        calls = [called(value), called(value, 1), called(value, 1, 2), called(value, key=5), called(value, nothing=1)]
        return value.__name__, signature, calls
    return value


def without_signature(answer: Any) -> Any:
    """What a function answers, whatever `inspect.signature` says of it: `TestFound` is about that."""
    return (answer[0], answer[2]) if isinstance(answer, tuple) and isinstance(answer[1], str) else answer


def of_class(cls: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {"attribute": getattr(cls, "attribute", None)}
    for name in ("static", "made"):
        seen[name] = called(getattr(cls, name)) if hasattr(cls, name) else None
    seen["nested"] = cls.nested.inside() if hasattr(cls, "nested") else None
    return seen


def of_instance(instance: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {"value": instance.value, "shown": getattr(instance, "shown", None)}
    for name in ("method", "static", "made"):
        seen[name] = called(getattr(instance, name)) if hasattr(instance, name) else None
    return seen


def observe(modules: Mapping[str, ModuleType]) -> dict[str, Any]:
    """What each name of each module answers."""
    seen = {}
    for module, found in modules.items():
        for name, value in vars(found).items():
            if name.startswith("_") or name == "functools":
                continue
            key = f"{module}.{name}"
            seen[key] = (
                "module" if isinstance(value, ModuleType) else name if name in ("wrap", "answer") else answers(value)
            )
    return seen


def fresh(program: Program) -> dict[str, Any]:
    """What a program answers that is started with this version."""
    name = f"fresh{next(_serial)}"
    package = sys.modules[name] = ModuleType(name)
    package.__path__ = []
    try:
        for module, source in sources(program, name).items():
            loaded = sys.modules[f"{name}.{module}"] = ModuleType(f"{name}.{module}")
            exec(compile(source, f"<{name}.{module}>", "exec"), vars(loaded))
            setattr(package, module, loaded)
        return observe({module: sys.modules[f"{name}.{module}"] for module in MODULES})
    finally:
        for entry in [entry for entry in sys.modules if entry.partition(".")[0] == name]:
            del sys.modules[entry]


class Live:
    """A running program, and everything that somebody took from it in any of its versions."""

    def __init__(self, folder: Path, program: Program) -> None:
        self.name = f"property{next(_serial)}"
        (folder / self.name).mkdir()
        (folder / self.name / "__init__.py").write_text("__version__ = '0'\n")
        for module, source in sources(program, self.name).items():
            (folder / self.name / f"{module}.py").write_text(source)
        __import__(f"{self.name}.c")
        # What settles does so in a thread of its own, which a fingerprint of the process would see.
        self.patcher = Patcher([self.name], closures=False)
        self.held: list[tuple[str, Thing, Any, Any]] = []
        self.version = 0
        self.hold(program)

    @property
    def modules(self) -> dict[str, ModuleType]:
        return {module: sys.modules[f"{self.name}.{module}"] for module in MODULES}

    def hold(self, program: Program) -> None:
        """Take references to what is live: the object, and for a class an instance and a bound method of it."""
        for module, found in self.modules.items():
            for name, thing in program[module].items():
                value = vars(found)[name]
                if thing.kind == "class":
                    self.held.append((name, thing, value, value(7)))
                elif thing.kind in FUNCTIONS:
                    self.held.append((name, thing, value, None))

    def patch(self, before: Program, after: Program, *, more: str = "") -> Patch | None:
        """A patch of the modules whose source differs, or None if there is none."""
        old, new = sources(before, self.name), sources(after, self.name)
        changed = {f"{self.name}.{m}": new[m] + more for m in MODULES if new[m] != old[m]}
        self.version += 1
        return Patch.from_sources(changed, f"{self.version}.0") if changed else None

    def forget(self, before: Program, after: Program) -> None:
        """Let go of what the new version removes: who still holds it keeps the old code."""
        gone = {name for m in MODULES for name in before[m] if name not in after[m]}
        self.held = [entry for entry in self.held if entry[0] not in gone]

    def check(self, expected: Mapping[str, Any]) -> None:
        """Assert that the program answers like a fresh one, by its modules and by what is held."""
        assert observe(self.modules) == expected
        for name, thing, value, instance in self.held:
            wanted = expected[f"{name[0]}.{name}"]
            if thing.kind == "cached" and isinstance(wanted[2][0], list):
                continue  # a cache that is held can't lead to a coroutine or generator: `TestFound` has it
            assert without_signature(answers(value)) == without_signature(wanted), f"held {name}"
            if instance is not None:
                assert type(instance) is value
                assert of_instance(instance) == wanted[2], f"held instance of {name}"
        assert sum(record.state is State.LIVE for record in self.patcher.history()) <= 1
        for module, found in self.modules.items():
            assert getattr(sys.modules[self.name], module) is found

    def fingerprint(self, *, exact: bool = True) -> Fingerprint:
        made = Fingerprint(self.patcher, exact=exact)
        # The rollout before the one that is taken back can't be taken back any more: that is no part of the process.
        made.facts.pop("current rollout")
        if not exact:  # a swap empties the caches of changed functions in both directions
            made.facts = {place: fact for place, fact in made.facts.items() if not place.endswith(".cache_info")}
        return made


@contextmanager
def running(program: Program) -> Iterator[Live]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        live = Live(Path(folder), program)
        try:
            yield live
        finally:
            for entry in [entry for entry in sys.modules if entry.partition(".")[0] == live.name]:
                del sys.modules[entry]


def tell(patch: Patch) -> None:
    """Have the sources of a patch printed if the example fails."""
    for name, source in patch.sources.items():
        note(f"--- {patch.version} {name}\n{source.data.decode()}")


def law(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
        # A failing program is printed as it is: to make it smaller takes minutes, and `TestFound` keeps the small ones.
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        database=None,
        derandomize="CI" in os.environ,  # CI judges a change, not luck; elsewhere every run looks at other programs
    )


class TestLaws:
    @law(25)
    @given(programs(), st.lists(edits(), min_size=1, max_size=STEPS))
    def test_a_patched_program_answers_like_a_fresh_one(
        self, program: Program, steps: list[Callable[[Program], Program]]
    ) -> None:
        with running(program) as live:
            live.check(fresh(program))
            for edit in steps:
                after = edit(program)
                patch = live.patch(program, after)
                if patch is None:
                    continue
                tell(patch)
                live.forget(program, after)
                live.patcher.apply(patch)
                live.hold(after)
                live.check(fresh(after))
                program = after
        assert not gate.installed
        assert not any(world.packages == (live.name,) for world in worlds.values())

    @law(25)
    @given(programs(), st.lists(st.tuples(edits(), st.booleans()), min_size=1, max_size=STEPS))
    def test_a_rollback_is_the_identity(
        self, program: Program, steps: list[tuple[Callable[[Program], Program], bool]]
    ) -> None:
        with running(program) as live:
            for edit, stays in steps:
                after = edit(program)
                patch = live.patch(program, after)
                if patch is None:
                    continue
                tell(patch)
                expected = fresh(program)
                live.check(expected)
                before = live.fingerprint(exact=False)
                live.patcher.apply(patch)
                live.patcher.rollback()
                assert differences(before, live.fingerprint(exact=False), collected=False) == []
                live.check(expected)
                if stays:
                    live.forget(program, after)
                    live.patcher.apply(patch)
                    live.hold(after)
                    live.check(fresh(after))
                    program = after

    @law(25)
    @given(programs(), st.lists(edits(), min_size=1, max_size=4), st.sampled_from(["load", "check", "abort"]))
    def test_a_rejected_rollout_changes_nothing(
        self, program: Program, steps: list[Callable[[Program], Program]], how: str
    ) -> None:
        with running(program) as live:
            if how == "check":
                live.patcher.check(lambda candidate: False)
            for edit in steps:
                after = edit(program)
                patch = live.patch(program, after, more="raise ValueError\n" if how == "load" else "")
                if patch is None:
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
                live.check(fresh(program))


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
    def patched(self, *versions: str) -> Iterator[Iterator[Any]]:
        """Apply one version of a module after the other; each step gives the live module."""
        name = f"found{next(_serial)}"
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(folder)
            (Path(folder) / name).mkdir()
            (Path(folder) / name / "__init__.py").write_text("__version__ = '0'\n")
            (Path(folder) / name / "a.py").write_text(versions[0])
            (Path(folder) / name / "b.py").write_text(f"from {name}.a import *\n")
            __import__(f"{name}.b")
            patcher = self.patchers[name] = Patcher([name])

            def steps() -> Iterator[tuple[Any, Any]]:
                yield sys.modules[f"{name}.a"], sys.modules[f"{name}.b"]
                for number, source in enumerate(versions[1:], 1):
                    patcher.apply(Patch.from_sources({f"{name}.a": source}, str(number)))
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
