"""What a copy of the process tells the original: one line of JSON for each message, through a pipe.

Guarantees: the original never waits for a message, and keeps no more than `_MOST` bytes of them, whatever the copy
writes. What is no message is passed over: it is a copy of a process in which anything may go wrong.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Listener", "Teller"]

_MOST = 4 << 20
_LONGEST = 20_000
"""Characters of one text: a traceback, a message."""


class Teller:
    """The end of the copy. Lives as long as the copy.

    Arguments:
        descriptor: of the pipe.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()

    def tell(self, what: str, **facts: Any) -> None:
        """Tell one thing. Waits until the original has read it; whoever ends the original, ends the copy, too."""
        facts = {key: value[:_LONGEST] if isinstance(value, str) else value for key, value in facts.items()}
        line = json.dumps({"what": what, **facts}).encode() + b"\n"
        with self._lock:
            while line:
                line = line[os.write(self._descriptor, line) :]


class Listener:
    """The end of the original. Lives as long as the rehearsal.

    Arguments:
        descriptor: of the pipe; it does not block.
        heed: gets each message as it comes.
    """

    def __init__(self, descriptor: int, heed: Callable[[dict[str, Any]], None]) -> None:
        self._descriptor = descriptor
        self._heed = heed
        self._rest = b""
        self._read = 0
        self.messages: list[dict[str, Any]] = []

    def take(self) -> bool:
        """Take what is there; return whether more may come."""
        while True:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._read += len(data)
            if self._read > _MOST:
                continue
            *lines, self._rest = (self._rest + data).split(b"\n")
            for message in filter(None, map(_message, lines)):
                self.messages.append(message)
                self._heed(message)

    def last(self, what: str) -> dict[str, Any] | None:
        """Return the last message of a kind, or None."""
        return next((message for message in reversed(self.messages) if message["what"] == what), None)


def _message(line: bytes) -> dict[str, Any] | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) and isinstance(message.get("what"), str) else None
