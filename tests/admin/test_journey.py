"""The admin app, as programs use it: over HTTP, against a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import httpx
import pytest
import structlog.testing
from starlette.requests import Request

from hotswap import Patcher, State, Store, Trust
from hotswap.admin import Access, Tokens
from hotswap.asgi import SessionMiddleware, admin
from hotswap.trust import Comment, SecretKey
from tests.admin.conftest import READER, SOURCE, TOKENS, WRITER, Service, client, serving
from tests.signing import ALICE, MALLORY, signature_of
from tests.waiting import until

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

READS = [
    "/",
    "/openapi.json",
    "/versions",
    "/rollouts",
    "/rollouts/x",
    "/rollouts/x/diff",
    "/history",
    "/doctor",
    "/events",
]
WRITES = [
    "/rollouts",
    "/undo",
    *(f"/rollouts/x/{act}" for act in ("verify", "commit", "confirm", "rollback", "abort")),
]


class TestJourney:
    def test_from_upload_to_undo(self, service: Service) -> None:
        assert service.http.get("/versions").json() == {"versions": {service.name: "0"}, "rollout": None}
        answer = service.upload(data={"version": "1.0", "why": "lower"})
        assert answer.status_code == 201, answer.text
        shown = answer.json()
        assert (shown["state"], shown["by"], shown["why"]) == ("live", "pipeline", "lower")
        assert answer.headers["location"] == shown["links"]["self"]
        assert service.module.rate() == 16
        assert service.http.get("/versions").json()["versions"] == {service.name: "1.0"}
        seen = service.http.get(shown["links"]["self"]).json()
        assert seen["actions"] == ["confirm", "rollback"]
        assert "changed" in seen["plan"]["text"]
        assert seen["in_flight"] == []
        diff = service.http.get(shown["links"]["diff"]).text
        assert "-    return 19" in diff
        assert "+    return 16" in diff
        answer = service.post(shown["links"]["rollback"], json={"why": "too low"})
        assert (answer.status_code, answer.json()["state"]) == (200, "rolled_back"), answer.text
        assert answer.json()["reason"] == "too low"
        assert service.module.rate() == 19
        assert [one["id"] for one in service.http.get("/history").json()["rollouts"]] == [shown["id"]]

    def test_step_by_step(self, service: Service) -> None:
        shown = service.upload(data={"version": "1.0"}, params={"commit": "false"}).json()
        assert shown["state"] == "verified"
        assert service.module.rate() == 19
        assert service.post(shown["links"]["commit"]).json()["state"] == "live"
        assert service.module.rate() == 16
        answer = service.post(f"/rollouts/{shown['id']}/confirm")
        assert answer.json()["state"] == "permanent"
        answer = service.post("/undo", json={"why": "asked for"})
        assert (answer.status_code, answer.json()["id"]) == (200, shown["id"]), answer.text
        assert service.module.rate() == 19
        assert service.post("/undo").status_code == 409

    def test_given_up(self, service: Service) -> None:
        shown = service.upload(data={"version": "1.0"}, params={"commit": "false"}).json()
        answer = service.post(shown["links"]["abort"], json={"why": "not today"})
        assert (answer.json()["state"], answer.json()["reason"]) == ("rejected", "not today")
        assert service.post(f"/rollouts/{shown['id']}/commit").status_code == 409

    def test_a_dry_run(self, service: Service) -> None:
        ran = []
        service.patcher.check(lambda _: ran.append(1), name="counts")
        shown = service.upload(data={"version": "1.0"}, params={"dry_run": "true"}).json()
        assert (shown["state"], shown["reason"], ran) == ("rejected", "a dry run", [1])
        assert service.module.rate() == 19
        again = service.http.get(shown["links"]["self"]).json()
        assert again["plan"]["modules"] == {service.name: "unchanged", f"{service.name}.tax": "changed"}
        assert [row["name"] for row in again["report"]["results"]] == ["counts"]
        # Whoever decides after a dry run looks at what it would have changed.
        assert again["has_diff"]
        assert "+    return 16" in service.http.get(shown["links"]["diff"]).text

    def test_no_diff(self, service: Service) -> None:
        """What it changes can't be found out any more, if nobody asked before it was live."""
        rollout = service.patcher.apply(service.patch())
        assert not service.http.get(f"/rollouts/{rollout.id}").json()["has_diff"]
        assert service.http.get(f"/rollouts/{rollout.id}/diff").status_code == 409

    def test_long_work(self, service: Service) -> None:
        go = threading.Event()
        service.patcher.check(lambda _: go.wait(), name="patient")
        answer = service.upload(data={"version": "1.0"}, wait=None)
        assert answer.status_code == 202
        where = answer.headers["location"]
        assert until(lambda: service.http.get(where).json()["report"]["running"] == ["patient"])
        assert service.post(f"{where}/commit").status_code == 409
        go.set()
        assert until(lambda: service.http.get(where).json()["state"] == "live")

    def test_who_does_not_wait_is_told_where_to_look(self, service: Service) -> None:
        """Whatever has become of it by then."""
        answers = [service.upload(source="def rate(:\n", data={"version": "1.0"}, wait=None) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [202] * 5
        for answer in answers:
            where = answer.headers["location"]
            assert until(lambda where=where: "problem" in service.http.get(where).json())  # type: ignore[misc]  # as a default

    def test_long_work_is_given_up(self, service: Service) -> None:
        go = threading.Event()
        service.patcher.check(lambda _: go.wait(), name="hangs", timeout=30)
        where = service.upload(data={"version": "1.0"}, wait=None).headers["location"]
        assert until(lambda: service.http.get(where).json()["report"]["running"] == ["hangs"])
        assert service.post(f"{where}/abort").json()["state"] == "rejected"
        go.set()
        assert until(lambda: service.upload(data={"version": "1.1"}).status_code == 201)  # the place is free again

    def test_a_patch_of_the_store(self, make_package: Make, tmp_path: Any) -> None:
        service = Service(make_package, store=Store(tmp_path / "store"))
        with serving(admin(service.patcher, authorize=TOKENS)) as address, client(address) as service.http:
            shown = service.upload(data={"version": "1.0"}).json()
            service.post(shown["links"]["rollback"])
            again = service.post("/rollouts", json={"digest": shown["digest"], "undo": True, "why": "after all"})
            assert (again.status_code, again.json()["state"]) == (201, "live"), again.text
            for digest in ("0" * 64, "../journal.db", ""):
                assert service.post("/rollouts", json={"digest": digest}).status_code == 422
        assert service.module.rate() == 16

    def test_of_others_too(self, service: Service) -> None:
        """What went live in another way is seen, and can be taken back."""
        rollout = service.patcher.apply(service.patch())
        assert service.http.get(f"/rollouts/{rollout.id}").json()["state"] == "live"
        assert service.post(f"/rollouts/{rollout.id}/rollback").status_code == 200
        assert rollout.state is State.ROLLED_BACK

    def test_pages_of_history(self, service: Service) -> None:
        made = [service.upload(rate, data={"version": f"1.{rate}"}).json()["id"] for rate in range(3)]
        first = service.http.get("/history?limit=2").json()
        second = service.http.get(first["next"]).json()
        assert [one["id"] for one in first["rollouts"] + second["rollouts"]] == made[::-1]
        assert "next" not in second

    def test_mounted(self, make_package: Make) -> None:
        from starlette.applications import Starlette
        from starlette.routing import Mount

        service = Service(make_package)
        app = Starlette(routes=[Mount("/ops/patches", admin(service.patcher, authorize=TOKENS))])
        with serving(app) as address, client(address) as service.http:
            service.http.base_url = httpx.URL(f"{address}/ops/patches/")
            shown = service.upload(data={"version": "1.0"}).json()
            assert shown["links"]["self"] == f"/ops/patches/rollouts/{shown['id']}"
            with client(address) as plain:
                assert plain.get(shown["links"]["self"]).json()["state"] == "live"

    def test_an_operator_is_no_unit_of_work(self, make_package: Make) -> None:
        """A stream of events within the session middleware keeps nothing old."""
        service = Service(make_package)
        app = SessionMiddleware(admin(service.patcher, authorize=TOKENS))
        with serving(app) as address, client(address) as service.http, service.http.stream("GET", "/events") as stream:
            lines = stream.iter_lines()
            next(lines)
            rollout = service.patcher.apply(service.patch())
            assert rollout.drained.wait(10)


class TestRefusals:
    def test_a_check(self, service: Service) -> None:
        service.patcher.check(lambda _: False, name="says_no")
        answer = service.upload(data={"version": "1.0"})
        problem = answer.json()
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert problem["type"].endswith("check-failed")
        assert [one["name"] for one in problem["failed_checks"]] == ["says_no"]
        assert service.http.get(problem["rollout"]).json()["problem"]["failed_checks"] == problem["failed_checks"]

    def test_what_can_not_be_patched(self, service: Service) -> None:
        answer = service.upload(data={"version": "1.0"}, source="def rate(:\n")
        assert answer.status_code == 422
        assert "advice" in answer.json() or answer.json()["detail"]

    @pytest.mark.parametrize(
        ("more", "status"),
        [
            ({"content": b"x"}, 415),
            ({"content": b"{", "headers": {"content-type": "application/json"}}, 400),
            ({"json": ["digest"]}, 400),
            ({"json": {}}, 400),
            ({"content": b"--", "headers": {"content-type": "multipart/form-data"}}, 400),
            ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400),
            ({"files": {"other": ("a.py", b"")}}, 400),
            ({"files": [("patch", ("a.py", b"")), ("patch", ("b.py", b""))]}, 400),
            ({"files": {"patch": ("../a.py", b"")}}, 400),
            ({"files": {"patch": ("a.py", b"")}, "data": {"bake": "-1"}}, 400),
            ({"files": {"patch": ("a.py", b"")}, "data": {"undo": "maybe"}}, 400),
            ({"files": {"patch": ("a.py", b"")}, "data": {"unknown": "1"}}, 400),
            ({"files": {"patch": ("a.py", b"")}, "data": {"version": "one"}}, 400),
            ({"files": {"patch": ("a.txt", b"")}}, 422),
            ({"files": {"patch": ("a.whl", b"PK")}}, 422),
        ],
    )
    def test_malformed(self, service: Service, more: dict[str, Any], status: int) -> None:
        answer = service.post("/rollouts", **more)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert service.patcher.current is None

    @pytest.mark.parametrize("query", ["commit=maybe", "dry_run=2", "wait=x", "wait=-1", "wait=61", "wait=nan"])
    def test_a_query_that_makes_no_sense(self, service: Service, query: str) -> None:
        assert service.http.post(f"/rollouts?{query}", files={"patch": service.file()}).status_code == 400

    def test_too_large(self, make_package: Make) -> None:
        service = Service(make_package)
        app = admin(service.patcher, authorize=TOKENS, max_upload=10_000)
        with serving(app) as address, client(address) as service.http:
            known = service.upload(source="#" * 20_000)
            # What is no multipart at all may be told before it is too large: that depends on how it arrives.
            head = b'--x\r\nContent-Disposition: form-data; name="patch"; filename="tax.py"\r\n\r\n'
            unknown = service.http.post(
                "/rollouts",
                content=iter([head, *[b"x" * 5_000] * 4]),
                headers={"content-type": "multipart/form-data; boundary=x"},
            )
            assert (known.status_code, unknown.status_code) == (413, 413)

    def test_nothing_there(self, service: Service) -> None:
        for path in ("/rollouts/nobody", "/rollouts/nobody/diff", "/nothing", "/history?before=nobody"):
            answer = service.http.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path
        assert service.post("/rollouts/nobody/commit").status_code == 404
        assert service.http.get("/undo").status_code == 405
        assert service.http.put("/rollouts").status_code == 405

    def test_an_error_of_the_application(self, make_package: Make) -> None:
        def authorize(_: Request) -> Access:
            raise KeyError("the reason is for the log")

        service = Service(make_package)
        with serving(admin(service.patcher, authorize=authorize)) as address, client(address) as http:
            with structlog.testing.capture_logs() as seen:
                answer = http.get("/versions")
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert "for the log" not in answer.text
        assert any("for the log" in str(entry.get("reason")) for entry in seen)


