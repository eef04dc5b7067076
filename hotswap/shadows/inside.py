"""Whether the running code is a shadow run: it runs beside a live call, and nobody gets what it answers.

Kept in a context variable: seen in the run itself, in the tasks that it starts, and by ``asyncio.to_thread``. It is not
seen in threads that it starts itself, because threads begin with an empty context. What a run leaves behind (a task,
a callback) belongs to it for as long as it lives.
"""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["enter", "is_shadow"]

_inside: ContextVar[bool] = ContextVar("hotswap.shadow", default=False)


def is_shadow() -> bool:
    """Whether the calling code is a shadow run: then it should send no mail, write no row, and charge nobody."""
    return _inside.get()


def enter() -> None:
    """Mark the present context as that of a shadow run."""
    _inside.set(True)
