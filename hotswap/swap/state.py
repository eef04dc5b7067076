"""State: which module-level objects outlive a swap.

A definition that did not change keeps its object. The defining statements are compared as syntax trees, and so is the
module-level data that they read. What is kept is carried over at the instant of the swap, in the commit itself, so
that a counter which is rebound by ``global hits; hits += 1`` loses nothing.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.effects import Named
from hotswap.generation import PLACE, Definitions, Kind, Selection, is_place, same_value, unchanged, value_at
from hotswap.swap.alike import is_made_alike, reading_otherwise
from hotswap.swap.beside import Beside, beside
from hotswap.swap.parts import cell_contents, is_empty
from hotswap.swap.plan import Fate, NameChange
from hotswap.swap.stragglers import Straggler
from hotswap.swap.writes import Op, Writes
from hotswap.walk import UNIQUE_NEVER

__all__ = ["PLAIN", "UNIQUE_NEVER", "Keeping", "Wishes", "is_made", "keep_state"]

_SET_CELL = CellType.__dict__["cell_contents"].__set__
_GET_CELL = CellType.__dict__["cell_contents"].__get__

_WRAPPED = 16
"""How many wrappers of one function are looked into."""

PLAIN = (*UNIQUE_NEVER, tuple, frozenset)
"""Types whose objects nobody holds for their identity."""


@dataclass(frozen=True)
class Wishes:
    """What decides about a name before its definition does.

    `kept` and `replaced` are names, ``module:name``, of which the patch says so. `migrated` is what migrations wrote:
    module -> name -> what the module body had bound to it. `outliving` are the ids of what `hotswap.keep` holds. `led`
    maps ids to (an object, what stands for it): itself, where the candidate shares it with what is live, so that
    nobody is to look into it. `stays` says of (living, twin) whether an adapter keeps what has another definition.
    """

    kept: Container[str] = ()
    replaced: Container[str] = ()
    migrated: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    outliving: Container[int] = ()
    led: Mapping[int, tuple[Any, Any]] = field(default_factory=dict)
    stays: Callable[[Any, Any], bool] = lambda _, __: False

    def stay(self, name: str, living: Any, twin: Any) -> bool:
        """Whether a name, ``module:name``, keeps its object although its definition changed."""
        return name not in self.replaced and self.stays(living, twin)

    def why(self, name: str, otherwise: str) -> str:
        """Why a name, ``module:name``, is kept or replaced."""
        return "the patch says so" if name in self.kept or name in self.replaced else otherwise


class Keeping:
    """What is kept. `names` are the kept names of each module, `twins` maps ids of dropped objects to the living.

    `led` maps further ids to what stands for the object: to itself, where nobody is to look into it, or to what a
    migration put in its place. These are not merged.
    """

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.twins: dict[int, tuple[Any, Any]] = {}
        self.led: dict[int, tuple[Any, Any]] = {}
        self.touched: set[int] = set()
        """Ids of dropped objects into which other statements of the new version put something else than before."""
        self.beside: list[Beside] = []
        """What statements beside their definitions do otherwise now to kept objects: ``X.a = 2``."""
        self.named: dict[int, Named] = {}
        """Id of a dropped object -> its name, and the statements of both versions that change it in place."""
        self.changes: list[NameChange] = []
        self.stragglers: list[Straggler] = []

    def replaced(self, old: Mapping[str, ModuleType], new: Mapping[str, ModuleType]) -> list[tuple[Any, Any]]:
        """What the names stood for whose object is another one now, and what they stand for; plain values left out."""
        pairs = [
            (old[change.module].__dict__[change.name], new[change.module].__dict__[change.name])
            for change in self.changes
            if change.fate is Fate.REPLACED
        ]
        return [(living, value) for living, value in pairs if type(living) not in PLAIN and type(value) not in PLAIN]

    def note_statements(
        self,
        place: str,
        twin: Any,
        definitions: tuple[Definitions, Definitions],
        facts: Mapping[str, Any],
        otherwise: frozenset[str],
    ) -> None:
        """Note which statements the new version has on an object that is dropped for the living one.

        Arguments:
            place: its name, ``module:name``.
            twin: the object.
            definitions: of the module, old and new.
            facts: the namespace of the old module.
            otherwise: the statements that read what has changed.
        """
        name = place.rpartition(":")[2]
        before, after = definitions[0].bindings[name], definitions[1].bindings[name]
        pair = self.twins[id(twin)]
        self.named[id(twin)] = Named(place, *pair, before.touches, after.touches, otherwise)
        self.touched |= {id(twin)} if before.touches != after.touches or otherwise else set()
        found = beside(place, pair, (before, after), facts, otherwise)
        self.beside += [] if found is None else [found]

    def has(self, module: str, name: str) -> bool:
        """Whether a name of a module keeps its object."""
        return name in self.names.get(module, ())


def keep_state(
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    old_definitions: Mapping[str, Definitions],
    new_definitions: Mapping[str, Definitions],
    selection: Selection,
    owned: Container[int],
    writes: Writes,
    wishes: Wishes,
) -> Keeping:
    """Decide for each module-level name whether its object is kept, and add the writes that carry it over.

    Arguments:
        old, new: the modules of both generations.
        old_definitions, new_definitions: what their sources say.
        selection: knows which imported data is different.
        owned: ids of the objects that the candidate created.
        writes: receives the writes.
        wishes: what decides before the definitions do.
    """
    keeping = Keeping()
    keeping.led.update(wishes.led)
    namespaces = {id(module.__dict__) for module in new.values()}
    pairs = [pair for name in new if name in old for pair in _selves(old[name], new[name])]
    leads = {id(a): b for a, b in pairs}, {id(b): a for a, b in pairs}
    for name, module in new.items():
        if name not in old:
            continue
        before, after = old_definitions.get(name), new_definitions.get(name)
        if before is None or after is None:
            continue
        foreign, lasting = selection.stale(after, old[name]), selection.lasting(name, after, old[name])
        migrated = wishes.migrated.get(name, {})
        for attribute, value in list(module.__dict__.items()):
            if attribute in migrated:
                keeping.changes.append(NameChange(name, attribute, Fate.MIGRATED, "written by __hotswap__"))
                continue
            if attribute not in old[name].__dict__ or not _is_state(before, after, attribute):
                continue
            living = old[name].__dict__[attribute]
            if id(value) in namespaces:
                continue  # each generation has its own
            if _is_code(value) or (_is_code(living) and before.kind(attribute) is not Kind.DATA):
                if unchanged(attribute, before, after, foreign, lasting):
                    _keep_cells(living, value, (old[name], module), owned, keeping, writes)
                continue
            follows = _follows(attribute, (name, old, new), (before, after), foreign - lasting)
            around = foreign | PLACE if is_place(living) else foreign
            known, facts = ((before, after), around, lasting), old[name].__dict__
            same = not follows and unchanged(attribute, before, after, around, lasting)
            if same or (not follows and is_made_alike(attribute, (living, value), *known)):
                keeping.names.setdefault(name, []).append(attribute)
                fate = Fate.CARRIED if type(living) in PLAIN else Fate.KEPT
                why = wishes.why(f"{name}:{attribute}", "its definition did not change")
                keeping.changes.append(NameChange(name, attribute, fate, why))
                if living is not value and is_made(value, owned):
                    keeping.twins[id(value)] = (value, living)
                    otherwise = frozenset() if same else reading_otherwise(attribute, *known)
                    keeping.note_statements(f"{name}:{attribute}", value, known[0], facts, otherwise)
            elif living is not value and is_made(value, owned) and wishes.stay(f"{name}:{attribute}", living, value):
                keeping.names.setdefault(name, []).append(attribute)
                keeping.changes.append(NameChange(name, attribute, Fate.KEPT, "it is brought up to date"))
                keeping.twins[id(value)] = (value, living)
                otherwise = reading_otherwise(attribute, *known)
                keeping.note_statements(f"{name}:{attribute}", value, known[0], facts, otherwise)
                keeping.touched.add(id(value))
            elif living is not value:
                reason = "what it is imported from changed" if follows else "its definition changed"
                why = wishes.why(f"{name}:{attribute}", reason)
                keeping.changes.append(NameChange(name, attribute, Fate.REPLACED, why))
            elif id(living) in wishes.outliving:
                keeping.changes.append(NameChange(name, attribute, Fate.KEPT, "hotswap.keep holds it"))
        names = keeping.names.get(name, [])
        for drifting in _drift((old[name].__dict__, module.__dict__), (before, after)):
            keeping.changes.append(NameChange(name, drifting, Fate.CARRIED, "no statement of the module body binds it"))
        spaces = old[name].__dict__, module.__dict__
        keeping.stragglers.append(carry(writes, name, spaces, (before, after), names, leads))
    _lead_migrated(new, wishes, owned, keeping)
    return keeping


def _selves(old: ModuleType, new: ModuleType) -> Iterator[tuple[Any, Any]]:
    """A module and its namespace, with those of its successor: ``this = sys.modules[__name__]``, ``globals()``."""
    yield old, new
    yield old.__dict__, new.__dict__


def _lead_migrated(new: Mapping[str, ModuleType], wishes: Wishes, owned: Container[int], keeping: Keeping) -> None:
    """Who got hold of what a module body made gets what a migration put in its place."""
    for name, names in wishes.migrated.items():
        for attribute, original in names.items():
            value = new[name].__dict__[attribute]
            if original is not value and is_made(original, owned):
                keeping.led[id(original)] = (original, keeping.twins.get(id(value), (value, value))[1])


def _keep_cells(
    living: Any,
    value: Any,
    modules: tuple[ModuleType, ModuleType],
    owned: Container[int],
    keeping: Keeping,
    writes: Writes,
) -> None:
    """Keep what functions hold that an unchanged statement made: ``tick = counter()``, a cache of a decorator's.

    The code is the new one; plain values and containers in its cells are the living ones. Only functions of the
    swapped modules: what a wrapper of somebody else keeps beside (the order of a dispatch, say) is not known here.
    """
    pairs = [(living, value)]
    for before, after in pairs:
        if type(before) is not FunctionType or type(after) is not FunctionType or len(pairs) > _WRAPPED:
            return
        if after.__globals__ is not modules[1].__dict__ or before.__globals__.get("__name__") != modules[1].__name__:
            return
        cells = dict(zip(before.__code__.co_freevars, before.__closure__ or (), strict=True))
        for variable, cell in zip(after.__code__.co_freevars, after.__closure__ or (), strict=True):
            if variable not in cells or variable == "__class__":
                continue
            if is_empty(cells[variable]) or is_empty(cell):
                continue
            held, made = cell_contents(cells[variable]), cell_contents(cell)
            if type(held) is not type(made):
                continue
            if type(made) is FunctionType:
                pairs.append((held, made))
            elif type(made) in UNIQUE_NEVER:
                _carry_cell(writes, cells[variable], cell)
            elif type(made) in (dict, list, set, deque) and is_made(made, owned):
                keeping.twins[id(made)] = (made, held)


def _carry_cell(writes: Writes, source: CellType, target: CellType) -> None:
    """Add the write that copies a cell's value at the instant of the commit: ``nonlocal n; n += 1`` goes on."""

    def late(forward: bool) -> list[Op]:
        origin, destination = (source, target) if forward else (target, source)
        if is_empty(origin):
            return []
        writes.hold(cell_contents(destination))
        return [(deque, map(_SET_CELL, (destination,), map(_GET_CELL, (origin,))), 0)]

    writes.late(late, first=True)


