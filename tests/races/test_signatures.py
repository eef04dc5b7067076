"""What functions say that they take, while old and new are both reachable: frameworks ask at any time, and keep it."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import pickle
import typing
import weakref
from collections.abc import Callable, Generator, Iterator
from types import ModuleType
from typing import Any

import pytest

from hotswap import CommitError, Patch, Patcher, Rollout
from hotswap.swap import Writes
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads  # what has drained is settled in one

SOURCE = """
import functools

def helper({x}):
    return {answer}

def page(limit: int = 10{more}) -> int:
    return helper({given})

def bare({x}):
    return helper({given})

def keywords(a, /, b, *rest, c: str = "c"{other}, **others):
    return helper({given})

class Shop:
    def __init__(self, size: int = 3{more}):
        self.size = size

    def method(self, x: int = 1{more}):
        return helper({given})

    @classmethod
    def made(cls, x=1{more}):
        return helper({given})

    @staticmethod
    def plain(x=1{more}):
        return helper({given})

def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

@decorated
def wrapped(a, b=1{more}):
    return a

def work():
    while True:
        yield helper({given})
"""
V1 = {"answer": "'1'", "x": "x", "given": "1", "more": "", "other": ""}
V2 = {"answer": "'2'", "x": "x, y", "given": "1, 2", "more": ", offset: str = 'o'", "other": ", d=4"}
V3 = {"answer": "'3'", "x": "x, y, z", "given": "1, 2, 3", "more": ", offset: str = 'p', z=1", "other": ", e=4"}

NAMES = ("page", "bare", "keywords", "wrapped", "Shop.method", "Shop.made", "Shop.plain")


class Program:
    """A module that runs, and what somebody has held of it from the beginning."""

    def __init__(self, make_package: Callable[..., ModuleType], version: dict[str, str] = V1) -> None:
        package = make_package({"core.py": SOURCE.format(**version)}).__name__
        self.name, self.patcher = f"{package}.core", Patcher([package])
        self.held = self.found()

    @property
    def core(self) -> Any:
        return importlib.import_module(self.name)

    def found(self) -> dict[str, Any]:
        """What the module has now."""
        core = self.core
        shop = core.Shop()
        functions = {name: functools.reduce(getattr, name.split("."), core) for name in NAMES}
        bound = {f"Shop().{name}": getattr(shop, name) for name in ("method", "made", "plain")}
        return {**functions, **bound, "partial": functools.partial(core.page), "Shop": core.Shop}

    def looks(self) -> list[dict[str, Any]]:
        """What everything says of itself: what was held from the beginning, and what the module has now."""
        return [{name: _look(o) for name, o in held.items()} for held in (self.held, self.found())]

    def attributes(self) -> list[dict[str, Any]]:
        """What all functions have in their dicts."""
        return [vars(o) | {} for held in (self.held, self.found()) for o in held.values() if inspect.isroutine(o)]

    def stage(self, source: dict[str, str], version: str) -> Rollout:
        rollout = self.patcher.stage(Patch.from_sources({self.name: SOURCE.format(**source)}, version=version))
        rollout.verify()
        return rollout

    def goes(self, source: dict[str, str], version: str) -> Rollout:
        rollout = self.stage(source, version)
        rollout.commit()
        return rollout

    def begin(self) -> Generator[str]:
        """Have an old call in flight."""
        call: Generator[str] = self.core.work()
        next(call)
        return call


def _look(o: Any) -> tuple[Any, ...]:
    if type(o) is functools.partial:
        return (str(inspect.signature(o)),)
    if inspect.isclass(o):
        return str(inspect.signature(o)), str(inspect.getfullargspec(o))
    defaults = o.__defaults__, o.__kwdefaults__
    return str(inspect.signature(o)), str(inspect.getfullargspec(o)), str(typing.get_type_hints(o)), defaults


@pytest.fixture
def program(make_package: Callable[..., ModuleType]) -> Iterator[Program]:
    made = Program(make_package)
    yield made
    assert forks_go()


@pytest.fixture
def fresh(make_package: Callable[..., ModuleType]) -> Callable[[dict[str, str]], Any]:
    """What a version looks like where nobody has patched anything."""
    return lambda version: Program(make_package, version).looks()


Fresh = Callable[[dict[str, str]], Any]


class TestWhileForksStand:
    def test_armed_it_is_the_old_one(self, program: Program, fresh: Fresh) -> None:
        before = program.attributes()
        rollout = program.stage(V2, "2")
        rollout.arm()
        assert program.looks() == fresh(V1)
        rollout.disarm()
        assert program.looks() == fresh(V1)
        assert program.attributes() == before
        rollout.arm()
        rollout.abort()
        assert program.attributes() == before

    def test_live_it_is_the_new_one(self, program: Program, fresh: Fresh) -> None:
        call = program.begin()
        rollout = program.goes(V2, "2")
        assert program.looks() == fresh(V2)
        assert next(call) == "1"
        call.close()
        assert rollout.drained.wait(10)
        assert rollout.wait_settled(10)
        assert program.looks() == fresh(V2)
        assert not any("__signature__" in one for one in program.attributes())

    def test_armed_before_and_live_with_nothing_in_flight(self, program: Program, fresh: Fresh) -> None:
        rollout = program.stage(V2, "2")
        rollout.arm()
        rollout.commit()
        assert program.looks() == fresh(V2)
        assert rollout.drained.wait(10)
        assert not any("__signature__" in one for one in program.attributes())

    def test_flipped_with_old_work_of_both(self, program: Program, fresh: Fresh) -> None:
        before = program.attributes()
        rollout = program.stage(V2, "2")
        rollout.arm()
        assert program.looks() == fresh(V1)
        calls = [program.begin()]
        for _ in range(2):
            rollout.commit()
            assert program.looks() == fresh(V2)
            calls.append(program.begin())
            rollout.rollback()
            assert program.looks() == fresh(V1)
            calls.append(program.begin())
        assert [next(call) for call in calls] == ["1", "2", "1", "2", "1"]
        rollout.arm()
        assert program.looks() == fresh(V1)
        rollout.abort()
        assert program.looks() == fresh(V1)
        while calls:
            calls.pop().close()
        assert rollout.drained.wait(10)
        assert forks_go()
        assert program.looks() == fresh(V1)
        assert program.attributes() == before

    def test_swaps_that_overlap(self, program: Program, fresh: Fresh) -> None:
        first = program.begin()
        one = program.goes(V2, "2")
        second = program.begin()
        two = program.goes(V3, "3")
        assert program.looks() == fresh(V3)
        second.close()
        assert two.drained.wait(10)
        assert program.looks() == fresh(V3)
        two.rollback()
        assert program.looks() == fresh(V2)
        assert next(first) == "1"
        first.close()
        assert one.drained.wait(10)
        assert two.drained.wait(10)
        assert forks_go()
        assert program.looks() == fresh(V2)
        assert not any("__signature__" in one for one in program.attributes())

    def test_a_commit_that_fails(self, program: Program, fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
        before, call, rollout = program.attributes(), program.begin(), program.stage(V2, "2")
        plainly = Writes._ops

        def failing(writes: Writes, forward: bool) -> list[Any]:
            return [*plainly(writes, forward), (divmod, 1, 0)] if forward else plainly(writes, forward)

        monkeypatch.setattr(Writes, "_ops", failing)
        with pytest.raises(CommitError, match="ZeroDivisionError") as caught:
            rollout.commit()
        monkeypatch.undo()
        assert program.looks() == fresh(V1)
        assert program.attributes() == before
        assert forks_go()
        again = program.goes(V2, "2.1")
        assert program.looks() == fresh(V2)
        assert next(call) == "1"
        call.close()
        assert again.drained.wait(10), f"whoever keeps {caught.value!r} keeps nothing that is waited for"


class TestOwnSignatures:
    OWN = inspect.Signature([inspect.Parameter("own", inspect.Parameter.KEYWORD_ONLY)])

    def test_one_that_a_function_has_stays(self, program: Program) -> None:
        program.core.page.__signature__ = self.OWN
        call, rollout = program.begin(), program.stage(V2, "2")
        rollout.arm()
        assert inspect.signature(program.core.page) is self.OWN
        rollout.disarm()
        rollout.commit()
        # It goes on as every attribute does that was set at run time.
        assert inspect.signature(program.held["page"]) is inspect.signature(program.core.page) is self.OWN
        call.close()
        assert rollout.drained.wait(10)
        assert inspect.signature(program.core.page) is self.OWN

    @pytest.mark.parametrize("armed", [True, False], ids=["armed", "live"])
    def test_one_that_is_set_meanwhile_wins(self, program: Program, armed: bool) -> None:
        call, rollout = program.begin(), program.stage(V2, "2")
        if armed:
            rollout.arm()
        else:
            rollout.commit()
        program.core.page.__signature__ = self.OWN
        assert inspect.signature(program.held["page"]) is self.OWN
        if armed:
            rollout.commit()
        assert inspect.signature(program.core.page) is self.OWN
        call.close()
        assert rollout.drained.wait(10)
        assert rollout.wait_settled(10)
        assert inspect.signature(program.core.page) is inspect.signature(program.held["page"]) is self.OWN

    def test_a_copy_tells_what_holds_later(self, program: Program, fresh: Fresh) -> None:
        call = program.begin()
        rollout = program.goes(V2, "2")
        above = functools.wraps(program.core.bare)(lambda *_: None)
        assert str(inspect.signature(above)) == "(x, y)"
        call.close()
        assert rollout.drained.wait(10)
        program.goes(V3, "3")
        assert str(inspect.signature(above)) == "(x, y, z)"

    def test_what_is_made_of_it_is_a_plain_one(self, program: Program) -> None:
        call = program.begin()
        rollout = program.goes(V2, "2")
        found = inspect.signature(program.core.bare)
        for plain in (copy.copy(found), pickle.loads(pickle.dumps(found)), found.replace()):
            assert type(plain) is inspect.Signature
            assert plain == found
            assert hash(plain) == hash(found)
        assert repr(found) == "<Signature (x, y)>"
        assert found.bind(1, 2).arguments == {"x": 1, "y": 2}
        call.close()
        assert rollout.drained.wait(10)

    def test_keeps_neither_function_nor_code(self, program: Program) -> None:
        call = program.begin()
        rollout = program.goes(V2, "2")
        kept = inspect.signature(program.core.bare)
        call.close()
        assert rollout.drained.wait(10)
        second = weakref.ref(program.core.bare)
        third = program.goes(V3, "3")
        third.confirm()
        program.patcher.rollback()
        assert rollout.drained.is_set()
        assert second() is program.core.bare
        assert str(kept) == "(x, y)"


class TestOldCode:
    def test_sees_its_own(self, make_package: Callable[..., ModuleType]) -> None:
        source = (
            "import inspect\ndef helper(x{0}=1): pass\nclass Shop:\n    def method(self, x{0}=1): pass\n"
            "def work():\n    while True:\n"
            "        yield str(inspect.signature(helper)), str(inspect.signature(Shop().method))\n"
        )
        package = make_package({"core.py": source.format("")}).__name__
        core: Any = importlib.import_module(f"{package}.core")
        call = core.work()
        old = next(call)
        patch = Patch.from_sources({f"{package}.core": source.format("=0, y")}, version="2")
        rollout = Patcher([package]).apply(patch)
        assert next(call) == old == ("(x=1)", "(x=1)")
        assert next(importlib.import_module(f"{package}.core").work()) == ("(x=0, y=1)", "(x=0, y=1)")
        call.close()
        assert rollout.drained.wait(10)
        assert forks_go()
