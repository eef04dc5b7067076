"""A plan against a source tree: no service, a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Command

pytestmark = pytest.mark.threads


@pytest.fixture(params=["", "src"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    package = tmp_path / "tree" / request.param / "planned"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("__version__ = '1.0'\nprint('loading')\n")
    (package / "rates.py").write_text("import enum\nclass Kind(enum.IntEnum):\n    A = 1\ndef rate(): return 19\n")
    return tmp_path / "tree"


def patch(tree: Path, rate: int = 16, value: int = 1) -> str:
    path = tree.parent / "planned.rates.py"
    path.write_text(f"import enum\nclass Kind(enum.IntEnum):\n    A = {value}\ndef rate(): return {rate}\n")
    return str(path)


class TestTree:
    def test_fits(self, tree: Path, command: Command) -> None:
        said = command("plan", patch(tree), "--tree", str(tree))
        assert said.status == 0, said
        assert "-def rate(): return 19\n+def rate(): return 16" in said.out
        assert "planned" in said.out
        assert "loading" not in said.out

    def test_for_programs(self, tree: Path, command: Command) -> None:
        said = command("plan", patch(tree, value=2), "--tree", str(tree), "--json")
        assert (said.status, said.json["fits"]) == (1, False)
        problem = said.json["problem"]
        assert [one["code"] for one in problem["changes"]] == ["enum-value-fixed"]
        told = {name: problem[name] for name in ("type", "title", "status")}
        assert told == {
            "type": "urn:hotswap:problem:unsupported-change",
            "title": "Unprocessable Entity" if sys.version_info < (3, 13) else "Unprocessable Content",
            "status": 422,
        }

    def test_the_version_is_that_of_the_plan(self, tree: Path, command: Command) -> None:
        said = command("plan", patch(tree), "--tree", str(tree), "--json")
        assert said.status == 0, said
        assert f"plan for {said.json['name']} {said.json['version']}\n" in said.json["plan"]["text"]

    def test_a_tree_that_can_not_be_loaded(self, tree: Path, command: Command) -> None:
        next(tree.rglob("__init__.py")).write_text("1 / 0\n")
        said = command("plan", patch(tree), "--tree", str(tree), "--json")
        assert (said.status, "could not be loaded" in said.json["reason"]) == (1, True)
