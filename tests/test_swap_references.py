"""The matrix of references: every way to hold an old object, times every kind of object, times a history of swaps.

One history is run for all cells, and each cell is a test. At every stage each cell holds the object that is live then,
and uses it at a later one (`SPANS`); the answer must be what is live.

    stage     first   apply   apply   apply   rollback   apply
    live      1       2       3       4       3          5
"""

from __future__ import annotations

import asyncio
import builtins
import collections
import concurrent.futures
import contextlib
import contextvars
import ctypes
import functools
import gc
import importlib
import itertools
import json
import operator
import pickle
import queue
import signal
import sqlite3
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import hotswap
from hotswap.swap.forwarding import target_of
from tests.races.threads import forks_go

STAGES = (1, 2, 3, 4, 3, 5)
"""What is live, stage by stage; where it falls, the last rollout was taken back."""

SPANS = ((0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (2, 3), (3, 4), (3, 5), (4, 5))
"""Stage at which something is held, and stage at which it is used: many things can be used only once."""

EXPECTED = {(held, used): STAGES[used] for held, used in SPANS}

PACKAGE = "referred"
THREADS = sys.platform != "emscripten"
LIMIT = 10.0
"""Seconds after which something that should answer at once has failed."""

CORE = """
import enum, functools

LIMIT = 100{n}

def function(*_): return {n}
async def coroutine(*_): return {n}
def generator(*_): yield {n}
async def async_generator(*_): yield {n}
shorthand = lambda *_: {n}

def through(inner):
    @functools.wraps(inner)
    def wrapper(*a, **k):
        return inner(*a, **k)
    return wrapper

def with_setting(setting):
    def decorate(inner):
        @functools.wraps(inner)
        def wrapper(*a):
            return inner(*a)
        wrapper.setting = setting
        return wrapper
    return decorate

@through
def decorated(*_): return {n}

@with_setting({n})
@through
def twice_decorated(*_): return {n}

class Through:
    def __init__(self, inner):
        self.inner = inner
        functools.update_wrapper(self, inner)
    def __call__(self, *a):
        return self.inner(*a)
    def __get__(self, instance, owner=None):
        return self if instance is None else functools.partial(self.inner, instance)

@Through
def through_a_class(*_): return {n}

@functools.lru_cache
def cached(*_): return {n}

prepared = functools.partial(function, 1)

handlers = {"one": lambda *_: function()}

def unchanged(*_): return function()

@functools.lru_cache
def unchanged_cached(*_): return function()

class Class:
    def __init__(self, *_): self.began = {n}
    def method(self=None, *_): return {n}
    def unchanged(self=None, *_): return function()
    async def coroutine(self=None, *_): return {n}
    def generator(self=None, *_): yield {n}
    def __call__(self, *_): return {n}
    @staticmethod
    def static(*_): return {n}
    @classmethod
    def of_class(cls, *_): return {n}
    @property
    def property(self): return {n}
    @functools.cached_property
    def lazy(self): return {n}
    @through
    def decorated(self=None, *_): return {n}
    @Through
    def through_a_class(self=None, *_): return {n}
    class Nested:
        def method(self=None, *_): return {n}
        def __init__(self, *_): pass

class Child(Class):
    def method(self=None, *_): return super().method() if self is not None else {n}

class Failure(Exception):
    def method(self): return {n}

class Colour(enum.Enum):
    RED = 1
    def says(self, *_): return {n}

instance = Class()
"""


# --- what is held ----------------------------------------------------------------------------------------------------


def settled(value: Any) -> int:
    """The version that a result speaks of: of a coroutine, a generator or an object, what comes out of it."""
    if isinstance(value, types.CoroutineType):
        try:
            value.send(None)
        except StopIteration as finished:
            return settled(finished.value)
        raise AssertionError("it does not wait for anything")
    if isinstance(value, types.GeneratorType):
        return settled(next(value))
    if isinstance(value, types.AsyncGeneratorType):
        try:
            value.__anext__().send(None)
        except StopIteration as finished:
            return settled(finished.value)
        raise AssertionError("it does not wait for anything")
    return value if isinstance(value, int) else settled(value.method())


@dataclass(frozen=True)
class Kind:
    """A kind of object: where it is found in the live module, and how it is used once it is held."""

    get: Callable[[Any], Any]
    use: Callable[[Any], Any] = operator.call
    callable: bool = True


KINDS: dict[str, Kind] = {
    "function": Kind(lambda core: core.function),
    "coroutine function": Kind(lambda core: core.coroutine),
    "generator function": Kind(lambda core: core.generator),
    "async generator function": Kind(lambda core: core.async_generator),
    "lambda": Kind(lambda core: core.shorthand),
    "decorated function": Kind(lambda core: core.decorated),
    "twice decorated function": Kind(lambda core: core.twice_decorated),
    "inner function of a decorated one": Kind(lambda core: core.decorated.__wrapped__),
    "function decorated by a class": Kind(lambda core: core.through_a_class),
    "bound method decorated by a class": Kind(lambda core: core.Class().through_a_class),
    "lru_cache": Kind(lambda core: core.cached),
    "lambda in an unchanged dict": Kind(lambda core: core.handlers["one"]),
    "unchanged function": Kind(lambda core: core.unchanged),
    "unchanged lru_cache": Kind(lambda core: core.unchanged_cached, lambda o: o(object()), False),
    "unchanged unbound method": Kind(lambda core: core.Class.unchanged),
    "unchanged bound method": Kind(lambda core: core.Class().unchanged),
    "partial of the module": Kind(lambda core: core.prepared),
    "class": Kind(lambda core: core.Class),
    "subclass": Kind(lambda core: core.Child),
    "nested class": Kind(lambda core: core.Class.Nested),
    "unbound method": Kind(lambda core: core.Class.method),
    "unbound coroutine method": Kind(lambda core: core.Class.coroutine),
    "bound method": Kind(lambda core: core.Class().method),
    "bound generator method": Kind(lambda core: core.Class().generator),
    "bound decorated method": Kind(lambda core: core.Class().decorated),
    "bound method that calls super": Kind(lambda core: core.Child().method),
    "bound method of a nested class": Kind(lambda core: core.Class.Nested().method),
    "bound class method": Kind(lambda core: core.Class.of_class),
    "static method": Kind(lambda core: core.Class.static),
    "callable instance": Kind(lambda core: core.Class()),
    "bound method of an enum member": Kind(lambda core: core.Colour.RED.says),
    "staticmethod object": Kind(lambda core: vars(core.Class)["static"]),
    "classmethod object": Kind(lambda core: vars(core.Class)["of_class"], lambda o: o.__get__(None, int)(), False),
    "property object": Kind(lambda core: vars(core.Class)["property"], lambda o: o.fget(None), False),
    "cached_property object": Kind(lambda core: vars(core.Class)["lazy"], lambda o: o.func(None), False),
    "instance": Kind(lambda core: core.Class(), lambda o: o.method() if o.property == o.method() else "mixed", False),
    "instance of the module": Kind(lambda core: core.instance, lambda o: o.method(), False),
    "enum class": Kind(lambda core: core.Colour, lambda o: o(1).says(), False),
    "enum member": Kind(lambda core: core.Colour.RED, lambda o: o.says() if o is type(o).RED else "twin", False),
    "exception class": Kind(lambda core: core.Failure, lambda o: o().method(), False),
    "module": Kind(lambda core: core, lambda o: o.function() if 1000 + o.function() == o.LIMIT else "mixed", False),
}


# --- how it is held --------------------------------------------------------------------------------------------------

Ask = Callable[[], Any]
"""Gives what is held back, or what calling it returned."""


def record(answers: list[Any], function: Any, *arguments: Any) -> int:
    """Call what is held and note the answer, or what it raised, for whoever asks on another thread."""
    try:
        answers.append(function(*arguments))
    except Exception as error:
        answers.append(error)
    return 0


def told(answers: list[Any]) -> Any:
    """The one answer that was noted."""
    (given,) = answers
    if isinstance(given, Exception):
        raise given
    return given


def in_a_closure(held: Any) -> Ask:
    return lambda: held


def as_a_default(held: Any) -> Ask:
    def function(default: Any = held) -> Any:
        return default

    del held
    return function


def in_a_suspended_generator(held: Any) -> Ask:
    """A local of a frame that is in the middle of something."""

    def outside(local: Any) -> Iterator[Any]:
        yield None
        yield local

    suspended = outside(held)
    next(suspended)
    return lambda: next(suspended)


def in_a_suspended_coroutine(held: Any) -> Ask:
    @types.coroutine
    def pause() -> Iterator[None]:
        yield

    async def outside(local: Any) -> Any:
        await pause()
        return local

    suspended = outside(held)
    suspended.send(None)

    def ask() -> Any:
        try:
            suspended.send(None)
        except StopIteration as finished:
            return finished.value

    return ask


def on_a_class(held: Any) -> Ask:
    outside = type("Outside", (), {})
    setattr(outside, "attribute", held)  # noqa: B010 - mypy knows of no such attribute
    return lambda: vars(outside)["attribute"]


def in_slots(held: Any) -> Ask:
    class Slotted:
        __slots__ = ("attribute",)

    holder: Any = Slotted()
    holder.attribute = held
    return lambda: holder.attribute


def in_a_context(held: Any) -> Ask:
    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable")
    context = contextvars.Context()
    context.run(variable.set, held)
    return lambda: context[variable]


def in_an_exception(held: Any) -> Ask:
    error = ValueError(held)
    return lambda: error.args[0]


def in_a_traceback(held: Any) -> Ask:
    def fails(local: Any) -> None:
        raise ValueError

    try:
        fails(held)
    except ValueError as error:
        kept = error

    def ask() -> Any:
        trace = kept.__traceback__
        assert trace is not None
        assert trace.tb_next is not None
        return trace.tb_next.tb_frame.f_locals["local"]

    return ask


def weakly(held: Any) -> Ask:
    """With somebody else who keeps the object alive; `TestWeakReferences` is about those without."""
    reference, keeper = weakref.ref(held), held
    return lambda: reference() if keeper is not None else None


def in_a_weak_set(held: Any) -> Ask:
    members, keeper = weakref.WeakSet([held]), held
    return lambda: next(iter(members)) if keeper is not None else None


def in_a_queue(held: Any) -> Ask:
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    waiting.put(held)
    return lambda: waiting.get(timeout=LIMIT)


def in_a_methodcaller(held: Any) -> Ask:
    taken: list[Any] = []
    append = operator.methodcaller("append", held)

    def ask() -> Any:
        append(taken)
        return taken[-1]

    return ask


def in_a_zip(held: Any) -> Ask:
    pairs = zip([held], strict=True)
    return lambda: next(pairs)[0]


def in_ctypes(held: Any) -> Ask:
    """A C structure that holds nothing but a pointer."""
    box = ctypes.py_object(held)
    return lambda: box.value


def in_a_user_list(held: Any) -> Ask:
    holder = collections.UserList([held])
    return lambda: holder[0]


CONTAINERS: dict[str, Callable[[Any], Ask]] = {
    "alias": lambda held: functools.partial({"alias": held}.get, "alias"),
    "tuple": lambda held: functools.partial((held,).__getitem__, 0),
    "nested tuple": lambda held: lambda kept=(1, (2, (held,))): kept[1][1][0],  # type: ignore[misc]
    "list": lambda held: functools.partial([held].__getitem__, 0),
    "frozenset": lambda held: lambda kept=frozenset([held]): next(iter(kept)),  # type: ignore[misc]
    "set": lambda held: {held}.pop,
    "dict key": lambda held: lambda kept={held: 1}: next(iter(kept)),  # type: ignore[misc]
    "dict value": lambda held: functools.partial({1: held}.get, 1),
    "mapping proxy": lambda held: functools.partial(types.MappingProxyType({1: held}).get, 1),
    "deque": lambda held: collections.deque([held]).popleft,
    "user list": in_a_user_list,
    "simple namespace": lambda held: functools.partial(getattr, types.SimpleNamespace(held=held), "held"),
    "slots": in_slots,
    "class attribute of another class": on_a_class,
    "closure": in_a_closure,
    "default argument": as_a_default,
    "local of a suspended generator": in_a_suspended_generator,
    "local of a suspended coroutine": in_a_suspended_coroutine,
    "local in a kept traceback": in_a_traceback,
    "exception": in_an_exception,
    "context variable": in_a_context,
    "weak reference": weakly,
    "weak set": in_a_weak_set,
    "queued item": in_a_queue,
    "half-consumed list iterator": lambda held: functools.partial(next, itertools.islice([0, held], 1, None)),
    "itertools.chain": lambda held: functools.partial(next, itertools.chain([], [held])),
    "itertools.repeat": lambda held: functools.partial(next, itertools.repeat(held)),
    "itertools.cycle": lambda held: functools.partial(next, itertools.cycle([held])),
    "itertools.tee": lambda held: functools.partial(next, itertools.tee([held])[1]),
    "zip": in_a_zip,
    "reversed": lambda held: functools.partial(next, reversed([held])),
    "methodcaller": in_a_methodcaller,
    "argument of a partial": lambda held: functools.partial(lambda kept: kept, held),
    "ctypes.py_object": in_ctypes,
}
WEAKLY = frozenset({"weak reference", "weak set", "WeakMethod"})
NEVER_WEAKLY = frozenset({"staticmethod object", "classmethod object", "property object"})
"""Kinds of objects that take no weak references."""


def called_by_map(held: Any) -> Ask:
    half_consumed = map(held, [1, 2])
    settled(next(half_consumed))
    return lambda: next(half_consumed)


def called_by_filter(held: Any) -> Ask:
    answers: list[Any] = []
    half_consumed = itertools.filterfalse(functools.partial(record, answers, held), [1])
    return lambda: told(answers) if next(half_consumed) else None


def called_by_key(held: Any) -> Ask:
    """As the key of a sort; the answers are what it sorted by."""

    def ask() -> Any:
        keys: list[Any] = []
        sorted([1], key=functools.partial(record, keys, held))
        return told(keys)

    return ask


def in_a_defaultdict(held: Any) -> Ask:
    made: collections.defaultdict[int, Any] = collections.defaultdict(held)
    return lambda: made[1]


def called_as_a_method(held: Any) -> Ask:
    return types.MethodType(held, object())


def called_as_a_weak_method(held: Any) -> Ask:
    class Outside:
        pass

    owner = Outside()
    keeper = types.MethodType(held, owner)
    reference = weakref.WeakMethod(keeper)
    return lambda: reference()() if keeper is not None else None  # type: ignore[misc]


def called_by_a_property(held: Any) -> Ask:
    outside = type("Outside", (), {"attribute": property(held)})()
    return lambda: outside.attribute


def called_through_a_cached_property(held: Any) -> Ask:
    descriptor = functools.cached_property(held)
    outside = type("Outside", (), {"attribute": descriptor})
    descriptor.__set_name__(outside, "attribute")
    instance = outside()
    return lambda: instance.attribute


def called_by_single_dispatch(held: Any) -> Ask:
    dispatch = functools.singledispatch(lambda _: None)
    dispatch.register(int, held)
    return lambda: dispatch(1)


def called_by_a_finalizer(held: Any) -> Ask:
    class Mortal:
        pass

    answers: list[Any] = []
    mortal = [Mortal()]
    weakref.finalize(mortal[0], record, answers, held)

    def ask() -> Any:
        mortal.clear()
        return told(answers)

    return ask


def called_by_a_weak_reference(held: Any) -> Ask:
    class Mortal:
        pass

    answers: list[Any] = []
    mortal = [Mortal()]
    reference = weakref.ref(mortal[0], lambda _: record(answers, held) and None)

    def ask() -> Any:
        assert reference() is not None
        mortal.clear()
        return told(answers)

    return ask


def called_by_an_exit_stack(held: Any) -> Ask:
    stack = contextlib.ExitStack()
    answers: list[Any] = []
    stack.callback(functools.partial(record, answers, held))

    def ask() -> Any:
        stack.close()
        return told(answers)

    return ask


def called_by_sqlite(held: Any) -> Ask:
    """A function pointer with a context in a C library."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    answers: list[Any] = []
    connection.create_function("held", 0, functools.partial(record, answers, held))

    def ask() -> Any:
        with contextlib.closing(connection):
            connection.execute("select held()").fetchone()
        return told(answers)

    return ask


def called_by_ctypes(held: Any) -> Ask:
    answers: list[Any] = []
    pointer = ctypes.CFUNCTYPE(None)(functools.partial(record, answers, held))

    def ask() -> Any:
        pointer()
        return told(answers)

    return ask


def called_by_json(held: Any) -> Ask:
    answers: list[Any] = []
    encoder = json.JSONEncoder(default=functools.partial(record, answers, held))

    def ask() -> Any:
        encoder.encode(object())
        return told(answers)

    return ask


class Loop(asyncio.BaseEventLoop):
    """An event loop without files: hundreds of them are open at once here."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = types.SimpleNamespace(select=lambda timeout: [])

    def _process_events(self, events: list[Any]) -> None:
        assert events == []


def scheduled_by_call_soon(held: Any) -> Ask:
    loop = Loop()
    answers: list[Any] = []
    loop.call_soon(record, answers, held)

    def ask() -> Any:
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        return told(answers)

    return ask


def scheduled_by_call_later(held: Any) -> Ask:
    loop = Loop()
    answers: list[Any] = []
    loop.call_later(0.0001, record, answers, held)
    loop.call_later(0.0002, loop.stop)

    def ask() -> Any:
        loop.run_forever()
        loop.close()
        return told(answers)

    return ask


def done_callback(held: Any) -> Ask:
    future: concurrent.futures.Future[int] = concurrent.futures.Future()
    answers: list[Any] = []
    future.add_done_callback(functools.partial(record, answers, held))

    def ask() -> Any:
        future.set_result(1)
        return told(answers)

    return ask


def thread_target(held: Any) -> Ask:
    answers: list[Any] = []
    thread = threading.Thread(target=record, args=(answers, held))

    def ask() -> Any:
        thread.start()
        thread.join(LIMIT)
        return told(answers)

    return ask


def timer(held: Any) -> Ask:
    answers: list[Any] = []
    waiting = threading.Timer(0.0, record, (answers, held))

    def ask() -> Any:
        waiting.start()
        waiting.join(LIMIT)
        return told(answers)

    return ask


def work_item(held: Any) -> Ask:
    """Queued behind a call that does not end before the swap."""
    executor = concurrent.futures.ThreadPoolExecutor(1)
    gate = threading.Event()
    executor.submit(gate.wait, LIMIT * 10)
    pending = executor.submit(held)

    def ask() -> Any:
        gate.set()
        answer = pending.result(LIMIT)
        executor.shutdown()
        return answer

    return ask


def local_of_a_running_thread(held: Any) -> Ask:
    """A loop that never ends, in whose frame the object is a local."""
    asked = threading.Event()
    answers: list[Any] = []

    def loop(local: Any) -> None:
        while not answers:
            asked.wait(LIMIT * 10)
            record(answers, local)

    thread = threading.Thread(target=loop, args=(held,))
    thread.start()

    def ask() -> Any:
        asked.set()
        thread.join(LIMIT)
        return told(answers)

    return ask


def signal_handler(held: Any) -> Ask:
    """The handlers of all cells share one signal, so each is put in place for the moment; it is held as it is."""
    answers: list[Any] = []
    before = signal.signal(signal.SIGUSR1, functools.partial(record, answers, held))
    handler = signal.signal(signal.SIGUSR1, before)

    def ask() -> Any:
        mine = signal.signal(signal.SIGUSR1, handler)
        try:
            signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, mine)
        return told(answers)

    return ask


