"""What the syntax of a function says: its local names, and how device functions are compiled."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType
from gpucore.lang.accumulators import NarrowSum
from gpucore.lang.capture import Captured, DeviceFunction
from gpucore.lang.types import FloatRule

__all__ = [
    "Impure",
    "Library",
    "Names",
    "analyse",
    "contains_return",
    "first_store",
    "is_product",
    "is_small",
    "needs_flag",
    "stored_names",
    "target_names",
    "terminates",
]


Path = tuple[int, ...]


@dataclass
class _Uses:
    stores: list[Path] = field(default_factory=list)
    loads: list[Path] = field(default_factory=list)
    loops: list[tuple[Path, ast.For]] = field(default_factory=list)


@dataclass(frozen=True)
class Names:
    """The result of :func:`analyse`.

    Attributes
    ----------
    stored : frozenset[str]
        Names that the function assigns.
    single : frozenset[str]
        Assigned at one place that dominates every use: no variable is needed.
    loop_only : frozenset[str]
        Targets of for loops that are never assigned otherwise nor read outside the loops.
    reassigned : frozenset[str]
        Names that are assigned elsewhere than as the target of a loop.
    """

    stored: frozenset[str]
    single: frozenset[str]
    loop_only: frozenset[str]
    reassigned: frozenset[str]


class _Visitor(ast.NodeVisitor):
    def __init__(self) -> None:
        self.path: Path = ()
        self.uses: dict[str, _Uses] = {}
        self.next = 0

    def block(self, statements: list[ast.stmt]) -> None:
        self.next += 1
        outer, self.path = self.path, (*self.path, self.next)
        for statement in statements:
            self.visit(statement)
        self.path = outer

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        self.block(node.body)
        self.block(node.orelse)

    def visit_While(self, node: ast.While) -> None:
        self.visit(node.test)
        self.block(node.body)
        self.block(node.orelse)

    def visit_For(self, node: ast.For) -> None:
        self.visit(node.iter)
        targets = target_names(node.target)
        if targets:
            self.next += 1
            inner = (*self.path, self.next)
            for name in targets:
                self.uses.setdefault(name, _Uses()).loops.append((inner, node))
            outer, self.path = self.path, inner
            for statement in node.body:
                self.visit(statement)
            self.path = outer
        else:
            self.visit(node.target)
            self.block(node.body)
        self.block(node.orelse)

    def visit_Name(self, node: ast.Name) -> None:
        uses = self.uses.setdefault(node.id, _Uses())
        (uses.loads if isinstance(node.ctx, ast.Load) else uses.stores).append(self.path)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            root = root.value
        self.visit(root)
        if isinstance(node.ctx, ast.Store) and isinstance(root, ast.Name):
            # ``p.mass = 1`` gives the name another value
            self.uses[root.id].stores.append(self.path)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        # the order of visits is of no account; a long sum is no deep recursion
        first: ast.expr = node
        while isinstance(first, ast.BinOp):
            self.visit(first.right)
            first = first.left
        self.visit(first)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.visit(node.value)
        if isinstance(node.target, ast.Name):
            uses = self.uses.setdefault(node.target.id, _Uses())
            uses.loads.append(self.path)
            if not is_product(node):
                uses.stores.append(self.path)
        else:
            self.visit(node.target)


def analyse(function: ast.FunctionDef) -> Names:
    """Look at every store and load of a function's body."""
    visitor = _Visitor()
    visitor.block(function.body)
    arguments = function.args
    parameters = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    stored, single, loop_only = set(), set(), set()
    for name, uses in visitor.uses.items():
        if not uses.stores and not uses.loops:
            continue
        stored.add(name)
        if name in parameters:
            continue
        if len(uses.stores) == 1 and not uses.loops:
            home = uses.stores[0]
            if all(path[: len(home)] == home for path in uses.loads):
                single.add(name)
        elif not uses.stores and all(
            any(p[: len(home)] == home for home, _ in uses.loops) for p in uses.loads
        ):
            loop_only.add(name)
    reassigned = frozenset(name for name, uses in visitor.uses.items() if uses.stores)
    return Names(frozenset(stored), frozenset(single), frozenset(loop_only), reassigned)


