"""The policy: what it is made of, what it asks of names, versions and places; and that what is checked is what runs."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import structlog
from packaging.version import Version

import hotswap
from hotswap.errors import DowngradeError, HotswapError, SignatureError, TrustError
from hotswap.patch import Patch
from hotswap.trust import (
    Comment,
    Delivery,
    Memory,
    PublicKey,
    SecretKey,
    Trust,
    Waiting,
    ownership,
    policy,
    reading,
    receive,
)
from hotswap.watching import Watch
from tests.signing import ALICE, MALLORY, sign, signature_of
from tests.wheels import build_wheel

pytestmark = pytest.mark.threads

LONG = 30.0
needs_posix = pytest.mark.skipif(os.name == "nt", reason="owners and modes")


def refused(code: str, make: Callable[[], object]) -> TrustError:
    """What a policy refuses, for the reason that it has to be."""
    with pytest.raises(TrustError) as caught:
        make()
    assert caught.value.code == code, str(caught.value)
    assert caught.value.advice
    return caught.value


class TestMaking:
    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({}, "give keys, or unsigned=True"),
            ({"keys": ALICE.public.text}, "keys has to be a list"),
            ({"keys": [ALICE.public, PublicKey(ALICE.key_id, MALLORY.public.point)]}, "the same id"),
            ({"unsigned": True, "revoked": ["abc"]}, "neither the id of a key"),
            ({"unsigned": True, "revoked": "F4453EB87116A8D3"}, "revoked has to be a list"),
            ({"unsigned": True, "packages": ["shop"]}, "packages has to be a mapping"),
            ({"unsigned": True, "packages": {"shop": "1.2"}}, "not a range of versions"),
            ({"unsigned": True, "packages": {"shop": None}}, "not a range of versions"),
            ({"unsigned": True, "packages": {"shop.tax": ""}}, "not the name of a top-level package"),
            ({"unsigned": True, "kinds": ["wheel", "egg"]}, "there is no 'egg'"),
            ({"unsigned": True, "kinds": "wheel"}, "kinds has to be a list"),
            ({"unsigned": True, "max_bytes": 0}, "max_bytes has to be a positive number"),
            ({"unsigned": True, "max_files": True}, "max_files has to be a positive number"),
            ({"unsigned": True, "owners": "root"}, "owners has to be several user ids"),
            ({"unsigned": True, "writers": "all"}, "writers has to be one of owner, group, everybody"),
        ],
    )
    def test_nonsense_is_refused(self, options: dict[str, Any], reason: str) -> None:
        with pytest.raises((TypeError, ValueError), match=reason):
            Trust(**options)

    def test_keys_are_read_when_it_is_made(self, tmp_path: Path) -> None:
        (tmp_path / "ops.pub").write_text(str(MALLORY.public))
        assert Trust(keys=[ALICE.public.text, tmp_path / "ops.pub"]).keys == (ALICE.public, MALLORY.public)
        with pytest.raises(SignatureError, match="not base64"):
            Trust(keys=["hello"])
        with pytest.raises(HotswapError, match="can't be read"):
            Trust(keys=[tmp_path / "gone.pub"])

    def test_only_a_policy_is_one(self, make_package: Callable[..., ModuleType], tmp_path: Path) -> None:
        package = make_package({})
        with pytest.raises(TypeError, match=r"has to be a hotswap\.Trust"):
            hotswap.Patcher([package.__name__], trust=[ALICE.public.text])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"has to be a hotswap\.Trust"):
            hotswap.Patcher([package.__name__]).watch(tmp_path, trust="yes")  # type: ignore[arg-type]


class TestSignatures:
    TRUST = Trust(keys=[ALICE.public, MALLORY.public], revoked=[MALLORY.public.name.lower()])

    def check(self, comment: Comment | str, key: SecretKey = ALICE, *, name: str = "a.whl", named: bool = False) -> str:
        return self.TRUST.read_signature(b"x", name, str(key.sign(b"x", comment)).encode(), named=named)[0]

    def test_of_a_trusted_key(self) -> None:
        assert self.check("") == ALICE.public.name
        assert self.check(Comment(file="a.whl")) == ALICE.public.name

    def test_of_a_revoked_key(self) -> None:
        assert MALLORY.public.name in refused("key-revoked", lambda: self.check("", MALLORY)).reason

    def test_of_another_file(self) -> None:
        refused("file-misnamed", lambda: self.check(Comment(file="b.whl")))
        refused("file-misnamed", lambda: self.check(Comment(file="A.whl")))

    def test_of_no_file_where_the_name_counts(self) -> None:
        refused("file-unnamed", lambda: self.check("", named=True))

    def test_expires(self) -> None:
        now = datetime.now(UTC)
        refused("expired", lambda: self.check(Comment(expires=now - timedelta(seconds=1))))
        assert self.check(Comment(expires=now + timedelta(hours=1))) == ALICE.public.name

    def test_expires_in_the_very_moment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        end = datetime(2027, 1, 31, tzinfo=UTC)

        class Clock:
            now: Callable[[Any], datetime]

        monkeypatch.setattr(policy, "datetime", Clock)
        Clock.now = staticmethod(lambda zone: end - timedelta(seconds=1))
        self.check(Comment(expires=end))
        Clock.now = staticmethod(lambda zone: end)
        refused("expired", lambda: self.check(Comment(expires=end)))


class TestPatches:
    def patch(self, version: str | None, *modules: str) -> Patch:
        return Patch.from_sources(dict.fromkeys(modules or ("shop.tax",), "X = 1\n"), version)

    def test_of_any_package_where_none_is_named(self) -> None:
        Trust(unsigned=True).check(self.patch(None))

    def test_of_other_packages(self) -> None:
        trust = Trust(unsigned=True, packages={"shop": ""})
        trust.check(self.patch("1.0"))
        trust.check(self.patch(None))
        refused("package-refused", lambda: trust.check(self.patch("1.0", "stock")))
        refused("package-refused", lambda: trust.check(self.patch("1.0", "shop.tax", "stock")))
        refused("package-refused", lambda: trust.check(self.patch("1.0", "Shop.tax")))

    def test_of_other_versions(self) -> None:
        trust = Trust(unsigned=True, packages={"shop": ">=1.2,<2"})
        trust.check(self.patch("1.2"))
        trust.check(self.patch("1.9rc1"))
        refused("version-refused", lambda: trust.check(self.patch("2.0")))
        refused("version-missing", lambda: trust.check(self.patch(None)))

    def test_that_are_revoked(self) -> None:
        trust = Trust(unsigned=True, revoked=[self.patch("1.0").digest.upper()])
        refused("patch-revoked", lambda: trust.check(self.patch("1.0")))
        trust.check(self.patch("1.1"))

    def test_that_are_too_large(self) -> None:
        refused("too-large", lambda: Trust(unsigned=True, max_bytes=11).check(self.patch("1.0", "shop.a", "shop.b")))
        refused(
            "too-many-files", lambda: Trust(unsigned=True, max_files=1).check(self.patch("1.0", "shop.a", "shop.b"))
        )


class TestSuccession:
    TRUST = Trust(unsigned=True)

    def patch(self, version: str | None, text: str = "X = 1\n") -> Patch:
        return Patch.from_sources({"shop.tax": text}, version)

    def memory(self, *patches: Patch) -> Memory:
        memory = Memory()
        for patch in patches:
            memory.note([patch.digest], {} if patch.version is None else {"shop": patch.version})
        return memory

    def check(self, patch: Patch, memory: Memory, live: str = "1.0", trust: Trust = TRUST) -> None:
        trust.check_succession(patch, memory, {"shop": Version(live)})

    def test_newer_than_everything(self) -> None:
        self.check(self.patch("1.2"), self.memory(self.patch("1.1")))

    def test_what_was_live_is_a_replay(self) -> None:
        memory = self.memory(self.patch("1.1"), self.patch(None))
        refused("replayed", lambda: self.check(self.patch("1.1"), memory))
        refused("replayed", lambda: self.check(self.patch(None), memory))
        self.check(self.patch(None, "X = 2\n"), memory)

    def test_older_than_what_was_live_is_a_downgrade(self) -> None:
        """Also after a rollback: an attacker must not wait for one to bring an old hole back."""
        memory = self.memory(self.patch("1.1"), self.patch("1.3"))
        refused("downgraded", lambda: self.check(self.patch("1.2"), memory, "1.0"))
        refused("downgraded", lambda: self.check(self.patch("1.3", "X = 2\n"), memory, "1.0"))
        refused("downgraded", lambda: self.check(self.patch("0.9"), Memory()))
        assert memory.highest("shop") == Version("1.3")

    def test_what_an_earlier_process_had_is_asked_for(self) -> None:
        digest = self.patch("1.1").digest
        trust = Trust(unsigned=True, seen=lambda asked: asked == digest)
        refused("replayed", lambda: self.check(self.patch("1.1"), Memory(), trust=trust))
        self.check(self.patch("1.2"), Memory(), trust=trust)
        assert Memory(trust.seen).seen(digest)

    def signed(self, price: int, seconds: int | None, version: str | None = None) -> Patch:
        patch = self.patch(version, f"PRICE = {price}\n")
        return replace(patch, metadata={} if seconds is None else {"signed": str(seconds)})

    def test_without_a_version_the_signature_says_what_is_older(self) -> None:
        """A signed file that was superseded, and never was live here, must not come after what superseded it."""
        memory = Memory()
        memory.date(["shop.tax"], 100)
        memory.date(["shop.tax"], 90)  # what was live last is not what was signed last
        for seconds in (100, 101, None):
            self.check(self.signed(2, seconds), memory)
        error = refused("downgraded", lambda: self.check(self.signed(2, 99), memory))
        assert error.reason == (
            "shop.tax was signed at 1970-01-01 00:01:39 UTC, before what was live here, at 1970-01-01 00:01:40 UTC"
        )
        self.check(self.signed(2, 99), memory, trust=Trust(unsigned=True, downgrade=True))
        self.check(self.signed(2, 99), Memory())

    def test_with_a_version_that_is_what_counts(self) -> None:
        memory = Memory()
        memory.date(["shop.tax"], 100)
        self.check(self.signed(2, 99, "1.1"), memory)

    def test_another_module_has_an_age_of_its_own(self) -> None:
        memory = Memory()
        memory.date(["shop.pricing"], 100)
        self.check(self.signed(2, 99), memory)

    def test_when_what_was_live_in_earlier_processes_was_signed_is_asked_until_it_is_known(self) -> None:
        answers: list[Any] = [hotswap.StoreError("the store is locked"), [(["shop.tax"], 100)]]

        def dated() -> Any:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        memory = Memory(dated=dated)
        with pytest.raises(hotswap.StoreError):
            memory.signed("shop.tax")
        assert (memory.signed("shop.tax"), memory.signed("shop.tax"), memory.signed("other")) == (100, 100, None)

    def test_a_time_beyond_all_dates_is_told_too(self) -> None:
        memory = Memory()
        memory.date(["shop.tax"], 10**12)
        refused("downgraded", lambda: self.check(self.signed(2, 10**12 - 1), memory))

    def test_may_be_allowed(self) -> None:
        trust = Trust(unsigned=True, downgrade=True)
        self.check(self.patch("0.9"), self.memory(self.patch("0.9")), trust=trust)


@needs_posix
class TestReading:
    TRUST = Trust(unsigned=True, kinds=("wheel", "file", "folder"))

    def receive(self, drops: Path, name: str = "shop.py", trust: Trust = TRUST) -> Delivery:
        found = receive(trust, drops, name)
        assert isinstance(found, Delivery)
        return found

    def test_a_file(self, drops: Path) -> None:
        (drops / "shop.py").write_bytes(b"X = 1\n")
        assert self.receive(drops) == Delivery("shop.py", b"X = 1\n", {}, None, None)

    def test_a_folder(self, drops: Path) -> None:
        (drops / "shop" / "deep").mkdir(parents=True)
        (drops / "shop" / "__init__.py").write_bytes(b"")
        (drops / "shop" / "deep" / "x.py").write_bytes(b"X = 1\n")
        assert self.receive(drops, "shop").files == {"__init__.py": b"", "deep/x.py": b"X = 1\n"}

    def test_a_file_that_is_swapped_before_it_is_opened(self, drops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (drops / "shop.py").write_bytes(b"X = 1\n")
        (drops / "evil").write_bytes(b"X = 6\n")
        real = os.open

        def racing(path: Any, *arguments: Any, **options: Any) -> int:
            if path == "shop.py":
                (drops / "evil").rename(drops / "shop.py")
            return real(path, *arguments, **options)

        monkeypatch.setattr(os, "open", racing)
        refused("changed-meanwhile", lambda: self.receive(drops))

    def test_a_file_that_becomes_a_link_before_it_is_opened(
        self, drops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (drops / "shop.py").write_bytes(b"X = 1\n")
        (tmp_path / "secret").write_bytes(b"X = 6\n")
        real = os.open

        def racing(path: Any, *arguments: Any, **options: Any) -> int:
            if path == "shop.py":
                (drops / "shop.py").unlink()
                (drops / "shop.py").symlink_to(tmp_path / "secret")
            return real(path, *arguments, **options)

        monkeypatch.setattr(os, "open", racing)
        with pytest.raises(OSError, match="symbolic links"):
            self.receive(drops)

    @pytest.mark.parametrize("data", [b"X = 6\n", b"X = 66\n", b"X\n"])
    def test_a_file_that_is_written_while_it_is_read(
        self, drops: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
    ) -> None:
        path = drops / "shop.py"
        path.write_bytes(b"X = 1\n")
        os.utime(path, (1, 1))
        states: list[object] = []
        real = os.fstat

        def racing(descriptor: int) -> os.stat_result:
            states.append(descriptor)
            if len(states) == 3:  # the directory, the file, and the file again
                path.write_bytes(data)
            return real(descriptor)

        monkeypatch.setattr(os, "fstat", racing)
        refused("changed-meanwhile", lambda: self.receive(drops))

    def test_leaves_no_descriptor(self, drops: Path) -> None:
        (drops / "shop.py").mkdir()
        (drops / "shop" / "deep").mkdir(parents=True)
        (drops / "shop" / "deep" / "link.py").symlink_to("x")
        table = Path("/proc/self/fd")
        before = len(list(table.iterdir())) if table.is_dir() else 0
        refused("not-a-file", lambda: self.receive(drops))
        refused("link-symbolic", lambda: self.receive(drops, "shop"))
        assert before == (len(list(table.iterdir())) if before else 0)

    @pytest.mark.skipif(not Path("/dev/null").is_char_device(), reason="there is no such device")
    def test_a_device_is_not_opened(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with reading.opened(Path("/dev"), None) as devices:
            monkeypatch.setattr(os, "open", lambda *_, **__: pytest.fail("it was opened"))
            error = refused("not-a-file", lambda: devices.read("null", reading.Limits(1, 1, None)))
        assert error.reason == "null is a character device"

    def test_a_revoked_file_is_known_by_its_bytes(self, drops: Path) -> None:
        """By what `sha256sum` says of it: that is what an operator has at hand."""
        (drops / "shop.py").write_bytes(b"X = 1\n")
        revoked = Trust(unsigned=True, kinds=["file"], revoked=[hashlib.sha256(b"X = 1\n").hexdigest()])
        refused("patch-revoked", lambda: self.receive(drops, trust=revoked))

    def test_what_has_no_signature_waits_unread(self, drops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (drops / "shop.py").write_bytes(b"X = 1\n")
        trust = Trust(keys=[ALICE.public], kinds=["file"])
        monkeypatch.setattr(reading.Folder, "read", lambda *_: pytest.fail("it was read"))
        assert receive(trust, drops, "shop.py") == Waiting("shop.py is not signed: waiting for shop.py.minisig")

    def test_a_signature_that_is_not_needed_has_to_be_right(self, drops: Path) -> None:
        trust = Trust(keys=[ALICE.public], kinds=["file"], unsigned=True)
        (drops / "shop.py").write_bytes(b"X = 1\n")
        assert self.receive(drops, trust=trust).key is None
        sign(drops / "shop.py")
        assert self.receive(drops, trust=trust).key == ALICE.public.name
        sign(drops / "shop.py", MALLORY)
        refused("key-unknown", lambda: self.receive(drops, trust=trust))

    def test_a_manifest_beside_a_wheel_needs_a_signature_too(self, drops: Path) -> None:
        trust = Trust(keys=[ALICE.public])
        wheel = build_wheel(drops, "shop", "1.0", {"shop/__init__.py": ""})
        sign(wheel)
        assert self.receive(drops, wheel.name, trust).manifest is None
        beside = wheel.with_name(f"{wheel.name}.toml")
        beside.write_text("note = 'x'")
        found = receive(trust, drops, wheel.name)
        assert found == Waiting(f"{beside.name} is not signed: waiting for {beside.name}.minisig")
        sign(beside, comment="of whatever")
        refused("file-unnamed", lambda: self.receive(drops, wheel.name, trust))
        sign(beside)
        assert self.receive(drops, wheel.name, trust).manifest == b"note = 'x'"


@needs_posix
class TestLinks:
    """As Kubernetes mounts a ConfigMap or a Secret: `NAME -> ..data/NAME`, `..data -> ..2026_11_26`."""

    TRUST = Trust(keys=[ALICE.public], links=True)

    def mounted(self, drops: Path, version: str = "1.1", *, turn: str = "1") -> str:
        folder = drops / f"..{turn}"
        folder.mkdir(mode=0o755)
        wheel = build_wheel(folder, "shop", version, {"shop/__init__.py": f"__version__ = {version!r}\n"})
        sign(wheel)
        (drops / "..tmp").symlink_to(folder.name)
        (drops / "..tmp").rename(drops / "..data")
        for name in (wheel.name, f"{wheel.name}.minisig"):
            if not (drops / name).is_symlink():
                (drops / name).symlink_to(f"..data/{name}")
        return wheel.name

    def test_that_stay_within_are_followed_where_that_is_allowed(self, drops: Path) -> None:
        name = self.mounted(drops)
        refused("link-symbolic", lambda: receive(Trust(keys=[ALICE.public]), drops, name))
        found = receive(self.TRUST, drops, name)
        assert isinstance(found, Delivery)
        assert (found.data, found.key) == ((drops / name).read_bytes(), ALICE.public.name)

    @pytest.mark.parametrize(
        "target",
        ["/etc/passwd", "../outside.whl", "..data/../../outside.whl", "sub/../../outside.whl", ".", "sub/..", "out/x"],
    )
    def test_that_lead_out_are_refused(self, target: str, drops: Path) -> None:
        self.mounted(drops)
        (drops.parent / "outside.whl").write_bytes(b"x")
        (drops / "sub").mkdir(mode=0o755)
        (drops / "out").symlink_to(drops.parent)
        (drops / "evil.whl").symlink_to(target)
        refused("link-outside", lambda: receive(Trust(unsigned=True, links=True), drops, "evil.whl"))

    def test_that_lead_round_or_nowhere_can_not_be_read(self, drops: Path) -> None:
        (drops / "a.whl").symlink_to("b.whl")
        (drops / "b.whl").symlink_to("a.whl")
        (drops / "c.whl").symlink_to("nowhere.whl")
        for name in ("a.whl", "c.whl"):
            with pytest.raises(OSError, match=r"symbolic links|No such file"):
                receive(Trust(unsigned=True, links=True), drops, name)

    def test_are_judged_by_what_they_lead_to(self, drops: Path) -> None:
        name = self.mounted(drops)
        trust = self.TRUST
        real = drops / "..1" / name
        real.chmod(0o666)
        refused("file-writable", lambda: receive(trust, drops, name))
        real.chmod(0o644)
        real.parent.chmod(0o777)
        refused("directory-writable", lambda: receive(trust, drops, name))
        real.parent.chmod(0o755)
        (drops / "twin").hardlink_to(real)
        refused("link-hard", lambda: receive(trust, drops, name))
        (drops / "twin").unlink()
        real.unlink()
        os.mkfifo(real)
        refused("not-a-file", lambda: receive(trust, drops, name))
        real.unlink()
        real.mkdir()
        refused("not-a-file", lambda: receive(trust, drops, name))

    def test_of_somebody_else_are_refused(self, drops: Path) -> None:
        name = self.mounted(drops)
        try:
            os.chown(drops / "..data", 54321, 54321, follow_symlinks=False)
        except PermissionError:
            pytest.skip("only root may give files away")
        error = refused("file-owner", lambda: receive(self.TRUST, drops, name))
        assert f"the link ..data to which {name} leads" in error.reason

    def test_leave_no_descriptor(self, drops: Path) -> None:
        name = self.mounted(drops)
        before = len(list(Path("/dev/fd").iterdir()))
        receive(self.TRUST, drops, name)
        (drops / "evil.whl").symlink_to("..1/../../x")
        refused("link-outside", lambda: receive(Trust(unsigned=True, links=True), drops, "evil.whl"))
        assert len(list(Path("/dev/fd").iterdir())) == before

    def test_a_watch_sees_that_they_lead_elsewhere(self, make_package: Callable[..., ModuleType], drops: Path) -> None:
        package = make_package({"__init__.py": "PRICE = 1\n"})
        patcher = hotswap.Patcher([package.__name__])
        trust = Trust(unsigned=True, kinds=["file"], links=True)
        name = f"{package.__name__}.py"
        with patcher.watch(drops, interval=0.1, trust=trust) as watch:
            for price in (2, 3):
                folder = drops / f"..{price}"
                folder.mkdir(mode=0o755)
                (folder / name).write_text(f"PRICE = {price}\n")
                (drops / "..tmp").symlink_to(folder.name)
                (drops / "..tmp").rename(drops / "..data")
                if price == 2:
                    (drops / name).symlink_to(f"..data/{name}")
                assert watch.wait_for(name, LONG).applied
                assert price == package.PRICE

    def test_option_is_yes_or_no(self) -> None:
        with pytest.raises(TypeError, match="links"):
            Trust(unsigned=True, links="within")  # type: ignore[arg-type]  # that is the point


@needs_posix
class TestPlaces:
    def test_a_directory_that_everybody_may_write_to(self, drops: Path) -> None:
        drops.chmod(0o777)
        error = refused("directory-writable", lambda: Trust(unsigned=True).check_directory(drops))
        assert "can be written by everybody (mode 0777)" in error.reason
        drops.chmod(0o1777)
        refused("directory-writable", lambda: Trust(unsigned=True).check_directory(drops))
        Trust(unsigned=True, writers="everybody").check_directory(drops)

    def test_a_directory_that_its_group_may_write_to(self, drops: Path) -> None:
        drops.chmod(0o775)
        error = refused("directory-writable", lambda: Trust(unsigned=True).check_directory(drops))
        assert "by its group" in error.reason
        Trust(unsigned=True, writers="group").check_directory(drops)

    def test_a_way_that_everybody_may_write_to(self, drops: Path) -> None:
        inner = drops / "a" / "b"
        inner.mkdir(parents=True)
        (drops / "a").chmod(0o777)
        error = refused("directory-writable", lambda: Trust(unsigned=True).check_directory(inner))
        assert "which leads to" in error.reason
        (drops / "a").chmod(0o1777)
        Trust(unsigned=True).check_directory(inner)

    @pytest.mark.parametrize("inside", [False, True], ids=["the directory", "one above it"])
    def test_reached_by_a_link_that_everybody_may_change(self, inside: bool, drops: Path, tmp_path: Path) -> None:
        public = tmp_path / "public"
        public.mkdir()
        public.chmod(0o777)
        (drops / "inner").mkdir(mode=0o755)
        (public / "link").symlink_to(drops)
        directory = public / "link" / "inner" if inside else public / "link"
        error = refused("directory-writable", lambda: Trust(unsigned=True).check_directory(directory))
        assert error.reason.startswith(f"{public}, which leads to {directory}, can be written by everybody")
        public.chmod(0o1777)
        Trust(unsigned=True).check_directory(directory)
        public.chmod(0o755)
        Trust(unsigned=True).check_directory(directory)

    def test_reached_by_a_link_to_a_link_that_everybody_may_change(self, drops: Path, tmp_path: Path) -> None:
        public = tmp_path / "public"
        public.mkdir()
        public.chmod(0o777)
        (public / "inner").symlink_to("../drops")
        assert drops.name == "drops"
        (tmp_path / "link").symlink_to("public/inner")
        refused("directory-writable", lambda: Trust(unsigned=True).check_directory(tmp_path / "link"))

    def test_in_a_sticky_directory_links_and_directories_have_to_be_of_who_is_trusted(
        self, drops: Path, tmp_path: Path
    ) -> None:
        public = tmp_path / "public"
        public.mkdir()
        public.chmod(0o1777)
        (public / "link").symlink_to(drops)
        try:
            os.chown(public / "link", 54321, 54321, follow_symlinks=False)
        except PermissionError:
            pytest.skip("only root may give files away")
        refused("directory-owner", lambda: Trust(unsigned=True).check_directory(public / "link"))
        os.chown(public / "link", 0, 0, follow_symlinks=False)
        Trust(unsigned=True).check_directory(public / "link")
        os.chown(public, 54321, 54321)
        refused("directory-owner", lambda: Trust(unsigned=True).check_directory(public / "link"))

    def test_reached_by_links_that_lead_round(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        with pytest.raises(OSError, match="symbolic links"):
            Trust(unsigned=True).check_directory(tmp_path / "a")

    def test_owners(self, drops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (drops / "shop.py").write_bytes(b"")
        mine = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: mine + 12345)
        if mine:
            refused("directory-owner", lambda: Trust(unsigned=True).check_directory(drops))
            Trust(unsigned=True, owners=[mine]).check_directory(drops)
        else:
            os.chown(drops, 54321, 54321)
            refused("directory-owner", lambda: Trust(unsigned=True).check_directory(drops))
            Trust(unsigned=True, owners=[54321]).check_directory(drops)
        Trust(unsigned=True, owners=None).check_directory(drops)

    def test_the_library_can_be_imported_elsewhere(self, tmp_path: Path) -> None:
        """Windows and Pyodide lack what POSIX has; that is told when a policy asks for it, and not before."""
        code = f"""
