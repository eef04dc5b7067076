"""The manifest, `hotswap.toml`: what a patch says of itself beside its code.

It lies in a folder, in the `*.dist-info` of a wheel, or beside a wheel as `NAME.toml`; its keys stand at the top, or in
`[tool.hotswap]`, as in a `pyproject.toml`. What nobody knows is an error: a misspelt `allow_effect` must not be taken
for nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from hotswap.errors import ManifestError, PatchError
from hotswap.patch.contents import listed
from hotswap.patch.names import checked_module

__all__ = ["MANIFEST", "Manifest", "parse_manifest"]

MANIFEST = "hotswap.toml"
"""Its name in a folder and in a wheel."""

MAX_MANIFEST = 64 * 1024
"""Bytes that it may have."""

_OTHERS = frozenset({"build-system", "dependency-groups", "project"})
"""What else stands at the top of a `pyproject.toml`."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a manifest says. A fact; lives as long as the patch is being made."""

    version: Version | None = None
    modules: frozenset[str] | None = None
    """All modules that the patch holds; None where nothing is said of them."""
    keep: frozenset[str] = frozenset()
    replace: frozenset[str] = frozenset()
    allow_effects: frozenset[str] = frozenset()
    checks: tuple[str, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    note: str = ""

    def hold_against(self, modules: Collection[str], version: Version | None, where: str) -> None:
        """Raise ManifestError if it speaks of another patch.

        Arguments:
            modules: what the patch holds.
            version: what other metadata of the patch states, which it must not contradict; None where there is none.
            where: which manifest it is, for the error.
        """
        issues = []
        if self.modules is not None:
            issues += [f"modules names {name}, which is not in the patch" for name in sorted(self.modules - {*modules})]
            issues += [f"modules does not name {name}, which is" for name in sorted({*modules} - self.modules)]
        if version is not None and self.version not in (None, version):
            issues.append(f"version is {self.version}, the metadata say {version}")
        if issues:
            raise _refused(where, issues)


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest.

    Arguments:
        data: its bytes.
        where: which one it is, for the error.

    Raises ManifestError with everything that is wrong with it.
    """
    if len(data) > MAX_MANIFEST:
        raise _refused(where, [f"it has {len(data):,} bytes; {MAX_MANIFEST:,} are allowed"])
    try:
        document = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise _refused(where, [f"it is not TOML: {error}"]) from None
    issues: list[str] = []
    table = _table(document, issues)
    unknown = sorted(table.keys() - _KEYS.keys())
    known = ", ".join(_KEYS)
    issues += [f"{key!r} is a key that nobody knows; there are {known}" for key in unknown]
    found: dict[str, Any] = {}
    for key, read in _KEYS.items():
        if key in table:
            try:
                found[key] = read(table[key])
            except (TypeError, ValueError) as error:
                issues.append(f"{key} {error}")
    both = found.get("keep", frozenset()) & found.get("replace", frozenset())
    issues += [f"{name} can't be kept and replaced at once" for name in sorted(both)]
    if issues:
        raise _refused(where, issues)
    return Manifest(**found)


def _table(document: Mapping[str, Any], issues: list[str]) -> Mapping[str, Any]:
    """Return the table with the keys: the whole document, or `[tool.hotswap]` in it."""
    if "tool" not in document:
        return document
    table = document["tool"].get("hotswap") if isinstance(document["tool"], dict) else None
    if not isinstance(table, dict):
        issues.append("it has a table [tool], and no [tool.hotswap] in it")
        table = {}
    strangers = sorted(document.keys() - {"tool"} - _OTHERS)
    issues += [f"{key!r} stands outside of [tool.hotswap]" for key in strangers]
    return table


def _refused(where: str, issues: list[str]) -> ManifestError:
    advice = f"mend {where}; docs/reference/manifest.md has every key"
    return ManifestError(listed(where, issues), advice=advice)


# --- values: each returns what was meant, or raises TypeError or ValueError with the end of a sentence ---------------


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"has to be a text, not {value!r}")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError(f"has to be a list of texts, not {value!r}")
    doubles = sorted({one for one in value if value.count(one) > 1})
    if doubles:
        raise ValueError(f"names {', '.join(doubles)} twice")
    return value


def _version(value: object) -> Version:
    try:
        return Version(_text(value))
    except InvalidVersion:
        raise ValueError(f"has to be a PEP 440 version, such as '1.3.0', not {value!r}") from None


def _modules(value: object) -> frozenset[str]:
    names = _texts(value)
    if not names:
        raise ValueError("names none")
    for name in names:
        _module(name)
    return frozenset(names)


def _module(name: str) -> None:
    try:
        checked_module(name)
    except PatchError as error:
        raise ValueError(f"has a wrong name: {error.reason}") from None


def _places(value: object) -> frozenset[str]:
    # `shop.cache:CACHE`; whether there is such a module is known once the patch is there.
    return frozenset(_texts(value))


def _effects(value: object) -> frozenset[str]:
    return frozenset(_texts(value))


def _checks(value: object) -> tuple[str, ...]:
    names = _texts(value)
    for name in names:
        module, colon, function = name.partition(":")
        if not colon or not function.isidentifier() or iskeyword(function):
            raise ValueError(f"has {name!r}, which is no function such as 'shop.checks:prices_are_positive'")
        _module(module)
    return tuple(names)


def _requirements(value: object) -> tuple[Requirement, ...]:
    found = []
    for text in _texts(value):
        try:
            found.append(Requirement(text))
        except InvalidRequirement:
            raise ValueError(f"has {text!r}, which is no PEP 508 requirement such as 'httpx>=0.27'") from None
    return tuple(found)


def _note(value: object) -> str:
    text = _text(value).strip()
    if len(text) > 2000 or re.search(r"[^\S \n\t]|[\x00-\x08\x0e-\x1f\x7f]", text):
        raise ValueError("has to be at most 2,000 characters of plain text: it is shown in logs and histories")
    return text


_KEYS: dict[str, Callable[[object], object]] = {
    "version": _version,
    "modules": _modules,
    "keep": _places,
    "replace": _places,
    "allow_effects": _effects,
    "checks": _checks,
    "requirements": _requirements,
    "note": _note,
}
"""Every key, and how its value is read."""
