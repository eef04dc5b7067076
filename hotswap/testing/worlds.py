"""Worlds: modules that are executed from sources, and import each other, beside those of the program.

The code of a world imports by a `__import__` of its own, in a `__builtins__` of its own, so that it goes on doing so
for as long as somebody holds a function of it. Nothing of it gets into `sys.modules`, and no import of the program is
touched. What is patched in `builtins` later does not reach it.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, TypeAlias

from hotswap.generation import Definitions, Tree, analyse, public_names
from hotswap.patch import Patch
from hotswap.stage import on_stage

__all__ = ["World", "program"]

_DEEP = 8
"""How many re-exports are followed from a name to the module that defines it."""


Origin: TypeAlias = Callable[[str, bool], Callable[[], Any] | None]
"""Gets a name and whether it is asked for; returns what gives its value, if it comes from a module of the patch."""


def program(name: str) -> ModuleType:
    """Return a module of the program. Raises ModuleNotFoundError if there is none of that name."""
    return importlib.import_module(name)


class World:
    """Modules of a patch, executed when they are asked for. Lives as long as a candidate, or as its code does.

    Arguments:
        patch: has the sources.
        tree: gives the files.
        below: gives a module that the patch does not hold. Raises ModuleNotFoundError if there is none.
        texts: gives the sources of those: name -> text.
    """

    def __init__(
        self,
        patch: Patch,
        tree: Callable[[], Tree],
        below: Callable[[str], ModuleType] = program,
        texts: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._sources, self._tree, self._below, self._texts = patch.sources, tree, below, texts
        self._modules: dict[str, ModuleType] = {}
        self._ours: set[str] = set()
        """The names of modules that are made here."""
        self._roots = {name.partition(".")[0] for name in patch.sources}
        self._builtins = {**vars(builtins), "__import__": self._import}
        self._analysed: dict[str, Definitions] = {}
        # Two checks that run at the same time must not execute a module twice.
        self._lock = threading.RLock()

    @property
    def own(self) -> dict[str, ModuleType]:
        """The modules of the patch that were executed."""
        return {name: module for name, module in list(self._modules.items()) if name in self._sources}

    def module(self, name: str) -> ModuleType:
        """Return a module as it is seen here; packages come before what lies in them.

        Raises ModuleNotFoundError if there is none, and what it raises while it is executed.
        """
        with self._lock:
            if name in self._modules:
                return self._modules[name]
            above, _, last = name.rpartition(".")
            parent = self.module(above) if above else None
            if name in self._sources:
                made = self._execute(name)
            elif self.has(name):
                made = self._package(name)
            else:
                made = self._shown(name)
            if parent is not None and above in self._ours:
                setattr(parent, last, made)
            return made

    def has(self, name: str) -> bool:
        """Whether the patch has a module, or something below it."""
        return any(f"{one}.".startswith(f"{name}.") for one in self._sources)

    def _made(self, module: ModuleType, *, package: bool) -> ModuleType:
        name = module.__name__
        self._modules[name] = module
        self._ours.add(name)
        module.__dict__["__builtins__"] = self._builtins
        module.__dict__["__package__"] = name if package else name.rpartition(".")[0]
        if package:
            module.__dict__["__path__"] = [self._tree().package_path(name)]
        return module

    def _execute(self, name: str) -> ModuleType:
        source = self._sources[name]
        module = self._made(ModuleType(name), package=source.package)
        file = module.__dict__["__file__"] = self._tree().path(source)
        try:
            code = compile(source.data, file, "exec", dont_inherit=True)
            with on_stage():
                exec(code, module.__dict__)  # noqa: S102 - what is tested
        except BaseException:
            del self._modules[name]
            raise
        return module

    def _package(self, name: str) -> ModuleType:
        """Return what stands for a package that has no source here: it has what that below has, if there is one."""
        try:
            facts = vars(self._below(name))
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # it is there, and lacks something else
            facts = {}
        return self._made(_Shown(name, facts, self._origin_of(name)), package=True)

    def _shown(self, name: str) -> ModuleType:
        """Return a module that the patch leaves alone: what it got from modules of the patch is theirs."""
        module = self._modules[name] = self._below(name)
        if name.partition(".")[0] in self._roots:
            of = self._origin_of(name)
            if any(of(key, False) is not None for key in list(vars(module))):
                shown = self._modules[name] = _Shown(name, vars(module), of)
                return shown
        return module

    def _origin_of(self, module: str) -> Origin:
        return lambda name, asked: self._origin(module, name, _DEEP, asked=asked)

    def _origin(self, module: str, name: str, left: int, *, asked: bool) -> Callable[[], Any] | None:
        """Return what gives a name of a module that got it from one of the patch; None for another one.

        Unless the name is asked for, nothing is executed to find out: that may be going on.
        """
        child = f"{module}.{name}"
        if self.has(child):
            return lambda: self.module(child)
        known = self._definitions(module) if left else Definitions()
        if (whole := known.modules.get(name)) in self._sources:
            return lambda: self.module(str(whole))
        for home, there in known.origins(name):
            if (below := f"{home}.{there}") in self._sources:
                return lambda below=below: self.module(below)  # type: ignore[misc]  # each its own
            if home in self._sources:
                if name in known.followers or there in self._public(home, asked=asked):
                    return lambda home=home, there=there: getattr(self.module(home), there)  # type: ignore[misc]
            elif (further := self._origin(home, there, left - 1, asked=asked)) is not None:
                return further
        return None

    def _definitions(self, module: str) -> Definitions:
        """What a module below says; nothing where it has no text."""
        known = self._analysed.get(module)
        if known is None:
            text = self._texts().get(module)
            is_package = text is not None and hasattr(self._below(module), "__path__")
            known = self._analysed[module] = analyse(text or "", module, package=is_package)
        return known

    def _public(self, module: str, *, asked: bool) -> list[str]:
        """What ``import *`` takes of a module of the patch; of the one below in its place if it is not asked for."""
        try:
            return public_names(vars(self.module(module) if asked else self._below(module)))
        except ModuleNotFoundError:
            if asked:
                raise
            return []

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - as `builtins.__import__` has it
        locals: Mapping[str, Any] | None = None,  # noqa: A002 - as above
        fromlist: tuple[str, ...] | None = (),
        level: int = 0,
    ) -> Any:
        """Do what `builtins.__import__` does, with the modules of this world before those below."""
        if level:
            name = importlib.util.resolve_name("." * level + name, (globals or {}).get("__package__", ""))
        root = name.partition(".")[0]
        if root not in self._roots:
            return builtins.__import__(name, None, None, fromlist or (), 0)
        module = self.module(name)
        if not fromlist:
            return self.module(root)
        for part in fromlist:
            below = f"{name}.{part}"
            if not hasattr(module, part):
                try:
                    self.module(below)
                except ModuleNotFoundError as error:
                    if not f"{below}.".startswith(f"{error.name}."):  # else the statement says what is missing
                        raise
        return module


class _Shown(ModuleType):
    """A module of below as a world sees it.

    A name that comes from a module of the patch is looked up there when it is asked for: that module may be executed at
    this moment, and import this one.
    """

    def __init__(self, name: str, facts: Mapping[str, Any], origin: Origin) -> None:
        super().__init__(name)
        own = {key: value for key, value in list(facts.items()) if origin(key, False) is None}
        self.__dict__.update(own)
        self._hotswap_origin = origin

    def __getattr__(self, name: str) -> Any:
        get = None if name.startswith("__") or name == "_hotswap_origin" else self._hotswap_origin(name, True)
        if get is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        return get()
