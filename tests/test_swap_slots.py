"""Slots across a swap: added ones become shadow slots of the living class, removed ones stay."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.swapping import Code, refused_codes

Make = Callable[..., ModuleType]

ONE = """
class P:
    __slots__ = ("x",)
    def __init__(self, x):
        self.x = x
"""
TWO = """
class P:
    __slots__ = ("x", "y", "z")
    def __init__(self, x, y=0):
        self.x, self.y = x, y
"""


class TestAdded:
    @pytest.fixture
    def code(self, make_package: Make) -> Code:
        return Code(make_package, ONE)

    def test_old_and_new_instances_have_them(self, code: Code) -> None:
        cls, old = code.live.P, code.live.P(1)
        assert code.put(TWO).P is cls
        new = cls(2, 3)
        assert (old.x, new.x, new.y) == (1, 2, 3)
        assert not hasattr(old, "y")
        old.y, new.z = [], 4
        assert (old.y, new.z, old.x) == ([], 4, 1)
        old.x = 5
        del new.y
        with pytest.raises(AttributeError, match="'P' object has no attribute 'y'"):
            new.y
        with pytest.raises(AttributeError):
            del new.y
        with pytest.raises(AttributeError):
            old.other = 1
        assert (old.x, cls.__slots__) == (5, ("x", "y", "z"))

    def test_slot_without_a_value_stays_without(self, code: Code) -> None:
        empty = object.__new__(code.live.P)
        code.put(TWO)
        empty.y = 1
        with pytest.raises(AttributeError, match="'P' object has no attribute 'x'"):
            empty.x
        with pytest.raises(AttributeError):
            del empty.x
        empty.x = 2
        del empty.x
        assert (hasattr(empty, "x"), empty.y) == (False, 1)

    def test_copies_and_pickles_have_the_values(self, code: Code) -> None:
        old = code.live.P(1)
        copy.copy(old)  # `copyreg` notes the slots of a class when it is first asked
        code.put(TWO)
        old.y = [2]
        for twin in (copy.copy(old), copy.deepcopy(old), pickle.loads(pickle.dumps(old))):
            assert (twin.x, twin.y, hasattr(twin, "z")) == (1, [2], False)
        assert old.__getstate__() == (None, {"x": 1, "y": [2]})

    def test_values_die_with_the_object_and_cycles_are_collected(self, code: Code) -> None:
        class Value:
            pass

        old = code.live.P(1)
        code.put(TWO)
        old.y, old.z = Value(), old
        gone = weakref.ref(old.y)
        del old
        gc.collect()
        assert gone() is None

    def test_rollback_leaves_the_first_slots_as_they_were(self, code: Code) -> None:
        old = code.live.P(1)
        code.put(TWO)
        new = code.live.P(2, 3)
        old.y = 5
        code.back()
        assert (old.x, new.x, hasattr(old, "y"), hasattr(new, "y")) == (1, 2, False, False)
        with pytest.raises(AttributeError):
            old.y = 1
        assert copy.copy(old).x == 1
        code.put(TWO)
        old.y = 6
        assert (old.x, old.y) == (1, 6)

    def test_over_three_versions(self, code: Code) -> None:
        old = code.live.P(1)
        code.put(TWO)
        old.y = 2
        code.put(TWO.replace('"z"', '"z", "w"'))
        old.w = 3
        code.put(TWO.replace('"z"', '"w"'))
        assert (old.x, old.y, old.w) == (1, 2, 3)
        assert copy.copy(old).w == 3

    def test_subclasses_outside_of_the_patch(self, code: Code) -> None:
        class Child(code.live.P):  # type: ignore[misc, name-defined]
            __slots__ = ("c",)

        class Loose(code.live.P):  # type: ignore[misc, name-defined]
            pass

        child, loose = Child(1), Loose(1)
        child.c = 2
        code.put(TWO)
        child.y, loose.y, loose.any = 3, 4, 5
        assert (child.x, child.y, child.c, loose.y, loose.any) == (1, 3, 2, 4, 5)
        assert copy.copy(child).y == 3
        assert copy.copy(loose).y == 4

    def test_frozen_by_hand(self, make_package: Make) -> None:
        text = """
class P:
    __slots__ = ("x",)
    def __init__(self, **values):
        for name, value in values.items():
            object.__setattr__(self, name, value)
    def __setattr__(self, name, value):
        raise TypeError("frozen")
