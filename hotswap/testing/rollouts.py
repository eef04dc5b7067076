"""A rollout that rolls nothing out: for tests of code that is handed one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import ModuleType

from packaging.version import Version

from hotswap.errors import StateError
from hotswap.patch import Patch
from hotswap.records import BEFORE_LIVE, Record, State
from hotswap.testing.candidates import candidate
from hotswap.verification import Report

__all__ = ["FakeRollout"]

_MOVES: dict[str, tuple[tuple[State, ...], State]] = {
    "verify": ((State.STAGED,), State.VERIFIED),
    "arm": ((State.VERIFIED, State.ROLLED_BACK), State.ARMED),
    "disarm": ((State.ARMED,), State.VERIFIED),
    "commit": ((State.VERIFIED, State.ARMED, State.ROLLED_BACK), State.LIVE),
    "confirm": ((State.LIVE,), State.PERMANENT),
    "rollback": ((State.LIVE, State.PERMANENT), State.ROLLED_BACK),
    "abort": (BEFORE_LIVE, State.REJECTED),
}
"""What leads from which states to which one, as `docs/reference/states.md` has it."""


class FakeRollout:
    """Goes through the states of a rollout, and touches nothing. Lives as long as a test.

    Arguments:
        sources: of its patch; dotted module name -> source.
        version: of its patch.
        state: where it stands at first.
        id: names it.

    Attributes:
        calls: the names of the methods that were called and did something, in their order.
    """

    def __init__(
        self,
        sources: Mapping[str, str | bytes] | None = None,
        *,
        version: str = "1.0",
        state: State = State.LIVE,
        id: str = "fake",  # noqa: A002 - the attribute of a rollout
    ) -> None:
        self.id = id
        self.patch = Patch.from_sources(sources or {"fake": ""}, version=version)
        self.version = Version(version)
        self.state = State(state)
        self.reason = ""
        self.report = Report(())
        self.pause: float | None = None
        self.by = self.why = self.actor = ""
        self.calls: list[str] = []
        self._started = self._changed = datetime.now(UTC)
        self._candidate = candidate({name: source.data for name, source in self.patch.sources.items()})

    def __repr__(self) -> str:
        return f"<FakeRollout {self.id} {self.label} {self.state}>"

    @property
    def label(self) -> str:
        """Name and version, for people."""
        return self.patch.label

    @property
    def candidate(self) -> Mapping[str, ModuleType]:
        """The modules of the patch by name."""
        return self._candidate

    @property
    def record(self) -> Record:
        """The facts of this moment."""
        patch = self.patch
        facts = (self.id, patch.name, patch.version, patch.digest, self.state, self.reason)
        return Record(*facts, self._started, self._changed, self.report, self.pause, patch.note, self.by, self.why)

    def _move(self, name: str, reason: str = "") -> None:
        allowed, state = _MOVES[name]
        if self.state not in allowed:
            raise StateError(
                f"a rollout that is {self.state.replace('_', ' ')} has no {name}()", patch=self.label, running={}
            )
        self.state, self.reason, self._changed = state, reason or self.reason, datetime.now(UTC)
        self.calls.append(name)

    def verify(self) -> None:
        """Be verified. Raises StateError in another state than staged; so do all of these where they don't fit."""
        self._move("verify")

    def arm(self, policy: object = None) -> None:
        """Be armed."""
        self._move("arm")

    def disarm(self) -> None:
        """Be verified again."""
        self._move("disarm")

    def commit(self) -> None:
        """Be live."""
        self._move("commit")

    def confirm(self) -> None:
        """Be permanent."""
        self._move("confirm")

    def rollback(self, reason: str = "", *, by: str = "") -> None:
        """Be rolled back, for a reason."""
        self._move("rollback", reason or "rolled back on request")
        self.actor = by

    def abort(self, reason: str = "") -> None:
        """Be rejected, for a reason."""
        self._move("abort", reason or "aborted")
