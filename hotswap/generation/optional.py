"""Optional modules: what a new version brings for whoever has installed what it needs.

A package may have modules that import something which is not installed everywhere, and that nobody imports where it is
not. After a restart they would lie there unused. So such a new module is no reason to reject a patch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hotswap.errors import LoadError
from hotswap.generation.isolation import worlds
from hotswap.generation.live import managed

if TYPE_CHECKING:
    from hotswap.generation.loading import Candidate

__all__ = ["load_new"]


def load_new(candidate: Candidate, names: Iterable[str]) -> dict[str, str]:
    """Load new modules that no other has imported; leave those that need what is not installed.

    Arguments:
        candidate: its changed modules are loaded.
        names: the new modules, parents first.

    Returns the modules that were left -> what is missing. Raises LoadError for every other failure, and if nothing of
    the patch would be loaded otherwise.
    """
    left: dict[str, str] = {}
    last: LoadError | None = None
    for name in names:
        above = next((parent for parent in left if name.startswith(parent + ".")), None)
        if above is not None:
            left[name] = left[above]
            continue
        try:
            candidate.load_module(name)
        except LoadError as error:
            missing = _missing(candidate, error)
            if missing is None:
                raise
            left[name], last = missing, error
    _unload(candidate, left)
    if last is not None and not candidate.modules:
        raise last
    return left


def _missing(candidate: Candidate, error: LoadError) -> str | None:
    """The module outside of the patch that was not found, or None if the loading failed for another reason."""
    cause = error.__cause__
    if type(cause) is not ModuleNotFoundError or not isinstance(cause.name, str):
        return None
    roots = {name.partition(".")[0] for name in candidate.patch.sources}
    ours = managed(cause.name, candidate.world.packages) or cause.name.partition(".")[0] in roots
    return None if ours else cause.name


def _unload(candidate: Candidate, left: Iterable[str]) -> None:
    """Forget the submodules that packages had loaded before they failed: nobody else has asked for them."""
    own, above = candidate.world.own, tuple(f"{name}." for name in left)
    for child in [child for child in own if child.startswith(above)]:
        worlds.pop(id(own.pop(child).__dict__), None)
