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
from collections.abc import Callable, Container, Iterator
from types import FunctionType
from typing import Any

from hotswap import walk
from hotswap.generation import unchanged
from hotswap.swap.pairing import ClassPair
from hotswap.swap.plan import Fate, NameChange, Op

__all__ = ["Members", "is_enum", "members_refused", "own_structures"]

own_structures = frozenset(
    {
        "_member_names_",
        "_member_map_",
        "_value2member_map_",
        "_unhashable_values_",
        "_hashable_values_",
        "_unhashable_values_map_",
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
_HASHED_BY = "_hotswap_first_name_"
_MISSING: Any = object()
_DEL = type.__delattr__
_SET = type.__setattr__
_SET_CLASS = object.__dict__["__class__"].__set__
_HASH = enum.Enum.__dict__["__hash__"]


def is_enum(cls: type) -> bool:
    """Whether a class is an enumeration."""
    return issubclass(type(cls), enum.EnumMeta)


def _hash_by_first_name(self: Any) -> int:
    """The hash of a member that has got another name: that of the name it was made with."""
    return hash(self.__dict__.get(_HASHED_BY, self._name_))


class Members:
    """What becomes of the members of one enumeration. Lives as long as the swap can be taken back.

    Arguments:
        pair: the old enumeration and its twin.

    `twins` maps the ids of the twin's members to (it, the living one); `attributes` are the names in the namespace of
    either class that stand for members.
    """

    def __init__(self, pair: ClassPair) -> None:
        self._pair = pair
        self._old: Any = pair.old
        self._new: Any = pair.new
        self._flag = issubclass(pair.old, enum.Flag)
        self._before = dict(_map_of(pair.old))
        self._after = dict(_map_of(pair.new))
        self.twins: dict[int, tuple[Any, Any]] = {}
        self._match()
        self.attributes = {*self._before, *self._after}

    def _match(self) -> None:
        known = {name_of(member): member for member in self._before.values()}
        if self._flag:
            known.update((member._value_, member) for member in _nameless(self._old).values())
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
        for value, twin in _nameless(self._new).items() if self._flag else ():
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

    def warnings(self, key: str) -> Iterator[str]:
        """What will not be as after a restart."""
        hashed = _inherited(self._new, "__hash__")
        if type(hashed) is FunctionType and hashed is not _HASH and (self.renamed or any(self.revalued())):
            yield f"{key} computes the hash of its members; dicts and sets may not find those that have changed"

    # --- writing -------------------------------------------------------------------------------------------------

    def ops(self, forward: bool, translate: Callable[[Any], Any], hold: Callable[..., None]) -> Iterator[Op]:
        """Make out the writes, for the one or the other direction.

        Arguments:
            forward: the direction.
            translate: gives the living object for a twin.
            hold: keeps objects alive until the writes are made.
        """
        if forward:
            self._note(translate)
        view = self._views[forward]
        hold(self._new, self._facts, dict(walk.class_dict(self._old)["_value2member_map_"]))
        for name, pair in self._attributes.items():
            yield from _attribute(self._old, name, *pair[:: 1 if forward else -1])
        for namespace, facts in self._facts:
            for key, (was, will) in facts.items():
                wanted = will if forward else was
                if wanted is _MISSING:
                    yield (dict.pop, namespace, key, None)
                else:
                    yield (dict.__setitem__, namespace, key, wanted)
        # In place: a loop over the members that is under way looks the names up one by one.
        yield (list.__setitem__, self._old._member_names_, slice(None), view.names)
        if self._flag:
            fresh = set() if forward else {id(twin) for twin in self._after.values() if id(twin) not in self.twins}
            for value, member, stays in list(self._combinations(view, fresh)):
                if forward and not stays:
                    self._views[0].add(value, member)  # it comes back if the swap is taken back
                    hold(member)
                yield from self._combination_ops(value, member, stays, view)
            yield from self._value_ops(view)

    def _note(self, translate: Callable[[Any], Any]) -> None:
        """Look at both classes once more, now that nothing can get in the way, and note both states."""
        old, new = walk.class_dict(self._old), walk.class_dict(self._new)
        members = {name: self.living(member) for name, member in self._after.items()}
        self._attributes: dict[str, tuple[Any, Any]] = {}
        for name in (*self.attributes, *(own_structures - _MAPS)):
            was, will = old.get(name, _MISSING), new.get(name, _MISSING)
            self._attributes[name] = (was, will if will is _MISSING else translate(self.living(will)))
        self._attributes["_member_map_"] = (old["_member_map_"], members)
        values = {value: self.living(member) for value, member in list(new["_value2member_map_"].items())}
        self._facts: list[tuple[dict[str, Any], dict[str, tuple[Any, Any]]]] = []
        for living, twin in self._named_pairs():
            self._note_member(living, twin, translate)
        if self._flag:
            self._views = [_View(self._old, dict(self._before)), _View(self._new, members)]
            self._views[1].values = values
            self._views[1].called = {
                id(self.living(held)): name_of(held) for held in new["_value2member_map_"].values()
            }
        else:
            self._views = [_View(self._old, {}), _View(self._new, {})]
            named = {id(living) for _, living in self.twins.values()}
            for value, member in _nameless(self._old).items():
                if id(member) not in named:
                    values.setdefault(value, member)  # `_missing_` of the class made it and put it there
            self._attributes["_value2member_map_"] = (old["_value2member_map_"], values)
        if self.renamed:
            self._pin_hash()

    def _pin_hash(self) -> None:
        """From now on members are hashed by their first names."""
        was = walk.class_dict(self._old).get("__hash__", _MISSING)
        if _inherited(self._old, "__hash__") is _HASH and _inherited(self._new, "__hash__") is _HASH:
            self._attributes["__hash__"] = (was, _hash_by_first_name)

    def _combinations(self, view: _View, fresh: Container[int]) -> Iterator[tuple[Any, Any, Any]]:
        """The living combinations of flags that a version does not have of itself, each with its name there, or False.

        They are keyed by plain numbers, so nobody's code compares them.
        """
        for value, member in list(walk.class_dict(self._old)["_value2member_map_"].items()):
            if value not in view.values:
                known = id(member) not in view.ids and id(member) not in fresh and member._value_ == value
                name = view.combined(value) if known else _MISSING
                yield value, member, False if name is _MISSING else (name,)

    def _combination_ops(self, value: Any, member: Any, stays: Any, view: _View) -> Iterator[Op]:
        """In place, because any thread may make a new one at any time."""
        facts = walk.instance_dict(member)
        if not stays:
            yield (dict.pop, walk.class_dict(self._old)["_value2member_map_"], value, None)
        elif facts is not None:
            yield (dict.pop, facts, "_inverted_", None)
            if stays[0] != facts.get("_name_"):
                if _HASHED_BY not in facts:
                    yield (dict.__setitem__, facts, _HASHED_BY, facts.get("_name_"))
                    if _inherited(self._old, "__hash__") is _HASH:
                        yield (_SET, self._old, "__hash__", _hash_by_first_name)
                yield (dict.__setitem__, facts, "_name_", stays[0])

    def _value_ops(self, view: _View) -> Iterator[Op]:
        living = walk.class_dict(self._old)["_value2member_map_"]
        for value, member in view.values.items():
            yield (dict.__setitem__, living, value, member)
            facts = walk.instance_dict(member)
            if facts is not None and facts.get("_name_") != view.called[id(member)]:
                yield (dict.__setitem__, facts, "_name_", view.called[id(member)])

    def _note_member(self, living: Any, twin: Any, translate: Callable[[Any], Any]) -> None:
        before, after = walk.instance_dict(living), walk.instance_dict(twin)
        if before is None or after is None:
            return
        made_anew = not self._made_as_before(name_of(twin))
        facts = {}
        for key, value in after.items():
            if key in ("__objclass__", _HASHED_BY):
                continue
            ours = key.startswith("_") and key.endswith("_")
            was, will = before.get(key, _MISSING), translate(value)
            if was is not will and (ours or made_anew or was is _MISSING):
                facts[key] = (was, will)
        if self._flag and "_inverted_" not in after:
            facts["_inverted_"] = (before.get("_inverted_", _MISSING), _MISSING)
        if name_of(living) != name_of(twin) and _HASHED_BY not in before:
            facts[_HASHED_BY] = (_MISSING, name_of(living))
        self._facts.append((before, facts))

    def _made_as_before(self, name: Any) -> bool:
        """Whether what a member has of its own was made by the same text: then it may have changed at run time."""
        before, after = self._pair.bodies
        makers = [maker for maker in ("__new__", "__init__") if maker in after.bindings or maker in before.bindings]
        return all(unchanged(place, before, after) for place in (str(name), *makers))


class _View:
    """One version of an enumeration, with the living members.

    Arguments:
        cls: the class while it is of that version.
        members: its members by name.
    """

    def __init__(self, cls: Any, members: dict[str, Any]) -> None:
        facts = walk.class_dict(cls)
        self.names = list(facts["_member_names_"])
        self._members = members
        self._values = {name: member._value_ for name, member in walk.class_dict(cls)["_member_map_"].items()}
        named = {id(member) for member in facts["_member_map_"].values()}
        self.ids = {id(member) for member in members.values()}
        self.values = {value: held for value, held in list(facts["_value2member_map_"].items()) if id(held) in named}
        self.called = {id(held): name_of(held) for held in self.values.values()}
        self._mask, self._singles = facts.get("_flag_mask_", 0), facts.get("_singles_mask_", 0)
        self._boundary = facts.get("_boundary_")
        self._by_value = _inherited(cls, "_iter_member_") is _inherited(enum.Flag, "_iter_member_")

    def add(self, value: Any, member: Any) -> None:
        """Note that the version has a combination, or a member by another value."""
        self.values[value] = member
        self.called.setdefault(id(member), name_of(member))

    def combined(self, value: int) -> Any:
        """The name of a combination, as `enum` would make it; `_MISSING` where the version has no such combination."""
        if value < 0 or (value & ~self._mask and self._boundary is not enum.KEEP):
            return _MISSING
        bits = self._values
        found = [name for name in self.names if bits[name] & value]
        if self._by_value:
            found.sort(key=bits.__getitem__)
        if value & ~self._singles:
            for name in bits:
                same = any(self._members[name] is self._members[other] for other in found)
                if not same and bits[name] and bits[name] & value == bits[name]:
                    found.append(name)
        combined = 0
        for name in found:
            combined |= bits[name]
        if not combined:
            return None
        rest = value ^ combined
        if rest and self._boundary is enum.STRICT:
            return _MISSING
        return "|".join(found) + (f"|{rest!r}" if rest else "")


def members_refused(pair: ClassPair) -> Iterator[tuple[str, str]]:
    """Yield what stands in the way of giving an enumeration the members of its twin: codes and sentences."""
    members = Members(pair)
    base = _data_type(pair.old)
    if base is not None and base is _data_type(pair.new):
        fixed = members.fixed(base)
        if fixed:
            what = walk.class_name(base)
            yield "enum-value-fixed", f"{', '.join(fixed)} would get another value, and members are {what} objects"
        if members.added and not _can_join(base):
            sentence = (
                f"this version of Python can't give {walk.class_name(base)} objects the class of the living members"
            )
            yield "layout-changed", sentence


def _data_type(cls: type) -> type | None:
    """The type written in C whose value is part of the members, if there is one."""
    for base in walk.mro(cls)[1:]:
        if base is not object and not base.__flags__ & 1 << 9:
            return base
    return None


def _can_join(base: Any) -> bool:
    """Whether an object of a class over a type written in C can change to another such class. Tried on scratch classes.

    Objects with a `__dict__` behind a variable number of items can't, before CPython 3.12.
    """
    if not base.__itemsize__ or base not in (tuple, bytes):
        return True
    one, other = (type("Scratch", (base,), {}) for _ in range(2))
    try:
        _SET_CLASS(base.__new__(one), other)
    except TypeError:
        return False
    return True


def name_of(member: Any) -> Any:
    """The name of a member, whatever its class makes of the attribute."""
    facts = walk.instance_dict(member)
    return member._name_ if facts is None else facts.get("_name_")


def _map_of(cls: Any) -> dict[str, Any]:
    found: dict[str, Any] = walk.class_dict(cls)["_member_map_"]
    return found


def _nameless(cls: Any) -> dict[Any, Any]:
    named = {id(member) for member in _map_of(cls).values()}
    values = walk.class_dict(cls)["_value2member_map_"]
    return {value: member for value, member in list(values.items()) if id(member) not in named}


def _inherited(cls: type, name: str) -> Any:
    for base in walk.mro(cls):
        if name in walk.class_dict(base):
            found = walk.class_dict(base)[name]
            return found.__func__ if type(found) is classmethod else found
    return None


def _attribute(cls: type, name: str, was: Any, wanted: Any) -> Iterator[Op]:
    if was is wanted:
        return
    # A deletion is a write and a deletion, so that it works whether or not the attribute is there.
    yield (_SET, cls, name, None if wanted is _MISSING else wanted)
    if wanted is _MISSING:
        yield (_DEL, cls, name)


def _value(member: Any) -> Any:
    return member._value_


def _same(value: Any) -> Any:
    return value
