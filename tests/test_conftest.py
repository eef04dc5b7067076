"""The fixtures of this suite: what they put back, and which tests run."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import _forget_modules, _in_other_parts, pytest_collection_modifyitems


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
        left = [_in_other_parts(part, 3, ()) for part in (1, 2, 3)]
        every = frozenset[Path]().union(*left)
        assert Path(__file__) in every
        assert {path: sum(path in others for others in left) for path in every} == dict.fromkeys(every, 2)

    def test_what_none_runs_is_in_none(self) -> None:
        here = Path(__file__).parent
        left = [_in_other_parts(part, 3, ("*/tests/property", "*/tests/test_conftest.py")) for part in (1, 2, 3)]
        every = frozenset[Path]().union(*left)
        assert here / "test_keep.py" in every
        assert Path(__file__) not in every
        assert not any(path.is_relative_to(here / "property") for path in every)


class TestSlow:
    @pytest.mark.parametrize("name", (Path(__file__).parent / "slow.txt").read_text(encoding="utf-8").split())
    def test_what_is_listed_is_there(self, name: str) -> None:
        path, *places = name.split("::")
        text = (Path(__file__).parent / path).read_text(encoding="utf-8")
        assert all(re.search(rf"\b(class|def) {place}\b", text) for place in places)

    def test_each_part_of_what_is_shared_is_another(self, monkeypatch: pytest.MonkeyPatch) -> None:
        here = Path(__file__).parent
        names = [f"tests/adapters/test_click.py::test_{number}" for number in range(60)]
        names += [f"tests/test_keep.py::test_{number}" for number in range(60)]
        monkeypatch.setenv("HOTSWAP_SHARED", "adapters")
        ran: list[str] = []
        for part in (1, 2, 3):
            monkeypatch.setenv("HOTSWAP_SHARE", f"{part}/3")
            ran += self.left([(name, here / name.partition("/")[2].partition("::")[0]) for name in names])
        assert sorted(ran) == sorted([*names[:60], *3 * names[60:]])

    def test_each_turn_is_another_share(self) -> None:
        """And none is left out: of the turns together, each test is in one."""
        names = {turn: self.chosen(f"{turn}/3") for turn in (1, 2, 3)}
        assert all(names.values())
        assert len({*names[1], *names[2], *names[3]}) == sum(map(len, names.values()))
        assert {*names[1], *names[2], *names[3]} == {*self.chosen("1/1")}

    @classmethod
    def chosen(cls, share: str) -> list[str]:
        listed = "tests/races/test_hidden_calls.py::test_each_kind_is_waited_for"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HOTSWAP_SHARE", share)
            return cls.left([(f"{listed}[{number}]", Path()) for number in range(50)])

    @staticmethod
    def left(tests: list[tuple[str, Path]]) -> list[str]:
        """Which of some tests are run, as the environment has it."""

        class Item:
            def __init__(self, nodeid: str, path: Path) -> None:
                self.nodeid, self.path, self.slow = nodeid, path, False

            def add_marker(self, name: str) -> None:
                self.slow = name == "slow"

            def get_closest_marker(self, name: str) -> bool:
                return self.slow and name == "slow"

        class Config:
            def __init__(self) -> None:
                self.hook, self.stash = self, pytest.Stash()

            def pytest_deselected(self, items: list[Any]) -> None:
                assert items

        items: list[Any] = [Item(*test) for test in tests]
        pytest_collection_modifyitems(Config(), items)  # type: ignore[arg-type]  # it has what is asked for
        return [item.nodeid for item in items]
