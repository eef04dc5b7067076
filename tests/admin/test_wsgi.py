"""The admin app in a WSGI application, under a WSGI server."""

from __future__ import annotations

import gc
import io
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import flask
import httpx
import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

from hotswap import events
from hotswap.wsgi import SessionMiddleware, admin
from tests.admin.conftest import READER, TOKENS, WRITER, Service, client
from tests.waiting import until

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]


@contextmanager
def serving(app: Any) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answering() -> list[str]:
    """The threads of the server that answer somebody; that of the bridge stays."""
    return [one.name for one in threading.enumerate() if "process_request_thread" in one.name]


@pytest.fixture
def service(make_package: Make) -> Iterator[Service]:
    made = Service(make_package)
    app = flask.Flask("service")

    @app.get("/rate")
    def rate() -> str:
        return str(made.module.rate())

    ops = admin(made.patcher, authorize=TOKENS, heartbeat=0.05)
    app.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
        SessionMiddleware(app.wsgi_app), {"/hotswap": ops}
    )
    with serving(app) as address, client(f"{address}/hotswap/") as made.http:
        made.address = address
        yield made
    ops.close()


def test_the_journey(service: Service) -> None:
    with client(service.address) as plain:
        assert plain.get("/rate").text == "19"
        answer = service.upload(data={"version": "1.0", "why": "lower"})
        assert (answer.status_code, answer.json()["state"]) == (201, "live"), answer.text
        assert plain.get("/rate").text == "16"
        links = answer.json()["links"]
        assert links["self"].startswith("/hotswap/rollouts/")
        assert plain.get(links["self"]).json()["by"] == "pipeline"
        assert (
            plain.post(links["rollback"], json={"why": "too low"}, params={"wait": 30}).json()["state"] == "rolled_back"
        )
        assert plain.get("/rate").text == "19"


def test_rights(service: Service) -> None:
    with client(f"{service.address}/hotswap/", None) as nobody, client(f"{service.address}/hotswap/", READER) as reader:
        assert nobody.get("versions").status_code == 401
        assert nobody.get("health").status_code == 200
        assert reader.get("versions").status_code == 200
        assert reader.post("undo").status_code == 403


def test_events(service: Service) -> None:
    with service.http.stream("GET", "events") as stream:
        lines = stream.iter_lines()
        next(lines)
        service.patcher.apply(service.patch())
        names = []
        for line in lines:
            if line.startswith("event: "):
                names.append(line[7:])
            if len(names) == 3:
                break
    assert names == ["rollout.staged", "rollout.verified", "rollout.live"]


def test_a_client_that_hangs_up(service: Service) -> None:
    """It is noticed with the next heartbeat: its thread, and its place among those that follow, are free again."""
    with service.http.stream("GET", "events") as stream:
        lines = stream.iter_lines()
        next(lines)
        assert answering()
    assert until(lambda: not answering())


def test_who_hangs_up_leaves_his_place(make_package: Make) -> None:
    """At once, and not when the garbage collector comes by."""
    made = Service(make_package)
    ops = admin(made.patcher, authorize=TOKENS, heartbeat=0.05, max_streams=1)
    gc.disable()
    try:
        with serving(ops) as address:
            for _ in range(3):
                with client(address) as http:
                    assert until(lambda http=http: _follows(http))  # type: ignore[misc]  # mypy knows no such default
    finally:
        gc.enable()
        ops.close()


def test_who_follows_when_it_is_closed_leaves_his_place(make_package: Make) -> None:
    ops = admin(Service(make_package).patcher, authorize=TOKENS, max_streams=1)
    headers = {"Authorization": f"Bearer {READER}"}
    with httpx.Client(transport=httpx.WSGITransport(ops), base_url="http://admin", headers=headers) as http:
        for _ in range(2):
            with http.stream("GET", "/events") as stream:
                assert stream.status_code == 200
                ops.close()


def _follows(http: httpx.Client) -> bool:
    with http.stream("GET", "/events") as stream:
        return stream.status_code == 200 and next(stream.iter_lines()) == "retry: 2000"


def test_who_leaves_in_the_middle_of_a_body(service: Service) -> None:
    host, port = service.address.removeprefix("http://").split(":")
    head = (
        f"POST /hotswap/rollouts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRITER}\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    written: list[events.Event] = []
    unsubscribe = events.subscribe(written.append)
    with socket.create_connection((host, int(port))) as leaving:
        leaving.sendall(head.encode())
    assert until(lambda: any(one.name == "admin.written" for one in written))
    unsubscribe()
    assert until(lambda: not answering())


def test_too_large(make_package: Make) -> None:
    service = Service(make_package)
    app = admin(service.patcher, authorize=TOKENS, max_upload=10_000)
    with serving(app) as address, client(address) as service.http:
        assert service.upload(source="#" * 20_000).status_code == 413
    app.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_workers_that_are_forked(service: Service) -> None:
    """A server that forks after the first request: the child has a thread of its own."""
    assert service.http.get("health").status_code == 200
    app = admin(service.patcher, authorize=TOKENS)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/health", "SERVER_NAME": "x", "SERVER_PORT": "80"}
    environ |= {"wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "SERVER_PROTOCOL": "HTTP/1.1"}  # type: ignore[dict-item]
    told: list[str] = []
    answer = b"".join(app(environ, lambda status, headers, *_: told.append(status)))
    assert (told, answer) == (["200 OK"], b'{"status":"pass"}')
    process = os.fork()
    if process == 0:
        try:
            told.clear()
            again = b"".join(app(environ, lambda status, headers, *_: told.append(status)))
            os._exit(0 if told == ["200 OK"] and again == answer else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    app.close()
