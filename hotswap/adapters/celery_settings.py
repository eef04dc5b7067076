"""Settings of Celery: what module bodies set in `app.conf`, and the periodic tasks that they add."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from celery.app.base import PendingConfiguration

from hotswap import walk
from hotswap.adapters.overlay import copied, same
from hotswap.adapters.parts import replace_items
from hotswap.swap import Facts, Op

__all__ = ["SHOWN", "change_periodic_tasks", "change_settings", "settings_of", "settings_shown", "warn_of_arguments"]

_MISSING: Any = object()
_SCHEDULE = "beat_schedule"

_DERIVED = (
    "_rtable",
    "create_task_message",
    "default_exchange",
    "default_queue",
    "router",
    "send_task_message",
    "utc",
)
"""What Celery makes of its settings when it sends the first task. Not the queues: a worker chooses among them."""


def settings_shown(app: Any, conf: Any) -> Any:
    """Return a copy of the settings of a living application, for the thread that loads a candidate."""
    if conf is None:
        return None
    if not app.configured:
        pending = PendingConfiguration(app._preconf, app._finalize_pending_conf)
        return type(conf)(pending, prefix=app.namespace, keys=conf.__dict__["_keys"])
    there = conf.__dict__
    made = type(conf)({}, list(there["defaults"]), there["_keys"], there["prefix"])  # not every Celery can copy them
    made.__dict__["key_t"] = there["key_t"]
    changes = made.__dict__["changes"]
    changes.clear()
    # The default schedule is a dict of the living application.
    changes.update(copied(None, {_SCHEDULE: conf.get(_SCHEDULE), **there["changes"]}))
    return made


def _queue(_: Any, value: Any) -> Any:
    return deque(value)


SHOWN = {
    "_config_source": same,
    "_pending_defaults": _queue,
    "_pending_periodic_tasks": _queue,
    "_preconf": copied,
    "configured": same,
}
"""What a module body sees of the attributes of a living application that are about its settings."""


def settings_of(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings in the attributes of an application that somebody has set, and its schedule."""
    conf = own["_conf"]
    if not own["configured"] or conf is None:
        return dict(own["_preconf"])
    changes = dict(conf.__dict__["changes"])
    for settings in conf.__dict__["maps"]:
        schedule = settings.get(_SCHEDULE) if type(settings) is dict else None
        if schedule is not None:
            changes.setdefault(_SCHEDULE, schedule)
    return changes


def change_settings(facts: Facts, app: Any, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Add the writes that give a living application the settings that differ.

    Arguments:
        facts: receives the writes.
        app: the application.
        before: the settings that the new ones are compared with.
        after: the new ones.
    """
    own, is_changed = app.__dict__, False
    table = own["_conf"].__dict__["changes"] if own["configured"] and own["_conf"] is not None else own["_preconf"]
    living = settings_of(own)
    for name, value in after.items():
        was, there = before.get(name, _MISSING), living.get(name, _MISSING)
        if _is_same(value, was):
            continue
        is_changed = True
        if type(value) is type(there) is dict:
            known = was if type(was) is dict else {}
            changed = {key: item for key, item in value.items() if not _is_same(item, known.get(key, _MISSING))}
            replace_items(facts, there, {**dict.fromkeys(known.keys() - value.keys(), _MISSING), **changed}, _MISSING)
        else:
            _set(facts, app, table, name, value)
    if is_changed:
        facts.writes.late(lambda _: list(_forgotten(facts, app)))


def _set(facts: Facts, app: Any, table: dict[str, Any], name: str, value: Any) -> None:
    own, before = app.__dict__, table.get(name, _MISSING)
    facts.writes.item(table, name, value)

    def late(forward: bool) -> list[Op]:
        """The application may have read its settings since the commit: then the way back finds a copy of them."""
        if forward or not own["configured"] or own["_conf"] is None:
            return []
        copy = own["_conf"].__dict__["changes"]
        if copy is table or copy.get(name, _MISSING) is not value:
            return []
        return [(dict.pop, copy, name, None) if before is _MISSING else (dict.__setitem__, copy, name, before)]

    facts.writes.late(late)


def _forgotten(facts: Facts, app: Any) -> Iterator[Op]:
    """Yield the writes that have what an application sends with made of its settings again, when it is next used."""
    inside = walk.instance_dict(app.__dict__.get("amqp")) or {}
    for name in _DERIVED:
        facts.writes.hold(inside.get(name))
        yield (dict.pop, inside, name, None)


def change_periodic_tasks(facts: Facts, app: Any, shown: Mapping[str, Any]) -> None:
    """Add the write that gives an application that has not read its settings yet the periodic tasks that it will have.

    Arguments:
        facts: receives the write.
        app: the application.
        shown: what the candidate has put aside of its attributes.
    """
    name = "_pending_periodic_tasks"
    before = list(app.__dict__[name])
    known = {id(entry) for entry in before}
    added = [entry for entry in shown.get(name) or () if id(entry) not in known]
    keys = {entry[0][0] for entry in added}
    replaced = [entry for entry in before if entry[0][0] in keys]

    def late(forward: bool) -> list[Op]:
        came, went = (added, replaced) if forward else (replaced, added)
        waiting = app.__dict__[name]
        facts.writes.hold(waiting)
        gone = {id(entry) for entry in (*went, *came)}
        return [(dict.__setitem__, app.__dict__, name, deque([e for e in list(waiting) if id(e) not in gone] + came))]

    if added:
        facts.writes.late(late)


def warn_of_arguments(facts: Facts, name: str, app: Any, twin: Any) -> set[str]:
    """Warn of arguments of an application that differ; return the settings that are among them, which stay.

    Arguments:
        facts: receives the warning.
        name: what the application is called.
        app: the application.
        twin: the one that the new version made.
    """
    mine, other = app.__dict__, twin.__dict__
    given: set[str] = set(other["_preconf_set_by_auto"]) | set(mine["_preconf_set_by_auto"])
    differ = {key for key in given if not _is_same(other["_preconf"].get(key), mine["_preconf"].get(key))}
    differ |= {key for key in ("main", "namespace") if mine.get(key) != other.get(key)}
    if differ:
        facts.plan.warnings.append(
            f"{name}: the application goes on with the arguments that it was made with; "
            f"{', '.join(sorted(differ))} will be the new one after a restart"
        )
    return given


def _is_same(one: Any, other: Any) -> bool:
    """Whether two settings are the same, as far as that is seen without running code."""
    if one is other:
        return True
    kind = type(one)
    if kind is not type(other):
        return False
    if kind is dict:
        return one.keys() == other.keys() and all(_is_same(value, other[key]) for key, value in one.items())
    if kind in (list, tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return kind in (str, int, float, bool, bytes) and bool(one == other)
