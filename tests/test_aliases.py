"""Aliases: what module bodies put into `sys.modules` under names that are not those of its modules."""

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hotswap import LoadError, Patch, Patcher, Rollout, UnsupportedChangeError

Make = Callable[..., ModuleType]
Package = Callable[..., "Program"]

_serial = itertools.count(1)


class Program:
    """A package, and one that it does not manage. `PKG` and `OTHER` in sources stand for their names."""

    def __init__(self, make: Make, folder: Path, files: Mapping[str, str]) -> None:
        number = next(_serial)
        self.name, self.other, self.folder = f"aliases{number}", f"stranger{number}", folder
        self.stranger = make({"__init__.py": "from . import sub\ndef f(): return sub.g()\n", **SUB}, name=self.other)
        make({path: self.text(source) for path, source in files.items()}, name=self.name)
        self.patcher = Patcher([self.name])

    def text(self, source: str) -> str:
        return textwrap.dedent(source).replace("PKG", self.name).replace("OTHER", self.other)

    def patch(self, files: Mapping[str, str]) -> Patch:
        """A patch that holds the whole package."""
        root = self.folder / f"v{next(_serial)}" / self.name
        for path, source in {"__init__.py": "", **files}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(self.text(source))
        return Patch.from_path(root)

    def apply(self, files: Mapping[str, str]) -> Rollout:
        return self.patcher.apply(self.patch(files))

    def apply_only(self, name: str, source: str) -> Rollout:
        return self.patcher.apply(Patch.from_sources({f"{self.name}.{name}": self.text(source)}))

    def entries(self) -> dict[str, Any]:
        """What `sys.modules` has below the package."""
        start = f"{self.name}."
        return {name.removeprefix(start): entry for name, entry in sys.modules.items() if name.startswith(start)}

    def __getitem__(self, name: str) -> Any:
        return sys.modules[f"{self.name}.{name}" if name else self.name]


SUB = {"sub.py": "def g(): return 'g'\n"}
CARRY = """
import sys, OTHER
for name in list(sys.modules):
    if name == 'OTHER' or name.startswith('OTHER.'):
        sys.modules['PKG.packages.' + name] = sys.modules[name]
"""
OLD_NAME = "import sys\nfrom . import new\nsys.modules[__name__ + '.old'] = new\nVERSION = {}\n"


@pytest.fixture
def package(make_package: Make, tmp_path: Path) -> Package:
    return lambda files: Program(make_package, tmp_path, files)


class TestOfStrangers:
    """Modules of other packages under a managed name."""

    @pytest.mark.parametrize("again", [CARRY, CARRY + "X = 1\n"], ids=["unchanged", "changed"])
    def test_are_never_touched(self, package: Package, again: str) -> None:
        program = package({"__init__.py": "VERSION = 1\nfrom . import packages\n", "packages.py": CARRY})
        facts = vars(program.stranger), dict(vars(program.stranger))
        sub = program.stranger.sub
        program.apply({"__init__.py": "VERSION = 2\nfrom . import packages\n", "packages.py": again})
        for _ in ("live", "rolled back"):
            assert facts[0] == facts[1]
            assert program.stranger.f() == "g"
            assert type(sub) is ModuleType
            assert program.stranger.sub is sub is program[f"packages.{program.other}.sub"]
            assert program[f"packages.{program.other}"] is program.stranger
            program.patcher.rollback() if program[""].VERSION == 2 else None

    def test_that_are_not_set_any_more_are_gone(self, package: Package) -> None:
        program = package({"__init__.py": "from . import packages\n", "packages.py": CARRY})
        before = program.entries()
        program.apply({"__init__.py": "from . import packages\n", "packages.py": "X = 1\n"})
        assert program.entries().keys() == {"packages"}
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{program.name}.packages.{program.other}")
        program.patcher.rollback()
        assert program.entries() == before
        assert program.stranger.f() == "g"

    def test_that_were_set_by_a_module_that_stays_remain(self, package: Package) -> None:
        program = package({"__init__.py": "from . import packages, m\n", "packages.py": CARRY, "m.py": "X = 1\n"})
        before = program.entries()
        program.apply_only("m", f"import PKG.packages.{program.other}.sub as sub\nX = sub.g()\n")
        assert program["m"].X == "g"
        assert program["m"].sub is program.stranger.sub
        assert program.entries().keys() == before.keys()
        assert program[f"packages.{program.other}"] is program.stranger

    def test_new_ones_are_there_after_the_swap(self, package: Package) -> None:
        program = package({"__init__.py": "from . import packages\n", "packages.py": "X = 1\n"})
        program.apply({"__init__.py": "from . import packages\n", "packages.py": CARRY})
        assert importlib.import_module(f"{program.name}.packages.{program.other}.sub") is program.stranger.sub
        program.patcher.rollback()
        assert program.entries().keys() == {"packages"}

    def test_the_candidate_imports_by_them(self, package: Package) -> None:
        use = f"{CARRY}import PKG.packages.OTHER as mine\nfrom PKG.packages.OTHER import sub, f\n"
        program = package({"__init__.py": "from . import packages\n", "packages.py": CARRY})
        program.apply({"__init__.py": "from . import packages\n", "packages.py": use})
        assert program["packages"].sub is program.stranger.sub
        assert program["packages"].mine is program.stranger
        assert program["packages"].f() == "g"

    def test_importers_of_the_package_among_them_are_rebound(self, package: Package) -> None:
        """Their sources are read under their own names, not under those of the aliases."""
        program = package({"__init__.py": "from . import m\n", "m.py": "LIMIT = 1\n"})
        importer = program.folder / "packages" / f"{program.other}_user.py"
        importer.write_text(program.text("from PKG.m import LIMIT\n"))
        user = importlib.import_module(importer.stem)
        alias = f"{program.name}.user"
        sys.modules[alias] = sys.modules.pop(importer.stem)
        sys.modules[importer.stem] = user
        program.apply_only("m", "LIMIT = 2\n")
        assert user.LIMIT == 2
        assert sys.modules[alias] is user


