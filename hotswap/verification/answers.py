"""From what a check returned or raised to a verdict, a line for the operator, and a traceback."""

from __future__ import annotations

import functools
import inspect
import linecache
import os
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import CodeType, FrameType, TracebackType

from hotswap import walk
from hotswap.errors import HotswapError
from hotswap.verification.checks import Verdict

__all__ = ["Answer", "Inconclusive", "close", "code_of", "judge_error", "judge_value", "stack_of"]

_MESSAGE_LIMIT = 1_000  # characters of a message that a check makes itself
_TEXT_LIMIT = 200  # characters of an exception's text in a message
_DETAIL_LIMIT = 20_000  # characters of a traceback
_MEMBERS_LIMIT = 1_000  # exceptions of groups that are looked at
_OWN = str(Path(__file__).parent) + os.sep  # what the paths of our own code begin with


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict with its reasons. A check may return one, in place of raising.

    Text only: an exception would keep the frames alive, and with them the candidate.

    Arguments:
        verdict: the judgement.
        message: why, in one line; a longer one is cut, and line breaks in it become spaces.
        detail: what belongs to it, such as the output of a program that the check has run.
    """

    verdict: Verdict
    message: str = ""
    detail: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdict", Verdict(self.verdict))
        object.__setattr__(self, "message", _limit(" ".join(self.message.split()), _MESSAGE_LIMIT))
        object.__setattr__(self, "detail", _limit(self.detail, _DETAIL_LIMIT))


class Inconclusive(HotswapError):  # noqa: N818 - it is raised, and is no error: a check says that it could not find out
    """Raised by a check that could not find out. The rollout is rejected, unless the check is registered otherwise."""


def judge_value(value: object) -> Answer:
    """The verdict on what a check returned (for an async check: what awaiting it gave)."""
    if type(value) is Answer:
        return value
    if type(value) is Verdict:
        return Answer(value)
    if inspect.isawaitable(value):
        close(value)
        return Answer(Verdict.ERROR, "it returned an awaitable out of an async check: an 'await' is missing")
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        # A generator that has not begun has run nothing of the check.
        return Answer(
            Verdict.ERROR,
            "it returned a generator, so nothing was checked: remove the 'yield', or iterate inside the check",
        )
    # By the name of the type, because numpy (bool_, since 2.0 bool) must not be imported for this.
    if type(value).__name__ in ("bool", "bool_") and not value:
        return Answer(Verdict.FAILED, "it returned False")
    return Answer(Verdict.PASSED)


def judge_error(error: BaseException, function: Callable[..., object]) -> Answer:
    """The verdict on what a check raised.

    Arguments:
        error: the exception, with its traceback.
        function: the check, to find the line in it that led to the exception.
    """
    # By type and descriptor: an exception may be anything, and attributes that lie or raise must not keep the answer
    # from being given.
    if issubclass(type(error), Inconclusive):
        return Answer(Verdict.INCONCLUSIVE, _text(error, _MESSAGE_LIMIT))
    failure = _failure_in(error)
    said = error if failure is None else failure
    verdict = Verdict.ERROR if failure is None else Verdict.FAILED
    trace = _trace_of(said)
    kind = type(said).__qualname__
    text = _text(said)
    where = ""
    with suppress(Exception):  # a check may be any object, whose attributes may be anything; there is no line then
        where = _where(trace, function, with_source=not text)
    message = f"{kind}: {text}" if text else kind
    return Answer(verdict, f"{message} ({where})" if where else message, _detail(error, _trace_of(error)))


def _trace_of(error: BaseException) -> TracebackType | None:
    """The traceback of an exception, without the frames that led into the check."""
    trace = walk.trace_of(error)
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN):
        trace = trace.tb_next
    return trace


def _failure_in(error: BaseException) -> BaseException | None:
    """The first assertion that did not hold: the exception, or one in a group of those of several tasks."""
    waiting, seen = deque([error]), {id(error)}
    while waiting:
        one = waiting.popleft()
        if issubclass(type(one), AssertionError):
            return one
        for member in walk.members_of(one):
            if id(member) not in seen and len(seen) < _MEMBERS_LIMIT:
                seen.add(id(member))
                waiting.append(member)
    return None


def stack_of(frame: FrameType) -> str:
    """What a thread is doing, as text, without the frames that led into the check."""
    frames = traceback.extract_stack(frame)
    own = [index for index, summary in enumerate(frames) if summary.filename.startswith(_OWN)]
    return _limit("".join(traceback.format_list(frames[own[-1] + 1 :] if own else frames)), _DETAIL_LIMIT)


def close(value: object) -> None:
    """Discard an awaitable that nobody will await; a coroutine would warn about that otherwise."""
    if inspect.iscoroutine(value):
        value.close()


def _text(error: BaseException, length: int = _TEXT_LIMIT) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # `__str__` of any exception
        # Exceptions of candidates are arbitrary code; the type and the place are still worth telling.
        text = "(its text can't be read)"
    return _limit(" ".join(text.split()), length)


def _where(trace: TracebackType | None, function: Callable[..., object], *, with_source: bool) -> str:
    """The innermost line of the check itself, or else of whatever raised."""
    code = code_of(function)
    summary = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(trace)]
    if not summary:
        # Nothing of the check ran: it does not take one argument, say.
        return f"{PurePath(code.co_filename).name}:{code.co_firstlineno}" if code else ""
    mine = [place for place in summary if code is not None and place[0] == code.co_filename]
    path, line = (mine or summary)[-1]
    source = linecache.getline(path, line).strip() if with_source else ""
    place = f"{PurePath(path).name}:{line}"
    return f"{place}: {_limit(source, _TEXT_LIMIT)}" if source else place


def code_of(function: Callable[..., object]) -> CodeType | None:
    """The code of a check, through partials, decorators, methods and callable objects."""
    found: object = function
    while isinstance(found, functools.partial):
        found = found.func
    with suppress(ValueError):  # a cycle of __wrapped__: the first one will do
        found = inspect.unwrap(found)  # type: ignore[arg-type]
    found = getattr(found, "__func__", found)
    if not hasattr(found, "__code__"):
        found = getattr(type(found), "__call__", None)  # noqa: B004  # its code is wanted, not whether it can be called
    code = getattr(found, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _detail(error: BaseException, trace: TracebackType | None) -> str:
    try:
        lines = traceback.TracebackException(type(error), error, trace).format()
        return _limit("".join(lines), _DETAIL_LIMIT)
    except Exception:  # noqa: BLE001  # as above
        # Formatting reads attributes of exceptions, which are arbitrary code; the message is there all the same.
        return ""


def _limit(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
