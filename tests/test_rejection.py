"""Rejected patches: each kind gets its own clear error, and the process is exactly as it was before."""

from __future__ import annotations

import asyncio
import builtins
import gc
import importlib
import itertools
import sys
import textwrap
import threading
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.version import Version

import hotswap
from hotswap import Patch, Patcher, State
from hotswap.errors import (
    BusyError,
    CheckFailedError,
    DowngradeError,
    HotswapError,
    LoadError,
    PatchError,
    RequirementError,
    SourceError,
    UnsupportedChangeError,
    WheelError,
    WrongPackageError,
)
from hotswap.generation import gate
from tests.fingerprint import Fingerprint, differences
from tests.races.threads import EAGERLY, switching
from tests.wheels import build_wheel, record

pytestmark = pytest.mark.threads  # checks, fingerprints and files of the system: not on Pyodide

Make = Callable[..., ModuleType]

SHOP = {
    "__init__.py": """
        from PACKAGE.pricing import quote, Engine
        from PACKAGE import models

        __version__ = "1.2.0"
    """,
    "tax.py": """
        import functools

        RATES = {"book": 7, "tea": 19}
        calls = []

        def noted(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                calls.append(function.__name__)
                return function(*args, **kwargs)
            return wrapper

        @noted
        def with_tax(amount, kind="book"):
            return amount + amount * RATES[kind] // 100

        @functools.lru_cache(maxsize=None)
        def rate(kind):
            return RATES[kind]
    """,
    "pricing.py": """
        from functools import partial
        from PACKAGE import tax
        from PACKAGE.tax import with_tax

        LIMIT = 100
        hits = 0

        def quote(amount, *, kind="book"):
            global hits
            hits += 1
            return with_tax(amount, kind)

        def stream(count):
            for number in range(count):
                yield quote(number)

        async def later(amount):
            return quote(amount)

        half = partial(quote, 50)

        class Engine:
            names = ["a", "b"]

            def __init__(self, factor=2):
                self.factor = factor

            def run(self, amount):
                return quote(amount) * self.factor

            @property
            def twice(self):
                return self.factor * 2

            @staticmethod
            def fixed():
                return 1

            @classmethod
            def made(cls):
                return cls(3)

        engine = Engine()
    """,
    "models.py": """
        import abc
        import enum
        from dataclasses import dataclass
        from typing import NamedTuple

        class Colour(enum.Enum):
            RED = 1
            BLUE = 2

        class Level(enum.IntEnum):
            LOW = 1

        class Bare:
            __slots__ = ()

        class Slotted:
            __slots__ = ("a", "b")

            def __init__(self):
                self.a = 1
                self.b = 2

        class Meta(type):
            def made(cls):
                return cls.__name__

        class WithMeta(metaclass=Meta):
            pass

        @dataclass
        class Order:
            number: int
            note: str = ""

        class Point(NamedTuple):
            x: int
            y: int

        class Shape(abc.ABC):
            @abc.abstractmethod
            def area(self): ...

        class Square(Shape):
            def area(self):
                return 4

        class Error(Exception):
            pass

        def describe(order):
            return f"{order.number} {order.note}"
    """,
}


@dataclass
class Bench:
    """The service under test: a package that is patched, a module that imported from it, and what it holds."""

    package: str
    folder: Path
    patcher: Patcher
    importer: ModuleType
    held: dict[str, Any]
    _versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def text(self, source: str) -> str:
        return textwrap.dedent(source).replace("PACKAGE", self.package)

    def live(self, module: str) -> str:
        """The source of a module as it is live."""
        return self.text(SHOP[f"{module}.py"])

    def sources(self, version: str | None = "1.3.0", /, **modules: str | bytes) -> Patch:
        """A patch of some modules of the package."""
        return Patch.from_sources(
            {f"{self.package}.{n}": self.text(s) if isinstance(s, str) else s for n, s in modules.items()}, version
        )

    def edited(self, module: str, *edits: tuple[str, str], more: str = "") -> Patch:
        """A patch of one module: its live source with some edits."""
        source = self.live(module)
        for old, new in edits:
            assert source.count(old) == 1, old
            source = source.replace(old, new)
        return self.sources(**{module: source + self.text(more)})

    def wheel(self, version: str = "1.3.0", **options: Any) -> Path:
        """A wheel of the whole package."""
        files = {f"{self.package}/{name}": self.text(source) for name, source in SHOP.items()}
        files[f"{self.package}/pricing.py"] += "\nextra = 1\n"
        files |= options.pop("files", {})
        return build_wheel(self.folder, self.package, version, files, **options)

    def fingerprint(self) -> Fingerprint:
        return Fingerprint(self.patcher, [self.importer])

    def behaviour(self) -> list[object]:
        """What the service answers, through everything that it holds."""
        held = self.held
        return [
            held["quote"](100),
            held["quote"](100, kind="tea"),
            self.importer.quote(10),
            held["half"](),
            held["engine"].run(10),
            held["engine"].twice,
            held["with_tax"](100),
            list(held["stream"](3)),
            held["colour"].name,
            isinstance(held["engine"], self.importer.Engine),
            sys.modules[f"{self.package}.models"].describe(held["order"]),
        ]


