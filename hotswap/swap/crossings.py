"""Crossings: what a swap writes beside where calls of the generation that goes are in flight, in either direction."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.swap.absent import companion
from hotswap.swap.adrift import Stray, note, strays
from hotswap.swap.arming import Arming, Held
from hotswap.swap.bodies import Bodies, equal_code, unchanged
from hotswap.swap.drain import OldWorld
from hotswap.swap.enums import Members
from hotswap.swap.fields import FieldValue
from hotswap.swap.forked_attributes import is_forked
from hotswap.swap.forks import Forks
from hotswap.swap.forwarding import code_of
from hotswap.swap.frameworks import may_fork
from hotswap.swap.given import Led
from hotswap.swap.handing import body_in
from hotswap.swap.junctions import Junction
from hotswap.swap.kin import copied, is_nested, kin
from hotswap.swap.nested import NestedCode
from hotswap.swap.pairs import Pairing
from hotswap.swap.parts import LRU_CACHE
from hotswap.swap.probing import InFlight
from hotswap.swap.settling import Settling
from hotswap.swap.sharing import Shared
from hotswap.swap.ways import Changed
from hotswap.swap.writes import Op, Writes

__all__ = ["Crossings"]

_CODE: Any = vars(FunctionType)["__code__"]


class Crossings:
    """Makes the forks of a swap. Lives as long as the swap.

    Arguments:
        pairing: which function leads to which.
        facts: the outsides of the functions.
        writes: those of the swap.
        translate: gives the living object for a twin.
        worlds: those of the generation that goes, and of the one that comes.
        alone: what has no successor in the one that comes, and no predecessor in the one that goes.
        ancestors: gives the functions of earlier generations, in a direction: (function, what it leads to, and then).
    """

    def __init__(
        self,
        pairing: Pairing,
        facts: Bodies,
        writes: Writes,
        translate: Callable[[Any], Any],
        worlds: tuple[OldWorld, OldWorld],
        alone: tuple[Iterable[Any], Iterable[Any]],
        ancestors: Callable[[bool], Iterable[tuple[FunctionType, Any, Any]]],
    ) -> None:
        self._pairing, self._facts, self._writes, self._translate = pairing, facts, writes, translate
        self._ancestors = ancestors
        self._changed: list[Changed] = []
        self._members: list[Members] = []
        self._before: dict[int, dict[str, Any]] = {}
        self.again: dict[bool, frozenset[int]] = {}
        """The ids of code that calls run since earlier times, and that is the same in both generations."""
        self._running: dict[int, CodeType] = {}
        self._gone, self._added = (
            [f for f in ones if _is_own(f, world)] for ones, world in zip(alone, worlds, strict=True)
        )
        self._flight = Writes()
        writes.include(self._flight)
        for function in (*self._gone, *self._added):
            writes.hold_code(function)
        writes.late(self._copies)
        going, coming = ([id(facts) for facts in world.namespaces()] for world in worlds)
        packages = worlds[0].packages
        self.there, self.back = Junction(going, coming, packages), Junction(coming, going, packages)
        self._shared: Shared | None = None

    def share(self, modules: Mapping[str, ModuleType]) -> None:
        """Note the modules that stay: calls of theirs may be in flight, too."""
        self._shared = Shared(modules)

    def renew(self, past: Iterable[CodeType] = (), *, forward: bool = True) -> None:
        """Begin anew with what tells the generations apart.

        Arguments:
            past: the code that calls run which have been in flight before.
            forward: whether the swap is to be made; it is to be taken back otherwise.
        """
        last = self.there if forward else self.back
        junction = Junction(last.spaces, last.others, last.packages)
        junction.follow(last)
        self.again[forward] = frozenset(id(code) for code in past if id(code) in last.same)
        self._running.clear()
        if forward:
            self.there = junction
        else:
            self.back = junction

    def run_by(self, function: Any, code: CodeType | None) -> CodeType | None:
        """Return the code that a function is to run: a copy, if it may do so several times and the code is noted.

        Arguments:
            function: the function.
            code: the code as it is noted.
        """
        if code is None or id(code) not in self._writes.copied:
            return code
        return self._running.setdefault(id(function), copied(code))

    def landed(self) -> None:
        """Let go of the code that functions run: the death of it tells that nobody runs it."""
        self._running.clear()

    def add(
        self, changed: Iterable[Changed], before: dict[str, Any], members: Members | None, stated: Container[str]
    ) -> None:
        """Note attributes that change.

        Arguments:
            changed: the attributes of one class.
            before: what the way back writes there; it is kept up to date.
            members: those of the class, if it is an enumeration.
            stated: the names that the text of its body binds in one of the versions.
        """
        self._members += [] if members is None else [members]
        ours = [one for one in changed if may_fork(one, stated)]
        beside = [companion(one) for one in ours] if all(one.name != "__bool__" for one in ours) else []
        ours += [one for one in beside if one is not None]
        self._changed += ours
        self._before.update((id(one.cls), before) for one in ours)

    def look_again(self) -> None:
        """Note what attributes of classes are now: somebody may have set them since. The swap must not stand made."""
        for place, one in enumerate(self._changed):
            was = walk.class_space(one.cls).get(one.name, walk.MISSING)
            if issubclass(type(was), walk.Fork):
                was = was.newest
            if was is walk.MISSING and type(one.was) is FieldValue:
                continue  # nobody has taken it away: it serves old code, and is written by the way back
            if is_forked(one.cls, one.name, one.was, was):  # not what makes up the class, and another object
                before = self._before[id(one.cls)]
                before[one.name] = was
                if was is walk.MISSING:
                    del before[one.name]
                self._changed[place] = one._replace(was=was)

    def attributes(self, *, forward: bool = True) -> list[Any]:
        """What classes, and modules that stay, lose when the swap is made or, with `forward` false, taken back."""
        wrappers = [old if forward else made for old, made in self._pairing.wrappers.values()]
        return [*(one.was if forward else self._translate(one.will) for one in self._changed), *wrappers]

    def _copies(self, _: bool) -> Iterator[Op]:
        """Have who holds a function that is gone go on with a copy: so its code dies with the last of its calls."""
        return ((_CODE.__set__, one, one.__code__.replace()) for one in (*self._gone, *self._added))

    @property
    def going(self) -> list[FunctionType]:
        """The functions whose calls may be in flight when the swap is made."""
        return [*(pair.old for pair in self._pairing.functions), *self._gone]

    @property
    def returning(self) -> list[FunctionType]:
        """Those whose calls may be in flight when it is taken back."""
        return [*(pair.made for pair in self._pairing.functions if self._facts.is_new(pair.made)), *self._added]

    def came_back(self, *, forward: bool) -> None:
        """Note that calls of modules that stay, which began before what is live went, are of that again.

        Arguments:
            forward: whether it came back because the swap was made again; it was taken back otherwise.
        """
        gone = self.back if forward else self.there
        for code, function in gone.sharing():
            note(Stray(code, body_in(function, code), function.__globals__))

    def clear(self) -> None:
        """Forget the swap."""
        self._changed.clear()
        self._members.clear()
        self._before.clear()
        self._shared = None
        self._gone, self._added = [], []
        self._ancestors = lambda _: ()
        self._pairing = Pairing()
        self._facts = Bodies(self._pairing, {}, ())

    def arming(self, settling: Settling, other: Settling, closures: Held) -> Arming:
        """Return what makes the candidate reachable before the commit. The arguments are those of `forward`.

        And `closures`: those that are led to it.
        """
        if self._shared is not None:
            self.there.staying = self._shared.spaces
        return Arming(self.there, _There(self, settling, other), self.returning, other.nested, closures)

    def forward(self, settling: Settling, other: Settling, *, again: bool) -> Forks:
        """Return the forks of the commit. Code is held by them until they have `landed`.

        Arguments:
            settling: of the generation that goes.
            other: of the one that comes.
            again: whether that one has been live before.
        """
        self._flight.clear()
        running = InFlight(self.going, self._flight, settling.nested)
        coming = self.back if again else None
        return Forks(self.there, running, settling, _There(self, settling, other), self._shared, coming)

    def backward(self, settling: Settling, other: Settling) -> Forks:
        """Return those of the way back."""
        self._flight.clear()
        running = InFlight(self.returning, self._flight, settling.nested)
        return Forks(self.back, running, settling, _Back(self, settling, other), self._shared, self.there)

    def cached(self) -> set[int]:
        """The ids of the functions that caches call."""
        pairs = (
            *self._pairing.caches,
            *self._pairing.successors.values(),
            *((p.old, p.new) for p in self._pairing.functions),
        )
        return {id(o.__wrapped__) for pair in pairs for o in pair if type(o) is LRU_CACHE}

    def _code(self, function: Any) -> CodeType | None:
        facts = self._facts.known(function)
        return None if facts is None else facts["__code__"]


class _There:
    """What a swap changes when it is made.

    Arguments:
        crossings: know the swap.
        settling: of the generation that goes.
        other: of the one that comes.
    """

    def __init__(self, crossings: Crossings, settling: Settling, other: Settling) -> None:
        self._of, self.nested = crossings, (settling.nested, other.nested)

    def attributes(self) -> Iterator[Changed]:
        """Attributes of classes: what they were, and what they will be."""
        return (one._replace(will=self._of._translate(one.will)) for one in self._of._changed)

    def members(self) -> Iterator[Changed]:
        """The same of enumerations, which have forks of it from the swap on, and none while it is armed."""
        return (one for members in self._of._members for one in members.changed(self._of._translate, forward=True))

    def functions(self) -> Iterator[Led]:
        """Functions that lead to successors."""
        cached = self._of.cached()
        for pair in self._of._pairing.functions:
            own = code_of(pair.new) if type(pair.new) is FunctionType else None
            if own is not None and walk.is_forwarder(own):  # it was live before, and leads to what is live now
                own = self._of.run_by(pair.new, self._of._code(pair.new))
            is_cached = id(pair.old) in cached or id(pair.made) in cached
            facts = self._of._facts.known(pair.new)
            yield Led(pair.old, pair.old, pair.new, self._of._code(pair.new), own, facts, is_cached)
        yield from self._earlier(cached, forward=True)

    def waiting(self) -> Iterator[tuple[FunctionType, Any, CodeType, Mapping[str, Any]]]:
        """Functions of the candidate that lead to what is live, since they were live before.

        Each with what it leads to, and with its own code and outside.
        """
        seen: set[int] = set()
        for pair in self._of._pairing.functions:
            made, facts = pair.made, self._of._facts.known(pair.made)
            if made is None or facts is None or id(made) in seen or not self._of._facts.is_new(made):
                continue
            seen.add(id(made))
            if walk.is_forwarder(made.__code__):
                yield made, pair.back, copied(facts["__code__"]), facts

    def _earlier(self, cached: Container[int], *, forward: bool) -> Iterator[Led]:
        for function, was, then in self._of._ancestors(forward):
            if type(was) is FunctionType:
                facts = self._of._facts.known(then)
                yield Led(function, was, then, self._of._code(then), None, facts, id(was) in cached)

    def successor(self, value: Any) -> Any:
        """What a wrapped function (a cache, a partial object) leads to: itself, if nothing takes its place."""
        return self._of._pairing.places.get(id(value), (value, value))[1]

    def same(self) -> frozenset[int]:
        """The ids of the code that goes and is the same in the generation that comes."""
        pairs = ((pair.old, pair.new) for pair in self._of._pairing.functions)
        return self._with_past(_same(pairs, self._of._facts, self.nested, self.strays()), forward=True)

    def strays(self) -> list[Stray]:
        """The code that calls of what goes run besides."""
        return [*strays([*self._going(), *(code for code, _ in self.nested[0])])]

    def _going(self) -> list[FunctionType]:
        return self._of.going

    def _with_past(self, same: frozenset[int], *, forward: bool) -> frozenset[int]:
        """Add what calls run that have been in flight before, and what functions run that come back."""
        of, own = self._of, set()
        for function in (function for pair in of._pairing.functions for function in (pair.new, pair.back)):
            code = of._code(function)
            if code is not None and id(code) in same:
                own.add(id(of.run_by(function, code)))
        return same | of.again.get(forward, frozenset()) | own


class _Back(_There):
    """What it changes when it is taken back."""

    def __init__(self, crossings: Crossings, settling: Settling, other: Settling) -> None:
        super().__init__(crossings, settling, other)
        pairs = [*crossings._pairing.places.values()]
        self._predecessors = {id(new): old for old, new in reversed(pairs)}  # what was found first counts

    def attributes(self) -> Iterator[Changed]:
        """Attributes of classes: what they were, and what they will be."""
        return (Changed(one.cls, one.name, one.will, one.was) for one in super().attributes())

    def members(self) -> Iterator[Changed]:
        """The same of enumerations."""
        return (one for members in self._of._members for one in members.changed(self._of._translate, forward=False))

    def functions(self) -> Iterator[Led]:
        """Functions that lead to successors."""
        facts, cached = self._of._facts, self._of.cached()
        seen: set[int] = set()  # a function that several lead to goes back to that which was found first
        for pair in self._of._pairing.functions:
            if facts.is_new(pair.made) and id(pair.made) not in seen:
                seen.add(id(pair.made))
                code = self._of._code(pair.back)
                own = self._of.run_by(pair.back, code)
                is_cached = id(pair.old) in cached or id(pair.made) in cached
                yield Led(pair.made, pair.made, pair.back, code, own, facts.known(pair.back), is_cached)
        yield from self._earlier(cached, forward=False)

    def successor(self, value: Any) -> Any:
        """What a wrapped function (a cache, a partial object) leads to: itself, if nothing takes its place."""
        return self._predecessors.get(id(value), value)

    def same(self) -> frozenset[int]:
        """The ids of the code that goes and is the same in the generation that comes."""
        pairs = ((pair.made, pair.back) for pair in self._of._pairing.functions if self._of._facts.is_new(pair.made))
        return self._with_past(_same(pairs, self._of._facts, self.nested, self.strays()), forward=False)

    def _going(self) -> list[FunctionType]:
        return self._of.returning


def _same(
    pairs: Iterable[tuple[Any, Any]],
    facts: Bodies,
    nested: tuple[NestedCode, NestedCode],
    besides: Iterable[Stray],
) -> frozenset[int]:
    same: set[int] = set()
    for old, new in pairs:
        if type(old) is FunctionType is type(new):
            before, after = facts.codes.get(id(old)), facts.known(new)
            if before is not None and after is not None and equal_code(before, after["__code__"]):
                same.update(map(id, (before, code_of(old), after["__code__"], code_of(new))))
    for code, _ in nested[0]:
        found = unchanged(code, *nested)
        if found is not None:
            same.update(map(id, (code, *kin(code), found, *kin(found))))
    # What runs besides is equal to the code of its body.
    same.update(id(code) for code, body, _ in besides if id(_code_of(body)) in same)
    return frozenset(same)


def _code_of(body: Any) -> CodeType:
    return body if type(body) is CodeType else code_of(body)


def _is_own(value: Any, world: OldWorld) -> bool:
    """Whether something is a function of a generation, and no closure."""
    if type(value) is not FunctionType or is_nested(value.__code__):
        return False
    return any(value.__globals__ is facts for facts in world.namespaces())
