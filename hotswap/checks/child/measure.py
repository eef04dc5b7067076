"""Measures the memory that calls take in a process of their own, and writes it.

Called with the path of a pickle that has `modules`, `call` (a dotted name, or None), `inputs` (pairs of positional and
keyword arguments, pickled by themselves), `rounds`, `allowance` (bytes of address space, or None) and `report`.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import inspect
import io
import json
import pickle
import sys
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

MOST = 10_000
"""How many elements of an iterator are asked for."""


def bound(allowance: int) -> None:
    """Let this process have so many bytes more than it has, where the system keeps to that."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        return  # only Linux tells what it has, and keeps to the limit
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + allowance, resource.RLIM_INFINITY))


def found(name: str) -> Callable[..., Any]:
    """What has a dotted name."""
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        return functools.reduce(getattr, parts[count:], module)  # type: ignore[return-value]  # it is called
    raise LookupError(f"there is no {name}")


def measure(facts: dict[str, Any]) -> dict[str, Any]:
    """Import the modules, or make the calls; return the bytes at the peak, those that were kept, and `raised`.

    The last is what a call raised, if each did; else None.
    """
    if facts["call"] is None:
        tracemalloc.start()
        for name in facts["modules"]:
            importlib.import_module(name)
        kept, peak = tracemalloc.get_traced_memory()
        return {"peak": peak, "kept": kept, "raised": None}
    call = found(facts["call"])
    raised = run(call, facts["inputs"])  # what is made once, such as caches and imports, does not count
    tracemalloc.start()
    gc.collect()
    tracemalloc.reset_peak()
    base, _ = tracemalloc.get_traced_memory()
    peak = base
    for _ in range(facts["rounds"]):
        if run(call, facts["inputs"]) is None:
            raised = None
        peak = max(peak, tracemalloc.get_traced_memory()[1])
        gc.collect()
        tracemalloc.reset_peak()
    return {"peak": peak - base, "kept": tracemalloc.get_traced_memory()[0] - base, "raised": raised}


def run(call: Callable[..., Any], inputs: bytes) -> str | None:
    """Make all calls once, each with arguments of its own; return what the last has raised, if each did."""
    answered, raised = False, None
    for args, kwargs in pickle.loads(inputs):  # noqa: S301 - the service has written it
        try:
            value = call(*args, **kwargs)
            if inspect.isawaitable(value) or isinstance(value, AsyncIterator):
                value = asyncio.run(awaited(value))
            if isinstance(value, Iterator) and not isinstance(value, io.IOBase):
                deque(islice(value, MOST), maxlen=0)  # it works as it is iterated
            answered = True
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - other checks judge what a call raises; here its memory counts
            raised = raised_by(error)
    return None if answered else raised


def raised_by(error: Exception) -> str:
    """The type and the text of an exception, not too long. Nothing of the exception is kept."""
    try:
        text = str(error)[:200]
    except Exception as trouble:  # noqa: BLE001 - `__str__` of any exception
        text = f"(its text raises {type(trouble).__qualname__})"
    return f"{type(error).__qualname__}: {text}" if text else type(error).__qualname__


async def awaited(value: Any) -> Any:
    """Await something, and what it yields as it is iterated asynchronously."""
    if inspect.isawaitable(value):
        value = await value
    if isinstance(value, AsyncIterator):
        count = 0
        async for _ in value:
            count += 1
            if count == MOST:
                break
    return value


if __name__ == "__main__":
    order = pickle.loads(Path(sys.argv[1]).read_bytes())  # noqa: S301 - the check has written it
    if order["allowance"] is not None:
        bound(order["allowance"])
    try:
        told: dict[str, Any] = measure(order)
    except MemoryError:
        told = {"burst": True}
    Path(order["report"]).write_text(json.dumps(told), encoding="utf-8")
