"""A service with the admin app, on a real server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from hotswap import Patch, Patcher
from hotswap.admin import Access, Tokens
from hotswap.asgi import admin
from tests.waiting import until

if TYPE_CHECKING:  # other tests do without a browser
    from tests.admin.browser import Browser

READER, WRITER = "a-token-that-reads", "a-token-that-writes"
TOKENS = Tokens({READER: Access("dashboard"), WRITER: Access("pipeline", write=True)})

SOURCE = "def rate():\n    return {rate}\n"


class Service:
    """A package of one module, `tax`, its patcher, and a client that may write. Lives as long as a test."""

    def __init__(self, make_package: Callable[..., ModuleType], **options: Any) -> None:
        package = make_package({"__init__.py": "from . import tax\n", "tax.py": SOURCE.format(rate=19)})
        self.name, self.module = package.__name__, package.tax
        self.patcher = Patcher([self.name], **{"check_timeout": 10, **options})
        self.http: httpx.Client
        self.address = ""

    def file(self, rate: object = 16, source: str = SOURCE) -> tuple[str, bytes]:
        return f"{self.name}.tax.py", source.format(rate=rate).encode()

    def patch(self, rate: object = 16, version: str = "1.0", source: str = SOURCE) -> Patch:
        return Patch.from_sources({f"{self.name}.tax": source.format(rate=rate)}, version)

    def upload(self, rate: object = 16, *, wait: float | None = 30, **more: Any) -> httpx.Response:
        """Upload a patch; `data`, `headers` and `params` as those of httpx."""
        params = {**({} if wait is None else {"wait": wait}), **more.pop("params", {})}
        source = more.pop("source", SOURCE)
        return self.http.post("/rollouts", files={"patch": self.file(rate, source)}, params=params, **more)

    def post(self, path: str, **more: Any) -> httpx.Response:
        return self.http.post(path, params={"wait": 30}, **more)


@contextmanager
def serving(app: Any, port: int = 0, **options: Any) -> Iterator[str]:
    """Serve an app with uvicorn, in a thread, on a port that is free or on a given one; gives its address."""
    listening = socket.create_server(("127.0.0.1", port))
    config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1, **options)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        assert until(lambda: server.started)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@contextmanager
def client(address: str, token: str | None = WRITER) -> Iterator[httpx.Client]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=address, headers=headers, timeout=60, trust_env=False) as made:
        yield made


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> Iterator[Service]:
    made = Service(make_package)
    with serving(admin(made.patcher, authorize=TOKENS)) as made.address, client(made.address) as made.http:
        yield made


# --- the page ---------------------------------------------------------------------------------------------------------

NOT_SIGNED_IN = "status of 401"
"""Chromium logs each answer that is an error, and the page asks without a token first: it may need none."""


@pytest.fixture(scope="package")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all tests; `Browser.open` forgets what was."""
    from tests.admin.browser import MISSING, browsing

    if MISSING:
        pytest.skip(MISSING)
    with browsing(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def page(window: Browser) -> Iterator[Browser]:
    """The browser; afterwards it must have asked no other host, and its console must have no errors.

    Behind the service in the arguments of a test: then it has left when the service ends.
    """
    window.logs()
    window.size(1000, 900)
    window.media(color_scheme="light")
    yield window
    seen, hosts = window.logs()
    window.leave()
    assert [one for one in seen if NOT_SIGNED_IN not in one] == []
    assert all(host.startswith("127.0.0.1:") for host in hosts), hosts


@contextmanager
def showing(page: Browser, app: Any, path: str = "", port: int = 0) -> Iterator[str]:
    """Serve an app and have it shown; leave it before it ends."""
    with serving(app, port) as address:
        page.open(f"{address}{path}")
        yield address
        page.leave()


@pytest.fixture
def baking(make_package: Callable[..., ModuleType]) -> Iterator[Service]:
    """A service whose rollouts are on trial for as long as a test may take."""
    made = Service(make_package, bake=120)
    with serving(admin(made.patcher, authorize=TOKENS)) as made.address, client(made.address) as made.http:
        yield made
        if (current := made.patcher.current) is not None:
            current.confirm()  # and the bake is over
