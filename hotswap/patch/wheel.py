"""Wheels: read once into memory, checked against everything that the format promises, and spread like an installer.

Nothing in a wheel is believed before RECORD has vouched for it, and nothing is written anywhere. Source: the binary
distribution format (PEP 427 and the specification that grew out of it).
"""

from __future__ import annotations

import io
import itertools
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from packaging.tags import Tag, sys_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from hotswap.errors import ManifestError, RequirementError, WheelError
from hotswap.patch.contents import MAX_SIZE, Contents, listed, read_file
from hotswap.patch.manifest import MANIFEST, MAX_MANIFEST, Manifest, parse_manifest
from hotswap.patch.metadata import DIST_INFO, Metadata, parse_metadata, stands_for
from hotswap.patch.names import is_litter, locate, unsafe
from hotswap.patch.records import check_record

__all__ = ["MAX_RATIO", "RATIO_FROM", "read_wheel", "wheel_of"]

MAX_RATIO = 100
"""How many times larger than the file its contents may be; zeros reach 1,000, real code about 10."""

RATIO_FROM = 16 * 1024 * 1024
"""Bytes that a wheel may always unpack to, whatever its ratio."""

_DATA = ".data"
_SCHEMES = frozenset({"purelib", "platlib", "scripts", "headers", "data"})
_ROOTS = frozenset({"purelib", "platlib"})

_LOCAL_HEADER = 30
"""Bytes in front of the name of an entry, at least."""

_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError,
    LookupError, OverflowError,
)  # fmt: skip
"""What `zipfile` raises, by experience, for archives that were damaged or made to hurt."""


def read_wheel(path: Path) -> Contents:
    """Return the contents of a wheel, and of the manifest `NAME.toml` beside it.

    Raises `WheelError` and `RequirementError`, as `wheel_of` does, and `ManifestError`.
    """
    beside = path.with_name(f"{path.name}.toml")
    return wheel_of(read_file(path, MAX_SIZE), path.name, read_file(beside, MAX_MANIFEST) if beside.exists() else None)


def wheel_of(data: bytes, file: str, beside: bytes | None = None) -> Contents:
    """Return the contents of a wheel.

    Arguments:
        data: its bytes.
        file: its name.
        beside: the bytes of the manifest that lies beside it, if there is one.

    Raises `WheelError` that names everything that is wrong with it, and `RequirementError` for a wheel that is sound
    but was built for another interpreter or system.
    """
    issues: list[str] = []
    name, version, tags = _stated(file, issues)
    files, broken = _unpacked(data, file, issues)
    info, metadata = _described(files, name, version, issues)
    if info is not None:
        issues += check_record(info, files, broken)
        files = _spread(files, info, issues)
    files = {path: data for path, data in files.items() if not any(map(is_litter, path.split("/")))}
    sources, extensions = locate(files)
    if not sources and not extensions:
        issues.append("holds no Python module")
    misfit = _misfit(tags)
    if issues or metadata is None or metadata.version is None:
        _refuse(file, [*issues, *misfit])
    if misfit:
        raise RequirementError(misfit, patch=f"{metadata.name} {metadata.version}")
    manifest = _manifest(files, f"{info}/{MANIFEST}", beside, file)
    if manifest is not None:
        manifest.hold_against([*sources, *extensions], metadata.version, f"the manifest of {file}")
    # A package without __init__.py is shared with other distributions: this wheel has its own portion of it only.
    whole = frozenset(module for module in (*sources, *extensions) if "." not in module)
    needs = (metadata.requires_python, metadata.requires)
    return Contents("wheel", metadata.name, metadata.version, files, whole, *needs, manifest=manifest)


def _manifest(files: dict[str, bytes], place: str, beside: bytes | None, file: str) -> Manifest | None:
    """Return what the wheel says of itself; what lies beside it becomes one of its files, and so part of the digest."""
    if beside is not None:
        if place in files:
            raise ManifestError(f"{file} has two manifests: {place} in it, and {file}.toml beside", advice="drop one")
        files[place] = beside
    return parse_manifest(files[place], f"the manifest of {file}") if place in files else None


def _refuse(file: str, issues: list[str]) -> NoReturn:
    raise WheelError(
        listed(file, issues),
        advice="nothing of it was used; build the wheel anew, and copy it whole before it gets its final name",
    )


def _stated(file: str, issues: list[str]) -> tuple[str | None, Version | None, frozenset[Tag]]:
    try:
        name, version, _, tags = parse_wheel_filename(file)
    except InvalidWheelFilename as error:
        issues.append(f"does not have the file name of a wheel, such as shop-1.2.1-py3-none-any.whl: {error}")
        return None, None, frozenset()
    return name, version, tags


def _misfit(tags: frozenset[Tag]) -> list[str]:
    """Return a sentence if a wheel with these tags does not fit this interpreter."""
    here = list(sys_tags())
    if not tags or not tags.isdisjoint(here):
        return []
    built = ", ".join(sorted(map(str, tags)))
    return [f"needs an interpreter for {built}, this one is {here[0]}"]


