"""Statements that are gone, or say something else: what they have put somewhere follows, as at a start."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.swapping import Code

Make = Callable[..., ModuleType]


def warned(code: Code, words: str) -> bool:
    """Whether the plan has a warning with some words."""
    return any(words in warning for warning in code.plan.warnings)


class TestEntriesThatAreGone:
    """What a kept registry has of statements that the new version has not."""

    HEAD = """
from decimal import Decimal
class App:
    def __init__(self): self.overrides = {}
class Pay:
    def __init__(self, retries):
        self.retries, self.calls = retries, 0
app = App()
TABLE = {}
def get_db(): return 1
def fake_db(): return 2
"""
    BODY = """
app.overrides[get_db] = fake_db
TABLE[Decimal] = str
TABLE["pay"] = Pay(retries=3)
TABLE["fake"] = fake_db
TABLE["short"] = lambda: 1
TABLE[Pay, "x"] = Pay(4)
"""

    def test_go_and_return_with_a_rollback(self, make_package: Make) -> None:
        code = Code(make_package, self.HEAD + self.BODY)
        app, table = code.live.app, code.live.TABLE
        table["pay"].calls = 17
        table[float] = repr
        table["late"] = code.live.Pay(9)
        before = [dict(app.overrides), dict(table)]
        code.put(self.HEAD)
        assert app.overrides == {}
        assert list(table) == [float, "late"]
        assert not code.plan.warnings
        code.back()
        assert [dict(app.overrides), dict(table)] == before

    def test_that_the_program_has_changed_stay_and_are_named(self, make_package: Make) -> None:
        code = Code(make_package, self.HEAD + self.BODY)
        app, table = code.live.app, code.live.TABLE
        app.overrides[code.live.get_db] = print
        table["pay"] = code.live.Pay(9)
        table["fake"] = code.live.get_db
        before = [dict(app.overrides), dict(table)]
        code.put(self.HEAD)
        assert app.overrides == {code.live.get_db: print}
        assert list(table) == ["pay", "fake"]
        assert warned(code, "TABLE keeps what it has for 'pay', 'fake': the new version does not register it")
        assert warned(code, "app.overrides keeps what it has for get_db: the new version does not register it")
        code.back()
        assert [dict(app.overrides), dict(table)] == before

    def test_under_a_key_that_functions_of_the_new_version_may_use_stay_and_are_named(self, make_package: Make) -> None:
        later = "def later(): TABLE[Decimal] = str\n"
        code = Code(make_package, self.HEAD + later + "TABLE[Decimal] = str\n")
        code.put(self.HEAD + later)
        assert len(code.live.TABLE) == 1
        assert warned(code, "TABLE keeps what it has for Decimal")

    def test_whose_statement_another_module_has_now_stay(self, make_package: Make) -> None:
        more = "from .code import TABLE, Decimal\n"
        code = Code(make_package, self.HEAD + "TABLE[Decimal] = str\n", more="from .code import TABLE\n")
        code.put(self.HEAD, more=more + "TABLE[Decimal] = str\n")
        assert len(code.live.TABLE) == 1
        assert not code.plan.warnings

    FIELDS = """
SCHEMAS, ORDER = {}, []
class Field:
    def __init__(self, column): self.column, self.seen = column, []
    def __set_name__(self, owner, name):
        SCHEMAS.setdefault(owner.__name__, {})[name] = self
        ORDER.append(self)
class User:
    name = Field("a")
    mail = Field("b")
class Group:
    name = Field("c")
