"""`plan --tree`: load the packages of a source tree in a process of their own, and stage a patch there.

    python -m hotswap.cli.tree DIRECTORY PATCH VERSION MODULE...

What the modules print goes to stderr; stdout gets one JSON document.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hotswap.cli.exits import Exit, FailedError
from hotswap.errors import CheckFailedError, HotswapError
from hotswap.outline import diff_of, plan_of, problem_body, refusal_of, report_of
from hotswap.patch import Patch
from hotswap.patcher import Patcher

__all__ = ["plan_by_tree"]


def plan_by_tree(directory: Path, file: Path, version: str | None, also: list[str]) -> dict[str, Any]:
    """Return what a patch would do to a source tree, in the words of the admin app.

    Arguments:
        directory: has the packages, or has them in `src`.
        file: the patch.
        version: of a patch that states none.
        also: modules to import besides those of the patch, as the service does.

    Raises FailedError for a tree that can't be loaded.
    """
    if not directory.is_dir():
        raise FailedError(Exit.USAGE, f"--tree: {directory} is no directory")
    command = [
        sys.executable,
        "-m",
        "hotswap.cli.tree",
        str(directory.absolute()),
        str(file.absolute()),
        version or "",
        *also,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        reason = f"the tree could not be loaded (exit status {done.returncode}); above is what it said"
        raise FailedError(Exit.REFUSED, reason) from None
    return found


def _staged(directory: Path, file: Path, version: str | None, also: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": file.name, "version": version, "reason": "", "state": "rejected", "diff": ""}
    found["report"], found["fits"] = {"passed": True, "running": [], "waiting": [], "results": []}, False
    try:
        patch = Patch.from_path(file, version=version)
        found |= {"name": patch.name, "version": None if patch.version is None else str(patch.version)}
        roots = sorted({name.partition(".")[0] for name in patch.sources})
        # A tree of its own comes first, as where its service runs.
        sources = directory / "src"
        lies = any((sources / root).exists() or (sources / f"{root}.py").exists() for root in roots)
        sys.path.insert(0, str(sources if lies else directory))
        for name in (*roots, *also):
            importlib.import_module(name)
        for name in patch.sources:
            if _is_there(name):
                importlib.import_module(name)
        rollout = Patcher(roots).stage(patch)
        found |= {"version": str(rollout.record.version), "plan": plan_of(rollout.plan), "diff": diff_of(rollout)}
        try:
            rollout.verify()
        finally:
            found["report"] = report_of(rollout.report)
        rollout.abort("a dry run")
        found |= {"reason": "a dry run", "fits": True}
    except HotswapError as error:
        if not isinstance(error, CheckFailedError):
            status, code, more = refusal_of(error)
            found["problem"] = problem_body(status, code, error.reason, more)
        found["reason"] = error.reason
    return found


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # what it is to be below is new, too, or no package yet
        return False


def main() -> None:
    """Stage, and write the document where nobody else writes."""
    directory, file, version, *also = sys.argv[1:]
    answer = os.dup(1)
    os.dup2(2, 1)
    found = _staged(Path(directory), Path(file), version or None, also)
    sys.stdout.flush()
    with os.fdopen(answer, "w", encoding="utf-8") as out:
        json.dump(found, out)


if __name__ == "__main__":
    main()
