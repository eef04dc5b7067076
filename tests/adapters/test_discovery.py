"""How adapters are found, and when they are asked."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, ClassVar

import pytest

from hotswap import HotswapError, LoadError, Patch, Patcher, PlanError
from hotswap.adapters import Adapter, Facts, Fate, NameChange, adapters

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]


class Point:
    """An entry point that somebody else's distribution might have."""

    dist = None

    def __init__(self, name: str, loaded: object) -> None:
        self.name, self.loaded = name, loaded
        self.value = f"somewhere:{getattr(loaded, '__name__', loaded)}"

    def load(self) -> object:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


def installed(monkeypatch: pytest.MonkeyPatch, *points: Point) -> None:
    def entry_points(*, group: str) -> Iterable[Point]:
        assert group == "hotswap.adapters"
        return points

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


class Signals(Adapter):
    """Knows the registry of a small framework: a list of functions, `signals.handlers`, filled by `signals.on`."""

    calls: ClassVar[list[tuple[str, object]]] = []

    def __init__(self) -> None:
        self.registered: list[Any] = []

    @contextmanager
    def staging(self, module: str) -> Iterator[None]:
        self.calls.append(("staging", module))
        framework: Any = sys.modules["signals"]
        framework.target = self.registered
        yield
        framework.target = framework.handlers

    def staged(self) -> None:
        self.calls.append(("staged", len(self.registered)))

    def aside(self) -> list[object]:
        return [self.registered]

    def swap(self, facts: Facts) -> None:
        handlers = sys.modules["signals"].handlers
        names = {function.__name__ for function in self.registered}
        after = [one for one in handlers if one.__module__ not in facts.old or one.__name__ in names]
        after += [one for one in self.registered if one.__name__ not in {old.__name__ for old in after}]
        facts.claim(handlers)
        before = list(handlers)
        whole = slice(None)
        facts.writes.both([(list.__setitem__, handlers, whole, after)], [(list.__setitem__, handlers, whole, before)])
        for one in self.registered:
            facts.plan.names.append(NameChange(one.__module__, one.__name__, Fate.ADDED, "signal"))


@pytest.fixture
def signals(make_package: Make, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    source = "handlers = target = []\ndef on(f):\n    target.append(f)\n    return f\n"
    framework = make_package({"__init__.py": source}, name="signals")
    installed(monkeypatch, Point("signals", Signals))
    monkeypatch.setattr(Signals, "calls", [])
    return framework


class TestDiscovery:
    def test_takes_those_whose_framework_is_imported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        installed(monkeypatch, Point("json", Signals), Point("never_imported", ValueError("must not be loaded")))
        assert [type(found) for found in adapters()] == [Signals]

    def test_makes_new_ones_each_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        installed(monkeypatch, Point("json", Signals))
        assert adapters()[0] is not adapters()[0]

    @pytest.mark.parametrize("broken", [ImportError("no such thing"), object, "text", lambda: None])
    def test_refuses_what_is_broken(self, broken: object, monkeypatch: pytest.MonkeyPatch, make_package: Make) -> None:
        package = make_package({"__init__.py": "def f(): return 1\n"})
        patcher = Patcher([package.__name__])
        installed(monkeypatch, Point("json", broken))
        with pytest.raises(PlanError, match=r"somewhere:.* for json can't be used"):
            patcher.apply(Patch.from_sources({package.__name__: "def f(): return 2\n"}, version="2"))
        assert package.f() == 1


class TestProtocol:
    V1 = "import signals\n@signals.on\ndef a(): return 1\n@signals.on\ndef b(): return 1\n"
    V2 = "import signals\n@signals.on\ndef a(): return 2\n@signals.on\ndef c(): return 2\n"

    def test_registrations_are_live_at_the_swap_and_gone_at_rollback(
        self, signals: ModuleType, make_package: Make
    ) -> None:
        package = make_package({"__init__.py": self.V1})
        patcher = Patcher([package.__name__])
        rollout = patcher.stage(Patch.from_sources({package.__name__: self.V2}, version="2"))
        assert [f.__name__ for f in signals.handlers] == ["a", "b"]
        assert NameChange(package.__name__, "c", Fate.ADDED, "signal") in rollout.plan.names
        rollout.verify()
        rollout.commit()
        assert [(f.__name__, f()) for f in signals.handlers] == [("a", 2), ("c", 2)]
        patcher.rollback()
        assert [(f.__name__, f()) for f in signals.handlers] == [("a", 1), ("b", 1)]
        assert Signals.calls == [("staging", package.__name__), ("staged", 2)]

    def test_a_rejected_candidate_has_registered_nothing(self, signals: ModuleType, make_package: Make) -> None:
        package = make_package({"__init__.py": self.V1})
        patcher = Patcher([package.__name__])
        with pytest.raises(LoadError):
            patcher.apply(Patch.from_sources({package.__name__: self.V2 + "1/0\n"}, version="2"))
        assert [(f.__name__, f()) for f in signals.handlers] == [("a", 1), ("b", 1)]

    def test_what_an_adapter_raises_rejects_the_rollout(
        self, signals: ModuleType, make_package: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(self: object, facts: Facts) -> None:
            raise RuntimeError("no idea")

        monkeypatch.setattr(Signals, "swap", fail)
        package = make_package({"__init__.py": self.V1})
        patcher = Patcher([package.__name__])
        with pytest.raises(HotswapError, match="no idea"):
            patcher.apply(Patch.from_sources({package.__name__: self.V2}, version="2"))
        assert [(f.__name__, f()) for f in signals.handlers] == [("a", 1), ("b", 1)]
