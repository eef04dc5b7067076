"""What the source of a module says: which statement binds which name, and whether a definition has changed."""

from __future__ import annotations

import textwrap

import pytest

from hotswap.generation import Definitions, Kind, analyse, unchanged


def definitions(source: str) -> Definitions:
    return analyse(textwrap.dedent(source), "module", package=False)


class TestUnchanged:
    BEFORE = """
        from elsewhere import LIMIT
        BASE = 1
        TABLE = [BASE, LIMIT]
        VIEW = TABLE
        def function(): return BASE
        CALLED = function()
        LOOP = OTHER = 0
        LOOP = [OTHER]
        OTHER = [LOOP]
    """

    @pytest.mark.parametrize("name", ["BASE", "TABLE", "VIEW", "CALLED", "LOOP", "OTHER"])
    def test_in_the_same_text(self, name: str) -> None:
        assert unchanged(name, definitions(self.BEFORE), definitions(self.BEFORE))

    @pytest.mark.parametrize(
        ("before", "after", "changed"),
        [
            ("BASE = 1", "BASE = 2", {"BASE", "TABLE", "VIEW"}),
            ("return BASE", "return 5", set()),
            ("OTHER = [LOOP]", "OTHER = [LOOP, 1]", {"LOOP", "OTHER"}),
            ("import LIMIT", "import SIZE as LIMIT", {"TABLE", "VIEW"}),
            ("def function(): return BASE", "function = dict", {"CALLED"}),
            ("BASE = 1", "", {"BASE", "TABLE", "VIEW"}),
        ],
    )
    def test_follows_the_data_that_is_read(self, before: str, after: str, changed: set[str]) -> None:
        old, new = definitions(self.BEFORE), definitions(self.BEFORE.replace(before, after))
        names = ["BASE", "TABLE", "VIEW", "CALLED", "LOOP", "OTHER"]
        assert {name for name in names if not unchanged(name, old, new)} == changed

    def test_foreign_data(self) -> None:
        both = definitions(self.BEFORE), definitions(self.BEFORE)
        assert not unchanged("VIEW", *both, {"LIMIT"})
        assert unchanged("CALLED", *both, {"LIMIT"})

    def test_of_a_block_whose_names_all_read_each_other(self) -> None:
        """Twelve names in one `if` block have as many ways through each other as twelve cards have orders."""
        block = "if __name__ == '__main__':\n" + "".join(
            f"    name{n} = [{', '.join(f'name{m}' for m in range(n))}]\n" for n in range(40)
        )
        old, new = definitions(block), definitions(block + "more = 1\n")
        assert all(unchanged(f"name{n}", old, new) for n in range(40))


class TestBindings:
    def test_of_match_statements(self) -> None:
        found = definitions(
            """
            match something:
                case [first, *rest] if (walrus := first):
                    pass
                case {"key": value, **others}:
                    pass
                case int() as number:
                    inside = 1
            """
        )
        names = {"first", "rest", "walrus", "value", "others", "number", "inside"}
        assert {name: found.kind(name) for name in names} == dict.fromkeys(names, Kind.DATA)


class TestLasting:
    """What stands for the same object with another value is no change for what merely holds it."""

    HELD = (
        "X = E.A",
        "X = {E.A: 0}",
        "X: dict[E, int] = {0: E.A}",
        "X = [E.A, (E.A, 1)]",
        "X = dict({E.A: 0})",
        "X = {n: 0 for n in E}",
        "X = dict.fromkeys(E)",
        "X = E.A if OK else None",
        "X = {}\nX[E.A] = 0",
        "X = set()\nX.add(E.A)",
        "X = {}\nfor n in E: X[n] = 0",
        "X = []\nfor n in E:\n    if OK: X.append((n, 1))",
        "Y = E.A\nX = [Y]",
    )
    USED = (
        "X = E.A.value",
        "X = str(E.A)",
        "X = f'{E.A}'",
        "X = E.A == 1",
        "X = make(E.A)",
        "X = {n.value: 0 for n in E}",
        "X = [n for n in E if n.value]",
        "X = make()\nX[E.A] = 0",
        "X = {}\nfor n in E: X[n.value] = 0",
        "X = {}\nfor n in E: X[n] = n.value",
        "X = {}\nfor n in E:\n    if n.value: X[n] = 0",
        "X = {}\nfor n in E: X[n] = 0\nX = n.value",
        "X = make()\nX.add(E.A)",
        "Y = E.A\nX = Y.value",
        "Y = {E.A: 0}\nZ = [Y]\nX = make(Z)",
        "Y = {E.A: 0}\nX = [n.value for n in Y]",
    )

    @pytest.mark.parametrize(("text", "same"), [*((text, True) for text in HELD), *((text, False) for text in USED)])
    def test_reads(self, text: str, same: bool) -> None:
        both = definitions(f"from m import E\n{text}"), definitions(f"from m import E\n{text}")
        changed = {"E.A", "E*"}
        assert unchanged("X", *both, changed, changed) is same
        assert not unchanged("X", *both, changed) or "E" not in text
