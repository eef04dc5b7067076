"""That the session `pyodide` runs where it says it runs."""

from __future__ import annotations

import sys
import threading

import pytest

import hotswap


class TestInterpreter:
    def test_is_cpython_3_14(self) -> None:
        assert sys.version_info[:2] == (3, 14)
        assert sys.implementation.name == "cpython"

    def test_is_webassembly_without_threads(self) -> None:
        assert sys.platform == "emscripten"
        with pytest.raises(RuntimeError):
            threading.Thread(target=print).start()

    def test_has_the_wheel_and_not_the_checkout(self) -> None:
        assert hotswap.__file__ == "/site-packages/hotswap/__init__.py"

    def test_does_without_watchdog(self) -> None:
        assert "watchdog" not in sys.modules
