"""Nothing grows: of many swaps two generations stay, and so do their lines."""

from __future__ import annotations

import gc
import importlib
import inspect
import linecache
import logging
import queue
import sys
import threading
import time
import traceback
import warnings
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap.effects.snapshot import Snapshot

Make = Callable[..., ModuleType]

SWAPS = 4
LIMIT = 20.0
"""Seconds for what takes some milliseconds, on a machine that is busy."""

HEAD = """\
import inspect

class Datum:
    def __init__(self, number):
        self.number = number

N = {number}
DATUM = Datum(N)

def f():
    return {number}

class Class:
    pass

"""


class Course:
    """A module that is patched again and again; knows which of its generations live, without keeping one."""

    def __init__(self, make: Make, body: str) -> None:
        self.body = body
        package = make({"core.py": self.source(0)})
        self.name = f"{package.__name__}.core"
        importlib.import_module(self.name)
        self.patcher = hotswap.Patcher([package.__name__])
        self._generations: list[tuple[weakref.ref[Any], ...]] = []
        self._note()

    def source(self, number: int) -> str:
        return HEAD.format(number=number) + self.body + "\n"

    def _note(self) -> None:
        module = sys.modules[self.name]
        self._generations.append(tuple(map(weakref.ref, (module, module.DATUM))))

    def run(self, swaps: int = SWAPS) -> None:
        for number in range(len(self._generations), len(self._generations) + swaps):
            self.patcher.apply(hotswap.Patch.from_sources({self.name: self.source(number)}))
            self._note()

    def end(self) -> None:
        """Go on to versions that keep nothing."""
        for number in range(2):
            self.patcher.apply(hotswap.Patch.from_sources({self.name: f"x = {number}\n"}))
        gc.collect()

    @property
    def living(self) -> list[int]:
        gc.collect()
        return [n for n, known in enumerate(self._generations) if any(one() is not None for one in known)]

    def comes_to(self, wanted: Callable[[list[int]], bool]) -> bool:
        """Whether the living generations become as wanted: threads that settle or have loaded may still be ending."""
        deadline = time.monotonic() + LIMIT
        while not wanted(self.living) and time.monotonic() < deadline:
            time.sleep(0.01)
        return wanted(self.living)


class TestGenerations:
    def test_two_stay_of_many(self, make_package: Make) -> None:
        course = Course(make_package, "KEPT = []\n")
        course.run(25)
        assert course.comes_to(lambda living: living == [24, 25])

    @pytest.mark.parametrize("body", ["1 / 0\n", "import no_such_module\n", "class Class(int): pass\n"])
    def test_errors_that_somebody_keeps_keep_none(self, make_package: Make, body: str) -> None:
        course = Course(make_package, "")
        held = []
        for _ in range(4):
            course.run(1)
            with pytest.raises(hotswap.HotswapError) as caught:
                course.patcher.apply(hotswap.Patch.from_sources({course.name: course.source(99) + body}))
            held.append(caught.value)
        course.run(2)
        assert course.comes_to(lambda living: living == [5, 6])
        assert all(error.__traceback__ is not None for error in held)


