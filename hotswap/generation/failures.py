"""What is told of an error that a module body raised."""

from __future__ import annotations

from hotswap.generation.files import Tree

__all__ = ["innermost", "told"]


def told(error: BaseException) -> str:
    """The type and text of an error; the text is made by code of the patch, and may fail."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - whatever a broken `__str__` raises, SystemExit too
        text = "(its text can't be read)"
    return f"{type(error).__name__}: {text}".removesuffix(": ")


def innermost(error: BaseException, tree: Tree) -> str:
    """The place in the patch where an error came from, as ``file:line``."""
    place = "the patch"
    trace = error.__traceback__
    while trace is not None:
        found = tree.place(trace.tb_frame.f_code.co_filename)
        if found is not None:
            place = f"{found}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
