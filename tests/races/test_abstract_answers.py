"""What abstract classes and protocols have answered about a class is asked anew when the class gets or loses a method,
and when the forks are gone that stood on it meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.races.threads import forks_go
from tests.races.versions import Versions

pytestmark = pytest.mark.threads

METHODS = """
    def __len__(self): return 0
    def __contains__(self, one): return False
    def __iter__(self): return iter(())
    def __next__(self): raise StopIteration
    def __reversed__(self): return iter(())
    def __call__(self): return 1
    def __await__(self): return iter(())
    def __aiter__(self): return self
    def __anext__(self): return self
    def __enter__(self): return self
    def __exit__(self, *_): return None
    def __fspath__(self): return "/"
    def __int__(self): return 1
    def __round__(self, digits=None): return 1
    def close(self): return None
    size = 1
"""

LIBRARY = """
import abc, collections.abc, contextlib, functools, os, typing
from typing import Protocol, runtime_checkable

@runtime_checkable
class Closing(Protocol):
    def close(self): ...

@runtime_checkable
class Sized(Protocol):
    size: int

class Hook(abc.ABC):
    @classmethod
    def __subclasshook__(cls, other):
        return True if hasattr(other, "close") else NotImplemented

class Above(abc.ABC):
    pass

class Below(Above):
    @classmethod
    def __subclasshook__(cls, other):
        return hasattr(other, "__len__")

@functools.singledispatch
def told(o): return "object"

@told.register(collections.abc.Sized)
def _(o): return "sized"

KINDS = (
    *(collections.abc.Sized, collections.abc.Container, collections.abc.Iterable, collections.abc.Iterator),
    *(collections.abc.Collection, collections.abc.Reversible, collections.abc.Callable, collections.abc.Hashable),
    *(collections.abc.Awaitable, collections.abc.AsyncIterable, collections.abc.AsyncIterator),
    *(contextlib.AbstractContextManager, os.PathLike, typing.SupportsInt, typing.SupportsRound),
    *(Closing, Sized, Hook, Above),
)

def answers(*objects):
    return [
        [isinstance(o, kind) for kind in KINDS] + [issubclass(type(o), Hook), callable(o), told(o)] for o in objects
    ]
"""


class Special(Versions):
    source = """
class Thing:
    kind = "{v}"
{methods}

def helper({more}x): return "{v}"

def loop():
    tag = "{v}"
    while True:
        yield tag, helper({pass_}1)
"""

    @classmethod
    def text(cls, version: object, shape: int) -> str:
        """The versions with an odd shape have the methods; the others have a hash."""
        methods = METHODS + "    def __eq__(self, other): return self is other\n" if shape % 2 else ""
        return cls.source.format(v=version, methods=methods, more="", pass_="")


class Answers:
    """Two versions, one with the methods and one without them, and what is asked of objects of both.

    Arguments:
        make: makes packages.
        shape: the version that is live first: 1 has the methods.
    """

    def __init__(self, make: Callable[..., ModuleType], shape: int) -> None:
        self.shape = shape
        self.library: Any = make({"__init__.py": LIBRARY})
        self.versions = Special(make, None)
        if shape:
            self.versions.apply("1.5", 1).confirm()
        below = type("Below", (self.versions.core.Thing,), {})
        self.objects = self.versions.core.Thing(), below()
        self.expected = {shape: self.fresh(shape), 1 - shape: self.fresh(1 - shape)}
        assert self.expected[0] != self.expected[1]

    def fresh(self, shape: int) -> Any:
        """What is answered of objects of classes that nobody has asked about."""
        space: dict[str, Any] = {}
        exec(Special.text("9", shape), space)
        return self.library.answers(space["Thing"](), type("Below", (space["Thing"],), {})())

    def now(self) -> Any:
        return self.library.answers(*self.objects)


@pytest.mark.parametrize("shape", [0, 1])
class TestAnswers:
    """The second version adds the methods, or has them no more."""

    def test_with_nothing_in_flight(self, make_package: Callable[..., ModuleType], shape: int) -> None:
        answers = Answers(make_package, shape)
        assert answers.now() == answers.expected[shape]
        rollout = answers.versions.apply("2", 1 - shape)
        assert answers.now() == answers.expected[1 - shape]
        rollout.rollback()
        assert answers.now() == answers.expected[shape]
        rollout = answers.versions.apply("3", 1 - shape)
        assert answers.now() == answers.expected[1 - shape]
        rollout.confirm()

    @pytest.mark.parametrize("goes_back", [False, True])
    def test_when_calls_have_drained(
        self, make_package: Callable[..., ModuleType], shape: int, goes_back: bool
    ) -> None:
        answers = Answers(make_package, shape)
        loop = answers.versions.core.loop()
        assert next(loop) and answers.now() == answers.expected[shape]
        rollout = answers.versions.apply("2", 1 - shape)
        assert next(loop) and answers.now()  # they see the forks, and remember that
        if goes_back:
            new = answers.versions.core.loop()
            next(new)
            rollout.rollback()
            assert next(loop) and next(new) and answers.now()
            new.close()
            del new
        loop.close()
        del loop
        assert rollout.drained.wait(20)
        assert forks_go()
        assert answers.now() == answers.expected[shape if goes_back else 1 - shape]

    def test_when_one_that_was_armed_is_not(self, make_package: Callable[..., ModuleType], shape: int) -> None:
        answers = Answers(make_package, shape)
        rollout = answers.versions.patcher.stage(answers.versions.patch_of("2", 1 - shape))
        rollout.verify()
        rollout.arm()
        assert answers.now()
        with rollout.preview():
            assert answers.now()
        rollout.abort()
        assert forks_go()
        assert answers.now() == answers.expected[shape]


def test_another_base(make_package: Callable[..., ModuleType]) -> None:
    class Based(Versions):
        source = """
import abc
class One(abc.ABC): pass
class Two(abc.ABC): pass
class Thing({base}): pass
def asked(o): return isinstance(o, One), isinstance(o, Two)
"""

        @classmethod
        def text(cls, version: object, shape: int) -> str:
            return cls.source.format(base=("One", "Two")[shape])

    based = Based(make_package, None)
    thing = based.core.Thing()
    below = type("Below", (based.core.Thing,), {})()
    assert based.core.asked(thing) == based.core.asked(below) == (True, False)
    rollout = based.apply("2", 1)
    assert based.core.asked(thing) == based.core.asked(below) == (False, True)
    rollout.rollback()
    assert based.core.asked(thing) == based.core.asked(below) == (True, False)
