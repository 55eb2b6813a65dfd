"""What the functions of one LLVM module share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gpucore import ir
from gpucore_cpu.spmd.analysis import Shape

__all__ = ["ModuleText"]


@dataclass(slots=True)
class ModuleText:
    """Declarations, globals, finished functions, and what holds for all of them."""

    features: frozenset[str]
    fast: bool
    width: int
    noalias: bool = False
    written: frozenset[str] = frozenset()
    streamed: frozenset[str] = frozenset()
    """Arrays that whole vectors may be written to past the caches; ``%cached`` is 0 in launches that do."""
    private: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Local memories too large for the stack, by function and name: where they lie in the scratch memory."""
    apart: str = ""
    """Metadata of accesses that are not to local memory: they touch none of it.  Empty where there is none."""
    declarations: dict[str, str] = field(default_factory=dict)
    globals: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    device_functions: dict[str, ir.Function] = field(default_factory=dict)
    compiled: dict[tuple[object, ...], tuple[str, Shape]] = field(default_factory=dict)

    @property
    def flags(self) -> str:
        """Flags of floating-point instructions: none in strict mode, where LLVM may change no bit."""
        # NaN and infinity keep their meaning in fast mode
        return "reassoc nsz arcp contract afn " if self.fast else ""
