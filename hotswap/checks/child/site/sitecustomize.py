"""Lays a generation over the code on disk, in an interpreter that a check has started, and in those that it starts.

Python imports this at its start, because `PYTHONPATH` leads here. It imports nothing of hotswap: what is judged runs
in an interpreter that has what the service has, and no more. Then the `sitecustomize` that this one hides is run.
"""

import atexit
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
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
    """

    def __init__(self, roots: dict[str, str]) -> None:
        self.roots = roots

    def find_spec(self, fullname: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a module of these packages, or None."""
        folder = self.roots.get(fullname.partition(".")[0])
        if folder is None:
            return None
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
        found, folder = self.strays(), Path(path).parent
        if found and folder.is_dir():
            with Path(path).open("a", encoding="utf-8") as file:
                file.write("".join(f"{line}\n" for line in found))


def _lay() -> None:
    try:
        facts = json.loads(Path(os.environ["HOTSWAP_CHECK_OVERLAY"]).read_text(encoding="utf-8"))
    except (KeyError, OSError):
        return  # the check is over, and this process has outlived it
    direct = os.environ.pop("HOTSWAP_CHECK_DIRECT", None)
    if facts["interpreter"] != [sys.prefix, *sys.version_info[:2]]:
        return  # another Python: it can't have what this service has
    overlay = HotswapOverlay(facts["roots"])
    sys.meta_path.insert(0, overlay)
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
