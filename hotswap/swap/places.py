"""Places: where modules say that they lie, submodules, and modules that go with their version."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import GONE, Candidate, Late, Live, added_places, with_places
from hotswap.swap.contents import Kept
from hotswap.swap.forwarding import SupersededModule
from hotswap.swap.writes import Writes

__all__ = ["adopt_children", "lead_modules", "put_aliases", "put_in_place", "relocate", "take_back"]

_SET_CLASS = object.__dict__["__class__"].__set__


def put_in_place(
    old: Mapping[str, ModuleType], new: Mapping[str, ModuleType], removed: Iterable[str], writes: Writes
) -> None:
    """Put new modules into `sys.modules` and into their parents, and have the objects of the old ones forward to them.

    Arguments:
        old, new: the modules of both generations.
        removed: the names of the modules that go without a successor.
        writes: receives the writes.
    """
    for name, module in new.items():
        writes.item(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        before = old.get(name)
        if parent and parent not in new and parent in sys.modules:
            facts = sys.modules[parent].__dict__
            # What an unchanged package has bound to the name after the import of the submodule stays.
            if before is None or facts.get(child, before) is before:
                writes.item(facts, child, module)
        if before is not None:
            writes.both([(_SET_CLASS, before, SupersededModule)], [(_SET_CLASS, before, type(before))])
            writes.both([(_SET_CLASS, module, ModuleType)], [(_SET_CLASS, module, SupersededModule)])
    gone = {*removed}
    for name in gone:
        writes.drop(sys.modules, name)
        parent, _, child = name.rpartition(".")
        if parent in sys.modules and parent not in new and parent not in gone:
            writes.drop(sys.modules[parent].__dict__, child)


def put_aliases(
    candidate: Candidate,
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    translate: Callable[[Any], Any],
    writes: Writes,
) -> None:
    """Put what the candidate's bodies have set in `sys.modules` there, and lead other names of old modules to new ones.

    Arguments:
        candidate: what is to become live.
        old, new: the modules of both generations.
        translate: gives the living object for a dropped twin, and the module for a view of it.
        writes: receives the writes.
    """
    for name, value in candidate.world.aliases.items():
        if name in new:
            continue  # it has become a module
        if value is GONE:
            writes.drop(sys.modules, name)
        else:
            writes.item(sys.modules, name, translate(value))
    led = {id(module): new[name] for name, module in old.items()}
    for name, entry in list(sys.modules.items()):
        if id(entry) in led and name not in new and name not in candidate.world.aliases and name != "__main__":
            writes.item(sys.modules, name, led[id(entry)])


def relocate(live: Live, candidate: Candidate, writes: Writes) -> None:
    """Have unchanged modules speak of the new version in `__file__`, `__path__` and `__spec__`, as package data does.

    Arguments:
        live: the managed modules as they run now.
        candidate: what is to become live.
        writes: receives the writes.
    """
    for entry in live:
        if entry.name in candidate.modules or entry.name in candidate.removed or not entry.plain or entry.extension:
            continue
        spec = candidate.tree.spec(entry.name)
        if spec is not None:
            added = added_places(live, entry.name, candidate.tree.package_path(entry.name))
            _place(entry.module, with_places(spec, added), writes)


def take_back(late: Late, old: Mapping[str, ModuleType], returning: Mapping[str, ModuleType], writes: Writes) -> None:
    """Take modules that were imported since a swap out of the process, or to where the generation before has them.

    Arguments:
        late: these modules.
        old: the modules of the generation before.
        returning: the old versions of modules that were imported since, which come back in the same commit.
        writes: receives the writes.
    """
    for name, module in returning.items():
        parent, _, child = name.rpartition(".")
        if parent in old:
            writes.item(_namespace(old[parent]), child, module)
    for name in late.dropped:
        parent, _, child = name.rpartition(".")
        writes.drop(sys.modules, name)
        if parent in sys.modules:
            writes.drop(_namespace(sys.modules[parent]), child)
    for name, spec in late.moved.items():
        if name in returning:
            continue
        parent, _, child = name.rpartition(".")
        _place(sys.modules[name], spec, writes)
        writes.item(sys.modules, name, sys.modules[name])  # it may be one that the swap has brought in
        above = old.get(parent) or sys.modules.get(parent)
        if above is not None:
            writes.item(_namespace(above), child, sys.modules[name])
    for name in late.stay:
        parent, _, child = name.rpartition(".")
        if parent in old:
            writes.item(_namespace(old[parent]), child, sys.modules[name])


def _namespace(module: ModuleType) -> dict[str, object]:
    found: dict[str, object] = ModuleType.__getattribute__(module, "__dict__")
    return found


def _place(module: ModuleType, spec: ModuleSpec, writes: Writes) -> None:
    facts = module.__dict__
    writes.item(facts, "__spec__", spec)
    writes.item(facts, "__loader__", spec.loader)
    if spec.origin is not None:
        writes.item(facts, "__file__", spec.origin)
    if spec.submodule_search_locations is not None:
        writes.item(facts, "__path__", spec.submodule_search_locations)


def lead_modules(kept: Iterable[Kept], successors: Mapping[int, tuple[Any, Any]], writes: Writes) -> None:
    """Have the attributes of kept instances hold new modules, and the namespaces of those, in place of the old.

    Arguments:
        kept: the kept objects, and what is inside of them.
        successors: id of an old object -> (it, what takes its place).
        writes: receives the writes.
    """
    for pair in kept:
        facts = walk.instance_dict(pair.living) or {}
        for name, value in list(facts.items()):
            found = successors.get(id(value))
            if found is not None and found[0] is value and (type(value) is dict or type(value) is ModuleType):
                writes.item(facts, name, found[1])


def adopt_children(live: Live, candidate: Candidate, old: Mapping[str, ModuleType]) -> None:
    """Give new package objects the unchanged submodules that the old ones had. Only the candidate is written to.

    Arguments:
        live: the managed modules.
        candidate: what is to become live.
        old: the modules that it replaces.
    """
    for name, module in candidate.modules.items():
        if name in old:
            for attribute, value in list(old[name].__dict__.items()):
                child = f"{name}.{attribute}"
                entry = live.get(child)
                if entry is not None and entry.module is value and child not in candidate.removed:
                    module.__dict__.setdefault(attribute, candidate.modules.get(child, value))
