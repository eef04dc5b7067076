"""Migrations: code of the new version that makes new state of the old, and its inverse for the way back.

| function of the new module | runs | reads | writes |
|---|---|---|---|
| ``__hotswap__(old, new)`` | after the checks, before the commit | `old`, which is live | `new`, the candidate's |
| ``__hotswap_undo__(old, new)`` | before a rollback | `new`, which is live | `old`, which comes back |

Both run in a thread of their own, under a time limit and no lock. Nothing that they write is live before the swap, or
the way back, is made; so if one of several fails, none of them has happened.

Assumes that they copy what they change: `old` is read-only, but the objects in it are the living ones.
"""

from __future__ import annotations

import ast
import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.errors import HotswapError, MigrationError
from hotswap.generation import Candidate, Limit, Young, made_of, reachable, told, watch_young
from hotswap.patch import decode, parse
from hotswap.stopping import Stopped, Worker, is_interrupt
from hotswap.swap.bodies import same_code
from hotswap.swap.forwarding import KIND_FLAGS
from hotswap.swap.writes import Writes

__all__ = [
    "HOOKS",
    "UNDO_SECONDS",
    "Undone",
    "announced",
    "bring_back",
    "check_hooks",
    "foreseen",
    "migrate",
    "undo",
    "unreturned",
]

_DO = "__hotswap__"
_UNDO = "__hotswap_undo__"

HOOKS = frozenset({_DO, _UNDO})
"""The names of these functions; they are no definitions like others."""

UNDO_SECONDS = 10.0
"""How long all inverse migrations may take together: somebody waits for the old code to come back."""

_MISSING: Any = object()


class _View(ModuleType):
    """A module as a migration gets it: `facts` are shown, and what is assigned goes to `take`, which may refuse."""

    def __init__(self, name: str, facts: dict[str, Any], take: Callable[[str, Any], None]) -> None:
        super().__init__(name)
        ModuleType.__getattribute__(self, "__dict__")["_hotswap"] = (name, facts, take)

    def __getattribute__(self, attribute: str) -> Any:
        name, facts, _ = ModuleType.__getattribute__(self, "__dict__")["_hotswap"]
        if attribute == "__dict__":
            return MappingProxyType(facts)
        value = facts.get(attribute, _MISSING)
        return made_of(self, name, attribute, facts.get("__getattr__")) if value is _MISSING else value

    def __setattr__(self, attribute: str, value: Any) -> None:
        ModuleType.__getattribute__(self, "__dict__")["_hotswap"][2](attribute, value)

    def __delattr__(self, attribute: str) -> None:
        name = ModuleType.__getattribute__(self, "__dict__")["_hotswap"][0]
        raise AttributeError(f"a migration can't delete {attribute!r} of module {name!r}", name=attribute, obj=self)

    def __dir__(self) -> list[str]:
        return sorted(ModuleType.__getattribute__(self, "__dict__")["_hotswap"][1])

    def __repr__(self) -> str:
        return f"<module {ModuleType.__getattribute__(self, '__dict__')['_hotswap'][0]!r} as a migration sees it>"


def _read_only(name: str, which: str) -> Callable[[str, Any], None]:
    def refuse(attribute: str, _: Any) -> None:
        raise AttributeError(f"the {which} module {name!r} is read-only here: {attribute} can't be set", name=attribute)

    return refuse


def _hook(module: ModuleType, name: str) -> Callable[..., object] | None:
    """The function of that name that a module itself defines."""
    found = module.__dict__.get(name)
    return found if callable(found) else None


def _pairs(candidate: Candidate) -> Iterator[tuple[str, ModuleType, ModuleType]]:
    """The changed modules that may have a migration, those that others import first: (name, old, new).

    A module that is loaded again although its text did not change has nothing to migrate.
    """
    own = candidate.modules
    for name in dict.fromkeys(candidate.world.finished):
        entry = candidate.world.live_modules.get(name)
        new = own.get(name)
        if new is None or entry is None or name in candidate.selection.affected:
            continue
        if issubclass(type(entry.module), ModuleType):
            yield name, entry.module, new


# --- there -----------------------------------------------------------------------------------------------------------


def check_hooks(candidate: Candidate) -> None:
    """Raise MigrationError if a changed or new module of a candidate has something else under the name of a hook."""
    for name, module in candidate.modules.items():
        for hook in sorted(HOOKS & module.__dict__.keys()) if name not in candidate.selection.affected else ():
            if not callable(module.__dict__[hook]):
                raise MigrationError(
                    f"{hook} of {name} is no function, but {walk.class_name(type(module.__dict__[hook]))}",
                    module=name,
                    patch=candidate.patch.label,
                    advice="make it a function of the old and the new module, or give it another name",
                )


