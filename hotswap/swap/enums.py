"""Enumerations: members keep their identity, while members come, go, and get other values.

The twin of the enumeration was built by `enum` itself, so it has every structure of the new version right: names,
values, aliases, masks. What is left is to say which living member each of the twin's stands for. A member is known by
its own name, not by its aliases. What has no counterpart is new: the twin's member joins the living class. Members
that are gone stay what they are for those who hold them; look-ups do not find them any more. Combinations of flags
that somebody has made (`READ | WRITE`) are members without a name of their own; they live on, too.

A hash must not change while somebody has the member in a dict. `enum` hashes by name, so where a member changes its
name (it became the alias of another one), the class gets a `__hash__` that goes on using the first.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.generation import unchanged
from hotswap.swap.flags import Combinations, Version
from hotswap.swap.members import (
    HASH,
    HASHED_BY,
    FormerMap,
    can_join,
    data_type,
    hash_by_first_name,
    inherited,
    map_of,
    name_of,
    nameless,
)
from hotswap.swap.pairs import ClassPair
from hotswap.swap.plan import Fate, NameChange
from hotswap.swap.ways import Changed
from hotswap.swap.writes import Op

__all__ = ["Members", "is_enum", "members_refused", "own_structures"]

LOOKED_UP_IN = frozenset(
    {
        "_member_names_",
        "_member_map_",
        "_value2member_map_",
        "_unhashable_values_",
        "_hashable_values_",
        "_unhashable_values_map_",
    }
)
"""Where a class is looked up in and gone through: old code gets its own while it is in flight."""

own_structures = LOOKED_UP_IN | frozenset(
    {
        "_member_type_",
        "_value_repr_",
        "_use_args_",
        "_flag_mask_",
        "_all_bits_",
        "_singles_mask_",
        "_inverted_",
        "_boundary_",
        "_new_member_",
        "__new__",
        "__new_member__",
    }
)
"""What `enum` keeps in a class beside what stands in its body; not all versions of Python have all of it."""

_MAPS = frozenset({"_member_names_", "_member_map_", "_value2member_map_"})
_PLAIN = (int, str, bytes, float, bool, type(None))
_MISSING: Any = object()
_DEL = type.__delattr__
_SET = type.__setattr__


def is_enum(cls: type) -> bool:
    """Whether a class is an enumeration."""
    return issubclass(type(cls), enum.EnumMeta)


class Members:
    """What becomes of the members of one enumeration. Lives as long as the swap can be taken back.

    Arguments:
        pair: the old enumeration and its twin.

    `twins` maps the ids of the twin's members to (it, the living one); `attributes` are the names in the namespace of
    either class that stand for members, or belong to them.
    """

    def __init__(self, pair: ClassPair) -> None:
        self._pair = pair
        self._old: Any = pair.old
        self._new: Any = pair.new
        self._flag = issubclass(pair.old, enum.Flag)
        self._before = dict(map_of(pair.old))
        self._after = dict(map_of(pair.new))
        # Copied now: what the twin has is led to the living members before the writes are made out.
        self._by_value = list(walk.class_dict(pair.new)["_value2member_map_"].items())
        self._attributes: dict[str, tuple[Any, Any]] = {}
        self._facts: list[tuple[dict[str, Any], dict[str, tuple[Any, Any]]]] = []
        self.twins: dict[int, tuple[Any, Any]] = {}
        self._match()
        members = {name: self.living(member) for name, member in self._after.items()}
        self._views = [Version(self._old, self._before), Version(self._new, members)]
        self.attributes = {*self._before, *self._after}
        if walk.class_dict(pair.old).get("__hash__") is hash_by_first_name and "__hash__" not in walk.class_dict(
            pair.new
        ):
            self.attributes.add("__hash__")

    def _match(self) -> None:
        known = {name_of(member): member for member in self._before.values()}
        if self._flag:
            known.update((member._value_, member) for member in nameless(self._old).values())
        taken: set[int] = set()
        rest = []
        for twin in {id(twin): twin for twin in self._after.values()}.values():
            living = known.get(name_of(twin), _MISSING)
            if living is _MISSING:
                rest.append(twin)
            else:
                taken.add(id(living))
                self.twins[id(twin)] = (twin, living)
        for twin in rest:
            names = [name for name, held in self._after.items() if held is twin]
            found = [self._before[name] for name in names if name in self._before]
            if self._flag and not found and twin._value_ in known:
                found = [known[twin._value_]]  # a combination that gets a name
            living = next((member for member in found if id(member) not in taken), None)
            if living is not None:
                taken.add(id(living))
                self.twins[id(twin)] = (twin, living)
        # Combinations that the candidate has made: those that somebody has already made live on.
        for value, twin in nameless(self._new).items() if self._flag else ():
            living = known.get(value)
            if living is not None and id(living) not in taken and twin._value_ == value:
                self.twins[id(twin)] = (twin, living)

    def living(self, twin: Any) -> Any:
        """The member that a member of the twin stands for; itself if it is new."""
        found = self.twins.get(id(twin))
        return twin if found is None else found[1]

    @property
    def renamed(self) -> list[tuple[Any, Any]]:
        """The living members that get another name, each with its twin."""
        pairs = self._named_pairs()
        return [(living, twin) for living, twin in pairs if name_of(twin) != name_of(living)]

    def _named_pairs(self) -> list[tuple[Any, Any]]:
        named = {id(twin) for twin in self._after.values()}
        return [(living, twin) for twin, living in self.twins.values() if id(twin) in named]

    def revalued(self) -> Iterator[tuple[Any, Any]]:
        """The living members that get another value, each with its twin. Values are compared without their code."""
        for living, twin in self._named_pairs():
            if not self._same_value(living, twin):
                yield living, twin

    def _same_value(self, living: Any, twin: Any) -> bool:
        before, after = living._value_, twin._value_
        if type(before) is type(after) and type(before) in _PLAIN:
            return bool(before == after)
        name = name_of(twin)
        return name_of(living) == name and unchanged(str(name), *self._pair.bodies)

    def fixed(self, base: type) -> list[str]:
        """The names of members that would have to be another object, since their value is part of them.

        Arguments:
            base: the type written in C that holds the value.
        """
        if base in (int, str, bytes, float):
            equal: Any = base.__eq__
            differ = [twin for living, twin in self._named_pairs() if equal(living, twin) is not True]
        else:
            differ = [twin for _, twin in self.revalued()]
        return sorted(str(name_of(twin)) for twin in differ)

    @property
    def added(self) -> bool:
        """Whether a member of the twin is none of the living ones."""
        return any(id(twin) not in self.twins for twin in self._after.values())

    def changes(self, module: str, path: str) -> Iterator[NameChange]:
        """What becomes of each name, in words."""
        values = {id(living) for living, _ in self.revalued()}
        for name in self._after:
            living = self.living(self._after[name])
            if name not in self._before:
                alias = name_of(self._after[name]) != name
                yield NameChange(module, f"{path}.{name}", Fate.ADDED, "an alias" if alias else "a member")
            elif living is not self._before[name]:
                why = f"it stands for {name_of(self._after[name])}"
                yield NameChange(module, f"{path}.{name}", Fate.CHANGED, why)
            elif id(living) in values:
                yield NameChange(module, f"{path}.{name}", Fate.CHANGED, "the same member with another value")
        for name in self._before:
            if name not in self._after:
                why = "who holds the member keeps it; look-ups do not find it any more"
                yield NameChange(module, f"{path}.{name}", Fate.REMOVED, why)

    def changed(self, translate: Callable[[Any], Any], *, forward: bool) -> Iterator[Changed]:
        """What old code gets as it was: the members themselves, and what they are found by.

        Combinations of flags are made at any time, and are one object for everybody: what finds these is shared.

        Arguments:
            translate: gives the living object for a twin.
            forward: whether the swap is made; it is taken back otherwise.
        """
        if not self._attributes:
            self._note(translate)
        for name, pair in self._attributes.items():
            was, will = (walk.MISSING if one is _MISSING else one for one in pair[:: 1 if forward else -1])
            if was is not will and (name in LOOKED_UP_IN or (name in self.attributes and name != "__hash__")):
                yield Changed(self._old, name, FormerMap(was, will) if name == "_member_map_" else was, will)
        was, will = (list(view.names) for view in self._views[:: 1 if forward else -1])
        if was != will:
            yield Changed(self._old, "_member_names_", was, self._names)

    @property
    def _names(self) -> list[str]:
        found: list[str] = walk.class_dict(self._old)["_member_names_"]
        return found

    def warnings(self, key: str) -> Iterator[str]:
        """What will not be as after a restart."""
        late = ", ".join(str(name_of(twin)) for _, twin in self.revalued())
        if late:
            yield f"{key}: calls in flight and sessions meet the new values of {late} at once: a member has one value"
        gone = [name for name, member in self._before.items() if name not in self._after]
        if gone and self._flag:
            yield f"{key}: calls in flight and sessions still get {', '.join(gone)}, but can't combine it any more"
        hashed = inherited(self._new, "__hash__")
        if type(hashed) is FunctionType and hashed is not HASH and (self.renamed or any(self.revalued())):
            yield f"{key} computes the hash of its members; dicts and sets may not find those that have changed"

    # --- writing -------------------------------------------------------------------------------------------------

    def ops(self, forward: bool, translate: Callable[[Any], Any], hold: Callable[..., None]) -> Iterator[Op]:
        """Make out the writes, for the one or the other direction.

        Arguments:
            forward: the direction.
            translate: gives the living object for a twin.
            hold: keeps objects alive until the writes are made.
        """
        if not self._attributes:
            self._note(translate)
        view = self._views[forward]
        hold(self._new, self._facts, dict(walk.class_dict(self._old)["_value2member_map_"]))
        combinations = Combinations(self._old)
        # What the new version has made under a name is none of the old one's combinations.
        fresh = set() if forward else {id(twin) for twin in self._after.values() if id(twin) not in self.twins}
        made = list(combinations.of(view, fresh)) if self._flag else []
        renamed = any(stays is not None and combinations.has_first_name(member, stays[0]) for _, member, stays in made)
        for name, pair in self._attributes.items():
            if name != "__hash__" or forward or not renamed:
                yield from _attribute(self._old, name, *pair[:: 1 if forward else -1])
        for namespace, facts in self._facts:
            for key, (was, will) in facts.items():
                wanted = will if forward else was
                if wanted is _MISSING:
                    yield (dict.pop, namespace, key, None)
                else:
                    yield (dict.__setitem__, namespace, key, wanted)
        # In place: a loop over the members that is under way looks the names up one by one.
        yield (list.__setitem__, self._names, slice(None), view.names)
        if self._flag:
            for value, member, stays in made:
                if forward and stays is None:
                    self._views[0].add(value, member)  # it comes back if the swap is taken back
                    hold(member)
                yield from combinations.ops(value, member, stays)
            yield from combinations.named(view)

    def _note(self, translate: Callable[[Any], Any]) -> None:
        """Look at both classes once more, now that nothing can get in the way, and note both states."""
        old, new = walk.class_dict(self._old), walk.class_dict(self._new)
        members = {name: self.living(member) for name, member in self._after.items()}
        for name in (*self.attributes, *(own_structures - _MAPS)):
            if name == "__hash__":
                continue  # somebody may have a renamed member in a dict for ever
            was, will = old.get(name, _MISSING), new.get(name, _MISSING)
            self._attributes[name] = (was, will if will is _MISSING else translate(self.living(will)))
        self._attributes["_member_map_"] = (old["_member_map_"], _same_or(old["_member_map_"], members))
        values = dict(self._values(translate))
        for living, twin in self._named_pairs():
            self._note_member(living, twin, translate)
        if self._flag:
            self._views[1].values = values
            self._views[1].called = {id(self.living(twin)): name_of(twin) for _, twin in self._by_value}
        else:
            named = {id(living) for _, living in self.twins.values()}
            for value, member in nameless(self._old).items():
                if id(member) not in named:
                    values.setdefault(value, member)  # `_missing_` of the class made it and put it there
            known = old["_value2member_map_"]
            self._attributes["_value2member_map_"] = (known, _same_or(known, values))
        if self.renamed:
            self._pin_hash()

    def _values(self, translate: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
        """The members of the new version by value: where a living member keeps its value, it is that very object."""
        for value, twin in self._by_value:
            living = self.living(twin)
            own = value is self._views[1].value_of(twin)
            keeps = own and living is not twin and self._same_value(living, twin)
            yield (living._value_ if keeps else translate(value)), living

    def _pin_hash(self) -> None:
        """From now on members are hashed by their first names."""
        was = walk.class_dict(self._old).get("__hash__", _MISSING)
        if inherited(self._old, "__hash__") is HASH and inherited(self._new, "__hash__") is HASH:
            self._attributes["__hash__"] = (was, hash_by_first_name)

    def _note_member(self, living: Any, twin: Any, translate: Callable[[Any], Any]) -> None:
        before, after = walk.instance_dict(living), walk.instance_dict(twin)
        if before is None or after is None:
            return
        made_anew = not self._made_as_before(name_of(twin))
        facts = {}
        for key, value in after.items():
            if key in ("__objclass__", HASHED_BY) or (key == "_value_" and self._same_value(living, twin)):
                continue  # a value of the same definition may have changed at run time, and others may hold it
            ours = key.startswith("_") and key.endswith("_")
            was, will = before.get(key, _MISSING), translate(value)
            if was is not will and (ours or made_anew or was is _MISSING):
                facts[key] = (was, will)
        if self._flag and "_inverted_" not in after:
            facts["_inverted_"] = (before.get("_inverted_", _MISSING), _MISSING)
        if name_of(living) != name_of(twin) and HASHED_BY not in before:
            facts[HASHED_BY] = (_MISSING, name_of(living))
        self._facts.append((before, facts))

    def _made_as_before(self, name: Any) -> bool:
        """Whether what a member has of its own was made by the same text: then it may have changed at run time."""
        before, after = self._pair.bodies
        makers = [maker for maker in ("__new__", "__init__") if maker in after.bindings or maker in before.bindings]
        return all(unchanged(place, before, after) for place in (str(name), *makers))


def _same_or(was: dict[Any, Any], will: dict[Any, Any]) -> dict[Any, Any]:
    """What is written for a dict: itself, where the same stands in it. No code of keys or values runs."""
    before, after = list(was.items()), list(will.items())
    same = len(before) == len(after) and all(map(walk.same_items, before, after))
    return was if same else will


def members_refused(pair: ClassPair, refuse: Callable[[str, str], None]) -> None:
    """Find what stands in the way of giving an enumeration the members of its twin.

    Arguments:
        pair: the old enumeration and its twin.
        refuse: is told the code and the sentence of each.
    """
    members = Members(pair)
    base = data_type(pair.old)
    if base is not None and base is data_type(pair.new):
        fixed = members.fixed(base)
        if fixed:
            what = walk.class_name(base)
            refuse("enum-value-fixed", f"{', '.join(fixed)} would get another value, and members are {what} objects")
        if members.added and not can_join(base):
            sentence = (
                f"this version of Python can't give {walk.class_name(base)} objects the class of the living members"
            )
            refuse("layout-changed", sentence)


def _attribute(cls: type, name: str, was: Any, wanted: Any) -> Iterator[Op]:
    if was is wanted:
        return
    # A deletion is a write and a deletion, so that it works whether or not the attribute is there.
    yield (_SET, cls, name, None if wanted is _MISSING else wanted)
    if wanted is _MISSING:
        yield (_DEL, cls, name)
