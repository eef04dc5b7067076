"""Comparison: what is the same in two versions of a module, statement by statement.

A definition that did not change keeps its object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from operator import attrgetter

from hotswap import walk
from hotswap.generation.definitions import Binding, Definitions, Kind

__all__ = [
    "changed_class_data",
    "changes_its_heirs",
    "is_counted",
    "is_enumeration",
    "is_used",
    "made_anew",
    "unchanged",
]

_AUTO = re.compile(r"value=Call\(func=(Name\(id='auto'|Attribute\(value=Name\(id='enum', ctx=Load\(\)\), attr='auto')")


def unchanged(
    name: str,
    old: Definitions,
    new: Definitions,
    foreign: Container[str] = (),
    lasting: Container[str] = (),
    *,
    of: Callable[[Binding], frozenset[str]] = attrgetter("reads"),
) -> bool:
    """Return whether the definition of `name` is the same in both bodies, and so is the data that it reads.

    A change in a function or class that the definition calls is not a change of the definition. Each name that is
    reached is looked at once or twice: the statements of one block may all read each other.

    Arguments:
        name: the name in question; it must be bound in both bodies.
        old, new: the two bodies.
        foreign: the imported names and dotted reads that stand for changed data.
        lasting: names and dotted reads whose object is the same one in both versions, though its value is not. A
            definition that merely holds it is the same; one that uses it in another way is not, and neither is one
            that uses in another way what holds it.
        of: gives what matters of what the statements of the definition itself read: all, `made_of`, or `anew`. Of what
            is merely held it is always that what makes the object anew.
    """
    reached, stack = {name: False}, [(name, False)]  # whether more is used of it than that it is there
    while stack:
        current, looked_into = stack.pop()
        before, after = old.bindings.get(current), new.bindings.get(current)
        if before is None or after is None or before.text != after.text:
            return False
        for read in of(after) if current == name else after.reads if looked_into else after.anew:
            used = looked_into or is_used(read, after.reads)
            lasts = not used and (read in lasting or read.removesuffix("*") in lasting)
            if not lasts and (read in foreign or _class_data_changed(read, old, new)):
                return False
            kinds = (old.kind(read), new.kind(read))
            if kinds == (None, None):
                continue
            if kinds[0] is not kinds[1]:
                return False
            if kinds[1] is Kind.DATA and not reached.get(read, False) and (used or read not in reached):
                reached[read] = used
                stack.append((read, used))
            origins = (old.froms.get(read), old.modules.get(read)), (new.froms.get(read), new.modules.get(read))
            if kinds[1] is Kind.IMPORT and origins[0] != origins[1]:
                return False
    return True


def made_anew(value: object) -> Callable[[Binding], frozenset[str]]:
    """Return what gives the reads that make an object anew if they differ, as `of` of `unchanged`.

    What statements set of an object is followed. A class is paired with that of the other version.

    Arguments:
        value: the living object.
    """
    return attrgetter("reads" if walk.is_class(value) or type(value) in walk.UNIQUE_NEVER else "anew")


def is_used(read: str, reads: Container[str]) -> bool:
    """Whether a definition does more with what it reads than to hold it.

    Arguments:
        read: what it reads.
        reads: all that it reads, as `reads_of` says it.
    """
    return f"{read.removesuffix('*')}!" in reads


def _class_data_changed(read: str, old: Definitions, new: Definitions) -> bool:
    """Whether a read of a class sees other data: ``Limits.MAX``; or ``list(Colour)``, where members have changed."""
    name, _, attribute = read.removesuffix("*").partition(".")
    if name == read or old.kind(name) is not Kind.CLASS or new.kind(name) is not Kind.CLASS:
        return False
    changed = changed_class_data(name, old, new)
    return attribute in changed if attribute else bool(changed) and is_enumeration(name, new)


def changed_class_data(name: str, old: Definitions, new: Definitions) -> set[str]:
    """Return the attributes of a class whose data differ, are added or are gone."""
    before, after = old.classes.get(name) or Definitions(), new.classes.get(name) or Definitions()
    return _counted_otherwise(before, after) | {
        attribute
        for attribute in before.bindings.keys() | after.bindings.keys()
        if Kind.DATA in (before.kind(attribute), after.kind(attribute)) and not unchanged(attribute, before, after)
    }


def _counted_otherwise(before: Definitions, after: Definitions) -> set[str]:
    """The members of an enumeration whose value is counted (``auto()``), and that others have come before, or left."""
    bodies = [[(n, b.text) for n, b in body.bindings.items() if b.kind is Kind.DATA] for body in (before, after)]
    start = next((n for n, (one, other) in enumerate(zip(*bodies, strict=False)) if one != other), None)
    if start is None:
        return set()
    return {name for body in bodies for name, texts in body[start:] if any(is_counted(text) for text in texts)}


def is_counted(text: str) -> bool:
    """Whether a statement, as a dump, gives a member of an enumeration the next value."""
    return _AUTO.search(text) is not None


def is_enumeration(name: str, definitions: Definitions) -> bool:
    """Return whether a class says that it is an enumeration."""
    return any("Enum" in head or "Flag" in head for head in definitions.bindings[name].head)


_HOOKS = frozenset({"__init_subclass__", "__set_name__", "__prepare__", "__class_getitem__"})
_HOOKS_OF_METACLASSES = _HOOKS | {"__new__", "__init__", "__call__"}


def changes_its_heirs(name: str, old: Definitions, new: Definitions) -> bool:
    """Whether a class has changed in what others take from it when they are made: subclasses, owners of descriptors.

    These are its fields (annotated names), its decorators and bases, the hooks that are called when a class is made,
    and the members of a protocol.
    """
    heads = [definitions.bindings[name].head for definitions in (old, new)]
    if heads[0] != heads[1]:
        return True
    head = " ".join(heads[1])
    before, after = old.classes.get(name) or Definitions(), new.classes.get(name) or Definitions()
    hooks = _HOOKS_OF_METACLASSES if "id='type'" in head or "Meta" in head else _HOOKS
    if "Protocol" in head and before.bindings.keys() != after.bindings.keys():
        return True
    for member in before.bindings.keys() | after.bindings.keys():
        texts = [body.bindings[member].text if member in body.bindings else () for body in (before, after)]
        annotated = any(text.startswith("AnnAssign") for text in (*texts[0], *texts[1]))
        if texts[0] != texts[1] and (member in hooks or annotated):
            return True
    return False
