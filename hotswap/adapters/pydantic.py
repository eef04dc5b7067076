"""pydantic: models, dataclasses and type adapters whose fields, validators and config change.

A model carries a validator and a serializer that pydantic has compiled when the class was made, with the class itself
and all models inside it built in. The body of a twin can't just be transplanted: the living class would make instances
of the twin. So everything that the candidate has compiled is compiled once more for the living classes, before the
commit. The same goes for models in unchanged modules into which a changed class is compiled: these modules are loaded
too.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, ClassVar

import pydantic
from pydantic._internal._model_construction import ModelMetaclass
from pydantic._internal._validate_call import ValidateCallWrapper
from pydantic_core import SchemaSerializer, SchemaValidator

from hotswap import walk
from hotswap.adapters.fields import changed_classes, items_of, late_fields, refuse, write_attribute
from hotswap.adapters.pydantic_completion import Completion, is_complete, rebuilt
from hotswap.adapters.pydantic_deferred import Deferred
from hotswap.adapters.pydantic_generics import Generics
from hotswap.adapters.pydantic_instances import Evolution, is_completing
from hotswap.adapters.pydantic_namespaces import namespaces
from hotswap.adapters.pydantic_schemas import Compiled, Copier, compiled, names_class
from hotswap.generation import Definitions, Kind, Live, LiveModule, managed
from hotswap.swap import Adapter, Change, Facts

__all__ = ["PydanticAdapter"]

_SCHEMA, _VALIDATOR, _SERIALIZER = "__pydantic_core_schema__", "__pydantic_validator__", "__pydantic_serializer__"
_OF_CALLS = ("__pydantic_validator__", "__return_pydantic_validator__")
_RUST = (SchemaValidator, SchemaSerializer)
_AT_ONCE = "calls in flight and sessions that make objects of it meet the new fields at once"
_FIELDS, _GENERIC, _COMPLETE = "__pydantic_fields__", "__pydantic_generic_metadata__", "__pydantic_complete__"


class PydanticAdapter(Adapter):
    """Looks after the classes of pydantic, version 2."""

    families: ClassVar[tuple[str, ...]] = ("pydantic",)

    def __init__(self) -> None:
        self.modules: Mapping[str, ModuleType] = {}
        self._outside: list[str] = []
        self._warned: list[str] = []
        self._stale_generics: list[type] = []
        self._changed: Mapping[int, type] = {}
        self._deferred: Deferred | None = None
        self._completion: Completion | None = None

    # --- staging -------------------------------------------------------------------------------------------------

    def dependents(self, live: Live, changed: Iterable[str], definitions: Mapping[str, Definitions]) -> Iterable[str]:
        """Return the unchanged modules with models, adapters or functions into which a changed class is compiled."""
        changed = frozenset(changed)
        self._completion = Completion(live, definitions)
        self._deferred = Deferred(live)
        classes = self._changed = changed_classes(live, changed, definitions)
        found: set[str] = set()
        if not classes:
            return found
        stale: dict[int, type] = {}
        for model in walk.descendants(pydantic.BaseModel):
            facts = walk.class_dict(model)
            home = str(facts.get("__module__"))
            if not self._is_stale(model):
                continue
            stale[id(model)] = model
            if id(model) in classes:
                continue
            entry_ = live.get(home)
            if entry_ is not None and entry_.plain and _stands_in(entry_.module, model):
                found.add(home)
            elif (facts.get(_GENERIC) or {}).get("origin") is not None:
                self._stale_generics.append(model)
            elif managed(home, live.packages) or "<locals>" in walk.class_name(model):
                self._warned.append(f"{home}:{walk.class_name(model)}")
            else:
                self._outside.append(f"{home}:{walk.class_name(model)}")
        stale.update((id(cls), cls) for cls in classes.values() if _is_compiled(cls) or issubclass(cls, enum.Enum))
        found.update(e.name for e in live if e.name not in changed and _compiles(e, classes, stale))
        return found - changed

    def _is_stale(self, model: type) -> bool:
        """Whether a changed class is compiled into a model."""
        return _is_below(model, self._changed) or names_class(walk.class_dict(model).get(_SCHEMA), self._changed)

    def begin(self, old: Mapping[str, ModuleType], new: Mapping[str, ModuleType]) -> None:
        """Note the modules of the candidate, as they come."""
        self.modules = new

    @contextmanager
    def staging(self, module: str) -> Iterator[None]:
        """Have the candidate's models find the names in their annotations in the candidate's own modules."""
        living = _living(module)
        before = set(living)
        with namespaces.lead(self.modules):
            try:
                yield
            finally:
                own = self.modules.get(module)
                for name in [name for name in living if name not in before and "[" in name]:
                    # A generic model with arguments; pydantic makes it a global of what `sys.modules` has.
                    model = living.pop(name)
                    if own is not None:
                        own.__dict__.setdefault(model.__name__, model)

    def staged(self) -> None:
        """Complete the models that had to wait for a name that is defined further down."""
        with namespaces.lead(self.modules):
            classes = [cls for module in list(self.modules.values()) for cls in _classes_in(module)]
            waiting = [cls for cls in classes if is_complete(cls) is False]
            for cls in waiting:
                if type(cls) is ModelMetaclass:
                    rebuilt(cls, {})
            if self._completion is not None:
                self._completion.complete(self.modules, waiting)

    # --- the swap ------------------------------------------------------------------------------------------------

    def keeps_attribute(self, living: type, twin: type, name: str) -> bool:
        """Keep what earlier swaps have added out of the transplant: `swap` decides about it."""
        if name in walk.class_dict(twin):
            # An empty config says nothing; pydantic makes a new one for each class.
            return name == "model_config" and {} == walk.class_dict(twin)[name] == walk.class_dict(living).get(name)
        return name in late_fields(living) or is_completing(walk.class_dict(living).get(name))

    def swap(self, facts: Facts) -> None:
        """Compile everything that the candidate has compiled for the living classes, and have it written."""
        twins = {id(twin): living for living, twin in facts.classes}
        models = [o for o in facts.owned if walk.is_class(o) and _SCHEMA in walk.class_dict(o)]  # type: ignore[arg-type]  # it is a class
        if not self._fit(facts, models):
            return
        self._judge(facts, twins, models)
        wholes = {}
        for living, twin in facts.classes:
            if _FIELDS in walk.class_dict(living) and _FIELDS in walk.class_dict(twin):
                whole = Evolution(living, twin, facts).whole()
                if whole is not None:
                    wholes[id(living)] = whole
        copier = Copier(facts.translate, {key: id(living) for key, living in twins.items()}, wholes)
        made: dict[int, Compiled] = {}
        for model in models:
            cls: Any = model
            self._compile_class(cls, twins.get(id(cls), cls), copier, facts, made)
        kept = {id(pair.twin): pair.living for pair in facts.kept}
        called: list[Any] = []
        for owned in facts.owned:
            if type(owned) is pydantic.TypeAdapter:
                self._compile_adapter(owned, kept.get(id(owned), owned), copier, facts, made)
            elif type(owned) is ValidateCallWrapper:
                # It has no schema to copy, but makes its validators anew when it is called next.
                slot = walk.class_dict(ValidateCallWrapper)[_COMPLETE]
                facts.writes.both([(slot.__set__, owned, False)], [])
                called += _validators_of(owned)
        self._replace(facts, made, called)
        Generics(facts, self._is_stale)
        if self._deferred is not None:
            changed = self._changed
            aside = [cls for pair in facts.classes for cls in pair]
            self._deferred.follow(lambda schema: names_class(schema, changed), aside, facts.writes)

    def _fit(self, facts: Facts, models: list[Any]) -> bool:
        """Whether this release of pydantic can compile aside, and whether all classes are of its second version."""
        fit = True
        for living, _ in facts.classes:
            if type(living).__module__.startswith("pydantic.v1"):
                refuse("framework-class", facts, living, "models of pydantic.v1 build themselves; port it to version 2")
                fit = False
        try:
            SchemaValidator({"type": "any"}, None, _use_prebuilt=False)
        except TypeError:
            for model in models:
                sentence = f"pydantic {pydantic.VERSION} can't compile its validator anew; upgrade pydantic"
                refuse("framework-class", facts, model, sentence)
            return False
        return fit

    def _judge(self, facts: Facts, twins: Mapping[int, type], models: Iterable[Any]) -> None:
        for name in self._outside:
            home, _, path = name.partition(":")
            sentence = "it is compiled from a model that changes, and lies outside the managed packages"
            facts.plan.unsupported.append(Change("model-outside", home, path, sentence))
        facts.plan.warnings += [
            f"{name} was made at run time from a model that changes: it goes on with the old fields and validators"
            for name in self._warned
        ]
        for living, twin in facts.classes:
            before, after = (walk.class_dict(cls).get(_FIELDS) or {} for cls in (living, twin))
            if lost := ", ".join(name for name in before if name not in after):
                home = f"{walk.class_home(living)}:{walk.class_name(living)}"
                facts.plan.warnings.append(f"{home} loses {lost}: {_AT_ONCE}")
        sentence = "it is complete, and nothing tells what names in the new annotations mean"
        for living, twin in facts.classes:
            if is_complete(living) and is_complete(twin) is False:
                refuse("model-incomplete", facts, living, sentence)
        for home, name in [] if self._completion is None else self._completion.left:
            facts.plan.unsupported.append(Change("model-incomplete", home, name, sentence))
        paired = {id(living) for living in twins.values()}
        for model in self._stale_generics:
            if id(model) not in paired:
                refuse("generic-model", facts, model, "it was made from a model that changes, inside another statement")
        living_generics = {_generic_key(model, facts.translate): model for model in self._stale_generics}
        for model in models:
            arguments = (walk.class_dict(model).get(_GENERIC) or {}).get("args")
            if arguments and id(model) not in twins and _generic_key(model, facts.translate) in living_generics:
                refuse("generic-model", facts, model, "its counterpart is bound to no name in a module")

    def _compile_class(self, cls: Any, living: Any, copier: Copier, facts: Facts, made: dict[int, Compiled]) -> None:
        body = walk.class_dict(cls)
        schema = body[_SCHEMA]
        if type(schema) is not dict:
            return  # not complete yet; it is compiled when it is used, from what is live then
        is_model = type(cls) is ModelMetaclass
        config = body.get("model_config" if is_model else "__pydantic_config__")
        name = (str(body.get("__module__")), walk.class_name(cls))
        try:
            parts = compiled(copier.copy(schema), living, name, "BaseModel" if is_model else "dataclass", config)
        except Exception as error:  # noqa: BLE001 - pydantic's own, or that of a hook of a type; it is told in the plan
            refuse("model-not-compiled", facts, living, f"pydantic can't compile it for the living classes: {error}")
            return
        made[id(schema)] = parts
        made[id(body[_VALIDATOR])] = made[id(body[_SERIALIZER])] = parts
        for attribute, part in zip((_SCHEMA, _VALIDATOR, _SERIALIZER), parts, strict=True):
            write_attribute(facts.writes, living, attribute, part)

    def _compile_adapter(
        self, adapter: Any, living: Any, copier: Copier, facts: Facts, made: dict[int, Compiled]
    ) -> None:
        body, there = walk.instance_dict(adapter), walk.instance_dict(living)
        if body is None or there is None:
            return
        schema = body.get("core_schema")
        parts = made.get(id(schema))
        if parts is None and type(schema) is dict:
            name = (str(body.get("_module_name")), str(walk.class_name(type(adapter))))
            try:
                parts = compiled(copier.copy(schema), body["_type"], name, "TypeAdapter", body.get("_config"))
            except Exception as error:  # noqa: BLE001 - as above
                sentence = f"pydantic can't compile a TypeAdapter for the living classes: {error}"
                facts.plan.unsupported.append(Change("model-not-compiled", name[0], "", sentence))
                return
            made[id(schema)] = made[id(body["validator"])] = made[id(body["serializer"])] = parts
        values = dict(zip(("core_schema", "validator", "serializer"), parts, strict=True)) if parts else {}
        for key in ("_type", "_config", "pydantic_complete"):
            values[key] = facts.translate(body.get(key))
        for key, value in {**{k: body.get(k) for k in ("core_schema", "validator", "serializer")}, **values}.items():
            facts.writes.item(there, key, value, again=True)  # it is derived

    def _replace(self, facts: Facts, made: Mapping[int, Compiled], called: list[Any]) -> None:
        """Lead to what was compiled for the living classes, and name what the candidate has compiled by hand."""
        for part in called:
            facts.redirect(part, part)  # its function lets go of it when it is called
        known = {id(part) for parts in made.values() for part in parts} | set(map(id, called))
        strangers = False
        for owned in facts.owned:
            if type(owned) in _RUST and id(owned) in made:
                # A part of a twin, which goes with it, or of a new class or an adapter, which get the other one.
                facts.redirect(owned, made[id(owned)][1 + _RUST.index(type(owned))])
            elif type(owned) in _RUST and id(owned) not in known:
                strangers = True
        if strangers:
            sentence = "the patch holds validators or serializers outside of models and type adapters"
            facts.plan.warnings.append(f"{sentence}: they make instances of dropped classes")


def _is_compiled(cls: type) -> bool:
    return _SCHEMA in walk.class_dict(cls)


def _is_below(cls: type, classes: Mapping[int, type]) -> bool:
    return any(id(base) in classes for base in walk.mro(cls))


def _compiles(entry: LiveModule, classes: Mapping[int, type], stale: Mapping[int, type]) -> bool:
    """Whether a module has a dataclass, a type adapter or a decorated function into which a changed class is compiled.

    Arguments:
        entry: the module, which does not change.
        classes: the changed classes by id.
        stale: the models among them, and the models that they are compiled into.
    """
    facts = items_of(entry)
    local = [f"id='{name}'" for name, value in facts if id(value) in stale]
    for name, value in facts:
        if entry.definitions.kind(name) is Kind.IMPORT:
            continue
        if walk.is_class_of(value, entry.name) and type(value) is not ModelMetaclass and _is_compiled(value):
            if _is_below(value, classes) or names_class(walk.class_dict(value)[_SCHEMA], classes):
                return True
        elif any(names_class((walk.instance_dict(a) or {}).get("core_schema"), classes) for a in _adapters(value)):
            return True
        elif type(value) is FunctionType and name in entry.definitions.bindings:
            binding = entry.definitions.bindings[name]
            if "raw_function" in value.__dict__:  # that is how `validate_call` keeps the function
                heads = [_signature(text) for text in binding.text]
                if any(mark in head for mark in local for head in heads):
                    return True
    return False


def _validators_of(wrapper: ValidateCallWrapper) -> list[Any]:
    """What a validated function has for its arguments and for what it returns."""
    found: list[Any] = []
    for name in _OF_CALLS:
        part = getattr(wrapper, name, None)
        cells = part.__closure__ or () if type(part) is FunctionType else ()
        found += [part, getattr(part, "__self__", None), *(cell.cell_contents for cell in cells)]
    return [part for part in found if type(part) is SchemaValidator]


def _signature(dump: str) -> str:
    """What the dump of a function definition says outside of its body."""
    start, _, rest = dump.partition(" body=[")
    return start + rest.rpartition("decorator_list=[")[2]


def _adapters(value: Any) -> list[Any]:
    values = [value]
    if type(value) in (list, tuple):
        values = list(value)
    elif type(value) is dict:
        values = list(value.values())
    return [one for one in values if type(one) is pydantic.TypeAdapter]


def _stands_in(module: ModuleType, cls: type) -> bool:
    """Whether the name of a class leads to it in a module."""
    path = walk.class_name(cls)
    found: Any = module.__dict__.get(path)
    if found is None:
        found = module.__dict__.get(path.partition(".")[0])
        for part in path.split(".")[1:]:
            found = walk.class_dict(found).get(part) if walk.is_class(found) else None
    return found is cls


def _classes_in(module: ModuleType) -> Iterator[type]:
    """The classes that a module defines, those inside of others after them."""
    stack = [value for value in list(module.__dict__.values()) if walk.is_class_of(value, module.__name__)]
    seen: set[int] = set()
    while stack:
        cls = stack.pop(0)
        if id(cls) not in seen:
            seen.add(id(cls))
            yield cls
            inner = f"{walk.class_name(cls)}."
            stack += [
                value
                for _, value in walk.class_items(cls)
                if walk.is_class_of(value, module.__name__) and walk.class_name(value).startswith(inner)
            ]


def _living(module: str) -> dict[str, Any]:
    found = sys.modules.get(module)
    return found.__dict__ if type(found) is ModuleType else {}


def _generic_key(model: Any, translate: Callable[[Any], Any]) -> tuple[int, ...]:
    metadata = walk.class_dict(model).get(_GENERIC) or {}
    return (
        id(translate(metadata.get("origin"))),
        *(id(translate(argument)) for argument in metadata.get("args") or ()),
    )
