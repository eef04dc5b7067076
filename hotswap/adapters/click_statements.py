"""Click: what the sources of changed modules say about how a command got into a group, and under which name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any

from click import Command

from hotswap.adapters.parts import names_of
from hotswap.adapters.statements import Statements
from hotswap.generation import Kind
from hotswap.swap import Facts

__all__ = ["defined", "is_added_no_more", "is_decorated"]

_NAME = r"Name\(id='(\w+)', ctx=Load\(\)\)"
_DECORATOR = re.compile(
    rf"Attribute\(value=(?:{_NAME}|Attribute\(value={_NAME}, attr='(\w+)', ctx=Load\(\)\)), attr='(?:command|group)'"
)
"""In the dump of a decorator: ``cli.command``, or ``root.cli.command``."""


def defined(facts: Facts) -> Iterator[tuple[str, str, Any]]:
    """Yield the commands that changed modules define: (module, name, command)."""
    for module, before in facts.old.items():
        bindings = getattr(facts.definitions[0].get(module), "bindings", {})
        for name, value in list(before.__dict__.items()):
            if issubclass(type(value), Command) and name in bindings and bindings[name].kind is not Kind.IMPORT:
                yield module, name, value


def is_decorated(facts: Facts, command: Any, group: Any) -> bool:
    """Return whether a command of a changed module was put into a group by its decorator: ``@cli.command()``."""
    for module, name, value in defined(facts):
        if value is command:
            names = facts.old[module].__dict__
            for found in _DECORATOR.finditer(" ".join(facts.definitions[0][module].bindings[name].head[-1:])):
                direct, outer, inner = found.groups()
                held = names.get(direct) if direct else getattr(names.get(outer), "__dict__", {}).get(inner)
                if held is group:
                    return True
    return False


def is_added_no_more(facts: Facts, command: Any, key: str, holders: Iterable[Any]) -> bool:
    """Return whether a statement that put a command into a group is gone, or uses another name for it now.

    Arguments:
        facts: knows the statements: ``cli.add_command(command)``, ``cli.commands["key"] = command``.
        command: the command, which no module of the candidate has put into the group under this name.
        key: its name in the group.
        holders: the living group, and the objects that have it as an attribute: ``app.cli.add_command(command)``.
    """
    known, names = list(holders), names_of(facts, command)
    went = [text for holder in known for text in facts.went(holder)]
    every = [text for holder in known for text in facts.said(holder)]
    if any(f"attr='commands', ctx=Load()), slice=Constant(value={key!r})" in text for text in every):
        return True
    said = [text for text in every if "add_command" in text]
    if any(_puts(text, name, key, command.name, text in went) for text in said for name in names):
        return True
    if key != command.name or any(f"={name!r}" in text for text in said for name in names):
        return False
    return Statements(facts, known, ("add_command",)).put(command)


def _puts(text: str, name: str, key: str, default: str | None, went: bool) -> bool:
    call = re.compile(
        rf"attr='add_command', ctx=Load\(\)\), args=\[[^\[\]]*?(?:id|attr)='{re.escape(name)}', ctx=Load\(\)\)"
        r"(?P<more>, |\], keywords=\[keyword\(arg='name', value=)?"
        r"(?:Constant\(value=(?P<key>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"))?"
    )
    keys = [
        ast.literal_eval(found["key"]) if found["key"] else key if found["more"] else default
        for found in call.finditer(text)
    ]
    # A loop, say, names the command somewhere else.
    return key in keys if keys else went and (f"id={name!r}" in text or f"attr={name!r}" in text)
