"""Patches from folders: what is in them, and what is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from hotswap.errors import PatchError
from hotswap.patch import Patch, contents
from tests.trees import EXTENSION, METADATA, lay, needs_links, refusal

pytestmark = pytest.mark.threads  # checks, fingerprints and files of the system: not on Pyodide


class TestPackageFolder:
    def test_holds_the_whole_package(self, tmp_path: Path) -> None:
        folder = lay(
            tmp_path / "shop",
            {"__init__.py": "", "pricing.py": "", "deep/__init__.py": "", "portion/x.py": "", "rates.json": "{}"},
        )
        patch = Patch.from_path(folder)
        assert list(patch.sources) == ["shop", "shop.deep", "shop.portion.x", "shop.pricing"]
        assert patch.files["shop/rates.json"] == b"{}"
        assert patch.complete == {"shop"}
        assert patch.name == "shop"
        assert patch.version is None
        assert patch.metadata["kind"] == "package"

    def test_inside_of_another_package_is_a_part(self, tmp_path: Path) -> None:
        lay(tmp_path, {"shop/__init__.py": "__version__ = '1'", "shop/deep/__init__.py": "__version__ = '2'"})
        patch = Patch.from_path(tmp_path / "shop" / "deep")
        assert list(patch.sources) == ["shop.deep"]
        assert patch.complete == frozenset()
        assert patch.name == "shop"
        assert patch.version is None

    def test_its_name_can_be_given(self, tmp_path: Path) -> None:
        folder = lay(tmp_path / "pricing-v2", {"__init__.py": "", "tax.py": ""})
        assert "'pricing-v2' is not an identifier" in refusal(PatchError, lambda: Patch.from_path(folder))
        part = Patch.from_path(folder, module="shop.pricing")
        assert list(part.sources) == ["shop.pricing", "shop.pricing.tax"]
        assert part.complete == frozenset()
        assert Patch.from_path(folder, module="shop").complete == {"shop"}

    def test_a_portion_can_be_named(self, tmp_path: Path) -> None:
        patch = Patch.from_path(lay(tmp_path / "x", {"a.py": ""}), module="shop.portion")
        assert list(patch.sources) == ["shop.portion.a"]
        assert patch.complete == frozenset()

    @pytest.mark.parametrize(
        ("source", "version"),
        [
            ("__version__ = '1.2.1'", "1.2.1"),
            ('"""Doc."""\n__version__: str = "1.2"\n', "1.2"),
            ("VERSION = __version__ = '3'", "3"),
            ("__version__ = '1'\n__version__ = '2'", "2"),
            ("__version__ = '1'\n__version__ = compute()", None),
            ("__version__ = 'unknown'", None),
            ("__version__: str", None),
            ("__version__ = '1' if x else '2'", None),
            ("if True:\n    __version__ = '1'", None),
            ("raise SystemExit\n__version__ = '1.0'", "1.0"),
            ("__version__ = '1.0'\n'\\d'", "1.0"),
            ("__version__ = '1.0'\n)", None),
            ("__version__ = '1.0'\n\0", None),
        ],
    )
    def test_a_stated_version_is_read_and_not_executed(self, tmp_path: Path, source: str, version: str | None) -> None:
        patch = Patch.from_path(lay(tmp_path / "shop", {"__init__.py": source}))
        assert patch.version == (None if version is None else Version(version))

    def test_a_given_version_goes_first(self, tmp_path: Path) -> None:
        folder = lay(tmp_path / "shop", {"__init__.py": "__version__ = '1'"})
        assert Patch.from_path(folder, "2").version == Version("2")

    def test_leaves_out_what_is_no_part_of_it(self, tmp_path: Path) -> None:
        litter = [
            "__pycache__/a.cpython-312.pyc", "old.pyc", ".git/config", ".a.py.swp", "a.py~", "#a.py#", ".#a.py",
            "a.py___jb_tmp___", ".DS_Store", ".mypy_cache/x.json", "deep/__pycache__/x.py",
        ]  # fmt: skip
        folder = lay(tmp_path / "shop", {"__init__.py": "", ".keep": "", **dict.fromkeys(litter, "")})
        assert set(Patch.from_path(folder).files) == {"shop/__init__.py", "shop/.keep"}

    @needs_links
    def test_follows_links_within(self, tmp_path: Path) -> None:
        # The way in which Kubernetes mounts a ConfigMap.
        folder = lay(tmp_path / "shop", {"..2024/__init__.py": "", "..2024/pricing.py": "A = 1"})
        (folder / "..data").symlink_to("..2024")
        for name in ("__init__.py", "pricing.py"):
            (folder / name).symlink_to(f"..data/{name}")
        assert Patch.from_path(folder).sources["shop.pricing"].data == b"A = 1"

    @needs_links
    def test_the_folder_itself_may_be_a_link(self, tmp_path: Path) -> None:
        lay(tmp_path / "releases" / "17", {"__init__.py": ""})
        (tmp_path / "shop").symlink_to("releases/17")
        assert list(Patch.from_path(tmp_path / "shop").sources) == ["shop"]

    @needs_links
    def test_refuses_links_that_lead_out_or_round(self, tmp_path: Path) -> None:
        folder = lay(tmp_path / "shop", {"__init__.py": "", "deep/x.py": ""})
        lay(tmp_path / "shop2", {"secret.py": ""})
        (folder / "out.py").symlink_to(tmp_path / "shop2" / "secret.py")
        (folder / "outside").symlink_to("../shop2")
        (folder / "up").symlink_to("..")
        (folder / "nowhere.py").symlink_to("gone.py")
        (folder / "self.py").symlink_to("self.py")
        (folder / "deep" / "round").symlink_to("../deep")
        (folder / "deep" / "top").symlink_to("..")
        text = refusal(PatchError, lambda: Patch.from_path(folder))
        assert "7 problems" in text
        assert f"out.py is a symbolic link that leads out of the folder, to {tmp_path}/shop2/secret.py" in text
        assert "outside is a symbolic link that leads out" in text
        assert "up is a symbolic link that leads out" in text
        assert "nowhere.py is a symbolic link that leads nowhere" in text
        assert "self.py is a symbolic link that leads nowhere" in text
        assert "round is a symbolic link to a folder that it lies in" in text
        assert "top is a symbolic link to a folder that it lies in" in text

    @needs_links
    def test_a_link_to_a_folder_beside_is_no_circle(self, tmp_path: Path) -> None:
        folder = lay(tmp_path / "shop", {"__init__.py": "", "v1/x.py": "A = 1"})
        (folder / "current").symlink_to("v1")
        assert list(Patch.from_path(folder).sources) == ["shop", "shop.current.x", "shop.v1.x"]

    @needs_links
    def test_refuses_file_names_that_mean_something_elsewhere(self, tmp_path: Path) -> None:
        folder = lay(tmp_path / "shop", {"__init__.py": "", "a\\b.txt": ""})
        assert "has a backslash in its path" in refusal(PatchError, lambda: Patch.from_path(folder))

    @pytest.mark.skipif(not hasattr(os, "mkfifo") or sys.platform == "emscripten", reason="needs named pipes")
    def test_refuses_what_is_no_file(self, tmp_path: Path) -> None:
        folder = lay(tmp_path / "shop", {"__init__.py": ""})
        os.mkfifo(folder / "pipe")
        assert "pipe is neither a file nor a folder" in refusal(PatchError, lambda: Patch.from_path(folder))

    def test_refuses_folders_that_cannot_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = lay(tmp_path / "shop", {"__init__.py": "", "deep/x.py": ""})
        scandir = os.scandir

        def locked(path: str) -> object:
            if path.endswith("deep"):
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", locked)
        text = refusal(PatchError, lambda: Patch.from_path(folder))
        assert f"{folder / 'deep'} cannot be read: Permission denied" in text

    def test_refuses_more_than_fits_in_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hotswap.patch.folders.MAX_SIZE", 100)
        monkeypatch.setattr(contents, "MAX_SIZE", 100)
        folder = lay(tmp_path / "shop", {"__init__.py": "#" * 60, "a.py": "#" * 40})
        assert len(Patch.from_path(folder).sources) == 2
        lay(folder, {"b.py": "#"})
        text = refusal(PatchError, lambda: Patch.from_path(folder))
        assert "b.py is too large: with it the patch holds more than 100 bytes" in text


class TestFolderOfPackages:
    def test_holds_all_that_is_code(self, tmp_path: Path) -> None:
        lay(
            tmp_path,
            {
                "shop/__init__.py": "", "shop/pricing.py": "", "helper.py": "", "portion/deep/x.py": "",
                "rates.json": "{}", "docs/index.md": "", "node_modules/x.js": "", "shop.egg-info/PKG-INFO": "",
                "patches/1.4-fee/shop/x.py": "", ".env": "SECRET=1", ".github/x.py": "", "notes.d/x.py": "",
                "__main__.py": "",
            },
        )  # fmt: skip
        patch = Patch.from_path(tmp_path)
        assert list(patch.sources) == ["helper", "portion.deep.x", "shop", "shop.pricing"]
        assert set(patch.files) == {
            "shop/__init__.py", "shop/pricing.py", "helper.py", "portion/deep/x.py", "rates.json", "__main__.py"
        }  # fmt: skip
        assert patch.name == "helper+portion+shop"
        assert patch.version is None
        assert patch.metadata["kind"] == "folder"

    def test_a_package_without_init_is_a_portion_and_never_complete(self, tmp_path: Path) -> None:
        patch = Patch.from_path(lay(tmp_path, {"shop/pricing.py": "", "helper.py": ""}))
        assert patch.complete == {"helper"}
        assert Patch.from_path(lay(tmp_path, {"shop/__init__.py": ""})).complete == {"helper", "shop"}

    def test_the_only_package_states_the_version(self, tmp_path: Path) -> None:
        lay(tmp_path, {"shop/__init__.py": "__version__ = '1.2'"})
        assert Patch.from_path(tmp_path).label == "shop 1.2"

    @pytest.mark.parametrize(
        ("shop", "other", "label", "versions"),
        [
            ("'1.1'", "'1.1'", "other+shop 1.1", {}),
            ("'1.1'", "'3.1'", "other+shop 3.1", {"shop": "1.1", "other": "3.1"}),
            ("'1.1'", "None", "other+shop 1.1", {"shop": "1.1"}),
            ("None", "None", "other+shop (no version)", {}),
        ],
    )
    def test_each_package_states_its_own_version(
        self, tmp_path: Path, shop: str, other: str, label: str, versions: dict[str, str]
    ) -> None:
        lay(tmp_path, {"shop/__init__.py": f"__version__ = {shop}", "other.py": f"__version__ = {other}"})
        patch = Patch.from_path(tmp_path)
        assert patch.label == label
        assert {name: str(version) for name, version in patch.versions.items()} == versions
        given = Patch.from_path(tmp_path, version="7")
        assert (given.version_of("shop"), given.version_of("other"), given.versions) == (Version("7"), Version("7"), {})

    def test_the_versions_of_packages_are_part_of_the_digest(self, tmp_path: Path) -> None:
        lay(tmp_path, {"a/__init__.py": "__version__ = '1'", "b/__init__.py": "__version__ = '2'"})
        patch = Patch.from_path(tmp_path)
        assert patch.digest == Patch.from_path(tmp_path).digest
        same = patch.with_versions({"a": Version("2"), "b": Version("2")})
        assert same.digest == patch.with_version("2").digest != patch.digest
        assert patch.with_versions({"a": Version("0"), "b": Version("2")}).digest not in (same.digest, patch.digest)

    def test_dist_info_says_the_rest(self, tmp_path: Path) -> None:
        metadata = METADATA.format("Shop-Service", "1.3") + "Requires-Python: >=3.8\nRequires-Dist: httpx>=0.1\n"
        lay(
            tmp_path,
            {
                "shop/__init__.py": "__version__ = '1.2'",
                "shop_service-1.3.dist-info/METADATA": metadata,
                "shop_service-1.3.dist-info/RECORD": "shop/__init__.py,,\nshop_service-1.3.dist-info/METADATA,,\n",
                "shop_service-1.3.dist-info/INSTALLER": "pip",
            },
        )
        patch = Patch.from_path(tmp_path)
        assert patch.label == "Shop-Service 1.3"
        assert str(patch.requires_python) == ">=3.8"
        assert [str(requirement) for requirement in patch.requires] == ["httpx>=0.1"]
        assert patch.complete == {"shop"}
        assert "shop_service-1.3.dist-info/INSTALLER" in patch.files
        assert Patch.from_path(tmp_path, "2.0").label == "Shop-Service 2.0"

    @pytest.mark.parametrize(
        ("infos", "label"),
        [
            # one that is there is taken, though it says nothing of what it holds
            ({"PyShop-1.1": {}}, "PyShop 1.1"),
            # one that claims other packages only is left behind from something else
            ({"httpx-0.2": {"RECORD": "httpx/__init__.py,,\n"}}, "shop (no version)"),
            ({"httpx-0.2": {"top_level.txt": "httpx\n"}}, "shop (no version)"),
            # several: the one that claims the packages
            (
                {"httpx-0.2": {"RECORD": "httpx/x.py,,\n"}, "PyShop-1.1": {"RECORD": "shop/__init__.py,,\n"}},
                "PyShop 1.1",
            ),
            ({"httpx-0.2": {}, "PyShop-1.1": {"top_level.txt": "shop\n"}}, "PyShop 1.1"),
            # several: the one that is named like them
            ({"httpx-0.2": {}, "shop-1.1": {}}, "shop 1.1"),
            # undecidable: two that claim it, or none
            ({"shop-1.0": {"top_level.txt": "shop"}, "shop-1.1": {"top_level.txt": "shop"}}, "shop (no version)"),
            ({"httpx-0.2": {}, "PyShop-1.1": {}}, "shop (no version)"),
            # a RECORD that cannot be read claims nothing
            ({"shop-1.1": {"RECORD": b"\xff"}}, "shop 1.1"),
        ],
    )
    def test_of_several_dist_infos_the_right_one(
        self, tmp_path: Path, infos: dict[str, dict[str, str | bytes]], label: str
    ) -> None:
        lay(tmp_path, {"shop/__init__.py": ""})
        for info, files in infos.items():
            lay(tmp_path / f"{info}.dist-info", {"METADATA": METADATA.format(*info.split("-")), **files})
        assert Patch.from_path(tmp_path).label == label

    def test_two_modules_and_the_one_that_holds_both(self, tmp_path: Path) -> None:
        lay(tmp_path, {"six.py": "", "five.py": ""})
        lay(
            tmp_path / "numbers-1.0.dist-info",
            {"METADATA": METADATA.format("numbers", "1.0"), "RECORD": "six.py,,\nfive.py,,\n"},
        )
        lay(tmp_path / "six-9.dist-info", {"METADATA": METADATA.format("six", "9"), "RECORD": "six.py,,\n"})
        assert Patch.from_path(tmp_path).label == "numbers 1.0"

    def test_refuses_metadata_that_cannot_be_used(self, tmp_path: Path) -> None:
        lay(tmp_path, {"shop/__init__.py": ""})
        lay(
            tmp_path / "shop-1.dist-info",
            {"METADATA": "Name: shop\nVersion: x\nRequires-Dist: !!\nRequires-Python: 3\n"},
        )
        text = refusal(PatchError, lambda: Patch.from_path(tmp_path))
        assert "3 problems" in text
        assert "valid Version, but 'x'" in text
        assert "invalid Requires-Dist: '!!'" in text
        assert "invalid Requires-Python: '3'" in text

    def test_a_compiled_extension_is_code(self, tmp_path: Path) -> None:
        # mypyc puts what several modules share into one with a name that only the import machinery can say.
        files = [f"fast{EXTENSION}", f"inner/x{EXTENSION}", f"6ec5__mypyc{EXTENSION}"]
        patch = Patch.from_path(lay(tmp_path, dict.fromkeys(files, "")))
        assert patch.extensions == dict(zip(("fast", "inner.x", "6ec5__mypyc"), files, strict=True))
        assert patch.complete == {"fast", "6ec5__mypyc"}
        assert patch.version is None

    @pytest.mark.parametrize(
        ("files", "text"),
        [
            ({}, "is empty"),
            ({"README.md": ""}, "holds no Python module"),
            ({"data/x.json": ""}, "is empty"),
            ({"shop-1.0.dist-info/METADATA": METADATA.format("shop", "1.0")}, "holds no Python module"),
            ({"my-shop/__init__.py": ""}, "'my-shop' is not an identifier"),
            ({"class/__init__.py": ""}, "'class' is a keyword"),
            ({"fix-1.py": ""}, "'fix-1' is not an identifier"),
            ({"shop.pricing.py": ""}, "'shop.pricing' is not the name of a top-level module"),
        ],
    )
    def test_refuses(self, tmp_path: Path, files: dict[str, str], text: str) -> None:
        assert text in refusal(PatchError, lambda: Patch.from_path(lay(tmp_path / "drop", files)))

    def test_says_everything_at_once(self, tmp_path: Path) -> None:
        text = refusal(PatchError, lambda: Patch.from_path(lay(tmp_path, {"a-b/x.py": "", "1.py": "", "if.py": ""})))
        assert "3 problems" in text

    @needs_links
    def test_links_out_of_it_matter_where_code_is(self, tmp_path: Path) -> None:
        folder = lay(tmp_path / "drop", {"shop/__init__.py": "", "node_modules/x.js": ""})
        lay(tmp_path / "elsewhere", {"x.py": ""})
        (folder / "node_modules" / "out").symlink_to(tmp_path / "elsewhere")
        assert list(Patch.from_path(folder).sources) == ["shop"]
        (folder / "other").symlink_to(tmp_path / "elsewhere")
        (folder / "shop" / "out").symlink_to(tmp_path / "elsewhere")
        text = refusal(PatchError, lambda: Patch.from_path(folder))
        assert "2 problems" in text
        assert "other is a symbolic link that leads out" in text
