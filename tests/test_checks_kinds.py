"""The checks that come with the library, but for suites: what each finds, and what it does not mind."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import checks
from hotswap.checks import processes
from hotswap.checks.generations import Call, Inputs, resolve
from hotswap.checks.likeness import alike
from hotswap.checks.memories import size, told
from hotswap.checks.speed import NotSlower, limits
from hotswap.verification import Inconclusive, Turn
from tests.judged import LONG, Service

pytestmark = [pytest.mark.threads, pytest.mark.skipif(os.name != "posix", reason="there are no process groups")]

PRICING = """
from dataclasses import dataclass, field

@dataclass
class Quote:
    total: int
    lines: list[str] = field(default_factory=list)

def quote(net: int, country: str = "DE") -> Quote:
    if net < 0:
        raise ValueError(f"no quote for {net}")
    return Quote(net * 119 // 100, [country])

async def quote_later(net: int) -> int:
    return net * 119 // 100

def steps(count: int):
    yield from range(count)

def spoil(basket: list) -> int:
    basket.append(1)
    return len(basket)

def of(other: Quote) -> bool:
    return isinstance(other, Quote)

def work(count: int) -> int:
    return sum(range(count))
"""


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert [path.name for path in folder.iterdir() if path.name.startswith("hotswap-check")] == []


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> Service:
    return Service(make_package, {"pricing.py": PRICING, "tax.py": "RATE = 19\n"})


class TestSameResult:
    def judge(self, service: Service, old: str, new: str, call: Any, inputs: Any, **more: Any) -> tuple[str, str]:
        assert old in PRICING
        if isinstance(call, str):
            call = f"{service.name}.pricing.{call}"
        result = service.judge(checks.same_result(call, inputs, **more), {"pricing": PRICING.replace(old, new)})
        return result.verdict, result.message

    def test_alike(self, service: Service) -> None:
        inputs = [(100,), checks.given(5, country="AT"), -1]
        assert self.judge(service, "net * 119", "119 * net", "quote", inputs) == ("passed", "3 inputs alike")

    def test_the_first_difference_is_shown(self, service: Service) -> None:
        verdict, message = self.judge(service, "net * 119 //", "net * 120 //", "quote", [0, 100, 200])
        assert verdict == "failed"
        assert message == (
            "input 2, (100): live Quote(total=119, lines=['DE']); candidate Quote(total=120, lines=['DE'])"
        )

    def test_exceptions_by_type_and_text(self, service: Service) -> None:
        assert self.judge(service, "no quote for", "no quote for", "quote", [-1])[0] == "passed"
        _, message = self.judge(service, "no quote for", "never", "quote", [-1])
        assert message == "input 1, (-1): live ValueError: no quote for -1; candidate ValueError: never -1"
        assert self.judge(service, "ValueError(", "KeyError(", "quote", [-1])[0] == "failed"
        assert self.judge(service, "net < 0", "net < 1", "quote", [0])[0] == "failed"

    def test_exceptions_of_the_patch_itself(self, make_package: Callable[..., ModuleType]) -> None:
        text = "class Refused(Exception):\n    pass\n\ndef ask(n):\n    raise Refused(n)\n"
        service = Service(make_package, {"a.py": text})
        check = checks.same_result(f"{service.name}.a.ask", [1])
        assert service.judge(check, {"a": text + "# more\n"}).verdict == "passed"
        assert service.judge(check, {"a": text.replace("Refused(n)", "Refused(n + 1)")}).verdict == "failed"

    def test_asynchronous(self, service: Service) -> None:
        new = "async def quote_later(net: int) -> int:\n    return net * 119 // 100"
        assert self.judge(service, new, new + " ", "quote_later", [100])[0] == "passed"
        verdict, message = self.judge(service, new, new + " + (net == 7)", "quote_later", [100, 7])
        assert (verdict, message) == ("failed", "input 2, (7): live 8; candidate 9")

    def test_asynchronous_on_the_loop_of_the_service(self, service: Service) -> None:
        loops: list[object] = []

        async def call(generation: Mapping[str, ModuleType], net: int) -> Any:
            loops.append(asyncio.get_running_loop())
            return await generation[f"{service.name}.pricing"].quote_later(net)

        async def main() -> None:
            service.patcher.check(checks.same_result(call, [1, 2]), timeout=LONG)
            await service.patcher.apply_async(service.patch({"pricing": PRICING + "\n"}))
            assert loops == [asyncio.get_running_loop()] * 4

        asyncio.run(main())

    def test_a_function_that_becomes_asynchronous(self, service: Service) -> None:
        verdict, message = self.judge(service, "def work(", "async def work(", "work", [3])
        assert verdict == "failed"
        assert "it returned an awaitable, and the live version does not" in message

    def test_a_function_of_a_generation(self, service: Service) -> None:
        def total(generation: Mapping[str, ModuleType], net: int) -> Any:
            return generation[f"{service.name}.pricing"].quote(net).total

        assert self.judge(service, "[country]", "[country, country]", total, [100])[0] == "passed"
        assert self.judge(service, "119", "118", total, [100])[0] == "failed"

    def test_generators(self, service: Service) -> None:
        assert self.judge(service, "yield from range(count)", "yield from [*range(count)]", "steps", [3])[0] == "passed"
        verdict, message = self.judge(
            service, "yield from range(count)", "yield from range(count)\n    raise OSError('torn')", "steps", [2]
        )
        assert verdict == "failed"
        assert "live [0, 1]; candidate [0, 1, OSError('torn')]" in message

    def test_asynchronous_generators(self, make_package: Callable[..., ModuleType]) -> None:
        text = "async def count(n):\n    for number in range(n):\n        yield number\n"
        service = Service(make_package, {"a.py": text})
        check = checks.same_result(f"{service.name}.a.count", [2])
        assert service.judge(check, {"a": text + "# more\n"}).message == "1 input alike"
        result = service.judge(check, {"a": text + "    raise OSError('torn')\n"})
        assert result.message == "input 1, (2): live [0, 1]; candidate [0, 1, OSError('torn')]"

    @pytest.mark.parametrize(
        "text",
        [
            "def made(n):\n    return map(lambda m: m + N, [n])\n",
            "async def made(n):\n    async def rows():\n        yield n + N\n    return rows()\n",
            (
                "class Rows:\n    rest = 1\n    def __iter__(self): return self\n    def __next__(self):\n"
                "        if not self.rest: raise StopIteration\n        self.rest -= 1\n        return N + 1\n"
                "def made(n):\n    return Rows()\n"
            ),
        ],
    )
    def test_other_iterators(self, make_package: Callable[..., ModuleType], text: str) -> None:
        service = Service(make_package, {"a.py": text.replace("N", "1")})
        check = checks.same_result(f"{service.name}.a.made", [1])
        assert service.judge(check, {"a": text.replace("N", "(2 - 1)")}).message == "1 input alike"
        assert service.judge(check, {"a": text.replace("N", "2")}).message == "input 1, (1): live [2]; candidate [3]"

    @pytest.mark.parametrize("kind", ["", "async "])
    def test_an_endless_one_that_the_service_keeps_is_closed(
        self, make_package: Callable[..., ModuleType], kind: str
    ) -> None:
        text = (
            "KEPT, ENDED = [], []\nKIND def rows(n):\n    try:\n        while True: yield n\n"
            "    finally: ENDED.append(n)\ndef made(n):\n    KEPT.append(rows(n))\n    return KEPT[-1]\n"
        ).replace("KIND ", kind)
        service = Service(make_package, {"a.py": text})
        ended = sys.modules[f"{service.name}.a"].ENDED

        def compare(old: list[int], new: list[int]) -> bool:
            return old == new and ended == [1]

        check = checks.same_result(f"{service.name}.a.made", [1], compare=compare)
        assert service.judge(check, {"a": text + "# more\n"}).message == "1 input alike"

    def test_a_file_is_not_read(self, make_package: Callable[..., ModuleType]) -> None:
        text = "import io\nFILE = io.StringIO('a line')\ndef made():\n    return FILE\n"
        service = Service(make_package, {"a.py": text})
        check = checks.same_result(f"{service.name}.a.made", [()], compare=lambda old, new: old.read() == new.read())
        assert service.judge(check, {"a": text + "# more\n"}).verdict == "passed"
        assert sys.modules[f"{service.name}.a"].FILE.tell() == 6

    @pytest.mark.parametrize(
        ("text", "call"),
        [
            ("def made(n): return n\n", "made"),
            ("async def made(n): return n\n", "made"),
            ("async def made(n): yield n\n", "made"),
            ("class made:\n    def __init__(self, n): pass\n", "made"),
            ("import contextlib\n@contextlib.contextmanager\ndef made(n): yield n\n", "made"),
            ("def made(n): return n\n", None),
        ],
    )
    def test_inputs_that_do_not_fit_compare_nothing(
        self, make_package: Callable[..., ModuleType], text: str, call: str | None
    ) -> None:
        service = Service(make_package, {"a.py": text})
        module = f"{service.name}.a"
        subject: Any = f"{module}.{call}"
        if call is None:

            def subject(generation: Mapping[str, ModuleType], *more: object) -> Any:
                return generation[module].made(*more)

        result = service.judge(checks.same_result(subject, [(), (1, 2)]), {"a": text + "# more\n"})
        assert result.verdict == "inconclusive"
        assert result.message.startswith("no input fits the call, so nothing was compared: TypeError: ")

    def test_inputs_of_which_some_do_not_fit_are_compared(self, service: Service) -> None:
        assert self.judge(service, "range(count))", "range(count)) ", "work", [(), 3]) == ("passed", "2 inputs alike")

    @pytest.mark.parametrize(
        "text",
        [
            "def made(n): raise TypeError('no number')\n",
            "def made(n): return n + 'a'\n",
            "def made(n): return other(n, 1)\ndef other(n): return n\n",
            (
                "import functools\ndef checked(made):\n    @functools.wraps(made)\n    def outer(n):\n"
                "        raise TypeError('no number')\n    return outer\n@checked\ndef made(n): return n\n"
            ),
        ],
    )
    def test_a_type_error_of_its_own_is_its_answer(self, make_package: Callable[..., ModuleType], text: str) -> None:
        service = Service(make_package, {"a.py": text})
        check = checks.same_result(f"{service.name}.a.made", [1, 2])
        assert service.judge(check, {"a": text + "# more\n"}).message == "2 inputs alike"

    def test_asynchronous_for_some_inputs(self, service: Service) -> None:
        """Two awaitables that nobody has awaited are not two equal answers."""

        def call(generation: Mapping[str, ModuleType], net: int) -> Any:
            return generation[f"{service.name}.pricing"].quote_later(net) if net else 0

        verdict, message = self.judge(service, "net * 119 // 100\n\ndef steps", "0\n\ndef steps", call, [0, 100])
        assert verdict == "inconclusive"
        assert "asynchronous for input 2, (100), and not for the first" in message

    def test_one_can_not_change_what_the_other_gets(self, service: Service) -> None:
        basket = [1, 2]
        assert self.judge(service, "len(basket)", "len([*basket])", "spoil", [(basket,)])[0] == "passed"
        assert basket == [1, 2]
        _, message = self.judge(service, "len(basket)", "-len(basket)", "spoil", [(basket,)])
        assert message == "input 1, ([1, 2]): live 3; candidate -3"

    def test_objects_of_classes_that_are_patched(self, service: Service) -> None:
        def inputs(generation: Mapping[str, ModuleType]) -> list[object]:
            return [generation[f"{service.name}.pricing"].Quote(1)]

        assert self.judge(service, "isinstance(other, Quote)", "isinstance(other, Quote) and True", "of", inputs) == (
            "passed",
            "1 input alike",
        )

    def test_what_can_not_be_copied(self, service: Service) -> None:
        verdict, message = self.judge(service, "119", "118", "quote", [sys])
        assert verdict == "inconclusive"
        assert "can't be copied" in message

    def test_another_comparison(self, service: Service) -> None:
        def nearly(old: Any, new: Any) -> bool:
            return bool(abs(old.total - new.total) <= 1)

        assert self.judge(service, "119 //", "120 //", "quote", [100], compare=nearly)[0] == "passed"
        assert self.judge(service, "119 //", "122 //", "quote", [100], compare=nearly)[0] == "failed"

    def test_what_only_one_has(self, service: Service) -> None:
        verdict, message = self.judge(service, "def work", "def works", "works", [1])
        assert verdict == "inconclusive"
        assert "in the live version" in message
        verdict, message = self.judge(service, "def work", "def works", "work", [1])
        assert verdict == "failed"
        assert message == f"in the candidate {service.name}.pricing has no work"

    def test_it_judges_every_patch(self, service: Service) -> None:
        """Inputs that can be iterated once would be empty for the second patch, and nothing would be called."""
        check = checks.same_result(f"{service.name}.pricing.work", iter([1, 2]))
        for text in (PRICING + "\n", PRICING + "\n\n"):
            assert service.judge(check, {"pricing": text}).message == "2 inputs alike"


class TestReach:
    """Modules that the patch leaves alone have the live functions in the candidate, too."""

    FILES: Mapping[str, str] = {
        "tax.py": "RATE = 19\n",
        "pricing.py": "from .tax import RATE\n\ndef quote(n):\n    return n + RATE\n",
        "web.py": "from . import pricing\n\ndef page(n):\n    return pricing.quote(n)\n",
        "other.py": "def alone(n):\n    return n\n",
    }

    @pytest.mark.parametrize("call", ["pricing.quote", "web.page"])
    def test_what_reaches_the_patch_is_not_told(self, make_package: Callable[..., ModuleType], call: str) -> None:
        service = Service(make_package, self.FILES)
        module, _, function = f"{service.name}.{call}".rpartition(".")
        name = f"{service.name}.{call}"

        def called(generation: Mapping[str, ModuleType], n: int) -> Any:
            return getattr(generation[module], function)(n)

        for check in (checks.same_result(name, [1]), checks.same_result(called, [1]), checks.not_slower(name, [1])):
            result = service.judge(check, {"tax": "RATE = 20\n"})
            assert result.verdict == "inconclusive"
            assert f"but it imports {service.name}." in result.message

    def test_what_does_not_is_as_it_was(self, make_package: Callable[..., ModuleType]) -> None:
        service = Service(make_package, self.FILES)
        check = checks.same_result(f"{service.name}.other.alone", [1])
        assert service.judge(check, {"tax": "RATE = 20\n"}).verdict == "passed"

    def test_what_is_in_the_patch_is_told(self, make_package: Callable[..., ModuleType]) -> None:
        service = Service(make_package, self.FILES)
        check = checks.same_result(f"{service.name}.pricing.quote", [1])
        patch = {"tax": "RATE = 20\n", "pricing": self.FILES["pricing.py"] + "# again\n"}
        assert service.judge(check, patch).message == "input 1, (1): live 20; candidate 21"


class TestInputs:
    def test_none(self) -> None:
        with pytest.raises(ValueError, match="nothing would be called"):
            Inputs([])
        with pytest.raises(Inconclusive, match="no inputs"):
            Inputs(lambda _: []).of({})

    def test_a_text_is_none(self) -> None:
        with pytest.raises(TypeError, match="several calls"):
            Inputs("abc")

    def test_different_numbers(self) -> None:
        numbers = iter([[1], [1, 2]])
        with pytest.raises(Inconclusive, match="1 inputs for the live version, and 2"):
            Inputs(lambda _: next(numbers)).pairs({}, {})

    def test_their_repr(self) -> None:
        class Rude:
            def __repr__(self) -> str:
                raise OSError

        assert repr(checks.given(1, Rude(), name="x" * 200)).startswith("(1, <TestInputs")

    @pytest.mark.parametrize("subject", ["quote", "shop.", "shop pricing.quote"])
    def test_a_call_that_is_no_name(self, subject: str) -> None:
        with pytest.raises(ValueError, match="dotted name"):
            Call(subject)

    def test_a_call_that_is_nothing(self) -> None:
        with pytest.raises(TypeError, match="not a int"):
            Call(5)  # type: ignore[arg-type]  # on purpose

    def test_a_name_within_a_class(self) -> None:
        assert resolve("random.Random.choice", {"random": random}) is random.Random.choice
        with pytest.raises(LookupError, match="can't be called"):
            resolve("random.TWOPI", {"random": random})
        with pytest.raises(LookupError, match=r"no managed module has os\.path"):
            resolve("os.path", {"random": random})


def twins(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What two modules of one name have, made of one source."""
    made: list[dict[str, Any]] = []
    for _ in range(2):
        space: dict[str, Any] = {"__name__": "twin"}
        exec(text, space)
        made.append(space)
    return made[0], made[1]


class TestLikeness:
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (1, True),
            (1, 1.0),
            ("a", b"a"),
            ([1], (1,)),
            ({"a": 1}, {"a": 2}),
            ({1}, {2}),
            (ValueError("a"), ValueError("b")),
            (len, max),
            ([1, [2, [3]]], [1, [2, [4]]]),
        ],
    )
    def test_different(self, old: object, new: object) -> None:
        assert not alike(old, new)

    def test_the_same(self) -> None:
        cycle: list[Any] = [1]
        cycle.append(cycle)
        other: list[Any] = [1]
        other.append(other)
        assert alike(cycle, other)
        assert alike([float("nan"), {"a": (1, {2})}], [float("nan"), {"a": (1, {2})}])

    def test_objects_of_twin_classes(self) -> None:
        old, new = twins(
            "import enum\n"
            "class Colour(enum.Enum):\n    RED = 1\n    BLUE = 2\n"
            "class Slotted:\n    __slots__ = ('a', 'b')\n    def __init__(self, a): self.a = a\n"
            "class Plain:\n    def __init__(self, a): self.a = a\n"
            "class Special(list):\n    pass\n"
            "def function(): pass\n"
        )
        for make in (
            lambda space, value: space["Plain"](value),
            lambda space, value: space["Slotted"](value),
            lambda space, value: {space["Colour"](value): space["Plain"]([value])},
            lambda space, value: {space["Colour"](value)},
            lambda space, value: space["Special"]([value]),
            lambda space, value: (space["function"], space["Plain"], value),
        ):
            assert alike(make(old, 1), make(new, 1))
            assert not alike(make(old, 1), make(new, 2))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("made = lambda n: n + 1", "made = lambda n: n + 2"),
            ("def made(n): return n", "def made(n): return -n"),
            ("def made(n=1): return n", "def made(n=2): return n"),
            ("def made(*, n=1): return n", "def made(*, n=2): return n"),
            ("def made(n): return n", "def made(n, /): return n"),
            (
                "def make(n):\n    return lambda: n\nmade = make(1)",
                "def make(n):\n    return lambda: n\nmade = make(2)",
            ),
            ("made = [1].append", "made = [2].append"),
            (
                "def made(a, b):\n    try:\n        a()\n        b()\n    except OSError:\n        pass",
                "def made(a, b):\n    try:\n        a()\n    except OSError:\n        pass\n    else:\n        b()",
            ),
            (
                "class Box:\n    def take(self): return 1\nmade = Box().take",
                "class Box:\n    def take(self): return 2\nmade = Box().take",
            ),
            (
                "import functools\n@functools.lru_cache\ndef made(n): return n",
                "import functools\n@functools.lru_cache\ndef made(n): return -n",
            ),
            (
                "def make(n):\n    class Row:\n        size = n\n    return Row\nmade = make(1)",
                "def make(n):\n    class Row:\n        size = n\n    return Row\nmade = make(2)",
            ),
            (
                "def make():\n class R:\n  @property\n  def n(self): return 1\n return R\nmade = make()",
                "def make():\n class R:\n  @property\n  def n(self): return 2\n return R\nmade = make()",
            ),
        ],
    )
    def test_functions_that_do_something_else(self, old: str, new: str) -> None:
        before, after = twins(old)[0]["made"], twins(new)[0]["made"]
        with pytest.raises(Inconclusive, match="give compare="):
            alike([before], [after])

    @pytest.mark.parametrize(
        "text",
        [
            "made = lambda n: n + 1",
            "def make(n):\n    def count(m=0): return count and n\n    return count\nmade = make([1])",
            "def make():\n    def count(): return later\n    return count\n    later = 1\nmade = make()",
            "class Box:\n    def take(self): return 1\nmade = Box().take",
            "import math\nmade = math.sqrt",
            "import functools\n@functools.lru_cache\ndef made(n): return n",
            "class Row:\n    size = 1\nmade = Row",
            "def make():\n class R:\n  __slots__ = ('a',)\n  def up(self): super().up()\n return R\nmade = make()",
            "def make():\n class R:\n  n = 1\n  @staticmethod\n  def of(): return R\n return R\nmade = make()",
            "made = [1].append",
        ],
    )
    def test_functions_that_do_the_same(self, text: str) -> None:
        old, new = twins(text)
        assert alike(old["made"], new["made"])

    def test_sets_of_objects_that_equal_only_themselves(self) -> None:
        text = "class Box:\n    def __init__(self, n): self.n = n\nmade = lambda *numbers: {*map(Box, numbers)}"
        old, new = twins(text)
        assert alike(old["made"](1, 2, 1), new["made"](2, 1, 1))
        assert not alike(old["made"](1, 1, 2), new["made"](1, 2, 2))
        assert not alike(old["made"](1, 1), new["made"](1, 2))

    def test_objects_that_hold_twins(self) -> None:
        old, new = twins("class Plain:\n    def __init__(self, a): self.a = a\n")

        @dataclass
        class Box:
            content: Any
            label: str = field(default="")

        assert alike(Box(old["Plain"](1)), Box(new["Plain"](1)))
        assert not alike(Box(old["Plain"](1)), Box(new["Plain"](2)))

    def test_arrays_and_rude_objects(self) -> None:
        class Array:
            def __init__(self, *values: int) -> None:
                self.values = values

            def __eq__(self, other: object) -> Any:
                return Array(*(a == b for a, b in zip(self.values, other.values, strict=True)))  # type: ignore[attr-defined]  # an Array

            __hash__ = None  # type: ignore[assignment]  # as arrays are

            def __bool__(self) -> bool:
                raise ValueError("the truth of an array is ambiguous")

            def all(self) -> bool:
                return all(self.values)

        assert alike(Array(1, 2), Array(1, 2))
        assert not alike(Array(1, 2), Array(1, 3))
        assert not alike(Array(1, 2), Array(1))

    def test_what_can_not_be_compared(self) -> None:
        with pytest.raises(Inconclusive, match="give compare="):
            alike((n for n in [1]), (n for n in [1]))

    def test_what_is_nested_too_deeply(self) -> None:
        def nested() -> list[Any]:
            outer: list[Any] = []
            for _ in range(100_000):
                outer = [outer]
            return outer

        with pytest.raises(Inconclusive, match="too deeply"):
            alike(nested(), nested())

    def test_members_of_one_enumeration(self) -> None:
        class Colour(Enum):
            RED = 1
            BLUE = 2

        assert alike([Colour.RED], [Colour.RED])
        assert not alike([Colour.RED], [Colour.BLUE])


