"""The results as tables in Markdown, for a terminal and for `docs/explanation/performance.md`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.arming import Arming, Warm
from bench.baking import Baked
from bench.booting import Booting
from bench.delivery import Idle
from bench.draining import Draining
from bench.lasting import Lasting
from bench.measuring import Ratio, Spread
from bench.pauses import Pause
from bench.rehearsing import Rehearsing
from bench.streaming import Streaming

__all__ = ["tables"]


def tables(found: Mapping[str, Any]) -> str:
    """Return all tables of a run."""
    parts = [f"{found['machine']}, {found['seconds']} s{', quick' if found['quick'] else ''}"]
    if "calls" in found:
        parts.append(_calls(found["calls"]))
    if "states" in found:
        parts += [_states(found["states"]), _arming(found["arming"]), _shadowing(found["shadowing"])]
        parts += [_sessions(found["sessions"]), _lasting(found["lasting"]), _draining(found["draining"])]
    if "warm" in found:
        parts.append(_warm(found["warm"]))
    if "pauses" in found:
        parts.append(_pauses(found["pauses"]))
    if "delivery" in found:
        parts += [_delivery(found["delivery"]), _reached(found["reached"], "What one edit reaches")]
    if "updating" in found:
        parts.append(_reached(found["updating"], "What holds after an update"))
    if "baking" in found:
        parts.append(_baking(found["baking"]))
    if "booting" in found:
        parts.append(_booting(found["booting"]))
    if "rehearsing" in found:
        parts.append(_rehearsing(found["rehearsing"]))
    if "streaming" in found:
        parts.append(_streaming(found["streaming"]))
    if "idle" in found:
        parts.append(_idle(found["idle"]))
    return "\n\n".join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _calls(found: Mapping[str, Mapping[str, Ratio]]) -> str:
    states = [state for state in next(iter(found.values())) if state != "never managed"]
    rows = []
    for way, ratios in found.items():
        base = ratios["never managed"]
        cells = [
            f"{ratios[s].ratio.median:.2f} ({ratios[s].ratio.low:.2f} to {ratios[s].ratio.high:.2f})" for s in states
        ]
        extra = ratios["10 patches"].nanoseconds - base.nanoseconds
        rows.append([way, f"{base.nanoseconds:.0f} ns", *cells, f"{extra:+.0f} ns"])
    title = "Time of a call, as a multiple of the same code never managed: median (quartiles)"
    return f"{title}\n\n{_table(['call', 'never managed', *states, 'after 10, more than never'], rows)}"


def _booting(found: Iterable[Booting]) -> str:
    head = ["start", "first line to last import", "times no boot", "the whole process, times no boot"]
    rows = [
        [one.what, _seconds(one.seconds.median), f"{one.ratio.median:.2f}", f"{one.process.median:.2f}"]
        for one in found
    ]
    return f"Start-up time in fresh processes\n\n{_table(head, rows)}"


def _baking(found: Iterable[Baked]) -> str:
    head = ["requests a second", "of them fail", "what speaks against it", "until it is rolled back", "requests failed"]
    rows = [
        [
            f"{one.load:,}",
            "all" if one.share == 1 else f"one in {one.share}",
            one.signal,
            _spread(one.seconds),
            f"{one.failed.median:.0f} (worst {one.failed.worst:.0f})",
        ]
        for one in found
    ]
    return f"From the first failing request after a bad commit to the completed rollback\n\n{_table(head, rows)}"


def _rehearsing(found: Iterable[Rehearsing]) -> str:
    head = ["in memory", "what fills it", "longest gap", "the copying call", "rehearsal", "the same patch without"]
    head += ["copied", "first write to a page"]
    rows = [
        [
            f"{one.resident / 1e6:,.0f} MB",
            one.kind,
            *(_spread(value) for value in (one.gap, one.fork, one.whole, one.unrehearsed)),
            f"{one.copied / 1e6:.0f} MB",
            f"{one.page * 1e6:.0f} µs (else {one.page_before * 1e6:.0f} µs)",
        ]
        for one in found
    ]
    return f"A rehearsal, median (worst)\n\n{_table(head, rows)}"


def _seconds(value: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def _spread(value: Spread) -> str:
    return f"{_seconds(value.median)} (worst {_seconds(value.worst)})"


def _pauses(found: Iterable[Pause]) -> str:
    head = [
        "names",
        "objects on the heap",
        "the C call of the commit",
        "the C call of the rollback",
        "gap seen in `commit()`",
        "longest collection in it",
        "gap seen in `stage()`",
        "longest collection in it",
        "stage to live, in all",
    ]
    rows = [
        [
            f"{p.names:,}",
            f"{p.heap:,} {p.what}",
            *map(
                _spread,
                (
                    p.call,
                    p.back,
                    p.committing,
                    p.collecting_in_commit,
                    p.staging,
                    p.collecting_in_staging,
                    p.whole,
                ),
            ),
        ]
        for p in found
    ]
    return f"Longest pause of another thread: median (worst)\n\n{_table(head, rows)}"


def _delivery(found: Mapping[str, Spread | None]) -> str:
    base = next(taken for taken in found.values() if taken)  # what the patcher itself takes
    rows = [
        [way, _spread(taken), f"{taken.median / base.median:.2g}"] if taken else [way, "not installed", ""]
        for way, taken in found.items()
    ]
    title = "From a change to live code: median (worst), and as a multiple of `patcher.apply`"
    return f"{title}\n\n{_table(['way', 'time', 'multiple'], rows)}"


def _idle(found: Iterable[Idle]) -> str:
    rows = [
        [f"{one.drops:,}", f"{one.share:.2%}", _seconds(one.rescan), f"{one.listings:.1f}" if one.drops else ""]
        for one in found
    ]
    head = ["drops that lie there", "of one core", "a rescan", "as a multiple of a bare listing"]
    return f"A watch while nothing happens\n\n{_table(head, rows)}"


def _streaming(found: Iterable[Streaming]) -> str:
    rows = [
        [
            f"{one.clients:,}",
            f"{one.memory / 1e3:.0f} kB",
            f"{one.share:.1%}",
            f"{_seconds(one.rollout)} ({one.rollout / one.alone:.2f} of one without clients)",
            _seconds(one.heard),
            _seconds(one.cpu),
        ]
        for one in found
    ]
    head = ["clients", "memory of each", "of one core, idle", "a rollout", "until the last has heard", "processor time"]
    return f"Clients that follow events\n\n{_table(head, rows)}"


def _reached(found: Mapping[str, Mapping[str, bool | None]], title: str) -> str:
    said = {True: "yes", False: "no", None: "not installed"}
    rows = [[what, *(said[found[tool][what]] for tool in found)] for what in next(iter(found.values()))]
    return f"{title}\n\n{_table(['what', *found], rows)}"


def _states(found: Mapping[str, Mapping[str, Ratio]]) -> str:
    states = [state for state in next(iter(found.values())) if state != "before"]
    rows = [
        [way, f"{ratios['before'].nanoseconds:.0f} ns", *(_more(ratios[state], ratios["before"]) for state in states)]
        for way, ratios in found.items()
    ]
    title = "Time of a call while two generations are reachable, as a multiple of the same before: median (more)"
    return f"{title}\n\n{_table(['call', 'before', *states], rows)}"


def _shadowing(found: Mapping[str, Mapping[str, Ratio]]) -> str:
    states = [state for state in next(iter(found.values())) if state != "not shadowed"]
    rows = [[way, *(_more(ratios[state], ratios["not shadowed"]) for state in states)] for way, ratios in found.items()]
    title = "Time of a live call while its function is shadowed, as a multiple of the same not shadowed: median"
    return f"{title}\n\n{_table(['call', *states], rows)}"


def _more(ratio: Ratio, base: Ratio) -> str:
    return f"{ratio.ratio.median:.2f} ({ratio.nanoseconds - base.nanoseconds:+.0f} ns)"


def _arming(found: Iterable[Arming]) -> str:
    head = [
        "modules",
        "`arm()`",
        "`disarm()`",
        "pause of the flip",
        "pause of a plain commit",
        "`commit()`, armed",
        "`commit()`, plain",
    ]
    rows = [
        [str(one.modules), *map(_spread, (one.arm, one.disarm, one.flip, one.plain, one.commit, one.plain_commit))]
        for one in found
    ]
    return f"Arming, disarming and the flip: median (worst)\n\n{_table(head, rows)}"


def _warm(found: Iterable[Warm]) -> str:
    head = ["modules", "`apply`, cold", "`commit()`, warm", "`rollback()`, warm", "pause there", "pause back"]
    head += ["`commit()` beside three busy threads", "`rollback()` beside them"]
    rows = [
        [
            str(one.modules),
            _spread(one.apply),
            f"{_spread(one.commit)}, {one.commit_to_apply:.2f} of it",
            f"{_spread(one.rollback)}, {one.rollback_to_apply:.2f} of it",
            _spread(one.there),
            _spread(one.back),
            _spread(one.busy_commit),
            _spread(one.busy_rollback),
        ]
        for one in found
    ]
    return f"Flipping a warm rollout back and forth: median (worst)\n\n{_table(head, rows)}"


def _sessions(found: Mapping[str, Mapping[str, Ratio]]) -> str:
    rows = [
        [what, f"{both['without'].nanoseconds:.0f} ns", _more(both["with"], both["without"])]
        for what, both in found.items()
    ]
    return f"A session, while nothing is patched: median (more)\n\n{_table(['unit of work', 'without', 'with'], rows)}"


def _lasting(found: Iterable[Lasting]) -> str:
    head = ["patches", "rollouts that have not drained", "a method, as a multiple", "`apply()`, as a multiple"]
    rows = [
        [
            str(one.patches),
            str(one.waiting),
            f"{one.call.median:.0f}",
            f"{one.apply.median:.1f} ({one.apply.worst:.1f})",
        ]
        for one in found
    ]
    return f"A session that stays open over patches: median (worst)\n\n{_table(head, rows)}"


def _draining(found: Iterable[Draining]) -> str:
    head = ["objects on the heap", "closures in the module", "after the last call", "after the last session"]
    rows = [[f"{one.heap:,}", "yes" if one.closures else "no", *map(_spread, (one.call, one.session))] for one in found]
    return f"From the end of what is old until `drained`: median (worst)\n\n{_table(head, rows)}"
