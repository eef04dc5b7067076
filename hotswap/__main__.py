"""`python -m hotswap`."""

from __future__ import annotations

from hotswap.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
