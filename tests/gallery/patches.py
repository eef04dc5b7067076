"""The patches of the gallery."""

from __future__ import annotations

from typing import NamedTuple

from tests.gallery.till import SOURCES

__all__ = ["BAD", "GOOD", "Piece"]


class Piece(NamedTuple):
    """One patch: in one module, some text in the place of other text.

    Arguments:
        name: in words.
        module: which one of `till` changes.
        old, new: what is replaced by what; `old` is there exactly once, and empty for the end of the module.
    """

    name: str
    module: str
    old: str
    new: str

    @property
    def source(self) -> str:
        text = SOURCES[self.module]
        if not self.old:
            return text + self.new
        assert text.count(self.old) == 1, self
        return text.replace(self.old, self.new)


_COUNTING = """
_calls = 0


def _third():
    global _calls
    _calls += 1
    if _calls % 3 == 0:
        raise ValueError("the third")
"""

BAD = (
    Piece("off by one", "prices", "return -(-total // size)", "return total // size + 1"),
    Piece("a wrong sign", "prices", "return total - total", "return total + total"),
    Piece("a keyword is gone", "prices", 'kind="other", *, count=1):', 'kind="other"):\n    count = 1'),
    Piece(
        "a parameter has another name",
        "prices",
        "def discount(total, percent=0):",
        "def discount(total, rate=0):\n    percent = rate",
    ),
    Piece("a function is gone that others call", "prices", "def unique(names):", "def distinct(names):"),
    Piece(
        "a misspelt name in a rare branch",
        "prices",
        "    return total - total",
        "    if percent > 50:\n        percnt = min(percent, 90)\n        percent = percet\n    return total - total",
    ),
    Piece(
        "a float in the place of cents",
        "prices",
        "    tax = net * rate(kind) // 100",
        "    tax = net * rate(kind) / 100",
    ),
    Piece(
        "a call that blocks the event loop",
        "api",
        "    await asyncio.sleep(0)\n",
        "    import time\n\n    time.sleep(0.5)\n    await asyncio.sleep(0)\n",
    ),
    Piece(
        "quadratic by accident",
        "prices",
        "        if name not in seen:\n            seen.add(name)\n",
        "        if name not in found:\n",
    ),
    Piece(
        "a leak",
        "api",
        "def handle(request):",
        "_log = []\n\n\ndef handle(request):\n    _log.append(bytearray(100_000))",
    ),
    Piece(
        "a mutable default",
        "basket",
        "    def __init__(self, owner):\n        self.owner = owner\n        self.lines = []",
        "    def __init__(self, owner, lines=[]):\n        self.owner = owner\n        self.lines = lines",
    ),
    Piece(
        "a deadlock",
        "stock",
        "        _left[name] -= count\n        return _left[name]",
        "        _left[name] -= count\n        return left(name)",
    ),
    Piece("a crash in ctypes, at import", "stock", "", "\nimport ctypes\n\nctypes.string_at(0)\n"),
    Piece(
        "a crash in ctypes, in a call",
        "stock",
        "def left(name):\n",
        "def left(name):\n    import ctypes\n\n    ctypes.string_at(0)\n",
    ),
    Piece("sys.exit at import", "api", "", "\nimport sys\n\nsys.exit(1)\n"),
    Piece("os._exit at import", "api", "", "\nimport os\n\nos._exit(1)\n"),
    Piece("an endless loop at import", "prices", "", "\nwhile True:\n    pass\n"),
    Piece(
        "a thread that an import starts",
        "api",
        "",
        "\nimport threading\nimport time\n\nthreading.Thread(target=time.sleep, args=(3,)).start()\n",
    ),
    Piece("a syntax error", "prices", "def pages(total, size=20):", "def pages(total, size=20)"),
    Piece("a module that is not installed", "api", "import asyncio\n", "import asyncio\n\nimport tilllib\n"),
    Piece(
        "a file that is only on the laptop",
        "prices",
        "",
        '\nfrom pathlib import Path\n\nRATES = eval(Path("rates-of-mine.txt").read_text())\n',
    ),
    Piece(
        "an exception at the third request only",
        "api",
        "def handle(request):",
        _COUNTING.strip() + "\n\n\ndef handle(request):\n    _third()",
    ),
    Piece(
        "an error that is swallowed",
        "stock",
        "            raise LookupError(name)\n        _left[name] -= count\n        return _left[name]",
        (
            "            raise LookupError(name)\n"
            "        try:\n"
            "            _left[name] -= cuont\n"
            "        except Exception:\n"
            "            return None\n"
            "        return _left[name]"
        ),
    ),
    Piece(
        "it waits for another service each time",
        "basket",
        "    basket = Basket(owner)",
        "    import time\n\n    time.sleep(0.05)\n    basket = Basket(owner)",
    ),
    Piece(
        "recursion without an end",
        "basket",
        "    def total(self, percent=0):\n",
        "    def total(self, percent=0):\n        self.total(percent)\n",
    ),
    Piece(
        "a memory bomb at import",
        "prices",
        "",
        ("\nTABLE = [bytearray(1 << 20) for _ in range(700)]\nfor _page in TABLE:\n    _page[:] = b'1' * len(_page)\n"),
    ),
    Piece(
        "a loop that does not end for an empty list",
        "prices",
        "    for name in names:\n",
        "    while not names:\n        pass\n    for name in names:\n",
    ),
    Piece("a rate as a fraction", "prices", '"food": 7', '"food": 0.07'),
    Piece(
        "an await is forgotten",
        "api",
        '    await asyncio.sleep(0)\n    return {"pages": prices.pages(request["total"])',
        '    async def pages():\n        return prices.pages(request["total"])\n\n    return {"pages": pages()',
    ),
    Piece("an import that empties a live table", "prices", "", "\nfrom . import stock\n\nstock._left.clear()\n"),
)