def method_of_a_class(held: Any) -> Ask:
    return type("Outside", (), {"attribute": staticmethod(held)})().attribute  # type: ignore[no-any-return]


CALLERS: dict[str, Callable[[Any], Ask]] = {
    "partial": lambda held: functools.partial(held, 1),
    "partial of a partial": lambda held: functools.partial(functools.partial(held, 1), 2),
    "bound operator.call": lambda held: functools.partial(operator.call, held),
    "half-consumed map": called_by_map,
    "filter": called_by_filter,
    "key of a sort": called_by_key,
    "starmap": lambda held: functools.partial(next, itertools.starmap(held, [()])),
    "iter with a sentinel": lambda held: functools.partial(next, iter(held, object())),
    "defaultdict": in_a_defaultdict,
    "method of an outside object": called_as_a_method,
    "WeakMethod": called_as_a_weak_method,
    "staticmethod of an outside class": method_of_a_class,
    "property of an outside class": called_by_a_property,
    "cached_property of an outside class": called_through_a_cached_property,
    "singledispatch": called_by_single_dispatch,
    "weakref.finalize": called_by_a_finalizer,
    "callback of a weak reference": called_by_a_weak_reference,
    "exit stack": called_by_an_exit_stack,
    "sqlite3 function": called_by_sqlite,
    "ctypes callback": called_by_ctypes,
    "json default": called_by_json,
    "done callback of a future": done_callback,
}
CALLERS_WITH_THREADS: dict[str, Callable[[Any], Ask]] = {
    "call_soon": scheduled_by_call_soon,
    "call_later": scheduled_by_call_later,
    "thread target": thread_target,
    "timer": timer,
    "queued work item": work_item,
    "local of a frame that never ends": local_of_a_running_thread,
    "signal handler": signal_handler,
}


