"""Taps: how a shadow sees live calls of a function, whoever holds it.

The code of the function is replaced, as that of a function which leads to a successor is. The code in its place has
the same signature, asks whether this call is shadowed, and calls a function that has the code of before. A call that is
not shadowed takes one Python frame more, and a call in Python that asks. While no tap is in place nothing is asked.

To the rest of hotswap a tapped function is a fork that leads to itself: it looks through it for the caller, and for
the code that runs.

Guarantees: putting a tap in place, and taking it out, is one store. A call that has begun in between goes through to
the function. What the caller gets is what the function returned or raised, with a traceback in which the tap has no
entry. Assumes: nobody makes a swap while taps are put in place or taken out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any, Protocol

from hotswap.swap.doubles import stand_in
from hotswap.swap.templates import Parameters, dressed, on_one_line
from hotswap.swap.ways import Ways

__all__ = ["Seen", "Tap"]

_CODE: Any = vars(FunctionType)["__code__"]
_TAP = "hotswap: the tap stands here"


class Seen(Protocol):
    """One live call that is shadowed. Nothing of it may raise, but for what is meant for the caller (Ctrl-C)."""

    def given(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Seen | None:
        """Note the arguments before the call is made. Returns None if it is not shadowed after all."""

    def returned(self, answer: Any) -> Any:
        """Note what the call returned, and return that."""

    def raised(self, error: BaseException) -> None:
        """Note what the call raised."""


class Tap(Ways):
    """Has live calls of one function seen. Lives as long as its code stands in the function.

    Arguments:
        function: the function whose code is replaced.
        others: functions that run what is its code, as soon as no old call is in flight.
        see: is asked for each call, and returns what notes it; None if it is not shadowed. It must not raise.
    """

    __slots__ = ("_before", "_code", "_places", "_see")

    def __init__(
        self, function: FunctionType, others: tuple[FunctionType, ...], see: Callable[[], Seen | None]
    ) -> None:
        own = stand_in(function, function.__code__)
        super().__init__((), own, None, own)
        self._places = (function, *others)
        self._see: Callable[[], Seen | None] = see
        self._before: CodeType | None = function.__code__
        template = _template(Parameters.of(function.__code__), len(function.__code__.co_freevars))
        self._code: CodeType | None = dressed(template, _TAP, self, function, function.__code__)

    def put(self) -> Callable[[], None]:
        """Put it in place, and return what takes it out, which may be called again."""
        _CODE.__set__(self._places[0], self._code)
        return self._take_out

    def _take_out(self) -> None:
        for place in self._places if self._before is not None else ():
            # One that somebody else has led elsewhere meanwhile is let alone.
            if place.__code__ is self._code:
                _CODE.__set__(place, self._before)
        # Who waits for old calls to end waits for the death of their code: nothing of it is kept here. A call that has
        # come as far as to the tap goes on to the function.
        self.own = self.new = self._places[0]
        self._see, self._before, self._code = _nobody, None, None

    # --- what the code of the function calls ---

    def look(self) -> Seen | None:
        """Say whether a call that begins is shadowed, and by what it is noted."""
        return self._see()

    def raised(self, seen: Seen | None, error: BaseException) -> None:
        """Note that a call has raised, shadowed or not: the traceback begins with the function itself."""
        trace = error.__traceback__
        if trace is not None and trace.tb_next is not None:
            error.__traceback__ = trace.tb_next
        if seen is not None:
            seen.raised(error)

    def of(self, frame: FrameType) -> Any:
        """What the code in a frame gets: everybody the same."""
        return self.own


def _nobody() -> None:
    """See nothing: the tap was taken out."""


@functools.lru_cache(maxsize=256)
def _template(taken: Parameters, variables: int) -> CodeType:
    parameters, arguments, named = taken.told
    tap, seen, answer, error = map(taken.unlike, ("_hotswap_tap", "_hotswap_seen", "_hotswap_answer", "_hotswap_error"))
    given = "".join(f"{argument}, " for argument in arguments)
    keywords = ", ".join(f"{name!r}: {value}" if name else f"**{value}" for name, value in named)
    call = given + ", ".join(f"{name}={value}" if name else f"**{value}" for name, value in named)
    return on_one_line(
        f"def forwarder({parameters}):\n"
        f" {tap} = {_TAP!r}; {seen} = {tap}.look()\n"
        f" if {seen} is not None: {seen} = {seen}.given(({given}), {{{keywords}}})\n"
        f" try: {answer} = {tap}.own({call})\n"
        f" except BaseException as {error}: {tap}.raised({seen}, {error}); raise\n"
        f" return {answer} if {seen} is None else {seen}.returned({answer})\n",
        variables,
    )
