"""Classes of every kind across a swap: the living one is like the new version, and as before after a rollback."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import pickle
import sys
import typing
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Generic

import pytest

from hotswap.swap.writes import Op, Writes
from tests.swapping import Code, refused_codes

Make = Callable[..., ModuleType]

SHAPES = """
import abc
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
class Square(Shape):
    def area(self):
        return 1
@Shape.register
class Foreign: pass
"""


class TestAbstractClasses:
    @pytest.fixture
    def code(self, make_package: Make) -> Code:
        return Code(make_package, SHAPES)

    def test_new_abstract_method_forbids_instances(self, code: Code) -> None:
        old = code.live.Square()
        more = SHAPES.replace(
            "    def area(self): ...", "    def area(self): ...\n    @abc.abstractmethod\n    def b(self): ...", 1
        )
        live = code.put(more)
        assert live.Square.__abstractmethods__ == {"b"}
        assert inspect.isabstract(live.Square)
        with pytest.raises(TypeError, match="abstract"):
            live.Square()
        assert old.area() == 1
        code.back()
        assert live.Square().area() == 1

    def test_abstract_method_that_goes_allows_them(self, code: Code) -> None:
        live = code.put(
            SHAPES.replace("    @abc.abstractmethod\n    def area(self): ...", "    def area(self): return 9")
        )
        assert (live.Shape().area(), inspect.isabstract(live.Shape)) == (9, False)
        code.back()
        with pytest.raises(TypeError, match="abstract"):
            live.Shape()

    def test_subclasses_outside_of_the_patch_follow(self, code: Code) -> None:
        class Circle(code.live.Shape):  # type: ignore[misc, name-defined]
            def area(self) -> int:
                return 3

        class Half(Circle):
            pass

        class Vague(code.live.Shape):  # type: ignore[misc, name-defined]
            pass

        Half()
        before = SHAPES.replace("area", "size")
        code.put(before)
        assert (Circle.__abstractmethods__, Half.__abstractmethods__) == ({"size"}, {"size"})
        with pytest.raises(TypeError, match="abstract"):
            Half()
        code.back()
        assert (Half().area(), Vague.__abstractmethods__) == (3, {"area"})
        code.put(SHAPES.replace("    @abc.abstractmethod\n    def area(self): ...", "    def area(self): return 9"))
        assert Vague().area() == 9
        code.back()
        with pytest.raises(TypeError, match="abstract"):
            Vague()

    def test_virtual_subclasses_are_kept(self, code: Code) -> None:
        class Late:
            pass

        code.live.Shape.register(Late)
        live = code.put(SHAPES.replace("return 1", "return 2"))
        assert (isinstance(Late(), live.Shape), isinstance(live.Foreign(), live.Shape)) == (True, True)
        code.back()
        assert issubclass(Late, live.Shape)


GENERIC = """
from typing import Generic, Protocol, TypeVar, TypedDict, runtime_checkable
T = TypeVar("T")
S = TypeVar("S")
class Box(Generic[T]):
    def get(self):
        return 1
class Ints(Box[int]):
    pass
@runtime_checkable
class Named(Protocol):
    def name(self): ...
class Person:
    def name(self): return "x"
class Movie(TypedDict):
    title: str
