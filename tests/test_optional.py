"""Optional modules: new ones that need what is not installed, and that nobody imports."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from hotswap import LoadError, Patch, Patcher, Rollout

Make = Callable[..., ModuleType]
Apply = Callable[[Mapping[str, str]], Rollout]

_serial = itertools.count(1)

NEEDS = "import not_installed_anywhere.config\nV = 1\n"
SENTENCE = "is new and needs not_installed_anywhere, which is not installed; nobody imports it, so it was left unloaded"


@pytest.fixture
def package(make_package: Make) -> ModuleType:
    package = make_package({"__init__.py": "V = 1\n", "a.py": "V = 1\n"})
    importlib.import_module(f"{package.__name__}.a")
    return package


@pytest.fixture
def apply(package: ModuleType, tmp_path: Path) -> Apply:
    patcher = Patcher([package.__name__])

    def apply(files: Mapping[str, str]) -> Rollout:
        root = tmp_path / f"v{next(_serial)}" / package.__name__
        for path, source in {"__init__.py": "V = 2\n", "a.py": "V = 2\n", **files}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(source.replace("PKG", package.__name__))
        return patcher.apply(Patch.from_path(root))

    return apply


class TestLeftUnloaded:
    def test_and_the_plan_says_so(self, package: ModuleType, apply: Apply) -> None:
        rollout = apply({"cache.py": NEEDS, "fresh.py": "V = 2\n"})
        name = package.__name__
        assert rollout.plan.warnings == [f"{name}.cache {SENTENCE}"]
        assert f"{name}.cache" not in rollout.plan.modules
        assert (sys.modules[name].V, sys.modules[f"{name}.fresh"].V) == (2, 2)
        assert f"{name}.cache" not in sys.modules
        assert not hasattr(sys.modules[name], "cache")

    def test_and_imported_later_from_the_new_version(
        self, package: ModuleType, apply: Apply, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rollout = apply({"cache.py": NEEDS})
        name = f"{package.__name__}.cache"
        with pytest.raises(ModuleNotFoundError, match="No module named 'not_installed_anywhere'"):
            importlib.import_module(name)
        (tmp_path / "not_installed_anywhere").mkdir()
        (tmp_path / "not_installed_anywhere" / "config.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path)
        assert importlib.import_module(name).V == 1
        rollout.rollback()
        with pytest.raises(ModuleNotFoundError, match=name):
            importlib.import_module(name)

    def test_with_what_stands_on_it(self, package: ModuleType, apply: Apply) -> None:
        """A new package and all below it, and a new module that imports another such module."""
        files = {
            "http/__init__.py": f"from . import frames\n{NEEDS}",
            "http/frames.py": "V = 2\n",
            "http/zlib.py": "V = 2\n",
            "user.py": "from . import http\n",
        }
        rollout = apply(files)
        name = package.__name__
        left = {f"{name}.{module} {SENTENCE}" for module in ("http", "http.frames", "http.zlib", "user")}
        assert set(rollout.plan.warnings) == left
        assert not [module for module in sys.modules if module.startswith(f"{name}.http")]

    def test_of_a_partial_patch(self, package: ModuleType) -> None:
        name = package.__name__
        rollout = Patcher([name]).apply(Patch.from_sources({f"{name}.a": "V = 2\n", f"{name}.cache": NEEDS}))
        assert rollout.plan.warnings == [f"{name}.cache {SENTENCE}"]
        assert sys.modules[f"{name}.a"].V == 2

    def test_where_a_module_can_do_without_it(self, package: ModuleType, apply: Apply) -> None:
        apply({"a.py": "try:\n    from . import cache\nexcept ImportError:\n    V = 'without'\n", "cache.py": NEEDS})
        assert sys.modules[f"{package.__name__}.a"].V == "without"


class TestRejected:
    FILES: Mapping[str, Mapping[str, str]] = {
        "a changed module imports it": {"a.py": "from . import cache\n", "cache.py": NEEDS},
        "a changed module needs it": {"a.py": NEEDS},
        "another error": {"cache.py": "raise ImportError('no')\n"},
        "a name is missing": {"cache.py": "from os import nothing_of_that_name\n"},
        "a module of the package is missing": {"cache.py": "from PKG.nowhere import x\n"},
        "it says nothing of what is missing": {"cache.py": "raise ModuleNotFoundError('install it')\n"},
        "it fails after it was found": {"cache.py": "V = 1 / 0\n"},
    }

    @pytest.mark.parametrize("files", FILES.values(), ids=FILES)
    def test_for_any_other_reason(self, package: ModuleType, apply: Apply, files: Mapping[str, str]) -> None:
        with pytest.raises(LoadError):
            apply(files)
        assert (package.V, sys.modules[f"{package.__name__}.a"].V) == (1, 1)
        assert f"{package.__name__}.cache" not in sys.modules

    def test_if_nothing_else_would_be_loaded(self, package: ModuleType) -> None:
        with pytest.raises(LoadError, match="not_installed_anywhere"):
            Patcher([package.__name__]).apply(Patch.from_sources({f"{package.__name__}.cache": NEEDS}))
