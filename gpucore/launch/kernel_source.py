"""What a kernel wants of the place that it comes from: the kernel language, or native code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gpucore.lang.types import Parameter

if TYPE_CHECKING:
    from gpucore.compile.pipeline import Program, RangeKind, Variant
    from gpucore.lang.types import ArgumentType
    from gpucore.runtime.state import ContextState

__all__ = ["Front", "Typed"]

Math = Literal["strict", "fast"]


class Typed(Protocol):
    """A kernel for certain argument types."""

    @property
    def written(self) -> frozenset[str]: ...
    def check_range(self, name: str, shape: tuple[int, ...]) -> None: ...
    def takes_items(self) -> bool: ...
    def variant(
        self, check: bool, kind: RangeKind, small: bool, noalias: bool, block: tuple[int, ...], items: int
    ) -> Variant: ...
    def program(self, state: ContextState, variant: Variant) -> Program: ...


class Front(Protocol):
    """Where a kernel comes from: the kernel language, or native code."""

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...
    def watched(self) -> Sequence[tuple[Any, str, Any]]: ...
    def constants(self) -> tuple[Any, ...]: ...
    def typed(self, types: tuple[ArgumentType, ...], ndim: int, math: Math, state: ContextState) -> Typed: ...
