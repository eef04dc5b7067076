"""The audit: it finds whoever refers to what a swap has dropped, and nobody else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap.swap.audit import Leftover, audit
from tests.test_swap_references import CORE

Make = Callable[..., ModuleType]

SOURCE = """
import dataclasses, enum, functools, typing
TABLE = {}
LISTENERS = []
class Base:
    registry = {}
    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        Base.registry[cls.__name__] = cls
class Rate(Base):
    number = {n}
    def version(self): return {n}
@dataclasses.dataclass
class Line:
    rate: Rate
    more: list[Rate] = dataclasses.field(default_factory=list)
class Colour(enum.Enum):
    RED = 1
    def says(self): return {n}
class Pair(typing.NamedTuple):
    rate: Rate
    colour: Colour = Colour.RED
@functools.singledispatch
def show(o): return {n}
@show.register
def _(o: Rate): return o.version()
LISTENERS.append(Rate().version)
LINES = [Line(Rate()), {n}]
"""


class Program:
    def __init__(self, make_package: Make, source: str = SOURCE) -> None:
        self.source = source
        self.name = make_package({"__init__.py": source.replace("{n}", "1")}).__name__
        self.patcher = hotswap.Patcher([self.name])

    def stage(self, n: int) -> hotswap.Rollout:
        patch = hotswap.Patch.from_sources({self.name: self.source.replace("{n}", str(n))})
        return self.patcher.stage(patch)

    def apply(self, n: int) -> hotswap.Rollout:
        rollout = self.stage(n)
        rollout.verify()
        rollout.commit()
        return rollout


class TestClean:
    def test_finds_nothing_after_any_of_many_swaps(self, make_package: Make) -> None:
        program = Program(make_package)
        for n in range(2, 6):
            assert program.apply(n).audit() == ()

    def test_finds_nothing_after_a_swap_of_every_kind_of_object(self, make_package: Make) -> None:
        program = Program(make_package, CORE)
        for n in range(2, 4):
            assert [str(leftover) for leftover in program.apply(n).audit()] == []

    def test_what_the_journal_holds_is_no_leftover_and_dies_with_it(self, make_package: Make) -> None:
        import gc
        import weakref

        program = Program(make_package)
        rollout = program.stage(2)
        twin = weakref.ref(rollout.candidate[program.name].Rate)
        rollout.verify()
        rollout.commit()
        assert rollout.audit() == ()
        program.apply(3)
        gc.collect()
        assert twin() is None

    @pytest.mark.threads
    def test_what_a_class_knows_its_subclasses_by_does_not_count(self, tmp_path: Path) -> None:
        # In a process of its own: here the register of `object` is frozen, and so it is not seen.
        (tmp_path / "known.py").write_text("import weakref\nclass A:\n    n = 1\nHELD = weakref.ref(A)\n")
        script = """
