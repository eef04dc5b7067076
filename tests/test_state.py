"""State: what becomes of module-level objects, class data, kept instances and functions, and what the plan says."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from hotswap.errors import PatchError

Make = Callable[..., ModuleType]

_versions = itertools.count(2)


class Service:
    """A throw-away package with one module `m`, and its patcher."""

    def __init__(self, make: Make, source: str, **others: str) -> None:
        files = {f"{name}.py": text for name, text in others.items()}
        self.package = make({**files, "m.py": source}).__name__
        self.name = f"{self.package}.m"
        for name in ("m", *others):
            importlib.import_module(f"{self.package}.{name}")
        self.patcher = Patcher(packages=[self.package])

    def __getattr__(self, name: str) -> Any:
        return importlib.import_module(f"{self.package}.{name}")

    def apply(self, source: str, *, keep: Any = (), replace: Any = (), **others: str) -> hotswap.Rollout:
        sources = {self.name: source, **{f"{self.package}.{name}": text for name, text in others.items()}}
        wishes = [{name.replace("m:", f"{self.name}:", 1) for name in names} for names in (keep, replace)]
        patch = Patch.from_sources(sources, version=f"{next(_versions)}.0", keep=wishes[0], replace=wishes[1])
        return self.patcher.apply(patch)


@pytest.fixture
def service(make_package: Make) -> Callable[..., Service]:
    return lambda source, **others: Service(make_package, source, **others)


def fates(rollout: hotswap.Rollout, module: str = "m") -> dict[str, tuple[str, str]]:
    """Name -> (fate, why) of the names of one module; each name has one fate."""
    changes = [change for change in rollout.plan.names if change.module.endswith(f".{module}")]
    assert len({change.name for change in changes}) == len(changes), [str(change) for change in changes]
    return {change.name: (str(change.fate), change.why) for change in changes}


class TestPlan:
    def test_says_for_each_name_what_becomes_of_it_and_why(self, service: Callable[..., Service]) -> None:
        old = """
import hotswap
ROWS = []
hits = 0
LIMIT = 1
GONE = 1
TABLE = {}
FORCED = {"a": 1}
FRESH = {}
POOL = hotswap.keep("pool", list)
CACHE = {}

def f():
    return 1

def set_connection(value):
    global connection
    connection = value
