"""Instances of pydantic models that are older than their fields.

They have no value for a field that was added, and still one for a field that was removed. Python code that reads an
attribute gets the default from the class; what reads the `__dict__` of an instance (the serializer, `==`, `repr`) has
it completed first.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

import pydantic
from pydantic._internal._model_construction import ModelMetaclass
from pydantic_core import PydanticUndefined

from hotswap import walk
from hotswap.adapters.fields import ABSENT, LateField, late_fields, refuse, write_attribute, write_late_fields
from hotswap.adapters.pydantic_schemas import Whole, model_node
from hotswap.swap import Facts, Writes

__all__ = ["Evolution", "is_completing"]

_SCHEMA, _FIELDS, _PRIVATE = "__pydantic_core_schema__", "__pydantic_fields__", "__private_attributes__"
_SLOT: Any = walk.class_dict(pydantic.BaseModel)["__pydantic_private__"]
_RAW = ("__eq__", "__iter__", "__repr_args__", "__getstate__", "__copy__", "__deepcopy__", "__hash__")
"""Methods of models that read the `__dict__` of instances past the class."""


class _Given:
    """Which instances were given late private attributes. Lives as long as the swap can be taken back.

    Python code can't read such an attribute once it is taken back, but pydantic compares all that an instance has.
    """

    def __init__(self, writes: Writes, *, any_before: bool) -> None:
        self._writes, self._any_before = writes, any_before
        writes.late(self._taken_back)
        self._given: list[tuple[weakref.ref[Any], str]] = []

    def note(self, instance: Any, name: str) -> None:
        """Note that an instance has got a value. One that can't be referred to weakly keeps it."""
        if any("__weakref__" in walk.class_dict(cls) for cls in walk.mro(type(instance))):
            self._given.append((weakref.ref(instance), name))

    def _taken_back(self, forward: bool) -> Iterator[tuple[Any, ...]]:
        """The writes that take the values back: there are none before the swap was made."""
        for reference, name in () if forward else list(self._given):
            instance = reference()
            held = None if instance is None else _SLOT.__get__(instance)
            if held is None:
                continue
            self._writes.hold(held, held.get(name))
            if self._any_before:
                yield (dict.pop, held, name, None)
            else:  # an instance without private attributes has not even a dict for them
                yield (_SLOT.__set__, instance, None)


class _LatePrivate(LateField):
    """Gives older instances a private attribute.

    Arguments:
        name: the attribute.
        make: makes the value for an instance.
        given: notes the instances, as long as somebody keeps it.
    """

    __slots__ = ("_given",)

    def __init__(self, name: str, make: Callable[[Any], Any], given: _Given | None) -> None:
        super().__init__(name, make)
        self._given = None if given is None else weakref.ref(given)

    def fill(self, instance: Any) -> Any:
        held = getattr(instance, "__pydantic_private__", None)
        if held is None:
            held = {}
            object.__setattr__(instance, "__pydantic_private__", held)
        if self.name in held:
            return held[self.name]
        given = None if self._given is None else self._given()
        if given is not None:
            given.note(instance, self.name)
        return held.setdefault(self.name, self.make(instance))


