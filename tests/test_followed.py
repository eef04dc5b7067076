"""The pages of `following.FOLLOWED`, word by word: files written, commands typed, what is printed compared.

The tutorial makes an environment of its own and has pip install into it what it says, from the checkout: that takes the
index that pip is set up with, as installing hotswap does anywhere. The other pages use the environment of the tests.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.following import FOLLOWED, ROOT, File, Follower, Typed, matches, steps

pytestmark = pytest.mark.threads


@pytest.fixture
def begin() -> Iterator[Path]:
    """A folder with the checkout in it; its name is short, since sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="hs") as name:
        folder = Path(name).resolve()
        (folder / "hotswap").symlink_to(ROOT)
        yield folder


def environment() -> dict[str, str]:
    """What somebody has who opens a terminal: the interpreter of the tests, and no settings of ours."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HOTSWAP_", "PYTEST_", "COV_"))}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    for name in ("VIRTUAL_ENV", "PS1", "FORCE_COLOR"):
        env.pop(name, None)
    return env


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_can_be_followed(page: Path) -> None:
    assert any(isinstance(step, Typed) for step in steps(page.read_text(encoding="utf-8")))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.name != "posix", reason="its pages are written for a POSIX shell")
@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: page.stem)
def test_does_what_it_says(page: Path, begin: Path) -> None:
    env = environment()
    if page.parent.name == "tutorial":
        env.pop("PYTHONPATH", None)  # what pip has installed is what is used
    else:
        env["HOME"] = str(begin)  # gunicorn makes a socket there
    if page.stem == "configmap" and sys.platform != "linux":
        pytest.skip("mv -T is that of GNU, and so is the kubelet's way")
    if page.stem in ("django", "workers") and find_spec("gunicorn") is None:
        pytest.skip("gunicorn is not installed")
    with Follower(begin, env) as follower:
        follower.follow(page)
    assert follower.done == len(list(steps(page.read_text(encoding="utf-8"))))


PAGE = """
```{code-block} text
:caption: notes/greeting.txt

good morning
```

```console
$ cat notes/greeting.txt
good …
$ cd notes && false
$ echo $?
1
$ ls
greeting.txt
```

```{code-block} console
:caption: Another terminal

$ cd notes
$ python3 -uc "import time; print('on port 8000'); print('begun'); time.sleep(600)"
begun
```

```{code-block} console
:caption: Another terminal

^C
KeyboardInterrupt
```
"""


@pytest.mark.skipif(os.name != "posix", reason="a POSIX shell is what is followed")
class TestFollowing:
    def follow(self, text: str, begin: Path) -> None:
        page = begin / "page.md"
        page.write_text(text, encoding="utf-8")
        with Follower(begin, environment()) as follower:
            follower.follow(page)

    def test_a_page_that_is_right(self, begin: Path) -> None:
        self.follow(PAGE, begin)
        assert (begin / "notes" / "greeting.txt").read_text(encoding="utf-8") == "good morning\n"

    @pytest.mark.parametrize(
        ("said", "instead"),
        [
            ("good …", "bad …"),
            ("good …", "good …\nand more"),
            ("greeting.txt\n```\n\n```{code", "```\n\n```{code"),
            ("$ echo $?\n1\n", ""),
            ("$ echo $?\n1\n", "$ echo $?\n2\n"),
            ("time.sleep(600)", "raise SystemExit"),
            ("^C\nKeyboardInterrupt", "^C\nGood bye"),
            ("```{code-block} console\n:caption: Another terminal\n\n^C\nKeyboardInterrupt\n```\n", ""),
        ],
    )
    def test_a_page_that_is_wrong(self, said: str, instead: str, begin: Path) -> None:
        assert said in PAGE
        with pytest.raises(AssertionError):
            self.follow(PAGE.replace(said, instead), begin)

    def test_a_block_that_nobody_could_follow(self) -> None:
        with pytest.raises(ValueError, match="can't be followed"):
            list(steps(PAGE + "```python\nprint()\n```\n"))

    def test_what_is_read(self) -> None:
        first, *_, last = steps(PAGE)
        assert first == File("notes/greeting.txt", "good morning\n")
        assert last == Typed("Another terminal", "^C", ("KeyboardInterrupt",))

    def test_what_differs_from_run_to_run(self) -> None:
        assert matches(["a … c", "…", "e"], "a b c\nd\nd\ne  \n", whole=True)
        assert matches(["…"], "", whole=True)
        assert not matches(["a", "e"], "a\nd\ne\n", whole=True)
        assert matches(["a", "e"], "0\na\nd\ne\nf\n", whole=False)
        assert not matches(["e", "a"], "a\nd\ne\n", whole=False)