IntBox = Box[int]
"""


class TestTyping:
    @pytest.fixture
    def code(self, make_package: Make) -> Code:
        return Code(make_package, GENERIC)

    def test_generic_classes(self, code: Code) -> None:
        cls, alias, variable = code.live.Box, code.live.Box[str], code.live.T
        more = (
            GENERIC.replace("Generic[T]", "Generic[T, S]")
            .replace("Box[int]", "Box[int, str]")
            .replace("return 1", "return 2")
        )
        live = code.put(more)
        assert live.Box is cls
        assert live.T is variable
        assert cls.__parameters__ == (live.T, live.S)
        assert cls.__orig_bases__ == (Generic.__class_getitem__((live.T, live.S)),)
        assert (alias().get(), typing.get_origin(alias), alias.__args__) == (2, cls, (str,))
        assert typing.get_origin(live.Ints.__orig_bases__[0]) is cls
        assert live.Ints.__orig_bases__[0].__args__ == (int, str)
        assert (live.IntBox().get(), typing.get_origin(live.IntBox)) == (2, cls)
        assert cls[int, str].__args__ == (int, str)
        code.back()
        with pytest.raises(TypeError, match="Too many arguments"):
            cls[int, str]
        assert (cls.__parameters__, cls[int]().get()) == ((live.T,), 1)

    def test_protocols(self, code: Code) -> None:
        named, person = code.live.Named, code.live.Person()
        assert isinstance(person, named)
        live = code.put(GENERIC.replace("def name(self): ...", "def name(self): ...\n    def age(self): ..."))
        assert live.Named is named
        assert not isinstance(person, named)
        assert not issubclass(live.Person, named)

        class Old:
            def name(self) -> None: ...
            def age(self) -> None: ...

        assert isinstance(Old(), named)
        code.back()
        assert isinstance(person, named)
        assert issubclass(live.Person, named)

    def test_typed_dicts(self, code: Code) -> None:
        movie = code.live.Movie
        live = code.put(
            GENERIC.replace("title: str", "title: str\n    year: int").replace(
                "(TypedDict)", "(TypedDict, total=False)"
            )
        )
        assert live.Movie is movie
        assert (movie.__annotations__.keys(), movie.__total__) == ({"title", "year"}, False)
        assert (movie.__optional_keys__, movie.__required_keys__) == ({"title", "year"}, frozenset())
        code.back()
        assert (movie.__required_keys__, movie.__total__) == ({"title"}, True)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax of PEP 695 came with 3.12")
    def test_type_parameters(self, make_package: Make) -> None:
        text = """
class Box[T]:
    def get(self): return 1
def first[T](items: list[T]) -> T: return items[0]
type Pair[T] = tuple[T, T]
"""
        code = Code(make_package, text)
        cls, first, alias = code.live.Box, code.live.first, code.live.Box[int]
        live = code.put(text.replace("[T]:", "[T, S: int]:").replace("return 1", "return 2").replace("[0]", "[-1]"))
        assert live.Box is cls
        assert [str(parameter) for parameter in cls.__type_params__] == ["T", "S"]
        assert cls.__parameters__ == cls.__type_params__
        assert (alias().get(), first([1, 2]), cls[int, int].__origin__) == (2, 2, cls)
        assert [str(parameter) for parameter in first.__type_params__] == ["T"]
        code.back()
        assert ([str(parameter) for parameter in cls.__type_params__], first([1, 2])) == (["T"], 1)
        with pytest.raises(TypeError, match="Too many arguments"):
            cls[int, int]


class TestExceptions:
    TEXT = """
