"""The admin app: rollouts over HTTP. Needs the extra `admin`; `hotswap.asgi.admin` and `hotswap.wsgi.admin` make it.

    access      who may do what
    uploads     what a request brings → a patch
    desk        work that takes longer than a request: rollouts, and what is done with them
    views       what is known of a rollout → JSON
    bodies      JSON that can always be sent
    problems    what went wrong → problem+json (RFC 9457)
    conditions  If-Match and Idempotency-Key
    stream      events as server-sent ones
    routes      the endpoints
    description OpenAPI
    page        what a browser gets
    apart       threads that are not the service's
    bridge      the same for WSGI

Nothing of it is imported by `import hotswap`.
"""

from __future__ import annotations

from hotswap.admin.access import Access, Authorize, Tokens
from hotswap.admin.routes import make_app

__all__ = ["Access", "Authorize", "Tokens", "make_app"]
