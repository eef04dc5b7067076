"""What can go wrong, as types: every failure of hotswap is a `HotswapError`.

An error carries facts (what was refused, why, what is running now), and its text tells an operator what to do.
Each docstring says who caused the error and what state it leaves behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.version import Version

__all__ = [
    "BusyError",
    "CheckFailedError",
    "CommitError",
    "DowngradeError",
    "FilesError",
    "HotswapError",
    "LoadError",
    "ManifestError",
    "MigrationError",
    "NothingToRollBackError",
    "OutdatedError",
    "PatchError",
    "PlanError",
    "QuarantinedError",
    "RehearsalError",
    "RequirementError",
    "ShadowError",
    "SignatureError",
    "SourceError",
    "StateError",
    "StoreError",
    "TrustError",
    "UnsupportedChangeError",
    "VetoError",
    "WheelError",
    "WrongPackageError",
]


class HotswapError(Exception):
    """Base of all errors that hotswap raises.

    Arguments:
        reason: what was refused or failed, and why, in one or more sentences.
        module: dotted name of the module concerned, where there is one.
        patch: name and version of the patch concerned, such as ``"shop 1.2.1"``.
        running: what is live now, a mapping from package to version.
        advice: one sentence that says what to do about it.
        code: one word for machines, where one type of error has several causes.

    All arguments are kept as attributes of the same names. The process is as it was before the call.
    `rollout` is the record of the rollout that this error ended, or None where there was none.
    """

    rollout: object = None

    def __init__(
        self,
        reason: str,
        *,
        module: str | None = None,
        patch: str | None = None,
        running: Mapping[str, Version | str] | None = None,
        advice: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.module = module
        self.patch = patch
        self.running: dict[str, str] | None = None
        self.advice = advice
        self.code = code
        if running is not None:
            self.now_running(running)

    def __reduce__(self) -> tuple[object, ...]:
        # The ordinary way calls the class with `args`, which most of the errors here do not take. A cause is left out.
        return _unpickled, (type(self), self.args, self.__dict__)

    def now_running(self, running: Mapping[str, Version | str]) -> None:
        """Note what is live, unless it was noted already: the patcher knows it, the place that raised may not."""
        if self.running is None:
            self.running = {name: str(version) for name, version in running.items()}

    def __str__(self) -> str:
        subject = f"{self.patch}: " if self.patch else ""
        lines = [f"{subject}{self.reason}"]
        if self.module:
            lines.append(f"module: {self.module}")
        if self.running is not None:
            live = ", ".join(f"{name} {version}" for name, version in self.running.items()) or "nothing"
            lines.append(f"running now: {live}")
        if self.advice:
            lines.append(f"what to do: {self.advice}")
        return "\n".join(lines)


def _unpickled(cls: type[HotswapError], args: tuple[object, ...], facts: dict[str, object]) -> HotswapError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class PatchError(HotswapError):
    """The artifact itself is unusable; whoever built it has to build it anew. Nothing was loaded."""


class SourceError(PatchError):
    """A source file of the patch is not valid Python: encoding, null bytes, or syntax. Nothing was executed."""


class WheelError(PatchError):
    """The wheel is damaged or unsafe: truncated, RECORD does not match, a path leads outside. Nothing was executed."""


class ManifestError(PatchError):
    """The `hotswap.toml` of the patch can't be used: not TOML, unknown keys, wrong types. Nothing was executed."""


class TrustError(HotswapError):
    """What was dropped may not run here, because the policy (`Trust`) says so. Nothing of it was executed.

    `code` is one of the list in docs/reference/errors.md.
    """


class SignatureError(TrustError):
    """The signature of what was dropped is missing, wrong, or no longer valid. Nothing of it was executed."""


class RequirementError(HotswapError):
    """The patch is sound, but this process lacks what it requires (`Requires-Python`, `Requires-Dist`).

    `unmet` holds every requirement that is not met, each as a sentence. Nothing was executed.
    """

    def __init__(self, unmet: Sequence[str], *, patch: str | None = None) -> None:
        super().__init__(
            "this process does not meet the patch's requirements: " + "; ".join(unmet),
            patch=patch,
            advice="install what is missing and restart, or build the patch for what is installed",
        )
        self.unmet = tuple(unmet)


class WrongPackageError(HotswapError):
    """The patch holds no module of the packages that this patcher manages. Nothing was executed."""


