"""The tables of one application of Flask: what the candidate registered is merged into what is there."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from types import ModuleType
from typing import Any

from flask.sansio.app import App
from werkzeug.routing import Map, Rule

from hotswap import walk
from hotswap.adapters.flask_config import MISSING, changed_config, were_put
from hotswap.adapters.ordering import matched, ordered
from hotswap.adapters.overlay import copied
from hotswap.adapters.parts import definition, merge_list, name_of, replace_items
from hotswap.adapters.statements import Statements
from hotswap.swap import Facts, Fate, NameChange

__all__ = ["FUNCTIONS", "LISTS", "SETTINGS", "Tables", "emptied", "unmapped"]

_MISSING: Any = object()

LISTS: dict[str, tuple[str, ...]] = {
    "after_request_funcs": ("after_request", "after_app_request"),
    "before_request_funcs": ("before_request", "before_app_request"),
    "teardown_request_funcs": ("teardown_request", "teardown_app_request"),
    "template_context_processors": ("context_processor", "app_context_processor"),
    "url_default_functions": ("url_defaults", "app_url_defaults"),
    "url_value_preprocessors": ("url_value_preprocessor", "app_url_value_preprocessor"),
}
"""Tables of lists of functions, by the name of a blueprint, or None for the application; what puts something there."""

FUNCTIONS: dict[str, tuple[str, ...]] = {
    "shell_context_processors": ("shell_context_processor",),
    "teardown_appcontext_funcs": ("teardown_appcontext",),
    "url_build_error_handlers": ("append",),
}
"""Lists of functions, and what puts something there."""

_HANDLERS = ("app_errorhandler", "errorhandler", "register_error_handler")

_RULES = ("add_url_rule", "delete", "get", "patch", "post", "put", "route")
"""Methods that add rules."""

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

    def commands(self) -> set[str]:
        """Return the names of the commands that blueprints have put there which are registered again, or no more."""
        found: set[str] = set()
        table = dict(self.app.cli.commands)
        for name in self.again | self.dropped:
            group = getattr(self.app.blueprints.get(name), "cli", None)
            inner = {id(command) for command in group.commands.values()} if group is not None else set()
            found.update(key for key, command in table.items() if command is group or id(command) in inner)
        return found

    def everything(self) -> None:
        """Bring all tables up to date."""
        self._rules()
        for name, verbs in LISTS.items():
            self._lists(getattr(self.app, name), [table.get(name) or {} for table in self.tables], verbs)
        for name, verbs in FUNCTIONS.items():
            if name in self.app.__dict__:
                new = [function for table in self.tables for function in table.get(name) or ()]
                self._list(self.app.__dict__[name], new, False, self._statements(verbs))
        self._handlers()
        blueprints = {key: value for table in self.tables for key, value in (table.get("blueprints") or {}).items()}
        wanted = {key: self.facts.translate(value) for key, value in blueprints.items()}
        replace_items(self.facts, self.app.blueprints, {**dict.fromkeys(self.dropped, _MISSING), **wanted}, _MISSING)

    def settings(self, twin: Any, touched: bool) -> None:
        """Take over what statements put into the configuration, and what the constructor was told.

        Arguments:
            twin: what the candidate made in place of the application, or None.
            touched: whether the statements about it differ.
        """
        own = self.app.__dict__
        for name in SETTINGS if touched else ():
            if name in twin.__dict__ and own.get(name, _MISSING) != twin.__dict__[name]:
                self.facts.writes.item(own, name, twin.__dict__[name])
        wanted = changed_config(self.facts, self.app, were_put(self.tables[-1].get("config")), twin)
        replace_items(self.facts, self.app.config, wanted, MISSING)

    # --- rules ---------------------------------------------------------------------------------------------------

    def _rules(self) -> None:
        living = list(self.app.url_map._rules)
        new = [rule for table in self.tables if table.get("url_map") is not None for rule in table["url_map"]._rules]
        views = {key: value for table in self.tables for key, value in (table.get("view_functions") or {}).items()}
        pairs = matched(living, new, _key)
        taken = set(pairs.values())
        endpoints = {rule.endpoint for rule in new}
        statements = self._statements(_RULES)
        gone = {i for i, rule in enumerate(living) if i not in taken and self._is_gone(rule, endpoints, statements)}
        if not new and not gone:
            return
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

    def _is_gone(self, rule: Rule, endpoints: set[str], statements: Statements) -> bool:
        endpoint: str = rule.endpoint
        blueprint = endpoint.rpartition(".")[0]
        if blueprint in self.again or blueprint in self.dropped:
            return True
        function = self.app.view_functions.get(endpoint)
        if function is not None and (self.facts.is_gone(function) or self.facts.is_gone(definition(function))):
            return True
        parts = (function, (walk.instance_dict(function) or {}).get("view_class"))
        if any(part is not None and statements.put(part, lambda text: text == rule.rule) for part in parts):
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

    def _statements(self, verbs: Collection[str]) -> Statements:
        """What changed modules say about the application and its blueprints."""
        return Statements(self.facts, [self.app, *self.app.blueprints.values()], verbs)

    def _lists(self, living: dict[Any, list[Any]], tables: list[dict[Any, list[Any]]], verbs: Collection[str]) -> None:
        self.facts.claim(living)
        new: dict[Any, list[Any]] = {}
        for table in tables:
            for key, functions in table.items():
                new.setdefault(key, []).extend(functions)
        statements = self._statements(verbs)
        for key, functions in list(living.items()):
            self._list(functions, new.pop(key, []), key in self.again or key in self.dropped, statements)
        replace_items(self.facts, living, new, _MISSING)

    def _list(self, living: list[Any], new: list[Any], whole: bool, statements: Statements) -> None:
        merge_list(self.facts, living, new, name_of, whole=whole, put=statements.put)

    def _handlers(self) -> None:
        spec = self.app.error_handler_spec
        self.facts.claim(spec)
        again = {
            (name, code, self.facts.translate(key))
            for table in self.tables
            for name, codes in (table.get("error_handler_spec") or {}).items()
            for code, handlers in codes.items()
            for key in handlers
        }
        put = self._statements(_HANDLERS).put
        for name, codes in list(spec.items()):
            for code, handlers in list(codes.items()):
                drop = name in self.again or name in self.dropped
                wanted = {
                    key: _MISSING
                    for key, handler in handlers.items()
                    if (name, code, key) not in again
                    and (drop or any(map(self.facts.is_gone, (definition(handler), key))) or put(handler))
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
