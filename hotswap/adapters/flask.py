"""Flask: rules, views, handlers and blueprints of living applications.

While a module body of the candidate runs, a living application looks to it as if it had just been made: it takes
registrations, and starts with empty tables. So the candidate's tables hold what the new version registers. At the swap
they are merged into the living tables; the map of URLs is made anew, beside the living one, and put in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

from flask.sansio.app import App
from flask.sansio.blueprints import Blueprint
from flask.sansio.scaffold import Scaffold
from jinja2 import Environment

from hotswap.adapters.blueprints import places, registered_again
from hotswap.adapters.click import ClickAdapter
from hotswap.adapters.flask_config import recorded
from hotswap.adapters.flask_tables import FUNCTIONS, LISTS, SETTINGS, Tables, emptied, unmapped
from hotswap.adapters.flask_templates import TEMPLATES, change_templates
from hotswap.adapters.overlay import Overlay, Recorded
from hotswap.adapters.parts import (
    bound_twins,
    drop,
    merge_list,
    name_of,
    replace_items,
    replace_list,
)
from hotswap.swap import Adapter, Facts, Kept

__all__ = ["FlaskAdapter"]

_MISSING: Any = object()


class FlaskAdapter(Adapter):
    """Adapts the tables of Flask's applications and blueprints."""

    roots = (App,)

    def __init__(self) -> None:
        self._old: dict[str, ModuleType] = {}
        self._new: Any = {}
        self._living: list[Any] = []
        self._twins: dict[int, Any] = {}
        self._overlay = Overlay(
            {
                App: {
                    **dict.fromkeys(FUNCTIONS, emptied),
                    "blueprints": emptied,
                    "config": recorded,
                    "url_map": unmapped,
                    "_got_first_request": _fresh,
                },
                Scaffold: dict.fromkeys((*LISTS, "error_handler_spec", "view_functions"), self._table),
                Blueprint: {
                    "_blueprints": self._nested,
                    "_got_registered_once": _fresh,
                    "deferred_functions": self._deferred,
                },
                Environment: dict.fromkeys(TEMPLATES, lambda _, table: Recorded(table)),
            }
        )

    def begin(self, old: Any, new: Any) -> None:
        """Note which modules go: what they registered is not shown to the candidate."""
        self._old, self._new = dict(old), new

    def staging(self, module: str) -> AbstractContextManager[object]:
        """Keep what a module body registers out of living tables."""
        return self._overlay.block()

    def staged(self) -> None:
        """Register blueprints of the candidate where their living twins are registered."""
        self._living = [app for app in self.instances() if not self._overlay.owns(app)]
        self._twins = {id(living): twin for _, _, living, twin in bound_twins(self._old, self._new, (Blueprint,))}
        apps = {id(living): twin for _, _, living, twin in bound_twins(self._old, self._new, (App,))}
        for adapter in self.together:
            if isinstance(adapter, ClickAdapter):
                adapter.brought = self._brought
        for app in self._living:
            known = {*(self._aside(app, "blueprints") or {}), *(getattr(apps.get(id(app)), "blueprints", None) or {})}
            for name, blueprint, options in places(app):
                if name not in known and self._changes(blueprint):
                    for part in _family(blueprint):
                        self._overlay.forget(part, "_blueprints")
                    after = self._twins.get(id(blueprint), blueprint)
                    registered_again(app, after, options, self.sheltered(after.import_name))

    def _changes(self, blueprint: Any) -> bool:
        return any(
            id(part) in self._twins or self._overlay.aside(part, "deferred_functions") is not None
            for part in _family(blueprint)
        )

    def aside(self) -> Iterable[object]:
        """Return what was registered on living objects."""
        for living in self._overlay.touched():
            for name in (*LISTS, *FUNCTIONS, "blueprints", "error_handler_spec", "view_functions"):
                found = self._overlay.aside(living, name)
                if found and issubclass(type(living), App):
                    yield found
            found = self._overlay.aside(living, "url_map")
            if found is not None:
                yield list(found._rules)

    def keeps(self, living: Any, twin: Any) -> bool:
        """Return whether both are applications, or both blueprints: somebody holds the living one."""
        return type(living) is type(twin) and issubclass(type(living), (App, Blueprint))

    def swap(self, facts: Facts) -> None:
        """Bring the tables of all applications up to date."""
        kept = {id(pair.living): pair for pair in facts.kept}
        names = {
            id(living): f"{module}:{name}" for module, name, living, _ in bound_twins(facts.old, facts.new, (App,))
        }
        for app in self._living:
            pair = kept.get(id(app))
            change = self._tables(facts, app, pair, names.get(id(app), ""))
            change.everything()
            change.settings(pair.twin if pair is not None else None, pair is not None and pair.touched)
            self._templates(facts, app, pair.twin if pair is not None else None)
            if pair is not None:
                drop(facts, pair.twin)
        for blueprint in [b for b in self._overlay.touched() if issubclass(type(b), Blueprint) and id(b) not in kept]:
            for name in ("deferred_functions", *LISTS):
                self._extend(facts, blueprint.__dict__[name], self._aside(blueprint, name))
        for pair in kept.values():
            if issubclass(type(pair.living), Blueprint):
                # A blueprint is a list of things to do at its registration; what it did is in the application.
                living, twin = pair.living, pair.twin
                for name in ("deferred_functions", "_blueprints"):
                    replace_list(facts, getattr(living, name), list(getattr(living, name)), list(getattr(twin, name)))
                for name in ("url_prefix", "subdomain", "url_values_defaults", *SETTINGS):
                    if name in twin.__dict__ and living.__dict__.get(name, _MISSING) is not twin.__dict__[name]:
                        facts.writes.item(living.__dict__, name, twin.__dict__[name])

    def _tables(self, facts: Facts, app: Any, pair: Kept | None, where: str = "") -> Tables:
        tables = [pair.twin.__dict__] if pair is not None else []
        return Tables(facts, app, [*tables, {name: self._aside(app, name) for name in app.__dict__}], where)

    def _brought(self, facts: Facts, group: Any) -> set[str]:
        """The commands of an application that blueprints have put there which are registered again, or no more."""
        for app in self._living:
            if app.__dict__.get("cli") is group:
                pair = next((pair for pair in facts.kept if pair.living is app), None)
                return self._tables(facts, app, pair).commands()
        return set()

    def _extend(self, facts: Facts, living: Any, aside: Any) -> None:
        """Bring a table of a living blueprint up to date, for those who register it on another application later."""
        if aside is None:
            return
        if type(living) is not list:
            for key, functions in aside.items():
                if key in living:
                    self._extend(facts, living[key], functions)
                else:
                    replace_items(facts, living, {key: functions}, _MISSING)
            return
        known = {id(function) for function in living}
        merge_list(facts, living, [function for function in aside if id(function) not in known], _recorded)

    def _aside(self, living: Any, name: str) -> Any:
        return self._overlay.aside(living, name)

    def _templates(self, facts: Facts, app: Any, twin: Any) -> None:
        """Filters, tests and globals of templates; the environment is made when it is first used."""
        environment = app.__dict__.get("jinja_env")
        other = twin.__dict__.get("jinja_env") if twin is not None else None
        if environment is not None:
            aside = {name: self._aside(environment, name) for name in TEMPLATES}
            change_templates(facts, [app, *app.blueprints.values()], environment, other, aside)

    # --- what a module body sees of living objects ---------------------------------------------------------------

    def _table(self, instance: Any, value: Any) -> Any:
        """A table of an application, empty; or of a blueprint, without what the modules that go registered."""
        return emptied(instance, value) if issubclass(type(instance), App) else self._without(value)

    def _without(self, value: Any) -> Any:
        if type(value) is list:
            return [item for item in value if not self._goes(item)]
        made = value.copy()
        for key, item in value.items():
            if type(item) is list or issubclass(type(item), dict):
                made[key] = self._without(item)
            elif self._goes(item):
                del made[key]
        return made

    def _deferred(self, _: Any, value: Any) -> Any:
        """What a living blueprint has to do, without what the modules that go told it."""
        return [function for function in value if not any(map(self._goes, _held(function)))]

    def _goes(self, value: Any) -> bool:
        return name_of(value).partition(":")[0] in self._old

    def _nested(self, _: Any, value: Any) -> Any:
        return [(self._twins.get(id(blueprint), blueprint), dict(options)) for blueprint, options in value]


def _fresh(_: Any, __: Any) -> bool:
    """Whether the first request has come: it has not, so that registering is allowed."""
    return False


def _family(blueprint: Any) -> Iterator[Any]:
    """A blueprint and those that are registered on it."""
    yield blueprint
    for inner, _ in list(blueprint.__dict__["_blueprints"]):
        yield from _family(inner)


def _recorded(function: Any) -> Any:
    """What a blueprint has to do, or a function: the same in both versions if it is about the same names."""
    inside = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    return (name_of(function), *(value if type(value) is str else name_of(value) for value in inside))


def _held(function: Any) -> Iterator[Any]:
    """A function, and those that it remembers."""
    yield function
    for cell in getattr(function, "__closure__", None) or ():
        if callable(cell.cell_contents):
            yield cell.cell_contents
