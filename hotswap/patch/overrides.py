"""Names of which a patch says itself what becomes of them: ``shop.cache:CACHE``, ``shop.cache:Cache.size``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from keyword import iskeyword

from hotswap.errors import PatchError
from hotswap.patch.contents import listed

__all__ = ["checked_overrides", "moved_overrides", "override_parts"]


def checked_overrides(keep: object, replace: object, modules: Collection[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return both sets of names.

    Arguments:
        keep, replace: what was given for them.
        modules: the modules of the patch.

    Raises `PatchError`, with everything that is wrong: no names, modules that the patch lacks, names that are to be
    kept and replaced at once.
    """
    issues: list[str] = []
    found = [frozenset(_names(given, title, issues)) for title, given in (("keep", keep), ("replace", replace))]
    for name in sorted(found[0] | found[1]):
        module, _, path = name.partition(":")
        parts = [*module.split("."), *path.split(".")]
        if not all(part.isidentifier() and not iskeyword(part) for part in parts):
            issues.append(f"{name!r} is no name such as 'shop.cache:CACHE'")
        elif module not in modules:
            issues.append(f"{name}: there is no module {module} in it")
    issues += [f"{name} can't be kept and replaced at once" for name in sorted(found[0] & found[1])]
    if issues:
        raise PatchError(listed("the patch keeps or replaces what it can't", issues))
    return found[0], found[1]


def _names(given: object, title: str, issues: list[str]) -> Iterator[str]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        issues.append(f"{title} has to be several names, such as ['shop.cache:CACHE'], not {given!r}")
        return
    for name in given:
        if isinstance(name, str):
            yield name
        else:
            issues.append(f"{name!r} is no name such as 'shop.cache:CACHE'")


def moved_overrides(names: Iterable[str], old: str, new: str) -> frozenset[str]:
    """Return the names after the module `old`, and what lies below it, has become `new`."""
    found = set()
    for name in names:
        module, _, path = name.partition(":")
        inside = module == old or module.startswith(f"{old}.")
        found.add(f"{new}{module[len(old) :]}:{path}" if inside else name)
    return frozenset(found)


def override_parts(keep: frozenset[str], replace: frozenset[str]) -> Iterator[bytes]:
    """The parts of the digest; none where there are no such names, so that other patches keep theirs."""
    for title, names in ((b"keep", keep), (b"replace", replace)):
        if names:
            yield title
            yield b"%d" % len(names)
            yield from (name.encode() for name in sorted(names))
