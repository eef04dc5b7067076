"""Models that other modules, or the program, complete by `model_rebuild` stay complete through a swap and back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from hotswap import State
from tests.swapping import Code, refused_codes

pytest.importorskip("pydantic", reason="pydantic is not installed here")
pytestmark = pytest.mark.threads  # a patcher stages in a thread of its own

Make = Callable[..., ModuleType]

CHECKED = """
from __future__ import annotations
from typing import TYPE_CHECKING
from pydantic import BaseModel
from pydantic.dataclasses import dataclass
if TYPE_CHECKING:
    from .other import B as Bee
class A(BaseModel):
    b: Bee | None = None
    n: int = 1
@dataclass
class D:
    b: Bee | None = None
"""
PLAIN = """
from __future__ import annotations
from pydantic import BaseModel
class A(BaseModel):
    b: B | None = None
    many: list[B] = []
    n: int = 1
"""
OTHER = """
from __future__ import annotations
from pydantic import BaseModel
class B(BaseModel):
    x: int = 1
"""
BACK = """
from .code import A
class Child(B):
    parent: A | None = None
"""
USE = """
from pydantic.dataclasses import rebuild_dataclass
from . import code
from .code import A
from .other import B
def make(): return A(b={"x": 4}).model_dump(include={"b"})["b"]
"""
REBUILDS = {
    "named": (CHECKED, USE + "A.model_rebuild(_types_namespace={'Bee': B})\n"),
    "in a function": (PLAIN, USE + "def main(): A.model_rebuild(_types_namespace={'B': B})\nmain()\n"),
    "by what the module has": (PLAIN, USE + "A.model_rebuild()\n"),
    "dataclass": (
        CHECKED,
        USE + "rebuild_dataclass(code.D, _types_namespace={'Bee': B})\n"
        "def make(): return {'x': code.D(b={'x': 4}).b.x} | ({'y': 2} if hasattr(code.D(b={}).b, 'y') else {})\n",
    ),
}


class Program(Code):
    """A model in `code` that `use`, which no patch changes, completes with a model of `other`."""

    def __init__(self, make: Make, code: str, use: str, other: str = OTHER) -> None:
        super().__init__(make, code, other=other, use=use)
        self.source = code

    def made(self) -> Any:
        return sys.modules[f"{self.package}.use"].make()


@pytest.fixture(params=REBUILDS)
def program(make_package: Make, request: pytest.FixtureRequest) -> Program:
    return Program(make_package, *REBUILDS[request.param])


class TestCompletedByAnotherModule:
    def test_a_function_is_added(self, program: Program) -> None:
        program.put(program.source + "def helper(): return 1\n")
        assert program.made() == {"x": 4}
        assert not program.plan.warnings
        program.back()
        assert program.made() == {"x": 4}

    def test_a_field_changes(self, program: Program) -> None:
        program.put(program.source.replace("n: int = 1", "n: int = 2"))
        assert program.made() == {"x": 4}
        program.back()
        assert program.made() == {"x": 4}

    def test_what_it_refers_to_changes(self, program: Program) -> None:
        program.put(program.source, other=OTHER + "    y: int = 2\n")
        assert program.made() == {"x": 4, "y": 2}
        program.back()
        assert program.made() == {"x": 4}

    def test_one_patch_after_another(self, program: Program) -> None:
        for number in range(4):
            program.put(program.source + f"def helper(): return {number}\n")
            assert program.made() == {"x": 4}

    def test_nothing_tells_what_a_name_means(self, make_package: Make) -> None:
        program = Program(make_package, PLAIN, USE + "A.model_rebuild()\n")
        new = PLAIN.replace("n: int = 1", "n: Later = 1")
        assert refused_codes(program, new) == ["model-incomplete"]
        assert program.made() == {"x": 4}

    def test_an_adapter(self, make_package: Make) -> None:
        source = CHECKED.replace("BaseModel\n", "BaseModel, TypeAdapter\n", 1) + "adapter = TypeAdapter('list[Bee]')\n"
        use = USE + "code.adapter.rebuild(_types_namespace={'Bee': B})\n"
        use += "def make(): return code.adapter.validate_python([{'x': 4}])[0].model_dump()\n"
        program = Program(make_package, source, use)
        program.put(source, other=OTHER + "    y: int = 2\n")
        assert program.made() == {"x": 4, "y": 2}
        program.back()
        assert program.made() == {"x": 4}
        assert refused_codes(program, source.replace("list[Bee]", "list[Wasp]")) == ["model-incomplete"]

    def test_circles(self, make_package: Make) -> None:
        program = Program(make_package, PLAIN, USE + "A.model_rebuild()\n", OTHER + BACK)
        program.put(PLAIN.replace("n: int = 1", "n: int = 2"))
        child = sys.modules[f"{program.package}.other"].Child(parent={"b": {"x": 3}})
        assert (type(child.parent), child.parent.n, child.parent.b.x) == (program.live.A, 2, 3)


class TestCompletedByTheProgram:
    @pytest.mark.parametrize("new", ["\ndef helper(): return 1\n", "    z: int = 3\n"], ids=["function", "field"])
    def test_while_the_patch_is_live(self, make_package: Make, new: str) -> None:
        program = Program(make_package, PLAIN, USE)
        rollout = program.patcher.apply(program.patch(PLAIN + new))
        other = sys.modules[f"{program.package}.other"]
        program.live.A.model_rebuild(_types_namespace={"B": other.B})
        assert program.made() == {"x": 4}
        rollout.rollback()
        assert rollout.state is State.ROLLED_BACK
        assert program.made() == {"x": 4}
        assert "z" not in program.live.A.model_fields
        program.put(PLAIN + "\ndef helper(): return 3\n")
        assert program.made() == {"x": 4}

    def test_before_the_patch(self, make_package: Make) -> None:
        program = Program(make_package, PLAIN, USE)
        program.live.A.model_rebuild(_types_namespace={"B": sys.modules[f"{program.package}.other"].B})
        program.put(PLAIN + "    z: int = 3\n")
        assert program.live.A(b={"x": 4}).model_dump() == {"b": {"x": 4}, "many": [], "n": 1, "z": 3}
        program.back()
        assert program.made() == {"x": 4}

    def test_never(self, make_package: Make) -> None:
        program = Program(make_package, PLAIN, USE)
        program.put(PLAIN + "    z: int = 3\n")
        program.back()
        assert program.live.A.__pydantic_complete__ is False
