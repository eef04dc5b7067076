"""What happened, as structured events: one per step of a rollout, through structlog.

An application that configured structlog gets the events through its own configuration, looked up at each event. For
any other application they go, as ``key=value`` text, to the logger ``hotswap`` of the standard library: structlog's
built-in defaults would print to stdout, which a library must never do.

`subscribe` has them told in process as well, whatever becomes of the log.

`emit` runs user code (structlog processors, logging handlers, subscribers): never call it while holding a lock.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Final, Literal, TypeAlias, get_args

from hotswap.process_copy import rehearsing

try:
    import structlog
except ImportError:
    # A checkout can be imported before its dependencies are installed, and an event must not break a rollout in a
    # half-installed environment either: the standard library's logging does it then.
    structlog = None  # type: ignore[assignment]

__all__ = ["EVENT_NAMES", "Event", "EventName", "Level", "Plain", "emit", "subscribe"]

EventName: TypeAlias = Literal[
    "rollout.rehearsed",
    "rollout.staged",
    "rollout.verified",
    "rollout.armed",
    "rollout.disarmed",
    "rollout.misrouted",
    "rollout.rejected",
    "rollout.live",
    "rollout.permanent",
    "rollout.rolled_back",
    "rollout.handed_over",
    "rollout.settled",
    "migration.failed",
    "bake.began",
    "bake.passed",
    "bake.failed",
    "bake.undecided",
    "probe.failed",
    "hook.failed",
    "check.started",
    "rehearsal.failed",
    "check.passed",
    "check.failed",
    "shadow.mismatch",
    "shadow.ended",
    "drop.applied",
    "drop.failed",
    "drop.waiting",
    "drop.rolled_back",
    "drop.ignored",
    "drop.unmarked",
    "store.booted",
    "store.died",
    "store.overtaken",
    "store.troubled",
    "subscriber.failed",
    "admin.failed",
    "admin.written",
    "watch.started",
    "watch.stopped",
    "watch.troubled",
    "watch.recovered",
    "watch.failed",
]
"""Every event that hotswap emits; mypy refuses any other name."""

EVENT_NAMES: Final[frozenset[str]] = frozenset(get_args(EventName))
"""The same names at run time."""

Level: TypeAlias = Literal["debug", "info", "warning", "error"]

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"

_LOGGER: Final = "hotswap"
_DEPTH: Final = 8  # A fact nested deeper than this, or one that contains itself, ends as text.

# `structlog.is_configured()` alone can't tell whether the application configured structlog: it stays true for ever
# after one `capture_logs()`, although that put the built-in defaults back, which print to stdout. So what is
# configured is compared with the defaults, which are known as long as nobody configured anything before this import.
_DEFAULTS: Final = None if structlog is None or structlog.is_configured() else dict(structlog.get_config())
_DEFAULT_PROCESSORS: Final = [] if _DEFAULTS is None else list(_DEFAULTS["processors"])

_complained = threading.Event()


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as subscribers get it. It keeps no code alive.

    Attributes:
        name: one of `EVENT_NAMES`.
        level: how loud it is.
        time: when it was emitted, in seconds since the epoch.
        facts: what is known, as plain values: text, numbers, booleans, None, lists, dicts. The same for all
            subscribers, so not to be changed.
    """

    name: EventName
    level: Level
    time: float
    facts: Mapping[str, Plain]


class _Subscription:
    """One subscriber. Lives until it is unsubscribed."""

    __slots__ = ("callback", "name", "of")

    def __init__(self, callback: Callable[[Event], object], of: object) -> None:
        self.callback, self.of = callback, of
        self.name = str(getattr(callback, "__qualname__", type(callback).__qualname__))

    def wants(self, of: object) -> bool:
        return self.of is None or of is None or self.of is of


_subscriptions: Final[dict[int, _Subscription]] = {}
"""Who is told, in the order of subscription. Adding, removing and copying are one step each: no lock is needed, which a
fork could leave held, or a subscriber come back to."""


def subscribe(callback: Callable[[Event], object], *, of: object = None) -> Callable[[], None]:
    """Have a function told of every event from now on, whatever the application's logging does with it.

    Arguments:
        callback: gets each `Event` right after it is logged, in the thread in which it happens: in that of a rollout it
            holds the rollout up, so it should do no more than note it, or put it into a queue. Several threads may call
            it at once. What it raises is told by the event ``subscriber.failed``, in the log only; the rollout and the
            other subscribers go on. Only what ends the process (KeyboardInterrupt, SystemExit) goes through.
        of: a patcher, whose events alone are told, besides those that are of no rollout (``watch.``, ``drop.``,
            ``store.``); None: those of all.

    Returns what ends it; a second call changes nothing. A call of `callback` that has begun in another thread may end
    after that. In a forked child the subscription holds, too; in a copy for a rehearsal nothing is told. Raises
    TypeError for what can't be called.
    """
    if not callable(callback):
        raise TypeError(f"a subscriber is a callable, not a {type(callback).__qualname__}")
    subscription = _Subscription(callback, of)
    _subscriptions[id(subscription)] = subscription

    def unsubscribe() -> None:
        # While this function lives, so does the subscription, and nobody else has its identity.
        _subscriptions.pop(id(subscription), None)

    return unsubscribe


