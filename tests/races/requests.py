"""A service whose requests are long, and clients for it: each request makes many calls into a package, and pauses.

The versions of the package differ in the signatures of functions, methods and constructors. A request asks for the
arguments in one call and passes them in others, pauses later. Whatever it meets says its version: so a mixture is an
answer with two of them, or a `TypeError`.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterable
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from hotswap import Patch, Patcher, asgi, wsgi
from tests.races.threads import Crowd, forks_go

__all__ = ["CYCLE", "Clients", "Service"]

CORE = """
from . import tax

def helper({more}a): return "{v}"

def arguments(): return ({pass_}7,)

class Thing:
    kind = "{v}"
    def __init__(self, {more}n): self.made = "{v}"
    @property
    def price(self): return helper({pass_}1)
    @classmethod
    def usual(cls): return cls({pass_}1)
    def step(self, {more}a): return "{v}"
    def __call__(self, {more}a): return self.step({pass_}a)

def entry(a):
    thing = Thing({pass_}a)
    return ["{v}", helper({pass_}a), tax.due({pass_}a), thing.made, thing.price, thing.kind, thing.step({pass_}a)]

def walked():
    thing, function = Thing.usual(), helper
    step = thing.step
    for n in range(2):
        yield [*entry(n), function({pass_}n), step({pass_}n), thing({pass_}n)]

async def answer(pause):
    thing, found = Thing.usual(), entry(1)
    await pause()
    return [*found, *entry(2), thing.price, thing.step({pass_}2)]
"""
TAX = """
class Due:
    rate = "{v}"
    def __init__(self, {more}a): self.a = a
    @property
    def text(self): return self.rate

def due({more}a): return Due({pass_}a).text
"""
API = """
from . import core
from .core import Thing, entry

ROUTES = {"entry": core.entry}

