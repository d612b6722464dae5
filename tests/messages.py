"""Find messages in the source that are not marked for translation, by reading its syntax trees."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tetrad

PACKAGE = Path(tetrad.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
MARKERS = ("_", "ngettext")
# Functions and classes, with the positions and names of the parameters that are templates or messages. Parameters
# `template: str | Message` are found without it.
TAKES_MESSAGE = {
    "Message": {0: "template"},
    "TetradError": {1: "template"},
    "ShapeError": {0: "template"},
    "setting_error": {1: "template"},
    "check": {3: "expected"},
    "option": {1: "help"},
    "json_schema": {1: "title"},
    "print_progress": {0: "template"},
    "_run_with_float32_fallback": {3: "warning"},
    "Artifact": {1: "noun", 2: "title"},
}
# Names that are given to keywords, parameters and fields only if they are templates; `help` is also typer's.
MESSAGE_FIELDS = (
    "help",
    "because",
    "hint",
    "command_help",
    "good_at",
    "bad_at",
    "noun",
    "description",
    "templates",
    "folder_help",
)
TEMPLATE = "template: str | Message"
WORD = re.compile(r"[A-Za-z]{3}")


@dataclass(frozen=True)
class Source:
    """A file's syntax tree, with the function that each node is in."""

    path: Path
    tree: ast.Module
    scopes: dict[ast.AST, tuple[ast.AST, ...]]  # the functions and the module around a node, innermost first


@cache
def read_source(path: Path) -> Source:
    tree = ast.parse(path.read_text("utf-8"))
    scopes: dict[ast.AST, tuple[ast.AST, ...]] = {}

    def visit(node: ast.AST, around: tuple[ast.AST, ...]) -> None:
        scopes[node] = around
        inner = (node, *around) if isinstance(node, ast.FunctionDef | ast.Lambda | ast.Module) else around
        for child in ast.iter_child_nodes(node):
            visit(child, inner)

    visit(tree, ())
    return Source(path, tree, scopes)


@cache
def message_parameters() -> dict[str, dict[int, str]]:
    """TAKES_MESSAGE, and every function and class with a parameter `template: str | Message`."""
    found = dict(TAKES_MESSAGE)
    for path in SOURCES:
        for node in ast.walk(read_source(path).tree):
            if isinstance(node, ast.FunctionDef):
                arguments = [each for each in (*node.args.posonlyargs, *node.args.args) if each.arg != "self"]
                taken = {n: each.arg for n, each in enumerate(arguments) if ast.unparse(each) == TEMPLATE}
                if taken:
                    found[function_name(node, read_source(path))] = taken
    return found


def function_name(function: ast.AST, source: Source) -> str:
    """A function's name; of `__init__` the class's."""
    name = getattr(function, "name", "")
    if name != "__init__":
        return str(name)
    classes = (each for each in ast.walk(source.tree) if isinstance(each, ast.ClassDef))
    return next(each.name for each in classes if function in each.body)


@cache
def message_names() -> frozenset[str]:
    """Fields, properties and functions that are annotated as a Message, or as several, anywhere in the package."""
    names = set()
    for path in SOURCES:
        for node in ast.walk(read_source(path).tree):
            if isinstance(node, ast.FunctionDef) and is_message_type(node.returns):
                names.add(node.name)
            elif isinstance(node, ast.AnnAssign) and is_message_type(node.annotation):
                names.add(getattr(node.target, "id", getattr(node.target, "attr", "")))
    return frozenset(names)


def is_message_type(annotation: ast.expr | None) -> bool:
    return annotation is not None and re.search(r"\b(Message|Plural)\b", ast.unparse(annotation)) is not None


def called_name(node: ast.AST) -> str:
    """The name of what is called, without the object before it."""
    return getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""


def unmarked(path: Path) -> Iterator[str]:
    """Each place of a file where a message is not marked, as `line: code`."""
    source = read_source(path)
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        name = called_name(node)
        if name in MARKERS and not all(isinstance(form, ast.Constant) for form in node.args[: 1 + (name != "_")]):
            yield f"{node.lineno}: {ast.unparse(node)[:120]}"
        if name in ("translate", "print") and any(is_plain_text(each) for each in node.args):
            yield f"{node.lineno}: {ast.unparse(node)[:120]}"
        for argument in message_arguments(node, name):
            if not is_message(argument, source):
                yield f"{argument.lineno}: {ast.unparse(argument)[:120]}"


