"""Plain attributes of classes that a framework has made: everybody gets those of his version, the framework notices
nothing, and what it reads from the namespace itself is plain at any time.
"""

from __future__ import annotations

import contextvars
import textwrap
from collections.abc import Callable
from types import ModuleType

import pytest

import hotswap
from hotswap import walk
from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads

KINDS = {
    "enum": """
        import copy, enum, pickle
        class Base(enum.Enum):
            kind = enum.nonmember("{v}")
            only_{v} = enum.nonmember("{v}")
        class Thing(Base):
            ONE = 1
            TWO = 2
            own = enum.nonmember("{v}")
        def made(): return Thing.ONE
        def works():
            class Other(Base):
                ONE = 1
            assert [*Thing] == [Thing.ONE, Thing.TWO] == [*Thing.__members__.values()] and len(Other) == 1
            assert Thing(1) is Thing["ONE"] is copy.copy(made()) and made() in Thing and "ONE" in dir(Thing)
            assert {{"name", "value", "kind", "own"}} <= {{*dir(made())}}
            return Other, repr(made())
        """,
    "flag": """
        import enum
        class Thing(enum.IntFlag):
            ONE = 1
            TWO = 2
            kind = own = only_{v} = enum.nonmember("{v}")
        def made(): return Thing.ONE | Thing.TWO
        def works():
            assert [*made()] == [*Thing] and made() & 1 is Thing.ONE and ~Thing.ONE is Thing.TWO
            return Thing, str(made())
        """,
    "protocol": """
        import typing
        @typing.runtime_checkable
        class Kinded(typing.Protocol):
            kind: str
            def run(self) -> str: ...
        class Thing(Kinded, typing.Protocol):
            kind = own = only_{v} = "{v}"
            def run(self): return "run"
        class Real(Thing): pass
        def made(): return Real()
        def works():
            class Other(Thing): pass
            assert isinstance(made(), Kinded) and isinstance(Other(), Kinded)
            return Other, Other().run()
        """,
    "pydantic": """
        from typing import ClassVar
        import pydantic
        class Thing(pydantic.BaseModel):
            model_config = pydantic.ConfigDict(title="Thing")
            kind: ClassVar[str] = "{v}"
            own: ClassVar = "{v}"
            only_{v}: ClassVar[str] = "{v}"
            size: int = 1
            _private: int = 3
        def made(): return Thing(size="2")
        def works():
            class Other(Thing):
                more: str = "x"
            Thing.model_rebuild(force=True)
            assert Thing.model_config == {{"title": "Thing"}} and Thing.model_fields.keys() == {{"size"}}
            assert made().model_copy() == made() == Thing.model_validate_json('{{"size": 2}}')
            assert made()._private == 3 and Other(size=5).model_dump() == {{"size": 5, "more": "x"}}
            try:
                made().kind = "9"
            except AttributeError as error:
                assert "ClassVar" in str(error)
            return Other, Thing.model_json_schema(), repr(made()), {{"kind", "own"}} <= Other.__class_vars__
        """,
    "generic": """
        from typing import ClassVar, Generic, TypeVar
        import pydantic
        T = TypeVar("T")
        class Thing(pydantic.BaseModel, Generic[T]):
            kind: ClassVar[str] = "{v}"
            own: ClassVar[str] = "{v}"
            only_{v}: ClassVar[str] = "{v}"
            size: T
        Ints = Thing[int]
        def made(): return Ints(size="2")
        def works():
            class Other(Ints): pass
            return Other, made().model_dump(), made() == Ints.model_validate({{"size": 2}})
        """,
    "sqlalchemy": """
        import sqlalchemy
        from sqlalchemy.orm import DeclarativeBase, Mapped, Session, column_property, mapped_column
        class Base(DeclarativeBase): pass
        class Thing(Base):
            __tablename__ = "things"
            __mapper_args__ = {{"polymorphic_on": "what", "polymorphic_identity": "thing"}}
            id: Mapped[int] = mapped_column(primary_key=True)
            what: Mapped[str] = mapped_column(default="thing")
            kind = "{v}"
            own = only_{v} = "{v}"
        def made(): return Thing(id=1)
        def works(count=[0]):
            count[0] += 1
            name = f"Other{v}_{{count[0]}}"
            Other = type(name, (Thing,), {{"__mapper_args__": {{"polymorphic_identity": name}}}})
            engine = sqlalchemy.create_engine("sqlite://")
            Base.metadata.create_all(engine)
            with Session(engine) as session:
                session.add(made())
                session.commit()
                found = session.scalars(sqlalchemy.select(Thing).where(Thing.id == 1)).one()
                names = {{*sqlalchemy.inspect(Thing).all_orm_descriptors.keys()}}
                assert Thing.metadata is Base.metadata and Thing.__tablename__ == "things"
                assert type(Thing.id).__name__ == "InstrumentedAttribute"
                answer = type(found).__name__, sorted(names), str(sqlalchemy.select(Thing))
            engine.dispose()
            return Other, *answer
        """,
    "mapped_dataclass": """
        from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
        class Base(MappedAsDataclass, DeclarativeBase): pass
        class Thing(Base):
            __tablename__ = "things"
            id: Mapped[int] = mapped_column(primary_key=True)
            kind = own = only_{v} = "{v}"
        def made(): return Thing(id=1)
        def works(): return Thing, repr(made()), made() == made(), [*Thing.__table__.c.keys()]
        """,
    "attrs": """
        import attrs
        @attrs.define(slots=False)
        class Thing:
            size: int = 1
            kind = own = only_{v} = "{v}"
        def made(): return Thing()
        def works(): return Thing, attrs.asdict(made()), attrs.evolve(made(), size=2).size
        """,
    "dataclass": """
        import abc, dataclasses
        @dataclasses.dataclass
        class Thing(abc.ABC):
            size: int = 1
            kind = own = only_{v} = "{v}"
        def made(): return Thing()
        def works(): return Thing, dataclasses.asdict(made()), dataclasses.replace(made(), size=2).size
        """,
    "named_tuple": """
        import typing
        class Thing(typing.NamedTuple):
            size: int = 1
            kind = own = only_{v} = "{v}"
        def made(): return Thing()
        def works(): return Thing, made()._asdict(), made()._replace(size=2), Thing._fields
        """,
    "typing_generic": """
        import typing
        T = typing.TypeVar("T")
        class Thing(typing.Generic[T]):
            kind = own = only_{v} = "{v}"
        def made(): return Thing[int]()
        def works(): return Thing[int], str(Thing[int].__parameters__)
        """,
}
"""Classes whose plain attributes are `kind`, `own`, and one that only this version has; `made` makes an object, `works`
has the framework do what it does, and returns a class below and what does not depend on the version.
"""

