"""What a patch requires of the process that takes it, held against what is there."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

__all__ = ["unmet"]


def unmet(name: str, requires_python: SpecifierSet | None, requires: Iterable[Requirement]) -> list[str]:
    """Return a sentence for each requirement that this process does not meet.

    Arguments:
        name: the patch's own name: what it requires of itself (extras that name each other) is its own affair.
        requires_python: the versions of Python that it runs on.
        requires: what has to be installed. Markers are evaluated here; extras are not asked for.

    Whatever is installed counts, pre-releases too: somebody decided for them when they installed them.
    """
    sentences = []
    python = platform.python_version()
    # An interpreter built between two releases calls itself "3.13.0+", which is no PEP 440 version.
    if requires_python is not None and not requires_python.contains(python.removesuffix("+"), prereleases=True):
        sentences.append(f"needs Python {requires_python}, this is {python}")
    own = canonicalize_name(name)
    for requirement in requires:
        if canonicalize_name(requirement.name) == own:
            continue
        try:
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
        except (UndefinedComparison, UndefinedEnvironmentName) as error:
            sentences.append(f"needs {requirement}, whose marker cannot be evaluated: {error}")
            continue
        if sentence := _lacking(requirement):
            sentences.append(sentence)
    return sentences


def _lacking(requirement: Requirement) -> str | None:
    wanted = f"needs {requirement.name}{requirement.specifier}"
    try:
        found = importlib.metadata.version(requirement.name)
        met = requirement.specifier.contains(Version(found), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return f"{wanted}, which is not installed"
    except (InvalidVersion, TypeError, KeyError):  # damaged metadata has no version at all
        return f"{wanted}, which is installed without a valid version"
    return None if met else f"{wanted}, found {found}"
