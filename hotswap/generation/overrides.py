"""Overrides: what a patch says about single names, put into words that the comparison of definitions understands.

A name that is kept gets the definition that it has in the live version; one that is replaced gets a definition that
nothing equals. So everything that depends on the comparison follows: data that was computed from it, class bodies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hotswap.errors import PatchError
from hotswap.generation.definitions import Definitions, Kind
from hotswap.generation.live import Live
from hotswap.patch import Patch

__all__ = ["override"]


def override(definitions: Mapping[str, Definitions], live: Live, patch: Patch) -> None:
    """Change the new definitions of the names that a patch keeps or replaces whatever their definitions say.

    Arguments:
        definitions: of the changed modules, as they are in the patch.
        live: the managed modules; of one that nobody has imported there is nothing to keep.
        patch: says which.

    Raises PatchError, with everything that is wrong, for names that are no data in both versions.
    """
    issues = []
    for name in sorted(patch.keep | patch.replace):
        module, _, path = name.partition(":")
        entry = live.get(module)
        if entry is None or (module not in definitions and name in patch.keep):
            continue
        *classes, attribute = path.split(".")
        before, after = _body(entry.definitions, classes), _body(definitions[module], classes)
        for which, body in (("live", before), ("new", after)):
            if body is None or body.kind(attribute) is None:
                issues.append(f"{name}: no statement of the {which} version binds it")
            elif body.kind(attribute) is not Kind.DATA:
                issues.append(f"{name}: it is no data in the {which} version, but a {_WORDS[body.kind(attribute)]}")
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


def _body(definitions: Definitions, classes: list[str]) -> Definitions | None:
    found: Definitions | None = definitions
    for name in classes:
        found = None if found is None else found.classes.get(name)
    return found
