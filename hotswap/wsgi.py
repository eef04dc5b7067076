"""The way in through WSGI (PEP 3333): middleware that gives each request a session of its own.

The session must hold while the application runs and while its response is iterated, and never for the server, which
runs other requests on the same thread in between. So all of the application is run in one copy of the server's context.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

from hotswap import tally
from hotswap.session import Session

if TYPE_CHECKING:
    from hotswap.admin.access import Authorize
    from hotswap.admin.bridge import Bridge
    from hotswap.patcher import Patcher

__all__ = ["SessionMiddleware", "admin"]

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
Application: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]


class SessionMiddleware:
    """WSGI middleware: each request keeps the generation that it began with. Lives as long as your application.

    A request is a unit of work from the call until the server closes the response; where the response has no `close`,
    until it is exhausted. A list or tuple is passed on as it is, and so is what the server's `wsgi.file_wrapper` made:
    nothing of the application is left to be run then, and the session ends at once.

    Context variables that the application sets are not seen by the server, nor by middleware around this one.

    Arguments:
        app: the application.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request: called by the server, or by the middleware around this one."""
        context = contextvars.copy_context()
        held = Session(environ)
        context.run(held.__enter__)
        start = _telling(start_response, held) if tally.wanted else start_response
        try:
            response = context.run(self.app, environ, start)
        except BaseException as error:
            context.run(held.__exit__, type(error), None, None)
            raise
        if _is_done(response, environ):
            context.run(held.__exit__, None, None, None)
            return response
        return (_Sized if hasattr(response, "__len__") else _Response)(response, context, held)


def admin(
    patcher: Patcher,
    *,
    authorize: Authorize | None,
    max_upload: int = 64 << 20,
    max_streams: int = 100,
    heartbeat: float = 15.0,
) -> Bridge:
    """Return the admin app of `hotswap.asgi.admin` for WSGI: Flask, Django. Needs the extra `admin`.

    It runs on an event loop in a thread of its own, which begins with the first request, and ends with `close()`. Each
    client that follows events takes one of the server's threads for as long.

    Arguments and errors are those of `hotswap.asgi.admin`.
    """
    from hotswap.asgi import admin as make

    app = make(patcher, authorize=authorize, max_upload=max_upload, max_streams=max_streams, heartbeat=heartbeat)
    try:
        from hotswap.admin.bridge import Bridge
    except ModuleNotFoundError as error:
        if error.name != "a2wsgi":
            raise
        raise ImportError(f"the admin app for WSGI needs {error.name}: pip install 'hotswap[admin]'") from error
    return Bridge(app)


def _telling(start_response: StartResponse, held: Session) -> StartResponse:
    """Return the server's `start_response`, which also notes in the session whether the request failed."""

    def start(status: str, *rest: Any, **named: Any) -> Any:
        if status[:1] == "5":
            held.fail()
        return start_response(status, *rest, **named)

    return start


def _is_done(response: Iterable[bytes], environ: Environ) -> bool:
    """Whether iterating runs no code of the application.

    Servers send files their own way if they find what their `wsgi.file_wrapper` has made, so that is not wrapped. Where
    that is a function, as in uWSGI, what it returns can't be told from others: that is iterated.
    """
    files = environ.get("wsgi.file_wrapper")
    return type(response) in (list, tuple) or (isinstance(files, type) and isinstance(response, files))


class _Response:
    """What the application has returned, each step of it run in the context of the request."""

    def __init__(self, response: Iterable[bytes], context: contextvars.Context, held: Session) -> None:
        self._response = response
        self._context = context
        self._held = held
        self._steps: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._steps is None:
                self._steps = self._context.run(iter, self._response)
            return self._context.run(next, self._steps)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, StopIteration):
                self._held.fail()
            if not hasattr(self._response, "close"):
                self._end()
            raise

    def close(self) -> None:
        """Close the application's response, if it can be closed: a server calls this in any case."""
        close = getattr(self._response, "close", None)
        try:
            if close is not None:
                self._context.run(close)
        finally:
            self._end()

    def _end(self) -> None:
        self._context.run(self._held.__exit__, None, None, None)


class _Sized(_Response):
    """One that knows its length: of a single part, servers tell `Content-Length` themselves."""

    def __len__(self) -> int:
        return self._context.run(len, self._response)  # type: ignore[arg-type]