"""
        live = service(old)
        live.m.set_connection("open")
        new = (
            old.replace("LIMIT = 1", "LIMIT = [1]")
            .replace("GONE = 1\n", "COME = 1\n")
            .replace('{"a": 1}', '{"a": 2}')
            .replace('"pool", list', '"pool", dict')
            .replace("return 1", "return 2")
        )
        rollout = live.apply(
            new + "\ndef __hotswap__(old, new):\n    new.CACHE = {}\n", keep=["m:FORCED"], replace=["m:FRESH"]
        )
        same = "its definition did not change"
        assert fates(rollout) == {
            "ROWS": ("kept", same),
            "TABLE": ("kept", same),
            "hits": ("carried", same),
            "connection": ("carried", "no statement of the module body binds it"),
            "LIMIT": ("replaced", "its definition changed"),
            "FORCED": ("kept", "the patch says so"),
            "FRESH": ("replaced", "the patch says so"),
            "POOL": ("kept", "hotswap.keep holds it"),
            "CACHE": ("migrated", "written by __hotswap__"),
            "__hotswap__": ("migrated", "it runs right before the swap"),
            "GONE": ("removed", "who still holds it keeps the old code"),
            "COME": ("added", ""),
            "f": ("changed", ""),
        }

    def test_lists_class_data_that_is_kept(self, service: Callable[..., Service]) -> None:
        live = service(
            "class C:\n    count = 0\n    same = 1\n    rows = []\n    other = 1\n    def f(self): return 1\n"
        )
        live.m.C.count = 7
        rollout = live.apply(
            "class C:\n    count = 0\n    same = 1\n    rows = []\n    other = 2\n    def f(self): return 2\n"
        )
        same = "its definition did not change"
        assert fates(rollout) == {
            "C.count": ("carried", same),
            "C.same": ("carried", same),
            "C.rows": ("kept", same),
            "C.other": ("replaced", "its definition changed"),
            "C.f": ("changed", ""),
        }
        assert (live.m.C.count, live.m.C.other) == (7, 2)

    def test_lists_class_data_that_is_replaced(self, service: Callable[..., Service]) -> None:
        text = (
            "class Part:\n    def __init__(self, n): pass\n    def __get__(self, o, c=None): return 1\n"
            "class C:\n    rows = [{n}]\n    size = {n}\n    told = property(lambda self: {n})\n"
            "    class D:\n        rows = {{{n}: 1}}\n    part = Part({n})\n    same = []\n"
            "    f = g = lambda self: {n}\n    h = lambda self: 0\n"
        )
        live = service(text.format(n=1))
        rollout = live.apply(text.format(n=2), replace=["m:C.same"])
        why = "its definition changed"
        assert fates(rollout) == {
            **dict.fromkeys(["C.rows", "C.size", "C.D.rows", "C.part"], ("replaced", why)),
            **dict.fromkeys(["C.told", "C.f", "C.g"], ("changed", "")),
            "C.same": ("replaced", "the patch says so"),
        }
        assert sorted(rollout.plan.warnings) == [
            f"{live.name}:{name} is a new object; who holds the old one elsewhere keeps it"
            for name in ("C.D.rows", "C.rows", "C.same")
        ]

    @pytest.mark.parametrize(
        ("source", "names"),
        [
            ("D = (lambda: {n}, lambda: 0)\n", "<lambda> of line 1"),
            ("import functools\nD = [functools.partial(lambda: {n})]\n", "<lambda> of line 2"),
            ("class R:\n  def __init__(self, f): self.f = f\nD = [R(lambda: {n})]\n", "<lambda> of line 3"),
        ],
    )
    def test_names_functions_that_no_name_leads_to(
        self, service: Callable[..., Service], source: str, names: str
    ) -> None:
        rollout = service(source.format(n=1)).apply(source.format(n=2))
        assert [w for w in rollout.plan.warnings if f"functions that no name leads to ({names}), keeps it" in w]


class TestAttributes:
    SOURCE = "class App: pass\napp = App()\napp.debug = {n}\napp.other = [{n}]\napp.same = 1\n"

    def test_that_statements_set_otherwise_are_those_of_the_new_version(self, service: Callable[..., Service]) -> None:
        live = service(self.SOURCE.format(n=1))
        app = live.m.app
        app.same = 7
        rollout = live.apply(self.SOURCE.format(n=2))
        assert live.m.app is app
        assert vars(app) == {"debug": 2, "other": [2], "same": 7}
        assert rollout.plan.warnings == []
        live.patcher.rollback()
        assert vars(app) == {"debug": 1, "other": [1], "same": 7}

    def test_that_the_program_has_set_stay_and_are_named(self, service: Callable[..., Service]) -> None:
        live = service(self.SOURCE.format(n=1))
        live.m.app.debug = 50
        rollout = live.apply(self.SOURCE.format(n=2))
        assert vars(live.m.app) == {"debug": 50, "other": [2], "same": 1}
        assert [w for w in rollout.plan.warnings if "sets its debug otherwise than before: it keeps what" in w]

    def test_that_are_slots(self, service: Callable[..., Service]) -> None:
        source = "class App:\n    __slots__ = ('debug',)\napp = App()\napp.debug = {n}\n"
        live = service(source.format(n=1))
        rollout = live.apply(source.format(n=2))
        assert live.m.app.debug == 2
        live.patcher.rollback()
        assert live.m.app.debug == 1
        assert rollout.plan.warnings == []

    def test_that_are_slots_which_were_empty(self, service: Callable[..., Service]) -> None:
        source = "class App:\n    __slots__ = ('debug',)\napp = App()\n"
        live = service(source)
        live.apply(source + "app.debug = 2\n")
        assert live.m.app.debug == 2
        live.patcher.rollback()
        assert not hasattr(live.m.app, "debug")

    def test_that_run_code_when_they_are_set_are_named(self, service: Callable[..., Service]) -> None:
        source = (
            "class App:\n    @property\n    def debug(self): return self.on\n"
            "    @debug.setter\n    def debug(self, value): self.on = id(self) and value\n"
            "app = App()\napp.debug = {n}\n"
        )
        live = service(source.format(n=1))
        rollout = live.apply(source.format(n=2))
        assert live.m.app.debug == 1
        assert [
            warning for warning in rollout.plan.warnings if "m:app is kept, and a statement sets its debug" in warning
        ]


class TestLazyNames:
    def test_that_somebody_has_imported_are_named(self, service: Callable[..., Service]) -> None:
        source = "def __getattr__(name):\n    if name == 'lazy': return {n}\n    raise AttributeError(name)\n"
        live = service(source.format(n=1), user="from .m import lazy\n")
        rollout = live.apply(source.format(n=2))
        assert live.m.lazy == 2
        assert live.user.lazy == 1
        assert [w for w in rollout.plan.warnings if "user has imported lazy from" in w and "__getattr__ makes it" in w]


class TestRegistries:
    LOOP = """\
HANDLERS = {}
for unit in ("kg", "lb"):
    def convert(x, unit=unit): return unit, x * 1
    HANDLERS[unit] = convert
