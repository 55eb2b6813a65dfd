"""Which accesses of a kernel stay inside their arrays; see docs/bounds.md and docs/architecture.md."""

from gpucore.ir.bounds.analysis import Access, Bounds, Where, analyse
from gpucore.ir.bounds.conditions import HostText, describe

__all__ = ["Access", "Bounds", "HostText", "Where", "analyse", "describe"]
