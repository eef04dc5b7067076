"""Events as server-sent ones: https://html.spec.whatwg.org/multipage/server-sent-events.html.

One list of the last events for all clients, and for each event loop one thing to wait for: a client that is idle costs
a task and a place in that list.

Guarantees: emitting an event never waits for a client. A client that comes back with the id of the last event that it
has seen gets what came since, in order and without gaps; where that is not kept any more, or was in another process, it
is told so by an event `missed`. Assumes: `tell` is called by any thread.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import NamedTuple
from weakref import WeakKeyDictionary

from hotswap.events import Event
from hotswap.process_copy import in_children

__all__ = ["Stream"]

_KEPT = 1000
"""Events for clients that come back."""


_MISSED = b"event: missed\ndata: {}\n\n"


class _Line(NamedTuple):
    number: int
    text: bytes


class Stream:
    """The events of a patcher. Lives as long as the app.

    Arguments:
        heartbeat: seconds of silence after which a comment is sent, so that whoever is in between does not hang up.
    """

    def __init__(self, heartbeat: float) -> None:
        self._heartbeat = heartbeat
        self._process = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._lines: deque[_Line] = deque(maxlen=_KEPT)
        self._count = 0
        self._bells: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Event] = WeakKeyDictionary()
        self.clients = 0
        in_children(self.renew)

    def renew(self) -> None:
        """Forget who held the lock, in a process that was forked meanwhile: he is not there."""
        self._lock = threading.Lock()

    def tell(self, event: Event) -> None:
        """Take an event."""
        facts = {
            "event": event.name,
            "level": event.level,
            "time": datetime.fromtimestamp(event.time, UTC).isoformat(timespec="milliseconds"),
            **event.facts,
        }
        data = json.dumps(facts)
        with self._lock:
            self._count += 1
            text = f"id: {self._process}-{self._count}\nevent: {event.name}\ndata: {data}\n\n".encode()
            self._lines.append(_Line(self._count, text))
            bells = list(self._bells.items())
        for loop, bell in bells:
            try:
                loop.call_soon_threadsafe(bell.set)
            except RuntimeError:
                continue  # it is closed

    async def follow(self, last: str | None) -> AsyncIterator[bytes]:
        """Yield what comes, as it is sent.

        Arguments:
            last: the id of the last event that the client has seen; None: it begins now.
        """
        loop = asyncio.get_running_loop()
        seen = self._place_of(last)
        self.clients += 1
        try:
            # The first bytes at once: a client knows that it is heard.
            yield b"retry: 2000\n\n"
            if seen is None:
                yield _MISSED
                seen = 0
            while True:
                with self._lock:
                    # Taken before the lines are looked at: what comes after them rings it.
                    bell = self._bells.get(loop)
                    if bell is None or bell.is_set():
                        bell = self._bells[loop] = asyncio.Event()
                    new = min(self._count - seen, len(self._lines))
                    lines = [self._lines[place] for place in range(-new, 0)]
                if lines:
                    if seen < lines[0].number - 1:
                        yield _MISSED
                    yield b"".join(line.text for line in lines)
                    seen = lines[-1].number
                    continue
                try:
                    await asyncio.wait_for(bell.wait(), self._heartbeat)
                except TimeoutError:
                    yield b": still here\n\n"
        finally:
            self.clients -= 1

    def _place_of(self, last: str | None) -> int | None:
        """After which event to begin; None: with all that there are, and some are missing."""
        with self._lock:
            count = self._count
        if last is None:
            return count
        process, _, number = last.rpartition("-")
        if process == self._process and number.isdecimal() and len(number) < 20 and int(number) <= count:
            return int(number)
        return None  # of another process, or of none