class TestNotSlower:
    def judge(self, service: Service, new: str, **more: Any) -> hotswap.verification.CheckResult:
        text = PRICING.replace("return sum(range(count))", new)
        check = checks.not_slower(f"{service.name}.pricing.work", [2000], **more)
        return service.judge(check, {"pricing": text + "\n"})

    def test_slower(self, service: Service) -> None:
        result = self.judge(service, "return max(sum(range(count)) for _ in range(9))")
        assert result.verdict == "failed"
        assert "times as long" in result.message

    def test_much_slower_in_a_few_rounds(self, service: Service) -> None:
        result = self.judge(service, "return max(sum(range(count)) for _ in range(400))", seconds=0.1)
        assert result.verdict == "failed"

    def test_not_slower(self, service: Service) -> None:
        assert self.judge(service, "return sum(range(count))", ratio=3.0, seconds=LONG / 2).verdict == "passed"

    @pytest.mark.parametrize(
        "text",
        [
            "def made(n):\n    yield n\n    WORK\n",
            "def made(n):\n    def work(n):\n        WORK\n    return map(work, [n])\n",
            "async def made(n):\n    yield n\n    WORK\n",
            "async def made(n):\n    async def rows():\n        yield n\n        WORK\n    return rows()\n",
            "async def made(n):\n    return (made_one(n) for _ in [n])\ndef made_one(n):\n    WORK\n",
        ],
    )
    def test_what_is_done_as_it_is_iterated_is_timed(self, make_package: Callable[..., ModuleType], text: str) -> None:
        service = Service(make_package, {"a.py": text.replace("WORK", "n + 1")})
        check = checks.not_slower(f"{service.name}.a.made", [1])
        result = service.judge(check, {"a": text.replace("WORK", "raise OSError('gone')")})
        assert (result.verdict, result.message) == ("failed", "the candidate raised OSError: gone")

    def test_what_is_endless(self, make_package: Callable[..., ModuleType]) -> None:
        text = "def made():\n    try:\n        while True: yield 1\n    finally: ENDED.append(1)\nENDED = []\n"
        service = Service(make_package, {"a.py": text})
        check = checks.not_slower(f"{service.name}.a.made", [()], ratio=5.0)
        assert service.judge(check, {"a": text + "# more\n"}).verdict == "passed"
        assert sys.modules[f"{service.name}.a"].ENDED

    def test_one_that_raises(self, service: Service) -> None:
        result = self.judge(service, "raise OSError('gone')")
        assert (result.verdict, result.message) == ("failed", "the candidate raised OSError: gone")

    def test_it_runs_alone(self) -> None:
        assert checks.not_slower("a.b", [1]).turn is Turn.ALONE

    @pytest.mark.parametrize("ratio", [0, float("nan"), "1.2"])
    def test_a_ratio_that_is_none(self, ratio: Any) -> None:
        with pytest.raises((TypeError, ValueError)):
            checks.not_slower("a.b", [1], ratio=ratio)


