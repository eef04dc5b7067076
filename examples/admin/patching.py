"""The patcher of these services, and whom its admin app lets in."""

from __future__ import annotations

import os

import hotswap
from hotswap.admin import Access, Tokens
from hotswap.verification import Candidate
from parcels import prices

__all__ = ["patcher", "tokens"]

patcher = hotswap.Patcher(packages=["parcels"])
tokens = Tokens(
    {
        os.environ["PARCELS_READER"]: Access("dashboard"),
        os.environ["PARCELS_WRITER"]: Access("pipeline", write=True),
    }
)


@patcher.check(timeout=2.0)
def heavier_costs_more(candidate: Candidate) -> None:
    """Ask the candidate for two prices."""
    price = candidate[prices.__name__].price
    assert 0 < price(1) < price(2), f"1 kg costs {price(1)} cents, and 2 kg {price(2)}"
