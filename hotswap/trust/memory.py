"""What was live here: the digests and the highest versions, so that nothing comes back unasked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from packaging.version import Version

__all__ = ["Memory"]


class Memory:
    """What was live here. Lives as long as its patcher; what it knows is never forgotten.

    Concurrency: everything may be called by anybody; a lock is held for moments, and while the journal is first read.

    Arguments:
        seen: tells of a digest whether it was live here before, in an earlier process; None: nobody knows.
        stood: tells of a digest whether it is what this process came up on, or would come up on now; None: nothing is.
        lived: gives what was live in earlier processes, as `note` gets it; asked when somebody wants to know,
            until it does not raise.
        dated: gives the modules of what was live in earlier processes, and when it was signed, as `date` gets it;
            asked as that is.
    """

    def __init__(
        self,
        seen: Callable[[str], bool] | None = None,
        stood: Callable[[str], bool] | None = None,
        lived: Callable[[], Iterable[tuple[Iterable[str], Mapping[str, Version]]]] | None = None,
        dated: Callable[[], Iterable[tuple[Iterable[str], int]]] | None = None,
    ) -> None:
        self._earlier, self._stood, self._lived, self._dated = seen, stood, lived, dated
        self._signed: dict[str, int] = {}
        self._lock = threading.RLock()
        self._digests: set[str] = set()
        self._highest: dict[str, Version] = {}

    def note(self, digests: Iterable[str], versions: Mapping[str, Version]) -> None:
        """Note that a patch is live.

        Arguments:
            digests: of the patch, with the version that it got and as it was given.
            versions: package -> version.
        """
        with self._lock:
            self._digests.update(digests)
            for name, version in versions.items():
                self._highest[name] = max(version, self._highest.get(name, version))

    def date(self, modules: Iterable[str], signed: int) -> None:
        """Note when what is live of some modules was signed, in seconds since the epoch."""
        with self._lock:
            for name in modules:
                self._signed[name] = max(signed, self._signed.get(name, signed))

    def signed(self, module: str) -> int | None:
        """When the latest of what a patch made live of a module here was signed. Raises what `dated` raises."""
        with self._lock:
            dated = () if self._dated is None else list(self._dated())
            self._dated = None
            for modules, signed in dated:
                self.date(modules, signed)
        return self._signed.get(module)

    def _recall(self) -> None:
        """Take in what was live in earlier processes, if nobody has asked before."""
        with self._lock:
            # What can't be read is no empty memory: the error goes to whoever asks, and the next one asks again.
            lived = () if self._lived is None else list(self._lived())
            self._lived = None
            for digests, versions in lived:
                self.note(digests, versions)

    def seen(self, digest: str) -> bool:
        """Whether a patch of this digest was live here. Raises what `lived` raises."""
        self._recall()
        return digest in self._digests or (self._earlier is not None and bool(self._earlier(digest)))

    def stood(self, digest: str) -> bool:
        """Whether a patch of this digest is what comes up here: that it lies there still is no replay."""
        return self._stood is not None and self._stood(digest)

    def highest(self, package: str) -> Version | None:
        """The highest version of a package that a patch made live here. Raises what `lived` raises."""
        self._recall()
        return self._highest.get(package)
