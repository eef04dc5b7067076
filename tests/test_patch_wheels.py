"""Patches from wheels: what is read, and what damage is refused."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.tags import sys_tags
from packaging.version import Version

from hotswap.errors import PatchError, RequirementError, WheelError
from hotswap.patch import Patch
from tests.trees import EXTENSION, METADATA, lay, refusal
from tests.wheels import build_wheel, record

SHOP = {"shop/__init__.py": "A = 1\n", "shop/pricing.py": "B = 2\n", "shop/rates.json": "{}"}
INFO = "shop-1.2.dist-info"


def refused_wheel(path: Path) -> str:
    return refusal(WheelError, lambda: Patch.from_path(path))


def rewritten(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    """Return a tampering that replaces text in RECORD."""

    def tamper(files: dict[str, bytes]) -> None:
        before = files[f"{INFO}/RECORD"]
        files[f"{INFO}/RECORD"] = before.replace(old.encode(), new.encode())
        assert files[f"{INFO}/RECORD"] != before

    return tamper


class TestWheel:
    def test_holds_the_whole_distribution(self, tmp_path: Path) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", SHOP, requires=["httpx>=0.1"], requires_python=">=3.8")
        patch = Patch.from_path(path)
        assert patch.label == "shop 1.2"
        assert list(patch.sources) == ["shop", "shop.pricing"]
        assert patch.files["shop/rates.json"] == b"{}"
        assert f"{INFO}/METADATA" in patch.files
        assert patch.complete == {"shop"}
        assert [str(requirement) for requirement in patch.requires] == ["httpx>=0.1"]
        assert str(patch.requires_python) == ">=3.8"
        assert dict(patch.metadata) == {"origin": str(path), "kind": "wheel"}
        patch.compile_sources()

    @pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_is_the_same_however_it_was_packed(self, tmp_path: Path, compression: int) -> None:
        patch = Patch.from_path(build_wheel(tmp_path, "shop", "1.2", SHOP, compression=compression))
        other = tmp_path / "other"
        other.mkdir()
        assert patch == Patch.from_path(build_wheel(other, "shop", "1.2", SHOP))

    def test_built_by_a_real_backend(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        backend = pytest.importorskip("flit_core.buildapi", reason="Pyodide has no build backend")
        project = """\
            [project]
            name = "shop"
            version = "1.2"
            description = "a shop"
            dependencies = ["packaging>=20"]
            """
        monkeypatch.chdir(lay(tmp_path, {"pyproject.toml": project, **SHOP}))
        patch = Patch.from_path(tmp_path / backend.build_wheel(str(tmp_path)))
        assert patch.label == "shop 1.2"
        assert patch.sources.keys() == {"shop", "shop.pricing"}
        patch.check_requirements()

    def test_agrees_on_the_version(self, tmp_path: Path) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", SHOP)
        assert Patch.from_path(path, "1.2.0").version == Version("1.2")
        text = refusal(PatchError, lambda: Patch.from_path(path, "1.3"))
        assert "version 1.3 was asked for, but shop-1.2-py3-none-any.whl is version 1.2" in text

    def test_names_its_modules_itself(self, tmp_path: Path) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", SHOP)
        assert "names its modules itself" in refusal(PatchError, lambda: Patch.from_path(path, module="shop"))

    def test_spelling_does_not_matter(self, tmp_path: Path) -> None:
        info = {"My_Shop-1.0.dist-info/METADATA": METADATA.format("my.shop", "1.0.0")}
        path = build_wheel(tmp_path, "My_Shop", "1.0", {"shop.py": "", **info})
        assert Patch.from_path(path).label == "my.shop 1.0.0"

    def test_a_shared_namespace_is_not_complete(self, tmp_path: Path) -> None:
        patch = Patch.from_path(build_wheel(tmp_path, "shop", "1.2", {"market/shop/__init__.py": "", "tool.py": ""}))
        assert list(patch.sources) == ["market.shop", "tool"]
        assert patch.complete == {"tool"}

    def test_spreads_purelib_and_platlib_and_leaves_the_rest_out(self, tmp_path: Path) -> None:
        files = {
            "shop/__init__.py": "",
            "shop-1.2.data/purelib/shop/pure.py": "",
            "shop-1.2.data/platlib/shop/plat.py": "",
            "shop-1.2.data/scripts/shopctl": "#!python",
            "shop-1.2.data/headers/shop.h": "",
            "shop-1.2.data/data/share/x.txt": "",
            "shop/__pycache__/x.cpython-312.pyc": "",
        }
        patch = Patch.from_path(build_wheel(tmp_path, "shop", "1.2", files))
        assert list(patch.sources) == ["shop", "shop.plat", "shop.pure"]
        kept = {path for path in patch.files if INFO not in path}
        assert kept == {"shop/__init__.py", "shop/pure.py", "shop/plat.py"}

    def test_folders_and_signatures_need_not_be_recorded(self, tmp_path: Path) -> None:
        extra = [(zipfile.ZipInfo("shop/"), b""), (zipfile.ZipInfo(f"{INFO}/RECORD.jws"), b"{}")]
        assert Patch.from_path(build_wheel(tmp_path, "shop", "1.2", SHOP, extra=extra)).label == "shop 1.2"

    @pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
    def test_a_stronger_hash_is_welcome(self, tmp_path: Path, algorithm: str) -> None:
        digest = base64.urlsafe_b64encode(hashlib.new(algorithm, b"A = 1\n").digest()).rstrip(b"=").decode()
        weak = record({"shop/__init__.py": b"A = 1\n"}, "").decode().split(",")[1]
        path = build_wheel(tmp_path, "shop", "1.2", SHOP, tamper=rewritten(weak, f"{algorithm}={digest}"))
        assert Patch.from_path(path).label == "shop 1.2"

    def test_extension_modules_are_recorded(self, tmp_path: Path) -> None:
        files: dict[str, str | bytes] = {
            **SHOP,
            f"shop/fast{EXTENSION}": b"\x7fELF",
            "shop/fast.py": "# the fallback",
        }
        patch = Patch.from_path(build_wheel(tmp_path, "shop", "1.2", files, tag=str(next(sys_tags()))))
        assert patch.extensions == {"shop.fast": f"shop/fast{EXTENSION}"}
        assert "shop.fast" not in patch.sources

    @pytest.mark.parametrize("tag", ["cp27-cp27m-win32", "cp999-none-any", "py3-none-plan9"])
    def test_one_for_another_interpreter_is_sound_but_does_not_fit(self, tmp_path: Path, tag: str) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", SHOP, tag=tag)
        text = refusal(RequirementError, lambda: Patch.from_path(path))
        assert f"needs an interpreter for {tag}, this one is " in text
        assert text.startswith("shop 1.2: ")

    def test_one_of_several_tags_is_enough(self, tmp_path: Path) -> None:
        assert Patch.from_path(build_wheel(tmp_path, "shop", "1.2", SHOP, tag="py2.py3-none-any")).label == "shop 1.2"


class TestDamagedWheel:
    def test_cut_off_anywhere(self, tmp_path: Path) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", SHOP)
        data = path.read_bytes()
        for length in range(0, len(data), 7):
            path.write_bytes(data[:length])
            assert "shop-1.2-py3-none-any.whl: is not a zip archive, or is cut off" in refused_wheel(path)

    def test_not_a_zip(self, tmp_path: Path) -> None:
        path = tmp_path / "shop-1.2-py3-none-any.whl"
        path.write_text("<html>404 Not Found</html>")
        assert "is not a zip archive" in refused_wheel(path)

    @pytest.mark.parametrize("name", ["shop.whl", "shop-1.2.whl", "shop-x-py3-none-any.whl", "shop-1.2-py3-any.whl"])
    def test_a_file_name_that_says_nothing(self, tmp_path: Path, name: str) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", SHOP).rename(tmp_path / name)
        assert "does not have the file name of a wheel" in refused_wheel(path)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("shop-1.3-py3-none-any.whl", "METADATA says Version: 1.2, the file name says 1.3"),
            ("store-1.2-py3-none-any.whl", "METADATA says Name: shop, the file name says store"),
            ("store-1.2-py3-none-any.whl", f"{INFO} does not agree with the file name, which says store 1.2"),
        ],
    )
    def test_a_file_name_that_says_something_else(self, tmp_path: Path, name: str, text: str) -> None:
        assert text in refused_wheel(build_wheel(tmp_path, "shop", "1.2", SHOP).rename(tmp_path / name))

    @pytest.mark.parametrize(
        ("path", "data", "text"),
        [
            ("METADATA", None, f"has no {INFO}/METADATA"),
            ("METADATA", METADATA.format("other", "1.2"), "METADATA says Name: other, the file name says shop"),
            ("METADATA", METADATA.format("shop", "9"), "METADATA says Version: 9, the file name says 1.2"),
            ("METADATA", METADATA.format("shop", "x"), "does not give one valid Version, but 'x'"),
            ("METADATA", "Version: 1.2\n", "METADATA does not give one Name"),
            ("METADATA", METADATA.format("shop", "1.2") + "Name: b\n", "METADATA does not give one Name"),
            ("METADATA", METADATA.format("shop", "1.2") + "Requires-Dist: a b c\n", "invalid Requires-Dist: 'a b c'"),
            ("METADATA", METADATA.format("shop", "1.2") + "Requires-Python: new\n", "invalid Requires-Python: 'new'"),
            ("WHEEL", None, "has no WHEEL file"),
            ("WHEEL", "Root-Is-Purelib: true\n", "has no Wheel-Version"),
            ("WHEEL", "Wheel-Version: 2.0\n", "is of Wheel-Version 2.0; hotswap reads 1.x"),
        ],
    )
    def test_its_own_papers_are_wrong(self, tmp_path: Path, path: str, data: str | None, text: str) -> None:
        files: dict[str, str | bytes | None] = {**SHOP, f"{INFO}/{path}": data}
        assert text in refused_wheel(build_wheel(tmp_path, "shop", "1.2", files))

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("other-1.dist-info/METADATA", f"has 2 *.dist-info folders instead of one: other-1.dist-info, {INFO}"),
            ("shop-1.2.data/elsewhere/x.py", "is for 'elsewhere', which no installer knows"),
            ("shop-1.2.data/purelib/shop/__init__.py", "has the place of another file"),
            ("shop-1.2.data/platlib/SHOP/pricing.py", "has the place of another file"),
        ],
    )
    def test_it_holds_what_an_installer_cannot_place(self, tmp_path: Path, path: str, text: str) -> None:
        assert text in refused_wheel(build_wheel(tmp_path, "shop", "1.2", {**SHOP, path: ""}))

    def test_no_papers_at_all(self, tmp_path: Path) -> None:
        path = tmp_path / "shop-1.2-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("shop.py", "")
        assert "has 0 *.dist-info folders instead of one" in refused_wheel(path)

    def test_no_python_in_it(self, tmp_path: Path) -> None:
        assert "holds no Python module" in refused_wheel(build_wheel(tmp_path, "shop", "1.2", {"shop/x.json": "{}"}))


class TestRecord:
    def test_a_file_was_changed(self, tmp_path: Path) -> None:
        def same_size(files: dict[str, bytes]) -> None:
            files["shop/pricing.py"] = b"B = 3\n"

        text = refused_wheel(build_wheel(tmp_path, "shop", "1.2", SHOP, tamper=same_size))
        assert "shop/pricing.py does not have the sha256 hash that RECORD says" in text

    def test_a_file_grew(self, tmp_path: Path) -> None:
        def longer(files: dict[str, bytes]) -> None:
            files["shop/pricing.py"] += b"C = 3\n"

        text = refused_wheel(build_wheel(tmp_path, "shop", "1.2", SHOP, tamper=longer))
        assert "shop/pricing.py has 12 bytes, and RECORD gives its size as '6'" in text

    def test_a_file_is_missing(self, tmp_path: Path) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", SHOP, tamper=lambda files: files.pop("shop/rates.json"))
        assert "shop/rates.json is listed in RECORD, but is not in the wheel" in refused_wheel(path)

    def test_a_file_was_smuggled_in(self, tmp_path: Path) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", SHOP, tamper=lambda files: files.update({"shop/evil.py": b""}))
        assert "shop/evil.py is not listed in RECORD" in refused_wheel(path)

    def test_there_is_none(self, tmp_path: Path) -> None:
        path = build_wheel(tmp_path, "shop", "1.2", SHOP, tamper=lambda files: files.pop(f"{INFO}/RECORD"))
        assert "so nothing vouches for its files" in refused_wheel(path)

    def test_it_is_not_text(self, tmp_path: Path) -> None:
        broken = {f"{INFO}/RECORD": b"\xff"}
        path = build_wheel(tmp_path, "shop", "1.2", SHOP, tamper=lambda files: files.update(broken))
        assert "RECORD cannot be read" in refused_wheel(path)

    @pytest.mark.parametrize(
        ("old", "new", "text"),
        [
            ("sha256=", "md5=", "is hashed with 'md5' in RECORD; it has to be sha256 or stronger"),
            ("sha256=", "sha1=", "is hashed with 'sha1'"),
            ("sha256=", "sha224=", "is hashed with 'sha224'"),
            ("sha256=", "nosuch=", "is hashed with 'nosuch'"),
            ("sha256=", "", "has no hash in RECORD"),
            ("sha256=", "sha256=!", "has a hash in RECORD that cannot be read"),
            (",6\n", ",\n", "RECORD gives its size as ''"),
            (",6\n", ",six\n", "RECORD gives its size as 'six'"),
            (",6\n", "\n", "2 fields instead of 3"),
            ("shop/rates.json", "shop/pricing.py", "shop/pricing.py is listed twice in RECORD"),
            ("shop/rates.json", '"shop/rates.json', "RECORD cannot be read"),
            ("shop/rates.json", "./shop/rates.json", "./shop/rates.json is listed in RECORD, but is not in the wheel"),
        ],
    )
    def test_refuses_its_rows(self, tmp_path: Path, old: str, new: str, text: str) -> None:
        assert text in refused_wheel(build_wheel(tmp_path, "shop", "1.2", SHOP, tamper=rewritten(old, new)))
