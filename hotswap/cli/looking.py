"""Commands that look, and change nothing: `status`, `history`, `watch`, `doctor`."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Annotated, Any

import httpx
import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hotswap.cli.exits import Exit, FailedError
from hotswap.cli.following import label, tell
from hotswap.cli.output import Output, clean
from hotswap.cli.service import Service

__all__ = ["doctor", "history", "status", "watch"]

_PAGE = 200
"""Rollouts in one answer, at most."""
_AGAIN = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before asking for events again, when nobody sends any more."""
_LOOK = 1.0
"""Seconds between two looks of a live view at what changes without an event."""
_ON_THE_WAY = ("staged", "verified", "armed")
_SHOWN = 12
_LONG = 5
"""Names of one kind in the list of the doctor; programs get them all."""

_BLOCKS = {
    "everything": "Every patch is refused",
    "module": "Every patch that loads these modules anew is refused",
    "": "Some changes are refused, or come late",
}


def status(
    service: Service,
    out: Output,
    id_: Annotated[str | None, typer.Argument(metavar="[ID]", help="Of a rollout: what is known of that.")] = None,
) -> None:
    """Tell what is live, and of the rollout that is current."""
    if id_ is not None:
        _one(service.read(f"rollouts/{id_}"), out)
        return
    standing = service.read("versions")
    current = standing["rollout"]
    rollout = None if current is None else service.read(f"rollouts/{current['id']}")
    if out.as_json:
        out.document({"versions": standing["versions"], "rollout": rollout})
        return
    out.show(out.table(("PACKAGE", "VERSION"), standing["versions"].items()))
    if rollout is None:
        out.say("no rollout is in progress, or can be taken back")
    else:
        out.say("")
        _one(rollout, out)


def history(
    service: Service,
    out: Output,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="How many.")] = 20,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Only what is older than that rollout.")] = None,
) -> None:
    """List rollouts and refused drops, newest first."""
    found: list[dict[str, Any]] = []
    more = True
    while more and len(found) < limit:
        params = {"limit": min(limit - len(found), _PAGE)} | ({} if before is None else {"before": before})
        page = service.read("history", **params)
        found += page["rollouts"]
        more = "next" in page
        before = found[-1]["id"] if found else None
    if out.as_json:
        out.document({"rollouts": found, "next": before if more else None})
        return
    rows = (
        (_time(one["changed"]), one["id"] or "-", label(one), one["state"], one["by"], one["why"] or one["reason"])
        for one in found
    )
    out.show(out.table(("WHEN", "ID", "PATCH", "STATE", "BY", "WHY"), rows))
    if more:
        out.note(f"there are older ones: --before {before}")


def doctor(service: Service, out: Output) -> None:
    """Tell what in this service can't be patched, and why.

    What a patch would do when its modules are loaded is not known before there is one: hotswap plan finds that out.
    """
    found = service.read("doctor")
    if out.as_json:
        out.document(found)
        return
    for blocks, title in _BLOCKS.items():
        kinds: dict[tuple[str, str], list[str]] = {}
        for one in found["findings"]:
            if one["blocks"] == blocks:
                place = ":".join(part for part in (one["module"], one["name"]) if part)
                kinds.setdefault((one["code"], one["sentence"]), []).append(place)
        if kinds:
            out.say(f"{title}:", "bold red" if blocks else "bold")
        for (code, sentence), places in kinds.items():
            more = f" and {len(places) - _LONG} more (--json has all)" if len(places) > _LONG else ""
            where = f"{', '.join(places[:_LONG])}{more}: " if any(places) else ""
            out.say(f"  {code}: {where}{sentence}")
    for remark in found["remarks"]:
        out.say(f"not known: {remark}")
    many = f"{found['modules']} module{'' if found['modules'] == 1 else 's'}"
    out.say(f"{many} looked at" + ("" if found["findings"] else ": nothing stands in the way of patches"))


def watch(service: Service, out: Output) -> Exit:
    """Show what happens, as it happens, until Ctrl-C. With --json, one event a line."""
    if out.as_json or not out.out.is_terminal:
        for event in _events(service, out.note):
            if out.as_json:
                out.line(event)
            else:
                out.say(_sentence(event))
        raise AssertionError("events do not end")
    view = _View(service, out)
    view.look()
    told: SimpleQueue[dict[str, Any] | str | Exception] = SimpleQueue()
    threading.Thread(target=_follow, args=(service, told), name="hotswap watch", daemon=True).start()
    # Ctrl-C is how it ends, and what the screen shows stays.
    with Live(view.screen(), console=out.out) as live:
        while True:
            try:
                view.tell(told.get(timeout=_LOOK))
            except Empty:
                if not view.moves():
                    continue
            view.look_again()
            live.update(view.screen())


def _follow(service: Service, told: SimpleQueue[dict[str, Any] | str | Exception]) -> None:
    try:
        for event in _events(service, told.put):
            told.put(event)
    except Exception as error:  # noqa: BLE001 - whoever watches gets it
        told.put(error)


