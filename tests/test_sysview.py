"""Module bodies that look into `sys.modules`, themselves or through the standard library, meet their own generation."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import sys
import threading
import typing
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import pytest

from hotswap import LoadError, Patch, Patcher

Make = Callable[..., ModuleType]


class Program:
    def __init__(self, make: Make, files: Mapping[str, str]) -> None:
        self.name = make({**files}).__name__
        for file in files:
            importlib.import_module(f"{self.name}.{file.removesuffix('.py')}")
        self.patcher = Patcher([self.name])
        self.version = 0

    def apply(self, sources: Mapping[str, str]) -> Any:
        self.version += 1
        patch = {f"{self.name}.{module}": source.replace("PKG", self.name) for module, source in sources.items()}
        return self.patcher.apply(Patch.from_sources(patch, str(self.version)))

    def __getitem__(self, module: str) -> Any:
        return sys.modules[f"{self.name}.{module}"]


BEFORE = "X = 1\ndef f(): return X\n"

WRITERS = {
    "setattr": "import sys\nsetattr(sys.modules[__name__], 'X', 2)\ndef f(): return X\n",
    "namespace": "import sys\nvars(sys.modules[__name__])['X'] = 2\ndef f(): return X\n",
    "from sys": "from sys import modules\nmodules[__name__].X = 2\ndef f(): return X\n",
    "import_module": "import importlib\nimportlib.import_module(__name__).X = 2\ndef f(): return X\n",
    "global_enum": "import enum\n@enum.global_enum\nclass E(enum.IntEnum):\n    X = 2\ndef f(): return int(X)\n",
}


class TestWriting:
    @pytest.mark.parametrize("source", WRITERS.values(), ids=WRITERS)
    def test_of_a_good_patch_goes_to_the_new_module(self, source: str, make_package: Make) -> None:
        program = Program(make_package, {"a.py": BEFORE})
        held, before = program["a"].f, program["a"]
        program.apply({"a": source})
        assert (held(), program["a"].f(), program["a"].X) == (2, 2, 2)
        if "E" in vars(program["a"]):
            assert program["a"].X is program["a"].E.X
        program.patcher.rollback()
        assert (held(), program["a"].f(), program["a"].X) == (1, 1, 1)
        assert program["a"] is before

    @pytest.mark.parametrize("source", WRITERS.values(), ids=WRITERS)
    def test_of_a_bad_patch_leaves_the_live_module_as_it_was(self, source: str, make_package: Make) -> None:
        program = Program(make_package, {"a.py": BEFORE})
        before = dict(vars(program["a"]))
        with pytest.raises(LoadError):
            program.apply({"a": f"{source}raise ValueError\n"})
        assert dict(vars(program["a"])) == before
        assert program["a"].f() == 1

    def test_of_another_class_for_the_module(self, make_package: Make) -> None:
        """It is refused for the candidate, and the live module stays one that can be patched."""
        program = Program(make_package, {"a.py": BEFORE})
        body = "import sys, types\nclass M(types.ModuleType): pass\nsys.modules[__name__].__class__ = M\n"
        with pytest.raises(LoadError):
            program.apply({"a": f"{body}raise ValueError\n"})
        assert type(program["a"]) is ModuleType
        program.apply({"a": "X = 3\ndef f(): return X\n"})
        assert program["a"].f() == 3

    @pytest.mark.parametrize("how", ["modules[__name__] = object()", "del modules[__name__]", "modules.pop(__name__)"])
    def test_of_something_else_in_its_place_is_refused(self, how: str, make_package: Make) -> None:
        program = Program(make_package, {"a.py": BEFORE})
        before = program["a"]
        with pytest.raises(LoadError, match=r"the patch replaces \w+\.a in sys\.modules"):
            program.apply({"a": f"from sys import modules\n{how}\n"})
        assert program["a"] is before

    def test_of_a_module_of_another_name(self, make_package: Make) -> None:
        program = Program(make_package, {"a.py": BEFORE})
        alias = f"{program.name}.alias"
        body = f"import sys, types\nmade = sys.modules[{alias!r}] = types.ModuleType({alias!r})\nmade.value = 5\n"
        with pytest.raises(LoadError):
            program.apply({"a": f"{body}assert {alias!r} in sys.modules\nraise ValueError\n"})
        assert alias not in sys.modules
        program.apply({"a": body})
        assert importlib.import_module(alias).value == 5


class TestReading:
    def test_shows_the_modules_of_the_candidate(self, make_package: Make) -> None:
        program = Program(make_package, {"a.py": "X = 1\n", "b.py": "Y = 1\n", "same.py": "Z = 1\n"})
        program.apply(
            {
                "a": "import sys\nfrom . import b, same\n"
                "seen = sys.modules['PKG.b'].Y, sys.modules.get('PKG.same').Z, 'PKG.never' in sys.modules\n"
                "names = {n for n in sys.modules if n.startswith('PKG.')}, 're' in sys.modules.copy()\n"
                "size = len(sys.modules), sys.platform, vars(sys)['modules'] is sys.modules\n",
                "b": "Y = 2\n",
            }
        )
        assert program["a"].seen == (2, 1, False)
        assert program["a"].names[0] == {f"{program.name}.{module}" for module in ("a", "b", "same")}
        assert program["a"].size[1:] == (sys.platform, True)

    def test_is_that_of_the_process_once_the_patch_is_live(self, make_package: Make) -> None:
        program = Program(make_package, {"a.py": "import sys\ndef f(): return sys\n"})
        program.apply({"a": "import sys\nkept = [sys], sys.modules\nsys.ps9 = 5\ndef f(): return sys\n"})
        try:
            assert program["a"].f() is program["a"].sys is sys
            (view,), modules = program["a"].kept
            assert view.modules is sys.modules
            assert modules[f"{program.name}.a"] is program["a"]
            assert vars(sys)["ps9"] == 5
        finally:
            del vars(sys)["ps9"]

    def test_by_annotations(self, make_package: Make) -> None:
        """What is new in the patch is found, and a `ClassVar` that the live module does not know is one."""
        program = Program(make_package, {"a.py": "X = 1\n"})
        program.apply(
            {
                "a": "from __future__ import annotations\nimport dataclasses, typing\n"
                "from typing import ClassVar as Of\n"
                "class New: pass\nclass Holder:\n    it: New\n"
                "hints = typing.get_type_hints(Holder)\n"
                "@dataclasses.dataclass\nclass Data:\n    shared: Of[int] = 5\n    own: int = 6\n"
            }
        )
        assert program["a"].hints == {"it": program["a"].New}
        assert [field.name for field in dataclasses.fields(program["a"].Data)] == ["own"]

    def test_the_standard_library_is_left_as_it_was(self, make_package: Make) -> None:
        program = Program(make_package, {"a.py": "X = 1\n"})
        program.apply({"a": "import enum\nseen = enum.sys is not None\n"})
        with pytest.raises(LoadError):
            program.apply({"a": "1 / 0\n"})
        for module in (dataclasses, enum, typing):
            assert vars(module)["sys"] is sys

    @pytest.mark.threads
    def test_other_threads_see_the_live_modules_meanwhile(
        self, make_package: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = Program(make_package, {"a.py": "class Old: pass\nclass Holder:\n    it: 'Old'\n"})
        seen: list[object] = []
        live = program["a"].Holder

        def meanwhile() -> None:
            thread = threading.Thread(target=lambda: seen.append(typing.get_type_hints(live)["it"]))
            thread.start()
            thread.join()

        monkeypatch.setattr(threading, "meanwhile", meanwhile, raising=False)
        program.apply({"a": "import threading\nthreading.meanwhile()\nclass Holder:\n    it: 'int'\n"})
        assert [cls.__name__ for cls in seen] == ["Old"]  # type: ignore[attr-defined]