def announced(candidate: Candidate) -> list[tuple[str, bool, bool]]:
    """The modules of a candidate that have a migration: (name, has an inverse, the live version has the same)."""
    found = []
    for name, old, new in _pairs(candidate):
        function, before = _hook(new, _DO), _hook(old, _DO)
        if function is None:
            continue
        found.append((name, _hook(new, _UNDO) is not None, before is not None and same_code(before, function)))
    return found


def foreseen(candidate: Candidate, module: str) -> set[str]:
    """The names that a migration assigns, as far as its text tells: ``new.CACHE = ...``."""
    source = candidate.patch.sources.get(module)
    names: set[str] = set()
    for statement in parse(decode(source.data)) if source is not None else ():
        if isinstance(statement, ast.FunctionDef) and statement.name == _DO:
            arguments = [*statement.args.posonlyargs, *statement.args.args]
            new = arguments[1].arg if len(arguments) > 1 else ""
            attributes = [node for node in ast.walk(statement) if isinstance(node, ast.Attribute)]
            stored = [node for node in attributes if isinstance(node.ctx, ast.Store)]
            names |= {node.attr for node in stored if isinstance(node.value, ast.Name) and node.value.id == new}
    return names


def migrate(candidate: Candidate, limit: Limit) -> None:
    """Run the migrations of a candidate, those of imported modules first, and note what they wrote.

    Arguments:
        candidate: which is about to be committed; its modules have the written values afterwards.
        limit: how long all of them may take together.

    Raises MigrationError if one raises or does not return in time: the candidate has to be discarded. Nothing live was
    touched, but for living objects that the migration itself changed in place.
    """
    steps = [(name, old, new) for name, old, new in _pairs(candidate) if _hook(new, _DO) is not None]
    if not steps:
        return
    label = candidate.patch.label
    running: list[str] = []

    def work() -> None:
        for name, old, new in steps:
            running.append(name)
            _run(name, old, new, candidate)

    def give_up(worker: Worker) -> HotswapError:
        candidate.leave_behind(worker)
        return _late(worker, _DO, running, label, limit)

    with watch_young() as young:
        limit.call(f"hotswap migration {label}", work, give_up)
    if young.objects is None:
        raise MigrationError(
            "it can't be told which objects a migration makes: the collector is off, and objects are frozen",
            patch=label,
            advice="switch the collector on while a patch is applied, or restart the service with this version",
        )
    _hand_on(candidate)
    _note_objects(candidate, young)


def _run(name: str, old: ModuleType, new: ModuleType, candidate: Candidate) -> None:
    facts = new.__dict__
    written = candidate.migrated.setdefault(name, {})

    def take(attribute: str, value: Any) -> None:
        written.setdefault(attribute, facts.get(attribute))
        facts[attribute] = value

    before = ModuleType.__getattribute__(old, "__dict__")
    views = _View(name, before, _read_only(name, "old")), _View(name, facts, take)
    _call(name, _DO, new, views, candidate.patch.label)


def _call(module: str, hook: str, owner: ModuleType, views: tuple[_View, _View], label: str) -> None:
    function = _hook(owner, hook)
    assert function is not None
    if type(function) is FunctionType and function.__code__.co_flags & KIND_FLAGS:
        raise MigrationError(
            f"{hook} of {module} is a coroutine or generator function, and calling it would do nothing",
            module=module,
            patch=label,
            advice="make it a plain function",
        )
    try:
        function(*views)
    except Stopped:
        raise
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise MigrationError(
            f"{hook} of {module} raised {told(error)}",
            module=module,
            patch=label,
            advice="mend the migration; the traceback is chained to this error",
        ) from error


def _late(worker: Worker, hook: str, running: list[str], label: str, limit: Limit) -> MigrationError:
    """Ask the thread of a migration to stop, and say what became of it."""
    module = running[-1] if running else None
    worker.ask()
    fate = worker.fate()
    why = "the caller was cancelled" if limit.cancelled.is_set() else f"it took more than {limit.seconds or 0:g} s"
    return MigrationError(
        f"{hook} of {module or 'a module'} was given up: {why}; {fate}",
        module=module,
        patch=label,
        advice="make it shorter, or give it more time: Patcher(load_timeout=...)",
    )


