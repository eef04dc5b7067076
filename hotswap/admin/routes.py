"""The endpoints of the admin app, and what each of them needs: a right, a body, a condition."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hotswap import events
from hotswap.admin.access import Access, Authorize, Right, check_right, known
from hotswap.admin.apart import apart
from hotswap.admin.bodies import JsonResponse
from hotswap.admin.conditions import Answers, Turns, check_match, tag_of
from hotswap.admin.description import describe
from hotswap.admin.desk import Act, Asked, Desk, Work
from hotswap.admin.problems import ProblemError, ProblemResponse, problem_of
from hotswap.admin.stream import Following, Stream
from hotswap.admin.uploads import brought, check_query, flag, limited, text_of
from hotswap.doctor import examine
from hotswap.patcher import Patcher
from hotswap.session import here

__all__ = ["make_app"]

_PAGE = Path(__file__).parent / "page"
_SCRIPTS = ("page.js", "acts.js", "api.js", "diff.js", "draw.js", "rollout.js", "state.js", "stream.js", "timeline.js")
_SAFE = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
_ACT_WAIT, _LONGEST_WAIT = 5.0, 60.0
"""Seconds that a request waits for what it has asked for: if it says nothing, and at most. An upload does not wait."""
_FLAGS = {"commit": "true", "dry_run": "false"}
_MOST = 200
"""Rollouts in one answer."""

Endpoint: TypeAlias = Callable[[Request, Access], Awaitable[Response]]


def make_app(
    patcher: Patcher, *, authorize: Authorize | None, max_upload: int, max_streams: int, heartbeat: float
) -> _Admin:
    """Return the admin app; `hotswap.asgi.admin` says what the arguments are."""
    return _Admin(patcher, authorize, max_upload, max_streams, heartbeat)


class _Admin:
    """The app. Lives as long as the application in which it is mounted."""

    def __init__(
        self, patcher: Patcher, authorize: Authorize | None, max_upload: int, max_streams: int, heartbeat: float
    ) -> None:
        self._patcher, self._authorize = patcher, authorize
        self._max_upload, self._max_streams = max_upload, max_streams
        self._desk, self._answers, self._stream = Desk(patcher), Answers(), Stream(heartbeat)
        self._turns = Turns()
        weakref.finalize(self, events.subscribe(self._stream.tell, of=patcher))
        read, write = self._reading, self._writing
        acts = [Route(f"/rollouts/{{id}}/{act}", write(self._act(act)), methods=["POST"]) for act in get_args(Act)]
        routes = [
            Route("/", self._index),
            Route("/page.css", self._file("page.css", "text/css")),
            *(Route(f"/{name}", self._file(name, "text/javascript")) for name in _SCRIPTS),
            Route("/health", self._health),
            Route("/openapi.json", read(self._describe)),
            Route("/versions", read(self._versions)),
            Route("/rollouts", _either(read(self._rollouts), write(self._upload)), methods=["GET", "POST"]),
            Route("/rollouts/{id}", read(self._rollout)),
            Route("/rollouts/{id}/diff", read(self._diff)),
            *acts,
            Route("/history", read(self._history)),
            Route("/doctor", read(self._doctor)),
            Route("/events", read(self._events)),
            Route("/undo", write(self._undo), methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {HTTPException: _not_ours, ProblemError: _problem}
        self._app = Starlette(routes=routes, exception_handlers=handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        # What an operator does is no unit of work of the service: a stream of events would keep old code for days.
        held = here()
        if held is not None:
            held.end()
        with contextlib.suppress(ClientDisconnect):  # nobody is there who could be told, and that is no error
            await self._app(scope, receive, send)

    # --- who, and on which condition ---------------------------------------------------------------------------------

    def _reading(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            async def run() -> Response:
                access = await known(request, self._authorize)
                check_right(request, access, "read")
                return await endpoint(request, access)

            return await _answered(run)

        return answer

    def _writing(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        """What each write has in common: the right, the limit, a key, an entry in the audit log."""

        async def answer(request: Request) -> Response:
            who, began, status = "", time.monotonic(), 0
            request.state.why = request.state.remark = ""

            async def run() -> Response:
                nonlocal who
                access = await known(request, self._authorize)
                who = access.who
                check_right(request, access, "write")
                limits = limited(request, self._max_upload)
                return await self._answers.once(who, limits, lambda: endpoint(limits, access))

            try:
                response = await _answered(run)
                status = response.status_code
            finally:  # also if whoever asks has hung up, and the server has cancelled this
                events.emit(
                    "admin.written",
                    level="info" if 0 < status < 400 else "warning",
                    who=who,
                    method=request.method,
                    path=request.url.path,
                    client="" if request.client is None else request.client.host,
                    status=status or None,
                    why=request.state.why,
                    remark=request.state.remark,
                    duration=time.monotonic() - began,
                )
            return response

        return answer

    # --- reading -----------------------------------------------------------------------------------------------------

    async def _index(self, request: Request) -> Response:
        if _prefers_html(request):
            return FileResponse(_PAGE / "index.html", headers={**_SAFE, "vary": "accept"}, media_type="text/html")
        return await self._reading(self._listed)(request)

    async def _listed(self, request: Request, access: Access) -> Response:
        root = _root(request)
        names = ("health", "versions", "rollouts", "history", "doctor", "events", "openapi.json")
        links = {name.partition(".")[0]: f"{root}/{name}" for name in names}
        rights = [right for right in get_args(Right) if getattr(access, right)]
        return JsonResponse({"who": access.who, "rights": rights, "links": {**links, "undo": f"{root}/undo"}})

    def _file(self, name: str, media_type: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(_: Request) -> Response:
            # Said here: what a machine makes of names of files may be another type, and `nosniff` refuses that.
            return FileResponse(_PAGE / name, headers=_SAFE, media_type=media_type)

        return answer

    async def _health(self, _: Request) -> Response:
        """Open to everybody: it says that the app answers, and nothing else."""
        return JsonResponse(
            {"status": "pass"}, media_type="application/health+json", headers={"cache-control": "no-store"}
        )

    async def _describe(self, request: Request, _: Access) -> Response:
        return JsonResponse(describe(_root(request) or "/"))

    async def _versions(self, request: Request, _: Access) -> Response:
        body, tag = await apart(self._standing)
        return _fresh(body, tag)

    def _standing(self) -> tuple[dict[str, Any], str]:
        """What is live, and by which rollout; and a tag of it."""
        current = self._patcher.current
        versions = {name: str(version) for name, version in self._patcher.versions.items()}
        about = None if current is None else {"id": current.id, "state": str(current.state)}
        changed = None if current is None else current.changed.isoformat()
        return {"versions": versions, "rollout": about}, tag_of(versions, about, changed)

    async def _rollouts(self, request: Request, _: Access) -> Response:
        found, _more = await apart(self._desk.page, _MOST)
        root = _root(request)
        return JsonResponse({"rollouts": [_linked(one, root) for one in found]})

    async def _rollout(self, request: Request, _: Access) -> Response:
        shown = await apart(self._desk.view, request.path_params["id"])
        return _fresh(_linked(shown, _root(request)), _tag(shown))

    async def _diff(self, request: Request, _: Access) -> Response:
        diff = await apart(self._desk.diff, request.path_params["id"])
        return PlainTextResponse(diff, media_type="text/x-diff")

    async def _history(self, request: Request, _: Access) -> Response:
        query = request.query_params
        limit = _number(query.get("limit", "50"), "limit", _MOST)
        found, more = await apart(self._desk.page, limit, query.get("before"))
        root = _root(request)
        body: dict[str, Any] = {"rollouts": [_linked(one, root) for one in found]}
        if more:
            body["next"] = f"{root}/history?limit={limit}&before={found[-1]['id']}"
        return JsonResponse(body)

    async def _doctor(self, request: Request, _: Access) -> Response:
        found = await apart(examine, self._patcher)
        return JsonResponse(
            {"modules": found.modules, "findings": [asdict(one) for one in found.findings], "remarks": found.remarks}
        )

    async def _events(self, request: Request, _: Access) -> Response:
        last = request.headers.get("last-event-id")
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        if request.method == "HEAD":  # events that nobody gets would go on for ever
            return Response(media_type="text/event-stream", headers=headers)
        return Following(self._stream, last, self._max_streams, headers)

    # --- writing -----------------------------------------------------------------------------------------------------

    async def _upload(self, request: Request, access: Access) -> Response:
        query = request.query_params
        wait = _wait(request, 0.0, *_FLAGS)
        commit, dry_run = (flag(one, query.get(one, no) or "true") for one, no in _FLAGS.items())
        # Before and after the body is read, which may take minutes: who comes too late should not send it all.
        check_match(request, (await apart(self._standing))[1])
        found = await brought(request, self._patcher)
        words = dict(found.words)
        words.pop("version", None)
        request.state.why, request.state.remark = words.get("why", ""), found.remark
        asked = Asked(by=access.who, commit=commit, dry_run=dry_run, remark=found.remark, **words)
        work = await self._begun(request, lambda: self._desk.roll_out(found.patch, asked))
        return await _answer(request, work, wait, created=True)

    def _act(self, act: Act) -> Endpoint:
        async def answer(request: Request, access: Access) -> Response:
            id_, wait, why = request.path_params["id"], _wait(request, _ACT_WAIT), await _why(request)
            shown = await apart(self._desk.view, id_)
            check_match(request, _tag(shown))
            return await _answer(request, await apart(self._desk.act, id_, act, access.who, why), wait)

        return answer

    async def _undo(self, request: Request, access: Access) -> Response:
        wait, why = _wait(request, _ACT_WAIT), await _why(request)
        work = await self._begun(request, lambda: self._desk.undo(access.who, why))
        return await _answer(request, work, wait)

    async def _begun(self, request: Request, begin: Callable[[], Work]) -> Work:
        """Begin something, if all is as whoever asks has seen it; nothing else begins between the look and that."""
        async with self._turns.here():
            check_match(request, (await apart(self._standing))[1])
            work = begin()
            await asyncio.wait([_heard(work.begun)])
        return work


def _either(
    read: Callable[[Request], Awaitable[Response]], write: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """One path with two methods: of two routes, a third method would be told of those of the first alone."""

    async def answer(request: Request) -> Response:
        return await (write if request.method == "POST" else read)(request)

    return answer


async def _answered(run: Callable[[], Awaitable[Response]]) -> Response:
    """Answer, also where that fails: whoever asks gets a problem, the log gets the reason."""
    try:
        return await run()
    except ProblemError as problem:
        return ProblemResponse(problem)
    except ClientDisconnect:
        raise  # nobody is there who could be told
    except Exception as error:  # noqa: BLE001 - of an authorize= of the application, say
        return ProblemResponse(_told(error, "answering a request"))


async def _answer(request: Request, work: Work, wait: float, *, created: bool = False) -> Response:
    """Answer as soon as it is known what became of something, or after so many seconds where to look for that."""
    # Waiting for a future of a thread must not cancel it: who hangs up does not stop a rollout.
    over = _heard(work.over)
    id_ = await asyncio.shield(_heard(work.begun))
    root = _root(request)
    where = {"location": f"{root}/rollouts/{id_}"}
    # Who does not wait is always told where to look, also if it is over in this very moment.
    done = wait and (await asyncio.wait([over], timeout=wait))[0]
    if not done:
        return JsonResponse({"id": id_, "links": {"self": where["location"]}}, 202, where)
    try:
        shown = over.result()
    except ProblemError as problem:
        problem.body["rollout"] = where["location"]
        problem.headers |= where
        raise
    status = 201 if created else 200
    return JsonResponse(_linked(shown, root), status, {**where, "etag": _tag(shown)})


def _heard(future: Future[Any]) -> asyncio.Future[Any]:
    """What becomes of something in a thread; that nobody waits for an error of it is not told."""
    heard = asyncio.wrap_future(future)
    heard.add_done_callback(lambda found: found.cancelled() or found.exception())
    return heard


async def _why(request: Request) -> str:
    """The reason that is given; the audit entry has it, whatever is done."""
    why = request.state.why = await text_of(request, "why")
    return why


def _told(error: Exception, work: str) -> ProblemError:
    problem = problem_of(error)
    if problem.status == 500:
        events.emit("admin.failed", level="error", reason=error, work=work)
    return problem


def _tag(shown: dict[str, Any]) -> str:
    return tag_of(shown["id"], shown["state"], shown["changed"])


def _linked(shown: dict[str, Any], root: str) -> dict[str, Any]:
    if not shown["id"]:  # a drop that came to no rollout
        return {**shown, "links": {}}
    own = f"{root}/rollouts/{shown['id']}"
    actions = {act: f"{own}/{act}" for act in shown.get("actions", ())}
    return {**shown, "links": {"self": own, "diff": f"{own}/diff", **actions}}


def _fresh(body: dict[str, Any], tag: str) -> Response:
    """A body with its tag. It is sent whole each time: what is in flight changes without the tag."""
    return JsonResponse(body, headers={"etag": tag, "cache-control": "no-store"})


def _root(request: Request) -> str:
    return cast("str", request.scope.get("root_path", "")).rstrip("/")


def _prefers_html(request: Request) -> bool:
    accepted = request.headers.get("accept", "")
    html, json = accepted.find("text/html"), accepted.find("application/json")
    return html >= 0 and (json < 0 or html < json)


def _wait(request: Request, otherwise: float, *others: str) -> float:
    check_query(request, ("wait", *others))
    told = request.query_params.get("wait")
    if told is None:
        return otherwise
    try:
        seconds = float(told)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_WAIT:
        raise ProblemError(400, "bad-request", f"wait: 0 to {_LONGEST_WAIT:g} seconds")
    return seconds


def _number(told: str, name: str, most: int) -> int:
    if not (told.isdecimal() and len(told) < 10 and 1 <= int(told) <= most):
        raise ProblemError(400, "bad-request", f"{name}: 1 to {most}")
    return int(told)


async def _problem(_: Request, error: Exception) -> Response:
    return ProblemResponse(cast("ProblemError", error))


async def _not_ours(_: Request, error: Exception) -> Response:
    """What Starlette refuses: a path that there is not, a method that a path does not have."""
    found = cast("HTTPException", error)
    codes: dict[int, Literal["not-found", "method-not-allowed"]] = {404: "not-found", 405: "method-not-allowed"}
    code = codes.get(found.status_code, "bad-request")
    return ProblemResponse(ProblemError(found.status_code, code, str(found.detail), headers=dict(found.headers or {})))
