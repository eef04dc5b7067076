"""Keys and signatures, ours and those of minisign."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from hotswap.trust import SecretKey
from tests.cli.conftest import Command
from tests.signing import ALICE, minisign

pytestmark = pytest.mark.threads


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    path = tmp_path / "shop.tax.py"
    path.write_text("RATE = 16\n")
    return path


class TestKeygen:
    def test_is_kept_under_no_password_only_if_told(self, command: Command, tmp_path: Path) -> None:
        key = tmp_path / "ops.key"
        said = command("keygen", str(key))
        assert (said.status, key.exists()) == (2, False)
        said = command("keygen", str(key), "--no-password", "--json")
        assert said.status == 0, said
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert SecretKey.parse(key.read_text()).public.name == said.json["id"]
        assert command("keygen", str(key), "--no-password").status == 1

    def test_under_a_password(self, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        text = SecretKey.text
        monkeypatch.setattr(SecretKey, "text", lambda key, word: text(key, word, operations=1, memory=1 << 14))
        (tmp_path / "word").write_text("open sesame\n")
        key = tmp_path / "ops.key"
        assert command("keygen", str(key), "--password-file", str(tmp_path / "word")).status == 0
        assert "encrypted" in key.read_text()
        public = (tmp_path / "ops.key.pub").read_text()
        assert str(SecretKey.parse(key.read_text(), "open sesame").public) == public


@pytest.mark.parametrize("asked", [("keygen", "{key}", "--no-password"), ("sign", "{patch}"), ("verify", "{patch}")])
def test_without_the_package_nothing_is_made(
    command: Command, patch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
) -> None:
    key = tmp_path / "ops.key"
    if asked[0] != "keygen":
        key.write_text(ALICE.text() if asked[0] == "sign" else str(ALICE.public))
        asked += ("--key", str(key))
    before = sorted(tmp_path.iterdir())
    for module in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    said = command(*(part.format(key=key, patch=patch) for part in asked))
    assert (said.status, sorted(tmp_path.iterdir())) == (2, before)
    assert "pip install 'hotswap[trust]'" in said.err


class TestSign:
    def test_what_is_verified(self, command: Command, patch: Path, tmp_path: Path) -> None:
        key, word = tmp_path / "ops.key", tmp_path / "word"
        key.write_text(ALICE.text("open sesame", operations=1, memory=1 << 14))
        word.write_text("open sesame")
        assert command("sign", str(patch), "--key", str(key)).status == 2  # nobody can be asked
        said = command("sign", str(patch), "--key", str(key), "--password-file", str(word), "--expires", "1")
        assert said.status == 0, said
        said = command("verify", str(patch), "--key", ALICE.public.text, "--json")
        assert (said.status, said.json["files"][0]["key"]) == (0, ALICE.public.name)
        assert "expires:" in said.json["files"][0]["comment"]
        word.write_text("open barley")
        assert command("sign", str(patch), "--key", str(key), "--password-file", str(word)).status == 1

    def test_what_is_not(self, command: Command, patch: Path, tmp_path: Path) -> None:
        (tmp_path / "ops.key").write_text(ALICE.text())
        trusted = ("--key", ALICE.public.text)
        assert command("verify", str(patch), *trusted).status == 1  # there is no signature
        assert command("sign", str(patch), "--key", str(tmp_path / "ops.key")).status == 0
        assert command("verify", str(patch), *trusted).status == 0
        stranger = SecretKey.generate().public.text
        assert command("verify", str(patch), "--key", stranger).status == 1
        patch.write_text("RATE = 0\n")
        said = command("verify", str(patch), *trusted, "--json")
        assert (said.status, said.json["files"][0]["valid"]) == (1, False)
        assert command("verify", str(patch), "--key", "no key").status == 1


class TestMinisign:
    def test_reads_ours(self, command: Command, patch: Path, tmp_path: Path) -> None:
        assert command("keygen", str(tmp_path / "ops.key"), "--no-password").status == 0
        assert command("sign", str(patch), "--key", str(tmp_path / "ops.key")).status == 0
        done = minisign("-V", "-p", "ops.key.pub", "-m", patch.name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr

    def test_is_read_by_us(self, command: Command, patch: Path, tmp_path: Path) -> None:
        assert minisign("-G", "-W", "-p", "ops.pub", "-s", "ops.key", cwd=tmp_path).returncode == 0
        assert minisign("-S", "-s", "ops.key", "-m", patch.name, cwd=tmp_path).returncode == 0
        assert command("verify", str(patch), "--key", str(tmp_path / "ops.pub")).status == 0
        assert command("sign", str(patch), "--key", str(tmp_path / "ops.key")).status == 0
