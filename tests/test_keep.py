"""`hotswap.keep`: module-level objects that survive every swap, whatever their definition says."""

from __future__ import annotations

import importlib
import itertools
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, assert_type

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.errors import CheckFailedError, LoadError
from hotswap.generation import registry

Make = Callable[..., ModuleType]

_versions = itertools.count(2)

KEEPING = """
import hotswap

CACHE = hotswap.keep("cache", dict)

def version():
    return {}
"""


class Service:
    """A throw-away package with one module `m`, and its patcher."""

    def __init__(self, make: Make, source: str, **others: str) -> None:
        files = {f"{name}.py": text for name, text in others.items()}
        self.package = make({"m.py": source, **files}).__name__
        self.name = f"{self.package}.m"
        for name in (*others, "m"):
            importlib.import_module(f"{self.package}.{name}")
        self.patcher = Patcher(packages=[self.package])

    @property
    def module(self) -> Any:
        return importlib.import_module(self.name)

    def patch(self, source: str, **others: str) -> Patch:
        sources = {f"{self.package}.{name}": text for name, text in others.items()}
        return Patch.from_sources({self.name: source, **sources}, version=f"{next(_versions)}.0")

    def apply(self, source: str, **others: str) -> hotswap.Rollout:
        return self.patcher.apply(self.patch(source, **others))

    @property
    def kept(self) -> list[str]:
        return sorted(name for module, name in registry if module == self.name)


@pytest.fixture
def service(make_package: Make) -> Callable[..., Service]:
    return lambda source, **others: Service(make_package, source, **others)


