"""Wheels for tests: real archives with real RECORDs, and wheels that somebody tampered with."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

__all__ = ["build_wheel", "record"]


def record(files: Mapping[str, bytes], path: str) -> bytes:
    """Return the contents of the RECORD at `path` for files: path -> bytes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow((name, f"sha256={digest}", len(data)))
    writer.writerow((path, "", ""))
    return out.getvalue().encode()


def build_wheel(
    folder: Path,
    name: str,
    version: str,
    files: Mapping[str, str | bytes | None],
    *,
    requires: Sequence[str] = (),
    requires_python: str | None = None,
    tag: str = "py3-none-any",
    tamper: Callable[[dict[str, bytes]], object] | None = None,
    extra: Sequence[tuple[zipfile.ZipInfo, bytes]] = (),
    compression: int = zipfile.ZIP_DEFLATED,
) -> Path:
    """Write a wheel into `folder` and return its path.

    Arguments:
        folder: an existing folder.
        name: of the distribution, such as ``"shop"``; it is also in the file name, so without hyphens.
        version: PEP 440 version.
        files: path in the archive -> contents. What is generated (``shop-1.0.dist-info/METADATA``, ``.../WHEEL``) can
            be given here too, and is left out if it is None; RECORD is right for all of them.
        requires: ``Requires-Dist`` lines.
        requires_python: the ``Requires-Python`` line.
        tag: interpreter, ABI and platform.
        tamper: gets path -> bytes of the whole archive, RECORD included, and may change it before it is written.
        extra: entries that are written after all others, and that RECORD does not know.
        compression: of all entries but the extra ones.
    """
    info = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Python: {requires_python}"] if requires_python else []
    metadata += [f"Requires-Dist: {line}" for line in requires]
    wheel = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
    given: dict[str, str | bytes | None] = {f"{info}/METADATA": "\n".join(metadata) + "\n\n", f"{info}/WHEEL": wheel}
    contents: dict[str, bytes] = {}
    for path, data in {**files, **given, **files}.items():
        if data is not None:
            contents[path] = data.encode() if isinstance(data, str) else data
    contents[f"{info}/RECORD"] = record(contents, f"{info}/RECORD")
    if tamper is not None:
        tamper(contents)
    place = folder / f"{name}-{version}-{tag}.whl"
    with warnings.catch_warnings(action="ignore", category=UserWarning), zipfile.ZipFile(place, "w") as archive:
        for path, data in contents.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data, compress_type=compression)
        for entry, data in extra:
            archive.writestr(entry, data)
    return place