class TestJudgementOfSpeed:
    """The rule alone, on figures that are made up: no clock is asked."""

    def judge(self, ratios: list[float], *, late: bool = True) -> str | None:
        check = NotSlower(Call("a.b"), Inputs([1]), 1.2, 10.0)
        answer = check._judged(sorted(ratios), late=late)
        return None if answer is None else str(answer.verdict)

    def test_the_limits_of_the_median(self) -> None:
        assert limits([float(number) for number in range(10)]) == (float("-inf"), float("inf"))
        assert limits([float(number) for number in range(11)]) == (0.0, 10.0)
        low, high = limits([float(number) for number in range(101)])
        assert 30 < low < 50 < high < 70

    def test_a_slow_round_decides_nothing(self) -> None:
        assert self.judge([1.0] * 20 + [50.0]) == "passed"
        assert self.judge([2.0] * 20 + [0.1]) == "failed"

    def test_few_rounds_decide_nothing(self) -> None:
        assert self.judge([1.0] * 10) == "inconclusive"
        assert self.judge([1.3] * 10) == "inconclusive"
        assert self.judge([1.0] * 11) == "passed"
        assert self.judge([1.3] * 11) == "failed"

    def test_but_three_that_are_far_off(self) -> None:
        assert self.judge([5.0, 6.0]) == "inconclusive"
        assert self.judge([5.0, 6.0, 7.0]) == "failed"

    def test_noise_is_no_verdict(self) -> None:
        noisy = [0.5, 3.0] * 30
        assert self.judge(noisy, late=False) is None
        assert self.judge(noisy) == "inconclusive"

    def test_it_is_seldom_wrong(self) -> None:
        """Two that are equally fast, with heavy noise: of 2,000 trials hardly one may fail."""
        chance = random.Random(7)
        trials = [self.judge([chance.lognormvariate(0.0, 0.5) for _ in range(40)]) for _ in range(2000)]
        assert trials.count("failed") <= 2


