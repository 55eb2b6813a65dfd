"""Local names while a function is lowered, and the bodies that are inlined into it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from gpucore.ir.dtypes import DType
from gpucore.ir.nodes import Loc, Var
from gpucore.lang.capture import Captured
from gpucore.lang.diagnostics import Source
from gpucore.lang.names import Names
from gpucore.lang.operands import Operand, Slot

__all__ = ["Returns", "Scope", "ScopeStack", "Unrolled", "meet"]


class Unrolled(list["set[str] | None"]):
    """The breaks of one iteration of an unrolled loop, which is a block that is left early.

    Attributes
    ----------
    flag : Var
        Says that a break left the whole loop.
    left : list[set[str] | None]
        What was assigned at each such break.
    """

    def __init__(self, flag: Var) -> None:
        super().__init__()
        self.flag = flag
        self.left: list[set[str] | None] = []


@dataclass
class Returns:
    """How an inlined function gives its result.

    Attributes
    ----------
    direct : bool
        Its one return is its last statement; the operand is the result.
    flag : bool
        A variable says that a return was met, since one stands in a loop or an awkward branch.
    shape : int | None
        Items of the tuple that is returned, 0 for a plain value; None before the first return.
    """

    direct: bool = False
    flag: bool = False
    shape: int | None = None
    operand: Operand | None = None


@dataclass
class Scope:
    """The names of one function body: block-scoped bindings over variables.

    Attributes
    ----------
    key : tuple
        Tells this scope's variables from those of other inlined bodies.
    result : DType | None
        The dtype that the function's return annotation names.
    assigned : set[str] | None
        Variables that are set on every path to this point; None where no path leads here.
    location : Loc | None
        Where all statements of the body stand: the user's line, for functions of gpucore that a builtin is made of.
    """

    captured: Captured
    names: Names
    key: tuple[Any, ...] = ()
    result: DType | None = None
    returns: Returns | None = None
    bindings: list[dict[str, Operand]] = field(default_factory=lambda: [{}])
    slots: dict[str, Slot] = field(default_factory=dict)
    assigned: set[str] | None = field(default_factory=set)
    loops: list[list[set[str] | None]] = field(default_factory=list)
    location: Loc | None = None

    @property
    def source(self) -> Source:
        """The text that errors point into."""
        return self.captured.source

    def find(self, name: str) -> Operand | Slot | None:
        """What a local name denotes here, or None."""
        for block in reversed(self.bindings):
            if name in block:
                return block[name]
        slot = self.slots.get(name)
        if slot is not None and self.assigned is not None and name in self.assigned:
            return slot
        return None

    def visible(self) -> set[str]:
        """Local names, for suggestions."""
        return {name for block in self.bindings for name in block} | set(self.slots)


class ScopeStack:
    """The scope that is being lowered; one lies within another where a function is inlined."""

    def __init__(self, outermost: Scope) -> None:
        self.current = outermost

    @contextmanager
    def inside(self, scope: Scope) -> Iterator[None]:
        """Lower within a scope."""
        outer, self.current = self.current, scope
        try:
            yield
        finally:
            self.current = outer


def meet(*states: set[str] | None) -> set[str] | None:
    """What is assigned where several paths join."""
    reachable = [s for s in states if s is not None]
    return set.intersection(*reachable) if reachable else None
