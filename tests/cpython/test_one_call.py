"""One C call is not interrupted: what `hotswap/swap/writes.py` builds its commit on.

The writes of a swap are run by ``deque(starmap(operator.call, ops))``, with the clock read within the call. With the
GIL, a thread is asked to give way only where Python code is evaluated, so nobody sees one part of the list without
the rest. Every test here counts torn reads: snapshots in which some names have the new value and some the old. A
snapshot is one C call itself.
"""

from __future__ import annotations

import operator
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from itertools import repeat, starmap
from types import FunctionType
from typing import Any

import pytest

from tests.races.threads import Readers

pytestmark = pytest.mark.threads

NAMES = [f"name{number}" for number in range(200)]
SNAPSHOTS = 20_000
"""How many each reader takes where no torn read must be seen."""

LIMIT = 30.0
"""Seconds in which a torn read has to be seen where one is expected; it takes a few milliseconds."""

Run = Callable[[Iterable[tuple[Any, ...]]], object]


def one_call(ops: Iterable[tuple[Any, ...]]) -> object:
    return deque(starmap(operator.call, [(time.perf_counter,), *ops, (time.perf_counter,)]))


def python_loop(ops: Iterable[tuple[Any, ...]]) -> object:
    for function, *arguments in ops:
        function(*arguments)
    return None


def writes(namespace: dict[str, Any], value: object, in_the_middle: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    ops: list[tuple[Any, ...]] = [(dict.__setitem__, namespace, name, value) for name in NAMES]
    if in_the_middle:
        ops.insert(len(ops) // 2, in_the_middle)
    return ops


def tears(run: Run, in_the_middle: Callable[[], tuple[Any, ...]] = tuple) -> bool:
    """Whether a torn read is seen within the limit while `run` writes now this value, now that."""
    namespace: dict[str, Any] = dict.fromkeys(NAMES, 0)
    get = operator.itemgetter(*NAMES)
    deadline = time.monotonic() + LIMIT
    with Readers(lambda: get(namespace)) as readers, readers.racing():
        while time.monotonic() < deadline and not readers.torn:
            for value in (1, 0):
                run(writes(namespace, value, in_the_middle()))
    return bool(readers.torn)


class TestOneCall:
    def test_of_two_hundred_dict_writes_is_seen_whole(self) -> None:
        namespace: dict[str, Any] = dict.fromkeys(NAMES, 0)
        get = operator.itemgetter(*NAMES)
        there, back = writes(namespace, 1), writes(namespace, 0)
        with Readers(lambda: get(namespace)) as readers, readers.racing():
            while min(readers.read) < SNAPSHOTS:
                one_call(there)
                one_call(back)
        assert readers.torn == []

    def test_of_every_kind_of_write_is_seen_whole(self) -> None:
        def body() -> int:
            return 0

        def other() -> int:
            return 1

        class Held:
            attribute: Any = body.__code__

        namespace: dict[str, Any] = {"name": body.__code__}
        cell = (lambda value: lambda: value)(body.__code__).__closure__[0]  # type: ignore[index]
        set_code = FunctionType.__dict__["__code__"].__set__
        set_cell = type(cell).__dict__["cell_contents"].__set__

        def ops(code: Any) -> list[tuple[Any, ...]]:
            return [
                (type.__setattr__, Held, "attribute", code),
                (dict.__setitem__, namespace, "name", code),
                (set_code, body, code),
                (set_cell, cell, code),
                (dict.update, namespace, zip(("one", "two"), repeat(code))),
            ]

        # Each way to read is a C function; `map` over them in `tuple` is one C call.
        reading = [
            (type.__getattribute__, Held, "attribute"),
            (dict.__getitem__, namespace, "name"),
            (FunctionType.__dict__["__code__"].__get__, body),
            (type(cell).__dict__["cell_contents"].__get__, cell),
            (dict.__getitem__, namespace, "one"),
            (dict.__getitem__, namespace, "two"),
        ]
        codes = body.__code__, other.__code__
        one_call(ops(codes[0]))
        with Readers(lambda: tuple(starmap(operator.call, reading))) as readers, readers.racing():
            while min(readers.read) < SNAPSHOTS:
                for code in (codes[1], codes[0]):
                    one_call(ops(code))
        assert readers.torn == []

    def test_takes_values_from_zip_and_map_without_a_gap(self) -> None:
        """State is carried in the commit itself: `dict.update` draws from `zip` and `map` (`swap/state.py`)."""
        source = dict.fromkeys(NAMES, 0)
        target = dict.fromkeys(NAMES, 0)
        get = operator.itemgetter(*NAMES)
        with Readers(lambda: get(target)) as readers, readers.racing():
            while min(readers.read) < SNAPSHOTS:
                for value in (1, 0):
                    source.update(dict.fromkeys(NAMES, value))
                    carried = map(source.get, NAMES, map(target.get, NAMES, repeat(None)))
                    one_call([(dict.update, target, zip(NAMES, carried, strict=False))])
        assert readers.torn == []


class TestWhatTearsIt:
    """Each is why a rule stands in `swap/writes.py`; they also prove that the readers above would see a gap."""

    def test_a_python_loop(self) -> None:
        assert tears(python_loop)

    def test_one_python_function_in_the_list(self) -> None:
        def harmless() -> None:
            pass

        assert tears(one_call, lambda: (harmless,))

    def test_one_python_setattr_in_the_list(self) -> None:
        class Proxy:
            def __setattr__(self, name: str, value: object) -> None:
                pass

        proxy = Proxy()
        assert tears(one_call, lambda: (setattr, proxy, "attribute", 1))

    def test_one_object_that_dies_with_a_weak_reference_callback(self) -> None:
        """So a commit holds whatever it replaces until after the call."""
        holder: dict[str, Any] = {}
        kept: list[weakref.ref[Any]] = []

        def callback(_: weakref.ref[Any]) -> None:
            kept.clear()

        def dying() -> tuple[Any, ...]:
            holder["code"] = (lambda: None).__code__.replace(co_name="dies")
            kept.append(weakref.ref(holder["code"], callback))
            return (dict.__setitem__, holder, "code", None)

        assert tears(one_call, dying)

    def test_one_object_that_dies_with_a_finalizer(self) -> None:
        holder: dict[str, Any] = {}

        class Mortal:
            def __del__(self) -> None:
                pass

        def dying() -> tuple[Any, ...]:
            holder["object"] = Mortal()
            return (dict.__setitem__, holder, "object", None)

        assert tears(one_call, dying)
