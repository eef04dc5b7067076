"""pydantic: models follow a swap with their validators, and their older instances stay valid."""

from __future__ import annotations

import asyncio
import copy
import gc
import importlib
import json
import pickle
import sys
from collections.abc import Callable, Mapping
from types import GenericAlias, ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher
from hotswap.errors import UnsupportedChangeError

pydantic = pytest.importorskip("pydantic", reason="needs pydantic")

pytestmark = pytest.mark.threads  # a patcher stages in a thread of its own

Make = Callable[..., ModuleType]

HEAD = """
from __future__ import annotations
import dataclasses, enum, functools
from typing import Annotated, Generic, Literal, TypeVar
from pydantic import *
from pydantic.dataclasses import dataclass
"""


class Service:
    """A package whose module `models` is patched."""

    def __init__(self, make: Make, models: str, **others: str) -> None:
        files = {"models.py": HEAD + models, **{f"{name}.py": HEAD + text for name, text in others.items()}}
        self.name = make(files).__name__
        for name in ("models", *others):
            __import__(f"{self.name}.{name}")
        self.patcher = Patcher([self.name])

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.modules[f"{self.name}.models"], name)

    def module(self, name: str) -> Any:
        return sys.modules[f"{self.name}.{name}"]

    def patch(self, models: str) -> Patch:
        version = str(len(self.patcher.history()) + 1)
        return Patch.from_sources({f"{self.name}.models": HEAD + models}, version)

    def apply(self, models: str) -> Any:
        return self.patcher.apply(self.patch(models))

    def refusal(self, models: str) -> str:
        with pytest.raises(UnsupportedChangeError) as caught:
            self.patcher.stage(self.patch(models))
        return str(caught.value)


def bodies(*classes: type) -> list[dict[str, Any]]:
    return [dict(type.__dict__["__dict__"].__get__(cls)) for cls in classes]


