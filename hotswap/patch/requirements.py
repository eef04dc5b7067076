"""What a patch requires of the process that takes it, held against what is there."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Iterator

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

__all__ = ["unmet"]


def unmet(name: str, requires_python: SpecifierSet | None, requires: Iterable[Requirement]) -> list[str]:
    """Return a sentence for each requirement that this process does not meet.

    Arguments:
        name: the patch's own name: what it requires of itself (extras that name each other) is its own affair.
        requires_python: the versions of Python that it runs on.
        requires: what has to be installed. Markers are evaluated here; extras of the patch itself are not asked for,
            and what the extras of others need (``httpx[http2]``) has to be there too.

    Whatever is installed counts, pre-releases too: somebody decided for them when they installed them.
    """
    sentences = []
    python = platform.python_version()
    # An interpreter built between two releases calls itself "3.13.0+", which is no PEP 440 version.
    if requires_python is not None and not requires_python.contains(python.removesuffix("+"), prereleases=True):
        sentences.append(f"needs Python {requires_python}, this is {python}")
    sentences += _Wanted(canonicalize_name(name)).unmet(requires)
    return sentences


class _Wanted:
    """What is asked for, through extras of extras.

    Arguments:
        own: the patch's own name: what it requires of itself is its own affair.
    """

    def __init__(self, own: str) -> None:
        self._own = own
        self._seen: set[tuple[str, str]] = set()

    def unmet(self, requires: Iterable[Requirement], extra: str = "", whose: str = "") -> Iterator[str]:
        """Yield a sentence for each requirement that is not met, and for those of the extras that they ask for.

        Arguments:
            requires: the requirements.
            extra: the extra for which they are looked at, "" for none.
            whose: says of whom they are, if not of the patch itself.
        """
        for requirement in requires:
            if canonicalize_name(requirement.name) == self._own:
                continue
            try:
                if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                    continue
            except (UndefinedComparison, UndefinedEnvironmentName) as error:
                yield f"needs {requirement}{whose}, whose marker cannot be evaluated: {error}"
                continue
            sentence = _lacking(requirement, whose)
            if sentence is not None:
                yield sentence
                continue
            for wanted in sorted(requirement.extras):
                yield from self._of_extra(requirement.name, wanted)

    def _of_extra(self, name: str, extra: str) -> Iterator[str]:
        """Yield a sentence for each requirement of an installed distribution's extra that is not met."""
        key = canonicalize_name(name), canonicalize_name(extra)
        if key in self._seen:
            return
        self._seen.add(key)
        distribution = importlib.metadata.distribution(name)
        if key[1] not in {canonicalize_name(found) for found in distribution.metadata.get_all("Provides-Extra") or ()}:
            yield f"needs {name}[{extra}], but {name} {distribution.version} has no extra of that name"
            return
        # What it needs without the extra is the affair of whoever installed it.
        needed = [requirement for requirement in _parsed(distribution.requires or ()) if _is_for_extra(requirement)]
        yield from self.unmet(needed, extra, f" (for {name}[{extra}])")


def _parsed(lines: Iterable[str]) -> Iterator[Requirement]:
    for line in lines:
        try:
            yield Requirement(line)
        except InvalidRequirement:
            continue  # damaged metadata of what is installed already: nobody can say what it asks for


def _is_for_extra(requirement: Requirement) -> bool:
    return requirement.marker is not None and "extra" in str(requirement.marker)


def _lacking(requirement: Requirement, whose: str) -> str | None:
    wanted = f"needs {requirement.name}{requirement.specifier}{whose}"
    try:
        found = importlib.metadata.version(requirement.name)
        met = requirement.specifier.contains(Version(found), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return f"{wanted}, which is not installed"
    except (InvalidVersion, TypeError, KeyError):  # damaged metadata has no version at all
        return f"{wanted}, which is installed without a valid version"
    return None if met else f"{wanted}, found {found}"