"""

    def test_that_a_loop_fills_is_kept_when_a_function_in_it_changes(self, service: Callable[..., Service]) -> None:
        live = service(self.LOOP)
        table, held = live.m.HANDLERS, [*live.m.HANDLERS.values()]
        table["plugin"] = lambda x: x
        live.apply(self.LOOP.replace("* 1", "* 2"))
        assert live.m.HANDLERS is table
        assert {name: convert(10) for name, convert in table.items()} == {
            "kg": ("kg", 20),
            "lb": ("lb", 20),
            "plugin": 10,
        }
        assert [convert(10) for convert in held] == [("kg", 20), ("lb", 20)]

    def test_that_a_loop_fills_follows_another_loop(self, service: Callable[..., Service]) -> None:
        live = service(self.LOOP)
        table = live.m.HANDLERS
        live.apply(self.LOOP.replace('"lb"', '"t"'))
        assert sorted(live.m.HANDLERS) == ["kg", "t"]
        live.patcher.rollback()
        assert sorted(live.m.HANDLERS) == sorted(table) == ["kg", "lb"]


class TestCarried:
    def test_a_rebound_value_goes_both_ways(self, service: Callable[..., Service]) -> None:
        source = "hits = 0\n\ndef hit():\n    global hits\n    hits += 1\n"
        live = service(source)
        live.m.hit()
        live.apply(source.replace("+= 1", "+= 10"))
        live.m.hit()
        live.patcher.rollback()
        live.m.hit()
        assert live.m.hits == 12


class TestStragglers:
    """Calls in flight that rebind globals of their own, old, module after the swap."""

    SOURCE = """
hits = 0
rows = ()
kept = []

def work():
    global hits, rows, opened
    yield
    hits += 1
    rows = (*rows, 1)
    opened = "by old"

def version():
    return {}
