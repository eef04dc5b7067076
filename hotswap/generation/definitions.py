"""What the source of a module says: which statement binds which name, and which names came from where.

Only the syntax tree is read; nothing is executed. Two versions of a module are compared statement by statement: a
definition that did not change keeps its object, and an importer's source tells where its constants came from.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field

from hotswap.generation.selves import Selves

__all__ = [
    "Binding",
    "Definitions",
    "Kind",
    "analyse",
    "changed_class_data",
    "changes_its_heirs",
    "is_enumeration",
    "public_names",
    "unchanged",
]


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
    ``module.name`` pairs that they load; `touches` the dumps of the statements that change the object in place
    (``X["a"] = 1``, ``X.add(2)``); `head` what decides how functions and classes are registered.
    """

    name: str
    kind: Kind
    text: tuple[str, ...] = ()
    reads: frozenset[str] = frozenset()
    touches: tuple[str, ...] = ()
    head: tuple[str, ...] = ()


@dataclass(slots=True)
class Definitions:
    """The bindings of one module body or class body.

    `froms` maps a local name to the absolute module and the name that it was imported from; `modules` maps a local
    name to the module that it is bound to by an import statement; `stars` lists the modules of ``from m import *``;
    `classes` holds the bodies of the classes defined here; `imports` lists what is imported when the body runs, in
    order: the absolute module, and the names that are taken from it, which may be submodules.
    """

    bindings: dict[str, Binding] = field(default_factory=dict)
    froms: dict[str, tuple[str, str]] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    classes: dict[str, Definitions] = field(default_factory=dict)
    imports: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def kind(self, name: str) -> Kind | None:
        """Return how `name` is bound here, or None if no statement of this body binds it."""
        found = self.bindings.get(name)
        return found.kind if found else None


def analyse(source: str, module: str, *, package: bool) -> Definitions:
    """Return the definitions of a module.

    Arguments:
        source: the text of the module.
        module: its dotted name, to make relative imports absolute.
        package: whether it is a package.

    Raises SyntaxError or ValueError for text that is not Python.
    """
    base = module if package else module.rpartition(".")[0]
    body = ast.parse(source).body
    return _body(body, base, Selves(inner for statement in body for inner in _own(statement)))


def _body(statements: list[ast.stmt], base: str, selves: Selves) -> Definitions:
    found = Definitions()
    for statement in statements:
        dump = ast.dump(statement)
        reads = frozenset((*_reads(statement), *selves.read(_evaluated(statement))))
        bound = list(_bound(statement))
        bound += [(name, Kind.DATA) for node in _own(statement) for name in selves.bound(node)]
        for name, kind in bound:
            binding = found.bindings.setdefault(name, Binding(name, kind))
            binding.kind = kind
            binding.text += (dump,)
            binding.reads |= reads
        for node in _own(statement):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.bindings[node.name].head += (_head(node),)
        names = {name for name, _ in bound}
        for name in _touched(statement) - names - selves.names:
            touched = found.bindings.get(name)
            if touched is not None:
                touched.touches += (dump,)
                touched.reads |= reads - {name}
        _imports(statement, base, found)
        for node in _own(statement):
            if isinstance(node, ast.ClassDef):
                found.classes[node.name] = _body(node.body, base, Selves(()))
    return found


