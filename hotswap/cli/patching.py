"""Commands that change what runs, or ask what would: `plan`, `apply`, `rollback`, `confirm`, `abort`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from hotswap.cli.exits import Exit, FailedError
from hotswap.cli.following import COMMITTED, OVER, follow, headline, label, outcome, tell
from hotswap.cli.options import finite
from hotswap.cli.output import Output
from hotswap.cli.service import Service

__all__ = ["abort", "apply", "confirm", "plan_by_service", "rollback"]

File = Annotated[Path, typer.Argument(help="A wheel, or a .py file that has the name of its module.")]
Id = Annotated[str | None, typer.Argument(metavar="[ID]", help="Of the rollout; without it, the one that is current.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="For the history.")]
Version = Annotated[str | None, typer.Option("--version", metavar="VERSION", help="Of a patch that states none.")]
Rehearse = Annotated[
    bool | None,
    typer.Option("--rehearse/--no-rehearse", help="In a copy of the process first. [default: as the service has it]"),
]
Effects = Annotated[
    list[str] | None, typer.Option("--allow-effects", metavar="KIND", help="An import-time effect that it may leave.")
]
Undo = Annotated[bool, typer.Option("--undo", help="It was live before, and may be older than what is.")]
Limit = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", callback=finite, help="Wait no longer. [default: until it is known]"),
]

_BESIDE = {"signature": ".minisig", "manifest": ".toml"}
_ACT_WAIT = 5.0


def plan_by_service(
    service: Service,
    out: Output,
    file: Path,
    version: str | None,
    allow_effects: list[str] | None,
    rehearse: bool | None,
    undo: bool,
    timeout: float | None,
) -> Exit:
    """Have a service stage a patch and run its checks, and give it up."""
    words = _words(version=version, allow_effects=allow_effects, rehearse=rehearse, undo=undo)
    shown = _upload(service, out, file, words, _deadline(timeout), dry_run="true")
    # Given up by the one who asks for it: that is how a dry run ends that nothing refuses.
    fits = shown.get("problem") is None and shown["report"]["passed"] and shown["reason"] == "a dry run"
    try:
        diff = service.text(f"rollouts/{shown['id']}/diff")
    except FailedError as error:
        if error.exit is not Exit.CONFLICT:
            raise
        diff = ""  # it was refused before there was anything to compare
    show_plan({**shown, "diff": diff, "fits": fits}, out)
    return Exit.OK if fits else outcome(shown)


def show_plan(shown: dict[str, Any], out: Output) -> None:
    """Show the plan of a patch."""
    if out.as_json:
        out.document(shown)
        return
    out.diff(shown["diff"])
    if "plan" in shown:
        out.say(shown["plan"]["text"].rstrip("\n"))
    if shown["fits"]:
        checks = len(shown["report"]["results"])
        out.say(f"{label(shown)} fits; {checks} check{'' if checks == 1 else 's'} passed, nothing was changed", "green")
    else:
        tell(shown, out)


def apply(
    service: Service,
    out: Output,
    file: File,
    why: Why = "",
    version: Version = None,
    bake: Annotated[str | None, typer.Option(metavar="SECONDS", help="How long it is on trial, or none.")] = None,
    bake_wait: Annotated[bool, typer.Option("--bake-wait", help="Wait until its bake is over.")] = False,
    allow_effects: Effects = None,
    rehearse: Rehearse = None,
    undo: Undo = False,
    timeout: Limit = None,
) -> Exit:
    """Upload a patch, and follow it until it is live or rejected.

    FILE.minisig and FILE.toml go with it.
    """
    words = _words(why=why, version=version, bake=bake, allow_effects=allow_effects, rehearse=rehearse, undo=undo)
    deadline = _deadline(timeout)
    shown = _upload(service, out, file, words, deadline)
    if bake_wait and shown["state"] == "live":
        if shown.get("bake") is None:
            out.note(f"{label(shown)} has no bake: hotswap confirm ends its trial")
        else:
            out.note(f"{label(shown)} is live; its bake goes on")
            shown = follow(service, shown["id"], OVER | {"permanent"}, out, deadline=deadline)
    _result(shown, out)
    return outcome(shown)


def rollback(service: Service, out: Output, id_: Id = None, why: Why = "", timeout: Limit = None) -> Exit:
    """Take back a rollout that is live: that one, or the last."""
    if id_ is None:
        _, tag = service.read_tagged("versions")
        began = service.write("undo", match=tag, wait=_ACT_WAIT, json={"why": why})
    else:
        began = _act(service, id_, "rollback", why)
    return _acted(service, out, began, OVER, timeout)


def confirm(service: Service, out: Output, id_: Id = None, timeout: Limit = None) -> Exit:
    """End the trial of a rollout that is live: it is permanent."""
    began = _act(service, id_ or _current(service), "confirm", "")
    return _acted(service, out, began, OVER | {"permanent"}, timeout, ("permanent",))


def abort(service: Service, out: Output, id_: Id = None, why: Why = "", timeout: Limit = None) -> Exit:
    """Give up a rollout that is not live yet."""
    return _acted(
        service, out, _act(service, id_ or _current(service), "abort", why), COMMITTED, timeout, ("rejected",)
    )


def _act(service: Service, id_: str, act: str, why: str) -> dict[str, Any]:
    _, tag = service.read_tagged(f"rollouts/{id_}")
    return service.write(f"rollouts/{id_}/{act}", match=tag, wait=_ACT_WAIT, json={"why": why})


def _acted(
    service: Service,
    out: Output,
    began: dict[str, Any],
    until: frozenset[str],
    timeout: float | None,
    good: tuple[str, ...] = ("rolled_back", "rejected"),
) -> Exit:
    shown = began if "state" in began else follow(service, began["id"], until, out, deadline=_deadline(timeout))
    if out.as_json:
        out.document(shown)
    else:
        out.say(headline(shown))
    return Exit.OK if shown["state"] in good else Exit.REFUSED


def _current(service: Service) -> str:
    current = service.read("versions")["rollout"]
    if current is None:
        raise FailedError(Exit.REFUSED, "no rollout is in progress, and none is live")
    return str(current["id"])


def _upload(
    service: Service,
    out: Output,
    file: Path,
    words: dict[str, str],
    deadline: float | None,
    **params: str,
) -> dict[str, Any]:
    files = _files(file)
    live, tag = service.read_tagged("versions")
    running = ", ".join(f"{name} {version}" for name, version in live["versions"].items())
    out.note(f"live now: {running}")
    out.going_on = f"interrupted: it is not known whether the service has {file.name}; hotswap status tells"
    began = service.write("rollouts", match=tag, files=files, data=words, params=params)
    return follow(service, began["id"], COMMITTED, out, deadline=deadline)


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _files(file: Path) -> dict[str, tuple[str, bytes]]:
    if file.is_dir():
        raise FailedError(Exit.USAGE, f"{file} is a folder: build a wheel of it, or push it into a watched directory")
    try:
        files = {"patch": (file.name, file.read_bytes())}
        for field, end in _BESIDE.items():
            beside = file.with_name(file.name + end)
            if beside.exists():
                files[field] = (beside.name, beside.read_bytes())
    except OSError as error:
        raise FailedError(Exit.USAGE, f"{error.filename} can't be read: {error.strerror}") from None
    return files


def _words(**words: Any) -> dict[str, str]:
    """What goes with a patch, as a form has it: only what was said."""
    said: dict[str, str] = {}
    for name, value in words.items():
        if isinstance(value, list):
            if value:
                said[name] = ",".join(value)
        elif isinstance(value, bool):
            if value or name == "rehearse":
                said[name] = "true" if value else "false"
        elif value:
            said[name] = str(value)
    return said


def _result(shown: dict[str, Any], out: Output) -> None:
    if out.as_json:
        out.document(shown)
    else:
        tell(shown, out)
