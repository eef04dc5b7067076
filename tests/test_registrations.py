"""Registrations of a candidate in live objects: none while it is staged, all at the commit, gone at a rollback."""

from __future__ import annotations

import abc
import codecs
import collections.abc
import gc
import importlib
import itertools
import sys
import textwrap
import typing
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher, Rollout, UnsupportedChangeError

Make = Callable[..., ModuleType]

_serial = itertools.count(1)


class Service:
    """A package with a module `live`, which patches leave alone, and a module `code`, which they change.

    Beside it stands a package that nobody manages, `library`.
    """

    def __init__(self, make: Make, live: str, code: str, library: str = "") -> None:
        number = next(_serial)
        self.name, self.foreign = f"registering{number}", f"library{number}"
        make({"__init__.py": self.text(library)}, name=self.foreign)
        files = {"live.py": self.text(live), "code.py": self.text(code)}
        make({"__init__.py": '__version__ = "1.0"\n', **files}, name=self.name)
        self.library = sys.modules[self.foreign]
        self.live: Any = importlib.import_module(f"{self.name}.live")
        importlib.import_module(f"{self.name}.code")
        self.patcher = Patcher([self.name])

    def text(self, source: str) -> str:
        return textwrap.dedent(source).replace("PACKAGE", self.name).replace("LIBRARY", self.foreign)

    @property
    def code(self) -> Any:
        return sys.modules[f"{self.name}.code"]

    def stage(self, code: str, **options: Any) -> Rollout:
        return self.patcher.stage(Patch.from_sources({f"{self.name}.code": self.text(code)}), **options)


def commit(rollout: Rollout) -> None:
    rollout.verify()
    rollout.commit()


def is_of(value: Any, service: Service) -> bool:
    return type(value) is FunctionType and value.__module__ == f"{service.name}.code"


def whats(rollout: Rollout) -> list[str]:
    return [f"{effect.outcome} {effect.what}" for effect in rollout.plan.effects]


LIVE = """
    HANDLERS = {}
    CHAIN = []
    KNOWN = set()

    def handler(name):
        def register(function):
            HANDLERS[name] = function
            CHAIN.append((name, function))
            KNOWN.add(function)
            return function
        return register

    def answers():
        return {name: function() for name, function in HANDLERS.items()}
"""

CODE = """
    from PACKAGE.live import handler

    @handler("first")
    def first():
        return 1

    @handler("second")
    def second():
        return 1
"""

NEW = """
    from PACKAGE.live import handler

    @handler("first")
    def first():
        return 2

    @handler("third")
    def third():
        return 3
"""


