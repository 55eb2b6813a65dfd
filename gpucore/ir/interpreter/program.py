"""A module as Python code: what the interpreter generates and runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import CodeType

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType

__all__ = ["Program", "Site"]


@dataclass(frozen=True, slots=True)
class Site:
    """A statement that may fail or wait: where it stands and what it touches."""

    loc: ir.Loc | None
    kind: str
    memory: ir.Memory | None = None
    message: str = ""
    dtype: DType | None = None


@dataclass(slots=True)
class Program:
    """A module as Python code.

    Attributes
    ----------
    codes : list[tuple[str, CodeType]]
        For each function, callees first: the global it is kept in, and its code.
    sites : list[Site]
    memories : dict[str, int]
        The number K of each memory.
    waits : bool
        The kernel is a generator.
    fences : bool
        The kernel has fences, which order accesses.
    written : frozenset[str]
        Global arrays that the kernel writes.
    flat : bool
        Low level: one index an access.
    sources : list[str]
        The generated text, for people.
    """

    codes: list[tuple[str, CodeType]] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    memories: dict[str, int] = field(default_factory=dict)
    waits: bool = False
    fences: bool = False
    written: frozenset[str] = frozenset()
    flat: bool = False
    sources: list[str] = field(default_factory=list)
