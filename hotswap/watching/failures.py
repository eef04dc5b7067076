"""What failed in other processes: the same bytes are not tried again by one that begins later.

    a process begins to watch     → every `.failed` that stands there holds for it, whoever wrote it
    a process that failed ends    → the first keeps one of its reports, as `NAME.ended.failed`
    the drop has other bytes, or goes → that report goes, too
    nothing can be written there, or what was live was rolled back without a watch → the store is asked

What other processes come to while this one is watching is theirs: each tries a new drop for itself. Several may fail
and others be live; those that are live stay so, and who begins then does not try, until somebody has removed the
reports or dropped other bytes. So a bad patch is not begun anew at each restart, whatever the others say of it.

Concurrency: `Earlier` belongs to a ledger, and is used by whoever has the turn; the functions under the lock of a seat.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hotswap.watching.outcome import FAILED, LIVE, Outcome, read_marker

__all__ = ["ENDED", "Earlier", "is_over", "keep", "retire", "tidy"]

ENDED = "ended"
"""Stands in the place of the name of a process that has ended; no watch may be called so."""

_KEPT = f".{ENDED}{FAILED}"


class Earlier:
    """The failures that were told in a directory when this process began to watch it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._place: tuple[int, int] | None = None
        self._told: dict[str, dict[str, str]] = {}  # drop -> how the name of the marker ends -> digest
        self._live: frozenset[tuple[str, str]] = frozenset()  # drops, and digests, that are said to be live

    def forget(self) -> None:
        """Begin to watch anew: what was told meanwhile counts, too."""
        self._place = None

    def look(self, names: Iterable[str], place: tuple[int, int] | None) -> None:
        """Take in what is told, once for each directory that has the path.

        Arguments:
            names: all that lies there.
            place: which directory it is, (st_dev, st_ino); None where there is none.
        """
        if place is None or place == self._place:
            return
        self._place, self._told = place, {}
        live = set()
        for name in names:
            found = read_marker(self._directory, name, "") if name.endswith((FAILED, LIVE)) else None
            if found is None or not name.startswith(f"{found.drop}."):
                continue
            if found.holds_elsewhere:
                self._told.setdefault(found.drop, {})[name.removeprefix(found.drop)] = found.digest
            elif found.applied:
                live.add((found.drop, found.digest))
        self._live = frozenset(live)

    def may_be_over(self, drop: str, digest: str) -> bool:
        """Whether what stands here does not tell all: nothing can be told here, or the bytes are said to be live.

        They may have failed since, or were rolled back, by a process that did not watch.
        """
        return (drop, digest) in self._live or not os.access(self._directory, os.W_OK)

    def recall(self, drop: str, digest: str) -> Outcome | None:
        """What the same bytes came to, if that is told still: whoever removed it wants them to be tried again."""
        told = self._told.get(drop, {})
        if digest in told.values():
            for suffix in sorted({*told, FAILED, _KEPT}):  # it may have another name by now
                found = _failure(self._directory, drop, suffix)
                if found is not None and found.digest == digest:
                    return found
        return None


def _failure(directory: Path, drop: str, suffix: str) -> Outcome | None:
    """What a marker tells, if it is of this drop, and holds for other processes."""
    found = read_marker(directory, drop, suffix)
    return found if found is not None and found.drop == drop and found.holds_elsewhere else None


def retire(marker: Path, drop: str) -> None:
    """Take away what a process told that has ended. One failure of each drop is kept, the latest. Raises OSError."""
    directory = marker.parent
    found = _failure(directory, drop, marker.name.removeprefix(drop))
    if found is not None and os.path.lexists(directory / drop):
        plain = _failure(directory, drop, FAILED)
        if (plain is None or plain.digest != found.digest) and _is_kept(marker, found):
            return
    marker.unlink(missing_ok=True)


def _is_kept(marker: Path, found: Outcome) -> bool:
    """Keep a failure under another name, unless a later one of the same drop is kept; return whether it is."""
    place = marker.with_name(f"{found.drop}{_KEPT}")
    kept = read_marker(marker.parent, found.drop, _KEPT)
    if place.is_dir() or (kept is not None and (kept.drop != found.drop or kept.time > found.time)):
        return False  # or the name is taken, by the report on another drop, whose name has a point in it
    marker.replace(place)
    return True


def keep(directory: Path, news: Outcome, called: str) -> None:
    """Keep what failed, by the word of the first process before this one, before other news takes its place.

    What only waits does not even take the place of what this process told itself: it may end before it knows better.
    Raises OSError.

    Arguments:
        directory: where both stand.
        news: what takes its place, as `NAME.live` or `NAME.pending`.
        called: the name of this process.
    """
    plain = _failure(directory, news.drop, FAILED)
    if plain is not None and (news.waits or plain.name != called) and news.digest in ("", plain.digest):
        _is_kept(directory / f"{news.drop}{FAILED}", plain)


def is_over(directory: Path, news: Outcome) -> None:
    """Take away what is kept of a drop, if the first process says the same, or has met other bytes. Raises OSError."""
    kept = _failure(directory, news.drop, _KEPT)
    if kept is not None and (news.holds_elsewhere or news.digest != kept.digest):
        (directory / f"{news.drop}{_KEPT}").unlink(missing_ok=True)


def tidy(directory: Path, names: Iterable[str]) -> None:
    """Take away what is kept of drops that are gone. Raises OSError.

    Arguments:
        directory: where it stands.
        names: all that lies there.
    """
    for name in names:
        drop = name.removesuffix(_KEPT)
        if drop != name and not os.path.lexists(directory / drop) and _failure(directory, drop, _KEPT) is not None:
            (directory / name).unlink(missing_ok=True)