@pytest.fixture
def bench(make_package: Make, tmp_path: Path) -> Bench:
    return make_bench(make_package, tmp_path)


_serial = itertools.count(1)


def make_bench(make_package: Make, tmp_path: Path) -> Bench:
    package = f"rejecting{next(_serial)}"
    make_package({name: source.replace("PACKAGE", package) for name, source in SHOP.items()}, name=package)
    imports = f"from {package}.pricing import quote, Engine, LIMIT\nimport {package}.tax as tax\n"
    importer = make_package({"__init__.py": imports}, name=f"importing_{package}")
    pricing, models, tax = (sys.modules[f"{package}.{name}"] for name in ("pricing", "models", "tax"))
    held = {
        "quote": pricing.quote,
        "half": pricing.half,
        "engine": pricing.engine,
        "with_tax": tax.with_tax,
        "stream": pricing.stream,
        "colour": models.Colour.RED,
        "order": models.Order(1, "one"),
    }
    # What settles does so in a thread of its own, which a fingerprint of the process would see.
    patcher = Patcher([package], check_timeout=10, closures=False)
    return Bench(package, tmp_path, patcher, importer, held)


def refused(bench: Bench, attempt: Callable[[Bench], object], error: type[HotswapError]) -> HotswapError:
    """Make the attempt; assert that it is refused with this very type, that nothing changed, and that all goes on."""
    answers = bench.behaviour()
    gc.collect()  # a full collection of CPython 3.12 freezes immortal objects, and another one follows below
    before = bench.fingerprint()
    with pytest.raises(HotswapError) as caught:
        attempt(bench)
    found = caught.value
    assert type(found) is error, f"{found!r}"
    assert differences(before, bench.fingerprint(), collected=False) == []
    assert not gate.installed
    del caught
    forget_causes(found)
    while gc.collect():  # what is held by something with a finalizer takes a second round
        pass
    assert differences(before, bench.fingerprint()) == []
    before.release()
    assert bench.behaviour() == answers
    # The next patch is not held up by the one that was refused, and finds the same process.
    patch = bench.edited("pricing", ("hits += 1", "hits += 2"), more="def fresh(): return 1\n")
    rollout = bench.patcher.apply(patch.with_version("9.0"))
    assert rollout.state is State.LIVE
    assert sys.modules[f"{bench.package}.pricing"].fresh() == 1
    bench.patcher.rollback()
    assert bench.behaviour() == answers
    return found


def forget_causes(error: BaseException) -> None:
    """Let go of the frames that an error holds, and of its causes, whose classes may be the candidate's."""
    error.__traceback__ = error.__cause__ = error.__context__ = None


def untouched(before: Fingerprint, bench: Bench) -> None:
    """Assert that nothing has changed; whatever is held of the candidate yet."""
    after = bench.fingerprint()
    assert differences(before, after, collected=False) == []
    before.release()
    after.release()


def says(error: HotswapError, *words: str) -> None:
    text = str(error)
    for word in words:
        assert word in text, f"{word!r} is not in:\n{text}"


def broken(body: str, module: str = "pricing") -> Callable[[Bench], object]:
    """A patch whose module is the live one and some more lines."""
    return lambda bench: bench.patcher.apply(bench.sources(**{module: bench.live(module) + bench.text(body)}))


# --- what the source says -------------------------------------------------------------------------------------------

SOURCES: dict[str, tuple[bytes | str, tuple[str, ...]]] = {
    "syntax": ("def quote(amount:\n    return 1\n", ("pricing.py:1", "was never closed")),
    "indentation": ("def quote(amount):\nreturn 1\n", ("pricing.py:2", "expected an indented block")),
    "not_utf_8": (b"# caf\xe9\nx = 1\n", ("pricing.py:1", "UTF-8", "0xe9")),
    "null_bytes": (b"x = 1\n\0\n", ("pricing.py:2", "null bytes")),
    "utf_16": ("x = 1\n".encode("utf-16"), ("null bytes", "UTF-16")),
    "unknown_encoding": (b"# coding: klingon\nx = 1\n", ("klingon",)),
    "return_outside": ("return 1\n", ("pricing.py:1", "'return' outside function")),
    "nested_too_deeply": ("x = " + "(" * 500 + ")" * 500 + "\n", ("pricing.py:1",)),
    "future_too_late": ("x = 1\nfrom __future__ import annotations\n", ("pricing.py:2", "__future__")),
}


class TestSources:
    @pytest.mark.parametrize("kind", SOURCES)
    def test_source_that_is_not_python_is_refused_before_anything_runs(self, bench: Bench, kind: str) -> None:
        source, words = SOURCES[kind]
        error = refused(bench, lambda b: b.patcher.apply(b.sources(pricing=source)), SourceError)
        says(error, *words, f"running now: {bench.package} 1.2.0", f"{bench.package} 1.3.0", "what to do")

    def test_all_sources_are_named_at_once(self, bench: Bench) -> None:
        error = refused(bench, lambda b: b.patcher.apply(b.sources(pricing="def (", tax="class")), SourceError)
        says(error, "pricing.py:1", "tax.py:1", "2 problems")


