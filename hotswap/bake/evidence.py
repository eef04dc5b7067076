"""From counts to a verdict: whether more sessions failed, or were slow, than can be chance.

The question is the same for errors and for latency: of `count` sessions `bad` were bad, where a share of `allowed` may
be. Both sides are bounded by Hoeffding's inequality (W. Hoeffding, Probability inequalities for sums of bounded random
variables, 1963, theorem 1, in its form with the relative entropy):

    P(bad or more of count) <= exp(-count * KL(bad / count, allowed))

which is exact where all sessions are bad, needs no tables, and takes the same time for ten sessions as for ten million.

- What was before is known from a sample only, so its share is taken at its upper bound, and the risk that this is too
  low is added (R. Berger and D. Boos, P values maximized over a confidence set for the nuisance parameter, 1994). Each
  of the two gets half of LEVEL.
- The judge looks again and again. That must not add up to a rollback by chance, so the level is spent over the bad
  sessions: the k-th one gets 1 / (k * (k + 1)) of it, which is all of it for all of them together. With the same number
  of bad ones a later look only sees more good ones, so one look for each is all that counts.

So a patch that changes nothing is taken back by errors in fewer than one bake of 1,000, and by latency in fewer than
one of 1,000, however often the judge looks and however long it bakes. Assumes: sessions fail one by one. What fails
together (an upstream that is gone) is more evidence than it should be; for latency the judge asks for several looks in
a row.
"""

from __future__ import annotations

import math

from hotswap.tally import Sum, edge, step_of

__all__ = ["LEVEL", "allowed_errors", "is_against", "slow_from", "upper"]

LEVEL = 0.001
"""How likely a rollback by chance may be, for each kind of evidence."""

_CEILING = 0.5
"""The share of bad sessions that is taken for the highest before, where too few were counted to know."""

_LEAST = 0.001
"""Seconds by which a session has to be slower: less than that is what threads wait for each other."""


def _entropy(share: float, allowed: float) -> float:
    """The relative entropy of two coins: KL(share, allowed)."""
    if share <= 0:
        return -math.log1p(-allowed)
    if share >= 1:
        return -math.log(allowed)
    return share * math.log(share / allowed) + (1 - share) * math.log((1 - share) / (1 - allowed))


def upper(bad: int, count: int, risk: float = LEVEL / 2) -> float:
    """Return the highest share that sessions may have had of which so many were bad, but for a small risk.

    Arguments:
        bad: how many were bad.
        count: of how many.
        risk: how likely it may be that the true share is higher.
    """
    if count <= 0:
        return 1.0
    share, most = bad / count, math.log(1 / risk)
    low, high = share, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if middle >= 1.0 or count * _entropy(share, middle) > most:
            high = middle
        else:
            low = middle
    return high


def is_against(bad: int, count: int, allowed: float) -> bool:
    """Whether so many bad sessions can't be chance where a share of them may be bad.

    Arguments:
        bad: how many were bad.
        count: of how many.
        allowed: the share that may be.
    """
    if bad <= 0 or allowed >= 1 or bad / count <= allowed:
        return False
    allowed = max(allowed, 1e-12)
    return count * _entropy(bad / count, allowed) >= math.log(2 * bad * (bad + 1) / LEVEL)


def allowed_errors(before: Sum, more: float, enough: int) -> float:
    """Return the share of sessions that may fail.

    Arguments:
        before: what was counted on the old generation.
        more: the share that may fail beyond that.
        enough: how many sessions have to be counted before, to know anything of them.
    """
    count = before.count
    known = upper(before.errors, count)
    return (known if count >= enough else min(known, _CEILING)) + more


def slow_from(before: Sum, ratio: float, quantile: float) -> int | None:
    """Return the step of the histogram from which on a session is slow; None if too few were counted before.

    Arguments:
        before: what was counted on the old generation.
        ratio: how many times as long as the slow ones of before it may take.
        quantile: of which sessions of before.
    """
    count, over, found = sum(before.steps), 0, None
    for step in range(len(before.steps) - 1, -1, -1):
        if (found is None or before.steps[step + 1]) and upper(over, count) > 1 - quantile:
            break
        found = step
        over += before.steps[step]
    if found is None:
        return None
    longest = edge(found)
    return step_of(max(longest * ratio, longest + _LEAST))