"""

    def begun(self, live: Service) -> Any:
        work = live.m.work()
        next(work)
        return work

    def test_what_they_rebind_follows_when_they_have_ended(self, service: Callable[..., Service]) -> None:
        live = service(self.SOURCE.format(1))
        live.m.hits = 5
        work = self.begun(live)
        live.apply(self.SOURCE.format(2))
        assert list(work) == []
        del work
        assert (live.m.hits, live.m.rows, live.m.opened) == (6, (1,), "by old")
        work = self.begun(live)
        live.patcher.rollback()
        list(work)
        del work
        assert (live.m.hits, live.m.rows) == (7, (1, 1))

    def test_what_was_rebound_in_the_live_module_stays(self, service: Callable[..., Service]) -> None:
        live = service(self.SOURCE.format(1))
        work = self.begun(live)
        live.apply(self.SOURCE.format(2))
        live.m.hits = 100
        live.m.opened = "by new"
        list(work)
        del work
        assert (live.m.hits, live.m.rows, live.m.opened) == (100, (1,), "by new")

    def test_two_swaps_later_nothing_is_carried(self, service: Callable[..., Service]) -> None:
        live = service(self.SOURCE.format(1))
        work = self.begun(live)
        live.apply(self.SOURCE.format(2))
        live.apply(self.SOURCE.format(3))
        list(work)
        del work
        assert live.m.hits == 0

    def test_after_a_rollback_they_are_at_home(self, service: Callable[..., Service]) -> None:
        live = service(self.SOURCE.format(1))
        work = self.begun(live)
        live.apply(self.SOURCE.format(2))
        live.patcher.rollback()
        list(work)
        del work
        assert live.m.hits == 1

    def test_clones_are_not_taken_for_values(self, service: Callable[..., Service]) -> None:
        """Old code has clones of functions in its namespace: nobody has rebound these names."""
        source = self.SOURCE + "\nimport functools\n\n@functools.lru_cache\ndef cached():\n    return 1\n"
        source += "\npart = functools.partial(version)\n"
        live = service(source.format(1))
        cached, part = live.m.cached, live.m.part
        work = self.begun(live)
        live.apply(source.format(2))
        list(work)
        del work
        assert (live.m.cached, live.m.part) == (cached, part)
        assert live.m.part() == 2


class TestOverrides:
    def test_keep_goes_before_a_changed_definition(self, service: Callable[..., Service]) -> None:
        live = service("ROWS = [1]\nN = 1\n")
        rows = live.m.ROWS
        rows.append(2)
        live.m.N = 5
        live.apply("ROWS = [10]\nN = 2\ndef f(rows=ROWS): return rows\n", keep=["m:ROWS", "m:N"])
        assert live.m.ROWS is rows is live.m.f()
        assert live.m.N == 5
        live.patcher.rollback()
        assert (live.m.ROWS is rows, live.m.N) == (True, 5)

    def test_what_depends_on_it_follows(self, service: Callable[..., Service]) -> None:
        """The table was made of the limit that is kept; it stays with it, in other modules, too."""
        live = service("MAX = 2\nTABLE = list(range(MAX))\n", other="from .m import MAX\nMORE = list(range(MAX))\n")
        table, more = live.m.TABLE, live.other.MORE
        live.apply("MAX = 3\nTABLE = list(range(MAX))\n", keep=["m:MAX"])
        assert live.m.MAX == 2
        assert (live.m.TABLE is table, live.other.MORE is more) == (True, True)

    def test_replace_goes_before_an_unchanged_definition(self, service: Callable[..., Service]) -> None:
        live = service("ROWS = []\nX = 1\n", other="from .m import ROWS\n")
        rows = live.m.ROWS
        rows.append("poisoned")
        live.apply("ROWS = []\nX = 2\n", replace=["m:ROWS"])
        assert live.m.ROWS is live.other.ROWS == []
        live.patcher.rollback()
        assert live.m.ROWS is rows is live.other.ROWS

    def test_replace_loads_a_module_whose_text_is_the_same(self, service: Callable[..., Service]) -> None:
        live = service("ROWS = []\nX = []\n")
        kept = live.m.X
        live.m.ROWS.append(1)
        live.apply("ROWS = []\nX = []\n", replace=["m:ROWS"])
        assert live.m.ROWS == []
        assert live.m.X is kept

    def test_of_a_class_attribute(self, service: Callable[..., Service]) -> None:
        live = service("class C:\n    rows = [1]\n    fresh = []\n    class D:\n        n = 1\n")
        rows = live.m.C.rows
        live.m.C.fresh.append(1)
        live.m.C.D.n = 5
        source = "class C:\n    rows = [2]\n    fresh = []\n    class D:\n        n = 2\n"
        rollout = live.apply(source, keep=["m:C.rows", "m:C.D.n"], replace=["m:C.fresh"])
        assert live.m.C.rows is rows == [1]
        assert live.m.C.D.n == 5
        assert live.m.C.fresh == []
        assert fates(rollout)["C.rows"] == ("kept", "the patch says so")
        assert fates(rollout)["C.fresh"] == ("replaced", "the patch says so")
        live.patcher.rollback()
        assert live.m.C.fresh == [1]

    @pytest.mark.parametrize(
        ("name", "complaint"),
        [
            ("m:NOTHING", "no statement of the live version binds it"),
            ("m:NEW", "no statement of the live version binds it"),
            ("m:OLD", "no statement of the new version binds it"),
            ("m:f", "it is no data in the live version, but a function"),
            ("m:C", "it is no data in the live version, but a class"),
            ("m:os", "it is no data in the live version, but a name that is imported"),
            ("m:C.nothing", "no statement of the live version binds it"),
            ("m:D.x", "no statement of the live version binds it"),
        ],
    )
    @pytest.mark.parametrize("which", ["keep", "replace"])
    def test_of_what_is_no_data_in_both_versions_is_refused(
        self, service: Callable[..., Service], name: str, complaint: str, which: str
    ) -> None:
        common = "import os\ndef f(): pass\nclass C:\n    x = 1\n"
        live = service(common + "OLD = 1\n")
        ran = "import sys\nsys.modules['RAN'] = sys\n"
        with pytest.raises(PatchError) as caught:
            live.apply(ran + common + "NEW = 1\n", **{which: [name]})  # type: ignore[arg-type]  # one of two options
        assert f"{live.name}:{name[2:]}: {complaint}" in str(caught.value)
        assert "RAN" not in __import__("sys").modules  # nothing of it was executed

    def test_of_a_module_that_nobody_has_imported_says_nothing(self, make_package: Make) -> None:
        package = make_package({"m.py": "A = []\n"}).__name__
        patcher = Patcher(packages=[package])
        patcher.apply(Patch.from_sources({f"{package}.m": "A = [1]\n", package: "X = 1\n"}, keep=[f"{package}.m:A"]))
        assert importlib.import_module(f"{package}.m").A == [1]

    @pytest.mark.parametrize("which", ["keep", "replace"])
    @pytest.mark.parametrize("imported", [True, False])
    @pytest.mark.parametrize("name", ["NOPE", "f", "C.nope", "D.x"])
    def test_of_nothing_is_refused_where_nothing_is_compared_too(
        self, which: str, imported: bool, name: str, make_package: Make
    ) -> None:
        source = "A = []\ndef f(): pass\nclass C:\n    x = 1\n"
        package = make_package({"__init__.py": "Y = 1\n", "m.py": source}).__name__
        if imported:
            importlib.import_module(f"{package}.m")
        sources = {f"{package}.m": source, package: "import sys\nsys.modules['RAN'] = sys\n"}
        wishes: Any = {which: [f"{package}.m:{name}"]}
        with pytest.raises(PatchError, match=f"{package}.m:{name}: "):
            Patcher(packages=[package]).apply(Patch.from_sources(sources, **wishes))
        assert "RAN" not in sys.modules  # nothing of it was executed


class TestPatch:
    def test_is_the_same_without_overrides(self) -> None:
        # The digest of the release before there were any: recorded drops are known by it.
        patch = Patch.from_sources({"shop": "A = 1\n"}, "1.0", keep=[], replace=())
        assert patch.digest == "2ad6cee4bb753a56aa2a2b39f029a98817b5e833696fb225d2fb0c9c82a003c0"

    def test_overrides_are_part_of_it(self) -> None:
        plain = Patch.from_sources({"shop": "A = 1\nB = 2\n"}, "1.0")
        kinds: list[dict[str, Any]] = [
            {"keep": ["shop:A"]},
            {"replace": ["shop:A"]},
            {"keep": ["shop:A", "shop:B"]},
            {"keep": ["shop:A"], "replace": ["shop:B"]},
        ]
        patches = [Patch.from_sources({"shop": "A = 1\nB = 2\n"}, "1.0", **kind) for kind in kinds]
        assert len({plain.digest, *(patch.digest for patch in patches)}) == 5
        again = Patch.from_sources({"shop": "A = 1\nB = 2\n"}, "1.0", keep=("shop:B", "shop:A"))
        assert again == patches[2]
        assert patches[3].keep == {"shop:A"}
        assert patches[3].replace == {"shop:B"}

    def test_overrides_outlive_other_versions_and_names(self) -> None:
        patch = Patch.from_sources({"cache": "A = 1\n"}, keep=["cache:A"], replace=["cache:C.b"])
        moved = patch.with_version("2.0").renamed("cache", "shop.cache").as_package("shop.cache")
        assert [set(moved.keep), set(moved.replace)] == [{"shop.cache:A"}, {"shop.cache:C.b"}]

    def test_overrides_come_with_a_path(self, tmp_path: Any) -> None:
        (tmp_path / "shop.py").write_text("A = 1\n")
        patch = Patch.from_path(tmp_path / "shop.py", keep=["shop:A"], replace=["shop:B"])
        assert [set(patch.keep), set(patch.replace)] == [{"shop:A"}, {"shop:B"}]

    @pytest.mark.parametrize(
        ("wishes", "complaint"),
        [
            ({"keep": "shop:A"}, "keep has to be several names"),
            ({"replace": 3}, "replace has to be several names"),
            ({"keep": [3]}, "3 is no name such as"),
            ({"keep": ["A"]}, "'A' is no name such as"),
            ({"keep": ["shop:A.class"]}, "'shop:A.class' is no name such as"),
            ({"keep": ["shop:"]}, "'shop:' is no name such as"),
            ({"replace": ["other:A"]}, "other:A: there is no module other in it"),
            ({"keep": ["shop:A"], "replace": ["shop:A"]}, "shop:A can't be kept and replaced at once"),
        ],
    )
    def test_overrides_are_checked(self, wishes: Any, complaint: str) -> None:
        with pytest.raises(PatchError) as caught:
            Patch.from_sources({"shop": "A = 1\n"}, **wishes)
        assert complaint in str(caught.value)


CODEC = """
class Codec:
    def __init__(self):
        self.options = {{"strict": True{options}}}
        self.inner = Inner()
{attributes}

    def encode(self):
        return {body}

