"""Sources as Python reads them: encodings, syntax, and the version that a source states."""

from __future__ import annotations

import ast
import codecs
import contextlib
import io
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import cast

from packaging.version import InvalidVersion, Version

from hotswap.errors import PatchError, SourceError

__all__ = ["SourceFile", "compiled", "complaint", "decode", "encode", "parse", "stated_version"]

_COOKIE = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BLANK = re.compile(rb"[ \t\f]*(?:#.*)?")
_NEWLINE = re.compile(rb"\r\n|\r|\n")

_NAME_PREFIX = "<hotswap>/"
_QUIET = ("ignore", None, Warning, re.compile(re.escape(_NAME_PREFIX)), 0)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """The source of one module of a patch. Lives as long as its patch."""

    module: str
    """Dotted name, such as ``"shop.pricing"``."""
    path: str
    """Where it lies, relative to the import root, with ``/``."""
    package: bool
    """Whether it is the ``__init__.py`` of a package."""
    data: bytes = field(repr=False)
    """What was hashed, and what runs."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the warnings of `compile` to ourselves: the module's own import gives them, at the right place.

    Guarantees: a warning for a file name that begins with our prefix is neither shown, nor recorded, nor turned into a
    `SyntaxError` by an ``error`` filter of the user. Warnings of other threads are judged as before.
    Assumes: the interpreter asks `warnings.filters` anew for each warning (all of CPython 3.11 to 3.14 do).

    `warnings.catch_warnings` would do more than that: it replaces the filters of the whole process, so that a warning
    of another thread gets lost, and two threads that leave it in the wrong order leave the wrong filters behind for
    good. One entry that matches nothing but our own file names, put into the list and taken out of the same list, can
    do neither; each of the two is one C call on a list. Where filters belong to a context (free-threaded 3.14), the
    standard way is the safe one.
    """
    if getattr(sys.flags, "context_aware_warnings", 0):
        with warnings.catch_warnings(action="ignore"):
            yield
        return
    filters = cast("list[object]", warnings.filters)
    filters.insert(0, _QUIET)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # someone called warnings.resetwarnings() meanwhile
            filters.remove(_QUIET)


def _encoding(data: bytes) -> tuple[str, int]:
    """Return the encoding that PEP 263 gives to a source, and the line that declares it.

    `tokenize.detect_encoding` refuses some sources that the interpreter runs (bytes beyond ASCII in a comment above
    the declaration), so this follows the interpreter.
    """
    if data.startswith(codecs.BOM_UTF8):
        return "utf-8-sig", 1
    for number, line in enumerate(_NEWLINE.split(data, maxsplit=2)[:2], start=1):
        if match := _COOKIE.match(line):
            return match[1].decode("ascii", "replace"), number
        if not _BLANK.fullmatch(line):
            break
    return "utf-8", 1


def _line(data: bytes, position: int) -> int:
    return len(_NEWLINE.findall(data, 0, position)) + 1


def _decoded(data: bytes) -> str | tuple[int, str]:
    """Return the text of a source, or the line and the reason why it has none."""
    encoding, line = _encoding(data)
    start = len(codecs.BOM_UTF8) if encoding == "utf-8-sig" else 0
    codec = "utf-8" if start else encoding
    try:
        return data[start:].decode(codec)
    except UnicodeDecodeError as error:
        byte = data[start + error.start]
        name = "UTF-8" if codec == "utf-8" else codec
        return _line(data, start + error.start), f"not {name}: byte 0x{byte:02x} ({error.reason})"
    except LookupError:
        return line, f"declares an encoding that Python does not know: {encoding}"
    except UnicodeError as error:  # codecs such as idna have errors without a position
        return line, f"not {codec}: {error}"


def decode(data: bytes) -> str:
    """Return the text of a source as Python reads it: encoding by PEP 263 or BOM, each end of line a line feed.

    Raises `SourceError` with the line if the bytes are not in that encoding, or the encoding is unknown.
    """
    text = _decoded(data)
    if isinstance(text, str):
        return io.IncrementalNewlineDecoder(None, translate=True).decode(text, final=True)
    line, reason = text
    raise SourceError(f"line {line}: {reason}", advice="save it as UTF-8, or declare its encoding in the first line")


def encode(source: str, module: str) -> bytes:
    """Return the bytes of a source given as text, so that `decode` gives the text back.

    A text that declares an encoding is encoded in it, or Python would read something else than was meant. Raises
    `PatchError` if it holds characters that the encoding has not.
    """
    try:
        data = source.encode()
        encoding, _ = _encoding(data)
        return data if encoding == "utf-8-sig" else source.encode(encoding)
    except LookupError:
        return data  # what is wrong with it is for compile_sources to say, in one text with the rest
    except UnicodeError as error:
        raise PatchError(f"the source of {module} cannot be written as bytes: {error}", module=module) from error


def complaint(source: SourceFile) -> str | None:
    """Return why a source is not valid Python, as ``path:line: reason``; None if it is. Nothing is executed."""
    data = source.data
    if (null := data.find(b"\0")) >= 0:
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        hint = " (it looks like UTF-16; Python reads UTF-8)" if wide else ""
        return f"{source.path}:{_line(data, null)}: contains null bytes{hint}"
    text = _decoded(data)
    if not isinstance(text, str):
        # Some interpreters overlook such bytes in a comment, when they compile from memory; PEP 263 does not, and a
        # source without a text has no lines for tracebacks and debuggers.
        return f"{source.path}:{text[0]}: {text[1]}"
    try:
        with _quiet():
            compile(data, _NAME_PREFIX + source.path, "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"{source.path}:{error.lineno or 1}: {error.msg}"
    except (RecursionError, MemoryError):
        return f"{source.path}:1: nested too deeply for Python to compile"
    except (ValueError, OverflowError) as error:
        return f"{source.path}:1: {error}"
    return None


def parse(source: str | bytes) -> list[ast.stmt]:
    """Return the statements of a source. Nobody is warned: an ``error`` filter of the user does not make it fail.

    Raises what `ast.parse` raises for what is not Python.
    """
    with _quiet():
        return ast.parse(source, _NAME_PREFIX + "source").body


def compiled(source: str) -> CodeType:
    """Return the code of a module's source, as quietly. Raises what `compile` raises for what is not Python."""
    with _quiet():
        return compile(source, _NAME_PREFIX + "source", "exec", dont_inherit=True)


def stated_version(data: bytes) -> Version | None:
    """Return what a source states in ``__version__ = "..."`` at its top level, read without executing it.

    None if it states nothing, computes it, or states what is no version.
    """
    try:
        body = parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None
    version = None
    for statement in body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        if not any(isinstance(target, ast.Name) and target.id == "__version__" for target in targets):
            continue
        value = getattr(statement, "value", None)
        version = None
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and isinstance(value, ast.Constant):
            with contextlib.suppress(InvalidVersion):
                version = Version(str(value.value))
    return version
