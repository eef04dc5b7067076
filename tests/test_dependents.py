"""Unchanged modules and statements whose classes or data were computed from a class that changed.

Each program is patched in one module, and compared with a program that was started with the new version.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher

Make = Callable[..., ModuleType]

SEEN = "seen"
"""The function of each program that tells what there is to be seen."""

CASES: dict[str, tuple[dict[str, str], tuple[str, str]]] = {
    "dataclass fields": (
        {
            "base": "from dataclasses import dataclass\n@dataclass\nclass B:\n    a: int = 1\n",
            "sub": "from dataclasses import dataclass\nfrom .base import B\n@dataclass\nclass S(B):\n    z: int = 9\n",
            "far": "import dataclasses\nfrom . import sub\n@dataclasses.dataclass\nclass F(sub.S):\n    y: int = 8\n",
            "use": "import dataclasses\nfrom .sub import S\nfrom .far import F\n"
            "def seen(): return repr(S(1, 5)), repr(F(1, 5)), [f.name for f in dataclasses.fields(F)]\n",
        },
        ("a: int = 1", "a: int = 1\n    b: int = 2"),
    ),
    "typed dict": (
        {
            "base": "from typing import TypedDict\nclass T(TypedDict):\n    x: int\n",
            "sub": "from .base import T\nclass E(T):\n    z: int\n",
            "use": "from .sub import E\ndef seen(): return sorted(E.__annotations__), sorted(E.__required_keys__)\n",
        },
        ("x: int", "x: int\n    y: int"),
    ),
    "protocol": (
        {
            "base": "import typing\n@typing.runtime_checkable\nclass P(typing.Protocol):\n    def a(self): ...\n",
            "sub": "import typing\nfrom .base import P\n@typing.runtime_checkable\nclass Q(P, typing.Protocol):\n"
            "    def q(self): ...\n",
            "use": "from .base import P\nfrom .sub import Q\nclass H:\n    def a(self): ...\n    def q(self): ...\n"
            "def seen(): return isinstance(H(), P), isinstance(H(), Q)\n",
        },
        ("def a(self): ...", "def a(self): ...\n    def b(self): ..."),
    ),
    "descriptor": (
        {
            "base": "class F:\n    def __set_name__(self, owner, name): self.key = name\n"
            "    def __get__(self, instance, owner): return self.key\n",
            "use": "from .base import F\nclass U:\n    x = F()\ndef seen(): return U().x\n",
        },
        ("self.key = name", "self.key = '_' + name"),
    ),
    "hook of subclasses": (
        {
            "base": "class B:\n    def __init_subclass__(cls): cls.tag = 'v1'\n",
            "use": "from .base import B\nclass U(B): pass\ndef seen(): return U.tag\n",
        },
        ("'v1'", "'v2'"),
    ),
    "metaclass": (
        {
            "base": "class Meta(type):\n    def __init__(cls, name, bases, facts): cls.table = name.lower()\n"
            "class Model(metaclass=Meta): pass\n",
            "use": "from .base import Model\nclass U(Model): pass\ndef seen(): return U.table\n",
        },
        ("name.lower()", "name.upper()"),
    ),
    "members of an enumeration": (
        {
            "base": "import enum\nclass E(enum.Enum):\n    A = 1\n    B = 2\n"
            "BY = {e.name: e.value for e in E}\nA_VALUE = E.A.value\n",
            "sub": "from .base import E\nNAMES = [e.name for e in E]\nHIGHEST = max(e.value for e in E)\n",
            "use": "from . import base\nfrom .sub import HIGHEST, NAMES\n"
            "def seen(): return base.BY, base.A_VALUE, NAMES, HIGHEST\n",
        },
        ("A = 1\n    B = 2", "A = 10\n    B = 2\n    C = 30"),
    ),
    "attribute of a class": (
        {
            "base": "class Config:\n    LIMIT = 1\n    OTHER = 5\nDOUBLE = Config.LIMIT * 2\n",
            "sub": "from .base import Config\nTRIPLE = Config.LIMIT * 3\ndef f(n=Config.LIMIT): return n\n",
            "use": "from .base import DOUBLE\nfrom .sub import TRIPLE, f\ndef seen(): return DOUBLE, TRIPLE, f()\n",
        },
        ("LIMIT = 1", "LIMIT = 5"),
    ),
    "alias in an annotation": (
        {
            "base": "from typing import Annotated\nUser = Annotated[str, 'anonymous']\n",
            "use": "from .base import User\nTABLE = {}\ndef route(f):\n"
            "    TABLE[f.__name__] = f, f.__annotations__['u'].__metadata__\n    return f\n"
            "@route\ndef get(u: User): pass\ndef seen(): return {name: entry[1] for name, entry in TABLE.items()}\n",
        },
        ("'anonymous'", "'known'"),
    ),
}


class Program:
    def __init__(self, make: Make, files: Mapping[str, str]) -> None:
        self.name = make({f"{name}.py": source for name, source in files.items()}).__name__
        importlib.import_module(f"{self.name}.use")

    def seen(self) -> Any:
        return repr(sys.modules[f"{self.name}.use"].seen()).replace(self.name, "")


class TestDependents:
    @pytest.mark.parametrize("case", CASES.values(), ids=CASES)
    def test_are_like_those_of_a_fresh_start(self, case: Any, make_package: Make) -> None:
        files, change = case
        new = {**files, "base": files["base"].replace(*change)}
        assert new != files
        program, fresh = Program(make_package, files), Program(make_package, new)
        before = program.seen()
        assert before != fresh.seen(), "there is something to be seen"
        held = sys.modules[f"{program.name}.use"].seen
        patcher = Patcher([program.name])
        patcher.apply(Patch.from_sources({f"{program.name}.base": new["base"]}, "1"))
        assert program.seen() == fresh.seen()
        assert repr(held()).replace(program.name, "") == fresh.seen()
        patcher.rollback()
        assert program.seen() == before

    def test_keep_what_does_not_depend_on_the_change(self, make_package: Make) -> None:
        """An object that is made by calling the class stays: its class follows, and its state is worth more."""
        files = {
            "base": "import enum\nclass E(enum.Enum):\n    A = 1\n"
            "class C:\n    LIMIT = 1\n    def __init__(self): self.n = 0\nMADE = C()\nTABLE = {E.A: 'a'}\n",
            "use": "from .base import C, E\nOTHER = C()\nDEFAULT = E.A\ndef seen(): return OTHER.n, DEFAULT\n",
        }
        program = Program(make_package, files)
        use = sys.modules[f"{program.name}.use"]
        made, other, table = (
            sys.modules[f"{program.name}.base"].MADE,
            use.OTHER,
            sys.modules[f"{program.name}.base"].TABLE,
        )
        changed = files["base"].replace("LIMIT = 1", "LIMIT = 2").replace("A = 1", "A = 1\n    B = 2")
        Patcher([program.name]).apply(Patch.from_sources({f"{program.name}.base": changed}, "1"))
        base = sys.modules[f"{program.name}.base"]
        assert base.MADE is made
        assert sys.modules[f"{program.name}.use"].OTHER is other
        assert (made.LIMIT, other.LIMIT) == (2, 2)
        assert base.TABLE is table
