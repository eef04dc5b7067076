"""Enumerations across a swap: members keep their identity, and everything else is as after a restart."""

from __future__ import annotations

import copy
import enum
import pickle
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.swapping import Code, refused_codes, written

NEW = sys.version_info >= (3, 12)

Make = Callable[..., ModuleType]


def source(body: str, base: str = "enum.Enum", after: str = "") -> str:
    """The text of a module with one enumeration, E."""
    lines = "\n".join(f"    {line}" for line in body.split("; "))
    return f"import enum\nclass E({base}):\n{lines}\n{after}\n"


def facts(cls: Any) -> Any:
    """Everything that can be asked of an enumeration, without the objects themselves."""
    members = list(cls)
    named = dict(cls.__members__)
    found = {
        "order": [member.name for member in members],
        "backwards": [member.name for member in reversed(cls)],
        "length": len(cls),
        "names": {name: member.name for name, member in named.items()},
        "values": {name: member.value for name, member in named.items()},
        "by name": {name: cls[name].name for name in named},
        "by attribute": {name: getattr(cls, name).name for name in named},
        "by value": {name: cls(member.value).name for name, member in named.items()},
        "repr": [repr(member) for member in members],
        "str": [str(member) for member in members],
        "kinds": {type(member) is cls and isinstance(member, cls) for member in named.values()},
        "contained": {member in cls for member in named.values()},
        "directory": [name for name in dir(cls) if not name.startswith("__")],
    }
    if issubclass(cls, enum.Flag):
        everything = cls(0)
        for member in members:
            everything |= member
        found["flags"] = (repr(everything), repr(~everything), [member.name for member in everything])
        found["pairs"] = [(repr(a | b), repr(a & b), repr(a ^ b), repr(~a)) for a in members for b in members]
    return found


CHANGES: dict[str, tuple[str, str, str]] = {
    "added last": ("enum.Enum", "A = 1; B = 2", "A = 1; B = 2; C = 3"),
    "added first": ("enum.Enum", "A = 1; B = 2", "C = 3; A = 1; B = 2"),
    "removed": ("enum.Enum", "A = 1; B = 2; C = 3", "A = 1; C = 3"),
    "re-valued": ("enum.Enum", "A = 1; B = 2", "A = 1; B = 'two'"),
    "values exchanged": ("enum.Enum", "A = 1; B = 2", "A = 2; B = 1"),
    "reordered": ("enum.Enum", "A = 1; B = 2; C = 3", "C = 3; A = 1; B = 2"),
    "alias added": ("enum.Enum", "A = 1; B = 2", "A = 1; B = 2; Z = 1"),
    "alias removed": ("enum.Enum", "A = 1; Z = 1; B = 2", "A = 1; B = 2"),
    "alias becomes a member": ("enum.Enum", "A = 1; Z = 1", "A = 1; Z = 2"),
    "member becomes an alias": ("enum.Enum", "A = 1; B = 2", "A = 1; B = 1"),
    "new name before the old": ("enum.Enum", "OLD = 1; B = 2", "NEW = 1; OLD = 1; B = 2"),
    "auto": ("enum.Enum", "A = enum.auto(); B = enum.auto()", "C = enum.auto(); A = enum.auto(); B = enum.auto()"),
    "unhashable values": ("enum.Enum", "A = [1]; B = [2]", "A = [1]; B = [3]; C = {}"),
    "tuples": ("enum.Enum", "A = (1, 2)", "A = (1, 3); B = (1, 2)"),
    "whole numbers": ("enum.IntEnum", "A = 1; B = 2", "C = 3; A = 1"),
    "strings": ("enum.StrEnum", "A = 'a'; B = 'b'", "B = 'b'; C = 'c'"),
    "strings by auto": ("enum.StrEnum", "A = enum.auto()", "B = enum.auto(); A = enum.auto()"),
    "text and enumeration": ("str, enum.Enum", "A = 'a'", "A = 'a'; B = 'b'"),
    "whole number renamed": ("enum.IntEnum", "OLD = 1", "NEW = 1; OLD = 1"),
    "flag added": ("enum.Flag", "A = 1; B = 2", "A = 1; B = 2; C = 4"),
    "flag added below": ("enum.Flag", "B = 2; C = 4", "A = 1; B = 2; C = 4"),
    "flag removed": ("enum.Flag", "A = 1; B = 2; C = 4", "A = 1; C = 4"),
    "flag re-valued": ("enum.Flag", "A = 1; B = 2", "A = 1; B = 4"),
    "flags exchanged": ("enum.Flag", "A = 1; B = 2", "A = 2; B = 1"),
    "combination named": ("enum.Flag", "A = 1; B = 2", "A = 1; B = 2; AB = 3"),
    "combination unnamed": ("enum.Flag", "A = 1; B = 2; AB = 3", "A = 1; B = 2"),
    "nothing named": ("enum.Flag", "A = 1; B = 2", "NONE = 0; A = 1; B = 2"),
    "flags by auto": ("enum.Flag", "A = enum.auto()", "A = enum.auto(); B = enum.auto()"),
    "whole flags": ("enum.IntFlag", "A = 1; B = 2", "A = 1; B = 2; C = 8"),
    "boundary": ("enum.Flag", "A = 1", "A = 1; B = 2"),
    "all at once": ("enum.Enum", "A = 1; B = 2; C = 3; Z = 1", "D = 4; C = 1; A = 'x'; Z = 4"),
    "methods alone": ("enum.Enum", "A = 1; f = lambda self: 1", "A = 1; f = lambda self: 2"),
}


