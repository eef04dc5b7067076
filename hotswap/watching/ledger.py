"""What the drops of each watched directory came to, for each patcher, and the markers that say so.

Guarantees: memory and marker are changed together, so of an outcome and the news that its rollout was taken back the
later one stands, whichever thread brings it. Assumes that no user code runs under the locks: files are written, and
nothing else; events are emitted after it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from hotswap.events import emit
from hotswap.watching import failures
from hotswap.watching.looks import Look
from hotswap.watching.outcome import FAILED, LIVE, PENDING, Outcome, read_marker, write_marker
from hotswap.watching.owed import Owed
from hotswap.watching.scanning import Drop
from hotswap.watching.seats import Seat

if TYPE_CHECKING:
    from hotswap.rollout import Record, Rollout
    from hotswap.watching.attempt import Taken

__all__ = ["Ledger", "follow", "ledger_of"]


@dataclass(slots=True)
class Ledger:
    """The drops of one directory, as one patcher in this process has met them; lives as long as the patcher."""

    directory: Path
    outcomes: Mapping[str, Outcome] = field(default_factory=lambda: MappingProxyType({}))
    # How each drop looked when it came to its outcome; nothing where it has gone away since.
    looks: dict[str, Look] = field(default_factory=dict)
    # Not a plain lock: a signal handler may roll back in the thread that is writing a marker.
    lock: threading.RLock = field(default_factory=threading.RLock)
    seat: Seat = field(init=False)
    # The infix under which the outcomes stand in the directory; None where they have to be told anew.
    told_as: str | None = None
    # Drop -> the directory, (st_dev, st_ino), in which its `.failed` marker of this process stands.
    told_failed: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    # Drops whose marker was removed, so that they are tried again; until they have come to something.
    reopened: frozenset[str] = frozenset()
    # Reports that could not be written yet.
    owed: Owed = field(default_factory=Owed)
    # What was told here by others before this process began to watch.
    earlier: failures.Earlier = field(init=False)

    def __post_init__(self) -> None:
        self.earlier = failures.Earlier(self.directory)
        self.seat = _registry.seat_of(self.directory)

    def move(self) -> bool:
        """Tell the outcomes of all present drops again, if this process reports under another name than before.

        Returns whether it does.
        """
        with self.lock:
            infix = self.seat.infix
            moved, self.told_as = self.told_as != infix, infix
            if not moved:
                return False
            known = [self.outcomes[name] for name in self.looks if name in self.outcomes]
            self.told_failed = {one.drop: self._place() for one in known if self._marker(one.drop, FAILED).exists()}
            troubles = [(one, self._mark(one)) for one in known]
        for outcome, trouble in troubles:
            self._complain(outcome, trouble)
        return True

    def leave(self) -> None:
        """Give the seat back. What was told under another name than the plain one will be cleared away.

        What is owed is tried a last time.
        """
        self.pay(everything=True)
        self.earlier.forget()
        if self.seat.infix:
            self.told_as, self.told_failed = None, {}
        self.seat.leave()

    def inherit(self) -> None:
        """Begin anew in a forked child: what was live in the parent is live here, and this process says so itself."""
        self.lock = threading.RLock()
        self.outcomes = MappingProxyType(
            {name: replace(outcome, process=os.getpid()) for name, outcome in self.outcomes.items()}
        )
        self.told_as, self.told_failed = None, {}
        self.owed = Owed()  # the parent's are told by the parent, and the child tells everything under its own name
        self.earlier.forget()

    def pay(self, *, everything: bool) -> float | None:
        """Try again what could not be told, if it is time for that.

        Arguments:
            everything: try it now.

        Returns the seconds until the next try; None where nothing is owed.
        """
        with self.lock:
            left = self.owed.left()
            if left is not None and (everything or left <= 0):
                self.owed.pay(self._mark)
            return self.owed.left()

    def recall(self, name: str, digest: str) -> Outcome | None:
        """What the same bytes under this name came to; None where it is open, or somebody wants it tried again."""
        if name in self.reopened:
            return None
        known = self.outcomes.get(name)
        if known is None:
            return self.earlier.recall(name, digest)
        return known if known.digest == digest else None

    def asked_again(self, names: Collection[str]) -> frozenset[str]:
        """Note of which drops that failed somebody removed the marker, and return what waits for another try since.

        Takes in, too, what others had told here before this process began to watch.

        Arguments:
            names: what lies in the directory.

        What was rolled back is not among them: in this process its bytes are not applied a second time.
        """
        with self.lock:
            here = self._place()
            self.earlier.look(names, here)
            if not self.seat.infix:
                with contextlib.suppress(OSError):  # it is tried again at the next pass
                    failures.tidy(self.directory, names)
            for name, place in list(self.told_failed.items()):
                known = self.outcomes.get(name)
                if name not in names or place != here or known is None or not known.failed:
                    continue
                marker = self._marker(name, FAILED)
                # Looked for again under the lock, since it may have been written after the directory was listed.
                if marker.name not in names and _is_missing(marker):
                    del self.told_failed[name]
                    self.reopened |= {name}
            return self.reopened

    def came_again(self, drop: Drop) -> bool:
        """Whether somebody dropped it since it came to its outcome, if it did.

        It was away, or is another file, or was changed and stands without its marker.
        """
        before = self.looks.get(drop.name)
        if before is None or before.identity != drop.look.identity:
            return True
        return before != drop.look and not any(self._marker(drop.name, kind).exists() for kind in (LIVE, FAILED))

    def gone(self, present: frozenset[str]) -> None:
        """Note that all drops but these are not there: what comes back under their names was dropped again."""
        with self.lock:
            self.looks = {name: look for name, look in self.looks.items() if name in present}

    def stays(self, known: Outcome, drop: Drop, *, waited: bool = False) -> None:
        """Note that a drop came to nothing new; that it waited may have taken the place of what it had come to."""
        with self.lock:
            adopted = drop.name not in self.outcomes
            self.remember(known)
            self.looks[drop.name] = drop.look
            trouble = None
            if adopted and known.same_as(read_marker(self.directory, drop.name, f"{self.seat.infix}{FAILED}")):
                self.told_failed[drop.name] = self._place()
            elif adopted or waited:
                trouble = self._mark(known)  # each process says it itself
        self._complain(known, trouble)

    def refuse(self, known: Outcome, drop: Drop, *, over: str = "") -> None:
        """Note that a drop came again and is not applied again, and say so beside it and in the log.

        Arguments:
            known: what it came to.
            drop: as it lies there now.
            over: what is live over it by now.
        """
        self.stays(known, drop)
        with self.lock:
            known = self.outcomes[drop.name]  # It may have been rolled back in this moment.
            trouble = self._mark(known.superseded(over) if over and known.applied else known)
        self._complain(known, trouble)
        emit(
            "drop.ignored",
            level="info" if known.applied else "warning",
            directory=self.directory,
            drop=known.drop,
            rollout=known.rollout,
            version=known.version,
            digest=known.rolled_out or known.digest,
            reason=_why_not_again(known),
        )

    def remember(self, outcome: Outcome) -> None:
        """Note an outcome in memory."""
        # A new mapping each time: readers, also in a child forked at this moment, need no lock.
        self.outcomes = MappingProxyType({**self.outcomes, outcome.drop: outcome})

    def enter(self, taken: Taken, outcome: Outcome, rollout: Rollout | None) -> tuple[Outcome, bool]:
        """Note what a drop came to, in memory and beside it.

        Returns the outcome, which is another if the rollout has been taken back meanwhile, and whether it is news: that
        a drop still can't be read is not.
        """
        with self.lock:
            if rollout is not None and rollout.state == "rolled_back":
                outcome = outcome.taken_back(rollout.reason)
            elif rollout is not None and rollout.state == "permanent" and outcome.state == "live":
                outcome = outcome.confirmed()
            news = taken.again or not outcome.same_as(self.outcomes.get(outcome.drop))
            self.remember(outcome)
            self.reopened -= {outcome.drop}
            self.looks[outcome.drop] = taken.drop.look
            trouble = self._mark(outcome) if news else None
        self._complain(outcome, trouble)
        return outcome, news

    def tell(self, outcome: Outcome) -> None:
        """Say beside a file that it is ignored, or what it waits for; that does not count among the outcomes."""
        with self.lock:
            trouble = self._mark(outcome)
        self._complain(outcome, trouble)

    def waits_no_more(self, name: str) -> None:
        """Take back what was said of a drop that waited: it has gone away."""
        with self.lock:
            self.owed.forget(name)
        try:
            self._marker(name, PENDING).unlink(missing_ok=True)
        except OSError as error:
            emit("drop.unmarked", level="warning", directory=self.directory, drop=name, reason=error)

    def confirm(self, record: Record) -> None:
        """Note that the trial of a rollout is over, if it came from a drop in this directory and this process."""
        self._tell(record, lambda outcome: outcome.confirmed() if outcome.state == "live" else None)

    def take_back(self, record: Record) -> None:
        """Note that a rollout was rolled back, if it came from a drop in this directory and this process."""
        for outcome in self._tell(record, lambda one: one.taken_back(record.reason) if one.applied else None):
            emit(
                "drop.rolled_back",
                level="warning",
                drop=outcome.drop,
                rollout=outcome.rollout,
                version=outcome.version,
                digest=outcome.rolled_out or outcome.digest,
                reason=outcome.reason,
            )

    def _tell(self, record: Record, become: Callable[[Outcome], Outcome | None]) -> list[Outcome]:
        """Note what outcomes of a rollout have become, if they are of this directory and this process; return them.

        Arguments:
            record: of the rollout.
            become: gives what an outcome is now; None if it stays what it is.
        """
        with self.lock:
            own = [o for o in self.outcomes.values() if o.rollout == record.id and o.process == os.getpid()]
            told = [news for outcome in own if (news := become(outcome)) is not None]
            troubles = []
            for outcome in told:
                self.remember(outcome)
                troubles.append(self._mark(outcome))
        for outcome, trouble in zip(told, troubles, strict=True):
            self._complain(outcome, trouble)
        return told

    def _marker(self, name: str, kind: str) -> Path:
        return self.directory / f"{name}{self.seat.infix}{kind}"

    def _place(self) -> tuple[int, int] | None:
        """Which directory it is that has the path now; None where there is none."""
        try:
            facts = self.directory.stat()
        except OSError:
            return None
        return facts.st_dev, facts.st_ino

    def _mark(self, outcome: Outcome) -> OSError | None:
        self.told_failed.pop(outcome.drop, None)
        try:
            with self.seat.taken(), self.seat.lock:
                first, called = not self.seat.infix, self.seat.called
                if first and (outcome.applied or outcome.waits):
                    failures.keep(self.directory, outcome, called)
                # Also where it is what another process came to: this one tells it.
                told = replace(outcome, name=called, process=os.getpid())
                write_marker(self.directory, told, self.seat.infix)
                if outcome.failed:
                    self.told_failed[outcome.drop] = self._place()
                if first and not outcome.waits:
                    failures.is_over(self.directory, outcome)
        except OSError as error:
            self.owed.owe(outcome)
            return error
        self.owed.told(outcome)
        return None

    def _complain(self, outcome: Outcome, trouble: OSError | None) -> None:
        if trouble is not None:
            emit("drop.unmarked", level="warning", directory=self.directory, drop=outcome.drop, reason=trouble)


def _is_missing(path: Path) -> bool:
    """Whether there is certainly no file; not where it can't be known."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _why_not_again(known: Outcome) -> str:
    if known.applied:
        verdict, advice = "went live before", "nothing, if it still is; else drop other bytes, of a newer version"
    elif known.error is None:
        verdict, advice = "were rolled back before", "mend the patch, and drop it with other bytes"
    else:
        advice = f"mend it, and drop it with other bytes; or remove {known.drop}{FAILED} to have these tried again"
        verdict = "failed before"
    return f"the same bytes {verdict} ({known.reason}), so they are not tried again; what to do: {advice}"