class TestMemory:
    def judge(self, service: Service, new: str, *arguments: Any, **more: Any) -> hotswap.verification.CheckResult:
        text = PRICING.replace("return sum(range(count))", new) + "\nKEPT = []\n"
        check = checks.memory(*(arguments or ("2 MB", f"{service.name}.pricing.work", [10])), **more)
        return service.judge(check, {"pricing": text})

    def test_the_peak(self, service: Service) -> None:
        result = self.judge(service, "return len(bytearray(5_000_000))")
        assert result.verdict == "failed"
        assert result.message == "5.0 MB at the peak (limit 2.0 MB)"

    def test_the_peak_of_what_is_done_as_it_is_iterated(self, service: Service) -> None:
        assert self.judge(service, "yield len(bytearray(5_000_000))").verdict == "failed"
        later = "async def rows():\n        yield len(bytearray(5_000_000))\n    return rows()"
        assert self.judge(service, later).verdict == "failed"

    def test_an_endless_iterator_is_asked_for_so_many_elements(self, service: Service) -> None:
        for word in ("def", "async def"):
            endless = f"{word} rows():\n        while True: yield 1\n    return rows()"
            assert self.judge(service, endless).verdict == "passed"

    def test_a_file_is_not_read(self, service: Service) -> None:
        file = (
            "import io\n    class File(io.RawIOBase):\n        def __next__(self): return bytearray(5_000_000)\n"
            "    return File()"
        )
        assert self.judge(service, file).verdict == "passed"

    def test_what_is_enough(self, service: Service) -> None:
        assert self.judge(service, "return len(bytearray(1_000_000))").verdict == "passed"

    def test_a_leak(self, service: Service) -> None:
        result = self.judge(service, "KEPT.append(bytearray(50_000))", kept="100 KB")
        assert result.verdict == "failed"
        assert "are kept after 20 rounds (limit 100.0 KB)" in result.message
        assert self.judge(service, "KEPT.append(bytearray(50_000))").verdict == "passed"

    def test_imports(self, service: Service) -> None:
        assert self.judge(service, "return 1\nTABLE = bytearray(9_000_000)", "5 MB").verdict == "failed"
        assert self.judge(service, "return 1", "5 MB").verdict == "passed"

    def test_asynchronous(self, service: Service) -> None:
        call = f"{service.name}.pricing.quote_later"
        assert self.judge(service, "return 1", "2 MB", call, [1]).verdict == "passed"

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to the limit of address space")
    def test_a_bomb(self, service: Service) -> None:
        result = self.judge(service, "return len(bytearray(1 << 36))")
        assert result.verdict == "failed"
        assert "far more than 2.0 MB" in result.message

    def test_inputs_that_can_not_travel(self, service: Service) -> None:
        result = self.judge(service, "return 1", "2 MB", f"{service.name}.pricing.work", lambda _: [lambda: 1])
        assert result.verdict == "inconclusive"
        assert "another process" in result.message

    def test_calls_that_all_raise_measure_nothing(self, service: Service) -> None:
        result = self.judge(service, "raise RuntimeError('no settings yet')")
        assert result.verdict == "inconclusive"
        assert result.message == "every call raised, so nothing was measured: RuntimeError: no settings yet"
        misfit = self.judge(service, "return 1", "2 MB", f"{service.name}.pricing.work", [(1, 2, 3)])
        assert misfit.verdict == "inconclusive"

    def test_calls_that_all_raise_have_taken_memory(self, service: Service) -> None:
        assert self.judge(service, "raise RuntimeError(str(len(bytearray(5_000_000))))").verdict == "failed"

    def test_some_calls_may_raise(self, service: Service) -> None:
        call = f"{service.name}.pricing.work"
        assert self.judge(service, "return 1 / count", "2 MB", call, [0, 1]).verdict == "passed"

    def test_a_function_that_is_not_there(self, service: Service) -> None:
        result = self.judge(service, "return 1", "2 MB", f"{service.name}.pricing.gone")
        assert result.verdict == "error"
        assert "gone" in result.message

    @pytest.mark.parametrize(
        ("text", "number"), [("50 MB", 50_000_000), ("1.5KiB", 1536), (7, 7), ("3 b", 3), ("1 gb", 10**9)]
    )
    def test_sizes(self, text: int | str, number: int) -> None:
        assert size(text) == number

    @pytest.mark.parametrize("text", ["50", "MB", "5 parsec", -1, True, None])
    def test_what_is_no_size(self, text: Any) -> None:
        with pytest.raises((TypeError, ValueError), match="size"):
            size(text)

    def test_sizes_for_people(self) -> None:
        assert [told(number) for number in (5, 5_000, 5_100_000, 10**9)] == ["5 B", "5.0 KB", "5.1 MB", "1.0 GB"]

    def test_arguments_that_make_no_sense(self) -> None:
        with pytest.raises(TypeError, match="dotted name"):
            checks.memory(1, len)  # type: ignore[arg-type]  # on purpose
        with pytest.raises(ValueError, match="rounds"):
            checks.memory(1, "a.b", rounds=0)


