"""Events as server-sent ones: https://html.spec.whatwg.org/multipage/server-sent-events.html.

One list of the last events for all clients, and for each event loop one thing to wait for: a client that is idle costs
a task and a place in that list.

uvicorn waits for every response before it tells the application that it ends, gunicorn for half a minute, and these
have no end of their own. So they are ended as soon as it has stopped to listen, which is looked for a few times a
second while somebody follows.

Guarantees: emitting an event never waits for a client. A client that comes back with the id of the last event that it
has seen gets what came since, in order and without gaps; where that is not kept any more, or was in another process, it
is told so by an event `missed`. Assumes: `tell` is called by any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from types import MethodType
from typing import NamedTuple
from weakref import WeakKeyDictionary, WeakSet

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from hotswap.admin.problems import ProblemError
from hotswap.events import Event
from hotswap.process_copy import in_children

__all__ = ["Following", "Stream", "server_ends"]

_KEPT = 1000
"""Events for clients that come back."""
_LOOK = 0.25
"""Seconds between two looks whether the server ends."""

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
        self._looking: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
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

    @contextlib.contextmanager
    def place(self, most: int) -> Iterator[bool]:
        """Hold one of so many places for clients within the block; gives whether there was one left."""
        with self._lock:
            has_one = self.clients < most
            self.clients += has_one
        try:
            yield has_one
        finally:
            with self._lock:
                self.clients -= has_one

    async def follow(self, last: str | None) -> AsyncIterator[bytes]:
        """Yield what comes, as it is sent, until the server ends.

        Arguments:
            last: the id of the last event that the client has seen; None: it begins now.
        """
        loop = asyncio.get_running_loop()
        seen = self._place_of(last)
        with self._lock:
            looks = loop in self._looking
            self._looking.add(loop)
        if not looks:
            self._look(loop)
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
            if server_ends():
                return
            try:
                await asyncio.wait_for(bell.wait(), self._heartbeat)
            except TimeoutError:
                yield b": still here\n\n"

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake who waits if the server ends, or look again later, as long as there are clients."""
        ends = server_ends()
        with self._lock:
            bell = self._bells.get(loop)
            again = not ends and self.clients > 0
            if not again:
                self._looking.discard(loop)
        if again:
            loop.call_later(_LOOK, self._look, loop)
        elif ends and bell is not None:
            bell.set()

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


class Following(StreamingResponse):
    """The events for one client, who has one of so many places from before the first byte to after the last.

    Arguments:
        stream: the events.
        last: as `Stream.follow` has it.
        most: clients at the same time.
        headers: to be sent.
    """

    def __init__(self, stream: Stream, last: str | None, most: int, headers: dict[str, str]) -> None:
        super().__init__(stream.follow(last), media_type="text/event-stream", headers=headers)
        self._place = stream.place(most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them. Raises ProblemError, 503, before anything is sent, if there is no place left."""
        with self._place as has_one:
            if not has_one:
                text = "too many clients follow events"
                raise ProblemError(503, "too-many-streams", text, headers={"retry-after": "10"})
            await super().__call__(scope, receive, send)


def server_ends() -> bool:
    """Whether a uvicorn, or a worker of gunicorn, that has this process is about to end.

    They tell nobody. But they have their signals handled by a method, and that leads to them; nothing of them is
    written. A server that runs in another thread than the main one has no signals, and is not found.
    """
    handler = signal.getsignal(signal.SIGTERM)
    server = handler.__self__ if isinstance(handler, MethodType) else None
    uvicorn, gunicorn = sys.modules.get("uvicorn"), sys.modules.get("gunicorn.workers.base")
    if uvicorn is not None and isinstance(server, uvicorn.Server):
        # After `limit_max_requests` it ends without a word, and listens no more. As long as it begins it has no list.
        return bool(server.should_exit) or not all(one.is_serving() for one in getattr(server, "servers", ()))
    return gunicorn is not None and isinstance(server, gunicorn.Worker) and not server.alive
