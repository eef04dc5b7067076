"""The text of minisign's files: lines, comments and base64, read strictly.

What is signed must have one spelling only. Python's decoder takes several texts for the same bytes (the last character
has spare bits), so what was decoded is encoded again and compared.
"""

from __future__ import annotations

import base64
import binascii

from hotswap.errors import SignatureError

__all__ = ["MAX_TEXT", "comment_of", "damaged", "decoded", "encoded", "lines_of"]

MAX_TEXT = 16 * 1024
"""Bytes that a key or signature file may have; minisign's own comments end at 8 KiB."""


def lines_of(text: bytes, count: int, what: str) -> list[str]:
    """Return the lines of a file that has exactly so many; the last may end without a line feed.

    Raises SignatureError for any other number, for what is no UTF-8, and for control characters but the tab.
    """
    if len(text) > MAX_TEXT:
        raise damaged(f"{what} has {len(text):,} bytes; no more than {MAX_TEXT:,} are read")
    try:
        lines = text.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise damaged(f"{what} is not UTF-8 text") from None
    if len(lines) != count:
        raise damaged(f"{what} has {len(lines)} lines instead of {count}")
    for line in lines:
        if any((ord(character) < 32 and character != "\t") or ord(character) == 127 for character in line):
            raise damaged(f"{what} has control characters in it")
    return lines


def comment_of(line: str, title: str, what: str) -> str:
    """Return a comment without its title, such as `untrusted comment: `; raise SignatureError where that is missing."""
    if not line.startswith(f"{title}: "):
        raise damaged(f"{what} has no line that begins with '{title}: '")
    return line.removeprefix(f"{title}: ")


def decoded(text: str, length: int, what: str) -> bytes:
    """Return the bytes of a base64 text, which have to be so many; raise SignatureError for anything else."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise damaged(f"{what} is not base64") from None
    if len(data) != length:
        raise damaged(f"{what} has {len(data)} bytes instead of {length}")
    if encoded(data) != text:
        raise damaged(f"{what} is not base64 as it is written: it has bits that mean nothing")
    return data


def encoded(data: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(data).decode("ascii")


def damaged(reason: str) -> SignatureError:
    """Return the error for a file that is no key and no signature."""
    return SignatureError(
        reason, code="signature-damaged", advice="copy the file that minisign wrote, as a whole and unchanged"
    )