class TestContainersOfUnchangedModules:
    def test_live_registry_is_untouched_while_the_candidate_is_staged(self, make_package: Make) -> None:
        service = Service(make_package, LIVE, CODE)
        live = service.live
        before = dict(live.HANDLERS), list(live.CHAIN), set(live.KNOWN)
        rollout = service.stage(NEW)
        assert before == (live.HANDLERS, live.CHAIN, live.KNOWN)
        assert all(live.HANDLERS[name] is function for name, function in before[0].items())
        assert list(live.HANDLERS) == ["first", "second"]
        assert whats(rollout) == [
            f"undone registers first, third in {service.name}.live:HANDLERS",
            f"undone registers a tuple in {service.name}.live:CHAIN",
            f"undone registers first, third in {service.name}.live:KNOWN",
        ]
        rollout.abort()
        assert before == (live.HANDLERS, live.CHAIN, live.KNOWN)

    def test_commit_registers_and_rollback_takes_back(self, make_package: Make) -> None:
        service = Service(make_package, LIVE, CODE)
        live = service.live
        before = dict(live.HANDLERS), list(live.CHAIN), set(live.KNOWN)
        held = dict(live.HANDLERS)
        live.HANDLERS["plugin"] = lambda: 9
        rollout = service.stage(NEW)
        commit(rollout)
        assert live.answers() == {"first": 2, "third": 3, "plugin": 9}
        assert live.HANDLERS["first"] is service.code.first
        assert [(name, function()) for name, function in live.CHAIN] == [("first", 2), ("third", 3)]
        assert {service.code.first, service.code.third} == live.KNOWN
        rollout.rollback()
        del live.HANDLERS["plugin"]
        assert before == (live.HANDLERS, live.CHAIN, live.KNOWN)
        assert live.answers() == {"first": 1, "second": 1}
        assert all(live.HANDLERS[name] is function for name, function in held.items())

    def test_what_was_taken_out_at_run_time_stays_out(self, make_package: Make) -> None:
        service = Service(make_package, LIVE, CODE)
        del service.live.HANDLERS["first"]
        rollout = service.stage(CODE.replace("return 1", "return 2"))
        commit(rollout)
        assert service.live.answers() == {"second": 2}
        rollout.rollback()

    def test_module_body_that_fails_leaves_nothing(self, make_package: Make) -> None:
        service = Service(make_package, LIVE, CODE)
        before = dict(service.live.HANDLERS)
        with pytest.raises(Exception, match="ZeroDivisionError"):
            service.stage(NEW + "    1 / 0\n")
        assert before == service.live.HANDLERS

    def test_ten_patches_in_a_row_leave_one_entry_each(self, make_package: Make) -> None:
        service = Service(make_package, LIVE, CODE)
        for number in range(10):
            commit(service.stage(CODE.replace("return 1", f"return {number}")))
            assert service.live.answers() == {"first": number, "second": number}
            assert len(service.live.CHAIN) == 2

    def test_functions_of_a_loop_are_led_wherever_they_are_held(self, make_package: Make) -> None:
        code = """
            from PACKAGE import live
            for unit in ("kg", "lb"):
                @live.on(unit)
                def convert(unit=unit): return unit + "1"
            """
        live = """
            HANDLERS, CHAIN = {}, []
            def on(event):
                def add(function):
                    HANDLERS[event] = function
                    CHAIN.append(function)
                    return function
                return add
            """
        service = Service(make_package, live, code)
        held = list(service.live.CHAIN)
        for number in (2, 3):
            rollout = service.stage(code.replace('"1"', f'"{number}"'))
            commit(rollout)
            wanted = [f"kg{number}", f"lb{number}"]
            assert [function() for function in service.live.CHAIN] == wanted
            assert [function() for function in service.live.HANDLERS.values()] == wanted
            assert [function() for function in held] == wanted
        rollout.rollback()
        assert [function() for function in [*held, *service.live.CHAIN]] == ["kg2", "lb2"] * 2

    def test_functions_that_nothing_tells_apart_are_named(self, make_package: Make) -> None:
        code = "from PACKAGE import live\nfor n in (1, 2): live.CHAIN.append(lambda: 1)\n"
        service = Service(make_package, "CHAIN = []\n", code)
        rollout = service.stage(code.replace("lambda: 1", "lambda: 2"))
        assert [w for w in rollout.plan.warnings if "<lambda> of line 2 has no name that leads to it" in w]
        commit(rollout)
        assert [function() for function in service.live.CHAIN] == [2, 2]

    def test_registry_in_an_object(self, make_package: Make) -> None:
        live = """
            class Router:
                def __init__(self):
                    self.table = {"get": {}}
            class App:
                def __init__(self):
                    self.router = Router()
                def get(self, path):
                    def register(function):
                        self.router.table["get"][path] = function
                        return function
                    return register
            app = App()
        """
        code = "from PACKAGE.live import app\n@app.get('/')\ndef index(): return 1\n"
        service = Service(make_package, live, code)
        table = service.live.app.router.table["get"]
        rollout = service.stage(code.replace("1", "2") + "@app.get('/new')\ndef new(): return 3\n")
        assert list(table) == ["/"]
        assert table["/"]() == 1
        commit(rollout)
        assert {path: function() for path, function in table.items()} == {"/": 2, "/new": 3}
        rollout.rollback()
        assert {path: function() for path, function in table.items()} == {"/": 1}

    def test_lambda_and_wrapper_take_the_place_of_the_old_ones(self, make_package: Make) -> None:
        live = """
            HOOKS = []
            def hook(function):
                def wrapper():
                    return function()
                HOOKS.append(wrapper)
                return function
        """
        code = "from PACKAGE.live import hook, HOOKS\n@hook\ndef a(): return 1\n@hook\ndef b(): return 1\n"
        code += "HOOKS.append(lambda: 1)\n"
        service = Service(make_package, live, code)
        held = list(service.live.HOOKS)
        rollout = service.stage(code.replace("return 1", "return 2").replace("lambda: 1", "lambda: 2"))
        assert held == service.live.HOOKS
        commit(rollout)
        assert [hook() for hook in service.live.HOOKS] == [2, 2, 2]
        rollout.rollback()
        assert held == service.live.HOOKS
        assert [hook() for hook in held] == [1, 1, 1]

    def test_names_set_in_a_live_module_are_seen_by_the_candidate_alone(self, make_package: Make) -> None:
        service = Service(make_package, "DEBUG = False\n", "x = 1\n")
        body = """
            import PACKAGE.live
            from PACKAGE import live
            live.DEBUG = True
            SEEN = live.DEBUG
            from PACKAGE.live import DEBUG as ALSO
            NAMES = "DEBUG" in dir(live), "DEBUG" in vars(live)
            live.gone = 1
            del live.gone
            GONE = hasattr(live, "gone")
        """
        rollout = service.stage(body)
        assert not service.live.DEBUG
        candidate: Any = rollout.candidate[f"{service.name}.code"]
        assert (candidate.SEEN, candidate.ALSO, candidate.NAMES, candidate.GONE) == (True, True, (True, True), False)
        commit(rollout)
        assert service.live.DEBUG
        rollout.rollback()
        assert not service.live.DEBUG
        assert not hasattr(service.live, "gone")

    def test_class_of_a_live_module_is_put_back(self, make_package: Make) -> None:
        service = Service(make_package, "import sys\ndef me(): return sys.modules[__name__]\n", "x = 1\n")
        body = "from PACKAGE.live import me\nclass Loud(type(me())): pass\nme().__class__ = Loud\n"
        with pytest.raises(UnsupportedChangeError, match="changes the class of the module"):
            service.stage(body)
        assert type(service.live) is ModuleType


