"""Apart: candidates that were disarmed, as long as somebody is on them."""

from __future__ import annotations

from typing import ClassVar

from hotswap.session import Session
from hotswap.swap.junctions import Junction

__all__ = ["Apart"]


class Apart(Junction):
    """A candidate that was disarmed, as long as somebody is on it: by a session, or because its code calls.

    It stands behind all generations that were live: no session is older than it.

    Arguments:
        armed: the generation over which it was armed.
    """

    __slots__ = ()

    standing: ClassVar[set[Apart]] = set()
    """Those that somebody is on: a swap that is made beside them needs forks."""

    def __init__(self, armed: Junction) -> None:
        super().__init__(armed.others, (), armed.packages)
        self.number = -1
        self.same, self.staying = armed.same, armed.staying
        self.marks = [mark for mark in armed.marks if mark() is not None]
        self.standing.add(self)

    def older(self, session: Session, number: int) -> bool:
        """Whether a session is on the candidate."""
        return any(mark() in session.previews for mark in self.marks)

    def end(self) -> None:
        """Note that nobody is on it any more."""
        self.standing.discard(self)