class TestPolicy:
    def test_what_is_uploaded_goes_through_it(self, make_package: Make) -> None:
        service = Service(make_package, trust=Trust(keys=[ALICE.public], kinds=["file"]))
        name, data = service.file(16, "# signed\n" + SOURCE)

        def upload(by: SecretKey | None) -> httpx.Response:
            files = {"patch": (name, data)}
            if by is not None:
                files["signature"] = (f"{name}.minisig", signature_of(data, Comment(file=name), by))
            return service.post("/rollouts", files=files)

        with serving(admin(service.patcher, authorize=TOKENS)) as address, client(address) as service.http:
            refused = [upload(None), upload(MALLORY)]
            assert [(one.status_code, one.json()["code"]) for one in refused] == [
                (422, "unsigned"),
                (422, "key-unknown"),
            ]
            assert service.module.rate() == 19
            assert service.patcher.history() == ()
            taken = upload(ALICE)
            assert taken.status_code == 201, taken.text
            assert service.module.rate() == 16

    @pytest.mark.parametrize(
        ("trust", "why"),
        [(None, "no policy"), (Trust(unsigned=True, kinds=["file"]), "no keys")],
        ids=["no policy", "no keys"],
    )
    def test_a_signature_that_nobody_reads(self, make_package: Make, trust: Trust | None, why: str) -> None:
        """It goes live, as without one; whoever signed it is told that this was no protection."""
        service = Service(make_package, trust=trust)
        name, data = service.file()
        files = {"patch": (name, data), "signature": (f"{name}.minisig", b"nonsense")}
        with serving(admin(service.patcher, authorize=TOKENS)) as address, client(address) as service.http:
            with structlog.testing.capture_logs() as seen:
                answer = service.post("/rollouts", files=files)
                assert service.upload(17, data={"version": "2"} if trust is None else {}).json()["remark"] == ""
        assert answer.status_code == 201, answer.text
        warning = answer.json()["remark"]
        assert warning.startswith("its signature was not checked")
        assert why in warning
        told = [entry["remark"] for entry in seen if entry["event"] == "admin.written"]
        assert told == [warning, ""]


