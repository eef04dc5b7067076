"""SQLAlchemy: mapped classes in several modules of a package, some of which a patch changes, adds or takes away."""

from __future__ import annotations

import gc
import shutil
import sys
from pathlib import Path

import pytest

from hotswap import Patch
from hotswap.errors import UnsupportedChangeError
from tests.adapters.mapped import (
    BOTH_WAYS,
    HEAD,
    ORDER,
    USER,
    Make,
    engines_are_closed,  # noqa: F401 - a fixture
    fingerprint,
    started,
)

sqlalchemy = pytest.importorskip("sqlalchemy", reason="needs sqlalchemy")

from sqlalchemy import orm  # noqa: E402 - it is there only if sqlalchemy is

pytestmark = pytest.mark.threads  # a patcher stages in a thread of its own

COLORS = "import enum\nclass Color(enum.Enum):\n    RED = 1\n"
MORE = """    color: Mapped[Color | None] = mapped_column(index=True, default=lambda: Color.RED)
    tags: Mapped[list[Tag]] = relationship(secondary='user_tags', back_populates='users')
    invoices: Mapped[list[Invoice]] = relationship(back_populates='user', cascade='all, delete-orphan')
    def hello"""
TAGS = """
user_tags = Table(
    "user_tags", Base.metadata, *(Column(n, ForeignKey(f"{n}.id"), primary_key=True) for n in ("users", "tags"))
)
class Tag(Base):
    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("tags.id"))
    parent: Mapped[Tag | None] = relationship(remote_side=[id])
    users: Mapped[list[User]] = relationship(secondary=user_tags, back_populates="tags")
"""
COLUMNS = "known = User.__table__.c\n"
LATER = COLORS + "    BLUE = 2\n" + BOTH_WAYS.replace("    def hello", MORE) + COLUMNS + TAGS
HELD = """
from .models import *
from sqlalchemy.orm import aliased
stands = aliased(User)
order = {'name': User.name}
columns = User.__table__.c
def find(**by): return every.filter_by(**by).order_by(order['name'])
"""


def test_names_of_each_other(make_package: Make) -> None:
    service = started(make_package, COLORS + USER + COLUMNS, held=HELD)
    __import__(f"{service.name}.held")
    held_now = sys.modules[f"{service.name}.held"]
    invoice = service.head + "from .models import *\n" + ORDER.format("back_populates='invoices'")
    invoice = invoice.replace("Order", "Invoice").replace("orders", "invoices")
    invoice += "    author: Mapped[User] = relationship(backref='written', viewonly=True)\n"
    patch = Patch.from_sources(
        {f"{service.name}.models": service.head + LATER, f"{service.name}.invoices": invoice}, "2"
    )
    known = fingerprint(service)
    with orm.Session(service.engine) as session:
        user = service.User(name="a")
        session.add(user)
        session.commit()
        assert session.scalars(held_now.find(name="a")).one() is user
        rollout = service.patcher.apply(patch)
        gc.collect()
        assert rollout.audit() == ()
        assert "color" in service.known
        with service.engine.begin() as connection:
            connection.exec_driver_sql("alter table users add column color varchar")
            service.Base.metadata.create_all(connection)
        assert (user.color, user.tags, user.invoices, user.written) == (None, [], [], [])
        made = sys.modules[f"{service.name}.invoices"].Invoice()
        user.tags.append(service.Tag(parent=service.Tag()))
        user.invoices.append(made)
        user.color = service.Color.BLUE
        session.commit()
        assert (user.written, user.tags[0].users) == ([made], [user])
        session.expunge_all()
        (found,) = session.scalars(held_now.find(color=service.Color.BLUE)).all()
        assert found.__dict__["color"] is service.Color.BLUE
        assert "color" in held_now.columns
        assert "users_1.color" in str(sqlalchemy.select(held_now.stands.color))
        session.delete(found)
        session.commit()
        assert session.scalars(sqlalchemy.select(type(made))).all() == []
        rollout.rollback()
        assert fingerprint(service)[0] == known[0]
        session.add(service.User(name="late"))
        session.commit()
        assert [row.name for row in session.scalars(held_now.find())] == ["late"]


def test_one_that_goes_with_its_classes_is_refused(make_package: Make, tmp_path: Path) -> None:
    service = started(make_package, USER, orders=HEAD + "from .models import *\n" + ORDER.format(""))
    __import__(f"{service.name}.orders")
    source = Path(sys.modules[service.name].__path__[0])
    copy = shutil.copytree(source, tmp_path / service.name, ignore=shutil.ignore_patterns("orders.py", "__pycache__"))
    with pytest.raises(UnsupportedChangeError, match="a mapped class is removed, with its module"):
        service.patcher.stage(Patch.from_path(copy, version="2"))
