"""Programs of functions: what calls what."""

from __future__ import annotations

from tests.every_point.programs import Drive, Program, written

RECURSION = {
    "limits": """
        FLOOR = <<0|100>>
        def floor(<<|unit, >>base): return FLOOR + base
    """,
    "core": """
        from . import limits
        from .limits import floor
        STEP = <<1|10>>
        def step(<<|z, >>n): return n * STEP
        def total(<<|z, >>n):
            if n <= 0:
                return floor(<<|0, >>n)
            rest = total(<<|0, >>n - 1)
            return rest + step(<<|0, >>n) + limits.floor(<<|0, >>0)
        def <<only_old|only_new>>(n): return "<<old|new>>", n
        def run(n):
            own = <<only_old|only_new>>
            return total(<<|0, >>n), own(n), "<<old|new>>"
    """,
}


def recursion(drive: Drive) -> None:
    drive("run", drive.core.run, 2)
    drive("again", drive.core.run, 0)


MUTUAL = {
    "even": """
        from . import odd
        WORD = "<<even|gerade>>"
        def word(<<|upper, >>n): return WORD, n
        def is_even(<<|seen, >>n, trail=()):
            if not n:
                return trail, word(<<|False, >>n)
            return odd.is_odd(<<|None, >>n - 1, (*trail, word(<<|True, >>n)))
    """,
    "odd": """
        WORD = "<<odd|ungerade>>"
        def word(<<|upper, >>n): return WORD, n
        def is_odd(<<|seen, >>n, trail=()):
            from .even import is_even
            if not n:
                return trail, word(<<|False, >>n)
            from . import odd
            return is_even(<<|None, >>n - 1, (*trail, odd.word(<<|True, >>n)))
    """,
    "face": """
        from .even import is_even
        def run(n): return is_even(<<|None, >>n)
    """,
}


def mutual(drive: Drive) -> None:
    drive("run", drive.face.run, 4)


IMPORTS = {
    "__init__": """
        KIND = "<<old|new>>"
        def made(<<|z, >>n): return "<<old|new>>", n
    """,
    "first": """
        from . import second
        LIMIT = <<1|2>>
        def helper(<<|z, >>a): return "<<old|new>>", a, LIMIT
        def back(<<|z, >>a): return second.helper(<<|0, >>a)
    """,
    "second": """
        import importlib
        LIMIT = <<1|2>>
        def helper(<<|z, >>a): return "<<old|new>>", a, LIMIT
        def <<gone|come>>(a): return "<<old|new>>"
        def by_name(a):
            from .first import helper as imported
            from . import first, made
            sibling = importlib.import_module(".first", __package__)
            package = importlib.import_module(__package__)
            return imported(<<|0, >>a), first.back(<<|0, >>a), sibling.helper(<<|0, >>a), made(<<|0, >>a), package.KIND
        def by_attribute(a):
            package = importlib.import_module(__package__)
            module = package.first
            found = [module.helper(<<|0, >>a), package.made(<<|0, >>a)]
            found.append(module.LIMIT)
            found.append(package.second.<<gone|come>>(a))
            return found + [getattr(module, "helper")(<<|0, >>a), package.first.second.helper(<<|0, >>a)]
        def run(a): return by_name(a), by_attribute(a)
    """,
}


def imports(drive: Drive) -> None:
    drive("run", drive.second.run, 1)


NESTED = {
    "core": """
        FACTOR = <<2|3>>
        def helper(<<|z, >>a): return a * FACTOR
        def test(<<|z, >>a): return a % FACTOR
        def compared(<<|z, >>a): return -helper(<<|0, >>a)
        def lists(n):
            found = [helper(<<|0, >>i) for i in range(n) if test(<<|0, >>i)]
            found.append({helper(<<|0, >>n): FACTOR for _ in "a"})
            return found, {helper(<<|0, >>n) for _ in "a"}, sum(helper(<<|0, >>i) for i in range(n))
        def lambdas(n):
            call = lambda a: helper(<<|0, >>a)
            by = sorted(range(n), key=lambda i: compared(<<|0, >>i))
            return call(n), by, [*map(lambda i: helper(<<|0, >>i), [n])]
        def nested(n):
            total = 0
            def inner(a):
                nonlocal total
                total += helper(<<|0, >>a)
                def deeper(b): return helper(<<|0, >>b) + total
                return deeper(a)
            return inner(n), total
        def default(n, function=helper):
            return function(<<|0, >>n)
        def run(n):
            return lists(n), lambdas(n), nested(n), default(n), "<<old|new>>"
    """,
}


