"""Click: the commands of living groups.

A command stays the object that it is, since groups, scripts and shells hold it; its function, parameters and help are
those of the new version after the swap.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from click import Command, Group

from hotswap import walk
from hotswap.adapters.overlay import Overlay
from hotswap.adapters.parts import definition, drop, name_of, replace_items
from hotswap.swap import Adapter, Facts, Fate, NameChange

__all__ = ["ClickAdapter"]

_MISSING: Any = object()


class ClickAdapter(Adapter):
    """Adapts groups and commands of Click."""

    roots = (Group,)

    def __init__(self) -> None:
        self._overlay = Overlay({Group: {"commands": lambda _, value: dict(value)}})
        self._living: list[Any] = []

    def staging(self, module: str) -> AbstractContextManager[object]:
        """Keep what a module body registers out of living groups."""
        return self._overlay.block()

    def staged(self) -> None:
        """Find the living groups."""
        self._living = [group for group in self.instances() if not self._overlay.owns(group)]

    def aside(self) -> Iterable[object]:
        """Return what was registered on living groups."""
        return [self._registered(group) for group in self._overlay.touched()]

    def keeps(self, living: Any, twin: Any) -> bool:
        """Return whether both are commands of one kind."""
        return type(living) is type(twin) and issubclass(type(living), Command)

    def swap(self, facts: Facts) -> None:
        """Bring the tables of groups and the commands themselves up to date."""
        kept = {id(pair.living): pair for pair in facts.kept if issubclass(type(pair.living), Command)}
        for group in self._living:
            pair = kept.get(id(group))
            own = dict(pair.twin.commands) if pair is not None else {}
            self._commands(facts, group, {**own, **self._registered(group)})
        for pair in kept.values():
            drop(facts, pair.twin)
            if pair.touched:
                self._attributes(facts, pair.living, pair.twin)

    def _registered(self, group: Any) -> dict[str, Any]:
        before = group.__dict__.get("commands") or {}
        aside = self._overlay.aside(group, "commands") or {}
        return {name: command for name, command in aside.items() if before.get(name, _MISSING) is not command}

    def _commands(self, facts: Facts, group: Any, new: dict[str, Any]) -> None:
        living = group.__dict__["commands"]
        wanted = {name: facts.translate(command) for name, command in new.items()}
        went = facts.went(group)
        for name, command in list(living.items()):
            if name not in wanted and (self._is_gone(facts, command) or self._was_added_by(facts, command, went)):
                wanted[name] = _MISSING
        for name, command in wanted.items():
            before = living.get(name, _MISSING)
            if before is not command:
                fate = Fate.REMOVED if command is _MISSING else Fate.ADDED if before is _MISSING else Fate.CHANGED
                home = name_of((before if command is _MISSING else command).callback).partition(":")[0]
                facts.plan.names.append(NameChange(home, str(group.name), fate, f"command {name}"))
        replace_items(facts, living, wanted, _MISSING)

    def _is_gone(self, facts: Facts, command: Any) -> bool:
        callback = (walk.instance_dict(command) or {}).get("callback")
        return callback is not None and any(map(facts.is_gone, (callback, definition(callback))))

    def _was_added_by(self, facts: Facts, command: Any, went: list[str]) -> bool:
        """Whether a statement that added a command is gone: ``group.add_command(command)``."""
        added = [text for text in went if "add_command" in text]
        return any(
            f"id={name!r}" in text or f"attr={name!r}" in text for text in added for name in _names(facts.old, command)
        )

    def _attributes(self, facts: Facts, living: Any, twin: Any) -> None:
        own = living.__dict__
        for name, value in list(twin.__dict__.items()):
            if name != "commands" and own.get(name, _MISSING) is not value:
                facts.writes.item(own, name, facts.translate(value))


def _names(modules: dict[str, ModuleType] | Any, wanted: Any) -> set[str]:
    """How the modules call an object."""
    found: set[str] = set()
    for module in modules.values():
        for name, value in list(module.__dict__.items()):
            if value is wanted:
                found.add(name)
            elif issubclass(type(value), ModuleType):
                found.update(inner for inner, held in list(value.__dict__.items()) if held is wanted)
    return found
