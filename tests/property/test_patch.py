"""Laws of patches: what holds for every one of them."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import ntpath
import posixpath
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hotswap.errors import PatchError, RequirementError, SourceError
from hotswap.patch import Patch, decode, names
from tests.wheels import build_wheel

EXTENSION = importlib.machinery.EXTENSION_SUFFIXES[0]

part = st.sampled_from(["a", "b", "shop", "x1", "_"])
module = st.lists(part, min_size=1, max_size=3).map(".".join)
mapping = st.dictionaries(module, st.binary(max_size=8), min_size=1, max_size=5)
version = st.sampled_from([None, "1", "1.0", "2.0+hot.1"])

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def content(patch: Patch) -> tuple[object, ...]:
    return patch.name, str(patch.version), patch.complete, dict(patch.files)


class TestDigest:
    @quick
    @given(mapping, version, mapping, version)
    @example({"a": b"", "b": b""}, None, {"a": b"b", "_": b""}, None)
    def test_two_patches_share_it_if_and_only_if_they_are_the_same(
        self, one: dict[str, bytes], one_version: str | None, two: dict[str, bytes], two_version: str | None
    ) -> None:
        first, second = Patch.from_sources(one, one_version), Patch.from_sources(two, two_version)
        assert (first == second) == (content(first) == content(second))

    @quick
    @given(mapping, st.randoms())
    def test_the_order_in_which_it_was_given_does_not_matter(self, sources: dict[str, bytes], random: Random) -> None:
        order = list(sources)
        random.shuffle(order)
        assert Patch.from_sources({name: sources[name] for name in order}) == Patch.from_sources(sources)


class TestAnother:
    @quick
    @given(mapping, module)
    def test_renaming_there_and_back_is_the_identity(self, sources: dict[str, bytes], new: str) -> None:
        patch = Patch.from_sources(sources, "1.0")
        old = next(iter(patch.sources))
        taken = {*patch.sources, *patch.extensions}
        try:
            there = patch.renamed(old, new)
        except PatchError:
            return
        if not any(name == new or name.startswith(f"{new}.") or new.startswith(f"{name}.") for name in taken):
            assert there.renamed(new, old) == patch
        assert sorted(source.data for source in there.sources.values()) == sorted(sources.values())

    @quick
    @given(mapping, version, version)
    def test_the_last_version_is_the_one_that_counts(
        self, sources: dict[str, bytes], one: str | None, two: str | None
    ) -> None:
        patch = Patch.from_sources(sources, one)
        if two is not None:
            assert patch.with_version("7").with_version(two) == Patch.from_sources(sources, two)


@st.composite
def source(draw: st.DrawFn) -> bytes:
    """A small program that declares its encoding in one of many ways, or badly."""
    codec = draw(st.sampled_from(["utf-8", "latin-1", "cp1252", "ascii", "utf-8-sig", "koi8-r"]))
    declared = draw(st.sampled_from([codec, codec, "latin-1", "nosuch"]))
    cookie = draw(
        st.sampled_from(["# coding: {}", "# -*- coding: {} -*-", "# vim: fileencoding={}", "", "x = 1 # coding: {}"])
    )
    before = draw(st.sampled_from(["", "#!/usr/bin/python", "# é", "x = 1", " \t"]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = draw(st.text("aé€я #", max_size=6))
    lines = (
        [before, cookie.format(declared), f"s = 'q{text}'"]
        if before or draw(st.booleans())
        else [cookie.format(declared)]
    )
    return end.join([*lines, ""]).encode(codec, "replace") + draw(st.sampled_from([b"", b"", b"\xff"]))


class TestDecode:
    @settings(max_examples=400, deadline=None)
    @given(source())
    @example(b"# \xe9\n# coding: latin-1\nx = '\xe9'\n")
    def test_reads_what_the_interpreter_reads(self, data: bytes) -> None:
        patch = Patch.from_sources({"shop": data})
        try:
            patch.compile_sources()
        except SourceError:
            return
        text = decode(data)
        # The text is parsed without its declaration of an encoding having any effect.
        assert ast.dump(ast.parse(data)) == ast.dump(ast.parse(text))
        assert "\r" not in text

    @settings(max_examples=200, deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs"])))
    @example("# coding: latin-1\né")
    @example("\ufeffx = 1")
    def test_gives_back_what_was_given_as_text(self, text: str) -> None:
        try:
            patch = Patch.from_sources({"shop": text})
        except PatchError:
            return  # it declares an encoding that cannot hold it
        try:
            read = decode(patch.files["shop.py"])
        except SourceError:
            return  # it declares an encoding that there is not
        assert read == text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


class TestCompileSources:
    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=60))
    def test_only_ever_raises_its_own_error(self, data: bytes) -> None:
        patch = Patch.from_sources({"shop": data})
        complaint = None
        try:
            patch.compile_sources()
        except SourceError as error:
            complaint = str(error)
        assert complaint is None or "shop.py:" in complaint


class TestNames:
    @settings(max_examples=300, deadline=None)
    @given(st.text(st.sampled_from("ab./\\:C\0\n"), max_size=8))
    def test_what_is_safe_stays_inside_everywhere(self, path: str) -> None:
        if names.unsafe(path) is None:
            assert posixpath.normpath(posixpath.join("/root", path)).startswith("/root/")
            assert ntpath.normpath(ntpath.join("C:\\root", path)).startswith("C:\\root\\")

    @quick
    @given(
        st.sets(
            st.tuples(
                st.lists(st.sampled_from(["a", "b"]), max_size=2),
                st.sampled_from(["a.py", "b.py", "__init__.py", f"a{EXTENSION}", f"__init__{EXTENSION}", "c.txt"]),
            ).map(lambda place: "/".join([*place[0], place[1]])),
            max_size=6,
        )
    )
    def test_a_module_is_what_the_import_system_finds(self, files: set[str]) -> None:
        files = {path for path in files if not path.startswith("__init__")}
        sources, extensions = names.locate(files)
        located = {name: path for name, (path, _) in sources.items()} | extensions
        with tempfile.TemporaryDirectory() as folder:
            for path in files:
                file = Path(folder, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            for name in ("a", "b", "a.a", "a.b", "b.a", "b.b", "a.a.a", "a.b.a", "b.a.b"):
                found = find(name, folder)
                assert located.get(name) == (None if found is None else Path(found).relative_to(folder).as_posix())


LOADERS = (
    (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
    (importlib.machinery.SourceFileLoader, [".py"]),
)


def find(name: str, folder: str) -> str | None:
    """Return the file that the import system finds for a module below a folder; nothing is imported."""
    places = [folder]
    origin = None
    for child in name.split("."):
        if not places:
            return None
        spec = importlib.machinery.FileFinder(places[0], *LOADERS).find_spec(child)
        if spec is None:
            return None
        origin = spec.origin if spec.loader is not None else None
        places = list(spec.submodule_search_locations or ())
    return origin


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {"shop/__init__.py": "A = 1\n" * 20, "shop/rates.json": "{}"}
    return build_wheel(tmp_path_factory.mktemp("wheel"), "shop", "1.2", files, requires=["packaging"])


class TestWheel:
    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def test_a_byte_that_changed_is_refused_or_meant_nothing(
        self, wheel: Path, tmp_path: Path, data: st.DataObject
    ) -> None:
        raw = bytearray(wheel.read_bytes())
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.integers(0, 255))
        copy = tmp_path / wheel.name
        copy.write_bytes(raw)
        try:
            patch = Patch.from_path(copy)
        except (PatchError, RequirementError):
            return
        assert patch == Patch.from_path(wheel)
