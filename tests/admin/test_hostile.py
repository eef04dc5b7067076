"""The admin app and requests that nobody meant well, or well enough."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from starlette.requests import Request

from hotswap import Patch, Patcher, Rollout, Store
from hotswap.admin import Access
from hotswap.asgi import admin
from tests.admin.conftest import TOKENS, WRITER, Service, client, serving
from tests.waiting import until

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

JSON = {"content-type": "application/json"}
HALF = rb'{"why": "caf\udce9"}'
"""A reason with half of a surrogate pair, as the bytes of a name of a file that is no UTF-8 have it."""


class TestTexts:
    def test_that_utf8_does_not_have_are_shown_and_stop_nothing(self, make_package: Make, tmp_path: Path) -> None:
        service = Service(make_package, store=Store(tmp_path / "store"))
        with serving(admin(service.patcher, authorize=TOKENS)) as address, client(address) as service.http:
            assert service.upload(data={"version": "1.0"}).status_code == 201
            undone = service.post("/undo", content=HALF, headers=JSON)
            assert (undone.status_code, undone.json()["reason"]) == (200, r"caf\udce9")
            for path in ("/rollouts", "/history"):
                shown = service.http.get(path)
                assert (shown.status_code, shown.json()["rollouts"][0]["reason"]) == (200, r"caf\udce9"), path
            assert service.upload(rate=15, data={"version": "1.1"}).status_code == 201

    def test_of_a_check_are_shown(self, service: Service) -> None:
        @service.patcher.check
        def refuse(candidate: object) -> None:
            raise AssertionError("there is a caf\udce9")

        refused = service.upload(data={"version": "1.0"})
        assert refused.status_code == 422
        assert r"caf\udce9" in refused.json()["failed_checks"][0]["message"]
        assert service.http.get("/rollouts").status_code == 200


class TestQuery:
    @pytest.mark.parametrize("query", ["dryrun=true", "dry-run=1", "Commit=false", "dry_run=true&dry_run=false"])
    def test_that_means_nothing_makes_nothing_live(self, service: Service, query: str) -> None:
        answer = service.http.post(f"/rollouts?wait=30&{query}", files={"patch": service.file()})
        assert answer.status_code == 400, answer.text
        assert service.patcher.history() == ()
        assert service.http.post(f"/undo?{query}").status_code == 400

    def test_dry_run_needs_no_value(self, service: Service) -> None:
        answer = service.http.post("/rollouts?wait=30&dry_run", files={"patch": service.file()}, data={"version": "1"})
        assert (answer.status_code, answer.json()["state"]) == (201, "rejected")
        assert service.module.rate() == 19

    def test_number_with_thousands_of_digits_is_refused(self, service: Service) -> None:
        assert service.http.get(f"/history?limit={'1' * 5000}").status_code == 400


class TestBodies:
    @pytest.mark.parametrize("path", ["/undo", "/rollouts"])
    def test_a_name_that_is_there_twice(self, service: Service, path: str) -> None:
        """Who looks at the body on its way may read the first, and we would read the last."""
        body = b'{"why": "a", "why": "b"}'
        answer = service.http.post(path, content=body, headers=JSON)
        assert (answer.status_code, "twice" in answer.json()["detail"]) == (400, True)

    @pytest.mark.parametrize("path", ["/undo", "/rollouts"])
    def test_json_within_json_within_json(self, service: Service, path: str) -> None:
        deep = b'{"why": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        assert service.post(path, content=deep, headers=JSON).status_code == 400

    def test_kinds_of_effects_that_there_are_not(self, service: Service) -> None:
        answer = service.upload(data={"version": "1.0", "allow_effects": "atexit,nonsense"})
        assert (answer.status_code, "nonsense" in answer.json()["detail"]) == (400, True)

    def test_more_seconds_than_can_be_waited_for(self, service: Service) -> None:
        assert service.upload(data={"version": "1.0", "bake": "1e300"}).status_code == 400

    def test_more_seconds_than_a_float_has(self, make_package: Make, tmp_path: Path) -> None:
        service = Service(make_package, store=Store(tmp_path / "store"))
        with serving(admin(service.patcher, authorize=TOKENS)) as address, client(address) as service.http:
            digest = service.upload(data={"version": "1.0"}).json()["digest"]
            assert service.post("/rollouts", json={"digest": digest, "bake": 10**400}).status_code == 400


class TestPagesOfOthers:
    """A browser says `Sec-Fetch-Site` over TLS and to this machine alone."""

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
    def test_may_not_write_where_a_cookie_authorizes(self, make_package: Make, origin: str) -> None:
        def by_cookie(request: Request) -> Access | None:
            return Access("boss", write=True) if request.cookies.get("sid") == "boss" else None

        service = Service(make_package)
        with serving(admin(service.patcher, authorize=by_cookie)) as address, client(address, None) as service.http:
            service.http.headers["cookie"] = "sid=boss"
            refused = service.post("/undo", headers={"origin": origin})
            assert (refused.status_code, refused.json()["type"]) == (403, "urn:hotswap:problem:cross-site")
            own = service.post("/undo", headers={"origin": address})
            assert (own.status_code, own.json()["type"]) == (409, "urn:hotswap:problem:nothing-to-roll-back")

    def test_have_no_token(self, service: Service) -> None:
        """What a proxy makes of `Host` says nothing of who has one."""
        assert service.post("/undo", headers={"origin": "https://ops.example"}).status_code == 409


class TestEventIds:
    def test_with_thousands_of_digits_are_of_another_process(self, service: Service) -> None:
        with service.http.stream("GET", "/events") as first:
            lines = first.iter_lines()
            service.upload(data={"version": "1.0"})
            own = next(line for line in lines if line.startswith("id: "))[4:].partition("-")[0]
        with service.http.stream("GET", "/events", headers={"last-event-id": f"{own}-{'9' * 5000}"}) as again:
            found = [line for line, _ in zip(again.iter_lines(), range(3), strict=False)]
        assert "event: missed" in found


class TestKeys:
    def test_what_somebody_gave_up_is_not_begun_again(self, service: Service) -> None:
        begun, go_on = threading.Event(), threading.Event()

        @service.patcher.check
        def wait(candidate: object) -> None:
            begun.set()
            go_on.wait(10)

        keyed: dict[str, Any] = {"data": {"version": "1.0"}, "headers": {"idempotency-key": "k"}}
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(service.upload, **keyed)
            assert begun.wait(10)
            rollout = service.http.get("/rollouts").json()["rollouts"][0]
            with client(service.address) as operator:
                assert operator.post(f"/rollouts/{rollout['id']}/abort?wait=30").status_code == 200
            go_on.set()
            first = asked.result(30)
        again = service.upload(**keyed)
        assert (first.status_code, again.status_code) == (409, 409)
        assert again.headers["idempotent-replayed"] == "true"
        assert service.module.rate() == 19

    def test_a_server_that_cancels_who_hangs_up(self, make_package: Make) -> None:
        service = Service(make_package)
        begun, go_on = threading.Event(), threading.Event()

        @service.patcher.check
        def wait(candidate: object) -> None:
            begun.set()
            go_on.wait(10)

        app = admin(service.patcher, authorize=TOKENS)

        async def hang_up(scope: Any, receive: Any, send: Any) -> None:
            serve = asyncio.ensure_future(app(scope, receive, send))
            if dict(scope["headers"]).get(b"x-hang-up"):
                await asyncio.get_running_loop().run_in_executor(None, begun.wait, 10)
                serve.cancel()
                await asyncio.wait([serve])
                go_on.set()
            else:
                await serve

        with serving(hang_up) as address, client(address) as service.http:
            keyed: dict[str, Any] = {"data": {"version": "1.0"}}
            headers = {"idempotency-key": "k"}
            service.upload(**keyed, headers={**headers, "x-hang-up": "1"})
            assert until(lambda: service.module.rate() == 16)
            assert until(lambda: service.upload(**keyed, headers=headers).status_code != 409)
            again = service.upload(**keyed, headers=headers)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
        assert len(service.patcher.history()) == 1


class TestClientsThatLeave:
    def test_in_the_middle_of_a_body_are_no_error(self, service: Service, caplog: pytest.LogCaptureFixture) -> None:
        host, port = service.address.removeprefix("http://").split(":")
        head = (
            f"POST /rollouts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRITER}\r\nContent-Length: 1000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        )
        with socket.create_connection((host, int(port))) as leaving:
            leaving.sendall(head.encode())
        assert until(lambda: "admin.written" in caplog.text)
        service.http.get("/health")
        assert "Exception in ASGI application" not in caplog.text

    def test_head_of_events_leaves_the_connection_free(self, service: Service) -> None:
        with client(service.address) as one:
            assert one.head("/events", timeout=10).headers["content-type"].startswith("text/event-stream")
            assert one.get("/health", timeout=10).status_code == 200


class TestWriters:
    def test_that_come_between_a_look_and_a_beginning_wait(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A busy machine starts the thread of the first after that of the second."""
        late, over, roll_out = threading.Event(), threading.Event(), Patcher.roll_out

        class Lock(asyncio.Lock):
            async def acquire(self) -> Literal[True]:
                if self.locked():
                    over.set()
                return await super().acquire()

        def slowly(patcher: Patcher, patch: Patch, terms: Any) -> Rollout:
            if str(patch.version) == "2.0":
                late.set()
                assert over.wait(10)  # until the second waits for its turn, or was answered
            return roll_out(patcher, patch, terms)

        monkeypatch.setattr(asyncio, "Lock", Lock)
        monkeypatch.setattr(Patcher, "roll_out", slowly)
        seen = {"if-match": service.http.get("/versions").headers["etag"]}
        with ThreadPoolExecutor(1) as pool, client(service.address) as other:
            first = pool.submit(service.upload, data={"version": "2.0"}, headers=seen)
            assert late.wait(10)
            form: dict[str, Any] = {"files": {"patch": service.file(15)}, "data": {"version": "1.1"}}
            second = other.post("/rollouts?wait=30", headers=seen, **form)
            over.set()
        assert sorted([first.result().status_code, second.status_code]) in ([201, 409], [201, 412])
        assert len(service.patcher.history()) == 1