def same_objects(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    for one, other in zip(before, after, strict=True):
        assert one.keys() == other.keys()
        assert [name for name in one if one[name] is not other[name]] == []


ITEM = """
class Item(BaseModel):
    name: str
    price: int = 1
    def label(self): return f"{self.name}:{self.price}"
"""
ITEM_2 = """
class Item(BaseModel):
    name: str
    price: int = Field(default=1, ge=0)
    stock: int = 5
    tags: list[str] = Field(default_factory=list)
    _seen: int = PrivateAttr(default=9)
    def label(self): return f"{self.name}/{self.stock}/{self._seen}"
    @field_validator("name")
    @classmethod
    def not_empty(cls, value):
        assert issubclass(cls, Item)
        if not value: raise ValueError(f"empty name of {cls.__name__}")
        return value
    @model_validator(mode="after")
    def not_free(self):
        if self.price == 13: raise ValueError("unlucky")
        return self
    @computed_field
    @property
    def double(self) -> int: return self.price * 2
"""


HOLDERS = """
class Basket(BaseModel):
    items: list[Item] = []
@dataclass
class Shelf:
    item: Item
adapter = TypeAdapter(list[Item])
compiled = Item.__pydantic_validator__
"""
VALIDATED = """
@validate_call
def label(item: Item): return item
@validate_call(validate_return=True)
def checked(item: Item) -> Item: return item
@validate_call(validate_return=True)
async def awaited(item: Item) -> Item: return item
"""


class TestLivingClass:
    def test_what_is_compiled_anew_is_no_leftover(self, make_package: Make) -> None:
        other = "from .models import Item\nclass Special(Item): pass\n" + HOLDERS
        service = Service(make_package, ITEM + HOLDERS, other=other)
        rollout = service.apply(ITEM_2 + HOLDERS)
        assert rollout.plan.warnings == []
        for module in (service, service.module("other")):
            assert type(module.compiled.validate_python({"name": "a"})) is service.Item
        assert rollout.audit() == ()

    def test_what_validated_functions_make_anew_is_no_leftover(self, make_package: Make) -> None:
        service = Service(make_package, ITEM + VALIDATED, other="from .models import Item\n" + VALIDATED)
        rollout = service.apply(ITEM_2 + VALIDATED)
        assert rollout.plan.warnings == []
        for module in (service, service.module("other")):
            made = [
                module.label({"name": "a"}),
                module.checked({"name": "a"}),
                asyncio.run(module.awaited({"name": "a"})),
            ]
            assert [type(item) for item in made] == [service.Item] * 3

    def test_what_is_compiled_by_hand_is_named(self, make_package: Make) -> None:
        service = Service(make_package, ITEM)
        by_hand = "import pydantic_core\nv = pydantic_core.SchemaValidator(Item.__pydantic_core_schema__)\n"
        rollout = service.apply(ITEM_2 + by_hand)
        assert any("outside of models and type adapters" in warning for warning in rollout.plan.warnings)

    def test_makes_instances_of_itself(self, make_package: Make) -> None:
        service = Service(make_package, ITEM)
        item = service.Item
        service.apply(ITEM_2)
        assert service.Item is item
        assert [type(item(name="a")), type(item.model_validate({"name": "a"}))] == [item, item]
        assert type(item.model_validate_json('{"name": "a", "stock": 2}')) is item
        assert list(item.model_fields) == ["name", "price", "stock", "tags"]
        assert item.model_json_schema()["properties"].keys() == {"name", "price", "stock", "tags"}
        assert list(item.__signature__.parameters) == ["name", "price", "stock", "tags"]

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            ({"name": ""}, "empty name of Item"),
            ({"name": "a", "price": -1}, "greater than or equal to 0"),
            ({"name": "a", "price": 13}, "unlucky"),
        ],
    )
    def test_validates_as_the_new_version_says(self, make_package: Make, values: dict[str, Any], told: str) -> None:
        service = Service(make_package, ITEM)
        item = service.Item
        assert item(**values)
        service.apply(ITEM_2)
        with pytest.raises(pydantic.ValidationError, match=told) as caught:
            item(**values)
        assert caught.value.title == "Item"

    def test_is_as_before_after_a_rollback(self, make_package: Make) -> None:
        service = Service(make_package, ITEM)
        item = service.Item
        before = bodies(item)
        rollout = service.apply(ITEM_2)
        rollout.rollback()
        same_objects(before, bodies(item))
        assert item(name="").model_dump() == {"name": "", "price": 1}
        service.apply(ITEM_2)
        assert item(name="a").stock == 5

    def test_staging_leaves_no_class_behind(self, make_package: Make) -> None:
        service = Service(make_package, ITEM + "class Sub(Item): pass\n")
        before = bodies(service.Item, service.Sub)
        with service.patcher.stage(service.patch(ITEM_2 + "class Sub(Item): more: int = 0\n")):
            pass
        same_objects(before, bodies(service.Item, service.Sub))
        assert type.__subclasses__(service.Item) == [service.Sub]
        mine = [c for c in type.__subclasses__(pydantic.BaseModel) if c.__module__ == service.Item.__module__]
        assert mine == [service.Item]

    def test_a_swap_leaves_no_twin_behind(self, make_package: Make) -> None:
        service = Service(make_package, ITEM + "class Sub(Item): pass\n")
        service.apply(ITEM_2 + "class Sub(Item): more: int = 0\n")
        gc.collect()
        mine = [c for c in type.__subclasses__(pydantic.BaseModel) if c.__module__ == service.Item.__module__]
        assert mine == [service.Item]
        assert type.__subclasses__(service.Item) == [service.Sub]


