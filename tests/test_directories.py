"""The directories of generations: gone with them, unless somebody reads the sources later."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.threads  # subprocesses: not on Pyodide

OLD = "def f(x):\n    if x:\n        return 1\n    return 2\n"
NEW = "# new\n\ndef f(x):\n    y = x\n    if y:\n        return 10\n    return 20\n"
MAIN = f"""
import hotswap, svc.m
svc.m.f(1)
patcher = hotswap.Patcher(["svc"])
patcher.apply(hotswap.Patch.from_sources({{"svc.m": {NEW!r}}}))
assert svc.m.f(1) == 10
patcher.apply(hotswap.Patch.from_sources({{"svc.m": {NEW.replace("10", "30")!r}}}))
assert svc.m.f(0) == 20
print(svc.m.__file__)
"""


class Program:
    """A program that patches itself twice, in a folder with a temporary directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary = folder / "app", folder / "temporary"
        (self.folder / "svc").mkdir(parents=True)
        self.temporary.mkdir()
        (self.folder / "svc" / "__init__.py").write_text("", encoding="utf-8")
        (self.folder / "svc" / "m.py").write_text(OLD, encoding="utf-8")
        (self.folder / "main.py").write_text(MAIN, encoding="utf-8")

    def run(self, *arguments: str, **variables: str) -> str:
        """Run Python in the folder; return what it prints."""
        kept = {k: v for k, v in os.environ.items() if k != "HOTSWAP_KEEP_SOURCES" and not k.startswith("COV")}
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=kept | {"TMPDIR": str(self.temporary)} | variables,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def left(self) -> list[Path]:
        """The directories of generations that are still there."""
        return sorted(self.temporary.glob("hotswap-*"))


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


class TestCoverage:
    @pytest.mark.parametrize("how", [[], ["--source-pkgs=svc"]], ids=["everything", "one package by its name"])
    def test_the_report_shows_the_sources_of_every_generation(self, program: Program, how: list[str]) -> None:
        if how:
            (program.folder / ".coveragerc").write_text("[run]\nsource_pkgs = svc\n", encoding="utf-8")
        program.run("-m", "coverage", "run", "main.py")
        report = program.run("-m", "coverage", "report", "--show-missing")
        told = [line.split() for line in report.splitlines() if line.split() and line.split()[0].endswith("m.py")]
        found = {(len(name.split("hotswap-")), *rest) for name, *rest in told}
        assert found == {(1, "4", "1", "75%", "4"), (2, "5", "1", "80%", "7"), (2, "5", "1", "80%", "6")}
        assert len(program.left()) == 2

    def test_an_empty_variable_has_them_deleted_all_the_same(self, program: Program) -> None:
        program.run("-m", "coverage", "run", "main.py", HOTSWAP_KEEP_SOURCES="")
        assert program.left() == []


class TestDirectories:
    def test_are_gone_with_the_process(self, program: Program) -> None:
        assert "hotswap-" in program.run("main.py")
        assert program.left() == []

    def test_stay_in_the_folder_that_the_environment_names(self, program: Program) -> None:
        file = Path(program.run("main.py", HOTSWAP_KEEP_SOURCES="kept/sources").strip())
        assert file.is_relative_to(program.folder / "kept" / "sources")
        assert file.read_text(encoding="utf-8") == NEW.replace("10", "30")
        assert len(list((program.folder / "kept" / "sources").iterdir())) == 2
        assert program.left() == []
