"""SQLAlchemy: the methods of mapped classes change; their mapping does not.

A mapped class is known to its registry, to the metadata and to a mapper, and rows that are loaded know it. A class
can't be mapped twice side by side, and a mapping can't be taken back. So the candidate's classes are not mapped at all:
while a candidate is loaded, each takes the mapping of the living class of its name, with the same table and the same
attributes. Expressions that the candidate makes of them (`select(User).where(User.name == "x")`) are those of the
living mapping from the start. What would change the mapping is refused; a database needs a migration for that anyway.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, ClassVar

import sqlalchemy
import sqlalchemy.event.api
from sqlalchemy.orm import decl_api, instrumentation

from hotswap import walk
from hotswap.adapters.fields import is_class_of, items_of
from hotswap.generation import Definitions, Kind, Live, select, unchanged
from hotswap.swap import Adapter, Change, Facts

__all__ = ["SqlalchemyAdapter"]

_MANAGER = "_sa_class_manager"
_OF_THE_BASE = ("registry", "metadata", "_sa_registry")
_OF_THE_MAPPING = ("__tablename__", "__table__", "__table_args__", "__mapper_args__", "__abstract__", *_OF_THE_BASE)
_ORDINARY = ("sqlalchemy.ext.hybrid", "sqlalchemy.ext.associationproxy")
"""Descriptors that the mapper knows nothing of."""

_MAPS = re.compile(
    r"(?:id|attr)='(?:\w*Mapped|\w*[cC]olumn|relationship|column_property|composite|synonym|deferred|declared_attr"
    r"|query_expression|backref|dynamic_loader)'"
)
_HOOKS = re.compile(r"(?:id|attr)='(?:validates|reconstructor|listens_for|declared_attr)'")
_DECLARES = re.compile(r"(?:id|attr)='declared_attr'")
_LISTENS = re.compile(r"(?:id|attr)='listens_for'")


class SqlalchemyAdapter(Adapter):
    """Looks after declarative classes, tables and listeners of SQLAlchemy 2."""

    families: ClassVar[tuple[str, ...]] = ("sqlalchemy",)

    def __init__(self) -> None:
        self.modules: Mapping[str, ModuleType] = {}
        self._refused: list[Change] = []
        self._bodies: dict[tuple[str, str], Definitions] = {}
        self._metadata: list[Any] = []
        self._made: list[tuple[dict[str, Any], str, Any]] = []

    # --- before loading ------------------------------------------------------------------------------------------

    def dependents(self, live: Live, changed: Iterable[str], definitions: Mapping[str, Definitions]) -> Iterable[str]:
        """Compare the mappings of both versions, by their sources. No unchanged module has to be loaded for them."""
        for entry in live:
            for _, value in items_of(entry):
                metadata = walk.class_dict(value).get("metadata") if walk.is_class(value) else value
                if type(metadata) is sqlalchemy.MetaData and not any(metadata is known for known in self._metadata):
                    self._metadata.append(metadata)
        under = _under_mapped_classes()
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
        listening = [
            {name: b.head for name, b in d.bindings.items() if any(map(_LISTENS.search, b.head))} for d in (old, new)
        ]
        calls = [
            {name: b.touches for name, b in d.bindings.items() if b.touches and _configures(module, name, d)}
            for d in (old, new)
        ]
        told = [text for texts in (*listening[1].values(), *calls[1].values()) for text in texts]
        if listening[0] != listening[1] or calls[0] != calls[1] or any(_mentions(text, foreign) for text in told):
            self._refuse(module.__name__, "", "listeners, tables or classes are registered otherwise")
        for name, value in list(module.__dict__.items()):
            if (
                type(value) is sqlalchemy.Table
                and old.kind(name) is Kind.DATA
                and not unchanged(name, old, new, foreign)
            ):
                self._refuse(module.__name__, name, "the definition of a table changes")
            elif is_class_of(value, module.__name__) and name in old.classes and id(value) in under:
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
        outer = foreign | _changed_data(before, after)
        differ = [
            attribute
            for attribute in sorted(before.bindings.keys() | after.bindings.keys())
            if not _same(attribute, before, after, outer) and _is_mapping(cls, attribute, before, after)
        ]
        if differ:
            self._refuse(home, path, f"its mapping changes: {', '.join(differ)}")

    def _refuse(self, module: str, name: str, what: str) -> None:
        sentence = f"{what}; mappers and the metadata can't be changed back, and a schema needs a migration"
        self._refused.append(Change("mapping-changed", module, name, sentence))

    # --- staging -------------------------------------------------------------------------------------------------

    def begin(self, old: Mapping[str, ModuleType], new: Mapping[str, ModuleType]) -> None:
        """Note the modules of the candidate, as they come."""
        self.modules = new

    @contextmanager
    def staging(self, module: str) -> Iterator[None]:
        """Have the candidate's classes take the living mappings, and its tables and listeners be the living ones."""
        with _gates.lead(self):
            yield

    def is_ours(self, value: Any) -> bool:
        """Whether a class or a function is of the candidate."""
        if type(value) is FunctionType:
            own = self.modules.get(str(value.__globals__.get("__name__")))
            return own is not None and own.__dict__ is value.__globals__
        return walk.is_class(value) and walk.class_dict(value).get("__module__") in self.modules

    def take_mapping(self, cls: Any) -> None:
        """Give a class of the candidate the mapping of the living one."""
        home, path = str(walk.class_dict(cls)["__module__"]), walk.class_name(cls)
        living = _resolved(sys.modules.get(home), path)
        manager = walk.class_dict(living).get(_MANAGER) if walk.is_class(living) else None
        if manager is None:
            self._refuse(home, path, "a mapped class is added")
            return
        for name, value in walk.class_items(living):
            if _is_mapped(value) or name == "__table__":
                type.__setattr__(cls, name, value)
        # So that a check can make instances: a manager of its own, with the mapper of the living class.
        kind: Any = type(manager)
        own = kind.__new__(kind)
        dict.update(own, manager)
        own.__dict__.update(manager.__dict__)
        init = cls.__init__ if self._is_own(cls) else manager.original_init
        own.class_, own.original_init = cls, init
        made = instrumentation._generate_init(cls, own, init)  # type: ignore[no-untyped-call]  # SQLAlchemy left it untyped
        type.__setattr__(cls, _MANAGER, own)
        type.__setattr__(cls, "__init__", made)
        # The living `__init__` will lead to this one, if the class defines it. Then it has to know the living manager.
        self._made += [(made.__globals__, "class_manager", manager), (made.__globals__, "class_", living)]

    def _is_own(self, cls: Any) -> bool:
        """Whether the constructor of a class is of the candidate, and not of SQLAlchemy or made by a transform."""
        known = {id(namespace) for namespace, _, _ in self._made}
        init = next(walk.class_dict(base)["__init__"] for base in walk.mro(cls) if "__init__" in walk.class_dict(base))
        return self.is_ours(init) or (type(init) is FunctionType and id(init.__globals__) in known)

    def table(self, make: Callable[..., Any], name: Any, metadata: Any, arguments: Any, options: Any) -> Any:
        """Return the living table of a name; one that is new is made where nobody sees it."""
        schema = options.get("schema", metadata.schema)
        key = f"{schema}.{name}" if type(schema) is str else name
        for known in [metadata, *self._metadata]:
            if key in known.tables:
                return known.tables[key]
        self._refuse("", str(key), "a table is added")
        return make(name, sqlalchemy.MetaData(), *arguments, **options)

    # --- the swap ------------------------------------------------------------------------------------------------

    def keeps_attribute(self, living: type, twin: type, name: str) -> bool:
        """Keep what the mapping has put into a class: instrumented attributes, the table, the mapper, `__init__`."""
        before = walk.class_dict(living)
        if _MANAGER not in before:
            return name in _OF_THE_BASE and "_sa_registry" in before
        if name in ("__init__", "__table__", "__mapper__", _MANAGER) or _is_mapped(before.get(name)):
            return True
        body = self._bodies.get((str(before.get("__module__")), walk.class_name(living)))
        # What a dataclass transform has made; the twin was not transformed.
        return name not in walk.class_dict(twin) and (body is None or name not in body.bindings)

    def swap(self, facts: Facts) -> None:
        """Refuse what would change a mapping; nearly everything else is done by the transplant."""
        for namespace, name, value in self._made:
            facts.writes.item(namespace, name, value)
        facts.plan.unsupported += self._refused