# --- what happens while it is imported ------------------------------------------------------------------------------

BODIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "import_error": ("import nowhere_at_all\n", ("ModuleNotFoundError", "nowhere_at_all", "pricing.py:")),
    "missing_name": ("from PACKAGE.tax import nothing_of_that_name\n", ("ImportError", "nothing_of_that_name")),
    "missing_submodule": ("import PACKAGE.nowhere\n", ("ModuleNotFoundError", ".nowhere")),
    "last_line": ("class Late:\n    pass\nraise ValueError('at the very end')\n", ("ValueError", "at the very end")),
    "sys_exit": ("import sys\nsys.exit(3)\n", ("SystemExit", "3")),
    "sys_exit_zero": ("raise SystemExit\n", ("SystemExit",)),
    "base_exception": ("class Odd(BaseException): pass\nraise Odd('odd')\n", ("Odd", "odd")),
    "generator_exit": ("raise GeneratorExit\n", ("GeneratorExit",)),
    "recursion": ("def endless(): return endless()\nendless()\n", ("RecursionError",)),
    "name_error": ("print(undefined_name)\n", ("NameError", "undefined_name")),
    "assertion": ("assert False, 'not here'\n", ("AssertionError", "not here")),
    "replaces_itself": (
        "import sys, types\nsys.modules[__name__] = types.SimpleNamespace(quote=lambda: 0)\n",
        ("sys.modules", "replace"),
    ),
    "replaces_a_sibling": ("import sys\nsys.modules['PACKAGE.tax'] = sys\n", ("sys.modules", "PACKAGE.tax")),
    "removes_itself": ("import sys\ndel sys.modules[__name__]\n", ("sys.modules",)),
    "group": ("raise ExceptionGroup('several', [ValueError(1), KeyError(2)])\n", ("ExceptionGroup", "several")),
    "error_without_text": (
        "class Bad(Exception):\n    def __str__(self): raise RuntimeError('no text')\nraise Bad\n",
        ("Bad",),
    ),
    "class_decorator_raises": ("@(lambda cls: 1 / 0)\nclass Fails: pass\n", ("ZeroDivisionError",)),
    "init_subclass_raises": (
        "class Root:\n    def __init_subclass__(cls): raise TypeError('no children')\nclass Child(Root): pass\n",
        ("TypeError", "no children"),
    ),
    "subclass_of_live": (
        "from PACKAGE.models import Shape, Error\nclass Round(Shape): pass\nclass Worse(Error): pass\nRound()\n",
        ("TypeError", "abstract"),
    ),
}


class TestImporting:
    @pytest.mark.parametrize("kind", BODIES)
    def test_module_that_fails_is_refused(self, bench: Bench, kind: str) -> None:
        body, words = BODIES[kind]
        error = refused(bench, broken(body), LoadError)
        says(error, *(bench.text(word) for word in words), f"running now: {bench.package} 1.2.0", "what to do")
        assert error.module == f"{bench.package}.pricing"

    def test_failure_half_way_through_several_modules_leaves_none_of_them(self, bench: Bench) -> None:
        patch = bench.sources(
            tax=bench.live("tax") + "\nRATES['new'] = 1\n",
            fresh="value = 1\n",
            pricing=bench.live("pricing") + "\nfrom PACKAGE.fresh import value\nraise OSError('half way')\n",
        )
        error = refused(bench, lambda b: b.patcher.apply(patch), LoadError)
        says(error, "OSError", "half way", f"{bench.package}.pricing")
        assert f"{bench.package}.fresh" not in sys.modules

    def test_circular_import_that_really_fails(self, bench: Bench) -> None:
        patch = bench.sources(
            tax="from PACKAGE.pricing import LIMIT\n" + bench.live("tax"),
            pricing="from PACKAGE.tax import with_tax\nLIMIT = 1\n" + bench.live("pricing"),
        )
        error = refused(bench, lambda b: b.patcher.apply(patch), LoadError)
        says(error, "ImportError", "LIMIT")

    def test_new_module_that_imports_itself_in_a_circle(self, bench: Bench) -> None:
        patch = bench.sources(
            one="from PACKAGE.two import second\nfirst = 1\n", two="from PACKAGE.one import first\nsecond = 2\n"
        )
        error = refused(bench, lambda b: b.patcher.apply(patch), LoadError)
        says(error, "ImportError", "first")

    def test_init_that_fails(self, bench: Bench) -> None:
        source = bench.live("__init__") + "\nraise LookupError('no package')\n"
        patch = Patch.from_sources({f"{bench.package}.__init__": source}, "1.3.0")
        error = refused(bench, lambda b: b.patcher.apply(patch), LoadError)
        says(error, "LookupError", "no package")
        assert error.module == bench.package

    def test_cause_is_chained_with_its_traceback(self, bench: Bench) -> None:
        with pytest.raises(LoadError) as caught:
            broken("def inner():\n    raise ValueError('deep')\ninner()\n")(bench)
        cause = caught.value.__cause__
        assert type(cause) is ValueError
        assert [entry.name for entry in traceback.extract_tb(cause.__traceback__)][-2:] == ["<module>", "inner"]

    def test_keyboard_interrupt_of_a_module_is_no_wish_of_the_user(self, bench: Bench) -> None:
        error = refused(bench, broken("raise KeyboardInterrupt\n"), LoadError)
        says(error, "raised KeyboardInterrupt", "running now", "what to do")

    def test_keyboard_interrupt_of_a_module_does_not_end_an_event_loop(self, bench: Bench) -> None:
        async def serve() -> str:
            patch = bench.edited("pricing", more="raise KeyboardInterrupt\n")
            with pytest.raises(LoadError, match="raised KeyboardInterrupt"):
                await bench.patcher.apply_async(patch)
            return "goes on"

        assert asyncio.run(serve()) == "goes on"


