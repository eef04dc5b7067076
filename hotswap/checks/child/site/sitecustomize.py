"""Lays a generation over the code on disk, in an interpreter that a check has started, and in those that it starts.

Python imports this at its start, because `PYTHONPATH` leads here. It imports nothing of hotswap: what is judged runs
in an interpreter that has what the service has, and no more. Then the `sitecustomize` that this one hides is run.
"""

import atexit
import importlib._bootstrap_external as external
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_HERE = Path(__file__).resolve().parent


class _FixedNamespacePath(list[str]):
    """The path of a namespace package. One of Python's own is searched anew on `sys.path`, and would lead elsewhere."""

    def __repr__(self) -> str:
        return f"_FixedNamespacePath({list(self)!r})"  # `importlib.resources` knows such paths by this word


class HotswapOverlay:
    """Finds the packages of a generation in its folders, whatever comes before them on `sys.path`. Lives for ever.

    Arguments:
        roots: top-level name -> the folder in which it lies.
        changed: the modules that the patch changes.
        reached: a file that gets their names as they are asked for.
    """

    def __init__(self, roots: dict[str, str], changed: list[str], reached: str) -> None:
        self.roots = roots
        self._left, self._reached = {*changed}, reached

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a module of these packages, or None."""
        folder = self.roots.get(fullname.partition(".")[0])
        if folder is None:
            return None
        if fullname in self._left:
            self._left.discard(fullname)
            _append(self._reached, fullname)
        places = path if "." in fullname else [folder]
        for finder in sys.meta_path:
            # Modules of tests are to have their assertions rewritten, but by a search in the right folder.
            if type(finder).__module__ == "_pytest.assertion.rewrite":
                rewritten: ModuleSpec | None = finder.find_spec(fullname, places)
                if rewritten is not None:
                    return rewritten
        spec = PathFinder.find_spec(fullname, places)
        if spec is not None and spec.origin is None and spec.submodule_search_locations is not None:
            spec.submodule_search_locations = _FixedNamespacePath(spec.submodule_search_locations)
        return spec

    def find_distributions(self, context: Any = None) -> Iterator[Any]:
        """Yield the metadata of these packages, in their version."""
        from importlib.metadata import DistributionFinder, MetadataPathFinder

        name = getattr(context, "name", None)
        for folder in dict.fromkeys(self.roots.values()):
            yield from MetadataPathFinder.find_distributions(DistributionFinder.Context(name=name, path=[folder]))

    def strays(self) -> list[str]:
        """Return the modules of these packages that were imported from elsewhere, each with its file."""
        found = []
        for name, module in list(sys.modules.items()):
            folder = self.roots.get(name.partition(".")[0])
            file = getattr(getattr(module, "__spec__", None), "origin", None)
            if folder is not None and isinstance(file, str) and not file.startswith(folder + os.sep):
                found.append(f"{name} ({file})")
        return found

    def write_strays(self, path: str) -> None:
        """Append them to a file, unless that is gone."""
        for stray in self.strays():
            _append(path, stray)


class ByPath:
    """Notes files on disk that are run by their path, in place of the module that the generation has. Lives for ever.

    A finder can't lay anything over them. What is looked at is the code that loaders and `runpy` get, and the script of
    the process. There is no audit hook for it: with one, hotswap refuses every patch, and tests may apply some.

    Arguments:
        places: what a generation has on disk, a folder or a file -> where that lies in the overlay.
        strays: the file that is written to.
    """

    def __init__(self, places: dict[str, str], strays: str) -> None:
        self._places, self._strays = places, strays
        try:
            self._began_in = Path.cwd()
        except FileNotFoundError:  # it was removed: no relative path leads anywhere
            self._began_in = Path(os.sep)

    def install(self) -> None:
        """Look at what is run from now on."""
        import runpy

        for loader in (external.SourceLoader, external.SourcelessFileLoader):
            setattr(loader, "get_code", self._looking_at_loads(loader.get_code))  # noqa: B010 - of the class
        # Whoever runs a file gets its code from here; there is no public way to it, so the stubs have none.
        runpy._get_code_from_file = self._looking_at_runs(runpy._get_code_from_file)  # type: ignore[attr-defined]
        atexit.register(self._look_at_script)

    def _looking_at_loads(self, get_code: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
        def get(loader: Any, name: str) -> Any:
            code = get_code(loader, name)
            self._look(loader.get_filename(name))
            return code

        return get

    def _looking_at_runs(self, get_code: Callable[..., Any]) -> Callable[..., Any]:
        def get(*arguments: Any) -> Any:  # the path comes last, in each version of Python
            self._look(arguments[-1])
            return get_code(*arguments)

        return get

    def _look_at_script(self) -> None:
        # When it has run, its `__file__` is gone; the loader still has what stood in the command line.
        path = getattr(getattr(sys.modules["__main__"], "__loader__", None), "path", None)
        if isinstance(path, str):
            self._look(self._began_in / path)

    def _look(self, path: Any) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        file = Path(os.fsdecode(path))
        if file.suffix == ".pyc":
            inner = file.parent.name == "__pycache__"
            file = Path(importlib.util.source_from_cache(str(file))) if inner else file.with_suffix(".py")
        file = file.resolve()
        for place, folder in self._places.items():
            if file.is_relative_to(place):
                rest = file.relative_to(place)
                ours = Path(folder) / rest if rest.parts else Path(folder)
                if not ours.is_file() or not (ours.samefile(file) or ours.read_bytes() == file.read_bytes()):
                    _append(self._strays, f"{file} (it was run by its path: have the tests import it by its name)")
                return


def _append(path: str, line: str) -> None:
    """Append a line to a file of the check, unless the check is over. Tests may have replaced `open`, but for `os`."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError:
        return
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)


def _lay() -> None:
    try:
        facts = json.loads(Path(os.environ["HOTSWAP_CHECK_OVERLAY"]).read_text(encoding="utf-8"))
    except (KeyError, OSError):
        return  # the check is over, and this process has outlived it
    direct = os.environ.pop("HOTSWAP_CHECK_DIRECT", None)
    if facts["interpreter"] != [sys.prefix, *sys.version_info[:2]]:
        return  # another Python: it can't have what this service has
    overlay = HotswapOverlay(facts["roots"], facts["changed"], facts["reached"])
    sys.meta_path.insert(0, overlay)
    ByPath(facts["places"], facts["strays"]).install()
    atexit.register(overlay.write_strays, facts["strays"])
    if direct:
        sys.path[:] = facts["path"]
        _forbid_core_files()
    else:
        sys.path += [place for place in facts["path"] if place not in sys.path]


def _forbid_core_files() -> None:
    try:
        import resource
    except ImportError:
        return  # Windows has none
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _run_next() -> None:
    """Run the `sitecustomize` that comes after this one on the path, under its own name."""
    rest = [folder for folder in sys.path if Path(folder).resolve() != _HERE]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        module = sys.modules["sitecustomize"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


try:
    _lay()
finally:
    _run_next()
