"""Old code keeps old code, until it has drained.

A changed old body must never meet a new helper. In the globals of the old modules, names are rebound to private
clones of the old functions, and module objects to views of the old modules, so that a call in flight goes on calling
its own generation; the original objects, which the outside holds, lead to the new code.

The clones run a copy of the code. When nothing else keeps an original code object alive, it dies with the last frame,
suspended generator or coroutine that runs it: a weak reference tells, with no polling and no heap scan.
"""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from types import CodeType, FunctionType, ModuleType
from typing import Any

from hotswap.clock import HAS_THREADS
from hotswap.generation import ImportCall, ModuleView, OldSys, Reason, World, later, worlds
from hotswap.periods import Keeper
from hotswap.swap.adrift import Stray, note, strays
from hotswap.swap.calls import CallInFlight, calls_in_flight, frame_of, is_over, suspended, unused
from hotswap.swap.forwarding import KIND_FLAGS, code_of
from hotswap.swap.kin import is_nested
from hotswap.swap.nested import NestedCode
from hotswap.swap.stacks import Stacks
from hotswap.swap.stragglers import Straggler
from hotswap.swap.variables import Variables, variables

__all__ = ["Drain", "OldWorld", "drain_of"]


class OldWorld(World):
    """What the code of an old generation imports: its own modules.

    It begins with a swap, and ends when its last call has ended and its closures were led to new code, or are gone.
    """

    def __init__(self, packages: tuple[str, ...], modules: Mapping[str, ModuleType]) -> None:
        super().__init__(packages)
        self.keys: list[int] = []
        """The ids of the globals under which this world is registered."""
        self.lent: dict[int, dict[str, Any]] = {}
        """Globals of earlier generations, of which calls were handed over to this one."""
        self.stragglers: list[tuple[Straggler, bool]] = []
        """What carries what its calls have rebound, each with whether that goes from the old generation to the new."""
        self.modules: dict[str, ModuleType] = {}
        self.reasons: list[Reason] = []
        """Why imports are wrapped, from `begin` on."""
        self.nested: NestedCode | None = None
        """The nested code of this generation, while it lingers."""
        self.views: dict[int, Any] = {}
        """Id of a module object -> what old code gets in its place."""
        self._sys = OldSys(self)
        self.views[id(sys)], self.views[id(sys.modules)] = self._sys, self._sys.modules
        self.take_in(modules)

    def take_in(self, modules: Mapping[str, ModuleType]) -> None:
        """Note that some modules are of this generation, if they are not known to be."""
        self.modules.update(modules)
        for name in modules.keys() - self.own.keys():
            facts = ModuleType.__getattribute__(modules[name], "__dict__")
            self.keys.append(id(facts))
            self.own[name] = self.views[id(modules[name])] = ModuleView(name, self, facts)
        above = {parent for name in modules for parent in _parents(name)}
        for name in above - self.own.keys():
            package = sys.modules.get(name)
            if type(package) is ModuleType and id(package) not in self.views:
                # `shop.tax.apply()` reaches the old module by way of the package
                self.views[id(package)] = ModuleView(name, self, package.__dict__)

    def begin(self) -> None:
        """Its code is about to be that of an old generation."""
        self.reasons.append(Reason())

    def lend(self, facts: dict[str, Any]) -> None:
        """Have calls that run in the globals of an earlier generation find this one: they were handed over to it."""
        key = id(facts)
        if key not in self.keys and key not in self.lent:
            self.lent[key] = facts
            later[key] = (self, *later.get(key, ()))

    def reclaim(self) -> None:
        """Undo `lend`. Never waits, and may be called again."""
        lent, self.lent = self.lent, {}
        for key in lent:
            left = tuple(world for world in later.get(key, ()) if world is not self)
            if left:
                later[key] = left
            else:
                later.pop(key, None)

    def ended(self) -> None:
        """The calls have ended that were in flight; others that they have begun may go on."""
        for straggler, forward in self.stragglers:
            straggler.settle(forward)

    def drained(self) -> None:
        """The last call has ended."""
        self.ended()
        self.stragglers = []

    def end(self) -> None:
        """Nothing old is left: who still holds a view gets to what is live. Never waits, and may be called again."""
        for key in self.keys:
            # A module that is live again, or waits for a later drain, has another world by now.
            if worlds.get(key) is self:
                worlds.pop(key, None)
        self.reclaim()
        self.live = True
        self.own, self.views, self.modules, self.nested = {}, {}, {}, None
        self.unwrap()

    def unwrap(self) -> None:
        """No code of it imports anything: the wrapper around imports may come off."""
        for reason in self.reasons:
            reason.release()

    def namespaces(self) -> list[dict[str, Any]]:
        """The globals of its own modules."""
        return [ModuleType.__getattribute__(module, "__dict__") for module in self.modules.values()]

    def import_(self, call: ImportCall) -> Any:
        """Do what `builtins.__import__` does, in this world; `sys` is a view."""
        return self._sys if call.name == "sys" and not call.level else super().import_(call)

    def load(self, name: str) -> None:
        """Old modules are there; one that was never imported comes from the live version."""
        if name not in self.own:
            __import__(name)


