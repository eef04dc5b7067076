"""Module names, the paths that stand for them, and the paths that are not allowed to stand for anything.

All paths here are relative to the import root and written with ``/``. The rules are those of
`importlib.machinery.FileFinder`: what would be imported is what counts.
"""

from __future__ import annotations

import importlib.machinery
import keyword
import re
from collections.abc import Iterable

from hotswap.errors import PatchError

__all__ = [
    "checked_module",
    "is_litter",
    "locate",
    "module_at",
    "named",
    "path_for",
    "tops",
    "unsafe",
]

_LITTER = frozenset(
    {
        "__pycache__", ".git", ".hg", ".svn", ".venv", ".tox", ".nox", ".idea", ".vscode",
        ".mypy_cache", ".pytest_cache", ".ruff_cache", ".DS_Store", "Thumbs.db",
    }
)  # fmt: skip

_LITTER_PATTERN = re.compile(
    r".*\.py[co]|.*~|#.*#|\.#.*|\..*\.sw[a-p]|.*___jb_(tmp|old)___|\.goutputstream-.*", re.DOTALL
)
"""Bytecode, and what editors (Emacs, Vim, JetBrains, GNOME) leave beside the file they are writing."""

_DRIVE = re.compile(r".:")  # Windows takes any character before a colon for a drive


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is no part of a patch: caches, bytecode, version control, editor files."""
    return name in _LITTER or _LITTER_PATTERN.fullmatch(name) is not None


def unsafe(path: str) -> str | None:
    """Return why a path may lead out of the folder it is unpacked in, on any system; None for one that is safe."""
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return "has control characters in its path"
    if path.startswith("/"):
        return "has an absolute path"
    if "\\" in path:
        return "has a backslash in its path"
    if _DRIVE.match(path):
        return "has a drive letter in its path"
    parts = path.split("/")
    if ".." in parts:
        return "has '..' in its path"
    if "" in parts or "." in parts:
        return "has an empty or '.' part in its path"
    return None


def checked_module(name: object) -> str:
    """Return a dotted module name that an import statement can name; raise `PatchError` for anything else."""
    if not isinstance(name, str):
        raise PatchError(f"a module name is a text such as 'shop.pricing', not {name!r}")
    for part in name.split("."):
        if not part.isidentifier() or keyword.iskeyword(part):
            kind = "a keyword of Python" if keyword.iskeyword(part) else "not an identifier"
            raise PatchError(
                f"{name!r} cannot be the name of a module: {part!r} is {kind}",
                advice="rename it, or name the module that is meant with module='shop.pricing'",
            )
    return name


def named(name: object) -> tuple[str, bool]:
    """Return the module that a name means, and whether it says that it is a package: ``shop.__init__`` does."""
    module = checked_module(name)
    base, _, last = module.rpartition(".")
    return (base, True) if base and last == "__init__" else (module, False)


def path_for(module: str, *, package: bool) -> str:
    """Return where the source of a module lies: ``shop/pricing.py`` or ``shop/pricing/__init__.py``."""
    return module.replace(".", "/") + ("/__init__.py" if package else ".py")


def _suffix(file: str) -> tuple[str, bool] | None:
    """Return the suffix of an importable file, and whether it is a compiled extension module."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:  # longest first, as the import system asks
        if file.endswith(suffix):
            return suffix, True
    return (".py", False) if file.endswith(".py") else None


def module_at(path: str) -> tuple[str, bool, bool] | None:
    """Return what would be imported from a path: module name, whether it is a package, whether it is an extension.

    None if nothing can be imported from it. A name that only `importlib.import_module` can say, such as
    ``shop.migrations.0001_initial``, is a module too; one with a hyphen is taken for data.
    """
    *folders, file = path.split("/")
    found = _suffix(file)
    if found is None:
        return None
    suffix, extension = found
    stem = file.removesuffix(suffix)
    package = stem == "__init__"
    parts = folders if package else [*folders, stem]
    if not parts or parts == ["__main__"] or not all(f"_{part}".isidentifier() for part in parts):
        return None
    return ".".join(parts), package, extension


def locate(paths: Iterable[str]) -> tuple[dict[str, tuple[str, bool]], dict[str, str]]:
    """Return the sources (module -> path, whether it is a package) and extensions (module -> path) among files.

    Where several files stand for one module, it is the one that the import system takes: a package before a module, a
    compiled extension before a source. What lies below a module that is not a package cannot be imported.
    """
    best: dict[str, tuple[bool, bool, str]] = {}
    for path in paths:
        if (found := module_at(path)) is not None:
            module, package, extension = found
            rank = (package, extension, path)
            if rank[:2] >= best.get(module, (False, False, ""))[:2]:
                best[module] = rank
    sources: dict[str, tuple[str, bool]] = {}
    extensions: dict[str, str] = {}
    for module in sorted(best):
        package, extension, path = best[module]
        parents = module.split(".")[:-1]
        above = (best.get(".".join(parents[: depth + 1])) for depth in range(len(parents)))
        if any(parent is not None and not parent[0] for parent in above):
            continue
        if extension:
            extensions[module] = path
        else:
            sources[module] = (path, package)
    return sources, extensions


def tops(modules: Iterable[str]) -> list[str]:
    """Return the top-level names of modules, sorted."""
    return sorted({module.partition(".")[0] for module in modules})