class TestOfOwnModules:
    """Second names for modules of the package."""

    FILES: Mapping[str, str] = {"__init__.py": OLD_NAME.format(1), "new.py": "def f(): return 1\n"}

    def test_lead_to_what_is_live(self, package: Package) -> None:
        program = package(self.FILES)
        held = program["old"]
        program.apply({"__init__.py": OLD_NAME.format(2), "new.py": "def f(): return 2\n"})
        assert program["old"] is program["new"]
        assert (program["old"].f(), held.f(), importlib.import_module(f"{program.name}.old").f()) == (2, 2, 2)
        program.patcher.rollback()
        assert program["old"] is program["new"] is held
        assert held.f() == 1

    def test_lead_to_what_is_live_though_nobody_sets_them_again(self, package: Package) -> None:
        program = package(self.FILES)
        sys.modules[f"{program.other}_legacy"] = held = program["new"]
        program.apply_only("new", "def f(): return 2\n")
        assert program["old"] is program["new"] is sys.modules[f"{program.other}_legacy"]
        assert program["old"].f() == 2
        program.patcher.rollback()
        assert program["old"] is sys.modules[f"{program.other}_legacy"] is held
        del sys.modules[f"{program.other}_legacy"]

    def test_to_an_unchanged_module_lead_to_the_module_and_not_to_a_view(self, package: Package) -> None:
        program = package(self.FILES)
        program.apply({"__init__.py": OLD_NAME.format(2), "new.py": "def f(): return 1\n"})
        assert program["old"] is program["new"]
        assert type(program["old"]) is ModuleType

    def test_the_candidate_meets_its_own_modules_by_them(self, package: Package) -> None:
        program = package({**self.FILES, "__init__.py": OLD_NAME.format(1) + "from . import m\n", "m.py": "X = 1\n"})
        patch = {"new": "def f(): return 2\n", "m": "import PKG.old as old\nfrom PKG.old import f\nX = f(), old.f()\n"}
        sources = {f"{program.name}.{name}": program.text(source) for name, source in patch.items()}
        program.patcher.apply(Patch.from_sources(sources))
        assert program["m"].X == (2, 2)

    def test_old_code_in_flight_meets_its_own_modules_by_them(self, package: Package) -> None:
        flight = "def g():\n    yield\n    import PKG.old as old\n    from PKG.old import f\n    yield old.f(), f()\n"
        program = package({**self.FILES, "__init__.py": OLD_NAME.format(1) + "from . import m\n", "m.py": flight})
        running = program["m"].g()
        next(running)
        init = OLD_NAME.format(2) + "from . import m\n"
        program.apply({"__init__.py": init, "new.py": "def f(): return 2\n", "m.py": "def g(): yield 2\n"})
        assert program["old"].f() == 2
        assert next(running) == (1, 1)
        running.close()

    def test_a_module_that_becomes_an_alias(self, package: Package) -> None:
        program = package({"__init__.py": "from . import old\n", "old.py": "def f(): return 1\n"})
        module = program["old"]
        program.apply({"__init__.py": OLD_NAME.format(2), "new.py": "def f(): return 2\n"})
        assert program["old"] is program["new"]
        program.patcher.rollback()
        assert program["old"] is module
        assert program.entries().keys() == {"old"}

    def test_an_alias_that_becomes_a_module(self, package: Package) -> None:
        program = package(self.FILES)
        new = "from . import new, old\n"
        program.apply({"__init__.py": new, "new.py": "def f(): return 2\n", "old.py": "def f(): return 'old'\n"})
        assert (program["old"].f(), program["new"].f()) == ("old", 2)
        program.patcher.rollback()
        assert program["old"] is program["new"]
        assert program["old"].f() == 1


