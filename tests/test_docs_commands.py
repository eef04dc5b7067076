"""Command lines in the documentation that no page executes: jobs of a CI, manifests, and what stands in a sentence."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotswap.cli import core
from tests.following import ROOT, File, Typed, steps

yaml = pytest.importorskip("yaml", reason="what reads jobs and manifests")
typer = pytest.importorskip("typer", reason="the command line is made of it")

pytestmark = pytest.mark.threads

PAGES = sorted(path for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if path.name != "changelog.md")
OTHERS = ("bench",)
"""What takes any options, and hands them on."""

_BLOCK = re.compile(r"^(`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^\1$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`((?:python -m )?hotswap [^`\n]+)`(?!`)")
_SEPARATORS = {"|", "||", "&&", ";", ">", ">>", "<", "&", "2>&1", ")"}


def commands_in(script: str) -> Iterator[list[str]]:
    """The arguments of each `hotswap` that a shell would run."""
    for line in script.replace("\\\n", " ").splitlines():
        if not re.match(r"\s*(\$ |\w+=\S+ )*(python -m )?hotswap ", line):
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split = True
        words = list(lexer)
        words = words[words.index("hotswap") + 1 :]
        end = next((place for place, word in enumerate(words) if word in _SEPARATORS), len(words))
        yield words[:end]


def options_of(name: str) -> set[str]:
    if name in core.COMMANDS:
        known = core.parameters(name)
        return {option for one in known for option in one.option_strings} | {"--help", "-h"}
    return {option for one in commands()[name].params for option in (*one.opts, *one.secondary_opts)} | {"--help"}


def commands() -> dict[str, Any]:
    from hotswap.cli.app import app

    found: dict[str, Any] = typer.main.get_command(app).commands
    return found


def check(arguments: list[str]) -> None:
    """Have a command line read as it would be, and not run."""
    name, *rest = arguments
    if name.startswith("-") or name in OTHERS:
        return
    if name in core.COMMANDS:
        parser, _ = core._parser()
        assert isinstance(parser.parse_args(arguments), argparse.Namespace)
    else:
        commands()[name].make_context(name, list(rest))


def scripts(text: str) -> Iterator[str]:
    for block in _BLOCK.finditer(text):
        if block["info"].strip() in ("console", "sh", "bash", "{code-block} console", "{code-block} sh"):
            yield block["body"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestEachPage:
    def test_in_blocks(self, page: Path) -> None:
        for script in scripts(page.read_text(encoding="utf-8")):
            for arguments in commands_in(script):
                check(arguments)

    def test_in_sentences(self, page: Path) -> None:
        """Arguments are often words for what stands there; commands and options are what they are."""
        for code in _INLINE.findall(page.read_text(encoding="utf-8")):
            name, *rest = code.partition("hotswap ")[2].split()
            if name.startswith("-") or name in OTHERS or not name.isalpha():
                continue
            assert name in {*core.COMMANDS, *commands()}, code
            named = {word.strip("[],").partition("=")[0] for word in rest if word.strip("[").startswith("--")}
            assert named <= options_of(name), code


@pytest.mark.parametrize(
    "line", ["apply a.whl --nonsense", "push a.whl drops --wait soon", "sign", "history --limit x"]
)
def test_what_makes_no_sense_is_seen(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such option|valid|missing|wait"):
        check(shlex.split(line))


def test_there_are_some() -> None:
    found = [
        one for page in PAGES for script in scripts(page.read_text(encoding="utf-8")) for one in commands_in(script)
    ]
    assert {"apply", "plan", "sign", "verify", "push", "status", "history"} <= {one[0] for one in found}


def files_of(page: str) -> dict[str, str]:
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    return {step.name: step.text for step in steps(text) if isinstance(step, File)}


def typed_on(page: str) -> set[str]:
    text = (ROOT / "docs" / "how-to" / page).read_text(encoding="utf-8")
    return {step.command or "" for step in steps(text) if isinstance(step, Typed)}


@pytest.mark.skipif(shutil.which("git") is None or os.name != "posix", reason="the jobs are for a POSIX shell, and git")
class TestJobs:
    """What a job runs, but `deploy.sh`, which `test_followed.py` runs with the same arguments, and pip."""

    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        origin, folder = tmp_path / "origin", tmp_path / "checkout"
        for command in (
            f"git init --quiet --bare {origin}",
            f"git init --quiet {folder}",
            f"git -C {folder} remote add origin {origin}",
            f"git -C {folder} -c user.name=a -c user.email=a@b commit --quiet --allow-empty -m one",
            f"git -C {folder} tag live",
            f"git -C {folder} push --quiet origin live",
            f"git -C {folder} -c user.name=a -c user.email=a@b commit --quiet --allow-empty -m two",
        ):
            subprocess.run(shlex.split(command), check=True)
        return folder

    @staticmethod
    def run(script: str, folder: Path, **env: str) -> None:
        done = subprocess.run(["bash", "-e", "-c", script], cwd=folder, env={**os.environ, **env}, check=False)
        assert done.returncode == 0, script

    @staticmethod
    def needed() -> set[str]:
        """The variables without which the script ends."""
        script = files_of("pipeline.md")["deploy.sh"]
        return set(re.findall(r"\$([A-Z_]+)", script)) | set(re.findall(r"\$\{([A-Z_]+)", script)) | {"HOTSWAP_URL"}

    def test_github(self, checkout: Path) -> None:
        workflow = yaml.safe_load(files_of("pipeline.md")[".github/workflows/deploy.yml"])
        assert workflow[True] == {"push": {"tags": ["v*"]}}  # `on`, as YAML 1.1 reads it
        [job] = workflow["jobs"].values()
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
        assert self.needed() <= set(job["env"])
        [last] = [step["with"]["path"] for step in job["steps"] if "ref" in step.get("with", {})]
        scripts = [(step["run"], step.get("env", {})) for step in job["steps"] if "run" in step]
        assert f"sh deploy.sh {last}" in typed_on("pipeline.md") & {script for script, _ in scripts}
        for script, env in scripts:
            if "pip install" not in script and "deploy.sh" not in script:
                self.run(script, checkout, **job["env"], **{name: f"secret {name}" for name in env})
        for name in ("TOKEN_FILE", "HOTSWAP_KEY"):
            file = checkout / job["env"][name]
            assert (file.read_text()[:7], file.stat().st_mode & 0o077) == ("secret ", 0)
        assert self.live_of(checkout) == "two"
        [kept] = [step["with"]["path"].split() for step in job["steps"] if "artifact" in step.get("uses", "")]
        assert all(f"> {name}" in files_of("pipeline.md")["deploy.sh"] for name in kept)

    def test_gitlab(self, checkout: Path) -> None:
        jobs = yaml.safe_load(files_of("pipeline.md")[".gitlab-ci.yml"])
        [job] = jobs.values()
        files = {"TOKEN_FILE", "HOTSWAP_KEY"}  # variables of the type file, which the page says
        assert self.needed() - files <= set(job["variables"])
        assert "sh deploy.sh last" in typed_on("pipeline.md") & set(job["script"])
        for script in job["script"]:
            if "pip install" not in script and "deploy.sh" not in script:
                self.run(script, checkout)
        assert self.subject(checkout / "last") == "one"
        # A runner that keeps its folder clears it so, and fetches again.
        self.run("git clean -ffdx", checkout)
        assert not (checkout / "last").exists()
        self.run(job["script"][1], checkout)
        assert self.subject(checkout / "last") == "one"
        assert all(f"> {name}" in files_of("pipeline.md")["deploy.sh"] for name in job["artifacts"]["paths"])

    @staticmethod
    def subject(folder: Path, *what: str) -> str:
        command = ["git", "log", "-1", "--format=%s", *what]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    def live_of(self, checkout: Path) -> str:
        return self.subject(checkout.parent / "origin", "live")


class TestCluster:
    def test_the_manifest(self) -> None:
        files = files_of("configmap.md")
        found = yaml.safe_load(files["deployment.yaml"])
        assert (found["apiVersion"], found["kind"]) == ("apps/v1", "Deployment")
        template = found["spec"]["template"]
        assert found["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        [container] = template["spec"]["containers"]
        program, *arguments = container["command"]
        assert program == "hotswap"
        parser, _ = core._parser()
        told = parser.parse_args(arguments)
        mounts = {one["name"]: one for one in container["volumeMounts"]}
        volumes = {one["name"]: one for one in template["spec"]["volumes"]}
        assert mounts.keys() == volumes.keys()
        assert not any("subPath" in one for one in mounts.values())
        # What is mounted is where the service of the page looks.
        where = container["workingDir"]
        assert mounts["patches"]["mountPath"] == f"{where}/patches"
        assert 'patcher.watch("patches"' in files["service.py"]
        assert mounts["var"]["mountPath"] == f"{where}/{told.store}"
        assert f'store="{told.store}"' in files["service.py"]
        assert told.program in files
        [kubectl] = re.findall(
            r"`(kubectl create .*?)`", (ROOT / "docs/how-to/configmap.md").read_text(encoding="utf-8")
        )
        assert volumes["patches"]["configMap"]["name"] == shlex.split(kubectl)[3]

    @pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
    def test_kubectl(self, tmp_path: Path) -> None:
        [line] = re.findall(r"`(kubectl create .*?)`", (ROOT / "docs/how-to/configmap.md").read_text(encoding="utf-8"))
        (tmp_path / "dist").mkdir()
        wheel = "depot-1.1.0-py3-none-any.whl"
        (tmp_path / "dist" / wheel).write_bytes(b"PK\xff\xfe")
        (tmp_path / "dist" / f"{wheel}.minisig").write_text("four lines\n")
        # The other side of the pipe is a cluster.
        command = shlex.split(line.partition("|")[0])
        env = {**os.environ, "HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=True)
        made = yaml.safe_load(done.stdout)
        assert (made["kind"], made["metadata"]["name"]) == ("ConfigMap", "patches")
        assert {*made["data"], *made["binaryData"]} == {wheel, f"{wheel}.minisig"}
