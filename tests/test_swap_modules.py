"""Modules that others hold: live modules hold live modules, and nothing that was there for the time of staging."""

from __future__ import annotations

import gc
import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from hotswap import Patch, Patcher
from hotswap.generation import ModuleView, SysView, gate
from hotswap.swap.forwarding import SupersededModule

Make = Callable[..., ModuleType]

STAND_INS = (ModuleView, SysView, SupersededModule)


def stand_ins(package: str) -> list[str]:
    """What the live modules of a package hold that stands in for a module or a function of the import system."""
    names = [name for name in sys.modules if name.partition(".")[0] == package]
    stack: list[tuple[str, Any]] = [(name, sys.modules[name].__dict__) for name in names]
    wrappers = {id(wrapper) for wrapper, _ in gate.originals()}
    seen: set[int] = set()
    found = []
    while stack:
        where, value = stack.pop()
        if type(value) in STAND_INS or id(value) in wrappers:
            found.append(f"{where}: {type(value).__name__}")
        elif id(value) not in seen and not isinstance(value, ModuleType):
            seen.add(id(value))
            stack += [(f"{where}{step}", part) for step, part in _parts(value, package)]
    return found


def _parts(value: Any, package: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, FunctionType):
        if str(value.__module__).partition(".")[0] == package:
            held = (value.__defaults__, value.__kwdefaults__, value.__closure__, value.__dict__)
            yield from ((f".{value.__name__}", part) for part in held)
    elif isinstance(value, type):
        if str(value.__module__).partition(".")[0] == package:
            yield from ((f".{name}", part) for name, part in vars(value).items())
    elif type(value) is dict:
        yield from ((f"[{key!r}]", part) for key, part in value.items() if key != "__builtins__")
    else:
        yield from (("/", part) for part in gc.get_referents(value) if not isinstance(part, type))


class TestWhatLiveModulesHold:
    """Views of modules are for the time of staging: none is left with anything that is live."""

    FILES = {
        "tax.py": "def rate(): return 1\n",
        "money.py": "def euro(): return 1\n",
        "web.py": """
            from PKG import tax, money as cash
            from PKG import LIMIT
            def price(): return tax.rate()
            """,
    }
    INIT = """
        import sys, functools
        from . import tax, money
        import PKG.tax as alias
        LIMIT = {n}
        def default(module=tax, *, other=money): return module.rate() + {n}
        def maker():
            held = tax
            def inner(): return held.rate()
            return inner
        closure = maker()
        class Kind:
            number = {n}
            module = tax
            def __init__(self): self.held = money
        instance = [{n}, Kind()]
        TABLE = {{"n": {n}, "tax": tax, tax: ["money", money], "sys": sys}}
        PAIR = (({n}, tax), frozenset([money]))
        part = functools.partial(print, {n}, tax)
        snapshot = {{**globals(), "n": {n}}}
        KEPT = [tax, money]
        """

    def made(self, make_package: Make) -> tuple[str, Patcher]:
        name = f"holders{len(sys.modules)}"
        files = {"__init__.py": self.INIT.format(n=1), **self.FILES}
        make_package({path: text.replace("PKG", name) for path, text in files.items()}, name=name)
        importlib.import_module(f"{name}.web")
        return name, Patcher(packages=[name])

    def test_nothing_live_holds_a_view_whatever_comes_next(self, make_package: Make) -> None:
        name, patcher = self.made(make_package)
        before = stand_ins(name)
        for number in (2, 3):
            source = {name: _dedented(self.INIT.format(n=number), name)}
            patcher.apply(Patch.from_sources(source, version=str(number)))
            assert (before, stand_ins(name)) == ([], [])
        patcher.rollback()
        assert stand_ins(name) == []

    def test_an_unchanged_module_goes_on_holding_the_module_itself(self, make_package: Make) -> None:
        name, patcher = self.made(make_package)
        web, tax = sys.modules[f"{name}.web"], sys.modules[f"{name}.tax"]
        rollout = patcher.apply(Patch.from_sources({name: _dedented(self.INIT.format(n=2), name)}, version="2"))
        live = sys.modules[name]
        assert web.tax is live.tax is live.alias is live.TABLE["tax"] is live.Kind.module is tax
        assert (web.LIMIT, web.price(), live.default(), live.closure()) == (2, 1, 3, 1)
        assert rollout.plan is not None
        assert [str(change) for change in rollout.plan.names if change.name == "tax"] == []

    def test_a_changed_module_takes_the_place_of_the_one_before(self, make_package: Make) -> None:
        name, patcher = self.made(make_package)
        for number in (2, 3):
            sources = {
                name: _dedented(self.INIT.format(n=number), name),
                f"{name}.tax": f"def rate(): return {number}\n",
            }
            patcher.apply(Patch.from_sources(sources, version=str(number)))
            assert sys.modules[f"{name}.web"].tax is sys.modules[f"{name}.tax"] is sys.modules[name].TABLE["tax"]
            assert sys.modules[f"{name}.web"].price() == number
            assert stand_ins(name) == []
        patcher.rollback()
        assert (sys.modules[f"{name}.web"].price(), stand_ins(name)) == (2, [])


def _dedented(source: str, name: str) -> str:
    return textwrap.dedent(source).replace("PKG", name)
