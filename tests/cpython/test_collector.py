"""The collector as a witness of what is young: what `hotswap/generation/young.py` builds on."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.collecting import collecting_elsewhere


class Made:
    """An object that the collector tracks and that is easy to find."""


@pytest.fixture(autouse=True)
def pytest_set_aside() -> Iterator[None]:
    """The suite has frozen what pytest made; the tests here begin with nothing frozen, and leave it as it was."""
    gc.unfreeze()
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.disable()
    gc.collect(0)
    yield
    gc.enable()


@pytest.fixture
def frozen() -> Iterator[None]:
    gc.disable()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.enable()


class TestYoungestGeneration:
    @pytest.mark.usefixtures("collector_off")
    def test_shows_what_was_made_since_it_was_emptied(self) -> None:
        young = [Made() for _ in range(100)]
        assert [o for o in gc.get_objects(generation=0) if type(o) is Made] == young

    def test_hides_what_existed(self) -> None:
        old = Made()
        gc.disable()
        try:
            gc.collect(0)
            assert not any(o is old for o in gc.get_objects(generation=0))
        finally:
            gc.enable()

    @pytest.mark.usefixtures("collector_off")
    def test_is_as_short_as_what_is_young(self) -> None:
        """So the cost depends on what was loaded, not on the size of the heap."""
        heap = [Made() for _ in range(50_000)]
        gc.collect(0)
        assert len(gc.get_objects(generation=0)) < 5_000 < len(heap)

    @pytest.mark.usefixtures("collector_off")
    def test_can_be_noted_before_a_collection_that_somebody_asks_for(self) -> None:
        noted: list[object] = []

        def note(phase: str, _: dict[str, int]) -> None:
            if phase == "start":
                noted.extend(gc.get_objects(generation=0))

        young = Made()
        gc.callbacks.append(note)
        try:
            gc.collect()
        finally:
            gc.callbacks.remove(note)
        assert any(o is young for o in noted)
        assert not any(o is young for o in gc.get_objects(generation=0))


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


@pytest.mark.threads
def test_a_collection_does_nothing_while_another_thread_collects() -> None:
    """It returns at once, and nothing has grown older: `generation.young` asks what is young already."""
    with collecting_elsewhere():
        young: list[object] = [[]]
        gc.collect(0)
        assert any(one is young for one in gc.get_objects(0))
    gc.collect(0)
    assert not any(one is young for one in gc.get_objects(0))
