"""Walks over versions of three modules, of which one has the decorators of the others.

What a decorator has made runs in the globals of the decorator's module, and is held by a module that may stay: so a
patch of the decorators alone finds it by no name. It is led on when what was in flight has ended. Until then it may be
old, together with the helpers that it calls; it never calls one of another version.

Who answers says so: `3|low.helper:2` is what version 3 of the lower module answers, by way of a wrapper that calls
version 2 of the decorators.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from hotswap import Patch
from hotswap.testing import ManualClock
from tests.races.walking import Texts, Walk
from tests.waiting import until

__all__ = ["DecoratedWalk"]

DECO = """
import functools

def note({more}answer, function):
    told = f"|{{function.__module__[-3:]}}.{{function.__qualname__}}:{v}"
    return [*answer, told] if isinstance(answer, list) else answer + told

def noted(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs): return note({pass_}function(*args, **kwargs), function)
    return wrapper

def signed(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs): return note({pass_}function(*args, **kwargs), function) + ":{v}"
    return wrapper

def awaited(function):
    @functools.wraps(function)
    async def wrapper(*args, **kwargs): return note({pass_}await function(*args, **kwargs), function)
    return wrapper

def streamed(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        for one in function(*args, **kwargs):
            yield note({pass_}one, function)
    return wrapper
"""

LOW = """
from {package} import deco

class Num:
    def __init__(self, {more}x): self.x = self.deep({pass_}x)
    @deco.noted
    def deep(self, {more}x): return "{v}"
    @deco.signed
    def __add__(self, o): return "{v}"

@deco.noted
def helper({more}x): return "{v}"

@deco.signed
def other({more}x): return "{v}"

@deco.awaited
async def fetch({more}x): return helper({pass_}x)

@deco.streamed
def several({more}x):
    yield helper({pass_}x)
    yield "{v}"
"""

MID = """
from {package} import deco, low
from {package}.low import Num, fetch, helper, several

def facts():
    num = Num({pass_}1)
    return [
        helper({pass_}1), num + 1, num.x, low.helper({pass_}1), low.other({pass_}1), *several({pass_}1),
        *low.several({pass_}1), (lambda: num + 1)(), (lambda: helper({pass_}1))(), own({pass_}1),
    ]

@deco.noted
def own({more}x): return helper({pass_}x)

@deco.awaited
async def fetched({more}x): return await fetch({pass_}x)

class Jobs:
    def __init__(self, {more}x): self.num = Num({pass_}x)
    @deco.signed
    def _step(self, {more}x): return self.num + (lambda: x)()
    def run(self):
        while True:
            fresh = Jobs({pass_}1)
            yield [fresh._step({pass_}1), fresh.num.x, fresh.num.deep({pass_}1), *facts()]

class Given:
    def __init__(self, {more}items): self.items = items
    def __await__(self): yield self.items

def method(): return Jobs({pass_}1).run()

async def task():
    while True:
        await Given({pass_}[
            *facts(), await fetch({pass_}1), await fetched({pass_}1), await low.fetch({pass_}1),
        ])

@deco.awaited
async def watched():
    while True:
        await Given({pass_}[*facts(), await fetch({pass_}1), await fetched({pass_}1), helper({pass_}1)])

@deco.streamed
def flowing():
    while True:
        yield [*facts(), helper({pass_}1), *low.several({pass_}1)]

def tagged():
    tag = "tag {v}"
    while True:
        yield [tag, *facts(), helper({pass_}1), *low.several({pass_}1)]

def fixed():
    while True:
        num = Num({pass_}1)
        yield [*facts(), helper({pass_}1), low.other({pass_}1), num + 1, *[one for one in several({pass_}1)]]
"""


class DecoratedWalk(Walk):
    """A walk with decorators in a module of their own.

    A version is written as for `Walk`; `3/1 deco` changes the decorators only, and `1` is the number of parameters then
    that their helper has more. A patch of all modules sets both numbers.
    """

    first = Texts(1, 1, 0, 1, 0, frozenset({1}))
    kinds = ("tagged", "fixed", "method", "task", "watched", "flowing")
    changes = ("", " low", " mid", " deco", " deco", " deco")

    def __init__(self, make: Callable[..., ModuleType], clock: ManualClock) -> None:
        self.held = {1}
        super().__init__(make, clock)

    @property
    def now(self) -> Texts:
        """What is live."""
        return super().now._replace(held=frozenset(self.held))

    def _sources(self, texts: Texts, only: str = "") -> dict[str, str]:
        sources = {}
        for name, text, version in (("deco", DECO, texts.deco), ("low", LOW, texts.low), ("mid", MID, texts.mid)):
            count = texts.inner if name == "deco" else texts.shape
            more = "".join(f"z{number}, " for number in range(count))
            if only in ("", name):
                made = text.format(v=version, package=self.package, pass_="0, " * count, more=more)
                sources[f"{self.package}.{name}"] = made
        return sources

    def _patch(self, what: str, only: str = "") -> tuple[Texts, Patch]:
        version, count = map(int, what.split("/"))
        texts = self.now._replace(
            mid=version if only in ("", "mid") else self.now.mid,
            low=version if only in ("", "low") else self.now.low,
            deco=version if only in ("", "deco") else self.now.deco,
            shape=self.now.shape if only == "deco" else count,
            inner=count if only in ("", "deco") else self.now.inner,
        )
        texts = texts._replace(held=texts.held | {texts.deco})
        assert only in ("", "deco") or texts.shape == self.now.shape, "who stays calls as before"
        self.back = None
        return texts, Patch.from_sources(self._sources(texts, only), version=str(version))

    def look(self, *, settled: bool = False) -> None:
        """Have everybody look around."""
        self.held.add(self.now.deco)
        if settled and not (self.loops or self.sessions or self.armed or self.back):
            self.held = {self.now.deco}
            if not until(lambda: self._decos(self._call("facts")) == self.held, 5):
                self._tell("wrappers are not led on")
        super().look(settled=settled)

    def _see(self, call: Callable[[], list[str]], who: str, made: Texts, allowed: set[int]) -> int | None:
        """Tell of what is not of one version of the decorators, too."""

        def told() -> list[str]:
            answers = call()
            self._check(answers, who, made)
            return [answer for one in answers if (answer := one.partition("|")[0])]

        return super()._see(told, who, made, allowed)

    def _check(self, answers: list[str], who: str, made: Texts) -> None:
        decos = self._decos(answers)
        by_home: dict[str, set[str]] = {}
        for one in answers:
            for token in one.split("|")[1:]:
                home, *versions = token.split(":")
                by_home.setdefault(home, set()).update(versions)
        mixed = {home: versions for home, versions in by_home.items() if len(versions) > 1}
        own = made.held | self.held if who.startswith(_LED) else made.held
        if mixed or not decos <= own:
            self._tell(f"{who} saw decorators of {by_home}, and not one of {sorted(own)}")

    def _decos(self, answers: list[str]) -> set[int]:
        return {int(version) for one in answers for token in one.split("|")[1:] for version in token.split(":")[1:]}


_LED = ("facts", "tagged", "fixed", "method", "task", "watched", "flowing")