def linecache_runs(thread: threading.Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code is linecache.getlines.__code__


class TestLooking:
    def test_what_was_copied_of_the_process_is_let_go_without_a_collection(
        self, make_package: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The names of all modules are some megabytes; collections would have to go through them."""
        taken: list[weakref.ref[Any]] = []
        init = Snapshot.__init__

        def note(self: Snapshot, *arguments: Any) -> None:
            taken.append(weakref.ref(self))
            init(self, *arguments)

        monkeypatch.setattr(Snapshot, "__init__", note)
        course = Course(make_package, "")
        gc.disable()
        try:
            course.run(1)
            assert [reference() for reference in taken] == [None]
        finally:
            gc.enable()


class TestLines:
    """`linecache` has the lines of the generations that are kept, and of no other."""

    @staticmethod
    def files() -> list[str]:
        return [path for path in linecache.cache if "hotswap-" in path]

    @staticmethod
    def shown(make: Make) -> tuple[Course, str]:
        """A module that was patched, and its file, of which somebody has looked up lines."""
        course = Course(make, "")
        course.run(1)
        file = sys.modules[course.name].__file__
        assert file is not None
        linecache.getlines(file)
        return course, file

    def test_of_live_versions_that_log_a_traceback(self, make_package: Make) -> None:
        course = Course(make_package, "def fail(): return 1 / 0")
        for _ in range(SWAPS):
            course.run(1)
            with pytest.raises(ZeroDivisionError) as caught:
                sys.modules[course.name].fail()
            assert "def fail(): return 1 / 0" in "".join(traceback.format_exception(caught.value))
            assert len(self.files()) <= 2
        course.end()

    def test_of_a_rejected_patch_that_warns(self, make_package: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        shown: list[str] = []
        monkeypatch.setattr(warnings, "showwarning", lambda *a, **k: shown.append(linecache.getline(a[2], a[3])))
        course = Course(make_package, "")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            with pytest.raises(hotswap.LoadError):
                course.patcher.apply(
                    hotswap.Patch.from_sources({course.name: "import warnings\nwarnings.warn('old')\n1 / 0\n"})
                )
        assert shown == ["warnings.warn('old')\n"]
        assert self.files() == []

    def test_of_errors_that_are_logged_after_the_rejection(
        self, make_package: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        course = Course(make_package, "")
        for number in range(5):
            try:
                course.patcher.apply(hotswap.Patch.from_sources({course.name: f"x = {number}\n1 / 0  # here\n"}))
            except hotswap.LoadError:
                logging.getLogger(__name__).exception("rejected")
            assert len(self.files()) <= 1
        assert caplog.text.count("1 / 0  # here") >= 5

    def test_an_old_call_in_flight_has_its_lines(self, make_package: Make) -> None:
        course = Course(make_package, "def rows():\n    yield 1\n    raise ValueError(N)  # old")
        rows = sys.modules[course.name].rows()
        next(rows)
        course.body = "# moved\n" * 5 + course.body.replace("old", "new")
        course.run(3)
        second = sys.modules[course.name].rows()
        next(second)
        course.run(3)
        for suspended, line in ((rows, "# old"), (second, "# new")):
            with pytest.raises(ValueError) as caught:
                next(suspended)
            assert line in "".join(traceback.format_exception(caught.value))
        del rows, second, suspended, caught
        course.end()

    def test_so_do_inspect_and_the_import_system(self, make_package: Make) -> None:
        course = Course(make_package, "KEPT = (inspect.getmodule(f), inspect.signature(f), N)")
        course.run()
        caches: tuple[Any, ...] = (inspect.modulesbyfile, sys.path_importer_cache)
        for cache in caches:
            assert len({path for path in cache if "hotswap-" in path}) <= 4
        course.end()

    @pytest.mark.threads
    def test_who_looks_up_lines_meanwhile_does_not_fail(
        self, make_package: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The reader is stopped between its question whether there is an entry and its reading of it."""
        course, file = self.shown(make_package)
        go: queue.SimpleQueue[int] = queue.SimpleQueue()
        found: list[Any] = []
        reader = threading.Thread(target=lambda: found.append(linecache.getlines(file)))
        with monkeypatch.context() as lying:
            lying.setattr(linecache, "len", go.get, raising=False)  # it is asked for the length of the entry
            reader.start()
            while not linecache_runs(reader):
                time.sleep(0)
        course.run(3)
        go.put(4)
        reader.join(20)
        assert found
        assert found[0]
        course.run(1)
        assert file not in linecache.cache

    def test_who_is_interrupted_while_he_looks_them_up_does_not_fail(
        self, make_package: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is deleted in the middle of it, as by a collection, is forgotten later."""
        course, file = self.shown(make_package)

        def lying_len(value: Any) -> int:
            course.run(3)
            return len(value)

        with monkeypatch.context() as lying:
            lying.setattr(linecache, "len", lying_len, raising=False)
            assert linecache.getlines(file)
        course.run(1)
        assert file not in linecache.cache
