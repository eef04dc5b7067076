"""An update at every point of a program: each call of it is of one version, the one that was live when it began.

A program is run once to list its points: every call and every line in the code of its package, in all threads. Then it
is run again for each of them, and the other version takes the place of the one that runs exactly there. In each program
everything changes at once, so that a call of one version that meets anything of the other fails, or shows it.

``HOTSWAP_EVERY_OPCODE=1`` makes a point of each instruction; that takes ten times as long.
``HOTSWAP_EVERY_NTH_POINT=10`` takes each tenth one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType

import pytest

from hotswap.swap.forks import Forks
from tests.every_point import classes, functions, handed_out, service, suspended
from tests.every_point.programs import Program
from tests.every_point.subjects import Subject

pytestmark = [pytest.mark.threads, pytest.mark.slow]

OPCODES = "HOTSWAP_EVERY_OPCODE" in os.environ
EVERY = int(os.environ.get("HOTSWAP_EVERY_NTH_POINT", "1"))
"""CI takes each twentieth point on all interpreters but one, which takes them all."""
ROOMS = (functions, classes, suspended, handed_out, service)
PROGRAMS: list[Program] = [program for room in ROOMS for program in room.PROGRAMS]


FEWEST = 2_000
"""How many combinations of a program, a point of it, and a direction are tried at least; and with `-m stress` again."""

every_program = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
every_thread = pytest.mark.parametrize(
    "thread",
    ["same", pytest.param("another", marks=pytest.mark.stress if EVERY == 1 else ())],  # a share of them is run always
    ids=["same-there-another-back", "another-there-same-back"],
)


@pytest.fixture
def subject(make_package: Callable[..., ModuleType]) -> Callable[[Program, str], Subject]:
    return lambda program, thread: Subject(make_package, program, thread, opcodes=OPCODES)


class TestEveryPoint:
    @every_thread
    @every_program
    def test_is_of_one_version(self, subject: Callable[[Program, str], Subject], program: Program, thread: str) -> None:
        one = subject(program, thread)
        one.run(every=EVERY)
        assert not one.failures, "\n".join([f"{len(one.failures)} of {one.tried} points:", *one.failures])

    @every_program
    def test_is_the_same_in_each_run(self, subject: Callable[[Program, str], Subject], program: Program) -> None:
        one, other = subject(program, "same"), subject(program, "same")
        assert one.met == other.met
        assert one.pure == other.pure
        assert all(old != new for old, new in zip(*one.pure, strict=True))

    @pytest.mark.skipif(
        EVERY > 1, reason="a share of the points is run, on interpreters of which another runs them all"
    )
    def test_there_are_many(self, subject: Callable[[Program, str], Subject]) -> None:
        points = [subject(program, "same").points for program in PROGRAMS]
        assert sum(len(old) + len(new) for old, new in points) >= FEWEST


class TestWithoutForks:
    @pytest.mark.parametrize("program", [one for one in PROGRAMS if one.forked], ids=lambda program: program.name)
    def test_there_are_mixtures(
        self, subject: Callable[[Program, str], Subject], program: Program, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The tests above would see it."""
        whole = subject(program, "same")
        monkeypatch.setattr(Forks, "needed", lambda _: False)
        monkeypatch.setattr(Forks, "probe", lambda _: iter(()))
        whole.run(until=1)
        assert whole.failures
