"""What the admin app offers, in the words of OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.0."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, get_args

from hotswap.admin.desk import Act
from hotswap.effects import KINDS
from hotswap.records import State

__all__ = ["describe"]

_TEXT = {"type": "string"}
_NULLABLE = {"type": ["string", "null"]}
_SECONDS = {"type": ["number", "null"]}

_WHAT = {
    "verify": "Run the checks",
    "commit": "Run the checks, if they have not run, and make it live",
    "confirm": "End its trial: it is permanent",
    "rollback": "Take it back: what was live before is live again",
    "abort": "Give it up, before it is live",
}


def describe(root: str) -> dict[str, Any]:
    """Return the description.

    Arguments:
        root: the path under which the app is mounted.
    """
    id_ = {"name": "id", "in": "path", "required": True, "schema": _TEXT, "description": "of the rollout"}
    acts = {
        f"/rollouts/{{id}}/{act}": {"parameters": [id_], "post": _act(act, _WHAT[act], (403, 404))}
        for act in get_args(Act)
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "hotswap", "version": _version(), "summary": "Patches of a running service"},
        "servers": [{"url": root}],
        "security": [{"bearer": []}],
        "paths": {
            "/": {"get": _read("index", "What there is, and who asks", _object())},
            "/health": {
                "get": {
                    "operationId": "health",
                    "summary": "Whether the app answers; open to everybody",
                    "security": [],
                    "responses": {"200": _as("It does", _object(status=_TEXT), "application/health+json")},
                }
            },
            "/openapi.json": {"get": _read("describe", "This description", _object())},
            "/versions": {"get": _read("versions", "What is live", _ref("Versions"), tag=True)},
            "/rollouts": {
                "get": _read("rollouts", "The last rollouts, newest first", _ref("Rollouts")),
                "post": _upload(),
            },
            "/rollouts/{id}": {
                "parameters": [id_],
                "get": _read("rollout", "One rollout: plan, report, calls in flight", _ref("Rollout"), 404, tag=True),
            },
            "/rollouts/{id}/diff": {
                "parameters": [id_],
                "get": {
                    "operationId": "diff",
                    "summary": "What it changes in the sources that are live, as a unified diff",
                    "responses": {"200": _as("The diff", _TEXT, "text/x-diff"), **_problems(401, 403, 404, 409)},
                },
            },
            **acts,
            "/history": {
                "get": _read(
                    "history", "Rollouts and refused drops, newest first, by pages", _ref("Rollouts"), 400, 404
                )
                | {
                    "parameters": [
                        _query("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "how many"),
                        _query("before", _TEXT, "the id of a rollout: what is older than it"),
                    ]
                }
            },
            "/doctor": {"get": _read("doctor", "What in this service can't be patched, and why", _ref("Examination"))},
            "/events": {
                "get": {
                    "operationId": "events",
                    "summary": "Events as they happen, as server-sent ones",
                    "parameters": [
                        {
                            "name": "Last-Event-ID",
                            "in": "header",
                            "schema": _TEXT,
                            "description": "the last one that was seen: what came since is sent first",
                        }
                    ],
                    "responses": {"200": _as("They follow", _TEXT, "text/event-stream"), **_problems(401, 403, 503)},
                }
            },
            "/undo": {"post": _act("undo", "Take back what went live last", (403,))},
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(),
        },
    }


def _schemas() -> dict[str, Any]:
    facts = {
        "id": _TEXT,
        "name": _TEXT,
        "version": _NULLABLE,
        "digest": _TEXT,
        "state": {"enum": [str(state) for state in State]},
        "reason": _TEXT,
        "started": {**_TEXT, "format": "date-time"},
        "changed": {**_TEXT, "format": "date-time"},
        "pause": {**_SECONDS, "description": "seconds that other threads waited for the swap"},
        "by": _TEXT,
        "why": _TEXT,
        "note": _TEXT,
        "report": _object(passed={"type": "boolean"}, running=_list(_TEXT), waiting=_list(_TEXT), results=_list()),
        "links": _object(),
    }
    more = {
        "bake": {"type": ["object", "null"]},
        "plan": _object(text=_TEXT, modules=_object(), names=_list(), unsupported=_list(), warnings=_list(_TEXT)),
        "rehearsal": {"type": ["object", "null"]},
        "drained": {"type": "boolean"},
        "has_diff": {"type": "boolean", "description": "whether there is a diff to be had"},
        "in_flight": _list(_object(function=_TEXT, file=_TEXT, line={"type": "integer"}, since=_TEXT)),
        "actions": _list({"enum": [*get_args(Act)]}),
        "problem": _ref("Problem"),
        "remark": {**_TEXT, "description": "what has to be known of the upload: a signature that nobody checked"},
    }
    problem = {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT}
    optional = {"code": _TEXT, "advice": _TEXT, "failed_checks": _list(), "changes": _list(), "rollout": _TEXT}
    finding = _object(code=_TEXT, blocks=_TEXT, module=_TEXT, name=_TEXT, sentence=_TEXT)
    return {
        "Examination": _object(modules={"type": "integer"}, findings=_list(finding), remarks=_list(_TEXT)),
        "Versions": _object(versions=_object(), rollout={"type": ["object", "null"]}),
        "Rollout": {"type": "object", "required": [*facts], "properties": {**facts, **more}},
        "Rollouts": {
            "type": "object",
            "required": ["rollouts"],
            "properties": {"rollouts": _list(_ref("Rollout")), "next": _TEXT},
        },
        "Begun": _object(id=_TEXT, links=_object()),
        "Problem": {"type": "object", "required": [*problem], "properties": {**problem, **optional}},
    }


def _upload() -> dict[str, Any]:
    flag = {"type": "string", "enum": ["true", "false"]}
    words = {
        "why": {**_TEXT, "description": "what for: the history has it"},
        "undo": {**flag, "description": "whether it may be older than what is live, if it was live here before"},
        "rehearse": {**flag, "description": "whether it is tried in a copy of the process first"},
        "bake": {**_TEXT, "pattern": r"^([1-9]\d{0,5}|none)$", "description": "seconds on trial, or none"},
    }
    form = {
        **words,
        "patch": {**_TEXT, "contentMediaType": "application/octet-stream", "description": "a wheel, or a module"},
        "signature": {**_TEXT, "contentMediaType": "application/octet-stream", "description": "its .minisig"},
        "manifest": {**_TEXT, "contentMediaType": "application/toml", "description": "the hotswap.toml beside a wheel"},
        "version": {**_TEXT, "description": "for a module, which states none"},
        "allow_effects": {**_TEXT, "description": f"with commas between them: {', '.join(sorted(KINDS))}"},
    }
    named = {
        **{key: value for key, value in words.items() if key not in ("undo", "rehearse")},
        "undo": {"type": "boolean"},
        "rehearse": {"type": "boolean"},
        "digest": {**_TEXT, "description": "of a patch in the store", "pattern": "^[0-9a-f]{64}$"},
    }
    return {
        "operationId": "roll_out",
        "summary": "Stage a patch, run its checks, and make it live",
        "parameters": [
            *_writing(),
            _query("commit", {**flag, "default": "true"}, "false: it stays as its checks have left it"),
            _query("dry_run", {**flag, "default": "false"}, "true: it is given up after its checks"),
            _waiting(0),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["patch"],
                        "properties": form,
                        "additionalProperties": False,
                    }
                },
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["digest"],
                        "properties": named,
                        "additionalProperties": False,
                    }
                },
            },
        },
        "responses": {
            "201": _tagged(_as("It is as it was asked for", _ref("Rollout"))),
            "202": _located(_as("It goes on; Location says where to look", _ref("Begun"))),
            **_problems(400, 401, 403, 409, 411, 412, 413, 415, 422, 500, 503),
        },
    }


def _act(name: str, summary: str, more: tuple[int, ...]) -> dict[str, Any]:
    body = {"type": "object", "properties": {"why": _TEXT}, "additionalProperties": False}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": [*_writing(), _waiting(5)],
        "requestBody": {"required": False, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": _tagged(_as("It is done", _ref("Rollout"))),
            "202": _located(_as("It goes on; Location says where to look", _ref("Begun"))),
            **_problems(400, 401, *more, 409, 411, 412, 413, 415, 422, 500, 503),
        },
    }


def _version() -> str:
    try:
        return version("hotswap")
    except PackageNotFoundError:  # a checkout
        return "unknown"


def _read(name: str, summary: str, schema: dict[str, Any], *problems: int, tag: bool = False) -> dict[str, Any]:
    answer = _as("As asked for", schema)
    return {
        "operationId": name,
        "summary": summary,
        "responses": {"200": _tagged(answer) if tag else answer, **_problems(401, 403, *problems)},
    }


def _problems(*statuses: int) -> dict[str, Any]:
    return {str(status): _as("What is wrong", _ref("Problem"), "application/problem+json") for status in statuses}


def _as(what: str, schema: dict[str, Any], media: str = "application/json") -> dict[str, Any]:
    return {"description": what, "content": {media: {"schema": schema}}}


def _tagged(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "headers": {"ETag": {"schema": _TEXT, "description": "for If-Match"}}}


def _located(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "headers": {"Location": {"schema": _TEXT, "description": "of the rollout"}}}


def _writing() -> list[dict[str, Any]]:
    return [
        {
            "name": "If-Match",
            "in": "header",
            "schema": _TEXT,
            "description": "the ETag of what was looked at: 412 if it has changed since",
        },
        {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {**_TEXT, "minLength": 1, "maxLength": 255},
            "description": "the same request, sent again with the same key, gets the same answer",
        },
    ]


def _waiting(seconds: float) -> dict[str, Any]:
    schema = {"type": "number", "minimum": 0, "maximum": 60, "default": seconds}
    return _query("wait", schema, "seconds to wait for the end before 202")


def _query(name: str, schema: dict[str, Any], what: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": what}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(of: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "array", "items": of or {"type": "object"}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties} if properties else {"type": "object"}
