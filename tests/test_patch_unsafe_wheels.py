"""Wheels that somebody made to hurt: all are refused, and nothing of them is unpacked further than it has to be."""

from __future__ import annotations

import stat
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from hotswap.errors import PatchError, WheelError
from hotswap.patch import Patch, wheel
from tests.trees import refusal
from tests.wheels import build_wheel

SHOP = {"shop/__init__.py": "A = 1\n", "shop/pricing.py": "B = 2\n", "shop/rates.json": "{}"}


def refused_wheel(path: Path) -> str:
    return refusal(WheelError, lambda: Patch.from_path(path))


def entry(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo("x")
    made.filename = name  # past the constructor, which tidies names up
    made.external_attr = mode << 16
    return made


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("/etc/evil.py", "has an absolute path"),
            ("../evil.py", "has '..' in its path"),
            ("shop/../../evil.py", "has '..' in its path"),
            ("shop\\evil.py", "has a backslash in its path"),
            ("C:/evil.py", "has a drive letter in its path"),
            ("c:evil.py", "has a drive letter in its path"),
            ("shop//evil.py", "has an empty or '.' part in its path"),
            ("./evil.py", "has an empty or '.' part in its path"),
            ("", "has an empty or '.' part in its path"),
            ("shop/evil.py\nshop/good.py", "has control characters in its path"),
            ("shop/evil.py\0.txt", "has control characters in its path"),
            ("../evil/", "has '..' in its path"),
            ("shop/__init__.py", "'shop/__init__.py' is there twice"),
            ("shop/PRICING.py", "'shop/PRICING.py' and 'shop/pricing.py' differ in case only"),
            ("Shop/pricing.py", "differ in case only"),
            ("shop/pricing.py/evil.py", "'shop/pricing.py' is a file and a folder"),
        ],
    )
    def test_are_refused(self, tmp_path: Path, path: str, text: str) -> None:
        assert text in refused_wheel(build_wheel(tmp_path, "shop", "1.2", SHOP, extra=[(entry(path), b"")]))

    def test_are_refused_although_record_vouches_for_them(self, tmp_path: Path) -> None:
        assert "has '..' in its path" in refused_wheel(build_wheel(tmp_path, "shop", "1.2", {**SHOP, "../evil.py": ""}))

    def test_are_refused_behind_the_root_schemes(self, tmp_path: Path) -> None:
        files = {**SHOP, "shop-1.2.data/purelib/../../evil.py": ""}
        assert "has '..' in its path" in refused_wheel(build_wheel(tmp_path, "shop", "1.2", files))


class TestEntries:
    @pytest.mark.parametrize(
        ("mode", "text"),
        [
            (stat.S_IFLNK | 0o777, "'shop/x.py' is a symbolic link"),
            (stat.S_IFIFO | 0o644, "'shop/x.py' is neither a file nor a folder"),
            (stat.S_IFCHR | 0o644, "'shop/x.py' is neither a file nor a folder"),
        ],
    )
    def test_that_are_no_files_are_refused(self, tmp_path: Path, mode: int, text: str) -> None:
        extra = [(entry("shop/x.py", mode), b"/etc/passwd")]
        assert text in refused_wheel(build_wheel(tmp_path, "shop", "1.2", SHOP, extra=extra))

    def test_a_folder_with_contents_is_refused(self, tmp_path: Path) -> None:
        text = refused_wheel(build_wheel(tmp_path, "shop", "1.2", SHOP, extra=[(entry("shop/x/"), b"hidden")]))
        assert "is a folder with contents of its own" in text

    def test_what_is_encrypted_is_refused(self, tmp_path: Path) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", SHOP, compression=zipfile.ZIP_STORED)
        data = bytearray(path.read_bytes())
        for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            data[data.index(signature) + flags] |= 1
        path.write_bytes(data)
        assert "'shop/__init__.py' cannot be unpacked" in refused_wheel(path)


