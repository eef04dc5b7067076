"""Reads: which names a statement loads when it runs, and what it does with them. Only the syntax tree is read."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Container, Iterator

__all__ = ["evaluated", "is_container", "own_statements", "path_of", "plain_value", "read_from_imports", "reads_of"]

_CONTAINERS = frozenset(
    ("dict", "list", "set", "tuple", "frozenset", "Counter", "OrderedDict", "defaultdict", "deque", "MappingProxyType")
)
"""What makes a container that asks its elements for no more than their hash, and whether they are equal."""

_SHORT = 8
"""A tuple that is longer is data."""


def own_statements(statement: ast.stmt) -> Iterator[ast.stmt]:
    """The statement and the statements of its blocks, but not the bodies of functions and classes."""
    yield statement
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return
    for child in ast.iter_child_nodes(statement):
        if isinstance(child, ast.stmt):
            yield from own_statements(child)
        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
            for inner in child.body:
                yield from own_statements(inner)


def evaluated(statement: ast.stmt) -> Iterator[ast.AST]:
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


def reads_of(statement: ast.stmt, plain: Container[str] = ()) -> Iterator[str]:
    """The names that are loaded when the statement runs.

    Where only an attribute is used, ``name.attribute`` is among them, and so is every longer path; where the thing
    itself is, ``name*`` or ``name.attribute*``. What is looked into, called, computed with or handed on, rather than
    put under a name or into a container, is there as ``name!`` or ``name.attribute!`` besides.

    Arguments:
        statement: the statement.
        plain: the names that are bound to containers of the standard library by then.
    """
    attributes: set[int] = set()
    held = set(_held(statement, plain))
    held |= set(_gone_through(statement, held))
    told = set(_annotating(statement))
    for node in evaluated(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            path = node.id
        elif isinstance(node, ast.Attribute):
            attributes.add(id(node.value))
            path = path_of(node)
        else:
            continue
        if not path:
            continue
        yield path
        if id(node) not in attributes and id(node) not in told:
            yield f"{path}*"
        if id(node) not in held and id(node) not in told:
            yield f"{path}!"


def is_container(node: ast.expr | None) -> bool:
    """Whether an expression makes a container of the standard library, as far as its text says."""
    if isinstance(node, ast.Call):
        return path_of(node.func).removesuffix(".fromkeys").rpartition(".")[2] in _CONTAINERS
    return isinstance(node, (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp))


def plain_value(node: ast.expr | None) -> object:
    """The plain value that an expression stands for as it is written, a short tuple of such ones too; `...` if none."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Tuple(elts=elements) if len(elements) <= _SHORT:
            values = tuple(map(plain_value, elements))
            return ... if any(value is ... for value in values) else values
        case _:
            return ...


def _annotating(statement: ast.stmt) -> Iterator[int]:
    """The ids of the nodes in annotations of variables: what stands there has no part in the value."""
    for node in own_statements(statement):
        if isinstance(node, ast.AnnAssign):
            yield from map(id, ast.walk(node.annotation))


def _held(statement: ast.stmt, plain: Container[str]) -> Iterator[int]:
    """The ids of the nodes whose object is put under a name or into a container, whatever its value is."""
    for node in own_statements(statement):
        match node:
            case ast.Assign(targets=targets, value=value) if all(_is_place(target, plain) for target in targets):
                yield from _put(value)
                yield from (
                    inner for target in targets if isinstance(target, ast.Subscript) for inner in _put(target.slice)
                )
            case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value):
                yield from _put(value)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name))) as call) if name in plain:
                for argument in (*call.args, *(keyword.value for keyword in call.keywords)):
                    yield from _put(argument)
            case _:
                continue  # it hands on what it reads, or looks into it


def _gone_through(statement: ast.stmt, held: Container[int]) -> Iterator[int]:
    """The ids of what loops go through that only hold each item: ``for colour in Colour: TABLE[colour] = 0``."""
    for node in own_statements(statement):
        match node:
            case ast.For(target=ast.Name(id=name), iter=(ast.Name() | ast.Attribute()) as items, body=body):
                uses = [n for one in body for n in ast.walk(one) if isinstance(n, ast.Name) and n.id == name]
                if all(id(use) in held for use in uses):
                    yield id(items)
            case _:
                continue


def _is_place(target: ast.expr, plain: Container[str]) -> bool:
    match target:
        case ast.Name():
            return True
        case ast.Tuple(elts=elements):
            return all(isinstance(element, ast.Name) for element in elements)
        case ast.Subscript(value=ast.Name(id=name)):
            return name in plain
        case _:
            return False


def _put(value: ast.expr) -> Iterator[int]:
    stack: list[ast.expr] = [value]
    while stack:
        node = stack.pop()
        match node:
            case ast.Name() | ast.Attribute():
                yield id(node)
            case ast.Dict(keys=keys, values=values):
                stack += [*(key for key in keys if key is not None), *values]
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                stack += elements
            case ast.IfExp(body=one, orelse=other):
                stack += [one, other]
            case ast.Starred(value=inner) | ast.NamedExpr(value=inner):
                stack.append(inner)
            case ast.Call(args=arguments, keywords=keywords) if is_container(node):
                stack += [*arguments, *(keyword.value for keyword in keywords)]
            case ast.DictComp(key=key, value=inner, generators=loops):
                yield from _put_in_loop([key, inner], loops)
            case (
                ast.ListComp(elt=element, generators=loops)
                | ast.SetComp(elt=element, generators=loops)
                | ast.GeneratorExp(elt=element, generators=loops)
            ):
                yield from _put_in_loop([element], loops)
            case _:
                continue  # something is computed


def _put_in_loop(made: list[ast.expr], loops: list[ast.comprehension]) -> Iterator[int]:
    """What a comprehension puts into what it makes: ``{colour: 0 for colour in Colour}``."""
    held = {inner for element in made for inner in _put(element)}
    yield from held
    match loops:
        case [ast.comprehension(target=ast.Name(id=name), iter=(ast.Name() | ast.Attribute()) as items, ifs=[])]:
            uses = [n for one in made for n in ast.walk(one) if isinstance(n, ast.Name) and n.id == name]
            if all(id(use) in held for use in uses):
                yield id(items)
        case _:
            return


def path_of(node: ast.expr) -> str:
    """The dotted path that an expression is: ``name.attribute.attribute``; empty for an attribute of anything else."""
    if isinstance(node, ast.Attribute):
        above = path_of(node.value)
        return f"{above}.{node.attr}" if above else ""
    return node.id if isinstance(node, ast.Name) else ""


def read_from_imports(statement: ast.stmt, base: str) -> Iterator[tuple[str, str]]:
    """The attributes that are read of what `import_module` returns: ``import_module(".v", __package__).LIMIT``."""
    for node in evaluated(statement):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Call) or not node.value.args:
            continue
        call, name = node.value, node.value.args[0]
        if not path_of(call.func).endswith("import_module") or not isinstance(name, ast.Constant):
            continue
        package = [*call.args[1:], *(keyword.value for keyword in call.keywords)]
        above = package[0].value if package and isinstance(package[0], ast.Constant) else base
        try:
            yield importlib.util.resolve_name(str(name.value), str(above)), node.attr
        except ImportError:
            continue  # it leads out of the package, and would not be found
