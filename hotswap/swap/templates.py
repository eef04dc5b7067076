"""Templates: code that stands between a caller and what it calls, with the signature of the latter."""

from __future__ import annotations

import inspect
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from hotswap import walk

__all__ = ["KIND_FLAGS", "Parameters", "dressed", "on_one_line"]

KIND_FLAGS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE


class Parameters(NamedTuple):
    """What a function takes, as its code has it.

    Attributes:
        names: of the parameters, in the order of the code: positional, keyword-only, the rest.
        positional_only, positional, keyword_only: how many there are.
        rest: the flags that say whether it takes any more.
    """

    names: tuple[str, ...]
    positional_only: int
    positional: int
    keyword_only: int
    rest: int

    @classmethod
    def of(cls, code: CodeType) -> Parameters:
        """Those of some code."""
        rest = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
        count = code.co_argcount + code.co_kwonlyargcount + rest.bit_count()
        counts = (code.co_posonlyargcount, code.co_argcount, code.co_kwonlyargcount)
        return cls(code.co_varnames[:count], *counts, rest)

    @property
    def told(self) -> tuple[str, list[str], list[tuple[str, str]]]:
        """In words of Python: the parameters, what is passed on by position, and what by keyword: (name, value).

        The name of what is passed with two stars is empty.
        """
        parameters = list(self.names[: self.positional])
        arguments = list(parameters)
        if self.positional_only:
            parameters.insert(self.positional_only, "/")
        keywords = self.names[self.positional : self.positional + self.keyword_only]
        others = list(self.names[self.positional + self.keyword_only :])
        if self.rest & inspect.CO_VARARGS:
            star = f"*{others.pop(0)}"
            parameters.append(star)
            arguments.append(star)
        elif keywords:
            parameters.append("*")
        parameters += keywords
        named = [(name, name) for name in keywords]
        if self.rest & inspect.CO_VARKEYWORDS:
            parameters.append(f"**{others[0]}")
            named.append(("", others[0]))
        return ", ".join(parameters), arguments, named

    def unlike(self, name: str) -> str:
        """A name for a local variable that no parameter has."""
        while name in self.names:
            name += "_"
        return name


def on_one_line(source: str, variables: int = 0) -> CodeType:
    """Compile a function that stands between a caller and what it calls; everything in it is on its first line.

    A traceback shows the `def` line of what it looks like then.

    Arguments:
        source: the text of the function, `forwarder`, each of its statements on a line of its own.
        variables: how many free variables it is to have.
    """
    # Before CPython 3.13 who reads the variables of a frame (a debugger, a report of an error) crashes the process if
    # its function has free variables, and its code does not begin by putting them there. So they are compiled, too.
    names = [f"_hotswap_variable_{number}" for number in range(variables)]
    head, *body = source.splitlines()
    text = [f"def outer({', '.join(names)}):", f" {head}", *(f"  if 0: {name}" for name in names)]
    text += [*(f" {line}" for line in body), " return forwarder"]
    namespace: dict[str, Any] = {}
    exec(compile("\n".join(text), "<hotswap>", "exec", dont_inherit=True), namespace)  # noqa: S102 - our own, from names
    code: CodeType = namespace["outer"](*names).__code__
    return code.replace(co_linetable=_flat(code), co_firstlineno=1, co_consts=(*code.co_consts, walk.FORWARDS))


def _flat(code: CodeType) -> bytes:
    """A line table that puts every instruction on the first line of the code."""
    flat = bytearray()
    units = len(code.co_code) // 2
    while units:
        run = min(units, 8)
        flat += bytes((0x80 | (13 << 3) | (run - 1), 0))  # 13: no column information, line delta 0
        units -= run
    return bytes(flat)


def dressed(template: CodeType, mark: str, value: Any, old: FunctionType, shown: CodeType) -> CodeType:
    """Return a template as code for a function.

    Arguments:
        template: the code, with a constant in the place of which the value is to stand.
        mark: that constant.
        value: what the code gets.
        old: the function.
        shown: the code that it looks like.
    """
    return template.replace(
        co_consts=tuple(value if constant == mark else constant for constant in template.co_consts),
        # CPython warns when code of another kind is assigned, and a warning may run Python code in the commit: so the
        # kind is that of the old function, and the plan says when it differs from the new one's.
        co_flags=template.co_flags | (old.__code__.co_flags & KIND_FLAGS),
        co_freevars=old.__code__.co_freevars,
        co_name=shown.co_name,
        co_qualname=shown.co_qualname,
        co_filename=shown.co_filename,
        co_firstlineno=shown.co_firstlineno,
    )
