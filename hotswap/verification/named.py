"""Checks that a patch brings along, by name: `shop.checks:prices_are_positive`.

A module of the managed packages is the candidate's, as the rollout will have it; any other is the process's own, and is
imported if it is not yet. That happens in the check, within its time: a name that leads nowhere is an error of the
check.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from hotswap.verification.checks import Candidate, Check

__all__ = ["named_checks"]


def named_checks(names: Sequence[str], timeout: float) -> list[Check]:
    """Return the checks that go by these names.

    Arguments:
        names: each a module and a function in it, with a colon between them.
        timeout: seconds that each may take, the import of its module included.
    """
    return [Check(name, _Named(name), timeout) for name in names]


class _Named:
    """A check that is looked up when it is called; lives as long as the rollout is judged."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, candidate: Candidate) -> object:
        place, _, function = self._name.partition(":")
        try:
            module = candidate[place]
        except KeyError:
            module = importlib.import_module(place)
        return getattr(module, function)(candidate)
