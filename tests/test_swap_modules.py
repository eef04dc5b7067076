"""Modules that others hold: live modules hold live modules, and nothing that was there for the time of staging."""

from __future__ import annotations

import gc
import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher
from hotswap.generation import ModuleView, SysView, gate
from hotswap.swap.forwarding import SupersededModule
from tests.races.threads import forks_go

Make = Callable[..., ModuleType]

STAND_INS = (ModuleView, SysView, SupersededModule)


def stand_ins(package: str) -> list[str]:
    """What the live modules of a package hold that stands in for a module or a function of the import system."""
    names = [name for name in sys.modules if name.partition(".")[0] == package]
    stack: list[tuple[str, Any]] = [(name, sys.modules[name].__dict__) for name in names]
    wrappers = {id(wrapper) for wrapper, _ in gate.originals()}
    seen: set[int] = set()
    found = []
    while stack:
        where, value = stack.pop()
        if type(value) in STAND_INS or id(value) in wrappers:
            found.append(f"{where}: {type(value).__name__}")
        elif id(value) not in seen and not isinstance(value, ModuleType):
            seen.add(id(value))
            stack += [(f"{where}{step}", part) for step, part in _parts(value, package)]
    return found


def _parts(value: Any, package: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, FunctionType):
        if str(value.__module__).partition(".")[0] == package:
            held = (value.__defaults__, value.__kwdefaults__, value.__closure__, value.__dict__)
            yield from ((f".{value.__name__}", part) for part in held)
    elif isinstance(value, type):
        if str(value.__module__).partition(".")[0] == package:
            yield from ((f".{name}", part) for name, part in vars(value).items())
    elif type(value) is dict:
        yield from ((f"[{key!r}]", part) for key, part in value.items() if key != "__builtins__")
    else:
        yield from (("/", part) for part in gc.get_referents(value) if not isinstance(part, type))


FILES = {
    "tax.py": "def rate(): return 1\n",
    "money.py": "def euro(): return 1\n",
    "web.py": """
        from PKG import tax, money as cash
        from PKG import LIMIT
        def price(): return tax.rate()
        """,
}
INIT = """
    import sys, functools
    from . import tax, money
    import PKG.tax as alias
    LIMIT = {n}
    def default(module=tax, *, other=money): return module.rate() + {n}
    def maker():
        held = tax
        def inner(): return held.rate()
        return inner
    closure = maker()
    class Kind:
        number = {n}
        module = tax
        def __init__(self): self.held = money
    instance = [{n}, Kind()]
    TABLE = {{"n": {n}, "tax": tax, tax: ["money", money], "sys": sys}}
    PAIR = (({n}, tax), frozenset([money]))
    part = functools.partial(print, {n}, tax)
    snapshot = {{**globals(), "n": {n}}}
    KEPT = [tax, money]
    """


class TestWhatLiveModulesHold:
    """Views of modules are for the time of staging: none is left with anything that is live."""

    def made(self, make_package: Make) -> tuple[str, Patcher]:
        name = f"holders{len(sys.modules)}"
        files = {"__init__.py": INIT.format(n=1), **FILES}
        make_package({path: text.replace("PKG", name) for path, text in files.items()}, name=name)
        importlib.import_module(f"{name}.web")
        return name, Patcher(packages=[name])

    def test_nothing_live_holds_a_view_whatever_comes_next(self, make_package: Make) -> None:
        name, patcher = self.made(make_package)
        before = stand_ins(name)
        for number in (2, 3):
            source = {name: dedented(INIT.format(n=number), name)}
            patcher.apply(Patch.from_sources(source, version=str(number)))
            assert (before, stand_ins(name)) == ([], [])
        patcher.rollback()
        assert stand_ins(name) == []

    def test_an_unchanged_module_goes_on_holding_the_module_itself(self, make_package: Make) -> None:
        name, patcher = self.made(make_package)
        web, tax = sys.modules[f"{name}.web"], sys.modules[f"{name}.tax"]
        rollout = patcher.apply(Patch.from_sources({name: dedented(INIT.format(n=2), name)}, version="2"))
        live = sys.modules[name]
        assert web.tax is live.tax is live.alias is live.TABLE["tax"] is live.Kind.module is tax
        assert (web.LIMIT, web.price(), live.default(), live.closure()) == (2, 1, 3, 1)
        assert rollout.plan is not None
        assert [str(change) for change in rollout.plan.names if change.name == "tax"] == []

    def test_a_changed_module_takes_the_place_of_the_one_before(self, make_package: Make) -> None:
        name, patcher = self.made(make_package)
        for number in (2, 3):
            sources = {
                name: dedented(INIT.format(n=number), name),
                f"{name}.tax": f"def rate(): return {number}\n",
            }
            patcher.apply(Patch.from_sources(sources, version=str(number)))
            assert sys.modules[f"{name}.web"].tax is sys.modules[f"{name}.tax"] is sys.modules[name].TABLE["tax"]
            assert sys.modules[f"{name}.web"].price() == number
            assert forks_go()  # those that closures need lead to old functions, too
            assert stand_ins(name) == []
        patcher.rollback()
        assert forks_go()
        assert (sys.modules[f"{name}.web"].price(), stand_ins(name)) == (2, [])


