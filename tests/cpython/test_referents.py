"""What `gc.get_referents` tells of a dict: why `hotswap.namespaces` looks at thousands of them in one call."""

from __future__ import annotations

import gc
import sys


class TestOfADict:
    def test_values_are_told_also_of_one_that_is_not_tracked(self) -> None:
        table = {"a": 10**20, "b": "text"}
        assert {*map(id, gc.get_referents(table))} >= {id(table["a"]), id(table["b"])}

    def test_keys_are_told_unless_all_are_text(self) -> None:
        key, name = object(), "a name of some length"
        told = gc.get_referents({key: None, name: None})
        assert any(one is key for one in told)
        assert any(one is name for one in told)
        assert all(one is not name for one in gc.get_referents({name: None}))

    def test_the_order_is_that_of_the_dict_and_of_the_arguments(self) -> None:
        values = [object() for _ in range(4)]
        told = gc.get_referents({"a": values[0], "b": values[1]}, {"c": values[2], "d": values[3]})
        assert list(map(id, told)) == list(map(id, values))


class TestOfAnObject:
    """What `hotswap.effects.plain_data` tells the attributes by that an object had."""

    def test_values_are_told_in_an_order_that_stays(self) -> None:
        class Settings:
            def __init__(self) -> None:
                self.name, self.debug = "unnamed", False

        settings = Settings()
        before = [o for o in gc.get_referents(settings) if o is not Settings]
        settings.debug, settings.more = True, 1  # type: ignore[attr-defined]
        after = [o for o in gc.get_referents(settings) if o is not Settings]
        assert before.index("unnamed") == after.index("unnamed")
        assert before.index(False) == [id(o) for o in after].index(id(True))
        assert [id(o) for o in after].index(id(settings.more)) == 2  # type: ignore[attr-defined]
        if sys.version_info < (3, 14):
            assert before == ["unnamed", False]
            assert list(vars(settings).values()) == after
