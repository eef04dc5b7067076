"""The tools that update a process, each driven as its documentation says: `python updating.py TOOL SCENE`.

A scene is named, or given by what it asks; without arguments, tools and what is asked are listed. Prints one JSON
object: `holds` is whether what the scene asks is so, `said` what the tool or the client raised. One process for each:
tools leave import hooks, threads and audit hooks behind.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench.scenes import PACKAGE, SCENES, Scene

__all__ = ["TOOLS", "play", "updating"]

PATIENCE = 3.0
"""Seconds until a tool that works in the background counts as one that has not taken the change."""

Update = Callable[[dict[str, str]], None]
"""Has a tool take new sources, by module of the package. What the tool raises is what it says."""


def write(folder: Path, module: str, source: str) -> Path:
    """Save a module of the package."""
    path = folder / PACKAGE / f"{module}.py"
    path.write_text(source, encoding="utf-8")
    return path


def loaded(scene: Scene) -> SimpleNamespace:
    """Import the program, and return its modules by name."""
    names = {**{module: f"{PACKAGE}.{module}" for module in scene.old}, **{other: other for other in scene.others}}
    return SimpleNamespace(**{name: importlib.import_module(full) for name, full in names.items()})


@contextmanager
def by_hotswap(folder: Path, scene: Scene) -> Iterator[tuple[SimpleNamespace, Update]]:
    """`Patcher.apply`; closures are led on when the calls in flight have ended, so that is waited for."""
    import hotswap

    program = loaded(scene)
    patcher = hotswap.Patcher(packages=[PACKAGE])

    def update(sources: dict[str, str]) -> None:
        patch = hotswap.Patch.from_sources({f"{PACKAGE}.{name}": text for name, text in sources.items()})
        patcher.apply(patch).drained.wait(timeout=PATIENCE)

    yield program, update


@contextmanager
def by_reload(folder: Path, scene: Scene) -> Iterator[tuple[SimpleNamespace, Update]]:
    """`importlib.reload`, of each changed module in the order in which they were imported."""
    program = loaded(scene)

    def update(sources: dict[str, str]) -> None:
        for name, source in sources.items():
            write(folder, name, source)
        for name in [name for name in sys.modules if name.removeprefix(f"{PACKAGE}.") in sources]:
            importlib.reload(sys.modules[name])

    yield program, update


@contextmanager
def by_autoreload(folder: Path, scene: Scene) -> Iterator[tuple[SimpleNamespace, Update]]:
    """IPython's extension, with a cell before the change and one after it."""
    interactive: Any = importlib.import_module("IPython.core.interactiveshell")
    shell = interactive.InteractiveShell.instance()
    shell.run_cell("%load_ext autoreload\n%autoreload 2")
    program = loaded(scene)
    shell.run_cell("0")  # it notes the times of the files

    def update(sources: dict[str, str]) -> None:
        for name, source in sources.items():
            write(folder, name, source)
        shell.run_cell("0")

    yield program, update


@contextmanager
def by_jurigged(folder: Path, scene: Scene) -> Iterator[tuple[SimpleNamespace, Update]]:
    """`jurigged.watch`, and files that are saved one after the other."""
    jurigged: Any = importlib.import_module("jurigged")
    watcher = jurigged.watch(str(folder / "**" / "*.py"), logger=lambda _: None)
    program = loaded(scene)
    taken = threading.Semaphore(0)
    watcher.postrun.register(lambda *_: taken.release())

    def update(sources: dict[str, str]) -> None:
        for name, source in sources.items():
            write(folder, name, source)
            taken.acquire(timeout=PATIENCE)

    yield program, update
    watcher.stop()
    watcher.join()


@contextmanager
def by_hmr(folder: Path, scene: Scene) -> Iterator[tuple[SimpleNamespace, Update]]:
    """`SyncReloader` of hmr, told which files have changed, with an entry file that uses each name of the program."""
    api: Any = importlib.import_module("reactivity.hmr.api")
    names = [*(f"{PACKAGE}.{module}" for module in scene.old), *scene.others]
    entry = folder / "entry.py"
    entry.write_text("".join(f"from {name} import *\nimport {name}\n" for name in names), encoding="utf-8")
    os.chdir(folder)
    reloader = api.SyncReloaderAPI(str(entry), includes=[str(folder)])
    reloader.run_with_hooks()

    def update(sources: dict[str, str]) -> None:
        reloader.on_changes({write(folder, name, source) for name, source in sources.items()})

    yield loaded(scene), update
    reloader.clean_up()


TOOLS = {
    "hotswap": (by_hotswap, "hotswap"),
    "`importlib.reload`": (by_reload, "importlib"),
    "IPython `autoreload`": (by_autoreload, "IPython"),
    "jurigged": (by_jurigged, "jurigged"),
    "hmr": (by_hmr, "reactivity"),
}
"""How each tool is driven, and the package that it is, by name."""


def updating() -> dict[str, dict[str, bool | None]]:
    """Return for each tool whether what each scene asks is so; None where the tool is not installed."""
    found: dict[str, dict[str, bool | None]] = {}
    for tool, (_, package) in TOOLS.items():
        there = find_spec(package) is not None
        found[tool] = {scene.asks: play(tool, name)["holds"] if there else None for name, scene in SCENES.items()}
    return found


def play(tool: str, scene: str) -> dict[str, Any]:
    """Play a scene with a tool in a process of its own, and return what that prints."""
    command = [sys.executable, __file__, tool, scene]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def ask(tool: str, scene: Scene, folder: Path) -> dict[str, Any]:
    """Play a scene with a tool; a tool that is not installed is an ImportError."""
    (folder / PACKAGE).mkdir()
    (folder / PACKAGE / "__init__.py").touch()
    for name, source in scene.old.items():
        write(folder, name, source)
    for name, source in scene.others.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    sys.path.insert(0, str(folder))
    said = []
    with TOOLS[tool][0](folder, scene) as (program, update):
        asked = scene.asked(program)
        next(asked)
        try:
            update(scene.new)
        except Exception as error:  # noqa: BLE001 - what a tool says is part of what is found
            said.append(f"{type(error).__name__}: {error}")
        holds: object = None
        try:
            next(asked)
        except StopIteration as answer:
            holds = answer.value
        except Exception as error:  # noqa: BLE001 - the client fails, which is the answer
            said.append(f"{type(error).__name__}: {error}")
            holds = False
    return {"holds": bool(holds), "said": said}


def main() -> None:
    """Play the scene that the command line names with the tool that it names, or list both."""
    if len(sys.argv) == 1:
        installed = [tool for tool, (_, package) in TOOLS.items() if find_spec(package) is not None]
        asks = [scene.asks for scene in SCENES.values()]
        sys.stdout.write(json.dumps({"tools": list(TOOLS), "installed": installed, "asks": asks}))
        return
    scene = next(scene for name, scene in SCENES.items() if sys.argv[2] in (name, scene.asks))
    logging.disable(logging.CRITICAL)
    sys.dont_write_bytecode = True  # it is known by the second in which the source was saved
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hotswap-updating-"))).resolve()
        sink = stack.enter_context((folder / "printed").open("w"))
        with redirect_stdout(sink), redirect_stderr(sink):
            found = ask(sys.argv[1], scene, folder)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
