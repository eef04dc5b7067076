"""Classes and modules: what `hotswap/swap/classes.py` and `swap/forwarding.py` (superseded modules) build on."""

from __future__ import annotations

import abc
import copy
import sys
from types import ModuleType
from typing import Any

import pytest


class TestModuleClass:
    """An old module object that somebody still holds gets a class that leads to the live module."""

    def test_can_be_assigned_and_put_back_in_c(self) -> None:
        class Leads(ModuleType):
            def __getattribute__(self, attribute: str) -> Any:
                return f"live {attribute}"

        module = ModuleType("m")
        module.x = "old"  # type: ignore[attr-defined]
        set_class = object.__dict__["__class__"].__set__
        set_class(module, Leads)
        assert module.x == "live x"
        set_class(module, ModuleType)
        assert module.x == "old"

    def test_getattribute_is_honoured_by_import_from(self) -> None:
        class Leads(ModuleType):
            def __getattribute__(self, attribute: str) -> Any:
                return "led" if attribute == "x" else super().__getattribute__(attribute)

        name = "led_module_of_this_test"
        sys.modules[name] = Leads(name)
        try:
            namespace: dict[str, Any] = {}
            exec(f"from {name} import x", namespace)
        finally:
            del sys.modules[name]
        assert namespace["x"] == "led"

    def test_is_honoured_by_code_that_has_cached_a_plain_module(self) -> None:
        """Specialised attribute loads check the kind of the object: they do not go on reading the old namespace."""

        class Leads(ModuleType):
            def __getattribute__(self, attribute: str) -> Any:
                return "led"

        module = ModuleType("m")
        module.x = "old"  # type: ignore[attr-defined]

        def read() -> Any:
            return module.x

        for _ in range(5000):
            assert read() == "old"
        module.__class__ = Leads
        assert read() == "led"
        assert module.x == "led"

    def test_namespace_stays_reachable_behind_it(self) -> None:
        class Leads(ModuleType):
            def __getattribute__(self, attribute: str) -> Any:
                raise AttributeError(attribute)

        module = ModuleType("m")
        namespace = module.__dict__
        module.__class__ = Leads
        assert ModuleType.__getattribute__(module, "__dict__") is namespace


class TestBases:
    def test_can_be_assigned_between_equal_layouts(self) -> None:
        class One:
            def who(self) -> str:
                return "one"

        class Two:
            def who(self) -> str:
                return "two"

        class Child(One):
            pass

        child = Child()
        type.__setattr__(Child, "__bases__", (Two,))
        assert child.who() == "two"
        assert [cls.__name__ for cls in Two.__subclasses__()] == ["Child"]
        assert One.__subclasses__() == []

    def test_of_object_alone_cannot_be_assigned(self) -> None:
        """Which is why the plan tries it on a scratch class first."""

        class Other:
            pass

        class Plain:
            pass

        with pytest.raises(TypeError, match=r"deallocator|layout"):
            type.__setattr__(Plain, "__bases__", (Other,))

    def test_cannot_be_assigned_between_layouts(self) -> None:
        class Slotted:
            __slots__ = ("a",)

        class Plain:
            pass

        class Child(Plain):
            pass

        with pytest.raises(TypeError):
            type.__setattr__(Child, "__bases__", (Slotted,))


class TestMetaclasses:
    """`hotswap/swap/classes.py` refuses another metaclass."""

    def test_of_a_plain_class_cannot_be_assigned(self) -> None:
        class Plain:
            pass

        with pytest.raises(TypeError, match="mutable types"):
            object.__dict__["__class__"].__set__(Plain, abc.ABCMeta)

    def test_of_python_can_be_assigned_and_does_nothing_else(self) -> None:
        class Meta(type):
            pass

        class Patched(metaclass=Meta):
            pass

        object.__dict__["__class__"].__set__(Patched, abc.ABCMeta)
        assert type(Patched) is abc.ABCMeta
        with pytest.raises(AttributeError, match="_abc_impl"):
            isinstance(1, Patched)  # what ABCMeta makes when a class is built is missing


class TestAbstractClasses:
    def test_flag_follows_the_attribute(self) -> None:
        """CPython keeps whether a class is abstract in a flag of its own; writing the attribute sets it."""

        class Abstract(abc.ABC):
            @abc.abstractmethod
            def f(self) -> None: ...

        type.__setattr__(Abstract, "__abstractmethods__", frozenset())
        Abstract()  # type: ignore[abstract]
        type.__setattr__(Abstract, "__abstractmethods__", frozenset({"f"}))
        with pytest.raises(TypeError, match="abstract"):
            Abstract()  # type: ignore[abstract]