class TestOlderInstances:
    def test_show_the_defaults_of_added_fields(self, make_package: Make) -> None:
        service = Service(make_package, ITEM)
        item = service.Item
        old, other = item(name="a"), item(name="a")
        service.apply(ITEM_2)
        assert (old.stock, old.tags, old._seen) == (5, [], 9)
        assert old.tags is old.tags is not other.tags
        assert old.label() == "a/5/9"
        assert old.double == 2

    @pytest.mark.parametrize(
        "show",
        [
            lambda item: item.model_dump(),
            lambda item: json.loads(item.model_dump_json()),
            lambda item: item.model_dump(exclude={"name"}, exclude_defaults=True),
            lambda item: sorted(item.__repr_args__()),
            dict,
            lambda item: item.model_copy(update={"name": "b"}),
            copy.deepcopy,
            lambda item: pickle.loads(pickle.dumps(item)),
            lambda item: pydantic.TypeAdapter(GenericAlias(list, type(item))).dump_python([item]),
        ],
    )
    def test_are_like_new_ones(self, make_package: Make, show: Callable[[Any], Any]) -> None:
        service = Service(make_package, ITEM)
        old, asked = service.Item(name="a"), service.Item(name="a")
        service.apply(ITEM_2)
        new = service.Item(name="a")
        assert show(old) == show(new)
        assert asked == new
        assert new == asked

    def test_keep_what_they_have_of_a_removed_field(self, make_package: Make, recwarn: Any) -> None:
        service = Service(make_package, ITEM + "class Box(BaseModel):\n    content: Item | int\n")
        old = service.Item(name="a", price=7)
        box = service.Box(content=old)
        without = "class Item(BaseModel):\n    name: str\nclass Box(BaseModel):\n    content: Item | int\n"
        rollout = service.apply(without)
        assert (old.model_dump(), box.model_dump()) == ({"name": "a"}, {"content": {"name": "a"}})
        assert old == service.Item(name="a")
        rollout.rollback()
        assert old.model_dump() == {"name": "a", "price": 7}
        assert not recwarn.list

    def test_over_several_swaps(self, make_package: Make) -> None:
        service = Service(make_package, ITEM)
        old = service.Item(name="a")
        service.apply(ITEM_2)
        middle = service.Item(name="a")
        service.apply(ITEM_2.replace("stock: int = 5", "stock: int = 6\n    extra: str = 'x'"))
        assert (old.stock, middle.stock, old.extra, middle.extra) == (6, 5, "x", "x")
        assert old.model_dump() == service.Item(name="a").model_dump()
        service.apply(ITEM)
        assert old == service.Item(name="a")
        assert old.model_dump() == {"name": "a", "price": 1}
        assert not hasattr(service.Item, "stock")

    def test_a_field_without_a_default_is_refused(self, make_package: Make) -> None:
        service = Service(make_package, ITEM)
        told = service.refusal(ITEM.replace("price: int = 1", "price: int = 1\n    code: str"))
        assert "[field-without-value]" in told
        assert "no value for code" in told

    def test_another_type_is_told(self, make_package: Make) -> None:
        service = Service(make_package, ITEM)
        old = service.Item(name="a")
        rollout = service.apply(ITEM.replace("price: int = 1", "price: float = 1.0"))
        assert any("price has another type" in warning for warning in rollout.plan.warnings)
        assert old.price == 1

    @pytest.mark.parametrize("private", ["", "    _a: int = PrivateAttr(default=1)\n"])
    def test_have_no_value_of_a_private_attribute_that_is_taken_back(self, private: str, make_package: Make) -> None:
        models = ITEM + private
        service = Service(make_package, models)
        item, other = service.Item(name="tea"), service.Item(name="tea")
        service.apply(
            models + "    _more: dict = PrivateAttr(default_factory=dict)\n    _n: int = PrivateAttr(default=2)\n"
        )
        item._more["x"] = 1
        assert (item._more, item._n) == ({"x": 1}, 2)
        service.patcher.rollback()
        assert item == other == service.Item(name="tea")
        assert item.__pydantic_private__ == other.__pydantic_private__ == ({"_a": 1} if private else None)

    def test_frozen_ones_hash_like_new_ones(self, make_package: Make) -> None:
        frozen = ITEM.replace("BaseModel)", "BaseModel, frozen=True)")
        service = Service(make_package, frozen)
        old = service.Item(name="a")
        rollout = service.apply(frozen.replace("price: int = 1", "price: int = 1\n    stock: int = 5"))
        assert hash(old) == hash(service.Item(name="a"))
        assert any("hashes by its fields" in warning for warning in rollout.plan.warnings)

    def test_a_serializer_of_their_own_is_kept(self, make_package: Make) -> None:
        wrap = "    @model_serializer(mode='wrap')\n    def ser(self, handler): return {'whole': handler(self)}\n"
        service = Service(make_package, ITEM + wrap)
        old = service.Item(name="a")
        service.apply(ITEM.replace("price: int = 1", "price: int = 1\n    stock: int = 5") + wrap)
        assert old.model_dump() == {"whole": {"name": "a", "price": 1, "stock": 5}}
        plain = "    @model_serializer\n    def ser(self) -> str: return self.name + str(self.more)\n"
        service.apply(ITEM.replace("price: int = 1", "price: int = 1\n    more: int = 2") + plain)
        assert old.model_dump() == "a2"
        assert service.Item.model_json_schema(mode="serialization") == {"type": "string"}

    def test_an_extra_value_becomes_the_field(self, make_package: Make) -> None:
        extra = ITEM.replace("BaseModel)", "BaseModel, extra='allow')")
        service = Service(make_package, extra)
        old = service.Item(name="a", stock=3)
        service.apply(extra.replace("price: int = 1", "price: int = 1\n    stock: int = 5"))
        assert old.stock == 3
        assert old.model_dump_json() == '{"name":"a","price":1,"stock":3}'