def is_made(value: Any, owned: Container[int]) -> bool:
    """Whether an object was made by the candidate, so that references to it can be meant for nothing else."""
    kind = type(value)
    if kind in UNIQUE_NEVER:
        return False
    if gc.is_tracked(value):
        return id(value) in owned
    # The collector does not follow a bare `object()`, an empty dict, or an instance without attributes. Of built-in
    # types only containers that nobody else can hold yet are taken.
    return kind is object or kind in (dict, list, set) or not walk.is_written_in_c(kind)


def _is_state(old: Definitions, new: Definitions, name: str) -> bool:
    """Data in both versions; or an object that a decorator made of a function in both (`lru_cache`, a command)."""
    kinds = (old.kind(name), new.kind(name))
    return kinds in ((Kind.DATA, Kind.DATA), (Kind.FUNCTION, Kind.FUNCTION))


def _follows(
    name: str,
    places: tuple[str, Mapping[str, ModuleType], Mapping[str, ModuleType]],
    definitions: tuple[Definitions, Definitions],
    foreign: Container[str],
) -> bool:
    """Whether a name that an import has bound in one of its branches, and a statement in another, has new data.

    It has if what it was imported from changed, or if another branch has bound it now; but only as long as the living
    value is what the old source gave it. Otherwise it was rebound at run time.
    """
    (module, old, new), (before, after) = places, definitions
    origins = before.origins(name)
    if not origins and not after.origins(name):
        return False
    given = [origin for origin in origins if same_value(old, (module, name), origin)]
    if given:
        return name in foreign or not any(same_value(new, (module, name), origin) for origin in given)
    living = value_at(old, module, name)
    literals = before.bindings[name].literals if type(living) in UNIQUE_NEVER else ()
    if not any(type(living) is type(literal) and living == literal for literal in literals):
        return False
    return any(same_value(new, (module, name), origin) for origin in after.origins(name))


