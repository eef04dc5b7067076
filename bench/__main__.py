"""Run the benchmarks: `python -m bench [--quick] [--json]`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

if not __package__:  # `python bench` from elsewhere: the installed hotswap is measured, the checkout comes last
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from bench.arming import arming, warm
from bench.baking import baking
from bench.booting import booting
from bench.calls import calls
from bench.delivery import delivery, idle
from bench.draining import draining
from bench.lasting import lasting
from bench.pauses import pauses
from bench.programs import programs
from bench.rehearsing import rehearsing
from bench.sessions import sessions
from bench.shadowing import shadowing
from bench.states import states
from bench.streaming import streaming
from bench.tables import tables
from bench.updating import updating


def main() -> int:
    """Measure, and print tables in Markdown or one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and smaller heaps: under a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--only",
        choices=(
            *("baking", "booting", "calls", "flips", "generations", "pauses", "delivery", "rehearsing", "streaming"),
            "updating",
        ),
        help="measure only this",
    )
    options = parser.parse_args()
    quick = options.quick
    logging.disable(logging.CRITICAL)  # thousands of rollouts tell what they do
    began = time.perf_counter()
    found: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, CPython {platform.python_version()}",
        "quick": quick,
    }
    with programs() as folder:
        if options.only in (None, "delivery"):
            found["delivery"], found["reached"] = delivery(folder, repeat=5 if quick else 15)
            found["idle"] = idle(folder, counts=(0, 100, 1_000), seconds=4 if quick else 20)
        if options.only in (None, "updating"):
            found["updating"] = updating()
        if options.only in (None, "baking"):
            found["baking"] = baking(folder, repeat=5 if quick else 15)
        if options.only in (None, "booting"):
            found["booting"] = booting(folder, modules=20 if quick else 100, repeat=5 if quick else 15)
        if options.only in (None, "streaming") and sys.platform == "linux":
            counts = (100,) if quick else (100, 1_000)
            found["streaming"] = streaming(folder, counts=counts, seconds=16, repeat=3 if quick else 7)
        if options.only in (None, "rehearsing"):
            sizes = (100 << 20,) if quick else (100 << 20, 1 << 30, 4 << 30)
            found["rehearsing"] = rehearsing(sizes, repeat=3 if quick else 5)
        if options.only in (None, "pauses"):
            found["pauses"] = pauses(
                folder,
                names=(10, 1_000) if quick else (10, 1_000, 10_000),
                heaps=(10_000, 200_000) if quick else (10_000, 2_000_000),
                repeat=3 if quick else 5,
            )
        if options.only in (None, "generations"):
            rounds, count = (11, 10_000) if quick else (51, 30_000)
            # First: candidates that the others leave armed have each session note who opens it.
            found["sessions"] = sessions(rounds=rounds, count=count // 3)
            found["states"] = states(folder, rounds=rounds, count=count)
            found["arming"] = arming(folder, modules=(10, 100) if quick else (10, 100, 768), repeat=3 if quick else 7)
            found["shadowing"] = shadowing(folder, rounds=rounds, count=count // 3)
            heaps = (10_000, 200_000) if quick else (10_000, 2_000_000)
            patches = (1, 5, 15) if quick else (1, 5, 10, 30)
            found["lasting"] = lasting(folder, patches=patches, rounds=rounds, count=count // 10)
            found["draining"] = draining(folder, heaps=heaps, repeat=5 if quick else 15)
        if options.only in (None, "flips", "generations"):
            found["warm"] = warm(folder, modules=(1, 10, 100), repeat=3 if quick else 7)
        if options.only in (None, "calls"):
            found["calls"] = calls(
                folder, rounds=11 if quick else 51, count=10_000 if quick else 30_000, many=300 if quick else 1_200
            )
    found["seconds"] = round(time.perf_counter() - began, 1)
    if options.json:
        sys.stdout.write(json.dumps(found, default=dataclasses.asdict, indent=1) + "\n")
    else:
        sys.stdout.write(tables(found) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
