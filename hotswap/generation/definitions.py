"""What the source of a module says: which statement binds which name, and which names came from where.

Only the syntax tree is read; nothing is executed. An importer's source tells where its constants came from.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hotswap.generation.beside import Assigned, Called, assigned_in, called_in, is_assignment
from hotswap.generation.reads import (
    evaluated,
    is_container,
    own_statements,
    plain_value,
    read_from_imports,
    reads_of,
)
from hotswap.generation.selves import Selves
from hotswap.patch import parse

__all__ = ["Binding", "Definitions", "Kind", "analyse", "public_names"]


class Kind(enum.Enum):
    """How a name is bound."""

    IMPORT = "import"
    FUNCTION = "def"
    CLASS = "class"
    DATA = "assignment"


@dataclass(slots=True)
class Binding:
    """All statements of one body that bind one name.

    `kind` is that of the last statement; `text` the dump of all of them, without positions; `reads` the names and
    ``module.name`` pairs that they load, as `reads_of` says them; `touches` the dumps of the statements that change
    the object in place (``X["a"] = 1``, ``X.add(2)``), whose reads are among `reads`, but not in `made_of`; nor in
    `anew`, if they only set an attribute (``X.a = 1``); `head` what decides how functions and classes are registered;
    `literals` the plain values that it is bound to as they stand there; `assigned` what of the object statements set;
    `called` the methods of it that they call.
    """

    name: str
    kind: Kind
    text: tuple[str, ...] = ()
    reads: frozenset[str] = frozenset()
    made_of: frozenset[str] = frozenset()
    anew: frozenset[str] = frozenset()
    touches: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    literals: tuple[object, ...] = ()
    assigned: tuple[Assigned, ...] = ()
    called: tuple[Called, ...] = ()


@dataclass(slots=True)
class Definitions:
    """The bindings of one module body or class body.

    `froms` maps a local name to the absolute module and the name that it was imported from; `modules` maps a local
    name to the module that it is bound to by an import statement; `stars` lists the modules of ``from m import *``;
    `classes` holds the bodies of the classes defined here; `imported` lists what is imported when the body runs, in
    order: the absolute module, and the names that are taken from it, which may be submodules.

    A name may be bound in several branches. `others` maps it to what it may have been imported from besides what
    `froms` says. `followers` are the names that an import may have bound last, whatever else stands in its other
    branches; `starred` those bound here that a later ``import *``, or one in another branch, may have bound as well.
    """

    bindings: dict[str, Binding] = field(default_factory=dict)
    froms: dict[str, tuple[str, str]] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    classes: dict[str, Definitions] = field(default_factory=dict)
    imported: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    others: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    followers: set[str] = field(default_factory=set)
    starred: set[str] = field(default_factory=set)

    def kind(self, name: str) -> Kind | None:
        """Return how `name` is bound here, or None if no statement of this body binds it."""
        found = self.bindings.get(name)
        return found.kind if found else None

    def imports(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Yield each name that may be bound by a from-import, with each module and name that it may come from."""
        yield from self.froms.items()
        for local, origins in self.others.items():
            yield from ((local, origin) for origin in origins)

    def origins(self, name: str) -> list[tuple[str, str]]:
        """Return the modules and names that a name may have been imported from, if an import may have bound it last."""
        found = [self.froms[name]] if name in self.followers and name in self.froms else []
        found += self.others.get(name, ()) if name in self.followers else ()
        return found + ([] if self.hides(name) else [(star, name) for star in reversed(self.stars)])

    def hides(self, name: str) -> bool:
        """Whether a name is bound here for certain after any ``import *`` that might have bound it."""
        return name in self.bindings and name not in self.starred


def analyse(source: str, module: str, *, package: bool) -> Definitions:
    """Return the definitions of a module.

    Arguments:
        source: the text of the module.
        module: its dotted name, to make relative imports absolute.
        package: whether it is a package.

    Raises SyntaxError or ValueError for text that is not Python.
    """
    base = module if package else module.rpartition(".")[0]
    body = parse(source)
    return _body(body, base, Selves(inner for statement in body for inner in own_statements(statement)))


def _body(statements: list[ast.stmt], base: str, selves: Selves) -> Definitions:
    found = Definitions()
    plain: set[str] = set()
    for statement in statements:
        dump = ast.dump(statement)
        imported_here = {f"{there}.{name}": there for there, name in read_from_imports(statement, base)}
        found.modules.update((there, there) for there in imported_here.values())
        reads = frozenset((*reads_of(statement, plain), *imported_here, *selves.read(evaluated(statement))))
        bound = list(_bound(statement))
        bound += [(name, Kind.DATA) for node in own_statements(statement) for name in selves.bound(node)]
        for name, kind in bound:
            binding = found.bindings.setdefault(name, Binding(name, kind))
            binding.kind = kind
            binding.text += (dump,)
            binding.reads |= reads
            binding.made_of |= reads
            binding.anew |= reads
        _literals(statement, found)
        plain -= {name for name, _ in bound}
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and is_container(statement.value):
            plain |= {target.id for target in _places(statement) if isinstance(target, ast.Name)}
        for node in own_statements(statement):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.bindings[node.name].head += (_head(node),)
        names = {name for name, _ in bound}
        # A name that it binds itself, as the target of a loop, says nothing that its own text does not say.
        within = {name for name in names if len(found.bindings[name].text) == 1}
        outer = frozenset(read for read in reads if read.partition(".")[0].removesuffix("*") not in within)
        for name in _touched(statement) - names - selves.names:
            touched = found.bindings.get(name)
            if touched is not None:
                touched.touches += (dump,)
                touched.reads |= outer - {name}
                touched.anew |= frozenset() if is_assignment(statement) else outer - {name}
        _beside(statement, found)
        _imports(statement, base, found)
        imported = {name for name, kind in bound if kind is Kind.IMPORT}
        found.followers = (found.followers - names) | imported
        if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in own_statements(statement)):
            found.starred = set(found.bindings)
        else:
            found.starred -= names
        for node in own_statements(statement):
            if isinstance(node, ast.ClassDef):
                found.classes[node.name] = _body(node.body, base, Selves(()))
    return found


