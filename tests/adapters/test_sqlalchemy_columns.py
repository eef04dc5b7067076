"""SQLAlchemy: patches add columns, relationships and other attributes to classes that are mapped already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hotswap.errors import UnsupportedChangeError
from tests.adapters.mapped import (
    BOTH_WAYS,
    COLUMN,
    KINDS,
    STEP,
    Make,
    Service,
    engines_are_closed,  # noqa: F401 - a fixture
    fingerprint,
    open_session,  # noqa: F401 - a fixture
    prepared_service,  # noqa: F401 - a fixture
)

sqlalchemy = pytest.importorskip("sqlalchemy", reason="needs sqlalchemy")

from sqlalchemy import orm  # noqa: E402 - it is there only if sqlalchemy is

pytestmark = pytest.mark.threads  # a patcher stages in a thread of its own


class TestAddedColumns:
    def test_rows_that_are_loaded_load_them(self, service: Service, session: Any) -> None:
        user = service.User(name="a")
        session.add(user)
        session.commit()
        session.execute(sqlalchemy.text("update users set email = 'a@b'"))
        assert user.name == "a"
        service.apply(COLUMN)
        assert user.email == "a@b"
        assert service.User(name="new").email is None

    def test_are_written_and_asked_for(self, service: Service, session: Any) -> None:
        user = service.User(name="a")
        session.add(user)
        session.commit()
        assert session.scalars(service.every).one() is user  # compiled, and kept by the engine
        assert [*session.execute(sqlalchemy.select(service.User.__table__))] == [(1, "a")]
        service.apply(COLUMN)
        user.email = "x"
        session.add(service.User(name="b", email="y"))
        session.commit()
        found = session.execute(sqlalchemy.select(service.User.name, service.User.email)).all()
        assert [tuple(row) for row in found] == [("a", "x"), ("b", "y")]
        session.expunge_all()
        rows = session.scalars(service.every.where(service.User.email == "x")).all()
        assert [row.__dict__.get("email") for row in rows] == ["x"]
        assert [*session.execute(sqlalchemy.select(service.User.__table__))] == [(1, "a", "x"), (2, "b", "y")]

    def test_are_gone_at_a_rollback(self, service: Service, session: Any) -> None:
        before, known = service.registrations(), fingerprint(service)
        rollout = service.apply(BOTH_WAYS)
        user = service.User(name="a", email="x", orders=[service.Order()])
        session.add(user)
        session.commit()
        rollout.rollback()
        assert fingerprint(service)[0] == known[0]
        assert service.registrations() == before
        assert not hasattr(service.User, "email")
        with pytest.raises(TypeError, match="email"):
            service.User(name="a", email="x")
        user.name = "b"
        session.add(service.User(name="c"))
        session.commit()
        assert [row.name for row in session.scalars(service.every)] == ["b", "c"]
        assert "email" not in str(sqlalchemy.select(service.User))

    def test_come_with_relationships_to_new_classes(self, service: Service, session: Any) -> None:
        user = service.User(name="a")
        session.add(user)
        session.commit()
        service.apply(BOTH_WAYS)
        assert user.orders == []
        made = service.Order()
        user.orders.append(made)
        assert made.user is user
        session.commit()
        session.expunge_all()
        options = orm.selectinload(service.User.orders)
        (found,) = session.scalars(service.every.options(options)).all()
        assert [order.user for order in found.__dict__["orders"]] == [found]
        joined = service.every.join(service.User.orders).where(service.Order.id == 1)
        assert session.scalars(joined).one() is found

    def test_column_properties_and_synonyms(self, service: Service, session: Any) -> None:
        more = (
            "    title: Mapped[str] = synonym('name')\n    size: Mapped[int] = column_property(id + 1)\n    def hello"
        )
        models = COLUMN.replace("    def hello", more)
        service.apply(models)
        user = service.User(title="a")
        session.add(user)
        session.commit()
        assert (user.name, user.size) == ("a", 2)
        assert session.scalars(sqlalchemy.select(service.User).where(service.User.title == "a")).one() is user

    def test_classes_below_get_them(self, make_package: Make) -> None:
        admin = "class Admin(User):\n    __tablename__ = 'admins'\n"
        admin += "    id: Mapped[int] = mapped_column(ForeignKey('users.id'), primary_key=True)\n"
        admin += "    __mapper_args__ = {'polymorphic_identity': 'admin'}\n"
        service = Service(make_package, KINDS + admin)
        with service.engine.begin() as connection:
            connection.exec_driver_sql("alter table users add column email varchar")
        with orm.Session(service.engine) as session:
            row = service.Admin(name="a")
            session.add(row)
            session.commit()
            assert session.scalars(sqlalchemy.select(service.Admin)).one() is row
            known = fingerprint(service)
            rollout = service.apply(
                (KINDS + admin).replace("    def hello", "    email: Mapped[str | None]\n    def hello")
            )
            row.email = "x"
            session.add(service.Admin(name="b", email="y"))
            session.commit()
            session.expunge_all()
            found = session.scalars(sqlalchemy.select(service.Admin).order_by(service.Admin.email)).all()
            assert [one.email for one in found] == ["x", "y"]
            rollout.rollback()
            assert fingerprint(service)[0] == known[0]

    def test_dataclasses_are_refused(self, make_package: Make) -> None:
        user = STEP.format("User", "users")
        service = Service(make_package, user, "class Base(MappedAsDataclass, DeclarativeBase): pass\n")
        assert "a mapped dataclass gets more fields" in service.refusal(user + "    email: Mapped[str | None]\n")

    def test_what_was_mapped_meanwhile_is_not_lost(self, service: Service, session: Any) -> None:
        rollout = service.patcher.stage(service.patch(COLUMN))
        service.User.kind = orm.mapped_column(sqlalchemy.String)
        rollout.verify()
        with pytest.raises(UnsupportedChangeError, match="since the patch was staged"):
            rollout.commit()
        assert sorted(service.User.__table__.c.keys()) == ["id", "kind", "name"]
        service.apply(COLUMN)
        session.add(service.User(name="a", kind="k", email="e"))
        session.commit()
        session.expunge_all()
        assert session.scalars(service.every).one().kind == "k"

    def test_a_check_sees_them(self, service: Service) -> None:
        seen: list[Any] = []

        @service.patcher.check
        def looks(candidate: Mapping[str, Any]) -> None:
            staged = candidate[f"{service.name}.models"]
            seen.extend([staged.User(email="a").email, hasattr(service.User, "email")])

        service.apply(COLUMN)
        assert seen == ["a", False]


class TestSeveralPatches:
    def test_one_after_the_other(self, service: Service, session: Any) -> None:
        user = service.User(name="a")
        session.add(user)
        session.commit()
        service.apply(COLUMN)
        user.email = "x"
        before = fingerprint(service)
        second = service.apply(BOTH_WAYS)
        user.orders.append(service.Order())
        session.commit()
        noted = BOTH_WAYS.replace(
            "    def total(self): return 1", "    note: Mapped[str | None]\n    def total(self): return 2"
        )
        third = service.apply(noted)
        order = user.orders[0]
        order.note = "n"
        session.commit()
        assert (order.total(), order.note, user.email) == (2, "n", "x")
        third.rollback()
        assert (order.total(), hasattr(service.Order, "note")) == (1, False)
        assert order in user.orders
        service.apply(noted.replace("return 2", "return 3"))
        assert (order.total(), user.orders[0].note) == (3, "n")
        assert second.plan.supported
        assert before

    def test_there_and_back_and_there_again(self, service: Service, session: Any) -> None:
        user = service.User(name="a")
        session.add(user)
        session.commit()
        known = fingerprint(service)
        for count in (1, 2, 3):
            rollout = service.apply(BOTH_WAYS)
            with orm.Session(service.engine) as other:
                other.add(service.Order(user=other.scalars(service.every).one()))
                other.commit()
                assert len(other.scalars(sqlalchemy.select(service.Order)).all()) == count
            assert (user.email, user.name) == (None, "a")
            rollout.rollback()
            assert fingerprint(service)[0] == known[0]