class TestMembers:
    @pytest.mark.parametrize("change", CHANGES)
    def test_are_as_after_a_restart_and_as_before_after_a_rollback(self, make_package: Make, change: str) -> None:
        base, before, after = CHANGES[change]
        code = Code(make_package, source(before, base))
        cls = code.live.E
        old = dict(cls.__members__)
        if issubclass(cls, enum.Flag):
            cls(3 & cls._flag_mask_), ~cls(0)  # combinations that exist already
        was = facts(cls)
        now = code.put(source(after, base)).E
        assert now is cls
        assert facts(cls) == facts(written(source(after, base)).E)
        for name, member in old.items():
            if name in cls.__members__ and name == cls[name].name and name == member.name:
                assert cls[name] is member, "members keep their identity"
        assert code.back().E is cls
        assert facts(cls) == was
        assert all(cls[name] is member for name, member in old.items())

    def test_twenty_changes_in_a_row(self, make_package: Make) -> None:
        texts = [source(body) for _, body, other in CHANGES.values() for body in (body, other) if "f =" not in body]
        code = Code(make_package, texts[0])
        cls = code.live.E
        for text in texts[1:21]:
            code.put(text)
            assert facts(cls) == facts(written(text).E)

    def test_every_attribute_is_the_same_object_after_a_rollback(self, make_package: Make) -> None:
        code = Code(make_package, source("A = 1; B = 2; Z = 1", "enum.Flag"))
        cls = code.live.E

        def state() -> dict[str, Any]:
            held = dict(vars(cls))
            held["parts"] = {name: list(value) for name, value in held.items() if isinstance(value, (list, dict))}
            held["members"] = {name: dict(vars(member)) for name, member in cls.__members__.items()}
            return held

        before = state()
        code.put(source("C = 4; B = 1; Z = 8; D = 3", "enum.Flag", "def f(): pass"))
        code.back()
        assert state() == before
        assert all(state()[name] is value for name, value in before.items() if name not in ("parts", "members"))

    def test_names_that_come_and_go_are_in_the_plan(self, make_package: Make) -> None:
        code = Code(make_package, source("A = 1; B = 2; C = 3"))
        code.put(source("A = 'x'; B = 2; D = 4; Z = 2"))
        lines = [str(change) for change in code.plan.names if change.name.startswith("E.")]
        assert [line.replace(code.package, "p") for line in sorted(lines)] == [
            "added     p.code:E.D (a member)",
            "added     p.code:E.Z (an alias)",
            "changed   p.code:E.A (the same member with another value)",
            "removed   p.code:E.C (who holds the member keeps it; look-ups do not find it any more)",
        ]