class TestOfOtherObjects:
    """Entries that are no modules, and modules that no file holds."""

    SPACE = """
    import sys, types
    class Space(types.SimpleNamespace):
        __hash__ = object.__hash__
    made = Space(a={})
    sys.modules[__name__ + '.fake'] = made
    """

    def space(self, value: int) -> str:
        return textwrap.dedent(self.SPACE).format(value)

    def test_are_those_of_the_new_version(self, package: Package) -> None:
        program = package({"__init__.py": "from . import o\n", "o.py": self.space(1)})
        before = program["o.fake"]
        init = "from . import o\nfrom .o import fake\nimport PKG.o.fake as also\n"
        rollout = program.apply({"__init__.py": init, "o.py": self.space(2)})
        assert program[""].fake is program[""].also is program["o.fake"] is program["o"].made
        assert (program["o.fake"].a, type(program["o.fake"])) == (2, program["o"].Space)
        assert rollout.audit() == ()
        program.patcher.rollback()
        assert program["o.fake"] is before

    def test_are_kept_when_their_definition_did_not_change(self, package: Package) -> None:
        program = package({"__init__.py": "from . import o\n", "o.py": self.space(1)})
        before = program["o.fake"]
        rollout = program.apply({"__init__.py": "from . import o\n", "o.py": f"{self.space(1)}X = 1\n"})
        assert program["o.fake"] is before is program["o"].made
        assert rollout.audit() == ()

    def test_that_no_new_body_sets_are_gone(self, package: Package) -> None:
        program = package({"__init__.py": "from . import o\n", "o.py": self.space(1)})
        program.apply_only("o", "X = 1\n")
        assert program.entries().keys() == {"o"}
        program.patcher.rollback()
        assert program["o.fake"].a == 1

    @pytest.mark.parametrize("whole", [True, False], ids=["whole", "partial"])
    def test_modules_that_a_body_makes_are_made_again(self, package: Package, whole: bool) -> None:
        body = "import sys, types\nmade = sys.modules['PKG.made'] = types.ModuleType('PKG.made')\nmade.value = {}\n"
        program = package({"__init__.py": "from . import o\n", "o.py": body.format(1)})
        held = program["made"]
        if whole:
            program.apply({"__init__.py": "from . import o\n", "o.py": body.format(2)})
        else:
            program.apply_only("o", body.format(2))
        assert (program["made"].value, held.value, importlib.import_module(f"{program.name}.made").value) == (2, 2, 2)
        program.patcher.rollback()
        assert program["made"] is held
        assert held.value == 1

    def test_none_forbids_an_import_in_the_candidate_and_after_it(self, package: Package) -> None:
        program = package({"o.py": "X = 1\n", "late.py": ""})
        importlib.import_module(f"{program.name}.o")
        body = "import sys\nsys.modules['PKG.late'] = None\n"
        body += "try:\n    from PKG import late\nexcept ImportError:\n    X = 2\n"
        program.apply_only("o", body)
        assert program["o"].X == 2
        with pytest.raises(ModuleNotFoundError, match="halted"):
            importlib.import_module(f"{program.name}.late")
        program.patcher.rollback()
        assert importlib.import_module(f"{program.name}.late").__name__ == f"{program.name}.late"

    def test_an_entry_that_is_set_and_taken_out_again(self, package: Package) -> None:
        program = package({"__init__.py": "from . import o\n", "o.py": "X = 1\n"})
        program.apply_only("o", "import sys, OTHER\nsys.modules['PKG.x'] = OTHER\ndel sys.modules['PKG.x']\n")
        assert program.entries().keys() == {"o"}


class TestInPlaceOfAModule:
    """A module that puts something else in its own place."""

    SHIM = "import sys, OTHER\nsys.modules[__name__] = OTHER.sub\n"

    def test_stays_when_it_is_unchanged(self, package: Package) -> None:
        program = package({"__init__.py": "X = 1\nfrom . import shim\n", "shim.py": self.SHIM})
        program.apply({"__init__.py": "X = 2\nfrom . import shim\n", "shim.py": self.SHIM})
        assert program["shim"] is program[""].shim is program.stranger.sub
        assert (program[""].X, program.stranger.f()) == (2, "g")

    def test_is_refused_when_it_does_so_again(self, package: Package) -> None:
        program = package({"__init__.py": "from . import shim\n", "shim.py": self.SHIM})
        with pytest.raises(LoadError, match="replaces"):
            program.apply_only("shim", f"{self.SHIM}X = 1\n")
        assert program["shim"] is program.stranger.sub

    def test_is_refused_when_it_does_so_no_more(self, package: Package) -> None:
        program = package({"__init__.py": "from . import shim\n", "shim.py": self.SHIM})
        with pytest.raises(UnsupportedChangeError, match="module-object"):
            program.apply_only("shim", "def g(): return 'mine'\n")
        assert program.stranger.f() == "g"
        assert type(program.stranger.sub) is ModuleType
