"""A service for tests of the command line: `python -m tests.cli.till FOLDER`, which ends when its stdin does.

It has a package `till`, a control socket `s` in the folder, and the admin app at `/ops` on a port that it prints.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

import hotswap
from hotswap.admin import Access, Tokens
from hotswap.asgi import admin
from hotswap.control import ControlSocket
from tests.waiting import until

SOURCES = {
    "__init__.py": "__version__ = '1.0'\n",
    "prices.py": "NAME = 'first'\n\n\ndef price():\n    return 10\n",
    "kinds.py": "import enum\n\n\nclass Kind(enum.IntEnum):\n    BOOK = 1\n",
    "loops.py": "import time\n\n\ndef for_ever():\n    while True:\n        time.sleep(0.01)\n"
    "\n\nclass Belt:\n    @property\n    def turning(self):\n        while True:\n            time.sleep(0.01)\n",
}


def main() -> None:
    folder = Path(sys.argv[1])
    (folder / "till").mkdir()
    for name, text in SOURCES.items():
        (folder / "till" / name).write_text(text)
    sys.path.insert(0, str(folder))
    from till import kinds, loops, prices  # type: ignore[import-not-found]  # written just now

    assert kinds
    threading.Thread(target=loops.for_ever, name="looper", daemon=True).start()
    threading.Thread(target=lambda: loops.Belt().turning, name="belt", daemon=True).start()
    patcher = hotswap.Patcher(["till"], check_timeout=20)

    @patcher.check
    def price_is_positive(candidate: Any) -> None:
        assert candidate["till.prices"].price() > 0, "a price has to be positive"

    @patcher.check
    def patience(candidate: Any) -> None:
        while candidate["till.prices"].NAME == "slow" and not (folder / "go").exists():
            time.sleep(0.01)

    @patcher.probe(every=0.1, failures=1)
    def not_unlucky() -> None:
        assert sys.modules["till.prices"].price() != 13, "unlucky"

    assert prices
    tokens = Tokens(
        {
            "a-token-that-reads": Access("dashboard"),
            "a-token-that-writes": Access("pipeline", write=True),
        }
    )
    app = Starlette(routes=[Mount("/ops", admin(patcher, authorize=tokens))])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    threading.Thread(target=server.run, daemon=True).start()
    with ControlSocket(patcher, folder / "s"):
        assert until(lambda: server.started)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
