"""What a client of a package may expect of an update: small programs in two versions, and a question to each.

A scene is a generator function. It gets the imported modules of its program by name, holds what a client would hold,
yields while the package is updated, and returns whether what its docstring says is so. What is held is held here, where
no tool looks for modules to run again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType, SimpleNamespace
from typing import NamedTuple

__all__ = ["PACKAGE", "SCENES", "Scene"]

PACKAGE = "updated"
"""The package that is updated, as the sources spell it."""

Asked = Generator[None, None, bool]

CORE = """
import enum
import functools

LIMIT = {n}
seen = {{}}


class Kind(enum.Enum):
    BOOK = "book"


class Lamp:
    def __init__(self):
        self.hours = 7

    def light(self):
        return {n}


class Broken(Exception):
    pass


def function():
    return {n}


def breaks():
    raise Broken


def logged(function):
    @functools.wraps(function)
    def wrapper():
        return function()
    return wrapper


@logged
def decorated():
    return {n}


def counter():
    def count():
        return {n}
    return count
"""

USER = """
from updated.core import LIMIT, function


def call():
    return function()


def limit():
    return LIMIT
"""

HELPER = "def helper({parameters}):\n    return {n}\n"
CALLER = """
from updated import helper


def total(wait=lambda: None):
    {first}
    wait()
    return helper.helper({arguments})
"""

SLOWLY = "import time\ntime.sleep(0.05)\n"
"""A module that imports others takes its time; so nobody passes because the threads looked elsewhere."""

PLAIN = ({"core": CORE.format(n=1)}, {"core": CORE.format(n=2)})
TWO = (
    {
        "helper": HELPER.format(parameters="a", n=1),
        "caller": CALLER.format(first="version = 1", arguments="1"),
    },
    {
        "helper": SLOWLY + HELPER.format(parameters="a, b", n=2),
        "caller": SLOWLY + CALLER.format(first="version = 2", arguments="1, 2"),
    },
)


class Scene(NamedTuple):
    """A program in two versions, and what is asked of it.

    Attributes:
        old, new: sources by module of the package.
        asked: the generator function.
        others: modules outside of the package that no version changes.
    """

    old: dict[str, str]
    new: dict[str, str]
    asked: Callable[[SimpleNamespace], Asked]
    others: Mapping[str, str] = MappingProxyType({})

    @property
    def asks(self) -> str:
        """What is asked, in words."""
        assert self.asked.__doc__
        return self.asked.__doc__.removesuffix(".")


def by_name(program: SimpleNamespace) -> Asked:
    """A function, called by the name of its module."""
    yield
    return bool(program.core.function() == 2)


def from_import(program: SimpleNamespace) -> Asked:
    """A function that an unchanged module has from-imported."""
    yield
    return bool(program.user.call() == 2)


def constant(program: SimpleNamespace) -> Asked:
    """A constant that an unchanged module has from-imported."""
    yield
    return bool(program.user.limit() == 2)


def held(program: SimpleNamespace) -> Asked:
    """A function that is held in a table of callbacks."""
    table = {"callback": program.core.function}
    yield
    return bool(table["callback"]() == 2)


def held_decorated(program: SimpleNamespace) -> Asked:
    """A decorated function that is held."""
    table = [program.core.decorated]
    yield
    return bool(table[0]() == 2)


def held_closure(program: SimpleNamespace) -> Asked:
    """A closure that was made before."""
    count = program.core.counter()
    yield
    return bool(count() == 2)


def old_instance(program: SimpleNamespace) -> Asked:
    """A method of an instance that was made before."""
    lamp = program.core.Lamp()
    yield
    return bool(lamp.light() == 2 and lamp.hours == 7)


def bound_method(program: SimpleNamespace) -> Asked:
    """A bound method that is held."""
    light = program.core.Lamp().light
    yield
    return bool(light() == 2)


def held_class(program: SimpleNamespace) -> Asked:
    """A class that is held makes new instances."""
    make = program.core.Lamp
    yield
    return bool(make().light() == 2)


def one_class(program: SimpleNamespace) -> Asked:
    """An old instance is an instance of the class that has its name."""
    lamp = program.core.Lamp()
    yield
    return isinstance(lamp, program.core.Lamp) and program.core.Lamp().light() == 2


def caught(program: SimpleNamespace) -> Asked:
    """`except` with the exception class from before catches what new code raises."""
    wanted = program.core.Broken
    yield
    try:
        program.core.breaks()
    except wanted:
        return bool(program.core.function() == 2)
    except Exception as twin:  # noqa: BLE001 - another class of that name, which is the answer
        return type(twin) is wanted
    raise AssertionError("it does not raise")


def enum_member(program: SimpleNamespace) -> Asked:
    """An enum member from before is the member of today."""
    book = program.core.Kind.BOOK
    yield
    return book is program.core.Kind.BOOK and program.core.function() == 2


def state(program: SimpleNamespace) -> Asked:
    """A cache of the module, whose definition did not change, keeps what was put into it."""
    program.core.seen["a"] = 1
    yield
    return bool(program.core.seen == {"a": 1} and program.core.function() == 2)


def removed(program: SimpleNamespace) -> Asked:
    """A function that the new version does not have is gone from the module."""
    yield
    return program.core.function() == 2 and not hasattr(program.core, "counter")


def syntax(program: SimpleNamespace) -> Asked:
    """One of two modules has a syntax error: both go on as before."""
    yield
    return bool(program.caller.total() == 1 == program.helper.helper(1))


def half_way(program: SimpleNamespace) -> Asked:
    """A module raises half way through: it goes on as before."""
    function = program.core.function
    yield
    return program.core.function is function and program.core.function() == function() == 1 == program.core.LIMIT


def in_flight(program: SimpleNamespace) -> Asked:
    """A call that has begun ends on the code that it began with, when another module's signature changes."""
    began, may_go, found = threading.Event(), threading.Event(), []

    def wait() -> None:
        began.set()
        may_go.wait(60)

    def work() -> None:
        try:
            found.append(program.caller.total(wait))
        except TypeError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    began.wait(60)
    yield
    may_go.set()
    thread.join(60)
    return found == [1] and program.caller.total() == 2