def is_product(node: ast.AugAssign) -> bool:
    """Whether it is ``total += a @ b``, which changes a tile and gives the name no other."""
    value = node.value
    return isinstance(node.op, ast.Add) and isinstance(value, ast.BinOp) and isinstance(value.op, ast.MatMult)


def target_names(target: ast.expr) -> list[str]:
    """The names of a loop's target, nested ones too; empty where it is something else."""
    if isinstance(target, ast.Name):
        return [target.id]
    if isinstance(target, (ast.Tuple, ast.List)):
        inner = [target_names(t) for t in target.elts]
        return [n for names in inner for n in names] if all(inner) else []
    return []


def contains_return(node: ast.AST) -> bool:
    """Whether a statement holds a return."""
    return any(isinstance(n, ast.Return) for n in ast.walk(node))


def terminates(statements: list[ast.stmt]) -> bool:
    """Whether control never runs off the end."""
    if not statements:
        return False
    last = statements[-1]
    if isinstance(last, (ast.Return, ast.Break, ast.Continue)):
        return True
    return isinstance(last, ast.If) and terminates(last.body) and terminates(last.orelse)


def stored_names(node: ast.AST) -> set[str]:
    """The names that a statement assigns."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


SMALL = 3
"""Statements of a device function that is inlined rather than called."""


class Impure(Exception):
    """A device function does more than compute on scalars: it is inlined."""


class Library:
    """The device functions of one module, compiled once for each combination of types.

    Attributes
    ----------
    floats : FloatRule
        What float literals become, in the kernel and in every function that it calls.
    rounded : dict[str, str]
        By the name of an IR function: the literal that f32 rounded, where the result comes from literals alone.
    narrow : list[NarrowSum]
        Accumulators that may wrap before they are widened, of all functions compiled.
    """

    def __init__(self, inline: bool = False, floats: FloatRule = FloatRule()) -> None:  # noqa: B008 - frozen
        self.inline = inline
        self.floats = floats
        self.rounded: dict[str, str] = {}
        self.narrow: list[NarrowSum] = []
        self.built: dict[Any, ir.Function | None] = {}
        self.order: list[ir.Function] = []
        self.names: dict[str, int] = {}
        self.calling: list[tuple[DeviceFunction, ...]] = []
        self.inlined: list[Captured] = []
        self.deepest = 0  # of calls within calls, so far

    def name(self, function: DeviceFunction, dtypes: tuple[DType, ...]) -> str:
        """A name of its own for each function and types."""
        stem = f"{function.captured.function.__module__}.{function.__name__}"
        stem = "".join(c if c.isalnum() or c in "._" else "_" for c in stem)
        name = ".".join((stem, *(d.name for d in dtypes)))
        count = self.names.get(name, 0)
        self.names[name] = count + 1
        return name if count == 0 else f"{name}.v{count}"


def first_store(definition: ast.FunctionDef, name: str) -> ast.AST:
    """The first place that assigns a name."""
    stores = (n for n in ast.walk(definition) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return next((n for n in stores if n.id == name), definition)


def is_small(function: DeviceFunction) -> bool:
    """Whether a device function is a few plain lines: inlined, its indices can be narrowed with the caller's."""
    body = function.captured.definition.body
    plain = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    return (
        0 < len(plain) <= SMALL
        and isinstance(plain[-1], ast.Return)
        and all(isinstance(s, ast.Assign) for s in plain[:-1])
    )


def needs_flag(statements: list[ast.stmt], loop: bool = False) -> bool:
    """Whether returns stand where branches alone cannot express them."""
    for position, statement in enumerate(statements):
        if not contains_return(statement):
            continue
        if isinstance(statement, (ast.For, ast.While)):
            return True
        if isinstance(statement, ast.If):
            rest = statements[position + 1 :]
            if (
                rest
                and not terminates(statement.body)
                and not (statement.orelse and terminates(statement.orelse))
            ):
                return True
            if needs_flag(statement.body) or needs_flag(statement.orelse):
                return True
    return False