NESTED = (
    ITEM
    + """
class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"
class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    owner: Person | None = None
class Person(BaseModel):
    items: list[Item] = []
    favourite: Item = Item(name="best")
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()
    colour: Colour = Colour.RED
class Items(RootModel[list[Item]]): pass
T = TypeVar("T")
class Page(BaseModel, Generic[T]):
    content: list[T]
ItemPage = Page[Item]
@dataclass
class Point:
    x: int
    item: Item
    def where(self): return self.x
@validate_call
def count(items: list[Item]) -> int: return sum(type(item) is Item for item in items)
adapter = TypeAdapter(list[Item])
"""
)
NESTED_2 = NESTED.replace(ITEM, ITEM_2).replace("return self.x", "return self.x + 100")


class TestNesting:
    @pytest.fixture
    def service(self, make_package: Make) -> Service:
        return Service(make_package, NESTED)

    def test_models_in_models(self, service: Service) -> None:
        item, person, cat, dog = service.Item, service.Person, service.Cat, service.Dog
        old = person(items=[{"name": "a"}], pet={"kind": "dog"})
        service.apply(NESTED_2)
        new = person(items=[{"name": "a"}], pet={"kind": "dog", "owner": {}}, colour="blue")
        assert [type(new.items[0]), type(new.pet), type(new.pet.owner)] == [item, dog, person]
        assert new.colour is service.Colour.BLUE
        assert type(new.pet.owner.pet) is cat
        assert type(new.favourite) is type(person().favourite) is item
        assert old.model_dump()["items"] == new.model_dump()["items"]
        assert person(items=[old.items[0]]).items[0] is old.items[0]
        with pytest.raises(pydantic.ValidationError, match="empty name of Item"):
            person(items=[{"name": ""}])

    def test_root_models_and_generics(self, service: Service) -> None:
        item, items, page = service.Item, service.Items, service.ItemPage
        service.apply(NESTED_2)
        assert type(items([{"name": "a"}]).root[0]) is item
        assert service.ItemPage is page is service.Page[item]
        assert type(page(content=[{"name": "a"}]).content[0]) is item
        assert page(content=[{"name": "a"}]).model_dump()["content"][0]["stock"] == 5
        assert isinstance(page(content=[]), service.Page)

    def test_dataclasses(self, service: Service) -> None:
        point = service.Point
        old = point(x=1, item={"name": "a"})
        service.apply(
            NESTED_2.replace(
                "    x: int\n    item: Item\n",
                "    x: int = 3\n    item: Item = Field(default_factory=lambda: Item(name='d'))\n    y: int = 4\n",
            )
        )
        assert (old.where(), point().where()) == (101, 103)
        assert (type(point()), type(point().item)) == (point, service.Item)
        assert type(point(x=1, item={"name": "a"}).item) is service.Item
        assert old == point(x=1, item={"name": "a"})

    def test_type_adapters_and_validated_calls(self, service: Service) -> None:
        adapter, count = service.adapter, service.count
        service.apply(NESTED_2)
        assert service.adapter is adapter
        assert type(adapter.validate_python([{"name": "a"}])[0]) is service.Item
        assert count([{"name": "a"}]) == service.count([{"name": "a"}]) == 1
        with pytest.raises(pydantic.ValidationError, match="empty name"):
            adapter.validate_python([{"name": ""}])
        with pytest.raises(pydantic.ValidationError, match="empty name"):
            count([{"name": ""}])

    def test_choices_with_tags(self, make_package: Make) -> None:
        """Such a choice stands in its schema in a tuple, with its tag."""
        tagged = ITEM + (
            "class Shelf(BaseModel):\n"
            "    of: Annotated[Item, Tag('item')] | Annotated[list[Item], Tag('items')]\n"
            "    def first(self): return self.of if isinstance(self.of, Item) else self.of[0]\n"
        )
        service = Service(make_package, tagged)
        service.apply(tagged.replace(ITEM, ITEM_2))
        for given in ({"name": "a"}, [{"name": "a"}]):
            shelf = service.Shelf(of=given)
            assert (type(shelf.first()), shelf.first().stock) == (service.Item, 5)
        with pytest.raises(pydantic.ValidationError, match="empty name"):
            service.Shelf(of={"name": ""})

    def test_all_of_it_is_taken_back(self, service: Service) -> None:
        classes = [service.Item, service.Person, service.Items, service.ItemPage, service.Point]
        before, adapter = bodies(*classes), dict(service.adapter.__dict__)
        rollout = service.apply(NESTED_2)
        rollout.rollback()
        same_objects(before, bodies(*classes))
        assert service.adapter.__dict__ == adapter
        assert type(service.adapter.validate_python([{"name": ""}])[0]) is service.Item

    def test_a_new_model_knows_the_living_ones(self, service: Service) -> None:
        service.apply(NESTED_2 + "class Order(BaseModel):\n    items: list[Item]\n    buyer: Person\n")
        order = service.Order(items=[{"name": "a"}], buyer={})
        assert (type(order.items[0]), type(order.buyer)) == (service.Item, service.Person)
        assert isinstance(service.Order(items=[service.Item(name="b")], buyer=service.Person()), service.Order)

    def test_a_generic_model_in_a_field_follows(self, make_package: Make) -> None:
        hidden = NESTED.replace("ItemPage = Page[Item]", "class Shelf(BaseModel):\n    page: Page[Item]")
        service = Service(make_package, hidden)
        page = service.Page[service.Item]
        service.apply(hidden.replace(ITEM, ITEM_2))
        assert service.Page[service.Item] is page
        assert type(service.Shelf(page={"content": [{"name": "a"}]}).page) is page
        assert page(content=[{"name": "a"}]).content[0].stock == 5

    def test_a_generic_model_that_was_made_at_run_time_is_refused(self, make_package: Make) -> None:
        hidden = NESTED.replace("ItemPage = Page[Item]", "def page(): return Page[Item]")
        service = Service(make_package, hidden)
        page = service.page()
        assert "[generic-model]" in service.refusal(hidden.replace(ITEM, ITEM_2))
        assert page(content=[{"name": ""}]).content[0].price == 1


