"""Objects that are kept although statements on them read what has changed: handlers of loggers, and others.

``handler.setFormatter(logging.Formatter(FORMAT))`` is no part of the definition of the handler: it is followed, like
any other statement on a kept handler. Of other objects, statements are followed that set attributes. What made the
object decides whether it is kept.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable
from operator import attrgetter
from typing import Any

from hotswap.generation import Definitions, Kind, made_anew, unchanged

__all__ = ["is_made_alike", "reading_otherwise"]

_NAME = re.compile(r"Name\(id='(\w+)', ctx=Load\(\)\)")


def is_made_alike(
    name: str,
    objects: tuple[Any, Any],
    definitions: tuple[Definitions, Definitions],
    foreign: Container[str],
    lasting: Container[str],
) -> bool:
    """Whether the statement that makes an object is the same, and all others on it that differ are followed.

    Arguments:
        name: the name.
        objects: what it stands for.
        definitions: of the module, old and new.
        foreign, lasting: as those of `unchanged`.
    """
    of = attrgetter("made_of") if all(issubclass(type(o), logging.Handler) for o in objects) else made_anew(objects[0])
    return unchanged(name, *definitions, foreign, lasting, of=of)


def reading_otherwise(
    name: str,
    definitions: tuple[Definitions, Definitions],
    foreign: Iterable[str],
    lasting: Container[str],
) -> frozenset[str]:
    """Return the statements on an object, as dumps, that read something which has changed.

    Arguments:
        name: that of the object.
        definitions: of the module, old and new.
        foreign, lasting: as those of `unchanged`.
    """
    old, new = definitions
    roots = {read.partition(".")[0].removesuffix("*") for read in foreign}

    def differs(read: str) -> bool:
        kinds = old.kind(read), new.kind(read)
        if read == name or kinds == (None, None):
            return read != name and read in roots
        if kinds[0] is not kinds[1] or read in roots:
            return True
        return kinds[1] in (Kind.DATA, Kind.IMPORT) and not unchanged(read, old, new, frozenset(foreign), lasting)

    known: dict[str, bool] = {}
    found = set()
    for statement in new.bindings[name].touches:
        for read in {*_NAME.findall(statement)}:
            if read not in known:
                known[read] = differs(read)
            if known[read]:
                found.add(statement)
    return frozenset(found)