class Error(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code
    def __str__(self):
        return f"old {self.code}"
class Worse(Error): pass
def fail(): raise Worse(1)
"""

    def test_except_clauses_and_old_instances(self, make_package: Make) -> None:
        code = Code(make_package, self.TEXT)
        error, fail = code.live.Error, code.live.fail
        old = error(5)
        changed = (
            self.TEXT.replace("old", "new").replace("code):", "code, hint=''):").replace("Worse(1)", "Worse(1, 'h')")
        )
        changed = changed.replace("self.code = code", "self.code, self.hint = code, hint")
        code.put(changed)
        with pytest.raises(error) as caught:
            fail()
        assert (str(caught.value), caught.value.hint, str(old), old.args) == ("new 1", "h", "new 5", (5,))
        del caught  # its traceback holds code that the rollback waits for
        assert str(pickle.loads(pickle.dumps(old))) == "new 5"
        caught_by_star: list[Exception] = []
        try:
            raise old
        except* error as group:
            caught_by_star += group.exceptions
        assert caught_by_star == [old]
        code.back()
        assert str(old) == "old 5"

    def test_other_base_of_the_same_layout(self, make_package: Make) -> None:
        code = Code(make_package, self.TEXT)
        old = code.live.Error(1)
        code.put(self.TEXT.replace("(Exception)", "(ValueError)"))
        assert isinstance(old, ValueError)
        code.back()
        assert not isinstance(old, ValueError)

    def test_other_base_of_another_layout(self, make_package: Make) -> None:
        code = Code(make_package, self.TEXT)
        assert "layout-changed" in refused_codes(code, self.TEXT.replace("(Exception)", "(OSError)"))


class TestMetaclasses:
    TEXT = """
registry = []
class Meta(type):
    def __new__(cls, name, bases, body):
        made = super().__new__(cls, name, bases, body)
        registry.append(made)
        return made
    def who(cls): return f"old {cls.__name__}"
    @property
    def size(cls): return 1
class A(metaclass=Meta): pass
class B(A): pass
"""

    def test_code_of_a_metaclass(self, make_package: Make) -> None:
        code = Code(make_package, self.TEXT)
        a, b, meta = code.live.A, code.live.B, code.live.Meta

        class Outside(a):  # type: ignore[misc, valid-type]
            pass

        live = code.put(self.TEXT.replace("old", "new").replace("return 1", "return 2") + "class C(B): pass\n")
        assert (a.who(), b.size, Outside.who()) == ("new A", 2, "new Outside")
        assert {type(cls) for cls in (a, b, live.C)} == {meta}
        assert live.registry == [a, b, Outside, live.C]
        assert live.C.__bases__ == (b,)
        code.back()
        assert (a.who(), b.size, live.Meta is meta) == ("old A", 1, True)

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("class A: pass", "import abc\nclass A(abc.ABC): pass"),
            ("import abc\nclass A(abc.ABC): pass", "class A: pass"),
            ("class M(type): pass\nclass A(metaclass=M): pass", "class M(type): pass\nclass A: pass"),
        ],
    )
    def test_another_metaclass_is_refused(self, make_package: Make, before: str, after: str) -> None:
        assert refused_codes(Code(make_package, before), after) == ["metaclass-changed"]


class TestHooks:
    def test_init_subclass_runs_once_for_each_version_and_registers_the_living(self, make_package: Make) -> None:
        text = """
calls = []
class Base:
    registry = {}
    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        calls.append(cls.__name__)
        cls.registry[cls.__name__] = cls
class One(Base): pass
class Two(Base): pass
"""
        code = Code(make_package, text)
        base, one = code.live.Base, code.live.One

        class Outside(base):  # type: ignore[misc, valid-type]
            pass

        live = code.put(text.replace("class Two(Base): pass", "class Three(Base): pass"))
        assert base.registry == {"One": one, "Outside": Outside, "Three": live.Three}
        assert live.calls.count("Outside") == 1
        assert set(base.__subclasses__()) >= {one, Outside, live.Three}
        code.back()
        assert code.live.Base is base

    def test_set_name_knows_the_living_class(self, make_package: Make) -> None:
        text = """
class Field:
    def __set_name__(self, owner, name):
        self.owner, self.name = owner, name
    def __get__(self, instance, owner=None):
        return (VALUE, self.name, self.owner)
class A:
    x = Field()
"""
        code = Code(make_package, text.replace("VALUE", "1"))
        cls, old = code.live.A, code.live.A()
        assert old.x == (1, "x", cls)
        code.put(text.replace("VALUE", "2").replace("x = Field()", "x = Field()\n    y = Field()"))
        assert (old.x, old.y) == ((2, "x", cls), (2, "y", cls))

    def test_class_getitem_and_call(self, make_package: Make) -> None:
        text = (
            "class A:\n    def __class_getitem__(cls, item): return (1, cls, item)\n    def __call__(self): return 1\n"
        )
        code = Code(make_package, text)
        cls, old = code.live.A, code.live.A()
        code.put(text.replace("1", "2"))
        assert (cls[int], old()) == ((2, cls, int), 2)


class TestDescriptors:
    def test_cached_values_stay_and_new_ones_come_from_new_code(self, make_package: Make) -> None:
        text = "import functools\nclass A:\n    @functools.cached_property\n    def x(self): return [1]\n"
        code = Code(make_package, text)
        read, unread = code.live.A(), code.live.A()
        value = read.x
        cls = code.put(text.replace("[1]", "[2]")).A
        assert read.x is value
        assert (unread.x, cls().x) == ([2], [2])
        assert isinstance(cls.x, functools.cached_property)
        code.back()
        assert (unread.x, cls().x) == ([2], [1])

    def test_cached_property_that_comes_and_goes(self, make_package: Make) -> None:
        text = "import functools\nclass A:\n    @functools.cached_property\n    def x(self): return [1]\n"
        plain = "import functools\nclass A:\n    @property\n    def x(self): return [2]\n"
        code = Code(make_package, text)
        read = code.live.A()
        read.x
        code.put(plain)
        assert read.x == [2]
        code.put(text)
        assert read.x == [1]

    def test_property_setters(self, make_package: Make) -> None:
        text = """
class A:
    @property
    def x(self): return self._x
    @x.setter
    def x(self, value): self._x = value + 1
"""
        code = Code(make_package, text)
        old = code.live.A()
        old.x = 1
        code.put(text.replace("+ 1", "+ 10"))
        held = old.x
        old.x = 1
        assert (held, old.x) == (2, 11)

    def test_nested_classes(self, make_package: Make) -> None:
        text = (
            "class A:\n    class Inner:\n        class Deep:\n            def f(self): return 1\n    inner = Inner()\n"
        )
        code = Code(make_package, text)
        deep, inner, kept = code.live.A.Inner.Deep, code.live.A.Inner, code.live.A.inner
        live = code.put(text.replace("return 1", "return 2\n        more = 1"))
        assert (live.A.Inner, live.A.Inner.Deep, deep().f(), inner.more) == (inner, deep, 2, 1)
        assert live.A.inner is kept
        assert type(pickle.loads(pickle.dumps(deep()))) is deep
        code.put("class A:\n    inner = None\n")
        assert not hasattr(code.live.A, "Inner")


class TestDispatch:
    TEXT = """
import functools
class Money: pass
@functools.singledispatch
def show(value): return "old other"
@show.register
def _(value: int): return "old int"
@show.register(Money)
def _(value): return "old money"
class Printer:
    @functools.singledispatchmethod
    def show(self, value): return "old other"
    @show.register
    def _(self, value: int): return "old int"
"""

    def test_functions(self, make_package: Make) -> None:
        code = Code(make_package, self.TEXT)
        show, money = code.live.show, code.live.Money()
        live = code.put(self.TEXT.replace("old", "new") + "@show.register\ndef _(value: str): return 'new str'\n")
        for dispatch in (show, live.show):
            found = [dispatch(value) for value in (1, money, "x", 1.5)]
            assert found == ["new int", "new money", "new str", "new other"]
        code.back()
        assert [show(value) for value in (1, money, "x")] == ["old int", "old money", "old other"]

    def test_methods(self, make_package: Make) -> None:
        code = Code(make_package, self.TEXT)
        printer = code.live.Printer()
        code.live.Printer.show.register(bytes, lambda self, value: "at run time")
        text = self.TEXT.replace("old", "new") + "    @show.register\n    def _(self, value: str): return 'new str'\n"
        code.put(text)
        assert [printer.show(value) for value in (1, "x", 1.5)] == ["new int", "new str", "new other"]
        code.back()
        assert [printer.show(value) for value in (1, "x", b"")] == ["old int", "old other", "at run time"]


class TestBases:
    def test_between_classes_of_the_patch(self, make_package: Make) -> None:
        text = "class A:\n    def f(self): return 'a'\nclass B:\n    def f(self): return 'b'\nclass C(A): pass\n"
        code = Code(make_package, text)
        old, a, b = code.live.C(), code.live.A, code.live.B
        code.put(text.replace("C(A)", "C(B, A)"))
        assert (old.f(), isinstance(old, b), code.live.C.__bases__) == ("b", True, (b, a))
        code.back()
        assert (old.f(), isinstance(old, b), code.live.C.__bases__) == ("a", False, (a,))

    def test_subclass_outside_that_could_not_be_ordered_any_more(self, make_package: Make) -> None:
        text = "class A: pass\nclass B(A): pass\nclass C(A): pass\n"
        code = Code(make_package, text)
        live = code.live

        class Outside(live.C, live.A):  # type: ignore[misc, name-defined]
            pass

        class Mixed(live.B, live.C):  # type: ignore[misc, name-defined]
            pass

        changed = text.replace("class C(A)", "class C(B)")
        assert refused_codes(code, changed) == ["bases-changed"]
        assert (Mixed.__mro__[1], Outside.__mro__[1]) == (live.B, live.C)

    def test_trying_runs_no_hook_and_leaves_no_subclass(self, make_package: Make) -> None:
        text = """
made = []
class A:
    def __init_subclass__(cls): made.append(cls.__name__)
class B(A): pass
class C(B): pass
"""
        code = Code(make_package, text)
        held = code.live.made
        live = code.put(text.replace("class C(B)", "class C(A)"))
        assert held == ["B", "C"]
        assert live.C.__bases__ == (live.A,)
        gc.collect()
        assert live.A.__subclasses__() == [live.B, live.C]

    def test_enumerations_and_metaclasses_are_tried_too(self, make_package: Make) -> None:
        text = "import enum\nclass M(enum.Enum):\n    def f(self): return 1\nclass E(enum.Enum):\n    A = 1\n"
        code = Code(make_package, text)
        a = code.live.E.A
        code.put(text.replace("E(enum.Enum)", "E(M)"))
        assert a.f() == 1

    def test_object_alone_is_refused(self, make_package: Make) -> None:
        text = "class A: pass\nclass C: pass\n"
        assert refused_codes(Code(make_package, text), text.replace("C:", "C(A):")) == ["bases-changed"]


class TestAcrossModules:
    def test_subclass_in_an_unmanaged_module(self, make_package: Make) -> None:
        text = "class A:\n    def f(self): return 1\n    def g(self): return self.f()\n"
        code = Code(make_package, text)
        other = make_package(
            {"__init__.py": f"from {code.name} import A\nclass B(A):\n    def f(self): return super().f() + 1\n"}
        )
        old = other.B()
        code.put(
            text.replace("return 1", "return 10").replace("self.f()", "self.f(), self.h()")
            + "    def h(self): return 'h'\n"
        )
        assert (old.g(), other.B.__bases__) == ((11, "h"), (code.live.A,))
        code.back()
        assert old.g() == 2

    def test_subclass_in_another_module_of_the_patch(self, make_package: Make) -> None:
        text = "class A:\n    def f(self): return 1\n"
        below = "from .code import A\nclass B(A):\n    def f(self): return super().f() + 1\n"
        code = Code(make_package, text, below=below)
        below_live = sys.modules[f"{code.package}.below"]
        cls, old = below_live.B, below_live.B()
        code.put(text.replace("return 1", "return 10"), below=below.replace("+ 1", "+ 2"))
        assert (old.f(), cls.__bases__, sys.modules[f"{code.package}.below"].B) == (12, (code.live.A,), cls)

    def test_new_subclass_of_a_living_class(self, make_package: Make) -> None:
        text = "class A:\n    def f(self): return 1\n"
        code = Code(make_package, text)
        a = code.live.A
        live = code.put(text + "class B(A):\n    def f(self): return super().f() + 1\nb = B()\n")
        assert (live.B.__mro__, live.b.f(), a.__subclasses__()) == ((live.B, a, object), 2, [live.B])


class TestRegistries:
    def test_of_decorators_and_of_the_class(self, make_package: Make) -> None:
        text = """
class Commands:
    known = {}
    order = []
    @classmethod
    def add(cls, function):
        cls.known[function.__name__] = function
        cls.order.append(function)
        return function
@Commands.add
def one(): return 1
"""
        code = Code(make_package, text)
        known, order = code.live.Commands.known, code.live.Commands.order
        code.live.Commands.add(len)
        live = code.put(text.replace("return 1", "return 11") + "@Commands.add\ndef two(): return 2\n")
        assert (live.Commands.known is known, live.Commands.order is order) == (True, True)
        assert known == {"one": live.one, "len": len, "two": live.two}
        assert [function.__name__ for function in order] == ["one", "len", "two"]
        code.back()
        assert sorted(known) == ["len", "one"]

    def test_copies_of_instances(self, make_package: Make) -> None:
        text = "class A:\n    def __init__(self): self.x = [1]\n    def f(self): return 1\n"
        code = Code(make_package, text)
        old = code.live.A()
        code.put(text.replace("return 1", "return 2"))
        for twin in (copy.copy(old), copy.deepcopy(old), pickle.loads(pickle.dumps(old))):
            assert (twin.f(), twin.x, type(twin)) == (2, [1], type(old))


class TestCommit:
    """Neither in the commit nor in a rollback does any code in Python run; a profile function would see it."""

    TEXT = """
import abc, enum
from dataclasses import dataclass, field
class Loud:
    def __init__(self, number): self.number = number
    def __hash__(self): return 7
    def __eq__(self, other): return type(other) is Loud and self.number == other.number
    def __del__(self): pass
class Meta(type):
    def __setattr__(cls, name, value): super().__setattr__(name, value)
    def size(cls): return VERSION
class Plain(metaclass=Meta):
    def f(self): return VERSION
class Colour(enum.Enum):
    RED = Loud(VERSION)
    NEXT = Loud(VERSION + 1)
    def __hash__(self): return VERSION
class Level(enum.IntEnum):
    LOW = 1
    MEMBERS
class Access(enum.Flag):
    MEMBERS
    READ = 1 << VERSION
    WRITE = 128
class Slotted:
    __slots__ = SLOTS
@dataclass
class Order:
    a: int
    FIELD
class Shape(abc.ABC):
    @abc.abstractmethod
    def METHOD(self): ...
"""

    def text(self, version: int) -> str:
        facts = {
            "VERSION": str(version),
            "MEMBERS": f"M{version} = {2 + 2 * version}",
            "SLOTS": "('a',)" if version == 1 else "('a', 'b')",
            "FIELD": "" if version == 1 else "b: list = field(default_factory=list)",
            "METHOD": f"m{version}",
        }
        return functools.reduce(lambda text, fact: text.replace(*fact), facts.items(), self.TEXT)

    def test_runs_no_code(self, make_package: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        code = Code(make_package, self.text(1))
        live, seen = code.live, list[str]()
        _ = [live.Access.READ | live.Access.WRITE, ~live.Access.READ, live.Slotted(), live.Order(1)]

        class Outside(live.Shape):  # type: ignore[misc, name-defined]
            pass

        def profile(frame: FrameType, event: str, _: object) -> None:
            if event == "call":
                seen.append(f"{frame.f_code.co_qualname} in {frame.f_code.co_filename}")

        writes_of = Writes._ops

        def watched(writes: Writes, forward: bool, *more: Op) -> list[Op]:
            return [(sys.setprofile, profile), *writes_of(writes, forward), *more, (sys.setprofile, None)]

        monkeypatch.setattr(Writes, "_ops", watched)
        code.put(self.text(2))
        assert Outside.__abstractmethods__ == {"m2"}
        code.back()
        assert Outside.__abstractmethods__ == {"m1"}
        assert seen == []
        monkeypatch.setattr(Writes, "_ops", lambda writes, forward: watched(writes, forward, (self.text, 1)))
        code.put(self.text(2))
        assert seen[0].startswith("TestCommit.text in"), "the profile function does see code"


class TestGuardedAttributes:
    """Names that a metaclass keeps elsewhere than in the namespace of the class: they can't be written there."""

    BODIES = (
        "    @property\n    def {name}(self): return VERSION\n",
        "    @reader\n    def {name}(self): return VERSION\n",
        "    @staticmethod\n    def {name}(*_): return VERSION\n",
        "    def {name}(self): return VERSION\n",
    )
    NAMES = ("__name__", "__bases__", "__dict__", "__mro__", "__base__", "__flags__", "__text_signature__", "size")
    HEAD = """
class reader(property): pass
class Meta(type):
    @property
    def size(cls): return 0
    @size.setter
    def size(cls, value): raise RuntimeError("the metaclass was asked")
class K(metaclass=Meta):
    def go(self): return VERSION
"""

    def source(self, body: str, version: int) -> str:
        return (self.HEAD + body).replace("VERSION", str(version))

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("body", BODIES)
    def test_code_in_them_changes(self, make_package: Make, body: str, name: str) -> None:
        code = Code(make_package, self.source(body.format(name=name), 1))
        one = code.live.K()
        before = type.__getattribute__(code.live.K, "__name__")
        for version in (2, 3):
            code.put(self.source(body.format(name=name), version))
            found = object.__getattribute__(one, name)
            assert (one.go(), found() if callable(found) else found) == (version, version)
        code.back()
        found = object.__getattribute__(one, name)
        assert (one.go(), found() if callable(found) else found) == (2, 2)
        assert type.__getattribute__(type(one), "__name__") == before == "K"

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("", "    {name} = 1\n"),
            ("    {name} = 1\n", ""),
            ("    {name} = 1\n", "    {name} = 2\n"),
            ("    @property\n    def {name}(self): return 1\n", "    def {name}(self): return 1\n"),
            (
                "    {name} = property(lambda self: 1)\n",
                "    {name} = property(lambda self: 1, lambda self, value: None)\n",
            ),
        ],
    )
    def test_other_changes_are_refused(self, make_package: Make, before: str, after: str, name: str) -> None:
        code = Code(make_package, self.source(before.format(name=name), 1))
        refused = refused_codes(code, self.source(after.format(name=name), 2))
        assert refused == ["attribute-guarded"]
        assert code.live.K().go() == 1

    @pytest.mark.parametrize("name", NAMES)
    def test_data_that_did_not_change_stays(self, make_package: Make, name: str) -> None:
        body = f"    {name} = 'mine'\n"
        code = Code(make_package, self.source(body, 1))
        code.put(self.source(body, 2))
        assert (code.live.K().go(), object.__getattribute__(code.live.K(), name)) == (2, "mine")

    @pytest.mark.parametrize("name", ["__doc__", "__annotations__"])
    def test_what_the_namespace_holds_is_written(self, make_package: Make, name: str) -> None:
        body = self.BODIES[0].format(name=name)
        code = Code(make_package, self.source(body, 1))
        one = code.live.K()
        code.put(self.source(body, 2))
        assert object.__getattribute__(one, name) == 2
        code.back()
        assert object.__getattribute__(one, name) == 1

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is of CPython 3.12")
    def test_a_class_becomes_generic_and_is_it_no_longer(self, make_package: Make) -> None:
        plain = "class B: pass\nclass K(B):\n    def go(self): return 1\n"
        generic = plain.replace("K(B)", "K[T](B)").replace("return 1", "return 2")
        code = Code(make_package, plain)
        one = code.live.K()
        code.put(generic)
        assert (one.go(), len(code.live.K.__type_params__)) == (2, 1)
        code.put(plain)
        assert (one.go(), code.live.K.__type_params__) == (1, ())
        code.back()
        assert (one.go(), len(code.live.K.__type_params__)) == (2, 1)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="the syntax is of CPython 3.12")
    def test_a_class_that_became_generic_comes_back(self, make_package: Make) -> None:
        plain = "class B: pass\nclass K(B):\n    def go(self): return 1\n"
        code = Code(make_package, plain)
        code.put(plain.replace("K(B)", "K[T](B)").replace("return 1", "return 2"))
        code.back()
        assert (code.live.K().go(), code.live.K.__type_params__) == (1, ())


