"""The collector as a witness of what is young: what `hotswap/generation/young.py` builds on."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


class Made:
    """An object that the collector tracks and that is easy to find."""


@pytest.fixture
def frozen() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()
    yield
    gc.unfreeze()
    if collecting:
        gc.enable()


class TestFreeze:
    def test_hides_what_existed(self) -> None:
        old = Made()
        gc.freeze()
        try:
            assert not any(o is old for o in gc.get_objects())
        finally:
            gc.unfreeze()
        assert any(o is old for o in gc.get_objects())

    @pytest.mark.usefixtures("frozen")
    def test_shows_what_was_made_since(self) -> None:
        young = [Made() for _ in range(100)]
        seen = [o for o in gc.get_objects() if type(o) is Made]
        assert seen == young

    @pytest.mark.usefixtures("frozen")
    def test_shows_functions_and_classes_that_a_body_makes(self) -> None:
        namespace: dict[str, object] = {}
        exec("def function(): pass\nclass Class: pass", namespace)
        seen = {id(o) for o in gc.get_objects()}
        assert {id(namespace["function"]), id(namespace["Class"])} <= seen

    @pytest.mark.usefixtures("frozen")
    def test_makes_the_list_as_short_as_what_is_young(self) -> None:
        """So the cost depends on what was loaded, not on the size of the heap."""
        assert len(gc.get_objects()) < 5_000

    def test_tells_how_many(self) -> None:
        before = gc.get_freeze_count()
        gc.freeze()
        try:
            assert gc.get_freeze_count() > before + 1_000
        finally:
            gc.unfreeze()
        assert gc.get_freeze_count() == 0


class TestReferents:
    def test_of_an_lru_cache_hold_its_dict(self) -> None:
        """A commit that clears a cache keeps what was in it alive (`swap/preparation.py` asks the collector for it)."""
        import functools

        @functools.cache
        def cached(key: int) -> Made:
            return Made()

        value = cached(1)
        dicts = [part for part in gc.get_referents(cached) if type(part) is dict]
        assert any(value is held for part in dicts for held in part.values())
