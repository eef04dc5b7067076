"""Patches: the immutable artifact that a rollout takes live, and where it may come from.

`Patch` is what everybody uses. It is made from a `.py` file, a package folder, a folder of packages, a wheel, or a
mapping of module names to sources; nothing of it is executed here, and its bytes are read once.
"""

from __future__ import annotations

from hotswap.patch.artifact import Patch
from hotswap.patch.manifest import MANIFEST
from hotswap.patch.sources import SourceFile, compiled, decode, encode, parse, stated_version
from hotswap.patch.words import Name, Place, Text, Unit, Word, split, told, words_of

__all__ = [
    "MANIFEST",
    "Name",
    "Patch",
    "Place",
    "SourceFile",
    "Text",
    "Unit",
    "Word",
    "compiled",
    "decode",
    "encode",
    "parse",
    "split",
    "stated_version",
    "told",
    "words_of",
]
