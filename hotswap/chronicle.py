"""The chronicle: what a store has of rollouts and of refused drops, as records of the history."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from packaging.version import Version

from hotswap.errors import StoreError
from hotswap.records import Record, State
from hotswap.rollout import Rollout
from hotswap.store import Entry, Refusal, is_on_disk, places
from hotswap.verification import CheckResult, Report, Verdict

__all__ = ["brought_by", "facts_of", "record_of", "record_of_refusal", "report_of"]

_KEPT = 2000
"""Characters of a traceback, or of what a program said, that a store keeps of a check: so many of each end."""


def brought_by(rollout: Rollout, below: Iterable[Entry]) -> dict[str, str]:
    """Return which patch has brought what of a candidate's generation: module, or path -> its digest, as it was given.

    Arguments:
        rollout: it has its candidate and its plan. A module of the patch that the plan does not call unchanged is its
            own. So is one that nobody has imported yet, and any other file, unless it is as on disk, and was before.
        below: what is live, the newest first.
    """
    patch, plan, tree = rollout.patch, rollout.plan, rollout.candidate.tree
    there: dict[str, str] = {}
    for entry in reversed(list(below)):
        there |= entry.brought
    folders = {root: places(root) for root in tree.roots}

    def is_own(name: str, path: str, data: bytes) -> bool:
        return name in there or not is_on_disk(path, data, folders.get(path.partition("/")[0], ()))

    # A wheel has all of its package, most of which is as it lies on disk.
    own = [
        name
        for name, source in patch.sources.items()
        if (plan.modules[name] != "unchanged" if name in plan.modules else is_own(name, source.path, source.data))
    ]
    texts = {source.path for source in patch.sources.values()}
    files = {path: data for path, data in patch.files.items() if path not in texts}
    own += [path for path, data in files.items() if path.partition("/")[0] in tree.roots and is_own(path, path, data)]
    there = {name: given for name, given in there.items() if name in tree.sources or name in tree.files}
    return there | dict.fromkeys(own, rollout.given)


def facts_of(result: CheckResult) -> dict[str, object]:
    """Return what a store keeps of a check: of a detail, which may be long, both ends, and only if it did not pass."""
    names = ("name", "duration", "message", "tolerated")
    facts = {name: getattr(result, name) for name in names} | {"verdict": str(result.verdict)}
    if result.detail and result.verdict is not Verdict.PASSED:
        facts["detail"] = _ends(result.detail)
    return facts


def _ends(text: str) -> str:
    """A traceback has what counts at its end, the stack of a crash at its beginning."""
    return text if len(text) <= 2 * _KEPT else f"{text[:_KEPT]}\n...\n{text[-_KEPT:]}"


def report_of(entry: Entry, troubles: list[Exception]) -> Report:
    """Return what the checks of a rollout found; nothing, and a trouble, where that is damaged."""
    try:
        return Report(
            tuple(
                CheckResult(
                    one["name"],
                    Verdict(one["verdict"]),
                    one["duration"],
                    one["message"],
                    one.get("detail", ""),
                    tolerated=one.get("tolerated", False),  # journals that are older do not have it
                )
                for one in entry.report
            )
        )
    except (KeyError, ValueError) as error:
        what = f"the journal is damaged: what it has of the checks of {entry.label} makes no sense ({error!r})"
        troubles.append(StoreError(what))
        return Report(())


def record_of(entry: Entry, troubles: list[Exception]) -> Record:
    """Return the record of a rollout; troubles as those of `report_of`."""
    started, changed = map(datetime.fromisoformat, (entry.started, entry.changed))
    version = None if entry.version is None else Version(entry.version)
    facts = (entry.id, entry.name, version, entry.digest, State(entry.state), entry.reason, started, changed)
    return Record(*facts, report_of(entry, troubles), entry.pause, entry.note, entry.by, entry.why)


def record_of_refusal(one: Refusal) -> Record:
    """Return the record of a drop that came to no rollout: its name is that of the drop, and it has no id."""
    return Record(
        id="",
        name=one.drop,
        version=None if one.version is None else Version(one.version),
        digest=one.digest,
        state=State.REJECTED,
        reason=one.reason,
        started=datetime.fromisoformat(one.first),
        finished=datetime.fromisoformat(one.last),
        report=Report(()),
        pause=None,
        why=f"dropped into {one.directory}",
    )
