"""What an import statement asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["ImportCall"]


class ImportCall(NamedTuple):
    """A call of `builtins.__import__`: by an import statement, most often.

    Arguments:
        original: does it for code that has no world.
        name, globals_, fromlist, level: as in `builtins.__import__`.
    """

    original: Callable[..., Any]
    name: str
    globals_: Mapping[str, Any]
    fromlist: Sequence[str]
    level: int

    def pass_on(self) -> Any:
        """Do what it does for code that has no world."""
        return self.original(self.name, self.globals_, None, self.fromlist, self.level)