import os
for name in ("geteuid", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
    delattr(os, name)
import hotswap
policy = hotswap.Trust(unsigned=True)
try:
    policy.check_directory({str(tmp_path)!r})
except hotswap.HotswapError as error:
    print(error.advice)
hotswap.Trust(unsigned=True, owners=None).check_directory({str(tmp_path)!r})
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert "owners=None" in done.stdout

    def test_without_owners_and_modes_the_platform_says_so(self, drops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ownership, "SUPPORTED", False)
        monkeypatch.setattr(reading, "SUPPORTED", False)
        with pytest.raises(HotswapError, match="no owners and modes") as caught:
            Trust(unsigned=True).check_directory(drops)
        assert "owners=None" in str(caught.value)
        trust = Trust(unsigned=True, owners=None, kinds=["file", "folder"])
        trust.check_directory(drops)
        (drops / "shop.py").write_bytes(b"X = 1\n")
        (drops / "shop").mkdir()
        (drops / "shop" / "__init__.py").symlink_to(drops / "shop.py")
        found = receive(trust, drops, "shop.py")
        assert isinstance(found, Delivery)
        assert found.data == b"X = 1\n"
        refused("link-symbolic", lambda: receive(trust, drops, "shop"))


class Shop:
    """A package under a watch with a policy, and a directory for its drops."""

    def __init__(self, package: ModuleType, drops: Path, trust: Trust) -> None:
        self.package, self.drops = package, drops
        self.patcher = hotswap.Patcher([package.__name__], trust=trust)
        self.watch: Watch = self.patcher.watch(drops, interval=0.1)

    def wheel(self, version: str, price: int, key: SecretKey | None = ALICE) -> Path:
        """Drop a wheel, and its signature before it, each by a rename."""
        name = self.package.__name__
        with tempfile.TemporaryDirectory(dir=self.drops.parent) as aside:
            files = {f"{name}/__init__.py": f"__version__ = {version!r}\nPRICE = {price}\n"}
            wheel = build_wheel(Path(aside), name, version, files)
            if key is not None:
                signature = sign(wheel, key)
                signature.rename(self.drops / signature.name)
            return wheel.rename(self.drops / wheel.name)

    def until(self, holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + LONG
        while not holds():
            assert time.monotonic() < deadline, dict(self.watch.outcomes)
            self.watch.scan()


@pytest.fixture
def shop(make_package: Callable[..., ModuleType], drops: Path) -> Iterator[Shop]:
    package = make_package({"__init__.py": "__version__ = '1.0'\nPRICE = 1\n"})
    made = Shop(package, drops, Trust(keys=[ALICE.public]))
    with made.watch:
        yield made


def told(path: Path) -> Any:
    return json.loads(path.read_text())


class TestWatches:
    def test_take_what_is_signed(self, shop: Shop) -> None:
        wheel = shop.wheel("1.1", 2)
        assert shop.watch.wait_for(wheel.name, LONG).applied
        assert shop.package.PRICE == 2

    def test_wait_for_the_signature(self, shop: Shop) -> None:
        wheel = shop.wheel("1.1", 2, None)
        pending = wheel.with_name(f"{wheel.name}.pending")
        with structlog.testing.capture_logs() as events:
            shop.until(pending.exists)
        facts = told(pending)
        assert facts["state"] == "pending"
        assert facts["reason"] == f"{wheel.name} is not signed: waiting for {wheel.name}.minisig"
        assert [event["reason"] for event in events if event["event"] == "drop.waiting"] == [facts["reason"]]
        with pytest.raises(TimeoutError, match="is not signed"):
            shop.watch.wait_for(wheel.name, 0.3)
        assert shop.package.PRICE == 1
        sign(wheel)
        assert shop.watch.wait_for(wheel.name, LONG).applied
        assert not pending.exists()
        assert wheel.with_name(f"{wheel.name}.live").exists()

    def test_wait_for_a_busy_patcher_once_it_is_signed(self, shop: Shop) -> None:
        wheel = shop.wheel("1.1", 2, None)
        pending = wheel.with_name(f"{wheel.name}.pending")
        shop.until(pending.exists)
        other = Patch.from_sources({f"{shop.package.__name__}.other": "X = 1\n"})
        with shop.patcher.stage(other):
            sign(wheel)
            shop.until(lambda: "is not signed" not in told(pending)["reason"])
            assert shop.package.PRICE == 1
        assert shop.watch.wait_for(wheel.name, LONG).applied
        assert not pending.exists()

    def test_forget_what_goes_away_unsigned(self, shop: Shop) -> None:
        wheel = shop.wheel("1.1", 2, None)
        pending = wheel.with_name(f"{wheel.name}.pending")
        shop.until(pending.exists)
        wheel.unlink()
        shop.until(lambda: not pending.exists())

    def test_look_again_when_the_signature_is_another(self, shop: Shop) -> None:
        wheel = shop.wheel("1.1", 2, MALLORY)
        outcome = shop.watch.wait_for(wheel.name, LONG)
        assert (outcome.error, outcome.code) == ("SignatureError", "key-unknown")
        facts = told(wheel.with_name(f"{wheel.name}.failed"))
        assert (facts["error"], facts["code"]) == ("SignatureError", "key-unknown")
        sign(wheel)
        shop.until(lambda: shop.watch.outcomes[wheel.name].applied)
        assert shop.package.PRICE == 2

    def test_leave_alone_what_is_live_when_its_signature_goes(self, shop: Shop) -> None:
        wheel = shop.wheel("1.1", 2)
        assert shop.watch.wait_for(wheel.name, LONG).applied
        wheel.with_name(f"{wheel.name}.minisig").unlink()
        shop.until(wheel.with_name(f"{wheel.name}.pending").exists)
        assert wheel.with_name(f"{wheel.name}.live").exists()
        sign(wheel)
        shop.until(lambda: not wheel.with_name(f"{wheel.name}.pending").exists())
        assert shop.package.PRICE == 2
        assert len(shop.patcher.history()) == 1

    @pytest.mark.parametrize("why", ["expired", "another key"])
    def test_leave_alone_what_is_live_when_its_signature_is_bygone(
        self, why: str, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wheel = shop.wheel("1.1", 2)
        soon = datetime.now(UTC) + timedelta(hours=1)
        sign(wheel, comment=Comment(file=wheel.name, expires=soon))
        assert shop.watch.wait_for(wheel.name, LONG).applied
        if why == "expired":
            monkeypatch.setattr(policy, "datetime", SimpleNamespace(now=lambda _: soon))
        else:
            sign(wheel, MALLORY)
        os.utime(wheel)
        shop.watch.scan()
        assert shop.watch.wait_for(wheel.name, LONG).applied
        assert not wheel.with_name(f"{wheel.name}.failed").exists()
        shop.patcher.rollback()
        other = shop.wheel("1.2", 3)
        sign(other, MALLORY)
        os.utime(wheel)
        assert shop.watch.wait_for(other.name, LONG).code == "key-unknown"
        shop.until(lambda: shop.watch.outcomes[wheel.name].code is not None)
        assert shop.package.PRICE == 1

    def test_tell_when_what_is_live_is_revoked(self, shop: Shop) -> None:
        wheel = shop.wheel("1.1", 2)
        assert shop.watch.wait_for(wheel.name, LONG).applied
        shop.watch.stop()
        revoked = Trust(keys=[ALICE.public], revoked=[ALICE.public.name])
        with shop.patcher.watch(shop.drops, interval=0.1, trust=revoked) as watch:
            assert watch.wait_for(wheel.name, LONG).code == "key-revoked"
        assert shop.package.PRICE == 2

    def test_wait_for_the_rest_of_a_push_that_was_killed(self, shop: Shop) -> None:
        """Its signature is there, and its bytes are not: what is live by the old ones stays so."""
        wheel = shop.wheel("1.1", 2)
        assert shop.watch.wait_for(wheel.name, LONG).applied
        good = wheel.with_name(f"{wheel.name}.minisig").read_bytes()
        wheel.with_name(f"{wheel.name}.minisig").write_bytes(signature_of(b"other bytes", Comment(file=wheel.name)))
        pending = wheel.with_name(f"{wheel.name}.pending")
        shop.until(pending.exists)
        assert "is of other bytes" in told(pending)["reason"]
        assert wheel.with_name(f"{wheel.name}.live").exists()
        assert not wheel.with_name(f"{wheel.name}.failed").exists()
        wheel.with_name(f"{wheel.name}.minisig").write_bytes(good)
        shop.until(lambda: not pending.exists())
        assert len(shop.patcher.history()) == 1

    def test_do_not_begin_where_others_may_write(self, shop: Shop, tmp_path: Path) -> None:
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o777)
        other = shop.patcher.watch(tmp_path / "open")
        refused("directory-writable", other.start)
        assert not other.alive
        (tmp_path / "open").chmod(0o700)
        with other:
            assert other.alive

    def test_stop_looking_while_others_may_write(self, shop: Shop) -> None:
        with structlog.testing.capture_logs() as events:
            shop.drops.chmod(0o777)
            wheel = shop.wheel("1.1", 2)
            shop.until(lambda: [event for event in events if event["event"] == "watch.troubled"])
            for _ in range(3):
                assert shop.watch.scan() == ()
            assert shop.package.PRICE == 1
            shop.drops.chmod(0o755)
            assert shop.watch.wait_for(wheel.name, LONG).applied
        names = [event["event"] for event in events]
        assert names.count("watch.troubled") == names.count("watch.recovered") == 1

    def test_have_a_policy_of_their_own(self, shop: Shop, tmp_path: Path) -> None:
        trust = Trust(unsigned=True, kinds=["folder"])
        with shop.patcher.watch(tmp_path / "others", trust=trust) as watch:
            folder = tmp_path / shop.package.__name__
            folder.mkdir()
            (folder / "__init__.py").write_text("PRICE = 3\n")
            (folder / "hotswap.toml").write_text("version = '1.1'\nnote = 'from a folder'\n")
            folder.rename(tmp_path / "others" / folder.name)
            (tmp_path / "others" / f"{folder.name}.go").touch()
            assert watch.wait_for(folder.name, LONG).applied
        assert shop.package.PRICE == 3
        assert shop.patcher.history()[0].note == "from a folder"

    def test_tell_of_the_folder_that_was_dropped(self, shop: Shop, tmp_path: Path) -> None:
        with shop.patcher.watch(tmp_path / "others", trust=Trust(unsigned=True, kinds=["folder"])) as watch:
            (tmp_path / "others" / "empty").mkdir()
            (tmp_path / "others" / "empty.go").touch()
            outcome = watch.wait_for("empty", LONG)
        assert outcome.reason.startswith(f"the folder {tmp_path / 'others' / 'empty'} is empty")


class TestUndo:
    def test_goes_back_to_what_was_live(self, shop: Shop) -> None:
        wheels = [shop.wheel(version, price) for version, price in (("1.1", 2), ("1.2", 3), ("1.3", 4))]
        shop.until(lambda: all(shop.watch.outcomes.get(wheel.name) for wheel in wheels))
        assert shop.package.PRICE == 4
        first = Patch.from_path(wheels[0])
        with pytest.raises(DowngradeError):
            shop.patcher.apply(first)
        assert shop.patcher.apply(first, undo=True).state == "live"
        assert shop.package.PRICE == 2
        assert shop.patcher.versions[shop.package.__name__] == Version("1.1")
        with contextlib.suppress(hotswap.StateError):
            shop.patcher.rollback()
        assert shop.package.PRICE == 4

    def test_not_to_what_never_was(self, shop: Shop) -> None:
        patch = Patch.from_sources({f"{shop.package.__name__}.__init__": "PRICE = 9\n"}, "0.9")
        with pytest.raises(DowngradeError, match="was never live here"):
            shop.patcher.apply(patch, undo=True)

    def test_to_what_an_earlier_process_had(self, make_package: Callable[..., ModuleType]) -> None:
        package = make_package({"__init__.py": "__version__ = '1.0'\nPRICE = 1\n"})
        patch = Patch.from_sources({f"{package.__name__}.__init__": "PRICE = 9\n"}, "0.9")
        patcher = hotswap.Patcher([package.__name__], trust=Trust(unsigned=True, seen=lambda digest: True))
        patcher.apply(patch, undo=True)
        assert package.PRICE == 9

    async def _apply(self, patcher: hotswap.Patcher, patch: Patch) -> None:
        await patcher.apply_async(patch, undo=True)

    def test_without_blocking(self, shop: Shop) -> None:
        first, second = (Patch.from_sources({f"{shop.package.__name__}": f"PRICE = {n}\n"}, f"1.{n}") for n in (1, 2))
        shop.patcher.apply(first)
        shop.patcher.apply(second)
        asyncio.run(self._apply(shop.patcher, first))
        assert shop.package.PRICE == 1

    def test_drops_may_be_allowed_to(self, shop: Shop, tmp_path: Path) -> None:
        trust = Trust(keys=[ALICE.public], downgrade=True)
        new, old = shop.wheel("1.2", 3), None
        assert shop.watch.wait_for(new.name, LONG).applied
        old = shop.wheel("1.1", 2)
        assert shop.watch.wait_for(old.name, LONG).code == "downgraded"
        with shop.patcher.watch(tmp_path / "others", trust=trust) as watch:
            for name in (f"{old.name}.minisig", old.name):
                (shop.drops / name).rename(tmp_path / "others" / name)
            assert watch.wait_for(old.name, LONG).applied
        assert shop.package.PRICE == 2
