"""Forks: where old and new are both reachable while old calls are in flight, and the caller decides which one it gets.

A class stays the class, and a function object that somebody holds leads to the new code. An old call that is under way
still has to get its own generation's: methods through `self`, properties, constructors, class attributes, and functions
that it holds in a local. So while old calls are in flight, a changed attribute of a class is a descriptor, and the code
of an old function asks, too, and so does that of the new one to which names and registries lead. `ways` has the rule.

Guarantees: where no old call or session is in flight at the commit, no fork is ever installed. A fork of one attribute
knows every generation that has something in flight, so that swaps may follow each other quickly. When the last call of
the last of them has ended, the attribute is plain again, and calls run at their own speed. Everybody else gets the new
one, at the price of a frame more while it stands.

Assumes: the nearest Python frame is the caller. Where a library stands between (a wrapper of `functools` in Python,
say), its frame is nobody's, and gets the new one. Asking for the frame is safe with the GIL and on free-threaded
builds; that installing forks and making the swap are one step is so only with the GIL (see `plan`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import CellType, CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from hotswap import walk
from hotswap.clock import HAS_THREADS
from hotswap.periods import Keeper, Turn
from hotswap.swap.adrift import Stray
from hotswap.swap.doubles import stand_in
from hotswap.swap.forked_attributes import asking, behind, cloned, is_forked, passed
from hotswap.swap.forwarding import code_of, forwarder, ways_of
from hotswap.swap.fronts import Front, fork_fronts, function_front, lead_fronts
from hotswap.swap.given import Given, Led
from hotswap.swap.installing import fork_attribute, fork_function
from hotswap.swap.junctions import Junction
from hotswap.swap.kin import nested_copy
from hotswap.swap.lending import lent, let_go
from hotswap.swap.narrowing import is_spelled, overrides
from hotswap.swap.order import Beside, Op
from hotswap.swap.probing import InFlight
from hotswap.swap.releasing import settle
from hotswap.swap.several import concerns, filled, has_come_back, is_apart, meet, of_earlier, together, unclaimed
from hotswap.swap.sharing import Running, Shared
from hotswap.swap.signatures import show, take_down
from hotswap.swap.ways import Changed, CodeWays, PrivateWays, Ways
from hotswap.swap.wrappers import part, wrapper_copies
from hotswap.swap.writes import gil_enabled

if TYPE_CHECKING:
    from hotswap.swap.settling import Settling

__all__ = ["Forks"]

_SET, _DELETE = type.__setattr__, type.__delattr__
_NUMBER: Any = vars(Junction)["number"]
_LIVE: Any = vars(Junction)["live"]
_CODE: Any = vars(FunctionType)["__code__"]
_SET_CELL: Any = CellType.__dict__["cell_contents"].__set__


OldWays = list[tuple[Junction, Any]]
"""What old generations get."""


class Forks:
    """The forks of one swap, in one direction. Lives until the calls that it serves have drained.

    Arguments:
        junction: the generation that goes.
        running: tells whether a call of it is in flight, or a session open.
        settling: has made what its code gets.
        given: what the swap changes.
        shared: tells of the calls of modules that stay.
        coming: the generation that comes, if it has been live before.
    """

    def __init__(
        self,
        junction: Junction,
        running: InFlight,
        settling: Settling,
        given: Given,
        shared: Shared | None = None,
        coming: Junction | None = None,
    ) -> None:
        self.junction, self._coming = junction, coming
        assert settling.cloning is not None, "the clones are made when the swap is prepared"
        self._cloning = settling.cloning
        self._names, self._world = settling.names, settling.world
        self._running: InFlight | None = running
        self._given: Given | None = given
        self._shared = shared
        self._in_place, self._stayed = dict[int, FunctionType](), Running([], [])
        self._begun, self._strays, self._codes = list[Stray](), list[Stray](), list[CodeType]()
        self._turn: Turn | None = None
        self._held, self.fronts = list[Any](), settling.fronts
        self._originals, self._aliases = dict[int, FunctionType](), dict[int, list[str]]()
        self._renewed, self._leads = dict[int, CodeType](), dict[int, OldWays]()
        self._ways = dict[int, dict[int, Any]]()  # id of an old generation -> id of what newer ones get -> what it gets

    def turn(self, turn: Turn) -> tuple[list[Op], list[Op]]:
        """Note the period that ends, and the one that begins. Returns the writes that turn the forks, and their undo.

        Where the generation that comes was armed, its forks stand already: the first store makes it live by them. Where
        it comes back, calls of it that have been in flight since it went are nobody's old calls from the second on. Not
        a moment before: until then what they ask for is that of the other.
        """
        self._turn = turn
        self.junction.goes_after(turn.old.keeper)
        junction, coming = self.junction, self._coming
        ops: list[Op] = [(_NUMBER.__set__, junction, turn.new.number)]
        undo: list[Op] = [(_NUMBER.__set__, junction, junction.number)]
        if coming is not None:
            ops.append((_LIVE.__set__, coming, True))
            undo.append((_LIVE.__set__, coming, coming.live))
        return ops, undo

    @property
    def awaited(self) -> list[Keeper | CodeType]:
        """What dies with the sessions of the period that ends, and with the calls of modules that stay.

        To be asked for before they have `landed`.
        """
        assert self._turn is not None, "the writes were made"
        return [self._turn.old.keeper, *self._codes]

    @property
    def nested(self) -> list[CodeType]:
        """The nested code, of earlier generations, that generators and coroutines of this one run."""
        return [code for code, body, _ in self._strays if type(body) is CodeType]

    def needed(self) -> bool:
        """Whether a call or a session is in flight, or forks stand that serve earlier generations."""
        if not HAS_THREADS or self._given is None:
            return False  # forks are taken away in a thread; where there is none, suspended calls do without
        meet(self.junction, self._world.modules, self._changed, {} if self._shared is None else self._shared.modules)
        if self._shared is not None and self.junction.spaces:  # otherwise nothing goes that they could be on
            self._stayed = self._shared.running() if gil_enabled() else Running([], [])
            self._begun = unclaimed(self.junction, self._shared.begun())
        self._strays = unclaimed(self.junction, self._given.strays())
        standing = bool(walk.forked) and any(id(one.cls) in walk.forked for one in self._attributes())
        standing = standing or concerns(self.junction, self._given.nested[0].modules)
        return standing or bool(self._stayed.calls or self._begun or self._strays) or bool(self._running)

    @property
    def _changed(self) -> frozenset[str]:
        """The names of the modules that go, and of those that come."""
        assert self._given is not None, "the swap is being made"
        return frozenset((*self._world.modules, *self._given.nested[1].modules))

    def probe(self) -> Iterator[bool]:
        """Return an iterator of C functions that gives for each function whether a call of it is in flight."""
        return iter(()) if self._running is None or not HAS_THREADS else self._running.probe()

    def ops(self) -> Beside:
        """Return the writes that install the forks, in the place of those of the swap."""
        assert self._given is not None, "the swap is being made"
        parted = part(self.junction, *self._given.nested)
        led = list(self._given.functions())
        if self._shared is not None:
            self.junction.staying = self._shared.spaces
            paired = {id(one.was) for one in led}
            parted += wrapper_copies(self._shared.modules, self.junction.spaces, paired, self._held)
        self.junction.same, self.junction.changed = self._given.same(), self._changed
        self._world.keeps = self.junction.keeps
        for stray in self._strays:
            self.junction.stray(stray.code, stray.facts)
            self._world.lend(stray.facts)
        self.junction.tell_apart()
        if self._coming is not None:
            self.junction.leave_alone(self._coming)
        self._originals = {id(clone): original for original, clone in self._cloning.functions}
        for one in sorted(led, key=lambda one: one.function is not one.was):
            known = self._leads.setdefault(id(one.was), [])
            seen = {id(junction) for junction, _ in known}
            known += [way for way in self._before(ways_of(one.function.__code__)) if id(way[0]) not in seen]
        for _, name, clone in self._names:
            self._aliases.setdefault(id(clone), []).append(name)
        self.junction.copied((code_of(function), clone.__code__) for function, clone in self._cloning.functions)
        renewed = self._copies()
        functions = [*self._fork_functions(led)]  # first: the attributes lead to what runs in their place
        attributes = [*self._fork_attributes(self._attributes())]
        names = [*fork_fronts(self.junction, self._wrapped), *self._fork_names(led)]
        return Beside([*parted, *renewed, *functions, *attributes], names)

    def standing(self) -> tuple[list[Op], list[Op]]:
        """Return the writes that lead on forks, and what runs in the place of functions with forks, and their undo.

        A thread may have got from a fork what it is about to call. It must not run what goes, unseen, after the swap.
        """
        there: list[Op] = []
        back: list[Op] = []
        assert self._given is not None, "the swap is being made"
        led = list(self._given.functions())
        attributes = list(self._attributes()) if walk.forked else []
        for write, undo in asking({id(one.function) for one in led}, attributes):
            there.append(write)
            back.append(undo)
        for function, _, successor, shown, *_ in led:
            ways = ways_of(function.__code__)
            if ways is not None:
                back.append((_CODE.__set__, function, function.__code__))
                own = ways.own
                if own is not None:
                    there.append((_CODE.__set__, own, forwarder(own, successor, shown)))
                    back.append((_CODE.__set__, own, own.__code__))
        fronts = lead_fronts(self._wrapped, self._given.successor)
        for on, off in (fronts, *(passed(one.cls, one.name, one.will) for one in attributes)):
            there += on
            back += off
        return there, back

    @property
    def _wrapped(self) -> dict[int, Any]:
        """The caches and partial objects of what goes: id -> what its code gets. Nothing has been written yet."""
        clones = {id(value): clone for value, clone in self._cloning.wrapped}
        # One that both versions have stands there since the swap: the clone was made of its twin.
        held = ((facts.get(name), clone) for facts, name, clone in self._names)
        return clones | {id(value): clone for value, clone in held if type(value) is type(clone)}

    def _copies(self) -> list[Op]:
        """Have what is called from now on in modules that stay be told from what has begun before."""
        calls = [Stray(code, function, function.__globals__) for code, function in self._stayed.calls]
        calls = unclaimed(self.junction, calls)
        self._codes = [stray.code for stray in (*calls, *self._begun)]
        for code, body, _ in (*calls, *self._begun):
            for one in walk.codes_in(code) if type(body) is FunctionType else ():
                self.junction.share(one, body)
        self._held += [one.__code__ for one in self._stayed.renewed]
        return self._stayed.copies()

    def _attributes(self) -> Iterable[Changed]:
        assert self._given is not None, "the swap is being made"
        return (*self._given.attributes(), *self._given.members())

    def _fork_attributes(self, changed: Iterable[Changed]) -> Iterator[Op]:
        for cls, name, was, will in changed:
            if not is_forked(cls, name, was, will):
                continue
            standing = walk.class_space(cls).get(name)
            before = behind(was, standing, self.junction)
            self._held.append(standing)  # nothing may die within the one C call
            of, asked = walk.class_name(cls).rpartition(".")[2], overrides(cls, name)
            old = self._filled(cloned(was, self._cloning), before, of, name, is_asked=asked)
            if not old:
                continue
            ways = Ways(old, cloned(will, self), will)
            yield fork_attribute(cls, name, ways)

    def _before(self, standing: Ways | None) -> OldWays:
        """The generations before this one that somebody may be on."""
        known = [] if standing is None else standing.lasting
        return [(junction, value) for junction, value in known if junction is not self.junction]

    def _filled(
        self, value: Any, before: OldWays, cls: str, *names: str, is_asked: bool = False, is_around: bool = False
    ) -> OldWays:
        """The ways to this generation and older ones, those too that no fork of this has known.

        Arguments:
            value: what this one gets.
            before: the ways of others that forks know.
            cls: the name of the class that it is of, if it is of one.
            names: its own.
            is_asked: whether another package asks for it, by an object.
            is_around: whether it is a cache or a partial object.
        """

        def lend(junction: Junction, following: tuple[Junction, Any]) -> Any:
            return lent(junction, following[1], self.junction, self._originals, self._ways.get(id(junction), {}))

        def wanted(junction: Junction) -> bool:
            return any(is_spelled(junction, name, cls, is_asked=is_asked) for name in names)

        if has_come_back(self.junction, value):
            return of_earlier(self.junction, value, before)
        return filled((self.junction, value), before, lend, wanted, is_around=is_around)

    def _filled_function(self, clone: FunctionType, before: OldWays) -> OldWays:
        cls = clone.__qualname__.rpartition(".")[0].rpartition(".")[2]
        return self._filled(clone, before, cls, clone.__name__, *self._aliases.get(id(clone), ()))

    def _fork_functions(self, led: Iterable[Led]) -> Iterator[Op]:
        for function, was, successor, shown, own, outside, is_cached in led:
            clone = self._cloning.clone(was)
            if clone is was:
                continue
            self._originals.setdefault(id(clone), was)
            is_cached = is_cached and not is_apart(clone, successor, shown, outside)
            standing = ways_of(function.__code__)
            # Who has come to it may be of any generation that others still know which lead to the same.
            before = together([(self.junction, clone), *self._before(standing)], self._leads[id(was)])[1:]
            old = self._filled_function(clone, before)
            if not old:
                continue
            for place, (junction, value) in enumerate(old[1:], 1):
                self._ways.setdefault(id(junction), {}).update((id(newer), value) for _, newer in old[:place])
            if (
                id(successor) not in self._in_place
                and not is_cached
                and own is not None
                and type(successor) is FunctionType
            ):
                # Whoever takes it from a registry, or by its name, may have something old in flight, too.
                if id(own) in self.junction.shared or id(own) in self.junction.strays:
                    # A decorator's code, in which calls of others have begun before, or were handed over to what goes.
                    own = self._renewed.setdefault(id(own), nested_copy(own))
                made = self._in_place[id(successor)] = stand_in(successor, own, outside)
                ways = Ways(together(old, self._before(ways_of(successor.__code__))), made, None, made)
                yield from fork_function(successor, ways, own, then=outside)
            # Not what stands in for it: the successor itself may be led elsewhere while the next one is armed.
            ways = (CodeWays if is_cached else Ways)(old, successor, successor)
            if type(standing) is PrivateWays:
                ways = standing.moved(old, successor, successor)
            yield from fork_function(function, ways, shown, then=outside)
            if standing is not None and standing.own is not None:
                # A call in flight may be about to call what has run in the place of the function.
                inside = outside and {**outside, "__dict__": standing.own.__dict__}
                yield from fork_function(standing.own, ways, shown, then=inside)

    def clone(self, value: Any) -> Any:
        """Return what runs in the place of a new function."""
        return self._in_place.get(id(value), value)

    def _fork_names(self, led: Iterable[Led]) -> Iterator[Op]:
        """Have old code that has a new session, or is handed over, get the new by the names of its own module."""
        assert self._given is not None, "the swap is being made"
        leads = {id(self._cloning.clone(one.was)): one.successor for one in led}
        # Calls of other generations may run there, too: those that have been handed over to them.
        clones = [(self._cloning.clone(one.was), one.was) for one in led if one.function is one.was]
        before = {id(clone): self._filled_function(clone, self._leads[id(was)])[1:] for clone, was in clones}
        wrapped = {id(clone): value for value, clone in self._cloning.wrapped}
        for facts, name, clone in self._names:
            aim, value = leads.get(id(clone)), wrapped.get(id(clone))
            if value is not None:
                held = facts.get(name)
                aim = self._given.successor(held if type(held) is type(value) else value)
                before[id(clone)] = self._filled(clone, [], "", *self._aliases[id(clone)], is_around=True)[1:]
            if aim is not None:
                yield (dict.__setitem__, facts, name, self._front(clone, aim, before.get(id(clone), [])))
        # So has the code of decorators' wrappers, by its cells.
        for cell, _, clone, _ in self._cloning.cells:
            aim = leads.get(id(clone))
            held = clone if aim is None else self._front(clone, aim, before.get(id(clone), []))
            yield (_SET_CELL, cell, held)

    def _front(self, clone: Any, aim: Any, before: OldWays) -> Any:
        known = self.fronts.get(id(clone))
        if known is not None:
            return known[1]
        ways = PrivateWays(self.junction, clone, aim, before)
        front: Any = Front(ways)
        if type(clone) is FunctionType:
            front = function_front(clone, ways)
            for write, *arguments in show(front, ways, clone.__code__):
                write(*arguments)
        for junction, _ in before:
            (junction.fork if type(clone) is FunctionType else junction.front)(front)
        self.fronts[id(clone)] = clone, front
        return front

    @property
    def stand(self) -> bool:
        """Whether forks were installed."""
        return bool(self.junction.attributes or self.junction.functions or self.junction.fronts)

    def landed(self) -> None:
        """Let go of the code and of the period: somebody waits for their death."""
        if self.stand:
            Junction.in_flight.add(self.junction)
        else:
            self.junction.nested = None
        self._running = self._given = self._turn = None
        self._held.clear()
        self._codes.clear()
        self._in_place = {}
        self._stayed = Running([], [])
        self._begun, self._strays, self._originals, self._aliases, self._renewed = [], [], {}, {}, {}
        self._leads, self._ways = {}, {}
        let_go()
        # Of what was armed before, or if the writes were taken back; and of the functions that have gone since, where a
        # call goes on for hours.
        ours = (one for one in list(Junction.in_flight) if one.packages == self.junction.packages)
        for one in {self.junction, *ours}:
            take_down(one)

    def failed(self) -> None:
        """Note that the writes were taken back: no fork of this generation stands, unless those of before it."""
        if not self.junction.armed:
            settle(self.junction)
            self.junction.over = False  # somebody may try once more

    def settle(self) -> None:
        """Take away what serves nobody any more: the calls of this generation have ended.

        Nobody may make a swap meanwhile. What the calls of another generation still need stays.
        """
        settle(self.junction)
