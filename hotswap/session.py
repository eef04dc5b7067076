"""Sessions: a unit of work keeps the generation that it began with, whatever it calls, until it ends.

A session knows the period in which it began (see `periods`), and stands in a context variable: so it holds for the
tasks, and for the threads that run in a copy of the context, too. A fork asks for it; where no fork stands nobody does,
and nothing slows down.

Guarantees: a session is of one generation from its first statement to its last, also if a swap is made while it
begins. Opening and closing a session takes no lock, and may be done on any thread and in any task.

While somebody wants to know (`hotswap.tally`), the sessions of each period are counted, with how long they took and
whether they failed; those that began within another, or on an armed candidate, are not.

Assumes: setting a variable of a context is one step, with the GIL and without.
"""

from __future__ import annotations

import functools
import gc
import inspect
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import Context, ContextVar, Token, copy_context
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Any, TypeVar, cast

from hotswap import tally
from hotswap.openers import Opening
from hotswap.periods import Keeper, now

__all__ = [
    "Mark",
    "Session",
    "asking",
    "context_outside",
    "end_route",
    "here",
    "number_here",
    "opened",
    "outside",
    "route",
    "session",
]

Function = TypeVar("Function", bound=Callable[..., Any])


class Mark:
    """Stands for an armed candidate in the sessions that are on it: it lives as long as one of them is open."""

    __slots__ = ("__weakref__",)


class Session:
    """One unit of work: it keeps the generation that it began with. Use it with `with`, `async with` or as a decorator.

    Arguments:
        about: what the unit of work is about, for the policies of armed rollouts.
        previews: the marks of the armed candidates on which it is, whatever their policies say.

    One that begins within another belongs to it, and keeps the same generation. What it starts and does not wait for
    has no session any more when the block has ended. It begins once: a second time raises RuntimeError.
    """

    __slots__ = (
        "__weakref__",
        "_job",
        "_keeper",
        "_since",
        "_token",
        "about",
        "began",
        "failed",
        "number",
        "opening",
        "previews",
        "thread",
    )

    def __init__(self, about: object = None, previews: tuple[Mark, ...] = ()) -> None:
        self.about = about
        """What the unit of work is about, as it was given."""
        self.number: int | None = None
        """That of the period in which it began; None if it is not open."""
        self.previews = previews
        """The marks of the armed candidates on which it is."""
        self._keeper: Keeper | None = None
        self.opening: Opening | None = None
        """How it was opened, or the one around it; None if nobody wanted to know."""
        self._token: Token[Session | None] | None = None
        self._job: object = None
        self.began = 0.0
        """When it began, in seconds since the epoch."""
        self.thread = 0
        """The identity of the thread in which it began."""
        self.failed = False
        """Whether the unit of work failed, as `fail` says."""
        self._since = 0.0

    def __enter__(self) -> Session:
        self._begin()
        self._token = _current.set(self)
        return self

    def _begin(self, task: Any = None) -> None:
        if self.began:
            raise RuntimeError("a session begins once: open another one with hotswap.session()")
        around = _current.get()
        number, keeper = (None, None) if around is None else (around.number, around._keeper)
        if around is None or number is None or keeper is None:
            self.number, self._keeper = now()
            self.opening = Opening(self._job, task) if any(asking) else None
            for candidate, chosen in list(_routes.items()) if _routes else ():
                if chosen(self.about):
                    self.previews = (*self.previews, candidate)
            if tally.wanted and not self.previews:
                self._keeper.counts.begun += 1
                self._since = time.monotonic()
        else:
            self.number, self._keeper, self.previews = number, keeper, (*around.previews, *self.previews)
            self.opening = around.opening
        self.began, self.thread = time.time(), threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, Exception):  # others are no errors of the work: it was cancelled, say
            self.failed = True
        self.end()
        # What it leads to is let go of, too: the context, and the session around.
        token, self._token = self._token, None
        if token is not None:
            # Closed in another context than it was opened in, as a generator may be that is thrown away: there it
            # stays, and holds nothing.
            with suppress(ValueError, RuntimeError):
                _current.reset(token)

    async def __aenter__(self) -> Session:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __call__(self, function: Function) -> Function:
        """Return a function each call of which is a session of its own.

        A function that returns something to be awaited, and is no coroutine function, has its session until it returns.
        """
        return cast("Function", _wrapped(function, self.about))

    @classmethod
    def begun(cls, about: object, task: object) -> Session:
        """Return one that has begun, and holds in the context of the caller until somebody calls `end`.

        Arguments:
            about: what it is about.
            task: the task for which it has begun. What has called may end long before the session does.
        """
        made = cls(about)
        made._begin(task)
        _current.set(made)
        return made

    def fail(self) -> None:
        """Note that the unit of work failed, although no exception leaves its block; a bake counts it as an error."""
        self.failed = True

    def end(self) -> None:
        """End it, in whatever contexts it holds."""
        keeper, since = self._keeper, self._since
        if since and keeper is not None:
            self._since = 0.0
            at = time.monotonic()
            keeper.counts.add(at - since, failed=self.failed, at=at)
        self.number = self._keeper = None
        self.previews, self.opening = (), None

    @contextmanager
    def _aside(self) -> Iterator[Callable[[], AbstractContextManager[None]]]:
        """Begin and end, but hold only in the blocks of what this gives: a generator shares its caller's context."""
        self._begin()
        try:
            yield functools.partial(_holding, self)
        except Exception:
            self.failed = True
            raise
        finally:
            self.end()

    def opened_in(self, frame: FrameType) -> bool:
        """Whether it was opened by the code in a frame: what that calls is called in the session, and it was not."""
        opening = self.opening  # another thread may end it meanwhile
        return opening is not None and opening.by(frame)

    @property
    def is_open(self) -> bool:
        """Whether it has begun and not ended."""
        return self._keeper is not None

    def __repr__(self) -> str:
        about = "" if self.about is None else f" about {self.about!r}"
        if not self.began:
            return f"<Session{about}, not begun>"
        since = datetime.fromtimestamp(self.began, UTC)
        state = "since" if self.is_open else "ended, begun at"
        return f"<Session{about}, {state} {since:%Y-%m-%d %H:%M:%S} UTC, thread {self.thread}>"


