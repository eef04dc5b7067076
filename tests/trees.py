"""Small trees of files for tests of patches, and the refusal of what is wrong with them."""

from __future__ import annotations

import importlib.machinery
import os
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hotswap.errors import HotswapError

__all__ = ["EXTENSION", "METADATA", "lay", "needs_links", "refusal"]

EXTENSION = importlib.machinery.EXTENSION_SUFFIXES[0]

METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: {}\n"

needs_links = pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="needs symbolic links")


def lay(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a folder, and return the folder."""
    root.mkdir(parents=True, exist_ok=True)
    for path, data in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data if isinstance(data, bytes) else textwrap.dedent(data).encode())
    return root


def refusal(error: type[HotswapError], make: Callable[[], object]) -> str:
    """Return the text of the error that refuses something; it has to be of exactly this type."""
    with pytest.raises(error) as caught:
        make()
    assert type(caught.value) is error
    return str(caught.value)
