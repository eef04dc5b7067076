"""Who may do what: a request is let in by a function of the application, or by tokens."""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from starlette.requests import Request

from hotswap.admin.problems import ProblemError

__all__ = ["Access", "Authorize", "Right", "Tokens", "check_right", "known"]

Right: TypeAlias = Literal["read", "write"]

_SHORTEST = 16
"""Characters of a token; one of random letters and digits then has 80 bits and more."""


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do.

    Arguments:
        who: a name for the history and the audit log: an account, a pipeline.
        read: whether he may see what is live, rollouts, the history and events.
        write: whether he may upload, commit, confirm, roll back and abort. It includes nothing: give both.

    Raises ValueError without a name.
    """

    who: str
    read: bool = True
    write: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.who, str) or not self.who.strip():
            raise ValueError("who: a name is needed, the history has it")


Authorize: TypeAlias = Callable[[Request], "Access | Awaitable[Access | None] | None"]
"""Gets a request, and says what whoever sends it may do; None: nothing, since it is not known who he is."""


class Tokens:
    """Lets in who sends `Authorization: Bearer TOKEN`. Lives as long as the app.

    Each token is compared with all that there are, in a time that does not depend on how much of one is right.

    Arguments:
        tokens: token → what it gives.

    Raises ValueError for a token of less than 16 characters, or one that no header can have.
    """

    def __init__(self, tokens: Mapping[str, Access]) -> None:
        for token, access in tokens.items():
            if not isinstance(access, Access):
                raise TypeError(f"a token gives an Access, not a {type(access).__qualname__}")
            if len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
                raise ValueError(
                    f"the token of {access.who} needs at least {_SHORTEST} ASCII characters, and no spaces: "
                    "secrets.token_urlsafe() makes one"
                )
        self._tokens = [(token.encode(), access) for token, access in tokens.items()]

    def __repr__(self) -> str:
        return f"<Tokens of {', '.join(access.who for _, access in self._tokens) or 'nobody'}>"

    def __call__(self, request: Request) -> Access | None:
        """Return what the token of a request gives; None for a wrong one, or none."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        sent, found = given.strip().encode(), None
        for token, access in self._tokens:
            if hmac.compare_digest(token, sent):
                found = access
        return found if scheme.lower() == "bearer" else None


async def known(request: Request, authorize: Authorize | None) -> Access:
    """Return who sends a request, and what he may.

    Arguments:
        request: what was sent.
        authorize: who may do what; None: everybody may read, and nobody may write.

    Raises ProblemError, 401, if nobody knows who he is.
    """
    if authorize is None:
        return Access("anybody")
    answer = authorize(request)
    access = await answer if inspect.isawaitable(answer) else answer
    if access is None:
        raise ProblemError(
            401,
            "not-authenticated",
            "nobody knows who asks: the credentials are missing or wrong",
            headers={"www-authenticate": 'Bearer realm="hotswap"'},
        )
    return access


def check_right(request: Request, access: Access, right: Right) -> None:
    """Raise ProblemError, 403, if somebody may not do what he asks for, or a page of somebody else has him ask."""
    if not (access.read if right == "read" else access.write):
        raise ProblemError(403, "not-authorized", f"{right}: {access.who} may not")
    # Where an application authorizes by a cookie, or the address, the browser of somebody who may would do it for
    # anyone's page. Browsers say so; programs send no such header.
    if right == "write" and _is_of_another_site(request):
        raise ProblemError(403, "cross-site", "a page of another site has sent this")


def _is_of_another_site(request: Request) -> bool:
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site not in ("none", "same-origin")
    # They say it over TLS and to this machine alone; `Origin` comes with each POST. No page can have another browser
    # send a bearer token: what has one is let through, whatever a proxy has made of `Host`.
    if origin is None or request.headers.get("authorization", "")[:7].lower() == "bearer ":
        return False
    return origin.lower().partition("://")[2] != request.headers.get("host", "").lower()
