"""Rendering of low-level modules as C-like languages: CUDA C++, HIP, Metal, OpenCL C.

:func:`render_unit` writes what these languages share; a :class:`Dialect` says the rest.  See "A backend with a C-like
language" in ``docs/plugin-authors.md``.
"""

from gpucore.ir.clike.dialect import Arithmetic, Dialect
from gpucore.ir.clike.expressions import ADD, UNARY, Expr, binary, call, conditional, unary
from gpucore.ir.clike.library import Helper, Library, plain_helpers
from gpucore.ir.clike.literals import bits_of, half_bits, literal
from gpucore.ir.clike.names import KEYWORDS, Names, held, is_narrow, unsigned
from gpucore.ir.clike.operations import COMPARISONS, narrowed, widened, wrapped
from gpucore.ir.clike.unit import Rendered, joined, render_unit

__all__ = [
    "ADD", "COMPARISONS", "KEYWORDS", "UNARY", "Arithmetic", "Dialect", "Expr", "Helper", "Library", "Names", "Rendered",
    "binary", "bits_of", "call", "conditional", "half_bits", "held", "is_narrow", "joined", "literal", "narrowed",
    "plain_helpers", "render_unit", "unary", "unsigned", "widened", "wrapped",
]  # fmt: skip
