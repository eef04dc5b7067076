"""All or nothing: while a swap and its rollback alternate, no reader sees one part of a version without the rest.

A reader's own read must not be interrupted, or it would see a swap between two of its names and call it torn. So a
snapshot is one C call: `tuple` draws all names through `map` with C functions. What it reads tells the version without
running any code: the default value of a function, the value of an attribute, and the folder that the code of a function
comes from, which a forwarder has from its successor.

How many names are read in all can be set by the environment variable HOTSWAP_RACE_NAMES.
"""

from __future__ import annotations

import importlib
import itertools
import operator
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import hotswap
import hotswap.swap.writes
from tests.races.threads import Readers

pytestmark = pytest.mark.threads

NAMES = int(os.environ.get("HOTSWAP_RACE_NAMES", "10_000_000"))
SWAPS = 60
"""How many swaps and rollbacks there are at least: torn reads can only be seen at these."""

MODULES = ("one", "two", "three", "four", "five")
SOURCE = """
VERSION = ({n},)
LIMIT = ({n},)
""" + "".join(
    f"def function{number}(version={{n}}): return version\n" for number in range(20)
) + "".join(
    f"""
class Class{number}:
    limit = ({{n}},)
    def one(self, version={{n}}): return version
    def two(self, version={{n}}): return version
    @property
    def three(self): return {{n}}
    @staticmethod
    def four(version={{n}}): return version
"""
    for number in range(5)
)  # fmt: skip


def sources(package: str, version: int) -> dict[str, str | bytes]:
    return {f"{package}.{module}": SOURCE.replace("{n}", str(version)) for module in MODULES}


defaults_of = vars(FunctionType)["__defaults__"].__get__
code_of = operator.attrgetter("__code__.co_filename")
property_of = operator.attrgetter("three.fget.__code__.co_filename")

files: dict[Any, tuple[int]] = {}
"""The file of each module in each version -> the version."""


def note_files(folder: str, version: int) -> None:
    """Note where a version of the package lies."""
    files.update({str(Path(folder, f"{module}.py")): (version,) for module in MODULES})


namespace_of = vars(ModuleType)["__dict__"].__get__


class Snapshot:
    """Reads everything at once. Made before the first swap, so what it holds are old identities and namespaces."""

    def __init__(self, package: str, importer: ModuleType) -> None:
        modules = [importlib.import_module(f"{package}.{module}") for module in MODULES]
        functions = [name for name in vars(modules[0]) if name.startswith("function")]
        classes = [getattr(module, name) for module in modules for name in vars(module) if name.startswith("Class")]
        note_files(str(Path(namespace_of(modules[0])["__file__"]).parent), 0)
        self._classes = classes
        self._names = [module.__name__ for module in modules]
        self._held = [getattr(module, name) for module in modules for name in functions]
        self._methods = [getattr(cls, name) for cls in classes for name in ("one", "two", "four")]
        self._attributes = [(cls, "limit") for cls in classes]
        self._read_methods = [(cls, name) for cls in classes for name in ("one", "two", "four")]
        self._imported = vars(importer)
        self._get_imported = [name for name in vars(importer) if name.startswith("function")]
        self._get_values = [name for name in vars(importer) if name.startswith(("LIMIT", "VERSION"))]
        self.names = len(self())

    def __call__(self) -> tuple[Any, ...]:
        modules = sys.modules.__getitem__
        read = tuple(
            chain(
                # the code of functions and methods that somebody holds, and of properties
                map(code_of, self._held),
                map(code_of, self._methods),
                map(property_of, self._classes),
                # functions and methods that somebody holds
                map(defaults_of, self._held),
                map(defaults_of, self._methods),
                # class attributes, and methods as the class has them now
                itertools.starmap(type.__getattribute__, self._attributes),
                map(defaults_of, itertools.starmap(type.__getattribute__, self._read_methods)),
                # what another module imported by name: functions and values
                map(defaults_of, map(self._imported.__getitem__, self._get_imported)),
                map(self._imported.__getitem__, self._get_values),
                # attributes of the modules that are in sys.modules now
                map(dict.__getitem__, map(namespace_of, map(modules, self._names)), repeat("VERSION")),
                map(dict.__getitem__, map(namespace_of, map(modules, self._names)), repeat("LIMIT")),
            )
        )
        return tuple(map(files.get, read, read))


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> tuple[str, Snapshot]:
    """Five modules of one package, and a module outside of it that imported their names."""
    package = make_package({f"{module}.py": SOURCE.replace("{n}", "0") for module in MODULES}).__name__
    names = [line.split("(")[0].removeprefix("def ") for line in SOURCE.splitlines() if line.startswith("def ")]
    importing = "".join(
        f"from {package}.{module} import {name} as {name}_{module}\n"
        for module in MODULES
        for name in (*names, "LIMIT", "VERSION")
    )
    importer = make_package({"__init__.py": importing})
    return package, Snapshot(package, importer)