def is_plain_text(node: ast.expr) -> bool:
    """Whether an expression is text with words in it, other than the program's name."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [str(part.value) for part in parts if isinstance(part, ast.Constant)]
    return any(WORD.search(text.replace("tetrad", "")) for text in texts)


def message_arguments(node: ast.Call, name: str) -> Iterator[ast.expr]:
    """The arguments of a call that must be messages."""
    parameters = message_parameters().get(name, {})
    for position, argument in enumerate(node.args):
        if isinstance(argument, ast.Starred):
            yield from [argument.value] if parameters else []
            break
        if position in parameters:
            yield argument
    yield from (each.value for each in node.keywords if each.arg in (*parameters.values(), *MESSAGE_FIELDS))


def is_message(node: ast.expr, source: Source, seen: frozenset[ast.AST] = frozenset()) -> bool:
    """Whether an expression is a marked template or a Message, whatever its names are bound to."""
    if node in seen:
        return True
    seen |= {node}
    match node:
        case ast.Constant():
            return node.value in ("", None)
        case ast.Call():
            return is_message_call(node, source, seen)
        case ast.Dict():
            return all(is_message(value, source, seen) for value in node.values)
        case ast.IfExp():
            return is_message(node.body, source, seen) and is_message(node.orelse, source, seen)
        case ast.BoolOp():
            return all(is_message(value, source, seen) for value in node.values)
        case ast.NamedExpr():
            return is_message(node.value, source, seen)
        case ast.Subscript():
            key = getattr(node.slice, "value", "")
            return key == "template" or has_messages(node.value, source, seen)
        case ast.BinOp():  # a help text gets its full stop
            return isinstance(node.right, ast.Constant) and node.right.value == "." and is_message(node.left, source)
        case ast.Attribute():
            return is_message_attribute(node, seen)
        case ast.Name():
            return is_message_name(node, source, seen)
    return False


def is_message_call(node: ast.Call, source: Source, seen: frozenset[ast.AST]) -> bool:
    name = called_name(node)
    if name in (*MARKERS, "Message", "translate", *message_names()):
        return True
    if name == "get" and isinstance(node.func, ast.Attribute):
        return has_messages(node.func.value, source, seen)
    return name in ("str", "next") and bool(node.args) and has_messages(node.args[0], source, seen)


def is_message_attribute(node: ast.Attribute, seen: frozenset[ast.AST]) -> bool:
    """Whether a field is a message: by its name, by its annotation, or as a constant of a module."""
    if node.attr in (*message_names(), *MESSAGE_FIELDS):
        return True
    owner = getattr(node.value, "id", getattr(node.value, "attr", ""))
    if owner == "artifact":
        return node.attr in TAKES_MESSAGE["Artifact"].values()
    module = next((path for path in SOURCES if path.stem == owner), None)
    return module is not None and is_message_name(ast.Name(node.attr), read_source(module), seen)


def has_messages(node: ast.expr, source: Source, seen: frozenset[ast.AST]) -> bool:
    """Whether a table or a loop has messages, and no text that is put together from pieces."""
    if isinstance(node, ast.Name | ast.Attribute):
        return is_message(node, source, seen)
    parts = list(ast.walk(node))
    found = any(called_name(part) in (*MARKERS, "Message", *message_names()) for part in parts)
    found = found or any(is_message_name(part, source, seen) for part in parts if isinstance(part, ast.Name))
    found = found or any(is_message_attribute(part, seen) for part in parts if isinstance(part, ast.Attribute))
    return found and not any(isinstance(part, ast.JoinedStr) for part in parts)


def is_message_name(node: ast.Name, source: Source, seen: frozenset[ast.AST]) -> bool:
    """Whether everything that a name is bound to is a message, or a table of messages."""
    for scope in source.scopes.get(node, ()) or (source.tree,):
        if isinstance(scope, ast.FunctionDef | ast.Lambda):
            arguments = scope.args
            for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
                if each.arg == node.id:
                    return is_message_parameter(each, scope, source)
        if bound := list(bindings(node.id, scope, source)):
            return all(is_message(each, source, seen) or has_messages(each, source, seen) for each in bound)
    return is_imported_message(node.id, source, seen)


def is_message_parameter(parameter: ast.arg, function: ast.AST, source: Source) -> bool:
    """Whether callers must give a message: by the annotation, the parameter's name, or TAKES_MESSAGE."""
    is_typed = is_message_type(parameter.annotation)
    taken = message_parameters().get(function_name(function, source), {})
    return is_typed or parameter.arg in (*MESSAGE_FIELDS, *taken.values())


def bindings(name: str, scope: ast.AST, source: Source) -> Iterator[ast.expr]:
    """What a name is set to in a scope: by an assignment, a loop, or `:=`."""
    for node in ast.walk(scope):
        inside = source.scopes[node][0] if source.scopes[node] else scope
        if inside is not scope and isinstance(scope, ast.Module):
            continue
        match node:
            case ast.Assign() if any(is_target(target, name) for target in node.targets):
                yield node.value
            case ast.AnnAssign(value=ast.expr()) if is_target(node.target, name):
                yield node.value
            case ast.NamedExpr() if is_target(node.target, name):
                yield node.value
            case ast.For() | ast.comprehension() if is_target(node.target, name):
                yield node.iter


def is_target(target: ast.expr, name: str) -> bool:
    return any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(target))


def is_imported_message(name: str, source: Source, seen: frozenset[ast.AST]) -> bool:
    """Whether a name is imported from a module of the package in which it is a message."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tetrad"):
            for alias in node.names:
                if name == (alias.asname or alias.name):
                    file = PACKAGE.joinpath(*str(node.module).split(".")[1:])
                    module = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
                    return is_message_name(ast.Name(alias.name), read_source(module), seen)
    return False
