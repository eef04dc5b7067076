"""Where new entries stand in a list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotswap.adapters.ordering import matched, ordered


def after(living: str, new: str, gone: str = "") -> str:
    """Entries are letters; the new ones are upper case, and take the place of the lower case ones."""
    pairs = matched(living, new, str.lower)
    places = {index for index, entry in enumerate(living) if entry in gone and index not in pairs.values()}
    return "".join(ordered(living, new, pairs, places))


class TestOrdered:
    @pytest.mark.parametrize(
        ("living", "new", "gone", "expected"),
        [
            ("", "AB", "", "AB"),
            ("ab", "AB", "", "AB"),
            ("ab", "AXB", "", "AXB"),
            ("ab", "XAB", "", "XAB"),
            ("axb", "AB", "", "AxB"),
            ("axb", "ACB", "", "ACxB"),
            ("abx", "BA", "", "BAx"),
            ("abx", "A", "b", "Ax"),
            ("xay", "C", "a", "xCy"),
            ("xy", "C", "", "xyC"),
            ("aa", "AA", "", "AA"),
        ],
    )
    def test_holds_places(self, living: str, new: str, gone: str, expected: str) -> None:
        assert after(living, new, gone) == expected

    @given(st.text("abcdef", max_size=8), st.text("ABCDEF", max_size=8))
    def test_loses_and_doubles_nothing(self, living: str, new: str) -> None:
        pairs = matched(living, new, str.lower)
        kept = [entry for index, entry in enumerate(living) if index not in pairs.values()]
        assert sorted(after(living, new)) == sorted([*kept, *new])

    @given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("ABCDEF"), unique=True))
    def test_what_one_module_fills_has_the_order_of_a_fresh_start(self, living: list[str], new: list[str]) -> None:
        assert after("".join(living), "".join(new), "".join(living)) == "".join(new)

    @given(st.lists(st.sampled_from("abcdef"), unique=True), st.lists(st.sampled_from("ABCDEF"), unique=True))
    def test_others_keep_their_order(self, living: list[str], new: list[str]) -> None:
        stay = [entry for entry in living if entry.upper() not in new]
        assert [entry for entry in after("".join(living), "".join(new)) if entry.islower()] == stay
