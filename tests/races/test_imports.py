"""Import statements that race with rollouts: each generation imports its own, everybody else the live one."""

from __future__ import annotations

import importlib
import sys
import textwrap
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, Self

import pytest

import hotswap
from tests.races.threads import THREADS, Repeaters

pytestmark = pytest.mark.threads

LIMIT = 20.0


class Importers(Repeaters):
    """Threads that run a piece of code over and over, and note what it found and what it raised.

    Attributes:
        first: is released at each of their steps.
    """

    def __init__(self, code: str) -> None:
        super().__init__(self._import)
        self._code = compile(code, "<importing>", "exec")
        self.found: set[Any] = set()
        self.raised: list[str] = []
        self.first = threading.Semaphore(0)

    def _import(self, _: int) -> bool:
        namespace: dict[str, Any] = {"__name__": "importing"}
        try:
            exec(self._code, namespace)
        except Exception as error:
            self.raised.append(f"{type(error).__name__}: {error}")
        else:
            self.found.add(namespace["found"])
        self.first.release()
        return not self.raised

    def __enter__(self) -> Self:
        super().__enter__()
        for _ in range(THREADS):
            assert self.first.acquire(timeout=LIMIT)
        return self


class TestImportStatement:
    def test_races_with_commits(self, make_package: Callable[..., ModuleType]) -> None:
        """It finds a version that was live at that moment; it never fails."""
        package = make_package({"core.py": "value = 0\ndef get(): return 0"}).__name__
        importlib.import_module(f"{package}.core")
        patcher = hotswap.Patcher([package])
        code = f"from {package}.core import value\nimport {package}.core as c\nfound = (value, c.get())"
        with Importers(code) as importers, importers.racing_with_commits():
            for version in range(1, 31):
                source = f"value = {version}\ndef get(): return {version}"
                patcher.apply(hotswap.Patch.from_sources({f"{package}.core": source}, version=str(version)))
                if importers.raised:
                    break
        assert importers.raised == []
        # Two statements are two reads, so a commit may lie between them; one swap at most does.
        assert all(value <= got <= value + 1 for value, got in importers.found)
        assert len(importers.found) > 10

    def test_of_a_new_module_races_with_its_commit(self, make_package: Callable[..., ModuleType]) -> None:
        """Before the commit there is no such module, and after it there is one, for everybody the same."""
        package = make_package({"core.py": "value = 0"}).__name__
        importlib.import_module(f"{package}.core")
        patcher = hotswap.Patcher([package])
        code = (
            f"try:\n    from {package} import added\nexcept ImportError:\n    found = None\n"
            "else:\n    found = (added.value, id(added))"
        )
        with Importers(code) as importers, importers.racing_with_commits():
            sources: dict[str, str | bytes] = {f"{package}.core": "value = 1", f"{package}.added": "value = 1"}
            patcher.apply(hotswap.Patch.from_sources(sources, version="1"))
            for _ in range(4):
                assert importers.first.acquire(timeout=LIMIT)
        assert importers.raised == []
        added = importlib.import_module(f"{package}.added")
        assert importers.found == {None, (1, id(added))}


class TestIsolation:
    def test_of_a_candidate_from_threads_outside(self, make_package: Callable[..., ModuleType]) -> None:
        """While a module body of the candidate is half way, others import the live module, and it imports its own."""
        package = make_package({"core.py": "value = 1", "user.py": "def get(): return 1"}).__name__
        for name in ("core", "user"):
            importlib.import_module(f"{package}.{name}")
        half_way, go_on = threading.Event(), threading.Event()
        sys.modules[f"{package}_meeting"] = meeting = ModuleType(f"{package}_meeting")
        vars(meeting).update(half_way=half_way, go_on=go_on, limit=LIMIT)
        try:
            source = f"""
from {package}_meeting import half_way, go_on, limit
value = 2
half_way.set()
assert go_on.wait(limit)
"""
            user = "from .core import value\ndef get():\n    from .core import value as now\n    return value, now"
            sources: dict[str, str | bytes] = {f"{package}.core": source, f"{package}.user": user}
            patcher = hotswap.Patcher([package])
            staged: list[Any] = []
            thread = threading.Thread(
                target=lambda: staged.append(patcher.stage(hotswap.Patch.from_sources(sources, version="1")))
            )
            thread.start()
            try:
                assert half_way.wait(LIMIT)
                namespace: dict[str, Any] = {}
                exec(f"from {package}.core import value\nimport {package}.user as user", namespace)
                assert (namespace["value"], namespace["user"].get()) == (1, 1)
                assert importlib.import_module(f"{package}.core").value == 1
            finally:
                go_on.set()
                thread.join(LIMIT)
        finally:
            del sys.modules[f"{package}_meeting"]
        (rollout,) = staged
        assert rollout.candidate[f"{package}.user"].get() == (2, 2)
        assert importlib.import_module(f"{package}.core").value == 1
        rollout.abort()

    def test_of_a_call_in_flight_from_what_is_live(self, make_package: Callable[..., ModuleType]) -> None:
        """A call that began before the swap imports its own generation; a call that begins after it, the new one."""
        source = """
            def run(entered, go_on, limit):
                entered.set()
                assert go_on.wait(limit)
                from .core import {name}
                from . import core
                return {name}, core.{name}
        """
        package = make_package({"core.py": "first = 1", "user.py": source.replace("{name}", "first")}).__name__
        importlib.import_module(f"{package}.core")
        run = importlib.import_module(f"{package}.user").run
        patcher = hotswap.Patcher([package])
        entered, go_on = threading.Event(), threading.Event()
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(run(entered, go_on, LIMIT)))
        thread.start()
        try:
            assert entered.wait(LIMIT)
            user = textwrap.dedent(source.replace("{name}", "second"))
            sources: dict[str, str | bytes] = {f"{package}.core": "second = 2", f"{package}.user": user}
            patcher.apply(hotswap.Patch.from_sources(sources, version="1"))
            done = threading.Event()
            done.set()
            assert run(entered, done, LIMIT) == (2, 2)
        finally:
            go_on.set()
            thread.join(LIMIT)
        assert answers == [(1, 1)]
