"""Registries: kept containers that an import fills are what a fresh import would make, and what was added since."""

from __future__ import annotations

import ast
import collections
import importlib
import inspect
import itertools
import sys
import warnings
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import pytest

from hotswap import LoadError, Patch, Patcher, Rollout
from hotswap.patch import words

Make = Callable[..., ModuleType]

_versions = itertools.count(2)


class Service:
    """A throw-away package, some of whose modules a patch changes."""

    def __init__(self, make: Make, **sources: str) -> None:
        self.package = make({f"{name}.py": text for name, text in sources.items()}).__name__
        for name in sources:
            importlib.import_module(f"{self.package}.{name}")
        self.patcher = Patcher(packages=[self.package])

    def __getattr__(self, name: str) -> Any:
        return sys.modules[f"{self.package}.{name}"]

    def text(self, source: str) -> str:
        return source.replace("PACKAGE", self.package)

    def patch(self, **sources: str) -> Patch:
        named = {f"{self.package}.{name}": self.text(text) for name, text in sources.items()}
        return Patch.from_sources(named, version=f"{next(_versions)}.0")

    def apply(self, **sources: str) -> Rollout:
        return self.patcher.apply(self.patch(**sources))


@pytest.fixture
def service(make_package: Make) -> Callable[..., Service]:
    return lambda **sources: Service(make_package, **sources)