class TestBombs:
    def test_too_dense_to_be_code(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", {**SHOP, "shop/zeros.bin": bytes(wheel.RATIO_FROM + 1)})
        monkeypatch.setattr(wheel, "_entry", lambda *_: pytest.fail("it was unpacked"))
        assert "times its size; 100 times are allowed" in refused_wheel(path)

    def test_too_large_unpacked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", {**SHOP, "shop/zeros.bin": bytes(100_000)})
        monkeypatch.setattr(wheel, "MAX_SIZE", 100_000)
        monkeypatch.setattr(wheel, "_entry", lambda *_: pytest.fail("it was unpacked"))
        assert "bytes; 100,000 are allowed" in refused_wheel(path)

    def test_too_large_as_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", SHOP)
        monkeypatch.setattr(wheel, "MAX_SIZE", 100)
        assert "is too large" in refusal(PatchError, lambda: Patch.from_path(path))

    def test_a_size_that_lies_unpacks_no_more_than_it_says(self, tmp_path: Path) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", {**SHOP, "shop/zeros.bin": bytes(8_000_000)})
        data = path.read_bytes()
        size = (8_000_000).to_bytes(4, "little")
        assert data.count(size) == 2
        path.write_bytes(data.replace(size, (100).to_bytes(4, "little")))
        refused_wheel(path)  # what is imported for the first time is not measured
        tracemalloc.start()
        try:
            text = refused_wheel(path)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert "'shop/zeros.bin' cannot be unpacked" in text
        assert peak < 2_000_000

    @pytest.mark.parametrize(("compression", "codec"), [(zipfile.ZIP_BZIP2, "bz2"), (zipfile.ZIP_LZMA, "lzma")])
    def test_compressions_that_cannot_be_limited(self, tmp_path: Path, compression: int, codec: str) -> None:
        pytest.importorskip(codec, reason="this interpreter was built without the codec")
        path = build_wheel(tmp_path, "shop", "1.2", SHOP, compression=compression)
        assert "neither 'stored' nor 'deflated'" in refused_wheel(path)

    def test_entries_that_share_bytes(self, tmp_path: Path) -> None:
        """`zipfile` only warns of two entries that begin at the same place."""
        path = build_wheel(tmp_path, "shop", "1.2", SHOP)
        with zipfile.ZipFile(path) as archive:
            directory, second = archive.start_dir, archive.infolist()[1]
        raw = bytearray(path.read_bytes())
        place = raw.index(second.filename.encode(), directory) - 4  # where the entry says that its header is
        assert int.from_bytes(raw[place : place + 4], "little") == second.header_offset
        raw[place : place + 4] = bytes(4)
        path.write_bytes(raw)
        assert "'shop/__init__.py' shares bytes of the archive with another entry" in refused_wheel(path)


class TestSeveralProblems:
    def test_all_are_said_at_once(self, tmp_path: Path) -> None:
        def tamper(files: dict[str, bytes]) -> None:
            files["shop/pricing.py"] = b"B = 3\n"
            files["shop/extra.py"] = b""
            del files["shop/rates.json"]
            files["../evil.py"] = b""

        text = refused_wheel(build_wheel(tmp_path, "shop", "1.2", SHOP, tag="cp27-cp27m-win32", tamper=tamper))
        assert "shop-1.2-cp27-cp27m-win32.whl: 6 problems" in text
        for part in (
            "pricing.py does not have the sha256 hash",
            "extra.py is not listed",
            "rates.json is listed in RECORD, but",
            "'../evil.py' has '..' in its path",
            "../evil.py is not listed",
            "needs an interpreter for cp27-cp27m-win32",
        ):
            assert part in text

    def test_a_thousand_are_not_all_listed(self, tmp_path: Path) -> None:
        extra = [(entry(f"../{number}.py"), b"") for number in range(1000)]
        text = refused_wheel(build_wheel(tmp_path, "shop", "1.2", SHOP, extra=extra))
        assert "2000 problems" in text
        assert "and 1975 more" in text
        assert len(text.splitlines()) < 35
