"""Errors carry facts, and go through a process pool or a task queue with them."""

from __future__ import annotations

import copy
import pickle

import pytest

from hotswap import (
    CheckFailedError,
    HotswapError,
    RequirementError,
    State,
    UnsupportedChangeError,
    VetoError,
    errors,
)
from hotswap.swap import Change

EVERY = [getattr(errors, name) for name in errors.__all__]


def made(kind: type[HotswapError]) -> HotswapError:
    if kind is RequirementError:
        return RequirementError(["it needs more"], patch="shop 1.0")
    if kind is UnsupportedChangeError:
        return UnsupportedChangeError([Change("slots-changed", "shop.a", "C", "they differ")], patch="shop 1.0")
    if kind is CheckFailedError:
        return CheckFailedError("a check refused it", State.REJECTED, patch="shop 1.0")
    if kind is VetoError:
        return VetoError("it failed", patch="shop 1.0", advice="try again", hook="approval")
    return kind("it failed", module="shop.a", patch="shop 1.0", running={"shop": "0.9"}, advice="try again")


class TestPickling:
    @pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
    @pytest.mark.parametrize(
        "way", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy], ids=["pickle", "copy"]
    )
    def test_keeps_everything(self, kind: type[HotswapError], way: object) -> None:
        error = made(kind)
        again = way(error)  # type: ignore[operator]
        assert type(again) is kind
        assert str(again) == str(error)
        assert vars(again) == vars(error)
        assert again.args == error.args