def swaps(package: str) -> Iterator[int]:
    """Swap and roll back in turn; count what was done."""
    patcher = hotswap.Patcher([package])
    for number in itertools.count(1):
        if number % 2:
            patch = hotswap.Patch.from_sources(sources(package, number), version=str(number), name=package)
            rollout = patcher.stage(patch)
            note_files(f"{rollout.candidate.tree.directory}{os.sep}{package}", number)
            rollout.verify()
            rollout.commit()
        else:
            patcher.rollback()
        yield number


class TestSwap:
    def test_covers_enough(self, service: tuple[str, Snapshot]) -> None:
        assert service[1].names >= 200

    @pytest.mark.slow
    def test_is_seen_whole(self, service: tuple[str, Snapshot]) -> None:
        package, snapshot = service
        with Readers(snapshot) as readers, readers.racing_with_commits():
            for number in swaps(package):
                if number >= SWAPS and sum(readers.read) * snapshot.names >= NAMES:
                    break
        assert readers.torn == []
        assert len(readers.seen) >= SWAPS // 4, "the readers saw the versions come and go"

    def test_is_seen_torn_if_the_commit_is_a_plain_loop(
        self, service: tuple[str, Snapshot], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The readers above would see it."""

        def plain_loop(calls: Iterable[object], maxlen: int | None = None) -> list[object]:
            results = []
            for result in calls:
                results.append(result)
            return results

        monkeypatch.setattr(hotswap.swap.writes, "deque", plain_loop)
        self.assert_is_seen_torn(*service)

    def test_is_seen_torn_if_one_write_is_python(
        self, service: tuple[str, Snapshot], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One Python function among all the writes is enough."""
        writes_of = hotswap.swap.writes.Writes._ops

        def with_python_in_the_middle(self: Any, forward: bool) -> list[Any]:
            ops = writes_of(self, forward)
            for position in range(0, len(ops), 10):
                ops.insert(position, (lambda: None,))
            return ops

        monkeypatch.setattr(hotswap.swap.writes.Writes, "_ops", with_python_in_the_middle)
        self.assert_is_seen_torn(*service)

    def test_is_seen_torn_if_only_the_code_is_written_one_by_one(
        self, service: tuple[str, Snapshot], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The code is what leads a function that somebody holds to the new one."""
        writes_of = hotswap.swap.writes.Writes._ops
        set_code = vars(FunctionType)["__code__"].__set__

        def with_a_loop_for_the_code(self: Any, forward: bool) -> list[Any]:
            ops = writes_of(self, forward)
            code = [op for op in ops if op[0] == set_code]

            def write() -> None:
                for function, *arguments in code:
                    function(*arguments)

            return [*(op for op in ops if op[0] != set_code), (write,)]

        monkeypatch.setattr(hotswap.swap.writes.Writes, "_ops", with_a_loop_for_the_code)
        self.assert_is_seen_torn(*service)

    def assert_is_seen_torn(self, package: str, snapshot: Snapshot) -> None:
        with Readers(snapshot) as readers, readers.racing_with_commits():
            for number in swaps(package):
                if readers.torn or number >= SWAPS:
                    break
        assert readers.torn
