"""Core schemas of pydantic: the same schema for the living classes, and what is compiled from it.

A core schema is a tree of dicts and lists that names classes and functions; pydantic compiles it into a validator and a
serializer, objects written in Rust that can't be changed. So the schema of a twin is copied with the living classes in
it, and compiled anew, before the commit.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Mapping, Set
from typing import Any

from pydantic._internal._config import ConfigWrapper
from pydantic.plugin._schema_validator import create_schema_validator
from pydantic_core import SchemaSerializer

from hotswap import walk

__all__ = ["Compiled", "Copier", "Whole", "classes_in", "compiled", "model_node", "names_class"]

_BUILT = ("model", "dataclass")
"""The types of schemas that make instances of the class that they name."""

_BRANCHES = (dict, list, tuple)
"""What a schema is made of, beside its leaves."""

_LEAVES = ("default",)
"""What stands under these keys is the user's; it is not copied, and twins in it are replaced where they lie."""

_IDENTITY = re.compile(r"(?<=:)\d+")
"""What makes the name of a class unique in a schema: `shop.models.Item:94382382`."""

Compiled = tuple[Any, Any, Any]
"""A core schema, its validator and its serializer."""


class Whole:
    """Completes instances that are older than a field, or newer than one that is gone, before they are serialized.

    The serializer is written in Rust and reads the `__dict__` of an instance, where the class can give it nothing.

    Arguments:
        cls: the class.
        added: the fields that older instances do not have.
        removed: the fields that older instances still have.
    """

    def __init__(self, cls: type, added: frozenset[str], removed: frozenset[str]) -> None:
        self.cls, self.added, self.removed = cls, added, removed

    def __call__(self, model: Any, handler: Callable[[Any], Any]) -> Any:
        """Serialize an instance: `handler` is what pydantic would have called."""
        if self.cls in walk.mro(type(model)):
            self.complete(model)
            model = self._trimmed(model)
        return handler(model)

    def complete(self, model: Any) -> None:
        """Give an instance the fields that it has not got."""
        held = walk.instance_dict(model)
        for name in self.added:
            if held is not None and name not in held:
                held.setdefault(name, getattr(model, name))

    def _trimmed(self, model: Any) -> Any:
        held = walk.instance_dict(model)
        if held is None or self.removed.isdisjoint(held):
            return model
        copy = object.__new__(type(model))
        object.__setattr__(copy, "__dict__", {k: v for k, v in held.items() if k not in self.removed})
        for slot in walk.slot_descriptors(type(model)):
            try:
                slot.__set__(copy, slot.__get__(model))
            except AttributeError:
                continue  # an empty slot
        return copy


class Copier:
    """Copies core schemas with the living classes in the place of their twins.

    Arguments:
        translate: gives the living object for a twin.
        identities: id of a twin -> id of the living class.
        wholes: id of a living class -> what completes its older instances.
    """

    def __init__(
        self, translate: Callable[[Any], Any], identities: Mapping[int, int], wholes: Mapping[int, Whole]
    ) -> None:
        self._translate, self._identities, self._wholes = translate, identities, wholes

    def copy(self, schema: Any) -> Any:
        """Return a schema for the living classes."""
        kind = type(schema)
        if kind is dict:
            copy = {self._translate(key): self._entry(key, value) for key, value in schema.items()}
            whole = self._wholes.get(id(copy.get("cls"))) if copy.get("type") in _BUILT else None
            return copy if whole is None else _completing(copy, whole)
        if kind in (list, tuple):  # a choice of a union comes with its tag in a tuple
            return kind(self.copy(value) for value in schema)
        if kind in (set, frozenset):
            return kind(map(self._translate, schema))
        return self._translate(schema)

    def _entry(self, key: Any, value: Any) -> Any:
        if key in ("ref", "schema_ref") and type(value) is str:
            return _IDENTITY.sub(lambda found: str(self._identities.get(int(found[0]), found[0])), value)
        return self._translate(value) if key in _LEAVES else self.copy(value)


def _completing(node: dict[Any, Any], whole: Whole) -> dict[Any, Any]:
    """Have instances completed before they are serialized, whatever serializes them."""
    given = node.get("serialization")
    if given is None:
        serialization = {"type": "function-wrap", "function": whole}
    elif type(given.get("function")) is Whole:
        serialization = {**given, "function": whole}
    else:
        inner = {key: value for key, value in node.items() if key != "ref"}
        serialization = {"type": "function-wrap", "function": whole, "schema": inner}
        if given.get("return_schema") is not None:
            serialization["return_schema"] = given["return_schema"]
    return {**node, "serialization": serialization}


def model_node(schema: Any, cls: type) -> dict[Any, Any] | None:
    """Return the part of a schema that makes instances of a class, or None."""
    for node in _nodes(schema):
        if node.get("cls") is cls and node.get("type") in _BUILT:
            return node
    return None


def classes_in(schema: Any) -> list[type]:
    """Return the classes that a schema makes instances of, or asks for."""
    return [node["cls"] for node in _nodes(schema) if walk.is_class(node.get("cls"))]


def names_class(schema: Any, classes: Mapping[int, type]) -> bool:
    """Whether a schema has one of some classes in it. They are given by their id."""
    return _leads(schema, classes.keys()) and any(id(node.get("cls")) in classes for node in _nodes(schema))


def _leads(schema: Any, ids: Set[int]) -> bool:
    """Whether a schema leads to one of some objects: found out level by level, without a loop in Python over its nodes.

    Most schemas of a service, some with thousands of nodes, have none of the classes that a patch changes.
    """
    level, seen = [schema], {id(schema)}
    while level:
        inner = gc.get_referents(*level)
        if not ids.isdisjoint(map(id, inner)):
            return True
        level = [part for part in inner if type(part) in _BRANCHES and id(part) not in seen]
        seen.update(map(id, level))
    return False


def _nodes(schema: Any) -> list[dict[Any, Any]]:
    found: list[dict[Any, Any]] = []
    stack, seen = [schema], set()
    while stack:
        value = stack.pop()
        if type(value) is dict:
            if id(value) in seen:
                continue
            seen.add(id(value))
            found.append(value)
            stack += [inner for key, inner in value.items() if key not in _LEAVES]
        elif type(value) in _BRANCHES:
            stack += value
    return found


def compiled(schema: Any, owner: Any, name: tuple[str, str], kind: str, config: Any) -> Compiled:
    """Compile a schema. Nothing that was compiled for a living class before goes into it.

    Arguments:
        schema: the core schema.
        owner: what it is for: a class, or the type of a `TypeAdapter`.
        name: the module and the name of that, for plugins.
        kind: "BaseModel", "dataclass" or "TypeAdapter".
        config: the pydantic config of it, or None.

    Raises whatever pydantic raises for a schema that it can't compile.
    """
    wrapper = ConfigWrapper(config or {}, check=False)
    core = wrapper.core_config(title=None if kind == "TypeAdapter" else walk.class_name(owner).rpartition(".")[2])
    settings: Any = wrapper.plugin_settings
    validator = create_schema_validator(schema, owner, *name, kind, core, settings, _use_prebuilt=False)  # type: ignore[arg-type]  # the kind is one of its literals
    return schema, validator, SchemaSerializer(schema, core, _use_prebuilt=False)
