"""The text of a program: the definitions, and the imports that they need.

It is written so that it always loads: what makes use of something that is gone does without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.property.programs import (
    CALLABLE,
    CLASSES,
    MODULES,
    STATEFUL,
    Member,
    Program,
    Thing,
    Use,
    bases_of,
    position,
    things_of,
)

__all__ = ["BASE", "Definition", "Text", "definition", "sources", "written"]

BASE = "base"
"""A module that no edit changes."""

BASE_TEXT = '''
import inspect

class Root:
    def __init__(self, value=0):
        self.value = value
    def show(self):
        return "root", self.value

def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value

async def collect(values):
    return [value async for value in values]

def entered(manager):
    with manager as value:
        return value

def plain(value):
    """What a call gave, as plain data."""
    if inspect.isgenerator(value):
        return ["generated", *map(plain, value)]
    if inspect.iscoroutine(value):
        return ["awaited", plain(drive(value))]
    if inspect.isasyncgen(value):
        return ["collected", *map(plain, drive(collect(value)))]
    return tuple(map(plain, value)) if isinstance(value, tuple) else value
'''


@dataclass(frozen=True)
class Read:
    """What is read when something is defined: the expression, what it stands for, and the import that gives it."""

    expression: str
    target: str
    line: str


@dataclass(frozen=True)
class Text:
    """The text of a thing; `state` is the statement that decides whether its object is kept, `reads` what it reads."""

    whole: str
    state: str = ""
    reads: tuple[Read, ...] = ()


@dataclass(frozen=True)
class Definition:
    """A definition, and all data that it reads; `imports` are the statements that give it what it reads."""

    text: tuple[str, ...]
    imports: tuple[str, ...]


def sources(program: Program, package: str) -> dict[str, str]:
    """The source of each module."""
    return {BASE: BASE_TEXT, **{module: _Writer(program, module, package).source() for module in MODULES}}


def written(program: Program) -> dict[str, Text]:
    """The text of each thing, in a package of no name."""
    texts: dict[str, Text] = {}
    for module in MODULES:
        writer = _Writer(program, module, "package")
        writer.source()
        texts |= writer.texts
    return texts


def definition(texts: Mapping[str, Text], name: str) -> Definition:
    """The definition of a thing and of all data that it reads."""
    text, imports = [texts[name].state], []
    for read in texts[name].reads:
        imports.append(read.line)
        if read.target in texts and texts[read.target].state:
            below = definition(texts, read.target)
            text += [read.target, *below.text]
            imports += below.imports
    return Definition(tuple(text), tuple(imports))


class _Writer:
    """Writes one module of a program."""

    def __init__(self, program: Program, module: str, package: str) -> None:
        self.program, self.module, self.package = program, module, package
        self.things = things_of(program)
        self.stars: dict[str, None] = {}
        self.lines: dict[str, None] = {}
        self.aliases: dict[str, str] = {}
        self.texts: dict[str, Text] = {}

    def source(self) -> str:
        mine = self.program[self.module]
        for use in mine.imports:
            self.find(use, f"{self.module}0")
        for name in sorted(mine.things, key=position):
            self.texts[name] = self.text(name, mine.things[name])
        head = [f"# {mine.comment}", "import contextlib, dataclasses, enum, functools"]
        head.append(f"from {self.package}.{BASE} import Root, collect, drive, entered, plain")
        body = [self.texts[name].whole for name in sorted(mine.things, key=position)]
        return "\n".join([*head, *self.stars, *self.lines, *body]) + "\n"

    # --- how it comes by what it uses ---

    def find(self, use: Use | None, user: str, lazily: list[str] | None = None) -> Read | None:
        """How `user` comes by what it uses; None if it can't. `lazily` gets the imports that belong into its body."""
        if use is None or use.target not in self.things or use.target == user:
            return None
        target, origin = use.target, use.target[0]
        lazy = use.how.startswith("lazy") and lazily is not None
        # A constant of a later module may be imported when the function runs: there can be no circle.
        constant = lazy and origin != self.module and self.things[target].kind == "number"
        if position(target) >= position(user) and not constant:
            return None
        if origin == self.module:
            return Read(target, target, "")
        if lazy and lazily is not None:
            if use.how == "lazy":
                lazily.append(f"from {self.package}.{origin} import {target} as here_{target}")
                return Read(f"here_{target}", target, "")
            lazily.append(f"import {self.package}.{origin} as there_{origin}")
            return Read(f"there_{origin}.{target}", target, "")
        expression, line = self.imported(use, origin, target)
        (self.stars if line.endswith("*") else self.lines)[line] = None
        return Read(expression, target, line)

    def imported(self, use: Use, origin: str, target: str) -> tuple[str, str]:
        alias = f"z{use.alias}"
        if use.how == "alias" and self.aliases.setdefault(alias, target) == target:
            return alias, f"from {self.package}.{origin} import {target} as {alias}"
        if use.how == "star":
            return target, f"from {self.package}.{origin} import *"
        if use.how == "module":
            return f"{origin}.{target}", f"from {self.package} import {origin}"
        if use.how == "as":
            return f"m{use.alias}_{origin}.{target}", f"import {self.package}.{origin} as m{use.alias}_{origin}"
        if use.how == "dotted":
            return f"{self.package}.{origin}.{target}", f"import {self.package}.{origin}"
        if use.how == "relative":
            return target, f"from .{origin} import {target}"
        return target, f"from {self.package}.{origin} import {target}"

    def uses(self, uses: Iterable[Use | None], user: str, *, asynchronous: bool = False) -> tuple[list[str], list[str]]:
        """The imports that belong into a body, and the expressions in which it uses what it uses."""
        lines: list[str] = []
        values = []
        for use in uses:
            found = self.find(use, user, lines)
            if found is None:
                continue
            values.append(self.used(found, asynchronous=asynchronous))
        return list(dict.fromkeys(lines)), values

    def used(self, found: Read, *, asynchronous: bool) -> str:
        thing, it = self.things[found.target], found.expression
        bare = asynchronous and not self.decorators(thing, found.target)
        return {
            "number": it,
            "table": f"{it}['n']",
            "coroutine": f"await {it}()" if bare else f"plain({it}())",
            "asyncgen": f"[x async for x in {it}()]" if bare else f"plain({it}())",
            "factory": f"{it}(2)()",
            "decorator": f"{it}(1)(abs)(-3)" if thing.shape else f"{it}(abs)(-3)",
            "context": f"entered({it}())",
            "dispatch": f"{it}(0), {it}('')",
            "class": f"{it}(1).show()",
            "dataclass": f"{it}(1).show()",
            "enum": f"{it}.ONE.show()",
        }.get(thing.kind, f"plain({it}())")

    def read(self, use: Use | None, user: str, kinds: tuple[str, ...]) -> Read | None:
        """What is read when something is defined, if it is of one of these kinds."""
        if use is None or use.target not in self.things or self.things[use.target].kind not in kinds:
            return None
        return self.find(use, user)

    # --- what it looks like ---

    def text(self, name: str, thing: Thing) -> Text:
        if thing.kind == "enum":
            return self.enumeration(name, thing)
        if thing.kind in CLASSES:
            return self.of_class(name, thing)
        if thing.kind in ("made", "partial"):
            return self.made(name, thing)
        if thing.kind in ("number", "table", *STATEFUL):
            read = self.read(thing.reads, name, ("number",)) if thing.kind != "table" else None
            value = f"{thing.number} + {read.expression}" if read else f"{thing.number}"
            return self.data(name, thing, value, (read,) if read else ())
        return self.function(name, thing)

    def data(self, name: str, thing: Thing, value: str, reads: tuple[Read, ...]) -> Text:
        if thing.kind == "number":
            return Text(f"{name} = {value}\n", f"{name} = {value}", reads)
        if thing.kind == "table":
            return Text(f"{name} = {{'n': {value}}}\n", f"{name} = {{'n': {value}}}")
        lines, values = self.uses(thing.uses, name)
        if thing.kind == "counter":
            state = f"_{name} = {value}"
            act = [f"global _{name}", f"_{name} += more"]
            given = f"_{name}"
        else:
            state = f"_{name} = [{value}]"
            act = [f"_{name}.extend([more] if more else [])"]
            given = f"tuple(_{name})"
        body = _lines([*act, *lines, f"return {thing.number}, {', '.join([given, *values])}"])
        return Text(f"{state}\ndef {name}(*, more=0):\n{body}\n", state, reads)

    def made(self, name: str, thing: Thing) -> Text:
        if thing.kind == "made":
            read = self.read(thing.reads, name, ("factory",))
            # A closure that lacks a variable of the new code stays old: then its module is to be in the patch, too.
            shape = self.things[read.target].shape if read else ""
            value = f"{read.expression}({thing.number})  # {shape}" if read else f"lambda: {thing.number}"
        else:
            read = self.read(thing.reads, name, ("plain", "lambda"))
            value = f"functools.partial({read.expression if read else 'divmod'}, {thing.number})"
            value = value if read else f"{value[:-1]}, 7)"
        return Text(f"{name} = {value}\n")

    def decorators(self, thing: Thing, name: str) -> list[tuple[str, Read | None]]:
        """The lines above a function."""
        found: list[tuple[str, Read | None]] = []
        if thing.kind not in CALLABLE or thing.kind == "lambda":
            return found
        for use in thing.decorators:
            if use.target in ("lru_cache", "cache"):
                if thing.kind == "plain":  # it would give a coroutine or generator out a second time
                    maxsize = f"(maxsize={8 + use.alias})" if use.target == "lru_cache" else ""
                    found.append((f"@functools.{use.target}{maxsize}", None))
                continue
            read = self.read(use, name, ("decorator",))
            if read is not None:
                found.append((f"@{read.expression}{'(3)' if self.things[use.target].shape else ''}", read))
        return found

    def function(self, name: str, thing: Thing) -> Text:
        number = thing.number
        reads = []
        default = self.read(thing.reads, name, ("number",))
        if default is not None:
            reads.append(default)
        parameters = [f"p{n}={number + n}" for n in range(thing.parameters)]
        parameters += ["*", f"key={default.expression if default else number}"]
        asynchronous = thing.kind in ("coroutine", "asyncgen")
        lines, values = self.uses(thing.uses, name, asynchronous=asynchronous)
        shown = [repr(name), str(number), *(f"p{n}" for n in range(thing.parameters)), "key", *values]
        result = f"({', '.join(shown)})"
        signature = ", ".join(parameters)
        if thing.kind == "lambda":
            return Text(f"{name} = lambda {signature}: {result}\n" if not lines else f"{name} = lambda: {number}\n")
        if thing.kind == "factory":
            second = ["kept = n * 2"] if thing.shape else []
            inner = f"return ({name!r}, {number}, n, x, {', '.join([*(['kept'] if thing.shape else []), *values])})"
            body = [*second, f"def inner(x={number}):", *(f"    {line}" for line in [*lines, inner]), "return inner"]
            return Text(f"def {name}(n={number}):\n{_lines(body)}\n")
        if thing.kind == "decorator":
            return Text(self.decorator(name, thing, lines, values))
        if thing.kind == "context":
            body = [*lines, f"yield {result}"]
            return Text(f"@contextlib.contextmanager\ndef {name}({signature}):\n{_lines(body)}\n")
        if thing.kind == "dispatch":
            more = f"@{name}.register(str)\ndef _(x, y=2):\n    return 'str', {number}, x, y\n" if thing.shape else ""
            body = [*lines, f"return {', '.join([repr(name), str(number), 'x', *values])}"]
            return Text(f"@functools.singledispatch\ndef {name}(x=0):\n{_lines(body)}\n{more}")
        above = self.decorators(thing, name)
        reads += [read for _, read in above if read is not None]
        kind = "async " if asynchronous else ""
        verb = "yield" if thing.kind in ("generator", "asyncgen") else "return"
        head = [*(line for line, _ in above), f"{kind}def {name}({signature}):"]
        text = "\n".join([*head, f"    'Says {number % 3}.'", _lines([*lines, f"{verb} {result}"])]) + "\n"
        return Text(text, text, tuple(reads))

    def decorator(self, name: str, thing: Thing, lines: list[str], values: list[str]) -> str:
        shown = ", ".join([repr(name), str(thing.number), *(["n"] if thing.shape else []), *values])
        inner = [
            "@functools.wraps(function)",
            "def inner(*args, **kwargs):",
            *(f"    {line}" for line in lines),
            f"    return {shown}, function(*args, **kwargs)",
            "return inner",
        ]
        inner = inner if thing.parameters != 1 else inner[1:]  # without `wraps`, one in three
        if thing.shape:
            inner = ["def decorate(function):", *(f"    {line}" for line in inner), "return decorate"]
            return f"def {name}(n):\n{_lines(inner)}\n"
        return f"def {name}(function):\n{_lines(inner)}\n"

    def enumeration(self, name: str, thing: Thing) -> Text:
        lines = [f"class {name}(enum.Enum):", f"    ONE = {thing.number}"]
        lines += [f"    {member.upper()} = {thing.number + n}" for n, member in enumerate(sorted(thing.members), 100)]
        imports, values = self.uses(thing.uses, name)
        body = [*imports, f"return {', '.join(['self.name', 'self.value', str(thing.number), *values])}"]
        return Text("\n".join([*lines, "    def show(self):", _lines(body, 8)]) + "\n")

    def of_class(self, name: str, thing: Thing) -> Text:
        bases = self.bases(name)
        lines = ["@dataclasses.dataclass"] if thing.kind == "dataclass" else []
        lines.append(f"class {name}({', '.join(bases)}):")
        if thing.kind == "dataclass":
            lines.append("    value: int = 0")
            lines += [f"    f{n}: int = {thing.number + n}" for n in range(thing.parameters)]
        imports, values = self.uses(thing.uses, name)
        body = [*imports, f"return {', '.join([repr(name), str(thing.number), *values])}, super().show()"]
        lines += ["    def show(self):", _lines(body, 8)]
        for member, facts in sorted(thing.members.items()):
            lines += self.member(name, member, facts)
        if thing.shape:
            lines += ["    class Inner:", "        @staticmethod", f"        def inside(): return {thing.number}"]
        return Text("\n".join(lines) + "\n")

    def bases(self, name: str) -> list[str]:
        found = [self.find(use, name) for use in bases_of(self.things, name)]
        return [read.expression for read in found if read is not None] or ["Root"]

    def member(self, cls: str, name: str, member: Member) -> list[str]:
        number = member.number
        if member.kind == "attribute":
            return [f"    {name} = {number}"]
        lines, values = self.uses((member.uses,), cls, asynchronous=member.kind == "coroutine")
        above = {"property": ["@property"], "static": ["@staticmethod"], "class": ["@classmethod"]}
        head = list(above.get(member.kind, []))
        decorator = self.read(member.decorator, cls, ("decorator",))
        if decorator is not None:
            head.append(f"@{decorator.expression}{'(3)' if self.things[decorator.target].shape else ''}")
        first = {"static": "", "class": "cls, ", "property": "self"}.get(member.kind, "self, ")
        mine = {"static": "'static'", "class": "cls.__name__"}.get(member.kind, "self.value")
        rest = "" if member.kind == "property" else f"x={number}"
        shown = [repr(f"{cls}.{name}"), str(number), mine, *(["x"] if rest else []), "__class__.__name__", *values]
        if member.kind == "super":
            lines.append(f"above = getattr(super(), {name!r}, None)")
            shown.append("plain(above() if callable(above) else above)")
        prefix = "async " if member.kind == "coroutine" else ""
        verb = "yield" if member.kind == "generator" else "return"
        head.append(f"{prefix}def {name}({first}{rest}):")
        return [*(f"    {line}" for line in head), _lines([*lines, f"{verb} ({', '.join(shown)})"], 8)]


def _lines(lines: Iterable[str], indent: int = 4) -> str:
    return "\n".join(f"{' ' * indent}{line}" for line in lines)
