"""Imports modules one after the other, and writes what that did to the process.

Called with a JSON file that has `modules`, `folder` (their files lie there), `roots` (their packages) and `report` (the
path to write).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import linecache
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SHOWN = 120
"""Characters of a text that are told."""


class Streams:
    """What is written to the two streams, by whatever writes to their descriptors. Lives as long as the process.

    Arguments:
        folder: for the files that stand in their place.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {}
        for number, name in ((1, "stdout"), (2, "stderr")):
            path = folder / name
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, number)
            os.close(descriptor)
            self._files[name] = (path, 0)

    def news(self) -> Iterator[tuple[str, str]]:
        """Yield the name of a stream, and what was written to it since this was asked last."""
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
        for name, (path, begin) in self._files.items():
            with path.open("rb") as file:
                file.seek(begin)
                data = file.read(SHOWN * 4)
            size = path.stat().st_size
            self._files[name] = (path, size)
            if size > begin:
                yield name, data.decode("utf-8", "replace").strip()[:SHOWN]


def signals() -> list[str]:
    """The handlers of all signals."""
    return [
        f"{number.name}={signal.getsignal(number)!r}" for number in sorted(signal.valid_signals() & {*signal.Signals})
    ]


def mask() -> int:
    """The mask for new files."""
    value = os.umask(0o077)
    os.umask(value)
    return value


STATES: dict[str, tuple[str, Callable[[], list[str]]]] = {
    "starts the thread": ("threads", lambda: [thread.name for thread in threading.enumerate()]),
    "puts on sys.path": ("import-path", lambda: [str(place) for place in sys.path]),
    "puts on sys.meta_path": ("import-path", lambda: [repr(finder) for finder in sys.meta_path]),
    "sets the environment variable": ("environment", lambda: [f"{k}={v}" for k, v in os.environ.items()]),
    "sets a handler": ("signals", signals),
    "sets a hook": (
        "hooks",
        lambda: (
            [f"sys.{name}={getattr(sys, name)!r}" for name in ("excepthook", "displayhook", "unraisablehook")]
            + [f"threading.excepthook={threading.excepthook!r}", f"sys.gettrace={sys.gettrace()!r}"]
        ),
    ),
    "adds a warnings filter": ("warnings", lambda: [repr(entry) for entry in warnings.filters]),
    "configures logging": (
        "logging",
        lambda: [f"root level {logging.root.level}", *(repr(handler) for handler in logging.root.handlers)],
    ),
    "sets": (
        "settings",
        lambda: [
            f"the working directory to {Path.cwd()}",
            f"the mask for files to {mask():o}",
            f"the recursion limit to {sys.getrecursionlimit()}",
            f"the switch interval to {sys.getswitchinterval()}",
        ],
    ),
}
"""What is looked at: verb -> its kind, and the values there are. A value that was not there before is a finding."""


def state() -> dict[str, list[str]]:
    """All that is looked at, as it is now."""
    return {verb: read() for verb, (_, read) in STATES.items()}


