"""The baseline: in which periods the code of a patcher was the one that is live now."""

from __future__ import annotations

from hotswap.tally import Counts

__all__ = ["Baseline"]

_REMEMBERED = 8


class Baseline:
    """Knows with what a new generation is to be compared. Lives as long as its patcher, and is used under its lock.

    Other patchers of the process end periods, too: so what is live now may have run in several, and after a rollback in
    those before the swap and in those after it.

    Arguments:
        present: the number of the present period.
    """

    def __init__(self, present: int) -> None:
        self._spans: list[tuple[int, int | None]] = [(present, None)]
        self._before: list[tuple[int, int | None]] = []

    def commit(self, first: int, present: Counts) -> list[Counts]:
        """Note that other code is live from a period on. Returns the tallies of the code before it.

        Arguments:
            first: the number of the period.
            present: the tally of the present one.
        """
        begin, _ = self._spans[-1]
        self._before = [*self._spans[:-1], (begin, first)]
        self._spans = [(first, None)]
        return [one for one in present.until(0) if any(a <= one.number < (b or 0) for a, b in self._before)]

    def rollback(self, first: int) -> None:
        """Note that from a period on the code before is live again."""
        self._spans = [*self._before[-_REMEMBERED:], (first, None)]
