"""Typer: the commands, groups and callbacks of living applications.

Typer makes commands of Click from them whenever an application is called, so only what is registered has to follow.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from typer import Typer
from typer.models import TyperInfo

from hotswap import walk
from hotswap.adapters.ordering import matched, ordered
from hotswap.adapters.overlay import Overlay, copied
from hotswap.adapters.parts import bound_twins, definition, drop, name_of, replace_list
from hotswap.swap import Adapter, Facts, Fate, NameChange

__all__ = ["TyperAdapter"]

_LISTS = ("registered_commands", "registered_groups")


def _same(_: Any, value: Any) -> Any:
    return value


class TyperAdapter(Adapter):
    """Adapts applications of Typer."""

    roots = (Typer,)

    def __init__(self) -> None:
        self._overlay = Overlay({Typer: {**dict.fromkeys(_LISTS, copied), "registered_callback": _same}})
        self._living: list[Any] = []

    def staging(self, module: str) -> AbstractContextManager[object]:
        """Keep what a module body registers out of living applications."""
        return self._overlay.block()

    def staged(self) -> None:
        """Find the living applications."""
        self._living = [app for app in self.instances() if not self._overlay.owns(app)]

    def aside(self) -> Iterable[object]:
        """Return what was registered on living applications."""
        for app in self._overlay.touched():
            yield [*(entry for name in _LISTS for entry in self._registered(app, name)), self._callback(app)]

    def keeps(self, living: Any, twin: Any) -> bool:
        """Return whether both are applications."""
        return type(living) is type(twin) and issubclass(type(living), Typer)

    def swap(self, facts: Facts) -> None:
        """Bring commands, groups and callbacks up to date."""
        kept = {id(pair.living): pair for pair in facts.kept}
        names = {id(living): (module, name) for module, name, living, _ in bound_twins(facts.old, facts.new, (Typer,))}
        for app in self._living:
            pair = kept.get(id(app))
            twin = pair.twin if pair is not None else None
            for name in _LISTS:
                own = list(twin.__dict__[name]) if twin is not None else []
                self._entries(facts, app, app.__dict__[name], [*own, *self._registered(app, name)], names.get(id(app)))
            self._main(facts, app, twin)
            if pair is not None:
                drop(facts, twin)
                if pair.touched:
                    for name, value in list(twin.__dict__.items()):
                        if name not in (*_LISTS, "registered_callback"):
                            facts.writes.item(app.__dict__, name, value)

    def _registered(self, app: Any, name: str) -> list[Any]:
        before = {id(entry) for entry in app.__dict__[name]}
        return [entry for entry in self._overlay.aside(app, name) or () if id(entry) not in before]

    def _callback(self, app: Any) -> Any:
        found = self._overlay.aside(app, "registered_callback")
        return found if found is not app.__dict__["registered_callback"] else None

    def _main(self, facts: Facts, app: Any, twin: Any) -> None:
        """The function that runs before all commands."""
        before = app.__dict__["registered_callback"]
        after = self._callback(app) or (twin.registered_callback if twin is not None else None)
        if after is None and before is not None and not self._is_gone(facts, before, []):
            return
        if after is not before:
            facts.writes.item(app.__dict__, "registered_callback", after)

    def _entries(
        self, facts: Facts, app: Any, living: list[Any], new: list[Any], where: tuple[str, str] | None
    ) -> None:
        went = facts.went(app)
        before = list(living)
        pairs = matched(before, new, lambda entry: _key(facts.translate(entry.__dict__.get("typer_instance")), entry))
        taken = set(pairs.values())
        gone = {i for i, entry in enumerate(before) if i not in taken and self._is_gone(facts, entry, went)}
        left = [index for index in range(len(new)) if index not in pairs]
        fates = [(Fate.ADDED, new[index]) for index in left] + [(Fate.REMOVED, before[index]) for index in sorted(gone)]
        for fate, entry in fates:
            if _function(entry) is not None:
                module, name = where or (name_of(_function(entry)).partition(":")[0], "app")
                facts.plan.names.append(NameChange(module, name, fate, f"command {_told(entry)}"))
        if new or gone:
            replace_list(facts, living, before, ordered(before, new, pairs, gone))

    def _is_gone(self, facts: Facts, entry: Any, went: list[str]) -> bool:
        function = _function(entry)
        if function is not None and any(map(facts.is_gone, (function, definition(function)))):
            return True
        inner = entry.__dict__.get("typer_instance")
        if not isinstance(inner, Typer):
            return False
        names = {
            name for module in facts.old.values() for name, value in list(module.__dict__.items()) if value is inner
        }
        return any("add_typer" in text and f"{name!r}" in text for text in went for name in names)


def _function(entry: Any) -> Any:
    found = (walk.instance_dict(entry) or {}).get("callback")
    return found if callable(found) else None


def _key(inner: Any, entry: Any) -> Any:
    """What makes two entries the same: the name of the command and of its function, or the application inside."""
    function = _function(entry)
    name = entry.__dict__.get("name")
    called = name if type(name) is str else None
    if isinstance(entry, TyperInfo):
        return (id(inner), called)
    return (called, name_of(function) if function is not None else None)


def _told(entry: Any) -> str:
    name = entry.__dict__.get("name")
    return name if type(name) is str else str(_function(entry).__name__)