def _head(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str:
    """What decides how a function or class is registered: its decorators, bases and keywords."""
    above: list[ast.AST] = [*node.decorator_list]
    if isinstance(node, ast.ClassDef):
        above += [*node.bases, *node.keywords]
    return " ".join(map(ast.dump, above))


def _own(statement: ast.stmt) -> Iterator[ast.stmt]:
    """The statement and the statements of its blocks, but not the bodies of functions and classes."""
    yield statement
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            yield from _own(child)
        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
            for inner in child.body:
                yield from _own(inner)


def _evaluated(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes that run when the statement runs: of a function only decorators, defaults and annotations."""
    stack: list[ast.AST] = [statement]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            stack += [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)]
            stack += _annotations(node)
        else:
            stack += ast.iter_child_nodes(node)


def _annotations(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.AST]:
    """The annotations of a function: frameworks read them where it is registered, those in quotation marks too."""
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    for annotation in (node.returns, *(argument.annotation for argument in every if argument is not None)):
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            try:
                yield ast.parse(annotation.value, mode="eval")
            except SyntaxError:
                continue  # a text that is no expression names nothing
        elif annotation is not None:
            yield annotation


def _reads(statement: ast.stmt) -> Iterator[str]:
    """The names that are loaded when the statement runs.

    Where only an attribute is used, ``name.attribute`` is among them; where the thing itself is, ``name*``.
    """
    attributes: set[int] = set()
    for node in _evaluated(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
            if id(node) not in attributes:
                yield f"{node.id}*"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            attributes.add(id(node.value))
            yield f"{node.value.id}.{node.attr}"


def _bound(statement: ast.stmt) -> Iterator[tuple[str, Kind]]:
    for node in _own(statement):
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
    """Names whose object a statement may change in place: ``X[k] = v``, ``X.a = v``, ``X.method()``, ``del X[k]``."""
    names: set[str] = set()
    for node in _own(statement):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
            targets = [node.target]
        elif isinstance(node, ast.Delete):
            targets = node.targets
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            targets = [node.value.func]
        for target in targets:
            root: ast.expr = target
            while isinstance(root, (ast.Attribute, ast.Subscript)):
                root = root.value
            if root is not target and isinstance(root, ast.Name):
                names.add(root.id)
    return names


def _imports(statement: ast.stmt, base: str, found: Definitions) -> None:
    idle = set(_for_checkers(statement))
    for node in _own(statement):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found.imports += [(alias.name, ())] if id(node) not in idle else []
                local = alias.asname or alias.name.partition(".")[0]
                found.modules[local] = alias.name if alias.asname else local
                found.froms.pop(local, None)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parent = base.rsplit(".", node.level - 1)[0] if node.level > 1 else base
                origin = f"{parent}.{origin}" if origin else parent
            taken = tuple(alias.name for alias in node.names if alias.name != "*")
            found.imports += [(origin, taken)] if id(node) not in idle else []
            for alias in node.names:
                if alias.name == "*":
                    found.stars.append(origin)
                else:
                    local = alias.asname or alias.name
                    found.froms[local] = (origin, alias.name)
                    found.modules.pop(local, None)


def _for_checkers(statement: ast.stmt) -> Iterator[int]:
    """The ids of the statements that only type checkers look at: ``if TYPE_CHECKING:``."""
    for node in _own(statement):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in (
            getattr(node.test, "id", ""),
            getattr(node.test, "attr", ""),
        ):
            yield from (id(inner) for part in node.body for inner in _own(part))


def public_names(names: Mapping[str, object]) -> list[str]:
    """The names that ``from module import *`` takes, given the namespace of the module."""
    listed = names.get("__all__")
    if isinstance(listed, (list, tuple)):
        return [str(name) for name in listed]
    return [name for name in list(names) if not name.startswith("_")]


def unchanged(name: str, old: Definitions, new: Definitions, foreign: Container[str] = ()) -> bool:
    """Return whether the definition of `name` is the same in both bodies, and so is the data that it reads.

    A change in a function or class that the definition calls is not a change of the definition. Each name that is
    reached is looked at once: the statements of one block may all read each other.

    Arguments:
        name: the name in question; it must be bound in both bodies.
        old, new: the two bodies.
        foreign: the imported names and dotted reads that stand for changed data.
    """
    reached, stack = {name}, [name]
    while stack:
        current = stack.pop()
        before, after = old.bindings.get(current), new.bindings.get(current)
        if before is None or after is None or before.text != after.text:
            return False
        for read in after.reads - reached:
            if read in foreign or _class_data_changed(read, old, new):
                return False
            kinds = (old.kind(read), new.kind(read))
            if kinds == (None, None):
                continue
            if kinds[0] is not kinds[1]:
                return False
            if kinds[1] is Kind.DATA:
                reached.add(read)
                stack.append(read)
            origins = (old.froms.get(read), old.modules.get(read)), (new.froms.get(read), new.modules.get(read))
            if kinds[1] is Kind.IMPORT and origins[0] != origins[1]:
                return False
    return True


def _class_data_changed(read: str, old: Definitions, new: Definitions) -> bool:
    """Whether a read of a class sees other data: ``Limits.MAX``; or ``list(Colour)``, where members have changed."""
    name, _, attribute = read.removesuffix("*").partition(".")
    if name == read or old.kind(name) is not Kind.CLASS or new.kind(name) is not Kind.CLASS:
        return False
    changed = changed_class_data(name, old, new)
    return attribute in changed if attribute else bool(changed) and is_enumeration(name, new)


def changed_class_data(name: str, old: Definitions, new: Definitions) -> set[str]:
    """Return the attributes of a class whose data differ, are added or are gone."""
    before, after = old.classes.get(name) or Definitions(), new.classes.get(name) or Definitions()
    return {
        attribute
        for attribute in before.bindings.keys() | after.bindings.keys()
        if Kind.DATA in (before.kind(attribute), after.kind(attribute)) and not unchanged(attribute, before, after)
    }


def is_enumeration(name: str, definitions: Definitions) -> bool:
    """Return whether a class says that it is an enumeration."""
    return any("Enum" in head or "Flag" in head for head in definitions.bindings[name].head)


_HOOKS = frozenset({"__init_subclass__", "__set_name__", "__prepare__", "__class_getitem__"})
_HOOKS_OF_METACLASSES = _HOOKS | {"__new__", "__init__", "__call__"}


def changes_its_heirs(name: str, old: Definitions, new: Definitions) -> bool:
    """Whether a class has changed in what others take from it when they are made: subclasses, owners of descriptors.

    These are its fields (annotated names), its decorators and bases, the hooks that are called when a class is made,
    and the members of a protocol.
    """
    heads = [definitions.bindings[name].head for definitions in (old, new)]
    if heads[0] != heads[1]:
        return True
    head = " ".join(heads[1])
    before, after = old.classes.get(name) or Definitions(), new.classes.get(name) or Definitions()
    hooks = _HOOKS_OF_METACLASSES if "id='type'" in head or "Meta" in head else _HOOKS
    if "Protocol" in head and before.bindings.keys() != after.bindings.keys():
        return True
    for member in before.bindings.keys() | after.bindings.keys():
        texts = [body.bindings[member].text if member in body.bindings else () for body in (before, after)]
        annotated = any(text.startswith("AnnAssign") for text in (*texts[0], *texts[1]))
        if texts[0] != texts[1] and (member in hooks or annotated):
            return True
    return False
