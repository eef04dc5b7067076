"""Shedding: what somebody refers to weakly is kept for each generation, and the data of its module is not."""

from __future__ import annotations

import gc
import importlib
import inspect
import pickle
import sys
import typing
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import hotswap
from tests.waiting import until

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

HEAD = """\
from __future__ import annotations

class Table(list):
    pass

TABLE = Table([{number}])

"""
PLAIN = "def f(): return TABLE[0]\n"
LIBRARY = """\
import functools

def logged(function):
    @functools.wraps(function)
    def wrapper(*arguments):
        return function(*arguments)
    return wrapper
"""


class Course:
    """A module that is patched again and again, with a table in each of its versions.

    Arguments:
        make: makes packages.
        body: the rest of its text.
        others: further modules of the package that each patch has, too.
    """

    def __init__(self, make: Make, body: str = PLAIN, others: dict[str, str] | None = None) -> None:
        self.body, self.others = body, others or {}
        package = make({f"{name}.py": text for name, text in self.texts(0).items()})
        self.package = package.__name__
        for name in self.texts(0):
            importlib.import_module(f"{self.package}.{name}")
        self.patcher = hotswap.Patcher([self.package])
        self.seen: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        """What a library knows of the functions that it has met."""
        self.tables: list[weakref.ref[Any]] = []
        self.number = 0
        self.note()

    def texts(self, number: int) -> dict[str, str]:
        texts = {"core": HEAD + self.body, **self.others}
        return {name: text.replace("{number}", str(number)) for name, text in texts.items()}

    @property
    def core(self) -> Any:
        return sys.modules[f"{self.package}.core"]

    def note(self) -> None:
        self.tables.append(weakref.ref(self.core.TABLE))
        if hasattr(self.core, "f"):
            self.seen[self.core.f] = self.number

    def patch(self, **texts: str) -> hotswap.Rollout:
        """Apply a version; what its predecessors have left is settled, and collected."""
        self.number += 1
        texts = {**self.texts(self.number), **texts}
        sources = {f"{self.package}.{name}": text for name, text in texts.items()}
        rollout = self.patcher.apply(hotswap.Patch.from_sources(sources))
        self.note()
        return rollout

    def go_on(self, times: int) -> None:
        for _ in range(times):
            assert self.patch().wait_settled(20)
            gc.collect()

    @property
    def left(self) -> list[int]:
        """The versions of which the table is there."""
        gc.collect()
        return [number for number, known in enumerate(self.tables) if known() is not None]

    def comes_to(self, *numbers: int) -> bool:
        """Whether the tables become those of some versions: what is shed is shed in a thread."""
        return bool(until(lambda: self.left == [*numbers]))

    def catches_up(self) -> bool:
        """Whether the next patch leaves nothing but what may come back.

        Another thread of the process may hold something as it is counted: then it goes with one of the next patches.
        """
        self.go_on(1)
        return bool(until(lambda: self.left == [self.number - 1, self.number], 5))

    def keeps(self, number: int) -> bool:
        """Whether the table of a version stays, where those go that nobody needs; patches follow."""
        self.go_on(3)
        wanted = {number, self.number - 1, self.number}
        return bool(until(lambda: {*self.left} <= wanted)) and number in self.left


