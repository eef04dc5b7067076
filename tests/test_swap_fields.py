"""Dataclasses and named tuples across a swap: old instances have the new fields, and everybody agrees on them."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.swapping import Code, refused_codes

Make = Callable[..., ModuleType]


def source(fields: str, arguments: str = "", *, base: str = "", head: str = "", tail: str = "") -> str:
    """The text of a module with one dataclass, D."""
    lines = "\n".join(f"    {line}" for line in fields.split("; "))
    start = "import typing\nfrom dataclasses import KW_ONLY, InitVar, dataclass, field\n"
    return f"{start}{head}\n@dataclass({arguments})\nclass D{base}:\n{lines}\n{tail}\n"


def agree(old: Any, new: Any, values: dict[str, Any]) -> None:
    """Check that an old instance is in every way like a new one with the same values."""
    cls = type(old)
    assert [field.name for field in dataclasses.fields(old)] == list(values)
    assert dataclasses.asdict(old) == values
    assert dataclasses.astuple(old) == tuple(values.values())
    assert (old == new, repr(old)) == (True, repr(new))
    assert dataclasses.replace(old) == old
    for twin in (copy.copy(old), copy.deepcopy(old), pickle.loads(pickle.dumps(old))):
        assert (twin == new, type(twin)) == (True, cls)


ARGUMENTS = ["", "frozen=True", "slots=True", "slots=True, frozen=True", "kw_only=True", "order=True, unsafe_hash=True"]


class TestAddedFields:
    @pytest.mark.parametrize("arguments", ARGUMENTS)
    def test_with_a_default(self, make_package: Make, arguments: str) -> None:
        code = Code(make_package, source("a: int", arguments))
        old = code.live.D(a=1)
        cls = code.put(source("a: int; b: str = 'x'", arguments)).D
        assert type(old) is cls
        agree(old, cls(a=1), {"a": 1, "b": "x"})
        assert dataclasses.replace(old, b="y").b == "y"
        if "order" in arguments:
            assert (old < cls(a=1, b="z"), hash(old) == hash(cls(a=1))) == (True, True)
        code.back()
        assert (dataclasses.asdict(old), repr(old), hasattr(old, "b")) == ({"a": 1}, "D(a=1)", False)

    def test_that_change_the_hash_are_told(self, make_package: Make) -> None:
        code = Code(make_package, source("a: int", "frozen=True", tail="HELD = {D(1)}\ndef has(): return D(1) in HELD"))
        assert code.live.has()
        code.put(source("a: int; b: int = 2", "frozen=True", tail="HELD = {D(1)}\ndef has(): return D(1) in HELD"))
        assert not code.live.has()
        assert any("D computes __hash__ otherwise" in warning for warning in code.plan.warnings)

    @pytest.mark.parametrize("arguments", ARGUMENTS)
    def test_with_a_factory_each_object_gets_its_own(self, make_package: Make, arguments: str) -> None:
        code = Code(make_package, source("a: int", arguments))
        first, second, third = code.live.D(a=1), code.live.D(a=1), code.live.D(a=1)
        cls = code.put(source("a: int; b: list = field(default_factory=list)", arguments)).D
        first.b.append(5)
        assert (first.b, second.b, cls(a=1).b) == ([5], [], [])
        assert first.b is first.b
        agree(third, cls(a=1), {"a": 1, "b": []})
        if "frozen" in arguments:
            with pytest.raises(dataclasses.FrozenInstanceError):
                second.b = [1]
        else:
            second.b = [6]
            assert second.b == [6]
        if "slots" not in arguments:
            assert not hasattr(cls, "b")

    def test_factory_of_the_patch_leads_to_the_living_class(self, make_package: Make) -> None:
        head = "class Tags(list):\n    pass\n"
        code = Code(make_package, source("a: int", head=head))
        old = code.live.D(1)
        live = code.put(source("a: int; b: Tags = field(default_factory=Tags)", head=head))
        assert type(old.b) is live.Tags

    def test_the_plan_says_so(self, make_package: Make) -> None:
        code = Code(make_package, source("a: int"))
        code.put(source("a: int; b: list = field(default_factory=list)"))
        lines = [str(change) for change in code.plan.names if change.name == "D.b"]
        assert lines == [f"added     {code.name}:D.b (old instances get its default when it is first read)"]

    def test_factory_is_asked_when_the_value_is_first_read(self, make_package: Make) -> None:
        code = Code(
            make_package, source("a: int", head="made = []\ndef make():\n    made.append(1)\n    return len(made)")
        )
        old = code.live.D(1)
        text = "made = []\ndef make():\n    made.append(1)\n    return len(made)"
        live = code.put(source("a: int; b: int = field(default_factory=make)", head=text))
        assert live.made == []
        assert (old.b, old.b, live.made) == (1, 1, [1])

    def test_unread_values_are_made_in_the_next_version_too(self, make_package: Make) -> None:
        code = Code(make_package, source("a: int"))
        one, two = code.live.D(1), code.live.D(1)
        code.put(source("a: int; b: list = field(default_factory=list)"))
        one.b.append(1)
        code.put(source("a: int; b: list = field(default_factory=lambda: [2])"))
        assert (one.b, two.b) == ([1], [2])
        code.put(source("a: int; b: list"))
        assert code.live.D(1, []).b == []
        assert code.live.D.__dataclass_fields__["b"].default_factory is dataclasses.MISSING
        three = copy.copy(two)
        assert three.b == [2]

    def test_default_that_is_taken_away_goes_on_for_those_who_had_it(self, make_package: Make) -> None:
        code = Code(make_package, source("a: int"))
        old = code.live.D(1)
        code.put(source("a: int; b: str = 'x'"))
        cls = code.put(source("a: int; b: str")).D
        assert (old.b, hasattr(cls, "b"), cls(1, "z").b) == ("x", False, "z")
        assert code.back().D.b == "x"

    def test_class_variables_and_arguments_of_init_alone(self, make_package: Make) -> None:
        code = Code(make_package, source("a: int"))
        old = code.live.D(1)
        after = "    def __post_init__(self, extra):\n        self.a += extra\n"
        cls = code.put(source("a: int; extra: InitVar[int]; limit: typing.ClassVar[int] = 7", tail=after)).D
        assert (old.a, old.limit, cls(1, 2).a, repr(old)) == (1, 7, 3, "D(a=1)")

    def test_keyword_only_marker(self, make_package: Make) -> None:
        code = Code(make_package, source("a: int"))
        old = code.live.D(1)
        cls = code.put(source("a: int; _: KW_ONLY; b: int = 2")).D
        agree(old, cls(1, b=2), {"a": 1, "b": 2})

    @pytest.mark.parametrize("arguments", ["", "slots=True"])
    def test_inheritance(self, make_package: Make, arguments: str) -> None:
        below = f"@dataclass({arguments})\nclass E(D):\n    c: int = 3\n"
        code = Code(make_package, source("a: int = 1", arguments, tail=below))
        old = code.live.E(5)
        live = code.put(source("a: int = 1; b: list = field(default_factory=list)", arguments, tail=below))
        agree(old, live.E(5), {"a": 5, "b": [], "c": 3})
        assert type(old) is live.E

    def test_subclass_gets_the_field(self, make_package: Make) -> None:
        below = "@dataclass\nclass E(D):\n    c: int = 3\n"
        code = Code(make_package, source("a: int = 1", tail=below))
        old, base = code.live.E(5), code.live.D(5)
        live = code.put(source("a: int = 1", tail=below + "    d: dict = field(default_factory=dict)\n"))
        agree(old, live.E(5), {"a": 5, "c": 3, "d": {}})
        assert not hasattr(base, "d")

    def test_slots_for_a_class_with_a_dict(self, make_package: Make) -> None:
        code = Code(make_package, source("a: int = 1"))
        old = code.live.D(5)
        cls = code.put(source("a: int = 1; b: int = 2; c: list = field(default_factory=list)", "slots=True")).D
        agree(old, cls(5), {"a": 5, "b": 2, "c": []})

    def test_plain_class_becomes_a_dataclass(self, make_package: Make) -> None:
        code = Code(make_package, "class D:\n    def __init__(self, a):\n        self.a = a\n")
        old = code.live.D(1)
        assert refused_codes(code, source("a: int; b: int")) == ["dataclass-field-without-value"]
        cls = code.put(source("a: int; b: int = 2")).D
        agree(old, cls(1), {"a": 1, "b": 2})

    @pytest.mark.threads
    def test_threads_that_read_first_get_one_value(self, make_package: Make) -> None:
        code = Code(make_package, source("a: int", "slots=True"))
        objects = [code.live.D(1) for _ in range(200)]
        code.put(source("a: int; b: list = field(default_factory=list)", "slots=True"))
        start, seen = threading.Barrier(4), []

        def read() -> None:
            start.wait()
            seen.append([one.b for one in objects])

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(found is one.b for row in seen for found, one in zip(row, objects, strict=True))

    @pytest.mark.parametrize("arguments", ["", "slots=True", "frozen=True"])
    def test_without_a_value_is_refused(self, make_package: Make, arguments: str) -> None:
        code = Code(make_package, source("a: int", arguments))
        refused = ["dataclass-field-without-value"]
        assert refused_codes(code, source("a: int; b: int", arguments)) == refused
        assert refused_codes(code, source("a: int; b: int = field(init=False)", arguments)) == refused

    def test_removed_fields(self, make_package: Make) -> None:
        code = Code(make_package, source("a: int; b: int = 2", "slots=True"))
        old = code.live.D(1, 5)
        cls = code.put(source("a: int", "slots=True")).D
        assert (repr(old), old == cls(1)) == ("D(a=1)", True)
        assert pickle.loads(pickle.dumps(cls(1))) == old
        code.back()
        assert old.b == 5


NAMED = """
import typing
class P(typing.NamedTuple):
    x: int
    y: int = 2
    def sum(self): return self.x + self.y