NEEDS = {"generic": "pydantic", "mapped_dataclass": "sqlalchemy", "pydantic": "pydantic", "sqlalchemy": "sqlalchemy"}

LOOP = """
def helper({more}x): return "{v}"
def kinds():
    below, *answer = works()
    found = {{helper({pass_}1), Thing.kind, Thing.own, Thing.only_{v}, made().kind, made().only_{v}, below.kind}}
    return found | {{getattr(Thing, "only_2" if "{v}" == "1" else "only_1", "{v}")}}, answer
def loop():
    tag = "{v}"
    while True:
        yield tag, kinds()
"""

ONE, TWO = {"1"}, {"2"}


class Things(Versions):
    @classmethod
    def of(cls, make: Callable[..., ModuleType], name: str) -> Things:
        if name in ("attrs", *NEEDS):
            pytest.importorskip(NEEDS.get(name, name))

        class Some(Things):
            source = textwrap.dedent(KINDS[name]) + LOOP

        return Some(make, None)

    def is_plain(self, version: str) -> bool:
        """Whether the namespaces of the classes have the plain values of a version, and no forks."""
        facts = {key: value for cls in self.core.Thing.__mro__ for key, value in walk.class_space(cls).items()}
        own = {key: value for key, value in facts.items() if key in ("kind", "own") or key.startswith("only_")}
        return own == dict.fromkeys(("kind", "own", f"only_{version}"), version)


