"""The gate: what is dropped goes through the policy before a patch is made of it, and again before it is applied.

Lives as long as its watch. Where a watch has no policy there is no gate, and whatever is dropped is applied.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from packaging.version import Version

from hotswap.errors import HotswapError, SignatureError
from hotswap.events import emit
from hotswap.patch import Patch
from hotswap.trust import Delivery, Memory, Trust, Waiting, receive
from hotswap.watching.bounds import Bounds
from hotswap.watching.outcome import Failure

__all__ = ["Gate"]

_BYGONE = ("bytes-tampered", "expired", "key-unknown")
"""What a signature may be by now that was right when the drop was applied. One that is revoked is told of."""


class Gate:
    """Lets through what a policy allows.

    Arguments:
        trust: the policy.
        memory: what was live here before.
        running: tells what is live.
        directory: where things are dropped.

    `bounds` says how far looks at drops may go.
    """

    def __init__(
        self, trust: Trust, memory: Memory, running: Callable[[], Mapping[str, Version]], directory: Path
    ) -> None:
        self.trust = trust
        self._memory, self._running, self._directory = memory, running, directory
        self._trouble: str | None = None
        # Twice: there are folders too, and what has too many files is told by whoever reads it.
        self.bounds = Bounds(links=False, within=trust.links, most=2 * trust.max_files)

    def check_directory(self) -> None:
        """Raise TrustError for a directory that others can write to, OSError where it can't be reached."""
        self.trust.check_directory(self._directory)

    def closed(self) -> bool:
        """Whether the directory is not as the policy has it now. That is told once; no drop is looked at then."""
        try:
            self.check_directory()
            trouble = None
        except FileNotFoundError:
            return False  # nothing can be in it; whoever tends the doorbell reports that
        except (HotswapError, OSError) as error:
            trouble = Failure.of(error).reason
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble is None:
                emit("watch.recovered", level="info", directory=self._directory)
            else:
                emit("watch.troubled", level="warning", directory=self._directory, reason=trouble)
        return trouble is not None

    def take(self, name: str, stands: Callable[[str], bool]) -> Patch | Waiting:
        """Read and verify a drop, and make a patch of the bytes that were verified.

        What is live was verified when it was applied, so that its signature has expired since, or is of a key that is
        not trusted any more, is no news of it. If the signature beside it is of other bytes, those are on their way: a
        push puts it there first.

        Arguments:
            name: of the drop.
            stands: tells of a patch's digest whether it is what was applied from this drop, and is live.

        Raises TrustError for what may not run, PatchError for what is no patch, OSError for what can't be read.
        """
        try:
            return self._made(name, receive(self.trust, self._directory, name))
        except SignatureError as error:
            if error.code not in _BYGONE or (patch := self._standing(name, stands)) is None:
                raise
            if error.code != "bytes-tampered":
                return patch
            return Waiting(f"{name} is live, and the signature beside it is of other bytes: waiting for those")

    def _standing(self, name: str, stands: Callable[[str], bool]) -> Patch | None:
        """What lies there, whatever its signature says, if it is what is live; else None."""
        try:
            patch = self._made(name, receive(self.trust, self._directory, name, signed=False))
        except HotswapError:
            return None  # what is wrong with its signature is told
        if isinstance(patch, Waiting) or not (stands(patch.digest) or self._memory.stood(patch.digest)):
            return None
        return patch

    def _made(self, name: str, found: Delivery | Waiting) -> Patch | Waiting:
        if isinstance(found, Waiting):
            return found
        origin = self._directory / name
        if found.data is None:
            patch = _folder(found, origin)
        else:
            patch = Patch.from_bytes(found.data, name, manifest=found.manifest)
        proved = {
            "origin": str(origin),
            "key": found.key,
            "signed": None if found.signed is None else str(found.signed),
        }
        known = {name: value for name, value in proved.items() if value is not None}
        patch = replace(patch, metadata={**patch.metadata, **known})
        self.trust.check(patch)
        return patch

    def admit(self, patch: Patch) -> None:
        """Raise TrustError for a patch that was live here before, or is older than what was."""
        if self._memory.stood(patch.digest):
            return  # there is nothing to do for it
        self.trust.check_succession(patch, self._memory, self._running())


def _folder(found: Delivery, origin: Path) -> Patch:
    """Make a patch of a folder that was read: its bytes are laid out where nobody else can write."""
    with tempfile.TemporaryDirectory(prefix="hotswap-drop-") as private:
        copy = Path(private, found.name)
        copy.mkdir()
        for path, data in found.files.items():
            place = copy / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        try:
            return Patch.from_path(copy)
        except HotswapError as error:
            # Whoever reads that knows the folder that he dropped, and not the copy, which is gone by then.
            error.reason = error.reason.replace(str(copy), str(origin))
            raise
