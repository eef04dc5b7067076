"""Paths: packages that lie in more than one folder, or in none."""

from __future__ import annotations

import importlib
import importlib.resources
import itertools
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from hotswap import Patch, Patcher

Make = Callable[..., ModuleType]

_serial = itertools.count(1)


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for path, source in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(source)
    importlib.invalidate_caches()
    return folder


class TestNamespacePackages:
    """Packages without code of their own, portions of which lie in several folders."""

    @pytest.fixture
    def name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        name = f"portions{next(_serial)}"
        first = write(tmp_path / "first" / name, {"a.py": "def f(): return 1\n", "one.txt": "one"})
        second = write(
            tmp_path / "second" / name,
            {"b.py": f"import {name}.a\ndef f(): return 1\n", "late.py": "V = 1\n", "two.txt": "two"},
        )
        monkeypatch.syspath_prepend(first.parent)
        sys.path.append(str(second.parent))
        return name

    def read(self, name: str) -> list[str]:
        return [importlib.resources.files(name).joinpath(file).read_text() for file in ("one.txt", "two.txt")]

    @pytest.mark.parametrize("module", ["a", "b"])
    def test_keep_the_portions_that_the_patch_does_not_touch(self, name: str, module: str) -> None:
        for part in "ab":
            importlib.import_module(f"{name}.{part}")
        package = sys.modules[name]
        path = package.__path__
        places = list(path)
        patcher = Patcher([name])
        patcher.apply(Patch.from_sources({f"{name}.{module}": "def f(): return 2\n"}))
        assert sys.modules[f"{name}.{module}"].f() == 2
        assert list(package.__path__)[1:] == places
        assert importlib.import_module(f"{name}.late").V == 1
        assert self.read(name) == ["one", "two"]
        patcher.apply(Patch.from_sources({f"{name}.{module}": "def f(): return 3\n"}))
        assert list(package.__path__)[1:] == places
        assert self.read(name) == ["one", "two"]

    def test_have_their_path_back_after_the_rollback(self, name: str) -> None:
        importlib.import_module(f"{name}.a")
        path = sys.modules[name].__path__
        patcher = Patcher([name])
        patcher.apply(Patch.from_sources({f"{name}.a": "def f(): return 2\n"}))
        assert importlib.import_module(f"{name}.late").V == 1
        patcher.rollback()
        assert sys.modules[name].__path__ is path
        assert importlib.import_module(f"{name}.b").f() == 1

    def test_grow_with_the_import_path(self, name: str, tmp_path: Path) -> None:
        importlib.import_module(f"{name}.a")
        Patcher([name]).apply(Patch.from_sources({f"{name}.a": "def f(): return 2\n"}))
        third = write(tmp_path / "third", {f"{name}/c.py": "V = 3\n"})
        sys.path.append(str(third))
        assert importlib.import_module(f"{name}.c").V == 3
        sys.modules[name].__path__.append(str(write(tmp_path / "fourth", {"d.py": "V = 4\n"})))
        assert importlib.import_module(f"{name}.d").V == 4

    def test_that_nobody_has_imported_have_all_portions(self, name: str) -> None:
        Patcher([name]).apply(Patch.from_sources({f"{name}.a": "def f(): return 2\n"}))
        assert importlib.import_module(f"{name}.a").f() == 2
        assert importlib.import_module(f"{name}.late").V == 1
        assert self.read(name) == ["one", "two"]

    def test_the_candidate_finds_all_portions(self, name: str) -> None:
        importlib.import_module(f"{name}.a")
        Patcher([name]).apply(Patch.from_sources({f"{name}.a": "from . import late\ndef f(): return late.V\n"}))
        assert sys.modules[f"{name}.a"].f() == 1

    def test_below_an_ordinary_package(self, make_package: Make, tmp_path: Path) -> None:
        init = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"
        package = make_package({"__init__.py": init, "below/a.py": "V = 1\n"})
        other = write(tmp_path / "other", {f"{package.__name__}/__init__.py": init})
        write(other, {f"{package.__name__}/below/late.py": "V = 'late'\n"})
        package.__path__.append(str(other / package.__name__))
        name = f"{package.__name__}.below"
        importlib.import_module(f"{name}.a")
        Patcher([package.__name__]).apply(Patch.from_sources({f"{name}.a": "V = 2\n"}))
        assert sys.modules[f"{name}.a"].V == 2
        assert importlib.import_module(f"{name}.late").V == "late"


