"""A service whose calls are shadowed: a module that a patch changes, and one that calls it and stays as it is."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from hotswap import Patch, Patcher
from hotswap.shadows import Shadow
from tests.waiting import until

__all__ = ["Service", "awaited", "known", "wait"]

TAX = """
import asyncio
import hotswap

gate = None
seen = []

def apply(net, rate=19):
    seen.append(hotswap.is_shadow())
    if gate is not None:
        gate(net)
    return net * rate // 100 + {more}

class Till:
    count = 0
    def add(self, net):
        self.count += net
        return self.count + {more}
    @property
    def state(self):
        return self.count + {more}
    @staticmethod
    def opened(when, *rest, where="here", **others):
        return when, rest, where, others, {more}

async def ask(net):
    await asyncio.sleep(0)
    if gate is not None:
        gate(net)
    return net + {more}

def numbers():
    yield {more}
"""

PRICING = """
from PACKAGE.tax import apply
from PACKAGE import tax

def quote(net, *, rate=19):
    if net < 0:
        raise ValueError(f"negative: {net}")
    return {"net": net, "tax": apply(net, rate), "at": object()}

def outer(net):
    return quote(net)["tax"]

def deep(net):
    return apply(net) if net < 1 else deep(net - 1)
"""


class Service:
    """The package, its patcher, and what is armed.

    Arguments:
        make: makes the package.
        more: what the candidate answers more.
        source: of the candidate's `tax`, if it is another one.
    """

    def __init__(self, make: Callable[..., ModuleType], more: int = 0, source: str | None = None) -> None:
        self.package = make({"tax.py": TAX.format(more=0)}).__name__
        folder = Path(sys.modules[self.package].__path__[0])
        (folder / "pricing.py").write_text(PRICING.replace("PACKAGE", self.package), encoding="utf-8")
        __import__(f"{self.package}.pricing")
        self.tax: Any = sys.modules[f"{self.package}.tax"]
        self.pricing: Any = sys.modules[f"{self.package}.pricing"]
        self.patcher = Patcher([self.package])
        text = TAX.format(more=more) if source is None else source
        patch = Patch.from_sources({f"{self.package}.tax": f"# another one\n{text}"}, version="2")
        self.rollout = self.patcher.stage(patch)
        self.rollout.verify()
        self.rollout.arm()

    @property
    def new(self) -> Any:
        """The candidate's module."""
        return self.rollout.candidate[f"{self.package}.tax"]

    def shadow(self, name: str, **options: Any) -> Shadow:
        """Shadow a function of the package: all calls, unless it is said otherwise."""
        return self.rollout.shadow(f"{self.package}.{name}", **{"share": 1.0, **options})


def known(shadow: Shadow) -> int:
    """How many calls came to an end, one way or another."""
    return shadow.compared + shadow.errors + shadow.dropped + shadow.timed_out + shadow.left_out


def wait(shadow: Shadow, count: int) -> None:
    """Wait until so many calls came to an end."""
    assert until(lambda: known(shadow) >= count), f"{shadow}"
    assert known(shadow) == count


async def awaited(holds: Callable[[], Any], within: float = 20.0) -> None:
    """Wait on an event loop until something holds."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not happened")
