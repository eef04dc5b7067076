"""Hooks: functions of users that are called at the turns of a rollout, and what takes back what they did.

    hook              is called                                             if it raises
    before_stage      before a patch is loaded                              the rollout is rejected
    before_commit     before the swap, when all checks have passed          the rollout is rejected
    after_commit      when it is live                                       it is told
    before_rollback   before the way back                                   it is told
    after_rollback    when the generation before is live again              it is told
    settled           when the last call of what went has ended             it is told
    baked             when the bake is over, and its verdict carried out    it is told

A hook may return an undo, which is called, in reverse order, if the rollout is rejected later, or taken back. That of a
`before_rollback` is called if the way back could not be made.

Guarantees: hooks run one after the other in the order in which they were registered, each in a thread of its own with a
time limit, under no lock of ours and never within the commit. Every undo is called, whatever others do, and once. A
hook or an undo that calls back into its patcher is refused, as a check is. Assumes: nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from hotswap import events
from hotswap.errand import Errand, made
from hotswap.errors import VetoError
from hotswap.stopping import check_limit
from hotswap.verification import Visit, is_within

__all__ = ["Hook", "HookName", "Hooks", "Undo", "is_inside_hook"]

HookName: TypeAlias = Literal[
    "before_stage", "before_commit", "after_commit", "before_rollback", "after_rollback", "settled", "baked"
]


@dataclass(frozen=True, slots=True)
class Hook:
    """One function, and when it is called.

    Arguments:
        point: when.
        name: what events and errors call it.
        function: sync or async; called with the rollout as its only argument.
        timeout: seconds that it may take, and its undo.

    Raises TypeError or ValueError where an argument is unusable.
    """

    point: HookName
    name: str
    function: Callable[..., object]
    timeout: float

    def __post_init__(self) -> None:
        if self.point not in get_args(HookName):
            raise ValueError(f"a hook is one of {', '.join(get_args(HookName))}, not {self.point!r}")
        if not callable(self.function):
            raise TypeError(f"hook {self.name!r}: a {type(self.function).__qualname__} can't be called")
        check_limit(self.timeout, f"hook {self.name!r}", "a hook")


class Undo(NamedTuple):
    """What takes back what a hook did."""

    hook: Hook
    function: Callable[[], object]


_inside: ContextVar[Visit | None] = ContextVar("hotswap.hooks", default=None)
"""The run of a hook to which the present context, or what it is a copy of, belongs."""


def is_inside_hook(token: object) -> bool:
    """Whether the calling code belongs to a hook of a patcher, or to what one has started and not ended yet."""
    return is_within(_inside.get(), token)


class Hooks:
    """The hooks of a patcher. Lives as long as the patcher.

    Arguments:
        token: says whose they are: they must not call back.
    """

    def __init__(self, token: object) -> None:
        self._token = token
        self._hooks: list[Hook] = []

    def add(self, hook: Hook) -> None:
        """Have a hook called from now on, after those that are there."""
        self._hooks.append(hook)

    def has(self, point: HookName) -> bool:
        """Whether there is one of a kind."""
        return bool(self._at(point))

    def before(self, point: HookName, rollout: Any, cancelled: threading.Event) -> None:
        """Call those that may refuse.

        Arguments:
            point: which.
            rollout: what they are about; it keeps their undos.
            cancelled: gives the one up that runs.

        Raises VetoError if one raises, returns False, or takes too long: the others are not called then.
        """
        for hook in self._at(point):
            try:
                self._call(hook, rollout, rollout.undos, cancelled)
            except Exception as error:
                raise VetoError(
                    f"the hook {hook.name} ({point}) refused it: {_told(error)}",
                    patch=rollout.label,
                    advice="see what the hook asks for; it runs again with the next try",
                    hook=hook.name,
                ) from error

    def after(self, point: HookName, rollout: Any, undos: list[Undo] | None = None) -> None:
        """Call those that can't refuse: what goes wrong is told.

        Arguments:
            point: which.
            rollout: what they are about.
            undos: keeps what takes back what they did; None: nothing does.
        """
        for hook in self._at(point):
            try:
                self._call(hook, rollout, undos)
            except Exception as error:  # noqa: BLE001 - it is told
                self._tell(hook, rollout, error, undo=False)

    def undo(self, rollout: Any, undos: list[Undo]) -> None:
        """Call undos, the last one first, each whatever the others do. They are gone then."""
        interrupt: BaseException | None = None
        while undos:
            hook, function = undos.pop()
            try:
                self._run(hook, function, (), rollout)
            except Exception as error:  # noqa: BLE001 - it is told; the others have to run
                self._tell(hook, rollout, error, undo=True)
            except BaseException as error:  # noqa: BLE001 - somebody interrupts the caller; the others have to run
                interrupt = error
        if interrupt is not None:
            raise interrupt

    def _at(self, point: HookName) -> list[Hook]:
        return [hook for hook in self._hooks if hook.point == point]

    def _call(
        self, hook: Hook, rollout: Any, undos: list[Undo] | None, cancelled: threading.Event | None = None
    ) -> None:
        undo = self._run(hook, hook.function, (rollout,), rollout, cancelled)
        if undo is False and hook.point in ("before_stage", "before_commit"):
            raise ValueError("it returned False")
        if undo is not None and not callable(undo):
            raise TypeError(f"it returned a {type(undo).__qualname__}; a hook returns nothing, or what takes it back")
        if undo is not None and undos is not None:
            undos.append(Undo(hook, undo))

    def _run(
        self,
        hook: Hook,
        function: Callable[..., object],
        arguments: tuple[object, ...],
        rollout: Any,
        cancelled: threading.Event | None = None,
    ) -> object:
        name = f"hotswap hook {hook.name}"
        errand = Errand(name, function, arguments, loop=rollout.loop, inside=self._mark)
        return made(errand, hook.timeout, cancelled)

    @contextmanager
    def _mark(self) -> Iterator[None]:
        here = Visit(self._token, _inside.get())
        reset = _inside.set(here)
        try:
            yield
        finally:
            here.over = True
            _inside.reset(reset)

    def _tell(self, hook: Hook, rollout: Any, error: BaseException, *, undo: bool) -> None:
        events.emit(
            "hook.failed",
            level="error",
            of=self._token,
            rollout=rollout.id,
            patch=rollout.patch.name,
            version=rollout.patch.version,
            state=rollout.state,
            hook=hook.name,
            point=hook.point,
            undo=undo,
            message=_told(error),
        )


def _told(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a stranger's `__str__`; the type is worth telling all the same
        text = "(its text can't be read)"
    return f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__
