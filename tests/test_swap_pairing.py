"""Which new object takes the place of which old one: definitions that move between modules and change their kind."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType

from hotswap import Patch, Patcher

Make = Callable[..., ModuleType]


class TestMoved:
    """A definition moves to another module, and a third module goes on giving it away by its name."""

    FACADE = "from .{home} import dispatch\n"
    USER = "from .facade import dispatch\n@dispatch\ndef used(): return 1\n"

    def test_function_that_becomes_a_class_in_another_module(self, make_package: Make) -> None:
        """As `networkx._dispatch` did from 3.1 to 3.2, where it also left the module of its old name."""
        name = make_package(
            {
                "first.py": "def dispatch(function): return function\n",
                "second.py": "",
                "facade.py": self.FACADE.format(home="first"),
                "user.py": self.USER,
            }
        ).__name__
        user, facade = importlib.import_module(f"{name}.user"), importlib.import_module(f"{name}.facade")
        importlib.import_module(f"{name}.second")
        held = facade.dispatch
        patcher = Patcher([name])
        patcher.apply(
            Patch.from_sources(
                {
                    f"{name}.first": "",
                    f"{name}.second": (
                        "class dispatch:\n"
                        "    def __new__(cls, function):\n"
                        "        made = object.__new__(cls)\n"
                        "        made.function = function\n"
                        "        return made\n"
                        "    def __call__(self): return 'dispatched', self.function()\n"
                    ),
                    f"{name}.facade": self.FACADE.format(home="second"),
                },
                "1",
            )
        )
        live = importlib.import_module(f"{name}.facade")
        assert live.dispatch.__name__ == "dispatch"
        assert type(held(user.used)) is live.dispatch
        assert held(user.used)() == ("dispatched", 1)
        patcher.rollback()
        assert held(len) is len
