"""What a candidate created is known, whatever else uses the collector meanwhile."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from hotswap.generation import Young, detach, watch_young
from tests.collecting import collecting_elsewhere


class Made:
    """An object that the collector tracks and that is easy to find."""


@pytest.fixture(params=["collector on", "collector off", "collector off and objects frozen"])
def circumstances(request: pytest.FixtureRequest) -> Iterator[str]:
    gc.unfreeze()
    if "off" in request.param:
        gc.disable()
    if "frozen" in request.param:
        gc.freeze()
    before = gc.isenabled(), gc.get_freeze_count() > 10_000, list(gc.callbacks)
    yield request.param
    after = gc.isenabled(), gc.get_freeze_count() > 10_000, list(gc.callbacks)
    gc.freeze()
    gc.enable()
    assert after == before


def made(objects: list[object] | None) -> set[int] | None:
    return None if objects is None else {id(o) for o in objects if type(o) is Made}


class TestWindow:
    def test_shows_what_was_made_in_it(self, circumstances: str) -> None:
        before = Made()
        with watch_young() as young:
            inside = [Made(), Made()]
        after = Made()
        if "frozen" in circumstances:
            assert young.objects is None
        else:
            assert made(young.objects) == {*map(id, inside)}
        assert before is not after

    def test_shows_what_was_made_before_a_collection(self, circumstances: str) -> None:
        with watch_young() as young:
            first = Made()
            gc.collect()
            second = Made()
        if "frozen" not in circumstances:
            assert made(young.objects) == {id(first), id(second)}

    def test_that_overlaps_another_shows_all_that_was_made_in_it(self, circumstances: str) -> None:
        with watch_young() as outer:
            first = Made()
            with watch_young() as inner:
                second = Made()
            third = Made()
        if "frozen" not in circumstances:
            assert made(outer.objects) == {id(first), id(second), id(third)}
            assert id(second) in (made(inner.objects) or ())
            assert id(third) not in (made(inner.objects) or ())

    def test_is_closed_by_an_error(self, circumstances: str) -> None:
        with pytest.raises(KeyError), watch_young():
            raise KeyError

    def test_no_collection_begins_in_it(self) -> None:
        assert gc.isenabled()
        with watch_young(), watch_young():
            assert not gc.isenabled()
        assert gc.isenabled()

    def test_no_collection_is_made_beside_it(self) -> None:
        """Another thread may make something between the callback that notes what is young and the collection."""
        collections: list[str] = []
        with watch_young() as outer:
            gc.callbacks.append(lambda phase, _: collections.append(phase))
            try:
                first = Made()
                with watch_young() as inner:
                    second = Made()
            finally:
                gc.callbacks.pop()
        assert collections == []
        assert made(outer.objects) == {id(first), id(second)}
        assert made(inner.objects) == {id(second)}

    @pytest.mark.threads
    def test_while_another_thread_collects(self) -> None:
        """Then `gc.collect` does nothing: what was young already was taken for the candidate's, and patches refused."""
        with collecting_elsewhere():
            before = Made()
            with watch_young() as young:
                inside = Made()
        assert made(young.objects) == {id(inside)}
        assert before is not inside

    @pytest.mark.threads
    def test_of_two_threads(self) -> None:
        both = threading.Barrier(2, timeout=30)
        found: list[bool] = []

        def watch() -> None:
            both.wait()
            for _ in range(200):
                with watch_young() as young:
                    mine = Made()
                found.append(id(mine) in (made(young.objects) or ()))

        threads = [threading.Thread(target=watch) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 400
        assert gc.isenabled()


class TestBystanders:
    @pytest.mark.parametrize("collecting", [True, False])
    def test_are_not_kept_by_having_been_seen(self, collecting: bool) -> None:
        """What somebody else makes while a candidate is loaded dies when he lets go of it, not at some collection."""
        gc.collect()
        gc.unfreeze()
        gc.disable()
        try:
            gc.enable()
            with watch_young() as young:
                bystander = Made()
                gc.collect(0)  # noted before it grows older
                other = Made()
            gc.disable()
            assert made(young.objects) == {id(bystander), id(other)}
            references = weakref.ref(bystander), weakref.ref(other)
            del young, bystander, other
            assert [reference() for reference in references] == [None, None]
        finally:
            gc.enable()
            gc.freeze()

    @pytest.mark.parametrize("collecting", [True, False])
    @pytest.mark.parametrize("collected", [True, False])
    def test_may_build_tuples_meanwhile(self, collecting: bool, collected: bool) -> None:
        """`gc.get_objects` sees unfinished tuples, and whoever holds one makes its builder fail."""
        window = ExitStack()
        found: list[Young] = []

        def items() -> Iterator[int]:
            yield 0
            if collected:
                gc.collect(0)  # noted before they grow older
            window.close()
            yield from range(200)

        gc.collect()
        gc.unfreeze()
        if not collecting:
            gc.disable()
        try:
            found.append(window.enter_context(watch_young()))
            assert len(tuple(items())) == 201
        finally:
            gc.enable()
            gc.freeze()
        assert found[0].objects


class TestDetach:
    def test_a_class_below_slots_is_not_listed(self) -> None:
        class Slotted:
            __slots__ = ("__dict__", "one", "two")

        class Plain(Slotted):
            pass

        class Below(Plain):
            pass

        below, plain = Below.__mro__, Plain.__mro__
        detach(Below)
        detach(Plain)
        assert (type.__subclasses__(Plain), type.__subclasses__(Slotted)) == ([], [])
        assert (Below.__mro__ != below, Plain.__mro__ != plain) == (True, True)
        assert [name for name in ("one", "two") if hasattr(Below(), name)] == []
