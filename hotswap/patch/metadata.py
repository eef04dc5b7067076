"""The metadata of distributions: `METADATA` in a wheel, and the `*.dist-info` folders beside installed packages."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.metadata import parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

__all__ = ["DIST_INFO", "Metadata", "choose", "parse_metadata", "stands_for"]

DIST_INFO = ".dist-info"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a `METADATA` file says. `issues` holds a sentence for each thing in it that cannot be used."""

    name: str
    version: Version | None
    requires_python: SpecifierSet | None
    requires: tuple[Requirement, ...]
    issues: tuple[str, ...]


def parse_metadata(data: bytes) -> Metadata:
    """Read the fields of a `METADATA` file that a patch is judged by; what is wrong with them is in `issues`."""
    raw, _ = parse_email(data)
    issues = []
    name = raw.get("name", "")
    if not name:
        issues.append("METADATA does not give one Name")
    version = requires_python = None
    try:
        version = Version(raw.get("version", ""))
    except InvalidVersion:
        issues.append(f"METADATA does not give one valid Version, but {raw.get('version', '')!r}")
    if "requires_python" in raw:
        try:
            requires_python = SpecifierSet(raw["requires_python"])
        except InvalidSpecifier:
            issues.append(f"METADATA has an invalid Requires-Python: {raw['requires_python']!r}")
    requires = []
    for text in raw.get("requires_dist", ()):
        try:
            requires.append(Requirement(text))
        except InvalidRequirement:
            issues.append(f"METADATA has an invalid Requires-Dist: {text!r}")
    return Metadata(name, version, requires_python, tuple(requires), tuple(issues))


def stands_for(folder: str, suffix: str, name: str, version: Version) -> bool:
    """Whether a folder such as ``shop-1.2.dist-info`` is that of a distribution, whatever the spelling."""
    stem, dash, written = folder.removesuffix(suffix).rpartition("-")
    if not dash or not folder.endswith(suffix) or canonicalize_name(stem) != canonicalize_name(name):
        return False
    try:
        return Version(written) == version
    except InvalidVersion:
        return False


def _provided(files: Mapping[str, bytes]) -> set[str]:
    """Return the top-level names that a `*.dist-info` claims in RECORD or top_level.txt; empty if it has neither."""
    names: set[str] = set()
    try:
        for row in csv.reader(io.StringIO(files.get("RECORD", b"").decode())):
            first, slash, _ = row[0].partition("/") if row else ("", "", "")
            if slash or first.endswith(".py"):
                names.add(first if slash else first.removesuffix(".py"))
        names.update(files.get("top_level.txt", b"").decode().split())
    except (UnicodeDecodeError, csv.Error):
        return set()
    return {name for name in names if name.isidentifier()}


def choose(infos: Mapping[str, Mapping[str, bytes]], tops: Iterable[str]) -> str | None:
    """Return which of several `*.dist-info` folders speaks of the packages beside them.

    Arguments:
        infos: folder name -> its files (file name -> bytes).
        tops: the top-level names of the packages.

    It is the only one that claims all of them, or else the only one that is named like one of them. A single folder
    is taken unless it claims other packages only. None if that decides nothing: no metadata is better than that of
    another distribution.
    """
    packages = set(tops)
    claims = {folder: _provided(files) for folder, files in infos.items() if "METADATA" in files}
    if len(claims) == 1:
        folder, claimed = next(iter(claims.items()))
        return folder if not claimed or claimed & packages else None
    names = {canonicalize_name(name) for name in packages}
    all_of_them = [folder for folder, claimed in claims.items() if packages <= claimed]
    like_them = [
        folder for folder in claims if canonicalize_name(folder.removesuffix(DIST_INFO).rpartition("-")[0]) in names
    ]
    return next((found[0] for found in (all_of_them, like_them) if len(found) == 1), None)
