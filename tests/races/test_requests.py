"""Requests that are long, many at once, while versions with other signatures come and go: each is of one version."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import ModuleType

import pytest

import hotswap
from hotswap import walk
from hotswap.swap.forks import Forks
from tests.races.requests import CYCLE, SETTLES_WITHIN, Clients, Service

pytestmark = pytest.mark.threads

CLIENTS = 16
"""In tasks, and as many in threads."""

SWAPS = 12
assert len(CYCLE) < SWAPS

Make = Callable[..., ModuleType]


@pytest.fixture
def service(make_package: Make) -> Service:
    return Service(make_package, turns=2, pause=0.01)


def load(service: Service) -> Clients:
    with Clients(service, CLIENTS) as clients:
        service.swap(SWAPS)
    return clients


class TestRequests:
    def test_are_of_one_version_each(self, service: Service) -> None:
        clients = load(service)
        assert clients.mixed == []
        assert clients.stale == []
        assert {version for answer in clients.answers for version in answer.versions} == {*service.lives}
        assert any(answer.ended > answer.began for answer in clients.answers)
        assert service.settled()
        assert service.alive() <= 2  # what is live, and what it would be rolled back to

    def test_are_mixtures_without_the_middleware(self, make_package: Make) -> None:
        """The clients above would see it."""
        assert load(Service(make_package, turns=2, pause=0.01, sessions=False)).mixed

    def test_are_mixtures_if_there_are_no_forks(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Forks, "needed", lambda _: False)
        monkeypatch.setattr(Forks, "probe", lambda _: iter(()))
        assert load(service).mixed


STORIES = (
    "apply, apply",
    "apply, apply, apply",
    "apply, end, apply",
    "apply, end, apply, end, apply",
    "apply, roll back",
    "apply, apply, roll back",
    "apply, apply, roll back, apply",
    "apply, arm and commit",
    "apply, arm and commit, roll back",
    "arm and commit, arm and commit, end, roll back, apply",
    "apply, confirm, apply, roll back, end, end, apply",
    "apply, roll back, apply, roll back",
    "apply, apply, roll back, apply, roll back",
    "apply, roll back, apply, apply, roll back, apply",
)
"""What is done while sessions of all generations are open; `end` ends the oldest."""


class Open:
    """Sessions that are open at once, the oldest first, each with the version of its generation."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._held: list[tuple[str, hotswap.Session, contextvars.Context]] = []

    def begin(self) -> None:
        session, context = hotswap.session(), contextvars.Context()
        context.run(session.__enter__)
        self._held.append((self._service.lives[-1], session, context))

    def end(self) -> None:
        """End the oldest."""
        _, session, context = self._held.pop(0)
        context.run(session.__exit__, None, None, None)

    def end_all(self) -> None:
        while self._held:
            self.end()

    def check(self) -> None:
        """Each meets its own version only, and who has none meets what is live."""
        assert [context.run(self._service.met) for *_, context in self._held] == [
            {version} for version, *_ in self._held
        ]
        assert contextvars.Context().run(self._service.met) == {self._service.lives[-1]}


class TestSessionsOfManyGenerations:
    @pytest.mark.parametrize("story", STORIES)
    def test_keep_each_its_own(self, make_package: Make, story: str) -> None:
        """Whoever holds a function, a class, a module, an object or a bound method holds it since the first version."""
        service = Service(make_package, turns=1, pause=0)
        sessions = Open(service)
        sessions.begin()
        for action in story.split(", "):
            if action == "end":
                sessions.end()
            else:
                service.act(action)
                sessions.begin()
            sessions.check()
        sessions.end_all()
        assert service.settled()
        sessions.check()

    def test_keep_no_generation_that_is_over(self, make_package: Make) -> None:
        """There is always one open, so no swap finds a process without forks; earlier functions are held outside."""
        service = Service(make_package, turns=1, pause=0)
        sessions = Open(service)
        sessions.begin()
        counts: list[int] = []
        for _ in range(SWAPS):
            before = service.patcher.current
            sessions.begin()
            service.act("apply")
            sessions.end()
            sessions.check()
            # Of what was live before the one before, no session is left.
            assert before is None or before.wait_settled(SETTLES_WITHIN)
            del before
            counts.append(service.functions())
        assert counts[SWAPS // 2 :] == counts[SWAPS // 2 - 2 : -2]  # odd and even versions are not alike
        assert service.alive() <= 3
        assert walk.forked
        sessions.end_all()
        assert service.settled()
