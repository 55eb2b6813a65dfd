"""What the collaborators that write one function share."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpucore import ir
from gpucore_cpu.spmd.analysis import Analysis
from gpucore_cpu.spmd.masks import Masks
from gpucore_cpu.spmd.module_text import ModuleText
from gpucore_cpu.spmd.types import VectorTypes
from gpucore_cpu.spmd.values import Values
from gpucore_cpu.spmd.writer import Writer

__all__ = ["FunctionState"]


@dataclass(frozen=True, slots=True)
class FunctionState:
    """One function under construction.

    Attributes
    ----------
    function : ir.Function
    flags : str
        Of its floating-point instructions.
    used : frozenset[str]
        Names of values that some statement reads.
    memories : dict[str, str]
        Addresses of the memories, by name.
    extents : dict[tuple[str, int], str]
        Of arrays, by name and axis, those that the kernel reads.
    """

    text: ModuleText
    function: ir.Function
    analysis: Analysis
    flags: str
    used: frozenset[str]
    types: VectorTypes
    writer: Writer
    values: Values
    masks: Masks
    memories: dict[str, str] = field(default_factory=dict)
    extents: dict[tuple[str, int], str] = field(default_factory=dict)

    @classmethod
    def begin(
        cls, text: ModuleText, function: ir.Function, analysis: Analysis, *, exact: bool = False
    ) -> FunctionState:
        """The state of a function of which nothing is written; an exact one has no flags in fast mode either."""
        types, writer = VectorTypes(text.width), Writer(text)
        return cls(
            text,
            function,
            analysis,
            "" if exact else text.flags,
            frozenset(v.name for s in ir.walk(function.body) for v in ir.operands_of(s)),
            types,
            writer,
            Values(writer, types, analysis),
            Masks(writer, types),
        )
