"""Which local names a function has, and which of them need a mutable variable."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

__all__ = ["Names", "analyse", "contains_return", "is_product", "stored_names", "target_names", "terminates"]

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