def nested(drive: Drive) -> None:
    drive("run", drive.core.run, 2)


HELD = {
    "core": """
        import functools
        def helper(<<|z, >>a): return "<<old|new>>", a
        @functools.lru_cache
        def cached(<<|z, >>a): return "<<old|new>>", helper(<<|0, >>a)
        def through(function):
            @functools.wraps(function)
            def wrapper(*args):
                before = helper(<<|0, >>"wrapper")
                return before, function(*args)
            return wrapper
        @through
        def wrapped(<<|z, >>a): return "<<old|new>>", helper(<<|0, >>a)
        @through
        @through
        def twice(<<|z, >>a): return "<<old|new>>"
        bound = functools.partial(helper, <<|0, >>"partial")
        def run(a):
            function, part, cache = helper, functools.partial(helper, <<|0>>), cached
            decorated, known = wrapped, bound
            found = [function(<<|0, >>a), part(a), cache(<<|0, >>a), decorated(<<|0, >>a)]
            found += [known(), bound(), wrapped(<<|0, >>a)]
            found.append(twice(<<|0, >>a))
            found += [*map(function, <<|(0,), >>(a,))]
            return found, wrapped.__wrapped__(<<|0, >>a)
        @through
        def outermost(<<|z, >>a): return helper(<<|0, >>a), wrapped(<<|0, >>a)
        def other(a): return outermost(<<|0, >>a)
    """,
}


def held(drive: Drive) -> None:
    drive.core.cached.cache_clear()
    drive("run", drive.core.run, 1)
    drive("decorated", lambda: drive.core.other(1))


ERRORS = {
    "errors": """
        LEVEL = "<<old|new>>"
        class Problem(Exception):
            kind = "<<old|new>>"
            def __init__(self, <<|z, >>text):
                super().__init__(f"<<old|new>> {text}")
                self.text = text
            def told(self<<|, z>>): return self.kind, self.text, LEVEL
        class Worse(Problem):
            def told(self<<|, z>>): return "worse", super().told(<<|0>>)
    """,
    "deep": """
        from .errors import Problem, Worse
        def fail(<<|z, >>n):
            if n % 2:
                raise Problem(<<|0, >>n)
            raise Worse(<<|0, >>n)
        def down(<<|z, >>n, depth):
            try:
                if not depth:
                    fail(<<|0, >>n)
                down(<<|0, >>n, depth - 1)
            finally:
                clean(<<|0, >>n)
        def clean(<<|z, >>n): return "<<old|new>>"
    """,
    "core": """
        from . import deep, errors
        from .errors import Problem
        def caught(<<|z, >>n):
            try:
                deep.down(<<|0, >>n, 1)
            except errors.Worse as error:
                return error.told(<<|0>>), str(error), type(error) is errors.Worse
            except Problem as error:
                return error.told(<<|0>>), str(error), isinstance(error, errors.Problem)
        def chained(<<|z, >>n):
            try:
                try:
                    deep.fail(<<|0, >>n)
                except Problem as error:
                    raise KeyError(error.kind) from error
            except KeyError as error:
                return str(error), error.__cause__.told(<<|0>>)
        def run(n): return caught(<<|0, >>n), chained(<<|0, >>n + 1), "<<old|new>>"
        def out(n): deep.down(<<|0, >>n, 0)
    """,
}


def errors(drive: Drive) -> None:
    drive("run", drive.core.run, 1)
    drive("raised", drive.core.out, 1)


PROGRAMS = [
    Program("recursion", recursion, written(RECURSION)),
    Program("mutual-recursion", mutual, written(MUTUAL), forked=True),
    Program("imports", imports, written(IMPORTS), forked=True),
    Program("nested", nested, written(NESTED), forked=True),
    Program("held", held, written(HELD), forked=True),
    Program("errors", errors, written(ERRORS), forked=True),
]
