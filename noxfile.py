"""The sessions of this house. `nox` alone runs what has to be green; `nox -l` lists the rest.

What is tested is what is shipped: the wheel is built once per run and installed, and pytest runs from an empty folder,
so that neither it nor a subprocess of a test finds the checkout on `sys.path`.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["beside", "tests", "rest"]
BESIDE = ("lint", "types", "floors", "docs", "pyodide", "interpreters")
"""The sessions that run at the same time as the suite: installing, mypy and Sphinx leave a core idle."""

ROOT = Path(__file__).resolve().parent
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
AS_PYODIDE = "3.14"
"""The version that also runs as WebAssembly in Node, where no interpreter of it is needed."""

IN_CI = bool(os.environ.get("CI"))
PART_LIMIT = 15 * 60
"""Seconds for a process of tests: there are no threads and no signals in Pyodide that could end a test that hangs."""


# --- interpreters ----------------------------------------------------------------------------------------------------


def candidates(version: str) -> Iterator[Path]:
    """Where an interpreter may be: the one that runs nox, PATH, and pyenv's versions, selected there or not."""
    yield Path(sys.executable)
    name = f"python{version}" + (".exe" if os.name == "nt" else "")
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if folder:
            yield Path(folder) / name
    for root in (os.environ.get("PYENV_ROOT"), Path.home() / ".pyenv"):
        if root:
            installed = Path(root).glob(f"versions/{version}.*/bin/{name}")
            yield from sorted(installed, key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))], reverse=True)


def answer(interpreter: Path, version: str) -> Path | None:
    """Where it really lives, if it starts and is that version; pyenv has shims for versions that it then refuses."""
    if not interpreter.is_file():
        return None
    code = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    try:
        told = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    number, _, place = told.stdout.strip().partition(" ")
    return Path(place) if told.returncode == 0 and number == version else None


def find_interpreters() -> dict[str, Path]:
    """The first interpreter that answers, for each supported version that has one."""
    found = {}
    for version in SUPPORTED:
        answered = (answer(path, version) for path in candidates(version))
        if place := next(filter(None, answered), None):
            found[version] = place
    return found


FOUND = find_interpreters()
if not FOUND:
    raise SystemExit(f"no interpreter found that hotswap supports; it needs one of {', '.join(SUPPORTED)}")
# nox looks for `python3.x` on PATH only, so what was found elsewhere is put there.
os.environ["PATH"] = os.pathsep.join([*dict.fromkeys(str(path.parent) for path in FOUND.values()), os.environ["PATH"]])

MAIN = "3.12" if "3.12" in FOUND else max(FOUND, key=lambda version: int(version.partition(".")[2]))
"""Where one interpreter is enough."""


# --- what sessions share ---------------------------------------------------------------------------------------------


def tool(name: str) -> str:
    """The requirement that `pyproject.toml` states for a tool, where the rest of its extra is not needed."""
    project = nox.project.load_toml(ROOT / "pyproject.toml")["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    return next(text for texts in extras.values() for text in texts if re.match(rf"{name}\b", text))


_dist = tempfile.TemporaryDirectory(prefix="hotswap-wheel-")


def built_wheel(session: nox.Session) -> Path:
    """The wheel of this checkout; the first session that asks for it builds it, with its own pip."""
    folder = Path(_dist.name)
    if not list(folder.glob("*.whl")):
        session.run_install(
            "python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", _dist.name, str(ROOT)
        )
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_wheel(session: nox.Session, *extras: str) -> None:
    """Install the wheel with extras; a reused environment gets the new build although its version is the same."""
    wheel = built_wheel(session)
    session.install("--quiet", f"hotswap[{','.join(extras)}] @ {wheel.as_uri()}")
    session.install("--quiet", "--force-reinstall", "--no-deps", str(wheel))


def absolute(argument: str) -> str:
    """A path within the checkout, as given on the command line, from wherever pytest runs."""
    path, _, _ = argument.partition("::")
    return str(ROOT / argument) if path and not path.startswith("-") and (ROOT / path).exists() else argument


CONFIG = ("--config-file", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT))


def run_pytest(
    session: nox.Session,
    *arguments: str,
    command: tuple[str, ...] = ("pytest",),
    on: Sequence[Path] = (ROOT / "tests",),
) -> None:
    """Run pytest from an empty folder, on what is given behind `--`, or else on parts of the checkout."""
    given = [absolute(argument) for argument in session.posargs]
    if not any(Path(argument.partition("::")[0]).exists() for argument in given):
        given += map(str, on)
    with tempfile.TemporaryDirectory(prefix="hotswap-tests-") as empty, session.chdir(empty):
        session.run(*command, *CONFIG, *arguments, *given)


