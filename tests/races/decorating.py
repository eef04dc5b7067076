"""Walks over versions of three modules, of which one has the decorators of the others.

What a decorator has made runs in the globals of the decorator's module, and is held by a module that may stay. A patch
of the decorators alone leads it on as if its own module had been patched: who begins gets the new one with its helpers,
and who is in flight, or in a session, the one that he had.

Who answers says so: `3|low.helper:2` is what version 3 of the lower module answers, by way of a wrapper that calls
version 2 of the decorators.
"""

from __future__ import annotations

from hotswap import Patch
from tests.races.walking import Texts, Walk

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
import functools
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

part = functools.partial(helper)

@deco.awaited
async def fetch({more}x): return helper({pass_}x)

@deco.streamed
def several({more}x):
    yield helper({pass_}x)
    yield "{v}"
"""

MID = """
from {package} import deco, low
from {package}.low import Num, fetch, helper, several, part

def facts():
    num = Num({pass_}1)
    return [
        helper({pass_}1), num + 1, num.x, low.helper({pass_}1), low.other({pass_}1), *several({pass_}1),
        *low.several({pass_}1), (lambda: num + 1)(), (lambda: helper({pass_}1))(), own({pass_}1),
        low.part({pass_}1), part({pass_}1),
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

    first = Texts(1, 1, 0, 1, 0)
    kinds = ("tagged", "fixed", "method", "task", "watched", "flowing")
    changes = ("", " low", " mid", " deco", " deco", " deco")

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
        assert only in ("", "deco") or texts.shape == self.now.shape, "who stays calls as before"
        self.back = None
        return texts, Patch.from_sources(self._sources(texts, only), version=str(version))

    def _decorators(self, seen: set[str]) -> set[int]:
        """The versions of the decorators that answers are of, but for what stands around the loop that gives them."""
        told = (token.split(":") for one in seen for token in one.split("|")[1:])
        return {int(version) for home, *versions in told if home != "mid.flowing" for version in versions}
