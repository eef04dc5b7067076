"""Latencies of any number of requests in little memory."""

from __future__ import annotations

import math
from collections import Counter

__all__ = ["Latencies"]

PER_OCTAVE = 48
"""Buckets for each doubling: a percentile is read to within 1.5 %."""


class Latencies:
    """A histogram with logarithmic buckets; lives as long as one measurement. All times are in seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self._buckets: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one request."""
        self.count += 1
        self.longest = max(self.longest, seconds)
        self._buckets[math.ceil(math.log2(max(seconds, 1e-6)) * PER_OCTAVE)] += 1

    def percentile(self, share: float) -> float:
        """The time that this share of the requests (0 to 1) did not exceed; 0.0 when there were none."""
        wanted = share * self.count
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(math.exp2(bucket / PER_OCTAVE), self.longest)
        return self.longest