class _Gates:
    """Leads what SQLAlchemy makes in threads that load a candidate to its adapter. Other threads are not led.

    Assumes: the names at which SQLAlchemy 2.0 and 2.1 look up what maps a class, makes a table, registers a listener.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._here = threading.local()
        self._undo: list[Callable[[], None]] = []

    @contextmanager
    def lead(self, adapter: SqlalchemyAdapter) -> Iterator[None]:
        """Lead this thread to an adapter in this block."""
        outer = getattr(self._here, "adapter", None)
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._open()
        self._here.adapter = adapter
        try:
            yield
        finally:
            self._here.adapter = outer
            with self._lock:
                self._holders -= 1
                while not self._holders and self._undo:
                    self._undo.pop()()

    def _open(self) -> None:
        here = self._here
        configurator: Any = getattr(decl_api, "_ORMClassConfigurator", decl_api)

        def mapping(original: Callable[..., Any]) -> Callable[..., Any]:
            def map_class(registry: Any, cls: Any, *arguments: Any, **options: Any) -> Any:
                adapter = getattr(here, "adapter", None)
                if adapter is None or not adapter.is_ours(cls):
                    return original(registry, cls, *arguments, **options)
                adapter.take_mapping(cls)
                return walk.class_dict(cls).get("__mapper__")

            return map_class

        def making(original: Callable[..., Any]) -> Callable[..., Any]:
            def make_table(*arguments: Any, **options: Any) -> Any:
                adapter = getattr(here, "adapter", None)
                if adapter is None or len(arguments) < 2:
                    return original(*arguments, **options)
                name, metadata, *rest = arguments
                return adapter.table(original, name, metadata, rest, options)

            return make_table

        def keying(original: Callable[..., Any]) -> Callable[..., Any]:
            def event_key(target: Any, identifier: str, function: Any) -> Any:
                adapter = getattr(here, "adapter", None)
                if adapter is None or not adapter.is_ours(function):
                    return original(target, identifier, function)
                return _NoListener()

            return event_key

        for name in ("_as_declarative", "_mapper"):
            self._replace(configurator, name, mapping)
        self._replace(sqlalchemy.Table, "_new", making)
        self._replace(sqlalchemy.event.api, "_event_key", keying)

    def _replace(self, owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        there = owner.__dict__[name]
        made: Any = wrap(getattr(owner, name))
        setattr(owner, name, staticmethod(made) if walk.is_class(owner) else made)
        self._undo.append(lambda: setattr(owner, name, there))


_gates = _Gates()


class _NoListener:
    """Stands for a listener of the candidate: the living one, which leads to its code, is registered already."""

    def listen(self, *arguments: Any, **options: Any) -> None:
        """Do nothing."""


def _under_mapped_classes() -> set[int]:
    """The ids of the mapped classes, and of the bases and mixins from which they have parts of their mapping."""
    from sqlalchemy.orm import mapperlib

    found: set[int] = set()
    for registry in list(mapperlib._all_registries()):
        for mapper in list(registry.mappers):
            found.update(id(base) for base in walk.mro(mapper.class_) if not base.__module__.startswith("sqlalchemy."))
    return found - {id(object)}


def _configures(module: ModuleType, name: str, definitions: Definitions) -> bool:
    """Whether calls on a name tell SQLAlchemy something: `event.listen(...)`, `tags.append_column(...)`."""
    origin = definitions.froms.get(name, (definitions.modules.get(name, ""), ""))[0]
    return origin.partition(".")[0] == "sqlalchemy" or type(module.__dict__.get(name)) in (
        sqlalchemy.Table,
        decl_api.registry,
    )


def _changed_data(old: Definitions, new: Definitions) -> set[str]:
    return {
        name
        for name in old.bindings.keys() & new.bindings.keys()
        if Kind.DATA in (old.kind(name), new.kind(name)) and not unchanged(name, old, new)
    }


def _mentions(text: str, names: Iterable[str]) -> bool:
    """Whether the dump of a statement has one of some names in it: `NAME`, or `module.NAME`."""
    for name in names:
        first, _, last = name.partition(".")
        attribute = rf"(?:, ctx=Load\(\))?\), attr='{last}'" if last else ""
        if re.search(f"id='{first}'{attribute}", text):
            return True
    return False


def _same(name: str, before: Definitions, after: Definitions, foreign: set[str]) -> bool:
    return name in before.bindings and name in after.bindings and unchanged(name, before, after, foreign)


def _is_mapping(cls: type, name: str, before: Definitions, after: Definitions) -> bool:
    """Whether an attribute that differs is part of the mapping, in the one or in the other version."""
    bindings = [body.bindings[name] for body in (before, after) if name in body.bindings]
    if name in _OF_THE_MAPPING or _is_mapped(walk.class_dict(cls).get(name)):
        return True
    if name == "__init__" and len(bindings) == 1:
        return True  # SQLAlchemy has wrapped the one that was there
    if all(binding.kind is Kind.FUNCTION for binding in bindings):
        heads = [" ".join(binding.head) for binding in bindings]
        if any(map(_DECLARES.search, heads)):
            return True
        return any(map(_HOOKS.search, heads)) and (len(heads) == 1 or heads[0] != heads[1])
    return any(_MAPS.search(text) for binding in bindings for text in binding.text)


def _is_mapped(value: Any) -> bool:
    """Whether the value of an attribute of a class is SQLAlchemy's: a column, a relationship, what became of them."""
    origin = str(type(value).__module__)
    return origin.startswith("sqlalchemy.") and not origin.startswith(_ORDINARY)


def _resolved(module: ModuleType | None, path: str) -> Any:
    found: Any = None if module is None else module.__dict__.get(path.partition(".")[0])
    for part in path.split(".")[1:]:
        found = walk.class_dict(found).get(part) if walk.is_class(found) else None
    return found