class TestRights:
    def test_these_are_all(self, service: Service) -> None:
        """What is tested below is each endpoint that there is, but the open ones: health, and the files of the page."""
        app: Any = admin(service.patcher, authorize=TOKENS)
        found: dict[str, set[str]] = {"GET": set(), "POST": set()}
        for route in app._app.routes:
            for method in route.methods & found.keys():
                found[method].add(route.path.replace("{id}", "x"))
        files = {path for path in found["GET"] if path.endswith((".js", ".css"))}
        assert found["GET"] - files == {*READS, "/health"}
        assert found["POST"] == {*WRITES}

    @pytest.mark.parametrize("token", [None, "wrong", READER[:-1], READER + "x", WRITER.upper()])
    def test_nobody_knows_who_asks(self, service: Service, token: str | None) -> None:
        address = str(service.http.base_url)
        with client(address, token) as http:
            answers = [http.get(path) for path in READS] + [http.post(path) for path in WRITES]
            assert {answer.status_code for answer in answers} == {401}
            assert all(answer.headers["www-authenticate"].startswith("Bearer") for answer in answers)
            assert http.get("/health").json() == {"status": "pass"}

    def test_who_reads_does_not_write(self, service: Service) -> None:
        with client(str(service.http.base_url), READER) as http:
            assert {http.post(path).status_code for path in WRITES} == {403}
            assert http.get("/").json()["rights"] == ["read"]

    def test_who_writes_may_not_read(self, make_package: Make) -> None:
        service = Service(make_package)
        tokens = Tokens({WRITER: Access("pipeline", read=False, write=True)})
        with serving(admin(service.patcher, authorize=tokens)) as address, client(address) as service.http:
            assert service.http.get("/versions").status_code == 403
            assert service.upload(data={"version": "1.0"}).status_code == 201

    def test_without_authorization_nothing_is_written(self, make_package: Make) -> None:
        service = Service(make_package)
        with serving(admin(service.patcher, authorize=None)) as address, client(address, None) as http:
            assert http.get("/versions").status_code == 200
            assert {http.post(path).status_code for path in WRITES} == {403}

    def test_a_coroutine(self, make_package: Make) -> None:
        async def authorize(request: Request) -> Access | None:
            return Access("somebody", write=True) if "x-user" in request.headers else None

        service = Service(make_package)
        with serving(admin(service.patcher, authorize=authorize)) as address, client(address, None) as service.http:
            assert service.http.get("/versions").status_code == 401
            assert service.upload(data={"version": "1.0"}, headers={"x-user": "1"}).status_code == 201

    def test_a_page_of_somebody_else(self, service: Service) -> None:
        for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 409)):
            assert service.http.post("/undo", headers={"sec-fetch-site": site}).status_code == status

    @pytest.mark.parametrize("token", ["short", "", "with spaces in it, long", "with-ümlaut-and-long"])
    def test_tokens_that_are_none(self, token: str) -> None:
        with pytest.raises(ValueError, match="token"):
            Tokens({token: Access("x")})

    def test_a_repr_tells_no_secret(self) -> None:
        assert WRITER not in repr(TOKENS)


