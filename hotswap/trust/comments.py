"""The trusted comment of a signature: what else was signed, beside the bytes.

    timestamp:1795717979<tab>file:shop-1.3.0-py3-none-any.whl<tab>hashed<tab>expires:2027-01-31T00:00:00Z

minisign writes the first three by itself; `expires:` is ours. Fields are separated by tabs, since names may have
spaces. Fields that nobody knows here are left to whoever wrote them; so is a `timestamp:` that is no number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from hotswap.errors import SignatureError

__all__ = ["Comment"]

_OF_EXPIRY = re.compile(
    r"(?<![a-z0-9])(exp(?=\s*[:=]|\s+\d)|expir[a-z]*|not.?after|valid.?(until|till?|to|thru|through)|until|till|best.?before"
    r"|(good|use).?(until|till|by)|max.?age|ttl|life.?time|end.?of.?life|eol|end(s|.?date)?(?=\s*[:=]))(?![a-z0-9])",
    re.IGNORECASE | re.ASCII,
)
"""Words with which people say that something ends. There are others: what is not written as `expires:` never ends."""

_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)

_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(Z|[+-]\d{2}:\d{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Comment:
    """What a trusted comment says. A fact.

    Attributes:
        file: the name of the file that was signed, or None.
        expires: when the signature ends, in UTC, or None: never.
        timestamp: when it was made, in seconds since the epoch, or None: it does not say so.
    """

    file: str | None = None
    expires: datetime | None = None
    timestamp: int | None = None

    @classmethod
    def parse(cls, text: str) -> Comment:
        """Read a trusted comment.

        Raises SignatureError where `file:`, `expires:` or `timestamp:` is there twice, or `expires:` can't be read. A
        comment that speaks of expiry in other words that people use for it (`exp:`, `not-after:`, `valid until`) is
        refused too: it would be believed to expire, and never would.
        """
        found: dict[str, str] = {}
        for field in text.split("\t"):
            key, colon, value = field.partition(":")
            if colon and key in ("file", "expires", "timestamp"):
                if key in found:
                    raise _unclear(f"the trusted comment says {key}: twice")
                found[key] = value
            elif _OF_EXPIRY.search(field):
                raise _unclear(f"the trusted comment speaks of expiry in a way that is not understood: {field!r}")
        seconds = found.get("timestamp", "")
        return cls(
            found.get("file"),
            _time(found["expires"]) if "expires" in found else None,
            int(seconds) if _SECONDS.fullmatch(seconds) else None,
        )

    def __str__(self) -> str:
        timestamp = [] if self.timestamp is None else [f"timestamp:{self.timestamp}"]
        file = [] if self.file is None else [f"file:{self.file}"]
        expires = [] if self.expires is None else [f"expires:{_written(self.expires)}"]
        return "\t".join([*timestamp, *file, *expires])


def _written(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _time(text: str) -> datetime:
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        # A month 13, or a time beyond the years that there are: it is refused below, as any other text.
        pass
    raise _unclear(f"the trusted comment expires at {text!r}, which is no time such as 2027-01-31T00:00:00Z")


def _unclear(reason: str) -> SignatureError:
    advice = "sign it again, with the fields separated by tabs: file:NAME<tab>expires:2027-01-31T00:00:00Z"
    return SignatureError(reason, code="comment-unclear", advice=advice)