def _hand_on(candidate: Candidate) -> None:
    """Give what was written to the candidate's modules that had imported the name: ``from .cache import LIMIT``."""
    more = True
    while more:
        more = False
        for name, module in candidate.modules.items():
            definitions = candidate.definitions.get(name)
            for local, (origin, attribute) in definitions.imports() if definitions else ():
                written, mine = candidate.migrated.get(origin, {}), candidate.migrated.get(name, {})
                before = written.get(attribute)
                if attribute not in written or local in mine or module.__dict__.get(local, _MISSING) is not before:
                    continue
                candidate.migrated.setdefault(name, {})[local] = before
                module.__dict__[local] = candidate.modules[origin].__dict__[attribute]
                more = True


def _note_objects(candidate: Candidate, young: Young) -> None:
    """Note which objects the migrations made; and where these end, at living objects: nobody rewrites those."""
    modules = candidate.modules
    values = [modules[name].__dict__[item] for name, names in candidate.migrated.items() for item in names]
    known = {id(o) for o in young.objects or ()}
    fresh = [o for o in values if id(o) in known or (type(o) is tuple and id(o) in young.tuples)]
    made = [*fresh, *reachable(fresh, young)]
    owned = {id(o) for o in (*candidate.owned, *made)}
    at_the_edge = [*values, *(o for holder in made for o in gc.get_referents(holder))]
    candidate.owned += made
    candidate.fenced = [
        o
        for o in {id(o): o for o in at_the_edge}.values()
        if gc.is_tracked(o) and id(o) not in owned and type(o) is not FunctionType and not walk.is_class(o)
    ]


# --- and back --------------------------------------------------------------------------------------------------------


class Undone:
    """What the inverse migrations want written: module -> name -> value. `failure` says why there is nothing of it."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Any]] = {}
        self.failure: MigrationError | None = None

    def reason(self, given: str) -> str:
        """The reason of a rollback, with what went wrong before it."""
        if self.failure is None:
            return given
        return f"{given}; the values are those from before the swap, because {self.failure.reason}"

    @property
    def facts(self) -> dict[str, object]:
        """What there is to tell of a failure."""
        failure = self.failure
        return (
            {} if failure is None else {"module": failure.module, "message": failure.reason, "error": failure.__cause__}
        )


def unreturned(new: Mapping[str, ModuleType], migrated: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The modules whose migration wrote something that no inverse takes back."""
    return [name for name, names in migrated.items() if names and name in new and _hook(new[name], _UNDO) is None]


def bring_back(undone: Undone, old: Mapping[str, ModuleType], writes: Writes) -> None:
    """Add the writes of inverse migrations: into the namespaces of the modules that come back."""
    for name, values in undone.values.items():
        facts = ModuleType.__getattribute__(old[name], "__dict__")
        for attribute, value in values.items():
            writes.item(facts, attribute, value)


def undo(
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    label: str,
    inside: Callable[[], AbstractContextManager[None]],
) -> Undone:
    """Run the inverse migrations, in the reverse order. Nothing is written yet.

    Arguments:
        old: the modules that come back.
        new: the live modules, those that others import first.
        label: of the patch that is taken back.
        inside: makes the block in which they run.

    Raises nothing that they raise: whoever rolls back gets the old code, with the values that it had at the swap.
    """
    found = Undone()
    steps = [name for name in reversed(list(new)) if name in old and _hook(new[name], _UNDO) is not None]
    running: list[str] = []

    def work() -> None:
        for name in steps:
            running.append(name)
            facts = dict(ModuleType.__getattribute__(old[name], "__dict__"))
            written = found.values.setdefault(name, {})

            def take(attribute: str, value: Any, facts: dict[str, Any] = facts, written: Any = written) -> None:
                facts[attribute] = written[attribute] = value

            views = _View(name, facts, take), _View(name, new[name].__dict__, _read_only(name, "new"))
            _call(name, _UNDO, new[name], views, label)

    limit = Limit(UNDO_SECONDS, inside=inside)

    def give_up(worker: Worker) -> HotswapError:
        return _late(worker, _UNDO, running, label, limit)

    if steps:
        try:
            limit.call(f"hotswap undo {label}", work, give_up)
        except MigrationError as error:
            # A thread that was left behind may go on writing into what nobody reads. Tracebacks hold frames, and so the
            # code that is taken back.
            for told_of in (error, error.__cause__):
                if told_of is not None:
                    told_of.__traceback__ = None
            found.values, found.failure = {}, error
    return found
