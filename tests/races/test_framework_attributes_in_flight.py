"""Plain attributes of classes that a framework has made: documented to be the new ones for everybody, at once."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.races.versions import Versions

pytestmark = pytest.mark.threads

KINDS = {
    "enum": """
        import enum
        class Thing(enum.Enum):
            ONE = 1
            kind = enum.nonmember("{v}")
        """,
    "pydantic": """
        from typing import ClassVar
        import pydantic
        class Thing(pydantic.BaseModel):
            kind: ClassVar[str] = "{v}"
        """,
    "sqlalchemy": """
        from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
        class Base(DeclarativeBase): pass
        class Thing(Base):
            __tablename__ = "things"
            id: Mapped[int] = mapped_column(primary_key=True)
            kind = "{v}"
        """,
}

LOOP = """
def helper({more}x): return "{v}"
def loop():
    tag = "{v}"
    while True:
        yield tag, helper({pass_}1), Thing.kind
"""


@pytest.mark.parametrize("name", KINDS)
def test_are_the_new_ones(make_package: Callable[..., ModuleType], name: str) -> None:
    if name != "enum":
        pytest.importorskip(name)

    class Things(Versions):
        source = textwrap.dedent(KINDS[name]) + LOOP

    things = Things(make_package, None)
    loop = things.core.loop()
    assert next(loop) == ("1", "1", "1")
    rollout = things.apply("2")
    assert next(loop) == ("1", "1", "2")
    rollout.rollback()
    assert next(loop) == ("1", "1", "1")
    loop.close()
    del loop
    assert rollout.drained.wait(20)
