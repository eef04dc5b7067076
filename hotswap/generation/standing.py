"""Where the packages of this process stand: which version is live, and how often that has changed.

There is one process and one `sys.modules`, however many patchers there are. So what two of them must agree on is kept
here, for each package, and not in a patcher: the version that the next patch has to be newer than, and a count of the
swaps, by which a patcher sees that somebody else has changed what it staged on or wants to take back.

Guarantees and assumes: it is read and written under the lock of one patcher; two patchers that swap one package at the
same instant are kept apart by nobody.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import ModuleType

from packaging.version import Version

from hotswap.generation.live import live_version

__all__ = ["Standing", "epochs", "standing"]


class Standing:
    """Where one package stands. Lives as long as the process.

    Attributes:
        epoch: counts the swaps.
    """

    def __init__(self, package: str) -> None:
        self.epoch = 0
        self._package = package
        self._root: ModuleType | None = None
        self._version = Version("0")
        self._read()

    def _read(self) -> None:
        self._root = sys.modules.get(self._package)
        self._version = live_version(self._package)

    @property
    def version(self) -> Version:
        """The version that is live: that of the last swap, else what the package says of itself."""
        if sys.modules.get(self._package) is not self._root:  # it was imported since, or imported anew
            self._read()
        return self._version

    def put(self, version: Version) -> None:
        """Note that a swap has been made."""
        self.epoch += 1
        self._root = sys.modules.get(self._package)
        self._version = version


_standings: dict[str, Standing] = {}


def standing(package: str) -> Standing:
    """Return where a package stands."""
    found = _standings.get(package)
    return found if found is not None else _standings.setdefault(package, Standing(package))


def epochs(packages: Iterable[str]) -> tuple[int, ...]:
    """Return how often each of some packages was swapped: what was staged at one count does not fit another."""
    return tuple(standing(package).epoch for package in packages)
