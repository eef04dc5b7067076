"""The gallery: what somebody drops who means harm, or who made a mistake. Each function drops one thing.

Every payload writes a file when it runs, so that a test can see that it did not. `@hostile` says what the watch has to
say of it: the code of the error (or its type, where it has none), and words of the reason.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap.trust import Comment, SecretKey, Trust, ed25519
from tests.signing import ALICE, MALLORY, sign
from tests.wheels import build_wheel

__all__ = ["GALLERY", "IGNORED", "LONG", "NOTHING", "PENDING", "Exhibit", "World", "soon", "taken", "world_of"]

LOST = SecretKey(b"lost-key", bytes(range(2, 34)))
"""A key that was trusted once, and is revoked."""

LONG = 60.0
"""Seconds after which what should have happened never will."""

PENDING = "pending"
IGNORED = "ignored"
NOTHING = "nothing"

MOST_BYTES = 200_000
MOST_FILES = 40


class World:
    """A package, a directory for its drops, and a watch with a policy."""

    def __init__(self, package: ModuleType, root: Path, *, signed: bool) -> None:
        self.package, self.name = package, package.__name__
        self.drops = root / "drops"
        self.aside = root / "aside"
        self.witness = root / "it-ran"
        for folder in (self.drops, self.aside):
            folder.mkdir(mode=0o755)
        rules: dict[str, Any] = {
            "max_bytes": MOST_BYTES,
            "max_files": MOST_FILES,
            "packages": {self.name: ">=1,<2" if signed else ""},
        }
        if signed:
            rules |= {"keys": [ALICE.public, LOST.public], "revoked": [LOST.public.name], "kinds": ["wheel", "file"]}
        else:
            rules |= {"unsigned": True, "kinds": ["wheel", "file", "folder"]}
        self.rules = rules
        self.patcher = hotswap.Patcher([self.name])
        self.watch = self.patcher.watch(self.drops, interval=0.2, trust=Trust(**rules))

    @property
    def payload(self) -> str:
        """A module that tells that it ran."""
        return f"import pathlib\npathlib.Path({str(self.witness)!r}).write_text('ran')\nPRICE = 666\n"

    def wheel(self, version: str = "1.1", source: str | None = None, **options: Any) -> Path:
        """Build a wheel beside the drops: a folder of its own each time."""
        folder = Path(tempfile.mkdtemp(dir=self.aside))
        files = {f"{self.name}/__init__.py": self.payload if source is None else source, **options.pop("files", {})}
        return build_wheel(folder, options.pop("name", self.name), version, files, **options)

    def put(self, path: Path, key: SecretKey | None = ALICE, *, comment: Comment | str | None = None) -> str:
        """Drop a file with its signature, which comes first, each by a rename; return its name."""
        if key is not None:
            signature = sign(path, key, comment=comment)
            signature.rename(self.drops / signature.name)
        path.rename(self.drops / path.name)
        return path.name

    def module(self, name: str | None = None, text: str | None = None) -> Path:
        """Write a single module beside the drops."""
        path = self.aside / (f"{self.name}.py" if name is None else name)
        path.write_text(self.payload if text is None else text)
        return path

    def folder(self, name: str = "build", files: Mapping[str, str] | None = None) -> Path:
        """Write a folder with a package beside the drops."""
        folder = self.aside / name
        for place, text in {f"{self.name}/__init__.py": self.payload, **(files or {})}.items():
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / place).write_text(text)
        return folder

    def good(self, version: str = "1.8", price: int = 8) -> str:
        """Drop what may run."""
        return self.put(self.wheel(version, f"PRICE = {price}\n"), ALICE if "keys" in self.rules else None)


def complete(folder: Path) -> Path:
    """Say of a folder that it is complete; without that it is not even looked into."""
    folder.with_name(f"{folder.name}.go").touch()
    return folder


def soon(found: Callable[[], Any], what: str) -> Any:
    """Ask again and again until there is an answer."""
    deadline = time.monotonic() + LONG
    while not (answer := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return answer


def taken(world: World) -> None:
    """The watch lives: what may run is taken, and nothing else has run."""
    assert world.watch.alive
    assert world.watch.wait_for(world.good(), LONG).applied
    assert world.package.PRICE == 8
    assert not world.witness.exists()


@dataclass(frozen=True)
class Exhibit:
    """One hostile drop: how it is made, and what has to be said of it."""

    drop: Callable[[World], str]
    code: str
    words: str
    signed: bool

    @property
    def name(self) -> str:
        return self.drop.__name__


GALLERY: list[Exhibit] = []


def hostile(
    code: str, words: str, *, signed: bool = True
) -> Callable[[Callable[[World], str]], Callable[[World], str]]:
    """Hang one into the gallery."""

    def hang(drop: Callable[[World], str]) -> Callable[[World], str]:
        GALLERY.append(Exhibit(drop, code, words, signed))
        return drop

    return hang


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


def signature_of(world: World, name: str) -> Path:
    return world.drops / f"{name}.minisig"


# --- signatures ------------------------------------------------------------------------------------------------------


@hostile("bytes-tampered", "it is not what was signed with the key")
def tampered_after_signing(world: World) -> str:
    wheel = world.wheel(source="PRICE = 2\n")
    sign(wheel).rename(signature_of(world, wheel.name))
    return world.put(world.wheel(), None)


@hostile("bytes-tampered", "bytes or signature were changed")
def one_bit_flipped(world: World) -> str:
    wheel = world.wheel()
    sign(wheel).rename(signature_of(world, wheel.name))
    return world.put(rewritten(wheel, lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:]), None)


@hostile("key-unknown", "which is not trusted here")
def signed_with_the_wrong_key(world: World) -> str:
    return world.put(world.wheel(), MALLORY)


@hostile("bytes-tampered", ALICE.public.name)
def signed_with_the_wrong_key_under_a_trusted_id(world: World) -> str:
    return world.put(world.wheel(), SecretKey(ALICE.key_id, MALLORY.seed))


@hostile("key-revoked", "which is revoked")
def signed_with_a_revoked_key(world: World) -> str:
    return world.put(world.wheel(), LOST)


@hostile("expired", "the signature expired at 2001-")
def expired(world: World) -> str:
    wheel = world.wheel()
    return world.put(wheel, comment=Comment(wheel.name, datetime(2001, 2, 3, tzinfo=UTC)))


@hostile("comment-tampered", "the trusted comment is not the one that was signed")
def expiry_moved_after_signing(world: World) -> str:
    wheel = world.wheel()
    sign(wheel, comment=Comment(wheel.name, datetime(2001, 2, 3, tzinfo=UTC)))
    signature = wheel.with_name(f"{wheel.name}.minisig")
    rewritten(signature, lambda text: text.replace(b"expires:2001", b"expires:2100")).rename(
        signature_of(world, wheel.name)
    )
    return world.put(wheel, None)


@hostile("comment-unclear", "is no time such as")
def expiry_that_is_no_time(world: World) -> str:
    wheel = world.wheel()
    # `SecretKey.sign` refuses to sign such a comment; the real minisign signs whatever it is given.
    signature = ALICE.sign(wheel.read_bytes(), "a release")
    comment = "expires:2100"
    whole = ed25519.sign(ALICE.seed, signature.value + comment.encode())
    signature_of(world, wheel.name).write_text(str(replace(signature, trusted=comment, whole=whole)))
    return world.put(wheel, None)


def damaged(world: World, change: Callable[[bytes], bytes]) -> str:
    wheel = world.wheel()
    rewritten(sign(wheel), change).rename(signature_of(world, wheel.name))
    return world.put(wheel, None)


@hostile("signature-damaged", "has 3 lines instead of 4")
def signature_cut_off(world: World) -> str:
    return damaged(world, lambda text: b"".join(text.splitlines(keepends=True)[:3]))


@hostile("signature-damaged", "has 5 lines instead of 4")
def signature_with_something_after_it(world: World) -> str:
    return damaged(world, lambda text: text + b"trusted comment: expires:2100-01-01T00:00:00Z\n")


@hostile("signature-damaged", "has 1 lines instead of 4")
def signature_that_is_empty(world: World) -> str:
    return damaged(world, lambda text: b"")


@hostile("signature-damaged", "is not UTF-8 text")
def signature_that_is_noise(world: World) -> str:
    return damaged(world, lambda text: bytes(range(128, 228)))


@hostile("signature-damaged", "which is not known here")
def signature_of_an_unknown_kind(world: World) -> str:
    return damaged(world, lambda text: text.replace(b"\nRU", b"\nWH", 1))


@hostile("too-large", ".minisig is too large")
def signature_of_a_megabyte(world: World) -> str:
    return damaged(world, lambda text: text + b"x" * 1_000_000)


@hostile("link-symbolic", ".minisig is a symbolic link")
def signature_that_is_a_link(world: World) -> str:
    wheel = world.wheel()
    signature_of(world, wheel.name).symlink_to(sign(wheel))
    return world.put(wheel, None)


@hostile("not-a-file", ".minisig is a pipe")
def signature_that_is_a_pipe(world: World) -> str:
    wheel = world.wheel()
    os.mkfifo(signature_of(world, wheel.name))
    return world.put(wheel, None)


@hostile(PENDING, "is not signed: waiting for")
def no_signature(world: World) -> str:
    return world.put(world.wheel(), None)


@hostile("file-misnamed", "and this one is")
def signed_under_another_name(world: World) -> str:
    wheel = world.wheel()
    signed_as = Comment(file=wheel.name)
    return world.put(wheel.rename(wheel.with_name(wheel.name.replace("-py3", "-7-py3"))), comment=signed_as)


@hostile("file-misnamed", "the signature is for a file named 'tax.py'")
def one_module_under_the_name_of_another(world: World) -> str:
    return world.put(world.module(), comment=Comment(file="tax.py"))


@hostile("file-unnamed", "the signature does not name the file")
def a_module_whose_signature_names_none(world: World) -> str:
    return world.put(world.module(), comment="a release")


@hostile(PENDING, ".whl.toml is not signed")
def a_manifest_beside_a_signed_wheel(world: World) -> str:
    wheel = world.wheel()
    (world.drops / f"{wheel.name}.toml").write_text("allow_effects = ['threads']\n")
    return world.put(wheel)


@hostile("file-misnamed", ".whl.toml'")
def the_manifest_of_another_wheel(world: World) -> str:
    wheel = world.wheel()
    beside = world.aside / f"{wheel.name}.toml"
    beside.write_text("allow_effects = ['threads']\n")
    world.put(beside, comment=Comment(file="other-1.0-py3-none-any.whl.toml"))
    return world.put(wheel)


@hostile("ManifestError", "'allow_effect' is a key that nobody knows")
def a_manifest_with_a_misspelt_key(world: World) -> str:
    info = f"{world.name}-1.1.dist-info/hotswap.toml"
    return world.put(world.wheel(files={info: "allow_effect = []\n"}))


# --- names and versions ----------------------------------------------------------------------------------------------


@hostile("replayed", "the same patch was live here before")
def replayed(world: World) -> str:
    wheel = world.wheel("1.1", "PRICE = 2\n")
    again = world.aside / wheel.name.replace("-py3", "-7-py3")
    again.write_bytes(wheel.read_bytes())
    assert world.watch.wait_for(world.put(wheel), 30).applied
    world.patcher.rollback(reason="it has a hole")
    return world.put(again)


@hostile("downgraded", "1.1 is not newer than 1.2, which is live")
def downgraded(world: World) -> str:
    assert world.watch.wait_for(world.good("1.2", 2), 30).applied
    return world.put(world.wheel("1.1"))


@hostile("downgraded", "1.1 is not newer than 1.2, which was live here before")
def downgraded_after_a_rollback(world: World) -> str:
    assert world.watch.wait_for(world.good("1.2", 2), 30).applied
    world.patcher.rollback(reason="it has another hole")
    return world.put(world.wheel("1.1"))


@hostile("DowngradeError", "1.0 is live already")
def the_live_version_with_other_bytes(world: World) -> str:
    return world.put(world.wheel("1.0"))


@hostile("version-refused", "may be patched by versions <2,>=1, not by 2.0")
def a_version_out_of_range(world: World) -> str:
    return world.put(world.wheel("2.0"))


@hostile("version-missing", "and this patch states none")
def no_version_where_one_is_needed(world: World) -> str:
    return world.put(world.module())


@hostile("package-refused", "the package json may not be patched here")
def another_package(world: World) -> str:
    return world.put(world.module("json.py"))


@hostile("package-refused", "the package os may not be patched here")
def a_package_beside_the_own(world: World) -> str:
    return world.put(world.wheel(files={"os.py": world.payload}))


@hostile("package-refused", "the package THROWAWAY")
def the_own_package_in_other_letters(world: World) -> str:
    return world.put(world.module(f"{world.name.upper()}.py"))


@hostile(IGNORED, "endings are written in small letters")
def an_ending_in_other_letters(world: World) -> str:
    wheel = world.wheel()
    return world.put(wheel.rename(wheel.with_suffix(".WHL")))


@hostile(IGNORED, "only .py files, .whl files and folders are taken")
def an_archive_of_another_kind(world: World) -> str:
    return world.put(world.module("evil.tar.gz"))


@hostile("name-unclear", "control characters, such as the end of a line")
def a_name_with_a_line_in_it(world: World) -> str:
    return world.put(world.module(f"{world.name}\nstate: live\n.py"), comment="a release")


@hostile("name-unclear", "\\u0455")
def a_name_with_a_letter_that_looks_like_another(world: World) -> str:
    return world.put(world.module("\N{CYRILLIC SMALL LETTER DZE}hop.py"))


@hostile("name-unclear", "\\ufb01")
def a_name_that_python_takes_for_another(world: World) -> str:
    return world.put(world.module("\N{LATIN SMALL LIGATURE FI}le.py"))


@hostile("name-unclear", "\\udcff")
def a_name_that_is_no_text(world: World) -> str:
    return world.put(world.module(os.fsdecode(b"shop\xff.py")), None)


@hostile("name-unclear", "the name '-rf.py'")
def a_name_that_looks_like_an_option(world: World) -> str:
    return world.put(world.module("-rf.py"))


@hostile("PatchError", "cannot be the name of a module")
def a_module_named_like_a_wheel(world: World) -> str:
    return world.put(world.module(f"{world.name}-1.1-py3-none-any.whl.py"))


@hostile(PENDING, ".py is not signed")
def a_module_beside_a_signed_wheel(world: World) -> str:
    wheel = world.wheel("1.1", "PRICE = 2\n")
    sign(wheel).rename(signature_of(world, wheel.name))
    wheel.rename(world.drops / wheel.name)
    return world.put(world.module(wheel.stem.replace("-", "_") + ".py"), None)


@hostile("WheelError", "is not a zip archive")
def a_module_named_as_a_wheel(world: World) -> str:
    return world.put(world.module(f"{world.name}-1.1-py3-none-any.whl"))


@hostile("SourceError", "not valid Python", signed=False)
def a_wheel_named_as_a_module(world: World) -> str:
    wheel = world.wheel()
    return world.put(wheel.rename(wheel.with_name(f"{world.name}.py")), None)


@hostile(NOTHING, "")
def a_name_too_long_for_a_marker(world: World) -> str:
    return world.put(world.module("a" * 249 + ".py"), None)


# --- wheels that were signed all the same ----------------------------------------------------------------------------


def entry(name: str, mode: int = 0o100644, data: bytes = b"x") -> tuple[zipfile.ZipInfo, bytes]:
    made = zipfile.ZipInfo(name)
    made.external_attr = mode << 16
    return made, data


@hostile("WheelError", "has '..' in its path")
def path_traversal(world: World) -> str:
    return world.put(world.wheel(files={"../../evil.py": "x"}))


@hostile("WheelError", "has an absolute path")
def absolute_path(world: World) -> str:
    return world.put(world.wheel(files={"/etc/evil.py": "x"}))


@hostile("WheelError", "has a backslash in its path")
def path_of_windows(world: World) -> str:
    return world.put(world.wheel(files={"..\\evil.py": "x"}))


@hostile("WheelError", "has control characters in its path")
def path_with_a_line_in_it(world: World) -> str:
    return world.put(world.wheel(extra=[entry(f"{world.name}/a\nb.py")]))


@hostile("too-large", "zeros is too large")
def zip_bomb(world: World) -> str:
    return world.put(world.wheel(files={f"{world.name}/zeros": b"\0" * 50_000_000}))


@hostile("WheelError", "cannot be unpacked")
def zip_bomb_that_lies_about_its_size(world: World) -> str:
    wheel = world.wheel(files={f"{world.name}/zeros": b"\0" * 10_000_000})
    true, false = struct.pack("<I", 10_000_000), struct.pack("<I", 1_000)
    return world.put(rewritten(wheel, lambda data: data.replace(true, false)))


@hostile("WheelError", "shares bytes of the archive with another entry")
def zip_bomb_of_entries_that_overlap(world: World) -> str:
    wheel = world.wheel()
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(f"{world.name}/kernel", b"\0" * 9_000)
        kernel = archive.filelist[-1]
        for number in range(5):
            twin = zipfile.ZipInfo(f"{world.name}/twin{number}")
            for fact in ("header_offset", "file_size", "compress_size", "CRC", "compress_type", "external_attr"):
                setattr(twin, fact, getattr(kernel, fact))
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
    return world.put(wheel)


@hostile("too-many-files", "it has more than 40 files")
def wheel_of_many_files(world: World) -> str:
    return world.put(world.wheel(files={f"{world.name}/part{number}.py": "x = 1\n" for number in range(60)}))


@hostile("WheelError", "is a symbolic link")
def wheel_with_a_link(world: World) -> str:
    return world.put(world.wheel(extra=[entry(f"{world.name}/link", stat.S_IFLNK | 0o777, b"/etc/passwd")]))


@hostile("WheelError", "is neither a file nor a folder")
def wheel_with_a_device(world: World) -> str:
    return world.put(world.wheel(extra=[entry(f"{world.name}/null", stat.S_IFCHR | 0o666)]))


@hostile("WheelError", "differ in case only")
def wheel_with_a_name_in_two_cases(world: World) -> str:
    return world.put(world.wheel(files={f"{world.name}/tax.py": "x", f"{world.name}/Tax.py": "y"}))


@hostile("WheelError", "is there twice")
def wheel_with_a_name_twice(world: World) -> str:
    return world.put(world.wheel(extra=[entry(f"{world.name}/__init__.py", data=world.payload.encode())]))


@hostile("WheelError", "does not have the sha256 hash that RECORD says")
def wheel_that_record_does_not_vouch_for(world: World) -> str:
    place = f"{world.name}/__init__.py"
    return world.put(world.wheel(tamper=lambda files: files.update({place: files[place].replace(b"666", b"667")})))


@hostile("WheelError", "is not listed in RECORD")
def wheel_with_a_file_too_many(world: World) -> str:
    return world.put(world.wheel(tamper=lambda files: files.update({f"{world.name}/evil.py": b"x"})))


@hostile("WheelError", "so nothing vouches for its files")
def wheel_without_record(world: World) -> str:
    return world.put(world.wheel(tamper=lambda files: files.pop(f"{world.name}-1.1.dist-info/RECORD")))


@hostile("WheelError", "is cut off")
def wheel_that_is_cut_off(world: World) -> str:
    return world.put(rewritten(world.wheel(), lambda data: data[: len(data) // 2]))


@hostile("WheelError", "its compression is neither")
def wheel_packed_in_another_way(world: World) -> str:
    return world.put(world.wheel(compression=zipfile.ZIP_LZMA))


@hostile("WheelError", "METADATA says Version: 1.1, the file name says 1.9")
def wheel_under_the_name_of_a_newer_one(world: World) -> str:
    wheel = world.wheel()
    return world.put(wheel.rename(wheel.with_name(wheel.name.replace("1.1", "1.9"))))


@hostile("RequirementError", "needs an interpreter for")
def wheel_for_another_interpreter(world: World) -> str:
    return world.put(world.wheel(tag="cp36-cp36m-win32"))


@hostile("RequirementError", "which is not installed")
def wheel_that_wants_something_else_installed(world: World) -> str:
    return world.put(world.wheel(requires=["evil-dependency>=6.6.6"]))


# --- files -----------------------------------------------------------------------------------------------------------


@hostile("link-symbolic", "what it leads to may be anything at any time")
def symbolic_link(world: World) -> str:
    wheel = world.wheel()
    sign(wheel).rename(signature_of(world, wheel.name))
    (world.drops / wheel.name).symlink_to(wheel)
    return wheel.name


@hostile("link-symbolic", "nothing.py is a symbolic link")
def symbolic_link_to_a_device(world: World) -> str:
    (world.drops / "nothing.py").symlink_to("/dev/zero")
    signature_of(world, "nothing.py").write_bytes(b"")
    return "nothing.py"


@hostile("link-hard", "is a hard link: the same file has 2 names")
def hard_link(world: World) -> str:
    wheel = world.wheel()
    sign(wheel).rename(signature_of(world, wheel.name))
    (world.drops / wheel.name).hardlink_to(wheel)
    return wheel.name


@hostile("not-a-file", "pipe.py is a pipe (FIFO)")
def pipe(world: World) -> str:
    os.mkfifo(world.drops / "pipe.py")
    return "pipe.py"


@hostile("not-a-file", "plug.py is a socket")
def unix_socket(world: World) -> str:
    with contextlib.chdir(world.drops), socket.socket(socket.AF_UNIX) as plug:
        plug.bind("plug.py")
    return "plug.py"


def device(world: World, name: str, kind: int, numbers: tuple[int, int]) -> str:
    try:
        os.mknod(world.drops / name, kind | 0o644, os.makedev(*numbers))
    except PermissionError:
        pytest.skip("only root may make devices, and not in every container")
    return name


@hostile("not-a-file", "null.py is a character device")
def character_device(world: World) -> str:
    return device(world, "null.py", stat.S_IFCHR, (1, 3))


@hostile("not-a-file", "disk.py is a block device")
def block_device(world: World) -> str:
    return device(world, "disk.py", stat.S_IFBLK, (7, 0))


@hostile("not-a-file", "shop.py is a folder")
def folder_named_as_a_module(world: World) -> str:
    folder = world.folder("shop.py")
    complete(folder.rename(world.drops / "shop.py"))
    return "shop.py"


@hostile("file-writable", "can be written by everybody (mode 0646)")
def file_that_everybody_may_write(world: World) -> str:
    wheel = world.wheel()
    wheel.chmod(0o646)
    return world.put(wheel)


@hostile("file-writable", "can be written by its group (mode 0664)")
def file_that_its_group_may_write(world: World) -> str:
    wheel = world.wheel()
    wheel.chmod(0o664)
    return world.put(wheel)


@hostile("file-writable", ".minisig can be written by everybody")
def signature_that_everybody_may_write(world: World) -> str:
    wheel = world.wheel()
    sign(wheel).chmod(0o666)
    wheel.with_name(f"{wheel.name}.minisig").rename(signature_of(world, wheel.name))
    return world.put(wheel, None)


@hostile("file-owner", "belongs to the user 54321, who is not trusted here")
def file_of_somebody_else(world: World) -> str:
    wheel = world.wheel()
    try:
        os.chown(wheel, 54321, 54321)
    except PermissionError:
        pytest.skip("only root may give files away")
    return world.put(wheel)


@hostile("too-large", "300,000 bytes; 200,000 are allowed")
def file_that_is_too_large(world: World) -> str:
    return world.put(rewritten(world.wheel(), lambda data: data + b"\0" * (300_000 - len(data))))


@hostile("kind-refused", "build is a folder; only file and wheel may be dropped here")
def folder_where_none_may_be(world: World) -> str:
    complete(world.folder().rename(world.drops / "build"))
    return "build"


# --- folders, where nothing has to be signed -------------------------------------------------------------------------


def folder(world: World, prepare: Callable[[Path], object]) -> str:
    made = world.folder(files={"hotswap.toml": "version = '1.1'\n"})
    prepare(made / world.name)
    complete(made.rename(world.drops / made.name))
    return made.name


@hostile("link-symbolic", "/link.py is a symbolic link", signed=False)
def folder_with_a_link(world: World) -> str:
    return folder(world, lambda package: (package / "link.py").symlink_to("/etc/passwd"))


@hostile("link-symbolic", "outside is a symbolic link", signed=False)
def folder_that_is_a_link(world: World) -> str:
    (world.drops / "outside").symlink_to(world.folder())
    return "outside"


@hostile("link-symbolic", "root is a symbolic link", signed=False)
def link_to_the_whole_disk(world: World) -> str:
    (world.drops / "root").symlink_to("/usr")
    return "root"


@hostile("link-hard", "/__init__.py is a hard link", signed=False)
def folder_with_a_hard_link(world: World) -> str:
    return folder(world, lambda package: (package / "twin.py").hardlink_to(package / "__init__.py"))


@hostile("not-a-file", "/pipe.py is a pipe", signed=False)
def folder_with_a_pipe(world: World) -> str:
    return folder(world, lambda package: os.mkfifo(package / "pipe.py"))


@hostile("too-many-files", "files and folders", signed=False)
def folder_of_many_files(world: World) -> str:
    return folder(world, lambda package: [(package / f"part{n}.py").write_text("x = 1\n") for n in range(300)])


@hostile("too-many-files", "lies too deep", signed=False)
def folder_of_many_folders(world: World) -> str:
    return folder(world, lambda package: (package / "/".join("d" * 36)).mkdir(parents=True))


@hostile("too-large", "large.txt is too large", signed=False)
def folder_that_is_too_large(world: World) -> str:
    return folder(world, lambda package: (package / "large.txt").write_bytes(b"x" * 300_000))


@hostile("file-writable", "/open can be written by everybody", signed=False)
def folder_with_a_folder_that_everybody_may_write(world: World) -> str:
    def opened(package: Path) -> None:
        (package / "open").mkdir()
        (package / "open").chmod(0o777)

    return folder(world, opened)


@hostile("ManifestError", "version has to be a PEP 440 version", signed=False)
def folder_with_a_wrong_manifest(world: World) -> str:
    made = world.folder(files={"hotswap.toml": "version = 'latest'\n"})
    complete(made.rename(world.drops / made.name))
    return made.name


@hostile("ManifestError", "modules does not name", signed=False)
def folder_with_a_module_too_many(world: World) -> str:
    manifest = f"version = '1.1'\nmodules = ['{world.name}']\n"
    made = world.folder(files={"hotswap.toml": manifest, f"{world.name}/evil.py": world.payload})
    complete(made.rename(world.drops / made.name))
    return made.name


@hostile("WheelError", "has '..' in its path", signed=False)
def unsigned_path_traversal(world: World) -> str:
    return world.put(world.wheel(files={"../../evil.py": "x"}), None)


@hostile("too-large", "zeros is too large", signed=False)
def unsigned_zip_bomb(world: World) -> str:
    return world.put(world.wheel(files={f"{world.name}/zeros": b"\0" * 50_000_000}), None)


@contextlib.contextmanager
def world_of(package: ModuleType, root: Path, *, signed: bool = True) -> Iterator[World]:
    """A world whose watch is at work."""
    world = World(package, root, signed=signed)
    with world.watch:
        yield world
