"""SQLAlchemy: mapped classes get new methods, and keep their mapping, their sessions and their rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hotswap.errors import LoadError
from tests.adapters.mapped import BASE, STEP, Make, Service, engines_are_closed, open_session  # noqa: F401 - fixtures

sqlalchemy = pytest.importorskip("sqlalchemy", reason="needs sqlalchemy")

from sqlalchemy import orm  # noqa: E402 - it is there only if sqlalchemy is

pytestmark = pytest.mark.threads  # a patcher stages in a thread of its own

MODELS = """
LENGTH = 30
labels = Table("labels", Base.metadata, Column("user", ForeignKey("users.id")), Column("text", String(LENGTH)))
class Named:
    name: Mapped[str] = mapped_column(String(LENGTH))
    def shout(self): return self.name.upper()
class User(Named, Base):
    __tablename__ = "users"
    limit = 3
    id: Mapped[int] = mapped_column(primary_key=True)
    posts: Mapped[list[Post]] = relationship(back_populates="user")
    def __init__(self, name): self.name = name
    def hello(self): return f"hi {self.name}"
    @property
    def size(self): return len(self.posts)
    @hybrid_property
    def greeting(self): return "hi " + self.name
    @validates("name")
    def check_name(self, key, value): return value
class Post(Base):
    __tablename__ = "posts"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    user: Mapped[User] = relationship(back_populates="posts")
