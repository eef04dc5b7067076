"""What a request brings → a patch: a file as the multipart field `patch`, or the digest of one in the store.

What is uploaded goes through the policy of the patcher, if it has one, as if it had been dropped: with its signature in
the field `signature`. What is in the store went through it when it came.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from packaging.version import InvalidVersion, Version
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from hotswap.admin.apart import apart
from hotswap.admin.problems import ProblemError
from hotswap.effects import KINDS
from hotswap.errors import StoreError
from hotswap.patch import Patch
from hotswap.patcher import Patcher
from hotswap.trust import Waiting
from hotswap.watching import Gate

__all__ = ["Brought", "brought", "check_query", "flag", "limited", "text_of"]

_FILES = ("patch", "signature", "manifest")
_WORDS = ("why", "version", "undo", "rehearse", "bake", "allow_effects")
_BESIDE = {"signature": ".minisig", "manifest": ".toml"}
_SMALL = 1 << 20
"""Bytes of a signature, a manifest, a body of JSON, and of each other field."""
_LONGEST = 2000
"""Characters of a reason."""
_NAME = re.compile(r"[^/\\\0-\x1f\x7f]{1,255}")
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")


class Brought(NamedTuple):
    """What a request brings: a patch, the words that go with it, and what has to be said of it, or ""."""

    patch: Patch
    words: dict[str, Any]
    remark: str = ""


def limited(request: Request, limit: int) -> Request:
    """Return the same request, the body of which can't be read beyond a limit.

    Arguments:
        request: what was sent.
        limit: bytes.

    Raises ProblemError, 413, at once or when it is read.
    """
    refusal = ProblemError(413, "too-large", f"the body has more than {limit} bytes")
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit:
        raise refusal
    receive, seen = request.receive, 0

    async def receive_some() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise refusal
        return message

    return Request(request.scope, receive_some)


def check_query(request: Request, names: tuple[str, ...]) -> None:
    """Raise ProblemError, 400, for a parameter that a write does not have: `dryrun=true` must not go live."""
    seen = [name for name, _ in request.query_params.multi_items()]
    for name in seen:
        if name not in names:
            raise _bad(f"{name}: no such parameter; there are {', '.join(names)}")
        if seen.count(name) > 1:
            raise _bad(f"{name}: given twice")


async def brought(request: Request, patcher: Patcher) -> Brought:
    """Read what a request brings.

    Arguments:
        request: its body is limited already.
        patcher: has the store, and the policy.

    Raises ProblemError for what makes no sense, and errors of hotswap for what is no patch, or may not be one.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        words = _object(await request.body())
        digest = words.pop("digest", None)
        if not isinstance(digest, str):
            raise _bad("digest: which patch of the store, as 64 hexadecimal digits")
        try:
            patch = await apart(patcher.stored, digest)
        except StoreError as error:
            raise ProblemError(422, "store", error.reason) from None
        return Brought(patch, _checked(words))
    if kind != "multipart/form-data":
        raise ProblemError(
            415, "media-type", "multipart/form-data with a file `patch` is needed, or application/json with a `digest`"
        )
    try:
        async with request.form(max_files=len(_FILES), max_fields=len(_WORDS), max_part_size=_SMALL) as form:
            files, words = await _fields(form)
    except HTTPException as error:  # what starlette makes of a form that is none, within an application
        raise _bad(error.detail) from None
    checked = _checked(words)
    if patcher.policy is not None and "version" in checked:
        raise _bad("version: there is a policy here, which judges the version that a patch states itself")
    patch = await apart(_made, patcher, files)
    if (version := checked.get("version")) is not None:
        patch = patch.with_version(version)
    return Brought(patch, checked, _unread(patcher) if "signature" in files else "")


def _unread(patcher: Patcher) -> str:
    """Return why a signature is not looked at; "" if it is."""
    if patcher.policy is None:
        return "its signature was not checked: the patcher has no policy, Patcher(trust=...)"
    return "" if patcher.policy[0].keys else "its signature was not checked: the policy of the patcher has no keys"


async def text_of(request: Request, name: str) -> str:
    """Return a text of the JSON object that a request brings; "" without one. Raises ProblemError, 400 or 415."""
    body = await request.body()
    if not body:
        return ""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(415, "media-type", "application/json is needed, or no body")
    words = _object(body)
    if not words.keys() <= {name} or not isinstance(words.get(name, ""), str):
        raise _bad(f"{name}: a text is all that may be there")
    return cast("str", words.get(name, ""))[:_LONGEST]


