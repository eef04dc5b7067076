"""Uploads of which nobody says in advance how long they are, under WSGI servers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import pytest

from hotswap.wsgi import admin
from tests.admin.conftest import READER, TOKENS, WRITER, Service, client
from tests.admin.test_wsgi import serving

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

SERVICE = """
from hotswap import Patcher
from hotswap.admin import Access, Tokens
from hotswap.wsgi import admin
import till

tokens = Tokens({"a-token-that-writes": Access("pipeline", write=True)})
app = admin(Patcher(["till"]), authorize=tokens, max_upload=100_000)
"""


def send(http: httpx.Client, source: str, name: str = "till.py", path: str = "/rollouts") -> httpx.Response:
    """Upload a module in chunks of some bytes."""
    files, data = {"patch": (name, source.encode())}, {"version": "1.0"}
    whole = httpx.Request("POST", "http://h", files=files, data=data)
    body = whole.read()
    headers = {"content-type": whole.headers["content-type"]}
    chunks = (body[start : start + 1000] for start in range(0, len(body), 1000))
    return http.post(path, content=chunks, headers=headers, params={"wait": 30})


@contextmanager
def gunicorn(folder: Path) -> Iterator[str]:
    (folder / "till.py").write_text("def price():\n    return 10\n")
    (folder / "service.py").write_text(SERVICE)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        fd, address = listening.fileno(), f"http://127.0.0.1:{listening.getsockname()[1]}"
        options = [
            "--worker-class",
            "gthread",
            "--threads",
            "4",
            "--no-control-socket",
            "--worker-tmp-dir",
            str(folder),
        ]
        command = [sys.executable, "-m", "gunicorn", "service:app", "--bind", f"fd://{fd}", *options]
        env = {**os.environ, "HOME": str(folder), "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
        server = subprocess.Popen(command, env=env, pass_fds=[fd], cwd=folder, stderr=subprocess.PIPE)
    try:
        yield address
    finally:
        server.terminate()
        server.communicate(timeout=60)


@pytest.mark.skipif(find_spec("gunicorn") is None, reason="gunicorn is not installed")
def test_gunicorn(tmp_path: Path) -> None:
    with gunicorn(tmp_path) as address, client(address) as http:
        answer = send(http, "def price():\n    return 11\n" + "# long\n" * 10_000)
        assert (answer.status_code, answer.json()["state"]) == (201, "live"), answer.text
        with client(address) as other:  # of which the server lets go, since it has not read all that came
            assert send(other, "#" * 200_000).status_code == 413
        # A body that is over, and more that is asked for.
        undone = http.post("/undo", content=iter([b'{"why": ', b'"dear"}']), headers=JSON)
        assert undone.json()["state"] == "rolled_back"
        assert http.post("/undo", content=iter([b"{"]), headers=JSON).status_code == 400
        with client(address, None) as nobody:
            assert send(nobody, "").status_code == 401


JSON = {"content-type": "application/json"}


def test_who_leaves_in_the_middle_of_a_chunk(tmp_path: Path) -> None:
    pytest.importorskip("gunicorn", reason="the server of this test")
    whole = httpx.Request("POST", "http://h", files={"patch": ("till.py", b"def price():\n    return 12\n")})
    head = (
        f"POST /rollouts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRITER}\r\nTransfer-Encoding: chunked\r\n"
        f"Content-Type: {whole.headers['content-type']}\r\n\r\n"
    )
    body = whole.read()
    with gunicorn(tmp_path) as address, client(address) as http:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as leaving:
            leaving.sendall(head.encode() + f"{len(body) + 10:x}\r\n".encode() + body)
        assert http.get("/health").status_code == 200
        assert http.get("/rollouts").json()["rollouts"] == []


def test_werkzeug(make_package: Make) -> None:
    service = Service(make_package)
    app = admin(service.patcher, authorize=TOKENS)
    with serving(app) as address, client(address) as http:
        answer = send(http, "def rate():\n    return 7\n", f"{service.name}.tax.py")
        assert (answer.status_code, service.module.rate()) == (201, 7), answer.text
    app.close()


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_server_that_does_not_know_the_end(make_package: Make) -> None:
    service = Service(make_package)
    app = admin(service.patcher, authorize=TOKENS)
    with make_server("127.0.0.1", 0, app, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with client(f"http://127.0.0.1:{server.server_port}") as http:
                answer = send(http, "def rate():\n    return 7\n", f"{service.name}.tax.py")
                assert (answer.status_code, answer.json()["type"]) == (411, "urn:hotswap:problem:length-required")
                assert "Content-Length" in answer.json()["detail"]
            with client(f"http://127.0.0.1:{server.server_port}", READER) as http:
                assert send(http, "").status_code == 403
        finally:
            server.shutdown()
            thread.join()
    app.close()
    assert service.module.rate() == 19
