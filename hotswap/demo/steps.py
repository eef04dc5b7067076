"""What the demo drops, in this order, and what it expects of each."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["FIRST", "STEPS", "Outcome", "Step", "StepResult"]

FIRST = "1.2.0"
"""The version that the service starts with."""


class Outcome:
    """The words for what became of a drop."""

    LIVE = "live"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing done to the running service.

    Arguments:
        title: what it is, for people.
        overlay: the folder in `examples/shop/patches`; its name begins with the version. Empty for the rollback.
        expected: what must become of it.
        version: the version that must be live afterwards.
        says: what the error's type and reason must contain, so that it was refused for the right reason.
        wheel: dropped as a wheel, not as a folder.
        passing: the version that is live for a moment, until its bake takes it back.
    """

    title: str
    overlay: str
    expected: str
    version: str
    says: tuple[str, ...] = ()
    wheel: bool = False
    passing: str = ""

    @property
    def patch_version(self) -> str:
        """The version of the patch itself."""
        return self.overlay.partition("-")[0]


STEPS = (
    Step("good patch: another signature", "1.3.0-rates-by-kind", Outcome.LIVE, "1.3.0"),
    Step("syntax error", "1.3.1-syntax-error", Outcome.REJECTED, "1.3.0", says=("SourceError", "pricing.py:28")),
    Step(
        "exception half way through",
        "1.3.2-half-way",
        Outcome.REJECTED,
        "1.3.0",
        says=("LoadError", "shop.pricing", "KeyError"),
    ),
    Step(
        "a check refuses it",
        "1.3.3-negative-price",
        Outcome.REJECTED,
        "1.3.0",
        says=("CheckFailedError", "quotes_are_positive", "would cost"),
    ),
    Step(
        "its check hangs",
        "1.3.4-hanging-check",
        Outcome.REJECTED,
        "1.3.0",
        says=("CheckFailedError", "quotes_are_positive", "2"),
    ),
    Step(
        "its bake takes it back",
        "1.3.5-box-rebate",
        Outcome.ROLLED_BACK,
        "1.3.0",
        says=("the bake failed", "full_boxes_have_a_price", "16 of atlas would cost"),
        passing="1.3.5",
    ),
    Step("good wheel: another signature", "1.4.0-packaging-fee", Outcome.LIVE, "1.4.0", wheel=True),
    Step("rollback by the admin endpoint", "", Outcome.ROLLED_BACK, "1.3.0"),
)


@dataclass(slots=True)
class StepResult:
    """What became of a step; filled in while it runs.

    `seconds` is the time from the drop to its outcome, `problems` says what was not as expected.
    """

    step: Step
    outcome: str = ""
    reason: str = ""
    version: str = ""
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def headline(self) -> str:
        """The reason in one line."""
        return next((line.strip() for line in self.reason.splitlines() if line.strip()), "")