class TestHolders:
    """Whoever holds a member goes on holding the member."""

    def test_dicts_sets_and_pickles(self, make_package: Make) -> None:
        code = Code(make_package, source("A = 1; B = 2; C = 3"))
        cls = code.live.E
        table, chosen, pickled = {cls.A: "a", cls.C: "c"}, {cls.B}, pickle.dumps([cls.A, cls.B])
        by_name = pickle.dumps(code.live.E["B"], protocol=4)
        gone = cls.C
        code.put(source("D = 4; A = 1; B = 2"))
        assert (table[cls.A], cls.B in chosen, table[gone]) == ("a", True, "c")
        assert pickle.loads(pickled)[0] is cls.A
        assert pickle.loads(by_name) is cls.B
        assert copy.deepcopy(cls.D) is cls.D
        assert pickle.loads(pickle.dumps(cls.D)) is cls.D
        assert (gone.name, gone.value, type(gone)) == ("C", 3, cls)
        with pytest.raises(ValueError, match="3 is not a valid E"):
            cls(3)
        assert not hasattr(cls, "C")

    @pytest.mark.parametrize(
        ("base", "before", "after", "name"),
        [
            ("enum.Enum", "OLD = 1", "NEW = 1; OLD = 1", "NEW"),
            ("enum.Flag", "A = 1; B = 2; AB = 3", "A = 1; B = 2", "A|B"),
            ("enum.IntEnum", "OLD = 1", "NEW = 1; OLD = 1", "NEW"),
        ],
    )
    def test_hash_stays_when_a_member_gets_another_name(
        self, make_package: Make, base: str, before: str, after: str, name: str
    ) -> None:
        code = Code(make_package, source(before, base))
        cls = code.live.E
        held = list(cls.__members__.values())[-1]
        table = {held: 1}
        code.put(source(after, base))
        assert (held.name, table[held], table[cls(held.value)]) == (name, 1, 1)
        assert cls(held.value) is held
        code.put(source(after, base, "    x = property(lambda self: 1)"))
        assert (held.name, table[held], held.x) == (name, 1, 1)
        code.put(source(before, base))
        assert (held.name, table[held]) == (list(cls.__members__)[-1], 1)
        code.back()
        assert (held.name, table[held]) == (name, 1)
        code.put(source(before, base))
        code.put(source(after, base))
        code.back()
        assert (held.name, table[held]) == (list(cls.__members__)[-1], 1)

    def test_combinations_of_flags_are_the_same_objects(self, make_package: Make) -> None:
        code = Code(make_package, source("A = 1; B = 2; C = 4", "enum.Flag"))
        cls = code.live.E
        ab, bc, inverted = cls.A | cls.B, cls.B | cls.C, ~cls.A
        table = {ab: 1}
        code.put(source("B = 2; A = 1; D = 8", "enum.Flag", "DEFAULT = E.A | E.B"))
        assert cls.A | cls.B is ab
        assert code.live.DEFAULT is ab
        assert table[cls.A | cls.B] == 1
        assert ~cls.A == cls.B | cls.D
        assert (bc.value, type(bc)) == (6, cls)
        with pytest.raises(ValueError, match="6"):
            cls(6)
        later, born = cls.A | cls.D, {cls.B | cls.A: 2}
        code.back()
        assert born[cls.A | cls.B] == 2
        assert cls.A | cls.B is ab
        assert cls.B | cls.C is bc
        assert ~cls.A is inverted
        assert later.value == 9
        with pytest.raises(ValueError, match="9"):
            cls(9)

    def test_combination_that_is_born_in_a_version_that_is_taken_back(self, make_package: Make) -> None:
        code = Code(make_package, source("OLD = 1; B = 2", "enum.Flag"))
        cls = code.live.E
        first = {cls.OLD: 1}
        code.put(source("NEW = 1; OLD = 1; B = 2", "enum.Flag"))
        held = cls.OLD | cls.B
        table = {held: 1}
        assert (held.name, first[cls.NEW]) == ("NEW|B", 1)
        code.back()
        assert (held.name, table[cls.OLD | cls.B], first[cls.OLD]) == ("OLD|B", 1, 1)

    def test_match_statements_follow(self, make_package: Make) -> None:
        code = Code(make_package, source("A = 1; B = 2"))
        cls = code.live.E

        def which(member: Any) -> str:
            match member:
                case cls.A:
                    return "a"
                case cls.C:
                    return "c"
            return "none"

        held = cls.A
        code.put(source("C = 3; A = 'x'; B = 2"))
        assert (which(held), which(cls("x")), which(cls.C), which(cls.B)) == ("a", "a", "c", "none")

    def test_loop_that_is_under_way_goes_on(self, make_package: Make) -> None:
        code = Code(make_package, source("A = 1; B = 2; C = 3"))
        loop, items = iter(code.live.E), iter(code.live.E.__members__.items())
        next(loop), next(items)
        code.put(source("A = 1; C = 3"))
        assert [member.name for member in loop] == ["C"]
        assert [name for name, _ in items] == ["B", "C"]

    def test_what_the_candidate_made_of_its_members_leads_to_the_living_ones(self, make_package: Make) -> None:
        made = "TABLE = {E.A: 1}\nCHOSEN = frozenset({E.A})\nPAIR = (E.A, [E.A])\ndef f(e=E.A): return e\n"
        new = made.replace("{E.A: 1}", "{E.A: 1, E.C: 3}").replace("(E.A, [", "(E.C, [")
        code = Code(make_package, source("A = 1; B = 2", after=made))
        a = code.live.E.A
        live = code.put(source("A = 1; B = 2; C = 3", after=new))
        assert (live.TABLE[a], live.TABLE[live.E.C], a in live.CHOSEN, live.f() is a) == (1, 3, True, True)
        assert live.PAIR[0] is live.E.C
        assert type(live.PAIR[0]) is live.E
        assert live.PAIR[1][0] is a