# --- the history -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """A way to hold an object of one kind."""

    holder: str
    kind: str


HOLDERS = {**CONTAINERS, **CALLERS, **CALLERS_WITH_THREADS}


def kinds_for(holder: str) -> list[str]:
    """The kinds of objects that can be held in a way."""
    return [
        kind
        for kind, facts in KINDS.items()
        if not (holder in WEAKLY and kind in NEVER_WEAKLY) and (holder in CONTAINERS or facts.callable)
    ]


def answer(cell: Cell, ask: Ask) -> Any:
    try:
        given = ask()
        return settled(KINDS[cell.kind].use(given) if cell.holder in CONTAINERS else given)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


class Throwaway:
    """The package of a module's tests, on `sys.path` while it is open."""

    def __init__(self, root: Path, files: dict[str, str]) -> None:
        for name, source in files.items():
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source)
        self._root = str(root)
        self._before = (builtins.__import__, list(sys.path), list(sys.meta_path), set(sys.modules))

    def __enter__(self) -> Throwaway:
        sys.path.insert(0, self._root)
        importlib.invalidate_caches()
        return self

    def __exit__(self, *_: object) -> None:
        gc.collect()
        builtins.__import__, sys.path[:], sys.meta_path[:], modules = self._before
        for name, module in list(sys.modules.items()):
            if name not in modules and (getattr(module, "__file__", None) or "").startswith((self._root, "hotswap-")):
                del sys.modules[name]
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]

    def history(self) -> Iterator[tuple[int, ModuleType]]:
        """Go from stage to stage."""
        importlib.import_module(f"{PACKAGE}.core")
        patcher = hotswap.Patcher([PACKAGE])
        for stage, live in enumerate(STAGES):
            if stage and live < STAGES[stage - 1]:
                patcher.rollback()
            elif stage:
                patcher.apply(patch(live, f"{live}.{stage}"))
            yield stage, sys.modules[f"{PACKAGE}.core"]


