"""What is seen while the demo runs: a table that changes on a terminal, plain lines elsewhere, nothing for machines."""

from __future__ import annotations

import contextlib
import textwrap
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hotswap.demo.clients import Feed
from hotswap.demo.steps import STEPS, Outcome, StepResult

__all__ = ["Lines", "LiveTable", "Nothing", "Progress", "Screen"]

GAP = 2
"""Columns on both sides of a gauge."""

WIDE = 100
"""Columns from which on the reasons stand beside the steps; below that, under them."""

OTHER_COLUMNS = 32
"""Columns that outcome, time and version need beside a step."""


@dataclass(slots=True)
class Progress:
    """What is known so far; the demo writes it, the screen reads it. Lives as long as the demo."""

    feed: Feed = field(default_factory=Feed)
    load: dict[str, Any] = field(default_factory=dict)
    results: list[StepResult] = field(default_factory=list)
    pid: int = 0
    version: str = ""
    cache_loads: int = 0


class Screen(Protocol):
    """Shows the progress; a context manager, so that the terminal is whole again however the demo ends."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""

    def refresh(self, progress: Progress) -> None:
        """Something has changed: called a few times a second."""

    def finished(self, result: StepResult, progress: Progress, /) -> None:
        """A step has its outcome."""


class Nothing(contextlib.nullcontext[None]):
    """For `--json`: shows nothing."""

    def __enter__(self) -> Self:  # type: ignore[override]
        """Begin to show nothing."""
        return self

    def refresh(self, progress: Progress) -> None:
        """Show nothing."""

    def finished(self, result: StepResult, progress: Progress) -> None:
        """Show nothing."""


class Lines(Nothing):
    """For a log or a pipe: one line when the load is on, and one for each step."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._begun = False

    def refresh(self, progress: Progress) -> None:
        """Say once that the load is on."""
        if progress.load and not self._begun:
            self._begun = True
            self._console.print(
                f"{progress.version} is live, process {progress.pid}, {rates(progress.load)}", soft_wrap=True
            )

    def finished(self, result: StepResult, progress: Progress) -> None:
        """Say what became of the step, and how the load took it."""
        self._console.print(
            f"{result.step.title}: {result.outcome} after {result.seconds:.2f} s, {result.version} is live, "
            f"{rates(progress.load)}",
            soft_wrap=True,
        )
        if result.outcome == Outcome.REJECTED or result.step.passing:
            self._console.print(f"    {result.headline}", soft_wrap=True, highlight=False, markup=False)


class LiveTable:
    """For a terminal: one picture that changes."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        """Take the terminal."""
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back; the last picture stays."""
        self._live.__exit__(kind, error, trace)

    def refresh(self, progress: Progress) -> None:
        """Draw the picture anew."""
        self._live.update(picture(progress), refresh=True)

    def finished(self, _: StepResult, progress: Progress) -> None:
        """Draw the picture anew."""
        self.refresh(progress)


def picture(progress: Progress) -> Panel:
    """The whole picture: how the load does on top, what was dropped below."""
    return Panel(Picture(progress), title="hotswap: a running service takes patches")


@dataclass(frozen=True, slots=True)
class Picture:
    """What is in the frame, laid out for the width that there is."""

    progress: Progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay it out."""
        yield from gauges(self.progress, options.max_width)
        if options.max_width >= WIDE:  # where it is narrow, reasons take lines of their own
            yield Text()
        yield steps(self.progress, options.max_width)


def gauges(progress: Progress, width: int) -> list[Table]:
    """How the service does at this moment, in as many rows as it takes to show every number whole."""
    cells: list[tuple[str, str, str]] = [("version", progress.version or "-", "bold cyan")]
    load = progress.load
    if load:
        cells += [
            ("req/s", f"{load['per_second']:,.0f}", "bold"),
            ("failed", str(load["failed"]), "bold red" if load["failed"] else "bold green"),
            ("requests", f"{load['requests']:,}", "bold"),
            ("p50", f"{load['p50_ms']:.1f} ms", "bold"),
            ("p99", f"{load['p99_ms']:.1f} ms", "bold"),
        ]
    feed = progress.feed
    cells += [
        ("PID", str(progress.pid or "-"), "bold"),
        ("WebSocket", feed.broken or f"open, {feed.received:,}", "bold red" if feed.broken else "bold"),
        ("cache loads", str(progress.cache_loads or "-"), "bold"),
    ]
    rows: list[list[tuple[str, str, str]]] = [[]]
    left = width
    for cell in cells:
        needed = max(cell_len(cell[0]), cell_len(cell[1])) + 2 * GAP
        if needed > left and rows[-1]:
            rows.append([])
            left = width
        rows[-1].append(cell)
        left -= needed
    return [gauge_row(row) for row in rows]


def gauge_row(cells: list[tuple[str, str, str]]) -> Table:
    """One row of gauges: the names, and the numbers below them."""
    table = Table.grid(expand=True, padding=(0, GAP))
    for _ in cells:
        table.add_column(justify="center")
    table.add_row(*(Text(name, style="dim") for name, _, _ in cells))
    table.add_row(*(Text(value, style=style) for _, value, style in cells))
    return table


def steps(progress: Progress, width: int) -> Table:
    """Every step, with its outcome as far as it has one; the reason has a column of its own where there is room."""
    wide = width >= WIDE
    table = Table(expand=True, box=None, pad_edge=False)
    table.add_column("dropped", no_wrap=wide, ratio=None if wide else 1)
    table.add_column("outcome", no_wrap=True, min_width=13)
    table.add_column("after", justify="right", no_wrap=True, min_width=7)
    table.add_column("live", justify="right", no_wrap=True, min_width=6)
    if wide:
        table.add_column("reason", ratio=1, no_wrap=True, overflow="ellipsis")
    for number, step in enumerate(STEPS):
        result = progress.results[number] if number < len(progress.results) else None
        if result is None:
            table.add_row(Text(step.title, style="dim"))
        elif not result.outcome:
            table.add_row(Text(step.title), Text("...", style="yellow"))
        else:
            good = not result.problems
            mark = "✓" if good else "✗"
            told = result.headline if good else "; ".join(result.problems)
            title: RenderableType = Text(step.title)
            if not wide and (result.outcome == Outcome.REJECTED or result.step.passing or not good):
                lines = textwrap.wrap(told, max(10, width - OTHER_COLUMNS - 2), max_lines=2, placeholder="…")
                title = Group(title, *(Text(f"  {line}", style="dim") for line in lines))
            row = [
                title,
                Text(f"{mark} {result.outcome}", style="green" if good else "bold red"),
                f"{result.seconds:.2f} s",
                result.version,
            ]
            table.add_row(*row, *([Text(told, style="dim")] if wide else []))
    return table


def rates(load: dict[str, Any]) -> str:
    """How the load does, in one line."""
    if not load:
        return "no load yet"
    return (
        f"{load['requests']:,} requests ({load['per_second']:,.0f}/s), {load['failed']} failed, "
        f"p50 {load['p50_ms']:.1f} ms, p99 {load['p99_ms']:.1f} ms"
    )