class _Registry:
    """All ledgers by patcher and directory, since what is known must outlive every watch."""

    def __init__(self) -> None:
        self.ledgers: WeakKeyDictionary[object, dict[Path, Ledger]] = WeakKeyDictionary()
        self.seats: dict[Path, Seat] = {}
        self.lock = threading.RLock()  # A signal handler may roll back in the thread that holds it.

    def seat_of(self, directory: Path) -> Seat:
        with self.lock:
            return self.seats.setdefault(directory, Seat(directory))

    def all(self) -> list[Ledger]:
        with self.lock:
            return [ledger for ledgers in list(self.ledgers.values()) for ledger in list(ledgers.values())]


_registry = _Registry()


def ledger_of(patcher: object, directory: Path) -> Ledger:
    """The ledger of a directory for whoever applies its drops."""
    with _registry.lock:
        return _registry.ledgers.setdefault(patcher, {}).setdefault(directory, Ledger(directory))


def follow(record: Record) -> None:
    """Learn from a patcher that a rollout was confirmed, or rolled back. Raises nothing that files can raise."""
    for ledger in _registry.all():
        if record.state == "permanent":
            ledger.confirm(record)
        else:
            ledger.take_back(record)


def _begin_anew() -> None:
    _registry.lock = threading.RLock()
    for seat in _registry.seats.values():
        seat.forget()
    for ledger in _registry.all():
        ledger.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    # Another thread of the parent may have held a lock, and does not exist in the child.
    os.register_at_fork(after_in_child=_begin_anew)