def _unpacked(data: bytes, file: str, issues: list[str]) -> tuple[dict[str, bytes], frozenset[str]]:
    """Return the files of the archive and the paths of those that cannot be read; refuse what cannot be unpacked."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _UNREADABLE as error:
        issues.append(f"is not a zip archive, or is cut off ({error})")
        _refuse(file, issues)
    with archive:
        entries = archive.infolist()
        issues += _dangers(entries)
        size = sum(entry.file_size for entry in entries)
        if size > MAX_SIZE:
            issues.append(f"unpacks to {size:,} bytes; {MAX_SIZE:,} are allowed")
            _refuse(file, issues)
        if size > RATIO_FROM and size > MAX_RATIO * len(data):
            issues.append(f"unpacks to {size // len(data):,} times its size; {MAX_RATIO} times are allowed")
            _refuse(file, issues)
        files: dict[str, bytes] = {}
        # `zipfile` refuses some of these, and only warns of others.
        broken = {entry.filename for entry in _overlapped(entries)}
        issues += [f"{name!r} shares bytes of the archive with another entry" for name in sorted(broken)]
        for entry in entries:
            if _is_folder(entry) or entry.filename in files or entry.filename in broken:
                continue
            try:
                files[entry.filename] = _entry(archive, entry)
            except _UNREADABLE as error:
                broken.add(entry.filename)
                issues.append(f"{entry.orig_filename!r} cannot be unpacked ({error})")
    return files, frozenset(broken)


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    # bzip2 and lzma are unpacked block by block, however large the blocks turn out to be; no build tool uses them.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError("its compression is neither 'stored' nor 'deflated'")
    with archive.open(entry) as handle:
        # With a limit, because without one the whole stream is unpacked before it is cut to the size it states.
        data = handle.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise EOFError("it ends too early")
    return data


def _overlapped(entries: Iterable[zipfile.ZipInfo]) -> Iterator[zipfile.ZipInfo]:
    """Yield the entries that reach into the next one: that is how a small archive unpacks to a large one."""
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    for entry, following in itertools.pairwise(ordered):
        least = _LOCAL_HEADER + len(entry.orig_filename) + entry.compress_size
        if entry.header_offset + least > following.header_offset:
            yield entry


def _dangers(entries: Iterable[zipfile.ZipInfo]) -> Iterator[str]:
    """Yield what is wrong with the names and kinds of an archive's entries."""
    known: dict[str, str] = {}
    parents: set[str] = set()
    for entry in entries:
        path = entry.orig_filename
        shown = repr(path)
        if issue := unsafe(path.removesuffix("/") if _is_folder(entry) else path):
            yield f"{shown} {issue}"
        elif entry.filename != path:
            yield f"{shown} is also named {entry.filename!r}"
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if stat.S_ISLNK(kind):
            yield f"{shown} is a symbolic link"
        elif kind and not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            yield f"{shown} is neither a file nor a folder"
        folded = _folded(path)
        parents.update(folded[:cut] for cut, character in enumerate(folded) if character == "/")
        if _is_folder(entry):
            if entry.file_size:
                yield f"{shown} is a folder with contents of its own"
            continue
        if (other := known.get(folded)) is not None:
            yield f"{shown} is there twice" if other == path else f"{shown} and {other!r} differ in case only"
        known[folded] = path
    for folded in sorted(parents & known.keys()):
        yield f"{known[folded]!r} is a file and a folder"


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    return entry.filename.endswith("/")  # ZipInfo.is_dir() of Python 3.11 fails for an empty name


def _folded(path: str) -> str:
    """Return what a path is on the file systems that know the fewest differences."""
    return unicodedata.normalize("NFC", path).casefold()


def _described(
    files: Mapping[str, bytes], name: str | None, version: Version | None, issues: list[str]
) -> tuple[str | None, Metadata | None]:
    """Return the wheel's `*.dist-info` folder and what it says, held against the file name."""
    infos = sorted({path.partition("/")[0] for path in files if path.partition("/")[0].endswith(DIST_INFO)})
    if len(infos) != 1:
        issues.append(f"has {len(infos)} *.dist-info folders instead of one{': ' if infos else ''}{', '.join(infos)}")
        return None, None
    (info,) = infos
    if name is not None and version is not None and not stands_for(info, DIST_INFO, name, version):
        issues.append(f"{info} does not agree with the file name, which says {name} {version}")
    issues += _format(files.get(f"{info}/WHEEL"))
    if f"{info}/METADATA" not in files:
        issues.append(f"has no {info}/METADATA")
        return info, None
    metadata = parse_metadata(files[f"{info}/METADATA"])
    issues += metadata.issues
    if name is not None and metadata.name and canonicalize_name(metadata.name) != name:
        issues.append(f"METADATA says Name: {metadata.name}, the file name says {name}")
    if version is not None and metadata.version is not None and metadata.version != version:
        issues.append(f"METADATA says Version: {metadata.version}, the file name says {version}")
    return info, metadata


def _format(wheel: bytes | None) -> list[str]:
    """Return what is wrong with the `WHEEL` file, which says by which edition of the format to read the rest."""
    if wheel is None:
        return ["has no WHEEL file beside its METADATA"]
    edition = re.search(rb"^Wheel-Version:[ \t]*(\d+)\.\d+", wheel, re.MULTILINE)
    if edition is None:
        return ["its WHEEL file has no Wheel-Version"]
    if edition[1] != b"1":
        return [f"is of Wheel-Version {edition[0].split()[-1].decode()}; hotswap reads 1.x"]
    return []


def _spread(files: Mapping[str, bytes], info: str, issues: list[str]) -> dict[str, bytes]:
    """Return the files where an installer puts them: `.data/purelib` and `.data/platlib` lie in the root.

    Scripts, headers and data for the whole system are left out: a running process has no use for them.
    """
    data = info.removesuffix(DIST_INFO) + _DATA
    spread: dict[str, bytes] = {}
    taken = {_folded(path) for path in files}
    for path, content in files.items():
        target = path
        if path.startswith(f"{data}/"):
            _, scheme, target = (*path.split("/", 2), "")[:3]
            if scheme not in _SCHEMES:
                issues.append(f"{path} is for {scheme!r}, which no installer knows")
            if scheme not in _ROOTS:
                continue
            if _folded(target) in taken:
                issues.append(f"{path!r} has the place of another file")
            taken.add(_folded(target))
        spread[target] = content
    return spread
