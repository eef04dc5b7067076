"""SQLAlchemy: patches add mapped classes, tables, columns and relationships to living mappings."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from typing import Any

import pytest

from hotswap.errors import LoadError
from tests.adapters.mapped import (
    BASE,
    BOTH_WAYS,
    KINDS,
    ONE_WAY,
    ORDER,
    STEP,
    USER,
    Make,
    Service,
    engines_are_closed,  # noqa: F401 - a fixture
    fingerprint,
    open_session,  # noqa: F401 - a fixture
    prepared_service,  # noqa: F401 - a fixture
    started,
    tables,
)

sqlalchemy = pytest.importorskip("sqlalchemy", reason="needs sqlalchemy")

from sqlalchemy import orm  # noqa: E402 - it is there only if sqlalchemy is

pytestmark = pytest.mark.threads  # a patcher stages in a thread of its own


class TestNewClasses:
    def test_are_mapped_at_the_swap(self, service: Service, session: Any) -> None:
        user = service.User(name="a")
        session.add(user)
        session.commit()
        rollout = service.apply(ONE_WAY)
        assert tables(service) == ["orders", "posts", "users"]
        made = service.Order(user=user)
        session.add(made)
        session.commit()
        found = session.scalars(sqlalchemy.select(service.Order).join(service.Order.user)).one()
        assert (found, found.user) == (made, user)
        assert service.Order.__mapper__ in service.Base.registry.mappers
        assert any("adds the table orders" in warning for warning in rollout.plan.warnings)

    def test_create_all_makes_their_tables(self, service: Service) -> None:
        service.apply(ONE_WAY.replace('"orders"', '"later"'))
        service.Base.metadata.create_all(service.engine)
        with orm.Session(service.engine) as session:
            session.add(service.Order())
            session.commit()
            assert len(session.scalars(sqlalchemy.select(service.Order)).all()) == 1

    def test_are_found_by_name(self, service: Service) -> None:
        service.apply(ONE_WAY)
        later: Any = type(
            "Later",
            (service.Base,),
            {
                "__tablename__": "later",
                "__module__": __name__,
                "id": orm.mapped_column(sqlalchemy.Integer, primary_key=True),
                "order_id": orm.mapped_column(sqlalchemy.ForeignKey("orders.id")),
                "order": orm.relationship("Order"),
                "again": orm.relationship(f"{service.name}.models.Order", viewonly=True),
            },
        )
        orm.configure_mappers()
        assert later.order.property.mapper is later.again.property.mapper is service.Order.__mapper__

    def test_leave_nothing_at_a_rollback(self, service: Service, session: Any) -> None:
        before, known = service.registrations(), fingerprint(service)
        rollout = service.apply(ONE_WAY)
        session.add(service.Order())
        session.commit()
        rollout.rollback()
        assert service.registrations() == before
        assert fingerprint(service)[0] == known[0]
        session.add(service.User(name="b"))
        session.commit()

    def test_are_seen_by_nobody_before(self, service: Service) -> None:
        before, known = service.registrations(), fingerprint(service)
        rollout = service.patcher.stage(service.patch(BOTH_WAYS))
        assert fingerprint(service)[0] == known[0]
        staged = rollout.candidate[f"{service.name}.models"]
        made = staged.Order(user=staged.User(name="a", email="e"))
        assert (made.total(), made.user.orders, made.user.email) == (1, [made], "e")
        assert "FROM orders JOIN users" in str(sqlalchemy.select(staged.Order).join(staged.Order.user))
        assert fingerprint(service)[0] == known[0]
        rollout.abort()
        assert service.registrations() == before
        assert fingerprint(service)[0] == known[0]

    @pytest.mark.parametrize("configured", [True, False])
    def test_leave_nothing_if_a_check_or_the_mapping_fails(self, make_package: Make, configured: bool) -> None:
        service = Service(make_package, USER)
        if configured:
            orm.configure_mappers()
        known = fingerprint(service)
        for wrong in ("1 / 0\n", "", ORDER.format("").replace("Order", "Again").replace("orders", "users")):
            models = BOTH_WAYS + wrong if wrong else BOTH_WAYS.replace("back_populates='orders'", "back_populates='no'")
            with pytest.raises(LoadError):
                service.patcher.stage(service.patch(models))
            assert fingerprint(service)[0] == known[0]
        service.apply(BOTH_WAYS)
        assert service.Order(user=service.User(name="a")).user.orders

    def test_in_new_modules(self, service: Service, session: Any) -> None:
        text = "from __future__ import annotations\nfrom datetime import datetime\nfrom .models import *\n"
        order = ORDER.format("") + "    made: Mapped[datetime | None] = mapped_column('note')\n"
        listen = "@event.listens_for(Order, 'load')\ndef made(target, context): target.seen = 1\n"
        head = service.head.replace("from __future__ import annotations\n", "")
        rollout = service.patcher.apply(service.patch(text + head + order + listen, "orders"))
        orders = sys.modules[f"{service.name}.orders"]
        user = service.User(name="a")
        session.add(orders.Order(user=user))
        session.commit()
        session.expunge_all()
        found = session.scalars(sqlalchemy.select(orders.Order)).one()
        assert (found.user.name, found.seen, found.made) == ("a", 1, None)
        rollout.rollback()
        assert tables(service) == ["posts", "users"]

    def test_with_a_base_of_their_own(self, service: Service, session: Any) -> None:
        base = "class Second(DeclarativeBase): pass\n"
        rollout = service.apply(USER + base + STEP.format("Order", "orders").replace("Base", "Second"))
        session.add(service.Order())
        session.commit()
        assert (tables(service), sorted(service.Second.metadata.tables)) == (["posts", "users"], ["orders"])
        rollout.rollback()

    def test_core_tables(self, service: Service, session: Any) -> None:
        rollout = service.apply(
            USER + "orders = Table('orders', Base.metadata, Column('id', ForeignKey('users.id')))\n"
        )
        session.execute(sqlalchemy.insert(service.orders).values(id=4))
        assert service.orders is service.Base.metadata.tables["orders"]
        assert session.scalars(sqlalchemy.select(service.orders.c.id)).all() == [4]
        rollout.rollback()
        assert tables(service) == ["posts", "users"]

    def test_hear_what_listeners_on_bases_are_told(self, make_package: Make) -> None:
        listen = "@event.listens_for(Base, 'init', propagate=True)\ndef made(target, *args): target.seen = 1\n"
        listen += "@event.listens_for(Base, 'before_insert', propagate=True)\ndef asked(*args): args[-1].asked = 1\n"
        user = STEP.format("User", "users")
        service = Service(make_package, BASE + listen + user, "")
        service.apply(BASE + listen + user + STEP.format("Order", "orders"))
        service.Base.metadata.create_all(service.engine)
        with orm.Session(service.engine) as session:
            made = service.Order()
            session.add(made)
            session.flush()
            assert (made.seen, made.asked) == (1, 1)

    def test_that_were_refused_die(self, service: Service) -> None:
        gc.collect()
        known = len(orm.clsregistry._registries)
        rollout = service.patcher.stage(service.patch(BOTH_WAYS))
        order = weakref.ref(rollout.candidate[f"{service.name}.models"].Order)
        rollout.abort()
        del rollout
        gc.collect()
        assert order() is None
        assert len(orm.clsregistry._registries) == known

    def test_may_be_staged_before_others_were_configured(self, make_package: Make) -> None:
        service = Service(make_package, USER)
        rollout = service.patcher.stage(service.patch(BOTH_WAYS))
        assert not service.User.__mapper__.configured
        orm.configure_mappers()
        rollout.verify()
        rollout.commit()
        user = service.User(name="a", orders=[service.Order()])
        post = service.Post(author=user)
        assert user.orders[0].user is post.author
        rollout.rollback()
        assert service.Post(author=service.User(name="b")).author.name == "b"


class TestWaysToMap:
    @pytest.mark.parametrize(
        ("base", "decorator"),
        [
            (BASE, ""),
            ("Base = declarative_base()\n", ""),
            ("class Base(MappedAsDataclass, DeclarativeBase): pass\n", ""),
            (
                "mappings = registry()\nclass Base:\n    registry, metadata = mappings, mappings.metadata\n",
                "@mappings.mapped\n",
            ),
        ],
    )
    @pytest.mark.parametrize("inside", [True, False])
    def test_get_new_classes(self, make_package: Make, base: str, decorator: str, inside: bool) -> None:
        user = decorator + STEP.format("User", "users").replace("(Base)", "(Base)" if not decorator else "")
        models = base + user if inside else user
        service = Service(make_package, models, "" if inside else base)
        metadata = service.User.__table__.metadata
        known = sorted(metadata.tables)
        rollout = service.apply(models + user.replace("User", "Order").replace("users", "orders"))
        assert sorted(metadata.tables) == [*known[:-1], "orders", "users"]
        metadata.create_all(service.engine)
        with orm.Session(service.engine) as session:
            session.add(service.Order(id=3))
            session.commit()
            assert session.scalars(sqlalchemy.select(service.Order.id)).all() == [3]
        rollout.rollback()
        assert sorted(metadata.tables) == known

    def test_a_class_below_a_living_one(self, make_package: Make) -> None:
        service = Service(make_package, KINDS)
        orm.configure_mappers()
        admin = "class Admin(User):\n    __mapper_args__ = {'polymorphic_identity': 'admin'}\n"
        admin += "    def hello(self): return super().hello() + '!'\n"
        known = fingerprint(service)
        rollout = service.apply(KINDS + admin)
        with orm.Session(service.engine) as session:
            session.add_all([service.Admin(name="a"), service.User(name="u")])
            session.commit()
            session.expunge_all()
            found = session.scalars(sqlalchemy.select(service.User).order_by(service.User.name)).all()
            assert [type(row) for row in found] == [service.Admin, service.User]
            assert [row.hello() for row in found] == ["hi!", "hi"]
        rollout.rollback()
        assert fingerprint(service)[0] == known[0]

    def test_an_abstract_class(self, service: Service) -> None:
        abstract = "class Dated(Base):\n    __abstract__ = True\n    note: Mapped[str | None]\n"
        service.apply(USER + abstract + ORDER.format("").replace("(Base)", "(Dated)"))
        assert "note" in service.Order.__table__.c
        service.apply(USER + abstract + ORDER.format("").replace("(Base)", "(Dated)").replace("return 1", "return 2"))
        assert service.Order().total() == 2


class TestThreads:
    def test_sessions_go_on_while_patches_come(self, make_package: Make) -> None:
        service = started(make_package)
        wrong: list[BaseException] = []
        done = threading.Event()
        turns: list[int] = []
        columns = [f"    extra{number}: Mapped[str | None]\n" for number in range(6)]

        def work(name: str) -> None:
            engine = sqlalchemy.create_engine("sqlite://")
            more = "".join(f", extra{number}" for number in range(6))
            try:
                with engine.begin() as connection:
                    connection.exec_driver_sql(f"create table users (id integer primary key, name, email{more})")
                    connection.exec_driver_sql("create table posts (id integer primary key, author_id integer)")
                    connection.exec_driver_sql("create table orders (id integer primary key, user_id integer)")
                while not done.is_set():
                    with orm.Session(engine) as session:
                        row = service.User(name=name)
                        session.add_all([row, service.Post(author=row)])
                        session.commit()
                        found = session.scalars(service.every.where(service.User.name == name).limit(1)).one()
                        assert (found.name, found.hello()) == (name, "hi")
                        assert session.scalars(sqlalchemy.select(service.Post).join(service.Post.author)).first()
                        turns.append(1)
            except BaseException as error:
                wrong.append(error)
            finally:
                engine.dispose()

        def wait() -> None:
            before = len(turns)
            while len(turns) < before + 3 and not wrong:
                done.wait(0.001)

        threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for thread in threads:
                thread.start()
            for number in range(7):
                wait()
                more = "".join(columns[:number]) + "    def hello"
                rollout = service.apply(BOTH_WAYS.replace("    def hello", more))
            wait()
        finally:
            sys.setswitchinterval(interval)
            done.set()
            for thread in threads:
                thread.join()
        assert wrong == []
        rollout.rollback()
        assert "extra4" in service.User.__table__.c
        assert "extra5" not in service.User.__table__.c


def test_no_other_thread_sees_what_is_aside(make_package: Make) -> None:
    """Another thread works with the living mapping in the middle of a module body of the candidate."""
    service = started(make_package)
    seen: list[Any] = []

    def look() -> None:
        mapper = sqlalchemy.inspect(service.User)
        seen.append((tables(service), [*mapper.attrs.keys()], [*service.User.__table__.c.keys()]))
        engine = sqlalchemy.create_engine("sqlite://")
        service.Base.metadata.create_all(engine)
        with orm.Session(engine) as session:
            session.add(service.User(name="a"))
            session.commit()
            seen.append([row.name for row in session.scalars(service.every)])
        engine.dispose()

    def elsewhere() -> None:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()

    service.Base.elsewhere = elsewhere
    service.apply(BOTH_WAYS + f"import sys\nsys.modules['{service.name}.models'].Base.elsewhere()\n")
    # What says the same as the candidate waits for the commit, and so comes last.
    assert sorted(seen, key=str) == [(["posts", "users"], ["id", "name"], ["id", "name"]), ["a"]]