class TestZippedPackages:
    FILES: Mapping[str, str] = {
        "__init__.py": "",
        "m.py": "def f(): return 1\n",
        "late.py": "V = 1\n",
        "d.txt": "one",
        "sub/__init__.py": "HERE = 'sub'\n",
        "sub/m.py": "V = 1\n",
        "sub/late.py": "V = 'late'\n",
    }

    @pytest.fixture
    def name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        name = f"zipped{next(_serial)}"
        with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
            for path, source in self.FILES.items():
                archive.writestr(f"lib/{name}/{path}", source)
        monkeypatch.syspath_prepend(str(tmp_path / "packed.zip" / "lib"))
        return name

    @pytest.mark.parametrize("module", ["m", "__init__", "sub.m"])
    def test_modules_and_data_that_the_patch_does_not_hold_are_found(self, name: str, module: str) -> None:
        importlib.import_module(f"{name}.m")
        before = sys.modules[name].__spec__
        patcher = Patcher([name])
        source = "from pathlib import Path\ndef read(): return Path(__file__).with_name('d.txt').read_text()\nV = 2\n"
        rollout = patcher.apply(Patch.from_sources({f"{name}.{module}": source}))
        changed = importlib.import_module(name if module == "__init__" else f"{name}.{module}")
        assert changed.V == 2
        assert module == "sub.m" or changed.read() == "one"
        assert importlib.import_module(f"{name}.late").V == 1
        assert importlib.import_module(f"{name}.sub").HERE == "sub"
        assert importlib.import_module(f"{name}.sub.late").V == "late"
        assert importlib.resources.files(name).joinpath("d.txt").read_text() == "one"
        assert rollout.plan.warnings == []
        patcher.rollback()
        assert sys.modules[name].__spec__ is before
        assert importlib.import_module(f"{name}.late").V == 1
        assert importlib.resources.files(name).joinpath("d.txt").read_text() == "one"


class TestAddedPlaces:
    """Folders of plug-ins that somebody has put on the path of a package."""

    @pytest.fixture
    def package(self, make_package: Make, tmp_path: Path) -> ModuleType:
        package = make_package({"__init__.py": "V = 1\n", "a.py": "V = 1\n", "gone.py": ""})
        files = {"plug.py": "V = 'plug'\n", "more/__init__.py": "", "more/part.py": "V = 'part'\n"}
        plugins = write(tmp_path / "plugins", {**files, "late.py": "V = 'late'\n", "mine.py": "V = 'mine'\n"})
        package.__path__.append(str(plugins))
        for name in ("a", "gone", "plug", "more.part"):
            importlib.import_module(f"{package.__name__}.{name}")
        return package

    def whole(self, package: ModuleType, folder: Path, files: Mapping[str, str]) -> Patch:
        root = folder / f"v{next(_serial)}" / package.__name__
        return Patch.from_path(write(root, {"__init__.py": "V = 2\n", **files}))

    def names(self, package: ModuleType) -> set[str]:
        start = f"{package.__name__}."
        return {name.removeprefix(start) for name in sys.modules if name.startswith(start)}

    @pytest.mark.parametrize("init", ["V = 1\n", "V = 2\n"], ids=["unchanged", "changed"])
    def test_stay_with_their_modules(self, package: ModuleType, tmp_path: Path, init: str) -> None:
        name, patcher, path = package.__name__, Patcher([package.__name__]), package.__path__
        for number in (2, 3):
            files = {"__init__.py": init, "a.py": f"V = {number}\n"}
            rollout = patcher.apply(self.whole(package, tmp_path, files))
            assert self.names(package) == {"a", "plug", "more", "more.part"}
            assert sys.modules[name].__path__[1:] == path[1:]
            assert sys.modules[name].plug is sys.modules[f"{name}.plug"]
            assert rollout.plan.modules[f"{name}.more.part"] == "unchanged"
        assert importlib.import_module(f"{name}.late").V == "late"
        patcher.rollback()
        assert sys.modules[name].late is importlib.import_module(f"{name}.late")
        assert importlib.import_module(f"{name}.mine").V == "mine"

    def test_the_path_is_back_after_the_rollback(self, package: ModuleType, tmp_path: Path) -> None:
        patcher, path = Patcher([package.__name__]), package.__path__
        patcher.apply(self.whole(package, tmp_path, {"a.py": "V = 2\n"}))
        patcher.rollback()
        assert sys.modules[package.__name__].__path__ is path
        assert self.names(package) == {"a", "gone", "plug", "more", "more.part"}

    @pytest.mark.parametrize("init", ["V = 1\n", "V = 2\n"], ids=["unchanged", "changed"])
    def test_the_candidate_finds_them(self, package: ModuleType, tmp_path: Path, init: str) -> None:
        files = {"__init__.py": init, "a.py": "from . import late, plug\nV = late.V, plug.V\n"}
        Patcher([package.__name__]).apply(self.whole(package, tmp_path, files))
        assert sys.modules[f"{package.__name__}.a"].V == ("late", "plug")

    def test_of_a_package_whose_code_adds_them_again(self, make_package: Make, tmp_path: Path) -> None:
        init = "import os\n__path__.append(os.path.join(os.path.dirname(__file__), 'inner'))\nfrom . import x\nV = {}\n"
        package = make_package({"__init__.py": init.format(1), "inner/x.py": "V = 1\n", "a.py": ""})
        name = package.__name__
        patcher = Patcher([name])
        for version, text in ((2, 2), (3, 2)):
            files = {"__init__.py": init.format(text), "inner/x.py": f"V = {version}\n", "a.py": f"V = {version}\n"}
            patcher.apply(self.whole(package, tmp_path, files))
            assert len(sys.modules[name].__path__) == 2
        assert importlib.import_module(f"{name}.a").V == 3

    def test_before_the_own_folder(self, package: ModuleType, tmp_path: Path) -> None:
        package.__path__.reverse()
        patcher = Patcher([package.__name__])
        patcher.apply(Patch.from_sources({f"{package.__name__}.__init__": "V = 2\n"}))
        assert sys.modules[package.__name__].V == 2
        assert importlib.import_module(f"{package.__name__}.late").V == "late"
        assert importlib.resources.files(package.__name__).joinpath("a.py").read_text() == "V = 1\n"
