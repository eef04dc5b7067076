"""Examination: what was created while a candidate was loaded, what of it is the candidate's own, and what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING

from hotswap import walk
from hotswap.effects import Authorship, Survey
from hotswap.generation.wrapping import unwrap
from hotswap.generation.young import Young, reachable
from hotswap.patch import decode

if TYPE_CHECKING:
    from hotswap.generation.loading import Candidate

__all__ = ["authorships", "examine", "made_classes"]


def examine(candidate: Candidate, look: Survey, young: Young) -> None:
    """Find out what a candidate owns, take back what it did to the process, and enter it in its journal.

    Arguments:
        candidate: it was loaded, or failed to be; its classes are known.
        look: taken before it was loaded.
        young: what was created since.
    """
    modules: list[object] = [*candidate.modules.values()]
    put = [*candidate.world.aliases.values()]
    aside = [container for shelter in candidate.shelters for container in shelter.aside()]
    inside = {id(o) for o in reachable([*modules, *aside, put], young)}
    world, journal = candidate.world, candidate.journal
    keepers = [*candidate.shelters, aside, put, candidate.world.aliases, *([] if world.kept is None else [world.kept])]
    journal.enter_assigned(world.assignments or {})
    made = world.ran, modules, candidate.classes
    journal.enter(look, young, made, inside, keepers, authorships(candidate, look.snapshot.kinds)[1])
    journal.enter_wrapped(unwrap(candidate, journal.replaced, young))
    # What was taken out of live registries is registered at the commit, and is the candidate's until then.
    own = [*modules, *aside, *(value for value in put if id(value) in inside)]
    # Some are held by others only, as the overloads of a function are by `typing`.
    own += [o for o in young.objects or () if type(o) is FunctionType and id(o.__globals__) in world.ran]
    candidate.owned = own + reachable([*own, *journal.registered], young)
    journal.enter_held(candidate.owned)


def authorships(
    candidate: Candidate, kinds: Callable[[], Iterable[type]] | None = None
) -> tuple[Authorship, Authorship]:
    """Return what the running modules say in whose place those of a candidate come, and what these say.

    Each stands beside the other managed modules, as they are with it.

    Arguments:
        candidate: it.
        kinds: gives the classes whose properties it may set; None once that is known.
    """
    live, patch = candidate.world.live_modules, candidate.patch
    old = {entry.name: entry.source for entry in live if entry.source is not None}
    new = old | {name: decode(source.data) for name, source in patch.sources.items()}
    gone = [old.pop(name) for name in candidate.removed if name in old]
    # One that raised is no module of the candidate any more.
    names = dict.fromkeys([*candidate.modules, *(str(facts.get("__name__")) for facts in candidate.world.ran.values())])
    before, after = ([texts.pop(name) for name in names if name in texts] for texts in (old, new))
    around = [text for name, text in new.items() if name not in candidate.removed]
    units, setters = candidate.units, candidate.journal.setters
    return Authorship([*before, *gone], old.values(), units, setters), Authorship(after, around, units, setters, kinds)


def made_classes(ran: Mapping[int, dict[str, object]], young: Young) -> list[type]:
    """The young classes that come from this candidate, not from live code that made one meanwhile.

    They have a method of the candidate's, or they can be reached from its modules and say that they are of them;
    the latter alone would miss a class that was made and dropped, as `dataclass(slots=True)` does.

    Arguments:
        ran: the globals of every module body that was begun, by their id.
        young: what was created meanwhile.
    """
    names = {facts.get("__name__") for facts in list(ran.values())}
    inside = {id(o) for o in reachable(list(ran.values()), young)}
    made: list[type] = []
    for cls in young.objects or ():
        if not walk.is_class(cls):
            continue
        items = walk.class_items(cls)  # type: ignore[arg-type]  # `is_class` has said so
        functions = (value for _, value in items if type(value) is FunctionType)
        if any(id(function.__globals__) in ran for function in functions) or (
            id(cls) in inside and dict(items).get("__module__") in names
        ):
            made.append(cls)  # type: ignore[arg-type]
    return made
