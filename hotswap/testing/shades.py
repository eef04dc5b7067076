"""A shadow that sees no calls but those that a test tells it of."""

from __future__ import annotations

from hotswap.shadows import Mismatch, Shadow
from hotswap.shadows.calls import Call

__all__ = ["FakeShadow"]


class FakeShadow(Shadow):
    """What `FakeRollout.shadow` returns: it taps no function, and has seen what `see` says.

    It ends as the real one does. Lives as long as it is held.
    """

    def start(self) -> None:
        """Begin: no thread is started."""

    def see(self, calls: int = 1, *, mismatches: int = 0, timed_out: int = 0) -> None:
        """Have it have seen calls, each of them compared but for those that did not end in time.

        With more mismatches and late ones in all than `limit`, the rollout is rejected, as by the real one.

        Arguments:
            calls: how many live calls there were.
            mismatches: how many of them the candidate has answered otherwise.
            timed_out: how many it did not answer in time.

        Raises ValueError if there are more of these than calls.
        """
        if min(calls, mismatches, timed_out) < 0 or mismatches + timed_out > calls:
            raise ValueError(f"of {calls} calls, {mismatches} can't be answered otherwise and {timed_out} late")
        for number in range(calls):
            self._calls.add()
            if number < timed_out:
                self.late()
                continue
            differs = number < timed_out + mismatches
            self.found(Call(self), 0.0, Mismatch("", "what is live", "the candidate") if differs else None)

    def _refuse(self, reason: str) -> None:
        self._owner.shadow_refused(reason)  # here and now: the test wants to see it