def handle(a): return [*entry(a), *core.entry(a), *ROUTES["entry"](a), Thing.usual().made]
"""

CYCLE = ("apply", "apply", "roll back", "arm and commit", "apply", "roll back", "apply", "confirm")
"""What is done, again and again; each of it but the confirmation is a swap."""

SETTLES_WITHIN = 20.0
"""Seconds."""


def sources(version: int) -> dict[str, str]:
    """The modules that change. Odd versions have a parameter more everywhere, which comes first."""
    words = {"v": str(version), "more": "z, " * (version % 2), "pass_": "0, " * (version % 2)}
    return {"core": CORE.format(**words), "tax": TAX.format(**words)}


class Answer(NamedTuple):
    """What a client got: the versions that the request met, and how many swaps were over when it began and ended."""

    versions: frozenset[str]
    began: int
    ended: int


class Service:
    """The package, its patcher, and its requests; the code of those is outside, and holds what it needs since before.

    Arguments:
        make_package: the fixture.
        turns: how often a request does everything.
        pause: seconds between two steps of it; there are seven or eight in a turn.
        sessions: whether the middleware is there.
    """

    def __init__(
        self, make_package: Callable[..., ModuleType], *, turns: int, pause: float, sessions: bool = True
    ) -> None:
        files = {f"{name}.py": text for name, text in sources(0).items()}
        self.package = make_package({**files, "api.py": API}).__name__
        __import__(f"{self.package}.api")
        self.patcher = Patcher([self.package])
        self.turns, self.pause = turns, pause
        self.held = self.core()
        self.api: Any = sys.modules[f"{self.package}.api"]
        self.thing = self.held.Thing(1)
        self.entry, self.helper, self.step = self.held.entry, self.held.helper, self.thing.step
        self.lives = ["0"]
        """The versions that were live, one after the other."""
        self.newest = self.swaps = 0
        self.begun = threading.Event()
        """Set by each request that begins."""
        self.generations: list[list[weakref.ref[Any]]] = []
        """The modules of each generation that came. Of functions, a weak reference would have them kept on purpose."""
        asynchronous, threaded = (asgi.SessionMiddleware, wsgi.SessionMiddleware) if sessions else (_bare, _bare)
        self.asgi: Any = asynchronous(self._asgi)
        self.wsgi: Any = threaded(self._wsgi)

    def core(self) -> Any:
        return sys.modules[f"{self.package}.core"]

    # --- requests ---

    def steps(self) -> Generator[None, None, list[str]]:
        """The work on a request, with a pause at each `yield`; returns the versions that it met."""
        found: list[str] = []
        self.begun.set()
        for _ in range(self.turns):
            arguments = self.held.arguments()
            yield
            found += [self.thing.step(*arguments), self.helper(*arguments)]
            yield
            found += [self.thing.price, self.thing.kind, self.held.Thing(*arguments).made]
            yield
            found += [*self.entry(1), *self.api.handle(1)]
            yield
            found += [self.core().helper(*arguments), self.step(*arguments), self.core().Thing(*arguments)(*arguments)]
            yield
            for more in self.held.walked():
                found += more
                yield
        return found

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        steps = self.steps()
        try:
            while True:
                next(steps)
                await asyncio.sleep(self.pause)
        except StopIteration as end:
            found = [*end.value, *await self.held.answer(lambda: asyncio.sleep(self.pause))]
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": json.dumps(found).encode()})

    def _wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        steps = self.steps()
        try:
            while True:
                next(steps)
                time.sleep(self.pause)
        except StopIteration as end:
            start_response("200 OK", [])
            return [json.dumps(end.value).encode()]

    def met(self) -> set[str]:
        """The versions that a request meets which makes no pause."""
        steps = self.steps()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return {*end.value}

    # --- swaps ---

    def swap(self, times: int) -> None:
        """Make so many swaps; each changes the signatures. Each version gets a request at least before the next."""
        until = self.swaps + times
        for action in itertools.cycle(CYCLE):
            self.begun.clear()
            self.begun.wait(SETTLES_WITHIN)
            if self.swaps >= until:
                return
            self.act(action)

    def act(self, action: str) -> None:
        """Do one thing out of `CYCLE`."""
        if action == "confirm":
            current = self.patcher.current
            assert current is not None
            current.confirm()
            return
        if action == "roll back":
            self.patcher.rollback()
            self.lives.append(self.lives[-2])
        else:
            self._apply(armed=action == "arm and commit")
        self.swaps += 1

    def _apply(self, *, armed: bool) -> None:
        self.newest += 1 if self.newest % 2 == int(self.lives[-1]) % 2 else 2
        patch = Patch.from_sources(
            {f"{self.package}.{name}": text for name, text in sources(self.newest).items()}, version=str(self.newest)
        )
        rollout = self.patcher.stage(patch)
        rollout.verify()
        if armed:
            rollout.arm()
            with rollout.preview():
                assert self.met() == {str(self.newest)}
        rollout.commit()
        self.lives.append(str(self.newest))
        self.generations.append([weakref.ref(sys.modules[f"{self.package}.{name}"]) for name in ("core", "tax")])

    # --- afterwards ---

    def settled(self) -> bool:
        """Whether all that was old has drained, and no fork is left."""
        rollout = self.patcher.current
        drained = rollout is None or (rollout.drained.wait(SETTLES_WITHIN) and rollout.wait_settled(SETTLES_WITHIN))
        return forks_go(SETTLES_WITHIN) and drained

    def functions(self) -> int:
        """How many functions of the package there are, of all generations, after a collection."""
        gc.collect()
        found = (one for one in gc.get_objects() if type(one) is FunctionType)
        return sum(str(one.__module__).startswith(f"{self.package}.") for one in found)

    def alive(self) -> int:
        """Of how many generations that came something is alive, after a collection."""
        gc.collect()
        return sum(any(one() is not None for one in generation) for generation in self.generations)


def _bare(app: Any) -> Any:
    """What stands in the place of the middleware, and opens no session."""
    return app


class Clients(Crowd):
    """So many clients in tasks, and as many in threads: each sends one request after the other, until the block ends.

    Attributes:
        answers: of requests that came to an end. Equal ones are kept once: there are tens of thousands, and what they
            take would look like memory that swaps leave behind.
        failed: the errors of those that did not.
    """

    def __init__(self, service: Service, number: int) -> None:
        self.answers: set[Answer] = set()
        self.failed: list[Exception] = []
        self._service, self._number = service, number
        super().__init__([self._loop, *[self._call] * number])

    def _loop(self) -> None:
        async def clients() -> None:
            await asyncio.gather(*(self._ask() for _ in range(self._number)))

        asyncio.run(clients())

    async def _ask(self) -> None:
        while not self.over.is_set():
            sent: list[Any] = []

            async def send(message: Any, sent: list[Any] = sent) -> None:
                sent.append(message)

            async def receive() -> Any:
                raise AssertionError("there is no body")

            began = len(self._service.lives)
            try:
                await self._service.asgi({"type": "http"}, receive, send)
            except (TypeError, AttributeError) as error:
                self.failed.append(error)
            else:
                self._note(began, [sent[-1]["body"]])

    def _call(self) -> None:
        while not self.over.is_set():
            began = len(self._service.lives)
            try:
                response = self._service.wsgi({}, lambda status, headers: None)
            except (TypeError, AttributeError) as error:
                self.failed.append(error)
            else:
                self._note(began, response)

    def _note(self, began: int, response: Iterable[bytes]) -> None:
        self.answers.add(Answer(frozenset(json.loads(b"".join(response))), began, len(self._service.lives)))

    @property
    def mixed(self) -> list[Any]:
        """The answers with several versions, and the errors."""
        return [*self.failed, *(answer for answer in self.answers if len(answer.versions) != 1)]

    @property
    def stale(self) -> list[Answer]:
        """The answers of a version that was not live between the beginning of the request and its end."""
        # One swap may have been made, and not be noted yet.
        return [a for a in self.answers if not a.versions <= {*self._service.lives[a.began - 1 : a.ended + 1]}]
