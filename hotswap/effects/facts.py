"""Facts: what a candidate's import did to the process around it, for the plan and for the policy."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["KINDS", "Deed", "Effect", "Outcome", "checked_kinds"]

KINDS = (
    "threads",
    "tasks",
    "atexit",
    "signals",
    "import-path",
    "environment",
    "hooks",
    "settings",
    "warnings",
    "logging",
    "files",
    "sockets",
    "builtins",
    "registrations",
)
"""The kinds of effects that are told apart, and that `allow_effects` may name."""


class Outcome(enum.StrEnum):
    """What became of an effect."""

    UNDONE = "undone"
    """It was taken back right after loading; it is made at the commit, and taken back by a rollback."""
    HELD = "held"
    """It stays while the candidate does; a rejection and a rollback end it."""
    LEFT = "left"
    """It can't be taken back."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that the import of a candidate did to the process.

    Attributes:
        kind: one of `KINDS`.
        what: a sentence that names it.
        outcome: what became of it.
        allowed: whether the rollout may leave effects of this kind behind.
    """

    kind: str
    what: str
    outcome: Outcome
    allowed: bool = False

    @property
    def refused(self) -> bool:
        """Whether the rollout is refused because of it."""
        return self.outcome is Outcome.LEFT and not self.allowed

    def __str__(self) -> str:
        allowed = ", allowed" if self.outcome is Outcome.LEFT and self.allowed else ""
        return f"{self.outcome:<6} {self.kind}: {self.what}{allowed}"


class Deed:
    """An effect, and the way to make it again and to take it back. Lives as long as the candidate's generation.

    Arguments:
        kind: one of `KINDS`.
        what: a sentence that names it.
        outcome: what became of it after loading.
    """

    silent = False
    """Whether nobody has to be told."""

    once = False
    """Whether it can't be made again after it was taken back."""

    def __init__(self, kind: str, what: str, outcome: Outcome = Outcome.LEFT) -> None:
        self.kind, self.what, self.outcome = kind, what, outcome

    def fact(self, allowed: Iterable[str]) -> Effect:
        """Return it as a fact for the plan."""
        return Effect(self.kind, self.what, self.outcome, self.kind in allowed)

    def parts(self) -> Iterator[Any]:
        """Yield the deed, and the containers of its own in which it keeps what it found."""
        yield self
        yield self.__dict__
        yield from (part for part in self.__dict__.values() if isinstance(part, (dict, list, set, tuple, deque)))

    def make(self, living: Callable[[Any], Any]) -> None:
        """Make it again, because the candidate goes live.

        Arguments:
            living: gives the object that is live after the swap for one of the candidate.
        """

    def settle(self) -> None:
        """End what the commit has made superfluous."""

    def take_back(self) -> None:
        """Undo `make`: the commit has failed, or is rolled back."""

    def drop(self) -> None:
        """End what is held: the candidate is discarded, or its generation is over."""


def checked_kinds(kinds: Iterable[str]) -> frozenset[str]:
    """Return the kinds of effects that are allowed. Raises TypeError or ValueError for what is no kind."""
    if isinstance(kinds, str):
        raise TypeError(f"allow_effects takes several kinds of effects, not the text {kinds!r}")
    found = frozenset(kinds)
    unknown = sorted(found - {*KINDS})
    if unknown:
        raise ValueError(
            f"allow_effects: there is no kind {', '.join(map(repr, unknown))}; there are {', '.join(KINDS)}"
        )
    return found
