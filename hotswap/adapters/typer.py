"""Typer: the commands, groups and callbacks of living applications.

Typer makes commands of Click from them whenever an application is called, so only what is registered has to follow.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import FunctionType
from typing import Any

from typer import Typer
from typer.models import TyperInfo

from hotswap import walk
from hotswap.adapters.ordering import matched, ordered
from hotswap.adapters.overlay import Overlay, copied, same
from hotswap.adapters.parts import bound_twins, definition, drop, name_of, names_of, replace_list
from hotswap.swap import Adapter, Facts, Fate, NameChange

__all__ = ["TyperAdapter"]

_MISSING: Any = object()

_LISTS = ("registered_commands", "registered_groups")

_SETTINGS = (
    "_add_completion",
    "pretty_exceptions_enable",
    "pretty_exceptions_short",
    "pretty_exceptions_show_locals",
    "rich_help_panel",
    "rich_markup_mode",
    "suggest_commands",
)
"""Attributes of applications that a module body may set."""

_TEXT = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""


def _alike(_: Any, info: Any) -> Any:
    made: Any = object.__new__(type(info))
    made.__dict__.update(info.__dict__)
    return made


class TyperAdapter(Adapter):
    """Adapts applications of Typer."""

    roots = (Typer,)

    def __init__(self) -> None:
        attributes = {**dict.fromkeys(_LISTS, copied), **dict.fromkeys(("registered_callback", *_SETTINGS), same)}
        self._overlay = Overlay({Typer: {**attributes, "info": _alike}})
        self._living: list[Any] = []

    def staging(self, module: str) -> AbstractContextManager[object]:
        """Keep what a module body registers out of living applications."""
        return self._overlay.block()

    def staged(self) -> None:
        """Find the living applications."""
        self._living = [app for app in self.instances() if not self._overlay.owns(app)]

    def aside(self) -> Iterable[object]:
        """Return what was registered on living applications, and set on them."""
        for app in self._overlay.touched():
            yield [*(entry for name in _LISTS for entry in self._registered(app, name)), self._callback(app)]
            yield self._set(app)
            yield self._info(app)

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
        for app in self._overlay.touched():
            for inside, values in ((app.__dict__, self._set(app)), (app.info.__dict__, self._info(app))):
                for name, value in values.items():
                    facts.writes.item(inside, name, facts.translate(value))

    def _set(self, app: Any) -> dict[str, Any]:
        """What module bodies set on a living application."""
        aside = {name: self._overlay.aside(app, name, _MISSING) for name in _SETTINGS}
        return {
            name: value
            for name, value in aside.items()
            if value is not _MISSING and value is not app.__dict__.get(name, _MISSING)
        }

    def _info(self, app: Any) -> dict[str, Any]:
        """What module bodies set in the description of a living application: ``app.info.help = "..."``."""
        before = app.__dict__["info"].__dict__
        aside = walk.instance_dict(self._overlay.aside(app, "info")) or {}
        return {name: value for name, value in aside.items() if before.get(name, _MISSING) is not value}

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
        if after is None and before is not None and not self._is_gone(facts, before, app):
            return
        if after is not before:
            facts.writes.item(app.__dict__, "registered_callback", after)

    def _entries(
        self, facts: Facts, app: Any, living: list[Any], new: list[Any], where: tuple[str, str] | None
    ) -> None:
        before = list(living)
        pairs = matched(before, new, lambda entry: _key(facts.translate(entry.__dict__.get("typer_instance")), entry))
        taken = set(pairs.values())
        gone = {i for i, entry in enumerate(before) if i not in taken and self._is_gone(facts, entry, app)}
        left = [index for index in range(len(new)) if index not in pairs]
        fates = [(Fate.ADDED, new[index]) for index in left] + [(Fate.REMOVED, before[index]) for index in sorted(gone)]
        for fate, entry in fates:
            if _function(entry) is not None:
                module, name = where or (name_of(_function(entry)).partition(":")[0], "app")
                facts.plan.names.append(NameChange(module, name, fate, f"command {_told(entry)}"))
        if new or gone:
            replace_list(facts, living, before, ordered(before, new, pairs, gone))

    def _is_gone(self, facts: Facts, entry: Any, app: Any) -> bool:
        """Whether an entry that no module of the candidate registered goes: a changed module had done that before."""
        function = _function(entry)
        if function is not None and (
            any(map(facts.is_gone, (function, definition(function)))) or _is_decorated(facts, function, entry, app)
        ):
            return True
        inner = entry.__dict__.get("typer_instance")
        if not isinstance(inner, Typer):
            return False
        return any(_adds(text, name, entry) for text in facts.said(app) for name in names_of(facts, inner))


def _is_decorated(facts: Facts, function: Any, entry: Any, app: Any) -> bool:
    """Whether a decorator of a changed module made a function a command: ``@app.command()``."""
    found = definition(function)
    if type(found) is not FunctionType or found.__module__ not in facts.old:
        return False
    bindings = getattr(facts.definitions[0].get(found.__module__), "bindings", {})
    decorated = [
        match
        for head in getattr(bindings.get(found.__qualname__), "head", ())
        for label in names_of(facts, app)
        for match in re.finditer(
            rf"(?:id|attr)='{re.escape(label)}', ctx=Load\(\)\), attr='(?:command|callback)', ctx=Load\(\)\)"
            rf"(?:, args=\[(?:Constant\(value=(?P<text>{_TEXT})\))?)?",
            head,
        )
    ]
    return any(match["text"] is None or ast.literal_eval(match["text"]) == _called(entry) for match in decorated)


def _adds(text: str, label: str, entry: Any) -> bool:
    """Whether a statement puts an application into another under the name of an entry: ``app.add_typer(users.app)``."""
    for call in text.split("attr='add_typer', ctx=Load()), args=[")[1:]:
        if re.match(rf"[^\[\]]*?(?:id|attr)='{re.escape(label)}', ctx=Load\(\)\)", call):
            found = re.search(rf"arg='name', value=(?:Constant\(value=(?P<text>{_TEXT})\))?", call)
            name = None if found is None else found["text"]
            if (found is not None and name is None) or (ast.literal_eval(name) if name else None) == _called(entry):
                return True
    return False


def _called(entry: Any) -> str | None:
    name = entry.__dict__.get("name")
    return name if type(name) is str else None


def _function(entry: Any) -> Any:
    found = (walk.instance_dict(entry) or {}).get("callback")
    return found if callable(found) else None


def _key(inner: Any, entry: Any) -> Any:
    """What makes two entries the same: the name of the command and of its function, or the application inside."""
    function = _function(entry)
    called = _called(entry)
    if isinstance(entry, TyperInfo):
        return (id(inner), called)
    return (called, name_of(function) if function is not None else None)


def _told(entry: Any) -> str:
    return _called(entry) or str(_function(entry).__name__)
