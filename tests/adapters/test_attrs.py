"""attrs: classes follow a swap with all that attrs generates, and their older instances stay valid."""

from __future__ import annotations

import contextvars
import copy
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.errors import UnsupportedChangeError

attrs = pytest.importorskip("attrs", reason="needs attrs")

pytestmark = pytest.mark.threads  # a patcher stages in a thread of its own

Make = Callable[..., ModuleType]

HEAD = "import attr, attrs\nfrom attrs import Converter, Factory, define, field, frozen\n"


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


def body(cls: type) -> dict[str, Any]:
    return dict(type.__dict__["__dict__"].__get__(cls))


SLOTTED = """
@define
class Point:
    x: int = field(converter=int)
    y: int = 0
    def total(self): return self.x + self.y
    def me(self): return __class__
"""
SLOTTED_2 = """
def positive(instance, attribute, value):
    if value < 0: raise ValueError(f"{attribute.name} of a {type(instance).__name__}")
@define
class Point:
    x: float = field(converter=float, validator=positive)
    y: int = 7
    def total(self): return 100 * self.x + self.y
    def me(self): return __class__
"""
OPEN = """
@define(slots=False)
class Point:
    x: int
"""
OPEN_2 = """
def sending(value, instance, attribute): return f"{value}{instance.x}{attribute.name}"
@define(slots=False)
class Point:
    x: int
    tags: list = field(factory=list)
    double: int = field(default=Factory(lambda self: self.x * 2, takes_self=True))
    text: str = field(default=5, converter=str)
    sent: str = field(default="a", converter=Converter(sending, takes_self=True, takes_field=True))
    def where(self): return self.x
"""


def slotted(source: str) -> str:
    return source.replace("(slots=False)", "")


class TestUnchangedFields:
    @pytest.mark.parametrize("decorator", ["define", "define(slots=False)", "attr.s(auto_attribs=True)"])
    def test_methods_converters_validators_and_defaults_follow(self, make_package: Make, decorator: str) -> None:
        service = Service(make_package, SLOTTED.replace("define", decorator))
        point = service.Point
        old = point("3")
        before = body(point)
        rollout = service.apply(SLOTTED_2.replace("define", decorator))
        assert service.Point is point
        assert (old.total(), old.me()) == (300, point)
        assert (point(3), repr(point("4")), type(point(3))) == (point(3.0, 7), "Point(x=4.0, y=7)", point)
        assert old == point(3, 0)
        assert attrs.evolve(old, y=1) == point(3, 1)
        assert attrs.fields(point).y.default == 7
        with pytest.raises(ValueError, match="x of a Point"):
            point(-1)
        rollout.rollback()
        after = body(point)
        assert [name for name in before if before[name] is not after.get(name)] == []
        assert (old.total(), point(-1).y) == (3, 0)

    def test_frozen_ones_keep_their_hash(self, make_package: Make) -> None:
        frozen = SLOTTED.replace("define", "frozen")
        service = Service(make_package, frozen)
        old = service.Point(1)
        held = {old: "value"}
        service.apply(frozen.replace("self.x + self.y", "self.x - self.y"))
        assert held[service.Point(1)] == "value"
        assert old.total() == 1
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            old.x = 2


