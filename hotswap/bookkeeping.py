"""Bookkeeping: what a patcher writes into its store, and when.

    what                       before or after it happens     if it can't be written
    a patch is loaded          before                         the rollout is rejected
    the swap                   before                         the rollout is rejected
    the trial ends (confirm)   before                         it stays on trial
    a rollback                 before                         it is made all the same; the news is owed
    anything else              after                          the news is owed

What is owed goes with the next thing that is written. Until then a restart may bring up what was permanent before.

Guarantees: nothing is live that the store does not know. Assumes: the patcher's lock, but for `keep` and `history`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import attrgetter

from packaging.version import Version

from hotswap.actors import whoever
from hotswap.chronicle import brought_by, facts_of, record_of, record_of_refusal, report_of
from hotswap.errors import HotswapError, QuarantinedError, StoreError
from hotswap.events import emit
from hotswap.heritage import Heritage, dated
from hotswap.patch import Patch
from hotswap.records import Record, State
from hotswap.rollout import Rollout
from hotswap.store import (
    BOOT_FIRST,
    Died,
    Entry,
    Refusal,
    Remembered,
    Store,
    fingerprint,
    imported_before,
    kept,
    look_for_dead,
    now,
    tell_dead,
)

__all__ = ["Books"]


class Books:
    """What a patcher writes into its store; without one, nothing. Lives as long as the patcher.

    Arguments:
        store: the store, or None.
        packages: the managed packages.
    """

    def __init__(self, store: Store | None, packages: Sequence[str]) -> None:
        self._store = store
        self._base: dict[str, str] = {}
        self._kept: dict[str, Entry] = {}
        self._refused = Remembered()
        self._files: dict[str, tuple[Patch, Patch]] = {}
        self._owed, self._written, self._withdrawn = dict[str, Entry](), dict[str, Entry](), set[str]()
        self._troubles, self._died = list[Exception](), list[Died]()
        self._head: str | None = None
        """What is live, as `Entry.below`; None while nothing is patched."""
        self._heritage: Heritage | None = None
        self.resumed: Entry | None = None
        """The permanent rollout on which this process came up, as long as nothing else went live."""
        if store is None:
            return
        self._base = {package: fingerprint(package) for package in packages}
        self._heritage = heritage = Heritage(store, packages, self._troubles)
        self.resumed, self._head = heritage.newest, heritage.head
        told: list[str] = []  # each of them is an event already
        look_for_dead(store, told)
        why = advice = ""
        try:
            if not heritage.packages and (missed := self._missed(store, packages)):
                why = f"{', '.join(sorted(missed))} is permanent, and this process did not come up on it"
                advice = f"was hotswap.boot() called first? {BOOT_FIRST}"
            elif late := sorted({*imported_before(store, packages)} - heritage.packages):
                why = f"{', '.join(late)} was imported before hotswap.boot(): after a restart, a patch does not come up"
                why += " that has another version of what was imported so early"
                advice = BOOT_FIRST
        except StoreError as error:
            self._troubles.append(error)
        if why:
            facts = {"reason": why, "running": "the code on disk", "advice": advice}
            emit("store.troubled", level="warning", store=store.folder, **facts)
        self.tell()

    def _missed(self, store: Store, packages: Sequence[str]) -> set[str]:
        """What would have come up here, had this process booted; what was applied to other code than this does not."""
        standing = store.journal.standing().items()
        return {entry.label for name, entry in standing if name in packages and self._lies_over(entry)}

    # --- before ------------------------------------------------------------------------------------------------------

    def begin(self, rollout: Rollout) -> None:
        """Note that a patch is about to be loaded. Raises QuarantinedError or StoreError."""
        if self._store is None or rollout.silent:
            return
        self._store.check_owner()
        self._store.journal.standing()  # what can't be read takes no more
        self._refuse_quarantined(rollout, [rollout.given], "mend it and give it a newer version", "applied again")
        self._write(self._entry(rollout))

    def _refuse_quarantined(self, rollout: Rollout, parts: Iterable[str], advice: str, what: str) -> None:
        """Raise QuarantinedError for what has killed processes, also since this one began; StoreError, too."""
        assert self._store is not None
        self._died += self._store.journal.bury()
        quarantined = self._store.quarantined()
        for part in parts:
            if (why := quarantined.get(part)) is not None:
                which = "it is" if part == rollout.given else f"it has code of a patch (SHA-256 {part}) that is"
                release = f"{advice}; Store({str(self._store.folder)!r}).release({part!r}) lets it be {what}"
                raise QuarantinedError(f"{which} quarantined: {why}", patch=rollout.label, advice=release)

    def keep(self, rollout: Rollout, before: Mapping[str, Version]) -> None:
        """Keep the files of a rollout that is about to go live. Raises StoreError.

        Arguments:
            rollout: it has its candidate.
            before: the versions that are live.
        """
        if self._store is None or rollout.silent:
            return
        tree = rollout.candidate.tree
        files = self._files[rollout.id] = kept(rollout.patch, tree)
        self._put(files)
        roots = sorted(tree.roots)
        self._kept[rollout.id] = replace(
            self._entry(rollout),
            generation=files[1].digest,
            packages=tuple(roots),
            base={root: self._base[root] for root in roots},
            before={root: str(before[root]) for root in roots},
            after={root: str(tree.versions[root]) for root in roots},
            brought=brought_by(rollout, self._below(self._head)),
        )

    def _below(self, head: str | None) -> list[Entry]:
        """What is live, the newest first. Raises StoreError."""
        assert self._store is not None
        journal = self._store.journal
        found = (self._kept.get(name) or journal.entry(name) for name in (head or "").split())
        return [entry for entry in found if entry is not None]

    def intend(self, rollout: Rollout) -> None:
        """Note that a rollout is about to go live. Raises StoreError."""
        if self._store is not None and not rollout.silent:
            entry = replace(self._entry(rollout), state=str(State.LIVE), below=self._head, changed=now())
            self._write(entry)
            # Another process may have swept them away, as long as nothing was written of them.
            self._put(self._files[rollout.id])
            del self._files[rollout.id]
            self._kept[rollout.id] = entry

    def _put(self, files: Iterable[Patch]) -> None:
        assert self._store is not None
        # One file where nothing else is patched: then both have one digest.
        for patch in {one.digest: one for one in files}.values():
            self._store.patches.put(patch)

    def confirm(self, rollout: Rollout) -> None:
        """Note that a rollout is about to be permanent. Raises QuarantinedError or StoreError."""
        if self._store is not None:
            # Other processes have died of it: permanent, it would come up at every start, and no death would count.
            parts = {rollout.given, *self._entry(rollout).brought.values()}
            self._refuse_quarantined(rollout, parts, "patcher.rollback() takes it back here, too", "confirmed")
            self._keep_again(rollout)
            self._write(replace(self._entry(rollout), state=str(State.PERMANENT), changed=now()))

    def _keep_again(self, rollout: Rollout) -> None:
        """Keep the files of a live rollout once more, where the store was moved away meanwhile. Raises StoreError."""
        assert self._store is not None
        entry, patches = self._kept.get(rollout.id), self._store.patches
        if entry is not None and not (patches.has(entry.digest) and patches.has(entry.generation or "")):
            self._put(kept(rollout.patch, rollout.candidate.tree))

    def take_back(self, rollout: Rollout, reason: str) -> None:
        """Note that a rollout is about to be taken back."""
        if self._store is not None:
            rollout.actor = rollout.actor or whoever()
            entry = self._entry(rollout)
            self._later(replace(entry, state=str(State.ROLLED_BACK), reason=reason, changed=now()))

    # --- after -------------------------------------------------------------------------------------------------------

    def note(self, rollout: Rollout) -> None:
        """Note what has become of a rollout."""
        if self._store is None or rollout.silent:
            return
        if rollout.state is State.LIVE:
            self._head, self.resumed = rollout.id, None
        elif rollout.state is State.ROLLED_BACK:
            heritage = self._heritage
            resumed = heritage is not None and self.resumed is not None and rollout.id == self.resumed.id
            self._head = heritage.without_newest() if heritage and resumed else self._entry(rollout).below
        if rollout.state is State.PERMANENT:  # by a later commit, perhaps
            try:
                self._keep_again(rollout)
            except HotswapError as error:
                self._troubles.append(error)
        self._later(self._entry(rollout))
        if rollout.state is State.REJECTED:
            for known in (self._files, self._kept, self._written):
                known.pop(rollout.id, None)

    def withdraw(self, rollout: str) -> None:
        """Take back what was noted of a rollout: its drop waits, and its many tries would push all else out."""
        if self._store is not None:
            self._withdrawn.add(rollout)
            if self._owed.pop(rollout, None) is None:  # else the store takes nothing now
                try:
                    self._withdraw()
                except StoreError as error:
                    self._troubles.append(error)

    def refuse(self, refusals: Iterable[Refusal]) -> None:
        """Note which drops came to no rollout, each as long as it is news. May be called by any thread."""
        if self._store is None:
            return
        try:
            if fresh := self._refused.fresh(refusals):
                self._store.check_owner()
                self._store.refusals.write(fresh)
        except StoreError as error:
            self._troubles.append(error)
        self.tell()

    def tidy(self) -> None:
        """Forget what is over and old."""
        if self._store is not None:
            try:
                self._store.tidy()
            except StoreError as error:
                self._troubles.append(error)

    def tell(self) -> None:
        """Tell what could not be written, and what has died; not under a lock."""
        tell_dead(self._died)
        while self._store is not None and self._troubles:
            error, owed = self._troubles.pop(0), sorted(entry.label for entry in self._owed.values())
            emit("store.troubled", level="error", store=self._store.folder, reason=error, owed=owed)

    def _later(self, entry: Entry) -> None:
        if _unchanged(entry, self._written.get(entry.id)):
            return
        self._owed[entry.id] = entry
        try:
            self._write()
        except StoreError as error:
            self._troubles.append(error)

    def _write(self, *entries: Entry) -> None:
        assert self._store is not None
        owed = {name: entry for name, entry in self._owed.items() if name not in {entry.id for entry in entries}}
        self._withdraw()  # before: what raises after it would seem not to be written
        self._store.journal.write(*owed.values(), *entries)
        self._owed.clear()
        for entry in (*owed.values(), *entries):
            self._written[entry.id] = entry

    def _withdraw(self) -> None:
        if self._store is not None and self._withdrawn:
            self._store.journal.withdraw(self._withdrawn)
            self._withdrawn.clear()

    def _entry(self, rollout: Rollout) -> Entry:
        """What is known of a rollout, as the journal has it."""
        record, known = rollout.record, self._kept.get(rollout.id)
        facts = {
            "id": record.id,
            "name": record.name,
            "version": None if record.version is None else str(record.version),
            "state": str(record.state),
            "reason": record.reason,
            "by": rollout.by,
            "why": rollout.why,
            "note": rollout.patch.note,
            "actor": rollout.actor or rollout.by,
            "started": record.started.isoformat(timespec="milliseconds"),
            "changed": record.finished.isoformat(timespec="milliseconds"),
            "pause": record.pause,
            # What came out of the store does not say where it had come from.
            "origin": rollout.patch.metadata.get("origin", None if known is None else known.origin),
            "given": rollout.given,
            "digest": record.digest,
            "report": tuple(map(facts_of, record.report)),
        }
        return Entry(**facts) if known is None else replace(known, **facts)  # type: ignore[arg-type]  # as above

    # --- what is known -----------------------------------------------------------------------------------------------

    def resume(self, rollout: Rollout) -> None:
        """Have a rollout be the permanent one on which this process came up."""
        assert self.resumed is not None
        entry = self._kept[rollout.id] = self.resumed
        rollout.given, rollout.by, rollout.why, rollout.reason = entry.given, entry.by, entry.why, entry.reason
        rollout.started, rollout.changed = map(datetime.fromisoformat, (entry.started, entry.changed))
        rollout.report, rollout.pause = report_of(entry, self._troubles), entry.pause

    def patch_of(self, entry: Entry) -> Patch | None:
        """Return the patch of a rollout, or None where it is not kept."""
        assert self._store is not None
        try:
            return self._store.patches.get(entry.digest)
        except StoreError as error:
            self._troubles.append(error)
            return None

    def patch(self, digest: str) -> Patch:
        """Return the patch of that digest. Raises StoreError where it is not kept."""
        if self._store is None:
            raise StoreError("this patcher has no store", advice="Patcher(store=...) keeps what was rolled out")
        return self._store.patches.get(digest)

    def footing(self, digest: str) -> Entry | None:
        """Return the rollout of a patch that is what this process came up on, or below it.

        None, too, while something else is live over it.
        """
        seen = {} if self._heritage is None else {entry.id: entry for entry in self._heritage.all()}
        found = [entry for entry in seen.values() if digest in (entry.given, entry.digest)]
        return found[0] if found and seen.keys() >= {*(self._head or "").split()} else None

    def distrust(self, revoked: Collection[str]) -> None:
        """Tell what this process came up on that is revoked by now; arguments as those of `Heritage.revoked`."""
        for label, why in ({} if self._heritage is None else self._heritage.revoked(revoked)).items():
            what = f"{label} is permanent, and {why}: it runs, or lies below what runs, until it is taken back"
            self._troubles.append(StoreError(what, advice="patcher.rollback(), or deploy the code without it"))
        self.tell()

    def lived(self) -> list[tuple[tuple[str, str], dict[str, Version]]]:
        """Return what was permanent or taken back: the digests of each patch, and the versions of its packages.

        What died within its trial, or is on trial in another process, is not among it: it may be applied here.

        Raises StoreError.
        """
        lived = [] if self._store is None else self._store.journal.lived()
        return [(one.digests, {name: Version(version) for name, version in one.versions.items()}) for one in lived]

    def dated(self) -> list[tuple[tuple[str, ...], int]]:
        """Return the modules of what `lived`, and when it was signed, as far as it is kept. Raises StoreError."""
        return [] if self._store is None else dated(self._store, self._troubles)

    def came_to(self, digest: str, origin: str) -> Record | None:
        """Return what a patch that lay in a place came to when it was judged last, or None."""
        try:
            entry = None if self._store is None else self._store.journal.newest(digest, origin)
        except StoreError as error:
            self._troubles.append(error)
            return None
        return None if entry is None else record_of(entry, self._troubles)

    def stands(self, digest: str) -> bool:
        """Return whether a patch is permanent over the code that is on disk here, by the word of another process."""
        try:
            standing = {} if self._store is None else self._store.journal.standing()
        except StoreError as error:
            self._troubles.append(error)
            return False
        return any(
            digest in (entry.given, entry.digest) and entry.id not in self._written and self._lies_over(entry)
            for entry in standing.values()
        )

    def _lies_over(self, entry: Entry) -> bool:
        """Whether a rollout was made over the code that is on disk here."""
        return all(self._base.get(package) == base for package, base in entry.base.items())

    def earlier(self) -> Patch:
        """Return what was live before what this process came up on; raises as `Heritage.earlier` does."""
        assert self._heritage is not None
        return self._heritage.earlier()

    def history(self, known: Iterable[Record], limit: int) -> tuple[Record, ...]:
        """Return the records of a patcher, newest first, with those of other processes."""
        mine = {record.id: record for record in known}
        if self._store is not None:
            try:
                entries = self._store.journal.entries(limit, self._troubles)
                refusals = self._store.refusals.newest(self._troubles)
            except StoreError as error:
                self._troubles.append(error)
                entries, refusals = [], []
            others = [record_of(entry, self._troubles) for entry in entries if entry.id not in mine]
            newest = sorted([*mine.values(), *others], key=attrgetter("started"), reverse=True)[:limit]
            # They have a cap of their own: however many there are, they push no rollout out.
            return tuple(sorted([*newest, *map(record_of_refusal, refusals)], key=attrgetter("started"), reverse=True))
        return tuple(mine.values())


def _unchanged(entry: Entry, written: Entry | None) -> bool:
    """Whether an entry says what was written before, but for the time at which it says so."""
    return written is not None and replace(written, changed=entry.changed) == entry
