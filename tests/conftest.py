"""What every test gets: a process that is left as it was found, and throw-away packages."""

from __future__ import annotations

import builtins
import functools
import gc
import importlib
import itertools
import linecache
import os
import re
import shutil
import sys
import tempfile
import textwrap
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from hotswap import collector
from hotswap.settlement import catch_up

if TYPE_CHECKING:
    from tests.test_watching import Recorder

PRISTINE_IMPORT = builtins.__import__
THREADS_END_WITHIN = 5.0
"""Seconds that the threads of a test have to end after it; a thread that was told to stop needs a moment."""

_serial = itertools.count(1)

WHOLLY_THREADED = re.compile(r"^pytestmark\b.*\bmark\.threads\b", re.MULTILINE)

os.environ.setdefault("HOTSWAP_KEEP_SOURCES", "")  # the suite leaves no files behind, measured by coverage or not

ON_PYODIDE = sys.platform == "emscripten"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """On Pyodide, leave out what needs threads as a whole, and what other parts run; elsewhere, what is about Pyodide.

    What `--ignore-glob` names, as it is on Pyodide (pytest makes relative ones absolute), is in no part.

    The marker alone is not enough there: a module has to be imported before its markers are known, and what those
    modules import (watchdog, an HTTP client, a documentation parser) is not to be had for WebAssembly.
    """
    if not ON_PYODIDE:
        return True if collection_path == Path(__file__).parent / "pyodide" else None
    if collection_path.suffix == ".py" and WHOLLY_THREADED.search(collection_path.read_text(encoding="utf-8")):
        return True
    part, parts = map(int, config.getoption("--part").split("/"))
    without = tuple(config.getoption("ignore_glob") or ())
    return True if collection_path in _in_other_parts(part, parts, without) else None