_armed: set[Drain] = set()
"""The drains that wait: nothing else keeps them, as their world may leave the registry before the last call ends."""


class Drain:
    """Tells when the last call of an old generation has ended. Lives until then.

    Guarantees: `then` is called exactly once after the last of the code objects has died; on whichever thread that
    happened, so `then` must be quick and must not raise. Calls that old calls have begun meanwhile run code of clones,
    which hold it: who is called looks for those, and has it wait `again`, or ends it.

    Assumes: reference counting, or a collection that comes some day. Something else that holds code objects (a
    profiler, coverage by `sys.monitoring`) delays it until somebody asks it to `let_go_of_unused`.
    """

    def __init__(self, codes: Iterable[CodeType], then: Callable[[], None]) -> None:
        self.drained = threading.Event()
        self._call: Callable[[], None] | None = then
        self._then = [then]
        self.begun: Callable[[], list[CodeType]] = list
        """Gives the code that calls run which old calls have begun, if there are any."""
        self._waiting: dict[int, weakref.ref[Any]] = {}
        self._given_up: list[weakref.ref[Any]] = []
        self._stacks = Stacks(self._check)
        self._armed = False
        self.since = datetime.now(UTC)
        for code in codes:
            self._waiting[id(code)] = weakref.ref(code, functools.partial(self._died, id(code)))

    def wait_for(self, others: Iterable[Any]) -> None:
        """Wait for the death of other things, too: keepers of sessions, and code of modules that stay."""
        for o in others:
            self._waiting[id(o)] = weakref.ref(o, functools.partial(self._died, id(o)))

    def wait_for_nested(self, codes: Iterable[CodeType]) -> None:
        """Wait for what runs nested code now, too: generators, coroutines, and plain calls on the stacks of threads.

        It passes over the heap.
        """
        codes = list(codes)
        for o in suspended([code for code in codes if code.co_flags & KIND_FLAGS]):
            self._waiting[id(o)] = weakref.ref(o, functools.partial(self._died, id(o)))
        if HAS_THREADS:  # in one of them the stacks are looked at
            self._stacks.wait_for(codes)

    def let_go(self, codes: Container[int]) -> None:
        """Wait no longer for some code: its calls go on with new code, or somebody else holds it.

        Arguments:
            codes: the ids of the code.
        """
        for key, reference in list(self._waiting.items()):
            frame = frame_of(reference())
            if key in codes or (frame is not None and id(frame.f_code) in codes):
                self._waiting.pop(key, None)
        self._stacks.let_go(codes)
        self._check()

    def let_go_of_unused(self) -> None:
        """Wait no longer for what somebody holds, but no call runs: code, and coroutines that have ended.

        It may pass over the heap.
        """
        for key, reference in list(self._waiting.items()):
            if is_over(reference()):
                self._waiting.pop(key, None)
        # A generator that we know is not found on the heap if somebody has frozen it.
        going = {id(frame.f_code) for o in self.waiting if (frame := frame_of(o)) is not None}
        self.let_go(unused(self.running) - going)

    def give_way(self) -> None:
        """Wait no longer for calls: their generation came back. If it goes once more, another one waits for them.

        That is told what is suspended: where somebody has frozen objects, it would not find it.
        """
        if self.keeper is None:
            self._given_up += (weakref.ref(o) for o in self.waiting if frame_of(o) is not None)
            self._waiting.clear()
            self._stacks.let_go({id(code) for code in self._stacks.codes})
            self._check()

    @property
    def given_up(self) -> list[Any]:
        """The generators and coroutines that it has given way for, and that have not ended."""
        return [o for reference in self._given_up if frame_of(o := reference()) is not None]

    @property
    def is_over(self) -> bool:
        """Whether nothing is waited for now."""
        return self._armed and not self._waiting and not self._stacks

    def again(self, others: Iterable[Any], plain: Iterable[CodeType]) -> bool:
        """Wait once more. Returns whether there is anything to wait for.

        Arguments:
            others: for the death of these.
            plain: for the end of the plain calls of this nested code that threads are in now.
        """
        self.wait_for(others)
        if HAS_THREADS:
            self._stacks.wait_for(plain)
        if self.is_over or self._call is None:
            return False
        self._then.append(self._call)
        _armed.add(self)
        self._check()
        return True

    def end(self) -> None:
        """Note that nothing of the generation is in flight any more."""
        self._call, self.begun = None, list
        _armed.discard(self)
        self.drained.set()

    def variables(self) -> list[Variables]:
        """Return what the calls hold that are waited for, and those that such calls have begun."""
        return variables([*self.running, *self.begun()])

    def calls(self, *, begun: bool = False) -> list[tuple[CodeType, CallInFlight]]:
        """Return the calls that are waited for, each with its code. It passes over the heap.

        Arguments:
            begun: whether to return those, too, that such calls have begun.
        """
        return calls_in_flight([*self.running, *(self.begun() if begun else ())], self.since, self.waiting)

    def arm(self) -> None:
        """Begin to tell: called when nothing but calls in flight keeps the code."""
        self._armed = True
        self.since = datetime.now(UTC)
        _armed.add(self)
        self._check()

    @property
    def running(self) -> list[CodeType]:
        """The code that calls in flight run; or that somebody else holds."""
        held = self.waiting
        frames = [frame for o in held if (frame := frame_of(o)) is not None]
        codes = (*(o for o in held if type(o) is CodeType), *(f.f_code for f in frames), *self._stacks.codes)
        return list({id(code): code for code in codes}.values())

    @property
    def keeper(self) -> Keeper | None:
        """What open sessions hold."""
        return next((o for o in self.waiting if type(o) is Keeper), None)

    @property
    def waiting(self) -> list[Any]:
        """What is waited for: code, generators and coroutines, and keepers of sessions."""
        return [o for reference in list(self._waiting.values()) if (o := reference()) is not None]

    def _died(self, key: int, _: weakref.ref[Any]) -> None:
        self._waiting.pop(key, None)
        self._check()

    def _check(self) -> None:
        if self.is_over:
            try:
                then = self._then.pop()  # two code objects may die at once, on two threads; one of them gets it
            except IndexError:
                return
            _armed.discard(self)
            then()


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def drain_of(functions: Iterable[FunctionType], then: Callable[[], None]) -> Drain:
    """Watch the code of a generation that goes: when no call of it is left, what it left behind can be settled.

    Code that stands inside other code is not waited for: closures that somebody registered long ago hold it.

    Arguments:
        functions: the functions of that generation.
        then: called after that, wherever the last call ended; it must be quick, and must not raise.
    """
    own = [(function, code) for function in functions if not is_nested(code := code_of(function))]
    codes = {id(code): code for _, code in own}
    codes.update((id(stray.code), stray.code) for stray in strays(function for function, _ in own))
    for function, code in own:  # when it comes back, its calls are known by that
        note(Stray(code, function, function.__globals__))
    return Drain(codes.values(), then)