class TestClasses:
    LIVE = """
        class Base:
            kinds = {}
            def __init_subclass__(cls, **options):
                Base.kinds[cls.__name__] = cls
    """

    def test_subclasses_that_register_themselves_with_a_live_base(self, make_package: Make) -> None:
        code = "from PACKAGE.live import Base\nclass A(Base):\n  value = 1\n"
        service = Service(make_package, self.LIVE, code)
        a = service.code.A
        rollout = service.stage(code.replace("1", "2") + "class B(Base):\n  value = 3\n")
        assert service.live.Base.kinds == {"A": a}
        commit(rollout)
        assert service.live.Base.kinds == {"A": a, "B": service.code.B}
        assert a.value == 2
        rollout.rollback()
        assert service.live.Base.kinds == {"A": a}
        assert a.value == 1

    def test_attribute_set_on_a_live_class(self, make_package: Make) -> None:
        code = "from PACKAGE.live import Base\ndef run(self): return 1\nBase.run = run\n"
        service = Service(make_package, self.LIVE, code)
        old = service.live.Base.run
        rollout = service.stage("from PACKAGE.live import Base\ndef walk(self): return 2\nBase.run = Base.go = walk\n")
        assert service.live.Base.run is old
        assert not hasattr(service.live.Base, "go")
        commit(rollout)
        assert service.live.Base().go() == service.live.Base().run() == 2
        rollout.rollback()
        assert service.live.Base.run is old
        assert not hasattr(service.live.Base, "go")

    @pytest.mark.parametrize("base", ["PACKAGE.live.Shape", "collections.abc.Sized"])
    def test_virtual_subclasses_of_living_abstract_classes(self, make_package: Make, base: str) -> None:
        code = f"import PACKAGE.live, collections.abc\nclass Old: pass\n{base}.register(Old)\n"
        service = Service(make_package, "import abc\nclass Shape(abc.ABC): pass\n", code)
        living = service.live.Shape if "Shape" in base else collections.abc.Sized
        old = service.code.Old
        assert issubclass(old, living)
        before = _registered(living)
        rollout = service.stage(code + f"class New: pass\n{base}.register(New)\n")
        new = rollout.candidate[f"{service.name}.code"].New
        rollout.abort()
        assert _registered(living) == before
        rollout = service.stage(code + f"class New: pass\n{base}.register(New)\n")
        commit(rollout)
        new = service.code.New
        assert issubclass(new, living)
        assert _registered(living) == before | {new}
        rollout.rollback()
        assert _registered(living) == before
        assert issubclass(old, living)

    def test_singledispatch_of_an_unchanged_module(self, make_package: Make) -> None:
        live = """
            import functools
            @functools.singledispatch
            def show(value):
                return "any"
        """
        code = "from PACKAGE.live import show\n@show.register\ndef _(value: int): return 'int 1'\n"
        service = Service(make_package, live, code)
        show = service.live.show
        assert (show(1), show(True), show("a")) == ("int 1", "int 1", "any")
        new = code.replace("1", "2") + "@show.register\ndef _(value: str): return 'str 2'\n"
        rollout = service.stage(new)
        assert (show(1), show(True), show("a")) == ("int 1", "int 1", "any")
        commit(rollout)
        assert (show(1), show(True), show("a")) == ("int 2", "int 2", "str 2")
        rollout.rollback()
        assert (show(1), show(True), show("a")) == ("int 1", "int 1", "any")


def _registered(cls: Any) -> set[Any]:
    return {reference() for reference in abc._get_dump(cls)[0]} - {None}  # type: ignore[attr-defined]


