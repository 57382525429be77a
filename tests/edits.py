"""Edits of a module's text: those that change nothing that computes, and changes of what does."""

from __future__ import annotations

import ast
import io
import symtable
import tokenize
from collections.abc import Callable, Iterator
from typing import Any


def replaced(text: str, spans: dict[tuple[int, int], tuple[int, int]], new: str) -> str:
    """The text with other words at these places, each from (line, column in bytes) to another."""
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for (line, column), (last, end) in sorted(spans.items(), reverse=True):
        rest = lines[last - 1][end:]
        lines[line - 1 : last] = [lines[line - 1][:column] + new.encode() + rest]
    return b"".join(lines).decode()


def other_comments(text: str) -> str:
    lines = [f"{line}\n" for line in text.splitlines()]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
        elif token.type == tokenize.NEWLINE:
            lines[row - 1] = lines[row - 1].rstrip() + "  # another comment\n"
    return "# A comment on top.\n" + "".join(lines)


def other_docstrings(text: str) -> str:
    """Docstrings of modules, classes and functions, and those behind fields."""
    spans = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            spans[node.lineno, node.col_offset] = (node.end_lineno, node.end_col_offset)
    return replaced(text, spans, '"""Another account of it."""')


def tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from tables(child)


def other_locals(text: str) -> str:
    """One local of every function that has one that no nested scope knows, found by Python's own symbol tables."""
    functions = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            functions[node.name, node.lineno] = node
    spans = {}
    for table in tables(symtable.symtable(text, "module", "exec")):
        node = functions.get((table.get_name(), table.get_lineno()))
        if node is None or table.get_type() != "function":
            continue
        below = {name for child in table.get_children() for each in tables(child) for name in each.get_identifiers()}
        inner = [each for statement in node.body for each in ast.walk(statement)]
        texts = {getattr(each, "name", None) for each in inner}  # of an exception, a pattern: not a Name
        quoted = {n.id for each in inner if isinstance(each, ast.JoinedStr) for n in ast.walk(each) if hasattr(n, "id")}
        chosen = [
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_local() and symbol.is_assigned() and not symbol.is_parameter() and not symbol.is_imported()
        ]
        chosen = sorted(set(chosen) - below - texts - quoted)
        for each in inner:
            if chosen and isinstance(each, ast.Name) and each.id == chosen[0]:
                spans[each.lineno, each.col_offset] = (each.end_lineno, each.end_col_offset)
    return replaced(text, spans, "renamed_local_of_this")


def other_annotations(text: str) -> str:
    """No annotation of an argument or a result, but for the options of operators."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for arg in (*node.args.posonlyargs, *node.args.args, node.args.vararg, node.args.kwarg):
                if arg is not None:
                    arg.annotation = ast.Name("object")
            for arg in node.args.kwonlyargs:
                if "streams" not in [a.arg for a in node.args.kwonlyargs]:
                    arg.annotation = None
    return ast.unparse(tree)


def first(tree: ast.AST, kind: type[ast.AST], holds: Callable[[Any], Any]) -> Any:
    return next(node for node in ast.walk(tree) if isinstance(node, kind) and holds(node))


def is_number(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def an_operator(tree: ast.AST) -> None:
    first(tree, ast.BinOp, lambda n: isinstance(n.op, ast.Mult)).op = ast.Add()


def a_constant(tree: ast.AST) -> None:
    function = first(tree, ast.FunctionDef, lambda n: any(is_number(each) for each in ast.walk(n)))
    first(function, ast.Constant, is_number).value += 1


def a_default_argument(tree: ast.AST) -> None:
    function = first(tree, ast.FunctionDef, lambda n: any(map(is_number, (*n.args.defaults, *n.args.kw_defaults))))
    next(each for each in (*function.args.defaults, *function.args.kw_defaults) if is_number(each)).value += 1


def the_order_of_calls(tree: ast.AST) -> None:
    def pair(body: list[ast.stmt]) -> int | None:
        calls = [isinstance(each, ast.Assign) and isinstance(each.value, ast.Call) for each in body]
        return next((i for i in range(1, len(body)) if calls[i - 1] and calls[i]), None)

    body = first(tree, ast.FunctionDef, lambda n: pair(n.body)).body
    at = pair(body)
    assert at is not None
    body[at - 1], body[at] = body[at], body[at - 1]


def a_call(tree: ast.AST) -> None:
    first(tree, ast.Call, lambda n: isinstance(n.func, ast.Attribute)).func.attr = "another"


def swapped_operands(tree: ast.AST) -> None:
    node = first(tree, ast.BinOp, lambda n: isinstance(n.op, ast.Sub | ast.Div))
    node.left, node.right = node.right, node.left


def a_removed_statement(tree: ast.AST) -> None:
    def computes(node: ast.stmt) -> bool:
        return isinstance(node, ast.Assign | ast.AugAssign)

    body = first(tree, ast.FunctionDef, lambda n: any(map(computes, n.body))).body
    body.remove(next(filter(computes, body)))


def a_field_default(tree: ast.AST) -> None:
    cls = first(tree, ast.ClassDef, lambda n: any(is_number(getattr(each, "value", None)) for each in n.body))
    next(each for each in cls.body if is_number(getattr(each, "value", None))).value.value += 1


def a_condition(tree: ast.AST) -> None:
    node = first(tree, ast.If, lambda n: not isinstance(n.test, ast.Name) or n.test.id != "TYPE_CHECKING")
    node.test = ast.UnaryOp(ast.Not(), node.test)


def a_static_argument(tree: ast.AST) -> None:
    first(tree, ast.keyword, lambda n: n.arg == "static_argnames").arg = "static_argnums"