# --- where it comes from --------------------------------------------------------------------------------------------


class TestAdmission:
    def test_wrong_package(self, bench: Bench) -> None:
        patch = Patch.from_sources({"elsewhere.pricing": "x = 1\n"}, "1.3.0")
        error = refused(bench, lambda b: b.patcher.apply(patch), WrongPackageError)
        says(error, "elsewhere.pricing", bench.package, "running now", "what to do")

    def test_package_with_a_similar_name(self, bench: Bench) -> None:
        patch = Patch.from_sources({f"{bench.package}x.pricing": "x = 1\n"}, "1.3.0")
        says(refused(bench, lambda b: b.patcher.apply(patch), WrongPackageError), f"{bench.package}x.pricing")

    def test_partly_wrong_package(self, bench: Bench) -> None:
        patch = Patch.from_sources({f"{bench.package}.pricing": "x = 1\n", "os": "x = 1\n"}, "1.3.0")
        says(refused(bench, lambda b: b.patcher.apply(patch), WrongPackageError), "os is outside of")

    def test_single_file_that_is_no_module_of_the_package(self, bench: Bench) -> None:
        file = bench.folder / "unknown.py"
        file.write_text("x = 1\n")
        error = refused(bench, lambda b: b.patcher.apply(Patch.from_path(file)), WrongPackageError)
        says(error, "unknown", "running now")

    def test_same_version(self, bench: Bench) -> None:
        patch = bench.sources("1.2.0", pricing="x = 1\n")
        says(refused(bench, lambda b: b.patcher.apply(patch), DowngradeError), "1.2.0 is live already", "rollback()")

    def test_downgrade(self, bench: Bench) -> None:
        patch = bench.sources("1.1.9", pricing="x = 1\n")
        error = refused(bench, lambda b: b.patcher.apply(patch), DowngradeError)
        says(error, "1.1.9 is older than 1.2.0", f"running now: {bench.package} 1.2.0", "rollback()")

    def test_pre_release_of_what_is_live(self, bench: Bench) -> None:
        patch = bench.sources("1.2.0rc1", pricing="x = 1\n")
        says(refused(bench, lambda b: b.patcher.apply(patch), DowngradeError), "1.2.0rc1 is older than 1.2.0")

    def test_downgrade_below_a_hot_version(self, bench: Bench) -> None:
        bench.patcher.apply(bench.sources(None, pricing=bench.live("pricing") + "\nhot = 1\n"))
        with pytest.raises(DowngradeError, match=r"1\.2\.0 is older than 1\.2\.0\+hot\.1"):
            bench.patcher.apply(bench.sources("1.2.0", pricing=bench.live("pricing")))

    def test_version_that_is_none(self, bench: Bench) -> None:
        error = refused(bench, lambda b: b.sources("newest", pricing="x = 1\n"), PatchError)
        says(error, "'newest' is not a version", "PEP 440")

    def test_empty_patch(self, bench: Bench) -> None:
        says(refused(bench, lambda b: Patch.from_sources({}, "1.3.0"), PatchError), "no sources")

    def test_path_that_does_not_exist(self, bench: Bench) -> None:
        error = refused(bench, lambda b: Patch.from_path(b.folder / "gone.py"), PatchError)
        says(error, "gone.py", "does not exist")


def _rerecorded(change: Callable[[dict[str, bytes]], object]) -> Callable[[dict[str, bytes]], None]:
    """Tamper with a wheel so that its RECORD agrees with it afterwards."""

    def tamper(contents: dict[str, bytes]) -> None:
        change(contents)
        path = next(name for name in contents if name.endswith("/RECORD"))
        del contents[path]
        contents[path] = record(contents, path)

    return tamper


def _replace(suffix: str, data: bytes) -> Callable[[dict[str, bytes]], object]:
    return lambda contents: contents.update({name: data for name in contents if name.endswith(suffix)})


def _drop(suffix: str) -> Callable[[dict[str, bytes]], object]:
    def drop(contents: dict[str, bytes]) -> None:
        for name in [name for name in contents if name.endswith(suffix)]:
            del contents[name]

    return drop