"""
        code = Code(make_package, text)
        code.put(text.replace('("x",)', '("x", "y")'))
        new = code.live.P(x=1, y=2)
        assert (new.x, new.y) == (1, 2)
        with pytest.raises(TypeError, match="frozen"):
            new.y = 3

    def test_inherited_slots_carry_those_of_a_class_without_any(self, make_package: Make) -> None:
        text = ONE + "class Q(P):\n    __slots__ = ()\n"
        code = Code(make_package, text)
        old, plain = code.live.Q(1), code.live.P(1)
        code.put(text.replace("()\n", "('y',)\n"))
        old.y = 2
        assert (old.x, old.y, plain.x) == (1, 2, 1)
        with pytest.raises(AttributeError):
            plain.y = 1

    def test_two_classes_of_one_line_have_a_slot_each(self, make_package: Make) -> None:
        text = ONE + "class Q(P):\n    __slots__ = ()\n    def outer(self): return super().y\n"
        code = Code(make_package, text)
        old = code.live.Q(1)
        code.put(text.replace('("x",)', '("x", "y")').replace("()\n", "('y',)\n"))
        old.y = "inner"
        code.live.P.y.__set__(old, "outer")
        assert (old.y, old.outer(), old.x) == ("inner", "outer", 1)

    def test_instances_with_a_dict_keep_them_there(self, make_package: Make) -> None:
        text = "class B:\n    y = 'of the base'\nclass P(B):\n    __slots__ = ('x',)\n"
        code = Code(make_package, text)
        old = code.live.P()
        code.put(text.replace("('x',)", "('x', 'y', 'z')"))
        with pytest.raises(AttributeError):
            old.y
        old.y, old.z = 1, 2
        assert (old.y, old.z) == (1, 2)
        assert copy.copy(old).y == 1
        assert code.back().P.y == "of the base"

    def test_class_with_a_dict_gets_slots(self, make_package: Make) -> None:
        code = Code(make_package, "class P:\n    x = 1\n    def __init__(self): self.y = 2\n")
        old = code.live.P()
        code.put("class P:\n    __slots__ = ('x', 'y')\n    def __init__(self): self.x = self.y = 3\n")
        assert (old.y, hasattr(old, "x"), code.live.P().x) == (2, False, 3)
        assert any("its objects keep theirs" in warning for warning in code.plan.warnings)
        code.back()
        assert old.x == 1

    def test_instances_that_the_candidate_made(self, make_package: Make) -> None:
        code = Code(make_package, ONE + "FIRST = P(1)\nTABLE = {'a': [FIRST]}\ndef first(p=FIRST): return p\n")
        new = TWO + "FIRST = P(1, 2)\nTABLE = {'a': [FIRST, 0]}\ndef first(p=FIRST): return p\n"
        old = code.live.FIRST
        live = code.put(new)
        assert type(live.FIRST) is live.P
        assert (live.FIRST.x, live.FIRST.y, live.first().y, live.TABLE["a"][0] is live.FIRST) == (1, 2, 2, True)
        assert old is not live.FIRST

    def test_the_plan_says_so(self, code: Code) -> None:
        code.put(TWO)
        sentence = f"{code.name}:P gets the slots y, z; using them is slower until a restart"
        assert sentence in code.plan.warnings

    @pytest.mark.threads
    def test_threads_lose_no_value(self, code: Code) -> None:
        objects = [code.live.P(0) for _ in range(300)]
        code.put(TWO)
        names = ("x", "y", "z")
        start = threading.Barrier(len(names))

        def write(name: str) -> None:
            start.wait()
            for number, one in enumerate(objects):
                setattr(one, name, (name, number))

        threads = [threading.Thread(target=write, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, one in enumerate(objects):
            assert [getattr(one, name) for name in names] == [(name, number) for name in names]

    def test_finalizer_of_a_replaced_value_may_use_slots(self, code: Code) -> None:
        old = code.live.P(1)
        code.put(TWO)

        class Dies:
            def __del__(self) -> None:
                old.z = "finalized"
                old.x = "finalized"

        old.x = Dies()
        old.y = 1
        old.x = 2
        assert (old.x, old.y, old.z) == ("finalized", 1, "finalized")


class TestRemoved:
    def test_stay_with_what_is_in_them(self, make_package: Make) -> None:
        code = Code(make_package, TWO.replace("x, self.y = x, y", "x, self.y, self.z = x, y, 0"))
        old = code.live.P(1, 2)
        live = code.put(ONE)
        assert (old.x, old.y, live.P(3).x) == (1, 2, 3)
        assert copy.copy(live.P(3)).x == 3
        assert pickle.loads(pickle.dumps(old)).x == 1
        assert any("loses the slots y, z" in warning for warning in code.plan.warnings)
        code.back()
        assert (copy.copy(old).y, code.live.P.__slots__) == (2, ("x", "y", "z"))

    def test_become_something_else(self, make_package: Make) -> None:
        code = Code(make_package, TWO)
        old = code.live.P(1, 2)
        changed = TWO.replace('"y", ', "").replace("self.y", "self.z") + "    y = property(lambda self: 'computed')\n"
        live = code.put(changed)
        assert (old.y, live.P(3, 4).z, live.P(3, 4).y) == ("computed", 4, "computed")
        assert code.back().P(5, 6).y == 6
        assert old.y == 2

    def test_one_for_another(self, make_package: Make) -> None:
        """As `ConfigDict` of bottle did: a dict with slots, and neither `__dict__` nor `__weakref__`."""
        before = "class C(dict):\n    __slots__ = ('_meta', '_on_change')\n"
        code = Code(make_package, before)
        old = code.live.C(a=1)
        old._meta, old._on_change = {}, print
        code.put("class C(dict):\n    __slots__ = ('_change_listener', '_meta', '_overlays', '_source')\n")
        old._overlays, old._source = [old], None
        assert (old._overlays, old._source, old._meta, old["a"]) == ([old], None, {}, 1)
        assert copy.copy(old)._overlays[0] is old


HELD = ["K = [P()]", "K = {'a': P()}", "K = {P(): 'a'}", "K = {P()}", "K = (P(),)", "K = {(P(), 1): 'a'}"]
FROZEN = """
from dataclasses import dataclass
@dataclass(frozen=True, slots=True, weakref_slot=WEAK)
class P:
    a: int = 1
    def m(self): return self.a
