"""What went wrong, as `application/problem+json`: https://www.rfc-editor.org/rfc/rfc9457."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotswap.admin.bodies import JsonResponse
from hotswap.errors import HotswapError
from hotswap.outline import problem_body, refusal_of

__all__ = ["ProblemError", "ProblemResponse", "problem_of"]


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
        self.body: dict[str, Any] = problem_body(status, code, detail, more)


class ProblemResponse(JsonResponse):
    """A problem as it is sent."""

    media_type = "application/problem+json"

    def __init__(self, problem: ProblemError) -> None:
        super().__init__(problem.body, problem.status, problem.headers)


def problem_of(error: BaseException) -> ProblemError:
    """Return what is said of an error of hotswap; of others nothing is said but that there was one."""
    if isinstance(error, ProblemError):
        return error
    if not isinstance(error, HotswapError):
        return ProblemError(
            500, "internal-error", f"an error inside: {type(error).__name__}; the log of the service has it"
        )
    status, code, more = refusal_of(error)
    return ProblemError(status, code, error.reason, **more)
