"""Writes: what a swap writes, in both directions, in one C call each.

A write is ``(callable, *arguments)`` with a C function as callable. The whole list is run by one call,
``deque(starmap(operator.call, ops), maxlen=0)``.

Guarantees: on a build with the GIL, no other thread runs between the first and the last write, so nobody sees one part
of a swap without the rest. If a write raises, all that was written is taken back before the error leaves.

Assumes (each is proved in `tests/cpython`): a C function that runs no Python code does not give up the GIL; the
collector does not run, so it is switched off for the call; no object dies in between, so every replaced value is held
by the list of the other direction or by `hold`. Audit hooks written in Python and metaclasses with a Python-level
`mro` break the first assumption; the plan refuses the former and never meets the latter in a commit. Members of
enumerations are hashed in C for the length of the call (see `hashing`).
"""

from __future__ import annotations

import operator
import sys
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from itertools import chain, starmap
from types import FunctionType
from typing import Any, Protocol

from hotswap import collector
from hotswap.periods import Turn, turning
from hotswap.swap.forwarding import code_of
from hotswap.swap.hashing import hashing, quieted
from hotswap.swap.kin import copied
from hotswap.swap.order import Beside, Op, in_order
from hotswap.walk import UNIQUE_NEVER

__all__ = ["Crossing", "Op", "Writes", "gil_enabled", "has_audit_hook"]

_MISSING: Any = object()
_ITEMS = (dict.__setitem__, dict.pop)
_CODE: Any = FunctionType.__dict__["__code__"].__set__
_CLOCK: Op = (time.perf_counter,)

_AT_ONCE = 500
"""How many writes are forgotten in one C call."""


def gil_enabled() -> bool:
    """Whether this interpreter runs one thread at a time: the only place where hotswap asks."""
    ask: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return ask()


def has_audit_hook() -> bool | None:
    """Whether an audit hook is installed, or None where this interpreter does not tell.

    `sys.audit` looks at its arguments only if there is a hook to call (CPython 3.11 to 3.13); later ones check first.
    """
    if sys.version_info >= (3, 14):
        return None
    try:
        sys.audit(0)  # type: ignore[arg-type]  # the wrong type is the question
    except TypeError:
        return True
    return False


class Crossing(Protocol):
    """What a swap writes beside if calls or sessions of the generation that goes are in flight."""

    def turn(self, turn: Turn) -> tuple[list[Op], list[Op]]:
        """Note the period that ends with it, and the one that begins. Returns writes for that, and their undo."""

    def needed(self) -> bool:
        """Whether a call is in flight now."""

    def standing(self) -> tuple[Sequence[Op], Sequence[Op]]:
        """Return the writes that are made in any case, and those that take all back."""

    def probe(self) -> Iterator[bool]:
        """Return an iterator that runs no Python code, and gives True if one is in flight when it is read."""

    def ops(self) -> Beside:
        """Return the writes."""

    def failed(self) -> None:
        """Note that all was taken back."""


