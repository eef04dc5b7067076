"""The hook: Python imports this at its start where `PYTHONPATH` leads here, as `python -m hotswap hook` says.

Where `HOTSWAP_STORE` names a store, what stands in it is imported from there: `hotswap.boot` is called when the first
of its packages is imported, not before. A process that imports none of them is left alone. Then the `sitecustomize`
that this one hides is run, if there is one.
"""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def _arm(folder: str) -> None:
    """Have the process boot from a store when it imports what stands there; say so where that can't be done."""
    try:
        Path(folder, "journal.db").stat()
    except (FileNotFoundError, NotADirectoryError):
        return  # and hotswap is not even imported
    except OSError:
        # It is told what is wrong with it where it is opened.
        pass
    try:
        _import_hotswap()
        from hotswap.store import boot_when_imported
    except ImportError as error:
        sys.stderr.write(
            f"hotswap can't be imported here ({error}): the code on disk runs, and not what {folder} has\n"
        )
        return
    boot_when_imported(folder)


def _import_hotswap() -> None:
    """Import the hotswap that this file is a part of, wherever it lies: the path may lead to none, or to another."""
    if "hotswap" in sys.modules:
        return
    folder = _HERE.parent
    spec = importlib.util.spec_from_file_location(
        "hotswap", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["hotswap"] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for name in [name for name in sys.modules if name.partition(".")[0] == "hotswap"]:
            del sys.modules[name]
        raise


def _run_next() -> None:
    """Run the `sitecustomize` that comes after this one on the path, under its own name."""
    rest = [folder for folder in sys.path if Path(folder).resolve() != _HERE]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        module = sys.modules["sitecustomize"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


try:
    if os.environ.get("HOTSWAP_STORE"):
        _arm(os.environ["HOTSWAP_STORE"])
finally:
    _run_next()