class TestSubmodules:
    """A package has its submodules as attributes, or what stands there instead, as in a process that starts with it."""

    @pytest.mark.parametrize(
        ("init", "files", "expected"),
        [
            pytest.param(
                "from .s import *\nfrom .conn import *",
                {"s/__init__.py": "from .conn import *", "s/conn.py": "def s(): 1", "conn/__init__.py": "x = 1"},
                "PKG.conn",
                id="the import comes after a star",
            ),
            pytest.param(
                "from .conn import *\nfrom .s import *",
                {"s/__init__.py": "from .conn import *", "s/conn.py": "def s(): 1", "conn/__init__.py": "x = 1"},
                "PKG.s.conn",
                id="a star comes after the import",
            ),
            pytest.param(
                "from .helpers import *\nfrom .conn import *",
                {"helpers.py": "conn = {}", "conn.py": "def get(): 1"},
                "PKG.conn",
                id="a star of data",
            ),
            pytest.param(
                "from .a import conn\nfrom . import conn as second\nfrom .conn import x",
                {"a.py": "conn = 1", "conn.py": "x = 1"},
                "PKG.conn",
                id="a name that is there is no submodule",
            ),
            pytest.param("from .conn import conn", {"conn.py": "def conn(): 1"}, "def conn", id="taken from it"),
            pytest.param("import PKG.conn\nconn = 5", {"conn.py": "x = 1"}, "5", id="bound afterwards"),
            pytest.param("conn = 5\nimport PKG.conn", {"conn.py": "x = 1"}, "PKG.conn", id="bound before"),
            pytest.param(
                "import PKG.conn\nconn = 5\nimport PKG.conn\nfrom .conn import x",
                {"conn.py": "x = 1"},
                "5",
                id="only the first import",
            ),
            pytest.param(
                "def conn(): 1\nfrom . import b",
                {"b.py": "import PKG.conn", "conn.py": "x = 1"},
                "PKG.conn",
                id="imported by an unchanged module",
            ),
            pytest.param(
                "from . import b\ndef conn(): 1",
                {"b.py": "from .c import x", "c.py": "from PKG.conn import x", "conn.py": "x = 1"},
                "def conn",
                id="imported by unchanged modules, and bound afterwards",
            ),
            pytest.param(
                "def conn(): 1\nfrom . import b",
                {"b.py": "def load():\n    import PKG.conn", "conn.py": "x = 1"},
                "def conn",
                id="an import in a function is none yet",
            ),
            pytest.param(
                "def conn(): 1\nfrom . import b",
                {"b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import conn", "conn.py": ""},
                "def conn",
                id="an import for type checkers is none",
            ),
            pytest.param(
                "def conn(): 1\nfrom .sub import b",
                {"sub/__init__.py": "", "sub/b.py": "from .. import conn as x\nimport PKG.conn", "conn.py": "x = 1"},
                "PKG.conn",
                id="imported by a submodule of an unchanged package",
            ),
        ],
    )
    @pytest.mark.parametrize("changed", ["package", "package and submodule", "everything"])
    def test_what_stands_under_the_name(
        self, make_package: Make, init: str, files: dict[str, str], expected: str, changed: str
    ) -> None:
        name = f"submodules{len(sys.modules)}"
        texts = {path: text.replace("PKG", name) for path, text in {"__init__.py": init, **files}.items()}
        make_package(texts, name=name)
        fresh = told(sys.modules[name], "conn")
        assert fresh == expected.replace("PKG", name)
        sources = {name: f"{texts.pop('__init__.py')}\nVERSION = 2\n"}
        for path, text in texts.items() if changed != "package" else ():
            module = f"{name}.{path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}"
            if (changed == "everything" or module == f"{name}.conn") and module in sys.modules:
                sources[module] = f"{text}\nVERSION = 2\n"
        patcher = Patcher(packages=[name])
        patcher.apply(Patch.from_sources(sources, version="2"))
        assert told(sys.modules[name], "conn") == fresh
        assert sys.modules[name].VERSION == 2
        assert stand_ins(name) == []
        patcher.rollback()
        assert told(sys.modules[name], "conn") == fresh

    @pytest.mark.parametrize(
        "init",
        [
            "from .conn import conn",
            "from . import conn as module\nconn = 5",
            "from .conn import *\nconn = 'data'",
            "from .other import conn\nfrom .conn import x",
            "from .conn import x\nfrom .other import conn",
        ],
    )
    def test_an_unchanged_package_keeps_what_it_has_under_the_name(self, make_package: Make, init: str) -> None:
        source = "def conn(): return {n}\nx = 1\n"
        package = make_package({"__init__.py": init, "conn.py": source.format(n=1), "other.py": "def conn(): 1\n"})
        importlib.import_module(f"{package.__name__}.conn")
        before = told(package, "conn")
        patcher = Patcher(packages=[package.__name__])
        patcher.apply(Patch.from_sources({f"{package.__name__}.conn": source.format(n=2)}, version="2"))
        assert told(package, "conn") == before
        assert stand_ins(package.__name__) == []
        patcher.rollback()
        assert told(package, "conn") == before


