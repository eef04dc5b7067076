"""A live program under random edits: what it must answer, and what somebody has taken from it in each version.

It is compared with a fresh import of the same version. What is kept by rule is put into the fresh one first, rule by
rule, so that everything else has to be equal:

- Data whose definition did not change goes on: the counters and logs here are told to the fresh program (`_tell`).
- So does an `lru_cache` object, with what it remembers; one whose definition changed is emptied (`_check_caches`).
- A name that ``import *`` took goes on where it is gone from its origin, and the plan warns of it (`_left_by_stars`).
- Instances keep their state: a fresh instance gets the state of the held one.
- A closure keeps its own variables, and stays old if the new code needs one that it lacks; the plan warns of it.
- Who holds what is gone, or what is nothing that can be called any more, keeps it: nobody asks it again.
"""

from __future__ import annotations

import gc
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher, Rollout, State, UnsupportedChangeError
from hotswap.swap.lingering import lingering
from hotswap.swap.plan import Change
from tests.fingerprint import Fingerprint
from tests.property.observing import LRU_CACHE, answers, caches_in, called, fresh, observe, of_instance
from tests.property.programs import (
    CLASSES,
    FUNCTIONS,
    MODULES,
    STATEFUL,
    Program,
    Thing,
    bases_of,
    family,
    things_of,
)
from tests.property.writing import BASE, Text, definition, sources, written

__all__ = ["Live", "running"]

MOST_HELD = 80
SETTLES_WITHIN = 20.0
"""Seconds that what an old generation left behind has to be led to new code; no call is in flight in these tests."""

BOUND = ("plain", "super", "generator", "coroutine")
"""Kinds of members that are bound to an instance."""

_LEFT = re.compile(r"^\w+\.(\w+) has imported (\w+) from \w+\.\w+, which removes it")

_serial = count(1)


@dataclass
class Held:
    """What somebody took from a version: `what` it is, of which thing, and what it answered when it was asked last."""

    name: str
    thing: Thing
    what: str
    value: Any
    state: Mapping[str, Any] | None = None
    last: Any = None
    gone: bool = False
    nameless: bool = False


