"""The sources of a patch, as Python reads them."""

from __future__ import annotations

import sys
import warnings

import pytest

from hotswap.errors import SourceError
from hotswap.patch import Patch, decode, sources
from tests.trees import refusal

VIM = "#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\n"
WARNS = "PATTERN = '\\d'\nassert (1, 'always true')\nTWO = 2 is 2\n"


class TestDecode:
    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"", ""),
            ("é\n".encode(), "é\n"),
            (b"\xef\xbb\xbfx = 1\n", "x = 1\n"),
            (b"\xef\xbb\xbf# coding: utf-8\nx = '\xc3\xa9'\n", "# coding: utf-8\nx = 'é'\n"),
            (b"# -*- coding: latin-1 -*-\n'\xe9'", "# -*- coding: latin-1 -*-\n'é'"),
            (VIM.encode() + b"'\x80'", VIM + "'€'"),
            (b"# \xe9\n# coding: latin-1\n", "# é\n# coding: latin-1\n"),
            (b"a\r\nb\rc\n", "a\nb\nc\n"),
            (b"# coding: latin-1\r'\xe9'\r", "# coding: latin-1\n'é'\n"),
            (b"x = 1\n# coding: latin-1\n", "x = 1\n# coding: latin-1\n"),
        ],
    )
    def test_reads_as_python_does(self, data: bytes, text: str) -> None:
        assert decode(data) == text
        compile(data, "x.py", "exec")

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"x = 1\r\ny = '\xe9'\n", "line 2: not UTF-8: byte 0xe9"),
            (b"\xef\xbb\xbf\n\xff", "line 2: not UTF-8: byte 0xff"),
            (b"# coding: ascii\n\n\xe9", "line 3: not ascii: byte 0xe9"),
            (b"\n# coding: nosuch\n", "line 2: declares an encoding that Python does not know: nosuch"),
            (b"# coding: rot13\n", "declares an encoding that Python does not know: rot13"),
        ],
    )
    def test_names_the_line(self, data: bytes, text: str) -> None:
        assert text in refusal(SourceError, lambda: decode(data))


class TestCompileSources:
    def test_says_nothing_of_what_is_valid(self) -> None:
        given: dict[str, str | bytes] = {
            "shop": "async def f():\n    await g()\n",
            "shop.a": b"# coding: latin-1\n'\xe9'",
        }
        Patch.from_sources(given).compile_sources()

    def test_executes_nothing(self) -> None:
        Patch.from_sources({"shop": "raise SystemExit('executed')"}).compile_sources()

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"x = 1\ndef f(:\n", "shop/pricing.py:2: invalid syntax"),
            (b"x = (\n\n", "shop/pricing.py:1: '(' was never closed"),
            (b"if x:\npass\n", "shop/pricing.py:2: expected an indented block"),
            (b"if 1:\n\tx\n        y\n", "shop/pricing.py:3: inconsistent use of tabs"),
            (b"x = 1\nreturn x\n", "shop/pricing.py:2: 'return' outside function"),
            (b"from __future__ import nosuch\n", "shop/pricing.py:1: future feature nosuch is not defined"),
            (b"x = 1\ny = '\xe9'\n", "shop/pricing.py:2: not UTF-8: byte 0xe9"),
            (b"x = 1\n# caf\xe9\n", "shop/pricing.py:2: not UTF-8: byte 0xe9"),
            (b"x = 1\n\ny = 2\0\n", "shop/pricing.py:3: contains null bytes"),
            ("x = 1\n".encode("utf-16"), "shop/pricing.py:1: contains null bytes (it looks like UTF-16"),
            (b"#\n# coding: nosuch\n", "shop/pricing.py:2: declares an encoding that Python does not know: nosuch"),
            (b"# coding: undefined\n", "shop/pricing.py:1: not undefined: "),
            (b"\xef\xbb\xbf# coding: latin-1\n", "shop/pricing.py:1: encoding problem"),
            (b"(" * 300 + b")" * 300, "shop/pricing.py:1: too many nested parentheses"),
            (b"-" * 200_000 + b"1", "shop/pricing.py:1: nested too deeply"),
        ],
    )
    def test_names_file_line_and_reason(self, data: bytes, text: str) -> None:
        refused = refusal(SourceError, Patch.from_sources({"shop.pricing": data}, "1.0").compile_sources)
        assert text in refused
        assert refused.startswith("shop 1.0: not valid Python")
        assert "module: shop.pricing" in refused

    def test_names_all_of_them(self) -> None:
        patch = Patch.from_sources({"shop": "x = ", "shop.a": "ok = 1", "shop.b": b"\0", "shop.c": b"\xff"})
        refused = refusal(SourceError, patch.compile_sources)
        assert "3 problems" in refused
        for text in ("shop/__init__.py:1: invalid syntax", "shop/b.py:1: contains null", "shop/c.py:1: not UTF-8"):
            assert text in refused
        assert "shop/a.py" not in refused


class TestWarnings:
    def test_do_not_escape_and_do_not_refuse(self) -> None:
        patch = Patch.from_sources({"shop": WARNS})
        before = list(warnings.filters)
        with warnings.catch_warnings(record=True, action="always") as seen:
            patch.compile_sources()
        assert seen == []
        with warnings.catch_warnings(action="error"):
            patch.compile_sources()
        assert list(warnings.filters) == before

    def test_are_there_if_nobody_keeps_them(self) -> None:
        with warnings.catch_warnings(record=True, action="always") as seen:
            compile(WARNS, "shop.py", "exec")
        assert len(seen) == 3

    @pytest.mark.skipif(
        getattr(sys.flags, "context_aware_warnings", 0) == 1, reason="filters belong to a context, not to the process"
    )
    def test_of_others_are_judged_as_before(self) -> None:
        with sources._quiet(), pytest.raises(SyntaxError, match="Did you mean"):
            compile("1 is 1", "shop.py", "exec")  # an error by the filters that pytest runs with
        with sources._quiet(), pytest.raises(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)

    @pytest.mark.skipif(
        getattr(sys.flags, "context_aware_warnings", 0) == 1, reason="filters belong to a context, not to the process"
    )
    def test_filters_that_others_change_meanwhile_stay_as_they_want_them(self) -> None:
        before = list(warnings.filters)
        # Two threads, one step at a time: theirs begins while ours compiles, and ends after it.
        theirs = warnings.catch_warnings()
        with sources._quiet():
            theirs.__enter__()
        theirs.__exit__(None, None, None)
        assert list(warnings.filters) == before
        # And theirs takes all of them away while ours compiles.
        with warnings.catch_warnings(), sources._quiet():
            warnings.resetwarnings()
        assert list(warnings.filters) == before