def patch(live: int, version: str) -> hotswap.Patch:
    return hotswap.Patch.from_sources({f"{PACKAGE}.core": CORE.replace("{n}", str(live))}, version=version)


FILES = {f"{PACKAGE}/__init__.py": "", f"{PACKAGE}/core.py": CORE.replace("{n}", "1")}

Answers = dict[Cell, dict[tuple[int, int], Any]]
"""For each cell: (stage at which the object was held, stage at which it was used) -> what it answered."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Run the history once, with everything held in every way."""
    holders = HOLDERS if THREADS else {**CONTAINERS, **CALLERS}
    chosen = [Cell(holder, kind) for holder in holders for kind in kinds_for(holder)]
    held: dict[tuple[Cell, int, int], Ask] = {}
    found: Answers = {cell: {} for cell in chosen}
    with Throwaway(tmp_path_factory.mktemp("matrix"), FILES) as throwaway:
        for stage, core in throwaway.history():
            for cell in chosen:
                for before, used in SPANS:
                    if used == stage:
                        found[cell][before, used] = answer(cell, held.pop((cell, before, used)))
                    elif before == stage:
                        held[cell, before, used] = holders[cell.holder](KINDS[cell.kind].get(core))
        assert not held
        del core
    return found


class TestMatrix:
    """One test for each way to hold an object, over all kinds of objects: a test for each cell took pytest longer than
    it took hotswap."""

    @pytest.mark.parametrize(
        "holder",
        [*CONTAINERS, *CALLERS, *(pytest.param(name, marks=pytest.mark.threads) for name in CALLERS_WITH_THREADS)],
    )
    def test_leads_to_what_is_live(self, holder: str, answers: Answers) -> None:
        kinds = kinds_for(holder)
        assert len(kinds) >= min(len(KINDS), 15)
        assert {kind: answers[Cell(holder, kind)] for kind in kinds} == dict.fromkeys(kinds, EXPECTED)


