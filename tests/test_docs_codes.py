"""The reference is complete: a section for every code of an unsupported change, every error, and every event."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from hotswap import errors
from hotswap.events import EVENT_NAMES

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"

MAKERS = ("Change", "refuse")
"""What makes an unsupported change; the first argument is its code."""


def sections(page: str) -> list[str]:
    """The headings of the second level, in their order."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    outside_of_code = re.sub(r"^(```+)\w*\n.*?^\1\s*$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [match[1].strip() for match in re.finditer(r"^## (.+)$", outside_of_code, re.MULTILINE)]


def codes() -> set[str]:
    """The codes that stand in the sources of the swap and of the adapters."""
    found = set()
    for path in sorted(path for room in ("swap", "adapters") for path in (ROOT / "hotswap" / room).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS:
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    found.add(str(code.value))
                else:
                    # `refuse` itself hands its first argument on; anywhere else a code would escape this test.
                    assert ast.unparse(code) == "code", f"{path.name}:{node.lineno}: {ast.unparse(node)}"
    return found


class TestCodes:
    def test_there_are_some(self) -> None:
        assert {"slots-changed", "free-threaded"} <= codes()

    def test_each_has_its_section_and_each_section_its_code(self) -> None:
        assert sorted(sections("unsupported-changes.md")) == sorted(codes())


class TestErrors:
    def test_each_has_its_section(self) -> None:
        assert sorted(sections("errors.md")) == sorted(errors.__all__)


class TestCodesOfErrors:
    def test_each_is_told(self) -> None:
        """Every `code=` of an error stands in a table of errors.md, and nothing else does."""
        found: set[str] = set()
        for path in sorted(
            path for room in ("trust", "watching", "rehearsal") for path in (ROOT / "hotswap" / room).glob("*.py")
        ):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.keyword) and node.arg == "code" and not isinstance(node.value, ast.Attribute):
                    found |= (
                        {"file", "directory"} if not isinstance(node.value, ast.Constant) else {str(node.value.value)}
                    )
        owners = {f"{what}-{wrong}" for what in found & {"file", "directory"} for wrong in ("owner", "writable")}
        text = (REFERENCE / "errors.md").read_text(encoding="utf-8")
        cells = re.findall(r"^\| (`[a-z-]+`(?:, `[a-z-]+`)*) \|", text, re.MULTILINE)
        told = [code for cell in cells for code in re.findall(r"`([a-z-]+)`", cell)]
        assert sorted(told) == sorted(found - {"file", "directory"} | owners)


class TestEvents:
    def test_each_has_its_section(self) -> None:
        assert sorted(set(sections("events.md")) & EVENT_NAMES) == sorted(EVENT_NAMES)