"""


class TestNamedTuples:
    def test_methods_defaults_and_docstrings(self, make_package: Make) -> None:
        code = Code(make_package, NAMED + "ORIGIN = P(0)\n")
        old, cls = code.live.P(1), code.live.P
        after = (
            NAMED.replace("self.x + self.y", "self.x * 10").replace("= 2\n", "= 7\n").replace("x: int", '"doc"; x: int')
        )
        live = code.put(after + "ORIGIN = P(1)\n")
        assert (old.sum(), old, cls(1).y, cls.__doc__, cls._field_defaults) == (10, (1, 2), 7, "doc", {"y": 7})
        assert (type(live.ORIGIN), live.ORIGIN, old._replace(x=5)) == (cls, (1, 7), (5, 2))
        assert pickle.loads(pickle.dumps(old)) == old
        assert type(pickle.loads(pickle.dumps(old))) is cls
        code.back()
        assert (old.sum(), cls(1).y) == (3, 2)

    def test_annotations(self, make_package: Make) -> None:
        code = Code(make_package, NAMED)
        old = code.live.P(1)
        cls = code.put(NAMED.replace("x: int", "x: float")).P
        assert (cls.__annotations__["x"], old.x) == (float, 1)

    @pytest.mark.parametrize(
        "change",
        [
            ("    y: int = 2\n", "    y: int = 2\n    z: int = 3\n"),
            ("    y: int = 2\n", ""),
            ("    x: int\n    y: int = 2\n", "    y: int\n    x: int = 2\n"),
            ("x: int", "w: int"),
        ],
    )
    def test_fields_are_positions_of_a_tuple(self, make_package: Make, change: tuple[str, str]) -> None:
        assert refused_codes(Code(make_package, NAMED), NAMED.replace(*change)) == ["named-tuple-fields-changed"]


class TestAnnotations:
    """From CPython 3.14 on they are computed when somebody asks, and what was computed is kept."""

    ANNOTATED = "class C:\n    x: int = 0\ndef f(x: int): return 0\n"
    PLAIN = "class C:\n    x = 0\ndef f(x): return 1\n"

    @pytest.mark.parametrize("asked", [True, False])
    def test_come_and_go(self, make_package: Make, asked: bool) -> None:
        code = Code(make_package, self.ANNOTATED)
        cls, function = code.live.C, code.live.f

        def seen() -> tuple[Any, ...]:
            return cls.__annotations__, function.__annotations__, code.live.f.__annotations__

        annotated: tuple[Any, ...] = ({"x": int},) * 3
        plain: tuple[Any, ...] = ({},) * 3
        if asked:
            assert seen() == annotated
        code.put(self.PLAIN)
        assert seen() == plain
        code.back()
        assert seen() == annotated
        code.put(self.PLAIN)
        if asked:
            assert seen() == plain
        code.put(self.ANNOTATED.replace("int", "str"))
        assert seen() == ({"x": str},) * 3
        code.back()
        assert seen() == plain

    def test_that_somebody_wrote_are_there_after_a_rollback(self, make_package: Make) -> None:
        code = Code(make_package, self.ANNOTATED)
        cls, function = code.live.C, code.live.f
        cls.__annotations__ = function.__annotations__ = {"y": str}
        code.put(self.ANNOTATED.replace("return 0", "return 1"))
        assert (cls.__annotations__, function.__annotations__) == ({"x": int}, {"x": int})
        code.back()
        assert (cls.__annotations__, function.__annotations__) == ({"y": str}, {"y": str})

    def test_that_somebody_added_are_there_after_a_rollback(self, make_package: Make) -> None:
        code = Code(make_package, self.ANNOTATED)
        cls = code.live.C
        cls.__annotations__["y"] = str
        code.put(self.PLAIN)
        assert cls.__annotations__ == {}
        code.back()
        assert cls.__annotations__ == {"x": int, "y": str}

    def test_as_text_and_as_values_in_turn(self, make_package: Make) -> None:
        code = Code(make_package, self.ANNOTATED)
        cls, function = code.live.C, code.live.f
        assert (cls.__annotations__, function.__annotations__) == ({"x": int}, {"x": int})
        code.put("from __future__ import annotations\n" + self.ANNOTATED)
        assert (cls.__annotations__, function.__annotations__) == ({"x": "int"}, {"x": "int"})
        code.put(self.ANNOTATED)
        assert (cls.__annotations__, function.__annotations__) == ({"x": int}, {"x": int})
        code.back()
        assert (cls.__annotations__, function.__annotations__) == ({"x": "int"}, {"x": "int"})
