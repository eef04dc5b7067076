"""Blueprints: where those of Flask are registered, and registering their successors there.

A blueprint is registered by copying what it has into an application; Flask does not keep under which prefix. It can be
told from the rules: what a rule has more than the blueprint says is the prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

__all__ = ["places", "registered_again"]

_UNKNOWN: Any = object()


def places(app: Any) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield (name, blueprint, options) for each blueprint that is registered on an application itself."""
    for name, blueprint in list(app.__dict__["blueprints"].items()):
        if "." in name:
            continue  # it comes with the blueprint that it is registered on
        options: dict[str, Any] = {}
        if name != blueprint.name:
            options["name"] = name
        prefix, subdomain = _UNKNOWN, None
        for endpoint, rule in _told(blueprint, name):
            for living in app.__dict__["url_map"]._rules_by_endpoint.get(endpoint, ()):
                if prefix is _UNKNOWN and living.rule.endswith(rule):
                    prefix, subdomain = living.rule.removesuffix(rule), living.subdomain
        if prefix is not _UNKNOWN:
            if prefix.rstrip("/") != (blueprint.url_prefix or "").rstrip("/"):
                options["url_prefix"] = prefix
            if subdomain and subdomain != blueprint.subdomain:
                options["subdomain"] = subdomain
        options.update(_group(app, blueprint, name))
        yield name, blueprint, options


def _group(app: Any, blueprint: Any, name: str) -> dict[str, str | None]:
    """Under which name the commands of a blueprint stand in those of an application, if not where it says itself."""
    own = getattr(blueprint, "cli", None)
    if own is None or not own.commands:
        return {}
    table = dict(app.cli.commands)
    said = blueprint.cli_group if blueprint.cli_group is None or type(blueprint.cli_group) is str else name
    found = [key for key, command in table.items() if command is own]
    if found:
        return {} if said in found else {"cli_group": found[0]}
    inside = all(table.get(key) is command for key, command in own.commands.items())
    return {"cli_group": None} if inside and said is not None else {}


def registered_again(app: Any, blueprint: Any, options: dict[str, Any], block: AbstractContextManager[Any]) -> None:
    """Register a blueprint on what the block shows of an application. Runs what the blueprint recorded."""
    with block:
        blueprint.register(app, options)


def _told(blueprint: Any, name: str) -> Iterator[tuple[str, str]]:
    """The (endpoint, rule) pairs of a blueprint, from the functions that `Blueprint.add_url_rule` recorded."""
    for deferred in list(blueprint.__dict__["deferred_functions"]):
        code = getattr(deferred, "__code__", None)
        if code is None or "rule" not in code.co_freevars or not code.co_qualname.startswith("Blueprint.add_url_rule."):
            continue
        cells = dict(zip(code.co_freevars, deferred.__closure__, strict=True))
        rule, endpoint = cells["rule"].cell_contents, cells["endpoint"].cell_contents
        function = cells["view_func"].cell_contents
        endpoint = endpoint or getattr(function, "__name__", "")
        if rule and rule.startswith("/"):
            yield f"{name}.{endpoint}", rule
