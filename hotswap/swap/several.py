"""Several generations have something in flight at once: what each of them gets of what changes once more."""

from __future__ import annotations

from typing import Any

from hotswap.swap.ways import Junction

__all__ = ["filled", "together"]


def filled(last: tuple[Junction, Any], before: list[tuple[Junction, Any]]) -> list[tuple[Junction, Any]]:
    """The ways to old generations, the newest first: all that have something in flight.

    For one that no fork knows, the attribute is what it was for the next that came: the swap between did not change it.
    """
    known = {id(junction) for junction, _ in before}
    rest = [*before, *((junction, None) for junction in Junction.in_flight if id(junction) not in known)]
    rest.sort(key=lambda way: way[0].number, reverse=True)
    old = [last]
    for junction, value in rest:
        if junction is not last[0]:
            old.append((junction, value if id(junction) in known else old[-1][1]))
    return old


def together(old: list[tuple[Junction, Any]], more: list[tuple[Junction, Any]]) -> list[tuple[Junction, Any]]:
    """The ways to old generations, the newest first, and those of a function that comes back, which it had itself."""
    first, *rest = old
    known = {id(junction) for junction, _ in old}
    rest += [(junction, value) for junction, value in more if id(junction) not in known]
    return [first, *sorted(rest, key=lambda way: way[0].number, reverse=True)]
