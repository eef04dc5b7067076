"""Sessions of WSGI applications, called as a server calls them."""

from __future__ import annotations

import contextvars
import io
import itertools
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

import hotswap
from hotswap.periods import now
from hotswap.session import number_here
from hotswap.wsgi import SessionMiddleware
from tests.test_session import swap

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="the server's")

Application = Callable[..., Iterable[bytes]]


def told() -> bytes:
    """The number of the period that holds here, as a part of a body."""
    return f"{number_here()} ".encode()


def called(app: Application, **environ: Any) -> Any:
    """What the middleware returns for an application, as a server gets it."""
    return SessionMiddleware(app)({"REQUEST_METHOD": "GET", **environ}, lambda *_: None)


def served(app: Any) -> bytes:
    """The response to a request to a real server, headers included."""
    output = io.BytesIO()
    environ = {
        "REQUEST_METHOD": "GET",
        "SERVER_NAME": "test",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.0",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
    }
    SimpleHandler(io.BytesIO(), output, io.StringIO(), environ, multithread=False).run(app)
    return output.getvalue()


class Parts:
    """A response that notes where it was iterated and closed."""

    def __init__(self, count: int = 2) -> None:
        self.count = count
        self.begun: list[int | None] = []
        self.closed: list[int | None] = []

    def __iter__(self) -> Iterator[bytes]:
        self.begun.append(number_here())
        return self.parts()

    def parts(self) -> Iterator[bytes]:
        for _ in range(self.count):
            yield told()
            swap()

    def close(self) -> None:
        self.closed.append(number_here())


class Counted(Parts):
    def __len__(self) -> int:
        return self.count


class TestSession:
    def test_lasts_until_the_response_is_closed(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            contexts.append(contextvars.copy_context())
            swap()
            return parts

        contexts: list[contextvars.Context] = []
        parts = Parts()
        first = now().number
        response = called(app)
        assert list(response) == [f"{first} ".encode()] * 2
        assert contexts[0].run(number_here) == first
        response.close()
        assert (parts.begun, parts.closed) == ([first], [first])
        assert contexts[0].run(number_here) is None

    def test_lasts_until_a_response_that_can_not_be_closed_is_exhausted(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            contexts.append(contextvars.copy_context())
            return itertools.starmap(told, [(), ()])

        contexts: list[contextvars.Context] = []
        response = called(app)
        next(response)
        assert contexts[0].run(number_here) == now().number
        assert len(list(response)) == 1
        assert contexts[0].run(number_here) is None
        response.close()

    def test_does_not_leak_to_the_server_between_the_parts(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            VARIABLE.set("the application's")
            start_response("200 OK", [])
            yield told()
            assert VARIABLE.get() == "the application's"
            yield told()

        response = called(app)
        for _ in range(2):
            assert next(response) == f"{now().number} ".encode()
            assert number_here() is None
            assert VARIABLE.get() == "the server's"
        response.close()

    def test_ends_with_an_error_of_the_application(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            contexts.append(contextvars.copy_context())
            raise KeyError("no such order")

        contexts: list[contextvars.Context] = []
        with pytest.raises(KeyError, match="no such order"):
            called(app)
        assert contexts[0].run(number_here) is None

    @pytest.mark.parametrize("where", ["iter", "next", "close"])
    def test_ends_with_an_error_of_the_response(self, where: str) -> None:
        class Failing:
            def __iter__(self) -> Failing:
                return self.fail("iter")

            def __next__(self) -> bytes:
                self.fail("next")
                return b""

            def close(self) -> None:
                self.fail("close")

            def fail(self, here: str) -> Failing:
                contexts.append(contextvars.copy_context())
                if here == where:
                    raise KeyError(here)
                return self

        contexts: list[contextvars.Context] = []
        response = called(lambda environ, start_response: Failing())
        with pytest.raises(KeyError, match=where):
            try:
                next(iter(response))
            finally:
                response.close()
        assert [context.run(number_here) for context in contexts] == [None] * len(contexts)

    def test_of_a_client_that_goes_away_ends(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            try:
                yield told()
                yield told()
            finally:
                seen.append(number_here())

        seen: list[int | None] = []
        response = called(app)
        next(response)
        period = weakref.ref(now().keeper)
        swap()
        assert period() is not None
        response.close()
        assert seen == [now().number - 1]
        assert period() is None

    def test_joins_the_one_around_it(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            yield told()

        with hotswap.session():
            swap()
            response = called(SessionMiddleware(app))
            assert next(response) == f"{now().number - 1} ".encode()
            response.close()
            assert number_here() == now().number - 1


class TestResponse:
    @pytest.mark.parametrize("body", [[b"done"], (b"done",), []])
    def test_that_is_done_is_passed_on_and_ends_the_session(self, body: Any) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            contexts.append(contextvars.copy_context())
            return body

        contexts: list[contextvars.Context] = []
        assert called(app) is body
        assert contexts[0].run(number_here) is None

    def test_that_a_server_sends_as_a_file_is_passed_on(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            return environ["wsgi.file_wrapper"](io.BytesIO(b"a file"))

        assert type(called(app, **{"wsgi.file_wrapper": FileWrapper})) is FileWrapper

    def test_of_a_function_that_wraps_files_is_iterated(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            return environ["wsgi.file_wrapper"](io.BytesIO(b"a file"))

        response = called(app, **{"wsgi.file_wrapper": lambda file: file})
        assert list(response) == [b"a file"]
        response.close()

    def test_has_a_length_where_the_applications_has_one(self) -> None:
        sized = called(lambda environ, start_response: Counted(1))
        assert len(sized) == 1
        sized.close()
        other = called(lambda environ, start_response: Parts(1))
        assert not hasattr(other, "__len__")
        other.close()

    def test_may_be_written_in_part(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            write = start_response("200 OK", [("X-A", "b")])
            write(told())
            return Parts()

        written: list[Any] = []

        def start_response(*given: Any) -> Callable[[bytes], None]:
            written.append(given)
            return written.append

        first = now().number
        response = SessionMiddleware(app)({}, start_response)
        assert written == [("200 OK", [("X-A", "b")]), f"{first} ".encode()]
        response.close()  # type: ignore[attr-defined]


class TestServer:
    @pytest.mark.parametrize("make", [lambda: [b"one"], lambda: Counted(1)])
    def test_tells_the_length_of_a_single_part(self, make: Callable[[], Any]) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            return make()

        headers, _, body = served(SessionMiddleware(app)).partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in headers

    def test_finds_that_the_protocol_is_kept(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [("Content-Type", "text/plain")])
            return Parts()

        first = now().number
        answer = served(validator(SessionMiddleware(validator(app))))
        assert answer.endswith(f"\r\n\r\n{first} {first} ".encode())
        assert number_here() is None

    def test_shows_its_error_page(self) -> None:
        def app(environ: Any, start_response: Any) -> Any:
            start_response("200 OK", [])
            raise KeyError

        assert b"500 Internal Server Error" in served(SessionMiddleware(app))
        assert number_here() is None
