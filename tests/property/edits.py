"""Random programs, and random edits of them: the next version of a program is one to three changes away.

All of it is drawn from a `random.Random`, which hypothesis gives and may be anybody's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import TypeAlias, TypeVar

from tests.property.programs import (
    CLASSES,
    FUNCTIONS,
    HOWS,
    KINDS,
    MEMBERS,
    MODULES,
    Member,
    Module,
    Program,
    Thing,
    Use,
)

__all__ = ["edited", "random_program"]

MOST = 5
"""Things of one module."""

T = TypeVar("T")
Change: TypeAlias = Callable[[Random, str, Thing], Thing]


def random_program(random: Random) -> Program:
    """A program of one to five things in each module."""
    made: dict[str, Module] = {}
    for module in MODULES:
        names = [f"{module}{number}" for number in range(random.randint(1, MOST))]
        things = {name: _thing(random, name, random.choice(KINDS)) for name in names}
        imports = tuple(_use(random, module, 0) for _ in range(random.randint(0, 2)) if module != "a")
        made[module] = Module(things, imports)
    return made


def edited(random: Random, program: Program) -> Program:
    """The next version of a program."""
    after = dict(program)
    for _ in range(random.randint(1, 3)):
        module = random.choice(MODULES)
        after[module] = _edit(random, module, after[module])
    return after


def _edit(random: Random, module: str, facts: Module) -> Module:
    things = dict(facts.things)
    what = random.random()
    if what < 0.06:
        return replace(facts, comment=random.randrange(100))
    if what < 0.18 and module != "a":
        imports = [use for use in facts.imports if random.random() < 0.6]
        imports += [_use(random, module, 0)] if random.random() < 0.7 or imports == [*facts.imports] else []
        return replace(facts, imports=tuple(imports))
    name = f"{module}{random.randrange(MOST)}"
    thing = things.get(name)
    if thing is None:
        things[name] = _thing(random, name, random.choice(KINDS))
    elif random.random() < 0.12 and len(things) > 1:
        del things[name]
    else:
        things[name] = random.choice(_changes(thing))(random, name, thing)
    return replace(facts, things={name: things[name] for name in sorted(things)})


def _changes(thing: Thing) -> list[Change]:
    changes: list[Change] = [_number, _uses]
    if thing.kind in FUNCTIONS or thing.kind == "dataclass":
        changes += [_parameters]
    if thing.kind in ("plain", "generator", "coroutine", "asyncgen"):
        changes += [_decorators, _decorators]
    if thing.kind in CLASSES:
        changes += [_members, _members]
    if thing.kind in ("class", "dataclass"):
        changes += [_bases, _turned]
    else:
        changes += [_reads, _kind]
    if thing.kind in ("class", "dataclass", "factory", "decorator", "dispatch"):
        changes += [_shape]
    return changes


# --- single changes -------------------------------------------------------------------------------------------------


def _number(random: Random, name: str, thing: Thing) -> Thing:
    return replace(thing, number=random.randrange(100))


def _parameters(random: Random, name: str, thing: Thing) -> Thing:
    return replace(thing, parameters=random.randrange(3))


def _shape(random: Random, name: str, thing: Thing) -> Thing:
    return replace(thing, shape=not thing.shape)


def _kind(random: Random, name: str, thing: Thing) -> Thing:
    return replace(thing, kind=random.choice([kind for kind in KINDS if kind != "enum"]))


def _turned(random: Random, name: str, thing: Thing) -> Thing:
    return replace(thing, kind="class" if thing.kind == "dataclass" else "dataclass")


def _reads(random: Random, name: str, thing: Thing) -> Thing:
    return replace(thing, reads=_use(random, name[0], int(name[1:])) if random.random() < 0.7 else None)


def _uses(random: Random, name: str, thing: Thing) -> Thing:
    return replace(thing, uses=_varied(random, name, thing.uses, _use))


def _bases(random: Random, name: str, thing: Thing) -> Thing:
    return replace(thing, bases=_varied(random, name, thing.bases, _use))


def _decorators(random: Random, name: str, thing: Thing) -> Thing:
    return replace(thing, decorators=_varied(random, name, thing.decorators, _decorator))


def _members(random: Random, name: str, thing: Thing) -> Thing:
    members = dict(thing.members)
    member = f"m{random.randrange(4)}"
    found = members.get(member)
    what = random.random()
    if found is None:
        members[member] = _member(random, name)
    elif what < 0.25:
        del members[member]
    elif what < 0.5:
        members[member] = replace(found, number=random.randrange(100))
    elif what < 0.7:
        members[member] = replace(
            found, decorator=_use(random, name[0], int(name[1:])) if random.random() < 0.7 else None
        )
    else:
        members[member] = replace(_member(random, name), number=found.number)
    return replace(thing, members=members)


def _varied(
    random: Random, name: str, uses: tuple[Use, ...], draw: Callable[[Random, str, int], Use]
) -> tuple[Use, ...]:
    """One use more, one less, one that is another, or one that is come by otherwise."""
    index = random.randrange(len(uses)) if uses else 0
    what = random.random()
    fresh = draw(random, name[0], int(name[1:]))
    if not uses or (what < 0.3 and len(uses) < 2):
        return (*uses[:index], fresh, *uses[index:])
    if what < 0.5:
        return (*uses[:index], *uses[index + 1 :])
    if what < 0.75:
        fresh = replace(uses[index], how=random.choice(HOWS), alias=random.randrange(3))
    return (*uses[:index], fresh, *uses[index + 1 :])


# --- drawing --------------------------------------------------------------------------------------------------------


def _use(random: Random, module: str, number: int) -> Use:
    """A use of something, mostly of what stands before the thing of this number."""
    before = [f"{m}{n}" for m in MODULES for n in range(MOST) if m < module or (m == module and n < number)]
    everything = [f"{m}{n}" for m in MODULES for n in range(MOST)]
    target = random.choice(before if before and random.random() < 0.9 else everything)
    return Use(target, random.choice(HOWS), random.randrange(3))


def _decorator(random: Random, module: str, number: int) -> Use:
    if random.random() < 0.3:
        return Use(random.choice(["lru_cache", "cache"]), alias=random.randrange(3))
    return _use(random, module, number)


def _member(random: Random, name: str) -> Member:
    uses = _use(random, name[0], int(name[1:])) if random.random() < 0.3 else None
    decorator = _use(random, name[0], int(name[1:])) if random.random() < 0.3 else None
    return Member(random.choice(MEMBERS), random.randrange(100), uses, decorator)


def _thing(random: Random, name: str, kind: str) -> Thing:
    module, number = name[0], int(name[1:])
    return Thing(
        kind,
        number=random.randrange(100),
        uses=tuple(_use(random, module, number) for _ in range(random.randint(0, 2))),
        reads=_use(random, module, number) if random.random() < 0.6 else None,
        parameters=random.randrange(3),
        decorators=tuple(_decorator(random, module, number) for _ in range(random.choice([0, 0, 1, 1, 2]))),
        shape=random.random() < 0.4,
        bases=tuple(_use(random, module, number) for _ in range(random.choice([0, 1, 2]))),
        members={f"m{n}": _member(random, name) for n in range(4) if random.random() < 0.5},
    )