"""

    def test_of_a_field(self, make_package: Make) -> None:
        code = Code(make_package, self.FIELDS)
        schemas, order = code.live.SCHEMAS, code.live.ORDER
        schemas["User"]["late"] = code.live.Field("late")
        schemas["User"]["mail"].seen.append(1)
        before = {name: dict(fields) for name, fields in schemas.items()}, list(order)
        code.put(self.FIELDS.replace('    mail = Field("b")\n', ""))
        assert list(schemas["User"]) == ["name", "late"]
        assert [field.column for field in order] == ["a", "c"]
        code.back()
        assert (schemas, order) == before

    def test_in_lists_and_sets_stay_and_are_named(self, make_package: Make) -> None:
        head = "LISTED, SAFE = [], set()\ndef one(): return 1\ndef two(): return 2\n"
        body = "LISTED.append(one)\nLISTED.append('words')\nSAFE.add(one)\n"
        code = Code(make_package, head + body)
        code.live.LISTED.append(code.live.two)
        code.put(head)
        assert (len(code.live.LISTED), len(code.live.SAFE)) == (3, 1)
        assert warned(code, "LISTED keeps what it has for 'words', one: the new version does not register it")
        assert warned(code, "SAFE keeps what it has for one: the new version does not register it")

    def test_of_the_fields_of_a_class(self, make_package: Make) -> None:
        code = Code(make_package, self.FIELDS)
        schemas = code.live.SCHEMAS
        code.put(self.FIELDS.partition("class Group")[0])
        assert list(schemas) == ["User"]
        code.back()
        assert list(schemas) == ["User", "Group"]

    def test_of_a_subclass(self, make_package: Make) -> None:
        source = """
class Base:
    known, settings = {}, {}
    def __init_subclass__(cls, key=None):
        Base.known[key] = cls
        Base.settings[cls.__name__] = {"key": key, "on": True}
class One(Base, key="one"): pass
class Two(Base, key="two"): pass
"""
        code = Code(make_package, source)
        base = code.live.Base
        base.settings["late"] = {"key": "late"}
        code.put(source.replace('class Two(Base, key="two"): pass\n', ""))
        assert list(base.known) == ["one"]
        assert list(base.settings) == ["One", "late"]
        code.back()
        assert list(base.known) == ["one", "two"]
        assert set(base.settings) == {"One", "Two", "late"}


class TestObjectsThatAreMadeOtherwise:
    """What statements of both versions put under one key, made of other objects."""

    SOURCE = """
import functools, re
TABLE = {}
def one(): return 1
def two(): return 2
def make(number):
    def inner(): return number
    return inner
class Pay:
    def __init__(self, retries):
        self.retries, self.calls = retries, 0
    def run(self): return self.retries
class Key: pass
TABLE["pay"] = Pay(retries=3)
TABLE[Key] = Pay(retries=3)
TABLE["same"] = Pay(retries=1)
TABLE["f"] = one
TABLE["made"] = make(3)
TABLE["bound"] = Pay(3).run
TABLE["part"] = functools.partial(pow, 3)
TABLE["words"] = re.compile("v3")
"""
    NEW = SOURCE.replace("3", "5").replace('"f"] = one', '"f"] = two')

    def test_are_the_new_ones(self, make_package: Make) -> None:
        code = Code(make_package, self.SOURCE)
        table, same = code.live.TABLE, code.live.TABLE["same"]
        same.calls = 4
        before = dict(table)
        code.put(self.NEW)
        live = code.live
        assert (table["pay"].retries, table[live.Key].retries, table["words"].pattern) == (5, 5, "v5")
        assert (table["f"](), table["made"](), table["bound"](), table["part"](2)) == (2, 5, 5, 25)
        assert table["same"] is same
        assert same.calls == 4
        assert type(table["pay"]) is live.Pay
        assert not code.plan.warnings
        code.back()
        assert dict(table) == before

    def test_that_the_program_has_changed_stay_and_are_named(self, make_package: Make) -> None:
        code = Code(make_package, self.SOURCE)
        table = code.live.TABLE
        table["pay"].calls = 17
        table["f"] = print
        before = dict(table)
        code.put(self.NEW)
        assert table["pay"].retries == 3
        assert table["f"] is print
        assert warned(code, "TABLE keeps what it has for 'pay', 'f': the new version registers something else")
        code.back()
        assert dict(table) == before


class TestRegistriesOfUnchangedModules:
    """What statements of a changed module have put into containers of modules that are shared."""

    REGISTRY = """
TABLE = {}
class Base:
    known = {}
    def __init_subclass__(cls, key=None): Base.known[key] = cls
class App:
    def __init__(self): self.overrides, self.encoders = {}, {}
    def add(self, kind, encoder): self.encoders[kind] = encoder
