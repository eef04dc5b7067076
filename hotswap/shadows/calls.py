"""Calls: what is noted of one live call while it is made.

Guarantees: nothing of this changes what the caller gets, and nothing that goes wrong here reaches him. What the caller
pays for is choosing, copying arguments and answer, and a place in a queue; the candidate is called later, elsewhere.
"""

from __future__ import annotations

import inspect
import time
from contextvars import Context, copy_context
from types import CoroutineType
from typing import Any, NamedTuple, Protocol

from hotswap.shadows.figures import brief
from hotswap.shadows.options import Options

__all__ = ["Call", "Outcome", "Shadowing"]

_TEXT = 200
"""Characters of the text of an exception that are told."""


class Outcome(NamedTuple):
    """What came of a call.

    Attributes:
        value: what it returned.
        kind: the type of what it raised; None if it returned.
        text: the text of that.
    """

    value: Any
    kind: type[BaseException] | None = None
    text: str = ""

    @classmethod
    def raised(cls, error: BaseException) -> Outcome:
        """That of a call that raised. The exception itself is not kept: it leads to the frames of the call."""
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - `__str__` of somebody's exception; its type is told all the same
            text = ""
        return cls(None, type(error), text)

    @classmethod
    def returned(cls, value: Any) -> Outcome:
        """That of a call that returned. A coroutine that nobody asked for is closed: nobody would await it."""
        if inspect.iscoroutine(value):
            value.close()
            return cls(_Coroutine())
        return cls(value)

    @property
    def error(self) -> tuple[str, str] | None:
        """Type and text of what it raised; None if it returned."""
        return None if self.kind is None else (f"{self.kind.__module__}.{self.kind.__qualname__}", self.text)

    def __str__(self) -> str:
        if self.kind is None:
            return brief(self.value)
        text = self.text if len(self.text) <= _TEXT else f"{self.text[:_TEXT]}…"
        return f"raised {self.kind.__qualname__}{f': {text}' if text else ''}"


class _Coroutine:
    def __repr__(self) -> str:
        return "a coroutine"


class Shadowing(Protocol):
    """What a live call tells of itself."""

    options: Options
    is_async: bool

    def take_place(self) -> bool:
        """Take one of the places of calls that are pending; False if there is none, which is counted."""

    def leave_place(self) -> None:
        """Give it back."""

    def begin(self, call: Call, old: Outcome) -> None:
        """Have the candidate called, too. The call's place goes with it. Must not raise."""

    def leave_out(self) -> None:
        """Note that a call is not compared, as it was wanted or because it was interrupted."""

    def trouble(self, what: str, error: BaseException) -> None:
        """Note that something of the shadow went wrong. Must not raise."""


class Call:
    """One live call. Lives until the candidate has been called, or the caller drops a coroutine that nobody awaits."""

    __slots__ = ("_began", "_coroutine", "_has_place", "_of", "args", "context", "duration", "kwargs")

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    context: Context

    def __init__(self, of: Shadowing) -> None:
        self._of = of
        self._has_place = False
        self._began = self.duration = 0.0
        self._coroutine: CoroutineType[Any, Any, Any] | None = None

    def __del__(self) -> None:
        if self._coroutine is not None:
            self._coroutine.close()  # nobody has awaited what stands for it: one warning about that is enough
        self.leave()

    def leave(self) -> None:
        """Give the place back, if it has one."""
        if self._has_place:
            self._has_place = False
            self._of.leave_place()

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Note the arguments, in copies. Returns None if it is not shadowed after all."""
        options, step = self._of.options, "choosing a call"
        try:
            if callable(options.share) and not options.share(*args, **kwargs):
                return None
            if not self._of.take_place():
                return None
            self._has_place = True
            step = "copying the arguments"
            self.args, self.kwargs = options.copied(args, kwargs)
        except Exception as error:  # noqa: BLE001 - `share` and `copy` are others' code; what it raises is counted
            self._of.trouble(step, error)
            self.leave()
            return None
        self.context = copy_context()
        self._began = time.perf_counter()
        return self

    def returned(self, answer: Any) -> Any:
        """Note what it returned, and return that; of a coroutine function, what stands for the coroutine."""
        if not self._of.is_async:
            self.answered(answer)
            return answer
        self._coroutine = answer
        made: Any = self._watched()
        made.__name__, made.__qualname__ = answer.__name__, answer.__qualname__
        return made

    def answered(self, answer: Any) -> None:
        """Note what came of it."""
        self.duration = time.perf_counter() - self._began
        try:
            old = Outcome(self._of.options.copied_answer(answer))
        except Exception as error:  # noqa: BLE001 - as above
            self._of.trouble("copying the answer", error)
            self.leave()
            return
        self._of.begin(self, old)

    def raised(self, error: BaseException) -> None:
        """Note what it raised."""
        self.duration = time.perf_counter() - self._began
        if not isinstance(error, Exception):  # interrupted, cancelled: that says nothing of the code
            self._of.leave_out()
            self.leave()
        else:
            self._of.begin(self, Outcome.raised(error))

    async def _watched(self) -> Any:
        """Await the live coroutine for the caller."""
        coroutine, self._coroutine = self._coroutine, None
        assert coroutine is not None, "it is awaited once"
        try:
            answer = await coroutine
        except BaseException as error:
            trace = error.__traceback__
            if trace is not None and trace.tb_next is not None:
                error.__traceback__ = trace.tb_next  # the caller's traceback begins with his own function
            self.raised(error)
            raise
        self.answered(answer)
        return answer
