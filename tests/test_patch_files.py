"""Patches from single files: which module they are, and what is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from hotswap.errors import PatchError
from hotswap.patch import Patch, SourceFile
from tests.trees import lay, refusal


class TestModuleFile:
    def test_a_bare_name_stays_bare(self, tmp_path: Path) -> None:
        patch = Patch.from_path(lay(tmp_path, {"pricing.py": "A = 1"}) / "pricing.py")
        assert dict(patch.files) == {"pricing.py": b"A = 1"}
        assert list(patch.sources) == ["pricing"]
        assert patch.name == "pricing"
        assert patch.version is None
        assert patch.complete == frozenset()
        assert dict(patch.metadata) == {"origin": str(tmp_path / "pricing.py"), "kind": "file"}

    @pytest.mark.parametrize(
        ("file", "module", "package"),
        [
            ("shop.pricing.py", "shop.pricing", False),
            ("shop.a.b.py", "shop.a.b", False),
            ("shop.__init__.py", "shop", True),
        ],
    )
    def test_a_dotted_name_says_the_module(self, tmp_path: Path, file: str, module: str, package: bool) -> None:
        patch = Patch.from_path(lay(tmp_path, {file: ""}) / file)
        assert [(source.module, source.package) for source in patch.sources.values()] == [(module, package)]
        assert patch.name == "shop"

    @pytest.mark.parametrize(
        ("file", "module", "package"),
        [
            ("shop/pricing.py", "shop.pricing", False),
            ("shop/deep/tax.py", "shop.deep.tax", False),
            ("shop/__init__.py", "shop", True),
            ("shop/deep/__init__.py", "shop.deep", True),
            ("shop/__main__.py", "shop.__main__", False),
        ],
    )
    def test_the_packages_around_say_the_module(self, tmp_path: Path, file: str, module: str, package: bool) -> None:
        lay(tmp_path, {"shop/__init__.py": "", "shop/deep/__init__.py": "", file: "A = 1"})
        patch = Patch.from_path(tmp_path / file, "1.0")
        assert dict(patch.sources) == {module: SourceFile(module, file, package, b"A = 1")}
        assert (patch.name, str(patch.version)) == ("shop", "1.0")
        assert patch.complete == frozenset()

    @pytest.mark.parametrize(
        ("file", "version"), [("shop/__init__.py", "1.2"), ("solo.py", None), ("shop/pricing.py", None)]
    )
    def test_the_version_is_what_a_top_level_module_states(
        self, tmp_path: Path, file: str, version: str | None
    ) -> None:
        lay(tmp_path, {"shop/__init__.py": "", file: "__version__ = '1.2'\n"})
        patch = Patch.from_path(tmp_path / file)
        assert patch.version == (version and Version(version))
        assert str(Patch.from_path(tmp_path / file, "1.3").version) == "1.3"

    def test_the_module_can_be_given(self, tmp_path: Path) -> None:
        lay(tmp_path, {"fix-17.py": "", "shop/__init__.py": ""})
        assert list(Patch.from_path(tmp_path / "fix-17.py", module="shop.pricing").files) == ["shop/pricing.py"]
        package = Patch.from_path(tmp_path / "shop" / "__init__.py", module="market.shop")
        assert list(package.files) == ["market/shop/__init__.py"]

    def test_a_relative_path_is_enough(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lay(tmp_path, {"shop/__init__.py": "", "shop/pricing.py": ""})
        monkeypatch.chdir(tmp_path / "shop")
        assert list(Patch.from_path("pricing.py").sources) == ["shop.pricing"]
        assert list(Patch.from_path(".").sources) == ["shop", "shop.pricing"]
        assert Patch.from_path(b"pricing.py").metadata["origin"] == str(tmp_path / "shop" / "pricing.py")  # type: ignore[arg-type]

    def test_what_is_written_later_changes_nothing(self, tmp_path: Path) -> None:
        file = lay(tmp_path, {"pricing.py": "A = 1"}) / "pricing.py"
        patch = Patch.from_path(file)
        file.write_text("A = 2")
        assert patch.sources["pricing"].data == b"A = 1"
        file.unlink()
        patch.compile_sources()

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("my-fix.py", "'my-fix' is not an identifier"),
            ("shop.class.py", "'class' is a keyword of Python"),
            ("2024.py", "'2024' is not an identifier"),
            (".py", "has the suffix ''"),
            ("__main__.py", "does not say to which package it belongs"),
            ("__init__.pyi", "has the suffix '.pyi'"),
            ("shop.zip", "has the suffix '.zip'"),
            ("shop-1.0.tar.gz", "has the suffix '.gz'"),
            ("README", "has the suffix ''"),
        ],
    )
    def test_refuses(self, tmp_path: Path, file: str, text: str) -> None:
        lay(tmp_path, {file: ""})
        assert text in refusal(PatchError, lambda: Patch.from_path(tmp_path / file))

    def test_refuses_what_is_not_there(self, tmp_path: Path) -> None:
        for name in ("nowhere.py", "nowhere", "nowhere-1.0-py3-none-any.whl"):
            assert f"{name} does not exist" in refusal(PatchError, lambda: Patch.from_path(tmp_path / name))  # noqa: B023 - called at once
        for name in ("a\0b.py", "x" * 5000 + ".py"):
            refusal(PatchError, lambda: Patch.from_path(name))  # noqa: B023 - called at once

    @pytest.mark.skipif(not hasattr(os, "mkfifo") or sys.platform == "emscripten", reason="needs named pipes")
    def test_refuses_a_pipe_and_does_not_wait_for_it(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pricing.py")
        assert "is not a regular file" in refusal(PatchError, lambda: Patch.from_path(tmp_path / "pricing.py"))

    @pytest.mark.threads  # fails on Pyodide 3.14 for a reason that is not found yet
    def test_refuses_what_cannot_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def locked(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        file = lay(tmp_path, {"pricing.py": ""}) / "pricing.py"
        monkeypatch.setattr(Path, "open", locked)
        assert f"{file} cannot be read: Permission denied" in refusal(PatchError, lambda: Patch.from_path(file))
        folder = refusal(PatchError, lambda: Patch.from_path(tmp_path))
        assert f"{file} cannot be read: Permission denied" in folder

    def test_refuses_what_is_still_being_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = lay(tmp_path, {"pricing.py": "A = 1"}) / "pricing.py"
        opened = Path.open

        def grown(path: Path, mode: str) -> object:
            with opened(path, "ab") as other:
                other.write(b"; B = 2")
            return opened(path, mode)

        monkeypatch.setattr(Path, "open", grown)
        assert "changed while it was read" in refusal(PatchError, lambda: Patch.from_path(file))

    def test_refuses_a_module_name_that_cannot_be(self, tmp_path: Path) -> None:
        file = lay(tmp_path, {"pricing.py": ""}) / "pricing.py"
        assert "not an identifier" in refusal(PatchError, lambda: Patch.from_path(file, module="shop/pricing"))

    def test_refuses_a_version_that_is_none_before_it_reads(self, tmp_path: Path) -> None:
        assert "'x' is not a version" in refusal(PatchError, lambda: Patch.from_path(tmp_path / "nowhere", "x"))
