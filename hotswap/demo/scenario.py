"""The walk through the demo: start, load, drop after drop, roll back, and judge.

Three processes: the service, the load, and this one, which drops, watches and shows. Everything that is started or
written here belongs to a `with` block, so it is gone when the walk ends, fails, or is cancelled by Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from hotswap.demo.clients import Admin, RefusedError
from hotswap.demo.patches import Sources, example_folder, overlaid, package_sources, write_folder, write_wheel
from hotswap.demo.processes import running
from hotswap.demo.screen import Progress, Screen
from hotswap.demo.steps import STEPS, Outcome, Step, StepResult
from hotswap.demo.summary import Summary, judged
from hotswap.demo.tariffs import VERSIONS
from hotswap.watching import push

__all__ = ["BrokenError", "Service", "load_on", "play", "service_running"]

START = 30.0
"""Seconds that the service has to come up, and the load to make its first report."""

PATIENCE = 30.0
"""Seconds that a drop has to get its outcome."""

BAKE = 0.5
"""Seconds that each patch is on trial."""

POLL = 0.02
REFRESH = 0.25


class BrokenError(Exception):
    """The demo cannot go on: a process ended, or something did not come in time. The text says what, and its log."""


@dataclass(frozen=True, slots=True)
class Service:
    """The running service; lives as long as the block that started it."""

    url: str
    pid: int
    token: str
    process: asyncio.subprocess.Process


@contextlib.asynccontextmanager
async def service_running(
    folder: Path, log: IO[bytes], *, drops: Path | None = None, bake: float = 0
) -> AsyncIterator[Service]:
    """Start the example service as its own process, and end it with the block.

    Arguments:
        folder: where it may write a small file.
        log: receives what it writes.
        drops: the directory that it shall watch.
        bake: seconds that each patch is on trial there; 0 until somebody confirms it.

    Raises BrokenError if it does not come up.
    """
    ready = folder / "ready.json"
    token = secrets.token_urlsafe(24)
    arguments = [
        str(example_folder() / "service.py"),
        "--port",
        "0",
        "--ready-file",
        str(ready),
        "--until-stdin-closes",
    ]
    if drops is not None:
        arguments += ["--drops", str(drops)]
    async with running(arguments, log=log, environment={"SHOP_ADMIN_TOKEN": token, "SHOP_BAKE": str(bake)}) as process:
        deadline = time.monotonic() + START
        while not ready.exists():
            if process.returncode is not None:
                raise BrokenError(f"the service ended with status {process.returncode}")
            if time.monotonic() > deadline:
                raise BrokenError(f"the service was not up after {START:.0f} s")
            await asyncio.sleep(POLL)
        facts = json.loads(ready.read_text(encoding="utf-8"))
        yield Service(f"http://127.0.0.1:{facts['port']}", facts["pid"], token, process)


@dataclass(slots=True)
class Load:
    """The running load and its last report; lives as long as the block that started it."""

    process: asyncio.subprocess.Process
    report: dict[str, Any]
    reading: asyncio.Task[None]

    async def first_report(self) -> None:
        """Wait until requests were answered. Raises BrokenError if none are."""
        deadline = time.monotonic() + START
        while not self.report.get("requests"):
            if self.process.returncode is not None or time.monotonic() > deadline:
                raise BrokenError("the load could not ask the service for anything")
            await asyncio.sleep(POLL)

    async def stop(self) -> dict[str, Any]:
        """Let the requests that are under way finish, and give the last report. Raises BrokenError if there is none."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.reading), PATIENCE)
        if not self.report.get("final"):
            raise BrokenError(f"the load ended early (status {self.process.returncode})")
        return self.report


@contextlib.asynccontextmanager
async def load_on(
    url: str, folder: Path, log: IO[bytes], *, connections: int, versions: dict[str, str]
) -> AsyncIterator[Load]:
    """Put the service under load from a second process, until `stop` or the end of the block.

    Arguments:
        url: the service.
        folder: where the versions may be written down for the load.
        log: receives its complaints.
        connections: how many keep-alive connections ask at once.
        versions: the versions that may answer, each with the name of its tariff.
    """
    told = folder / "versions.json"
    told.write_text(json.dumps(versions), encoding="utf-8")
    arguments = ["-m", "hotswap.demo.load", "--url", url, "--connections", str(connections), "--versions", str(told)]
    async with running(arguments, log=log, output=True) as process:
        report: dict[str, Any] = {}

        async def read() -> None:
            assert process.stdout is not None
            async for line in process.stdout:
                report.update(json.loads(line))

        reading = asyncio.create_task(read())
        try:
            yield Load(process, report, reading)
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading


