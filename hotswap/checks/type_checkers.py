"""Whether a type checker finds in the candidate what it does not find in the live version."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from hotswap.checks.kinds import Kind, sentence
from hotswap.checks.overlays import Overlay, overlaid
from hotswap.checks.processes import Ended, python, run
from hotswap.verification import Answer, Candidate, Inconclusive, Turn, Verdict

__all__ = ["Checker", "Types"]

Checker: TypeAlias = Literal["mypy", "pyright"]

Complaints: TypeAlias = "list[tuple[str, str]]"
"""Each as the place in the overlay, with its line, and what is wrong there."""

_MYPY_CONFIGURATIONS = ("mypy.ini", ".mypy.ini", "pyproject.toml", "setup.cfg")
_LINE = re.compile(r"^(?P<file>[^:\n]+):(?P<line>\d+)(?::\d+)?: error: (?P<what>.*)$", re.MULTILINE)


class Types(Kind):
    """The check that `hotswap.checks.types` makes."""

    turn = Turn.PARALLEL

    def __init__(self, tool: Checker | None, arguments: tuple[str, ...], *, all_errors: bool) -> None:
        super().__init__(" ".join(["types", *([tool] if tool else [])]))
        self._tool, self._arguments, self._all_errors = tool, arguments, all_errors

    def __call__(self, candidate: Candidate, /) -> Answer:
        """Look through the candidate, and if there are errors through the live version."""
        tool, look = self._found()
        with overlaid(candidate) as overlay:
            complaints = look(overlay, overlay.new)
            if isinstance(complaints, Answer):
                return complaints
            known: Complaints = []
            if complaints and not self._all_errors:
                before = look(overlay, overlay.old)
                if isinstance(before, Answer):
                    told = f"{tool} finds {len(complaints)} errors, and could not look through the live version"
                    return Answer(Verdict.INCONCLUSIVE, f"{told}: {before.message}", before.detail)
                known = before
            news = _news(complaints, known)
            if not news:
                return Answer(Verdict.PASSED, f"{tool}: nothing new" if complaints else f"{tool}: no errors")
            lines = [f"{place}: {what}" for place, what in news]
            what = "error" if self._all_errors else "new error"
            count = f"{len(lines)} {what}{'s' if len(lines) != 1 else ''}"
            return Answer(Verdict.FAILED, f"{tool}: {count}: {sentence(lines, 3)}", "\n".join(lines))

    def _found(self) -> tuple[str, Callable[[Overlay, Path], Complaints | Answer]]:
        if self._tool in {None, "mypy"} and importlib.util.find_spec("mypy") is not None:
            return "mypy", self._mypy
        if self._tool in {None, "pyright"} and (path := shutil.which("pyright")):
            return "pyright", lambda overlay, generation: self._pyright(path, overlay, generation)
        wanted = self._tool or "neither mypy nor pyright"
        raise Inconclusive(
            f"{wanted} is {'not ' if self._tool else ''}installed where the service runs: nothing was checked"
        )

    def _mypy(self, overlay: Overlay, generation: Path) -> Complaints | Answer:
        options = [
            "--no-color-output",
            "--no-error-summary",
            "--no-pretty",
            "--hide-error-context",
            "--show-error-codes",
        ]
        config = next((path for name in _MYPY_CONFIGURATIONS if (path := Path.cwd() / name).is_file()), None)
        options += [] if config is None else ["--config-file", str(config)]
        # Each run has what the other has read of the standard library; its own modules lie elsewhere.
        options += ["--cache-dir", str(overlay.folder / "mypy"), "--explicit-package-bases", "--namespace-packages"]
        targets = [path.name for path in sorted(generation.iterdir()) if _is_code(path)]
        environment = overlay.environment(generation)
        # The finder of the overlay is for who imports; this one reads, and begins with its working directory.
        environment["MYPYPATH"] = os.pathsep.join([str(generation), os.environ.get("MYPYPATH", str(Path.cwd()))])
        ended = run([python(), "-P", "-m", "mypy", *options, *self._arguments, *targets], environment, generation)
        if ended.late:
            return ended.timed_out("mypy was running")
        if ended.code not in (0, 1, 2) or (ended.code == 2 and not _LINE.search(ended.output)):
            return _broken("mypy", ended)
        return [(f"{one['file']}:{one['line']}", one["what"]) for one in _LINE.finditer(ended.output)]

    def _pyright(self, path: str, overlay: Overlay, generation: Path) -> Complaints | Answer:
        report = overlay.folder / f"pyright-{generation.name}.json"
        environment = overlay.environment(generation)
        # Its answer may be longer than what is kept of what a process writes.
        command = [
            "/bin/sh",
            "-c",
            f'exec "$0" "$@" > {shlex.quote(str(report))}',
            path,
            "--outputjson",
            *self._arguments,
            ".",
        ]
        ended = run(command, environment, generation)
        if ended.late:
            return ended.timed_out("pyright was running")
        try:
            found = json.loads(report.read_text(encoding="utf-8"))["generalDiagnostics"]
            return [
                (
                    f"{os.path.relpath(one['file'], generation)}:{one['range']['start']['line'] + 1}",
                    f"{one['message']}  [{one.get('rule', 'error')}]",
                )
                for one in found
                if one["severity"] == "error"
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return _broken("pyright", ended)


def _is_code(path: Path) -> bool:
    return path.suffix == ".py" or (path.is_dir() and not path.name.endswith((".dist-info", ".data")))


def _broken(tool: str, ended: Ended) -> Answer:
    return Answer(Verdict.ERROR, f"{tool} could not look through it: {ended.last_line}", ended.output)


def _news(complaints: Complaints, known: Complaints) -> Complaints:
    """The complaints that are not among the known ones, wherever their lines have moved."""
    left = Counter(map(_key, known))
    news = []
    for one in complaints:
        if left[_key(one)]:
            left[_key(one)] -= 1
        else:
            news.append(one)
    return news


def _key(complaint: tuple[str, str]) -> tuple[str, str]:
    place, what = complaint
    return place.rpartition(":")[0], re.sub(r"\bline \d+", "line", what)
