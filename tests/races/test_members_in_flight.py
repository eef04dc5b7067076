"""Members of enumerations come and go: old work gets the old ones, by whatever way it looks them up."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads  # what has drained is settled in one

SOURCE = """
import enum
import pickle

class Status(enum.Enum):
    OPEN = "open"
    {members}
    @property
    def shout(self): return self.value.upper()

class Level(enum.IntEnum):
    LOW = 1
    {levels}

class Words(enum.Enum):
    ONE = ["one"]
    {words}

def facts():
    def tried(look):
        try: return look()
        except (AttributeError, KeyError, ValueError) as error: return type(error).__name__
    return [
        [one.name for one in Status], len(Status), [*reversed(Level)], [*Status.__members__], [*Words],
        [tried(lambda: Status.DONE.shout), tried(lambda: Status["DONE"]), tried(lambda: Status("done"))],
        [tried(lambda: Status.CLOSED.shout), tried(lambda: Status["CLOSED"]), tried(lambda: Status("closed"))],
        [tried(lambda: Words(["two"])), tried(lambda: Words(["three"]))],
        [tried(lambda: Level(2)), tried(lambda: Level(3))],
        tried(lambda: pickle.loads(pickle.dumps(Status.DONE)) is Status.DONE), hasattr(Status, "CLOSED"),
    ]

def unchanged():
    while True: yield str(facts())

def changed():
    tag = "{members}"
    while True: yield str(facts())

def walks():
    for one in Status: yield one.value

class Right(enum.Flag):
    READ = 1
    {rights}

def rights():
    while True: yield str([Right.READ, hasattr(Right, "WRITE") and Right.WRITE.value, [*Right], Right["READ"]])
"""
VERSIONS: list[dict[str, str]] = [
    {"members": "DONE = 'done'", "levels": "HIGH = 2", "words": "TWO = ['two']", "rights": "WRITE = 2"},
    {"members": "CLOSED = 'closed'; X = 'x'", "levels": "TOP = 3", "words": "THREE = ['three']", "rights": ""},
    {"members": "DONE = 'done'; CLOSED = 'closed'", "levels": "HIGH = 2; TOP = 3", "words": "", "rights": "EXEC = 4"},
]


class Service:
    def __init__(self, make: Callable[..., ModuleType]) -> None:
        package = make({"core.py": SOURCE.format(**VERSIONS[0])}).__name__
        self.name = f"{package}.core"
        __import__(self.name)
        self.patcher = Patcher([package], handover=None)

    @property
    def core(self) -> Any:
        return sys.modules[self.name]

    def patch(self, version: int) -> Patch:
        text = SOURCE.format(**VERSIONS[version])
        return Patch.from_sources({self.name: text}, version=str(len(self.patcher.history()) + 1))

    def apply(self, version: int) -> hotswap.Rollout:
        return self.patcher.apply(self.patch(version))

    def facts(self) -> str:
        return str(self.core.facts())


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> Iterator[Service]:
    yield Service(make_package)
    assert forks_go()


@pytest.mark.parametrize("name", ["unchanged", "changed"])
class TestCalls:
    def test_in_flight_get_the_old_members(self, service: Service, name: str) -> None:
        old, pure = getattr(service.core, name)(), service.facts()
        status = service.core.Status
        members, listed = vars(status)["_member_map_"], vars(status)["_member_names_"]
        assert next(old) == pure
        rollout = service.apply(1)
        assert next(old) == pure
        new = service.facts()
        assert "'AttributeError', 'KeyError', 'ValueError'" in new
        assert not hasattr(status, "DONE")
        assert [one.name for one in status] == ["OPEN", "CLOSED", "X"]
        assert next(getattr(service.core, name)()) == new
        old.close()
        assert rollout.drained.wait(20)
        assert forks_go()
        assert service.facts() == new
        assert vars(status)["_member_names_"] is listed
        service.patcher.rollback()
        assert service.facts() == pure
        assert vars(status)["_member_map_"] == members

    def test_of_several_versions(self, service: Service, name: str) -> None:
        calls: list[Any] = []
        pure: list[str] = []
        for version in (0, 1, 2, 0):
            if version or calls:
                service.apply(version)
            calls.append(getattr(service.core, name)())
            pure.append(service.facts())
            assert [next(call) for call in calls] == pure
        assert pure[0] == pure[3] != pure[1] != pure[2] != pure[0]
        for call in calls[1:]:
            call.close()
        assert next(calls[0]) == pure[0]
        calls[0].close()

    def test_are_new_after_a_rollback(self, service: Service, name: str) -> None:
        pure = service.facts()
        service.apply(1)
        flight, new = getattr(service.core, name)(), service.facts()
        next(flight)
        service.patcher.rollback()
        assert next(flight) == new
        assert service.facts() == pure
        flight.close()


def test_a_session_gets_the_old_members(service: Service) -> None:
    pure, session, inside = service.facts(), hotswap.session(), contextvars.Context()
    inside.run(session.__enter__)
    rollout = service.patcher.stage(service.patch(1))
    rollout.verify()
    rollout.arm()
    assert inside.run(service.facts) == service.facts() == pure
    rollout.commit()
    assert inside.run(service.facts) == pure != service.facts()
    assert inside.run(getattr, service.core.Status, "DONE").value == "done"
    inside.run(session.__exit__, None, None, None)
    assert rollout.drained.wait(20)


def test_a_loop_over_the_members_goes_on(service: Service) -> None:
    """Whoever runs it: the names are changed in place, and each is found."""
    old, mine = service.core.walks(), iter(service.core.Status)
    assert next(old) == next(mine).value == "open"
    service.apply(1)
    assert [*old] == [one.value for one in mine] == ["closed", "x"]


def test_flags_are_still_there(service: Service) -> None:
    old = service.core.rights()
    pure = next(old)
    rollout = service.patcher.stage(service.patch(1))
    assert any("WRITE" in warning and "Right" in warning for warning in rollout.plan.warnings)
    rollout.verify()
    rollout.commit()
    assert next(old) == pure
    assert next(service.core.rights()) == str(
        [service.core.Right.READ, False, [service.core.Right.READ], service.core.Right.READ]
    )
    old.close()


def test_the_plan_names_members_that_get_another_value(service: Service) -> None:
    text = SOURCE.format(**VERSIONS[0]).replace('"open"', '"opened"')
    rollout = service.patcher.stage(Patch.from_sources({service.name: text}, version="2"))
    assert [warning for warning in rollout.plan.warnings if "OPEN" in warning and "in flight" in warning]
    rollout.abort()
