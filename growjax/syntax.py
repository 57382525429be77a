"""One text of a module's syntax tree that holds what computes, and nothing else.

Left out: comments, docstrings and other bare constants, annotations, what only type checkers import, and all
formatting. Names of local variables become numbers, in the order in which they first appear. Kept by name is whatever
something else may see: parameters (keyword calls), attributes, functions and classes (compiled programs are named
after functions), imports, and every local of a function that calls one of `SEES_NAMES`.

A field of a dataclass or a NamedTuple keeps its place, name and default. Two kinds of annotations compute and stay:
words in a field's annotation that change what the field is (`FIELD_WORDS`), and types of an operator's options, by
which `growjax.grow.operator` reads a value. An operator's function is known by its keyword argument `streams`.

The text is the same under Python 3.11, 3.12 and 3.13, where that of `ast.dump` is not. Nothing here imports jax.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

SEES_NAMES = frozenset({"locals", "vars", "dir", "eval", "exec"})
FIELD_WORDS = ("ClassVar", "InitVar", "KW_ONLY")

_IGNORED = frozenset({"ctx", "kind", "type_comment", "type_ignores", "simple"})
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {}


class Imported(NamedTuple):
    """One import statement: of `module`, `level` dots up, these names."""

    module: str
    names: tuple[str, ...]
    level: int


class _Scope:
    """Names of one module, class, function or comprehension."""

    def __init__(self, kind: str, parent: _Scope | None):
        self.kind, self.parent = kind, parent
        self.depth: int = parent.depth + 1 if parent else 0
        self.bound: set[str] = set()
        self.fixed: set[str] = set()
        self.nonlocals: set[str] = set()
        self.named = False
        """Whether something in it sees the names of locals."""
        self.numbers: dict[str, int] = {}

    def bind(self, name: str, *, fixed: bool = False) -> None:
        self.bound.add(name)
        if fixed:
            self.fixed.add(name)

    def text(self, name: str) -> str:
        """What stands for a name that is used here, once every scope is known: a number for a local."""
        at = self
        while at.parent is not None:
            here = name in at.bound and name not in at.nonlocals
            if at.kind == "class":
                if here and at is self:
                    return name
            elif here:
                if at.named or name in at.fixed:
                    return name
                return f"%{at.depth}.{at.numbers.setdefault(name, len(at.numbers))}"
            at = at.parent
        return name


def canonical(source: str | bytes) -> tuple[str, list[Imported]]:
    """The text of a module, and what it imports, within functions too. Raises `SyntaxError` where it is no Python."""
    writer = _Writer()
    writer.body(ast.parse(source).body)
    text = "".join(piece if type(piece) is str else piece[0].text(piece[1]) for piece in writer.out)
    return text, writer.imports


class _Writer:
    """Walks a tree once. A name is written down with its scope, and its text is settled when all scopes are known."""

    def __init__(self) -> None:
        self.out: list[Any] = []
        self.imports: list[Imported] = []
        self.scope = _Scope("module", None)
        self._own: dict[type[ast.AST], Callable[[Any], None]] = {
            kind: getattr(self, f"_{kind.__name__.lower()}")
            for kind in (ast.Name, ast.Constant, ast.JoinedStr, ast.NamedExpr, ast.Lambda, ast.AnnAssign, ast.ClassDef,
                         ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)
        }  # fmt: skip
        self._own |= dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef), self._function)
        self._own |= dict.fromkeys((ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping), self._binder)
        self._own |= dict.fromkeys((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), self._comprehension)

    def node(self, node: ast.AST) -> None:
        """Any node."""
        own = self._own.get(type(node))
        if own is None:
            self._plain(node)
        else:
            own(node)

    def body(self, statements: Sequence[ast.stmt]) -> None:
        """Statements, less those that compute nothing."""
        for statement in self._computing(statements):
            self.node(statement)
            self.out.append("\n")

    def _plain(self, node: ast.AST, but: str | None = None) -> None:
        kind = type(node)
        if kind not in _FIELDS:
            _FIELDS[kind] = tuple(name for name in kind._fields if name not in _IGNORED)
        self.out.append(kind.__name__ + "(")
        for name in _FIELDS[kind]:
            if name != but:
                self._field(name, getattr(node, name, None))
        self.out.append(")")

    def _field(self, name: str, value: Any) -> None:
        """A node, a list of nodes or texts, or a text; nothing where it is empty, which some Pythons leave out."""
        values = value if type(value) is list else [] if value is None else [value]
        if values and isinstance(values[0], ast.stmt):
            values = list(self._computing(values))
        if not values:
            return
        self.out.append(name + "=")
        for each in values:
            if isinstance(each, ast.AST):
                self.node(each)
            else:
                self.out.append(ascii(each))
            self.out.append(",")
        self.out.append(";")

    def _computing(self, statements: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
        """Statements less `pass`, bare constants (docstrings), bare annotations that are no fields, and what is for
        type checkers alone."""
        for statement in statements:
            if isinstance(statement, ast.If) and _for_type_checkers(statement.test):
                yield from self._computing(statement.orelse)
            elif not (
                isinstance(statement, ast.Pass)
                or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
                or (isinstance(statement, ast.AnnAssign) and statement.value is None and self.scope.kind != "class")
            ):
                yield statement

    def _inside(self, kind: str) -> None:
        self.scope = _Scope(kind, self.scope)

    def _outside(self) -> None:
        assert self.scope.parent is not None
        self.scope = self.scope.parent

    def _name(self, node: ast.Name) -> None:
        if type(node.ctx) is not ast.Load:
            self.scope.bind(node.id)
        elif node.id in SEES_NAMES:
            at: _Scope | None = self.scope
            while at is not None:
                at.named, at = True, at.parent
        self.out.append((self.scope, node.id))

    def _constant(self, node: ast.Constant) -> None:
        self.out.append(f"<{node.value!a}>")

    def _joinedstr(self, node: ast.JoinedStr) -> None:
        text = ""
        self.out.append("JoinedStr(")
        for value in node.values:  # Python versions split the constant text between values in their own ways
            if isinstance(value, ast.Constant):
                text += str(value.value)
                continue
            assert isinstance(value, ast.FormattedValue)
            self.out.append(f"{text!a}{{{value.conversion}:")
            text = ""
            self.node(value.value)
            if isinstance(value.format_spec, ast.JoinedStr) and value.format_spec.values:
                self.node(value.format_spec)
            self.out.append("}")
        self.out.append(f"{text!a})")

    def _namedexpr(self, node: ast.NamedExpr) -> None:
        at = self.scope
        while at.kind == "comprehension" and at.parent is not None:
            at = at.parent
        at.bind(node.target.id)
        self.out += ["NamedExpr(", (self.scope, node.target.id), ":="]
        self.node(node.value)
        self.out.append(")")

    def _annassign(self, node: ast.AnnAssign) -> None:
        field = self.scope.kind == "class"
        self.out.append(f"Field({' '.join(_field_words(node.annotation))};" if field else "Assign(")
        self._field("targets", [node.target])
        self._field("value", node.value)
        self.out.append(")")

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.scope.bind(node.name, fixed=True)
        self.out.append(f"{type(node).__name__}({node.name};")
        self._field("decorators", node.decorator_list)
        self._field("types", getattr(node, "type_params", []))
        self._arguments(node.args)
        self.body(node.body)
        self.out.append(")")
        self._outside()

    def _lambda(self, node: ast.Lambda) -> None:
        self.out.append("Lambda(")
        self._arguments(node.args)
        self.node(node.body)
        self.out.append(")")
        self._outside()

    def _arguments(self, given: ast.arguments) -> None:
        """Parameters and their defaults; what follows is within the function."""
        self._field("defaults", given.defaults)
        of_operator = any(arg.arg == "streams" for arg in given.kwonlyargs)
        for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
            if default is not None:
                self._field(f"default {arg.arg}", default)
                if of_operator:
                    self._field(f"read as {arg.arg}", arg.annotation)
        self._inside("function")
        for kind in ("posonlyargs", "args", "vararg", "kwonlyargs", "kwarg"):
            found = getattr(given, kind) or []
            for arg in found if isinstance(found, list) else [found]:
                self.scope.bind(arg.arg, fixed=True)
                self.out.append(f"{kind} {arg.arg};")
        self.out.append(":")

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        first = node.generators[0]
        self.out.append(f"{type(node).__name__}(")
        self.node(first.iter)  # where it stands, not within
        self._inside("comprehension")
        for loop in node.generators:
            self._plain(loop, but="iter" if loop is first else None)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self.node(part)
            self.out.append(";")
        self.out.append(")")
        self._outside()

    def _classdef(self, node: ast.ClassDef) -> None:
        self.scope.bind(node.name, fixed=True)
        self.out.append(f"ClassDef({node.name};")
        for name in ("decorator_list", "bases", "keywords", "type_params"):
            self._field(name, getattr(node, name, []))
        self._inside("class")
        self.body(node.body)
        self._outside()
        self.out.append(")")

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.imports.append(Imported(alias.name, (), 0))
            self.scope.bind(alias.asname or alias.name.partition(".")[0], fixed=True)
        self._plain(node)

    def _importfrom(self, node: ast.ImportFrom) -> None:
        self.imports.append(Imported(node.module or "", tuple(alias.name for alias in node.names), node.level))
        for alias in node.names:
            self.scope.bind(alias.asname or alias.name, fixed=True)
        self._plain(node)

    def _global(self, node: ast.Global) -> None:
        for name in node.names:
            self.scope.bind(name, fixed=True)
        self._plain(node)

    def _nonlocal(self, node: ast.Nonlocal) -> None:
        self.scope.nonlocals.update(node.names)
        self.out.append("Nonlocal")
        for name in node.names:
            self.out += [" ", (self.scope, name)]

    def _binder(self, node: ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.MatchMapping) -> None:
        """What binds a name that is a plain text in the tree."""
        field = "rest" if isinstance(node, ast.MatchMapping) else "name"
        name = getattr(node, field)
        if name is not None:
            self.scope.bind(name)
            self.out += [(self.scope, name), "="]
        self._plain(node, but=field)


def _for_type_checkers(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def _field_words(annotation: ast.expr) -> list[str]:
    parts = [getattr(node, name, None) for node in ast.walk(annotation) for name in ("id", "attr", "value")]
    return [word for word in FIELD_WORDS if any(isinstance(part, str) and word in part for part in parts)]
