"""From counts to a verdict: how strong the evidence has to be, and that noise is not enough."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotswap import tally
from hotswap.bake.evidence import LEVEL, allowed_errors, is_against, slow_from, upper
from hotswap.tally import Counts, Sum, edge, step_of, total


def found(good: int, errors: int, seconds: float = 0.01) -> Sum:
    steps = [0] * 304
    steps[step_of(seconds)] = good
    return Sum(steps, errors)


class TestHistogram:
    @given(st.floats(1e-6, 1e5))
    def test_steps_are_an_eighth_wide(self, seconds: float) -> None:
        end = edge(step_of(seconds))
        assert seconds < end <= seconds * 1.125 * (1 + 1e-12)

    @given(st.floats(0, 1e300), st.floats(0, 1e300))
    def test_longer_ones_stand_higher(self, one: float, other: float) -> None:
        low, high = sorted((one, other))
        assert 0 <= step_of(low) <= step_of(high) < 304

    def test_quantiles(self) -> None:
        counts = Counts(0)
        for n in range(1, 101):
            counts.add(n / 100, failed=False, at=0.0)
        counts.add(99.0, failed=True, at=0.0)
        whole = total([counts])
        assert (whole.count, whole.errors) == (101, 1)
        assert whole.quantile(0.5) == pytest.approx(0.5, rel=0.13)
        assert whole.quantile(0.99) == pytest.approx(1.0, rel=0.13)
        assert found(0, 5).quantile(0.5) is None

    def test_forgets_what_is_old_but_not_the_last_thousand(self) -> None:
        counts = Counts(0)
        for at in (0.0, 700.0, 1400.0):
            for _ in range(400):
                counts.add(0.01, failed=False, at=at)
        assert total([counts]).count == 1200
        for at in (2100.0, 2800.0, 3500.0):
            for _ in range(2_000):
                counts.add(0.01, failed=False, at=at)
        assert total([counts]).count < 6_000
        assert counts.ended == 7_200

    def test_forgets_nothing_while_somebody_holds_it(self) -> None:
        counts = Counts(0)
        rung: list[int] = []

        def ring() -> None:
            rung.append(1)

        counts.hold(ring)
        for at in range(5_000):
            counts.add(0.01, failed=at == 7, at=float(at))
        assert total([counts]).count == 5_000
        assert rung == [1]
        counts.release(ring)
        counts.add(0.01, failed=True, at=5_000.0)
        assert rung == [1]

    def test_remembers_a_few_periods(self) -> None:
        counts = Counts(0)
        for number in range(1, 50):
            counts = Counts(number, counts)
        assert [one.number for one in counts.until(0)] == list(range(49, 40, -1))
        assert [one.number for one in counts.until(48)] == [49, 48]

    def test_is_wanted_as_long_as_somebody_lives(self) -> None:
        class Who:
            pass

        who = Who()
        before = len(tally.wanted)
        tally.want(who)
        tally.want(who)
        assert len(tally.wanted) == before + 1
        del who
        assert len(tally.wanted) == before


class TestBounds:
    @given(st.integers(0, 200), st.integers(1, 200))
    def test_the_upper_one_is_one(self, bad: int, more: int) -> None:
        count = bad + more
        high = upper(bad, count)
        assert bad / count <= high <= 1
        # With that share, so few bad ones would be as rare as the risk says.
        tail = sum(math.comb(count, k) * high**k * (1 - high) ** (count - k) for k in range(bad + 1))
        assert tail <= LEVEL / 2 + 1e-9

    def test_of_nothing_is_everything(self) -> None:
        assert upper(0, 0) == 1.0

    def test_without_a_bad_one_is_exact(self) -> None:
        assert upper(0, 1_000) == pytest.approx(1 - (LEVEL / 2) ** (1 / 1_000))


class TestErrors:
    @pytest.mark.parametrize(
        ("good", "errors", "needed"),
        [(100_000, 0, 3), (1_000, 0, 3), (1_000, 10, 4), (100, 0, 5), (20, 0, 14), (0, 0, 25)],
    )
    def test_where_all_fail_a_few_are_enough(self, good: int, errors: int, needed: int) -> None:
        allowed = allowed_errors(found(good, errors), 0.01, 20)
        first = next(k for k in range(1, 200) if is_against(k, k, allowed))
        assert first <= needed

    def test_one_is_never_enough(self) -> None:
        assert not is_against(1, 1, allowed_errors(found(10_000_000, 0), 0.01, 20))
        assert is_against(3, 3, 0.0)

    def test_none_is_nothing(self) -> None:
        assert not is_against(0, 1_000, 0.0)

    @pytest.mark.parametrize("rate", [0.0, 0.01, 0.2])
    def test_noise_does_not_roll_back(self, rate: float) -> None:
        """2,000 bakes of a patch that changes nothing, each looked at after each session that fails."""
        chance = random.Random(7)
        taken_back = 0
        for _ in range(2_000):
            before = chance.choice([50, 200, 1_000])
            allowed = allowed_errors(
                found(before - (bad := sum(chance.random() < rate for _ in range(before))), bad), 0.0, 20
            )
            errors = 0
            for count in range(1, 151):
                if chance.random() < rate:
                    errors += 1
                    if is_against(errors, count, allowed):
                        taken_back += 1
                        break
        assert taken_back <= 2_000 * LEVEL + 2

    def test_twice_as_many_roll_back_in_the_end(self) -> None:
        allowed = allowed_errors(found(9_500, 500), 0.01, 20)
        assert is_against(1_000, 10_000, allowed)
        assert not is_against(60, 1_000, allowed)


class TestSlow:
    def test_begins_at_the_ratio(self) -> None:
        step = slow_from(found(1_000, 0, 0.1), 2.0, 0.9)
        assert step is not None
        assert 0.2 <= edge(step) <= 0.26

    def test_is_unknown_with_few_of_before(self) -> None:
        assert slow_from(found(30, 0), 2.0, 0.9) is None
        assert slow_from(found(0, 0), 2.0, 0.9) is None

    def test_takes_the_slow_ones_of_before_for_a_measure(self) -> None:
        steps = [0] * 304
        steps[step_of(0.01)] = 800
        steps[step_of(1.0)] = 200
        step = slow_from(Sum(steps, 0), 2.0, 0.9)
        assert step is not None
        assert edge(step) >= 2.0
