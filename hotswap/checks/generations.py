"""What is called, and with what: the same of two generations, each with its own modules."""

from __future__ import annotations

import copy
import inspect
import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from hotswap.verification import Inconclusive

__all__ = ["Call", "Generation", "Given", "Inputs", "Subject", "given", "resolve", "shown"]

Generation: TypeAlias = Mapping[str, ModuleType]
"""Module name -> module, of what is live or of a candidate."""

Subject: TypeAlias = "str | Callable[..., object]"
"""What is called: a dotted name, or a function that gets a generation before the arguments."""

_OWN = str(Path(__file__).parent) + os.sep
"""What the paths of our own code begin with."""


@dataclass(frozen=True)
class Given:
    """The arguments of one call. Made by `given`."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        told = [*map(shown, self.args), *(f"{name}={shown(value)}" for name, value in self.kwargs.items())]
        return f"({', '.join(told)})"

    def copied(self) -> Given:
        """Return arguments that nobody else has. Raises Inconclusive for what can't be copied."""
        try:
            return copy.deepcopy(self)
        except Exception as error:
            told = f"{self!r} can't be copied ({type(error).__name__}: {error})"
            raise Inconclusive(f"{told}: give inputs as a function of a generation, which makes them anew") from error

    @property
    def plain(self) -> bool:
        """Whether nobody can change them: copies of them are the same objects."""
        values = [*self.args, *self.kwargs.values()]
        return all(copy.deepcopy(value) is value for value in values)


def given(*args: object, **kwargs: object) -> Given:
    """Return the arguments of one call, for `inputs` of checks. A tuple stands for positional ones alone."""
    return Given(args, kwargs)


class Inputs:
    """The calls that a check makes. Lives as long as the check.

    Arguments:
        inputs: one element for each call: what `given` returns; a tuple of positional arguments; anything else is the
            one argument. Or a function that gets a generation and returns these, called anew for each generation.

    Raises TypeError for what is neither, ValueError if there are none.
    """

    def __init__(self, inputs: Iterable[object] | Callable[[Generation], Iterable[object]]) -> None:
        self._make: Callable[[Generation], Iterable[object]] | None = None
        self._kept: tuple[Given, ...] = ()
        if isinstance(inputs, (str, bytes)):
            raise TypeError(f"inputs are the arguments of several calls, not the text {inputs!r}")
        if callable(inputs):
            self._make = inputs
            return
        self._kept = tuple(map(_as_given, inputs))  # an iterator would be empty for the second patch
        if not self._kept:
            raise ValueError("inputs are empty: nothing would be called")

    def of(self, generation: Generation) -> list[Given]:
        """Return the inputs for a generation: copies, or its own. Raises Inconclusive if there are none."""
        if self._make is None:
            return [one.copied() for one in self._kept]
        made = [_as_given(one) for one in self._make(generation)]
        if not made:
            raise Inconclusive("there are no inputs: nothing was called")
        return made

    def pairs(self, old: Generation, new: Generation) -> Iterator[tuple[Given, Given]]:
        """Return the same inputs for two generations, one after the other.

        Raises Inconclusive if they differ in number.
        """
        left, right = self.of(old), self.of(new)
        if len(left) != len(right):
            raise Inconclusive(f"there are {len(left)} inputs for the live version, and {len(right)} for the candidate")
        return zip(left, right, strict=True)


class Call:
    """What is called of a generation. Lives as long as the check.

    Arguments:
        subject: a dotted name (``"shop.pricing.quote"``), or a function that gets a generation, then the arguments.

    Raises TypeError or ValueError for what is neither.
    """

    def __init__(self, subject: Subject) -> None:
        if isinstance(subject, str):
            if not all(part.isidentifier() for part in subject.split(".")) or "." not in subject:
                raise ValueError(
                    f"{subject!r} is no dotted name: give module and function, such as 'shop.pricing.quote'"
                )
        elif not callable(subject):
            raise TypeError(f"a dotted name or a function is called, not a {type(subject).__qualname__}")
        self._subject = subject
        self.name = subject if isinstance(subject, str) else getattr(subject, "__name__", type(subject).__name__)

    def of(self, generation: Generation) -> Callable[..., Any]:
        """Return a function that takes the arguments alone. Raises LookupError if the generation has none."""
        subject = self._subject
        if isinstance(subject, str):
            return resolve(subject, generation)
        return lambda *args, **kwargs: subject(generation, *args, **kwargs)

    def was_refused(self, function: Callable[..., Any], given: Given, error: BaseException) -> bool:
        """Return whether an exception says that arguments do not fit, and nothing that was to be called has begun.

        Arguments:
            function: as `of` returns it.
            given: the arguments.
            error: what the call raised, with its traceback.
        """
        if type(error) is not TypeError:
            return False
        ran = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
        begun = [code for code in ran if not code.co_filename.startswith(_OWN)]
        if not isinstance(self._subject, str):  # it is between the check and what is compared
            return {*begun} <= {getattr(self._subject, "__code__", None)}
        wrapped = getattr(inspect.unwrap(function), "__code__", None)
        return not begun or (wrapped not in (None, *begun) and not _fits(function, given))


def resolve(name: str, generation: Generation) -> Callable[..., Any]:
    """Return what has a dotted name in a generation. Raises LookupError, with the sentence, if it is not there."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found: Any = generation[".".join(parts[:count])]
        except KeyError:  # it is a name within a module, not a module
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                raise LookupError(f"{'.'.join(parts[:count])} has no {'.'.join(parts[count:])}")
            found = getattr(found, part)
        if callable(found):
            return found  # type: ignore[no-any-return]  # as was asked
        raise LookupError(f"{name} can't be called: it is a {type(found).__qualname__}")
    raise LookupError(f"no managed module has {name}")


def _fits(function: Callable[..., Any], given: Given) -> bool:
    """Whether a function takes some arguments; True if nobody can tell."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*given.args, **given.kwargs)
    except TypeError:
        return False
    return True


def _as_given(value: object) -> Given:
    if isinstance(value, Given):
        return value
    return Given(value if isinstance(value, tuple) else (value,))


def shown(value: object) -> str:
    """Return the repr of a value, not too long; for one whose repr raises, that."""
    try:
        told = repr(value)
    except Exception as error:  # noqa: BLE001 - `__repr__` of any object, in a message about something else
        told = f"<{type(value).__qualname__}, whose repr raises {type(error).__name__}>"
    return told if len(told) <= 100 else f"{told[:99]}…"
