"""Patches as values: what they hold, when they are equal, and what is made of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from packaging.version import Version

from hotswap.errors import PatchError
from hotswap.patch import Patch, SourceFile, decode
from tests.trees import EXTENSION, lay, refusal


class TestPatch:
    def test_has_what_it_was_given(self) -> None:
        patch = Patch.from_sources({"shop": "A = 1\n", "shop.pricing": b"B = 2\n"}, "1.2.1")
        assert patch.name == "shop"
        assert patch.version == Version("1.2.1")
        assert patch.label == "shop 1.2.1"
        assert dict(patch.files) == {"shop/__init__.py": b"A = 1\n", "shop/pricing.py": b"B = 2\n"}
        assert dict(patch.sources) == {
            "shop": SourceFile("shop", "shop/__init__.py", True, b"A = 1\n"),
            "shop.pricing": SourceFile("shop.pricing", "shop/pricing.py", False, b"B = 2\n"),
        }
        assert patch.complete == frozenset()
        assert patch.extensions == {}
        assert patch.requires == ()
        assert patch.requires_python is None

    def test_says_so_if_it_has_no_version(self) -> None:
        assert Patch.from_sources({"shop": ""}).label == "shop (no version)"

    def test_cannot_be_changed(self) -> None:
        patch = Patch.from_sources({"shop": ""})
        with pytest.raises(dataclasses.FrozenInstanceError):
            patch.name = "other"  # type: ignore[misc]
        for mapping in (patch.files, patch.sources, patch.extensions, patch.metadata):
            with pytest.raises(TypeError):
                mapping["shop"] = None  # type: ignore[index]

    def test_does_not_follow_what_it_was_made_from(self) -> None:
        given = {"shop/__init__.py": bytearray(b"A = 1\n")}
        facts = {"origin": "here"}
        patch = Patch(name="shop", version=None, files=given, metadata=facts)  # type: ignore[arg-type]
        digest = patch.digest
        given["shop/__init__.py"][0] = 0
        given["shop/more.py"] = bytearray()
        facts.clear()
        assert patch.files == {"shop/__init__.py": b"A = 1\n"}
        assert type(patch.files["shop/__init__.py"]) is bytes
        assert patch.metadata == {"origin": "here"}
        assert patch.digest == digest

    def test_is_equal_by_digest(self) -> None:
        one, same = (Patch.from_sources({"shop": "A = 1"}, "1.0") for _ in range(2))
        assert one == same
        assert hash(one) == hash(same)
        assert len({one, same}) == 1
        assert one != "shop 1.0"

    def test_the_digest_is_the_same_everywhere_and_always(self) -> None:
        # A store, a log and a signature of another machine hold digests: this number must never change by accident.
        patch = Patch.from_sources({"shop": "A = 1\n", "shop.pricing": "B = 2\n"}, "1.2.1")
        assert patch.digest == "d4831b6ebd4e2e5f2b13ae35a196dd9441f3a994df7754f27e4d77c5fd13ed38"

    def test_the_digest_follows_everything_that_counts(self, tmp_path: Path) -> None:
        files = {"shop/__init__.py": b"A = 1"}
        patches = [
            Patch(name="shop", version=None, files=files),
            Patch(name="shop2", version=None, files=files),
            Patch(name="shop", version=Version("1.0"), files=files),
            Patch(name="shop", version=Version("1.0.1"), files=files),
            Patch(name="shop", version=None, files=files, complete=frozenset({"shop"})),
            Patch(name="shop", version=None, files={"shop/__init__.py": b"A = 2"}),
            Patch(name="shop", version=None, files={"shop.py": b"A = 1"}),
            Patch(name="shop", version=None, files={**files, "shop/data.txt": b""}),
        ]
        assert len({patch.digest for patch in patches}) == len(patches)

    def test_the_digest_is_not_about_where_it_came_from(self, tmp_path: Path) -> None:
        one = Patch.from_path(lay(tmp_path / "a" / "shop", {"__init__.py": ""}))
        two = Patch.from_path(lay(tmp_path / "b" / "shop", {"__init__.py": ""}))
        assert one == two
        assert one.metadata["origin"] != two.metadata["origin"]

    def test_its_repr_is_short(self) -> None:
        patch = Patch.from_sources({"shop": "#" * 10_000}, "1.0")
        assert repr(patch) == f"<Patch shop 1.0, 1 modules, sha256 {patch.digest[:12]}>"
        assert len(repr(patch.sources["shop"])) < 100

    @pytest.mark.parametrize(
        "path", ["/etc/passwd", "../shop.py", "shop/../../x.py", "C:/x.py", "a\\b.py", "a//b.py", ""]
    )
    def test_holds_no_path_that_leads_elsewhere(self, path: str) -> None:
        assert "path" in refusal(PatchError, lambda: Patch(name="shop", version=None, files={path: b""}))

    def test_takes_for_a_module_what_python_would_import(self) -> None:
        patch = Patch(
            name="shop",
            version=None,
            files={
                "shop/__init__.py": b"",
                "shop.py": b"shadowed by the package",
                f"shop/fast{EXTENSION}": b"\x7fELF",
                "shop/fast.py": b"shadowed by the extension",
                "shop/plain.py": b"",
                "shop/plain/below.py": b"below a module that is no package",
                "shop/portion/deep.py": b"",
                "shop/migrations/0001_initial.py": b"",
                "shop/my-script.py": b"",
                "shop/template.d/x.py": b"",
                "shop/data.json": b"{}",
                "shop-1.0.dist-info/METADATA": b"",
                "__main__.py": b"",
            },
        )
        assert list(patch.sources) == ["shop", "shop.migrations.0001_initial", "shop.plain", "shop.portion.deep"]
        assert patch.sources["shop"].path == "shop/__init__.py"
        assert patch.extensions == {"shop.fast": f"shop/fast{EXTENSION}"}
        assert len(patch.files) == 13


class TestFromSources:
    @pytest.mark.parametrize(
        ("given", "paths"),
        [
            ({"shop": ""}, {"shop.py"}),
            ({"shop": "", "shop.a": ""}, {"shop/__init__.py", "shop/a.py"}),
            ({"shop.a.b": "", "shop.a": ""}, {"shop/a/__init__.py", "shop/a/b.py"}),
            ({"shop": "", "shopping": ""}, {"shop.py", "shopping.py"}),
            ({"shop.__init__": ""}, {"shop/__init__.py"}),
        ],
    )
    def test_finds_out_what_is_a_package(self, given: dict[str, str], paths: set[str]) -> None:
        assert set(Patch.from_sources(given).files) == paths

    @pytest.mark.parametrize(
        ("given", "name"),
        [({"shop": "", "shop.a": ""}, "shop"), ({"shop.a": ""}, "shop"), ({"b.x": "", "a": "", "b.y": ""}, "a+b")],
    )
    def test_is_named_after_its_packages(self, given: dict[str, str], name: str) -> None:
        assert Patch.from_sources(given).name == name
        assert Patch.from_sources(given, name="mine").name == "mine"

    def test_writes_text_as_python_reads_it(self) -> None:
        source = "# -*- coding: latin-1 -*-\nNAME = 'é'\n"
        patch = Patch.from_sources({"shop": source})
        assert patch.files["shop.py"] == source.encode("latin-1")
        assert decode(patch.files["shop.py"]) == source

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            ({}, "there are no sources in it"),
            ({"shop.class": ""}, "'class' is a keyword of Python"),
            ({"1shop": ""}, "'1shop' is not an identifier"),
            ({"shop..a": ""}, "'' is not an identifier"),
            ({"": ""}, "'' is not an identifier"),
            ({"../shop": ""}, "is not an identifier"),
            ({1: ""}, "a module name is a text"),
            ({"shop": 1}, "shop.py has to be text or bytes, not int"),
            ({"shop": None}, "shop.py has to be text or bytes, not NoneType"),
            ({"shop": "", "shop.__init__": ""}, "the source of shop is given twice"),
            ({"shop": "# coding: ascii\n'é'"}, "the source of shop cannot be written as bytes"),
            ({"shop": "'\ud800'"}, "the source of shop cannot be written as bytes"),
        ],
    )
    def test_refuses(self, given: dict[str, str], text: str) -> None:
        assert text in refusal(PatchError, lambda: Patch.from_sources(given))

    @pytest.mark.parametrize("version", ["one", "", "1.0-x-y", 1.5, b"1.0"])
    def test_refuses_what_is_no_version(self, version: str) -> None:
        text = refusal(PatchError, lambda: Patch.from_sources({"shop": ""}, version))
        assert f"{version!r} is not a version" in text
        assert "PEP 440" in text

    @pytest.mark.parametrize("name", ["", "  ", 3])
    def test_refuses_what_is_no_name(self, name: str) -> None:
        assert "not a name" in refusal(PatchError, lambda: Patch.from_sources({"shop": ""}, name=name))


class TestAnother:
    def test_with_version(self) -> None:
        patch = Patch.from_sources({"shop": ""})
        other = patch.with_version("1.2.0+hot.1")
        assert other.version == Version("1.2.0+hot.1")
        assert patch.version is None
        assert other != patch
        assert other.files == patch.files
        assert other.with_version(Version("2")).version == Version("2")
        assert "'x' is not a version" in refusal(PatchError, lambda: patch.with_version("x"))

    def test_renamed_puts_a_bare_module_into_its_package(self) -> None:
        patch = Patch.from_sources({"pricing": "A = 1"}, "1.0").renamed("pricing", "shop.pricing")
        assert dict(patch.files) == {"shop/pricing.py": b"A = 1"}
        assert list(patch.sources) == ["shop.pricing"]
        assert patch.name == "shop"
        assert patch == Patch.from_sources({"shop.pricing": "A = 1"}, "1.0")

    def test_renamed_takes_everything_below_along(self, tmp_path: Path) -> None:
        folder = lay(
            tmp_path / "pricing", {"__init__.py": "", "deep/x.py": "", "rates.json": "{}", f"f{EXTENSION}": ""}
        )
        patch = Patch.from_path(folder)
        other = patch.renamed("pricing", "shop.pricing")
        assert set(other.files) == {f"shop/{path}" for path in patch.files}
        assert patch.complete == {"pricing"}
        assert other.complete == frozenset()
        assert other.extensions == {"shop.pricing.f": f"shop/pricing/f{EXTENSION}"}
        assert patch.renamed("pricing", "prices").complete == {"prices"}

    def test_renamed_leaves_a_name_of_its_own(self) -> None:
        assert Patch.from_sources({"a": ""}, name="mine").renamed("a", "b").name == "mine"

    def test_renamed_leaves_similar_names_alone(self) -> None:
        patch = Patch.from_sources({"a.b": "", "a.bc": "", "a": ""}).renamed("a.b", "a.x")
        assert list(patch.sources) == ["a", "a.bc", "a.x"]

    def test_renamed_refuses_a_name_that_is_taken(self) -> None:
        patch = Patch.from_sources({"shop.a": "", "shop.b": "", "top": ""})
        assert "is in the way" in refusal(PatchError, lambda: patch.renamed("shop.a", "shop.b"))
        assert "is in the way" in refusal(PatchError, lambda: patch.renamed("shop.a", "top.a"))

    def test_renamed_refuses_what_is_not_there(self) -> None:
        patch = Patch.from_sources({"shop.a": ""})
        assert "there is no module shop.x in it, but shop.a" in refusal(
            PatchError, lambda: patch.renamed("shop.x", "y")
        )
        assert "there is no module x" in refusal(PatchError, lambda: patch.renamed("x", "x"))
        assert "'if' is a keyword" in refusal(PatchError, lambda: patch.renamed("shop.a", "shop.if"))

    def test_as_package(self) -> None:
        patch = Patch.from_sources({"shop": "A = 1"})
        other = patch.as_package("shop")
        assert other.sources["shop"] == SourceFile("shop", "shop/__init__.py", True, b"A = 1")
        assert other != patch
        assert other.as_package("shop") == other
        assert "there is no module x" in refusal(PatchError, lambda: patch.as_package("x"))