class Writes:
    """The writes of a swap, in both directions. Lives as long as the swap can be taken back.

    `late` holds functions that are asked for more writes when the time comes (True: forward), for values that may
    change until then and for objects that must not be kept alive. They run before the C call and must not raise.

    Attributes:
        undoing: whether the late writes that are asked for undo those of the other direction, should the call fail.
        once: how many writes may be wrong if they are made a second time; those of adapters say which are not.
    """

    def __init__(self) -> None:
        self.undoing = False
        self.once = 0
        self._forward: list[Any] = []
        self._backward: list[Any] = []
        self._undo: list[Op] = []
        self._parts: list[Writes] = []
        self.copied: set[int] = set()
        """The ids of code of which functions get a copy: the writes hold it for as long as they may be made again."""
        self._first: list[Callable[[bool], Iterable[Op]]] = []
        self._late: list[Callable[[bool], Iterable[Op]]] = []
        self._held: list[Any] = []

    def both(self, forward: Iterable[Op], backward: Iterable[Op], *, again: bool = False) -> None:
        """Add writes for the one and for the other direction. Each direction must be idempotent.

        Arguments:
            forward: the writes that make the change.
            backward: those that take it back.
            again: as of `late`.
        """
        self.once += not again
        self._forward += forward
        self._backward += backward

    def back(self, backward: Iterable[Op], undo: Iterable[Op]) -> None:
        """Add writes for the way back alone, and those that undo them should it fail."""
        self.once += 1
        self._backward += backward
        self._undo += undo

    def include(self, part: Writes) -> None:
        """Make some writes a part of these. They may be cleared, and made out anew, as often as these are made."""
        self._parts.append(part)
        self._forward.append(part._forward)
        self._backward.append(part._backward)

    def item(self, namespace: dict[Any, Any], key: Any, new: Any, *, again: bool = False) -> None:
        """Set an item of a dict; the other direction puts back what was there.

        Arguments:
            namespace: the dict.
            key: of the item.
            new: what is put there.
            again: as of `late`: nobody else writes it.
        """
        old = namespace.get(key, _MISSING)
        undo = (dict.pop, namespace, key, None) if old is _MISSING else (dict.__setitem__, namespace, key, old)
        self.both([*hashing((key,)), (dict.__setitem__, namespace, key, new)], [*hashing((key,)), undo], again=again)

    def drop(self, namespace: dict[Any, Any], key: Any) -> None:
        """Remove an item of a dict, if it is there."""
        old = namespace.get(key, _MISSING)
        if old is not _MISSING:
            also = hashing((key,))
            self.both([*also, (dict.pop, namespace, key, None)], [*also, (dict.__setitem__, namespace, key, old)])

    def late(self, writes: Callable[[bool], Iterable[Op]], *, first: bool = False, again: bool = False) -> None:
        """Add writes that are made out when they are needed.

        Arguments:
            writes: makes them out.
            first: whether they come before all others, in both directions; otherwise they come after them.
            again: whether they are right however often the swap is made and taken back, whatever the service does
                meanwhile: they empty a cache, say. A rollout for which an adapter adds others is not kept warm.
        """
        self.once += not again
        (self._first if first else self._late).append(writes)

    def seed(self, namespaces: Container[int]) -> None:
        """Make the first of the writes in some namespaces that nobody else sees, ahead of the rest.

        Arguments:
            namespaces: the ids of the dicts.
        """
        for op in self._first_ops(forward=True):
            if op[0] in (dict.__setitem__, dict.update) and id(op[1]) in namespaces:
                op[0](*op[1:])

    def hold(self, *objects: Any) -> None:
        """Keep objects alive until the end of the next call, so that nothing dies in it."""
        self._held += objects

    def hold_code(self, function: FunctionType) -> None:
        """Keep the code that a function has then: a weak reference to it may have a callback, as the drain has one."""

        def late(_: bool) -> tuple[Op, ...]:
            code = code_of(function)
            self.hold(*((code,) if function.__code__ is code else (code, function.__code__)))
            return ()

        self.late(late)

    def clear(self) -> None:
        """Forget all writes. They refer to each other in circles, and to code whose death somebody waits for."""
        for part in self._parts:
            part.clear()
        _let_go(self._forward, self._backward, self._undo, self._first, self._late, self._held, self._parts)

    @property
    def forward(self) -> tuple[Op, ...]:
        """The writes of the one direction, without the late ones."""
        return tuple(_flat(self._forward))

    @property
    def backward(self) -> tuple[Op, ...]:
        """The writes of the other direction, without the late ones, in the order in which they are made."""
        return tuple(_flat(self._backward)[::-1])

    @property
    def items(self) -> dict[tuple[int, Any], Any]:
        """The items of dicts that are written, without the late ones: (id of the dict, key) -> what is put there."""
        ops = (op for op in _flat(self._forward) if op[0] in _ITEMS)
        return {(id(op[1]), op[2]): op[3] for op in ops if type(op[2]) in UNIQUE_NEVER}

    def __len__(self) -> int:
        return len(_flat(self._forward))

    def apply(self, crossing: Crossing | None = None, *, again: bool = False) -> float:
        """Make all writes. Returns the seconds that the one C call took. If one raises, all are taken back.

        Arguments:
            crossing: what is written beside if calls are in flight.
            again: whether they have been made before, and taken back since.
        """
        return self._run(True, (), crossing, again=again)

    def undo(self, also: Iterable[Op], *, but: Iterable[Any]) -> None:
        """Undo what was written for the way back alone, before these writes are made again.

        Arguments:
            also: what is written after that, in the same C call.
            but: what is not put back yet: names that stood for one of these are left to the writes.
        """
        left = {id(one) for one in but}
        slots = {(id(op[1]), op[2]) for op in self._undo if op[0] is dict.__setitem__ and id(op[3]) in left}

        def stays(op: Op) -> bool:
            return op[0] is dict.__setitem__ and (id(op[1]), op[2]) in slots

        deque(starmap(operator.call, [*(op for op in self._undo if not stays(op)), *also]), maxlen=0)
        for ops in (self._undo, self._backward):
            ops[:] = filter(stays, ops)

    def undone(self, namespace: dict[str, Any]) -> dict[str, Any]:
        """Return the items of a dict that are put back when what was written for the way back alone is undone."""
        return {op[2]: op[3] for op in self._undo if op[0] is dict.__setitem__ and op[1] is namespace}

    def revert(self, *others: Writes, crossing: Crossing | None = None) -> float:
        """Take all writes back, in reverse order. Returns the seconds that the one C call took.

        Arguments:
            others: what is written after that, forward, in the same call. If a write raises, these are taken back, too.
            crossing: what is written beside if calls are in flight.
        """
        return self._run(False, others, crossing)

    def _run(self, forward: bool, others: Sequence[Writes], crossing: Crossing | None, *, again: bool = False) -> float:
        if crossing is None:  # what is settled is no swap
            return self._made(forward, others, None, None, again=again)
        with turning() as turn:
            turned, back = crossing.turn(turn)
            return self._made(forward, others, crossing, ([*turned, *turn.ops], [*turn.undo, *back]), again=again)

    def _made(
        self,
        forward: bool,
        others: Sequence[Writes],
        crossing: Crossing | None,
        turn: tuple[list[Op], list[Op]] | None,
        *,
        again: bool,
    ) -> float:
        beside = crossing.ops() if crossing is not None and crossing.needed() else None
        ways = [(self, forward), *((writes, True) for writes in others)]
        carried = [op for writes, way in ways for op in writes._first_ops(way)]
        ops = [op for writes, way in ways for op in writes._ops(way)]
        undo = [op for writes, way in ways[::-1] for op in writes._undoing(not way)]
        apart = [op for part in self._parts for op in part._undo]
        undo += [] if forward else [*self._fresh(self._undo), *apart]
        if again:
            carried = [*apart, *carried]
            ops = [*self._fresh(self._undo), *ops]
        turned: list[Op] = []
        if crossing is not None:
            standing, back = crossing.standing()
            ops, undo = [*ops, *standing], [*undo, *back]
        if turn is not None:
            turned, undo = turn[0], [*undo, *turn[1]]

        def made(beside: Beside) -> list[Op]:
            # The clock is read within the call: waiting for the GIL before and after it is no part of the pause.
            return [_CLOCK, *quieted(in_order(carried, turned, ops, beside), undo)[0], _CLOCK]

        with collector.switched_off():
            try:
                done: Sequence[Any] = ()
                if crossing is not None and beside is None:
                    # All, or nothing if a call has begun meanwhile: that is asked within the one C call.
                    either = (made(Beside()), ()).__getitem__
                    done = deque(starmap(operator.call, chain.from_iterable(map(either, map(any, [crossing.probe()])))))
                    beside = Beside() if done else crossing.ops()
                if not done:
                    done = deque(starmap(operator.call, made(beside or Beside())))
            except BaseException:
                deque(starmap(operator.call, quieted(undo, ops)[0]), maxlen=0)
                if crossing is not None:
                    crossing.failed()
                raise
            pause = float(done[-1] - done[0])
        every = [part for writes in (self, *others) for part in (writes, *writes._parts)]
        _let_go(carried, ops, undo, *(writes._held for writes in every))
        return pause

    def _undoing(self, forward: bool) -> list[Op]:
        self.undoing = True
        try:
            return [*self._first_ops(forward), *self._ops(forward)]
        finally:
            self.undoing = False

    def _first_ops(self, forward: bool) -> list[Op]:
        return [op for writes in self._first for op in writes(forward)]

    def _ops(self, forward: bool) -> list[Op]:
        ops = [*self._fresh(self.forward if forward else self.backward)]
        for writes in (*self._late, *(late for part in self._parts for late in part._late)):
            ops += writes(forward)
        return ops

    def _fresh(self, ops: Iterable[Op]) -> Iterable[Op]:
        """Have functions get copies of code that is held here: the death of the copy tells that nobody runs it."""
        if not self.copied:
            return ops
        return [(*op[:2], copied(op[2])) if op[0] == _CODE and id(op[2]) in self.copied else op for op in ops]


def _flat(ops: Iterable[Any]) -> list[Op]:
    """Writes, with those of parts in their places."""
    return [one for op in ops for one in (op if type(op) is list else (op,))]


def _let_go(*lists: list[Any]) -> None:
    """Empty lists a part at a time: what dies in one C call keeps all other threads waiting until it is dead."""
    for held in lists:
        while held:
            del held[-_AT_ONCE:]
