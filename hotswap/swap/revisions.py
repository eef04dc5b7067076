"""Revisions: entries of kept registries that the new version's import makes otherwise than the old one's did.

What both versions put into a registry keeps its living value, since the program may have changed it: a counter, a limit
that an operator has set. But where what fills the registry says another value now (``limit("b", 2)`` became
``limit("b", 3)``; an `__init_subclass__` notes something else), and the living entry is what the old version said, the
definition has changed, and the new entry wins. Nobody has noted what the old import made; so the sources are compared
as words, the constants and names in what fills the registry: a value counts as the old version's if the old words have
it and the new ones have not. What can't be told so stays, and the plan names it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from functools import cached_property
from types import ModuleType
from typing import Any

from hotswap import walk
from hotswap.effects import Authorship
from hotswap.generation import Candidate, Live, authorships
from hotswap.patch import Place, Text, Word, decode, told
from hotswap.swap.keys import entries
from hotswap.swap.pairs import ClassPair
from hotswap.swap.state import UNIQUE_NEVER

__all__ = ["Revisions", "Verdict", "identities"]

_NAMED = 8
"""How many keys a warning names."""

_PARTS = 64
"""An entry with more parts is data that somebody computes."""


_OBJECT: type = object
"""Stands for the type of what is told by its identity."""


class Verdict(enum.Enum):
    """What becomes of an entry that both versions have."""

    STAYS = "it is the same, or was changed at run time"
    REVISED = "it is what the old version said, and the new one says another"
    UNKNOWN = "it can't be told whether it was changed at run time"


class Revisions:
    """What registries hold that the two versions say otherwise. Lives as long as the swap can be taken back.

    Arguments:
        live: the managed modules as they run.
        candidate: what is to take their place.
        old: the modules that it takes the place of.
        names: the names of each that keep their object.
        classes: the classes that stay, each with its twin.
    """

    def __init__(
        self,
        live: Live,
        candidate: Candidate,
        old: Mapping[str, ModuleType],
        names: Mapping[str, Iterable[str]],
        classes: Iterable[ClassPair],
    ) -> None:
        self._live, self._candidate, self._old = live, candidate, old
        self._names, self._classes = names, list(classes)
        self._changed: dict[str, bool] = {}
        self.warnings: list[str] = []
        """Of entries of which it can't be told whether they were changed at run time."""

    def forget(self) -> None:
        """Let go of what was read: the writes are known once they were made."""
        for name in ("_texts", "_imports"):
            self.__dict__.pop(name, None)

    def warn(self, place: Place, keys: list[Any]) -> None:
        """Say that entries keep their living value, or elements stay out."""
        named = list(map(told, keys[:_NAMED]))
        more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
        self.warnings.append(
            f"{place.text} keeps what it has for {', '.join(named)}{more}: the new version registers something else, "
            "but it can't be told whether the program has changed what the old one registered"
        )

    @cached_property
    def places(self) -> dict[int, Place]:
        """Ids of kept objects -> where they are."""
        found: dict[int, Place] = {}
        for module, names in self._names.items():
            for name in names:
                value = self._old[module].__dict__.get(name)
                found.setdefault(id(value), Place(f"{module}:{name}", name))
        for pair in self._classes:
            for name, value in walk.class_items(pair.old):
                found.setdefault(id(value), Place(f"{pair.key}.{name}", name))
        kept = self._candidate.patch.keep  # with what is in it
        return {key: place for key, place in found.items() if place.text not in kept}

    @cached_property
    def _texts(self) -> tuple[Text, Text]:
        candidate, units = self._candidate, self._candidate.units
        texts = {name: decode(source.data) for name, source in candidate.patch.sources.items()}
        old = {entry.name: entry.source for entry in self._live if entry.source is not None}
        new = {name: texts.get(name, text) for name, text in old.items() if name not in candidate.removed}
        # Of a module whose old source is not known, none is taken: what it says would all seem new.
        known = {entry.name for entry in self._live}
        new.update((name, text) for name, text in texts.items() if name in candidate.modules and name not in known)
        return Text(old.values(), units), Text(new.values(), units)

    def concern(self, place: Place) -> bool:
        """Whether anything of what fills a registry has changed. The first time for a name, sources are read."""
        if place.name not in self._changed:
            old, new = (text.reaching(place.name).units for text in self._texts)
            # Modules whose text did not change have the same units.
            before, after = (
                sorted(unit.dump for unit in one if unit not in other) for one, other in ((old, new), (new, old))
            )
            self._changed[place.name] = before != after
        return self._changed[place.name]

    def judge(self, place: Place, living: Any, twin: Any) -> Verdict:
        """Say what becomes of an entry that both versions have.

        Arguments:
            place: where it is, with its key.
            living: it, with the successors of old functions in it.
            twin: what the candidate's import has made, with the living objects for twins in it.
        """
        leaves = _leaves(living), _leaves(twin)
        if leaves[0] is None or leaves[1] is None or leaves[0] == leaves[1]:
            return Verdict.STAYS
        if place.put:
            return self._judge_put(place, living, twin)
        before, after = ({leaf for leaf in one or () if _is_plain(leaf)} for one in leaves)
        held = [{leaf for leaf in one or () if not _is_plain(leaf)} for one in leaves]
        if held[0] != held[1] or (place.attribute and not held[0]) or not self.concern(place):
            return Verdict.STAYS
        gone, come = before - after, after - before
        # It is told by the very statement or function that says the one in the old version and the other in the new.
        old, new = ([text.places_of(word, place) for word in (*gone, *come)] for text in self._texts)
        ours = [*old[: len(gone)], *new[len(gone) :]]
        if not any((*new[: len(gone)], *old[len(gone) :])) and ours and set.intersection(*ours):
            return Verdict.REVISED
        # What the old version says too was there before, and so the living entry was changed since.
        return Verdict.STAYS if all(old[len(gone) :]) else Verdict.UNKNOWN

    def _judge_put(self, place: Place, living: Any, twin: Any) -> Verdict:
        """Say what becomes of what stands where the candidate's import has put something.

        If the same statement has put it there before, what differs since was changed at run time. So it was if the old
        version said another value than the living one. A statement that is new wins.
        """
        key, (old, new) = place.keys[-1], self._imports
        before = old.speaking(place, key)
        if new.speaking(place, key) <= before or old.says(place, key, twin):
            return Verdict.STAYS
        return Verdict.REVISED if not before or old.says(place, key, living) else Verdict.UNKNOWN

    @cached_property
    def _imports(self) -> tuple[Authorship, Authorship]:
        return authorships(self._candidate)

    def drops(self, place: Place, value: Any) -> bool:
        """Whether an entry that the new version does not make was said by a statement of the old version alone."""
        leaves = _leaves(value)
        if place.put:
            before, after = self._imports
            spoken = after.speaking(place, place.keys[-1] if place.keys else value)
            return before.says(place, *place.keys[-1:], value) and not spoken
        if not leaves or place.attribute or not self.concern(place):
            return False
        old, new = ([text.places_of(leaf, place) for leaf in leaves] for text in self._texts)
        said = all(any(not later for _, later in where) for where in old)
        return all(map(_is_plain, leaves)) and said and not any(new)

    def adds(self, place: Place, value: Any) -> bool:
        """Whether a plain element that the living registry lacks is said by the new version alone."""
        if type(value) not in UNIQUE_NEVER or place.attribute:
            return False
        if place.put:
            return not self._imports[0].says(place, value)
        if not self.concern(place):
            return False
        old, new = (text.places_of((type(value), value), place) for text in self._texts)
        return bool(new) and not old

    def computes(self, place: Place, value: Any) -> bool:
        """Whether a plain element that the living registry lacks is said by no version: code has computed it."""
        if type(value) not in UNIQUE_NEVER or place.attribute or not self.concern(place):
            return False
        return not any(text.places_of((type(value), value), place) for text in self._texts)


def identities(value: Any) -> frozenset[int]:
    """The ids of the functions, classes and objects that an entry is made of."""
    return frozenset(key for kind, key in _leaves(value) or () if kind is _OBJECT)


def _is_plain(leaf: tuple[Any, Any]) -> bool:
    return leaf[0] is not _OBJECT


def _leaves(value: Any) -> list[Word] | None:
    """What an entry is made of: its plain values by type, anything else by identity. None if it is data."""
    found: list[Word] = []
    stack, seen = [value], 0
    while stack:
        part = stack.pop()
        kind = type(part)
        seen += 1
        if seen > _PARTS:
            return None  # as is what contains itself
        if kind in UNIQUE_NEVER:
            found.append((kind, part))
        elif issubclass(kind, tuple) or kind is frozenset:
            stack += tuple.__iter__(part) if issubclass(kind, tuple) else part
        elif kind in (dict, list, set) and len(part) <= _PARTS:
            stack += entries(part)
        else:
            # A list that is longer stands for itself, as an object does.
            found.append((_OBJECT, id(part)))
    return found
