"""Device functions of a module, and what their syntax says of how they are compiled."""

from __future__ import annotations

import ast
from typing import Any

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType
from gpucore.lang.accumulators import NarrowSum
from gpucore.lang.capture import Captured, DeviceFunction
from gpucore.lang.names import contains_return, terminates
from gpucore.lang.types import FloatRule

__all__ = ["Impure", "Library", "first_store", "is_small", "needs_flag"]

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
        self.calling: list[DeviceFunction] = []
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