TAMPERED: dict[str, tuple[Callable[[dict[str, bytes]], object], tuple[str, ...]]] = {
    "record_mismatch": (_replace("pricing.py", b"x = 1\n"), ("pricing.py", "RECORD")),
    "not_in_record": (lambda c: c.update({"extra.py": b"x = 1\n"}), ("extra.py", "not listed in RECORD")),
    "no_record": (_drop("RECORD"), ("RECORD", "nothing vouches")),
    "listed_but_missing": (_drop("pricing.py"), ("pricing.py", "not in the wheel")),
    "absolute_path": (_rerecorded(lambda c: c.update({"/etc/evil.py": b"x\n"})), ("'/etc/evil.py'", "absolute path")),
    "parent_path": (_rerecorded(lambda c: c.update({"../evil.py": b"x = 1\n"})), ("'../evil.py'", "'..' in its path")),
    "hidden_parent": (_rerecorded(lambda c: c.update({"a/../../b.py": b"x\n"})), ("'..' in its path",)),
    "drive_letter": (_rerecorded(lambda c: c.update({"C:/evil.py": b"x\n"})), ("drive letter",)),
    "backslash": (_rerecorded(lambda c: c.update({"a\\..\\evil.py": b"x\n"})), ("backslash",)),
    "other_name": (
        _rerecorded(_replace("METADATA", b"Metadata-Version: 2.1\nName: other\nVersion: 1.3.0\n\n")),
        ("METADATA says Name: other",),
    ),
    "no_metadata": (_rerecorded(_drop("METADATA")), ("METADATA",)),
}


class TestWheels:
    @pytest.mark.parametrize("kind", TAMPERED)
    def test_tampered_wheel(self, bench: Bench, kind: str) -> None:
        tamper, words = TAMPERED[kind]
        path = bench.wheel(tamper=tamper)
        error = refused(bench, lambda b: b.patcher.apply(Patch.from_path(path)), WheelError)
        says(error, *words, path.name, "what to do")
        assert not (bench.folder.parent / "evil.py").exists()

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_truncated_wheel(self, bench: Bench, share: float) -> None:
        path = bench.wheel()
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        error = refused(bench, lambda b: b.patcher.apply(Patch.from_path(path)), WheelError)
        says(error, path.name, "cut off")

    def test_symbolic_link_in_a_wheel(self, bench: Bench) -> None:
        link = zipfile.ZipInfo(f"{bench.package}/link.py")
        link.external_attr = 0o120777 << 16
        path = bench.wheel(extra=[(link, b"/etc/passwd")])
        says(refused(bench, lambda b: Patch.from_path(path), WheelError), "link.py", "symbolic link")

    def test_wrong_python(self, bench: Bench) -> None:
        path = bench.wheel(requires_python=">=4")
        error = refused(bench, lambda b: b.patcher.apply(Patch.from_path(path)), RequirementError)
        says(error, "needs Python >=4", f"running now: {bench.package} 1.2.0", "what to do")

    def test_wheel_for_another_interpreter(self, bench: Bench) -> None:
        path = bench.wheel(tag="cp27-cp27m-win32")
        says(refused(bench, lambda b: Patch.from_path(path), RequirementError), "cp27-cp27m-win32")

    def test_missing_requirements_are_all_named(self, bench: Bench) -> None:
        path = bench.wheel(requires=["no-such-distribution>=2", "packaging<1", "pytest>=1"])
        error = refused(bench, lambda b: b.patcher.apply(Patch.from_path(path)), RequirementError)
        says(error, "no-such-distribution>=2, which is not installed", "packaging<1, found", "running now")
        assert "pytest" not in str(error)
        assert isinstance(error, RequirementError) and len(error.unmet) == 2

    def test_wheel_of_another_package(self, bench: Bench) -> None:
        path = build_wheel(bench.folder, "strange", "9.0", {"strange/__init__.py": "x = 1\n"})
        error = refused(bench, lambda b: b.patcher.apply(Patch.from_path(path)), WrongPackageError)
        says(error, "strange", "nothing of", bench.package)

    def test_older_wheel(self, bench: Bench) -> None:
        path = bench.wheel("1.0")
        error = refused(bench, lambda b: b.patcher.apply(Patch.from_path(path)), DowngradeError)
        says(error, "1.0 is older than 1.2.0")

    def test_wheel_with_a_module_that_fails(self, bench: Bench) -> None:
        path = bench.wheel(files={f"{bench.package}/tax.py": bench.live("tax") + "raise ValueError('in a wheel')\n"})
        error = refused(bench, lambda b: b.patcher.apply(Patch.from_path(path)), LoadError)
        says(error, "tax.py:", "ValueError: in a wheel", "running now")


# --- what checks say ------------------------------------------------------------------------------------------------


def _raises(_: object) -> None:
    raise RuntimeError("the database is gone")