class TestOwnCode:
    def test_attributes_that_members_make_for_themselves(self, make_package: Make) -> None:
        body = "A = (1, 'one'); B = (2, 'two')"
        init = "    def __init__(self, number, word):\n        self.number, self.word = number, word\n"
        code = Code(make_package, source(body, after=init))
        cls = code.live.E
        cls.A.seen, cls.B.word = 5, "changed at run time"
        code.put(source("A = (1, 'uno'); B = (2, 'two'); C = (3, 'three')", after=init))
        assert [member.word for member in cls] == ["uno", "changed at run time", "three"]
        assert cls.A.seen == 5
        code.put(source(body, after=init.replace("word\n", "word.upper()\n")))
        assert [member.word for member in cls] == ["ONE", "TWO"]

    def test_new_and_missing(self, make_package: Make) -> None:
        text = """
import enum
class E(enum.Enum):
    A = 1
    def __new__(cls, value):
        member = object.__new__(cls)
        member._value_ = value * FACTOR
        return member
    @classmethod
    def _missing_(cls, value):
        return cls.A if value == "a" else None
"""
        code = Code(make_package, text.replace("FACTOR", "10"))
        cls, a = code.live.E, code.live.E.A
        live = code.put(text.replace("FACTOR", "20").replace('"a"', '"b"').replace("A = 1", "A = 1\n    B = 2"))
        assert (cls(20), cls("b"), a.value, live.E.B.value) == (a, a, 20, 40)
        with pytest.raises(ValueError, match="'a' is not a valid E"):
            cls("a")
        code.back()
        assert (cls(10), cls("a"), a.value) == (a, a, 10)

    def test_members_that_missing_made_at_run_time_stay(self, make_package: Make) -> None:
        text = """
import enum
class E(enum.Enum):
    A = 1
    @classmethod
    def _missing_(cls, value):
        member = object.__new__(cls)
        member._value_, member._name_ = value, f"unknown {value}"
        return cls._value2member_map_.setdefault(value, member)
"""
        code = Code(make_package, text)
        unknown, later = code.live.E(99), code.live.E(2)
        cls = code.put(text.replace("A = 1", "A = 1\n    B = 2")).E
        assert cls(99) is unknown
        assert cls(2) is cls.B
        assert code.back().E(2) is later

    def test_other_attributes_and_inheritance(self, make_package: Make) -> None:
        text = """
import enum
class Base(enum.Enum):
    def said(self):
        return f"old {self.name}"
class E(Base):
    A = 1
    limit = property(lambda self: 1)
"""
        code = Code(make_package, text)
        a = code.live.E.A
        live = code.put(text.replace("old", "new").replace("self: 1", "self: 2").replace("A = 1", "A = 1\n    B = 2"))
        assert (a.said(), a.limit, live.E.B.said(), live.E(1)) == ("new A", 2, "new B", a)

    def test_values_of_the_same_definition_are_the_same_objects(self, make_package: Make) -> None:
        head = "class Handler: pass\n"
        code = Code(make_package, head + source("A = Handler(); B = [1]; C = len"))
        cls = code.live.E
        handler, numbers = cls.A.value, cls.B.value
        numbers.append(2)
        live = code.put(head + source("A = Handler(); B = [1]; C = len; D = Handler()"))
        assert (cls(handler), cls.A.value, cls.B.value, cls(len)) == (cls.A, handler, [1, 2], cls.C)
        assert cls.B.value is numbers
        assert (cls(live.E.D.value), type(live.E.D.value)) == (live.E.D, live.Handler)

    def test_functional_interface(self, make_package: Make) -> None:
        code = Code(make_package, "import enum\nE = enum.Enum('E', 'A B')\n")
        cls, a = code.live.E, code.live.E.A
        code.put("import enum\nE = enum.Enum('E', 'C A B')\n")
        assert (code.live.E, cls.A, [member.name for member in cls], cls(2)) == (cls, a, ["C", "A", "B"], a)

    def test_hash_of_its_own_is_warned_about(self, make_package: Make) -> None:
        own = "    def __hash__(self): return hash(self.value)\n"
        code = Code(make_package, source("A = 1", after=own))
        code.put(source("A = 2", after=own))
        assert any("computes the hash of its members" in warning for warning in code.plan.warnings)


