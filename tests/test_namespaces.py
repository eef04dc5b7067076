"""Looking through the namespaces of all modules."""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict, deque
from types import ModuleType
from typing import Any

import pytest

from hotswap.effects.snapshot import alterations
from hotswap.namespaces import held_by, holding, imported, of_kinds, parted


class TestHolding:
    def test_those_that_hold_one_of_some_objects_are_found(self) -> None:
        wanted = [object() for _ in range(3)]
        containers: list[dict[Any, Any]] = [{"a": object(), "b": number} for number in range(100)]
        containers[0]["x"] = wanted[0]
        containers[31]["x"] = wanted[1]
        containers[99][wanted[2]] = "as a key"
        found = list(holding({id(one) for one in wanted}, containers))
        assert [containers.index(one) for one in found] == [0, 31, 99]

    def test_nothing_is_looked_into_for_nothing(self) -> None:
        assert list(holding(set(), [{"a": 1}])) == []

    def test_parts_have_everything_once_and_in_order(self) -> None:
        items = [[number] for number in range(100)]
        assert [item for part in parted(items) for item in part] == items
        assert list(parted([])) == []


class TestHeldBy:
    @pytest.mark.parametrize("kind", [list, set, deque, lambda o: {"key": o[0]}, lambda o: OrderedDict(a=o[0])])
    def test_what_containers_hold(self, kind: Any) -> None:
        one = object()
        assert any(held is one for held in held_by([kind([one])]))

    def test_a_dict_that_the_collector_does_not_track_tells_its_values(self) -> None:
        value = 10**20
        assert any(held is value for held in held_by([{"a": value}]))

    def test_exact_kinds_only(self) -> None:
        class Mine(dict[str, int]):
            """Made of a dict."""

        kept, other = {"a": 1}, Mine(a=1)
        assert of_kinds(frozenset((dict,)), [1, kept, other, "text"]) == [kept]


class TestImported:
    def test_a_lazy_module_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Lazy(ModuleType):
            def __getattribute__(self, name: str) -> Any:
                raise AssertionError(f"{name} was asked for")

        lazy, thing = Lazy("lazy_one"), object()
        monkeypatch.setitem(sys.modules, "lazy_one", lazy)
        monkeypatch.setitem(sys.modules, "no_module", thing)
        found = {name: facts for name, _, facts in imported()}
        assert found["lazy_one"]["__name__"] == "lazy_one"
        assert "no_module" not in found


class TestAltered:
    """Of the containers of all modules only those are looked into that are not as they were."""

    def _altered(self, before: list[Any], change: Any) -> list[int]:
        entries = [(one, dict(one) if isinstance(one, dict) else type(one)(one)) for one in before]
        change()
        return [before.index(one) for one, _ in alterations(entries)]

    @pytest.mark.parametrize("position", [0, 31, 32, 69])
    def test_what_was_added(self, position: int) -> None:
        many: list[Any] = [{"number": number} for number in range(70)]
        assert self._altered(many, lambda: many[position].update(added=object())) == [position]

    def test_what_was_replaced_by_what_is_equal(self) -> None:
        table: dict[str, Any] = {"a": [1]}
        assert self._altered([table], lambda: table.update(a=[1])) == [0]

    def test_what_was_put_into_another_order(self) -> None:
        steps = [object(), object()]
        assert self._altered([steps], steps.reverse) == [0]

    def test_keys(self) -> None:
        table: dict[Any, Any] = {1: None}
        assert self._altered([table], lambda: table.update({object(): None})) == [0]

    def test_sets_and_default_dicts(self) -> None:
        unlike: set[Any] = set(range(50))
        table: Any = defaultdict(list)
        assert self._altered([unlike], lambda: unlike.add(object())) == [0]
        assert self._altered([table], lambda: table["a"].append(1)) == [0]

    def test_nothing(self) -> None:
        assert self._altered([{"a": object()}, [object()], {1, 2}], lambda: None) == []