class TestSlots:
    """What `hotswap/swap/slots.py` and `rebuilding.py` build on."""

    def test_instances_cannot_change_to_a_class_with_other_slots(self) -> None:
        class One:
            __slots__ = ("a",)

        class Two:
            __slots__ = ("a", "b")

        with pytest.raises(TypeError, match="layout differs"):
            object.__dict__["__class__"].__set__(Two(), One)

    def test_descriptor_that_was_taken_out_of_the_class_goes_on_working(self) -> None:
        class Slotted:
            __slots__ = ("a",)
            a: object

        member = Slotted.__dict__["a"]
        type.__setattr__(Slotted, "a", property(lambda self: ("wrapped", member.__get__(self))))
        slotted = Slotted()
        member.__set__(slotted, 5)
        assert slotted.a == ("wrapped", 5)

    def test_objects_with_more_places_than_names_are_not_copied(self) -> None:
        """`copyreg` counts the names in `__slots__`; one may stand there twice."""

        class Slotted:
            __slots__ = ("a", "b")
            a: int

        slotted = Slotted()
        slotted.a = 1
        type.__setattr__(Slotted, "__slots__", ("a",))
        with pytest.raises(TypeError, match="cannot pickle"):
            copy.copy(slotted)
        type.__setattr__(Slotted, "__slots__", ("a", "a"))
        type.__delattr__(Slotted, "__slotnames__")
        assert copy.copy(slotted).a == 1


class TestTypeSetattr:
    def test_runs_no_code_of_a_metaclass(self) -> None:
        called: list[str] = []

        class Meta(type):
            def __setattr__(cls, name: str, value: object) -> None:
                called.append(name)
                super().__setattr__(name, value)

        class Patched(metaclass=Meta):
            x = 1

        type.__setattr__(Patched, "x", 2)
        assert (Patched.x, called) == (2, [])

    def test_is_seen_by_code_that_has_cached_the_attribute(self) -> None:
        class Patched:
            def method(self) -> int:
                return 1

        patched = Patched()

        def call() -> int:
            return patched.method()

        for _ in range(5000):
            assert call() == 1
        type.__setattr__(Patched, "method", lambda self: 2)
        assert call() == 2

    def test_updates_slots_of_subclasses(self) -> None:
        class Base:
            def __len__(self) -> int:
                return 1

        class Child(Base):
            pass

        type.__setattr__(Base, "__len__", lambda self: 2)
        assert len(Child()) == 2


class TestTypeVersions:
    """CPython numbers the states of a class; the numbers are what cached look-ups are checked against."""

    @pytest.fixture
    def version(self) -> Any:
        testing = pytest.importorskip("_testcapi", reason="this build has no test modules of CPython")
        if not hasattr(testing, "type_get_version"):
            pytest.skip("this build does not show the version of a class")
        return testing.type_get_version

    def test_many_writes_without_a_look_up_cost_one(self, version: Any) -> None:
        """So a commit costs a class one version, whatever it writes: nothing looks up in between."""

        class Patched:
            a = b = c = 1

        Patched.a  # a look-up assigns a version
        before = version(Patched)
        for name in "abc":
            type.__setattr__(Patched, name, 2)
            assert version(Patched) == 0, "no version until somebody looks an attribute up"
        Patched.a
        assert version(Patched) == before + 1

    def test_run_out_after_a_thousand_on_3_13(self, version: Any) -> None:
        """From then on the class is looked up without a cache; earlier versions have one supply for all classes."""

        class Patched:
            a = 1

        without = 0
        for number in range(1200):
            type.__setattr__(Patched, "a", number)
            assert number == Patched.a
            without += version(Patched) == 0
        if sys.version_info >= (3, 13):
            assert 190 <= without <= 210
        else:
            assert without == 0


@pytest.fixture
def annotated() -> Any:
    """A class whose annotations are not text, as they would be in this file."""
    facts: dict[str, Any] = {}
    exec(compile("class C:\n    x: int\n", "annotated", "exec", dont_inherit=True), facts)
    return facts["C"]


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before 3.14 annotations are a dict from the start")
class TestAnnotations:
    def test_are_kept_when_nothing_computes_them_any_more(self, annotated: Any) -> None:
        assert annotated.__annotations__ == {"x": int}
        type.__setattr__(annotated, "__annotate__", None)
        assert annotated.__annotations__ == {"x": int}
        type.__setattr__(annotated, "__annotations__", {})
        type.__delattr__(annotated, "__annotations__")
        assert not vars(annotated).keys() & {"__annotate_func__", "__annotations_cache__", "__annotations__"}
        assert annotated.__annotations__ == {}

    def test_are_dropped_when_something_else_computes_them(self, annotated: Any) -> None:
        assert annotated.__annotations__ == {"x": int}
        type.__setattr__(annotated, "__annotate__", lambda form: {"y": str})
        assert annotated.__annotations__ == {"y": str}
        type.__setattr__(annotated, "__annotations_cache__", {"z": str})
        assert annotated.__annotations__ == {"z": str}
