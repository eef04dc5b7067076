"""What went wrong, as `application/problem+json`: https://www.rfc-editor.org/rfc/rfc9457."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from hotswap.admin.bodies import JsonResponse
from hotswap.errors import (
    BusyError,
    CheckFailedError,
    HotswapError,
    NothingToRollBackError,
    RehearsalError,
    StateError,
    StoreError,
    UnsupportedChangeError,
)
from hotswap.outline import changes_of
from hotswap.verification import Report

__all__ = ["ProblemError", "ProblemResponse", "problem_of"]

_TYPE = "urn:hotswap:problem:"


class ProblemError(HotswapError):
    """A request that can't be answered as it was meant.

    Arguments:
        status: of the response.
        code: a word for programs; the type of the problem ends with it.
        detail: a sentence for people.
        headers: of the response.
        more: further members; an error of hotswap may bring a `code` of its own.
    """

    def __init__(
        self, status: int, code: str, detail: str, /, *, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(detail, code=code)
        self.status, self.headers = status, dict(headers or {})
        self.body: dict[str, Any] = {
            "type": _TYPE + code,
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            **more,
        }


class ProblemResponse(JsonResponse):
    """A problem as it is sent."""

    media_type = "application/problem+json"

    def __init__(self, problem: ProblemError) -> None:
        super().__init__(problem.body, problem.status, problem.headers)


def problem_of(error: BaseException) -> ProblemError:
    """Return what is said of an error of hotswap; of others nothing is said but that there was one.

    409 is for what another moment may allow, 422 for what this patch will never get, 503 for a store that can't be
    written.
    """
    if isinstance(error, ProblemError):
        return error
    if not isinstance(error, HotswapError):
        return ProblemError(
            500, "internal-error", f"an error inside: {type(error).__name__}; the log of the service has it"
        )
    code = "".join("-" + letter.lower() if letter.isupper() else letter for letter in type(error).__name__)
    code = code.strip("-").removesuffix("-error")
    more: dict[str, Any] = {}
    if error.code:
        more["code"] = error.code
    if error.advice:
        more["advice"] = error.advice
    if isinstance(error, CheckFailedError) and isinstance(error.report, Report):
        more["failed_checks"] = [
            {"name": one.name, "verdict": str(one.verdict), "message": one.message, "detail": one.detail}
            for one in error.report.failures
        ]
    if isinstance(error, UnsupportedChangeError):
        more["changes"] = changes_of(error.changes)
    if isinstance(error, RehearsalError):
        more |= {"step": error.step, "signal": error.signal, "stack": error.stack}
    if isinstance(error, (BusyError, StateError, NothingToRollBackError)):
        status = 409
    else:
        status = 503 if isinstance(error, StoreError) else 422
    return ProblemError(status, code, error.reason, **more)
