"""The changes that other tools for changing running code get wrong, each through what the rest of a program holds."""

from __future__ import annotations

import copy
import dataclasses
import gc
import importlib
import pickle
import sys
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher

pytestmark = pytest.mark.threads  # pickles by reference need files of the package

Make = Callable[..., ModuleType]


class Program:
    """A module `core` and its patcher; `go` takes a version live, `back` the one before it."""

    def __init__(self, make: Make, source: str) -> None:
        self.name = make({"core.py": source}).__name__
        self.before = importlib.import_module(f"{self.name}.core")
        self.patcher = Patcher([self.name])
        self.version = 0

    def go(self, source: str) -> Any:
        self.version += 1
        self.patcher.apply(Patch.from_sources({f"{self.name}.core": source}, str(self.version)))
        return self.core

    def back(self) -> Any:
        self.patcher.rollback()
        return self.core

    @property
    def core(self) -> Any:
        return sys.modules[f"{self.name}.core"]


class TestWeakPoints:
    def test_enum_member_added(self, make_package: Make) -> None:
        source = "import enum\nclass Colour(enum.Enum):\n    RED = 1\n"
        program = Program(make_package, source)
        colour, red = program.core.Colour, program.core.Colour.RED
        held = {red: "held"}
        core = program.go(source + "    BLUE = 2\n    CRIMSON = 1\n")
        assert core.Colour is colour
        assert colour(1) is colour["RED"] is colour.CRIMSON is red
        assert list(colour) == [red, colour.BLUE]
        assert held[colour.RED] == "held"
        assert pickle.loads(pickle.dumps(colour.BLUE)) is colour(2)
        program.back()
        assert list(colour) == [red]
        assert not hasattr(colour, "BLUE")

    def test_dataclass_field_added(self, make_package: Make) -> None:
        source = "from dataclasses import dataclass, field\n@dataclass\nclass Order:\n    sku: str\n"
        program = Program(make_package, source)
        old, other = program.core.Order("a"), program.core.Order("a")
        core = program.go(source + "    note: str = 'none'\n    tags: list = field(default_factory=list)\n")
        assert (old.note, old.tags) == ("none", [])
        old.tags.append(1)
        assert other.tags == []
        assert old != other
        assert other == core.Order("a")
        assert repr(other).endswith("Order(sku='a', note='none', tags=[])")
        assert [field.name for field in dataclasses.fields(old)] == ["sku", "note", "tags"]
        assert dataclasses.replace(other, note="x") == core.Order("a", "x")
        program.back()
        assert repr(other).endswith("Order(sku='a')")

    def test_slots_changed(self, make_package: Make) -> None:
        before = "class P:\n    __slots__ = ('x', 'gone')\n    def __init__(self): self.x = 1\n"
        after = (
            "class P:\n    __slots__ = ('x', 'y')\n"
            "    def __init__(self): self.x, self.y = 1, 2\n"
            "    def total(self): return self.x + getattr(self, 'y', 0)\n"
        )
        program = Program(make_package, before)
        old = program.core.P()
        core = program.go(after)
        assert (old.total(), core.P().total()) == (1, 3)
        old.y = 5
        assert (old.total(), copy.copy(old).total()) == (6, 6)
        assert type(old) is core.P
        program.back()
        assert not hasattr(old, "total")
        assert old.x == 1

    def test_keyword_only_default_changed(self, make_package: Make) -> None:
        program = Program(make_package, "def quote(*, rate=1, unit='a'): return rate, unit\n")
        held = program.core.quote
        program.go("def quote(*, rate=2, unit='a', more=3): return rate, unit, more\n")
        assert held() == (2, "a", 3)
        assert held(more=4) == (2, "a", 4)
        program.back()
        assert held() == (1, "a")
        with pytest.raises(TypeError):
            held(more=4)

    def test_decorated_function(self, make_package: Make) -> None:
        source = (
            "import functools\ndef through(inner):\n    @functools.wraps(inner)\n"
            "    def wrapper(*args): return 'W{n}', inner(*args)\n    return wrapper\n"
            "@through\ndef quote(a): return a + {n}\n"
        )
        program = Program(make_package, source.replace("{n}", "1"))
        held = program.core.quote, program.core.quote.__wrapped__
        program.go(source.replace("{n}", "2"))
        assert (held[0](1), held[1](1)) == (("W2", 3), 3)
        program.back()
        assert (held[0](1), held[1](1)) == (("W1", 2), 2)

    def test_lru_cache(self, make_package: Make) -> None:
        source = "import functools\n@functools.lru_cache\ndef quote(a): return a * {n}\n"
        program = Program(make_package, source.replace("{n}", "2"))
        held = program.core.quote
        assert held(3) == 6
        program.go(source.replace("{n}", "5"))
        assert held(3) == program.core.quote(3) == 15
        program.back()
        assert held(3) == 6

    def test_isinstance_except_and_pickles_of_old_instances(self, make_package: Make) -> None:
        source = (
            "class Failure(Exception):\n    code = {n}\nclass C:\n    def __init__(self): self.x = 1\n    n = {n}\n"
        )
        program = Program(make_package, source.replace("{n}", "1"))
        cls, failure, old = program.core.C, program.core.Failure, program.core.C()
        data = pickle.dumps(old)
        core = program.go(source.replace("{n}", "2"))
        assert isinstance(old, core.C)
        assert core.C is cls
        assert pickle.loads(data).n == pickle.loads(pickle.dumps(old)).n == 2
        with pytest.raises(failure) as caught:
            raise core.Failure
        assert caught.value.code == 2

    def test_suspended_generators(self, make_package: Make) -> None:
        source = (
            "def helper(a{pad}): return a * {n}\ndef count():\n    for a in range(3):\n        yield helper(a{arg})\n"
        )
        program = Program(make_package, source.format(n=1, pad="", arg=""))
        old = program.core.count()
        next(old)
        core = program.go(source.format(n=10, pad=", b", arg=", 0"))
        assert list(old) == [1, 2]
        assert list(core.count()) == [0, 10, 20]

    def test_caches_kept(self, make_package: Make) -> None:
        source = (
            "CACHE = {{}}\nhits = 0\ndef get(a):\n    global hits\n    hits += 1\n    return CACHE.setdefault(a, {n})\n"
        )
        program = Program(make_package, source.format(n=1))
        cache, get = program.core.CACHE, program.core.get
        get("a")
        core = program.go(source.format(n=2))
        assert core.CACHE is cache
        assert (get("a"), core.get("b"), core.hits) == (1, 2, 3)
        core = program.back()
        assert (core.get("b"), core.hits, core.CACHE is cache) == (2, 4, True)

    def test_removed_functions(self, make_package: Make) -> None:
        program = Program(
            make_package, "def gone(): return helper()\ndef helper(): return 1\nclass C:\n    def m(self): pass\n"
        )
        held, instance = program.core.gone, program.core.C()
        core = program.go("def helper(a): return 2\nclass C:\n    def n(self): pass\n")
        assert not hasattr(core, "gone")
        assert held() == 1
        assert not hasattr(instance, "m")
        core = program.back()
        assert core.gone is held
        assert not hasattr(instance, "n")


class TestManyInstances:
    def test_are_not_visited(self, make_package: Make) -> None:
        """Whoever looked at an instance would ask for its class, or its attributes: none is asked for anything."""
        asked: list[str] = []
        source = (
            "class C:\n    n = {n}\n    def __init__(self, asked): object.__setattr__(self, 'asked', asked)\n"
            "    def __getattribute__(self, name):\n"
            "        object.__getattribute__(self, 'asked').append(name)\n"
            "        return object.__getattribute__(self, name)\n"
        )
        program = Program(make_package, source.format(n=1))
        instances = [program.core.C(asked) for _ in range(100)]
        holders = len(gc.get_referrers(*instances))
        core = program.go(source.format(n=2))
        assert asked == []
        assert len(gc.get_referrers(*instances)) == holders
        assert {instance.n for instance in instances} == {2}
        assert all(type(instance) is core.C for instance in instances)
        died = weakref.WeakSet(instances)
        del instances
        gc.collect()
        assert not died
