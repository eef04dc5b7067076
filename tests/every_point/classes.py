"""Programs of classes: methods, inheritance, construction, and what stands for an attribute."""

from __future__ import annotations

from tests.every_point.programs import Drive, Program, written

METHODS = {
    "core": """
        def helper(<<|z, >>a): return "<<old|new>>", a
        class Shop:
            kind = "<<old|new>>"
            count = <<1|2>>
            def _private(self, <<|z, >>a): return self.kind, helper(<<|0, >>a)
            def __mangled(self, <<|z, >>a): return self._private(<<|0, >>a), "<<old|new>>"
            def <<_gone|_come>>(self, a): return "<<old|new>>", a
            @classmethod
            def made_of(cls, <<|z, >>a): return cls.kind, cls.count, a
            @staticmethod
            def static(<<|z, >>a): return "<<old|new>>", a
            def step(self, <<|z, >>a):
                own = self.<<_gone|_come>>(a)
                return self.__mangled(<<|0, >>a), own, self.static(<<|0, >>a), Shop.made_of(<<|0, >>a)
            def walk(self, n):
                bound, made = self.step, self.made_of
                if not n:
                    return bound(<<|0, >>n), made(<<|0, >>n)
                return self.walk(n - 1), Shop.step(self, <<|0, >>n), self.kind
        SHOP = Shop()
        def run(n): return SHOP.walk(n), "<<old|new>>"
    """,
}


def methods(drive: Drive) -> None:
    shop = drive.core.SHOP
    drive("run", drive.core.run, 1)
    drive("method", shop.walk, 0)


CHAIN = {
    "base": """
        UNIT = "<<mm|inch>>"
        class Base:
            size = <<1|2>>
            def __init__(self, <<|z, >>name): self.name = name
            def told(self<<|, z>>): return "<<old|new>> base", self.size, UNIT
            def <<old_hook|new_hook>>(self): return "hook"
            def step(self, <<|z, >>n):
                return [self.told(<<|0>>), self.<<old_hook|new_hook>>(), self._own(<<|0, >>n)]
            def _own(self, <<|z, >>n): return "base", n
    """,
    "middle": """
        from .base import Base
        from . import base
        class Mixin:
            size = <<10|20>>
            def told(self<<|, z>>): return "<<old|new>> mixin", super().told(<<|0>>)
        class Middle(Mixin, base.Base):
            def __init__(self, <<|z, >>name):
                super().__init__(<<|0, >>name)
            def told(self<<|, z>>): return "<<old|new>> middle", super().told(<<|0>>), Base.told(self<<|, 0>>)
            def _own(self, <<|z, >>n): return "middle", super()._own(<<|0, >>n)
    """,
    "core": """
        from . import middle
        class Leaf(middle.Middle):
            size = <<100|200>>
            def told(self<<|, z>>):
                return "<<old|new>> leaf", super().told(<<|0>>), super().size
            def step(self, <<|z, >>n):
                above = super()
                first = above.step(<<|0, >>n)
                second = above.told(<<|0>>)
                return first, second, super(Leaf, self).step(<<|0, >>n), isinstance(self, middle.Base)
        def run(n):
            leaf = Leaf(<<|0, >>"name")
            return leaf.step(<<|0, >>n), leaf.name
    """,
}


def chain(drive: Drive) -> None:
    drive("run", drive.core.run, 1)


CONSTRUCTION = {
    "parts": """
        import dataclasses
        REGISTRY = []
        def default(<<|z, >>a=1): return "<<old|new>>", a
        class Part:
            label = "<<old|new>>"
            def __new__(cls, *args):
                made = super().__new__(cls)
                made.born = cls.label
                return made
            def __init__(self, <<|z, >>n):
                self.n = n
                self.set_up(<<|0, >>n)
            def set_up(self, <<|z, >>n): self.up = "<<old|new>>", default(<<|0, >>n)
            def __init_subclass__(cls, **options):
                super().__init_subclass__(**options)
                cls.tag = named(<<|0, >>cls)
        def named(<<|z, >>cls): return "<<old|new>>", cls.__name__
        @dataclasses.dataclass
        class Item:
            name: str
            price: int = 0
            def __post_init__(self): self.told = self.tell(<<|0, >>self.name)
            def tell(self, <<|z, >>a): return "<<old|new>>", a, default(<<|0, >>a)
    """,
    "core": """
        from . import parts
        from .parts import Item, Part
        def made(<<|z, >>n):
            class Local(Part):
                size = <<1|2>>
                def double(self, <<|z, >>a): return a * 2, parts.default(<<|0, >>a), self.size
            local = Local(<<|0, >>n)
            return local.double(<<|0, >>n), local.up, Local.tag, local.born, local.n
        def items(<<|z, >>n):
            found = [Item(f"i{i}", i) for i in range(n)]
            return [item.told for item in found], found[0].tell(<<|0, >>1), repr(found[0]), found[0] == Item("i0")
        def run(n):
            kind = Part
            part = kind(<<|0, >>n)
            return part.up, part.born, made(<<|0, >>n), items(<<|0, >>n)
    """,
}


