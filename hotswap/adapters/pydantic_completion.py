"""Completion: models that others complete, once the names in their annotations are defined.

``A.model_rebuild()``, in a module that imports both `A` and what it refers to, is the usual way round circular imports.
The module does not run again when `A` is patched. So a model whose living counterpart is complete is completed while
it is staged: with what the annotations of that one have come to, and with what its own module imports for type
checkers only.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import pydantic.dataclasses
from pydantic import TypeAdapter
from pydantic._internal._model_construction import ModelMetaclass, build_lenient_weakvaluedict

from hotswap import walk
from hotswap.adapters.fields import items_of
from hotswap.adapters.pydantic_schemas import classes_in
from hotswap.generation import Definitions, Live, LiveModule

__all__ = ["Completion", "is_complete", "known_names", "rebuilt", "with_names"]

_COMPLETE, _FIELDS = "__pydantic_complete__", "__pydantic_fields__"
_GENERIC = "__pydantic_generic_metadata__"
_TYPING = ("typing", "typing_extensions", "types")
_MISSING: Any = object()


def is_complete(cls: type) -> bool | None:
    """Whether pydantic has compiled a class; None if it is no class of pydantic's."""
    found = walk.class_dict(cls).get(_COMPLETE)
    return found if type(found) is bool else None


def rebuilt(model: Any, names: Mapping[str, Any]) -> bool:
    """Have pydantic complete a class or adapter of a candidate with these names; return whether it is complete."""
    if type(model) is TypeAdapter:
        model.rebuild(raise_errors=False, _types_namespace=dict(names))
        return model.pydantic_complete
    if type(model) is ModelMetaclass:
        model.model_rebuild(raise_errors=False, _types_namespace=dict(names))  # type: ignore[attr-defined]  # it is a model
    else:
        pydantic.dataclasses.rebuild_dataclass(model, raise_errors=False, _types_namespace=dict(names))
    return bool(is_complete(model))


class Completion:
    """Completes the classes and type adapters of a candidate that are complete in the living modules.

    Arguments:
        live: the managed modules as they run.
        definitions: what the new sources say.

    `left` names the adapters that can't be completed: module, name.
    """

    def __init__(self, live: Live, definitions: Mapping[str, Definitions]) -> None:
        self._live, self._definitions = live, definitions
        self.left: list[tuple[str, str]] = []

    def complete(self, modules: Mapping[str, ModuleType], classes: Iterable[type]) -> None:
        """Complete these classes of these modules of a candidate, as far as that can be done."""
        waiting: list[tuple[type, type]] = []
        for cls in classes:
            living = self._living(cls)
            if not is_complete(cls) and living is not None and is_complete(living):
                waiting.append((cls, living))
        while waiting:
            own = [self._names(walk.class_home(cls), known_names(living), modules) for cls, living in waiting]
            shared = _unambiguous(item for names in own for item in names.items())
            left = [
                pair for pair, names in zip(waiting, own, strict=True) if not _completed(pair[0], {**shared, **names})
            ]
            if len(left) == len(waiting):
                break
            waiting = left
        self._complete_adapters(modules)

    def _complete_adapters(self, modules: Mapping[str, ModuleType]) -> None:
        self.left = []
        for home, module in modules.items():
            entry = self._live.get(home)
            for name, living in [] if entry is None else items_of(entry):
                twin = module.__dict__.get(name)
                if type(living) is not TypeAdapter or type(twin) is not TypeAdapter:
                    continue
                if living.pydantic_complete and not twin.pydantic_complete:
                    known = _unambiguous((walk.class_name(cls), cls) for cls in classes_in(living.core_schema))
                    if not _completed(twin, self._names(home, known, modules)):
                        self.left.append((home, name))

    def _living(self, cls: type) -> type | None:
        entry = self._live.get(walk.class_home(cls))
        found = None if entry is None or not entry.plain else _at(entry.module.__dict__, walk.class_name(cls))
        return found if walk.is_class(found) else None

    def _names(self, home: str, known: Mapping[str, Any], modules: Mapping[str, ModuleType]) -> dict[str, Any]:
        """What the names in annotations stand for that their module does not define.

        Arguments:
            home: the name of the module.
            known: what those of the living version have come to.
            modules: those of the candidate.
        """
        inside = modules[home].__dict__ if home in modules else {}
        entry = self._live.get(home)
        told = {} if entry is None or not entry.plain else _set_at_run_time(entry)
        found = {name: _twin(value, modules) for name, value in {**told, **known}.items()}
        body = self._definitions.get(home) or (None if entry is None else entry.definitions)
        if body is not None:
            for name, (origin, attribute) in body.imports():
                module = modules.get(origin) or self._module(origin)
                if module is not None:
                    found[name] = module.__dict__.get(attribute, _MISSING)
            for name, origin in body.modules.items():
                if origin in modules or not any(each.startswith(f"{origin}.") for each in modules):
                    found[name] = modules.get(origin) or self._module(origin) or _MISSING
        return {name: value for name, value in found.items() if name not in inside and value is not _MISSING}

    def _module(self, name: str) -> ModuleType | None:
        entry = self._live.get(name)
        return entry.module if entry is not None and entry.plain else None


