"""The tables of one application of Flask: what the candidate registered is merged into what is there."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from flask.sansio.app import App
from werkzeug.routing import Map, Rule

from hotswap.adapters.ordering import matched, ordered
from hotswap.adapters.overlay import copied
from hotswap.adapters.parts import definition, merge_list, name_of, replace_items
from hotswap.swap import Facts, Fate, NameChange

__all__ = ["FUNCTIONS", "LISTS", "SETTINGS", "Tables", "emptied", "unmapped"]

_MISSING: Any = object()

LISTS = (
    "after_request_funcs",
    "before_request_funcs",
    "teardown_request_funcs",
    "template_context_processors",
    "url_default_functions",
    "url_value_preprocessors",
)
"""Tables of lists of functions, by the name of a blueprint, or None for the application."""

FUNCTIONS = ("shell_context_processors", "teardown_appcontext_funcs", "url_build_error_handlers")
"""Lists of functions."""

SETTINGS = ("_static_folder", "_static_url_path", "subdomain_matching", "template_folder")
"""What a constructor was told."""


class Tables:
    """Makes out what becomes of one living application.

    Arguments:
        facts: knows what changed, and receives the writes.
        app: the living application.
        tables: what the candidate registered, by the name of the attribute.
        where: the module and the name that stand for the application.
    """

    def __init__(self, facts: Facts, app: Any, tables: list[dict[str, Any]], where: str) -> None:
        self.facts, self.app, self.tables = facts, app, tables
        self.module, _, self.name = where.partition(":")
        self.went = facts.went(app)
        self.again = {name for table in tables for name in table.get("blueprints") or ()}
        """The blueprints that are registered again, with all that they bring."""
        self.dropped = {name for name, blueprint in app.blueprints.items() if self._is_dropped(name, blueprint)}

    def everything(self) -> None:
        """Bring all tables up to date."""
        self._rules()
        for name in LISTS:
            self._lists(getattr(self.app, name), [table.get(name) or {} for table in self.tables])
        for name in FUNCTIONS:
            if name in self.app.__dict__:
                self._list(self.app.__dict__[name], [f for table in self.tables for f in table.get(name) or ()], False)
        self._handlers()
        blueprints = {key: value for table in self.tables for key, value in (table.get("blueprints") or {}).items()}
        wanted = {key: self.facts.translate(value) for key, value in blueprints.items()}
        replace_items(self.facts, self.app.blueprints, {**dict.fromkeys(self.dropped, _MISSING), **wanted}, _MISSING)
        config = self.tables[-1].get("config")
        if config:
            changed = {key: value for key, value in config.items() if self.app.config.get(key, _MISSING) is not value}
            replace_items(self.facts, self.app.config, changed, _MISSING)

    def settings(self, twin: Any) -> None:
        """Take over what the constructor was told, and what statements put into the configuration."""
        own = self.app.__dict__
        for name in SETTINGS:
            if name in twin.__dict__ and own.get(name, _MISSING) != twin.__dict__[name]:
                self.facts.writes.item(own, name, twin.__dict__[name])
        stated = self.facts.came(self.app)
        for key, value in twin.config.items():
            named = (f"Constant(value={key!r}", f"arg={key!r}")
            if any(label in text for label in named for text in stated):
                self.facts.writes.item(self.app.config, key, value)

    # --- rules ---------------------------------------------------------------------------------------------------

    def _rules(self) -> None:
        living = list(self.app.url_map._rules)
        new = [rule for table in self.tables if table.get("url_map") is not None for rule in table["url_map"]._rules]
        views = {key: value for table in self.tables for key, value in (table.get("view_functions") or {}).items()}
        if not new and not self.dropped and not any(map(self.facts.is_gone, map(definition, self._views().values()))):
            return
        pairs = matched(living, new, _key)
        taken = set(pairs.values())
        endpoints = {rule.endpoint for rule in new}
        gone = {i for i, rule in enumerate(living) if i not in taken and self._is_gone(rule, endpoints)}
        wanted = ordered(living, new, pairs, gone)
        made = unmapped(self.app, self.app.url_map)
        for table in self.tables:
            made.converters.update(self._converters(table.get("url_map")))
        for rule in wanted:
            made.add(_unbound(rule))
        self.facts.writes.item(self.app.__dict__, "url_map", made)
        left = {rule.endpoint for rule in wanted}
        functions: dict[Any, Any] = {
            endpoint: _MISSING for endpoint in self._views() if endpoint not in left and endpoint not in views
        }
        known = self._views()
        functions.update((key, view) for key, view in views.items() if key not in known or not self._is_foreign(view))
        replace_items(self.facts, self.app.view_functions, functions, _MISSING)
        self._describe(living, new, pairs, gone, views)

    def _views(self) -> dict[str, Any]:
        return dict(self.app.view_functions)

    def _converters(self, mapped: Any) -> dict[str, Any]:
        default = Map.default_converters
        items = mapped.converters.items() if mapped is not None else ()
        return {key: self.facts.translate(value) for key, value in items if default.get(key) is not value}

    def _is_foreign(self, function: Any) -> bool:
        """Whether Flask itself made a view, for static files: that of the twin would look for the twin."""
        return name_of(function).partition(":")[0].partition(".")[0] == "flask"

    def _is_gone(self, rule: Rule, endpoints: set[str]) -> bool:
        endpoint: str = rule.endpoint
        blueprint = endpoint.rpartition(".")[0]
        if blueprint in self.again or blueprint in self.dropped:
            return True
        function = self.app.view_functions.get(endpoint)
        if function is not None and (self.facts.is_gone(function) or self.facts.is_gone(definition(function))):
            return True
        return any(f"Constant(value={rule.rule!r}" in text for text in self.went) and endpoint not in endpoints

    def _is_dropped(self, name: str, blueprint: Any) -> bool:
        """Whether the statement that registered a blueprint is gone."""
        if name in self.again:
            return False
        if name.rpartition(".")[0] in self.app.blueprints:
            return self._is_dropped(name.rpartition(".")[0], self.app.blueprints[name.rpartition(".")[0]])
        labels = {
            f"id={attribute!r}" if value is blueprint else f"attr={inner!r}"
            for module in self.facts.old.values()
            for attribute, value in list(module.__dict__.items())
            for inner in _names_in(attribute, value, blueprint)
        }
        return any("register_blueprint" in text and label in text for label in labels for text in self.went)

    def _describe(
        self, living: list[Any], new: list[Any], pairs: dict[int, int], gone: set[int], views: dict[str, Any]
    ) -> None:
        for index, rule in enumerate(new):
            if index not in pairs:
                self._tell(rule, Fate.ADDED, views.get(rule.endpoint))
            else:
                before = definition(self.app.view_functions.get(rule.endpoint))
                after = definition(views.get(rule.endpoint))
                if getattr(before, "__code__", before) != getattr(after, "__code__", after):
                    self._tell(rule, Fate.CHANGED, after)
        for index in sorted(gone):
            self._tell(living[index], Fate.REMOVED, self.app.view_functions.get(living[index].endpoint))

    def _tell(self, rule: Rule, fate: Fate, function: Any) -> None:
        methods = ",".join(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})) or "*"
        module = self.module or name_of(function).partition(":")[0]
        change = NameChange(module, self.name or "app", fate, f"rule {methods} {rule.rule}")
        if change not in self.facts.plan.names:
            self.facts.plan.names.append(change)

    # --- lists of functions, and handlers ------------------------------------------------------------------------

    def _lists(self, living: dict[Any, list[Any]], tables: list[dict[Any, list[Any]]]) -> None:
        self.facts.claim(living)
        new: dict[Any, list[Any]] = {}
        for table in tables:
            for key, functions in table.items():
                new.setdefault(key, []).extend(functions)
        for key, functions in list(living.items()):
            self._list(functions, new.pop(key, []), key in self.again or key in self.dropped)
        replace_items(self.facts, living, new, _MISSING)

    def _list(self, living: list[Any], new: list[Any], whole: bool) -> None:
        merge_list(self.facts, living, new, name_of, whole=whole)

    def _handlers(self) -> None:
        spec = self.app.error_handler_spec
        self.facts.claim(spec)
        for name, codes in list(spec.items()):
            for handlers in list(codes.values()):
                drop = name in self.again or name in self.dropped
                wanted = {
                    key: _MISSING
                    for key, handler in handlers.items()
                    if drop or self.facts.is_gone(definition(handler)) or self.facts.is_gone(key)
                }
                self.facts.claim(codes)
                replace_items(self.facts, handlers, wanted, _MISSING)
        for table in self.tables:
            for name, codes in (table.get("error_handler_spec") or {}).items():
                for code, handlers in codes.items():
                    self._add_handlers(
                        name, code, {self.facts.translate(key): value for key, value in handlers.items()}
                    )

    def _add_handlers(self, name: Any, code: Any, handlers: dict[Any, Any]) -> None:
        spec = self.app.error_handler_spec
        if name not in spec:
            made = copied(None, spec)
            made.clear()
            inner = type(spec[None])(dict) if None in spec else {}
            inner[code] = handlers
            self.facts.writes.item(spec, name, inner)
        elif code not in spec[name]:
            self.facts.writes.item(spec[name], code, handlers)
        else:
            replace_items(self.facts, spec[name][code], handlers, _MISSING)


def unmapped(_: Any, mapped: Any) -> Any:
    """A map with the settings of another one, and without rules."""
    made = copy.copy(mapped)
    made.__dict__.update(
        _matcher=type(mapped._matcher)(mapped.merge_slashes),
        _rules_by_endpoint={},
        _remap=True,
        _remap_lock=mapped.lock_class(),
        converters=mapped.converters.copy(),
    )
    return made


def _unbound(rule: Any) -> Any:
    """A copy of a rule that can be bound to another map."""
    made = copy.copy(rule)
    made.map = None
    made.arguments = set(rule.defaults or ())
    return made


def _key(rule: Any) -> Any:
    return (rule.rule, rule.endpoint, frozenset(rule.methods or ()), rule.subdomain, rule.host)


def _names_in(attribute: str, value: Any, wanted: Any) -> Iterator[str]:
    if value is wanted:
        yield attribute
    elif issubclass(type(value), ModuleType):
        yield from (name for name, inner in list(value.__dict__.items()) if inner is wanted)


def emptied(instance: Any, value: Any) -> Any:
    """A table of an application as it was when it had just been made; of a blueprint as it is."""
    if not issubclass(type(instance), App):
        return copied(None, value)
    if type(value) is list:
        return []
    made = value.copy()
    made.clear()
    return made
