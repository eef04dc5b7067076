"""The client of the admin app: over HTTP with a token, or over a Unix socket, where the kernel says who asks.

Guarantees: a write is sent again when the connection broke, with the key of the first time, so that it is done once.
The token goes into a header, and nowhere else.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import urlsplit

import httpx

from hotswap.cli.exits import Exit, FailedError, exit_of

__all__ = ["Service", "said_of"]

_AGAIN = (0.1, 0.4, 1.0)
"""Seconds to wait before a request is sent again that did not come through."""
_READ = 75.0
"""Seconds of silence after which nobody is there any more; the app answers within 60, or sends a heartbeat."""
_HERE = ("localhost", "127.0.0.1", "::1")


class Service:
    """A service that is asked. Lives as long as a command.

    Arguments:
        url: where the admin app is mounted, or None: it is asked over a socket.
        socket: the path of that.
        token: for the header, or None.

    Raises FailedError for what is no address, no socket, no token.
    """

    def __init__(self, *, url: str | None = None, socket: str | None = None, token: str | None = None) -> None:
        headers = {"accept": "application/json", "user-agent": "hotswap"}
        if token is not None:
            if not token.isascii() or not token.isprintable() or " " in token or not token:
                raise FailedError(Exit.USAGE, "the token has characters that no header can have")
            headers["authorization"] = f"Bearer {token}"
        timeout = httpx.Timeout(10.0, read=_READ)
        if socket is not None:
            self.where = socket
            path = Path(socket)
            if not path.is_socket():
                raise FailedError(
                    Exit.UNREACHABLE, f"there is no socket {socket}: the service has not made it, or has ended"
                )
            transport = httpx.HTTPTransport(uds=str(path))
            self._http = httpx.Client(base_url="http://hotswap", transport=transport, headers=headers, timeout=timeout)
            return
        self.where = url or ""
        try:
            parts = urlsplit(self.where)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
        except ValueError:
            fits = False
        if not fits:
            raise FailedError(Exit.USAGE, "--url: http://HOST:PORT/PATH is needed, or https, without a password in it")
        own = parts.hostname in _HERE  # a proxy leads elsewhere
        self._http = httpx.Client(base_url=self.where, headers=headers, timeout=timeout, trust_env=not own)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def read(self, path: str, **params: Any) -> dict[str, Any]:
        """Return what there is. Raises FailedError."""
        return self._object(self._send("GET", path, params=params))

    def read_tagged(self, path: str) -> tuple[dict[str, Any], str]:
        """Return what there is, and its tag, with which a write says what it is meant for. Raises FailedError."""
        answer = self._send("GET", path)
        return self._object(answer), answer.headers.get("etag", "*")

    def text(self, path: str) -> str:
        """Return a text. Raises FailedError."""
        return self._send("GET", path).text

    def write(self, path: str, *, match: str = "*", wait: float = 0.0, **more: Any) -> dict[str, Any]:
        """Ask for something to be done, once, and return what is known of it.

        Arguments:
            path: what.
            match: the tag of the state that it is meant for.
            wait: seconds to wait for its end.
            more: `files`, `data`, `json` and `params`, as of httpx.

        Raises FailedError.
        """
        headers = {"idempotency-key": uuid.uuid4().hex, "if-match": match}
        params = {"wait": f"{wait:g}", **more.pop("params", {})}
        return self._object(self._send("POST", path, headers=headers, params=params, **more))

    @contextmanager
    def stream(self, path: str, headers: dict[str, str]) -> Iterator[Iterator[str]]:
        """Give the lines of an answer that does not end. Raises FailedError, and httpx.TransportError if it breaks."""
        accept = {"accept": "text/event-stream", **headers}
        with self._http.stream("GET", path, headers=accept) as answer:
            if answer.status_code != 200:
                answer.read()
                self._check(answer)
            yield answer.iter_lines()

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        pauses = iter(_AGAIN)
        again = False
        while True:
            try:
                answer = self._http.request(method, path, **more)
            except httpx.ReadTimeout:
                raise FailedError(
                    Exit.UNKNOWN, f"{self.where} does not answer; it may go on with what it was asked"
                ) from None
            except UnicodeEncodeError:  # a shell passes on whatever bytes there are
                raise FailedError(Exit.USAGE, "an argument has bytes in it that are no UTF-8") from None
            except httpx.TransportError as error:
                pause = next(pauses, None)
                if pause is None:
                    raise FailedError(Exit.UNREACHABLE, f"nobody answers at {self.where}: {error}") from None
            else:
                # The first time came through, and nobody has heard the answer: it is still being made.
                pause = next(pauses, None) if again and answer.status_code == 409 else None
                if pause is None or "the same request" not in answer.text:
                    self._check(answer)
                    return answer
            again = True
            time.sleep(pause)

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        kind = answer.headers.get("content-type", "").partition(";")[0]
        if kind != "application/problem+json":
            reason = (
                f"what answers at {self.where} is no admin app of hotswap: {answer.status_code} {answer.reason_phrase}"
            )
            raise FailedError(Exit.UNREACHABLE, reason)
        problem = self._object(answer)
        raise FailedError(exit_of(answer.status_code), said_of(problem), problem)

    def _object(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            found = answer.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise FailedError(Exit.UNREACHABLE, f"what answers at {self.where} is no admin app of hotswap")
        return cast("dict[str, Any]", found)


def said_of(problem: dict[str, Any]) -> str:
    """Return what a problem says, for people."""
    detail, advice = str(problem.get("detail", "")), problem.get("advice")
    return f"{detail}\nwhat to do: {advice}" if advice else detail
