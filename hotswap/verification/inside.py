"""Whether the running code belongs to a check, so that a check can't call back into the rollout that waits for it.

Module bodies that a rollout runs are told in the same way, by a token of their own.

Kept in a context variable: seen in the check's own thread, in coroutines, in the tasks and callbacks that it
schedules on an event loop, and by ``asyncio.to_thread``. It is not seen in threads that a check starts itself, because
threads begin with an empty context (free-threaded builds of Python 3.14 hand it on).
"""

from __future__ import annotations

import time
from contextvars import ContextVar

from hotswap.stage import mark

__all__ = ["Visit", "current_token", "is_inside_check", "is_within", "time_left"]


class Visit:
    """One run of one check; lives in the context that the check runs in, and in copies of it.

    Arguments:
        token: says for whom the check runs.
        outer: the visit in which this one was begun, where a check of one caller uses another caller.
        deadline: when its time is up, by `time.monotonic`; None: it has no limit.
    """

    __slots__ = ("deadline", "outer", "over", "token")

    def __init__(self, token: object, outer: Visit | None, deadline: float | None = None) -> None:
        self.token = token
        self.outer = outer
        self.deadline = deadline
        # A check may leave a task or callback behind that keeps a copy of the context for ever; once the check has
        # ended, what runs there is ordinary work again.
        self.over = False

    @classmethod
    def begin(cls, token: object, deadline: float | None = None) -> Visit:
        """Mark the current context as one in which a check runs, until `over` is set."""
        visit = cls(token, _visit.get(), deadline)
        _visit.set(visit)
        mark(visit)
        return visit

    def end(self) -> None:
        """What runs in the current context is ordinary work again, and so is what was left in copies of it."""
        self.over = True
        if _visit.get() is self:
            _visit.set(self.outer)


_visit: ContextVar[Visit | None] = ContextVar("hotswap.verification.inside_check", default=None)


def current_token() -> object | None:
    """The token of the innermost check that the calling code belongs to, or None outside of checks."""
    visit = _visit.get()
    while visit is not None and visit.over:
        visit = visit.outer
    return None if visit is None else visit.token


def time_left() -> float | None:
    """Return the seconds that are left to the check that the calling code belongs to; None outside of checks.

    It is 0 when the time is up. For checks that have to end what they have begun before they are ended themselves.
    """
    visit, deadlines = _visit.get(), []
    while visit is not None:
        if visit.deadline is not None and not visit.over:
            deadlines.append(visit.deadline)
        visit = visit.outer
    return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None


def is_inside_check(token: object | None = None) -> bool:
    """Whether the calling code belongs to a check.

    Arguments:
        token: asks for checks that run with this very token, be it the innermost or an enclosing one; None: any.
    """
    if token is None:
        return current_token() is not None
    return is_within(_visit.get(), token)


def is_within(visit: Visit | None, token: object) -> bool:
    """Whether a visit, or one around it, is for a token, and goes on."""
    while visit is not None:
        if visit.token is token and not visit.over:
            return True
        visit = visit.outer
    return False
