"""`hotswap.toml`: what is read of it, from where, what is refused, and what it does to a rollout."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import hotswap
from hotswap.errors import CheckFailedError, ManifestError, PatchError, RequirementError, UnsupportedChangeError
from hotswap.patch import Patch
from hotswap.patch.manifest import Manifest, parse_manifest
from tests.trees import METADATA, lay, refusal
from tests.wheels import build_wheel

pytestmark = pytest.mark.threads  # the files and effects of a real process

EVERYTHING = """
version = "1.3.0"
modules = ["shop", "shop.tax"]
keep = ["shop.tax:CACHE"]
replace = ["shop.tax:RATES"]
allow_effects = ["environment"]
checks = ["shop.tax:is_sound", "json:loads"]
requirements = ["packaging>=20; python_version >= '3.8'"]
note = "the new rates of July"
"""
KEYS = ("version", "modules", "keep", "replace", "allow_effects", "checks", "requirements", "note")
SHOP = {"__init__.py": "__version__ = '1.2'", "tax.py": "CACHE = {}\nRATES = [1]\n"}


def whatever_is_said(patch: Patch) -> None:
    assert patch.version == Version("1.3.0")
    assert patch.keep == {"shop.tax:CACHE"}
    assert patch.replace == {"shop.tax:RATES"}
    assert patch.allow_effects == {"environment"}
    assert patch.checks == ("shop.tax:is_sound", "json:loads")
    assert patch.requires == (Requirement("packaging>=20; python_version >= '3.8'"),)
    assert patch.note == "the new rates of July"


class TestReading:
    def test_every_key(self) -> None:
        assert parse_manifest(EVERYTHING.encode(), "x") == Manifest(
            version=Version("1.3.0"),
            modules=frozenset({"shop", "shop.tax"}),
            keep=frozenset({"shop.tax:CACHE"}),
            replace=frozenset({"shop.tax:RATES"}),
            allow_effects=frozenset({"environment"}),
            checks=("shop.tax:is_sound", "json:loads"),
            requirements=(Requirement("packaging>=20; python_version >= '3.8'"),),
            note="the new rates of July",
        )

    def test_nothing(self) -> None:
        assert parse_manifest(b"", "x") == Manifest()

    def test_below_tool_hotswap(self) -> None:
        text = '[project]\nname = "shop"\n[tool.ruff]\nx = 1\n[tool.hotswap]\nnote = "hello"\n'
        assert parse_manifest(text.encode(), "x") == Manifest(note="hello")

    def test_tells_everything_that_is_wrong_at_once(self) -> None:
        text = """
        version = "one"
        modules = []
        keep = "shop.tax:CACHE"
        replace = ["a:b", 3]
        allow_effects = ["threads", "threads"]
        checks = ["shop.tax", "shop.tax:is sound"]
        requirements = ["packaging >> 3"]
        note = 7
        keeps = []
        Version = "1.3"
        """
        told = refusal(ManifestError, lambda: parse_manifest(text.encode(), "drops/x/hotswap.toml"))
        assert told.splitlines() == [
            "drops/x/hotswap.toml: 10 problems",
            f"  - 'Version' is a key that nobody knows; there are {', '.join(KEYS)}",
            f"  - 'keeps' is a key that nobody knows; there are {', '.join(KEYS)}",
            "  - version has to be a PEP 440 version, such as '1.3.0', not 'one'",
            "  - modules names none",
            "  - keep has to be a list of texts, not 'shop.tax:CACHE'",
            "  - replace has to be a list of texts, not ['a:b', 3]",
            "  - allow_effects names threads twice",
            "  - checks has 'shop.tax', which is no function such as 'shop.checks:prices_are_positive'",
            "  - requirements has 'packaging >> 3', which is no PEP 508 requirement such as 'httpx>=0.27'",
            "  - note has to be a text, not 7",
            "what to do: mend drops/x/hotswap.toml; docs/reference/manifest.md has every key",
        ]

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("version = ", "it is not TOML"),
            ("note = 'a'\nnote = 'b'", "it is not TOML"),
            ("\xff", "it is not TOML"),
            ("x = " + "[" * 5000, "it is not TOML"),
            ("note = 'a'\n[tool.other]", "no [tool.hotswap] in it"),
            ("note = 'a'\n[tool.hotswap]", "'note' stands outside of [tool.hotswap]"),
            ("tool = 3", "no [tool.hotswap] in it"),
            ("[tool.hotswap]\nnotes = 'a'", "'notes' is a key that nobody knows"),
            ("version = 1.3", "version has to be a text, not 1.3"),
            ("modules = ['shop..tax']", "modules has a wrong name"),
            ("modules = ['import']", "modules has a wrong name"),
            ("keep = ['a:b']\nreplace = ['a:b']", "a:b can't be kept and replaced at once"),
            ('note = "a\\u001b[31mb"', "plain text"),
            ('note = "a\\rb"', "plain text"),
            ("note = '" + "a" * 2001 + "'", "plain text"),
            ("note = '" + "a" * 70_000 + "'", "65,536 are allowed"),
        ],
    )
    def test_what_is_wrong(self, text: str, reason: str) -> None:
        assert reason in refusal(ManifestError, lambda: parse_manifest(text.encode("latin-1"), "x"))

    def test_is_a_fault_of_the_artifact(self) -> None:
        assert issubclass(ManifestError, PatchError)


class TestPlaces:
    def test_in_a_package_folder(self, tmp_path: Path) -> None:
        whatever_is_said(Patch.from_path(lay(tmp_path / "shop", {**SHOP, "hotswap.toml": EVERYTHING})))

    def test_in_a_folder_of_packages(self, tmp_path: Path) -> None:
        files = {f"shop/{path}": text for path, text in SHOP.items()}
        patch = Patch.from_path(lay(tmp_path / "lib", {**files, "hotswap.toml": EVERYTHING}))
        whatever_is_said(patch)
        assert patch.versions == {}

    def test_goes_with_the_metadata_of_a_folder(self, tmp_path: Path) -> None:
        files = {f"shop/{path}": text for path, text in SHOP.items()}
        info = {"shop-1.2.dist-info/METADATA": METADATA.format("shop", "1.2")}
        folder = lay(tmp_path / "lib", {**files, **info, "hotswap.toml": EVERYTHING})
        assert "version is 1.3.0, the metadata say 1.2" in refusal(ManifestError, lambda: Patch.from_path(folder))

    @pytest.mark.parametrize("text", [EVERYTHING, f"[tool.hotswap]\n{EVERYTHING}"])
    def test_in_a_wheel(self, tmp_path: Path, text: str) -> None:
        files = {f"shop/{path}": source for path, source in SHOP.items()}
        wheel = build_wheel(tmp_path, "shop", "1.3.0", {**files, "shop-1.3.0.dist-info/hotswap.toml": text})
        whatever_is_said(Patch.from_path(wheel))
        whatever_is_said(Patch.from_bytes(wheel.read_bytes(), wheel.name))

    def test_beside_a_wheel(self, tmp_path: Path) -> None:
        wheel = build_wheel(tmp_path, "shop", "1.3.0", {f"shop/{path}": source for path, source in SHOP.items()})
        bare = Patch.from_path(wheel)
        wheel.with_name(f"{wheel.name}.toml").write_text(EVERYTHING)
        patch = Patch.from_path(wheel)
        whatever_is_said(patch)
        assert patch.digest != bare.digest
        assert Patch.from_bytes(wheel.read_bytes(), wheel.name, manifest=EVERYTHING.encode()) == patch

    def test_not_in_two_places(self, tmp_path: Path) -> None:
        files = {"shop/__init__.py": "", "shop-1.3.0.dist-info/hotswap.toml": "note = 'a'"}
        wheel = build_wheel(tmp_path, "shop", "1.3.0", files)
        wheel.with_name(f"{wheel.name}.toml").write_text("note = 'b'")
        assert "has two manifests" in refusal(ManifestError, lambda: Patch.from_path(wheel))

    def test_not_for_a_file(self) -> None:
        assert "is no wheel" in refusal(PatchError, lambda: Patch.from_bytes(b"", "shop.py", manifest=b""))

    def test_a_wheel_is_of_its_own_version(self, tmp_path: Path) -> None:
        files = {"shop/__init__.py": "", "shop-1.3.0.dist-info/hotswap.toml": "version = '1.4'"}
        wheel = build_wheel(tmp_path, "shop", "1.3.0", files)
        assert "version is 1.4, the metadata say 1.3.0" in refusal(ManifestError, lambda: Patch.from_path(wheel))

    def test_names_all_modules_or_none(self, tmp_path: Path) -> None:
        folder = lay(tmp_path / "shop", {**SHOP, "hotswap.toml": "modules = ['shop', 'shop.pricing']"})
        told = refusal(ManifestError, lambda: Patch.from_path(folder))
        assert "modules names shop.pricing, which is not in the patch" in told
        assert "modules does not name shop.tax, which is" in told

    def test_what_the_caller_says_comes_first_or_besides(self, tmp_path: Path) -> None:
        folder = lay(tmp_path / "shop", {**SHOP, "hotswap.toml": EVERYTHING})
        patch = Patch.from_path(folder, version="2.0", keep=["shop.tax:MORE"])
        assert patch.version == Version("2.0")
        assert patch.keep == {"shop.tax:CACHE", "shop.tax:MORE"}

    def test_an_override_of_what_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        folder = lay(tmp_path / "shop", {**SHOP, "hotswap.toml": "keep = ['shop.pricing:X']"})
        assert "there is no module shop.pricing in it" in refusal(PatchError, lambda: Patch.from_path(folder))


class TestBytes:
    def test_of_a_file(self) -> None:
        patch = Patch.from_bytes(b"RATE = 1\n", "shop.tax.py")
        assert list(patch.sources) == ["shop.tax"]
        assert patch.metadata == {"kind": "file"}

    @pytest.mark.parametrize("name", ["shop.tar.gz", "shop", "shop.PY", ""])
    def test_of_anything_else(self, name: str) -> None:
        refusal(PatchError, lambda: Patch.from_bytes(b"", name))


@pytest.fixture
def pantry(make_package: Callable[..., ModuleType]) -> ModuleType:
    return make_package({"__init__.py": "__version__ = '1.0'\nSTOCK = 1\n", "checks.py": "def sound(candidate): ..."})


class TestRollouts:
    @pytest.mark.parametrize(
        ("manifest", "told"),
        [
            ("keep = ['{}.checks:NOPE']", "NOPE: no statement of the new version binds it"),
            ("replace = ['{}:NOPE']", "NOPE: no statement of the live version binds it"),
            ("allow_effects = ['nope']", "there is no kind 'nope'"),
        ],
    )
    def test_what_names_nothing_is_refused_before_anything_is_loaded(
        self, manifest: str, told: str, tmp_path: Path, pantry: ModuleType
    ) -> None:
        source = "raise AssertionError('loaded')\n"
        folder = self.folder(tmp_path, pantry, manifest.format(pantry.__name__), source)
        lay(folder, {"checks.py": "def sound(candidate): ..."})
        patcher = hotswap.Patcher([pantry.__name__])
        with pytest.raises(PatchError) as caught:
            patcher.apply(Patch.from_path(folder))
        assert told in caught.value.reason
        assert pantry.STOCK == 1

    def folder(self, tmp_path: Path, package: ModuleType, manifest: str, source: str = "") -> Path:
        name = package.__name__
        files = {"__init__.py": f"STOCK = 2\n{source}", "hotswap.toml": f"version = '1.1'\n{manifest}"}
        return lay(tmp_path / "aside" / name, files)

    def test_the_note_is_in_the_history(self, tmp_path: Path, pantry: ModuleType) -> None:
        patcher = hotswap.Patcher([pantry.__name__])
        patcher.apply(Patch.from_path(self.folder(tmp_path, pantry, "note = 'more stock'")))
        assert [record.note for record in patcher.history()] == ["more stock"]

    def test_checks_of_the_candidate_and_of_the_process(
        self, tmp_path: Path, pantry: ModuleType, caplog: pytest.LogCaptureFixture
    ) -> None:
        name = pantry.__name__
        source = "def sound(candidate):\n    assert STOCK == 2\n    assert candidate[__name__].STOCK == 2\n"
        checks = f"checks = ['{name}:sound', 'tests.checks_in_the_process:anything']"
        patcher = hotswap.Patcher([name])
        patcher.check(lambda candidate: True, name="ours")
        rollout = patcher.stage(Patch.from_path(self.folder(tmp_path, pantry, checks, source)))
        with rollout, pytest.raises(CheckFailedError, match=r"No module named 'tests\.checks_in_the_process'"):
            rollout.verify()
        assert [(result.name, str(result.verdict)) for result in rollout.report] == [
            ("ours", "passed"),
            (f"{name}:sound", "passed"),
            ("tests.checks_in_the_process:anything", "error"),
        ]
        assert pantry.STOCK == 1

    @pytest.mark.parametrize(
        ("body", "verdict"), [("return True", "passed"), ("return False", "failed"), ("raise ValueError", "error")]
    )
    def test_a_check_decides(self, tmp_path: Path, pantry: ModuleType, body: str, verdict: str) -> None:
        source = f"async def sound(candidate):\n    {body}\n"
        patcher = hotswap.Patcher([pantry.__name__])
        patch = Patch.from_path(self.folder(tmp_path, pantry, f"checks = ['{pantry.__name__}:sound']", source))
        with patcher.stage(patch) as rollout:
            with nullcontext() if verdict == "passed" else pytest.raises(CheckFailedError):
                rollout.verify()
            assert [str(result.verdict) for result in rollout.report] == [verdict]

    def test_a_check_that_is_not_there(self, tmp_path: Path, pantry: ModuleType) -> None:
        patcher = hotswap.Patcher([pantry.__name__])
        patch = Patch.from_path(self.folder(tmp_path, pantry, f"checks = ['{pantry.__name__}:unsound']"))
        with pytest.raises(CheckFailedError, match="unsound"):
            patcher.apply(patch)

    def test_effects_are_allowed(self, tmp_path: Path, pantry: ModuleType) -> None:
        source = f"import logging\nlogging.addLevelName(77, {pantry.__name__!r})\n"
        patcher = hotswap.Patcher([pantry.__name__])
        level = logging.getLevelName(77)
        try:
            with pytest.raises(ManifestError, match="there is no kind 'log'"):
                patcher.apply(Patch.from_path(self.folder(tmp_path / "1", pantry, "allow_effects = ['log']", source)))
            assert patcher.history()[0].state == "rejected"
            patcher.apply(Patch.from_path(self.folder(tmp_path / "2", pantry, "allow_effects = ['logging']", source)))
        finally:
            logging.addLevelName(77, level)

    def test_effects_are_needed_to_be_allowed(self, tmp_path: Path, pantry: ModuleType) -> None:
        source = "import builtins, threading\nthread = threading.Thread(target=threading.Event().wait, args=(0.2,))\n"
        source += "thread.start()\n"
        patcher = hotswap.Patcher([pantry.__name__])
        with pytest.raises(UnsupportedChangeError):
            patcher.apply(Patch.from_path(self.folder(tmp_path / "1", pantry, "", source)))
        allowed = self.folder(tmp_path / "2", pantry, "allow_effects = ['threads']", source)
        patcher.apply(Patch.from_path(allowed)).rollback()

    def test_requirements_are_held_against_the_process(self, tmp_path: Path, pantry: ModuleType) -> None:
        patcher = hotswap.Patcher([pantry.__name__])
        patch = Patch.from_path(self.folder(tmp_path, pantry, "requirements = ['no-such-thing', 'packaging<1']"))
        with pytest.raises(RequirementError) as caught:
            patcher.apply(patch)
        assert len(caught.value.unmet) == 2
