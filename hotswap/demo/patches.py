"""Builds what the demo drops: the example's sources with a small overlay, as a folder or as a wheel."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Sources", "example_folder", "overlaid", "package_sources", "write_folder", "write_wheel"]

Sources = Mapping[str, bytes]
"""POSIX path relative to the import root -> content."""

METADATA = """\
Metadata-Version: 2.1
Name: shop
Version: {version}
Summary: The quote service of the hotswap example.
Requires-Python: >=3.11
Requires-Dist: starlette
"""

WHEEL = """\
Wheel-Version: 1.0
Generator: hotswap demo
Root-Is-Purelib: true
Tag: py3-none-any
"""


def example_folder() -> Path:
    """The folder of the example service: in a checkout beside the package, else the copy in the installed package.

    Raises FileNotFoundError if there is neither.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / "examples" / "shop", package / "_examples" / "shop"):
        if (folder / "service.py").is_file():
            return folder
    raise FileNotFoundError(f"the example service is neither beside {package} nor in it; install hotswap from a wheel")


def package_sources(example: Path) -> Sources:
    """The package that the service starts with."""
    return {
        path.relative_to(example).as_posix(): path.read_bytes() for path in sorted((example / "shop").rglob("*.py"))
    }


def overlaid(sources: Sources, overlay: Path, version: str) -> Sources:
    """The sources with the files of a folder laid over them, and with another `__version__`.

    A file that no tool should take for Python ends in `.py.txt`; here it becomes Python again.
    """
    files = dict(sources)
    for path in sorted(overlay.rglob("*.py*")):
        if path.suffix in {".py", ".txt"}:
            files[path.relative_to(overlay).as_posix().removesuffix(".txt")] = path.read_bytes()
    return versioned(files, version)


def versioned(sources: Sources, version: str) -> Sources:
    """The sources with another `__version__`."""
    line = re.compile(rb'^__version__ = ".*"$', re.MULTILINE)
    return {
        **sources,
        "shop/__init__.py": line.sub(b'__version__ = "%s"' % version.encode(), sources["shop/__init__.py"]),
    }


def write_folder(sources: Sources, folder: Path) -> Path:
    """Write the sources as a folder of packages, and give the folder back."""
    for name, data in sources.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_wheel(sources: Sources, version: str, folder: Path) -> Path:
    """Write the sources as a wheel, with the RECORD that every build tool writes, and give its path back."""
    info = f"shop-{version}.dist-info"
    files = {
        **sources,
        f"{info}/METADATA": METADATA.format(version=version).encode(),
        f"{info}/WHEEL": WHEEL.encode(),
    }
    lines = [f"{name},sha256={hashed(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"shop-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def hashed(data: bytes) -> str:
    """A hash as RECORD writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