class Evolution:
    """How the fields of one model change, and what its older instances need for it."""

    def __init__(self, living: type, twin: type, facts: Facts) -> None:
        self._living, self._twin, self._facts = living, twin, facts
        self._is_model = type(living) is ModelMetaclass
        self._before: dict[str, Any] = walk.class_dict(living)[_FIELDS]
        self._after: dict[str, Any] = walk.class_dict(twin)[_FIELDS]

    def whole(self) -> Whole | None:
        """Add the writes for older instances; return what completes them for the serializer, if anything has to."""
        earlier = self._earlier()
        late = late_fields(self._living)
        added = {n for n in self._after if n not in self._before or n in earlier.added}
        removed = {n for n in (*self._before, *earlier.removed) if n not in self._after}
        self._warn(added, removed)
        if self._is_model:
            fields = {name: field for name in self._after if name in added and (field := self._late(name)) is not None}
            fields.update(self._late_private(late))
            write_late_fields(self._facts.writes, self._living, self._twin, fields)
            self._write_raw_methods(frozenset(fields))
        if not added and not removed:
            return None
        return Whole(self._living, frozenset(added), frozenset(removed))

    def _earlier(self) -> Whole:
        node = model_node(walk.class_dict(self._living).get(_SCHEMA), self._living)
        function = ((node or {}).get("serialization") or {}).get("function")
        return function if type(function) is Whole else Whole(self._living, frozenset(), frozenset())

    def _late(self, name: str) -> LateField | None:
        field = self._after[name]
        if field.is_required():
            if name not in self._before:
                sentence = f"old instances would have no value for {name}"
                refuse("field-without-value", self._facts, self._living, sentence)
            return None
        return LateField(name, _FieldDefault(name, field))

    def _late_private(self, late: Mapping[str, LateField]) -> dict[str, LateField]:
        before = walk.class_dict(self._living).get(_PRIVATE) or {}
        after = walk.class_dict(self._twin).get(_PRIVATE) or {}
        given = _Given(self._facts.writes, any_before=bool(before))
        return {
            name: _LatePrivate(name, _PrivateDefault(private), None if name in before else given)
            for name, private in after.items()
            if (name not in before or name in late)
            and not (private.default is PydanticUndefined and private.default_factory is None)
        }

    def _write_raw_methods(self, names: frozenset[str]) -> None:
        """Have the methods that read the `__dict__` of instances complete these first."""
        for method in _RAW:
            own = walk.class_dict(self._twin).get(method)
            wanted = names and (own is None or (method == "__hash__" and _is_pydantics(own)))
            present = walk.class_dict(self._living).get(method)
            if wanted and not (method == "__hash__" and own is None):
                write_attribute(self._facts.writes, self._living, method, _completing(self._living, method, own, names))
            elif own is None and is_completing(present):
                write_attribute(self._facts.writes, self._living, method, ABSENT)

    def _warn(self, added: set[str], removed: set[str]) -> None:
        where = f"{self._living.__module__}:{walk.class_name(self._living)}"
        for name, field in self._after.items():
            if name in self._before and _differ(self._before[name].annotation, field.annotation):
                self._facts.plan.warnings.append(
                    f"{where}.{name} has another type: older instances keep the values that they have"
                )
        if (added - set(self._before) or removed & set(self._before)) and _is_pydantics(
            walk.class_dict(self._twin).get("__hash__")
        ):
            sentence = (
                "hashes by its fields, which differ: objects of it that are keys or in sets are not found any more"
            )
            self._facts.plan.warnings.append(f"{where} {sentence}")


class _FieldDefault:
    """Makes the value that a model would have given a field that nobody named."""

    def __init__(self, name: str, field: Any) -> None:
        self._name, self._field = name, field

    def __call__(self, instance: Any) -> Any:
        extra = getattr(instance, "__pydantic_extra__", None)
        if extra and self._name in extra:
            return extra[self._name]  # it was given before there was a field for it
        return self._field.get_default(call_default_factory=True, validated_data=dict(instance.__dict__))


class _PrivateDefault:
    """Makes the value that a model would have given a private attribute."""

    def __init__(self, private: Any) -> None:
        self._private = private

    def __call__(self, instance: Any) -> Any:
        if getattr(self._private, "default_factory_takes_validated_data", False):
            return self._private.get_default(call_default_factory=True, validated_data=dict(instance.__dict__))
        return self._private.get_default(call_default_factory=True)


def _completing(cls: type, method: str, own: Any, names: Iterable[str]) -> Any:
    """Make a method that completes the instances it works on, and then does what it is there for."""

    def complete(self: Any, *others: Any) -> Any:
        for instance in (self, *others):
            if cls in walk.mro(type(instance)):
                for name in names:
                    getattr(instance, name)
        if own is not None:
            return own(self, *others)
        return getattr(super(cls, self), method)(*others)

    complete.__name__, complete.__qualname__ = method, f"{walk.class_name(cls)}.{method}"
    return complete


_COMPLETING = _completing(object, "", None, ()).__code__


def is_completing(value: Any) -> bool:
    """Whether an attribute of a class is a method that an earlier swap has given it for its older instances."""
    return type(value) is FunctionType and value.__code__ is _COMPLETING


def _is_pydantics(function: Any) -> bool:
    """Whether pydantic has made a method."""
    return type(function) is FunctionType and str(function.__globals__.get("__name__")).startswith("pydantic.")


def _differ(before: Any, after: Any) -> bool:
    """Whether two annotations are written differently; a name that was not there yet says nothing."""
    shown = [repr(a) if not walk.is_class(a) else f"{a.__module__}.{walk.class_name(a)}" for a in (before, after)]
    return shown[0] != shown[1] and not any("ForwardRef(" in one for one in shown)