def called(value: Any) -> Any:
    """What stands in a registry, with what its functions return in their place; sets are sorted."""
    if isinstance(value, dict):
        return {key: called(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(called, value))
    if isinstance(value, (list, collections.deque)):
        return list(map(called, value))
    return value() if type(value) is FunctionType else value


REGISTER = """
import collections, types
{start}
def on(event):
    def register(function):
        {add}
        return function
    return register
"""

HANDLERS = """
@on("x")
def a(): return "a1"
@on("x")
def b(): return "b1"
@on("y")
def c(): return "c1"
"""

MOVED = """
@on("x")
def a(): return "a2"
@on("z")
def b(): return "b2"
@on("x")
def d(): return "d2"
"""

NESTED = {
    "defaultdict-of-lists": ("R = collections.defaultdict(list)", "R[event].append(function)"),
    "defaultdict-of-sets": ("R = collections.defaultdict(set)", "R[event].add(function)"),
    "defaultdict-of-dicts": ("R = collections.defaultdict(dict)", "R[event][function.__name__] = function"),
    "defaultdict-of-deques": ("R = collections.defaultdict(collections.deque)", "R[event].append(function)"),
    "ordered-dict-of-lists": ("R = collections.OrderedDict()", "R.setdefault(event, []).append(function)"),
    "dict-of-deques": ("R = {}", "R.setdefault(event, collections.deque()).append(function)"),
    "dict-of-ordered-dicts": (
        "R = {}",
        "R.setdefault(event, collections.OrderedDict())[function.__name__] = function",
    ),
    "dict-subclass": (
        "class Table(dict):\n    def __missing__(self, key): self[key] = []; return self[key]\nR = Table()",
        "R[event].append(function)",
    ),
    "namespace": ("N = types.SimpleNamespace(r={})\nR = N.r", "N.r.setdefault(event, []).append(function)"),
    "namespace-alone": (
        "N = types.SimpleNamespace(r=collections.defaultdict(list))",
        "N.r[event].append(function)",
    ),
    "instance": (
        "class Bus:\n    def __init__(self): self.r = collections.defaultdict(list)\nbus = Bus()",
        "bus.r[event].append(function)",
    ),
    "class": ("class Bus:\n    r = collections.defaultdict(list)", "Bus.r[event].append(function)"),
    "dict-of-lists": ("R = {}", "R.setdefault(event, []).append(function)"),
}


def table_of(module: Any) -> Any:
    for name in ("R", "N", "bus", "Bus"):
        if name in vars(module):
            return vars(module)[name] if name == "R" else vars(module)[name].r
    raise AssertionError(module)


def names_of(table: Any) -> dict[str, list[str]]:
    """Event -> what its functions return, sorted."""
    return {
        event: sorted(function() for function in (held.values() if isinstance(held, dict) else held))
        for event, held in table.items()
    }


@pytest.mark.parametrize("shape", NESTED)
class TestNestedRegistries:
    def test_get_what_moved_and_lose_what_is_gone(self, service: Callable[..., Service], shape: str) -> None:
        start, add = NESTED[shape]
        program = REGISTER.format(start=start, add=add)
        running = service(m=program + HANDLERS)
        table = table_of(running.m)
        before = names_of(table)
        order = called(table)
        assert before == {"x": ["a1", "b1"], "y": ["c1"]}
        held = table["x"]
        running.apply(m=program + MOVED)
        assert table_of(running.m) is table
        assert table["x"] is held
        assert names_of(table) == {"x": ["a2", "d2"], "z": ["b2"]}
        running.patcher.rollback()
        assert names_of(table) == before
        assert called(table) == order
        assert table["x"] is held

    def test_in_an_unchanged_module(self, service: Callable[..., Service], shape: str) -> None:
        start, add = NESTED[shape]
        program = REGISTER.format(start=start, add=add)
        running = service(hub=program, m="")
        use = "from PACKAGE.hub import on\n"
        running.apply(m=use + HANDLERS)
        table = table_of(running.hub)
        before = called(table)
        rollout = running.patcher.stage(running.patch(m=use + MOVED))
        assert called(table) == before
        rollout.verify()
        rollout.commit()
        assert names_of(table) == {"x": ["a2", "d2"], "z": ["b2"]}
        running.patcher.rollback()
        assert called(table) == before

    def test_keep_what_was_registered_at_run_time(self, service: Callable[..., Service], shape: str) -> None:
        start, add = NESTED[shape]
        program = REGISTER.format(start=start, add=add)
        running = service(m=program + HANDLERS)
        table = table_of(running.m)
        running.m.on("y")(lambda: "plugin")
        running.m.on("extra")(lambda: "plugin")
        running.apply(m=program + MOVED)
        assert names_of(table) == {"x": ["a2", "d2"], "y": ["plugin"], "z": ["b2"], "extra": ["plugin"]}
        running.patcher.rollback()
        assert names_of(table) == {"x": ["a1", "b1"], "y": ["c1", "plugin"], "extra": ["plugin"]}


class TestDeques:
    SOURCE = REGISTER.format(start="R = collections.deque()", add="R.append(function)")

    def test_follow_the_new_import(self, service: Callable[..., Service]) -> None:
        running = service(m=self.SOURCE + HANDLERS)
        line = running.m.R
        line.appendleft(lambda: "plugin")
        running.apply(m=self.SOURCE + MOVED)
        assert running.m.R is line
        assert called(line) == ["plugin", "a2", "b2", "d2"]
        running.patcher.rollback()
        assert called(line) == ["plugin", "a1", "b1", "c1"]

    def test_of_entries_made_of_functions(self, service: Callable[..., Service]) -> None:
        source = REGISTER.format(start="R = collections.deque()", add="R.append((event, function))")
        running = service(m=source + HANDLERS)
        line = running.m.R
        running.apply(m=source + MOVED)
        assert [(event, function()) for event, function in line] == [("x", "a2"), ("z", "b2"), ("x", "d2")]

    def test_that_are_full_lose_nothing_for_what_is_new(self, service: Callable[..., Service]) -> None:
        source = self.SOURCE.replace("deque()", "deque(maxlen=3)")
        running = service(m=source + HANDLERS)
        running.m.R.append("seen at run time")
        running.apply(m=source + HANDLERS.replace("1", "2") + '@on("x")\ndef d(): return "d2"\n')
        assert called(running.m.R) == ["b2", "c2", "seen at run time"]

    def test_a_loop_goes_on_where_functions_only_follow(self, service: Callable[..., Service]) -> None:
        running = service(m=self.SOURCE + HANDLERS)
        loop = iter(running.m.R)
        assert next(loop)() == "a1"
        running.apply(m=self.SOURCE + HANDLERS.replace("1", "2"))
        assert [function() for function in loop] == ["b2", "c2"]

    def test_of_an_unchanged_module_are_as_before_after_a_rejection(self, service: Callable[..., Service]) -> None:
        use = "from PACKAGE.hub import on\n"
        running = service(hub=self.SOURCE, m="")
        running.apply(m=use + HANDLERS)
        line = running.hub.R
        before = list(line)
        with pytest.raises(LoadError):
            running.apply(m=use + MOVED + "1 / 0\n")
        assert list(line) == before
        running.apply(m=use + MOVED)
        assert called(line) == ["a2", "b2", "d2"]


class TestKeysThatAreGone:
    """What stands under a key that the new import does not make."""

    def test_description_goes_with_its_function(self, service: Callable[..., Service]) -> None:
        source = "R = {}\ndef on(f): R[f.__name__] = {'name': 'on', 'call': f}; return f\n@on\ndef a(): return 1\n"
        running = service(m=source + "@on\ndef b(): return 1\n")
        running.apply(m=source)
        assert list(running.m.R) == ["a"]

    def test_named_tuples_and_slots_are_looked_into(self, service: Callable[..., Service]) -> None:
        source = """
import collections, dataclasses
Route = collections.namedtuple("Route", "path call")
@dataclasses.dataclass(slots=True)
class Entry:
    path: str
    call: object
R, S = {}, {}
def on(path):
    def register(f):
        R[path], S[path] = Route(path, f), Entry(path, f)
        return f
    return register
@on("/a")
def a(): return 1
"""
        running = service(m=source + "@on('/b')\ndef b(): return 1\n")
        running.apply(m=source + "@on('/c')\ndef c(): return 2\n")
        assert list(running.m.R) == ["/a", "/c"]
        assert list(running.m.S) == ["/a", "/c"]
        assert running.m.S["/c"].call() == 2


class TestRevisions:
    """What both versions put into a registry, each another value."""

    PLAIN = """
R = {}
def put(name, value): R[name] = value
def count(name): R[name] += 1
put("kept", 1)
put("other", 2)
put("gone", 5)
"""

    def test_statement_that_says_another_value(self, service: Callable[..., Service]) -> None:
        running = service(m=self.PLAIN)
        table = running.m.R
        running.apply(m=self.PLAIN.replace('"other", 2', '"other", 3').replace('put("gone", 5)', 'put("fresh", 9)'))
        assert running.m.R is table
        assert table == {"kept": 1, "other": 3, "fresh": 9}
        running.patcher.rollback()
        assert table == {"kept": 1, "other": 2, "gone": 5}

    def test_what_the_program_has_changed_stays_and_is_named(self, service: Callable[..., Service]) -> None:
        running = service(m=self.PLAIN)
        table = running.m.R
        table.update(other=50, gone=7, kept=400)
        rollout = running.apply(m=self.PLAIN.replace('"other", 2', '"other", 3').replace('put("gone", 5)\n', ""))
        assert table == {"kept": 400, "other": 50, "gone": 7}
        assert [warning for warning in rollout.plan.warnings if "R keeps what it has for 'other':" in warning]
        assert not [warning for warning in rollout.plan.warnings if "kept" in warning.partition(":")[2]]

    @pytest.mark.parametrize(
        ("source", "first", "more", "entries"),
        [
            (
                "def needs(role):\n    def mark(f): R[f.__name__] = role; return f\n    return mark\n{more}",
                '@needs("user")\ndef show(): pass\n',
                '@needs("admin")\ndef wipe(): pass\n',
                {"show": "user", "wipe": "admin"},
            ),
            (
                "class Base:\n    def __init_subclass__(cls, prefix): R[cls.__name__] = prefix\n{more}",
                'class One(Base, prefix="a"): pass\n',
                'class Two(Base, prefix="b"): pass\n',
                {"One": "a", "Two": "b"},
            ),
        ],
    )
    def test_plain_entries_that_only_the_new_version_makes(
        self, service: Callable[..., Service], source: str, first: str, more: str, entries: dict[str, str]
    ) -> None:
        source = "R = {}\n" + source
        running = service(m=source.replace("{more}", first))
        table = running.m.R
        before = dict(table)
        running.apply(m=source.replace("{more}", first + more))
        assert running.m.R is table
        assert table == entries
        running.patcher.rollback()
        assert table == before

    @pytest.mark.parametrize(
        ("statement", "entries"),
        [
            ('put("gone", 5)\nput("fresh", 9)\n', {"kept": 1, "other": 2, "gone": 5, "fresh": 9}),
            ("\n", {"kept": 1, "other": 2}),
        ],
        ids=["added", "taken out"],
    )
    def test_sources_are_read_before_the_commit(
        self, service: Callable[..., Service], statement: str, entries: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running = service(m=self.PLAIN)
        rollout = running.patcher.stage(running.patch(m=self.PLAIN.replace('put("gone", 5)\n', statement)))
        rollout.verify()

        def late(source: str) -> Any:
            raise AssertionError("in the commit")

        monkeypatch.setattr(words, "parse", late)
        rollout.commit()
        assert dict(running.m.R) == entries

    def test_plain_entries_that_were_taken_out_stay_out(self, service: Callable[..., Service]) -> None:
        running = service(m=self.PLAIN)
        del running.m.R["kept"]
        running.apply(m=self.PLAIN + 'put("fresh", 9)\n')
        assert running.m.R == {"other": 2, "gone": 5, "fresh": 9}

    @pytest.mark.parametrize("key", ["int", "ValueError", "Own", "own", '("a", 1)', "datetime.date"])
    def test_functions_without_a_name_under_keys_of_any_kind(self, service: Callable[..., Service], key: str) -> None:
        source = f"import datetime\nclass Own: pass\ndef own(): pass\nR = {{}}\nR[{key}] = lambda: 1\n"
        running = service(m=source)
        held = list(running.m.R.values())
        running.apply(m=source.replace("lambda: 1", "lambda: 2"))
        assert [function() for function in [*held, *running.m.R.values()]] == [2, 2]
        assert len(running.m.R) == 1
        running.patcher.rollback()
        assert [function() for function in [*held, *running.m.R.values()]] == [1, 1]

    def test_counters_are_no_entries_of_the_import(self, service: Callable[..., Service]) -> None:
        source = """
HITS = {}
STATE = {}
def counted(function):
    HITS[function.__name__] = 0
    STATE[function.__name__] = "idle"
    def wrapper():
        HITS[function.__name__] += 1
        STATE[function.__name__] = "running"
        return function()
    return wrapper
@counted
def a(): return 1
@counted
def b(): return 1
"""
        running = service(m=source)
        running.m.a()
        changed = source.replace("    def wrapper", "    print('registered', 10)\n    def wrapper").replace(
            "return 1", "return 2"
        )
        rollout = running.apply(m=changed)
        assert running.m.a() == 2
        assert running.m.HITS == {"a": 2, "b": 0}
        assert running.m.STATE == {"a": "running", "b": "idle"}
        assert rollout.plan.warnings == []
        rollout = running.apply(m=changed.replace('"idle"', '"ready"').replace('"running"', '"busy"'))
        assert running.m.STATE == {"a": "running", "b": "ready"}
        assert [warning for warning in rollout.plan.warnings if "STATE keeps what it has for 'a':" in warning]

    def test_what_functions_put_in_at_run_time_stays(self, service: Callable[..., Service]) -> None:
        source = """
RATES = {}
SEEN = []
def load():
    RATES["EUR"] = 1.25
    SEEN.append("EUR")
def base(name): RATES[name] = 1.0
base("USD")
"""
        running = service(m=source)
        running.m.load()
        running.apply(m=source.replace("EUR", "GBP").replace("1.25", "1.5"))
        assert running.m.RATES == {"USD": 1.0, "EUR": 1.25}
        assert running.m.SEEN == ["EUR"]

    def test_elements_that_a_function_may_have_added_stay_and_are_named(self, service: Callable[..., Service]) -> None:
        source = "R = [1]\ndef add(more=0):\n    R.append(more)\n    return R\n"
        running = service(m=source + "def half(): return add(25)\nother = lambda: add(50)\n")
        running.m.add(50)
        rollout = running.apply(m=source + "other = lambda: add(60)\n")
        assert running.m.R == [1, 50]
        assert [warning for warning in rollout.plan.warnings if "R keeps what it has for 50:" in warning]

    def test_containers_in_it(self, service: Callable[..., Service]) -> None:
        source = """
R = {}
def conf(name, **options): R[name] = options
conf("a", x=1)
conf("b", x=1, y=True)
"""
        running = service(m=source)
        table, inner = running.m.R, running.m.R["b"]
        running.m.R["a"]["x"] = 12
        running.apply(m=source.replace('"a", x=1', '"a", x=3').replace("y=True", "y=False"))
        assert table == {"a": {"x": 12}, "b": {"x": 1, "y": False}}
        assert table["b"] is inner
        running.patcher.rollback()
        assert table == {"a": {"x": 12}, "b": {"x": 1, "y": True}}

    def test_code_that_registers_something_else(self, service: Callable[..., Service]) -> None:
        source = """
class Plugin:
    registry = {}
    listed = []
    def __init_subclass__(cls):
        Plugin.registry[cls.__name__] = ("old", cls)
        Plugin.listed.append(("old", cls))
class One(Plugin): pass
class Two(Plugin): pass
"""
        running = service(m=source)
        plugin = running.m.Plugin
        one, two = running.m.One, running.m.Two
        plugin.registry["Two"] = ("altered", two)
        rollout = running.apply(m=source.replace('"old"', '"new"'))
        assert plugin.registry == {"One": ("new", one), "Two": ("altered", two)}
        assert plugin.listed == [("new", one), ("new", two)]
        assert [
            warning for warning in rollout.plan.warnings if "Plugin.registry keeps what it has for 'Two':" in warning
        ]
        running.patcher.rollback()
        assert plugin.registry == {"One": ("old", one), "Two": ("altered", two)}
        assert plugin.listed == [("old", one), ("old", two)]

    def test_names_that_a_metaclass_collects(self, service: Callable[..., Service]) -> None:
        source = """
import collections
FIELDS, NAMES, SETS = {}, collections.defaultdict(list), {}
class Meta(type):
    def __new__(meta, name, bases, namespace):
        cls = super().__new__(meta, name, bases, namespace)
        fields = [key for key in namespace if key[0] != "_"]
        FIELDS[cls], SETS[name] = fields, set(fields)
        NAMES[name].extend(fields)
        return cls
class Model(metaclass=Meta):
    first = 1
    second = 2
"""
        running = service(m=source)
        m = running.m
        model, fields = m.Model, m.FIELDS[m.Model]
        fields.append("at run time")
        running.apply(m=source.replace("second = 2", "third = 2"))
        assert {model: ["first", "at run time", "third"]} == m.FIELDS
        assert m.FIELDS[model] is fields
        assert m.NAMES == {"Model": ["first", "third"]}
        assert {"Model": {"first", "third"}} == m.SETS
        running.patcher.rollback()
        assert {model: ["first", "second", "at run time"]} == m.FIELDS
        assert m.NAMES == {"Model": ["first", "second"]}
        assert {"Model": {"first", "second"}} == m.SETS

    def test_statements_of_other_modules(self, service: Callable[..., Service]) -> None:
        use = "from PACKAGE.hub import put\nput('a', 1)\n"
        running = service(hub="R = {}\ndef put(name, value): R[name] = value\n", m="")
        hub = "R = {}\ndef put(name, value): R[name] = value\nVERSION = 1\n"
        running.apply(hub=hub, m=use)
        running.apply(hub=hub.replace("VERSION = 1", "VERSION = 2"), m=use.replace("'a', 1", "'a', 2"))
        assert running.hub.R == {"a": 2}

    def test_what_nobody_can_compute_from_the_text_is_named(self, service: Callable[..., Service]) -> None:
        source = "R = {}\ndef put(name): R[name] = len(name) * 2\nput('abc')\n"
        running = service(m=source)
        rollout = running.apply(m=source.replace("* 2", "* 3"))
        assert running.m.R == {"abc": 6}
        assert [warning for warning in rollout.plan.warnings if "R keeps what it has for 'abc':" in warning]

    def test_modules_whose_text_python_warns_of_are_read_though_warnings_are_errors(
        self, service: Callable[..., Service]
    ) -> None:
        source = "R = {}\ndef put(name, value): R[name] = value\nput('a', 1)\n"
        with warnings.catch_warnings(action="ignore"):
            running = service(hub=source, m="from .hub import R, put\nDIGITS = '\\d'\nput('b', 1)\n")
        with pytest.raises(SyntaxError):
            ast.parse(inspect.getsource(running.m))
        running.apply(hub=source.replace("'a', 1", "'a', 2"))
        assert running.hub.R == {"a": 2, "b": 1}

    def test_elements_that_nobody_can_compute_from_the_text_are_named(self, service: Callable[..., Service]) -> None:
        source = "R = []\ndef put(name): R.append(name * 2)\nput('a')\n"
        running = service(m=source)
        rollout = running.apply(m=source + "put('b')\n")
        assert running.m.R == ["aa"]
        assert [warning for warning in rollout.plan.warnings if "R keeps what it has for 'bb':" in warning]

    def test_attributes_of_an_object_are_its_state(self, service: Callable[..., Service]) -> None:
        source = "class Client:\n    def __init__(self): self.options = {'verify': True}\nclient = Client()\n"
        running = service(m=source)
        rollout = running.apply(m=source.replace("True", "False"))
        assert running.m.client.options == {"verify": True}
        assert rollout.plan.warnings == []

    def test_what_stands_under_a_function(self, service: Callable[..., Service]) -> None:
        source = """
R, CALLS = {}, {}
def on(function):
    R[function] = {"note": "old"}
    CALLS[function] = [function]
    return function
@on
def a(): return 1
"""
        running = service(m=source)
        table = running.m.R
        running.apply(m=source.replace('"old"', '"new"').replace("return 1", "return 2"))
        m = running.m
        assert table is m.R
        assert table == {m.a: {"note": "new"}}
        assert {m.a: [m.a]} == m.CALLS
        running.patcher.rollback()
        assert {running.m.a: {"note": "old"}} == running.m.R
        assert {running.m.a: [running.m.a]} == running.m.CALLS


class TestImportedLists:
    """A list of another module that a changed module imports by name, and appends tuples with functions to."""

    REGISTRY = "ROUTES = []\ndef route(path):\n    return lambda f: ROUTES.append((path, f)) or f\n"
    HEADS = ("from .reg import ROUTES, route\n", "from .reg import *\n", "from .reg import route\nfrom . import reg\n")

    @pytest.mark.parametrize("head", HEADS)
    def test_come_and_go_with_each_swap_and_rollback(self, service: Callable[..., Service], head: str) -> None:
        def text(version: int, *paths: str) -> str:
            return head + "".join(f"@route('/{p}')\ndef {p}(): return {version}\n" for p in paths)

        running = service(reg=self.REGISTRY, m=text(1, "a", "b"))

        def routes() -> list[tuple[str, int]]:
            return [(path, function()) for path, function in running.reg.ROUTES]

        for _ in range(3):
            running.apply(m=text(2, "a", "c"))
            assert routes() == [("/a", 2), ("/c", 2)]
            running.patcher.rollback()
            assert routes() == [("/a", 1), ("/b", 1)]

    def test_of_the_statement_itself_do_not_double(self, service: Callable[..., Service]) -> None:
        code = "from .reg import ROUTES\ndef a(): return {}\nROUTES.append(('/a', a))\n"
        running = service(reg=self.REGISTRY, m=code.format(1))
        for version in range(2, 6):
            running.apply(m=code.format(version))
        running.patcher.rollback()
        ((path, function),) = running.reg.ROUTES
        assert (path, function()) == ("/a", 4)
