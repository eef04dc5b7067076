"""What pydantic compiles at the first use, in modules that do not change, is compiled from the version that is live."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.swapping import Code

pytest.importorskip("pydantic", reason="pydantic is not installed here")
pytestmark = pytest.mark.threads  # a patcher stages in a thread of its own

Make = Callable[..., ModuleType]

MODELS = """
from pydantic import BaseModel
class Order(BaseModel):
    item: "Item | None" = None
class Item(BaseModel):
    name: str = "a"
"""
NEW = MODELS.replace('name: str = "a"', 'name: str = "a"\n    price: int = 2')
OLD_ITEM, NEW_ITEM = {"item": {"name": "a"}}, {"item": {"name": "a", "price": 2}}

USERS = {
    "model": """
from pydantic import BaseModel
from .code import Order
class Basket(BaseModel):
    model_config = {"defer_build": True}
    order: Order
def use(): return Basket(order={"item": {}}).model_dump()["order"]
""",
    "name that is defined later": """
from __future__ import annotations
from pydantic import BaseModel
from .code import Order
class Basket(BaseModel):
    order: Order
    late: Late | None = None
class Given(BaseModel): pass
def use():
    global Late
    Late = Given
    return Basket(order={"item": {}}).model_dump()["order"]
""",
    "adapter": """
from pydantic import TypeAdapter
from .code import Order
adapter = TypeAdapter(list[Order], config={"defer_build": True})
def use(): return adapter.dump_python(adapter.validate_python([{"item": {}}]))[0]
""",
    "function": """
from pydantic import validate_call
from .code import Order
@validate_call(config={"defer_build": True})
def show(order: Order): return order.model_dump()
def use(): return show({"item": {}})
""",
    "dataclass": """
from pydantic.dataclasses import dataclass
from .code import Order
@dataclass(config={"defer_build": True})
class Basket:
    order: Order
def use(): return Basket(order={"item": {}}).order.model_dump()
""",
}


class Running(Code):
    """A service that uses the models of `code` in a module that does not change."""

    def use(self) -> Any:
        return __import__(f"{self.package}.user", fromlist=["user"]).use()


@pytest.fixture(params=USERS)
def running(make_package: Make, request: pytest.FixtureRequest) -> Running:
    return Running(make_package, MODELS, user=USERS[request.param])


class TestFirstUse:
    def test_after_the_swap(self, running: Running) -> None:
        running.put(NEW)
        assert running.use() == NEW_ITEM
        running.back()
        assert running.use() == OLD_ITEM

    def test_while_the_patch_is_staged(self, running: Running) -> None:
        rollout = running.patcher.stage(running.patch(NEW))
        assert running.use() == OLD_ITEM
        rollout.verify()
        rollout.commit()
        assert running.use() == NEW_ITEM
        rollout.rollback()
        assert running.use() == OLD_ITEM

    def test_after_the_rollback(self, running: Running) -> None:
        running.put(NEW)
        running.back()
        assert running.use() == OLD_ITEM

    def test_after_a_second_swap(self, running: Running) -> None:
        running.put(NEW)
        assert running.use() == NEW_ITEM
        running.put(NEW.replace("= 2", "= 3"))
        assert running.use() == {"item": {"name": "a", "price": 3}}
        running.back()
        assert running.use() == NEW_ITEM
