"""jurigged, measured in a process of its own: `python rival.py REPEAT` prints one JSON object."""

from __future__ import annotations

import importlib
import json
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench.delivery import EDITED, USER, answers, seconds_until, write_next
from bench.programs import Program, programs


class Watching:
    """jurigged watching the programs of a folder; imported modules register themselves."""

    def __init__(self, folder: Path) -> None:
        jurigged: Any = importlib.import_module("jurigged")
        self.watcher = jurigged.watch(str(folder / "*" / "core.py"), logger=lambda _: None)

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()
        self.watcher.join()


def times(folder: Path, repeat: int) -> list[float]:
    """Seconds from a saved file to live code."""
    with Watching(folder):
        program = Program(folder, EDITED)
        function = vars(program.core)["function"]
        taken = []
        for number in range(2, repeat + 2):
            write_next(program, number)
            taken.append(seconds_until(lambda number=number: function(0) == number))  # type: ignore[misc]
    return taken


def edit(folder: Path, template: str) -> tuple[Any, Any]:
    """Save one edit, and wait until jurigged has taken it, or two seconds if it does not say so."""
    with Watching(folder) as tool:
        program = Program(folder, template, user=USER)
        user = program.outside("user")
        done = threading.Event()
        tool.watcher.postrun.register(lambda *_: done.set())
        write_next(program, 2)
        done.wait(2.0)
    return user, program.core


if __name__ == "__main__":
    with programs() as place:
        sys.stdout.write(json.dumps({"times": times(place, int(sys.argv[1])), "reached": answers(edit, place)}))