class TestHostileMetaclasses:
    META = """
class Meta(type):
    def __getattribute__(cls, name): raise RuntimeError(f"{name} was asked for")
    def __instancecheck__(cls, one): raise RuntimeError("the class was asked")
    def __subclasscheck__(cls, other): raise RuntimeError("the class was asked")
"""
    BODY = """
class A(metaclass=Meta):
    def f(self): return 1
class B(A):
    def f(self): return 1
a = A()
TABLE = {"class": A, "one": B()}
"""

    @pytest.mark.parametrize("more", ["class C(B): pass\n", "class C(A):\n    __slots__ = ('x',)\n"])
    def test_are_not_asked(self, make_package: Make, more: str) -> None:
        code = Code(make_package, self.META + self.BODY)
        one, two = code.live.a, code.live.TABLE["one"]
        live = code.put(self.META + self.BODY.replace("return 1", "return 2") + more)
        assert (one.f(), two.f(), live.a is one) == (2, 2, True)
        code.back()
        assert (one.f(), two.f()) == (1, 1)

    def test_are_not_asked_by_a_rollout_that_is_aborted(self, make_package: Make) -> None:
        code = Code(make_package, "def f(): return 1\n")
        staged = code.patcher.stage(code.patch(self.META + self.BODY + "def f(): return 2\n"))
        staged.abort()
        assert code.live.f() == 1