async def play(screen: Screen, *, seconds_per_step: float, connections: int) -> Summary:
    """Play the whole demo and judge it.

    Arguments:
        screen: shows the progress.
        seconds_per_step: how long each step lasts at least, its outcome included.
        connections: how many keep-alive connections ask at once.

    Raises BrokenError if it can't be played to the end. Nothing that was started or written is left in any case.
    """
    with tempfile.TemporaryDirectory(prefix="hotswap-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (folder / "log").open("w+b") as log:
            try:
                return await _played(folder, log, screen, seconds_per_step, connections)
            except (BrokenError, OSError, RefusedError) as error:
                log.seek(0)
                told = log.read().decode("utf-8", "replace").splitlines()[-30:]
                raise BrokenError("\n".join([str(error) or type(error).__name__, *told])) from error


async def _played(folder: Path, log: IO[bytes], screen: Screen, seconds_per_step: float, connections: int) -> Summary:
    drops = folder / "drops"
    drops.mkdir()
    progress = Progress()
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(service_running(folder, log, drops=drops, bake=BAKE))
        admin = await stack.enter_async_context(Admin.connected(service.url, service.token))
        before = await admin.status()
        progress.pid, progress.version = before["pid"], before["versions"]["shop"]
        progress.cache_loads = before["engine"]["cache_loads"]
        await stack.enter_async_context(progress.feed.following(service.url))
        stack.enter_context(screen)
        load = await stack.enter_async_context(
            load_on(service.url, folder, log, connections=connections, versions=VERSIONS)
        )
        progress.load = load.report
        showing = asyncio.create_task(_show(screen, progress))
        stack.callback(showing.cancel)
        await load.first_report()
        began = time.monotonic()
        bench = Bench(folder / "aside", drops, package_sources(example_folder()))
        await asyncio.sleep(seconds_per_step / 2)
        for step in STEPS:
            due = time.monotonic() + seconds_per_step
            await _stepped(step, bench, admin, service, progress)
            screen.finished(progress.results[-1], progress)
            await _met_by_all(admin, progress)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        report = await load.stop()
        seconds = time.monotonic() - began
        after = await admin.status()
        screen.refresh(progress)
        return judged(progress.results, report, progress.feed, before, after, connections=connections, seconds=seconds)


async def _show(screen: Screen, progress: Progress) -> None:
    while True:
        screen.refresh(progress)
        await asyncio.sleep(REFRESH)


async def _stepped(step: Step, bench: Bench, admin: Admin, service: Service, progress: Progress) -> None:
    """Do one step, wait for its outcome, and note what is not as expected."""
    result = StepResult(step)
    progress.results.append(result)
    began = time.perf_counter()
    if step.overlay:
        drop = bench.drop(step)
        marker = await _marker(drop, service, (".failed",) if step.passing else (".live", ".failed"))
        outcome = Outcome.LIVE if marker["error"] is None else Outcome.REJECTED
        if marker["state"] == "rolled_back":
            outcome = Outcome.ROLLED_BACK
        reason = f"{marker['error']}: {marker['reason']}" if marker["error"] else marker["reason"]
    else:
        try:
            await admin.roll_back("the end of the demo")
            outcome, reason = Outcome.ROLLED_BACK, ""
        except RefusedError as error:
            outcome, reason = Outcome.REJECTED, str(error)
    result.seconds = time.perf_counter() - began
    status = await admin.status()
    if outcome == Outcome.LIVE:
        bench.went_live()
    result.reason = reason
    result.version = progress.version = status["versions"]["shop"]
    progress.cache_loads = status["engine"]["cache_loads"]
    if outcome != step.expected:
        result.problems.append(f"{outcome}, expected was {step.expected}: {reason}")
    if result.version != step.version:
        result.problems.append(f"{result.version} is live, expected was {step.version}")
    result.problems += [f"the reason does not say {word!r}: {reason}" for word in step.says if word not in reason]
    result.outcome = outcome


async def _met_by_all(admin: Admin, progress: Progress) -> None:
    """Wait until load, WebSocket and background thread have met the version that is live: a step may be very short.

    What does not meet it in time is a problem of the step.
    """
    version = progress.version
    counted = progress.load["versions"].get(version, 0)
    late: list[str] = []
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        refresher = (await admin.status())["refresher"]
        met = {
            "the load": progress.load["versions"].get(version, 0) > counted,
            "the WebSocket": progress.feed.versions[-1:] == [version],
            "the background thread": refresher["version"] == version,
        }
        late = [who for who, done in met.items() if not done]
        if not late or progress.feed.broken is not None:
            break
        await asyncio.sleep(POLL)
    progress.results[-1].problems += [f"{who} did not meet {version}" for who in late]


async def _marker(drop: Path, service: Service, suffixes: tuple[str, ...]) -> dict[str, Any]:
    """Wait for the file beside the drop that says what became of it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for suffix in suffixes:
            with contextlib.suppress(FileNotFoundError):
                facts: dict[str, Any] = json.loads(drop.with_name(drop.name + suffix).read_text(encoding="utf-8"))
                return facts
        if service.process.returncode is not None:
            raise BrokenError(f"the service ended with status {service.process.returncode}")
        await asyncio.sleep(POLL)
    raise BrokenError(f"nothing became of {drop.name} within {PATIENCE:.0f} s")


class Bench:
    """Where the drops are made: written aside, then renamed into the directory, so that none is seen half.

    Each bad patch is made from what is live at that time, as a programmer would. Lives as long as the demo.
    """

    def __init__(self, aside: Path, drops: Path, sources: Sources) -> None:
        self._aside = aside
        self._drops = drops
        self._live = sources
        self._dropped = sources

    def drop(self, step: Step) -> Path:
        """Build the patch of a step, drop it, and give its place in the directory."""
        overlay = example_folder() / "patches" / step.overlay
        self._dropped = overlaid(self._live, overlay, step.patch_version)
        if step.wheel:
            built = write_wheel(self._dropped, step.patch_version, self._aside)
        else:
            manifest = {"hotswap.toml": f'version = "{step.patch_version}"\n'.encode()}
            built = write_folder({**self._dropped, **manifest}, self._aside / f"shop-{step.patch_version}")
        return push(built, self._drops).path

    def went_live(self) -> None:
        """The last drop is what the next one is made from."""
        self._live = self._dropped