def _asserts(candidate: Mapping[str, Any]) -> None:
    name = next(name for name in candidate if name.endswith(".pricing"))
    assert candidate[name].LIMIT < 0, "prices must be negative"


def _exits(_: object) -> None:
    sys.exit(4)


def _base_exception(_: object) -> None:
    raise GeneratorExit


def _generator(_: object) -> Iterator[int]:
    yield 1


async def _async_raises(_: object) -> None:
    await asyncio.sleep(0)
    raise RuntimeError("asynchronously")


async def _async_false(_: object) -> bool:
    await asyncio.sleep(0)
    return False


def _no_argument() -> None:
    raise AssertionError("is not called")


def _wants_a_missing_module(candidate: Mapping[str, Any]) -> None:
    candidate["no.such.module"]


CHECKS: dict[str, tuple[Callable[..., object], tuple[str, ...]]] = {
    "raises": (_raises, ("RuntimeError", "the database is gone")),
    "asserts": (_asserts, ("AssertionError", "prices must be negative")),
    "returns_false": (lambda candidate: False, ("returned False",)),
    "sys_exit": (_exits, ("SystemExit", "4")),
    "base_exception": (_base_exception, ("GeneratorExit",)),
    "generator": (_generator, ("generator", "nothing was checked")),
    "async_raises": (_async_raises, ("RuntimeError", "asynchronously")),
    "async_false": (_async_false, ("returned False",)),
    "wrong_signature": (_no_argument, ("TypeError",)),
    "missing_module": (_wants_a_missing_module, ("KeyError", "no.such.module")),
}


def _good(bench: Bench) -> Patch:
    return bench.edited("pricing", ("with_tax(amount, kind)", "with_tax(amount, kind) + 1"))


def judged_by(
    bench: Bench, function: Callable[..., object], *, timeout: float = 10.0, name: str = "the check"
) -> Callable[[Bench], object]:
    """Register a check that judges version 1.3.0 and lets any other pass; return the attempt to apply a good patch."""
    bench.patcher.check(timeout=timeout, name=name)(
        lambda candidate: function(candidate) if candidate.version == Version("1.3.0") else None
    )
    return lambda b: b.patcher.apply(_good(b))


class TestChecks:
    @pytest.mark.parametrize("kind", CHECKS)
    def test_check_that_refuses(self, bench: Bench, kind: str) -> None:
        function, words = CHECKS[kind]
        error = refused(bench, judged_by(bench, function), CheckFailedError)
        says(error, "a check refused it: the check", *words, f"running now: {bench.package} 1.2.0", "what to do")
        assert isinstance(error, CheckFailedError)
        assert [result.name for result in error.report] == ["the check"]  # type: ignore[attr-defined]

    def test_check_that_hangs(self, bench: Bench) -> None:
        def hang(_: object) -> None:
            while True:
                time.sleep(0.001)

        error = refused(bench, judged_by(bench, hang, timeout=0.05), CheckFailedError)
        says(error, "timed out", "no answer within 0.05 s", "its thread has ended", "running now")

    def test_async_check_that_hangs(self, bench: Bench) -> None:
        async def hang(_: object) -> None:
            await asyncio.Event().wait()

        error = refused(bench, judged_by(bench, hang, timeout=0.05), CheckFailedError)
        says(error, "timed out", "it was cancelled", "running now")

    def test_check_that_hangs_in_code_of_the_candidate(self, bench: Bench) -> None:
        patch = bench.edited("pricing", more="def forever():\n    while True: pass\n")
        bench.patcher.check(timeout=0.05, name="endless")(
            lambda c: c[f"{bench.package}.pricing"].forever() if c.version == Version("1.3.0") else None
        )
        error = refused(bench, lambda b: b.patcher.apply(patch), CheckFailedError)
        says(error, "endless timed out")
        assert isinstance(error, CheckFailedError)
        assert "forever" in error.report.results[0].detail  # type: ignore[attr-defined]

    @pytest.mark.parametrize("entry", ["apply", "stage", "rollback", "apply_async"])
    def test_check_that_calls_back_into_the_patcher(self, bench: Bench, entry: str) -> None:
        def call_back(_: object) -> object:
            if entry == "rollback":
                return bench.patcher.rollback()
            return getattr(bench.patcher, entry)(_good(bench), wait=None)

        error = refused(bench, judged_by(bench, call_back), CheckFailedError)
        says(error, "BusyError", "a check can't", "through the patcher that runs it")

    def test_check_that_commits_its_own_rollout(self, bench: Bench) -> None:
        def commit(_: object) -> None:
            current = bench.patcher.current
            assert current is not None
            current.commit()

        error = refused(bench, judged_by(bench, commit), CheckFailedError)
        says(error, "StateError", "staged", "verify() first")

    def test_every_check_is_asked_and_told(self, bench: Bench) -> None:
        judged_by(bench, _raises, name="first")
        judged_by(bench, lambda candidate: True, name="second")
        error = refused(bench, judged_by(bench, lambda candidate: False, name="third"), CheckFailedError)
        says(error, "first error: RuntimeError", "third failed: it returned False")
        assert "second" not in str(error)
        assert [str(r.verdict) for r in error.report] == ["error", "passed", "failed"]  # type: ignore[attr-defined]

    def test_effects_of_the_candidate_within_a_check_stay_in_the_candidate(self, bench: Bench) -> None:
        def use(candidate: Mapping[str, Any]) -> bool:
            pricing, tax = candidate[f"{bench.package}.pricing"], candidate[f"{bench.package}.tax"]
            pricing.Engine.names.append("c")
            pricing.engine.factor = 99
            pricing.hits = 1000
            pricing.Engine.run = None
            assert tax is not None
            return False

        says(refused(bench, judged_by(bench, use), CheckFailedError), "returned False")