class TestElsewhere:
    """Registries of packages that are not managed."""

    LIBRARY = """
        import weakref
        SIGNALS, ORDER, NAMES = {}, [], {"first": None, "second": None}
        weak = weakref.WeakSet()
        class Bus:
            def __init__(self):
                self.table, self.line = {"first": None}, []
        bus = Bus()
        class Slotted:
            __slots__ = ("run",)
        slotted = Slotted()
        deep = [[[[[[{"first": None}]]]]]]
    """

    def test_entries_at_the_end_are_taken_out_and_registered_by_the_swap(self, make_package: Make) -> None:
        code = "import LIBRARY\ndef ready(): return 1\nLIBRARY.SIGNALS['ready'] = ready\nLIBRARY.ORDER.append(ready)\n"
        service = Service(make_package, "", code, self.LIBRARY)
        library: Any = service.library
        old = service.code.ready
        more = "def done(): return 3\nLIBRARY.ORDER.append(done)\n"
        rollout = service.stage(
            code.replace("return 1", "return 2").replace("SIGNALS['ready']", "SIGNALS['new']") + more
        )
        assert {"ready": old} == library.SIGNALS
        assert [old] == library.ORDER
        assert f"undone registers ready in {service.foreign}.SIGNALS" in whats(rollout)
        commit(rollout)
        assert [function() for function in library.ORDER] == [2, 3]
        rollout.rollback()
        assert [old] == library.ORDER
        assert {"ready": old} == library.SIGNALS

    @pytest.mark.parametrize(
        ("statement", "words"),
        [
            ("LIBRARY.deep[0][0][0][0][0][0]['first'] = run", "leaves run in a dict "),
            ("LIBRARY.slotted.run = run", "leaves run in an? "),
        ],
    )
    def test_what_may_stand_in_somebodys_place_is_refused(self, make_package: Make, statement: str, words: str) -> None:
        service = Service(make_package, "", "x = 1\n", self.LIBRARY)
        code = f"import LIBRARY\ndef run(): return 2\n{statement}\n"
        with pytest.raises(UnsupportedChangeError, match="import-effect.*" + words.format(library=service.foreign)):
            service.stage(code)
        assert not hasattr(service.code, "run")

    def test_what_takes_somebodys_place_goes_back_until_the_commit(self, make_package: Make) -> None:
        service = Service(make_package, "", "x = 1\n", self.LIBRARY)
        library: Any = service.library
        code = "import LIBRARY\ndef run(): return 2\nLIBRARY.NAMES['first'] = run\nLIBRARY.bus.line.append(run)\n"
        rollout = service.stage(code)
        assert library.NAMES == {"first": None, "second": None}
        assert library.bus.line == []
        commit(rollout)
        assert {"first": service.code.run, "second": None} == library.NAMES
        assert library.bus.line == [service.code.run]
        rollout.rollback()
        assert library.NAMES == {"first": None, "second": None}
        assert library.bus.line == []

    def test_what_is_refused_can_be_allowed(self, make_package: Make) -> None:
        service = Service(make_package, "", "x = 1\n", self.LIBRARY)
        code = "import LIBRARY\ndef run(): return 2\nLIBRARY.slotted.run = run\n"
        rollout = service.stage(code, allow_effects=["registrations"])
        commit(rollout)
        library: Any = service.library
        assert library.slotted.run is service.code.run
        rollout.rollback()

    def test_holder_that_the_collector_does_not_show_is_refused(self, make_package: Make) -> None:
        service = Service(make_package, "", "x = 1\n")
        gc.freeze()  # as a service does before it forks; the list in which codecs are kept is frozen too
        try:
            with pytest.raises(UnsupportedChangeError, match="leaves find in an object that can't be found"):
                service.stage("import codecs\ndef find(name): return None\ncodecs.register(find)\n")
        finally:
            (find,) = [o for o in gc.get_objects() if is_of(o, service) and o.__name__ == "find"]
            codecs.unregister(find)

    def test_overloads_are_those_of_what_is_live(self, make_package: Make) -> None:
        code = """
            import typing
            @typing.overload
            def f(a: int) -> int: ...
            @typing.overload
            def f(a: str) -> str: ...
            def f(a): return a
        """
        service = Service(make_package, "", code)
        old = typing.get_overloads(service.code.f)
        assert len(old) == 2
        rollout = service.stage(textwrap.dedent(code) + "def g(): pass\n")
        assert rollout.plan.effects == []
        assert typing.get_overloads(service.code.f) == old
        commit(rollout)
        live = typing.get_overloads(service.code.f)
        assert [function.__globals__ is service.code.__dict__ for function in live] == [True, True]
        rollout.rollback()
        assert typing.get_overloads(service.code.f) == old

    def test_typings_caches_are_no_registry(self, make_package: Make) -> None:
        service = Service(make_package, "", "x = 1\n")
        code = "import typing\nclass K: pass\nA = typing.Dict[str, typing.Optional[K]]\nB = typing.Callable[[K], A]\n"
        with service.stage(code) as rollout:
            assert rollout.plan.effects == []