class TestConditions:
    def test_who_has_not_seen_the_last_state(self, service: Service) -> None:
        old = service.http.get("/versions").headers["etag"]
        answer = service.upload(data={"version": "1.0"}, headers={"if-match": old})
        assert answer.status_code == 201
        late = service.upload(data={"version": "1.1"}, headers={"if-match": old})
        assert late.status_code == 412
        assert late.headers["etag"] == service.http.get("/versions").headers["etag"]
        assert service.post("/undo", headers={"if-match": old}).status_code == 412
        rollout = answer.json()["links"]["self"]
        assert service.post(f"{rollout}/confirm", headers={"if-match": answer.headers["etag"]}).status_code == 200
        assert service.post(f"{rollout}/rollback", headers={"if-match": answer.headers["etag"]}).status_code == 412

    def test_of_several_at_once_one_wins(self, service: Service) -> None:
        tag = service.http.get("/versions").headers["etag"]
        with ThreadPoolExecutor(8) as pool:
            answers = list(
                pool.map(
                    lambda n: service.upload(n, data={"version": f"1.{n}"}, headers={"if-match": tag}).status_code,
                    range(8),
                )
            )
        assert answers.count(201) == 1
        assert set(answers) <= {201, 409, 412}

    def test_the_same_request_twice(self, service: Service) -> None:
        headers = {"idempotency-key": "build 7", "content-type": "application/json"}
        shown = service.upload(data={"version": "1.0"}).json()
        first = service.post(shown["links"]["confirm"], content=b"{}", headers=headers)
        second = service.post(shown["links"]["confirm"], content=b"{}", headers=headers)
        assert (first.status_code, second.status_code) == (200, 200)
        assert second.json() == first.json()
        assert second.headers["idempotent-replayed"] == "true"
        assert second.headers["etag"] == first.headers["etag"]
        other = service.post(shown["links"]["rollback"], content=b"{}", headers=headers)
        assert (other.status_code, other.json()["type"]) == (422, "urn:hotswap:problem:key-reused")
        assert service.post(shown["links"]["confirm"]).status_code == 409

    def test_an_upload_twice_as_clients_send_it(self, service: Service) -> None:
        """Each time with another boundary between the parts of the form."""
        headers = {"idempotency-key": "build 7"}
        first, second = (service.upload(data={"version": "1.0"}, headers=headers) for _ in range(2))
        assert (first.status_code, second.status_code) == (201, 201), second.text
        assert first.json()["id"] == second.json()["id"]
        other = service.upload(17, data={"version": "1.0"}, headers=headers)
        assert (other.status_code, other.json()["type"]) == (422, "urn:hotswap:problem:key-reused")

    def test_an_upload_twice(self, service: Service) -> None:
        body = service.http.build_request("POST", "/rollouts?wait=30", files={"patch": service.file()}).read()
        request = service.http.build_request("POST", "/rollouts", files={"patch": service.file()})
        headers = {"idempotency-key": "x", "content-type": request.headers["content-type"]}
        body = request.read()
        first, second = (service.http.post("/rollouts?wait=30", content=body, headers=headers) for _ in range(2))
        assert first.json()["id"] == second.json()["id"]
        assert len(service.patcher.history()) == 1

    def test_a_request_that_goes_on_is_not_forgotten(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many others had keys meanwhile."""
        monkeypatch.setattr("hotswap.admin.conditions._MOST", 3)
        go = threading.Event()
        service.patcher.check(lambda _: go.wait(), name="patient")
        sent = service.http.build_request("POST", "/rollouts?wait=30", files={"patch": service.file()})
        kept: Any = {"content": sent.read(), "headers": {**sent.headers, "idempotency-key": "first"}}
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(service.http.post, "/rollouts?wait=30", **kept)
            try:
                assert until(lambda: service.patcher.current)
                for number in range(5):
                    other = {"idempotency-key": f"other {number}"}
                    assert service.http.post("/rollouts", json={"digest": "x"}, headers=other).status_code == 422
                again = service.http.post("/rollouts?wait=30", **kept)
            finally:
                go.set()
            assert again.json()["detail"].startswith("the same request is being answered"), again.text
            assert first.result().status_code == 201
            assert service.http.post("/rollouts?wait=30", **kept).json()["id"] == first.result().json()["id"]


class TestAudit:
    def test_who_may_not_is_named(self, service: Service) -> None:
        with structlog.testing.capture_logs() as seen:
            with client(str(service.http.base_url), READER) as http:
                http.post("/undo")
            service.post("/undo", headers={"sec-fetch-site": "cross-site"})
        told = [(entry["who"], entry["status"]) for entry in seen if entry["event"] == "admin.written"]
        assert told == [("dashboard", 403), ("pipeline", 403)]

    def test_each_write_has_an_entry(self, service: Service) -> None:
        with structlog.testing.capture_logs() as seen:
            service.upload(data={"version": "1.0", "why": "lower"})
            service.post("/rollouts/nobody/commit", json={"why": "in haste"})
            with client(str(service.http.base_url), "a-token-of-nobody") as http:
                http.post("/undo")
            service.http.get("/versions")
        written = [entry for entry in seen if entry["event"] == "admin.written"]
        told = [(entry["who"], entry["path"], entry["status"], entry["log_level"]) for entry in written]
        assert told == [
            ("pipeline", "/rollouts", 201, "info"),
            ("pipeline", "/rollouts/nobody/commit", 404, "warning"),
            ("", "/undo", 401, "warning"),
        ]
        assert [entry["why"] for entry in written] == ["lower", "in haste", ""]
        assert {entry["client"] for entry in written} == {"127.0.0.1"}
        assert all(WRITER not in str(entry) for entry in seen)


class TestArguments:
    @pytest.mark.parametrize(
        ("more", "error"),
        [
            ({"authorize": "token"}, TypeError),
            ({"authorize": None, "max_upload": 0}, ValueError),
            ({"authorize": None, "heartbeat": -1}, ValueError),
        ],
    )
    def test_that_make_no_sense(self, more: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            admin(Patcher(["httpx"]), **more)

    def test_authorization_has_to_be_thought_of(self) -> None:
        with pytest.raises(TypeError):
            admin(Patcher(["httpx"]))  # type: ignore[call-arg]
