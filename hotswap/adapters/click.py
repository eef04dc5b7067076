"""Click: the commands of living groups.

A command stays the object that it is, since groups, scripts and shells hold it; its function, parameters and help are
those of the new version after the swap.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from click import Command, Group

from hotswap import walk
from hotswap.adapters.click_callbacks import CHAIN, before_those_of, brought_up_to_date
from hotswap.adapters.click_groups import below, holders_of, named, paired
from hotswap.adapters.click_statements import defined, is_added_no_more, is_decorated
from hotswap.adapters.ordering import matched, ordered
from hotswap.adapters.overlay import Overlay, Recorded, copied, same
from hotswap.adapters.parts import definition, drop, let_go, name_of, names_of, replace_items, replace_list
from hotswap.adapters.statements import Statements
from hotswap.swap import Adapter, Facts, Fate, NameChange

__all__ = ["ClickAdapter"]

_MISSING: Any = object()

_SETTINGS = (
    "add_help_option",
    "callback",
    "deprecated",
    "epilog",
    "help",
    "hidden",
    "name",
    "no_args_is_help",
    "options_metavar",
    "short_help",
)
"""Attributes of commands that a module body may set."""

_VERBS = ("add_command", "command", "group")
"""Methods that put a command into a group."""

_GROUP_SETTINGS = ("chain", "command_class", "group_class", "invoke_without_command", "subcommand_metavar")


class ClickAdapter(Adapter):
    """Adapts groups and commands of Click."""

    roots = (Group,)

    def __init__(self) -> None:
        self._old: Mapping[str, ModuleType] = {}
        self._shown: dict[int, Any] = {}
        self._overlay = Overlay(
            {
                Command: {**dict.fromkeys(_SETTINGS, same), "params": copied, "context_settings": copied},
                Group: {
                    **dict.fromkeys(_GROUP_SETTINGS, same),
                    "commands": lambda _, value: Recorded(value),
                    CHAIN: self._shows,
                },
            }
        )
        self._living: list[Any] = []
        self._holders: dict[int, list[Any]] = {}
        self.brought: Callable[[Facts, Any], Container[str]] = lambda _, __: ()
        """Tells which commands somebody else puts into a group: they go unless he has put them there again."""

    def begin(self, old: Mapping[str, ModuleType], new: Mapping[str, ModuleType]) -> None:
        """Note which modules register again."""
        self._old = old

    def staging(self, module: str) -> AbstractContextManager[object]:
        """Keep what a module body registers out of living groups."""
        return self._overlay.block()

    def staged(self) -> None:
        """Find the living groups."""
        self._living = [group for group in self.instances() if not self._overlay.owns(group)]

    def aside(self) -> Iterable[object]:
        """Return what was registered on living groups, and set on living commands."""
        for command in self._overlay.touched():
            yield self._registered(command) if issubclass(type(command), Group) else {}
            yield [*self._set(command).values(), self._overlay.aside(command, CHAIN), *self._params(command)]
            yield self._context(command)

    def keeps(self, living: Any, twin: Any) -> bool:
        """Return whether both are commands of one kind."""
        return type(living) is type(twin) and issubclass(type(living), Command)

    def swap(self, facts: Facts) -> None:
        """Bring the tables of groups and the commands themselves up to date."""
        kept, self._holders = paired(facts), holders_of(facts)
        for group in self._living:
            pair = kept.get(id(group))
            own = dict(pair.twin.commands) if pair is not None else {}
            self._commands(facts, group, {**own, **self._registered(group)}, kept)
            self._results(facts, group, pair.twin if pair is not None else None)
        for pair in kept.values():
            drop(facts, pair.twin)
            if pair.touched:
                self._attributes(facts, pair.living, pair.twin)
        touched = {id(command): command for command in self._overlay.touched()}
        for command in [*touched.values(), *(c for c in named(facts) if id(c) not in kept | touched)]:
            self._changed(facts, command)

    def _shows(self, group: Any, chain: Any) -> Any:
        self._shown[id(group)] = before_those_of(self._old, chain)
        return self._shown[id(group)]

    def _results(self, facts: Facts, group: Any, twin: Any) -> None:
        """The functions that are called with the results of commands."""
        went = facts.went(group)

        def is_gone(function: Any) -> bool:
            return any(map(facts.is_gone, (function, definition(function)))) or any(
                "'result_callback'" in text and f"id={name!r}" in text
                for text in went
                for name in names_of(facts, function)
            )

        living = group.__dict__.get(CHAIN)
        shown = self._shown.get(id(group))
        registered = self._overlay.aside(group, CHAIN, shown)
        own = twin.__dict__.get(CHAIN) if twin is not None else None
        wanted = brought_up_to_date(facts, living, shown, registered, own, is_gone)
        if wanted is not living:
            facts.writes.item(group.__dict__, CHAIN, wanted)

    def _set(self, command: Any) -> dict[str, Any]:
        """What module bodies set on a living command."""
        own = command.__dict__
        found = {name: self._overlay.aside(command, name, _MISSING) for name in (*_SETTINGS, *_GROUP_SETTINGS)}
        return {
            name: value
            for name, value in found.items()
            if value is not _MISSING and value is not own.get(name, getattr(type(command), name, None))
        }

    def _params(self, command: Any) -> list[Any]:
        """The parameters that module bodies added to a living command."""
        before = {id(param) for param in command.__dict__["params"]}
        return [param for param in self._overlay.aside(command, "params") or () if id(param) not in before]

    def _context(self, command: Any) -> dict[str, Any]:
        """What module bodies put into the settings of the context."""
        before = command.__dict__["context_settings"]
        aside = self._overlay.aside(command, "context_settings", before) or {}
        gone = {name: _MISSING for name in before if name not in aside}
        return {name: value for name, value in aside.items() if before.get(name, _MISSING) is not value} | gone

    def _changed(self, facts: Facts, command: Any) -> None:
        """What module bodies set on a living command, or added to it: ``click.option("--debug")(cli)``."""
        own = command.__dict__
        for name, value in self._set(command).items():
            facts.writes.item(own, name, facts.translate(value))
        context = self._context(command)
        replace_items(facts, own["context_settings"], context, _MISSING)
        for inside in map(walk.instance_dict, below(command) if context else ()):
            if inside is not None and inside.get("_help_option") is not None:
                # Click remembers it, with the names from the settings of the groups above.
                facts.writes.item(inside, "_help_option", None)
        before, new, went = list(own["params"]), self._params(command), facts.went(command)
        pairs = matched(before, new, lambda param: (type(param).__name__, param.name))
        taken = set(pairs.values())
        gone = {
            at
            for at, param in enumerate(before)
            if at not in taken
            and any(f"Constant(value={text!r}" in statement for text in param.opts for statement in went)
        }
        if new or gone:
            replace_list(facts, own["params"], before, ordered(before, new, pairs, gone))

    def _registered(self, group: Any) -> dict[str, Any]:
        before = group.__dict__.get("commands") or {}
        aside = self._overlay.aside(group, "commands") or {}
        again = aside.registered if isinstance(aside, Recorded) else set()
        return {
            name: command
            for name, command in aside.items()
            if name in again or before.get(name, _MISSING) is not command
        }

    def _commands(self, facts: Facts, group: Any, new: dict[str, Any], kept: dict[int, Any]) -> None:
        living = group.__dict__["commands"]
        wanted = {name: facts.translate(command) for name, command in new.items()}
        brought = self.brought(facts, group)
        for name, command in list(living.items()):
            if name not in new and name in brought:
                wanted[name] = _MISSING
            elif name not in new:
                after = self._successor(facts, group, name, command, kept)
                if after is None or after[0] != name:
                    wanted.setdefault(name, _MISSING)
                if after is not None and after != (name, command) and wanted.get(after[0], _MISSING) is _MISSING:
                    wanted[after[0]] = after[1]
        for name, command in wanted.items():
            before = living.get(name, _MISSING)
            if before is not command:
                if before is not _MISSING:
                    let_go(facts, (walk.instance_dict(before) or {}).get("callback"))
                fate = Fate.REMOVED if command is _MISSING else Fate.ADDED if before is _MISSING else Fate.CHANGED
                home = name_of((before if command is _MISSING else command).callback).partition(":")[0]
                facts.plan.names.append(NameChange(home, str(group.name), fate, f"command {name}"))
        replace_items(facts, living, wanted, _MISSING)

    def _successor(
        self, facts: Facts, group: Any, name: str, command: Any, kept: dict[int, Any]
    ) -> tuple[str, Any] | None:
        """What becomes of a command that no module of the candidate has put into its group: None if it goes.

        A module that did not change may have put it there: then what the command is called now stands for it.
        """
        called = walk.instance_dict(command) or {}
        if name == called.get("name") and is_decorated(facts, command, group):
            return None
        holders = [group, *self._holders.get(id(group), ())]
        if is_added_no_more(facts, command, name, holders):
            return None
        heir, after = command, called.get("name")
        if id(command) in kept:
            after = kept[id(command)].twin.name
        else:
            for module, bound, value in defined(facts):
                twin: Any = facts.new[module].__dict__.get(bound) if value is command and module in facts.new else None
                if issubclass(type(twin), Command):
                    heir, after = facts.translate(twin), twin.name
        if heir is command and id(command) not in kept:
            callback = called.get("callback")
            if callback is not None and (
                any(map(facts.is_gone, (callback, definition(callback))))
                or Statements(facts, holders, _VERBS).put(callback, lambda text: text == name)
            ):
                return None
        return (after if name == called.get("name") and after is not None else name), heir

    def _attributes(self, facts: Facts, living: Any, twin: Any) -> None:
        own = living.__dict__
        for name, value in list(twin.__dict__.items()):
            if name not in ("commands", CHAIN) and own.get(name, _MISSING) is not value:
                facts.writes.item(own, name, facts.translate(value))
