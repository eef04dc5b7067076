"""Heritage: what this process came up on, and what lies below that in the store.

Several rollouts may be permanent side by side: processes that share a store, and did not know each other's, have each
made one of other packages permanent. Then the newest is the one that can be taken back; the others stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from packaging.version import Version

from hotswap.errors import NothingToRollBackError, StoreError
from hotswap.generation import booted
from hotswap.patch import Patch
from hotswap.store import Entry, Store, on_disk, over, part

__all__ = ["Heritage", "dated"]


class Heritage:
    """What a process came up on. Lives as long as the patcher.

    Arguments:
        store: the store.
        packages: the managed packages.
        troubles: gets what can't be read of it.
    """

    def __init__(self, store: Store, packages: Sequence[str], troubles: list[Exception]) -> None:
        self._store, self._troubles = store, troubles
        finders = booted(packages)
        self.packages = frozenset[str]().union(*(finder.packages for finder in finders))
        self._names = [finder.rollout for finder in finders]
        self._newest = sorted(finders[0].packages) if finders else []
        """The packages that come from the newest."""
        self._entries: list[Entry] = []
        try:
            found = (store.journal.entry(name) for name in self._names)
            self._entries = [entry for entry in found if entry is not None]
        except StoreError as error:
            troubles.append(error)
        same = bool(self._entries) and self._entries[0].id == self._names[0]
        self.newest: Entry | None = self._entries[0] if same else None
        """The permanent rollout on which this process came up; None where none can be taken back."""

    @property
    def head(self) -> str | None:
        """What a rollout lies over that is made now, as `Entry.below`."""
        return " ".join(self._names) or None

    def without_newest(self) -> str | None:
        """Return what a rollout lies over that is made when the newest was taken back, as `Entry.below`."""
        below = () if self.newest is None else self.newest.lies_over
        return " ".join((*self._names[1:], *below)) or None

    def all(self) -> Iterator[Entry]:
        """Yield what this process came up on, and what lies below that, as far as it can be read."""
        left, seen = list(self._entries), set[str]()
        try:
            while left:
                entry = left.pop(0)
                if entry.id in seen:  # in a damaged journal it may go round
                    continue
                seen.add(entry.id)
                yield entry
                left += [found for name in entry.lies_over if (found := self._store.journal.entry(name)) is not None]
        except StoreError as error:
            self._troubles.append(error)

    def revoked(self, revoked: Collection[str]) -> dict[str, str]:
        """Return what this process came up on, or over, that is revoked by now: its label, and what is revoked of it.

        Arguments:
            revoked: ids of keys, and digests, as those of a policy.
        """
        found = {}
        for entry in self.all() if revoked else ():
            # Of a signed drop, this begins with the id of the key, which the gate has put there.
            key = entry.by.removeprefix("key ").partition(",")[0] if entry.by.startswith("key ") else ""
            if key in revoked:
                found[entry.label] = f"was signed with the key {key}, which is revoked"
            elif entry.given in revoked or entry.digest in revoked:
                found[entry.label] = f"is revoked (SHA-256 {entry.given})"
        return found

    def earlier(self) -> Patch:
        """Return what was live before the newest rollout on which this process came up, as one patch.

        Raises NothingToRollBackError if it is not kept.
        """
        entry = self.newest
        assert entry is not None
        try:
            if any(self._store.journal.entry(name) is None for name in entry.lies_over):
                raise StoreError("the store does not have the version below it any more")
            below: dict[str, tuple[Entry, list[str]]] = {}
            for package in self._newest:
                found = self._store.journal.below(entry, package)
                if found is not None:
                    below.setdefault(found.id, (found, []))[1].append(package)
            upper = [self._part(found, packages) for found, packages in below.values()]
            versions = {name: Version(entry.before[name]) for name in self._newest}
            return over(upper, [on_disk(package) for package in self._newest], versions, entry.name)
        except (StoreError, KeyError) as error:
            why = error.reason if isinstance(error, StoreError) else f"the journal has no version of {error} before it"
            raise NothingToRollBackError(
                f"the generation before can't be had: {why}",
                patch=entry.label,
                advice="apply the older code as a patch with a newer version, or move the store away and restart",
            ) from error

    def _part(self, entry: Entry, packages: Sequence[str]) -> Patch:
        if entry.generation is None:
            raise StoreError("the store does not have the version below it any more")
        return part(self._store.patches.get(entry.generation), entry.packages, packages)


def dated(store: Store, troubles: list[Exception]) -> list[tuple[tuple[str, ...], int]]:
    """Return the modules of what was permanent or taken back, and when it was signed, as far as it is kept.

    Arguments:
        store: the store.
        troubles: gets what of it can't be read.

    Raises StoreError.
    """
    found: list[tuple[tuple[str, ...], int]] = []
    for digest in {one.digests[-1] for one in store.journal.lived()}:
        try:
            patch = store.patches.get(digest) if store.patches.has(digest) else None
            if patch is not None and "signed" in patch.metadata:
                found.append(((*patch.sources, *patch.extensions), int(patch.metadata["signed"])))
        except StoreError as error:  # the others are known all the same
            troubles.append(error)
    return found