def _literals(statement: ast.stmt, found: Definitions) -> None:
    """Note the plain values that names are bound to: ``LIMIT = 3``, most often what an import falls back on."""
    for node in own_statements(statement):
        value = plain_value(node.value) if isinstance(node, ast.Assign) else ...
        for target in node.targets if isinstance(node, ast.Assign) and value is not ... else ():
            if isinstance(target, ast.Name):
                found.bindings[target.id].literals += (value,)


def _places(statement: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return statement.targets if isinstance(statement, ast.Assign) else [statement.target]


def _head(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    """What decides how a function or class is registered: its decorators, bases and keywords."""
    above: list[ast.AST] = [*node.decorator_list]
    if isinstance(node, ast.ClassDef):
        above += [*node.bases, *node.keywords]
    return " ".join(map(ast.dump, above))


def _bound(statement: ast.stmt) -> Iterator[tuple[str, Kind]]:
    for node in own_statements(statement):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, Kind.FUNCTION
        elif isinstance(node, ast.ClassDef):
            yield node.name, Kind.CLASS
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if alias.name != "*":
                    yield alias.asname or alias.name.partition(".")[0], Kind.IMPORT
        else:
            for name in _targets(node):
                yield name, Kind.DATA


def _targets(statement: ast.stmt) -> Iterator[str]:
    """Names that this very statement stores to (blocks inside it are visited on their own)."""
    stack: list[ast.AST] = [
        child
        for child in ast.iter_child_nodes(statement)
        if not isinstance(child, (ast.stmt, ast.ExceptHandler, ast.match_case))
    ]
    if isinstance(statement, ast.Match):
        stack += [part for case in statement.cases for part in (case.pattern, case.guard) if part is not None]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)):
            # Their targets are local; only a walrus inside leaks a name, which is found by its own node type.
            stack += [n.target for n in ast.walk(node) if isinstance(n, ast.NamedExpr)]
            continue
        stack += ast.iter_child_nodes(node)


def _touched(statement: ast.stmt) -> set[str]:
    """Names whose object a statement may change: ``X[k] = v``, ``X.a = v``, ``X.method()``, ``del X[k]``, `setattr`."""
    names: set[str] = set()
    for node in own_statements(statement):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        elif isinstance(node, ast.Delete):
            targets = node.targets
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            targets = [node.value.func]
            if isinstance(node.value.func, ast.Name) and node.value.func.id == "setattr" and node.value.args:
                targets = [ast.Attribute(value=node.value.args[0], attr="", ctx=ast.Store())]
        for target in targets:
            root: ast.expr = target
            while isinstance(root, (ast.Attribute, ast.Subscript)):
                root = root.value
            if root is not target and isinstance(root, ast.Name):
                names.add(root.id)
    return names


def _beside(statement: ast.stmt, found: Definitions) -> None:
    """Note what a statement does to objects that other statements have bound."""
    for name, assigned in assigned_in(statement):
        if name in found.bindings:
            found.bindings[name].assigned += (assigned,)
    for name, called in called_in(statement):
        if name in found.bindings:
            found.bindings[name].called += (called,)


def _imports(statement: ast.stmt, base: str, found: Definitions) -> None:
    idle = set(_for_checkers(statement))
    for node in own_statements(statement):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.imported += [(alias.name, ())] if id(node) not in idle else []
                local = alias.asname or alias.name.partition(".")[0]
                _leave(local, node is statement, found)
                found.modules[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parent = base.rsplit(".", node.level - 1)[0] if node.level > 1 else base
                origin = f"{parent}.{origin}" if origin else parent
            taken = tuple(alias.name for alias in node.names if alias.name != "*")
            found.imported += [(origin, taken)] if id(node) not in idle else []
            for alias in node.names:
                if alias.name == "*":
                    found.stars.append(origin)
                else:
                    local = alias.asname or alias.name
                    _leave(local, node is statement, found)
                    found.froms[local] = (origin, alias.name)
                    found.modules.pop(local, None)


def _leave(local: str, certain: bool, found: Definitions) -> None:
    """Note that another import binds a name: it comes from there for certain, or from one of both."""
    before = found.froms.pop(local, None)
    if certain:
        found.others.pop(local, None)
    elif before is not None:
        found.others[local] = (before, *found.others.get(local, ()))


def _for_checkers(statement: ast.stmt) -> Iterator[int]:
    """The ids of the statements that only type checkers look at: ``if TYPE_CHECKING:``."""
    for node in own_statements(statement):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in (
            getattr(node.test, "id", ""),
            getattr(node.test, "attr", ""),
        ):
            yield from (id(inner) for part in node.body for inner in own_statements(part))


def public_names(names: Mapping[str, object]) -> list[str]:
    """The names that ``from module import *`` takes, given the namespace of the module."""
    listed = names.get("__all__")
    if isinstance(listed, (list, tuple)):
        return [str(name) for name in listed]
    return [name for name in list(names) if not name.startswith("_")]