# --- names in other modules ------------------------------------------------------------------------------------------

FORMS = {
    "from-import": ("from referred.core import {name}", "outside.{name}"),
    "from-import with an alias": ("from referred.core import {name} as other", "outside.other"),
    "import of the module": ("import referred.core", "outside.referred.core.{name}"),
    "import of the module with an alias": ("import referred.core as c", "outside.c.{name}"),
    "from-import of the module": ("from referred import core", "outside.core.{name}"),
    "star import": ("from referred.core import *", "outside.{name}"),
    "re-export of the package": ("from referred import {name}", "outside.{name}"),
    "re-export of an unchanged module": ("from referred.facade import {name}", "outside.{name}"),
    "re-export under another name": ("from referred.facade import other_{name}", "outside.other_{name}"),
    "within a try block": (
        "try:\n    from referred.core import {name}\nexcept ImportError:\n    {name} = None",
        "outside.{name}",
    ),
    "within a function": ("def get():\n    from referred.core import {name}\n    return {name}", "outside.get()"),
    "within a function, of the module": (
        "def get():\n    import referred.core as c\n    return c",
        "outside.get().{name}",
    ),
    "within a class body": ("class Outside:\n    from referred.core import {name}", "vars(outside.Outside)['{name}']"),
    "assigned name": ("import referred.core\nother = referred.core.{name}", "outside.other"),
}
"""What another module says, and how its name is read."""