class Live:
    """A running program, and everything that somebody took from it in any of its versions."""

    def __init__(self, folder: Path, program: Program) -> None:
        self.name = f"property{next(_serial)}"
        (folder / self.name).mkdir()
        (folder / self.name / "__init__.py").write_text("__version__ = '0'\n")
        for module, source in sources(program, self.name).items():
            (folder / self.name / f"{module}.py").write_text(source)
        for module in MODULES:
            __import__(f"{self.name}.{module}")
        self.patcher = Patcher([self.name])
        self.program = program
        self.texts = written(program)
        self.state: dict[str, Any] = {}
        self.left: set[tuple[str, str]] = set()
        self.held: list[Held] = []
        self.version = 0
        self.told = 0
        with fresh(program, next(_serial)) as reference:
            self._initial(reference, {})
        self.hold()

    @property
    def modules(self) -> dict[str, ModuleType]:
        return {module: sys.modules[f"{self.name}.{module}"] for module in (BASE, *MODULES)}

    def patch(self, after: Program, *, more: str = "") -> Patch | None:
        """A patch of the modules whose source differs, or None if there is none."""
        old, new = sources(self.program, self.name), sources(after, self.name)
        changed = {f"{self.name}.{m}": new[m] + more for m in MODULES if new[m] != old[m]}
        self.version += 1
        return Patch.from_sources(changed, f"{self.version}.0") if changed else None

    # --- edits ---

    def apply(self, patch: Patch, after: Program) -> bool:
        """Apply the patch that leads to `after`; return False if it was refused, as it may be by rule."""
        warm = self._warm()
        try:
            rollout = self.patcher.apply(patch)
        except UnsupportedChangeError as error:
            self._refused(error, after)
            return False
        self._settled(rollout)
        before, self.program = self.program, after
        was, self.texts = self.texts, written(after)
        self._check_caches(warm, was)
        self._left_by_stars(rollout, before)
        with fresh(after, next(_serial)) as reference:
            self._initial(reference, was)
        return True

    def there_and_back(self, patch: Patch, after: Program, *, use: bool = True) -> bool:
        """Apply a patch, use what is live then, and take it back; return False if it was refused."""
        before, texts, state, left = self.program, self.texts, dict(self.state), set(self.left)
        if not self.apply(patch, after):
            return False
        if use:
            self.use()
        present, then = self.state, self.texts
        rollout = self.patcher.current
        assert rollout is not None
        self.patcher.rollback()
        self._settled(rollout)
        self.program, self.texts, self.left = before, texts, left
        # State that the new version has kept comes back as it is now; what it had replaced comes back as it was.
        self.state = {
            name: present[name] if name in present and _same(texts, then, name) else value
            for name, value in state.items()
        }
        return True

    def use(self) -> None:
        """Let the program run on: its counters count, its logs grow."""
        self.told += 1
        for name in list(self.state):
            with suppress(TypeError):  # it has counted by then; what it uses besides may be called in a wrong way
                vars(self.modules[name[0]])[name](more=self.told)
            value = self.state[name]
            self.state[name] = value + self.told if isinstance(value, int) else [*value, self.told]

    def _settled(self, rollout: Rollout) -> None:
        assert rollout.wait_settled(SETTLES_WITHIN), "old code has not drained"
        assert rollout.settled is not None
        while any(thread.name == "hotswap-settled" for thread in threading.enumerate()):
            time.sleep(0)  # it tells of it, in a thread that the fingerprint of a process would see

    def refuses(self, after: Program) -> bool:
        """Whether some class becomes something else, or gets other bases: what these edits can be refused for."""
        both = things_of(self.program), things_of(after)
        return any(
            thing.kind in CLASSES
            and (family(thing.kind) != family(both[1][name].kind) or bases_of(both[0], name) != bases_of(both[1], name))
            for name, thing in both[0].items()
            if name in both[1]
        )

    def _refused(self, error: UnsupportedChangeError, after: Program) -> None:
        """The only refusals that these edits can meet: of a class that becomes something else, and of other bases."""
        both = things_of(self.program), things_of(after)
        for change in error.changes:
            assert isinstance(change, Change)
            was, will = (things[change.name] for things in both)
            if change.code == "bases-changed":
                targets = [[use.target for use in bases_of(things, change.name)] for things in both]
                assert targets[0] != targets[1], change
            else:
                assert change.code in ("class-replaced", "metaclass-changed"), change
                assert was.kind in CLASSES and family(was.kind) != family(will.kind), change

    # --- what is kept by rule ---

    def _initial(self, reference: Mapping[str, ModuleType], was: Mapping[str, Text]) -> None:
        """What the state of the program is now: that of before, where its definition did not change."""
        state = {}
        for name, thing in things_of(self.program).items():
            if thing.kind not in STATEFUL:
                continue
            first = vars(reference[name[0]])[f"_{name}"]
            state[name] = self.state[name] if name in self.state and _same(was, self.texts, name) else first
        self.state = state

    def _tell(self, reference: Mapping[str, ModuleType]) -> None:
        for name, value in self.state.items():
            vars(reference[name[0]])[f"_{name}"] = list(value) if isinstance(value, list) else value

    def _warm(self) -> dict[str, tuple[Any, int]]:
        """The caches that names stand for, and how much they remember."""
        found = {}
        for name in things_of(self.program):
            value = vars(self.modules[name[0]])[name]
            if type(value) is LRU_CACHE:
                found[name] = (value, value.cache_info().currsize)
        return found

    def _check_caches(self, warm: Mapping[str, tuple[Any, int]], was: Mapping[str, Text]) -> None:
        for name, (cache, size) in warm.items():
            now: Any = vars(self.modules[name[0]]).get(name)
            if name in self.texts and _same(was, self.texts, name):
                assert now is cache, f"{name} is another cache, although its definition did not change"
                assert cache.cache_info().currsize == size, f"{name} does not remember"
            elif name in self.texts and definition(was, name).text != definition(self.texts, name).text:
                assert now is not cache, f"{name} is the old cache, although its definition changed"
                if type(now) is LRU_CACHE:
                    assert cache.cache_info().currsize == now.cache_info().currsize == 0, f"{name} is not emptied"

    def _forget_results(self) -> None:
        """A cache that is kept remembers what its function answered with earlier helpers; that it does was checked."""
        found = [value for module in self.modules.values() for value in vars(module).values()]
        for value in [*found, *(held.value for held in self.held)]:
            for cache in caches_in(value):
                cache.cache_clear()

    def _left_by_stars(self, rollout: Rollout, before: Program) -> None:
        old, new = sources(before, ""), sources(self.program, "")
        self.left = {(module, name) for module, name in self.left if old[module] == new[module]}
        for warning in rollout.plan.warnings:
            found = _LEFT.match(warning)
            if found is not None:
                self.left.add((found[1], found[2]))
        for module in MODULES:  # whoever takes all of such a module takes this too
            for origin, name in list(self.left):
                if f"from .{origin} import *" in new[module]:
                    self.left.add((module, name))

    # --- comparing ---

    def check(self) -> None:
        """Assert that the program answers like a fresh one, by its modules and by what is held."""
        self._forget_results()
        with fresh(self.program, next(_serial)) as reference:
            self._tell(reference)
            wanted, seen = observe(reference), observe(self.modules)
            for module, name in self.left:
                key = f"{module}.{'package' if name == self.name else name}"
                if key not in wanted:
                    seen.pop(key, None)
            assert seen == wanted
            self.held = [held for held in self.held if self._check_held(held, reference)]
        assert sum(record.state is State.LIVE for record in self.patcher.history()) <= 1
        for module, found in self.modules.items():
            assert getattr(sys.modules[self.name], module) is found

    def _check_held(self, held: Held, reference: Mapping[str, ModuleType]) -> bool:
        """Assert that a held thing answers like a fresh one; return False if it is not followed any more."""
        thing = things_of(self.program).get(held.name)
        if thing is None or family(thing.kind) != family(held.thing.kind):
            held.gone = True
            # Whoever holds it keeps it; it is asked again when it returns, unless it leads to what has no name.
            return held.what != "closure" and not held.nameless
        live = vars(self.modules[held.name[0]])[held.name]
        found = vars(reference[held.name[0]])[held.name]
        where = f"{held.what} {held.name} held since it was {held.thing}"
        if held.gone and held.what == "function" and not _is_named(held.value):
            return False  # a function that was gone is known again by its name: a lambda, a wrapper has none
        if held.what == "class":
            assert held.value is live, where
        elif held.what == "instance":
            assert type(held.value) is live, where
            twin = found(7)
            vars(twin).clear()
            vars(twin).update(held.state or {})
            assert of_instance(held.value) == of_instance(twin), where
        elif held.what == "member":
            assert held.value is live.ONE, where
        elif held.what.startswith("method"):
            name = held.what.partition(" ")[2]
            member = thing.members.get(name)
            if member is None or member.kind in ("property", "attribute"):
                return False
            bound = getattr(found(7), name)
            assert _calls(held.value) == _calls(bound), where
        elif held.what == "closure":
            return self._check_closure(held, thing, found, where)
        else:
            return self._check_function(held, thing, found, where)
        return True

    def _check_function(self, held: Held, thing: Thing, found: Any, where: str) -> bool:
        held.nameless = thing.kind == "partial"
        if type(held.value) is LRU_CACHE and type(found) is not LRU_CACHE and thing.kind != "plain":
            return False  # it would give a coroutine or generator out a second time
        if type(found) is FunctionType is type(held.value):
            assert answers(held.value, held=True) == answers(found, held=True), where
        else:
            assert answers(held.value)["calls"] == answers(found)["calls"], where
        return True

    def _check_closure(self, held: Held, thing: Thing, found: Any, where: str) -> bool:
        if thing.kind != held.thing.kind:
            return False  # the function that made it is gone
        decorates = thing.kind == "decorator"
        if thing.shape != held.thing.shape and (decorates or thing.shape):
            # What its helpers have counted since, and the methods that they call, are those of today.
            assert _own(_calls(held.value)) == _own(held.last), f"{where}: it has no counterpart, and stays old"
            return False
        made = _made(found, thing)
        assert _calls(held.value) == _calls(made), where
        held.last = _calls(made)
        return True

    def hold(self) -> None:
        """Take references to what is live."""
        things = things_of(self.program)
        for name, thing in things.items():
            value = vars(self.modules[name[0]])[name]
            more: list[tuple[str, Any]] = []
            if thing.kind == "enum":
                more = [("class", value), ("member", value.ONE)]
            elif thing.kind in CLASSES:
                instance = value(7)
                more = [("class", value), ("instance", instance)]
                bound = [member for member, facts in thing.members.items() if facts.kind in BOUND]
                more += [(f"method {member}", getattr(value(7), member)) for member in bound]
            elif thing.kind in FUNCTIONS or thing.kind == "made":
                more = [("function", value)]
                if thing.kind in ("factory", "decorator"):
                    more.append(("closure", _made(value, thing)))
            for what, taken in more:
                state = dict(vars(taken)) if what == "instance" else None
                last = _calls(taken) if what == "closure" else None
                self.held.append(Held(name, thing, what, taken, state, last))
        while len(self.held) > MOST_HELD:
            del self.held[::4]  # of each age some stay

    def fingerprint(self, *, exact: bool = True) -> Fingerprint:
        made = Fingerprint(self.patcher, exact=exact)
        # The rollout before the one that is taken back can't be taken back any more: that is no part of the process.
        made.facts.pop("current rollout")
        if not exact:  # a swap empties the caches of changed functions in both directions
            made.facts = {place: fact for place, fact in made.facts.items() if not place.endswith(".cache_info")}
        return made