class TestData:
    @pytest.mark.parametrize(
        "others", [{}, {"web": "from . import core\nfrom .core import f\ndef page(): return f()\n"}]
    )
    def test_of_many_generations_goes(self, make_package: Make, others: dict[str, str]) -> None:
        """A library's cache of what it knows of functions kept a module of each generation, with all its data."""
        course = Course(make_package, others=others)
        course.go_on(25)
        assert course.comes_to(24, 25)
        assert sorted(course.seen.values()) == list(range(26))
        assert {function() for function in course.seen} == {25}

    @pytest.mark.parametrize(
        "body",
        [
            "from .library import logged\n@logged\ndef f(): return TABLE[0]\n",
            "def help(): return TABLE[0]\ndef f(): return help()\ndef gone_{number}(): return TABLE\n",
            "class C:\n    def m(self): return TABLE[0]\n    f = staticmethod(lambda: TABLE[0])\nf = C.f\n",
        ],
        ids=["decorated", "helpers", "method"],
    )
    def test_goes_whatever_the_function_is(self, make_package: Make, body: str) -> None:
        course = Course(make_package, body, {"library": LIBRARY})
        course.go_on(6)
        assert course.comes_to(5, 6)
        assert len(course.seen) == 7

    def test_goes_when_many_generations_are_collected_at_once(self, make_package: Make) -> None:
        course = Course(make_package)
        gc.disable()
        try:
            for _ in range(12):
                assert course.patch().wait_settled(20)
        finally:
            gc.enable()
        assert any(course.catches_up() for _ in range(3)), course.left

    def test_goes_of_what_was_taken_back(self, make_package: Make) -> None:
        course = Course(make_package)
        for _ in range(4):
            course.patch()
            course.patcher.rollback()
        course.go_on(2)
        assert course.comes_to(5, 6)
        assert {function() for function in course.seen} == {6}

    def test_is_not_looked_for_where_nobody_refers_weakly(
        self, make_package: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        course = Course(make_package)
        course.seen.clear()
        monkeypatch.setattr(course.patcher._succession._settlement, "later", pytest.fail)
        monkeypatch.setattr(Course, "note", lambda _: None)
        course.go_on(4)

    def test_finalizers_do_not_run_under_the_lock(self, make_package: Make) -> None:
        course = Course(make_package, "import weakref\nclass Held: pass\nHELD = Held(), {number}\n" + PLAIN)
        locked: list[bool] = []
        lock: Any = course.patcher._change
        for _ in range(3):
            weakref.finalize(course.core.HELD[0], lambda: locked.append(lock._is_owned())).atexit = False
            course.go_on(1)
        course.go_on(2)
        assert course.comes_to(4, 5)
        assert locked == [False] * 3


class TestKeptFunctions:
    """They do what they did."""

    def test_a_receiver_is_called_and_leads_to_the_newest(self, make_package: Make) -> None:
        course = Course(make_package)
        receivers = [weakref.ref(course.core.f)]
        course.go_on(8)
        assert course.comes_to(7, 8)
        receiver = receivers[0]()
        assert receiver is not None
        assert receiver() == 8

    def test_tell_the_types_in_their_annotations(self, make_package: Make) -> None:
        body = """\
import collections.abc
from typing import Annotated, Optional

Rows = list[int]
Maybe = Optional[Table]
LIMITS = Table()
Named = "int | str"

class Row: ...

tables = type("Tables", (), {})()
tables.Table = Table

def f(
    row: Row, rows: Rows = (), maybe: Maybe = None, m: collections.abc.Sequence[Row] = (),
    n: Annotated[int, LIMITS] = 1, quoted: Optional["tables.Table"] = None, deep: "Optional['Named']" = None,
) -> Table: return {number}
"""
        course = Course(make_package, body)
        course.go_on(5)
        assert course.comes_to(4, 5)
        core = course.core
        for function, number in course.seen.items():
            told = typing.get_type_hints(function)
            assert (told["row"], told["rows"], told["return"]) == (core.Row, list[int], core.Table)
            assert told["m"] == core.collections.abc.Sequence[core.Row]
            assert (told["quoted"], told["deep"]) == (core.Table | None, int | str | None)
            assert inspect.signature(function, eval_str=True).parameters["maybe"].annotation == core.Maybe
            assert ("TABLE" in function.__globals__) == (number > 3)

    def test_know_modules_by_their_names(self, make_package: Make) -> None:
        """These lead to the live ones, and keep none."""
        body = "from . import web\ndef f(page: web.Page = None): return {number}\n"
        course = Course(make_package, body, {"web": "class Page: pass\nBIG = [{number}]\n"})
        course.go_on(5)
        assert course.comes_to(4, 5)
        live = sys.modules[f"{course.package}.web"]
        for function in course.seen:
            assert typing.get_type_hints(function) == {"page": live.Page}
            assert function.__globals__["web"].BIG == [5]

    def test_can_be_pickled(self, make_package: Make) -> None:
        course = Course(make_package)
        course.go_on(5)
        assert course.comes_to(4, 5)
        assert {pickle.loads(pickle.dumps(course.core.f))() for _ in course.seen} == {5}


class TestWhatSomebodyNeeds:
    def test_the_way_back(self, make_package: Make) -> None:
        course = Course(make_package)
        course.go_on(5)
        assert course.comes_to(4, 5)
        course.patcher.rollback()
        assert (course.core.f(), course.core.TABLE) == (4, [4])
        assert {function() for function in course.seen} == {4}
        course.go_on(3)
        assert course.comes_to(7, 8)

    def test_a_rollout_that_goes_there_and_back(self, make_package: Make) -> None:
        course = Course(make_package)
        course.go_on(3)
        source = course.texts(4)["core"]
        rollout = course.patcher.stage(hotswap.Patch.from_sources({f"{course.package}.core": source}))
        rollout.verify()
        rollout.arm()
        for _ in range(4):
            rollout.commit()
            course.note()
            gc.collect()
            assert {function() for function in course.seen} == {4}
            rollout.rollback()
            gc.collect()
            assert {function() for function in course.seen} == {3}
        rollout.commit()
        assert course.core.f() == 4

    def test_a_closure_that_stays_old(self, make_package: Make) -> None:
        course = Course(make_package, PLAIN + "def make():\n    def inner(): return TABLE[0]\n    return inner\n")
        course.go_on(1)
        inner = course.core.make()
        course.body = PLAIN
        assert course.keeps(1)
        assert inner() == 1
        del inner
        course.go_on(2)
        assert course.comes_to(5, 6)

    def test_a_closure_that_leads_to_one_of_a_version_between(self, make_package: Make) -> None:
        course = Course(make_package, PLAIN + "def make():\n    def inner(): return TABLE[0]\n    return inner\n")
        inner = course.core.make()
        known = weakref.ref(inner)
        course.go_on(2)
        course.body = PLAIN
        assert course.keeps(2)
        assert (inner(), known()) == (2, inner)

    @pytest.mark.parametrize("handover", [None, 0])
    @pytest.mark.parametrize("where", ["def", "def make():\n  def"])
    def test_a_call_in_flight(self, make_package: Make, handover: float | None, where: str) -> None:
        nested = where != "def"
        body = f"{PLAIN}{where} rows():\n    while True: yield TABLE[0], f()\n" + ("  return rows\n" if nested else "")
        course = Course(make_package, body)
        course.patcher = hotswap.Patcher([course.package], handover=handover)
        course.go_on(1)
        rows = (course.core.make() if nested else course.core.rows)()
        course.seen[course.core.make if nested else course.core.rows] = 1
        assert next(rows) == (1, 1)
        for _ in range(4):
            course.patch()
            gc.collect()
        assert next(rows)[0] == 1
        rows.close()
        del rows
        course.go_on(3)
        assert course.comes_to(7, 8)

    def test_a_namespace_that_somebody_holds(self, make_package: Make) -> None:
        course = Course(make_package)
        course.go_on(1)
        facts = vars(course.core)
        assert course.keeps(1)
        assert facts["TABLE"] == [1]

    def test_a_module_that_somebody_holds(self, make_package: Make) -> None:
        """It shows what is live, and what it was itself when nothing is."""
        course = Course(make_package)
        course.go_on(1)
        held = [course.core]
        assert course.keeps(1)
        assert held[0].TABLE == [4]
        del sys.modules[f"{course.package}.core"]
        assert held[0].TABLE == [1]

    def test_a_function_that_a_patch_took_away(self, make_package: Make) -> None:
        course = Course(make_package, PLAIN + "def old(): return TABLE[0]\n")
        course.go_on(1)
        old = course.core.old
        course.body = PLAIN
        assert course.keeps(1)
        assert old() == 1

    def test_an_instance_of_a_class_that_a_patch_took_away(self, make_package: Make) -> None:
        course = Course(make_package, PLAIN + "class Old:\n    def f(self): return TABLE[0]\n")
        course.go_on(1)
        old = course.core.Old()
        course.body = PLAIN
        assert course.keeps(1)
        assert old.f() == 1

    def test_code_that_was_run_in_its_globals(self, make_package: Make) -> None:
        course = Course(make_package)
        course.go_on(1)
        made: dict[str, Any] = {}
        exec("def outside(): return TABLE[0]", vars(course.core), made)
        assert course.keeps(1)
        assert made["outside"]() == 1

    def test_a_session(self, make_package: Make) -> None:
        course = Course(make_package)
        course.go_on(1)
        with hotswap.session():
            assert course.core.f() == 1
            for _ in range(3):
                course.patch()
                gc.collect()
            assert sys.modules[f"{course.package}.core"].f() == 1