class Inner:
    def __init__(self):
        self.table = {{}}
{inner}

codec = Codec()
"""


def codec(options: str = "", attributes: str = "", body: str = "1", inner: str = "") -> str:
    indented = ("".join(f"        {line}\n" for line in text.split(";") if line) for text in (attributes, inner))
    attributes, inner = indented
    return CODEC.format(options=options, attributes=attributes, body=body, inner=inner)


class TestKeptInstances:
    def test_get_the_keys_that_only_the_new_constructor_makes(self, service: Callable[..., Service]) -> None:
        """Seen in a release of PyJWT: a module-level object, and an option that its class learned."""
        live = service(codec())
        kept = live.m.codec
        kept.options["strict"] = False
        live.apply(codec(', "sub": 7', body='self.options["sub"]'))
        assert live.m.codec is kept
        assert kept.encode() == 7
        assert kept.options == {"strict": False, "sub": 7}
        live.patcher.rollback()
        assert kept.options == {"strict": False}

    def test_do_not_get_back_what_was_taken_out_at_run_time(self, service: Callable[..., Service]) -> None:
        live = service(codec())
        del live.m.codec.options["strict"]
        live.apply(codec(', "sub": 7', body="2"))
        assert live.m.codec.options == {"sub": 7}

    def test_do_not_get_keys_that_nobody_speaks_of(self, service: Callable[..., Service]) -> None:
        """A key that was computed is data: nothing tells that the old version did not know it."""
        live = service(codec())
        live.apply(codec(', "a" + "b": 7', body="2"))
        assert live.m.codec.options == {"strict": True}

    def test_get_the_attributes_that_only_the_new_constructor_makes(self, service: Callable[..., Service]) -> None:
        live = service(codec())
        kept = live.m.codec
        source = codec(
            attributes="self.limit = 3;self.me = self;self.child = self.inner;self.both = (self, self.inner)",
            body="self.limit, self.inner.depth, self.inner.table",
            inner="self.depth = 9;self.table['n'] = 1",
        )
        live.apply(source)
        assert kept.encode() == (3, 9, {"n": 1})
        assert kept.me is kept
        assert kept.child is kept.inner
        assert kept.both[0] is kept
        live.patcher.rollback()
        assert sorted(vars(kept)) == ["inner", "options"]
        assert vars(kept.inner) == {"table": {}}

    def test_keep_what_new_code_has_changed_since(self, service: Callable[..., Service]) -> None:
        live = service(codec())
        live.apply(codec(attributes="self.limit = 3", body="self.limit"))
        live.m.codec.limit = 4
        live.patcher.rollback()
        assert live.m.codec.limit == 4  # state lives on in both directions
        live.apply(codec(attributes="self.limit = 3", body="self.limit"))
        assert live.m.codec.encode() == 4

    def test_get_slots_too(self, service: Callable[..., Service]) -> None:
        source = "class C:\n    __slots__ = ('a', 'b')\n    def __init__(self):\n        {}\nc = C()\n"
        live = service(source.format("self.a = 1"))
        kept = live.m.c
        kept.a = 5
        live.apply(source.format("self.a, self.b = 1, 2"))
        assert (live.m.c is kept, kept.a, kept.b) == (True, 5, 2)
        live.patcher.rollback()
        assert not hasattr(kept, "b")

    def test_of_classes_that_are_the_same_are_left_alone(self, service: Callable[..., Service]) -> None:
        """Their constructor is what it was: what is missing was taken out at run time."""
        live = service("import argparse\nns = argparse.Namespace(a=1)\nX = 1\n")
        del live.m.ns.a
        live.apply("import argparse\nns = argparse.Namespace(a=1)\nX = 2\n")
        assert vars(live.m.ns) == {}

    def test_do_not_get_what_was_computed_from_the_twin(self, service: Callable[..., Service]) -> None:
        source = (
            "import functools\nclass C:\n    def __init__(self):\n        self.n = 1\n"
            "    @functools.cached_property\n    def double(self):\n        return self.n * {}\nc = C()\n"
        )
        live = service(source.format(2))
        live.m.c.n = 5
        live.apply(source.format(3) + "c.double\n")
        assert live.m.c.double == 15

    MEMBERS = (
        "from collections import deque\n"
        "class Conn:\n    def __init__(self, n):\n        self.n = n\n        {}\n"
        "def options():\n    return {{{}}}\n"
        "LIST = [Conn(1), Conn(2), 3]\nTUPLE = (Conn(3), [Conn(4)])\nDEQUE = deque([Conn(5)])\n"
        "SET = {{Conn(6), Conn(7)}}\nFROZEN = frozenset([Conn(8)])\nTABLE = {{'a': [Conn(9)]}}\n"
        "DICTS = [options(), {{'n': Conn(10)}}]\n"
        "class Registry:\n    items = [Conn(11)]\n    def __init__(self): self.held = (Conn(12),)\n"
        "registry = Registry()\n"
        "def members():\n"
        "    return [*LIST[:2], TUPLE[0], *TUPLE[1], *DEQUE, *SET, *FROZEN, *TABLE['a'], DICTS[1]['n'],\n"
        "            *Registry.items, *registry.held]\n"
    )

    def test_in_sequences_and_sets(self, service: Callable[..., Service]) -> None:
        live = service(self.MEMBERS.format("pass", ""))
        held = live.m.members()
        live.apply(self.MEMBERS.format("self.more = n * 10", "'new': 1"))
        members = live.m.members()
        assert all(one is other for one, other in zip(members, held, strict=True))
        assert [member.more for member in members] == [member.n * 10 for member in members]
        assert sorted(member.n for member in members) == list(range(1, 13))
        assert live.m.DICTS[0] == {"new": 1}
        live.patcher.rollback()
        assert not [member for member in members if "more" in vars(member)]
        assert live.m.DICTS[0] == {}

    def test_in_sequences_that_are_in_another_order(self, service: Callable[..., Service]) -> None:
        """What stands at another place is not taken for it; what has changed is, if nothing else is like it."""
        live = service(self.MEMBERS.format("pass", ""))
        live.m.LIST[:2] = live.m.LIST[1::-1]
        live.m.TUPLE[1][0].n = "changed"
        live.apply(self.MEMBERS.format("self.more = n * 10", ""))
        assert not [member for member in live.m.LIST[:2] if "more" in vars(member)]
        assert live.m.TUPLE[1][0].more == 40

    def test_in_sequences_that_decorators_fill(self, service: Callable[..., Service]) -> None:
        text = (
            "HANDLERS = []\nclass Handler:\n    def __init__(self, f):\n        self.f = f\n        {}\n"
            "def handler(f):\n    HANDLERS.append(Handler(f))\n    return f\n"
            "@handler\ndef {}(): pass\n@handler\ndef {}(): pass\n"
        )
        live = service(text.format("pass", "a", "b"))
        live.apply(text.format("self.name = f.__name__", "b", "c"))
        named = {handler.f.__name__: vars(handler).get("name") for handler in live.m.HANDLERS}
        assert named["c"] == "c"
        assert named["b"] in ("b", None)

    def test_in_sequences_that_differ_are_left_alone(self, service: Callable[..., Service]) -> None:
        live = service(self.MEMBERS.format("pass", ""))
        live.m.LIST.append(live.m.Conn(20))
        live.m.SET.add(live.m.Conn(7))
        for member in live.m.SET:
            member.n = 6  # which is which can't be told any more
        held = [*live.m.LIST[:2], live.m.LIST[3], *live.m.SET, *live.m.TUPLE[1], *live.m.DEQUE]
        text = self.MEMBERS.format("self.more = n * 10", "").replace("deque([Conn(5)])", "deque([Conn(50)])")
        live.apply(text + "TUPLE[1].append(0)\n")
        assert not [member for member in held if "more" in vars(member)]

    def test_in_class_bodies_too(self, service: Callable[..., Service]) -> None:
        source = "def options():\n    return {}\n\nclass C:\n    options = options()\n    codec = None\n"
        live = service(source.format('{"a": 1}'))
        kept = live.m.C.options
        kept["a"] = 2
        live.apply(source.format('{"a": 1, "fresh": 3}'))
        assert live.m.C.options is kept == {"a": 2, "fresh": 3}
        live.patcher.rollback()
        assert kept == {"a": 2}

    def test_see_them_at_the_instant_of_the_swap(self, service: Callable[..., Service]) -> None:
        """What somebody else has put there between the plan and the commit is the living value."""
        live = service(codec())
        patch = Patch.from_sources({live.name: codec(', "sub": 7', body='self.options["sub"]')}, version="2.0")
        rollout = live.patcher.stage(patch)
        live.m.codec.options["sub"] = 8
        rollout.verify()
        rollout.commit()
        assert live.m.codec.encode() == 8
        rollout.rollback()
        assert live.m.codec.options == {"strict": True, "sub": 8}


class TestFunctionAttributes:
    SOURCE = "def f():\n    return {}\nclass C:\n    def g(self):\n        return {}\n"

    def test_that_were_set_at_run_time_go_on(self, service: Callable[..., Service]) -> None:
        live = service(self.SOURCE.format(1, 1))
        held = live.m.f
        held.hits, live.m.C.g.hits = 1, 2
        live.apply(self.SOURCE.format(2, 2))
        assert (live.m.f.hits, held.hits, live.m.C.g.hits) == (1, 1, 2)
        held.hits += 10
        live.m.f.more = []
        live.patcher.rollback()
        assert (live.m.f is held, held.hits, held.more, live.m.C.g.hits) == (True, 11, [], 2)

    def test_that_the_import_sets_are_those_of_the_new_version(self, service: Callable[..., Service]) -> None:
        source = "def f():\n    return {}\nf.route = '/{}'\n"
        live = service(source.format(1, 1))
        live.m.f.hits = 1
        live.apply("def f():\n    return 2\nf.path = '/2'\n")
        assert vars(live.m.f) == {"path": "/2"}  # which of the others the old import had set can't be told
        live.patcher.rollback()
        assert vars(live.m.f) == {"route": "/1", "hits": 1}

    def test_that_a_decorator_sets_are_those_of_the_new_version(self, service: Callable[..., Service]) -> None:
        source = "def mark(n):\n    def inner(f):\n        f.mark = [n]\n        return f\n    return inner\n"
        source += "\n@mark({})\ndef f(): return {}\n"
        live = service(source.format(1, 1))
        live.m.f.hits = 1
        live.apply(source.format(1, 2))
        assert vars(live.m.f) == {"mark": [1], "hits": 1}
        live.apply(source.format(2, 3))
        assert vars(live.m.f) == {"mark": [2]}

    def test_of_a_wrapper_lead_to_its_own_function(self, service: Callable[..., Service]) -> None:
        source = "import functools\ndef wrap(f):\n    @functools.wraps(f)\n    def inner():\n        return f()\n"
        source += "    return inner\n@wrap\ndef f(): return {}\n"
        live = service(source.format(1))
        wrapped = live.m.f.__wrapped__
        live.m.f.hits = 1
        live.apply(source.format(2))
        assert (live.m.f.hits, live.m.f(), live.m.f.__wrapped__()) == (1, 2, 2)
        assert live.m.f.__wrapped__ is not wrapped


class TestNamesThatSeveralBranchesBind:
    """A name that an import may have bound follows what it was imported from, whatever else its statement binds."""

    FALLBACK = "try:\n    from .v import VERSION\nexcept ImportError:\n    VERSION = 'unknown'\ndef f(): return 1\n"
    STAR = "try:\n    from .v import *\nexcept ImportError:\n    VERSION = 'unknown'\ndef f(): return 1\n"
    EARLIER = "VERSION = 'unknown'\nfrom .v import *\ndef f(): return 1\n"

    @pytest.mark.parametrize("changed", [True, False], ids=["the importer changes", "it does not"])
    @pytest.mark.parametrize("source", [FALLBACK, STAR, EARLIER], ids=["name", "star", "star over a binding"])
    def test_with_a_fallback(self, service: Callable[..., Service], source: str, changed: bool) -> None:
        live = service(source, v="VERSION = '1.0'\n", user="from .m import VERSION\nBANNER = 'v' + VERSION\n")
        rollout = live.apply(source.replace("1", "2") if changed else source, v="VERSION = '2.0'\n")
        assert (live.m.VERSION, live.user.VERSION, live.user.BANNER) == ("2.0", "2.0", "v2.0")
        if changed:
            assert fates(rollout)["VERSION"] == ("replaced", "what it is imported from changed")
        live.patcher.rollback()
        assert (live.m.VERSION, live.user.VERSION, live.user.BANNER) == ("1.0", "1.0", "v1.0")

    def test_what_was_rebound_at_run_time_stays(self, service: Callable[..., Service]) -> None:
        live = service(self.FALLBACK, v="VERSION = '1.0'\n")
        live.m.VERSION = "mine"
        live.apply(self.FALLBACK.replace("1", "2"), v="VERSION = '2.0'\n")
        assert live.m.VERSION == "mine"

    def test_another_branch_may_bind_it_in_the_new_version(self, service: Callable[..., Service]) -> None:
        live = service(self.FALLBACK, v="VERSION = '1.0'\n")
        live.apply(self.FALLBACK.replace("1", "2"), v="OTHER = '2.0'\n")
        assert live.m.VERSION == "unknown"
        live.apply(self.FALLBACK.replace("1", "3"), v="VERSION = '3.0'\n")
        assert live.m.VERSION == "3.0"

    @pytest.mark.parametrize("changed", [True, False], ids=["the importer changes", "it does not"])
    @pytest.mark.parametrize(("old", "new"), [("[1]", "[2]"), ("1", "2")], ids=["told by identity", "told by nothing"])
    def test_with_two_modules_to_import_it_from(
        self, service: Callable[..., Service], old: str, new: str, changed: bool
    ) -> None:
        source = "import sys\nif sys.platform:\n    from .v import LIMIT\nelse:\n    from .w import LIMIT\n"
        live = service(source, v=f"LIMIT = {old}\n", w=f"LIMIT = {old}\n", user="from .m import LIMIT\n")
        live.apply(source + "X = 1\n" if changed else source, v=f"LIMIT = {new}\n")
        assert str(live.m.LIMIT) == str(live.user.LIMIT) == new

    def test_what_is_bound_for_certain_after_an_import_does_not_follow_it(
        self, service: Callable[..., Service]
    ) -> None:
        source = "from .v import A\nfrom .v import *\nA = 5\nB = 6\ndef f(): return 1\n"
        live = service(source, v="A = 5\nB = 6\n", w="from .v import A\nfrom .v import *\nA = 5\nB = 6\n")
        live.apply(source.replace("return 1", "return 2"), v="A = 7\nB = 8\n")
        assert (live.m.A, live.m.B, live.w.A, live.w.B) == (5, 6, 5, 6)

    def test_an_unchanged_module_may_be_in_between(self, service: Callable[..., Service]) -> None:
        between = "try:\n    from .v import VERSION\nexcept ImportError:\n    from .w import VERSION\n"
        live = service("from .between import VERSION\n", between=between, v="VERSION = '1.0'\n", w="VERSION = '0'\n")
        live.apply("from .between import VERSION\ndef f(): return VERSION\n", v="VERSION = '2.0'\n")
        assert (live.m.VERSION, live.m.f(), live.between.VERSION) == ("2.0", "2.0", "2.0")


class TestDataOfOtherModules:
    """Data that is computed from data of another module, by whatever name the module goes."""

    @pytest.mark.parametrize("changed", [True, False], ids=["the reader changes", "it does not"])
    @pytest.mark.parametrize(
        "source",
        [
            "import importlib\nv = importlib.import_module('.v', __package__)\nLIMIT = v.LIMIT\n",
            "from importlib import import_module\nLIMIT = import_module('.v', __package__).LIMIT\n",
            "import importlib\nLIMIT = importlib.import_module('{package}.v').LIMIT\n",
            "try:\n    import nowhere as v\nexcept ImportError:\n    from . import v\nLIMIT = v.LIMIT\n",
            "import {package}.v\nLIMIT = {package}.v.LIMIT\n",
        ],
        ids=["import_module", "an attribute of its result", "by its whole name", "one of two modules", "dotted"],
    )
    def test_is_computed_anew(self, service: Callable[..., Service], source: str, changed: bool) -> None:
        live = service("", v="LIMIT = 1\n")
        source = source.format(package=live.package)
        live.apply(source + "def f(): return 1\n")
        live.apply(source + f"def f(): return {1 + changed}\n", v="LIMIT = 2\n")
        assert live.m.LIMIT == live.v.LIMIT == 2

    def test_through_changed_modules(self, service: Callable[..., Service]) -> None:
        source = "from .v import LIMIT\nMORE = LIMIT + 1\ndef f(): return 1\n"
        live = service(source, v="LIMIT = 1\n", user="from .m import LIMIT, MORE\nBOTH = [LIMIT, MORE]\n")
        live.apply(source.replace("return 1", "return 2"), v="LIMIT = 2\n")
        assert (live.user.LIMIT, live.user.MORE, live.user.BOTH) == (2, 3, [2, 3])