app = App()
def register(name):
    def mark(function):
        TABLE[name] = function
        return function
    return mark
def get_db(): return 1
"""
    HEAD = """
from decimal import Decimal
from . import registry
from .registry import Base, TABLE, app, get_db, register
def fake(): return 2
class Pay:
    def __init__(self, retries): self.retries = retries
"""
    BODY = """
app.overrides[get_db] = fake
app.add(Decimal, str)
registry.TABLE["pay"] = Pay(3)
TABLE["plain"] = 7
@register("gone")
def gone(): pass
class Kind(Base, key="kind"): pass
"""

    def tables(self, registry: Any) -> list[dict[Any, Any]]:
        return [registry.TABLE, registry.Base.known, registry.app.overrides, registry.app.encoders]

    @pytest.mark.parametrize("way", ["changed", "removed"])
    def test_lose_what_is_not_said_any_more(self, make_package: Make, way: str) -> None:
        code = Code(make_package, "from . import user\n", registry=self.REGISTRY, user=self.HEAD + self.BODY)
        registry = __import__(f"{code.package}.registry", fromlist=["registry"])
        registry.TABLE["late"] = __import__(f"{code.package}.user", fromlist=["user"]).Pay(1)
        registry.app.encoders[float] = str
        before = [dict(table) for table in self.tables(registry)]
        code.put("from . import user\n" if way == "changed" else "\n", user=self.HEAD if way == "changed" else "\n")
        assert list(map(list, self.tables(registry))) == [["late"], [], [], [float]]
        code.back()
        assert [dict(table) for table in self.tables(registry)] == before

    def test_get_what_is_said_otherwise(self, make_package: Make) -> None:
        code = Code(make_package, self.HEAD + self.BODY, registry=self.REGISTRY)
        registry = __import__(f"{code.package}.registry", fromlist=["registry"])
        before = [dict(table) for table in self.tables(registry)]
        code.put((self.HEAD + self.BODY).replace("Pay(3)", "Pay(5)").replace("get_db] = fake", "get_db] = Pay(1)"))
        assert registry.TABLE["pay"].retries == 5
        assert type(registry.app.overrides[registry.get_db]) is code.live.Pay
        code.back()
        assert [dict(table) for table in self.tables(registry)] == before

    def test_keep_what_another_module_registers_of_a_function_with_other_decorators(self, make_package: Make) -> None:
        source = "{}from .registry import TABLE\ndef mark(f): return f\n{}def f(): pass\nTABLE['own'] = 1\n"
        user = "from .code import f\nfrom .registry import TABLE\nTABLE['theirs'] = f\n"
        code = Code(make_package, source.format("", ""), registry=self.REGISTRY, user=user)
        registry = __import__(f"{code.package}.registry", fromlist=["registry"])
        code.put(source.format("", "@mark\n").replace("TABLE['own'] = 1\n", ""))
        assert list(registry.TABLE) == ["theirs"]


class TestAttributesThatSettersKeep:
    """Attributes of kept objects that are properties or other data descriptors."""

    SOURCE = """
class Setting:
    def __set_name__(self, owner, name): self.key = name.upper()
    def __get__(self, app, owner=None): return app.config.get(self.key)
    def __set__(self, app, value): app.config[self.key] = value
class App:
    key = Setting()
    def __init__(self): self.config, self._size, self._name, self._seen = {}, 0, "", []
    @property
    def size(self): return self._size
    @size.setter
    def size(self, value):
        "The size."
        if not isinstance(value, int):
            raise TypeError(f"no size: {value}")
        self._size = value
    @property
    def name(self): return self._name
    @name.setter
    def name(self, value): self._name = str(value)
    @property
    def noisy(self): return self._seen[-1]
    @noisy.setter
    def noisy(self, value): self._seen.append(value)
