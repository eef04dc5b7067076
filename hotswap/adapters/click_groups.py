"""Click: the groups that no module has a name for: that of an application of Flask, or one that a function makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from click import Command, Group

from hotswap import walk
from hotswap.swap import Facts, Kept

__all__ = ["below", "holders_of", "named", "paired"]


def paired(facts: Facts) -> dict[int, Kept]:
    """Return the commands that stay, by their ids: those that modules define, and groups in objects that stay.

    Groups that are found in both versions in the same place, as an attribute of an object that stays or in a group, are
    the same: others hold the living one. What the candidate holds of their twins leads to them then.
    """
    kept = {id(pair.living): pair for pair in facts.kept if issubclass(type(pair.living), Command)}
    taken = {id(pair.twin) for pair in kept.values()}
    named = {id(value) for module in facts.old.values() for value in list(module.__dict__.values())}
    waiting = list(facts.kept)
    while waiting:
        for pair in _within(waiting.pop()):
            if id(pair.living) not in kept and id(pair.living) not in named and id(pair.twin) not in taken:
                facts.redirect(pair.twin, pair.living)
                kept[id(pair.living)] = pair
                taken.add(id(pair.twin))
                waiting.append(pair)
    return kept


def holders_of(facts: Facts) -> dict[int, list[Any]]:
    """Return the objects that changed modules have names for and that a group is in, as an attribute, by its id."""
    found: dict[int, list[Any]] = {}
    for module in (*facts.old.values(), *facts.removed.values()):
        for holder in list(module.__dict__.values()):
            for held in list((walk.instance_dict(holder) or {}).values()):
                if issubclass(type(held), Group):
                    for group in below(held):
                        found.setdefault(id(group), []).append(holder)
    return found


def named(facts: Facts) -> list[Any]:
    """Return the commands that changed modules have names for: statements that are gone may have set something."""
    modules = (*facts.old.values(), *facts.removed.values())
    values = (value for module in modules for value in list(module.__dict__.values()))
    return list({id(value): value for value in values if issubclass(type(value), Command)}.values())


def below(command: Any) -> list[Any]:
    """Return a command, and the commands in it."""
    found = {id(command): command}
    waiting = [command]
    while waiting:
        inner = list((waiting.pop().__dict__.get("commands") or {}).values())
        waiting += [each for each in inner if id(each) not in found]
        found.update((id(each), each) for each in inner)
    return list(found.values())


def _within(pair: Kept) -> Iterator[Kept]:
    """The groups in two versions of one object."""
    before, after = walk.instance_dict(pair.living) or {}, walk.instance_dict(pair.twin) or {}
    tables = [(before, after, pair.touched)]
    if issubclass(type(pair.living), Group):
        # What makes one of these is a decorator or a function, which tells nothing of what it was told.
        tables = [(before.get("commands") or {}, after.get("commands") or {}, True)]
    for living, twin, touched in tables:
        for name, group in list(twin.items()):
            there = living.get(name)
            if there is not group and issubclass(type(group), Group) and type(there) is type(group):
                yield Kept(group, there, touched)