@functools.cache
def _in_other_parts(part: int, parts: int, without: tuple[str, ...]) -> frozenset[Path]:
    """The files of tests that a part leaves to the others, or that none runs.

    Whole files: what their tests share is made once then, and staging looks at fewer modules.
    """
    shares: list[list[Path]] = [[] for _ in range(parts)]
    texts = {path: path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py")}
    for path in sorted(texts, key=lambda path: (len(texts[path]), str(path)), reverse=True):
        ignored = any(fnmatch(str(place), glob) for place in (path, *path.parents) for glob in without)
        if not ignored and not WHOLLY_THREADED.search(texts[path]):
            min(shares, key=lambda share: sum(len(texts[path]) for path in share)).append(path)
    return frozenset(path for share in (*shares[: part - 1], *shares[part:]) for path in share)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--part`: there is no pytest-xdist on Pyodide, so nox starts several interpreters."""
    parser.addoption("--part", default="1/1", help="run one part of the tests: 1/2 and 2/2 together are all of them")


@pytest.hookimpl(tryfirst=True)  # before the markers are asked for
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of `slow.txt`, and leave out those whose turn it is not: see the session `tests` in the noxfile.

    The points of `every_point` are run: that takes a share of them itself.
    """
    here = Path(__file__).parent
    listed = frozenset((here / "slow.txt").read_text(encoding="utf-8").split())
    part, parts = _share("HOTSWAP_SHARE")
    shared = [here / name for name in os.environ.get("HOTSWAP_SHARED", "").split(os.pathsep) if name]
    others = []
    for item in items:
        name = item.nodeid.partition("tests/")[2]
        if name.partition("[")[0] in listed:
            item.add_marker("slow")
        if item.path == here / "every_point" / "test_points.py":
            continue
        in_turn = item.get_closest_marker("slow") or any(item.path.is_relative_to(path) for path in shared)
        if in_turn and zlib.crc32(name.encode()) % parts != part - 1:
            others.append(item)
    if others:
        config.stash[_OTHERS] = len(others)
        config.hook.pytest_deselected(items=others)
        gone = {*map(id, others)}
        items[:] = [item for item in items if id(item) not in gone]


_OTHERS = pytest.StashKey[int]()
"""How many tests are left to other turns."""


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A part of the suite of which no test has its turn is no failure; one without tests is."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.stash.get(_OTHERS, 0):
        session.exitstatus = pytest.ExitCode.OK


def _share(variable: str) -> tuple[int, int]:
    """Which part of the tests is run, and of how many."""
    part, parts = map(int, os.environ.get(variable, "1/1").split("/"))
    return part, parts


def pytest_collection_finish() -> None:
    """Set pytest's own objects aside: a test that collects garbage would walk all four thousand tests otherwise."""
    gc.collect()
    gc.freeze()


def _forget_modules(before: Mapping[str, ModuleType], throw_away: Path) -> None:
    """Take out of `sys.modules` what was loaded from `throw_away`, and put back what stood there before.

    Modules of the standard library and of dependencies stay, even when a test was the first to import them: loading
    them twice would make two of each of their classes.
    """
    roots = (str(throw_away), str(Path(tempfile.gettempdir(), f"hotswap-{os.getpid()}-")))
    changed = {name: module for name, module in list(sys.modules.items()) if module is not before.get(name)}
    # All places are looked up before the first module goes, and then submodules go first.
    inside = {name for name, module in changed.items() if any(place.startswith(roots) for place in _places(module))}
    for name in sorted(changed, key=lambda name: name.count("."), reverse=True):
        if name in before:
            sys.modules[name] = before[name]
        elif name in inside:
            del sys.modules[name]
    for name, module in before.items():
        sys.modules.setdefault(name, module)


def _places(module: ModuleType) -> list[str]:
    """Where a module lies. The path of a namespace package is read as it was found last: to look at it the ordinary way
    asks for its parent in `sys.modules`, which the test may have taken out."""
    namespace = getattr(module, "__dict__", {})
    path = namespace.get("__path__")
    places = [namespace.get("__file__"), *(getattr(path, "_path", path) or ())]
    return [place for place in places if isinstance(place, str)]


def _threads_left(before: set[threading.Thread]) -> list[threading.Thread]:
    deadline = time.monotonic() + THREADS_END_WITHIN
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        try:
            thread.join(max(0.0, deadline - time.monotonic()))
        except RuntimeError:
            continue  # another thread is just about to start it: `is_alive` tells
    return [thread for thread in left if thread.is_alive()]


def _collecting() -> bool:
    """Whether nobody of ours holds the collector any more: what settles in a thread does, for a moment."""
    deadline = time.monotonic() + THREADS_END_WITHIN
    while collector._switch._held and time.monotonic() < deadline and not ON_PYODIDE:
        time.sleep(0)
    return not collector._switch._held


def unhooked(*allowed: object) -> bool:
    """Whether import statements go where they should: as soon as what old code left behind is settled.

    That is done in a thread, or where there are none by whoever calls a patcher next. Nothing is collected for it.
    """
    deadline = time.monotonic() + THREADS_END_WITHIN
    if ON_PYODIDE:
        catch_up()
    while builtins.__import__ not in allowed and time.monotonic() < deadline and not ON_PYODIDE:
        time.sleep(0)
    return builtins.__import__ in allowed


@pytest.fixture(autouse=True)
def process_left_as_found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Put the import system back after each test, and fail a test that leaves a thread or an import hook behind."""
    modules = dict(sys.modules)
    threads = set(threading.enumerate())
    path = list(sys.path)
    finders = list(sys.meta_path)
    hooks = list(sys.path_hooks)
    import_function = builtins.__import__
    yield
    left = _threads_left(threads)
    if builtins.__import__ not in (import_function, PRISTINE_IMPORT):
        gc.collect()  # closures that stay old may be held by a cycle
    # A wrapper that an earlier fixture needed may have come off meanwhile: that is how it should be.
    hooked = not unhooked(import_function, PRISTINE_IMPORT)
    if hooked:
        builtins.__import__ = import_function
    sys.path[:] = path
    sys.meta_path[:] = finders
    sys.path_hooks[:] = hooks
    _forget_modules(modules, tmp_path_factory.getbasetemp())
    importlib.invalidate_caches()
    linecache.clearcache()
    held, on = not _collecting(), collector.is_wanted()
    if not on:
        gc.enable()  # without it, and with all that is frozen, nobody knows what a candidate has created
    assert not held, "the test left something of ours that holds the collector"
    assert on, "the test left the collector switched off"
    assert not left, f"the test left threads behind: {', '.join(thread.name for thread in left)}"
    assert not hooked, "the test left something else in builtins.__import__ than it found"


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where throw-away packages lie: one directory, since for each new search path all entry points are read again."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture
def make_package(
    tmp_path: Path, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ModuleType]]:
    """Write throw-away packages and import them: `make_package({"__init__.py": "...", "prices.py": "..."})`.

    Paths are relative to the package; sources are dedented. The package gets a unique top-level name, unless the
    test gives one by `name=`: then it lies below `tmp_path`, in `packages`. Its submodules are imported by whoever
    wants them. All of it is gone after the test.
    """
    made: list[Path] = []

    def make(files: Mapping[str, str | bytes], *, name: str | None = None) -> ModuleType:
        package = name or f"throwaway{next(_serial)}"
        root = tmp_path / "packages" if name else packages
        (root / package).mkdir(parents=True)
        made.append(root / package)
        for path, source in {"__init__.py": "", **files}.items():
            file = root / package / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(source if isinstance(source, bytes) else textwrap.dedent(source).encode())
        if sys.path[0] != str(root):
            monkeypatch.syspath_prepend(root)
        importlib.invalidate_caches()  # a folder that has just changed may be as old, to the clock, as the last look
        return importlib.import_module(package)

    yield make
    for folder in made:
        shutil.rmtree(folder, ignore_errors=True)  # a test may have taken it away


@pytest.fixture
def drops(tmp_path: Path) -> Path:
    """An empty directory to be watched, to which nobody else can write."""
    directory = tmp_path / "drops"
    directory.mkdir(mode=0o755)
    return directory


@pytest.fixture
def apply() -> Recorder:
    """Stand in for a patcher's `apply`, and write down what it is given."""
    from tests.test_watching import Recorder  # needs watchdog, which not every platform has

    return Recorder()
