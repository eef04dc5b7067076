"""What was live here: the digests and the highest versions, so that nothing comes back unasked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from packaging.version import Version

__all__ = ["Memory"]


class Memory:
    """What was live in this process. Lives as long as its patcher; what it knows is never forgotten.

    Concurrency: `note` is called under the patcher's lock; the others may be called by anybody.

    Arguments:
        seen: tells of a digest whether it was live here before, in an earlier process; None: nobody knows.
        stood: tells of a digest whether it is what this process came up on; None: it came up on the code on disk.
    """

    def __init__(self, seen: Callable[[str], bool] | None = None, stood: Callable[[str], bool] | None = None) -> None:
        self._earlier, self._stood = seen, stood
        self._digests: set[str] = set()
        self._highest: dict[str, Version] = {}

    def note(self, digests: Iterable[str], versions: Mapping[str, Version]) -> None:
        """Note that a patch is live.

        Arguments:
            digests: of the patch, with the version that it got and as it was given.
            versions: package -> version.
        """
        self._digests.update(digests)
        self._highest.update({name: max(version, self.highest(name) or version) for name, version in versions.items()})

    def seen(self, digest: str) -> bool:
        """Whether a patch of this digest was live here."""
        return digest in self._digests or (self._earlier is not None and bool(self._earlier(digest)))

    def stood(self, digest: str) -> bool:
        """Whether this process came up on a patch of this digest: that it lies there still asks for nothing."""
        return self._stood is not None and self._stood(digest)

    def highest(self, package: str) -> Version | None:
        """The highest version of a package that a patch made live in this process."""
        return self._highest.get(package)
