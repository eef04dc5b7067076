"""What is live: the modules of the managed packages as they run now.

Nothing has to be prepared in the service and no import is hooked: modules are adopted from `sys.modules`. A `Live`
lives as long as its patcher.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import marshal
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any

from packaging.version import InvalidVersion, Version

from hotswap import walk
from hotswap.generation.aliases import home_of, is_alias
from hotswap.generation.booted import BootedFinder
from hotswap.generation.definitions import Definitions, analyse
from hotswap.generation.files import PatchLoader
from hotswap.patch import compiled

__all__ = ["MISSING", "Live", "LiveModule", "forget", "live_version", "managed", "same_value", "value_at"]


@dataclass(slots=True)
class LiveModule:
    """A module as it is imported now.

    Arguments:
        name: its dotted name.
        module: the object in `sys.modules`.
        source: the text that it runs, or None if it has none or if what runs is not what the loader shows.
        package: whether it has submodules.
        namespace: whether it is a namespace package, without code of its own.
        extension: whether it is compiled code.
        replaced: the text of a module that put something else in its own place, which is `module`; None for others.
    """

    name: str
    module: ModuleType
    source: str | None
    package: bool
    namespace: bool = False
    extension: bool = False
    replaced: str | None = None
    _definitions: Definitions | None = field(default=None, repr=False)

    @property
    def definitions(self) -> Definitions:
        """The definitions of the source; empty where there is no source."""
        if self._definitions is None:
            try:
                self._definitions = analyse(self.source or "", self.name, package=self.package)
            except (SyntaxError, ValueError):
                self._definitions = Definitions()
        return self._definitions

    def know(self, definitions: Definitions) -> None:
        """Take over the definitions of the source from who has analysed it already."""
        self._definitions = definitions

    @property
    def plain(self) -> bool:
        """Whether the object is an ordinary module, not a subclass, a stand-in or another module."""
        return type(self.module) is ModuleType and self.own

    @property
    def own(self) -> bool:
        """Whether the object is the module of that name, and nothing that the module put in its own place."""
        return not is_alias(self.name, self.module)

    @property
    def text(self) -> str | None:
        """The text of the module of that name, whatever stands in its place; None if it has none that is known."""
        return self.source if self.source is not None else self.replaced


def managed(name: str, packages: tuple[str, ...]) -> bool:
    """Return whether a module belongs to one of the managed packages."""
    # Asked for every module of the process, again and again, and most begin otherwise.
    return name.startswith(packages) and any(name == package or name.startswith(package + ".") for package in packages)


class Live:
    """The managed modules by name; `adopt` brings it up to date with `sys.modules`."""

    def __init__(self, packages: tuple[str, ...]) -> None:
        self.packages = packages
        self.modules: dict[str, LiveModule] = {}
        self.aliases: dict[str, Any] = {}
        """What else stands in `sys.modules` below the managed packages; see `generation.aliases`."""
        self.adopt()

    def adopt(self, before: Mapping[str, LiveModule] = MappingProxyType({})) -> None:
        """Take in what was imported, and let go what was removed, since the last look.

        Arguments:
            before: what was live before by its name, and may be again.
        """
        entries: list[tuple[str, Any]] = list(sys.modules.items())
        near = [entry for entry in entries if entry[0].startswith(self.packages)]  # no call for each of the others
        present = {name: module for name, module in near if managed(name, self.packages)}
        for name in list(self.modules):
            if present.get(name) is not self.modules[name].module:
                del self.modules[name]
        known, self.aliases = self.aliases, {}
        for name, module in sorted(present.items(), key=lambda entry: entry[0].count(".")):  # parents first
            if name in self.modules:
                continue
            if name in known and known[name] is module:
                self.aliases[name] = module
                continue
            if name in before and before[name].module is module:
                self.modules[name] = before[name]
                continue
            entry = _adopted(name, module) if not is_alias(name, module) else self._in_place_of(name, module, present)
            if entry is None:
                self.aliases[name] = module
            else:
                self.modules[name] = entry

    def _in_place_of(self, name: str, value: Any, present: Mapping[str, Any]) -> LiveModule | None:
        """Adopt what a module has put in its own place; return None for an alias, which takes no module's place."""
        parent = name.rpartition(".")[0]
        if value is None or parent in self.aliases:  # None forbids an import
            return None
        home = home_of(name, present.get(parent)) if parent else None
        if parent and home is None:
            return None
        return LiveModule(name, value, None, package=False, replaced=None if home is None else _text(home.loader, name))

    def learn(self, modules: Mapping[str, ModuleType], definitions: Mapping[str, Definitions]) -> None:
        """Take over what is known of modules that have just become live.

        Arguments:
            modules: those modules.
            definitions: of some of them, by their names.
        """
        for name, known in definitions.items():
            entry = self.modules.get(name)
            if entry is not None and entry.source is not None and entry.module is modules.get(name):
                entry.know(known)

    def __iter__(self) -> Iterator[LiveModule]:
        return iter(list(self.modules.values()))

    def get(self, name: str) -> LiveModule | None:
        """Return the live module of that name, or None."""
        return self.modules.get(name)

    def tree(self) -> Mapping[str, ModuleType]:
        """Return the module objects by name."""
        return {name: entry.module for name, entry in self.modules.items()}


