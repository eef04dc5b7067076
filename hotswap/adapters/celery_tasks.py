"""Tasks of Celery: what a name stands for, read without evaluating anything."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType
from typing import Any

import celery.app
from celery.app.task import Task
from celery.local import PromiseProxy, Proxy

from hotswap import walk
from hotswap.adapters.parts import definition

__all__ = [
    "ARGUMENTS",
    "LOCAL",
    "OPTIONS",
    "cells_of",
    "function_behind",
    "function_of",
    "home_of",
    "is_promise",
    "is_shared",
    "is_task",
    "made_by",
    "shared_name",
    "task_of",
]

LOCAL, ARGUMENTS, OPTIONS = (Proxy.__dict__[f"_Proxy__{name}"] for name in ("local", "args", "kwargs"))
"""The slots of a proxy: what it calls, and with what."""


def task_of(value: Any) -> Any:
    """Return the task that a value is, or that a promise has become; None for anything else."""
    if issubclass(type(value), PromiseProxy):
        try:
            value = object.__getattribute__(value, "__thing")
        except AttributeError:
            return None  # nobody has used it yet
    return value if issubclass(type(value), Task) else None


def is_promise(value: Any) -> bool:
    """Whether a value is a task that will be made when it is first used."""
    if not issubclass(type(value), PromiseProxy) or task_of(value) is not None:
        return False
    arguments = _slot(ARGUMENTS, value)
    return type(arguments) is tuple and len(arguments) == 1


def is_shared(value: Any) -> bool:
    """Whether a value is a shared task: it looks the task up in the current application each time."""
    local = _slot(LOCAL, value) if type(value) is Proxy else None
    return type(local) is FunctionType and local.__globals__ is celery.app.__dict__


def is_task(value: Any) -> bool:
    """Whether a value is a task, in any of these forms."""
    return task_of(value) is not None or is_promise(value) or is_shared(value)


def shared_name(proxy: Any, app: Any) -> str:
    """Return the name under which a shared task looks up what it stands for."""
    inside = cells_of(_slot(LOCAL, proxy))
    return str(inside.get("name") or app.gen_task_name(inside["fun"].__name__, inside["fun"].__module__))


def function_of(task: Any) -> Any:
    """Return the function or class that somebody wrote for a task."""
    facts = walk.class_dict(type(task))
    if not facts.get("_decorated"):
        return type(task)
    run = facts.get("run")
    return definition(run.__func__ if type(run) is staticmethod else run)


def function_behind(value: Any) -> Any:
    """Return the function of what `is_task` says is one."""
    task = task_of(value)
    if task is not None:
        return function_of(task)
    return definition(cells_of(_slot(LOCAL, value))["fun"] if is_shared(value) else _slot(ARGUMENTS, value)[0])


def home_of(task: Any) -> str:
    """Return the name of the module that a task is defined in."""
    return str(walk.class_dict(type(task)).get("__module__"))


def made_by(finalizer: Any) -> Any:
    """Return the function of the task that a finalizer registers, or None if it is another callback."""
    if type(finalizer) is not FunctionType or finalizer.__globals__.get("__name__") not in (
        "celery.app.base",
        "celery.app",
    ):
        return None
    fun = cells_of(finalizer).get("fun")
    return None if fun is None else definition(fun)


def _slot(slot: Any, proxy: Any) -> Any:
    try:
        return slot.__get__(proxy)
    except AttributeError:
        return None  # evaluated: it has forgotten how it was made


def cells_of(function: Any) -> dict[str, Any]:
    """Return what a function remembers of where it was made, by the names of the variables."""
    return dict(_contents(function))


def _contents(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield variable, cell.cell_contents
        except ValueError:
            continue  # nothing has been put into the variable yet
