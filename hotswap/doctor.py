"""The doctor: what in a service can't be patched, and why, told before there is a patch.

Guarantees: no code of the service runs, nothing is changed. Assumes: any thread may ask, but that of an event loop: it
waits for a moment, and passes over the heap three times (13 ns for each object).

It is not told what a patch would do when its modules are loaded: a dry run (`hotswap plan`) finds that out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import CodeType, FrameType, ModuleType

from hotswap import walk
from hotswap.adapters import adapters
from hotswap.entrance import Entrance
from hotswap.errors import PlanError
from hotswap.generation import LiveModule
from hotswap.swap import (
    calls_in_flight,
    classes_of,
    families_of,
    frame_of,
    gil_enabled,
    has_audit_hook,
    limits_of,
    running_frames,
    suspended,
)
from hotswap.swap.parts import functions_behind

__all__ = ["Examination", "Finding", "examine"]

_BETWEEN = 0.25
"""Seconds between two looks: a call that goes on for so long may go on for ever."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a patch can't do. A fact.

    Attributes:
        code: one word; where it is that of an unsupported change, the reference has a section on it.
        blocks: what is refused whatever changes: `"everything"`, `"module"` (each patch that loads it anew), or
            `""`: only some changes.
        module: where, or "" if it concerns the process.
        name: the class or the function there, or "".
        sentence: why.
    """

    code: str
    blocks: str
    module: str
    name: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found. A fact.

    Attributes:
        modules: how many were looked at.
        findings: what was found, what blocks most first.
        remarks: what could not be found out.
    """

    modules: int
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]


def examine(patcher: Entrance) -> Examination:
    """Look at the modules that a patcher manages, as they run now.

    Arguments:
        patcher: whose modules they are.
    """
    modules = patcher.modules()
    families: frozenset[str] = frozenset()
    found: list[Finding] = []
    try:
        families = families_of(adapters())
    except PlanError as error:
        found.append(Finding("adapter-broken", "everything", "", "", error.reason))
    found += _of_process()
    for entry in modules:
        found += _of_module(entry)
        if entry.plain:
            for cls in classes_of(entry.module):
                name = walk.fact(cls, "__qualname__")
                found += (
                    Finding(limit.code, "module" if limit.blocks else "", entry.name, name, limit.sentence)
                    for limit in limits_of(cls, families)
                )
    found += _of_calls(modules)
    remarks: tuple[str, ...] = ()
    if has_audit_hook() is None:
        remarks = (
            "this version of Python does not tell whether an audit hook is set; with one, every patch is refused",
        )
    return Examination(len(modules), tuple(sorted(found, key=_weight)), remarks)


def _weight(finding: Finding) -> tuple[int, str, str, str]:
    return ("everything", "module", "").index(finding.blocks), finding.code, finding.module, finding.name


def _of_process() -> Iterator[Finding]:
    if not gil_enabled():
        sentence = "without the GIL one C call does not keep other threads out of a swap"
        yield Finding("free-threaded", "everything", "", "", sentence)
    if has_audit_hook():
        sentence = "a hook set by sys.addaudithook would run code in the middle of a swap"
        yield Finding("audit-hook", "everything", "", "", sentence)


def _of_module(entry: LiveModule) -> Iterator[Finding]:
    if not entry.plain:
        what = walk.class_name(type(entry.module))
        sentence = f"a {what} stands in its place, not a plain module: who holds it could not be led to a new one"
        yield Finding("module-object", "module", entry.name, "", sentence)
    elif entry.extension:
        sentence = "it is compiled: a patch may hold it only if it is the same, byte by byte"
        yield Finding("extension-changed", "", entry.name, "", sentence)
    elif entry.source is None and not entry.namespace:
        sentence = (
            "its source is not there, or is not what runs: each of its definitions counts as changed, "
            "and what it holds at module level is made anew"
        )
        yield Finding("source-unknown", "", entry.name, "", sentence)


def _of_calls(modules: Iterable[LiveModule]) -> Iterator[Finding]:
    """The calls that go on and on: a change of such a function reaches them when they end, and not before."""
    codes = [code for entry in modules if entry.plain for code in _codes_of(entry.module)]
    wanted = {id(code): code for code in codes}
    held = _frames_of(wanted)
    time.sleep(_BETWEEN)
    still = {id(frame) for frame in _frames_of(wanted)}
    lasting = {id(frame.f_code) for frame in held if id(frame) in still}
    held.clear()
    lasted = [code for code in wanted.values() if id(code) in lasting]
    for _, call in calls_in_flight(lasted, datetime.now(UTC)):
        module, _, name = call.function.partition(":")
        by = f"thread {call.thread}" if call.thread else f"task {call.task}" if call.task else "somebody who waits"
        sentence = f"{by} is in it, at line {call.line}: a change of it does not reach that call"
        yield Finding("call-goes-on", "", module, name, sentence)


def _frames_of(wanted: Mapping[int, CodeType]) -> list[FrameType]:
    """The frames that run some code, on a stack or suspended."""
    waiting = (frame_of(one) for one in suspended(wanted.values()))
    return [*(frame for _, frame in running_frames(wanted)), *(frame for frame in waiting if frame is not None)]


def _codes_of(module: ModuleType) -> Iterator[CodeType]:
    facts = ModuleType.__getattribute__(module, "__dict__")
    spaces = [list(facts.values()), *([value for _, value in walk.class_items(cls)] for cls in classes_of(module))]
    for function in (one for space in spaces for value in space for one in functions_behind(value)):
        if function.__globals__ is facts:
            yield from walk.codes_in(function.__code__)
