"""Classes: the old class stays *the* class; the candidate's class body is transplanted into it.

Existing instances, subclasses and `except` clauses follow at once; instances are not visited. Attributes are written
by `type.__setattr__`, so that no metaclass runs code in the commit; nothing looks an attribute up in between, so a
commit costs a class one version of CPython's type cache, not one for each attribute.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any, NamedTuple

from hotswap import walk
from hotswap.generation import Kind, unchanged
from hotswap.swap.bases import can_rebase
from hotswap.swap.enums import Members, is_enum, members_refused, own_structures
from hotswap.swap.fields import Make, fields_of, gone_fields, late_descriptors, late_fields
from hotswap.swap.guarded import follows, is_closed, is_guarded
from hotswap.swap.pairs import ClassPair
from hotswap.swap.plan import Change, Fate, NameChange
from hotswap.swap.registrations import ATTRIBUTE, Registrations
from hotswap.swap.slots import DROP, Carrier, is_slot, padded_slots, shadow_slots, slot_names, slots_refused
from hotswap.swap.state import PLAIN, class_keeps
from hotswap.swap.ways import Changed
from hotswap.swap.writes import Op, Writes

__all__ = ["Transplant", "built_elsewhere", "transplant", "unsupported_class_changes"]

_ANNOTATIONS = ("__annotations__", "__annotate_func__", "__annotations_cache__") if sys.version_info >= (3, 14) else ()
"""Where CPython keeps the annotations of a class that are no attribute like any other."""

_SKIPPED = frozenset({"_abc_impl", "__slotnames__"})
_FRAMEWORKS = ("pydantic", "sqlalchemy", "django", "sqlmodel", "odmantic", "peewee", "pony", "tortoise")
_NAMES = ("__name__", "__qualname__")
"""What CPython keeps beside the namespace of a class."""

_EMPTY: dict[str, Any] = {"__type_params__": ()}
"""What CPython does not let anybody delete, and what says the same."""

_GUARDED = "it can't be written into the class: its metaclass keeps it elsewhere; only code in it can change"

_SET = type.__setattr__
_DELETE = type.__delattr__
_MISSING: Any = DROP


class Transplant(NamedTuple):
    """What the transplant of a class would do.

    Arguments:
        changes: in words.
        kept: the dropped twins of class attributes that are kept.
        warnings: what will not be as after a restart.
        shadows: the descriptors that serve slots which instances have no place for.
        same: the names of the attributes that keep their values.
        refused: what can't be changed.
        written: the attributes that are written.
        before: what the way back writes, by name; it may be changed until the transplant is made.
        members: those of an enumeration.
    """

    changes: list[NameChange]
    kept: dict[int, tuple[Any, Any]]
    warnings: list[str]
    shadows: dict[str, Any]
    same: list[str]
    refused: list[Change]
    written: list[Changed]
    before: dict[str, Any]
    members: Members | None = None


def unsupported_class_changes(
    pair: ClassPair, translate: Callable[[Any], Any], families: Container[str] = ()
) -> list[Change]:
    """Return what stands in the way of transplanting a class. Tries on scratch classes only; touches neither class.

    Arguments:
        pair: the old class and its twin.
        translate: gives the living object for a twin.
        families: the frameworks for whose classes there is an adapter.
    """
    old, new = pair.old, pair.new
    module, _, name = pair.key.partition(":")
    changes = []

    def refuse(code: str, sentence: str) -> None:
        changes.append(Change(code, module, name, sentence))

    if translate(type(new)) is not type(old):
        refuse("metaclass-changed", f"its metaclass was {_show(type(old))} and would be {_show(type(new))}")
        return changes
    if (sentence := built_elsewhere(old, families)) is not None:
        refuse("framework-class", sentence)
        return changes
    if is_closed(type(old)):
        if not _same_body(pair):
            refuse("metaclass-in-c", f"attributes of its metaclass {_show(type(old))} can't be written past it")
        return changes
    if is_enum(old):
        members_refused(pair, refuse)
    fields = walk.class_dict(old).get("_fields"), walk.class_dict(new).get("_fields")
    if issubclass(old, tuple) and fields[0] != fields[1]:
        refuse("named-tuple-fields-changed", f"its fields were {fields[0]} and would be {fields[1]}")
    slots_refused(old, new, refuse)
    lacking = late_fields(old, new, translate)[1]
    if lacking:
        refuse("dataclass-field-without-value", f"old instances would have no value for {', '.join(sorted(lacking))}")
    old_bases = walk.fact(old, "__bases__")
    bases = tuple(translate(base) for base in walk.fact(new, "__bases__"))
    if not walk.same_items(bases, old_bases) and not can_rebase(old, bases):
        refuse("bases-changed", f"CPython can't change its bases from {_list(old_bases)} to {_list(bases)}")
    return changes


def built_elsewhere(cls: type, families: Container[str]) -> str | None:
    """Return why a class can't be transplanted whatever changes: its framework builds it; None if it can.

    Arguments:
        cls: the class.
        families: the frameworks for whose classes there is an adapter.
    """
    family = walk.class_home(type(cls)).partition(".")[0]
    if family not in _FRAMEWORKS or family in families:
        return None
    return f"classes of {family} build themselves when they are created; there is no adapter yet"


def transplant(
    pair: ClassPair,
    translate: Callable[[Any], Any],
    writes: Writes,
    same: Callable[[Any, Any], bool],
    outside: Container[str],
    lasting: Container[str],
    made: Callable[[Any], bool],
    why: Callable[[str, str], str],
    adapted: Callable[[type, type, str], bool],
    values: Callable[[type, type], Mapping[str, Make]],
) -> Transplant:
    """Add the writes that give an old class the body of its twin.

    Arguments:
        pair: the old class and its twin.
        translate: gives the living object for a twin; it is asked when the writes are made.
        writes: receives them.
        same: whether two functions have the same code.
        outside: the names of the module that stand for changed data.
        lasting: those of them whose object is the same one.
        made: whether an object was made by the candidate.
        why: tells why a name is kept or replaced, given the reason by its definition.
        adapted: whether an adapter says that an attribute (of a class and its twin) stays as it is.
        values: gives what adapters have to make the values of slots (of a class and its twin) that old objects lack.
    """
    old, new = pair.old, pair.new
    if is_closed(type(old)):
        return Transplant([], {}, [], {}, [], [], [], {})
    module, _, name = pair.key.partition(":")
    before, after = dict(walk.class_items(old)), dict(walk.class_items(new))
    members = Members(pair) if is_enum(old) else None
    beside: Container[str] = () if members is None else {*own_structures, *members.attributes}
    changes: list[NameChange] = []
    kept: dict[int, tuple[Any, Any]] = {}
    targets: dict[str, Any] = {}
    stays: dict[str, Any] = {}
    keeps: list[str] = []
    annotations = _annotations(old, before, after)
    for attribute, value in after.items():
        living = before.get(attribute, _MISSING)
        if attribute in beside or adapted(old, new, attribute) or _skipped(attribute, value, living):
            continue
        if type(value) is dict and translate(living) is value:
            targets[attribute] = value  # the namespace of a module: each generation has its own
            continue
        if living is not _MISSING and class_keeps(attribute, living, value, pair.bodies, outside, lasting):
            if living is not value and made(value):
                kept[id(value)] = (value, living)
            keeps.append(attribute)
            if not attribute.startswith("__"):
                fate = Fate.CARRIED if type(living) in PLAIN else Fate.KEPT
                reason = why(f"{pair.key}.{attribute}", "its definition did not change")
                changes.append(NameChange(module, f"{name}.{attribute}", fate, reason))
            continue
        if walk.is_class(value) and walk.is_class(living) and translate(value) is living:
            continue
        targets[attribute] = value
        if attribute.startswith("__") and attribute not in pair.bodies[1].bindings:
            continue
        if living is _MISSING:
            changes.append(NameChange(module, f"{name}.{attribute}", Fate.ADDED))
        elif not same(living, value):
            data = all(body.kind(attribute) is Kind.DATA for body in pair.bodies)
            if data and not (_holds_code(living) or _holds_code(value)):
                reason = why(f"{pair.key}.{attribute}", "its definition changed")
                changes.append(NameChange(module, f"{name}.{attribute}", Fate.REPLACED, reason))
            else:
                changes.append(NameChange(module, f"{name}.{attribute}", Fate.CHANGED))
    for attribute, value in before.items():
        leaves = attribute not in after and attribute not in beside and _defined(attribute, value, pair)
        if leaves and not adapted(old, new, attribute):
            targets[attribute] = _MISSING
            changes.append(NameChange(module, f"{name}.{attribute}", Fate.REMOVED))
    makers = {**late_fields(old, new, translate)[0], **values(old, new)}
    warnings = [*_slot_warnings(pair, makers), *_hash_warnings(pair, targets, before, same)]
    shadows = shadow_slots(old, new, makers)
    for attribute, value in {**shadows, **late_descriptors(old, makers)}.items():
        if type(value) is Carrier:
            stays[attribute] = value
        elif before.get(attribute, _MISSING) is not value:
            targets[attribute] = value
    for attribute, value in gone_fields(old, new).items():
        before[attribute] = value
        targets.setdefault(attribute, _MISSING)
    for field in makers:
        if field not in fields_of(old) and field not in slot_names(old):
            late_value = "old instances get its default when it is first read"
            changes.append(NameChange(module, f"{name}.{field}", Fate.ADDED, late_value))
    if slot_names(old) != slot_names(new) and "__slots__" in after:
        targets["__slots__"] = padded_slots(old, new, after["__slots__"])
    refused = [
        Change("attribute-guarded", module, f"{name}.{attribute}", _GUARDED)
        for attribute in [one for one in targets if is_guarded(old, one) or is_guarded(new, one)]
        if not follows(before.get(attribute, _MISSING), targets.pop(attribute), translate)
    ]
    if members is not None:
        kept.update(members.twins)
        warnings += members.warnings(pair.key)
        changes += members.changes(module, name)

    def late(forward: bool) -> Iterator[Op]:
        for attribute, value in stays.items():
            if forward or attribute in targets:
                yield (_SET, old, attribute, value)
        for attribute, value in targets.items():
            was, will = before.get(attribute, _MISSING), translate(value)
            if was is will or (type(was) is type(will) is str and was == will):
                continue  # writing an equal `__module__` would cost the class its `__firstlineno__` on CPython 3.13
            yield from _written(old, attribute, will if forward else was)
        yield from annotations[forward]
        for name in _NAMES:
            if titles[0][name] != titles[1][name]:
                yield (type.__dict__[name].__set__, old, titles[forward][name])
        if not walk.same_items(bases, old_bases):
            yield (type.__dict__["__bases__"].__set__, old, bases if forward else old_bases)
        if registrations is not None:
            yield from registrations.ops(forward)
        if members is not None:
            yield from members.ops(forward, translate, writes.hold)
        if reshaped:
            yield from _forget_slot_names(old)

    titles = [{name: walk.fact(cls, name) for name in _NAMES} for cls in (old, new)]
    old_bases = walk.fact(old, "__bases__")
    reshaped = slot_names(old) != slot_names(new)
    abstract = ATTRIBUTE in before and ATTRIBUTE in after
    registrations = Registrations(old, new, translate) if abstract else None
    bases = tuple(translate(base) for base in walk.fact(new, "__bases__"))
    writes.late(late)
    writes.hold(before)
    written = [
        Changed(
            old, attribute, *(walk.MISSING if one is _MISSING else one for one in (before.get(attribute, _MISSING), v))
        )
        for attribute, v in targets.items()
        if members is None or attribute not in members.attributes
    ]
    return Transplant(changes, kept, warnings, {**shadows, **stays}, keeps, refused, written, before, members)


def _annotations(old: type, body: dict[str, Any], new_body: dict[str, Any]) -> tuple[list[Op], list[Op]]:
    """The writes that give an old class its own annotations, and those of the new one, from CPython 3.14 on.

    They are taken out of what else is in the old and the new class.

    What computes them is written with what was computed. CPython would keep that when nothing computes them any more,
    and asking for `__annotate__` itself leaves an entry in the namespace of the class. Annotations that are text are
    written by the descriptor, which puts them where what is computed is, if there were none before.
    """
    before, after = ({name: facts.pop(name) for name in _ANNOTATIONS if name in facts} for facts in (body, new_body))
    if not before and not after:
        return [], []
    if after.get("__annotate_func__") is not None:
        after.pop("__annotations_cache__", None)  # computed anew, of what is live then
    back: list[Op] = []
    forward: list[Op] = []
    for ops, facts in ((back, before), (forward, after)):
        if not ("__annotations__" in before and "__annotations__" in after):
            ops += [(_SET, old, "__annotations__", {}), (_DELETE, old, "__annotations__")]
        ops += [(_SET, old, name, facts[name]) for name in _ANNOTATIONS if name in facts]
    return back, forward


def _written(cls: type, attribute: str, value: Any) -> Iterator[Op]:
    """A deletion is a write and a deletion, so that it works whether or not the attribute is there."""
    yield (_SET, cls, attribute, _EMPTY.get(attribute) if value is _MISSING else value)
    if value is _MISSING and attribute not in _EMPTY:
        yield (_DELETE, cls, attribute)


def _holds_code(value: Any) -> bool:
    return type(value) in (FunctionType, staticmethod, classmethod, property) or walk.is_class(value)


def _skipped(attribute: str, value: Any, living: Any) -> bool:
    if attribute == "__dict__" and living is not _MISSING and type(living) is not GetSetDescriptorType:
        return False  # the old body had something of its own there
    return attribute in _SKIPPED or type(value) in (MemberDescriptorType, GetSetDescriptorType)


def _hash_warnings(
    pair: ClassPair, targets: Mapping[str, Any], before: Mapping[str, Any], same: Callable[[Any, Any], bool]
) -> Iterator[str]:
    for hook in ("__hash__", "__eq__"):
        was, will = before.get(hook), targets.get(hook)
        if type(was) is type(will) is FunctionType and not same(was, will):
            yield (
                f"{pair.key} computes {hook} otherwise; sets and dicts in which its objects are keys may not find them"
            )
            return


def _slot_warnings(pair: ClassPair, served: Container[str]) -> Iterator[str]:
    """What is not as after a restart where slots come and go.

    Arguments:
        pair: the old class and its twin.
        served: the slots for which old objects have a default.
    """
    old, new = slot_names(pair.old), slot_names(pair.new)
    with_dict, needs_dict = (bool(walk.fact(cls, "__dictoffset__")) for cls in (pair.old, pair.new))
    if old - new and not needs_dict:
        yield f"{pair.key} loses the slots {', '.join(sorted(old - new))}; its objects keep them, and what is in them"
    if new - old and not with_dict:
        yield f"{pair.key} gets the slots {', '.join(sorted(new - old))}; using them is slower until a restart"
    empty = sorted(name for name in new - old if name not in served)
    if empty and not with_dict:
        yield f"{pair.key}: objects that exist have nothing in {', '.join(empty)} until somebody sets it"
    if with_dict and not needs_dict:
        yield f"{pair.key} has no __dict__ in the new version; its objects keep theirs, and may have any attribute"


def _forget_slot_names(cls: type) -> Iterator[Op]:
    """`copyreg` notes in a class which slots it and its bases have; it looks anew if the note is gone."""
    for other in (cls, *walk.descendants(cls)):
        yield (_SET, other, "__slotnames__", None)
        yield (_DELETE, other, "__slotnames__")


def _defined(attribute: str, value: Any, pair: ClassPair) -> bool:
    """Whether an attribute came from the class body, rather than from somebody who set it at run time.

    Of a class that returns no source says so any more: it starts anew, as after a restart.
    """
    if attribute in _SKIPPED or type(value) is GetSetDescriptorType or is_slot(value):
        return False
    if pair.returns:
        return True
    body = pair.bodies[0]
    if attribute in body.bindings:
        return True
    return attribute.startswith("__") and attribute.endswith("__")


def _same_body(pair: ClassPair) -> bool:
    """Whether a class without code of its own stands in both versions with the same text."""
    before, after = pair.bodies
    functions = any(type(value) is FunctionType for _, value in walk.class_items(pair.new))
    return (
        not functions
        and before.bindings.keys() == after.bindings.keys()
        and all(unchanged(name, before, after) for name in after.bindings)
    )


def _show(cls: type) -> str:
    return f"{walk.class_home(cls)}.{walk.class_name(cls)}"


def _list(classes: Iterable[type]) -> str:
    return f"({', '.join(_show(cls) for cls in classes)})"
