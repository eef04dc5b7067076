"""A service with a database, whose mapped classes are patched; and what SQLAlchemy knows of it."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher, walk
from hotswap.errors import UnsupportedChangeError

sqlalchemy = pytest.importorskip("sqlalchemy", reason="needs sqlalchemy")

from sqlalchemy import orm, util  # noqa: E402 - it is there only if sqlalchemy is

Make = Callable[..., ModuleType]

HEAD = """
from __future__ import annotations
from sqlalchemy import Column, ForeignKey, String, Table, event, select
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    DeclarativeBase, Mapped, MappedAsDataclass, column_property, composite, declarative_base, declared_attr,
    mapped_column, reconstructor,
    registry, relationship, synonym, validates,
)
"""
BASE = "class Base(DeclarativeBase): pass\n"
STEP = "class {}(Base):\n    __tablename__ = '{}'\n    id: Mapped[int] = mapped_column(primary_key=True)\n"

USER = """
class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    def hello(self): return "hi"
class Post(Base):
    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    author: Mapped[User | None] = relationship()
every = select(User)
"""
COLUMN = USER.replace("    def hello", "    email: Mapped[str | None]\n    def hello")
ORDER = """
class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    user: Mapped[User | None] = relationship({})
    def total(self): return 1
"""
KIND = """
    kind: Mapped[str | None]
    __mapper_args__ = {'polymorphic_on': 'kind', 'polymorphic_identity': 'u'}
    def hello"""
KINDS = USER.replace("    def hello", KIND)
ONE_WAY = USER + ORDER.format("")
BOTH_WAYS = COLUMN.replace(
    "    def hello", "    orders: Mapped[list[Order]] = relationship(back_populates='user')\n    def hello"
) + ORDER.format("back_populates='orders'")

ENGINES: list[Any] = []


@pytest.fixture(name="service")
def prepared_service(make_package: Make) -> Service:
    """A service whose database has been prepared for what comes."""
    return started(make_package)


@pytest.fixture(name="session")
def open_session(service: Service) -> Iterator[Any]:
    """A session with the database of the service."""
    with orm.Session(service.engine) as session:
        yield session


@pytest.fixture(autouse=True)
def engines_are_closed() -> Any:
    yield
    while ENGINES:
        ENGINES.pop().dispose()


class Service:
    """A package with a database; its module `models` is patched, its module `base` is not."""

    def __init__(self, make: Make, models: str, base: str = BASE, **others: str) -> None:
        self.head = HEAD + ("from .base import *\n" if base else "")
        files = {f"{name}.py": text for name, text in others.items()}
        self.name = make({"models.py": self.head + models, "base.py": HEAD + base, **files}).__name__
        __import__(f"{self.name}.models")
        self.patcher = Patcher([self.name])
        self.listener = getattr(sys.modules[f"{self.name}.models"], "loaded", None)
        self.engine = sqlalchemy.create_engine("sqlite://")
        ENGINES.append(self.engine)
        self.Base.metadata.create_all(self.engine)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules[f"{self.name}.models"], name)

    def patch(self, text: str, module: str = "models") -> Patch:
        text = text if module != "models" else self.head + text
        version = str(len(self.patcher.history()) + 1)
        return Patch.from_sources({f"{self.name}.{module}": text}, version)

    def apply(self, models: str) -> Any:
        return self.patcher.apply(self.patch(models))

    def refusal(self, text: str, module: str = "models") -> str:
        before, known = self.registrations(), fingerprint(self)
        with pytest.raises(UnsupportedChangeError) as caught:
            self.patcher.stage(self.patch(text, module))
        assert self.registrations() == before
        assert fingerprint(self)[0] == known[0]
        return str(caught.value)

    def registrations(self) -> list[Any]:
        """What SQLAlchemy knows, wherever it keeps it."""
        gc.collect()
        registry, metadata = self.Base.registry, self.Base.metadata
        orm.configure_mappers()
        listeners = sorted(key for key in sqlalchemy.event.registry._key_to_collection if key[-1] == id(self.listener))
        classes = [cls for mapper in registry.mappers for cls in (mapper.class_, mapper)]
        mapped = {cls: dict(cls.__dict__) for cls in (m.class_ for m in registry.mappers)}
        return [
            dict(metadata.tables),
            dict(registry._class_registry),
            classes,
            mapped,
            listeners,
            sorted(
                f"{mapper.class_.__module__}.{mapper.class_.__name__}"
                for known in orm.mapperlib._all_registries()
                for mapper in known.mappers
                if mapper.class_.__module__.startswith(self.name)
            ),
        ]


def started(make: Make, models: str = USER, **others: str) -> Service:
    service = Service(make, models, **others)
    statements = ["create table orders (id integer primary key, user_id integer references users(id), note varchar)"]
    statements += ["alter table users add column email varchar", "alter table users add column kind varchar"]
    with service.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    orm.configure_mappers()
    return service


def tables(service: Service) -> list[str]:
    return sorted(service.Base.metadata.tables)


def fingerprint(service: Service) -> tuple[dict[int, Any], list[Any]]:
    """What can be reached from the registry, the metadata and the mapped classes, by identity.

    Left out is what SQLAlchemy computes when it is asked, and keeps. The second part keeps the ids from being reused.
    """
    registry = service.Base.registry
    classes = [mapper.class_ for mapper in registry.mappers]
    stack: list[Any] = [registry, service.Base.metadata, service.Base, *classes]
    found: dict[int, Any] = {}
    held: list[Any] = []
    while stack:
        one = stack.pop()
        if id(one) in found or not _is_followed(one, classes):
            continue
        parts = _parts(one)
        found[id(one)] = [(name if type(name) is str else id(name), id(part)) for name, part in parts]
        held += [one, parts]
        stack += [part for pair in parts for part in pair]
    return found, held


_NOBODY = ("_EmptyListener", "_JoinedListener")
"""Stand for listeners where there are none, once somebody has asked for them."""

_KEPT = {
    "__clause_element__",
    "_default_path_loader_key",
    "_memoized_keys",
    "_memoized_values",
    "_strategies",
    "_wildcard_token",
    "dispatch",
    "expression",
    "expressions",
    "info",
    "proxy_set",
}
_COMPUTED = (util.memoized_property, util.ro_memoized_property)


def _is_followed(one: Any, classes: list[type]) -> bool:
    kind = type(one)
    if walk.is_class(one):
        return any(one is cls for cls in classes)
    return kind in (dict, list, tuple, set, frozenset) or kind.__module__.startswith(("sqlalchemy.", "weakref"))


def _parts(one: Any) -> list[tuple[Any, Any]]:
    if walk.is_class(one):
        return [(name, value) for name, value in walk.class_items(one) if not name.startswith("__")]
    parts: list[tuple[Any, Any]] = []
    if isinstance(one, dict):
        parts += dict.items(one)
    elif isinstance(one, (list, tuple)):
        parts += [("", part) for part in one]
    elif isinstance(one, (set, frozenset)):
        parts += [("", part) for part in sorted(one, key=id)]
    elif isinstance(one, weakref.ref):
        parts.append(("", one()))
    kept = {*_KEPT, *(walk.instance_dict(one) or {}).get("_memoized_keys", ())}
    for name, value in sorted((walk.instance_dict(one) or {}).items()):
        if name not in kept and not isinstance(getattr(type(one), name, None), _COMPUTED):
            parts.append((name, value))
    for slot in walk.slot_descriptors(type(one)):
        try:
            if slot.__name__ not in kept:
                parts.append((slot.__name__, slot.__get__(one)))
        except AttributeError:
            continue
    return [(name, part) for name, part in parts if type(part).__name__ not in _NOBODY]