@pytest.mark.parametrize("name", KINDS)
class TestEverybodyGetsThoseOfHisVersion:
    def test_there_and_back(self, make_package: Callable[..., ModuleType], name: str) -> None:
        things = Things.of(make_package, name)
        old = things.core.loop()
        tag, (found, answer) = next(old)
        assert (tag, found) == ("1", ONE)
        rollout = things.apply("2")
        new = things.core.loop()
        assert next(old) == ("1", (ONE, answer))
        assert next(new) == ("2", (TWO, answer))
        assert (things.core.Thing.kind, things.core.made().own) == ("2", "2")
        rollout.rollback()
        assert (next(old), next(new)) == (("1", (ONE, answer)), ("2", (TWO, answer)))
        assert things.core.Thing.kind == things.core.made().kind == "1"
        old.close()
        new.close()
        del old, new
        assert rollout.drained.wait(20)
        assert forks_go()
        assert things.is_plain("1")
        assert things.core.kinds() == (ONE, answer)

    def test_it_is_plain_when_old_calls_have_ended(self, make_package: Callable[..., ModuleType], name: str) -> None:
        things = Things.of(make_package, name)
        old = things.core.loop()
        _, (_, answer) = next(old)
        rollout = things.apply("2")
        assert next(old)[1][0] == ONE
        assert not things.is_plain("2")
        old.close()
        del old
        assert rollout.drained.wait(20)
        assert forks_go()
        assert things.is_plain("2")
        assert things.core.kinds() == (TWO, answer)

    def test_a_session_keeps_its_own(self, make_package: Callable[..., ModuleType], name: str) -> None:
        things = Things.of(make_package, name)
        thing, kinds, context = things.core.Thing, things.core.kinds, contextvars.copy_context()
        with hotswap.session():
            assert kinds()[0] == ONE
            rollout = things.apply("2")
            assert (thing.kind, thing.own, thing.only_1, things.core.made().kind) == ("1", "1", "1", "1")
            assert not hasattr(thing, "only_2")
            assert kinds()[0] == ONE
            assert context.run(kinds)[0] == TWO
        assert rollout.drained.wait(20)
        assert forks_go()
        assert things.is_plain("2")

    def test_a_preview_sees_those_of_the_candidate(self, make_package: Callable[..., ModuleType], name: str) -> None:
        things = Things.of(make_package, name)
        thing, made, kinds = things.core.Thing, things.core.made, things.core.kinds
        _, answer = kinds()
        rollout = things.patcher.stage(things.patch_of("2"))
        rollout.verify()
        rollout.arm()
        with rollout.preview():
            assert (thing.kind, thing.own, thing.only_2, made().kind) == ("2", "2", "2", "2")
            assert kinds() == (TWO, answer)
            assert contextvars.Context().run(kinds) == (ONE, answer)
        assert (thing.kind, thing.only_1, kinds()) == ("1", "1", (ONE, answer))
        assert not hasattr(thing, "only_2")
        rollout.commit()
        assert thing.kind == "2"
        assert kinds() == (TWO, answer)
        assert rollout.drained.wait(20)
        assert forks_go()
        assert things.is_plain("2")

    def test_nothing_is_left_of_one_that_was_armed(self, make_package: Callable[..., ModuleType], name: str) -> None:
        things = Things.of(make_package, name)
        rollout = things.patcher.stage(things.patch_of("2"))
        rollout.verify()
        rollout.arm()
        rollout.abort()
        assert forks_go()
        assert things.is_plain("1")
        assert things.core.kinds()[0] == ONE


