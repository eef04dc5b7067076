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
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from types import ModuleType
from typing import Any

from hotswap import walk
from hotswap.effects import Authorship
from hotswap.generation import Candidate, Live, authorships
from hotswap.patch import Name, Place, Text, Unit, Word, decode, split, told, words_of
from hotswap.swap.leaves import is_plain, is_spelled, leaves, spelled
from hotswap.swap.pairs import ClassPair
from hotswap.swap.state import UNIQUE_NEVER

__all__ = ["Revisions", "Verdict"]

_NAMED = 8
"""How many keys a warning names."""


class Verdict(enum.Enum):
    """What becomes of an entry of a registry."""

    STAYS = "it is the same, or was changed at run time"
    REVISED = "it is what the old version said, and the new one says another, or nothing"
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
        for read in ("_texts", "_stated", "_gone_words", "_imports"):
            self.__dict__.pop(read, None)

    def warn(self, place: Place, keys: list[Any], *, departed: bool = False) -> None:
        """Say that entries keep their living value, or elements stay out.

        Arguments:
            place: that of the registry.
            keys: those of the entries.
            departed: whether the new version does not make them at all.
        """
        why = "the new version registers something else, but it can't be told whether the program has changed what the"
        if departed:
            why = "the new version does not register it, but it can't be told whether the program has changed what the"
        self._keeps(place, keys, f"{why} old one registered")

    def leave(self, place: Place, keys: list[Any]) -> None:
        """Say that entries are left alone, since the hash of their keys is computed by Python code.

        Arguments:
            place: that of the registry.
            keys: those of the entries.
        """
        why = (
            "the versions differ there, and the hash of such a key is computed by Python code, which no commit may run"
        )
        self._keeps(place, keys, why)

    def _keeps(self, place: Place, keys: list[Any], why: str) -> None:
        named = list(map(told, keys[:_NAMED]))
        more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
        self.warnings.append(f"{place.text} keeps what it has for {', '.join(named)}{more}: {why}")

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

    def stated_by_all(self) -> Iterator[tuple[str, Mapping[str, Any], list[Unit]]]:
        """Yield of each module that the patch loads the name, its names, and the statements that its import runs."""
        for name, module in self._candidate.modules.items():
            if name in self._candidate.patch.sources:
                yield name, module.__dict__, self.stated(name)

    def withdrawn(self, module: str) -> list[Unit]:
        """The statements of a module that are run when it is imported, and that no module of the patch has any more."""
        entry = self._live.get(module)
        if entry is None or entry.source is None:
            return []
        return [unit for unit in self._units(entry.source) if not unit.later and unit.dump not in self._stated]

    def stated(self, module: str) -> list[Unit]:
        """The statements of a module of the patch that are run when it is imported."""
        source = self._candidate.patch.sources.get(module)
        return [] if source is None else [unit for unit in self._units(decode(source.data)) if not unit.later]

    @cached_property
    def _gone_words(self) -> frozenset[Word]:
        """The words of all statements that are gone: what is put in by one of them has its key there."""
        modules = (*self._candidate.modules, *self._candidate.removed)
        return frozenset(word for module in modules for unit in self.withdrawn(module) for word in unit.words)

    def _units(self, text: str) -> list[Unit]:
        known = self._candidate.units
        if text not in known:
            known[text] = list(split(text))
        return known[text]

    @cached_property
    def _stated(self) -> set[str]:
        """What the modules say that the patch loads."""
        sources = self._candidate.patch.sources
        texts = [decode(sources[name].data) for name in self._candidate.modules if name in sources]
        return {unit.dump for text in texts for unit in self._units(text) if not unit.later}

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
        parts = leaves(living), leaves(twin)
        if parts[0] is None or parts[1] is None or parts[0] == parts[1]:
            return Verdict.STAYS
        if place.put:
            return self._judge_put(place, living, twin)
        before, after = ({leaf for leaf in one or () if is_plain(leaf)} for one in parts)
        held = [{leaf for leaf in one or () if not is_plain(leaf)} for one in parts]
        if held[0] != held[1]:
            return self._judge_objects(place, living, twin)
        if (place.attribute and not held[0]) or not self.concern(place):
            return Verdict.STAYS
        return self._compare(place, before - after, after - before)

    def _judge_objects(self, place: Place, living: Any, twin: Any) -> Verdict:
        """The same of entries made of other objects: a statement under the key has to say so."""
        ours, theirs = spelled(living), spelled(twin)
        if not place.keys or (ours is not None and ours == theirs):
            return Verdict.STAYS  # as most do: no source is read for them
        restated = bool(self._other_data) or words_of(place.keys[-1]) <= self._gone_words
        if not restated or not self.concern(place) or not self._is_restated(place):
            return Verdict.STAYS
        if ours is None or theirs is None:
            return Verdict.UNKNOWN
        # What only the twin has is what only the new class makes: see `supplements`.
        gone = {word for path, word in ours.items() if theirs.get(path) != word}
        come = {word for path, word in theirs.items() if ours.get(path, word) != word}
        return self._compare(place, gone, come) if gone or come else Verdict.STAYS

    def _compare(self, place: Place, gone: set[Word], come: set[Word]) -> Verdict:
        """Say whether the words that an entry has lost and got are those of the two versions."""
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

    def replaces(self, place: Place, living: Any, twin: Any) -> bool:
        """Whether a container of plain data that the import has put under a key takes the place of the living one.

        If that is not what the old version said, the program has changed it, and the two are merged.
        """
        parts = leaves(living), leaves(twin)
        if not place.put or parts[0] is None or parts[1] is None or parts[0] == parts[1]:
            return False
        if not all(map(is_plain, (*parts[0], *parts[1]))):
            return False
        key, (old, new) = place.keys[-1], self._imports
        before = old.speaking(place, key)
        return not new.speaking(place, key) <= before and (not before or old.tells(place, key, living))

    @cached_property
    def _imports(self) -> tuple[Authorship, Authorship]:
        return authorships(self._candidate)

    def drops(self, place: Place, value: Any) -> bool:
        """Whether an entry that the new version does not make was said by a statement of the old version alone."""
        if place.put and not place.attribute:
            before, after = self._imports
            spoken = after.speaking(place, place.keys[-1] if place.keys else value)
            return before.says(place, *place.keys[-1:], value) and not spoken
        member = walk.is_hashed_by_name(value)
        parts = [*words_of(value)] if member else leaves(value)
        if not parts or place.attribute or not self.concern(place):
            return False
        old, new = ([text.places_of(part, place) for part in parts] for text in self._texts)
        said = all(any(not later for _, later in where) for where in old)
        return all(map(is_plain, parts)) and said and not (all(new) if member else any(new))

    def departs(self, place: Place, value: Any) -> Verdict:
        """Say what becomes of an entry that the new version does not make, and whose definitions are all there.

        Arguments:
            place: where it is, with its key.
            value: it.

        It goes if a statement is gone that has put it in when the module was imported: one that speaks of the key, and
        says what the entry is.
        """
        if place.put:
            return Verdict.REVISED if self.drops(place, value) else Verdict.STAYS
        if place.attribute and type(place.keys[-1]) in UNIQUE_NEVER and type(value) in UNIQUE_NEVER:
            return Verdict.STAYS
        if not words_of(place.keys[-1]) <= self._gone_words or not self.concern(place):
            return Verdict.STAYS
        old = self._texts[0].stating(place)
        new = self._texts[1].stating(place)
        there = {unit.dump for unit in new}
        gone = [unit for unit in old if unit.dump not in there]
        if not gone or self._says(new, place, value):
            return Verdict.STAYS
        again = new or not words_of(place.keys[-1]).isdisjoint(self._texts[1].filling(place))
        return Verdict.UNKNOWN if again or not self._says(gone, place, value) else Verdict.REVISED

    def _says(self, units: Iterable[Unit], place: Place, value: Any) -> bool:
        """Whether statements say what an entry is: its plain values and the names in it, or how it was made."""
        names = {name for unit in units for name in unit.names} if type(value) not in UNIQUE_NEVER else ()
        if any(value is module.__dict__.get(name, self) for module in self._old.values() for name in names):
            return True
        parts = spelled(value)
        if not parts:
            return False
        called = {own for unit in units for own in (*unit.names, *unit.own)}
        said = {word for unit in units for word in unit.words}
        for word, bodies in self._texts[0].filling(place).items():
            if any(not called.isdisjoint(body.own) for body in bodies):
                said.add(word)
        if said.issuperset(parts.values()):
            return True
        # An object may have a state beside what it was made with.
        made_with = [found for unit in units if () in parts for found in unit.arguments(parts[()][1])]
        return any(found is not None and self._meant(found) <= {*parts.values()} for found in made_with)

    def _meant(self, words: Iterable[Word]) -> set[Word]:
        """The plain values that words stand for: themselves, or what modules bind to these names."""
        found: set[Word] = set()
        for word in words:
            if word[0] is not Name:
                found.add(word)
                continue
            bound = [module.__dict__[word[1]] for module in self._old.values() if word[1] in module.__dict__]
            found |= {(type(value), value) for value in bound if type(value) in UNIQUE_NEVER}
        return found

    def _is_restated(self, place: Place) -> bool:
        """Whether the statements that speak of a key have changed, or data that they name."""
        old, new = (text.stating(place) for text in self._texts)
        if {unit.dump for unit in old} != {unit.dump for unit in new}:
            return True
        return any(not unit.names.isdisjoint(self._other_data) for unit in new)

    @cached_property
    def _other_data(self) -> set[str]:
        """The names of modules that stand for data whose definition has changed."""
        candidate = self._candidate
        return {
            name.rpartition(".")[2].removesuffix("*")
            for module, loaded in candidate.modules.items()
            for name in candidate.selection.changed_names(module, candidate.definitions[module], loaded)
        }

    def adds(self, place: Place, value: Any) -> bool:
        """Whether a plain element that the living registry lacks is said by the new version alone."""
        if not is_spelled(value):
            return False
        if place.put:
            old, new = self._imports
            # What a statement says that is still there may be said by another one, too, for this registry.
            return not old.says(place, value) or old.speaking(place, value) < new.speaking(place, value)
        if place.attribute or not self.concern(place):
            return False
        before, after = (all(text.places_of(word, place) for word in words_of(value)) for text in self._texts)
        return after and not before

    def computes(self, place: Place, value: Any) -> bool:
        """Whether a plain element that the living registry lacks is said by no version: code has computed it."""
        if not is_spelled(value) or place.attribute or not self.concern(place):
            return False
        return not any(all(text.places_of(word, place) for word in words_of(value)) for text in self._texts)
