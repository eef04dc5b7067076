"""Every Python example of the README and of the documentation is executed, page by page, from top to bottom.

A page runs in a copy of `examples/shop`, with that folder on `sys.path`: it may `import shop`, and the patches of the
demo lie in `patches/`. Nothing is skipped; what is not meant to run is not marked as Python. Pages about programs and
shells are followed by `test_followed.py` instead.
"""

from __future__ import annotations

import doctest
import gc
import re
import shutil
from pathlib import Path

import pytest
from sybil import Document
from sybil.parsers.myst import PythonCodeBlockParser

from tests.following import FOLLOWED

pytestmark = pytest.mark.threads

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(
    (ROOT / "docs").rglob("*.md")
)
PARSER = PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)

UNSEEN = re.compile(
    r"^\s*```+\s*(py|py3|python3|pycon|\{doctest\}|(\{\S+\}\s*)(py|py3|python3|pycon))\s*$", re.MULTILINE
)
"""Other ways to mark Python, which the parser does not look for: an example in one of them would never run."""


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example service, as the working directory and on `sys.path`."""
    gc.collect()  # what other pages have made lies in circles: adapters would find it, and lead it on as well
    folder = tmp_path / "shop"
    shutil.copytree(ROOT / "examples" / "shop", folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


class TestExamples:
    @pytest.mark.parametrize("page", [page for page in PAGES if page not in FOLLOWED], ids=names)
    @pytest.mark.usefixtures("shop")
    def test_run(self, page: Path) -> None:
        for example in Document.parse(str(page), PARSER):
            example.evaluate()

    @pytest.mark.parametrize("page", PAGES, ids=names)
    def test_are_marked_as_python(self, page: Path) -> None:
        marks = [match[0].strip() for match in UNSEEN.finditer(page.read_text(encoding="utf-8"))]
        assert marks == []

    def test_the_readme_has_some(self) -> None:
        assert list(Document.parse(str(ROOT / "README.md"), PARSER))
