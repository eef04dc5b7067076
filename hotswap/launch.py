"""Launching: `python -m hotswap run service.py` is `python service.py`, booted from a store.

The program gets what Python would give it: `sys.argv`, `sys.path[0]`, and `__main__`, which stays after its last line:
threads and exit handlers go on to use it.
"""

from __future__ import annotations

import importlib.machinery
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from hotswap.store import VARIABLE, boot, note_status

__all__ = ["HOOK", "launch"]

HOOK = str(Path(__file__).resolve().parent / "hook")
"""A folder for `PYTHONPATH`: Python boots where it leads there, and the environment names a store."""


def launch(program: str, arguments: Sequence[str], *, module: bool = False, store: str | None = None) -> None:
    """Boot, and run a program as `__main__`.

    Arguments:
        program: the path of a script, of a folder or archive with a `__main__.py`, or the name of a module.
        arguments: what it finds in `sys.argv` after its own name.
        module: whether it is the name of a module, as after `python -m`.
        store: as of `hotswap.boot`.

    Raises whatever the program raises, and ImportError or OSError if there is no such program.
    """
    file = program if module else os.path.abspath(program)  # noqa: PTH100 - as Python says it, links and all
    named = module or not Path(file).is_file()  # a folder or an archive has a module of that name
    sys.argv[:] = [program, *arguments]
    if not sys.flags.safe_path and sys.path:  # it leads to whoever has started us
        sys.path[0] = str(Path.cwd()) if module else file if named else str(Path(file).resolve().parent)
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    boot(store)
    _have_children_boot(store)
    try:
        _run(program, file, main, module=module, named=named)
    except SystemExit as error:
        note_status(error.code)  # whoever raised it: a program that fails within the trial of a patch counts
        raise


def _have_children_boot(store: str | None) -> None:
    """Have Python processes that the program starts boot as well: `multiprocessing` spawns what imports its package.

    Else half of a service would run what is permanent, and half of it the code on disk.
    """
    where = store or os.environ.get(VARIABLE)
    if where:
        os.environ[VARIABLE] = os.path.abspath(where)  # noqa: PTH100 - as the store does it
        path = os.environ.get("PYTHONPATH")
        rest = [] if not path else [entry for entry in path.split(os.pathsep) if entry != HOOK]
        os.environ["PYTHONPATH"] = os.pathsep.join([HOOK, *rest])


def _run(program: str, file: str, main: ModuleType, *, module: bool, named: bool) -> None:
    if named:
        # What `python -m` calls.
        runpy._run_module_as_main(program if module else "__main__", module)  # type: ignore[attr-defined]
        return
    loader = importlib.machinery.SourceFileLoader("__main__", file)
    main.__file__, main.__loader__ = file, loader
    code = loader.source_to_code(loader.get_data(file), file)
    exec(code, main.__dict__)  # noqa: S102 - it is what the command line asks for