FORWARDED = frozenset({"within a class body"})
"""Where no name in a module's globals is rebound; what is held there leads to the new code like any other reference."""

NAMES: dict[str, Callable[[Any], int]] = {
    "function": lambda o: settled(o()),
    "coroutine": lambda o: settled(o()),
    "generator": lambda o: settled(o()),
    "async_generator": lambda o: settled(o()),
    "shorthand": lambda o: settled(o()),
    "decorated": lambda o: settled(o()),
    "cached": lambda o: settled(o()),
    "unchanged": lambda o: settled(o()),
    "Class": lambda o: settled(o()),
    "Failure": lambda o: settled(o()),
    "Colour": lambda o: settled(o.RED.says()),
    "LIMIT": lambda o: o - 1000,
}
VALUES = frozenset({"LIMIT"})
NOWHERE_SAID = frozenset({"within a class body", "assigned name"})
"""Where neither identity nor an import statement of the module tells that a number came from the patched module."""

IMPORTS = [(form, name) for form in FORMS for name in NAMES if not (name in VALUES and form in NOWHERE_SAID)]


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[tuple[Any, bool]]]:
    """Run the history once more, with a module for each form and name: (answer, whether it is the live object)."""
    names = ", ".join(NAMES)
    files = FILES | {
        f"{PACKAGE}/__init__.py": f"from .core import {names}\n",
        f"{PACKAGE}/facade.py": f"from .core import {names}\nfrom .core import "
        + ", ".join(f"{name} as other_{name}" for name in NAMES),
    }
    modules = {(form, name): f"referring_{number}" for number, (form, name) in enumerate(IMPORTS)}
    files |= {f"{module}.py": FORMS[form][0].format(name=name) for (form, name), module in modules.items()}
    found: dict[tuple[str, str], list[tuple[Any, bool]]] = {key: [] for key in modules}
    with Throwaway(tmp_path_factory.mktemp("imports"), files) as throwaway:
        for _, core in throwaway.history():
            for (form, name), module in modules.items():
                outside = importlib.import_module(module)
                value = eval(FORMS[form][1].format(name=name), {"outside": outside, "vars": vars})
                try:
                    told_version: Any = NAMES[name](value)
                except Exception as error:
                    told_version = f"{type(error).__name__}: {error}"
                found[form, name].append((told_version, value is vars(core)[name]))
            del outside, core, value
    return found


