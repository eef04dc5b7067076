"""The background thread. Its loop never ends, so this module is one that patches leave alone."""

from __future__ import annotations

import threading

from shop import __version__, pricing
from shop.cache import WarmCache

__all__ = ["Refresher"]


class Refresher(threading.Thread):
    """Looks up the price in the shop window again and again; lives as long as the service.

    `version` is the version that the last round saw, `rounds` counts them.
    """

    def __init__(self, cache: WarmCache, *, every: float = 0.05) -> None:
        super().__init__(name="refresher", daemon=True)
        self.cache = cache
        self.every = every
        self.rounds = 0
        self.version = __version__
        self.featured = 0
        self._ending = threading.Event()

    def run(self) -> None:
        """Refresh every `every` seconds until `end` is called."""
        while not self._ending.wait(self.every):
            self.refresh()

    def refresh(self) -> None:
        """One round."""
        self.featured = pricing.net_price(self.cache, "atlas", 1)
        self.version = __version__
        self.rounds += 1

    def end(self) -> None:
        """Ask the loop to end, and wait until it has."""
        self._ending.set()
        if self.is_alive():
            self.join()
