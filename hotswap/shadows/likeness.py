"""Likeness: whether what the candidate answers is what the live code has answered.

Values are compared by ``==``. Objects of classes that say nothing about equality would equal only themselves, and what
is compared here are two objects, always: so they are compared by their attributes. A float that is no number is like
another one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from hotswap import walk

if TYPE_CHECKING:
    from hotswap.shadows.calls import Outcome

__all__ = ["Likeness", "alike"]

_PLAIN = (str, bytes, int, bool, complex, type(None))


class Likeness(NamedTuple):
    """The default comparison.

    Arguments:
        ignore: the names of keys and attributes that are left out, however deep they are.
    """

    ignore: Collection[str] = ()

    def compare(self, old: Any, new: Any) -> bool:
        """Whether two answers are alike. Raises what comparing them raises."""
        return self._alike(old, new, set())

    def _alike(self, old: Any, new: Any, seen: set[tuple[int, int]]) -> bool:
        if old is new or (id(old), id(new)) in seen:
            return True
        kind = type(old)
        if kind in _PLAIN or kind is not type(new):
            return bool(old == new)
        if kind is float:
            return bool(old == new or (old != old and new != new))
        seen.add((id(old), id(new)))
        if kind is dict:
            return self._same_parts(old, new, seen)
        if kind in (list, tuple):
            return len(old) == len(new) and all(self._alike(a, b, seen) for a, b in zip(old, new, strict=True))
        if walk.inherited(kind, "__eq__") is object.__eq__ or (self.ignore and _is_made_of_attributes(kind)):
            return self._same_parts(dict(_parts(old)), dict(_parts(new)), seen)
        return bool(old == new)

    def _same_parts(self, old: dict[Any, Any], new: dict[Any, Any], seen: set[tuple[int, int]]) -> bool:
        old, new = self._left(old), self._left(new)
        return old.keys() == new.keys() and all(self._alike(value, new[key], seen) for key, value in old.items())

    def _left(self, parts: dict[Any, Any]) -> dict[Any, Any]:
        return {key: value for key, value in parts.items() if not (isinstance(key, str) and key in self.ignore)}


def _is_made_of_attributes(kind: type) -> bool:
    """Whether there is nothing to an object but its attributes: it is no text, number, or container as well."""
    return not any(map(walk.is_written_in_c, walk.mro(kind)[:-1]))


def _parts(o: Any) -> Iterator[tuple[str, Any]]:
    """The attributes of an object: of its dict, and in its slots."""
    yield from (walk.instance_dict(o) or {}).items()
    for slot in walk.slot_descriptors(type(o)):
        try:
            yield slot.__name__, slot.__get__(o)
        except AttributeError:  # nothing was put there
            continue


def alike(old: Outcome, new: Outcome) -> bool:
    """Whether two calls have come to the same, by the default comparison. Raises what comparing raises."""
    if old.error is not None or new.error is not None:
        return old.error == new.error
    return Likeness().compare(old.value, new.value)
