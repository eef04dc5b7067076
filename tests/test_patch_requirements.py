"""What a patch requires of the process that takes it."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

import pytest

from hotswap.errors import RequirementError
from hotswap.patch import Patch
from tests.wheels import build_wheel


def requiring(folder: Path, *lines: str, python: str | None = None) -> Patch:
    return Patch.from_path(build_wheel(folder, "shop", "1.2", {"shop.py": ""}, requires=lines, requires_python=python))


def unmet(patch: Patch) -> tuple[str, ...]:
    with pytest.raises(RequirementError) as caught:
        patch.check_requirements()
    assert caught.value.patch == "shop 1.2"
    return caught.value.unmet


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"httpx": "0.27.0", "new": "2.0rc1", "odd": "not a version", "bare": None}

    def version(name: str) -> str | None:
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)


class TestRequirements:
    def test_what_is_really_installed_is_found(self, tmp_path: Path) -> None:
        requiring(tmp_path, "packaging>=20", "pytest", python=">=3.8").check_requirements()
        found = importlib.metadata.version("packaging")
        assert unmet(requiring(tmp_path, "packaging>=9999")) == (f"needs packaging>=9999, found {found}",)

    @pytest.mark.usefixtures("installed")
    @pytest.mark.parametrize(
        "line",
        [
            "httpx",
            "httpx>=0.27,<1",
            "new>=1",
            "new>1.9",
            "nosuch>=1; python_version < '3'",
            "nosuch>=1; extra == 'dev'",
            "nosuch; sys_platform == 'plan9'",
            "shop[extra]>=9",
            "Shop>=9",
        ],
    )
    def test_is_met(self, tmp_path: Path, line: str) -> None:
        requiring(tmp_path, line).check_requirements()

    @pytest.mark.usefixtures("installed")
    @pytest.mark.parametrize(
        ("line", "sentence"),
        [
            ("httpx>=99", "needs httpx>=99, found 0.27.0"),
            ("httpx<0.27; python_version >= '3'", "needs httpx<0.27, found 0.27.0"),
            ("nosuch>=1", "needs nosuch>=1, which is not installed"),
            ("nosuch", "needs nosuch, which is not installed"),
            ("nosuch @ https://example.org/nosuch.whl", "needs nosuch, which is not installed"),
            ("new>=2", "needs new>=2, found 2.0rc1"),
            ("odd>=1", "needs odd>=1, which is installed without a valid version"),
            ("bare", "needs bare, which is installed without a valid version"),
        ],
    )
    def test_is_unmet(self, tmp_path: Path, line: str, sentence: str) -> None:
        assert unmet(requiring(tmp_path, line)) == (sentence,)

    @pytest.mark.parametrize(
        ("lines", "sentences"),
        [
            (["front[whole]"], ()),
            (["front[WHOLE]", "front"], ()),
            (["front[fast]"], ("needs nosuch>=2 (for front[fast]), which is not installed",)),
            (["front[deep]"], ("needs nosuch>=2 (for front[fast]), which is not installed",)),
            (["front[round]"], ()),
            (["front[none]"], ("needs front[none], but front 1.0 has no extra of that name",)),
            (["front[fast,none]; python_version < '3'"], ()),
        ],
    )
    def test_extras_of_others(self, tmp_path: Path, lines: list[str], sentences: tuple[str, ...]) -> None:
        """`httpx[http2]` is not met by httpx alone."""
        info = tmp_path / "site" / "front-1.0.dist-info"
        info.mkdir(parents=True)
        extras = "".join(f"Provides-Extra: {extra}\n" for extra in ("fast", "deep", "round", "whole"))
        needs = {
            "fast": ["nosuch>=2", "packaging"],
            "deep": ["front[fast]"],
            "round": ["front[round]", "packaging"],
            "whole": ["packaging", "not a requirement at all"],
        }
        requires = "Requires-Dist: nosuch-without-extra\n" + "".join(
            f"Requires-Dist: {line}; extra == '{extra}'\n" for extra, found in needs.items() for line in found
        )
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: front\nVersion: 1.0\n{extras}{requires}")
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(tmp_path / "site")
            if sentences:
                assert unmet(requiring(tmp_path, *lines)) == sentences
            else:
                requiring(tmp_path, *lines).check_requirements()

    def test_a_marker_without_an_answer_is_not_met(self, tmp_path: Path) -> None:
        (sentence,) = unmet(requiring(tmp_path, "nosuch; os_name ~= 'x'"))
        assert sentence.startswith('needs nosuch; os_name ~= "x", whose marker cannot be evaluated: ')

    @pytest.mark.usefixtures("installed")
    def test_everything_is_said_at_once(self, tmp_path: Path) -> None:
        assert unmet(requiring(tmp_path, "httpx>=99", "nosuch>=1", "httpx", python=">=9.0")) == (
            f"needs Python >=9.0, this is {platform.python_version()}",
            "needs httpx>=99, found 0.27.0",
            "needs nosuch>=1, which is not installed",
        )

    @pytest.mark.parametrize(("running", "wanted"), [("3.13.0+", ">=3.13"), ("3.14.0rc1", ">=3.13,<3.15")])
    def test_python_between_two_releases(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, running: str, wanted: str
    ) -> None:
        patch = requiring(tmp_path, python=wanted)
        monkeypatch.setattr(platform, "python_version", lambda: running)
        patch.check_requirements()

    def test_a_patch_without_metadata_requires_nothing(self) -> None:
        Patch.from_sources({"shop": ""}).check_requirements()