class TestKeep:
    def test_makes_the_object_once(self) -> None:
        made: list[int] = []

        def factory() -> list[int]:
            made.append(1)
            return []

        first = hotswap.keep("once", factory, module=__name__ + ".once")
        assert hotswap.keep("once", factory, module=__name__ + ".once") is first
        assert made == [1]

    def test_knows_its_caller(self) -> None:
        assert hotswap.keep("mine", list) is hotswap.keep("mine", list, module=__name__)
        assert hotswap.keep("mine", list) is not hotswap.keep("mine", list, module="another")

    def test_has_the_type_of_what_the_factory_makes(self) -> None:
        assert_type(hotswap.keep("typed", dict[str, int]), dict[str, int])

    def test_remembers_none_too(self) -> None:
        calls: list[int] = []
        for _ in range(2):
            assert hotswap.keep("nothing", lambda: calls.append(1)) is None
        assert calls == [1]

    def test_remembers_nothing_when_the_factory_raises(self) -> None:
        with pytest.raises(ZeroDivisionError):
            hotswap.keep("broken", lambda: 1 // 0)
        assert hotswap.keep("broken", lambda: 7) == 7

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ((1, dict), TypeError),
            (("", dict), ValueError),
            (("x", {}), TypeError),
        ],
    )
    def test_refuses_what_can_not_be_meant(self, arguments: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            hotswap.keep(*arguments)
        with pytest.raises(ValueError, match="module"):
            hotswap.keep("x", dict, module="")

    @pytest.mark.threads
    def test_gives_all_threads_the_same_object(self) -> None:
        barrier = threading.Barrier(4)
        inside = threading.Barrier(4)
        found: list[object] = []

        def factory() -> object:
            inside.wait(10)  # all four are in the factory at once: no lock of ours is held, and one object wins
            return object()

        def ask() -> None:
            barrier.wait(10)
            found.append(hotswap.keep("raced", factory))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(found) == 4
        assert len({id(o) for o in found}) == 1


class TestSwap:
    def test_keeps_the_object_although_its_definition_changed(self, service: Callable[..., Service]) -> None:
        live = service(KEEPING.format(1))
        cache = live.module.CACHE
        cache["key"] = "warm"
        rollout = live.apply(KEEPING.format(2).replace('"cache", dict', '"cache", factory=lambda: {"cold": 1}'))
        assert live.module.CACHE is cache
        assert cache == {"key": "warm"}
        assert f"kept      {live.name}:CACHE (hotswap.keep holds it)" in str(rollout.plan)
        live.patcher.rollback()
        assert live.module.CACHE is cache

    def test_works_without_a_patcher(self, make_package: Make) -> None:
        package = make_package({"__init__.py": KEEPING.format(1)})
        cache = package.CACHE
        assert importlib.reload(package).CACHE is cache

    def test_does_not_look_into_the_object(self, service: Callable[..., Service]) -> None:
        """What is in it is live: the candidate must not be led through it, or it would be rewritten before the swap."""
        source = KEEPING + "\ndef helper():\n    return {}\n"
        live = service(source.format(1, 1))
        helper = live.module.helper
        live.module.CACHE["helper"] = helper
        live.apply(source.format(2, 2))
        assert live.module.CACHE["helper"] is helper
        assert helper() == 2

    def test_a_new_name_is_remembered_when_it_goes_live(self, service: Callable[..., Service]) -> None:
        live = service("def version():\n    return 1\n")
        rollout = live.patcher.stage(live.patch(KEEPING.format(2)))
        staged = rollout.candidate[live.name].CACHE
        assert live.kept == []
        rollout.verify()
        rollout.commit()
        assert live.kept == ["cache"]
        assert live.module.CACHE is staged
        live.apply(KEEPING.format(3).replace("dict)", "lambda: None)"))
        assert live.module.CACHE is staged

    def test_a_new_name_is_forgotten_at_a_rollback(self, service: Callable[..., Service]) -> None:
        live = service("def version():\n    return 1\n")
        live.apply(KEEPING.format(2))
        first = live.module.CACHE
        live.patcher.rollback()
        assert live.kept == []
        live.apply(KEEPING.format(2))
        assert live.module.CACHE is not first

    def test_a_rejected_candidate_leaves_nothing(self, service: Callable[..., Service]) -> None:
        live = service("def version():\n    return 1\n")
        with pytest.raises(LoadError):
            live.apply(KEEPING.format(2) + "\n1 // 0\n")
        live.patcher.check(lambda candidate: bool(candidate[live.name].CACHE))
        with pytest.raises(CheckFailedError):
            live.apply(KEEPING.format(2))
        assert live.kept == []

    def test_a_helper_of_live_code_asks_for_the_candidate(self, service: Callable[..., Service]) -> None:
        live = service(
            "A = 1\n",
            helper="import hotswap\n\ndef kept(name, module):\n    return hotswap.keep(name, list, module=module)\n",
        )
        source = "from .helper import kept\nROWS = kept('rows', __name__)\n"
        rollout = live.patcher.stage(live.patch(source))
        assert live.kept == []
        rollout.abort()
        assert live.kept == []
        live.apply(source)
        assert live.kept == ["rows"]

    def test_who_is_faster_wins(self, service: Callable[..., Service]) -> None:
        """Live code asks for the name while the candidate, which has made it too, is being checked."""
        live = service("A = 1\n")

        @live.patcher.check
        def meanwhile(candidate: Any) -> None:
            assert registry.setdefault((live.name, "cache"), {"live": 1}) == {"live": 1}

        live.apply(KEEPING.format(2))
        assert live.module.CACHE == {"live": 1}
        live.patcher.rollback()
        assert registry[live.name, "cache"] == {"live": 1}

    def test_what_new_code_asks_for_later_is_remembered_at_once(self, service: Callable[..., Service]) -> None:
        live = service("A = 1\n")
        live.apply("import hotswap\n\ndef later():\n    return hotswap.keep('later', list)\n")
        rows = live.module.later()
        assert live.kept == ["later"]
        assert live.module.later() is rows

    def test_follows_a_migration(self, service: Callable[..., Service]) -> None:
        live = service(KEEPING.format(1))
        before = live.module.CACHE
        before["a"] = 1
        migration = (
            "\ndef __hotswap__(old, new):\n    new.CACHE = {key: str(value) for key, value in old.CACHE.items()}\n"
        )
        live.apply(KEEPING.format(2) + migration)
        migrated = live.module.CACHE
        assert migrated == {"a": "1"}
        assert hotswap.keep("cache", dict, module=live.name) is migrated
        live.patcher.rollback()
        assert live.module.CACHE is before
        assert hotswap.keep("cache", dict, module=live.name) is before
