"""Options: how a function is to be shadowed, as the caller wants it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from hotswap.shadows.likeness import Likeness
from hotswap.stopping import check_limit

__all__ = ["Options", "Share"]

Share = float | Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a function is shadowed; `Rollout.shadow` says what each of them means.

    Raises TypeError or ValueError for what makes no sense.
    """

    share: Share = 0.1
    copy: Callable[[Any], Any] | None = copy.deepcopy
    compare: Callable[[Any, Any], Any] | None = None
    ignore: Iterable[str | type[BaseException]] = ()
    seed: int | None = None
    timeout: float = 5.0
    workers: int = 2
    pending: int = 100
    limit: int | None = None
    names: frozenset[str] = field(init=False)
    kinds: tuple[type[BaseException], ...] = field(init=False)

    def __post_init__(self) -> None:
        if not callable(self.share):
            _number("share", self.share, float)
            if not 0 < self.share <= 1:
                raise ValueError(f"share must be more than 0 and at most 1, or a callable, not {self.share!r}")
        for what in ("copy", "compare"):
            given = getattr(self, what)
            if given is not None and not callable(given):
                raise TypeError(f"{what} must be a callable or None, not {given!r}")
        for what, least in (("workers", 1), ("pending", 1), ("limit", 0)):
            given = getattr(self, what)
            if given is not None or what != "limit":
                _number(what, given, int)
                if given < least:
                    raise ValueError(f"{what} must be {least} or more, not {given!r}")
        check_limit(self.timeout, "timeout", "a shadow run")
        if isinstance(self.ignore, str):
            raise TypeError("ignore must be several names or types of exceptions, not one text")
        ignored = tuple(self.ignore)
        kinds = tuple(one for one in ignored if isinstance(one, type) and issubclass(one, BaseException))
        names = frozenset(one for one in ignored if isinstance(one, str))
        if len(kinds) + len([one for one in ignored if isinstance(one, str)]) != len(ignored):
            raise TypeError(f"ignore must be names of fields or keys, or types of exceptions, not {ignored!r}")
        if names and self.compare is not None:
            raise ValueError("ignore names fields for the default comparison: leave them out in your own `compare`")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "kinds", kinds)

    @property
    def same(self) -> Callable[[Any, Any], Any]:
        """Says whether two answers are the same."""
        return self.compare or Likeness(self.names).compare

    def copied(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return copies of the arguments of a call. Raises what copying them raises."""
        if self.copy is copy.deepcopy:
            # In one step: what two arguments have in common, the copies have in common, too.
            copies: tuple[tuple[Any, ...], dict[str, Any]] = copy.deepcopy((args, kwargs))
            return copies
        if self.copy is None:
            return args, kwargs
        return tuple(map(self.copy, args)), {name: self.copy(value) for name, value in kwargs.items()}

    def copied_answer(self, answer: Any) -> Any:
        """Return a copy of what a call returned, which the caller may change. Raises what copying it raises."""
        return answer if self.copy is None else self.copy(answer)


def _number(what: str, given: object, kind: type) -> None:
    if isinstance(given, bool) or not isinstance(given, (int, kind)):
        raise TypeError(f"{what} must be a number, not {type(given).__qualname__}")