@event.listens_for(User, "load")
def loaded(target, context): target.seen = 1
def named(name): return select(User).where(User.name == name)
"""
MODELS_2 = (
    MODELS.replace('f"hi {self.name}"', 'f"hello {self.name} {__class__.__name__} {super().shout()}"')
    .replace("len(self.posts)", "len(self.posts) + 100")
    .replace('"hi " + self.name', '"hello " + self.name')
    .replace("return value", "return value.strip()")
    .replace("self.name = name", "self.name = name + ' '")
    .replace("target.seen = 1", "target.seen = 2")
    .replace("self.name.upper()", "self.name.upper() + '!'")
    .replace("limit = 3", "limit = 4\n    def added(self): return self.limit\n    def __repr__(self): return 'me'")
    .replace("def named", "greeted = select(User).where(User.greeting == 'hello a')\ndef named")
)

USER = STEP.format("User", "users") + "    name: Mapped[str] = mapped_column({})\n"
LISTEN = "@event.listens_for(User, {})\ndef loaded(target, context): pass\n"
LIMITS = "SIZE = 30\nEVENT = 'load'\nHINT = 'hint'\n"


@pytest.fixture
def service(make_package: Make) -> Service:
    return Service(make_package, MODELS)


class TestMethods:
    def test_follow_in_rows_and_sessions(self, service: Service, session: Any) -> None:
        user, post = service.User, service.Post
        row = user("a")
        row.posts.append(post())
        session.add(row)
        session.commit()
        service.apply(MODELS_2)
        assert (service.User, service.Post) == (user, post)
        assert session.scalars(service.named("a")).one() is row
        assert session.scalars(service.greeted).one() is row
        assert (row.hello(), row.size, row.greeting) == ("hello a User A!", 101, "hello a")
        assert (row.added(), repr(row), row.shout()) == (4, "me", "A!")
        assert row.posts[0].user is row

    def test_new_rows_are_written_and_read(self, service: Service, session: Any) -> None:
        service.apply(MODELS_2)
        made = service.User("b")
        assert made.name == "b"  # the new `__init__` adds a space, the new validator takes it off
        session.add(made)
        session.commit()
        session.expunge_all()
        found = session.scalars(service.named("b")).one()
        assert (type(found), found.seen, found.posts) == (service.User, 2, [])

    def test_what_sqlalchemy_knows_stays(self, service: Service) -> None:
        tables, names, classes, _, listeners, mappers = service.registrations()
        rollout = service.apply(MODELS_2)
        now = service.registrations()
        assert [now[0], now[1], now[2], now[4], now[5]] == [tables, names, classes, listeners, mappers]
        assert service.labels is tables["labels"]
        assert rollout.plan.unsupported == []

    def test_all_of_it_is_taken_back(self, service: Service, session: Any) -> None:
        before = service.registrations()
        row = service.User("a")
        rollout = service.apply(MODELS_2)
        rollout.rollback()
        after = service.registrations()
        assert after == before
        assert (row.hello(), service.User("b ").name) == ("hi a", "b ")
        service.apply(MODELS_2)
        assert row.hello() == "hello a User A!"

    def test_several_swaps(self, service: Service, session: Any) -> None:
        row = service.User("a")
        service.apply(MODELS_2)
        service.apply(MODELS_2.replace("hello ", "good day "))
        assert row.hello() == "good day a User A!"
        assert service.User("c").name == "c"

    def test_a_check_sees_the_new_methods(self, service: Service) -> None:
        seen: list[Any] = []

        @service.patcher.check
        def greets(candidate: Mapping[str, Any]) -> None:
            staged = candidate[f"{service.name}.models"]
            made = staged.User("x")
            seen.extend([made.hello(), made.name, staged.User is service.User])

        service.apply(MODELS_2)
        assert seen == ["hello x  User X !", "x ", False]  # a mapping is shared, and so are its validators


class TestOtherWaysToMap:
    def follows(self, make: Make, models: str, base: str) -> Any:
        service = Service(make, models, base)
        user = service.User
        before = service.registrations()
        row = user(name="a")
        rollout = service.apply(models.replace("return 1", "return 2"))
        assert service.User is user
        assert (row.count(), user(name="b").count()) == (2, 2)
        with orm.Session(service.engine) as session:
            session.add(row)
            session.commit()
            assert session.scalars(sqlalchemy.select(user)).one() is row
        rollout.rollback()
        after = service.registrations()
        assert after == before
        assert row.count() == 1
        return row

    USER = STEP.format("User", "users") + "    name: Mapped[str]\n    def count(self): return 1\n"

    def test_a_base_in_the_same_module(self, make_package: Make) -> None:
        self.follows(make_package, BASE + self.USER, "")

    def test_declarative_base(self, make_package: Make) -> None:
        self.follows(make_package, "Base = declarative_base()\n" + self.USER, "")
        self.follows(make_package, self.USER, "Base = declarative_base()\n")

    def test_dataclasses(self, make_package: Make) -> None:
        user = self.USER.replace("mapped_column(primary_key=True)", "mapped_column(primary_key=True, init=False)")
        row = self.follows(make_package, user, "class Base(MappedAsDataclass, DeclarativeBase): pass\n")
        assert "User(id=" in repr(row)

    def test_a_registry_and_a_decorator(self, make_package: Make) -> None:
        base = "mappings = registry()\nclass Base:\n    registry, metadata = mappings, mappings.metadata\n"
        self.follows(make_package, "@mappings.mapped\n" + self.USER.replace("(Base)", ""), base)

    def test_functions_of_sqlalchemy_are_left_alone(self, make_package: Make) -> None:
        constructor = orm.decl_base._declarative_constructor
        before = constructor.__code__
        user = self.USER.replace("mapped_column(primary_key=True)", "mapped_column(primary_key=True, init=False)")
        self.follows(make_package, user, "class Base(MappedAsDataclass, DeclarativeBase): pass\n")
        self.follows(make_package, self.USER, BASE)
        assert constructor.__code__ is before

    def test_inheritance(self, make_package: Make) -> None:
        admin = "class Admin(User):\n    def count(self): return super().count() + 10\n"
        service = Service(make_package, self.USER + admin)
        row = service.Admin(name="a")
        service.apply((self.USER + admin).replace("return 1\n", "return 2\n"))
        assert row.count() == 12


class TestChangedMappings:
    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ("    def shout", "    age: Mapped[int] = mapped_column(default=0)\n    def shout", "changes: age"),
            (
                "    def hello",
                "    age: Mapped[int] = mapped_column(primary_key=True)\n    def hello",
                "the primary key",
            ),
            ("    def hello", "    age: Mapped[int] = composite()\n    def hello", "none of a column"),
            ("    def hello", "    @declared_attr\n    def x(cls): return Column(String)\n    def hello", "changes: x"),
            ("    def hello", "    @reconstructor\n    def again(self): pass\n    def hello", "changes: again"),
            ('    user: Mapped[User] = relationship(back_populates="posts")\n', "", "changes: user"),
            ("mapped_column(ForeignKey", "mapped_column(unique=True, *[ForeignKey", "changes: user_id"),
            ('"users"\n', '"people"\n', "changes: __tablename__"),
            ("LENGTH = 30", "LENGTH = 40", "changes: name"),
            ('"name")', '"id")', "changes: check_name"),
            ("    def __init__(self, name): self.name = name\n", "", "changes: __init__"),
            ("class Post(Base):", "class Post(Named, Base):", "the bases, the arguments"),
            ('Column("text"', 'Column("words"', "the definition of a table changes"),
            ('"load")', '"refresh")', "registered otherwise"),
            ("def named", "event.listen(Post, 'load', loaded)\ndef named", "registered otherwise"),
        ],
    )
    def test_are_refused(self, service: Service, old: str, new: str, told: str) -> None:
        models = MODELS.replace(old, new).replace('[ForeignKey("users.id"))', '[ForeignKey("users.id")])')
        assert models != MODELS
        refusal = service.refusal(models)
        assert "[mapping-changed]" in refusal
        assert told in refusal

    @pytest.mark.parametrize(
        ("models", "told"),
        [
            ("from .limits import SIZE\n" + USER.format("String(SIZE)"), "User: its mapping changes: name"),
            ("from . import limits\n" + USER.format("String(limits.SIZE)"), "User: its mapping changes: name"),
            ("from .limits import *\nHALF = SIZE // 2\n" + USER.format("String(HALF)"), "User: its mapping changes"),
            ("from .limits import SIZE\nt = Table('t', Base.metadata, Column('n', String(SIZE)))\n", "of a table"),
            ("from .limits import EVENT\n" + USER.format("String") + LISTEN.format("EVENT"), "registered otherwise"),
            ("from . import limits\n" + USER.format("String") + LISTEN.format("limits.EVENT"), "registered otherwise"),
            (
                "from .limits import EVENT\n" + USER.format("String") + "event.listen(User, EVENT, lambda *a: None)\n",
                "registered otherwise",
            ),
        ],
    )
    def test_by_data_of_another_module_are_refused(self, make_package: Make, models: str, told: str) -> None:
        service = Service(make_package, models, limits=LIMITS)
        refusal = service.refusal(LIMITS.replace("30", "40").replace("'load'", "'refresh'"), "limits")
        assert "[mapping-changed]" in refusal
        assert told in refusal

    def test_data_that_the_mapping_does_not_read_may_change(self, make_package: Make) -> None:
        models = "from .limits import HINT, SIZE, EVENT\n" + USER.format("String(SIZE)")
        models += "    advice = HINT\n" + LISTEN.format("EVENT").replace("context", "context, advice=HINT")
        service = Service(make_package, models, limits=LIMITS)
        row = service.User(name="a")
        service.patcher.apply(service.patch(LIMITS.replace("'hint'", "'advice'"), "limits"))
        assert (row.advice, row.name) == ("advice", "a")

    def test_a_removed_class_is_refused(self, make_package: Make) -> None:
        service = Service(make_package, STEP.format("One", "ones") + STEP.format("Two", "twos"))
        assert "a mapped class, or a base of one, is removed" in service.refusal(STEP.format("One", "ones"))

    def test_a_patch_that_can_not_be_loaded_leaves_nothing(self, service: Service) -> None:
        before = service.registrations()
        with pytest.raises(LoadError):
            service.patcher.stage(service.patch(MODELS_2 + STEP.format("New", "new") + "1 / 0\n"))
        after = service.registrations()
        assert after == before
        later: Any = type(
            "Later",
            (service.Base,),
            {"__tablename__": "later", "id": orm.mapped_column(sqlalchemy.Integer, primary_key=True)},
        )
        assert service.Base.metadata.tables["later"] is later.__table__