"""


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("weak", ["True", "False"])
class TestInstancesInContainers:
    """Those that the candidate makes can't always change their class: they are made again, with what they hash by."""

    def test_method(self, make_package: Make, held: str, weak: str) -> None:
        before = FROZEN.replace("WEAK", weak)
        code = Code(make_package, before + held)
        cls, kept = code.live.P, code.live.K
        live = code.put(before.replace("self.a", "self.a + 1") + held)
        assert (live.P, live.K, live.P().m()) == (cls, kept, 2)
        assert kept != code.put(before + held.replace("P()", "P(5)")).K
        assert {type(one) for one in _held(code.live.K)} == {cls}
        assert [one.m() for one in _held(code.live.K)] == [5]
        code.back()
        assert [one.m() for one in _held(code.live.K)] == [2]

    def test_field(self, make_package: Make, held: str, weak: str) -> None:
        before = FROZEN.replace("WEAK", weak)
        code = Code(make_package, before + held)
        live = code.put(before + "    b: int = 2\n" + held)
        assert (live.P().b, [one.b for one in _held(live.K)]) == (2, [2])
        assert any("hash" in warning for warning in code.plan.warnings)
        code.back()
        assert [one.m() for one in _held(code.live.K)] == [1]


def _held(container: Any) -> list[Any]:
    """The objects in one of the containers of `HELD`."""
    values = [*container, *(container.values() if isinstance(container, dict) else ())]
    return [one for value in values for one in (value if isinstance(value, tuple) else [value]) if hasattr(one, "m")]


class TestRefused:
    @pytest.mark.parametrize(
        ("before", "after", "codes"),
        [
            ("class P:\n    __slots__ = ()", "class P:\n    __slots__ = ('x',)", ["slots-changed"]),
            ("class P:\n    __slots__ = ()", "class P:\n    pass", ["layout-changed"] * 2),
            ("class P:\n    __slots__ = ('x',)", "class P:\n    __slots__ = ('x', '__weakref__')", ["layout-changed"]),
            ("class P(Exception):\n    pass", "class P:\n    pass\nX = P()", ["layout-changed", "bases-changed"]),
            ("class P(dict):\n    pass", "class P(list):\n    pass\nX = (P(),)", ["layout-changed", "bases-changed"]),
            ("class P(int):\n    __slots__ = ()", "class P(int):\n    pass", ["layout-changed"]),
            ("class P(dict): pass", "class P(list): pass", ["layout-changed", "bases-changed"]),
            ("class P(dict):\n    __slots__ = ()", "class P(dict):\n    __slots__ = ('x',)", ["slots-changed"]),
        ],
    )
    def test_what_there_is_no_room_for(self, make_package: Make, before: str, after: str, codes: list[str]) -> None:
        assert refused_codes(Code(make_package, before), after) == codes

    def test_new_class_below_one_with_other_slots(self, make_package: Make) -> None:
        """It has the real slots of the twin in its layout, so it can't be led to the living class."""
        code = Code(make_package, ONE)
        assert refused_codes(code, TWO + "class Q(P):\n    __slots__ = ()\n") == ["reference-left"]
        assert refused_codes(code, ONE + "class Q(P):\n    __slots__ = ('z',)\n") == []

    def test_a_hash_that_fails(self, make_package: Make) -> None:
        key = "DIVISOR = [1]\nclass Key:\n    def __hash__(self): return 1 // DIVISOR[0]\n"
        code = Code(make_package, ONE + key)
        new = TWO + key + "K = {(P, Key()): 1}\n"
        assert refused_codes(code, new) == []
        assert refused_codes(code, new + "DIVISOR[0] = 0\n") == ["reference-left"]