class TestRefused:
    @pytest.mark.parametrize(
        ("base", "before", "after", "codes"),
        [
            ("enum.IntEnum", "A = 1", "A = 2", ["enum-value-fixed"]),
            ("enum.StrEnum", "A = 'a'", "A = 'b'", ["enum-value-fixed"]),
            ("enum.IntFlag", "A = 1; B = 2", "A = 1; B = 4", ["enum-value-fixed"]),
            ("float, enum.Enum", "A = 1.5", "A = 2.5", ["enum-value-fixed"]),
            ("tuple, enum.Enum", "A = (1, 2)", "A = (1, 2); B = (2, 3)", [] if NEW else ["layout-changed"]),
            ("tuple, enum.Enum", "A = (1, 2)", "A = (1, 3)", ["enum-value-fixed"]),
            ("enum.IntEnum", "A = 1", "A = 1; B = 2", []),
        ],
    )
    def test_value_that_is_the_object_itself(
        self, make_package: Make, base: str, before: str, after: str, codes: list[str]
    ) -> None:
        code = Code(make_package, source(before, base))
        assert refused_codes(code, source(after, base)) == codes
        if not codes:
            live = code.put(source(after, base))
            assert type(live.E.B) is live.E

    def test_other_kinds_of_enumerations(self, make_package: Make) -> None:
        code = Code(make_package, source("A = 'a'", "str, enum.Enum"))
        assert refused_codes(code, source("A = 'a'", "enum.StrEnum")) == ["bases-changed"]
        code = Code(make_package, source("A = 1"))
        assert set(refused_codes(code, "class E:\n    A = 1\n")) == {"metaclass-changed"}


