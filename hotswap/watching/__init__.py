"""A directory whose drops are applied: `with patcher.watch("drops/"): ...`.

`watch` is the public face and the worker thread, `turn` lets one pass at a time through, and `passes` makes it;
`scanning` finds what is dropped and waits until it is whole, by `looks` from outside, within `bounds`; `writers` knows
whether somebody still writes it; `gate` asks the policy, where there is one; `delays` has what waits for a busy patcher
or for what has to come with it; `attempt` reads and applies one drop; `outcome` is what became of it, and the marker
file that says so; `ledger` keeps the outcomes of each directory and patcher, `owed` the markers that could not be
written yet, `failures` what failed in processes before this one; `reports` tells outcomes to the log; `claims` gives a
directory to one watch of a process at a time, `seats` gives each process a name to report under, `children` has a watch
go on after a fork; `doorbell` rings when something stirs, and `mounts` knows where it can't. `pushing` is the other
end: it puts a drop into the directory, whole.
"""

from __future__ import annotations

from hotswap.watching.gate import Gate
from hotswap.watching.ledger import follow
from hotswap.watching.outcome import SUPERSEDED, Outcome
from hotswap.watching.pushing import Pushed, push
from hotswap.watching.scanning import SETTLE
from hotswap.watching.watch import Watch

__all__ = ["SETTLE", "SUPERSEDED", "Gate", "Outcome", "Pushed", "Watch", "follow", "push"]
