"""The house rules that a machine can keep: the public surface, the size of rooms, errors that speak."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.resources
import inspect
import os
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hotswap
from hotswap import errors

pytestmark = pytest.mark.threads  # checks, fingerprints and files of the system: not on Pyodide

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "hotswap").rglob("*.py"))
PUBLIC = sorted(name for name in hotswap.__all__ if not name.startswith("__"))

LONGEST = 400
"""Lines of a file that can be read in one sitting."""

LONGER: dict[str, str] = {}
"""Files that are longer than that, each with the reason why it is one subject all the same."""

UNDER_NOX = "NOX_CURRENT_SESSION" in os.environ


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def public_members(value: type) -> Iterator[tuple[str, Any]]:
    """The methods and properties that a class of ours defines itself, as plain functions."""
    for name, member in vars(value).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property):
            yield name, member.fget
        elif isinstance(member, (staticmethod, classmethod)):
            yield name, member.__func__
        elif inspect.isfunction(member):
            yield name, member


def unannotated(function: Any) -> list[str]:
    """What a signature leaves open: names of parameters, or `return`."""
    signature = inspect.signature(function)
    missing = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.annotation is parameter.empty and name not in {"self", "cls"}
    ]
    if signature.return_annotation is signature.empty:
        missing.append("return")
    return missing


class TestPublicSurface:
    def test_all_is_complete_and_sorted_out(self) -> None:
        assert len(set(hotswap.__all__)) == len(hotswap.__all__)
        assert [name for name in hotswap.__all__ if not hasattr(hotswap, name)] == []

    def test_every_error_is_public(self) -> None:
        assert [name for name in errors.__all__ if name not in hotswap.__all__] == []

    @pytest.mark.parametrize("name", PUBLIC)
    def test_has_a_docstring(self, name: str) -> None:
        value = getattr(hotswap, name)
        # A dataclass without a docstring gets its signature for one, which tells a reader nothing.
        told = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
        assert (told or "").strip(), f"hotswap.{name} has no docstring"
        assert not value.__doc__.startswith(f"{name}("), f"hotswap.{name} has no docstring of its own"
        if inspect.isclass(value):
            bare = [member for member, function in public_members(value) if not inspect.getdoc(function)]
            assert bare == [], f"members of hotswap.{name} without a docstring"

    @pytest.mark.parametrize("name", PUBLIC)
    def test_is_annotated(self, name: str) -> None:
        value = getattr(hotswap, name)
        if inspect.isclass(value):
            functions = dict(public_members(value))
            if inspect.isfunction(vars(value).get("__init__")):
                functions["__init__"] = vars(value)["__init__"]
        else:
            functions = {name: value}
        missing = {member: unannotated(function) for member, function in functions.items()}
        assert {member: open_ for member, open_ in missing.items() if open_} == {}

    def test_docs_mention_every_public_name(self) -> None:
        pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
        text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
        unmentioned = [name for name in PUBLIC if not re.search(rf"\b{name}\b", text)]
        assert unmentioned == []


class TestErrors:
    def test_derive_from_one_base(self) -> None:
        strangers = [name for name in errors.__all__ if not issubclass(getattr(errors, name), hotswap.HotswapError)]
        assert strangers == []

    @pytest.mark.parametrize("name", sorted(errors.__all__))
    def test_say_in_their_docstring_what_they_leave_behind(self, name: str) -> None:
        assert len((getattr(errors, name).__doc__ or "").split()) >= 8

    def test_elsewhere_are_of_the_same_family(self) -> None:
        """What the library raises can be caught as one; the demo is a program on top of it, with errors of its own.

        A `BaseException` is not an error but a signal, which nobody is meant to catch.
        """
        family = {*errors.__all__, "BaseException"}
        strangers = []
        for path in SOURCES:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and path.parent.name != "demo" and path.name != "errors.py":
                    bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                    if any(base.endswith(("Error", "Exception")) for base in bases) and not bases & family:
                        strangers.append(f"{relative(path)}:{node.lineno} {node.name}")
        assert strangers == []

    def test_are_not_swallowed_without_a_reason(self) -> None:
        """An `except` that does nothing says why in a comment, in its body or on its line."""
        silent = []
        for path in SOURCES:
            with tokenize.open(path) as file:
                commented = {t.start[0] for t in tokenize.generate_tokens(file.readline) if t.type == tokenize.COMMENT}
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ExceptHandler) and swallows(node):
                    lines = range(node.lineno - 1, (node.body[-1].end_lineno or node.lineno) + 1)
                    if commented.isdisjoint(lines):
                        silent.append(f"{relative(path)}:{node.lineno}")
        assert silent == []


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether it does nothing at all, or answers None to whatever it was."""
    if len(handler.body) > 1:
        return False
    (statement,) = handler.body
    if isinstance(statement, ast.Return):
        broad = handler.type is None or ast.unparse(handler.type) in {"Exception", "BaseException"}
        return broad and (statement.value is None or ast.unparse(statement.value) == "None")
    return isinstance(statement, (ast.Pass, ast.Continue)) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


class TestRooms:
    def test_can_be_read_in_one_sitting(self) -> None:
        lengths = {relative(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
        too_long = {path: length for path, length in lengths.items() if length > LONGEST}
        assert sorted(too_long) == sorted(LONGER), too_long

    def test_say_what_they_are(self) -> None:
        mute = [relative(path) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
        assert mute == []


class TestShipped:
    def test_py_typed_is_there(self) -> None:
        assert importlib.resources.files("hotswap").joinpath("py.typed").is_file()

    @pytest.mark.skipif(not UNDER_NOX, reason="only nox installs the built wheel")
    def test_the_installed_wheel_is_what_is_tested(self) -> None:
        installed = Path(hotswap.__file__)
        assert "site-packages" in installed.parts
        assert not installed.is_relative_to(ROOT / "hotswap")

    @pytest.mark.skipif(not UNDER_NOX, reason="only nox installs the built wheel")
    def test_the_wheel_holds_every_file_of_the_package(self) -> None:
        installed = Path(hotswap.__file__).parent
        missing = [relative(path) for path in SOURCES if not (installed / path.relative_to(ROOT / "hotswap")).is_file()]
        assert missing == []

    @pytest.mark.skipif(not UNDER_NOX, reason="only nox installs the built wheel")
    def test_the_wheel_holds_the_example_service(self) -> None:
        shipped = Path(hotswap.__file__).parent / "_examples" / "shop"
        original = ROOT / "examples" / "shop"
        expected = {p.relative_to(original) for p in original.rglob("*.py")}
        assert expected
        assert {p.relative_to(shipped) for p in shipped.rglob("*.py")} == expected

    @pytest.mark.skipif(not UNDER_NOX, reason="only nox installs the built wheel")
    def test_versions_agree(self) -> None:
        assert importlib.metadata.version("hotswap") == hotswap.__version__

    def test_the_changelog_knows_the_version(self) -> None:
        changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
        newest = re.search(r"^## \[(?!Unreleased)([^\]]+)\]", changelog, re.MULTILINE)
        assert newest is not None
        assert newest[1] == hotswap.__version__
