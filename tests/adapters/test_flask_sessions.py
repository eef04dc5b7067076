"""Sessions of Flask, with its own client."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest

from hotswap.periods import now
from hotswap.session import number_here
from hotswap.wsgi import SessionMiddleware
from tests.test_session import swap

pytest.importorskip("flask", reason="Flask is not installed here")

import flask


@pytest.fixture
def app() -> flask.Flask:
    app = flask.Flask(__name__)
    app.wsgi_app = SessionMiddleware(app.wsgi_app)  # type: ignore[method-assign]
    return app


class TestFlask:
    def test_a_request_is_a_session_with_its_hooks(self, app: flask.Flask) -> None:
        seen: list[int | None] = []

        @app.before_request
        def before() -> None:
            seen.append(number_here())
            swap()

        @app.teardown_request
        def teardown(error: object) -> None:
            seen.append(number_here())

        @app.get("/")
        def look() -> Any:
            response = flask.jsonify(number_here())
            response.call_on_close(lambda: seen.append(number_here()))
            return response

        first = now().number
        with app.test_client().get("/") as response:
            assert response.json == first
        assert seen == [first, first, first]
        assert number_here() is None

    def test_a_stream_is_within_the_session(self, app: flask.Flask) -> None:
        @app.get("/<name>")
        def stream(name: str) -> Any:
            def parts() -> Iterator[str]:
                for _ in range(2):
                    yield f"{flask.request.path} {number_here()} "
                    swap()

            return flask.Response(flask.stream_with_context(parts()))

        first = now().number
        with app.test_client().get("/a") as response:
            assert response.get_data(as_text=True) == f"/a {first} " * 2
        assert number_here() is None

    def test_a_client_that_keeps_the_context_finds_it(self, app: flask.Flask) -> None:
        @app.get("/")
        def look() -> str:
            flask.g.found = "here"
            return "ok"

        with app.test_client() as client:
            client.get("/").close()
            assert flask.g.found == "here"
            assert number_here() is None

    def test_files_are_sent(self, app: flask.Flask) -> None:
        @app.get("/")
        def send() -> Any:
            return flask.send_file(io.BytesIO(b"a file"), mimetype="text/plain")

        with app.test_client().get("/") as response:
            assert response.data == b"a file"