class TestDependents:
    OTHER = """
from .models import Item
class Special(Item):
    rank: int = 0
class Holder(BaseModel):
    item: Item
@dataclass
class Pair:
    left: Item
adapter = TypeAdapter(dict[str, Item])
@validate_call
def label(item: Item): return item.label()
cache = {"kept": 1}
"""

    def test_unchanged_modules_follow(self, make_package: Make) -> None:
        service = Service(make_package, ITEM, other=self.OTHER)
        other = service.module("other")
        special, holder, pair, adapter, label = other.Special, other.Holder, other.Pair, other.adapter, other.label
        old = special(name="a")
        other.cache["more"] = 2
        service.apply(ITEM_2)
        other = service.module("other")
        assert (other.Special, other.Holder, other.Pair, other.adapter) == (special, holder, pair, adapter)
        assert other.cache == {"kept": 1, "more": 2}
        assert (
            old.model_dump()
            == special(name="a").model_dump()
            == {
                "name": "a",
                "price": 1,
                "rank": 0,
                "stock": 5,
                "tags": [],
                "double": 2,
            }
        )
        makes: list[Callable[[], Any]] = [
            lambda: special(name=""),
            lambda: holder(item={"name": ""}),
            lambda: pair(left={"name": ""}),
            lambda: adapter.validate_python({"x": {"name": ""}}),
            lambda: label({"name": ""}),
        ]
        for make in makes:
            with pytest.raises(pydantic.ValidationError, match="empty name"):
                make()
        assert type(holder(item={"name": "a"}).item) is service.Item

    def test_modules_that_only_use_a_model_are_left_alone(self, make_package: Make) -> None:
        service = Service(make_package, ITEM, other="from .models import Item\ndef make(): return Item(name='a')\n")
        other = service.module("other")
        rollout = service.apply(ITEM_2)
        assert service.module("other") is other
        assert rollout.plan.modules[f"{service.name}.other"] == "unchanged"
        assert other.make().stock == 5

    def test_a_model_outside_of_the_managed_packages_is_refused(self, make_package: Make) -> None:
        service = Service(make_package, ITEM)
        outside = make_package({"more.py": f"from {service.name}.models import Item\nclass Outer(Item): pass\n"})
        __import__(f"{outside.__name__}.more")
        told = service.refusal(ITEM_2)
        assert f"[model-outside] {outside.__name__}.more:Outer" in told

    def test_a_model_that_a_function_made_is_named(self, make_package: Make) -> None:
        maker = "from .models import Item\ndef make():\n    class Inner(Item): pass\n    return Inner\n"
        service = Service(make_package, ITEM, other=maker)
        inner = service.module("other").make()
        rollout = service.apply(ITEM_2)
        assert any("make.<locals>.Inner was made at run time" in warning for warning in rollout.plan.warnings)
        assert inner(name="").price == 1