def same_value(modules: Mapping[str, ModuleType], *places: tuple[str, str]) -> bool:
    """Whether all names, given as module and name, are bound, and to the same object.

    Arguments:
        modules: where to look the modules up first; then in `sys.modules`.
        places: the names.
    """
    values = [value_at(modules, *place) for place in places]
    return values[0] is not MISSING and all(value is values[0] for value in values)


def value_at(modules: Mapping[str, ModuleType], module: str, name: str) -> Any:
    """What a name of a module is bound to, or `MISSING`; no code of the module runs."""
    found = modules.get(module) or sys.modules.get(module)
    if not issubclass(type(found), ModuleType):
        return MISSING
    return ModuleType.__getattribute__(found, "__dict__").get(name, MISSING)


MISSING: Any = object()
"""Stands for the value of a name that is not bound."""


def forget(names: Iterable[str]) -> None:
    """Take modules out of `sys.modules` and out of their parents, so that the next import loads them anew."""
    for name in names:
        module = sys.modules.pop(name, None)
        parent, _, child = name.rpartition(".")
        if module is not None and parent in sys.modules:
            facts = ModuleType.__getattribute__(sys.modules[parent], "__dict__")
            if facts.get(child) is module:
                del facts[child]


def _adopted(name: str, module: ModuleType) -> LiveModule:
    facts = ModuleType.__getattribute__(module, "__dict__")
    spec = facts.get("__spec__")
    package = "__path__" in facts
    loader = getattr(spec, "loader", None)
    if package and facts.get("__file__") is None and getattr(spec, "origin", None) in (None, "namespace"):
        return LiveModule(name, module, None, package=True, namespace=True)
    source = _text(loader, name)
    file = facts.get("__file__")
    # What a patch brought runs from memory, and its file is nobody's to write.
    patched = issubclass(type(loader), PatchLoader)
    if source is not None and not patched and _written_since_start(file) and not _runs(source, facts):
        source = None
    extension = isinstance(file, str) and file.endswith((".so", ".pyd", ".dll"))
    return LiveModule(name, module, source, package=package, extension=extension)


def _text(loader: object, name: str) -> str | None:
    get_source = getattr(loader, "get_source", None)
    try:
        return None if get_source is None else get_source(name)
    except (ImportError, OSError, SyntaxError, UnicodeError):
        return None  # an unreadable source is an unknown one: the module counts as changed


def _written_since_start(file: object) -> bool:
    """Whether a file may have been written after this process began, and so after it was imported."""
    try:
        return _STARTED is None or os.stat(file).st_ctime >= _STARTED  # type: ignore[arg-type]  # not a path: TypeError
    except (OSError, TypeError):
        return True