class TestImportsClean:
    def judge(self, service: Service, tax: str, **more: Any) -> tuple[str, str]:
        result = service.judge(checks.imports_clean(**more), {"tax": tax})
        return result.verdict, result.message.replace(service.name, "shop")

    def test_clean(self, service: Service) -> None:
        assert self.judge(service, "import json\nRATE = 16\n") == ("passed", "1 module imported")

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("print('hello')", "shop.tax writes to stdout: 'hello'"),
            ("import os; os.write(2, b'raw')", "shop.tax writes to stderr: 'raw'"),
            ("import warnings; warnings.warn('old')", "shop.tax warns: UserWarning: old (tax.py:3)"),
            ("import os; os.environ['SHOP_TEST'] = '1'", "shop.tax sets the environment variable SHOP_TEST=1"),
            ("import sys; sys.path.append('/nowhere')", "shop.tax puts on sys.path /nowhere"),
            ("import sys; sys.setrecursionlimit(1234)", "shop.tax sets the recursion limit to 1234"),
            ("import logging; logging.basicConfig()", "shop.tax configures logging <StreamHandler <stderr> (NOTSET)>"),
            (
                "def later():\n    import not_there_at_all",
                "shop.tax imports not_there_at_all, which is not installed (line 4)",
            ),
            (
                "def later():\n    from .pricing import GONE",
                "shop.tax imports GONE from shop.pricing, which has no such name",
            ),
        ],
    )
    def test_what_it_does_besides(self, service: Service, line: str, told: str) -> None:
        guarded = "".join(f"    {text}\n" for text in line.splitlines())
        text = f"import os\nif 'HOTSWAP_CHECK_OVERLAY' in os.environ:\n{guarded}"  # staging is not what is tested
        verdict, message = self.judge(service, text)
        assert (verdict, message.startswith(told)) == ("failed", True), message

    def test_a_thread_and_a_process(self, service: Service) -> None:
        text = (
            "import os, subprocess, sys, threading\n"
            "if 'HOTSWAP_CHECK_OVERLAY' in os.environ:\n"
            "    threading.Thread(target=threading.Event().wait, name='stray', daemon=True).start()\n"
            "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        )
        verdict, message = self.judge(service, text)
        assert verdict == "failed"
        assert "shop.tax starts the thread stray; shop.tax starts a process, and does not wait for it" in message

    def test_what_is_allowed(self, service: Service) -> None:
        assert self.judge(service, "print('hello')\n", allow=["output"])[0] == "passed"
        with pytest.raises(ValueError, match="there is no kind noise"):
            checks.imports_clean(["noise"])
        with pytest.raises(TypeError, match="several kinds"):
            checks.imports_clean("output")

    def test_what_the_live_version_does_as_well(self, make_package: Callable[..., ModuleType]) -> None:
        service = Service(make_package, {"tax.py": "print('hello')\ndef later():\n    import not_there_at_all\n"})
        text = "\n\nprint('hello')\ndef later():\n    import not_there_at_all\n"
        assert self.judge(service, text)[0] == "passed"
        assert "'goodbye'" in self.judge(service, text.replace("hello", "goodbye"))[1]

    def test_one_that_only_works_in_this_process(self, service: Service) -> None:
        sys.modules["made_by_hand"] = ModuleType("made_by_hand")
        try:
            verdict, message = self.judge(service, "import made_by_hand\n")
        finally:
            del sys.modules["made_by_hand"]
        assert verdict == "failed"
        assert "raises ModuleNotFoundError: No module named 'made_by_hand'" in message

    def test_what_may_be_missing(self, service: Service) -> None:
        text = (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    import not_there_at_all\n"
            "try:\n    import not_there_either\nexcept ImportError:\n    not_there_either = None\n"
            "from . import pricing\nfrom .pricing import quote\nimport os.path\n"
        )
        assert self.judge(service, text) == ("passed", "1 module imported")

    def test_one_that_ends_the_process(self, service: Service) -> None:
        text = "import os\nif 'HOTSWAP_CHECK_OVERLAY' in os.environ:\n    os._exit(3)\n"
        assert self.judge(service, text) == (
            "failed",
            "the process ended while a module was imported: it exited with status 3",
        )


@pytest.mark.skipif(importlib.util.find_spec("griffe") is None, reason="griffe is in the extra hotswap[checks]")
class TestApiCompatible:
    def judge(self, service: Service, old: str, new: str, severity: Any = None) -> hotswap.verification.CheckResult:
        assert old in PRICING
        return service.judge(checks.api_compatible(severity or {}), {"pricing": PRICING.replace(old, new)})

    def test_compatible(self, service: Service) -> None:
        result = self.judge(service, 'country: str = "DE")', 'country: str = "DE", more: int = 0)')
        assert (result.verdict, result.message) == ("passed", "")

    def test_breaking(self, service: Service) -> None:
        result = self.judge(service, 'country: str = "DE")', 'land: str = "DE")')
        assert result.verdict == "failed"
        assert "pricing: quote(country): Parameter was removed [parameter-removed]" in result.message

    @pytest.mark.parametrize(
        ("old", "new", "told"),
        [
            ("def steps(", "async def steps(", "steps: it is asynchronous now"),
            ("async def quote_later(", "def quote_later(", "quote_later: it is not asynchronous any more"),
            ("    @staticmethod\n", "", "Till.opened: it is no static method any more"),
        ],
    )
    def test_what_is_called_otherwise(self, service: Service, old: str, new: str, told: str) -> None:
        """griffe finds nothing there: the parameters are the same."""
        text = PRICING.replace("yield from range(count)", "return count")
        text += "\nclass Till:\n    @staticmethod\n    def opened(till): ...\n"
        service.patcher.apply(service.patch({"pricing": text}))
        result = service.judge(checks.api_compatible(), {"pricing": text.replace(old, new)})
        assert result.verdict == "failed"
        assert result.message.endswith(f"pricing: {told} [object-changed-kind]")

    def test_what_is_not_public_may_be_called_otherwise(self, service: Service) -> None:
        text = PRICING + "\ndef _count(): ...\n"
        service.patcher.apply(service.patch({"pricing": text}))
        result = service.judge(checks.api_compatible(), {"pricing": text.replace("def _count", "async def _count")})
        assert result.verdict == "passed"

    @pytest.mark.slow
    def test_severities(self, service: Service) -> None:
        change = ('country: str = "DE")', 'land: str = "DE")')
        for severity in ({"parameter-removed": "warn"}, {f"{service.name}.pricing.*": "warn"}):
            result = self.judge(service, *change, severity)
            assert result.verdict == "passed"
            assert result.message.startswith("1 to know: ")
        assert self.judge(service, *change, {"parameter-removed": "ignore"}).message == ""
        assert self.judge(service, '"DE")', '"AT")').message.startswith("1 to know: ")
        assert self.judge(service, '"DE")', '"AT")', {"parameter-changed-default": "fail"}).verdict == "failed"

    def test_a_kind_that_there_is_not(self, service: Service) -> None:
        result = self.judge(service, "119", "118", {"parameter-vanished": "warn"})
        assert result.verdict == "error"
        assert "there is no kind parameter-vanished" in result.message
        with pytest.raises(ValueError, match="'fail', 'warn' or 'ignore'"):
            checks.api_compatible({"parameter-removed": "shout"})  # type: ignore[dict-item]  # on purpose

    def test_over_an_earlier_patch(self, service: Service) -> None:
        """What is live counts, and not what is on disk."""
        service.patcher.apply(service.patch({"pricing": PRICING + "\ndef added(): ...\n"}))
        result = self.judge(service, "119", "118")
        assert result.verdict == "failed"
        assert "added: Public object was removed" in result.message


class TestWithoutGriffe:
    def test_it_says_how_to_get_it(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        hide(monkeypatch, "griffe")
        result = service.judge(checks.api_compatible(), {"tax": "RATE = 16\n"})
        assert result.verdict == "error"
        assert "pip install 'hotswap[checks]'" in result.message


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have some packages not be installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in names else find(name, *more))


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is in the extra hotswap[lint]")
@pytest.mark.slow
class TestMypy:
    def test_new_errors_only(self, make_package: Callable[..., ModuleType], tmp_path: Path) -> None:
        text = "def half(n: int) -> int:\n    return n / 2\n"
        service = Service(make_package, {"tax.py": text})
        result = service.judge(checks.types(tool="mypy"), {"tax": "\n\n" + text}, timeout=4 * LONG)
        assert (result.verdict, result.message) == ("passed", "mypy: nothing new")
        result = service.judge(
            checks.types(), {"tax": text + "\ndef use() -> None:\n    half('x')\n"}, timeout=4 * LONG
        )
        assert result.verdict == "failed"
        assert result.message.startswith(f'mypy: 1 new error: {service.name}/tax.py:5: Argument 1 to "half"')
        result = service.judge(checks.types(all_errors=True), {"tax": "\n" + text}, timeout=4 * LONG)
        assert result.message.startswith("mypy: 1 error: ")


class TestPyright:
    """By a stand-in: the real one is a program of Node."""

    @pytest.fixture(autouse=True)
    def pyright(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        hide(monkeypatch, "mypy")
        program = tmp_path / "bin" / "pyright"
        program.parent.mkdir()
        program.write_text(
            f"#!{sys.executable}\n"
            "import json, pathlib, sys\n"
            "assert sys.argv[1:] == ['--outputjson', '.'], sys.argv\n"
            "found = [(path, number, line) for path in pathlib.Path.cwd().rglob('*.py')\n"
            "         for number, line in enumerate(path.read_text().splitlines()) if 'WRONG' in line]\n"
            "print(json.dumps({'generalDiagnostics': [{'file': str(path), 'severity': 'error', 'message': line,\n"
            "    'rule': 'reportWrong', 'range': {'start': {'line': number}}} for path, number, line in found]}))\n"
            "sys.exit(bool(found))\n"
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    def test_no_errors(self, service: Service) -> None:
        result = service.judge(checks.types(), {"tax": "RATE = 16\n"})
        assert (result.verdict, result.message) == ("passed", "pyright: no errors")

    def test_new_errors_only(self, make_package: Callable[..., ModuleType]) -> None:
        service = Service(make_package, {"tax.py": "A = 'WRONG'\n"})
        result = service.judge(checks.types(), {"tax": "\nA = 'WRONG'\nB = 'WRONG'\n"})
        assert result.verdict == "failed"
        assert result.message == f"pyright: 1 new error: {service.name}/tax.py:3: B = 'WRONG' [reportWrong]"

    def test_one_that_says_nothing(self, service: Service, tmp_path: Path) -> None:
        (tmp_path / "bin" / "pyright").write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
        result = service.judge(checks.types(tool="pyright"), {"tax": "RATE = 16\n"})
        assert (result.verdict, result.message) == ("error", "pyright could not look through it: out of order")

    def test_neither(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        result = service.judge(checks.types(), {"tax": "RATE = 16\n"})
        assert result.verdict == "inconclusive"
        assert result.message == "neither mypy nor pyright is installed where the service runs: nothing was checked"
        assert service.judge(checks.types(tool="mypy"), {"tax": "RATE = 16\n"}).message.startswith("mypy is not ")

    def test_another_tool(self) -> None:
        with pytest.raises(ValueError, match="'mypy' and 'pyright'"):
            checks.types(tool="pylint")  # type: ignore[arg-type]  # on purpose


class TestElsewhere:
    def test_without_process_groups(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        class Windows:
            name = "nt"

        monkeypatch.setattr(processes, "os", Windows)
        result = service.judge(checks.imports_clean(), {"tax": "RATE = 16\n"})
        assert result.verdict == "inconclusive"
        assert "needs POSIX" in result.message