def emit(event: EventName, *, level: Level = "info", of: object = None, **facts: object) -> None:
    """Report one step to the application's logging, and to those who have subscribed.

    Arguments:
        event: one of `EVENT_NAMES`.
        level: how loud it is.
        of: the patcher whose rollout it is about; None: it is about none. It is no fact, and is not logged.
        facts: what is known about the step. Versions, enum members, paths, times and exceptions become text,
            collections become lists and dicts of plain values.

    Raises nothing that an ordinary logging pipeline raises: an event must not break a rollout. The first failure is
    reported on ``sys.stderr``, later ones are dropped silently. In a copy of the process nothing is told: what happens
    in a rehearsal has not happened.
    """
    if rehearsing():
        return
    try:
        plain = {name: _plain(value) for name, value in facts.items()}
    except Exception as error:  # noqa: BLE001  # of a mapping of somebody else, say; as where it is logged
        _complain(event, facts, error)
        return
    _log(event, level, plain)
    if _subscriptions:
        _publish(Event(event, level, time.time(), MappingProxyType(plain)), of)


def _publish(told: Event, of: object) -> None:
    for one in _subscriptions.copy().values():
        if not one.wants(of):
            continue
        try:
            one.callback(told)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # a cancelled future is no Exception, and no reason to stop
            failed: dict[str, Plain] = {"subscriber": one.name, "during": told.name, "message": _text(error)}
            _log("subscriber.failed", "error", failed)


def _log(event: EventName, level: Level, plain: dict[str, Plain]) -> None:
    try:
        if _is_configured():
            _through_structlog(event, level, plain)
        else:
            _through_logging(event, level, plain)
    except Exception as error:  # noqa: BLE001  # whatever a user's pipeline raises; the reason is below
        # Swallowed, because the step that is reported has happened already (code may be live by now), and a full
        # disk under a log file is no reason to leave a rollout half way. What is not an `Exception`
        # (KeyboardInterrupt, SystemExit) is someone's wish to end the process, and goes on.
        _complain(event, plain, error)


def _is_configured() -> bool:
    """Whether structlog is set up by the application, or is being captured by a test."""
    if structlog is None or not structlog.is_configured():
        return False
    if _DEFAULTS is None:
        return True
    now = structlog.get_config()
    if list(now["processors"]) != _DEFAULT_PROCESSORS:
        return True
    return any(now[key] is not _DEFAULTS[key] for key in ("context_class", "wrapper_class", "logger_factory"))


def _through_structlog(event: str, level: Level, facts: dict[str, Plain]) -> None:
    logger = structlog.get_logger(_LOGGER)
    wrapper = structlog.get_config()["wrapper_class"]
    if isinstance(wrapper, type) and issubclass(wrapper, structlog.stdlib.AsyncBoundLogger):
        # It needs a running event loop, and its methods return coroutines that nobody here could await. The rest of
        # the configuration holds.
        logger = structlog.wrap_logger(None, wrapper_class=structlog.stdlib.BoundLogger, logger_factory_args=(_LOGGER,))
    getattr(logger, level)(event, **facts)


def _through_logging(event: str, level: Level, facts: dict[str, Plain]) -> None:
    # Not through `structlog.stdlib.LoggerFactory`: creating one changes the logger class of the whole process.
    logger = logging.getLogger(_LOGGER)
    number = logging.getLevelNamesMapping()[level.upper()]
    if logger.isEnabledFor(number):
        # Three frames up is whoever called `emit`.
        logger.log(number, "%s", _rendered({"event": event, **facts}), stacklevel=4)


def _rendered(facts: Mapping[str, Plain]) -> str:
    if structlog is None:
        return " ".join(f"{name}={value!r}" for name, value in facts.items())  # type: ignore[unreachable]
    return str(structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True)(None, "", dict(facts)))


def _complain(event: str, facts: Mapping[str, object], error: Exception) -> None:
    """Say once, where nothing can fail any more, that events are being lost."""
    if _complained.is_set():
        return
    _complained.set()
    # stderr may be closed, replaced by something that raises, or None: then there is nowhere left to say it.
    with contextlib.suppress(Exception):
        told = " ".join(f"{name}={_text(value)}" for name, value in facts.items())
        sys.stderr.write(
            f"hotswap: the logging of event {event} failed with {_text(error)}; the rollout goes on. "
            f"The event was: {event} {told}. Further failures are not reported.\n"
        )


def _plain(value: object, depth: int = 0) -> Plain:
    """A value that every renderer can write: nothing but str, int, float, bool, None, lists and dicts."""
    if value is None or type(value) in (str, int, float, bool):
        return value  # type: ignore[return-value]  # mypy does not narrow by `type(value) in`
    if depth < _DEPTH:
        if isinstance(value, Mapping):
            return {_text(key): _plain(item, depth + 1) for key, item in tuple(value.items())}
        if isinstance(value, (list, tuple)):
            return [_plain(item, depth + 1) for item in tuple(value)]
        if isinstance(value, Set):
            # Sorted, so that the same fact is always written the same way.
            return [_plain(item, depth + 1) for item in sorted(value, key=_text)]
    return _text(value)


def _text(value: object) -> str:
    """The text of a value; never raises an `Exception`."""
    try:
        if isinstance(value, enum.Enum):
            return value.value if isinstance(value.value, str) else value.name
        if isinstance(value, BaseException):
            told = str(value)
            return f"{type(value).__qualname__}: {told}" if told else type(value).__qualname__
        if isinstance(value, os.PathLike):
            return os.fsdecode(value)
        if isinstance(value, date):  # datetime is a date
            return value.isoformat()
        return str(value)
    except Exception:  # noqa: BLE001  # `__str__` of any object
        # A fact that can't be written is still worth a hint, and no reason to lose the other facts.
        return f"<{type(value).__qualname__} without text>"