# --- what can't be done in a living process --------------------------------------------------------------------------

UNSUPPORTED: dict[str, tuple[tuple[str, str], str, str, tuple[str, ...]]] = {
    "class_became_function": (
        ("class Error(Exception):\n    pass", "def Error(): pass"),
        "class-replaced",
        "Error",
        ("class Error would become a function",),
    ),
    "class_became_data": (("class Error(Exception):\n    pass", "Error = 5"), "class-replaced", "Error", ("a int",)),
    "class_became_another": (
        ("class Error(Exception):\n    pass", "Error = ValueError"),
        "class-replaced",
        "Error",
        ("another existing class",),
    ),
    "metaclass_removed": (
        ("class WithMeta(metaclass=Meta):", "class WithMeta:"),
        "metaclass-changed",
        "WithMeta",
        ("Meta", "builtins.type"),
    ),
    "metaclass_added": (
        ("class Square(Shape):", "class Other(type(Shape)): pass\nclass Square(Shape, metaclass=Other):"),
        "metaclass-changed",
        "Square",
        ("Other",),
    ),
    "slot_without_room": (("__slots__ = ()", '__slots__ = ("c",)'), "slots-changed", "Bare", ("no place where c",)),
    "slots_with_weak_references": (
        ('("a", "b")', '("a", "b", "__weakref__")'),
        "layout-changed",
        "Slotted",
        ("no __weakref__",),
    ),
    "slots_dropped": (('__slots__ = ("a", "b")', "pass"), "layout-changed", "Slotted", ("no __dict__",)),
    "value_of_a_whole_number": (("LOW = 1", "LOW = 3"), "enum-value-fixed", "Level", ("LOW", "int objects")),
    "enum_of_another_type": (
        ("class Level(enum.IntEnum):\n    LOW = 1", "class Level(enum.StrEnum):\n    LOW = 'low'"),
        "layout-changed",
        "Level",
        ("int", "str"),
    ),
    "enum_became_a_class": (("class Colour(enum.Enum):", "class Colour:"), "metaclass-changed", "Colour", ("type",)),
    "named_tuple_fields": (("y: int", "y: int\n    z: int"), "named-tuple-fields-changed", "Point", ("'z'",)),
    "base_with_another_layout": (
        ("class Error(Exception):", "class Error(OSError):"),
        "",
        "Error",
        (),
    ),
    "base_of_a_plain_class": (("class Order:", "class Order(dict):"), "", "Order", ()),
    "dataclass_field_without_default": (
        ("note: str", "extra: int\n    note: str"),
        "dataclass-field-without-value",
        "Order",
        ("extra",),
    ),
}


class TestUnsupported:
    @pytest.mark.parametrize("kind", UNSUPPORTED)
    def test_change_that_a_living_process_cannot_take(self, bench: Bench, kind: str) -> None:
        edit, code, name, words = UNSUPPORTED[kind]
        patch = bench.edited("models", edit)
        error = refused(bench, lambda b: b.patcher.apply(patch), UnsupportedChangeError)
        says(error, code, f"{bench.package}.models:{name}", *words, f"running now: {bench.package} 1.2.0", "restart")
        assert isinstance(error, UnsupportedChangeError)
        assert {change.name for change in error.changes} == {name}  # type: ignore[attr-defined]

    def test_all_of_them_are_listed(self, bench: Bench) -> None:
        patch = bench.edited("models", ("LOW = 1", "LOW = 3"), ("= ()", "= ('a',)"), ("y: int", "z: int"))
        error = refused(bench, lambda b: b.patcher.apply(patch), UnsupportedChangeError)
        says(error, "3 unsupported changes", "Level", "Bare", "Point")

    def test_stage_refuses_too_and_frees_the_place(self, bench: Bench) -> None:
        patch = bench.edited("models", ("LOW = 1", "LOW = 3"))
        refused(bench, lambda b: b.patcher.stage(patch), UnsupportedChangeError)


# --- in other circumstances ------------------------------------------------------------------------------------------


