"""One try at a drop: its bytes are read once, and what was read is applied."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from packaging.version import Version

from hotswap.errors import CIRCUMSTANCES, HotswapError, PatchError, TrustError
from hotswap.patch import MANIFEST, Patch
from hotswap.rollout import Record, Rollout
from hotswap.stopping import is_interrupt
from hotswap.trust import Waiting
from hotswap.watching.gate import Gate
from hotswap.watching.looks import GO, digest_of
from hotswap.watching.outcome import Failure, Outcome
from hotswap.watching.scanning import Drop

__all__ = ["Taken", "attempt", "take"]

_NO_VERSION = Version("0")


@dataclass(frozen=True, slots=True)
class Taken:
    """A drop whose bytes were read: a patch, or the failure to make one of them. Lives for one pass.

    Without both, they have to be read again when it is their turn (`without_patch`). `version` is the one that the drop
    says it is, the highest if its packages say several. `again` says that the same bytes failed before, and that
    somebody wants them tried anew.
    """

    drop: Drop
    digest: str
    patch: Patch | None
    failure: Failure | None
    version: Version | None = None
    again: bool = False

    @property
    def size(self) -> int:
        """How many bytes are kept for it."""
        return 0 if self.patch is None else sum(map(len, self.patch.files.values()))

    def without_patch(self) -> Taken:
        """Return what says in which order it comes; its bytes are not kept."""
        return replace(self, patch=None)

    @property
    def order(self) -> tuple[bool, Version, str]:
        """Sorts drops into the order in which they are applied: by version, then by name; without a version last."""
        return (self.version is None, self.version or _NO_VERSION, self.drop.name)


def take(
    drop: Drop,
    running: Callable[[], Mapping[str, Version]] | None = None,
    gate: Gate | None = None,
    *,
    single_files: bool = True,
    stands: Callable[[str], bool] = lambda _: False,
) -> Taken | Waiting:
    """Read the bytes of a drop. Never raises an Exception: a drop that makes no patch is a failure to report.

    Arguments:
        drop: what was dropped.
        running: returns what is live; a failure says that too.
        gate: the policy that it has to pass; None: everything passes.
        single_files: whether a `.py` file may be dropped, where there is no policy that says so.
        stands: tells of a patch's digest whether it was applied from this drop, and is live.

    Returns what it lacks instead, where that may still come.
    """
    if gate is not None:
        return _take_through(gate, drop, running, stands)
    if drop.path.suffix == ".py" and not single_files:
        return Taken(drop, drop.look.stamp, None, _failure(_single_file(drop.name), running))
    try:
        if drop.look.odd is not None:
            raise PatchError(drop.look.odd)
        # A drop directory is no package, whatever lies in it: the name of the file says which module it is.
        module = drop.path.stem if drop.path.suffix == ".py" else None
        patch = Patch.from_path(drop.path, module=module)
        _check_manifest(patch, drop)
    except MemoryError as error:
        return _unreadable(error)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the drop, it is the drop's outcome
        failure = _failure(error, running)
        try:
            # What is too large to be read is known by its looks.
            return Taken(drop, digest_of(drop.path) or drop.look.stamp, None, failure)
        except OSError as unreadable:
            return _unreadable(unreadable)
    return Taken(drop, patch.digest, patch, None, patch.version)


def _take_through(
    gate: Gate, drop: Drop, running: Callable[[], Mapping[str, Version]] | None, stands: Callable[[str], bool]
) -> Taken | Waiting:
    try:
        if drop.look.odd is not None and drop.look.many:
            raise TrustError(drop.look.odd, code="too-many-files", advice="drop less, or raise Trust(max_files=...)")
        found = gate.take(drop.name, stands)
        if not isinstance(found, Waiting):
            _check_manifest(found, drop)
    except (OSError, MemoryError) as unreadable:
        return _unreadable(unreadable)
    except Exception as error:  # noqa: BLE001 - as in `take`
        # By its looks and not by its bytes: it may be refused for its signature, its owner, or what lies beside it, and
        # has to be judged again when those are other ones.
        return Taken(drop, drop.look.stamp, None, _failure(error, running))
    return found if isinstance(found, Waiting) else Taken(drop, found.digest, found, None, found.version)


def _unreadable(error: OSError | MemoryError) -> Waiting:
    """The drop itself could not be read, or there is no memory for it now, so nothing is known of its bytes."""
    return Waiting(f"the drop can't be read ({Failure.of(error).reason}); it is tried again")


def _single_file(name: str) -> TrustError:
    return TrustError(
        f"{name} is a single file, and only wheels and folders are taken here",
        code="kind-refused",
        advice="build a wheel; or allow single files, with patcher.watch(..., single_files=True)",
    )


def _check_manifest(patch: Patch, drop: Drop) -> None:
    """Raise PatchError for a folder without a manifest: any folder could be a drop, this one is meant as one."""
    if patch.metadata.get("kind") not in ("folder", "package"):
        return
    own = f"{drop.name}/{MANIFEST}"
    if not any(path in (MANIFEST, own) or path.endswith(f"/{own}") for path in patch.files):
        raise PatchError(
            f"{drop.name} is a folder without a {MANIFEST}",
            advice=f"put one into it, with its version; touch {drop.name}{GO} after that",
        )


def attempt(apply: Callable[[Patch], Rollout], taken: Taken) -> tuple[Outcome, Rollout | None]:
    """Apply what was taken. Whatever `apply` raises is the outcome; runs user code, so no lock may be held.

    Returns the outcome, and the rollout if it went live: it may be taken back at any time.

    Raises what `apply` raises of `CIRCUMSTANCES`: that says nothing of the drop, which has to wait.
    """
    began = time.monotonic()
    failure = taken.failure
    record: Record | None = None
    if taken.patch is not None:
        try:
            rollout = apply(taken.patch)
            version, state = str(rollout.version), str(rollout.state)
            reason = f"{rollout.patch.name} {version} is {state}, {time.monotonic() - began:.3f} s after it was taken"
            if rollout.bake is not None and state == "live":
                reason += f", and on trial for {rollout.bake.seconds:g} s"
            outcome = Outcome(
                drop=taken.drop.name,
                digest=taken.digest,
                version=version,
                rollout=rollout.id,
                state=state,
                reason=reason,
                error=None,
                process=os.getpid(),
                time=datetime.now(UTC),
                rolled_out=rollout.patch.digest,
            )
        except CIRCUMSTANCES:
            raise
        except BaseException as error:
            # A worker has nobody to pass an interrupt to, a `scan` in the main thread has: the user at the keyboard.
            if is_interrupt(error):
                raise
            failure = _failure(error)
            if isinstance(error, HotswapError) and isinstance(error.rollout, Record):
                record = error.rollout
        else:
            return outcome, rollout
    assert failure is not None
    version_known = taken.version if record is None else record.version or taken.version
    outcome = Outcome(
        drop=taken.drop.name,
        digest=taken.digest,
        version=None if version_known is None else str(version_known),
        rollout=None if record is None else record.id,
        state="rejected",
        reason=failure.reason,
        error=failure.error,
        process=os.getpid(),
        time=datetime.now(UTC),
        rolled_out=None if record is None else record.digest,
        code=failure.code,
        traceback=failure.traceback,
    )
    return outcome, None


def _failure(error: BaseException, running: Callable[[], Mapping[str, Version]] | None = None) -> Failure:
    if running is not None and isinstance(error, HotswapError):
        error.now_running(running())
    # Our own errors say all there is to say; where a stranger's error comes from, only its traceback tells.
    return Failure.of(error, None if isinstance(error, HotswapError) else traceback.format_exc())