def threads(program: SimpleNamespace) -> Asked:
    """Two modules change together: no call of four threads fails meanwhile."""
    over, failed = threading.Event(), []

    def work() -> None:
        while not over.is_set():
            try:
                program.caller.total()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is counted
                failed.append(error)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        over.set()
        for worker in workers:
            worker.join(60)
    return not failed and program.caller.total() == 2


def same_function(program: SimpleNamespace) -> Asked:
    """A function that is held is the one that has its name."""
    function = program.core.function
    yield
    return function is program.core.function and function() == 2


def new_field(program: SimpleNamespace) -> Asked:
    """An old instance has an attribute that `__init__` sets since the new version."""
    lamp = program.core.Lamp()
    yield
    return program.core.function() == 2 and hasattr(lamp, "colour")


def metaclass(program: SimpleNamespace) -> Asked:
    """A class gets another metaclass, and the new version runs."""
    yield
    return program.core.function() == 2 and type(program.core.Lamp).__name__ == "ABCMeta"


SCENES = {
    "by name": Scene(*PLAIN, by_name),
    "from-import": Scene(*PLAIN, from_import, {"user": USER}),
    "constant": Scene(*PLAIN, constant, {"user": USER}),
    "held": Scene(*PLAIN, held),
    "decorated": Scene(*PLAIN, held_decorated),
    "closure": Scene(*PLAIN, held_closure),
    "instance": Scene(*PLAIN, old_instance),
    "bound method": Scene(*PLAIN, bound_method),
    "held class": Scene(*PLAIN, held_class),
    "one class": Scene(*PLAIN, one_class),
    "except": Scene(*PLAIN, caught),
    "enum": Scene(*PLAIN, enum_member),
    "state": Scene(*PLAIN, state),
    "removed": Scene(PLAIN[0], {"core": PLAIN[1]["core"].partition("def counter")[0]}, removed),
    "in flight": Scene(*TWO, in_flight),
    "threads": Scene(*TWO, threads),
    "same function": Scene(*PLAIN, same_function),
    "new field": Scene(
        PLAIN[0],
        {"core": PLAIN[1]["core"].replace("self.hours = 7", "self.hours, self.colour = 7, 'red'")},
        new_field,
    ),
    "metaclass": Scene(
        PLAIN[0],
        {"core": "import abc\n" + PLAIN[1]["core"].replace("class Lamp:", "class Lamp(metaclass=abc.ABCMeta):")},
        metaclass,
    ),
    "syntax": Scene(TWO[0], {**TWO[1], "caller": "def total(:\n"}, syntax),
    "half way": Scene(PLAIN[0], {"core": PLAIN[1]["core"] + "\nraise RuntimeError('no database')\n"}, half_way),
}
"""The scenes by name."""