class TestCircumstances:
    def test_a_second_rollout_is_refused_and_leaves_the_first_alone(self, bench: Bench) -> None:
        first = bench.patcher.stage(_good(bench))
        before = bench.fingerprint()
        with pytest.raises(BusyError) as caught:
            bench.patcher.apply(bench.sources("1.4.0", tax="x = 1\n"))
        says(caught.value, "one rollout at a time", f"{bench.package} 1.3.0 is staged", "running now", "abort()")
        untouched(before, bench)
        first.verify()
        first.commit()
        assert first.state is State.LIVE

    def test_abort_of_a_staged_rollout(self, bench: Bench) -> None:
        before = bench.fingerprint()
        rollout = bench.patcher.stage(_good(bench))
        rollout.abort("not today")
        untouched(before, bench)
        assert (rollout.state, rollout.reason) == (State.REJECTED, "not today")

    def test_left_without_a_commit(self, bench: Bench) -> None:
        before = bench.fingerprint()
        with bench.patcher.stage(_good(bench)) as rollout:
            rollout.verify()
        assert rollout.state is State.REJECTED
        untouched(before, bench)

    def test_rejected_after_a_patch_was_live_leaves_that_one_running(self, bench: Bench) -> None:
        bench.patcher.apply(bench.edited("pricing", ("kind)", "kind) + 7"), more="marker = 1\n"))
        assert bench.held["quote"](100) == 114
        before = bench.fingerprint()
        with pytest.raises(LoadError, match=r"running now: \w+ 1\.3\.0"):
            bench.patcher.apply(bench.sources("1.4.0", pricing=bench.live("pricing") + "1 / 0\n"))
        untouched(before, bench)
        assert bench.held["quote"](100) == 114
        bench.patcher.rollback()
        assert bench.held["quote"](100) == 107

    def test_many_rejections_leave_nothing(self, bench: Bench) -> None:
        bad = [
            bench.sources(pricing="def ("),
            bench.sources(pricing=bench.live("pricing") + "1 / 0\n"),
            bench.sources("1.0", pricing="x = 1\n"),
            bench.edited("models", ("LOW = 1", "LOW = 3")),
        ]
        before = bench.fingerprint()
        for _ in range(5):
            for patch in bad:
                with pytest.raises(HotswapError):
                    bench.patcher.apply(patch)
        untouched(before, bench)
        assert [record.state for record in bench.patcher.history()] == [State.REJECTED] * 20

    def test_the_record_tells_why(self, bench: Bench) -> None:
        with pytest.raises(LoadError) as caught:
            broken("raise ValueError('for the record')\n")(bench)
        (fact,) = bench.patcher.history()
        assert fact.state is State.REJECTED
        assert fact.reason == caught.value.reason
        assert "for the record" in fact.reason
        assert fact.pause is None

    @pytest.mark.threads
    @pytest.mark.parametrize("kind", ["load", "check", "unsupported", "syntax"])
    def test_while_another_thread_uses_the_service(self, bench: Bench, kind: str) -> None:
        expected = bench.behaviour()
        began, stop = threading.Event(), threading.Event()
        wrong: list[object] = []
        rounds = itertools.count()
        done = 0

        def use() -> None:
            nonlocal done
            try:
                while not stop.is_set():
                    found = bench.behaviour()
                    if found != expected:
                        wrong.append(found)
                    done = next(rounds) + 1
                    began.set()
            except BaseException as error:
                wrong.append(error)
                began.set()

        thread = threading.Thread(target=use)
        with switching(EAGERLY):
            thread.start()
            try:
                assert began.wait(10)
                if kind == "check":
                    judged_by(bench, lambda candidate: candidate[f"{bench.package}.pricing"].quote(100) == 1)
                patch = {
                    "load": bench.sources(pricing=bench.live("pricing") + "raise ValueError\n"),
                    "check": _good(bench),
                    "unsupported": bench.edited("models", ("LOW = 1", "LOW = 3")),
                    "syntax": bench.sources(pricing="def ("),
                }[kind]
                for _ in range(10):
                    before = done
                    with pytest.raises(HotswapError):
                        bench.patcher.apply(patch)
                    deadline = time.monotonic() + 10
                    while done == before and thread.is_alive() and time.monotonic() < deadline:
                        stop.wait(0.001)
            finally:
                stop.set()
                thread.join()
        assert wrong == []
        assert done > 10
        assert bench.behaviour() == expected
        assert not gate.installed

    def test_wrappers_of_others_around_import_stay(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[str] = []
        original = builtins.__import__

        def spy(name: str, *args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return original(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", spy)
        refused(bench, broken("import json\n1 / 0\n"), LoadError)
        assert builtins.__import__ is spy
        assert "json" in seen

    def test_package_that_does_not_exist(self) -> None:
        with pytest.raises(WrongPackageError, match="there is no package named nowhere_at_all"):
            Patcher(["nowhere_at_all"])

    @pytest.mark.parametrize("name", ["os", "hotswap", "shop.pricing", ""])
    def test_packages_that_can_not_be_patched(self, name: str) -> None:
        with pytest.raises(ValueError, match=r"can't be patched|is not the name"):
            Patcher([name])

    def test_errors_are_one_family(self) -> None:
        names = [name for name in hotswap.errors.__all__ if name != "HotswapError"]
        assert all(issubclass(getattr(importlib.import_module("hotswap.errors"), name), HotswapError) for name in names)
