"""Programs that hand something out: the driver calls it while the call that made it is in flight, and after that."""

from __future__ import annotations

from typing import Any

from tests.every_point.programs import Drive, Program, written

CALLBACKS = {
    "core": """
        from . import parts
        from .parts import told
        class Handler:
            kind = "<<old|new>>"
            def handle(self, n): return self.kind, self._told(<<|0, >>n), told(<<|0, >>n)
            def _told(self, <<|z, >>n): return "<<old|new>>", n
        def plain(n): return told(<<|0, >>n), parts.told(<<|0, >>n)
        def run(register):
            handler = Handler()
            register("bound", handler.handle)
            register("function", plain)
            register("class", Handler().handle)
            return told(<<|0, >>1), handler._told(<<|0, >>2), plain(3)
    """,
    "parts": """
        WORD = "<<old|new>>"
        def told(<<|z, >>n): return WORD, n
    """,
}


def callbacks(drive: Drive) -> None:
    registered: list[tuple[str, Any]] = []

    def register(what: str, function: Any) -> None:
        drive.point(f"{what} is registered")
        registered.append((what, function))
        drive(f"{what}, called while the call is in flight", function, 7, either=True)

    drive("run", drive.core.run, register)
    for what, function in registered:
        drive.point("afterwards")
        drive(f"{what}, called at once", function, 8, either=True)
        drive.later.append((f"{what}, called later", function, 9))


CLOSURES = {
    "core": """
        FACTOR = <<2|3>>
        def helper(<<|z, >>a): return a * FACTOR
        def make(<<|z, >>n):
            def inner(a):
                return helper(<<|0, >>a) + n, "<<old|new>>"
            return inner
        def run(register):
            inner = make(<<|0, >>1)
            register("closure", inner)
            first = inner(1), helper(<<|0, >>1)
            register("lambda", lambda a: (helper(<<|0, >>a), "<<old|new>>"))
            return first, inner(2)
    """,
}


def closures(drive: Drive) -> None:
    """A closure that was handed out follows when what the last old call has left behind is settled."""
    callbacks(drive)


ORDERS = {
    "core": """
        from . import steps
        def run(ask):
            function, step = steps.helper, steps.Step(<<|0, >>1)
            bound = step.go
            return [
                steps.helper(<<|0, >>ask()), function(<<|0, >>ask()), bound(<<|0, >>ask()), step.go(<<|0, >>ask()),
                steps.Step(<<|0, >>ask()).n, (step.go, ask())[0](<<|0, >>1), step.kind, (ask(), step.kind),
                [*map(bound, <<|[0], >>[ask()])], max([1], key=lambda n: steps.helper(<<|0, >>ask())),
                steps.<<gone|come>>(ask()), steps.Step.make(<<|0, >>ask()).go(<<|0, >>ask()),
            ]
    """,
    "steps": """
        def helper(<<|z, >>a): return "<<old|new>>", a
        def <<gone|come>>(a): return "<<old|new>>", a
        class Step:
            kind = "<<old|new>>"
            def __init__(self, <<|z, >>n): self.n = "<<old|new>>", n
            def go(self, <<|z, >>n): return self.kind, helper(<<|0, >>n)
            @classmethod
            def make(cls, <<|z, >>n): return cls(<<|0, >>n)
    """,
}


def orders(drive: Drive) -> None:
    """It has looked up what it calls when it asks for the arguments, and these come from the driver."""

    def ask() -> int:
        drive.point("it asks")
        return 1

    drive("run", drive.core.run, ask)


INNER = {
    "core": """
        import hotswap
        def arguments(): return (1<<,|, 2>>)
        def helper(a<<|, b>>): return "<<old|new>>"
        def ended(coroutine):
            try:
                coroutine.send(None)
            except StopIteration as over:
                return over.value
        def run(n):
            version = "<<old|new>>"
            def inner(given): return helper(*given)
            def flowing(given): yield helper(*given)
            async def waiting(given): return inner(given), helper(*given)
            class Local:
                def method(self, given): return helper(*given)
            found = []
            for session in (hotswap.session, hotswap.session):
                with session():
                    found += [inner(arguments()), helper(*arguments()), Local().method(arguments())]
                    found += [[*map(inner, [arguments()])], [*flowing(arguments())], ended(waiting(arguments()))]
                found += [inner(arguments()), (lambda: inner(arguments()))()]
            return version, found, n
    """,
}


def inner(drive: Drive) -> None:
    """Inner functions that are the same in both versions, within a call that is not, and that opens sessions."""
    drive("run", drive.core.run, 1)


PROGRAMS = [
    Program("inner", inner, written(INNER), forked=True),
    Program("callbacks", callbacks, written(CALLBACKS), forked=True),
    Program("closures", closures, written(CLOSURES)),
    Program("orders", orders, written(ORDERS), forked=True),
]
