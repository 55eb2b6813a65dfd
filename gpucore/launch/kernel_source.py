"""The interface of a kernel source: the kernel language or native code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gpucore.lang.types import Parameter

if TYPE_CHECKING:
    from gpucore.compile.pipeline import Program, RangeKind, Variant
    from gpucore.hookspecs import Target
    from gpucore.ir.bounds.analysis import Bounds
    from gpucore.ir.passes.checks import Check
    from gpucore.lang.types import ArgumentType
    from gpucore.launch.bounds import BoundsSummary
    from gpucore.runtime.state import ContextState

__all__ = ["KernelSource", "Specialization"]

Math = Literal["strict", "fast"]


class Specialization(Protocol):
    """A kernel compiled for certain argument types."""

    @property
    def written(self) -> frozenset[str]: ...
    @property
    def needs_block(self) -> bool: ...
    @property
    def can_coarsen(self) -> bool: ...
    @property
    def block_multiple(self) -> int: ...
    def check_range(self, name: str, shape: tuple[int, ...]) -> None: ...
    def variant(
        self, check: Check, kind: RangeKind, small: bool, noalias: bool, block: tuple[int, ...], items: int
    ) -> Variant: ...
    def program(self, state: ContextState, variant: Variant) -> Program: ...
    def bounds(self, *, is_range: bool, small: bool, block: tuple[int, ...] | None) -> Bounds:
        """What is known of its accesses."""

    def bounds_summary(
        self,
        state: ContextState,
        candidates: Sequence[Variant],
        *,
        is_range: bool,
        small: bool,
        block: tuple[int, ...] | None,
    ) -> BoundsSummary | None:
        """What launches need to know of them; None for code that nobody looks into.

        Parameters
        ----------
        candidates : Sequence[Variant]
            With whose code it may be kept.
        """


class KernelSource(Protocol):
    """Where a kernel comes from: its parameters, captured constants and specializations."""

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...
    def watched(self) -> Sequence[tuple[Any, str, Any]]: ...
    def constants(self) -> tuple[Any, ...]: ...
    def specialize(
        self, types: tuple[ArgumentType, ...], ndim: int, math: Math, target: Target | None
    ) -> Specialization: ...
