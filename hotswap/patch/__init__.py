"""Patches: the immutable artifact that a rollout takes live, and where it may come from.

`Patch` is what everybody uses. It is made from a `.py` file, a package folder, a folder of packages, a wheel, or a
mapping of module names to sources; nothing of it is executed here, and its bytes are read once.
"""

from __future__ import annotations

from hotswap.patch.artifact import Patch
from hotswap.patch.sources import SourceFile, compiled, decode, parse, stated_version

__all__ = ["Patch", "SourceFile", "compiled", "decode", "parse", "stated_version"]
