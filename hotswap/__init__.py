"""hotswap: patch a running Python service, verified, all at once, and back again.

New module versions are loaded beside the running code, judged by your checks, put in place at one instant, and taken
back if you say so. The process keeps its PID, its connections and its caches.

    import hotswap

    patcher = hotswap.Patcher(packages=["shop"])
    rollout = patcher.apply(hotswap.Patch.from_path("build/shop-1.3.0-py3-none-any.whl"))
    rollout.rollback()
"""

from hotswap import checks as checks
from hotswap.bake import Bake
from hotswap.errors import (
    BusyError,
    CheckFailedError,
    CommitError,
    DowngradeError,
    FilesError,
    HotswapError,
    LoadError,
    ManifestError,
    MigrationError,
    NothingToRollBackError,
    OutdatedError,
    PatchError,
    PlanError,
    QuarantinedError,
    RehearsalError,
    RequirementError,
    ShadowError,
    SignatureError,
    SourceError,
    StateError,
    StoreError,
    TrustError,
    UnsupportedChangeError,
    VetoError,
    WheelError,
    WrongPackageError,
)
from hotswap.generation import keep
from hotswap.patch import Patch
from hotswap.patcher import Patcher
from hotswap.process_copy import rehearsing
from hotswap.rehearsal import Rehearsal, Rehearsed
from hotswap.rollout import Record, Rollout, State
from hotswap.session import Session, session
from hotswap.shadows import is_shadow
from hotswap.stage import staging
from hotswap.store import Boot, Store, boot
from hotswap.swap import CallInFlight
from hotswap.trust import Trust

__version__ = "0.1.0"

__all__ = [
    "Bake",
    "Boot",
    "BusyError",
    "CallInFlight",
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
    "Patch",
    "PatchError",
    "Patcher",
    "PlanError",
    "QuarantinedError",
    "Record",
    "Rehearsal",
    "RehearsalError",
    "Rehearsed",
    "RequirementError",
    "Rollout",
    "Session",
    "ShadowError",
    "SignatureError",
    "SourceError",
    "State",
    "StateError",
    "Store",
    "StoreError",
    "Trust",
    "TrustError",
    "UnsupportedChangeError",
    "VetoError",
    "WheelError",
    "WrongPackageError",
    "__version__",
    "boot",
    "is_shadow",
    "keep",
    "rehearsing",
    "session",
    "staging",
]
