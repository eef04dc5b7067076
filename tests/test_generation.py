"""Generations: several versions of a package in one process, each of which sees its own modules, data and sources."""

from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import importlib.metadata
import importlib.resources
import inspect
import itertools
import linecache
import os
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hotswap import DowngradeError, OutdatedError, Patch, Patcher, State
from hotswap.generation import gate, worlds
from hotswap.swap import Settling, Swap
from tests.waiting import until
from tests.wheels import build_wheel

pytestmark = pytest.mark.threads  # checks, fingerprints and files of the system: not on Pyodide

Make = Callable[..., ModuleType]

_serial = itertools.count(1)


@dataclass
class Program:
    """A package under test. `PKG` in sources stands for its name."""

    name: str
    make: Make
    folder: Path
    _patcher: Patcher | None = None

    @property
    def patcher(self) -> Patcher:
        if self._patcher is None:
            self._patcher = Patcher([self.name], check_timeout=10)
        return self._patcher

    def text(self, source: str) -> str:
        return textwrap.dedent(source).replace("PKG", self.name)

    def write(self, files: Mapping[str, str], *imports: str) -> ModuleType:
        """Write the package, import it, and import some of its modules."""
        package = self.make({path: self.text(source) for path, source in files.items()}, name=self.name)
        for name in imports:
            importlib.import_module(f"{self.name}.{name}")
        return package

    def patch(self, sources: Mapping[str, str], version: str | None = None) -> Patch:
        return Patch.from_sources({self.full(name): self.text(s) for name, s in sources.items()}, version)

    def folder_patch(self, files: Mapping[str, str | bytes], version: str) -> Patch:
        """A patch that holds the whole package."""
        root = self.folder / f"v{next(_serial)}" / self.name
        for path, source in {"__init__.py": "", **files}.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(source if isinstance(source, bytes) else self.text(source).encode())
        return Patch.from_path(root, version)

    def apply(self, sources: Mapping[str, str], version: str | None = None) -> None:
        assert self.patcher.apply(self.patch(sources, version)).state is State.LIVE

    def full(self, name: str) -> str:
        return f"{self.name}.{name}" if name else f"{self.name}.__init__"

    def __getitem__(self, name: str) -> Any:
        return sys.modules[f"{self.name}.{name}" if name else self.name]


@pytest.fixture
def program(make_package: Make, tmp_path: Path) -> Program:
    return Program(f"generations{next(_serial)}", make_package, tmp_path)