@pytest.mark.parametrize("name", ["enum", "protocol", "pydantic", "sqlalchemy"])
def test_calls_of_several_versions(make_package: Callable[..., ModuleType], name: str) -> None:
    things = Things.of(make_package, name)
    calls = {"1": things.core.loop()}
    _, (_, answer) = next(calls["1"])
    rollouts = []
    for version in "23":
        rollouts.append(things.apply(version, int(version) % 2))
        calls[version] = things.core.loop()
        for own, call in calls.items():
            tag, (found, works) = next(call)
            assert (tag, found - {"1"} | {own}, works) == (own, {own}, answer)  # the third has an `only_1` to ask for
        assert things.core.Thing.kind == version
    rollouts[-1].rollback()
    assert [next(call)[0] for call in calls.values()] == ["1", "2", "3"]
    assert things.core.Thing.kind == "2"
    while calls:
        calls.popitem()[1].close()
        assert all(own in next(call)[1][0] for own, call in calls.items())
    del call
    assert all(rollout.drained.wait(20) for rollout in rollouts)
    assert forks_go()
    assert things.is_plain("2")


LIBRARY = """
class Option:
    def __init__(self, value): self.value = value

class Meta(type):
    def __new__(meta, name, bases, facts):
        return super().__new__(meta, name, bases, {**facts, "count": int(facts.get("kind", 0))})

class Base(metaclass=Meta):
    limit = "0"

class Between(type):
    def __getattribute__(cls, name):
        return vars(cls)["kind"] if name == "kind" else super().__getattribute__(name)
"""


class Options(Versions):
    source = """
from LIBRARY import Base, Between, Option

class Thing(Base):
    kind = _kind = __kind = "{v}"
    limit = __own__ = _own_ = "{v}"
    option, shape = Option("{v}"), (None, int, str)[{v}]
    def private(self): return self.__kind

class Odd(metaclass=Between):
    kind = "{v}"

def helper({more}x): return "{v}"
def plain():
    return {{Thing.kind, Thing._kind, Thing().private(), helper({pass_}1)}}
def others():
    shape = {{int: "1", str: "2"}}[Thing.shape]
    facts = vars(Thing)
    of_space = facts["limit"], facts["option"].value, facts["__own__"], vars(Odd)["kind"], str(facts["count"])
    return {{Thing.limit, Thing.__own__, Thing._own_, Thing.option.value, shape, str(Thing.count), Odd.kind, *of_space}}
def loop():
    tag = "{v}"
    while True:
        yield tag, plain(), others()
"""


class TestWhatEverybodyGetsAtOnce:
    def test_is_what_the_framework_may_look_at(self, make_package: Callable[..., ModuleType]) -> None:
        library = make_package({"__init__.py": LIBRARY}).__name__

        class Some(Options):
            source = Options.source.replace("LIBRARY", library)

        options = Some(make_package, None)
        old = options.core.loop()
        assert next(old) == ("1", ONE, ONE)
        rollout = options.apply("2")
        assert next(old) == ("1", ONE, TWO)
        rollout.rollback()
        assert next(old) == ("1", ONE, ONE)
        old.close()
        del old
        assert rollout.drained.wait(20)
        assert forks_go()

    def test_is_the_config_of_a_model(self, make_package: Callable[..., ModuleType]) -> None:
        pytest.importorskip("pydantic")

        class Models(Versions):
            source = """
import pydantic
class Thing(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(title="{v}")
def helper({more}x): return "{v}"
def loop():
    tag = "{v}"
    while True:
        yield tag, helper({pass_}1), Thing.model_config["title"], Thing.model_json_schema()["title"]
"""

        models = Models(make_package, None)
        old = models.core.loop()
        assert next(old) == ("1", "1", "1", "1")
        rollout = models.apply("2")
        assert next(old) == ("1", "1", "2", "2")
        assert vars(models.core.Thing)["model_config"] == {"title": "2"}
        old.close()
        del old
        assert rollout.drained.wait(20)
