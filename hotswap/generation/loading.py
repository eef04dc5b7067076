"""Loading a candidate: the changed and new modules of a patch, side by side with the running ones.

New code is loaded by plain execution of its source into a module of its own: no rewriting, no proxies; what was
checked is what goes live. `sys.modules` is not touched.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from packaging.version import Version

from hotswap.effects import Journal, Look, Survey
from hotswap.errors import LoadError
from hotswap.generation.aliases import unset
from hotswap.generation.alone import alone
from hotswap.generation.candidate_world import CandidateWorld
from hotswap.generation.definitions import Definitions, analyse
from hotswap.generation.examination import examine, made_classes
from hotswap.generation.failures import innermost, told
from hotswap.generation.files import Tree
from hotswap.generation.isolation import GONE, gate, worlds
from hotswap.generation.limit import Limit
from hotswap.generation.live import Live
from hotswap.generation.live_modules import LiveModules
from hotswap.generation.optional import load_new
from hotswap.generation.overrides import override
from hotswap.generation.selection import Selection, changed_modules, new_modules, removed_modules, select
from hotswap.generation.shelter import Shelter, opened
from hotswap.generation.standing import epochs
from hotswap.generation.sysview import entries, restore
from hotswap.generation.young import Young, detach, watch_young
from hotswap.patch import Patch, decode
from hotswap.stopping import Stopped, Worker, is_interrupt

__all__ = ["Candidate"]


class Candidate(Mapping[str, ModuleType]):
    """The staged modules by name. Lives as long as its rollout is staged or its generation is kept.

    As a mapping it has the modules that the patch changes or adds, and every other managed module as this generation
    sees it: ``candidate["shop.pricing"]``. A module of the patch that nobody has imported yet is loaded when asked for.

    Attributes:
        patch: what is rolled out.
        version: the version that its packages get.
        sources: the texts of the managed modules that have one, as this generation has them: name -> text.
        live: the same for what is live: a mapping of modules, with `sources` of its own.
        removed: the names of the modules that it takes away.
    """

    def __init__(
        self,
        live: Live,
        patch: Patch,
        version: Version,
        tree: Tree,
        shelters: Sequence[Shelter] = (),
        allow: Iterable[str] = (),
    ) -> None:
        self.patch = patch
        self.version = version
        self.tree, self.shelters = tree, shelters
        self.world = self._new_world(live)
        self.removed = removed_modules(live, patch)
        self.definitions: dict[str, Definitions] = {}
        self.selection = Selection()
        self.changed: tuple[str, ...] = ()
        self._choose(live)
        self.owned: list[object] = []
        self.classes: list[type] = []
        self.migrated: dict[str, dict[str, Any]] = {}
        """What migrations wrote: module -> name -> what the module body had bound to it. The module has the value."""
        self.fenced: list[Any] = []
        """Objects that migrations took over from what is live: nobody rewrites them."""
        self.units: dict[str, list[Any]] = {}
        """What the swap has found in sources: source -> its statements. It is prepared several times."""
        self.journal = Journal(allow)
        self.left: Mapping[str, str] = {}
        """New modules that nobody needs and that were left unloaded -> the missing module that they need."""
        self.loaded = False
        self.discarded = False
        # Guards what stands in `sys.modules` against a module body that comes to its end after it was given up.
        self._putting_back = threading.Lock()
        self._before: tuple[dict[str, ModuleType], tuple[int, ...]] = ({}, ())
        self._left_behind: Worker | None = None

    def _new_world(self, live: Live) -> CandidateWorld:
        """Return what its code sees."""
        return CandidateWorld(live, self)

    def _choose(self, live: Live) -> None:
        """Decide which modules are loaded."""
        changed = changed_modules(live, self.patch)
        self._analyse(changed)
        override(self.definitions, live, self.patch)
        also = {name for shelter in self.shelters for name in shelter.dependents(live, changed, self.definitions)}
        self.selection = select(live, changed, self.definitions, self.removed, self.patch.complete, also)
        self.changed = (*changed, *self.selection.affected)
        self.world.aliases = dict.fromkeys(unset(live, {*self.changed, *self.removed}), GONE)

    def _analyse(self, names: Container[str]) -> None:
        """Read what the sources of some modules of the patch say."""
        for name, source in self.patch.sources.items():
            if name in names:
                self.definitions[name] = analyse(decode(source.data), name, package=source.package)

    def missed(self) -> list[str]:
        """The modules that were imported since, in the old version, although the patch changes or removes them."""
        live = self.world.live_modules
        changed = {*changed_modules(live, self.patch)} - {*self.changed}
        return sorted((changed | (removed_modules(live, self.patch) - self.removed)) - self.modules.keys())

    @property
    def live(self) -> LiveModules:
        """What is live beside it, at this moment."""
        return LiveModules(self.world.live_modules)

    @property
    def sources(self) -> dict[str, str]:
        """The texts of its modules, and of those that it shares with what is live."""
        found = {name: text for name, text in self.live.sources.items() if name not in self.removed}
        found.update((name, decode(source.data)) for name, source in self.patch.sources.items())
        return found

    @property
    def leads(self) -> Mapping[int, tuple[Any, Any]]:
        """What its code got hold of that stands for something else: id -> (it, what it stands for)."""
        return {}

    @property
    def modules(self) -> dict[str, ModuleType]:
        """The modules that were loaded for this candidate, in the order in which their loading began."""
        return self.world.own

    def load(self, limit: Limit | None = None) -> None:
        """Load what is changed and what is new.

        Arguments:
            limit: how long the module bodies may take; None: they run here, without a limit.

        Raises LoadError if a module raises, does not return in time, tries to end the process, or replaces itself in
        `sys.modules`; the candidate has to be discarded then. Ctrl-C goes through.
        """
        limit = limit or Limit()
        with alone(limit.cancelled):
            self._load(limit)

    def _load(self, limit: Limit) -> None:
        gate.hold()
        self.loaded = True
        self._before = entries(self.world.packages), epochs(self.world.packages)
        opened(self.shelters, self.world.live_modules, (*self.changed, *self.removed), self.modules)
        young = Young()
        libraries = frozenset(shelter.library for shelter in self.shelters)
        self.world.look = look = Survey(self.world.live_modules, self.world, libraries)
        try:
            with watch_young() as young:
                limit.run(self)
        finally:
            look.end(self.world.ran.values())
            self.world.look = None
            self.classes = made_classes(self.world.ran, young)
            examine(self, look, young)
            del look, young  # who keeps an error keeps this frame, and shall not keep what is live now

    def load_modules(self) -> None:
        """Run the module bodies, in whatever thread this is. Raises as `load` does."""
        if self.world.look is not None:
            self.world.look.settings.run_here()
        for name in self.changed:
            self.load_module(name)
        self.left = load_new(self, new_modules(self.world.live_modules, self.patch))
        # What a module body has put under a name of which the patch holds no module is no file's, but is there.
        self.removed = self.removed.difference(self.modules)
        for shelter in self.shelters:
            shelter.staged()

    def give_up(self, worker: Worker) -> None:
        """Shut out the thread that runs the module bodies, before it is asked to stop: it may go on for long."""
        before, count = self._before
        with self._putting_back:
            self.world.given_up = True
            if epochs(self.world.packages) == count:
                restore(before)
        self._left_behind = worker

    def leave_behind(self, worker: Worker) -> None:
        """Shut out a thread that runs a migration and did not end in time."""
        self.world.given_up = True
        self._left_behind = worker

    def load_module(self, name: str) -> None:
        """Load one module, and its parents. Raises as `load` does."""
        before, count = entries(self.world.packages), epochs(self.world.packages)
        try:
            self.world.load(name)
        except BaseException as error:
            if isinstance(error, Stopped) or is_interrupt(error):
                raise
            raise LoadError(
                f"{innermost(error, self.tree)} raised {told(error)}",
                module=self.world.failing or name,
                patch=self.patch.label,
                advice="mend the module; the traceback is chained to this error",
            ) from error
        finally:
            self.world.failing = None
            with self._putting_back:
                # If another thread has rolled back meanwhile, or nobody waits any more, what stands there now is right.
                stale = self.world.given_up or epochs(self.world.packages) != count
                replaced = [*self.world.modules.replaced, *([] if stale else restore(before))]
            before.clear()  # as in `load`
        if replaced:
            raise LoadError(
                f"the patch replaces {', '.join(replaced)} in sys.modules while it is imported",
                module=name,
                patch=self.patch.label,
                advice="a module that replaces itself can't be swapped; restart the service with this version",
            )

    def discard(self, afterwards: Callable[[Callable[[], None]], None] | None = None) -> None:
        """Forget the candidate: nothing of it is left in the process but what others hold.

        Arguments:
            afterwards: has something done when nobody is on the candidate any more, if somebody is: his code goes on
                with its classes and modules until then. Nothing more of it is loaded.
        """
        if self.discarded:
            return
        self.discarded = True
        self.journal.drop()
        classes = self.classes
        self.owned, self.classes, self.shelters, self._before = [], [], (), ({}, ())
        self.migrated, self.fenced = {}, []
        self.definitions.clear()
        self.units.clear()
        self.tree.remove()
        if afterwards is None:
            self._part(classes)
        else:
            afterwards(partial(self._part, classes))

    def _part(self, classes: Iterable[type]) -> None:
        """Let go of what code of the candidate goes on with."""
        for cls in classes:
            detach(cls)
        self.world.own, self.world.aliases = {}, {}
        self.world.kept = {}
        if self._left_behind is None:
            self._shut()
        else:
            # Its imports have to be refused for as long as it runs; that takes the wrapper, and the names of its world.
            self._left_behind.afterwards(self._shut)

    def _shut(self) -> None:
        """Take the candidate's code out of the registry of worlds: none of it runs any more."""
        for key in list(self.world.ran):
            worlds.pop(key, None)
        self.world.ran.clear()
        if self.loaded:
            gate.release()

    def forget(self) -> None:
        """Let go of the modules: another generation is live, or this one was only looked at."""
        if self.world.live:
            self.world.own, self.world.aliases, self.world.ran = {}, {}, {}

    def settle_in(self) -> None:
        """Note that this generation is live: its code imports like everybody else's from now on."""
        back, self.world.live = self.world.live, True
        self.discarded = True
        self.owned, self.classes, self.shelters = [], [], ()
        self.fenced, self._before = [], ({}, ())
        self.units.clear()
        if not back:
            gate.release()

    def come_back(self) -> None:
        """Be a candidate once more: it was live, and was taken back. Nothing is executed."""
        self.world.live = self.discarded = False
        gate.hold()

    def __getitem__(self, name: str) -> ModuleType:
        if name not in self.modules and name not in self.removed and self._staged(name):
            look = Look(self.world.live_modules, self.world)
            look.settings.run_here()
            try:
                self.load_module(name)
            finally:
                look.end(self.world.ran.values())
                self.journal.enter_late(look)
        try:
            return self.world.present(name)
        except ModuleNotFoundError:
            raise KeyError(name) from None

    def _staged(self, name: str) -> bool:
        return not self.discarded and name in self.patch.sources and self.world.shared(name) is None

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(self.modules)
        names.update(dict.fromkeys(entry.name for entry in self.world.live_modules if entry.name not in self.removed))
        return iter(names)

    def __len__(self) -> int:
        return len(list(iter(self)))
