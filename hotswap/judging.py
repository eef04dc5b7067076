"""Judging: which checks a patcher has, and what it knows of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from hotswap.patch import Patch
from hotswap.verification import Check, Inconclusiveness, Turn, name_of, named_checks

__all__ = ["Judging"]

Function = TypeVar("Function", bound=Callable[..., object])


class Judging:
    """The part of a patcher that knows its checks. Lives as long as the patcher."""

    _checks: list[Check]
    _check_timeout: float

    @overload
    def check(
        self,
        function: Function,
        *,
        timeout: float | None = None,
        name: str | None = None,
        parallel: bool | None = None,
        required: bool = True,
        inconclusive: Inconclusiveness = "reject",
    ) -> Function: ...

    @overload
    def check(
        self,
        function: None = None,
        *,
        timeout: float | None = None,
        name: str | None = None,
        parallel: bool | None = None,
        required: bool = True,
        inconclusive: Inconclusiveness = "reject",
    ) -> Callable[[Function], Function]: ...

    def check(
        self,
        function: Function | None = None,
        *,
        timeout: float | None = None,
        name: str | None = None,
        parallel: bool | None = None,
        required: bool = True,
        inconclusive: Inconclusiveness = "reject",
    ) -> Function | Callable[[Function], Function]:
        """Register a check: a sync or async callable that gets the candidate, and raises or returns False to reject.

        Arguments:
            function: the check, or one that `hotswap.checks` has made; without it this returns a decorator.
            timeout: seconds that it may take.
            name: what reports call it; its own name by default.
            parallel: whether it may run at the same time as others. Those of `hotswap.checks` know it themselves;
                others run one after the other, unless this is true.
            required: False: whatever it finds is told and does not reject the patch.
            inconclusive: whether the patch is rejected, ``"reject"``, or goes on, ``"accept"``, where the check could
                not find out.

        Raises TypeError or ValueError for a check that can't be one.
        """

        def register(check: Function) -> Function:
            title = name or name_of(check)
            limit = self._check_timeout if timeout is None else timeout
            self._checks.append(Check(title, check, limit, _turn(check, parallel), required, inconclusive))
            return check

        return register if function is None else register(function)

    def checks(self, patch: Patch) -> list[Check]:
        """Return the checks to run: the patcher's, and those that the patch's manifest names."""
        return [*self._checks, *named_checks(patch.checks, self._check_timeout)]

    def unregistered(self, functions: Iterable[Callable[..., object]]) -> list[Check]:
        """Return checks as `check` would register them if it is told nothing else."""
        return [Check(name_of(one), one, self._check_timeout, _turn(one, None)) for one in functions]


def _turn(check: Any, parallel: bool | None) -> Turn:
    if parallel is None:
        turn = getattr(check, "turn", None)
        return turn if isinstance(turn, Turn) else Turn.SERIAL
    return Turn.PARALLEL if parallel else Turn.SERIAL
