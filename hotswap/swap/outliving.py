"""Outliving: what decides about state before definitions do, and how the registry of `hotswap.keep` follows a swap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hotswap.generation import Candidate, registry
from hotswap.swap.migration import announced, check_hooks, foreseen, unreturned
from hotswap.swap.plan import Fate, NameChange, Plan
from hotswap.swap.state import UNIQUE_NEVER, Wishes
from hotswap.swap.writes import Op, Writes

__all__ = ["announce", "outlive", "wishes_of"]

_MISSING: Any = object()


def wishes_of(candidate: Candidate, stays: Callable[[Any, Any], bool]) -> Wishes:
    """Return what the patch, its migrations, `hotswap.keep` and adapters say about names.

    Arguments:
        candidate: what is to become live.
        stays: whether an adapter brings a living object up to date, by (living, twin).
    """
    held = {id(o): (o, o) for o in list(registry.values()) if type(o) not in UNIQUE_NEVER}
    led = held | {id(o): (o, o) for o in candidate.fenced}
    for key, value in list((candidate.world.kept or {}).items()):
        if key in registry and type(value) not in UNIQUE_NEVER:
            led[id(value)] = (value, registry[key])  # live code was faster: its object is the one
    return Wishes(candidate.patch.keep, candidate.patch.replace, candidate.migrated, held, led, stays)


def outlive(candidate: Candidate, translate: Callable[[Any], Any], writes: Writes) -> None:
    """Add the writes that bring the registry of `hotswap.keep` up to date.

    What the candidate was the first to ask for is remembered; where a migration has put something in the place of an
    object that is kept, the registry leads to that.

    Arguments:
        candidate: what is to become live.
        translate: gives the living object for a twin.
        writes: receives the writes; they are made out when the time comes.
    """
    pending, migrated = candidate.world.kept or {}, candidate.migrated
    changes: dict[tuple[str, str], tuple[Any, Any]] = {}

    def found() -> Iterator[tuple[tuple[str, str], tuple[Any, Any]]]:
        for key, value in list(pending.items()):
            if key not in registry:
                yield key, (_MISSING, translate(value))
        originals = {
            id(original): (original, candidate.modules[module].__dict__[name])
            for module, names in migrated.items()
            for name, original in names.items()
            if type(original) not in UNIQUE_NEVER
        }
        for key, value in [*list(registry.items()), *pending.items()]:
            if id(value) in originals and originals[id(value)][0] is value:
                yield key, (registry.get(key, _MISSING), translate(originals[id(value)][1]))

    def late(forward: bool) -> Iterator[Op]:
        if forward and not changes:
            changes.update(found())
        for key, (before, after) in changes.items():
            wanted, there = after if forward else before, registry.get(key, _MISSING)
            if there is not before and there is not after:
                continue  # somebody was faster: that object lives
            writes.hold(there)
            gone = wanted is _MISSING
            yield (dict.pop, registry, key, None) if gone else (dict.__setitem__, registry, key, wanted)

    writes.late(late)


def announce(plan: Plan, candidate: Candidate) -> None:
    """Add to a plan what migrations will write, before they have run, and what a rollback will not bring back.

    Raises MigrationError if something else than a function stands in the place of one.
    """
    check_hooks(candidate)
    for module in candidate.modules:
        if candidate.world.live_modules.get(module) is None and "__hotswap__" in candidate.modules[module].__dict__:
            plan.warnings.append(f"{module}:__hotswap__ does not run: there is no old module to migrate from")
    for module, inverse, again in announced(candidate):
        plan.names.append(NameChange(module, "__hotswap__", Fate.MIGRATED, "it runs right before the swap"))
        if not candidate.migrated:
            names = foreseen(candidate, module)
            plan.names = [change for change in plan.names if change.module != module or change.name not in names]
            plan.names += [NameChange(module, name, Fate.MIGRATED, "__hotswap__ writes it") for name in sorted(names)]
        if again:
            plan.warnings.append(f"{module}:__hotswap__ is the same as in the live version, and runs once more")
        if not inverse and (not candidate.migrated or unreturned(candidate.modules, candidate.migrated)):
            plan.warnings.append(
                f"{module}:__hotswap__ has no inverse, __hotswap_undo__: a rollback brings back the values from before "
                f"the swap, without what is written since"
            )