class TestNamesInOtherModules:
    @pytest.mark.parametrize("form", FORMS)
    def test_lead_to_what_is_live(self, form: str, imported: Any) -> None:
        found = {key: [version for version, _ in imported[key]] for key in IMPORTS if key[0] == form}
        assert found == {key: list(STAGES) for key in found}
        assert len(found) >= len(NAMES) - len(VALUES)

    @pytest.mark.parametrize("form", sorted(FORMS.keys() - FORWARDED))
    def test_are_bound_to_the_live_object_itself(self, form: str, imported: Any) -> None:
        """So the common path has no forwarder on it."""
        found = {key: [is_live for _, is_live in imported[key]] for key in IMPORTS if key[0] == form}
        assert found == dict.fromkeys(found, [True] * len(STAGES))
        assert len(found) >= len(NAMES) - len(VALUES)


# --- nobody else -----------------------------------------------------------------------------------------------------


@pytest.fixture
def throwaway(tmp_path: Path) -> Iterator[Throwaway]:
    with Throwaway(tmp_path, FILES) as opened:
        yield opened


SPARE = """
import functools

def function(*_): return {n}
async def coroutine(*_): return {n}
def through(inner):
    @functools.wraps(inner)
    def wrapper(*a):
        return inner(*a)
    return wrapper
@through
def decorated(*_): return {n}
@functools.lru_cache
def cached(*_): return {n}
class Class:
    def method(self=None, *_): return {n}
    @staticmethod
    def static(*_): return {n}
"""
"""A module without objects that outlive a version and would keep its functions."""


@pytest.fixture
def spare(make_package: Callable[..., ModuleType]) -> Iterator[tuple[int, ModuleType]]:
    """A history of such a module: (what is live, the module)."""
    package = make_package({"core.py": SPARE.replace("{n}", "1")}).__name__
    importlib.import_module(f"{package}.core")

    def history() -> Iterator[tuple[int, ModuleType]]:
        patcher = hotswap.Patcher([package])
        for stage, live in enumerate(STAGES):
            if stage and live < STAGES[stage - 1]:
                patcher.rollback()
            elif stage:
                sources: dict[str, str | bytes] = {f"{package}.core": SPARE.replace("{n}", str(live))}
                patcher.apply(hotswap.Patch.from_sources(sources, version=f"{live}.{stage}"))
            assert forks_go()  # a stand-in is given out as long as something is in flight
            gc.collect()
            yield live, sys.modules[f"{package}.core"]

    return history()


class TestWeakReferences:
    """Registries of handlers (signals, event buses) hold functions weakly: the module is what keeps them alive.

    They must not lose a handler because the module has a new function under its name.
    """

    KINDS = ("function", "coroutine function", "decorated function", "lru_cache", "unbound method", "static method")

    @pytest.mark.parametrize("stage", [0, 1, 2])
    def test_to_what_only_the_module_keeps(self, stage: int, spare: Iterator[tuple[int, ModuleType]]) -> None:
        references: dict[str, weakref.ref[Any]] = {}
        answers: list[tuple[str, Any, int]] = []
        for number, (live, core) in enumerate(spare):
            if number == stage:
                references = {kind: weakref.ref(KINDS[kind].get(core)) for kind in self.KINDS}
            for kind, reference in references.items():
                held = reference()
                answers.append((kind, "died" if held is None else settled(KINDS[kind].use(held)), live))
                del held
            del core
        assert {kind for kind, _, _ in answers} == {*self.KINDS}
        assert [(kind, answer) for kind, answer, _ in answers] == [(kind, live) for kind, _, live in answers]

    @pytest.mark.parametrize("stage", [0, 1, 2])
    def test_to_a_bound_method(self, stage: int, spare: Iterator[tuple[int, ModuleType]]) -> None:
        """A `WeakMethod` refers to the instance and to the function, each weakly."""
        references: list[weakref.WeakMethod[Any]] = []
        instances: list[Any] = []
        answers: list[Any] = []
        for number, (live, core) in enumerate(spare):
            if number == stage:
                instances.append(core.Class())
                references.append(weakref.WeakMethod(instances[0].method))
            for reference in references:
                method = reference()
                answers.append(("died" if method is None else method(), live))
                del method
            del core
        assert [answer for answer, _ in answers] == [live for _, live in answers]


class TestGenerations:
    def test_die_when_nobody_holds_them(self, spare: Iterator[tuple[int, ModuleType]]) -> None:
        """Two generations are kept: what is live, and the one to go back to."""
        generations: list[weakref.ref[Any]] = []
        for live, core in spare:
            generations.append(weakref.ref(core))
            del core
            if live == 4:
                break
        gc.collect()
        assert [reference() is not None for reference in generations] == [False, False, True, True]

    @pytest.mark.threads
    def test_leave_no_function_when_their_calls_have_ended(self, make_package: Callable[..., ModuleType]) -> None:
        """The private clones too, on which their calls went on: they are known weakly, which must not keep them."""
        source = "def helper(): return {n}\ndef function(): return helper()\n"
        package = make_package({"core.py": source.replace("{n}", "0")}).__name__
        importlib.import_module(f"{package}.core")
        patcher = hotswap.Patcher([package])

        def count() -> int:
            gc.collect()
            return sum(type(o) is FunctionType and o.__module__ == f"{package}.core" for o in gc.get_objects())

        counts = []
        for version in range(1, 9):
            text = source.replace("{n}", str(version))
            rollout = patcher.apply(hotswap.Patch.from_sources({f"{package}.core": text}, version=str(version)))
            assert rollout.wait_settled(10)
            counts.append(count())
        assert counts[3:] == [counts[3]] * len(counts[3:])