async def _fields(form: FormData) -> tuple[dict[str, tuple[str, bytes]], dict[str, Any]]:
    files: dict[str, tuple[str, bytes]] = {}
    words: dict[str, Any] = {}
    for name, value in form.multi_items():
        if name in files or name in words:
            raise _bad(f"{name}: given twice")
        if isinstance(value, UploadFile):
            if name not in _FILES:
                raise _bad(f"{name}: no such file is asked for; there are {', '.join(_FILES)}")
            data = await value.read()
            if name != "patch" and len(data) > _SMALL:
                raise ProblemError(413, "too-large", f"{name}: more than {_SMALL} bytes")
            files[name] = (value.filename or "", data)
        else:
            words[name] = value
    if "patch" not in files:
        raise _bad("patch: a file is needed, a wheel or a module")
    return files, words


def _made(patcher: Patcher, files: dict[str, tuple[str, bytes]]) -> Patch:
    name, data = files["patch"]
    if _NAME.fullmatch(name) is None or name in (".", ".."):
        raise _bad("patch: the name of the file is needed, without a folder: it says which wheel or module it is")
    manifest = files.get("manifest", ("", None))[1]
    if patcher.policy is None:
        return Patch.from_bytes(data, name, manifest=manifest)
    trust, memory = patcher.policy
    with _laid_out(name, data, files) as folder:
        gate = Gate(trust, memory, patcher.running, folder)
        patch = gate.take(name, lambda _: False)
        if isinstance(patch, Waiting):  # in a watched directory it might come yet
            advice = "send its signature as the file `signature`"
            raise ProblemError(422, "trust", f"{name} is not signed", code="unsigned", advice=advice)
        gate.admit(patch)
    return patch


@contextlib.contextmanager
def _laid_out(name: str, data: bytes, files: dict[str, tuple[str, bytes]]) -> Iterator[Path]:
    """What was uploaded, as it would lie in a watched directory, where nobody else can write."""
    with tempfile.TemporaryDirectory(prefix="hotswap-upload-") as private:
        folder = Path(private)
        lying = {name: data}
        lying |= {f"{name}{end}": files[field][1] for field, end in _BESIDE.items() if field in files}
        for path, content in lying.items():
            place = folder / path
            place.touch(0o600)  # whatever the umask is: the policy looks at it
            place.write_bytes(content)
        yield folder


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > _SMALL:
        raise ProblemError(413, "too-large", f"more than {_SMALL} bytes of JSON")
    try:
        words = json.loads(body or b"{}", object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise _bad(f"the body is no JSON: {error}") from None
    if not isinstance(words, dict):
        raise _bad("the body is no JSON object")
    return words


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members; of two with one name, others may read the first and we the last."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a name is there twice")
    return made


def _checked(words: dict[str, Any]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for name, value in words.items():
        if name not in _WORDS:
            raise _bad(f"{name}: no such field; there are {', '.join(_WORDS)}")
        if name in ("undo", "rehearse"):
            checked[name] = flag(name, value)
        elif name == "bake":
            checked[name] = _seconds(value)
        elif name == "allow_effects":
            kinds = value.split(",") if isinstance(value, str) else value
            if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
                raise _bad("allow_effects: names of kinds are needed, with commas between them")
            checked[name] = tuple(kind.strip() for kind in kinds if kind.strip())
            if unknown := sorted({*checked[name]} - {*KINDS}):
                raise _bad(f"allow_effects: {', '.join(unknown)}: no such kind; there are {', '.join(sorted(KINDS))}")
        elif not isinstance(value, str):
            raise _bad(f"{name}: text is needed")
        elif name == "version":
            try:
                checked[name] = Version(value)
            except InvalidVersion:
                raise _bad(f"version: {value!r} is no version (PEP 440)") from None
        else:
            checked[name] = value[:_LONGEST]
    return checked


def flag(name: str, value: object) -> bool:
    """Return what is meant by `true`, `1`, `false`, ...; raises ProblemError, 400, for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in (*_YES, *_NO):
        return value.lower() in _YES
    raise _bad(f"{name}: true or false is needed")


def _seconds(value: object) -> float | None:
    if value in ("none", None):
        return None
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if isinstance(value, bool) or not 0 < seconds <= threading.TIMEOUT_MAX:
        raise _bad("bake: seconds are needed, more than 0, or none")
    return seconds


def _bad(detail: str) -> ProblemError:
    return ProblemError(400, "bad-request", detail)