def _set_at_run_time(entry: LiveModule) -> dict[str, Any]:
    """The types among what a program has put into a module: no statement of its body binds their names."""
    return {
        name: value
        for name, value in items_of(entry)
        if entry.definitions.kind(name) is None and (walk.is_class(value) or type(value).__module__ in _TYPING)
    }


def _completed(part: Any, names: Mapping[str, Any]) -> bool:
    try:
        return rebuilt(part, names)
    except Exception:  # noqa: BLE001 - pydantic's own, or that of a hook of a type
        return False  # the plan refuses a model that is not complete


def known_names(cls: type) -> dict[str, Any]:
    """Return what the annotations of a complete class have come to, by the names of the classes in them."""
    fields = walk.class_dict(cls).get(_FIELDS)
    if type(fields) is not dict:
        return {}
    return _unambiguous(_named([field.annotation for field in fields.values()]))


def with_names(before: Any, names: Mapping[str, Any]) -> Any:
    """Return the parent namespace of a model, as pydantic keeps it, with more names in it."""
    return {**(build_lenient_weakvaluedict(dict(names)) or {}), **(before or {})}


def _named(stack: list[Any]) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    while stack:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if walk.is_class(value):
            yield walk.class_name(value).rpartition(".")[2], value
            made_of = walk.class_dict(value).get(_GENERIC) or {}
            stack += [made_of.get("origin"), *(made_of.get("args") or ())]
        elif type(value).__module__ in _TYPING:
            stack += [typing.get_origin(value), *typing.get_args(value)]
            name = getattr(value, "__name__", None)
            if type(name) is str and not typing.get_args(value):
                yield name, value
        elif type(value) is list:
            stack += value  # the arguments of a callable


def _unambiguous(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in items:
        found[name] = value if found.get(name, value) is value else _MISSING
    return {name: value for name, value in found.items() if value is not _MISSING}


def _twin(value: Any, modules: Mapping[str, ModuleType]) -> Any:
    """What the candidate has in the place of a living class, or of an alias or type variable."""
    is_class = walk.is_class(value)
    home = walk.class_home(value) if is_class else str(getattr(value, "__module__", ""))
    name = walk.class_name(value) if is_class else getattr(value, "__name__", "")
    return _at(modules[home].__dict__, name) if home in modules else value


def _at(inside: Mapping[str, Any], path: str) -> Any:
    first, *rest = path.split(".")
    found = inside.get(first, _MISSING)
    for part in rest:
        found = walk.class_dict(found).get(part, _MISSING) if walk.is_class(found) else _MISSING
    return found