class TestAddedFields:
    def test_older_instances_have_the_defaults(self, make_package: Make) -> None:
        service = Service(make_package, OPEN)
        old, other = service.Point(3), service.Point(3)
        service.apply(OPEN_2)
        assert (old.tags, old.double, old.text, old.sent) == ([], 6, "5", "a3sent")
        assert old.tags is old.tags is not other.tags
        assert not hasattr(service.Point, "tags")

    def test_older_instances_with_slots_have_the_defaults(self, make_package: Make) -> None:
        service = Service(make_package, slotted(OPEN))
        old, other = service.Point(3), service.Point(3)
        rollout = service.apply(slotted(OPEN_2))
        assert (old.tags, old.double, old.text, old.sent) == ([], 6, "5", "a3sent")
        assert old.tags is old.tags is not other.tags
        assert not any("have nothing in" in warning for warning in rollout.plan.warnings)
        old.tags, old.text = ["a"], "b"
        assert (old, repr(old)) == (
            service.Point(3, ["a"], text="b"),
            "Point(x=3, tags=['a'], double=6, text='b', sent='a3sent')",
        )
        del old.text
        assert not hasattr(old, "text")

    @pytest.mark.parametrize("text", [OPEN, slotted(OPEN)])
    @pytest.mark.parametrize(
        "show",
        [
            repr,
            attrs.asdict,
            attrs.astuple,
            lambda point: attrs.evolve(point, x=5),
            copy.copy,
            copy.deepcopy,
            lambda point: pickle.loads(pickle.dumps(point)),
        ],
    )
    def test_older_instances_are_like_new_ones(self, make_package: Make, show: Callable[[Any], Any], text: str) -> None:
        service = Service(make_package, text)
        old, asked = service.Point(3), service.Point(3)
        service.apply(OPEN_2 if text == OPEN else slotted(OPEN_2))
        assert show(old) == show(service.Point(3))
        assert asked == service.Point(3)

    def test_over_several_swaps_and_back(self, make_package: Make) -> None:
        service = Service(make_package, OPEN)
        old = service.Point(3)
        before = body(service.Point)
        service.apply(OPEN_2)
        middle = service.Point(3)
        last = service.apply(OPEN_2.replace("default=5", "default=6") + "    more: int = 1\n")
        assert (old.text, middle.text, old.more, middle.more) == ("6", "5", 1, 1)
        last.rollback()
        assert repr(old) == "Point(x=3, tags=[], double=6, text='6', sent='a3sent')"
        assert service.apply(OPEN).wait_settled(30)
        assert (repr(old), old) == ("Point(x=3)", service.Point(3))
        assert body(service.Point).keys() == before.keys()

    def test_over_several_swaps_and_back_with_slots(self, make_package: Make) -> None:
        service = Service(make_package, slotted(OPEN))
        old, unread, first = service.Point(3), service.Point(3), body(service.Point)
        service.apply(slotted(OPEN_2)).rollback()
        assert (repr(old), body(service.Point).keys()) == ("Point(x=3)", first.keys())
        service.apply(slotted(OPEN_2))
        middle = service.Point(3)
        assert old.text == "5"
        last = service.apply(slotted(OPEN_2).replace("default=5", "default=6") + "    more: int = 1\n")
        assert (old.text, unread.text, middle.text, old.more, middle.more) == ("5", "6", "5", 1, 1)
        last.rollback()
        assert repr(old) == "Point(x=3, tags=[], double=6, text='5', sent='a3sent')"
        service.apply(slotted(OPEN))
        assert (repr(old), old) == ("Point(x=3)", service.Point(3))

    @pytest.mark.parametrize(
        ("one", "other"), [(slotted(OPEN), OPEN), (OPEN, slotted(OPEN))], ids=["slots go", "slots come"]
    )
    def test_slots_below_a_class_without(self, make_package: Make, one: str, other: str) -> None:
        base = "class Plain: pass\n"
        one, other = (base + text.replace("Point:", "Point(Plain):") for text in (one, other))
        more = "    more: list = field(factory=list)\n"
        service = Service(make_package, one)
        old, unread = service.Point(3), service.Point(3)
        service.apply(one + more)
        assert (old.more, old) == ([], service.Point(3))
        service.apply(other + more.replace("list)", "dict)"))
        assert (old.more, unread.more, repr(unread)) == ([], {}, "Point(x=3, more={})")

    @pytest.mark.parametrize("text", [OPEN, slotted(OPEN)])
    def test_a_name_that_becomes_a_method(self, make_package: Make, text: str) -> None:
        service = Service(make_package, text)
        old = service.Point(3)
        service.apply(text + "    more: int = 1\n")
        service.apply(text + "    def more(self): return 2\n")
        assert old.more() == 2

    @pytest.mark.parametrize("text", [OPEN, slotted(OPEN)])
    def test_frozen_ones_too(self, make_package: Make, text: str) -> None:
        frozen = text.replace("define", "frozen")
        service = Service(make_package, frozen)
        old = service.Point(3)
        rollout = service.apply(frozen + "    more: int = 1\n")
        assert hash(old) == hash(service.Point(3))
        assert any("Point hashes by its fields" in warning for warning in rollout.plan.warnings)

    @pytest.mark.parametrize("text", [OPEN, slotted(OPEN)])
    def test_a_field_without_a_default_is_refused(self, make_package: Make, text: str) -> None:
        service = Service(make_package, text)
        with pytest.raises(UnsupportedChangeError, match=r"\[field-without-value\].*no value for y"):
            service.patcher.stage(service.patch(text + "    y: int\n"))
        assert repr(service.Point(3)) == "Point(x=3)"

    @pytest.mark.parametrize("text", [OPEN, slotted(OPEN)])
    def test_subclasses_in_unchanged_modules_follow(self, make_package: Make, text: str) -> None:
        sub = "from .models import Point\n@define(slots=False)\nclass Sub(Point):\n    z: int = 1\n"
        sub = sub if text == OPEN else slotted(sub)
        service = Service(make_package, text, other=sub, user="from .models import Point\nmade = Point(1)\n")
        cls, user = service.module("other").Sub, service.module("user")
        old = cls(3)
        service.apply(text + "    y: int = 2\n")
        assert service.module("other").Sub is cls
        assert service.module("user") is user
        assert (old, repr(old)) == (cls(3), "Sub(x=3, y=2, z=1)")
        assert user.made.y == 2


IN_FLIGHT = """
@define
class Slotted:
    a: int
    {fields}
    def __attrs_post_init__(self): self.note({pass_}1)
    def note(self, {more}x): self.a += x

@define(slots=False)
class Plain:
    a: int = field(validator=lambda self, *_: self.check({pass_}1))
    {fields}
    def check(self, {more}x): pass

def facts(cls):
    match cls(1):
        case Slotted() | Plain() as one: matched = cls.__match_args__
    return attrs.asdict(one), attrs.evolve(one, a=5), repr(one), one == cls(1), matched, len(attrs.fields(cls))

def old():
    while True:
        yield [str(facts(cls)) for cls in (Slotted, Plain)]
"""


@pytest.mark.parametrize("back", [False, True])
def test_calls_in_flight_have_the_old_fields(make_package: Make, back: bool) -> None:
    few = IN_FLIGHT.format(fields="", more="", pass_="")
    many = IN_FLIGHT.format(fields="tags: list = field(factory=list); n: int = 3", more="z, ", pass_="0, ")
    first, then = (many, few) if back else (few, many)
    service = Service(make_package, first)
    old, session, inside = service.old(), hotswap.session(), contextvars.Context()
    inside.run(session.__enter__)
    pure = next(old)
    rollout = service.apply(then)
    assert next(old) == pure
    assert inside.run(next, service.old()) == pure
    new = next(service.old())
    assert [("tags" in said, "n=3" in said) for said in new] == [(not back, not back)] * 2
    assert next(old) == pure
    inside.run(session.__exit__, None, None, None)
    old.close()
    assert rollout.drained.wait(20)
    assert next(service.old()) == new