class TestAnnotations:
    def test_names_further_down_are_the_candidates(self, make_package: Make) -> None:
        late = "class Post(BaseModel):\n    user: User\nclass User(BaseModel):\n    name: str\n"
        service = Service(make_package, late)
        post, user = service.Post, service.User
        seen: list[Any] = []

        @service.patcher.check
        def makes_its_own(candidate: Mapping[str, Any]) -> None:
            staged = candidate[f"{service.name}.models"]
            made = staged.Post(user={"name": "a"})
            seen.append((type(made.user) is staged.User, made.user.age, staged.User is user))

        service.apply(late + "    age: int = 3\n")
        assert seen == [(True, 3, False)]
        assert type(post(user={"name": "a"}).user) is user
        assert post(user={"name": "a"}).user.age == 3

    def test_pydantics_own_look_up_is_back_after_staging(self, make_package: Make) -> None:
        from pydantic._internal import _namespace_utils

        _typing_extra: Any = importlib.import_module("pydantic._internal._typing_extra")

        before = (_namespace_utils.get_module_ns_of, _typing_extra.get_module_ns_of)
        service = Service(make_package, ITEM)
        service.apply(ITEM_2)
        assert (_namespace_utils.get_module_ns_of, _typing_extra.get_module_ns_of) == before


def test_the_plan_names_fields_that_old_work_loses(make_package: Make) -> None:
    service = Service(make_package, ITEM)
    rollout = service.apply(ITEM.replace("price: int = 1", "cost: int = 1").replace("self.price", "self.cost"))
    (warning,) = rollout.plan.warnings
    assert "models:Item loses price" in warning
    assert "in flight" in warning
    assert (
        service.apply(
            ITEM.replace("price", "cost").replace("cost: int = 1", "cost: int = 1\n    more: int = 3")
        ).plan.warnings
        == []
    )