def construction(drive: Drive) -> None:
    drive("run", drive.core.run, 1)


ATTRIBUTES = {
    "fields": """
        def converted(<<|z, >>a): return "<<old|new>>", a
        class Field:
            def __init__(self, name): self.name = name
            def __get__(self, o, owner=None): return "<<old|new>>", converted(<<|0, >>self.name)
            def __set__(self, o, value): o.__dict__[self.name] = converted(<<|0, >>value)
    """,
    "core": """
        import functools
        from .fields import Field, converted
        class Thing:
            kind = "<<old|new>>"
            <<field|entry>> = Field("f")
            shared = Field("s")
            @property
            def price(self): return self._price(<<|0, >>1)
            @price.setter
            def price(self, value): self.paid = "<<old|new>>", converted(<<|0, >>value)
            def _price(self, <<|z, >>a): return self.kind, a
            @functools.cached_property
            def cached(self): return "<<old|new>>", self._price(<<|0, >>2)
            def __len__(self): return <<1|2>>
            def __call__(self, <<|z, >>a): return "<<old|new>>", a
            def __getitem__(self, key): return "<<old|new>>", self._price(<<|0, >>key)
            def __eq__(self, other): return converted(<<|0, >>other)
            def __iter__(self): return iter([self._price(<<|0, >>3)])
            def __contains__(self, key): return key == <<1|2>>
            def __add__(self, other): return "<<old|new>>", other
            def __str__(self): return "<<old|new>>"
            def __bool__(self): return <<True|False>>
            def __enter__(self): return self._price(<<|0, >>4)
            def __exit__(self, *_): self.left = "<<old|new>>"
            def __getattr__(self, name):
                if name.startswith("__"):
                    raise AttributeError(name)
                return "<<old|new>>", name
        def read(thing):
            thing.price = 5
            thing.shared = 6
            found = [thing.price, thing.paid, thing.cached, thing.kind, thing.unknown, thing.__dict__["s"]]
            return found + [thing.<<field|entry>>, thing.shared, getattr(thing, "price"), type(thing).kind]
        def operate(thing):
            found = [len(thing), thing(<<|0, >>1), thing[2], thing == 3, [*thing], 1 in thing, thing + 4]
            with thing as entered:
                found.append(entered)
            return found + [thing.left, str(thing), f"{thing}", bool(thing), not thing, sum(1 for _ in thing)]
        def run():
            thing = Thing()
            return read(thing), operate(thing)
    """,
}


def attributes(drive: Drive) -> None:
    drive("run", drive.core.run)


DECORATED = {
    "tools": """
        import functools
        def told(<<|z, >>a): return "<<old|new>>", a
        def through(function):
            @functools.wraps(function)
            def wrapper(self, *args):
                return told(<<|0, >>"wrapper"), function(self, *args)
            return wrapper
        def named(<<|z, >>name):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args): return "<<old|new>>", name, function(*args)
                return wrapper
            return decorate
        class Counted:
            def __init__(self, function): self.function = function
            def __call__(self, *args): return told(<<|0, >>"counted"), self.function(*args)
    """,
    "core": """
        import abc
        from .tools import Counted, named, through, told
        class Abstract(abc.ABC):
            @abc.abstractmethod
            def go(self, <<|z, >>n): ...
            def step(self, <<|z, >>n): return self.go(<<|0, >>n), self.here(<<|0, >>n)
            def here(self, <<|z, >>n): return "above", told(<<|0, >>n)
        class Thing(Abstract):
            @through
            def go(self, <<|z, >>n): return "<<old|new>>", n
            @staticmethod
            @named(<<|0, >>"static")
            def static(<<|z, >>n): return told(<<|0, >>n)
            @classmethod
            def again(cls, <<|z, >>n): return cls.static(<<|0, >>n)
            @property
            @through
            def price(self): return "<<old|new>>"
            <<|def here(self, z, n): return "own">>
        @named(<<|0, >>"function")
        def function(<<|z, >>n): return told(<<|0, >>n)
        @Counted
        def counted(<<|z, >>n): return told(<<|0, >>n)
        short = lambda <<|z, >>n: told(<<|0, >>n)
        def run(n):
            thing = Thing()
            found = [thing.step(<<|0, >>n), Thing.again(<<|0, >>n), thing.price]
            return found, function(<<|0, >>n), counted(<<|0, >>n), short(<<|0, >>n)
    """,
}


def decorated(drive: Drive) -> None:
    drive("run", drive.core.run, 1)


PROGRAMS = [
    Program("methods", methods, written(METHODS), forked=True),
    Program("super", chain, written(CHAIN), forked=True),
    Program("construction", construction, written(CONSTRUCTION), forked=True),
    Program("decorated", decorated, written(DECORATED), forked=True),
    Program("attributes", attributes, written(ATTRIBUTES), forked=True),
]