def _is_code(value: Any) -> bool:
    """Functions follow their code: they are paired and forwarded, never kept."""
    return type(value) in (FunctionType, MethodType) or issubclass(type(value), ModuleType)


def carry(
    writes: Writes,
    module: str,
    namespaces: tuple[dict[str, Any], dict[str, Any]],
    definitions: tuple[Definitions, Definitions],
    names: list[str],
    leads: tuple[Mapping[int, Any], Mapping[int, Any]] = ({}, {}),
) -> Straggler:
    """Add the write that copies values from one namespace to another at the instant of the commit.

    `dict.update` draws the values out of `zip` and `map` while it runs: all of it is C. So does what notes them.

    Arguments:
        writes: receives the write.
        module: its name.
        namespaces: of the old and of the new module.
        definitions: what their sources say.
        names: those that are kept. What functions alone bind, and what is set from outside, is carried, too.
        leads: ids of modules and their namespaces -> what those of the other generation are, there and back.

    Returns what carries the rest, once the last call in flight has ended.
    """

    def drifting(forward: bool) -> list[str]:
        return _drift(namespaces, definitions) if forward else _drift(namespaces[::-1], definitions[::-1])

    straggler = Straggler(module, namespaces, drifting)

    def late(forward: bool) -> Iterable[Op]:
        origin, destination = namespaces if forward else namespaces[::-1]
        writes.hold([destination.get(name) for name in names])
        present = [*(name for name in names if name in origin), *drifting(forward)]
        noted = straggler.note(forward, present)
        led = {name: found for name in present if (found := leads[not forward].get(id(origin.get(name))))}
        present = [name for name in present if name not in led]
        values: Iterator[Any] = map(origin.get, present, map(destination.get, present, repeat(None)))
        ops: list[Op] = [(dict.__setitem__, destination, name, value) for name, value in led.items()]
        told = (dict.update, noted, zip(present, map(destination.get, present), strict=True))
        return [*ops, (dict.update, destination, zip(present, values, strict=False)), told]

    writes.late(late, first=True)  # old namespaces get clones of old functions in the same commit
    return straggler


def _drift(
    namespaces: tuple[dict[str, Any], dict[str, Any]], definitions: tuple[Definitions, Definitions]
) -> list[str]:
    """The names of the first namespace that no statement of a module body binds, and that the second has not."""
    (origin, destination), (ours, theirs) = namespaces, definitions
    if ours.stars:
        return []
    return [
        name
        for name, value in list(origin.items())
        if name not in ours.bindings and name not in theirs.bindings and name not in destination
        if not (name.startswith("__") or issubclass(type(value), ModuleType))
    ]


def class_keeps(
    name: str,
    old: Any,
    new: Any,
    bodies: tuple[Definitions, Definitions],
    outside: Container[str],
    lasting: Container[str],
) -> bool:
    """Whether an attribute of a class body keeps its value: the same rule, for data of the class.

    Arguments:
        name: the attribute.
        old, new: its values.
        bodies: both class bodies.
        outside: the names of the module that stand for changed data.
        lasting: those of them whose object is the same one.
    """
    before, after = bodies
    if before.kind(name) is not Kind.DATA or after.kind(name) is not Kind.DATA:
        return False
    if _is_code(old) or _is_code(new) or walk.is_class(old):
        return False
    return unchanged(name, before, after, outside, lasting)
