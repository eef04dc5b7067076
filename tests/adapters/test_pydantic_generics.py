"""pydantic's generic models with arguments: it remembers the classes of the version that is live, and no twins."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any, Optional

import pytest

from hotswap import CommitError
from hotswap.swap import Writes
from tests.adapters.test_pydantic import Service

pytestmark = pytest.mark.threads  # a patcher stages in a thread of its own

Make = Callable[..., ModuleType]

MODELS = """
from typing import Optional
T = TypeVar("T")
class Item(BaseModel):
    name: str
class Page(BaseModel, Generic[T]):
    items: list[T]
ItemPage = Page[Item]
def of(argument): return Page[argument]
"""
NEW = MODELS.replace("list[T]", "list[T]\n    total: int = 0")
MORE = """
NumberPage, ListPage, SomePage = Page[int], Page[list[Item]], Page[Optional[Item]]
"""


class TestGenericModels:
    def test_the_named_ones_are_found_again(self, make_package: Make) -> None:
        service = Service(make_package, MODELS)
        named = service.ItemPage
        assert service.apply(NEW).audit() == ()
        rollout = service.apply(NEW + MORE)
        assert rollout.audit() == ()
        assert service.of(service.Item) is service.ItemPage is named
        item: Any = service.Item
        arguments = {"NumberPage": int, "ListPage": list[item], "SomePage": Optional[item]}  # noqa: UP045 - as it is there
        assert [service.of(argument) for argument in arguments.values()] == [getattr(service, n) for n in arguments]
        service.patcher.rollback()
        assert service.of(service.Item) is service.ItemPage is named

    def test_those_that_were_made_meanwhile_have_the_fields_of_the_version_that_is_live(
        self, make_package: Make
    ) -> None:
        service = Service(make_package, MODELS)
        service.apply(NEW + MORE)
        held = [service.of(str), service.of(int)]
        assert [list(model.model_fields) for model in held] == [["items", "total"]] * 2
        service.patcher.rollback()
        after = [service.of(str), service.of(int)]
        assert [list(model.model_fields) for model in after] == [["items"]] * 2
        assert after == [service.of(str), service.of(int)]

    def test_those_of_a_model_that_stays_as_it_is_are_kept(self, make_package: Make) -> None:
        service = Service(make_package, MODELS)
        made = service.of(str)
        rollout = service.apply(MODELS + "MORE = 1\n")
        late = service.of(bytes)
        assert rollout.audit() == ()
        assert service.of(str) is made
        service.patcher.rollback()
        assert [service.of(str), service.of(bytes)] == [made, late]

    def test_those_that_live_code_makes_after_the_staging_are_kept_for_the_way_back(self, make_package: Make) -> None:
        service = Service(make_package, MODELS)
        rollout = service.patcher.stage(service.patch(NEW))
        made: Any = service.of(str)
        rollout.verify()
        rollout.commit()
        assert list(service.of(str).model_fields) == ["items", "total"]
        service.patcher.rollback()
        assert service.of(str) is made

    def test_those_of_live_code_are_there_when_a_commit_fails_half_way(
        self, make_package: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = Service(make_package, MODELS.replace("ItemPage = Page[Item]\n", ""))
        rollout = service.patcher.stage(service.patch(NEW.replace("ItemPage = Page[Item]\n", "")))
        made: Any = service.of(str)  # after the staging: none is listed in the plan
        rollout.verify()
        ops = Writes._ops

        def failing(writes: Writes, forward: bool) -> list[Any]:
            return [*ops(writes, forward), *([] if writes.undoing else [(operator.truediv, 1, 0)])]

        with monkeypatch.context() as patch, pytest.raises(CommitError):
            patch.setattr(Writes, "_ops", failing)
            rollout.commit()
        assert service.of(str) is made
