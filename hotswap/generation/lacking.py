"""Lacking: what a module says to a name that it has not, to code that sees it otherwise than as a plain module."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from hotswap.generation.belonging import between

__all__ = ["lacks", "made_of"]

between.add(id(globals()))  # who asks the module counts, and not we


def lacks(module: ModuleType, name: str, attribute: str) -> AttributeError:
    """Return the error by which a module says that it has no such name, as CPython words it.

    Arguments:
        module: what stands for the module.
        name: that of the module.
        attribute: the name that it has not.
    """
    return AttributeError(f"module {name!r} has no attribute {attribute!r}", name=attribute, obj=module)


def made_of(module: ModuleType, name: str, attribute: str, own: Callable[[str], Any] | None) -> Any:
    """Return what a module makes of a name that it has not (PEP 562).

    Arguments:
        module: what stands for the module.
        name: that of the module.
        attribute: the name that it has not.
        own: the `__getattr__` of its namespace; None if there is none.

    Raises AttributeError, as that function does.
    """
    if own is None:
        raise lacks(module, name, attribute)
    return own(attribute)