THIS = """
import sys
this = sys.modules[__name__]
DEFINE
def init(value): ASSIGN
def use(): return this.db
def number(): return 1
"""

NAMES = """
import sys
_G = globals()
X = 1
class Loader:
    names = globals()
    def __init__(self): self.held, self.module = globals(), sys.modules[__name__]
    def number(self): return 1
loader = Loader()
TABLE = {"names": globals(), "deep": {"names": _G}}
LIST = [_G, sys.modules[__name__]]
closure = (lambda names: lambda: names)(_G)
late = None
def start():
    global late, later
    late = later = globals()
def set_x(value): _G["X"] = value
def get(): return X
def ask(names=_G): return names["X"]
def number(): return 1
"""


class TestOwnNames:
    """What a module sets in itself, by the names that it has for itself, is a name like any other."""

    @pytest.mark.parametrize("package", [False, True])
    @pytest.mark.parametrize(
        ("define", "assign"),
        [
            ("this.db = None", "this.db = value"),
            ("sys.modules[__name__].db = None", "sys.modules[__name__].db = value"),
            ("this.db = this.other = None", "global db; db = value"),
            ("db = None", "this.db = value"),
            ("db: object = None", "setattr(this, 'db', value)"),
            ("setattr(this, 'db', None)", "this.__dict__['db'] = value"),
            ("globals()['db'] = None", "globals()['db'] = value"),
            ("this.db, this.dc = None, None", "globals().update(db=value)"),
            ("names = vars(this); names.update({'db': None})", "names['db'] = value"),
            ("if True:\n    this.db = None", "this.db = value"),
            ("import sys as other; this = other.modules[__name__]; this.db = None", "this.db = value"),
        ],
    )
    def test_is_carried_if_its_definition_did_not_change(
        self, make_package: Make, define: str, assign: str, package: bool
    ) -> None:
        text = THIS.replace("DEFINE", define).replace("ASSIGN", assign)
        root = make_package({"__init__.py": text, "own.py": text}).__name__
        name = root if package else f"{root}.own"
        importlib.import_module(name).init("first")
        patcher = Patcher(packages=[root])
        for number in (2, 3):
            rollout = patcher.apply(Patch.from_sources({name: text.replace("1", str(number))}, version=str(number)))
            live = sys.modules[name]
            assert (live.use(), live.db, live.number()) == ("first", "first", number)
            assert rollout.plan is not None
            assert rollout.plan.warnings == []
        live.init("second")
        patcher.rollback()
        assert (sys.modules[name].use(), sys.modules[name].number()) == ("second", 2)

    def test_is_new_if_its_definition_changed(self, make_package: Make) -> None:
        text = THIS.replace("ASSIGN", "this.db = value")
        name = make_package({"__init__.py": text.replace("DEFINE", "this.db = None")}).__name__
        sys.modules[name].init("first")
        patcher = Patcher(packages=[name])
        patcher.apply(Patch.from_sources({name: text.replace("DEFINE", "this.db = 'new'")}, version="2"))
        assert sys.modules[name].use() == "new"
        patcher.rollback()
        assert sys.modules[name].use() == "first"

    def test_data_that_was_made_of_it_follows(self, make_package: Make) -> None:
        text = "import sys\nthis = sys.modules[__name__]\nthis.limit = 1\nTABLE = [this.limit]\nOTHER = [this]\n"
        name = make_package({"__init__.py": text}).__name__
        other = sys.modules[name].OTHER
        patcher = Patcher(packages=[name])
        patcher.apply(Patch.from_sources({name: text.replace("1", "2")}, version="2"))
        live = sys.modules[name]
        assert (live.TABLE, live.limit) == ([2], 2)
        assert live.OTHER is other
        assert other == [live]

    @pytest.mark.parametrize("assign", ["this.db = value", "names['db'] = value"])
    def test_what_a_call_in_flight_sets_is_carried_when_it_has_ended(self, make_package: Make, assign: str) -> None:
        define = "names = globals()\nthis.db = None\ndef steps(value):\n    yield\n    " + assign
        text = THIS.replace("DEFINE", define).replace("ASSIGN", assign)
        name = make_package({"__init__.py": text}).__name__
        patcher = Patcher(packages=[name])
        steps = sys.modules[name].steps("late")
        next(steps)
        patcher.apply(Patch.from_sources({name: text.replace("1", "2")}, version="2"))
        assert (sys.modules[name].use(), list(steps)) == (None, [])
        del steps
        assert sys.modules[name].use() == "late"

    def test_what_holds_the_namespace_of_a_module_holds_that_of_the_live_one(self, make_package: Make) -> None:
        package = make_package({"__init__.py": "", "own.py": NAMES, "user.py": "from .own import _G as names\n"})
        name, user = f"{package.__name__}.own", importlib.import_module(f"{package.__name__}.user")
        patcher = Patcher(packages=[package.__name__])
        first = sys.modules[name]
        first.start()
        first.set_x(5)

        def check(value: int) -> None:
            live = sys.modules[name]
            held = (live._G, live.Loader.names, live.loader.held, live.TABLE["names"], live.TABLE["deep"]["names"])
            held += (live.LIST[0], live.closure(), live.late, live.later, user.names, *live.ask.__defaults__)
            assert [place for place, names in enumerate(held) if names is not vars(live)] == []
            assert live.loader.module is live.LIST[1] is live
            assert (live.get(), live.ask()) == (value, value)
            live.set_x(value + 1)
            assert (live.get(), live.ask(), live.X) == (value + 1,) * 3
            assert stand_ins(package.__name__) == []

        loader, table = first.loader, first.TABLE
        check(5)
        for number in (2, 3):
            rollout = patcher.apply(
                Patch.from_sources({name: NAMES.replace("return 1", f"return {number}")}, version=str(number))
            )
            assert rollout.plan is not None
            assert rollout.plan.warnings == []
            assert (sys.modules[name].number(), sys.modules[name].loader.number()) == (number, number)
            check(4 + number)
        assert sys.modules[name].loader is loader
        assert sys.modules[name].TABLE is table
        patcher.rollback()
        check(8)


def told(module: Any, name: str) -> str:
    """What stands under a name of a module."""
    value = vars(module)[name]
    if isinstance(value, ModuleType):
        assert value is sys.modules[value.__name__]
        return value.__name__
    return f"def {value.__name__}" if callable(value) else repr(value)


def dedented(source: str, name: str) -> str:
    return textwrap.dedent(source).replace("PKG", name)
