"""File systems that say nothing of what others change: what is on them, only a look finds.

Linux tells of a change on a network file system only the host that makes it. Which file system a directory is on stands
in `/proc/self/mountinfo` (proc_pid_mountinfo(5)); elsewhere nobody asks.
"""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["remote_kind"]

MOUNTS = Path("/proc/self/mountinfo")

_NETWORK = frozenset(
    {"afs", "ceph", "cifs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"}
)
_GUEST = frozenset({"9p", "drvfs", "fakeowner", "osxfs", "prl_fs", "vboxsf", "virtiofs", "vmhgfs"})
"""What a virtual machine, or a container in one, sees of its host."""
_LOCAL_FUSE = frozenset({"fuse.ext4", "fuse.fuse-overlayfs", "fuse.ntfs", "fuseblk"})


def remote_kind(directory: Path) -> str | None:
    """Return the kind of file system (`nfs4`, say) that a directory is on, if others change it without a sound."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        place = directory.resolve()
    except OSError:
        return None  # no such list here
    kind, depth = None, -1
    for line in lines:
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        mount = Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4]))
        # Of two that are mounted in the same place, the later one lies on top.
        if len(mount.parts) >= depth and place.is_relative_to(mount):
            kind, depth = after.split(" ")[0], len(mount.parts)
    if kind is None or kind in _LOCAL_FUSE:
        return None
    return kind if kind in _NETWORK | _GUEST or kind.startswith("fuse.") else None
