"""What a rehearsal may take, and what it runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from hotswap.errors import RehearsalError
from hotswap.process_copy import can_copy
from hotswap.stopping import check_limit
from hotswap.verification import Candidate

__all__ = ["Rehearsal", "Wish", "wished"]

Inconclusive: TypeAlias = Literal["reject", "pass"]


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """How a patch is rehearsed: `patcher.apply(patch, rehearse=Rehearsal(time=20))`. Lives as long as you like.

    Arguments:
        time: seconds that it may take in all.
        cpu: seconds of processor time that it may use, all threads together; whole ones, rounded up. None: no limit.
        memory: bytes that it may take, beyond what the process has; None: no limit.
        checks: what is run after the swap, on the copy of the real state: callables as those of `Patcher.check`, each
            with the time limit of the patcher. None: the checks of the patcher, once more.
        inconclusive: what becomes of a patch of which the rehearsal can't tell whether it is good, because something
            is not there in a copy of the process: a thread, a connection. `reject` rejects it, `pass` lets it go on.

    Raises TypeError or ValueError where an argument makes no sense.
    """

    time: float = 60.0
    cpu: float | None = 60.0
    memory: int | None = 1 << 30
    checks: Sequence[Callable[[Candidate], object]] | None = field(default=None)
    inconclusive: Inconclusive = "reject"

    def __post_init__(self) -> None:
        check_limit(self.time, "time", "a rehearsal")
        if self.cpu is not None:
            check_limit(self.cpu, "cpu", "a rehearsal")
        if self.memory is not None:
            if isinstance(self.memory, bool) or not isinstance(self.memory, int):
                raise TypeError(f"memory: a whole number of bytes is needed, not {type(self.memory).__qualname__}")
            if self.memory <= 0:
                raise ValueError(f"memory: more than 0 bytes are needed, not {self.memory}")
        if self.checks is not None:
            object.__setattr__(self, "checks", tuple(self.checks))
            for check in self.checks:
                if not callable(check):
                    raise TypeError(f"checks: a {type(check).__qualname__} can't be called")
        if self.inconclusive not in get_args(Inconclusive):
            raise ValueError(f"inconclusive: 'reject' or 'pass', not {self.inconclusive!r}")

    @property
    def whole_cpu(self) -> int | None:
        """The limit of processor time as the system counts it: in whole seconds."""
        return None if self.cpu is None else math.ceil(self.cpu)


Wish: TypeAlias = "Rehearsal | bool"


def wished(rehearse: Wish) -> Rehearsal | None:
    """Return how a patch is to be rehearsed, or None if it is not.

    Arguments:
        rehearse: True for the default limits.

    Raises TypeError for what is no such wish, and RehearsalError where a process can't be copied.
    """
    if not isinstance(rehearse, (bool, Rehearsal)):
        raise TypeError(f"rehearse: True, False or a Rehearsal is needed, not a {type(rehearse).__qualname__}")
    if rehearse is False:
        return None
    if not can_copy():
        raise RehearsalError(
            "a patch can't be rehearsed here: this platform has no fork, which copies a running process",
            advice="rehearse it on Linux or macOS, or apply it without",
            code="no-fork",
        )
    return Rehearsal() if rehearse is True else rehearse