_current: ContextVar[Session | None] = ContextVar("hotswap_session", default=None)


asking: list[Collection[object]] = []
"""Those who want to know who opens sessions, if there are any: as long as all of these are empty, nobody does."""

_routes: dict[Mark, Callable[[object], bool]] = {}


def route(candidate: Mark, chosen: Callable[[object], bool]) -> None:
    """Have each session that begins asked whether it is on an armed candidate.

    Arguments:
        candidate: the mark of an armed one.
        chosen: gets what the session is about, and says so. It must not raise.
    """
    _routes[candidate] = chosen


def end_route(candidate: Mark) -> None:
    """Ask no more."""
    _routes.pop(candidate, None)


def session(about: object = None) -> Session:
    """Return a session, to be opened: `with hotswap.session(): ...` keeps one generation for one unit of work.

    `async with` does the same, and so does the decorator `@hotswap.session()` for each call of a function, a coroutine
    function or a generator function.

    Arguments:
        about: what the unit of work is about: a request, a job, a customer. The policy of an armed rollout gets it.
    """
    return Session(about)


def opened(keeper: Keeper) -> list[Session]:
    """Return the open sessions of a period, and of those before it. It passes over the heap, once for each period."""
    found: list[Session] = []
    keepers = [keeper]
    while keepers:
        holders = gc.get_referrers(keepers.pop())
        found += [one for one in holders if issubclass(type(one), Session) and one.is_open]
        keepers += [one for one in holders if type(one) is Keeper]
        del holders
    return found


@contextmanager
def _holding(held: Session | None) -> Iterator[None]:
    token = _current.set(held)
    try:
        yield
    finally:
        with suppress(ValueError):  # closed in another context
            _current.reset(token)


def outside() -> AbstractContextManager[None]:
    """Have no session in a block, whatever is around it: what is done there is not part of the unit of work."""
    return _holding(None)


def context_outside() -> Context:
    """Return a copy of the caller's context which is in no session, and keeps none."""
    copied = copy_context()
    copied.run(_current.set, None)
    return copied


def number_here() -> int | None:
    """Return the number of the period in which the session of the caller began; None if he has none."""
    held = _current.get()
    return None if held is None else held.number


def here() -> Session | None:
    """Return the session of the caller; None if he has none."""
    held = _current.get()
    return None if held is None or held.number is None else held


def _wrapped(function: Any, about: object) -> Any:
    made: Any
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_wrapped(function.__func__, about))
    awaited = inspect.iscoroutinefunction(function)
    if not (inspect.isroutine(function) or isinstance(function, type)):
        awaited = awaited or inspect.iscoroutinefunction(type(function).__call__)
    if awaited:

        async def made(*args: Any, **kwargs: Any) -> Any:
            unit = Session(about)
            unit._job = function  # who awaits it may be an event loop
            with unit:
                return await function(*args, **kwargs)

    elif inspect.isasyncgenfunction(function):

        async def made(*args: Any, **kwargs: Any) -> Any:
            with Session(about)._aside() as inside:
                generator = function(*args, **kwargs)
                step, given = generator.asend, None
                while True:
                    with inside():
                        try:
                            value = await step(given)
                        except StopAsyncIteration:
                            return
                    try:
                        step, given = generator.asend, (yield value)
                    except GeneratorExit:
                        with inside():
                            await generator.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001 - it is the generator's
                        step, given = generator.athrow, error

    elif inspect.isgeneratorfunction(function):

        def made(*args: Any, **kwargs: Any) -> Any:
            with Session(about)._aside() as inside:
                generator = function(*args, **kwargs)
                step, given = generator.send, None
                while True:
                    with inside():
                        try:
                            value = step(given)
                        except StopIteration as end:
                            return end.value
                    try:
                        step, given = generator.send, (yield value)
                    except GeneratorExit:
                        with inside():
                            generator.close()
                        raise
                    except BaseException as error:  # noqa: BLE001 - it is the generator's
                        step, given = generator.throw, error

    else:

        def made(*args: Any, **kwargs: Any) -> Any:
            with Session(about):
                return function(*args, **kwargs)

    return functools.wraps(function)(made)
