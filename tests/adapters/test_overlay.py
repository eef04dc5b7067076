"""What a module body of the candidate sees of living registries, and what others see meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

import pytest

from hotswap.adapters.overlay import Overlay, copied

pytestmark = pytest.mark.threads


class Hub:
    closed = False

    def __init__(self) -> None:
        self.handlers: list[str] = ["a"]


class Sub(Hub):
    pass


def elsewhere(call: Callable[[], Any]) -> Any:
    """Call something in another thread."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture
def overlay() -> Overlay:
    return Overlay({Hub: {"handlers": copied, "closed": lambda _, __: False}})


class TestOverlay:
    def test_others_see_what_is_living(self, overlay: Overlay) -> None:
        hub = Sub()
        with overlay.block():
            hub.handlers.append("b")
            assert hub.handlers == ["a", "b"]
            assert elsewhere(lambda: list(hub.handlers)) == ["a"]
            elsewhere(lambda: hub.handlers.append("c"))
        assert hub.handlers == ["a", "c"]
        assert overlay.aside(hub, "handlers") == ["a", "b"]
        assert overlay.touched() == [hub]

    def test_what_is_set_is_put_aside(self, overlay: Overlay) -> None:
        hub = Hub()
        hub.closed = True
        with overlay.block():
            assert hub.closed is False
            hub.handlers = ["x"]
        assert (hub.handlers, hub.closed) == (["a"], True)
        assert overlay.aside(hub, "handlers") == ["x"]

    def test_what_the_candidate_makes_is_its_own(self, overlay: Overlay) -> None:
        with overlay.block():
            hub = Hub()
            hub.handlers.append("b")
        assert hub.handlers == ["a", "b"]
        assert overlay.owns(hub)
        assert overlay.touched() == []

    def test_a_later_block_sees_what_was_put_aside(self, overlay: Overlay) -> None:
        hub = Hub()
        with overlay.block():
            hub.handlers.append("b")
        with overlay.block(), overlay.block():
            assert hub.handlers == ["a", "b"]

    def test_a_cached_property_is_computed_for_others_as_ever(self) -> None:
        class Lazy(Hub):
            @cached_property
            def size(self) -> int:
                return len(self.handlers)

        overlay = Overlay({Lazy: {"size": lambda _, __: -1, "handlers": copied}})
        hub, other = Lazy(), Lazy()
        with overlay.block():
            assert hub.size == -1
            assert elsewhere(lambda: other.size) == 1
            mine = Lazy()
            assert mine.size == 1
        assert (hub.size, mine.size) == (1, 1)

    def test_two_candidates_do_not_meet(self, overlay: Overlay) -> None:
        hub, other = Hub(), Overlay({Hub: {"handlers": copied}})

        def register() -> list[str]:
            with other.block():
                hub.handlers.append("other")
                return list(hub.handlers)

        with overlay.block():
            hub.handlers.append("one")
            assert elsewhere(register) == ["a", "other"]
            assert hub.handlers == ["a", "one"]
        assert hub.handlers == ["a"]

    def test_leaves_the_class_as_it_was(self, overlay: Overlay) -> None:
        before = dict(vars(Hub))
        with pytest.raises(KeyError), overlay.block():
            raise KeyError
        assert dict(vars(Hub)) == before
        assert Hub().closed is False
