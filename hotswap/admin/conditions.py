"""Conditions of a request: `If-Match` (optimistic locking), and `Idempotency-Key` (the same request, sent twice).

Guarantees: of two requests that name the same state, at most one begins. Answers are kept in memory: a process that is
restarted knows no keys. Assumes: one event loop; where there are several (WSGI), each has a lock of its own and
conditions between their requests are as good as the patcher's own: one rollout at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from email.message import Message
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from hotswap.admin.problems import ProblemError, ProblemResponse

__all__ = ["Answers", "Turns", "check_match", "tag_of"]

_MOST = 1000
"""Answers that are kept."""
_LONGEST = 24 * 3600.0
"""Seconds for which they are."""
_LONGEST_KEY = 255


def tag_of(*facts: object) -> str:
    """Return an entity tag (RFC 9110) of some facts."""
    return f'"{hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:24]}"'


def check_match(request: Request, tag: str) -> None:
    """Raise ProblemError, 412, if a request is meant for another state than this.

    Arguments:
        request: what was sent.
        tag: of the state.
    """
    wanted = request.headers.get("if-match")
    if wanted is None or wanted.strip() == "*":
        return
    if tag not in (one.strip() for one in wanted.split(",")):
        raise ProblemError(
            412, "precondition-failed", "it is not as it was when you looked: look again", headers={"etag": tag}
        )


class Turns:
    """Lets one request after another look and begin. Lives as long as the app."""

    def __init__(self) -> None:
        self._here: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    def here(self) -> asyncio.Lock:
        """Return the lock of the event loop that runs: one can't wait in two."""
        loop = asyncio.get_running_loop()
        if self._here is None or self._here[0] is not loop:
            self._here = loop, asyncio.Lock()
        return self._here[1]


class _Kept(NamedTuple):
    at: float
    request: str
    response: Response | None


class Answers:
    """What was answered to requests that have a key. Lives as long as the app; belongs to its event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._going: set[asyncio.Future[Response]] = set()

    async def once(self, who: str, request: Request, run: Callable[[], Awaitable[Response]]) -> Response:
        """Answer a request, or say again what was answered to it.

        What is answered to one that has a key is kept also if whoever asks has hung up, and the server has cancelled
        this: he will ask what became of it.

        Arguments:
            who: sends it: keys of others are other keys.
            request: what was sent.
            run: answers it.

        Raises ProblemError: 400 for what is no key, 422 if another request had it, 409 while that has no answer; and
        what `run` raises.
        """
        told = request.headers.get("idempotency-key")
        if told is None:
            return await run()
        key = who, told
        answered = self._begin(key, request, await request.body())
        if answered is not None:
            return _again(answered)
        task = asyncio.ensure_future(self._kept_answer(key, run))
        self._going.add(task)
        task.add_done_callback(self._going.discard)
        return await asyncio.shield(task)

    async def _kept_answer(self, key: tuple[str, str], run: Callable[[], Awaitable[Response]]) -> Response:
        response: Response | None = None
        try:
            response = await run()
        except ProblemError as problem:
            # What was refused before it had begun may be tried again with the same key. What somebody gave up after
            # that may not: a pipeline that tries again does not know of him.
            given_up = problem.status == 409 and "rollout" in problem.body
            response = ProblemResponse(problem) if given_up or problem.status in (422, 500) else None
            raise
        finally:
            self._end(key, response)
        return response

    def _begin(self, key: tuple[str, str], request: Request, body: bytes) -> Response | None:
        """Take a request; return what was answered before, if it was."""
        if not key[1].strip() or len(key[1]) > _LONGEST_KEY:
            raise ProblemError(400, "bad-request", f"Idempotency-Key: 1 to {_LONGEST_KEY} characters are needed")
        self._forget()
        said = tag_of(request.method, request.url.path, request.url.query, _digest(request, body))
        known = self._kept.get(key)
        if known is None:
            self._kept[key] = _Kept(time.monotonic(), said, None)
            return None
        if known.request != said:
            raise ProblemError(422, "key-reused", "Idempotency-Key: another request had this key")
        if known.response is None:
            raise ProblemError(409, "busy", "the same request is being answered: ask again")
        return known.response

    def _end(self, key: tuple[str, str], response: Response | None) -> None:
        """Keep what was answered; None, if nothing was begun: the same request may try again."""
        if response is None:
            self._kept.pop(key, None)
        elif key in self._kept:
            self._kept[key] = self._kept[key]._replace(response=response)

    def _forget(self) -> None:
        oldest = time.monotonic() - _LONGEST
        for key, kept in list(self._kept.items()):
            if len(self._kept) < _MOST and kept.at > oldest:
                return
            if kept.response is not None:  # of what goes on, there would be two
                del self._kept[key]


def _again(known: Response) -> Response:
    copy = Response(known.body, known.status_code)
    copy.raw_headers = [*known.raw_headers, (b"idempotent-replayed", b"true")]
    return copy


def _digest(request: Request, body: bytes) -> str:
    """A digest of what a request says. What stands between the parts of a form is made up anew each time it is sent."""
    headers = Message()
    headers["content-type"] = request.headers.get("content-type", "")
    boundary = headers.get_param("boundary")
    if isinstance(boundary, str) and boundary:
        body = body.replace(boundary.encode("latin-1"), b"")
    return hashlib.sha256(body).hexdigest()
