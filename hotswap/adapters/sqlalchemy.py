"""SQLAlchemy: classes keep their mapping, and get what a patch adds to it.

A mapped class is known to its registry, to the metadata and to a mapper, and rows that are loaded know it. A class
can't be mapped twice side by side. So the candidate's versions of living classes are not mapped at all: while a
candidate is loaded, each takes the mapping of the living class of its name, with the same table and the same
attributes. Expressions that the candidate makes of them (`select(User).where(User.name == "x")`) are those of the
living mapping from the start.

What is new is mapped while the candidate is loaded: classes, tables, columns and relationships. What that changes in
living objects is kept aside until the commit. Other changes of a mapping are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, ClassVar

import sqlalchemy
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import instrumentation, mapperlib

from hotswap import walk
from hotswap.adapters.fields import items_of
from hotswap.adapters.sqlalchemy_additions import add, is_column, load_when_read, scanned
from hotswap.adapters.sqlalchemy_aside import Aside
from hotswap.adapters.sqlalchemy_gates import gates
from hotswap.adapters.sqlalchemy_sources import (
    MANAGER,
    OF_THE_BASE,
    calls_to_sqlalchemy,
    can_be_added,
    changed_data,
    is_mapped,
    is_mapping,
    listeners,
    mentions,
    same,
    under_mapped_classes,
)
from hotswap.adapters.sqlalchemy_writes import write_aside, write_engines
from hotswap.errors import LoadError
from hotswap.generation import Definitions, Kind, Live, select, unchanged
from hotswap.swap import Adapter, Change, Facts, Fate, NameChange

__all__ = ["SqlalchemyAdapter"]

_DEFERRED = ("_sa_decl_prepare", "_sa_decl_prepare_nocascade")


class SqlalchemyAdapter(Adapter):
    """Looks after declarative classes, tables and listeners of SQLAlchemy 2."""

    families: ClassVar[tuple[str, ...]] = ("sqlalchemy",)
    roots: ClassVar[tuple[type, ...]] = (Engine,)

    def __init__(self) -> None:
        self.modules: Mapping[str, ModuleType] = {}
        self.put_aside: Aside | None = None
        self._refused: list[Change] = []
        self._bodies: dict[tuple[str, str], Definitions] = {}
        self._added: dict[tuple[str, str], list[str]] = {}
        self._extended: list[tuple[Any, list[str]]] = []
        self._columns: set[str] = set()
        self._tables: list[str] = []
        self._metadata: list[Any] = []
        self._registries: list[Any] = []
        self._twins: dict[int, Any] = {}
        self._mapping = 0
        self._engines: list[Any] = []
        self._made: list[tuple[dict[str, Any], str, Any]] = []

    # --- before loading ------------------------------------------------------------------------------------------

    def dependents(self, live: Live, changed: Iterable[str], definitions: Mapping[str, Definitions]) -> Iterable[str]:
        """Compare the mappings of both versions, by their sources. No unchanged module has to be loaded for them."""
        self._registries = list(mapperlib._all_registries())
        self._metadata = [registry.metadata for registry in self._registries]
        for entry in live:
            for _, value in items_of(entry):
                metadata = walk.class_dict(value).get("metadata") if walk.is_class(value) else value
                if type(metadata) is sqlalchemy.MetaData and not any(metadata is known for known in self._metadata):
                    self._metadata.append(metadata)
        under = under_mapped_classes()
        selection = select(live, definitions.keys() & set(changed), definitions, (), ())
        for entry in live:
            new = definitions.get(entry.name, entry.definitions)
            foreign = selection.changed_names(entry.name, new)
            # A mapping with the same text is another one if data that it reads is changed, perhaps in another module.
            if entry.plain and (new is not entry.definitions or foreign):
                self._compare(entry.module, entry.definitions, new, foreign, under)
        return ()

    def _compare(
        self,
        module: ModuleType,
        old: Definitions,
        new: Definitions,
        foreign: set[str],
        under: set[int],
    ) -> None:
        listening = listeners(old, new)
        calls = calls_to_sqlalchemy(module, old, new)
        told = [text for texts in (*listening[1].values(), *calls[1].values()) for text in texts]
        if listening[0] != listening[1] or calls[0] != calls[1] or any(mentions(text, foreign) for text in told):
            self._refuse(module.__name__, "", "listeners, tables or classes are registered otherwise")
        for name, value in list(module.__dict__.items()):
            if (
                type(value) is sqlalchemy.Table
                and old.kind(name) is Kind.DATA
                and not unchanged(name, old, new, foreign)
            ):
                self._refuse(module.__name__, name, "the definition of a table changes")
            elif walk.is_class_of(value, module.__name__) and name in old.classes and id(value) in under:
                self._compare_class(value, old, new, name, foreign)

    def _compare_class(self, cls: type, old: Definitions, new: Definitions, name: str, foreign: set[str]) -> None:
        home, path = str(walk.class_dict(cls).get("__module__")), walk.class_name(cls)
        self._bodies[home, path] = old.classes[name]
        if name not in new.classes:
            self._refuse(home, path, "a mapped class, or a base of one, is removed")
            return
        if old.bindings[name].head != new.bindings[name].head:
            self._refuse(home, path, "the bases, the arguments or the decorators of the class change")
        before, after = old.classes[name], new.classes[name]
        outer = foreign | changed_data(before, after)
        differ = [
            attribute
            for attribute in sorted(before.bindings.keys() | after.bindings.keys())
            if not same(attribute, before, after, outer) and is_mapping(cls, attribute, before, after)
        ]
        added = [attribute for attribute in differ if can_be_added(cls, attribute, before, after)]
        if len(added) < len(differ):
            others = ", ".join(attribute for attribute in differ if attribute not in added)
            self._refuse(home, path, f"its mapping changes: {others}")
        elif added and "__dataclass_fields__" in walk.class_dict(cls):
            self._refuse(home, path, f"a mapped dataclass gets more fields: {', '.join(added)}")
        elif added:
            # In the order of the class body: so do columns come into a table.
            self._added[home, path] = [attribute for attribute in after.bindings if attribute in added]

    def _refuse(self, module: str, name: str, what: str) -> None:
        sentence = f"{what}; hotswap adds to a mapping, and changes nothing else in it: restart for that"
        self._refused.append(Change("mapping-changed", module, name, sentence))

    # --- staging -------------------------------------------------------------------------------------------------

    def begin(self, old: Mapping[str, ModuleType], new: Mapping[str, ModuleType]) -> None:
        """Note the modules of the candidate, as they come."""
        self.modules = new

    @contextmanager
    def staging(self, module: str) -> Iterator[None]:
        """Have the candidate's classes take the living mappings, and keep aside what new ones change in them."""
        with gates.lead(self):
            yield

    def staged(self) -> None:
        """Configure what was mapped, and look for the engines, which keep compiled statements."""
        if self.put_aside is None:
            return
        with gates.lead(self):
            self._configure()
            for living, names in self._extended:
                load_when_read(living, names)
        self._engines = self.instances()

    def _configure(self) -> None:
        for registry in self._registries:
            try:
                registry.configure()
            except SQLAlchemyError as error:
                advice = "mend the mapping; the traceback is chained to this error"
                raise LoadError(f"a mapping of the patch can't be configured: {error}", advice=advice) from error

    def aside(self) -> Iterable[object]:
        """Return what the living objects will lead to."""
        return [] if self.put_aside is None else [self.put_aside.roots()]

    def is_ours(self, value: Any) -> bool:
        """Whether a class or a function is of the candidate."""
        if type(value) is FunctionType:
            own = self.modules.get(str(value.__globals__.get("__name__")))
            return own is not None and own.__dict__ is value.__globals__
        return walk.is_class(value) and walk.class_dict(value).get("__module__") in self.modules

    def is_below(self, cls: type, base: type) -> bool:
        """Whether a class of the candidate is a subclass of a living one, by way of its twin."""
        return any(self._twins.get(id(one)) is base for one in walk.mro(cls))

    def living_bases(self, cls: Any) -> list[type]:
        """Return the living classes whose twins are bases of a class of the candidate."""
        own = [base for base in walk.mro(cls)[1:] if self.is_ours(base)]
        living = [_resolved(sys.modules.get(base.__module__), walk.class_name(base)) for base in own]
        return [base for base in living if walk.is_class(base)]

    def map(self, original: Callable[..., Any], registry: Any, cls: Any, arguments: Any, options: Any) -> Any:
        """Give a class of the candidate the mapping of the living one; map it if there is none."""
        home, path = str(walk.class_dict(cls)["__module__"]), walk.class_name(cls)
        living = _resolved(sys.modules.get(home), path)
        if walk.is_class(living) and MANAGER in walk.class_dict(living):
            self._take_mapping(cls, living)
            return walk.class_dict(cls).get("__mapper__")
        there = self._living_registry(registry)
        if any(hasattr(cls, name) for name in _DEFERRED):
            self._refuse(home, path, "a class is added that is mapped later, by reflection or by its subclasses")
        elif there is not None and "__abstract__" not in walk.class_dict(cls):
            self._view()
            self._mapping += 1
            try:
                return original(there, cls, *arguments, **options)
            finally:
                self._mapping -= 1
        return original(registry, cls, *arguments, **options)

    def _view(self) -> None:
        if self.put_aside is None:
            self.put_aside = Aside(self._registries, self._metadata)
            gates.view()

    def _take_mapping(self, cls: Any, living: Any) -> None:
        self._twins[id(cls)] = living
        manager = walk.class_dict(living)[MANAGER]
        home, path = str(walk.class_dict(cls)["__module__"]), walk.class_name(cls)
        names = self._added.get((home, path), [])
        if names:
            self._extend(cls, living, names)
        added = {} if self.put_aside is None else self.put_aside.of_class(living)
        for name, value in [*walk.class_items(living), *added.items()]:
            if is_mapped(value) or name == "__table__":
                type.__setattr__(cls, name, value)
        # So that a check can make instances: a manager of its own, with the mapper of the living class.
        kind: Any = type(manager)
        own = kind.__new__(kind)
        dict.update(own, manager)
        own.__dict__.update(manager.__dict__)
        init = cls.__init__ if self._is_own(cls) else manager.original_init
        own.class_, own.original_init = cls, init
        made = instrumentation._generate_init(cls, own, init)  # type: ignore[no-untyped-call]  # SQLAlchemy left it untyped
        type.__setattr__(cls, MANAGER, own)
        type.__setattr__(cls, "__init__", made)
        # The living `__init__` will lead to this one, if the class defines it. Then it has to know the living manager.
        self._made += [(made.__globals__, "class_manager", manager), (made.__globals__, "class_", living)]

    def _extend(self, cls: Any, living: Any, names: list[str]) -> None:
        self._view()
        found = scanned(cls, living.__mapper__.registry)
        for name in names:
            why = add(living, name, found.get(name))
            if is_column(found.get(name)):
                self._columns.add(name)
            if why:
                self._refuse(living.__module__, walk.class_name(living), why)
        self._extended.append((living, names))

    def _is_own(self, cls: Any) -> bool:
        """Whether the constructor of a class is of the candidate, and not of SQLAlchemy or made by a transform."""
        known = {id(namespace) for namespace, _, _ in self._made}
        init = next(walk.class_dict(base)["__init__"] for base in walk.mro(cls) if "__init__" in walk.class_dict(base))
        return self.is_ours(init) or (type(init) is FunctionType and id(init.__globals__) in known)

    def table(self, make: Callable[..., Any], name: Any, metadata: Any, arguments: Any, options: Any) -> Any:
        """Return the living table of a name; one that is new is made, and kept aside."""
        living = self._counterpart(metadata, self._metadata, "metadata")
        if living is None:
            return make(name, metadata, *arguments, **options)
        schema = options.get("schema", living.schema)
        key = f"{schema}.{name}" if type(schema) is str else name
        if key in living.tables and not self._mapping:
            return living.tables[key]
        self._view()
        self._tables.append(str(key))
        return make(name, living, *arguments, **options)

    def listens(self, target: Any, function: Any) -> bool:
        """Whether a listener of the candidate has to be registered: on a class of its own."""
        if walk.is_class(target) and self.is_ours(target) and id(target) not in self._twins:
            return True
        home, path = function.__module__, function.__qualname__
        if "<locals>" not in path and type(_resolved(sys.modules.get(home), path)) is not FunctionType:
            self._refuse(home, path, "a listener is added")
        return False

    def _living_registry(self, registry: Any) -> Any:
        """Return the living registry for one of the candidate; None if it has no counterpart."""
        living = self._counterpart(registry, self._registries, "registry")
        if living is not None and living is not registry:
            for module in list(self.modules.values()):
                for cls in list(module.__dict__.values()):
                    if walk.is_class(cls) and walk.class_dict(cls).get("registry") is registry:
                        for name, value in {"registry": living, "_sa_registry": living}.items():
                            type.__setattr__(cls, name, value)
                        type.__setattr__(cls, "metadata", living.metadata)
        return living

    def _counterpart(self, own: Any, living: list[Any], attribute: str) -> Any:
        """Return the living object that has the name of one of the candidate in a module, or in a class there."""
        if any(own is one for one in living):
            return own
        for home, module in list(self.modules.items()):
            for name, value in list(module.__dict__.items()):
                there = _resolved(sys.modules.get(home), name)
                if walk.is_class(value) and walk.class_dict(value).get(attribute) is own and walk.is_class(there):
                    there = walk.class_dict(there).get(attribute)
                elif value is not own:
                    continue
                if any(there is one for one in living):
                    return there
        return None

    # --- the swap ------------------------------------------------------------------------------------------------

    def comes_back(self, gone: type, new: type) -> bool:
        """Let a mapped class that was rolled back be another one: the rows that are left of it have its old mapper."""
        return MANAGER not in walk.class_dict(gone)

    def keeps_attribute(self, living: type, twin: type, name: str) -> bool:
        """Keep what the mapping has put into a class: instrumented attributes, the table, the mapper, `__init__`."""
        before = walk.class_dict(living)
        if MANAGER not in before:
            return name in OF_THE_BASE and "_sa_registry" in before
        if name in ("__init__", "__table__", "__mapper__", MANAGER) or is_mapped(before.get(name)):
            return True
        if self.put_aside is not None and name in self.put_aside.of_class(living):
            return True
        body = self._bodies.get((str(before.get("__module__")), walk.class_name(living)))
        # What a dataclass transform has made; the twin was not transformed.
        return name not in walk.class_dict(twin) and (body is None or name not in body.bindings)

    def swap(self, facts: Facts) -> None:
        """Add what was kept aside, and refuse other changes of a mapping; the rest is done by the transplant."""
        for namespace, name, value in self._made:
            facts.writes.item(namespace, name, value)
        if self.put_aside is not None:
            if write_aside(self.put_aside, facts):
                write_engines(self._engines, facts)
            for living, names in self._extended:
                home, path = living.__module__, walk.class_name(living)
                for name in names:
                    why = "the database has to have this column already" if name in self._columns else "mapped"
                    facts.plan.names.append(NameChange(home, f"{path}.{name}", Fate.ADDED, why))
            for table in self._tables:
                facts.plan.warnings.append(f"the patch adds the table {table}; the database has to have it already")
        for home, module in facts.removed.items():
            for name, value in list(module.__dict__.items()):
                if walk.is_class_of(value, home) and MANAGER in walk.class_dict(value):
                    sentence = "a mapped class is removed, with its module: leave it in, and its table, until a restart"
                    facts.plan.unsupported.append(Change("mapping-changed", home, name, sentence))
        facts.plan.unsupported += self._refused


def _resolved(module: ModuleType | None, path: str) -> Any:
    found: Any = None if module is None else module.__dict__.get(path.partition(".")[0])
    for part in path.split(".")[1:]:
        found = walk.class_dict(found).get(part) if walk.is_class(found) else None
    return found
