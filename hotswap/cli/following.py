"""Following a rollout: its checks as they go, until it is known what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from hotswap.cli.exits import Exit, FailedError, exit_of
from hotswap.cli.output import Output
from hotswap.cli.service import Service

__all__ = ["COMMITTED", "OVER", "follow", "headline", "label", "outcome", "tell"]

OVER = frozenset({"rejected", "rolled_back", "died"})
"""States in which a patch does not run."""
COMMITTED = OVER | {"live", "permanent"}

_FIRST, _LONGEST = 0.05, 0.5
"""Seconds between two looks."""


def follow(
    service: Service, id_: str, until: Collection[str], out: Output, *, deadline: float | None
) -> dict[str, Any]:
    """Look at a rollout again and again, tell of its checks, and return it when it has come to a state.

    Arguments:
        service: has it.
        id_: which one.
        until: the states.
        out: is told.
        deadline: when to give up, on the monotonic clock.

    Raises FailedError, among others when time is up.
    """
    out.going_on = (
        f"interrupted: rollout {id_} goes on in the service; hotswap status {id_} tells, hotswap abort {id_} ends it"
    )
    out.rollout = id_
    pause = _FIRST
    with out.busy(f"rollout {id_}") as spinner:
        while True:
            shown = service.read(f"rollouts/{id_}")
            _progress(shown, out.told, out.note)
            if spinner is not None:
                spinner.update(_doing(shown))
            if shown["state"] in until:
                out.going_on = ""
                # What went wrong is noted a moment after the state.
                return service.read(f"rollouts/{id_}") if shown["state"] == "rejected" else shown
            if deadline is not None and time.monotonic() > deadline:
                reason = f"time is up, and rollout {id_} is {shown['state']}: it goes on in the service"
                raise FailedError(Exit.UNKNOWN, reason)
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST)


def tell(shown: dict[str, Any], out: Output) -> None:
    """Say what is known of a rollout: result, failed checks, problem."""
    out.say(headline(shown), "red" if shown["state"] in OVER else "green")
    for one in shown["report"]["results"]:
        if one["verdict"] != "passed":
            out.say(f"  check {one['name']} {one['verdict']}: {one['message']}")
            if one["detail"]:
                out.say("    " + one["detail"].rstrip("\n").replace("\n", "\n    "))
    problem = shown.get("problem")
    if problem is not None:
        for change in problem.get("changes", ()):
            out.say(f"  {change['code']}: {change['module']}:{change['name']}: {change['sentence']}")
        if problem.get("advice"):
            out.say(f"what to do: {problem['advice']}")


def label(shown: dict[str, Any]) -> str:
    """Return the name of a patch and its version."""
    return f"{shown['name']} {shown['version']}" if shown["version"] else str(shown["name"])


def headline(shown: dict[str, Any]) -> str:
    """Return in what state a rollout is, and why, in one sentence."""
    reason = f": {shown['reason']}" if shown["reason"] else ""
    return f"{label(shown)} is {shown['state'].replace('_', ' ')}{reason}"


def outcome(shown: dict[str, Any]) -> Exit:
    """Return what a rollout comes to."""
    if shown["state"] not in OVER:
        return Exit.OK
    problem = shown.get("problem")
    return Exit.REFUSED if problem is None else exit_of(problem["status"])


def _progress(shown: dict[str, Any], told: set[str], note: Callable[[str], None]) -> None:
    for one in shown["report"]["results"]:
        if one["name"] not in told:
            told.add(one["name"])
            note(f"check {one['name']}: {one['verdict']}, {one['duration']:.2f} s")
    remark = shown.get("remark")
    if remark and remark not in told:
        told.add(remark)
        note(f"warning: {remark}")
    bake = shown.get("bake")
    for one in () if bake is None else bake["probes"]:
        key = f"{one['name']} {one['failed']} {one['errors']}"
        if (one["failed"] or one["errors"]) and key not in told:
            told.add(key)
            note(f"probe {one['name']}: {one['failed']} failed, {one['errors']} errors: {one['message']}")


def _doing(shown: dict[str, Any]) -> str:
    running, bake = shown["report"]["running"], shown.get("bake")
    if bake is not None and shown["state"] == "live":
        return f"{shown['state']}: {bake['remaining'] or 0:.0f} s of its bake are left"
    return f"{shown['state']}: checks {', '.join(running)}" if running else str(shown["state"])