app = App()
app.key = "k1"
app.size = 1
app.name = 1
"""

    def test_are_written_and_taken_back(self, make_package: Make) -> None:
        code = Code(make_package, self.SOURCE)
        app = code.live.app
        before = dict(app.config), app.size, app.name
        code.put(self.SOURCE.replace("k1", "k2").replace("size = 1", "size = 2").replace("name = 1", "name = 2"))
        assert code.live.app is app
        assert (app.key, app.size, app.name) == ("k2", 2, "2")
        assert not code.plan.warnings
        code.back()
        assert (dict(app.config), app.size, app.name) == before

    def test_that_the_program_has_set_stay_and_are_named(self, make_package: Make) -> None:
        code = Code(make_package, self.SOURCE)
        app = code.live.app
        app.key, app.size, app.name = "mine", 9, "mine"
        code.put(self.SOURCE.replace("k1", "k2").replace("size = 1", "size = 2").replace("name = 1", "name = 2"))
        assert (app.key, app.size, app.name) == ("mine", 9, "mine")
        for name in ("key", "size", "name"):
            assert warned(code, f"sets its {name} otherwise than before: it keeps what the program has set since")

    def test_whose_setter_does_more_stay_and_are_named(self, make_package: Make) -> None:
        code = Code(make_package, self.SOURCE + "app.noisy = 1\n")
        app = code.live.app
        code.put(self.SOURCE + "app.noisy = 2\n")
        assert app._seen == [1]
        assert warned(code, "sets its noisy otherwise than before: that stays as it is")

    def test_that_no_statement_has_set_before(self, make_package: Make) -> None:
        source = self.SOURCE.partition("app.key")[0]
        code = Code(make_package, source)
        app = code.live.app
        code.put(f'{source}app.key = "new"\n')
        assert app.config == {"KEY": "new"}
        code.back()
        assert app.config == {}


class TestStatementsOnKeptObjects:
    """What statements beside its definition do to an object that is kept."""

    LIB = """
class Database:
    def __init__(self): self.timeout, self.options = 1, {}
class State:
    def __init__(self): super().__setattr__("held", {})
    def __setattr__(self, key, value): self.held[key] = value
    def __getattr__(self, key): return self.held[key]
class App:
    debug = False
    def __init__(self): self.db, self.flag, self.hits, self.key_, self.state = Database(), None, 0, None, State()
    @property
    def key(self): return self.key_
    @key.setter
    def key(self, value): self.key_ = value
    def configure(self, **settings): self.__dict__.update(settings)
    def count(self, n): self.db.options.setdefault("n", []).append(n)
    def level(self, n):
        self.level_ = n
        return self