def size_of(path: Path) -> int:
    """The bytes of a file, or of all sources in a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*.py") if path.is_dir() else [path]))


GROUPS = 6
"""Into how many processes the tests go that need none of their own; a third as many where less is run. Each takes
seconds to start."""

EVERY_NTH_POINT = 20
"""Of the points of `tests/every_point`, on all interpreters but one, which takes them all."""

TURNS = 40
"""What takes seconds (marked `slow`, or named in `tests/slow.txt`), what does not depend on the interpreter, and all of
what runs on more than one of them, runs in turn: a share of it each day."""

ONCE = (
    *("adapters", "admin", "cli", "crash", "gallery", "hostile", "property"),
    *("races/test_requests.py", "races/test_shadows.py"),
    *("test_aliases.py", "test_audit.py", "test_bake.py", "test_bake_asgi.py", "test_bake_evidence.py"),
    *("test_bake_unhandled.py", "test_generation_abandoned.py", "test_watching_rests.py"),
    *("test_checks_course.py", "test_checks_kinds.py", "test_checks_pytest.py", "test_comparison.py", "test_demo.py"),
    "test_dependents.py",
    *("test_directories.py", "test_docs_codes.py", "test_effects.py", "test_effects_logging.py"),
    *("test_effects_settings.py", "test_effects_threads.py", "test_enum_registries.py", "test_errors.py"),
    *(
        "test_events.py",
        "test_events_subscribers.py",
        "test_followed.py",
        "test_footing.py",
        "test_holders.py",
        "test_hooks.py",
        "test_house.py",
        "test_load_limit.py",
    ),
    *("test_migration.py", "test_nearby.py", "test_overwritten.py", "test_patcher.py", "test_plain_data.py"),
    *("test_plain_data_outside.py", "test_push.py", "test_registrations.py", "test_rehearsal.py"),
    *("test_rehearsal_cut.py", "test_rehearsal_service.py", "test_rejection.py", "test_rollout.py"),
    *("test_shadow.py", "test_shop.py", "test_state.py", "test_store.py", "test_store_boot.py"),
    *(
        "test_store_damage.py",
        "test_store_drops.py",
        "test_store_exits.py",
        "test_store_imports.py",
        "test_store_starts.py",
        "test_store_trust.py",
        "test_swap_registries.py",
    ),
    *("test_swap_statements.py", "test_tables.py", "test_telemetry_otel.py"),
    *("test_telemetry_prometheus.py", "test_telemetry_reference.py", "test_telemetry_spans.py", "test_testing.py"),
    *("test_testing_candidates.py", "test_testing_fakes.py", "test_testing_verdicts.py", "test_trust.py"),
    "test_trust_minisign.py",
    *("test_verification_limits.py", "test_watch_failures.py", "test_watch_forks.py", "test_watch_limits.py"),
    *("test_watch_processes.py", "test_watch_torture.py", "test_watching.py"),
)
"""What runs on one interpreter, and not on Pyodide: files, the log, what is decided about a patch, programs of their
own; and frameworks, which run on each interpreter. What is left depends on the interpreter: frames, code,
functions, classes, calls in flight. `nox -s everywhere` runs all tests on all interpreters."""

PYODIDE_TURNS = 6
"""In how many parts the files are run that are run there in turn."""

FIRST_ON_PYODIDE = ("cpython", "test_definitions.py", "test_forwarding.py", "test_closures.py", "test_swap_modules.py")
"""What always runs there; of the rest that depends on the interpreter, some files in turn."""

TOGETHER = ("attrs", "click", "discovery", "ordering", "overlay", "route", "typer")
"""Adapters whose tests take less time than a process to start, and whose frameworks are small."""


def suite(*, once: bool, groups: int) -> list[list[Path]]:
    """The suite in parts, the longest first, so that no core waits for it at the end. A process runs each.

    Arguments:
        once: with what is run on one interpreter only.
        groups: into how many processes the tests go that need none of their own.

    Staging looks at every module of the process, the tests among them, and a process imports what any of its tests
    imports: frameworks, HTTP clients, hypothesis. All tests in one process would take half as long again.
    """
    folder = ROOT / "tests"
    # The examples have a session of their own, and so have the minutes of stress; Pyodide is another interpreter.
    elsewhere = [folder / "test_docs.py", folder / "stress", folder / "pyodide"]
    elsewhere += [] if once else [folder / name for name in ONCE]
    longest = folder / "every_point"  # some thousand swaps, told by few lines
    apart = [folder / name for name in ("admin", "cli", "property", "hostile", "gallery")]
    apart += [folder / name for name in ("test_watching.py", "test_demo.py", "test_shop.py")]
    apart = [path for path in apart if path not in elsewhere]
    frameworks: dict[str, list[Path]] = {}
    for path in sorted((folder / "adapters").glob("test_*.py")):
        framework = path.stem.split("_")[1]
        frameworks.setdefault("together" if framework in TOGETHER else framework, []).append(path)
    others: list[list[Path]] = [[] for _ in range(groups)]
    for path in sorted(folder.rglob("test_*.py"), key=size_of, reverse=True):
        if not any(path.is_relative_to(other) for other in (*elsewhere, *apart, longest, folder / "adapters")):
            min(others, key=lambda part: sum(map(size_of, part))).append(path)
    parts = [*([path] for path in apart), *frameworks.values(), *others]
    return [[longest], *sorted(parts, key=lambda part: sum(map(size_of, part)), reverse=True)]


def turn_of(session: nox.Session) -> int:
    """Whose turn it is: the next one each day, or that of HOTSWAP_TURN."""
    turn = int(os.environ.get("HOTSWAP_TURN") or datetime.now(tz=UTC).toordinal() % TURNS + 1)
    session.log(f"of what runs in turn, this is turn {turn} of {TURNS}: HOTSWAP_TURN={turn} runs it again")
    return turn


def run_together(session: nox.Session, commands: Iterable[Sequence[str]]) -> None:
    """Run commands from an empty folder, one for each core at a time; what each printed is shown when it has ended."""
    env = {key: value for key, value in {**os.environ, **session.env}.items() if value is not None}
    env["PATH"] = os.pathsep.join([*(session.bin_paths or ()), os.environ["PATH"]])
    with (
        tempfile.TemporaryDirectory(prefix="hotswap-tests-") as empty,
        ThreadPoolExecutor(os.cpu_count() or 1) as pool,
    ):

        def run(command: Sequence[str]) -> tuple[str, str]:
            try:
                ran = subprocess.run(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    cwd=empty,
                    env=env,
                    timeout=PART_LIMIT,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                return (error.output or b"").decode(errors="replace"), f"did not end within {PART_LIMIT} s"
            return ran.stdout.decode(errors="replace"), f"failed with exit code {ran.returncode}" * bool(ran.returncode)

        running = {pool.submit(run, command): " ".join(command) for command in commands}
        failed = []
        for ended in as_completed(running):
            printed, reason = ended.result()
            session.log(running[ended])
            sys.stdout.write(printed)
            sys.stdout.flush()
            failed += [f"{running[ended]} {reason}"] * bool(reason)
    if failed:
        session.error("; ".join(failed))


# --- sessions --------------------------------------------------------------------------------------------------------


_running: list[tuple[subprocess.Popen[bytes], Path]] = []
"""The sessions beside the suite, and what they have printed; they end with this process."""


@nox.session(venv_backend="none")
def beside(session: nox.Session) -> None:
    """Start the other sessions, which run at the same time as the suite."""
    printed = Path(_dist.name) / "beside.log"
    command = [sys.executable, "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), "--sessions", *BESIDE]
    with printed.open("wb") as file:
        # A process group of its own, so that it can be ended as a whole.
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    _running.append((started, printed))
    atexit.register(_end, started)
    session.log(f"{', '.join(BESIDE)} run beside the suite; `rest` shows what they say")


def _end(started: subprocess.Popen[bytes]) -> None:
    if started.poll() is None:
        if not hasattr(os, "killpg"):
            started.terminate()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)


@nox.session(venv_backend="none")
def rest(session: nox.Session) -> None:
    """Wait for the other sessions, and show what they have printed."""
    for started, printed in _running:
        code = started.wait()
        sys.stdout.write(printed.read_text(encoding="utf-8", errors="replace"))
        sys.stdout.flush()
        if code:
            session.error("a session beside the suite failed; see above")


@nox.session(python=MAIN)
def lint(session: nox.Session) -> None:
    """Format and lint."""
    session.install("--quiet", tool("ruff"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session(python=MAIN)
def types(session: nox.Session) -> None:
    """Types of the package, the tests and the examples."""
    install_wheel(session, "demo", "docs", "lint", "test")
    session.install("--quiet", tool("nox"))
    # What users see of the types; this is the session that has mypy.
    run_pytest(session, "-m", "not stress", "-k", "mypy", on=[ROOT / "tests" / "test_events.py"])
    # The checkout is what is checked; an installed copy beside it would be another module of the same name.
    session.run("python", "-m", "pip", "uninstall", "--quiet", "--yes", "hotswap")
    session.run("mypy")


@nox.session(python=MAIN)
def floors(session: nox.Session) -> None:
    """Imports point down only."""
    session.install("--quiet", tool("import-linter"))
    session.run("lint-imports", "--no-cache")


@nox.session(python=list(FOUND))
def tests(session: nox.Session) -> None:
    """The test suite, most of it in turn: docs/explanation/testing.md has which tests run where."""
    whole = session.python == MAIN
    # With the tools of the comparison: what is said of them is tested, in turn, where all else is tested once.
    install_wheel(session, "demo", "test", *(["bench"] if whole else []))
    chosen = ("-m", "not stress")
    if session.posargs:
        run_pytest(session, *chosen, "--dist", "worksteal", "-n", "auto")
        return
    turn = turn_of(session)
    # Another share on each interpreter.
    session.env["HOTSWAP_SHARE"] = f"{(turn + list(FOUND).index(str(session.python))) % TURNS + 1}/{TURNS}"
    session.env["HOTSWAP_SHARED"] = os.pathsep.join(ONCE if whole else (".",))
    if not whole:
        session.env["HOTSWAP_EVERY_NTH_POINT"] = str(EVERY_NTH_POINT)
    run_suite(session, suite(once=whole, groups=GROUPS if whole else GROUPS // 3), slow=whole)


@nox.session(python=list(FOUND))
def everywhere(session: nox.Session) -> None:
    """All tests, the slow ones too, on every supported interpreter that is there: for each half an hour or more."""
    install_wheel(session, "demo", "test")
    run_suite(session, suite(once=True, groups=GROUPS), slow=True)


def run_suite(session: nox.Session, parts: Iterable[Sequence[Path]], *, slow: bool) -> None:
    """Run parts of the suite, a process for each core at a time.

    Arguments:
        session: the session.
        parts: what each process runs.
        slow: with the slow tests; the points of `tests/every_point` always run.
    """
    pytest = (str(Path(session.bin) / "python"), "-m", "pytest", *CONFIG, "-p", "no:xdist", "-m")
    commands = []
    for part in parts:
        with_slow = slow or part == [ROOT / "tests" / "every_point"]
        commands.append((*pytest, "not stress" if with_slow else "not stress and not slow", *map(str, part)))
    run_together(session, commands)


@nox.session(python=MAIN)
def coverage(session: nox.Session) -> None:
    """Branch coverage of what the fast tests reach, against a floor that only rises."""
    install_wheel(session, "demo", "test")
    with tempfile.TemporaryDirectory(prefix="hotswap-coverage-") as data:
        session.env["COVERAGE_FILE"] = str(Path(data) / "coverage")
        session.env["COVERAGE_RCFILE"] = str(ROOT / "pyproject.toml")
        run_pytest(session, "-m", "not slow and not stress", command=("coverage", "run", "-m", "pytest"))
        # Combining maps the installed files to those of the checkout.
        session.run("coverage", "combine", "--quiet", data)
        session.run("coverage", "report")


@nox.session(python=MAIN)
def docs(session: nox.Session) -> None:
    """Run every example, then build the documentation with warnings as errors."""
    install_wheel(session, "demo", "docs", "test")
    run_pytest(session, "-n", "auto", on=[ROOT / "tests" / "test_docs.py"])
    output = Path(session.create_tmp()) / "html"
    session.run("sphinx-build", "--quiet", "--fail-on-warning", "--fresh-env", "docs", str(output))
    session.log(f"the documentation is in {output}")


@nox.session(python=MAIN)
def pyodide(session: nox.Session) -> None:
    """The single-threaded tests on CPython 3.14, as Pyodide in Node."""
    missing = [tool for tool in ("node", "npm") if shutil.which(tool) is None]
    if missing:
        text = f"{' and '.join(missing)} not found: install Node.js with npm to run the tests on Pyodide"
        session.error(text) if IN_CI else session.skip(text)
    folder = Path(session.create_tmp())
    here = ROOT / "tests" / "pyodide"

    wanted = json.loads((here / "package.json").read_text(encoding="utf-8"))["dependencies"]["pyodide"]
    installed = folder / "node_modules" / "pyodide" / "package.json"
    if not installed.is_file() or json.loads(installed.read_text(encoding="utf-8"))["version"] != wanted:
        shutil.copy(here / "package.json", folder)
        quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error")
        session.run_install("npm", "install", *quiet, "--prefix", str(folder), external=True)

    site = folder / "site"
    if site.exists():
        shutil.rmtree(site)
    pure = ("--python-version", AS_PYODIDE, "--implementation", "py", "--abi", "none", "--platform", "any")
    into = ("--quiet", "--target", str(site), "--only-binary", ":all:", *pure)
    session.install(*into, "--requirement", str(here / "requirements.txt"))
    # Without its dependencies: watchdog has no wheel for WebAssembly, and is imported only by what watches.
    session.install(*into, "--no-deps", str(built_wheel(session)))

    node = ["node", str(here / "run.mjs"), str(folder.resolve()), str(ROOT)]
    node += ["-m", "not threads and not slow and not stress"]
    if session.posargs:
        run_together(session, [[*node, *session.posargs]])
        return
    # There is no pytest-xdist for it, and it is five times slower: interpreters for all cores take a part of the files.
    node += [f"--ignore-glob=/checkout/tests/{name}" for name in ONCE]
    cores = min(os.cpu_count() or 1, 4)
    first, parts = (turn_of(session) - 1) % PYODIDE_TURNS * cores, cores * PYODIDE_TURNS
    always = [f"tests/{name}" for name in FIRST_ON_PYODIDE]
    run_together(
        session, [[*node, *always], *([*node, "--part", f"{first + number + 1}/{parts}"] for number in range(cores))]
    )


@nox.session(venv_backend="none")
def interpreters(session: nox.Session) -> None:
    """Say which interpreters the tests ran on, and which were not found; in CI, a missing one is a failure."""
    session.log(f"tests ran on {', '.join(f'{version} ({path})' for version, path in FOUND.items())}")
    missing = [version for version in SUPPORTED if version not in FOUND]
    if AS_PYODIDE in missing:
        missing.remove(AS_PYODIDE)
        session.log(f"no interpreter found for {AS_PYODIDE}: its tests ran as Pyodide in Node, without threads")
    if not missing:
        return
    text = f"no interpreter found for {', '.join(missing)}: nothing was tested there"
    session.error(text) if IN_CI else session.warn(text)


@nox.session(python=MAIN)
def stress(session: nox.Session) -> None:
    """A thousand swaps under load, and long requests through five hundred: minutes, most of it in subprocesses."""
    install_wheel(session, "demo", "test")
    run_pytest(session, "-m", "stress", "-o", "timeout=1800")


@nox.session(python=MAIN)
def releases(session: nox.Session) -> None:
    """Real releases of real packages, patched while their tests hold them; minutes, and a GiB of cache.

    The corpus lies beside the project, or where HOTSWAP_CORPUS says; what it downloads is kept in CORPUS_CACHE, or else
    with the session. What is given behind `--` goes to its runner: `nox -s releases -- --pair click`.
    """
    corpus = Path(os.environ.get("HOTSWAP_CORPUS", ROOT.parent / "shared" / "corpus"))
    if not (corpus / "run.py").is_file():
        session.error(f"there is no corpus of releases in {corpus}; say where it is with HOTSWAP_CORPUS")
    install_wheel(session)
    session.env.setdefault("CORPUS_CACHE", str(Path(session.create_tmp()) / "cache"))
    report = Path(session.create_tmp()) / "releases.json"
    arguments = ["--tool", "hotswap", "--tool-path", str(ROOT), "--json", str(report), *session.posargs]
    session.run("python", str(corpus / "run.py"), *arguments)
    session.log(f"every test that was lost, and why, is in {report}")


@nox.session(python=MAIN)
def bench(session: nox.Session) -> None:
    """Measure calls, pauses and the way from drop to live, against the rivals, in one run."""
    install_wheel(session, "bench", "demo")
    with tempfile.TemporaryDirectory(prefix="hotswap-bench-") as empty, session.chdir(empty):
        session.run("python", str(ROOT / "bench"), *session.posargs)