class _View:
    """What a live view shows. Lives as long as `watch`."""

    def __init__(self, service: Service, out: Output) -> None:
        self._service, self._out = service, out
        self._last: deque[dict[str, Any]] = deque(maxlen=_SHOWN)
        self._versions: dict[str, Any] = {}
        self._rollout: dict[str, Any] | None = None
        self._standing, self._trouble = "", ""

    def tell(self, told: dict[str, Any] | str | Exception) -> None:
        """Take an event, or how the connection is. Raises what ended the stream of events."""
        if isinstance(told, Exception):
            raise told
        if isinstance(told, str):
            self._standing = told
        else:
            self._last.append(told)

    def look(self) -> None:
        """Ask what is live. Raises FailedError."""
        standing = self._service.read("versions")
        current = standing["rollout"]
        self._rollout = None if current is None else self._service.read(f"rollouts/{current['id']}")
        self._versions, self._trouble = standing["versions"], ""

    def look_again(self) -> None:
        """Ask; what can't be asked now may be there again in a moment. That nobody comes, the stream of events says."""
        try:
            self.look()
        except FailedError as error:
            self._trouble = error.reason

    def moves(self) -> bool:
        """Whether something changes without an event: seconds, sessions, calls in flight. Or it is not known."""
        found = self._rollout
        return bool(self._trouble) or (
            found is not None
            and (
                found["state"] in _ON_THE_WAY
                or bool(found["report"]["running"] or found.get("in_flight"))
                or (found.get("bake") or {}).get("verdict") == "baking"
            )
        )

    def screen(self) -> Group:
        """Return all of it, for Rich."""
        parts: list[Any] = [self._out.table(("PACKAGE", "VERSION"), self._versions.items()), Text()]
        if self._rollout is not None:
            title = f"{label(self._rollout)} is {self._rollout['state']}"
            parts += [Text(clean(title), "bold"), _facts(self._rollout, self._out), Text()]
        parts += [Text(_sentence(event), no_wrap=True, overflow="ellipsis") for event in self._last]
        if self._trouble:
            parts.append(Text(clean(self._trouble), "red"))
        return Group(*parts, Text(clean(f"{self._standing}; Ctrl-C ends this".lstrip("; ")), "dim"))


def _one(rollout: dict[str, Any], out: Output) -> None:
    if out.as_json:
        out.document(rollout)
        return
    tell(rollout, out)
    out.show(_facts(rollout, out))
    for call in rollout.get("in_flight", ()):
        where = call["thread"] or call["task"] or "suspended"
        out.say(f"  still on the old code: {call['function']}, line {call['line']}, {where}")


def _facts(rollout: dict[str, Any], out: Output) -> Table:
    facts = {"rollout": rollout["id"], "since": _time(rollout["changed"]), "by": rollout["by"], "why": rollout["why"]}
    checks = rollout["report"]["results"]
    if checks:
        facts["checks"] = f"{sum(one['verdict'] == 'passed' for one in checks)} of {len(checks)} passed"
    running = rollout["report"]["running"]
    if running:
        facts["running"] = ", ".join(running)
    bake = rollout.get("bake")
    if bake is not None:
        left = bake["remaining"]
        facts["bake"] = bake["verdict"] if not left else f"{left:.0f} s are left"
        facts["sessions"] = ", ".join(
            f"{side}: {bake[side]['sessions']}, {bake[side]['errors']} failed" for side in ("old", "new")
        )
    if rollout.get("actions"):
        facts["may be"] = ", ".join(rollout["actions"])
    table = out.table(("", ""), ((name, value) for name, value in facts.items() if value))
    table.show_header = False
    return table


def _events(service: Service, note: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield events, and begin again where it broke off, until nobody answers for a while; note each beginning."""
    seen: str | None = None
    pauses = iter(_AGAIN)
    while True:
        broke = "the stream of events ended"
        try:
            with service.stream("events", {} if seen is None else {"last-event-id": seen}) as lines:
                note(f"following {service.where}")
                for id_, name, data in _parsed(lines):
                    pauses = iter(_AGAIN)
                    seen = id_ or seen
                    yield {"id": id_, "event": name, **json.loads(data)} if data else {"id": id_, "event": name}
        except httpx.TransportError as error:
            broke = str(error)
        except FailedError as error:
            if error.exit is not Exit.UNREACHABLE:
                raise
            broke = error.reason
        pause = next(pauses, None)
        if pause is None:
            raise FailedError(Exit.UNREACHABLE, f"nobody answers at {service.where} any more: {broke}")
        time.sleep(pause)


def _parsed(lines: Iterator[str]) -> Iterator[tuple[str | None, str, str]]:
    """Yield (id, name, data) of server-sent events."""
    id_, name, data = None, "message", ""
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield id_, name, data
            id_, name, data = None, "message", ""
        elif field == "id":
            id_ = value
        elif field == "event":
            name = value
        elif field == "data":
            data = f"{data}\n{value}" if data else value


def _sentence(event: dict[str, Any]) -> str:
    """Return an event in one line, what matters most first."""
    if event["event"] == "missed":
        return "(some events were missed)"
    version = event.get("version")
    about = " ".join(str(event[name]) for name in ("patch", "drop", "check", "probe") if event.get(name))
    told = [_time(event["time"])[11:], event["event"], about + (f" {version}" if version else "")]
    told += [str(event[name]) for name in ("reason", "message") if event.get(name)]
    if event["event"] == "admin.written":
        told.append(f"{event.get('who')}: {event.get('method')} {event.get('path')} -> {event.get('status')}")
    return clean(" ".join(part for part in told if part).replace("\n", " "))


def _time(text: str) -> str:
    """Return a time as a clock on the wall here shows it."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")