def _start_of_process() -> float | None:
    """When this process began, in seconds since the epoch; None where the system does not tell cheaply."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        booted = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime"))
        return float(booted.split()[1]) + ticks / os.sysconf("SC_CLK_TCK") - 2.0  # btime is in whole seconds
    except (OSError, ValueError, IndexError, StopIteration, AttributeError):
        return None


_STARTED = _start_of_process()


def _runs(source: str, facts: dict[str, object]) -> bool:
    """Whether a module was compiled from this source, as far as its functions and its bytecode file tell.

    The file may have been overwritten since the import, by a deployment. A patch that equals the file would then look
    like no change at all, although the process runs something else.
    """
    file = facts.get("__file__")
    try:
        body = compiled(source)
    except (SyntaxError, ValueError):
        return False
    imported = _outdated_bytecode(file, facts.get("__cached__"))
    if imported is not None and {*map(_key, walk.codes_in(imported))} != {*map(_key, walk.codes_in(body))}:
        return False
    known = {_key(code) for code in walk.codes_in(body)}
    for value in list(facts.values()):
        parts = [value]
        cls: Any = value
        if walk.is_class(value) and walk.class_dict(cls).get("__module__") == facts.get("__name__"):
            parts = [item for _, item in walk.class_items(cls)]
        for function in (function for part in parts for function in _functions(part)):
            code = function.__code__
            own = function.__globals__ is facts and code.co_filename == file and not walk.is_forwarder(code)
            if own and _key(code) not in known:
                return False
    return True


def _outdated_bytecode(file: object, cached: object) -> CodeType | None:
    """The body of a module as it was compiled before its file was written anew, if its bytecode file still holds it."""
    try:
        data = Path(cached).read_bytes()  # type: ignore[arg-type]  # not a path: TypeError
        facts = os.stat(file)  # type: ignore[arg-type]
        by_time = data[:8] == importlib.util.MAGIC_NUMBER + bytes(4)
        now = (int(facts.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + (facts.st_size & 0xFFFFFFFF).to_bytes(
            4, "little"
        )
        if not by_time or data[8:16] == now:
            return None
        body = marshal.loads(data[16:])  # noqa: S302 - it is what this process has imported
    except (OSError, TypeError, ValueError, EOFError):
        return None
    return body if inspect.iscode(body) else None


def _functions(value: object) -> Iterator[FunctionType]:
    """The functions in a value of a namespace."""
    if type(value) is FunctionType:
        yield value
    elif type(value) in (staticmethod, classmethod):
        yield from _functions(value.__func__)  # type: ignore[attr-defined]
    elif type(value) is property:
        yield from (function for part in (value.fget, value.fset, value.fdel) for function in _functions(part))


def _key(code: CodeType) -> tuple[object, ...]:
    constants = tuple(_constant(value) for value in code.co_consts if not inspect.iscode(value))
    return code.co_qualname, code.co_firstlineno, code.co_code, code.co_names, constants


def _constant(value: object) -> object:
    """A constant so that equal ones of one type are equal: 1 and True differ, frozensets have no order."""
    if isinstance(value, (tuple, frozenset)):
        items = [_constant(item) for item in value]
        return type(value).__name__, tuple(sorted(items, key=repr) if isinstance(value, frozenset) else items)
    return type(value).__name__, repr(value)


def _told_by(distributions: Iterable[importlib.metadata.Distribution]) -> Version | None:
    for distribution in distributions:
        try:
            return Version(distribution.version)
        except (InvalidVersion, TypeError):  # broken metadata: the next may be whole
            continue
    return None


def _beside(package: str, module: ModuleType) -> Version | None:
    """The version of the distribution that lies where the package lies; another one may come first on `sys.path`.

    It may have another name than the package: `PyYAML` brings `yaml`.
    """
    file = ModuleType.__getattribute__(module, "__dict__").get("__file__")
    if not isinstance(file, str):
        return None
    folder = Path(file).parent
    path = [str(folder.parent if Path(file).stem == "__init__" else folder)]
    named = _told_by(importlib.metadata.distributions(name=package, path=path))
    if named is not None:
        return named
    return _told_by(found for found in importlib.metadata.distributions(path=path) if package in _top_level(found))


def _top_level(distribution: importlib.metadata.Distribution) -> set[str]:
    """The packages and modules that a distribution has installed."""
    declared = (distribution.read_text("top_level.txt") or "").split()
    return {*declared} or {file.parts[0].removesuffix(".py") for file in distribution.files or ()}


def live_version(package: str) -> Version:
    """Return the version of an imported package: its own `__version__`, else that of its distribution, else 0.

    A process that was booted on a patch has the version of the patch, whatever its sources say.
    """
    for finder in sys.meta_path:
        tree = finder.tree if isinstance(finder, BootedFinder) else None
        if tree is not None and package in tree.roots:
            return tree.versions[package]
    module = sys.modules.get(package)
    if module is not None and issubclass(type(module), ModuleType):
        told = ModuleType.__getattribute__(module, "__dict__").get("__version__")
        if isinstance(told, str):
            try:
                return Version(told)
            except InvalidVersion:
                pass  # a free-form version says nothing about order; the distribution may know better
        found = _beside(package, module)
        if found is not None:
            return found
    # An editable installation keeps its metadata elsewhere.
    return _told_by(importlib.metadata.distributions(name=package)) or Version("0")
