"""No bad patch gets past all gates, no good one is stopped, and the table in the documentation says what is so."""

from __future__ import annotations

import os

import pytest

from tests.gallery.gates import GATES
from tests.gallery.patches import BAD, GOOD, Piece
from tests.gallery.table import DIES, STOPS, met, read

pytestmark = [
    pytest.mark.threads,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a rehearsal copies the process, which this platform can't"),
]


def named(piece: Piece) -> str:
    return piece.name


def test_there_are_enough() -> None:
    assert (len(BAD), len(GOOD)) == (30, 20)
    assert len({piece.name for piece in (*BAD, *GOOD)}) == 50
    assert [*read()] == [piece.name for piece in BAD]


@pytest.mark.parametrize("piece", BAD, ids=named)
class TestBadPatches:
    def test_do_not_get_past_all_gates(self, piece: Piece) -> None:
        assert met(piece, "all") == read()[piece.name].together not in ("", DIES)

    def test_are_stopped_by_the_gates_of_the_table(self, piece: Piece) -> None:
        """What else stops it, by chance or on another machine, is none the worse."""
        row = read()[piece.name]
        stopping = [gate for gate, found in zip(GATES, row.alone, strict=True) if found == STOPS]
        assert {gate: met(piece, gate).partition(",")[0] for gate in stopping} == {gate: gate for gate in stopping}


@pytest.mark.parametrize("piece", GOOD, ids=named)
def test_good_patches_are_never_refused(piece: Piece) -> None:
    assert met(piece, "all") == ""