import pathlib, sys
sys.path.insert(0, ".")
import hotswap, known
text = pathlib.Path("known.py").read_text().replace("n = 1", "n = 2")
rollout = hotswap.Patcher(["known"]).apply(hotswap.Patch.from_sources({"known": text}))
known = sys.modules["known"]
print(rollout.audit(), known.HELD() is known.A, known.A.n)
"""
        done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "() True 2"


class TestLeftovers:
    @pytest.mark.parametrize(
        "hold", [lambda o: o, lambda o: [o], lambda o: (1, o), lambda o: {1: o}, lambda o: lambda: o]
    )
    def test_whoever_got_hold_of_a_twin_is_named(self, hold: Callable[[Any], Any], make_package: Make) -> None:
        program = Program(make_package)
        outside: Any = make_package({"__init__.py": "held = None"}, name=f"outside_of_{program.name}")
        rollout = program.stage(2)
        outside.held = hold(rollout.candidate[program.name].Rate)
        rollout.verify()
        rollout.commit()
        assert {left.what for left in rollout.audit()} == {f"the dropped class {program.name}.Rate"}
        outside.held = None
        assert rollout.audit() == ()

    def test_a_table_of_weak_references_is_not_taken_for_a_base(self, make_package: Make) -> None:
        program = Program(make_package, "import weakref\nclass A:\n    n = {n}\nHELD = weakref.ref(A)\n")
        outside: Any = make_package({"__init__.py": "held = None"}, name=f"outside_of_{program.name}")
        rollout = program.stage(2)
        candidate = rollout.candidate[program.name]
        outside.held = {id(candidate.A): candidate.HELD}
        del candidate
        rollout.verify()
        rollout.commit()
        assert [left.what for left in rollout.audit()] == ["a dropped ReferenceType"]

    def test_the_name_under_which_it_is_held_is_told(self, make_package: Make) -> None:
        program = Program(make_package)
        outside: Any = make_package({"__init__.py": "held = None"}, name=f"outside_of_{program.name}")
        rollout = program.stage(2)
        outside.held = [rollout.candidate[program.name].Rate]
        rollout.verify()
        rollout.commit()
        assert [str(left) for left in rollout.audit()] == [
            f"a list in {outside.__name__}:held keeps the dropped class {program.name}.Rate"
        ]

    def test_a_twin_of_a_kept_container_counts_too(self, make_package: Make) -> None:
        program = Program(make_package)
        rollout = program.stage(2)
        held = [rollout.candidate[program.name].LISTENERS]
        rollout.verify()
        rollout.commit()
        (left,) = rollout.audit()
        assert (left.holder, left.what) == ("list", "a dropped list")
        assert held


class Journal:
    """Keeps what was dropped, as a swap does."""

    __module__ = "hotswap.journal"

    def __init__(self, *dropped: Any) -> None:
        self.dropped = list(dropped)

    def audit(self) -> tuple[Leftover, ...]:
        return audit(iter(self.dropped), self)


def dropped() -> Any:
    return type("Dropped", (), {})


class TestWhatKeepsAHolder:
    """It counts only if something leads to it besides what was dropped."""

    def test_what_only_dropped_objects_lead_to_is_gone_with_them(self) -> None:
        gone = dropped()
        holder: list[Any] = [gone]
        circle = {"holder": holder, "method": holder.append}
        holder.append(circle)
        gone.attribute = (1, [circle])
        journal = Journal(gone, [holder])
        del holder, circle
        assert journal.audit() == ()

    def test_a_call_that_runs_keeps_it(self) -> None:
        gone = dropped()
        held = [[gone]]
        gone.attribute = held[0]
        journal = Journal(gone)
        assert [str(left) for left in journal.audit()] == [
            f"a list in a running call or a C library[0] keeps the dropped class {__name__}.Dropped"
        ]
        held.clear()
        assert journal.audit() == ()

    def test_constants_in_code_are_kept_by_the_function_with_that_code(self, make_package: Make) -> None:
        outside: Any = make_package({"__init__.py": "def kept(): pass\ndef gone(): pass\n"})
        gone = dropped()
        for name in ("kept", "gone"):
            function = vars(outside)[name]
            function.__code__ = function.__code__.replace(co_consts=(None, (name, [gone])))
            del function
        gone.attribute = outside.gone
        del outside.gone
        (left,) = Journal(gone).audit()
        assert (left.holder, left.where.partition(".")[0]) == ("list", f"{outside.__name__}:kept")
        del outside.kept
        assert Journal(gone).audit() == ()

    @pytest.mark.parametrize(
        ("source", "place"),
        [
            ("held = {'a': [0, gone_in([gone])]}", "held['a'][1][0]"),
            ("held = {3: gone_in(gone), (): 1}", "held[3]"),
            ("held = {(): gone_in(gone)}", "held[tuple]"),
            ("class Held:\n    inside = gone_in(gone)\n", "Held.inside"),
            ("class Held:\n    __slots__ = ('slot',)\nheld = Held()\nheld.slot = gone_in(gone)\n", "held.slot"),
            ("class Held: pass\nheld = Held()\nheld.more = Held()\nheld.more.x = gone_in(gone)\n", "held.more.x"),
            ("def make(free): return lambda: free\nheld = make(gone_in(gone))", "held.__closure__[0]"),
            ("import collections\nheld = collections.deque([gone_in(gone)])", "held[0]"),
            ("import itertools\nheld = itertools.repeat(gone_in(gone))", "held.<list>"),
        ],
    )
    def test_the_way_to_it_is_told(self, source: str, place: str, make_package: Make) -> None:
        gone = dropped()
        outside = make_package({"__init__.py": "pass"})
        vars(outside).update(gone=gone, gone_in=lambda o: [o])
        exec(source, vars(outside))
        del vars(outside)["gone"], vars(outside)["gone_in"]
        (left,) = Journal(gone).audit()
        assert (left.holder, left.where) == ("list", f"{outside.__name__}:{place}")


class TestRefusals:
    def test_only_what_is_live_can_be_audited(self, make_package: Make) -> None:
        program = Program(make_package)
        first = program.apply(2)
        program.apply(3)
        with pytest.raises(hotswap.errors.StateError, match="only what went live last"):
            first.audit()
        last = program.stage(4)
        with pytest.raises(hotswap.errors.StateError):
            last.audit()
        last.abort()
        assert vars(sys.modules[program.name])["Rate"]().version() == 3
