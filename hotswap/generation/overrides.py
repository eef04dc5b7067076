"""Overrides: what a patch says about single names, put into words that the comparison of definitions understands.

A name that is kept gets the definition that it has in the live version; one that is replaced gets a definition that
nothing equals. So everything that depends on the comparison follows: data that was computed from it, class bodies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from hotswap.errors import PatchError
from hotswap.generation.definitions import Definitions, Kind, analyse
from hotswap.generation.live import Live
from hotswap.patch import Patch, decode

__all__ = ["override"]


def override(definitions: Mapping[str, Definitions], live: Live, patch: Patch) -> None:
    """Change the new definitions of the names that a patch keeps or replaces whatever their definitions say.

    Arguments:
        definitions: of the changed modules, as they are in the patch.
        live: the managed modules; of one that nobody has imported there is nothing to keep.
        patch: says which.

    Raises PatchError, with everything that is wrong, for names that are no data in both versions; where nothing is
    compared (the module is the same in both, or was not imported yet), for those that are none in the patch.
    """
    issues: list[str] = []
    for name in sorted(patch.keep | patch.replace):
        module, _, path = name.partition(":")
        entry = live.get(module)
        *classes, attribute = path.split(".")
        if entry is None or (module not in definitions and name in patch.keep):
            source = patch.sources.get(module)
            if source is not None:  # a misspelt name must not be taken for nothing
                there = _body(analyse(decode(source.data), module, package=source.package), classes)
                issues += _issues(name, attribute, new=there)
            continue
        before, after = _body(entry.definitions, classes), _body(definitions[module], classes)
        issues += _issues(name, attribute, live=before, new=after)
        if before is None or after is None or attribute not in before.bindings or attribute not in after.bindings:
            continue
        old, new = before.bindings[attribute], after.bindings[attribute]
        if name in patch.keep:
            after.bindings[attribute] = replace(new, text=old.text, touches=old.touches, reads=frozenset())
            after.followers.discard(attribute)
            after.starred.discard(attribute)
        else:
            after.bindings[attribute] = replace(new, text=(*new.text, "replaced"))
    if issues:
        raise PatchError(
            "the patch keeps or replaces what it can't: " + "; ".join(issues),
            patch=patch.label,
            advice="name data, as module:name or module:Class.attribute",
        )


_WORDS: Mapping[Kind | None, str] = {
    Kind.IMPORT: "name that is imported",
    Kind.FUNCTION: "function",
    Kind.CLASS: "class",
}


def _issues(name: str, attribute: str, **versions: Definitions | None) -> Iterator[str]:
    """What is wrong with a name in some versions, each with what says so: all but that it is data."""
    for which, body in versions.items():
        if body is None or body.kind(attribute) is None:
            yield f"{name}: no statement of the {which} version binds it"
        elif body.kind(attribute) is not Kind.DATA:
            yield f"{name}: it is no data in the {which} version, but a {_WORDS[body.kind(attribute)]}"


def _body(definitions: Definitions, classes: list[str]) -> Definitions | None:
    found: Definitions | None = definitions
    for name in classes:
        found = None if found is None else found.classes.get(name)
    return found