def target_depth(function: Any) -> int:
    """How many functions are called one after the other until there is one that does the work."""
    depth = 0
    while (function := target_of(function.__code__)) is not None:
        depth += 1
    return depth


class TestRetargeting:
    KINDS = ("function", "coroutine function", "generator function", "unbound method", "static method")

    def test_is_direct(self, throwaway: Throwaway) -> None:
        """Every old function carries the newest function in its code: a hundred versions make no chain."""
        held: dict[str, list[Any]] = {kind: [] for kind in self.KINDS}
        for _, core in throwaway.history():
            assert forks_go()  # a stand-in is given out as long as something is in flight
            for kind, olds in held.items():
                live = KINDS[kind].get(core)
                for old in olds:
                    if old is not live:
                        assert target_of(old.__code__) is live, kind
                olds.append(live)
        assert {len(olds) for olds in held.values()} == {len(STAGES)}

    def test_after_a_hundred_versions(self, make_package: Callable[..., ModuleType]) -> None:
        source = "def function(): return {n}\nclass Class:\n    def method(self): return {n}\n"
        package = make_package({"core.py": source.replace("{n}", "0")}).__name__
        core: Any = importlib.import_module(f"{package}.core")
        patcher = hotswap.Patcher([package])
        instance, cls = core.Class(), core.Class
        held = [(core.function, instance.method, cls.method)]
        for version in range(1, 101):
            text = source.replace("{n}", str(version))
            patcher.apply(hotswap.Patch.from_sources({f"{package}.core": text}, version=str(version)))
            core = sys.modules[f"{package}.core"]
            held.append((core.function, core.Class().method, core.Class.method))
        for live in (100, 99):
            for function, bound, unbound in held:
                assert (function(), bound(), unbound(instance)) == (live, live, live)
                assert target_depth(function) <= 1
            assert core.Class is cls
            if live == 100:
                patcher.rollback()

    def test_follows_its_own_name_rather_than_the_place_where_it_is_held(
        self, make_package: Callable[..., ModuleType]
    ) -> None:
        """A partial holds a lambda of an earlier generation, and the new version puts something else in its place."""
        package = make_package(
            {
                "b.py": "f = lambda *_: 0\n",
                "c.py": "import functools\nfrom . import b\ng = functools.partial(b.f, 1)\n",
            }
        ).__name__
        c: Any = importlib.import_module(f"{package}.c")
        held, part = c.b.f, c.g
        patcher = hotswap.Patcher([package])
        patcher.apply(hotswap.Patch.from_sources({f"{package}.b": "f = lambda *_: 0\nx = 1\n"}, version="2"))
        assert sys.modules[f"{package}.b"].f is not held
        assert (held(), part()) == (0, 0)
        last = {
            f"{package}.b": "def f(*_): return 2\n",
            f"{package}.c": "import functools\ng = functools.partial(divmod, 1, 7)\n",
        }
        patcher.apply(hotswap.Patch.from_sources(last, version="3"))
        assert held() == 2
        patcher.rollback()
        assert (held(), part()) == (0, 0)

    def test_keeps_the_identity_of_classes(self, throwaway: Throwaway) -> None:
        stages = throwaway.history()
        _, core = next(stages)
        before = core.Class, core.Class.Nested, core.Colour, core.Failure, core.Colour.RED
        for _, live in stages:
            assert (live.Class, live.Class.Nested, live.Colour, live.Failure, live.Colour.RED) == before
            assert isinstance(live.instance, before[0])

    def test_keeps_pickles(self, throwaway: Throwaway) -> None:
        """What was pickled in one version is unpickled in another."""
        kinds = ("function", "class", "instance", "enum member", "exception class")
        pickles: list[tuple[str, bytes]] = []
        for _, core in throwaway.history():
            for kind, data in pickles:
                found = pickle.loads(data)
                answer = found.method() if kind == "instance" else settled(KINDS[kind].use(found))
                assert answer == core.function(), kind
            pickles += [(kind, pickle.dumps(KINDS[kind].get(core))) for kind in kinds]
        assert len(pickles) == len(kinds) * len(STAGES)

    def test_does_not_reach_pickle_for_functions_that_are_held(self, throwaway: Throwaway) -> None:
        """A limit: pickle takes a function only if its module has that very object under its name.

        It says so, rather than to pickle another; who pickles functions (a process pool, a task queue) gets them
        from the module.
        """
        stages = throwaway.history()
        _, core = next(stages)
        old = core.function
        _, live = next(stages)
        with pytest.raises(pickle.PicklingError, match="not the same object"):
            pickle.dumps(old)
        assert pickle.loads(pickle.dumps(live.function)) is live.function