class DowngradeError(HotswapError):
    """The version of the patch is not newer than what is live. Nothing was executed."""


class LoadError(HotswapError):
    """A module of the candidate raised while it was imported; the cause is chained. The candidate is discarded."""


class MigrationError(HotswapError):
    """A migration of the candidate raised, did not return in time (a cause is chained), or is no function.

    The candidate is discarded. Nothing live was touched, but for living objects that the migration itself changed in
    place.
    """


class PlanError(HotswapError):
    """The plan of the swap could not be made, for a reason that hotswap did not foresee; the cause is chained.

    Nothing live was touched; the candidate is discarded.
    """


class UnsupportedChangeError(HotswapError):
    """The patch asks for changes that can't be made in a living process. Nothing live was touched.

    `changes` holds all of them, each with its code, module, name and sentence.
    """

    def __init__(self, changes: Sequence[object], *, patch: str | None = None) -> None:
        listed = "\n".join(f"  - {change}" for change in changes)
        super().__init__(
            f"{len(changes)} unsupported change{'s' if len(changes) != 1 else ''}:\n{listed}",
            patch=patch,
            advice="restart the service with this version, or change the patch; "
            "docs/reference/unsupported-changes.md explains each code",
        )
        self.changes = tuple(changes)


class CheckFailedError(HotswapError):
    """At least one check did not pass. The candidate is discarded, nothing live was touched.

    `report` is the result of every check that was run.
    """

    def __init__(self, reason: str, report: object, *, patch: str | None = None) -> None:
        super().__init__(reason, patch=patch, advice="read the report: the check names what it found")
        self.report = report


class VetoError(HotswapError):
    """A hook (`before_stage`, `before_commit`) refused the patch; what it raised is chained. Nothing live was touched.

    `hook` is its name. What earlier hooks did for this rollout was taken back by their undos.
    """

    def __init__(self, reason: str, *, patch: str | None = None, advice: str | None = None, hook: str = "") -> None:
        super().__init__(reason, patch=patch, advice=advice)
        self.hook = hook


class RehearsalError(HotswapError):
    """The patch did not come through its rehearsal, in a copy of the process. Nothing of it was executed here.

    `code` says what happened, one of the list in docs/reference/errors.md. `step` is where it was; `signal` the name of
    the signal that ended the copy, or None; `stack` where it was then, or a traceback; `error` the name of the type of
    error that was raised there, or "".
    """

    step = ""
    signal: str | None = None
    stack = ""
    error = ""


class FilesError(HotswapError):
    """The files of a candidate can't be laid out: the disk for temporary files is full, say, or too many are open.

    That says nothing of the patch. The rollout is rejected, nothing was executed.
    """


class CommitError(HotswapError):
    """The swap could not be made; what had been written was taken back, the old version is live."""


class StateError(HotswapError):
    """The rollout is in a state that does not allow what was asked (a commit of a rejected rollout, say).

    Nothing was done.
    """


class OutdatedError(StateError):
    """The service imported modules of the patch, in the old version, after the patch was staged.

    Its candidate was not compared with them. The rollout is rejected, nothing live was touched; `Patcher.apply` stages
    it again by itself.
    """


class ShadowError(HotswapError):
    """A function can't be shadowed: it is not there, is no function written in Python, or its calls can't be seen.

    Nothing was done; the rollout stays armed.
    """


class StoreError(HotswapError):
    """The store can't be read or written (a full disk, an I/O error, no database of hotswap's); the cause is chained.

    Nothing goes live that is not durable: the rollout is rejected, nothing live was touched. From `confirm`: it stays
    on trial.
    """


class QuarantinedError(HotswapError):
    """Processes died within the trial of this patch, as often as they may.

    Nothing was executed; in a process in which it is live, it stays on trial. `Store.release(digest)` lets it be
    applied, or confirmed, again.
    """


class BusyError(HotswapError):
    """Another rollout is in progress, or bakes; or a check or a hook called back into its own patcher.

    Nothing was done.
    """


class NothingToRollBackError(HotswapError):
    """There is no previous generation to go back to. Nothing was done."""


CIRCUMSTANCES = (BusyError, FilesError, OutdatedError, StoreError)
"""Errors that say nothing of what was dropped: another rollout is in progress, a disk is full, the store is locked, or
the service goes on importing what the patch changes. They pass, or somebody mends them; the drop waits."""