class TestIsolation:
    def test_relative_imports_reach_the_candidate(self, program: Program) -> None:
        program.write(
            {
                "a.py": "from . import b\nfrom .b import value\nfrom .sub import c\n",
                "b.py": "value = 'old b'\n",
                "sub/__init__.py": "",
                "sub/c.py": "from .. import b\nfrom ..b import value as up\n",
            },
            "a",
        )
        patch = program.patch(
            {
                "a": "from . import b\nfrom .b import value\nfrom .sub import c\nnew = True\n",
                "b": "value = 'new b'\n",
                "sub.c": "from .. import b\nfrom ..b import value as up\nnew = True\n",
            }
        )
        with program.patcher.stage(patch) as rollout:
            a, b, c = (rollout.candidate[f"{program.name}.{name}"] for name in ("a", "b", "sub.c"))
            assert (a.value, a.b.value, c.up, c.b.value, a.c.up) == ("new b",) * 5
            assert a.b is b is c.b
            assert program["b"] is not b
            assert (program["a"].value, program["a"].b.value, program["sub.c"].up) == ("old b",) * 3

    def test_sys_modules_is_untouched_while_staged(self, program: Program) -> None:
        program.write({"a.py": "from PKG import b\n", "b.py": "value = 1\n"}, "a")
        before = dict(sys.modules)
        attributes = dict(vars(program[""]))
        patch = program.patch({"a": "from PKG import b, fresh\n", "b": "value = 2\n", "fresh": "import PKG.b\n"})
        with program.patcher.stage(patch) as rollout:
            rollout.verify()
            assert dict(sys.modules) == before
            assert dict(vars(program[""])) == attributes
        assert dict(sys.modules) == before

    def test_cycle_between_changed_modules(self, program: Program) -> None:
        files = {
            "a.py": "VERSION = 1\nfrom PKG import b\ndef both(): return VERSION, b.VERSION\n",
            "b.py": "VERSION = 1\nfrom PKG import a\ndef both(): return VERSION, a.VERSION\n",
        }
        program.write(files, "a")
        held = program["a"].both, program["b"].both
        new = {name[:-3]: source.replace("VERSION = 1", "VERSION = 2") for name, source in files.items()}
        program.apply(new)
        assert [function() for function in held] == [(2, 2), (2, 2)]
        program.patcher.rollback()
        assert [function() for function in held] == [(1, 1), (1, 1)]

    def test_cycle_by_from_imports_at_the_end(self, program: Program) -> None:
        files = {
            "a.py": "def one(): return 'a1'\nfrom PKG.b import two\ndef call(): return one(), two()\n",
            "b.py": "def two(): return 'b1'\nfrom PKG.a import one\ndef call(): return one(), two()\n",
        }
        program.write(files, "a")
        held = program["a"].call, program["b"].call
        program.apply({name[:-3]: source.replace("1'", "2'") for name, source in files.items()})
        assert [function() for function in held] == [("a2", "b2")] * 2

    @pytest.mark.parametrize("changed_init", [True, False])
    def test_reexports_of_init(self, program: Program, changed_init: bool) -> None:
        init = "from PKG.a import LIMIT, quote, Engine\nfrom PKG import a as alias\n"
        program.write({"__init__.py": init, "a.py": "LIMIT = 1\ndef quote(): return 1\nclass Engine: x = 1\n"})
        held = program[""].quote
        sources = {"a": "LIMIT = 2\ndef quote(): return 2\nclass Engine: x = 2\n"}
        if changed_init:
            sources[""] = init + "more = True\n"
        patch = program.patch(sources)
        with program.patcher.stage(patch) as rollout:
            seen = rollout.candidate[program.name]
            assert (seen.LIMIT, seen.quote(), seen.Engine.x, seen.alias.LIMIT) == (2, 2, 2, 2)
            assert (program[""].LIMIT, program[""].quote(), program[""].Engine.x) == (1, 1, 1)
        program.patcher.apply(patch)
        package = sys.modules[program.name]
        assert (package.LIMIT, package.quote(), package.Engine.x, package.alias.LIMIT, held()) == (2, 2, 2, 2, 2)
        assert package.quote is program["a"].quote
        assert package.alias is program["a"]
        assert hasattr(package, "more") is changed_init
        program.patcher.rollback()
        package = sys.modules[program.name]
        assert (package.LIMIT, package.quote(), package.Engine.x, package.alias.LIMIT, held()) == (1, 1, 1, 1, 1)
        assert not hasattr(package, "more")

    def test_star_imports(self, program: Program) -> None:
        program.write(
            {
                "a.py": "LIMIT = 1\n_hidden = 1\ndef quote(): return 1\n",
                "b.py": "__all__ = ['chosen']\nchosen = 1\nother = 1\n",
                "user.py": "from PKG.a import *\nfrom PKG.b import *\ndef show(): return LIMIT, quote(), chosen\n",
            },
            "user",
        )
        show = program["user"].show
        program.apply(
            {
                "a": "LIMIT = 2\n_hidden = 2\ndef quote(): return 2\nadded = 2\n",
                "b": "__all__ = ['chosen']\nchosen = 2\nother = 2\n",
            }
        )
        assert show() == (2, 2, 2)
        assert program["user"].show() == (2, 2, 2)
        assert not hasattr(program["user"], "_hidden") and not hasattr(program["user"], "other")
        program.patcher.rollback()
        assert show() == (1, 1, 1)

    def test_star_import_in_the_candidate_takes_the_candidates_names(self, program: Program) -> None:
        program.write({"a.py": "LIMIT = 1\n", "user.py": "from PKG.a import *\n"}, "user")
        patch = program.patch({"a": "LIMIT = 2\nextra = 2\n", "user": "from PKG.a import *\nnew = True\n"})
        with program.patcher.stage(patch) as rollout:
            user = rollout.candidate[f"{program.name}.user"]
            assert (user.LIMIT, user.extra) == (2, 2)

    def test_lazy_imports_of_the_candidate_and_of_live_code(self, program: Program) -> None:
        program.write(
            {
                "a.py": """
                    def lazily():
                        from PKG import b
                        from PKG.b import value
                        import PKG.b as whole
                        import PKG
                        return b.value, value, whole.value, PKG.b.value
                """,
                "b.py": "value = 'old'\n",
            },
            "a",
            "b",
        )
        live = program["a"].lazily
        answers: list[object] = []

        @program.patcher.check
        def both_see_their_own(candidate: Mapping[str, Any]) -> None:
            answers.append(candidate[f"{program.name}.a"].lazily())
            answers.append(live())
            thread = threading.Thread(target=lambda: answers.append(live()))
            thread.start()
            thread.join()
            thread = threading.Thread(target=lambda: answers.append(candidate[f"{program.name}.a"].lazily()))
            thread.start()
            thread.join()

        source = inspect.getsource(program["a"])
        program.apply({"a": source + "\nnew = True\n", "b": "value = 'new'\n"})
        new, old = ("new",) * 4, ("old",) * 4
        assert answers == [new, old, old, new]
        assert live() == new
        program.patcher.rollback()
        assert live() == old

    def test_lazy_import_in_an_unchanged_module_that_the_candidate_calls(self, program: Program) -> None:
        program.write(
            {
                "a.py": "from PKG.c import later\ndef run(): return later()\n",
                "b.py": "value = 'old'\n",
                "c.py": "def later():\n    from PKG.b import value\n    return value\n",
            },
            "a",
            "b",
        )
        run = program["a"].run
        program.apply({"b": "value = 'new'\n"})
        assert run() == "new"
        program.patcher.rollback()
        assert run() == "old"

    def test_import_module_in_candidate_code(self, program: Program) -> None:
        source = """\
            import importlib
            from importlib import import_module
            loaded = importlib.import_module("PKG.b")
            relative = importlib.import_module(".b", "PKG")
            def lazily(name="PKG.b"): return importlib.import_module(name).value
            def other(): return importlib.import_module("json").__name__
        """
        source = textwrap.dedent(source)
        program.write({"a.py": source, "b.py": "value = 'old'\n"}, "a")
        patch = program.patch({"a": source + "\nnew = True\n", "b": "value = 'new'\n"})
        with program.patcher.stage(patch) as rollout:
            a = rollout.candidate[f"{program.name}.a"]
            assert (a.loaded.value, a.relative.value, a.lazily(), a.other()) == ("new", "new", "new", "json")
            assert program["a"].lazily() == "old"
        assert not gate.installed

    def test_from_imported_import_module_in_candidate_code(self, program: Program) -> None:
        source = "from importlib import import_module\ndef lazily(): return import_module('PKG.b').value\n"
        program.write({"a.py": source, "b.py": "value = 'old'\n"}, "a", "b")
        patch = program.patch({"a": source + "\nnew = True\n", "b": "value = 'new'\n"})
        with program.patcher.stage(patch) as rollout:
            assert rollout.candidate[f"{program.name}.a"].lazily() == "new"
            assert program["a"].lazily() == "old"
        program.patcher.apply(patch.with_version("2"))
        assert program["a"].lazily() == "new"
        assert program["a"].import_module("json") is sys.modules["json"]

    def test_import_of_a_missing_module_and_name_says_what_python_says(self, program: Program) -> None:
        program.write({"a.py": "x = 1\n", "b.py": "y = 1\n"}, "a", "b")
        source = """
            def module(): import PKG.missing
            def name():
                from PKG.b import missing
            def below():
                import PKG.b.missing
            def package():
                from PKG import missing
        """
        expected: dict[str, tuple[type, str]] = {}
        plain = program.make({"a.py": program.text(source), "b.py": "y = 1\n"}, name=f"{program.name}plain")
        module = importlib.import_module(f"{plain.__name__}.a")
        for entry in ("module", "name", "below", "package"):
            with pytest.raises(ImportError) as caught:
                getattr(module, entry)()
            expected[entry] = type(caught.value), str(caught.value).partition(" (")[0]
        patch = program.patch({"a": source})
        with program.patcher.stage(patch) as rollout:
            a = rollout.candidate[f"{program.name}.a"]
            for entry, (kind, text) in expected.items():
                with pytest.raises(ImportError) as caught:
                    getattr(a, entry)()
                assert type(caught.value) is kind, entry
                assert str(caught.value).partition(" (")[0] == text, entry

    def test_module_level_getattr(self, program: Program) -> None:
        lazy = "def __getattr__(name):\n    if name == 'lazy': return 'LAZY'\n    raise AttributeError(name)\n"
        program.write({"a.py": "from PKG.b import lazy\n", "b.py": lazy.replace("LAZY", "old")}, "a")
        program.apply({"a": "from PKG.b import lazy\nnew = True\n", "b": lazy.replace("LAZY", "new")})
        assert program["a"].lazy == "new"
        assert program["b"].lazy == "new"

    def test_namespace_package(self, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root = tmp_path / "namespaced"
        folder = root / program.name / "inner"
        folder.mkdir(parents=True)
        (root / program.name / "a.py").write_text("value = 1\n")
        (folder / "b.py").write_text(program.text("from PKG.a import value\nfrom .. import a\n"))
        monkeypatch.syspath_prepend(root)
        importlib.import_module(f"{program.name}.inner.b")
        held = program["inner.b"]
        program.apply({"a": "value = 2\n", "inner.b": "from PKG.a import value\nfrom .. import a\nnew = 1\n"}, "2.0")
        assert (program["inner.b"].value, program["inner.b"].a.value, held.value) == (2, 2, 2)
        assert program[""].__path__
        program.patcher.rollback()
        assert (program["inner.b"].value, held.a.value) == (1, 1)
        for name in ("inner.b", "inner", "a"):  # from below, because a namespace's path is asked of its parent
            del sys.modules[f"{program.name}.{name}"]

    def test_data_in_a_namespace_package_below_a_package(
        self, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for version in ("1.0", "2.0"):
            folder = tmp_path / version / program.name
            (folder / "texts").mkdir(parents=True)
            (folder / "__init__.py").write_text(f"__version__ = {version!r}\n")
            (folder / "texts" / "hello.txt").write_text(version)
            (folder / "a.py").write_text(
                "import importlib.resources\n"
                f"def text():\n    files = importlib.resources.files('{program.name}.texts')\n"
                "    return files.joinpath('hello.txt').read_text()\n"
                f"number = {version}\n"
            )
        monkeypatch.syspath_prepend(tmp_path / "1.0")
        module = importlib.import_module(f"{program.name}.a")
        held = module.text
        assert held() == "1.0"
        patcher = Patcher([program.name])
        rollout = patcher.stage(Patch.from_path(tmp_path / "2.0" / program.name))
        assert rollout.candidate[f"{program.name}.a"].text() == "2.0"
        assert held() == "1.0"
        rollout.verify()
        rollout.commit()
        assert held() == "2.0"
        patcher.rollback()
        assert held() == "1.0"
        for name in ("texts", "a"):
            del sys.modules[f"{program.name}.{name}"]

    def test_top_level_module_without_package(self, program: Program, tmp_path: Path, monkeypatch: Any) -> None:
        (tmp_path / f"{program.name}.py").write_text("def quote(): return 1\n")
        monkeypatch.syspath_prepend(tmp_path)
        module = importlib.import_module(program.name)
        held = module.quote
        Patcher([program.name]).apply(Patch.from_sources({program.name: "def quote(): return 2\n"}, "2"))
        assert (held(), sys.modules[program.name].quote()) == (2, 2)


class TestNotImportedYet:
    FILES: Mapping[str, str] = {"a.py": "x = 1\n", "late.py": "value = 'old'\nfrom PKG.a import x\n"}

    def test_comes_from_the_new_version_after_the_swap(self, program: Program) -> None:
        program.write(self.FILES, "a")
        program.apply({"a": "x = 2\n", "late": "value = 'new'\nfrom PKG.a import x\n"})
        late = importlib.import_module(f"{program.name}.late")
        assert (late.value, late.x) == ("new", 2)

    def test_comes_from_the_old_version_after_the_rollback(self, program: Program) -> None:
        program.write(self.FILES, "a")
        program.apply({"a": "x = 2\n", "late": "value = 'new'\nfrom PKG.a import x\n"})
        program.patcher.rollback()
        late = importlib.import_module(f"{program.name}.late")
        assert (late.value, late.x) == ("old", 1)

    def test_that_was_imported_under_the_new_version_goes_with_it(self, program: Program) -> None:
        program.write(self.FILES, "a")
        program.apply({"a": "x = 2\n", "late": "value = 'new'\nfrom PKG.a import x\n"})
        importlib.import_module(f"{program.name}.late")
        program.patcher.rollback()
        late = importlib.import_module(f"{program.name}.late")
        assert (late.value, late.x) == ("old", 1)

    LAZY: Mapping[str, str] = {
        "a.py": (
            "def f():\n    from .lazy import value\n    from .sub import x\n    return value(), x.value, __version__\n"
        ),
        "lazy.py": "from pathlib import Path\ndef value(): return (Path(__file__).parent / 'd.txt').read_text()\n",
        "same.py": (
            "from pathlib import Path\nnoted = []\ndef data(): return Path(__file__).with_name('d.txt').read_text()\n"
        ),
        "sub/__init__.py": "",
        "sub/x.py": "value = 0\n",
    }

    def lazy(self, number: int) -> dict[str, str]:
        files = {**self.LAZY, "d.txt": f"data {number}", "sub/x.py": f"value = {number}\n"}
        files["a.py"] += f"__version__ = {number}\n"
        files["lazy.py"] += f"# {number}\n"
        return files

    def test_that_was_imported_from_a_whole_package_goes_with_it(self, program: Program) -> None:
        program.write(self.lazy(1), "a")
        held = program["a"].f
        patch = program.folder_patch({**self.lazy(2), "sub/y.py": "value = 2\n"}, "2.0")
        rollout = program.patcher.apply(patch)
        assert held() == program["a"].f() == ("data 2", 2, 2)
        same = importlib.import_module(f"{program.name}.same")
        same.noted.append("noted")
        importlib.import_module(f"{program.name}.sub.y")
        program.patcher.rollback()
        assert held() == program["a"].f() == ("data 1", 1, 1)
        assert importlib.import_module(f"{program.name}.sub.x") is program[""].sub.x
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{program.name}.sub.y")
        assert importlib.import_module(f"{program.name}.same") is same is program[""].same
        assert (same.noted, same.data()) == (["noted"], "data 1")
        (told,) = (warning for warning in rollout.plan.warnings if "keeps them" in warning)
        assert told.startswith(f"{program.name}.sub.y was imported after the swap, in the version that was taken back;")
        assert told.endswith("the version that came back has no such module")

    def test_that_is_imported_between_stage_and_commit_makes_the_rollout_outdated(self, program: Program) -> None:
        program.write(self.lazy(1), "a")
        rollout = program.patcher.stage(program.folder_patch(self.lazy(2), "2.0"))
        rollout.verify()
        assert program["a"].f() == ("data 1", 1, 1)
        with pytest.raises(OutdatedError, match=r"lazy, \w+\.sub\.x were imported, in the old version"):
            rollout.commit()
        assert rollout.state is State.REJECTED
        assert program["a"].f() == ("data 1", 1, 1)

    def test_that_is_imported_while_checks_run_is_staged_again(self, program: Program) -> None:
        program.write(self.lazy(1), "a")
        runs: list[object] = []

        @program.patcher.check
        def request_comes_in(candidate: Mapping[str, Any]) -> None:
            runs.append(program["a"].f())

        held = program["a"].f
        program.patcher.apply(program.folder_patch(self.lazy(2), "2.0"))
        assert runs == [("data 1", 1, 1)] * 2
        assert held() == program["a"].f() == ("data 2", 2, 2)
        assert [record.state for record in program.patcher.history()] == [State.LIVE, State.REJECTED]

    def test_that_is_imported_in_the_instant_of_the_swap_is_imported_anew(
        self, program: Program, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program.write(self.lazy(1), "a")
        commit = Swap.commit

        def with_a_request(swap: Swap, drained: Callable[[Settling], None]) -> float:
            assert program["a"].f() == ("data 1", 1, 1)
            return commit(swap, drained)

        monkeypatch.setattr(Swap, "commit", with_a_request)
        held = program["a"].f
        rollout = program.patcher.apply(program.folder_patch(self.lazy(2), "2.0"))
        assert held() == program["a"].f() == ("data 2", 2, 2)
        assert any("it will be imported anew" in warning for warning in rollout.plan.warnings)
        program.patcher.rollback()
        assert held() == program["a"].f() == ("data 1", 1, 1)

    def test_new_module_is_gone_after_the_rollback(self, program: Program) -> None:
        program.write({"a.py": "x = 1\n"}, "a")
        program.apply({"a": "from PKG.fresh import value as x\n", "fresh": "value = 2\n"})
        assert (program["a"].x, program["fresh"].value, program[""].fresh.value) == (2, 2, 2)
        program.patcher.rollback()
        assert program["a"].x == 1
        assert f"{program.name}.fresh" not in sys.modules
        assert not hasattr(program[""], "fresh")
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{program.name}.fresh")

    def test_complete_patch_without_a_module_takes_it_away(self, program: Program) -> None:
        program.write({"a.py": "x = 1\n", "gone.py": "y = 1\n", "never.py": "z = 1\n"}, "a", "gone")
        program.patcher.apply(program.folder_patch({"a.py": "x = 2\n"}, "2.0"))
        assert f"{program.name}.gone" not in sys.modules
        for name in ("gone", "never"):
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(f"{program.name}.{name}")
        program.patcher.rollback()
        assert program["gone"].y == 1
        assert importlib.import_module(f"{program.name}.never").z == 1

    def test_is_loaded_for_a_check_that_asks_and_not_put_into_sys_modules(self, program: Program) -> None:
        program.write(self.FILES, "a")
        patch = program.patch({"a": "x = 2\n", "late": "value = 'new'\nfrom PKG.a import x\n"})
        with program.patcher.stage(patch) as rollout:
            late = rollout.candidate[f"{program.name}.late"]
            assert (late.value, late.x) == ("new", 2)
            assert f"{program.name}.late" not in sys.modules
            assert importlib.import_module(f"{program.name}.late").value == "old"

    def test_subpackage_that_is_not_imported_keeps_its_init(self, program: Program) -> None:
        program.write({"a.py": "x = 1\n", "sub/__init__.py": "value = 'init'\n", "sub/b.py": "x = 1\n"}, "a")
        program.apply({"a": "x = 2\n", "sub.b": "x = 2\n"})
        late = importlib.import_module(f"{program.name}.sub.b")
        assert late.x == 2
        assert program["sub"].value == "init"
        program.patcher.rollback()
        assert importlib.import_module(f"{program.name}.sub.b").x == 1

    def test_parent_package_stays_an_ordinary_one(self, program: Program) -> None:
        program.write({"__init__.py": "value = 'init'\n", "a.py": "x = 1\n"}, "a")
        before = {name: vars(program[""])[name] for name in ("__file__", "__path__", "__spec__", "__loader__")}
        program.apply({"a": "x = 2\n"})
        assert {name: vars(program[""])[name] for name in before} == before
        assert importlib.reload(program[""]).value == "init"
        assert program["a"].x == 2

    def test_package_that_nobody_imported(self, program: Program) -> None:
        program.write({"a.py": "x = 1\n"})
        for name in [name for name in sys.modules if name.partition(".")[0] == program.name]:
            del sys.modules[name]
        patcher = Patcher([program.name])
        patcher.apply(program.patch({"a": "x = 2\n"}, "2.0"))
        assert importlib.import_module(f"{program.name}.a").x == 2

    def test_package_that_nobody_imported_and_that_has_code_of_its_own(self, program: Program) -> None:
        program.write({"__init__.py": "__version__ = '1.5'\nvalue = 'init'\n", "a.py": "x = 1\n", "b.py": "y = 1\n"})
        for name in [name for name in sys.modules if name.partition(".")[0] == program.name]:
            del sys.modules[name]
        patcher = Patcher([program.name])
        patcher.apply(program.patch({"a": "x = 2\n"}, "2.0"))
        assert program[""].value == "init"
        assert importlib.import_module(f"{program.name}.a").x == 2
        assert importlib.import_module(f"{program.name}.b").y == 1

    def test_package_that_was_imported_later_has_its_own_version(self, program: Program) -> None:
        program.write({"__init__.py": "__version__ = '1.5'\n", "a.py": "x = 1\n"})
        for name in [name for name in sys.modules if name.partition(".")[0] == program.name]:
            del sys.modules[name]
        patcher = Patcher([program.name])
        importlib.import_module(f"{program.name}.a")
        with pytest.raises(DowngradeError, match=r"1\.0 is older than 1\.5"):
            patcher.apply(program.patch({"a": "x = 2\n"}, "1.0"))
        assert str(patcher.versions[program.name]) == "1.5"


DATA_READER = """
    import importlib.resources
    import os
    def by_file():
        with open(os.path.join(os.path.dirname(__file__), "data", "prices.txt")) as file:
            return file.read()
    def by_resources():
        return importlib.resources.files("PKG").joinpath("data", "prices.txt").read_text()
    def by_path():
        import PKG
        with open(os.path.join(list(PKG.__path__)[0], "data", "prices.txt")) as file:
            return file.read()
    def by_loader():
        return __loader__.get_data(os.path.join(os.path.dirname(__file__), "data", "prices.txt")).decode()
    def all_ways():
        return by_file(), by_resources(), by_path(), by_loader()
"""


class TestData:
    @pytest.fixture
    def reader(self, program: Program) -> Callable[[], tuple[str, ...]]:
        program.write({"reader.py": DATA_READER, "other.py": "x = 1\n", "data/prices.txt": "old"}, "reader", "other")
        function: Callable[[], tuple[str, ...]] = program["reader"].all_ways
        assert function() == ("old",) * 4
        return function

    def test_complete_patch_brings_its_data(self, program: Program, reader: Callable[[], tuple[str, ...]]) -> None:
        files = {"reader.py": DATA_READER + "\n    new = 1\n", "other.py": "x = 1\n", "data/prices.txt": "new"}
        seen: list[object] = []
        program.patcher.check(lambda candidate: seen.append(candidate[f"{program.name}.reader"].by_file()))
        program.patcher.apply(program.folder_patch(files, "2.0"))
        assert seen == ["new"]
        assert reader() == program["reader"].all_ways() == ("new",) * 4
        program.patcher.rollback()
        assert reader() == program["reader"].all_ways() == ("old",) * 4

    def test_complete_patch_brings_data_to_unchanged_modules(
        self, program: Program, reader: Callable[[], tuple[str, ...]]
    ) -> None:
        files = {"reader.py": DATA_READER, "other.py": "x = 2\n", "data/prices.txt": "new"}
        program.patcher.apply(program.folder_patch(files, "2.0"))
        assert reader() == ("new",) * 4
        program.patcher.rollback()
        assert reader() == ("old",) * 4

    def test_single_file_patch_still_finds_the_data_on_disk(
        self, program: Program, reader: Callable[[], tuple[str, ...]]
    ) -> None:
        program.apply({"reader": textwrap.dedent(DATA_READER) + "new = 1\n"})
        assert program["reader"].new == 1
        assert reader() == ("old",) * 4
        program.apply({"reader": textwrap.dedent(DATA_READER) + "new = 2\n"})
        assert reader() == program["reader"].all_ways() == ("old",) * 4
        program.patcher.rollback()
        assert reader() == ("old",) * 4

    def test_data_of_a_complete_patch_stays_under_a_later_single_file(
        self, program: Program, reader: Callable[[], tuple[str, ...]]
    ) -> None:
        files = {"reader.py": DATA_READER, "other.py": "x = 2\n", "data/prices.txt": "new"}
        program.patcher.apply(program.folder_patch(files, "2.0"))
        program.apply({"reader": textwrap.dedent(DATA_READER) + "new = 1\n"})
        assert reader() == ("new",) * 4
        program.apply({"other": "x = 3\n"})
        assert reader() == ("new",) * 4

    def test_versions_of_the_distribution(self, program: Program, tmp_path: Path) -> None:
        source = f'__version__ = "{{}}"\nimport {program.name}.a\n'
        program.write({"__init__.py": source.format("1.0"), "a.py": "x = 1\n"})
        root = Path(program[""].__file__).parent.parent
        info = root / f"{program.name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {program.name}\nVersion: 1.0\n\n")
        assert importlib.metadata.version(program.name) == "1.0"
        program.apply({"a": "x = 2\n"}, "1.1")
        assert importlib.metadata.version(program.name) == "1.1"
        program.patcher.rollback()
        assert importlib.metadata.version(program.name) == "1.0"
        files = {f"{program.name}/__init__.py": source.format("2.0"), f"{program.name}/a.py": "x = 3\n"}
        program.patcher.apply(Patch.from_path(build_wheel(tmp_path, program.name, "2.0", files)))
        assert importlib.metadata.version(program.name) == "2.0"
        assert program[""].__version__ == "2.0"
        assert importlib.metadata.metadata(program.name)["Name"] == program.name
        assert next(iter(importlib.metadata.distributions(name=program.name))).version == "2.0"
        program.patcher.rollback()
        assert importlib.metadata.version(program.name) == "1.0"
        assert importlib.metadata.version("pytest") == pytest.__version__

    def test_versions_of_one_wheel_after_the_other(self, program: Program, tmp_path: Path) -> None:
        program.write({"__init__.py": f"import {program.name}.a\n", "a.py": "x = 1\n"})
        for version in ("2.0", "2.1", "2.2"):
            files = {f"{program.name}/__init__.py": "", f"{program.name}/a.py": f"x = '{version}'\n"}
            program.patcher.apply(Patch.from_path(build_wheel(tmp_path, program.name, version, files)))
            assert importlib.metadata.version(program.name) == version
            assert next(iter(importlib.metadata.distributions(name=program.name))).version == version
        program.patcher.apply(program.folder_patch({"a.py": "x = 3\n"}, "3.0"))
        assert importlib.metadata.version(program.name) == "3.0"
        program.patcher.rollback()
        assert importlib.metadata.version(program.name) == "2.2"

    def test_file_path_and_spec_speak_of_the_generation(self, program: Program) -> None:
        program.write({"a.py": "x = 1\n", "sub/__init__.py": "", "sub/b.py": "y = 1\n"}, "a", "sub.b")
        before = {name: dict(vars(program[name])) for name in ("", "a", "sub", "sub.b")}
        program.patcher.apply(
            program.folder_patch({"a.py": "x = 2\n", "sub/__init__.py": "", "sub/b.py": "y = 1\n"}, "2.0")
        )
        for name in ("", "a", "sub", "sub.b"):
            module = program[name]
            assert Path(module.__file__).is_file()
            assert module.__file__ != before[name]["__file__"]
            assert module.__spec__.name == module.__name__
            assert module.__spec__.origin == module.__file__
            assert module.__spec__.loader is module.__loader__
            if name in ("", "sub"):
                assert list(module.__path__) == [str(Path(module.__file__).parent)]
                assert list(module.__spec__.submodule_search_locations) == list(module.__path__)
            assert importlib.util.find_spec(module.__name__).origin == module.__file__  # type: ignore[union-attr]
        directory = Path(program["a"].__file__).parent.parent
        program.patcher.rollback()
        for name, facts in before.items():
            for fact in ("__file__", "__path__", "__spec__", "__loader__"):
                assert vars(program[name]).get(fact) is facts.get(fact), (name, fact)
        assert not directory.exists()


class TestSources:
    V1 = "def where():\n    raise ValueError('old')\n"
    V2 = "import os\n\n\ndef where():\n    # another place\n    raise ValueError('new')\n"

    @staticmethod
    def lines(function: Callable[[], object]) -> list[str]:
        """The source lines that the traceback of a call shows, without our own."""
        try:
            function()
        except ValueError as error:
            return [str(entry.line) for entry in traceback.extract_tb(error.__traceback__)[1:]]
        raise AssertionError

    def test_tracebacks_show_the_source_of_each_generation(self, program: Program) -> None:
        program.write({"a.py": self.V1}, "a")
        held = program["a"].where
        assert self.lines(held) == ["raise ValueError('old')"]
        program.apply({"a": self.V2})
        assert self.lines(program["a"].where) == ["raise ValueError('new')"]
        assert self.lines(held) == ["def where():", "raise ValueError('new')"]
        program.patcher.rollback()
        assert self.lines(held) == ["raise ValueError('old')"]

    def test_old_code_in_flight_shows_the_old_source(self, program: Program) -> None:
        source = "def run():\n    yield 1\n    helper()\ndef helper():\n    raise ValueError('{}')\n"
        program.write({"a.py": source.format("old")}, "a")
        flight: Generator[int] = program["a"].run()
        next(flight)
        program.apply({"a": "\n\n\n" + source.format("new")})
        # Between the two stands what asks who calls: old code that goes on may have a session of the new version.
        assert self.lines(functools.partial(next, flight)) == ["helper()", "def helper():", "raise ValueError('old')"]
        del flight
        assert program.patcher.current is not None
        assert program.patcher.current.drained.wait(10)
        fresh = program["a"].run()
        next(fresh)
        assert self.lines(lambda: next(fresh))[1:] == ["helper()", "raise ValueError('new')"]

    def test_getsource_of_live_held_and_rolled_back(self, program: Program) -> None:
        program.write({"a.py": self.V1 + "class Engine:\n    def run(self): return 1\n"}, "a")
        held, engine = program["a"].where, program["a"].Engine
        program.apply({"a": self.V2 + "class Engine:\n    def run(self): return 2\n"})
        new = program["a"].where
        assert "'new'" in inspect.getsource(new)
        assert "'new'" in inspect.getsource(held)
        assert "return 2" in inspect.getsource(engine.run)
        assert "return 2" in inspect.getsource(engine)
        assert inspect.getsource(program["a"]).startswith("import os")
        program.patcher.rollback()
        assert "'old'" in inspect.getsource(held)
        assert "return 1" in inspect.getsource(engine.run)
        assert "return 1" in inspect.getsource(engine)
        assert "'old'" in inspect.getsource(program["a"])

    def test_getsource_of_the_candidate_in_a_check(self, program: Program) -> None:
        program.write({"a.py": self.V1}, "a")
        seen: list[str] = []
        program.patcher.check(lambda c: seen.append(inspect.getsource(c[f"{program.name}.a"].where)))
        program.apply({"a": self.V2})
        assert "'new'" in seen[0]

    def test_linecache_after_the_files_are_gone(self, program: Program) -> None:
        program.write({"a.py": self.V1}, "a")
        program.apply({"a": self.V2})
        held = program["a"].where
        file = held.__code__.co_filename
        linecache.checkcache()
        assert linecache.getline(file, 6, vars(program["a"])).strip() == "raise ValueError('new')"
        assert Path(file).read_text() == self.V2

    def test_two_generations_never_share_a_file(self, program: Program) -> None:
        program.write({"a.py": self.V1}, "a")
        files = [program["a"].__file__]
        for number in range(3):
            program.apply({"a": f"x = {number}\n" + self.V2})
            files.append(program["a"].__file__)
            assert Path(files[-1]).read_text().startswith(f"x = {number}")
        assert len(set(files)) == 4

    def test_bytes_that_run_are_those_that_were_hashed(self, program: Program) -> None:
        program.write({"a.py": "x = 1\n"}, "a")
        file = program.folder / "a.py"
        file.write_text("x = 2\n")
        patch = Patch.from_path(file)
        file.write_text("x = 666\n")
        program.patcher.apply(patch)
        assert program["a"].x == 2
        assert not list(Path(program["a"].__file__).parent.rglob("*.pyc"))

    @pytest.mark.threads
    def test_pdb_stops_in_the_source_of_each_generation(self, tmp_path: Path) -> None:
        script = f"""
            import pdb, sys
            from hotswap import Patch, Patcher
            import debugged.a as a
            held = a.where
            def stop(expected):
                import io
                out = io.StringIO()
                commands = io.StringIO("step\\nstep\\nstep\\nlist\\nwhere\\ncontinue\\n")
                debugger = pdb.Pdb(stdin=commands, stdout=out, nosigint=True)
                debugger.use_rawinput = False
                debugger.runcall(held)
                assert expected in out.getvalue(), out.getvalue()
            stop("return 'old'")
            patcher = Patcher(["debugged"])
            patcher.apply(Patch.from_sources({{"debugged.a": {NEW_DEBUGGED!r}}}, "2"))
            stop("return 'new'")
            patcher.rollback()
            stop("return 'old'")
            print("done")
        """
        assert run_script(tmp_path, script).endswith("done\n")

    @pytest.mark.threads
    def test_breakpoints_by_file_and_line(self, tmp_path: Path) -> None:
        script = f"""
            import bdb, linecache, sys
            from hotswap import Patch, Patcher
            import debugged.a as a
            held = a.where
            class Stopper(bdb.Bdb):
                def user_line(self, frame):
                    stops.append(linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals).strip())
                    self.set_continue()
            stops = []
            def stop(line):
                debugger = Stopper()
                assert debugger.set_break(sys.modules["debugged.a"].__file__, line) is None
                debugger.runcall(held)
                debugger.clear_all_breaks()
                sys.settrace(None)
                return stops[-1]
            assert stop(2) == "return 'old'", stops
            patcher = Patcher(["debugged"])
            patcher.apply(Patch.from_sources({{"debugged.a": {NEW_DEBUGGED!r}}}, "2"))
            assert stop(5) == "return 'new'", stops
            patcher.rollback()
            assert stop(2) == "return 'old'", stops
            print("done")
        """
        assert run_script(tmp_path, script).endswith("done\n")

    @pytest.mark.threads
    def test_coverage_of_each_generation(self, tmp_path: Path) -> None:
        script = f"""
            import sys
            import coverage
            measured = coverage.Coverage(data_file=None, config_file=False, include=["*/debugged/*"])
            measured.start()
            from hotswap import Patch, Patcher
            import debugged.a as a
            held, old = a.where, a.__file__
            held()
            patcher = Patcher(["debugged"])
            patcher.apply(Patch.from_sources({{"debugged.a": {NEW_DEBUGGED!r}}}, "2"))
            assert held() == "new"
            new = sys.modules["debugged.a"].__file__
            measured.stop()
            data = measured.get_data()
            files = data.measured_files()
            assert {{old, new}} <= files, files
            assert set(data.lines(old)) >= {{1, 2}}, data.lines(old)
            assert set(data.lines(new)) >= {{1, 4, 5}}, data.lines(new)
            _, statements, _, missing, _ = measured.analysis2(new)
            assert statements == [1, 4, 5] and missing == [], (statements, missing)
            patcher.rollback()
            assert held() == "old"
            print("done")
        """
        assert run_script(tmp_path, script).endswith("done\n")


NEW_DEBUGGED = "import os\n\n\ndef where():\n    return 'new'\n"


def run_script(folder: Path, script: str) -> str:
    """Run a program in a process of its own, with a package `debugged` beside it."""
    (folder / "debugged").mkdir()
    (folder / "debugged" / "__init__.py").write_text("")
    (folder / "debugged" / "a.py").write_text("def where():\n    return 'old'\n")
    file = folder / "script.py"
    file.write_text(textwrap.dedent(script))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), *(p for p in sys.path if p)])
    done = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, timeout=50, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class TestGate:
    """The wrapper around `builtins.__import__`: there only while it is needed, and friends with others."""

    @pytest.fixture
    def staged(self, program: Program) -> Callable[[], contextlib.AbstractContextManager[Any]]:
        program.write({"a.py": "x = 1\ndef lazily():\n    from PKG import b\n    return b.x\n", "b.py": "x = 1\n"}, "a")
        source = program.text("x = 2\ndef lazily():\n    from PKG import b\n    return b.x\n")
        return lambda: program.patcher.stage(program.patch({"a": source, "b": "x = 2\n"}))

    @staticmethod
    def in_place() -> bool:
        return gate.installed

    @staticmethod
    def wrapper(calls: list[str]) -> Callable[..., Any]:
        inner = builtins.__import__

        def wrapped(name: str, *args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return inner(name, *args, **kwargs)

        return wrapped

    def test_is_there_only_while_something_is_staged(self, program: Program, staged: Any) -> None:
        before = builtins.__import__, importlib.import_module
        with staged():
            assert builtins.__import__ is not before[0]
            assert importlib.import_module is not before[1]
        assert (builtins.__import__, importlib.import_module) == before
        assert not any(world.packages == (program.name,) for world in worlds.values())

    NAMES = "import builtins, importlib\nfrom importlib import import_module\nimp = builtins.__import__\n"

    def test_a_patched_module_holds_the_functions_themselves(self, program: Program) -> None:
        """What its body took from `importlib` and `builtins` was the wrapper; none is left when it is live."""
        rest = """
            class Loader:
                load = staticmethod(import_module)
                def __init__(self, load=import_module): self.load = load
            TABLE = {{"load": import_module, "n": {n}}}
            PAIR = ({n}, imp)
            closure = (lambda load: lambda: load)(import_module)
            def ask(name, load=import_module): return load(name)
            """
        text = self.NAMES + textwrap.dedent(rest)
        program.write({"a.py": text.format(n=1), "b.py": "x = 1\n", "c.py": "from PKG.a import import_module\n"}, "c")
        for number in (2, 3):
            program.apply({"a": text.format(n=number), "b": "x = 2\n"}, str(number))
            a, c = program["a"], program["c"]
            held = (a.import_module, c.import_module, a.Loader.load, a.Loader().load, a.TABLE["load"], a.closure())
            assert [*held, *a.ask.__defaults__] == [importlib.import_module] * 7
            assert (a.imp, a.PAIR[1]) == (builtins.__import__,) * 2
            assert a.ask(program.full("b")).x == 2
        program.patcher.rollback()
        assert program["a"].import_module is program["c"].import_module is importlib.import_module
        assert program["a"].imp is builtins.__import__

    def test_calls_in_flight_go_on_importing_their_own_through_names(self, program: Program) -> None:
        source = """
            def steps():
                yield
                yield import_module("PKG.b").x, imp("PKG.b", globals(), None, ("x",)).x
            """
        text = self.NAMES + textwrap.dedent(source)
        program.write({"a.py": text, "b.py": "x = 1\n"}, "a", "b")
        running = []
        for number in (2, 3):
            running.append(program["a"].steps())
            next(running[-1])
            program.apply({"a": text + f"n = {number}\n", "b": f"x = {number}\n"}, str(number))
            assert program["a"].import_module is not gate.import_module_hook
        running.append(program["a"].steps())
        next(running[-1])
        program.patcher.rollback()
        assert [next(steps) for steps in running] == [(1, 1), (2, 2), (3, 3)]
        running.clear()
        assert until(lambda: program["a"].import_module is importlib.import_module)
        assert importlib.import_module is not gate.import_module_hook

    def test_outsiders_that_were_imported_meanwhile_get_the_functions_themselves(
        self, program: Program, make_package: Make, staged: Any
    ) -> None:
        text = textwrap.dedent(self.NAMES)
        with staged():
            outsider: Any = make_package({"__init__.py": text + "def call(load=import_module): return load\n"})
            assert outsider.import_module is gate.import_module_hook
            assert outsider.imp is gate.import_hook
        assert (outsider.import_module, outsider.imp) == (importlib.import_module, builtins.__import__)
        assert outsider.call()("json") is sys.modules["json"]  # not a name of a module: it passes straight through

    def test_wrapper_put_on_before_and_taken_off_while_staged(
        self, program: Program, staged: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        original = builtins.__import__
        mine = self.wrapper(calls)
        monkeypatch.setattr(builtins, "__import__", mine)
        with staged() as rollout:
            assert rollout.candidate[f"{program.name}.a"].lazily() == 2
            import wave  # noqa: F401 - that it is imported is what counts

            assert "wave" in calls
            # A well-behaved other takes itself off only where it is on top; here it is covered and stays.
        assert builtins.__import__ is mine
        builtins.__import__ = original
        with staged() as rollout:
            assert rollout.candidate[f"{program.name}.a"].lazily() == 2
        assert builtins.__import__ is original

    def test_wrapper_put_on_while_staged_and_taken_off_later(self, program: Program, staged: Any) -> None:
        calls: list[str] = []
        original = builtins.__import__
        with staged() as rollout:
            ours = builtins.__import__
            theirs = builtins.__import__ = self.wrapper(calls)
            assert rollout.candidate[f"{program.name}.a"].lazily() == 2
        assert builtins.__import__ is theirs
        import wave

        assert wave.__name__ == "wave"
        assert "wave" in calls
        with staged() as rollout:  # ours is still below theirs, and is used again
            assert builtins.__import__ is theirs
            assert rollout.candidate[f"{program.name}.a"].lazily() == 2
        builtins.__import__ = ours  # they take themselves off, and put back what they had found
        with staged() as rollout:
            assert rollout.candidate[f"{program.name}.a"].lazily() == 2
        assert builtins.__import__ is original

    def test_wrapper_taken_off_while_staged_that_put_back_the_builtin(
        self, program: Program, staged: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original = builtins.__import__
        monkeypatch.setattr(builtins, "__import__", self.wrapper([]))
        with staged():
            builtins.__import__ = original  # rudely, over ours
        assert builtins.__import__ is original
        with staged() as rollout:
            assert rollout.candidate[f"{program.name}.a"].lazily() == 2
        assert builtins.__import__ is original

    def test_stays_until_old_calls_have_ended(self, program: Program) -> None:
        source = "def run():\n    yield 'begun'\n    from PKG import b\n    yield b.x\nmark = {}\n"
        program.write({"a.py": source.replace("{}", "1"), "b.py": "x = 1\n"}, "a", "b")
        flight = program["a"].run()
        assert next(flight) == "begun"
        program.apply({"a": source.replace("{}", "2"), "b": "x = 2\n"})
        assert self.in_place()
        assert next(flight) == 1, "old code in flight imports old modules"
        flight.close()
        del flight
        assert until(lambda: not self.in_place())
        fresh = program["a"].run()
        assert list(fresh) == ["begun", 2]

    def test_import_of_other_packages_is_as_ever(self, program: Program, staged: Any) -> None:
        with staged():
            import email.mime.text as text
            from os import path

            assert path is os.path
            assert text is sys.modules["email.mime.text"]
            with pytest.raises(ImportError, match="cannot import name 'nothing'"):
                exec("from os import nothing")
            with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere_at_all'"):
                importlib.import_module("nowhere_at_all")

    def test_traceback_of_a_live_import_has_no_frame_of_ours_after_the_rollout(self, program: Program) -> None:
        program.write({"a.py": "x = 1\ndef fails():\n    import nowhere_at_all\n"}, "a")
        program.apply({"a": "x = 2\ndef fails():\n    import nowhere_at_all\n"})
        with pytest.raises(ModuleNotFoundError) as caught:
            program["a"].fails()
        files = [entry.filename for entry in traceback.extract_tb(caught.value.__traceback__)]
        assert not any("hotswap" in Path(file).parts and "isolation.py" in file for file in files)


class TestAdoption:
    def test_source_overwritten_after_the_import_is_noticed(self, program: Program) -> None:
        program.write({"a.py": "def quote():\n    return 1\n"}, "a")
        new = "def quote():\n    return 22\n"
        Path(program["a"].__file__).write_text(new)
        linecache.checkcache()
        program.apply({"a": new})
        assert program["a"].quote() == 22
        program.patcher.rollback()
        assert program["a"].quote() == 1

    def test_constant_overwritten_after_the_import_is_noticed(
        self, program: Program, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "dont_write_bytecode", False)  # what was imported is known from its bytecode file
        program.write({"a.py": "LIMIT = 1\ndef quote():\n    return LIMIT\n"}, "a")
        new = "LIMIT = 2\ndef quote():\n    return LIMIT\n"
        file = Path(program["a"].__file__)
        file.write_text(new)
        os.utime(file, (0, file.stat().st_mtime + 60))  # times in bytecode files are whole seconds
        program.apply({"a": new})
        assert (program["a"].LIMIT, program["a"].quote()) == (2, 2)

    def test_method_overwritten_after_the_import_is_noticed(self, program: Program) -> None:
        source = (
            "class Engine:\n    @property\n    def run(self): return {}\n    @staticmethod\n    def f(): return {}\n"
        )
        program.write({"a.py": source.replace("{}", "1")}, "a")
        engine = program["a"].Engine()
        new = source.replace("{}", "2")
        Path(program["a"].__file__).write_text(new)
        program.apply({"a": new})
        assert (engine.run, engine.f()) == (2, 2)

    def test_source_deleted_after_the_import(self, program: Program) -> None:
        program.write({"a.py": "def quote():\n    return 1\n"}, "a")
        Path(program["a"].__file__).unlink()
        program.apply({"a": "def quote():\n    return 2\n"})
        assert program["a"].quote() == 2
        program.patcher.rollback()
        assert program["a"].quote() == 1

    def test_broken_source_on_disk_does_not_matter(self, program: Program) -> None:
        program.write({"a.py": "def quote():\n    return 1\n"}, "a")
        Path(program["a"].__file__).write_text("def quote(:\n")
        program.apply({"a": "def quote():\n    return 2\n"})
        assert program["a"].quote() == 2

    def test_unchanged_patch_of_a_module_changes_nothing_but_the_version(self, program: Program) -> None:
        program.write({"a.py": "def quote():\n    return 1\n"}, "a")
        module, function = program["a"], program["a"].quote
        code = function.__code__
        program.apply({"a": "def quote():\n    return 1\n"}, "2.0")
        assert program["a"] is module
        assert function.__code__ is code
        assert str(program.patcher.versions[program.name]) == "2.0"

    def test_module_imported_after_the_patcher_was_made(self, program: Program) -> None:
        program.write({"a.py": "x = 1\n", "late.py": "def f(): return 1\n"}, "a")
        assert program.patcher.versions
        late = importlib.import_module(f"{program.name}.late")
        held = late.f
        program.apply({"late": "def f(): return 2\n"})
        assert held() == 2

    def test_module_that_the_service_reloaded(self, program: Program) -> None:
        program.write({"a.py": "def f(): return 1\n"}, "a")
        program.apply({"a": "def f(): return 2\n"})
        module = program["a"]
        importlib.reload(module)
        assert program["a"].f() == 2
        program.apply({"a": "def f(): return 3\n"})
        assert program["a"].f() == 3
