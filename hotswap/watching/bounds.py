"""How far looks at drops may go, before anything is known of them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OPEN", "Bounds"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a look may go. With the bounds of a policy, nothing that was dropped sends it through the whole disk.

    `links` says whether a drop may be a symbolic link, `within` whether it may be one to a file, which the policy will
    follow as far as it stays within the directory; `most` how many files and folders in it are looked at.
    `single_files` says whether a `.py` file is read at all.
    """

    links: bool = True
    within: bool = False
    most: int | None = None
    single_files: bool = True


OPEN = Bounds()
"""No bounds: where everything that is dropped is taken."""