GOOD = (
    Piece("a comment", "prices", "    tax = net", "    # Rounded down, as ever.\n    tax = net"),
    Piece("a docstring", "prices", "def rate(kind):\n", 'def rate(kind):\n    """Percent of tax."""\n'),
    Piece(
        "a new parameter with a default",
        "prices",
        "def discount(total, percent=0):",
        "def discount(total, percent=0, *, floor=0):",
    ),
    Piece(
        "a new function",
        "prices",
        "",
        '\n\ndef net_of(gross, kind="other"):\n    return gross * 100 // (100 + rate(kind))\n',
    ),
    Piece(
        "a new class",
        "basket",
        "",
        "\n\nclass Voucher:\n    def __init__(self, percent):\n        self.percent = percent\n",
    ),
    Piece(
        "a new method",
        "basket",
        "    def total(self, percent=0):",
        "    def empty(self):\n        self.lines.clear()\n\n    def total(self, percent=0):",
    ),
    Piece(
        "a property",
        "basket",
        "    def total(self, percent=0):",
        "    @property\n    def size(self):\n        return len(self.lines)\n\n    def total(self, percent=0):",
    ),
    Piece(
        "another name for a local variable",
        "prices",
        "    tax = net * rate(kind) // 100\n    return (net + tax) * count",
        "    part = net * rate(kind) // 100\n    return (net + part) * count",
    ),
    Piece("annotations", "prices", "def pages(total, size=20):", "def pages(total: int, size: int = 20) -> int:"),
    Piece(
        "a helper of its own",
        "basket",
        (
            "        net = sum(prices.quote(net, kind, count=count) for net, kind, count in self.lines)\n"
            "        return prices.discount(net, percent)"
        ),
        (
            "        return prices.discount(self._gross(), percent)\n"
            "\n"
            "    def _gross(self):\n"
            "        return sum(prices.quote(net, kind, count=count) for net, kind, count in self.lines)"
        ),
    ),
    Piece(
        "a faster algorithm",
        "prices",
        (
            "    seen, found = set(), []\n"
            "    for name in names:\n"
            "        if name not in seen:\n"
            "            seen.add(name)\n"
            "            found.append(name)\n"
            "    return found"
        ),
        "    return list(dict.fromkeys(names))",
    ),
    Piece(
        "a constant with a name", "prices", "def pages(total, size=20):", "SIZE = 20\n\n\ndef pages(total, size=SIZE):"
    ),
    Piece("a cache", "prices", "def rate(kind):", "import functools\n\n\n@functools.lru_cache\ndef rate(kind):"),
    Piece(
        "a dataclass",
        "basket",
        "",
        (
            "\n"
            "\n"
            "import dataclasses\n"
            "\n"
            "\n"
            "@dataclasses.dataclass(frozen=True)\n"
            "class Receipt:\n"
            "    owner: str\n"
            "    total: int\n"
        ),
    ),
    Piece(
        "an exception of its own",
        "stock",
        "def take(name, count=1):",
        "class Missing(LookupError):\n    pass\n\n\ndef take(name, count=1):",
    ),
    Piece("a line in the log", "api", "import asyncio\n", "import asyncio\nimport logging\n"),
    Piece(
        "a decorator",
        "api",
        "def handle(request):",
        (
            "import functools\n"
            "\n"
            "\n"
            "def traced(function):\n"
            "    @functools.wraps(function)\n"
            "    def wrapper(*args, **kwargs):\n"
            "        return function(*args, **kwargs)\n"
            "\n"
            "    return wrapper\n"
            "\n"
            "\n"
            "@traced\n"
            "def handle(request):"
        ),
    ),
    Piece(
        "an early return",
        "prices",
        "    return total - total",
        "    if not percent:\n        return total\n    return total - total",
    ),
    Piece(
        "a coroutine more",
        "api",
        "",
        '\n\nasync def health():\n    await asyncio.sleep(0)\n    return {"left": stock.left("tea")}\n',
    ),
    Piece(
        "a check of arguments",
        "stock",
        "def take(name, count=1):\n",
        'def take(name, count=1):\n    if count < 0:\n        raise ValueError("count: 0 or more")\n',
    ),
)
"""Nothing that anybody is answered by them is another answer."""