"""
    HEAD = "from .lib import App\n"

    def code(self, make_package: Make, body: str, head: str = "") -> Code:
        code = Code(make_package, f"{self.HEAD}{head}app = App()\n{body}", lib=self.LIB)
        code.live.app.hits = 99
        return code

    def put(self, code: Code, body: str, head: str = "") -> Any:
        before = code.live.app
        after = code.put(f"{self.HEAD}{head}app = App()\n{body}").app
        assert after is before
        assert after.hits == 99
        return after

    @pytest.mark.parametrize(
        ("before", "after", "value"),
        [
            ("app.db.timeout = 2", "app.db.timeout = 5", "app.db.timeout"),
            ("", "app.db.timeout = 5", "app.db.timeout"),
            ("app.db.timeout = 5", "", "app.db.timeout"),
            ("app.db.options['a'] = 1", "app.db.options['a'] = 2", "app.db.options"),
            ("app.db.options['a'] = {'x': [1]}", "app.db.options['a'] = {'x': [2]}", "app.db.options"),
            ("app.db.options['a'] = 1", "", "app.db.options"),
            ("app.flag = 1", "", "app.flag"),
            ("app.flag = lambda: 1", "app.flag = lambda: 2", "app.flag()"),
            ("app.debug = True", "", "app.debug"),
            ("app.key = 1", "", "app.key"),
            ("app.state.a = 1", "app.state.a = 2", "app.state.a"),
            ("setattr(app, 'flag', 1)", "setattr(app, 'flag', 2)", "app.flag"),
            ("V = 1\napp.flag = V", "V = 2\napp.flag = V", "app.flag"),
            ("V = 1\napp.db.timeout = V", "V = 2\napp.db.timeout = V", "app.db.timeout"),
        ],
    )
    def test_are_followed_and_taken_back(self, make_package: Make, before: str, after: str, value: str) -> None:
        code = self.code(make_package, after)
        wanted = eval(value, {"app": code.live.app})
        code = self.code(make_package, before)
        there = eval(f"str({value})", {"app": code.live.app}) if before else None
        assert eval(value, {"app": self.put(code, after)}) == wanted
        assert not code.plan.warnings
        app = code.back().app
        assert there is None or eval(f"str({value})", {"app": app}) == there

    @pytest.mark.parametrize("after", ["app.db.timeout = 5\n", ""])
    def test_that_the_program_has_set_otherwise_stay_and_are_named(self, make_package: Make, after: str) -> None:
        code = self.code(make_package, "app.db.timeout = 2\n")
        code.live.app.db.timeout = 7
        assert self.put(code, after).db.timeout == 7
        assert warned(code, "db.timeout")
        assert warned(code, "it keeps what the program has set since")

    def test_an_object_is_made_anew_where_more_than_an_attribute_reads_what_has_changed(
        self, make_package: Make
    ) -> None:
        code = Code(make_package, f"{self.HEAD}V = 1\napp = App()\napp.configure(flag=V)\n", lib=self.LIB)
        before = code.live.app
        assert code.put(f"{self.HEAD}V = 2\napp = App()\napp.configure(flag=V)\n").app is not before

    def test_what_holds_an_object_is_kept_with_it(self, make_package: Make) -> None:
        source = f"{self.HEAD}V = 1\napp = App()\napp.flag = V\nAPPS = [app]\n"
        code = Code(make_package, source, lib=self.LIB, other="from .code import app\nHELD = [app]\n")
        apps, held = code.live.APPS, __import__(f"{code.package}.other", fromlist=["other"]).HELD
        code.put(source.replace("V = 1", "V = 2"))
        assert code.live.APPS is apps
        assert apps == held == [code.live.app]
        assert code.live.app.flag == 2

    @pytest.mark.parametrize(
        ("before", "after", "name"),
        [
            ("app.configure(flag=1)", "app.configure(flag=2)", "configure"),
            ("app.level(1)", "app.level(2)", "level"),
            ("app.level(1)", "", "level"),
            (
                "for name in ('flag',): setattr(app, name, 1)",
                "for name in ('flag',): setattr(app, name, 2)",
                "setattr",
            ),
        ],
    )
    def test_calls_that_can_not_be_followed_are_named(
        self, make_package: Make, before: str, after: str, name: str
    ) -> None:
        code = self.code(make_package, before)
        self.put(code, after)
        assert warned(code, f"a statement calls its {name} otherwise than before: what that sets stays as it is")

    def test_calls_that_only_fill_containers_are_not_named(self, make_package: Make) -> None:
        code = self.code(make_package, "app.count(1)")
        self.put(code, "app.count(2)")
        assert not warned(code, "calls its")

    BODY = "from .wiring import app\napp.flag = 1\napp.key = 2\napp.rest.append(print)\n"

    def test_of_another_module_that_are_gone_are_named(self, make_package: Make) -> None:
        wiring = "from .lib import App\napp = App()\napp.rest = []\n"
        code = Code(make_package, self.BODY, lib=self.LIB, wiring=wiring)
        code.put("from .wiring import app\n")
        assert warned(code, "the statement that has set app.flag is gone: it stays as it is")
        assert warned(code, "the statement that has set app.key is gone: it stays as it is")
        assert warned(code, "the statement that has put something into app.rest is gone: that stays there")

    def test_of_another_module_may_set_functions(self, make_package: Make) -> None:
        wiring = "from .lib import App\napp = App()\n"
        source = "from .wiring import app\napp.flag = lambda: {}\n"
        code = Code(make_package, source.format(1), lib=self.LIB, wiring=wiring)
        app = code.live.app
        code.patcher.stage(code.patch(source.format(2))).abort()
        assert app.flag() == 1
        code.put(source.format(2))
        assert app.flag() == 2
        code.back()
        assert app.flag() == 1