class TestWhatHoldsMembers:
    """A definition that merely holds members is what it was when they get other values; one that uses these is not."""

    COLOURS = "import enum\nclass Colour(enum.Enum):\n    RED = 1\n    BLUE = 2\n"
    HOLDER = """
        import collections
        from . import code
        from .code import Colour
        COUNTS = {Colour.RED: 0, Colour.BLUE: 0}
        TYPED: dict[Colour, int] = {colour: 0 for colour in Colour}
        COUNTED = collections.Counter({Colour.BLUE: 0})
        EACH = dict.fromkeys(code.Colour, 0)
        FILLED = {}
        FILLED[Colour.BLUE] = 0
        FILLED.setdefault(Colour.RED, 0)
        DEFAULT = Colour.BLUE
        class Painter:
            COUNTS = {Colour.BLUE: 0}
    """
    USER = """
        from .code import Colour
        from .holder import COUNTS, DEFAULT
        HELD = {DEFAULT: 0}
        BY_VALUE = {Colour.BLUE.value: 1}
        LABEL = f"{Colour.BLUE.value}"
        THROUGH = DEFAULT.value
        VALUES = [colour.value for colour in COUNTS]
        ALL = [colour.value for colour in Colour]
    """
    NAMES = ("COUNTS", "TYPED", "COUNTED", "EACH", "FILLED", "DEFAULT")

    @pytest.fixture
    def make(self, make_package: Make) -> Callable[[str], tuple[Code, Any, Callable[[], Any]]]:
        def make(colours: str) -> tuple[Code, Any, Callable[[], Any]]:
            code = Code(make_package, colours, holder=self.HOLDER, user=self.USER)
            holder = sys.modules[f"{code.package}.holder"]
            return code, holder, lambda: sys.modules[f"{code.package}.user"]

        return make

    def test_goes_on_with_what_was_counted(self, make: Any) -> None:
        code, holder, user = make(self.COLOURS)
        kept = {name: holder.__dict__[name] for name in self.NAMES}
        kept["Painter.COUNTS"] = holder.Painter.COUNTS
        blue = code.live.Colour.BLUE
        for name, table in kept.items():
            if name != "DEFAULT":
                table[blue] = 5
        before = dict(user().__dict__)
        code.put(self.COLOURS.replace("2", "20"))
        live = sys.modules[holder.__name__]
        assert all(live.__dict__[name] is kept[name] for name in self.NAMES)
        assert live.Painter.COUNTS is kept["Painter.COUNTS"]
        assert {code.live.Colour.RED: 0, blue: 5} == live.COUNTS
        assert live.DEFAULT is blue and blue.value == 20
        assert user().HELD is before["HELD"]
        assert user().BY_VALUE == {20: 1} and user().LABEL == "20" and user().THROUGH == 20
        assert user().VALUES == [1, 20] == user().ALL
        code.back()
        again = sys.modules[holder.__name__]
        assert all(again.__dict__[name] is kept[name] for name in self.NAMES) and again.COUNTS[blue] == 5
        assert all(user().__dict__[name] is before[name] for name in ("HELD", "BY_VALUE", "LABEL", "VALUES", "ALL"))

    def test_is_not_loaded_again_if_nothing_in_it_uses_a_value(self, make_package: Make) -> None:
        code = Code(make_package, self.COLOURS, holder=self.HOLDER.partition("class Painter")[0])
        holder = sys.modules[f"{code.package}.holder"]
        code.put(self.COLOURS.replace("2", "20"))
        assert sys.modules[holder.__name__] is holder
        assert not [line for line in str(code.plan).splitlines() if "holder" in line and "rebound" not in line]

    def test_in_the_module_of_the_enumeration(self, make_package: Make) -> None:
        text = (
            f"{self.COLOURS}COUNTS = {{Colour.BLUE: 0}}\nDEFAULT = Colour.BLUE\nTHROUGH = DEFAULT.value\n"
            "VALUES = sorted(colour.value for colour in COUNTS)\n"
        )
        code = Code(make_package, text)
        counts, blue = code.live.COUNTS, code.live.DEFAULT
        counts[blue] = 5
        live = code.put(text.replace("BLUE = 2", "BLUE = 20"))
        assert live.COUNTS is counts and counts == {blue: 5} and live.DEFAULT is blue
        assert live.THROUGH == 20 and live.VALUES == [20]
        assert not code.plan.warnings or not any("COUNTS" in w or "DEFAULT" in w for w in code.plan.warnings)

    def test_says_so_where_another_definition_leads_to_the_same_member(self, make_package: Make) -> None:
        text = f"{self.COLOURS}DEFAULT = Colour.BLUE if Colour.BLUE.value else Colour.RED\n"
        code = Code(make_package, text)
        blue = code.live.DEFAULT
        live = code.put(text.replace("BLUE = 2", "BLUE = 20"))
        assert live.DEFAULT is blue
        assert "kept      " + f"{code.name}:DEFAULT (the new definition leads to the same object)" in str(code.plan)
        assert not [warning for warning in code.plan.warnings if "DEFAULT" in warning]

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("BLUE = 2", "BLUE = 1"),  # it becomes an alias
            ("RED = 1\n    BLUE = 2", "RED = 1\n    BLUE = RED"),
            ("BLUE = 2", "BLUE = int('20')"),  # it can't be told what it will be
        ],
    )
    def test_is_made_again_where_a_member_may_be_another_one(self, make: Any, before: str, after: str) -> None:
        code, holder, user = make(self.COLOURS.replace("BLUE = 2", "BLUE = 3"))
        code.put(self.COLOURS.replace(before, after))
        live = sys.modules[holder.__name__]
        colour = code.live.Colour
        assert live.COUNTS == {colour.RED: 0, colour.BLUE: 0} and live.COUNTS[colour["BLUE"]] == 0
        assert live.DEFAULT is colour.BLUE and user().HELD == {colour.BLUE: 0}
        assert [c.value for c in dict.fromkeys([colour.RED, colour.BLUE])] == user().VALUES

    def test_of_automatic_values(self, make: Any) -> None:
        colours = "import enum\nclass Colour(enum.Enum):\n    RED = enum.auto()\n    BLUE = enum.auto()\n"
        code, holder, user = make(colours)
        counts, blue = holder.COUNTS, code.live.Colour.BLUE
        code.put(colours.replace("RED = enum.auto()", "RED = 5").replace("BLUE = enum.auto()", "BLUE = 6"))
        assert sys.modules[holder.__name__].COUNTS is counts and code.live.Colour.BLUE is blue
        assert user().VALUES == [5, 6]

    def test_of_automatic_values_that_move(self, make: Any) -> None:
        """The text of `BLUE` is the same, and its value is another one."""
        colours = "import enum\nclass Colour(enum.Enum):\n    RED = enum.auto()\n    BLUE = enum.auto()\n"
        code, holder, user = make(colours)
        counts, held = holder.COUNTS, user().HELD
        code.put(colours.replace("    BLUE", "    GREEN = enum.auto()\n    BLUE"))
        assert sys.modules[holder.__name__].COUNTS is counts and user().HELD is held
        assert user().BY_VALUE == {3: 1} and user().LABEL == "3" and user().THROUGH == 3
        assert user().VALUES == [1, 3] and user().ALL == [1, 2, 3]
        code.back()
        assert user().BY_VALUE == {2: 1} and user().VALUES == [1, 2] == user().ALL

    def test_of_a_removed_member(self, make_package: Make) -> None:
        text = f"{self.COLOURS}COUNTS = {{Colour.RED: 0, Colour.BLUE: 0}}\nRED = {{Colour.RED: 0}}\n"
        code = Code(make_package, text)
        kept, red = code.live.RED, code.live.Colour.RED
        live = code.put(text.replace("    BLUE = 2\n", "").replace(", Colour.BLUE: 0", ""))
        assert {red: 0} == live.COUNTS and live.RED is kept