def _same(was: Mapping[str, Text], now: Mapping[str, Text], name: str) -> bool:
    """Whether a definition, all data that it reads, and the imports that give it what it reads are the same."""
    return name in was and name in now and definition(was, name) == definition(now, name)


def _is_named(value: Any) -> bool:
    """Whether a function says which definition of the program it is."""
    function = value.__wrapped__ if type(value) is LRU_CACHE else value
    ours = function.__globals__["__name__"].startswith("property")
    return ours and "<" not in function.__code__.co_qualname


def _made(function: Any, thing: Thing) -> Any:
    """The closure that a factory or decorator makes."""
    if thing.kind == "factory":
        return function(5)
    return function(3)(abs) if thing.shape else function(abs)


def _calls(function: Any) -> Any:
    return [called(function), called(function, 9), called(function, -9)]


def _own(calls: Any) -> Any:
    """The name and the number in what a closure answers."""
    return calls[1][:2]


@contextmanager
def running(program: Program) -> Iterator[Live]:
    """A live program, which is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        live = Live(Path(folder), program)
        try:
            yield live
        finally:
            for entry in [entry for entry in sys.modules if entry.partition(".")[0] == live.name]:
                del sys.modules[entry]
            live.held.clear()
            _end_old_generations(live.name)


def _end_old_generations(package: str) -> None:
    """Assert that nothing but a closure that is held keeps an old generation, and end it.

    A class that was kept may hold one, as a method that a decorator made.
    """
    gc.collect()
    deadline = time.monotonic() + SETTLES_WITHIN
    for one in lingering((package,)):
        while one in lingering((package,)) and not one.closures and time.monotonic() < deadline:
            time.sleep(0)  # a thread looks what it has made
        assert one.closures or one not in lingering((package,)), "an old generation goes on for nothing"
        one.end()
