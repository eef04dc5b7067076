"""The fixtures of this suite: what they put back."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import _forget_modules, _in_other_parts


class TestForgetModules:
    @pytest.mark.parametrize("gone", [(), ("",), ("", ".inner")], ids=["all there", "parent gone", "parents gone"])
    def test_namespace_packages_below_each_other(
        self, gone: tuple[str, ...], make_package: Callable[..., ModuleType], tmp_path: Path
    ) -> None:
        make_package({}, name="forgotten_anchor")
        before = dict(sys.modules)
        folder = tmp_path / "packages" / "forgotten" / "inner" / "deep"
        folder.mkdir(parents=True)
        (folder / "leaf.py").write_text("X = 1\n")
        importlib.invalidate_caches()  # the folder may be as old, to the clock, as the last look into it
        importlib.import_module("forgotten.inner.deep.leaf")
        for name in gone:
            del sys.modules[f"forgotten{name}"]
        _forget_modules(before, tmp_path)
        assert [name for name in sys.modules if name.startswith("forgotten.") or name == "forgotten"] == []


class TestParts:
    def test_each_file_is_run_by_one(self) -> None:
        left = [_in_other_parts(part, 3) for part in (1, 2, 3)]
        every = frozenset[Path]().union(*left)
        assert Path(__file__) in every
        assert {path: sum(path in others for others in left) for path in every} == dict.fromkeys(every, 2)