def children() -> bool:
    """Whether this process has children that nobody has waited for."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def look(modules: list[str], folder: str, roots: list[str], streams: Streams) -> list[dict[str, str]]:
    """Import modules; return what each did, as `module`, `kind` and `what`."""
    found: list[dict[str, str]] = []
    shown: list[str] = []

    def show(message: Any, category: type[Warning], filename: str, line: int, *_: object) -> None:
        if filename.startswith(folder + os.sep):
            shown.append(f"{category.__name__}: {message} ({Path(filename).name}:{line})"[:SHOWN])

    warnings.simplefilter("always")
    warnings.showwarning = show  # type: ignore[assignment]  # only what it is called with counts
    before = state()
    for name in modules:

        def note(kind: str, what: str, name: str = name) -> None:
            found.append({"module": name, "kind": kind, "what": what})

        try:
            importlib.import_module(name)
        except (KeyboardInterrupt, SystemExit) as error:
            note("error", f"ends the process: {type(error).__name__}: {error}"[:SHOWN])
        except BaseException as error:  # noqa: BLE001 - whatever a module body raises is a finding
            note("error", f"raises {type(error).__name__}: {error}"[: SHOWN * 2])
        for stream, text in streams.news():
            note("output", f"writes to {stream}: {text!r}")
        for text in shown:
            note("warned", f"warns: {text}")
        shown.clear()
        after = state()
        for verb, values in after.items():
            for value in values:
                if value not in before[verb]:
                    note(STATES[verb][0], f"{verb} {value}"[: SHOWN * 2])
        if children():
            note("processes", "starts a process, and does not wait for it")
        for what in missing(name, roots):
            note("missing", what)
        # That may have imported others of the packages: what they do is told when it is their turn, if it is.
        before = state()
        list(streams.news())
        shown.clear()
    return found


def missing(name: str, roots: list[str]) -> Iterator[str]:
    """What a module imports somewhere in its code, and that is not there; also within functions."""
    module = sys.modules.get(name)
    file = getattr(getattr(module, "__spec__", None), "origin", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return
    package = name if hasattr(module, "__path__") else name.rpartition(".")[0]
    for node in imports(ast.parse("".join(linecache.getlines(file)))):
        for target, wanted in targets(node, package):
            if target and not is_there(target):
                yield f"imports {target}, which is not installed (line {node.lineno})"
            elif wanted and not has(target, wanted, roots):
                yield f"imports {wanted} from {target}, which has no such name (line {node.lineno})"


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements in some code, but for those that may fail, and those for type checkers."""
    if isinstance(tree, (ast.Import, ast.ImportFrom)):
        yield tree
        return
    for field, value in ast.iter_fields(tree):
        guarded = isinstance(tree, (ast.Try, ast.TryStar)) and field == "body" and catches(tree)
        typing = isinstance(tree, ast.If) and field == "body" and "TYPE_CHECKING" in ast.unparse(tree.test)
        if not guarded and not typing:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from imports(child)


def catches(node: ast.Try | ast.TryStar) -> bool:
    """Whether a statement goes on without what can't be imported."""
    names = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
    said = [handler.type for handler in node.handlers]
    return any(one is None or names & {part.id for part in ast.walk(one) if isinstance(part, ast.Name)} for one in said)


def targets(node: ast.Import | ast.ImportFrom, package: str) -> Iterator[tuple[str, str]]:
    """The modules that a statement imports, each with the name that it takes of it, or nothing."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, "") for alias in node.names)
        return
    above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
    target = ".".join(filter(None, [above, node.module]))
    for alias in node.names:
        yield target, "" if alias.name == "*" else alias.name


def is_there(name: str) -> bool:
    """Whether a module is there. Nothing is imported for it but packages that are imported already."""
    parent, _, _ = name.rpartition(".")
    if name in sys.modules:
        return True
    if parent and (not is_there(parent) or parent not in sys.modules):
        return is_there(parent)
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a parent that is no package, or a module that stands in another's place
        return False


def has(module: str, name: str, roots: list[str]) -> bool:
    """Whether a module has a name, or a submodule. Only those of the packages are imported for it; else it may have."""
    found = sys.modules.get(module)
    if found is None and module.partition(".")[0] in roots:
        try:
            found = importlib.import_module(module)
        except BaseException:  # noqa: BLE001 - it is told when it is its turn, if it is
            return True
    if found is None or hasattr(found, name):  # one that makes its names when they are asked for is asked
        return True
    return hasattr(found, "__path__") and is_there(f"{module}.{name}")


if __name__ == "__main__":
    facts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    told = look(facts["modules"], facts["folder"], facts["roots"], Streams(Path(facts["report"]).parent))
    Path(facts["report"]).write_text(json.dumps(told), encoding="utf-8")
    os._exit(0)  # what the modules have left behind (a thread that never ends) is not waited for
