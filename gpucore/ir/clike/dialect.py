"""What a C-like language adds to C: the interface that :mod:`gpucore.ir.clike` asks of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from gpucore.ir.clike.expressions import Expr
from gpucore.ir.clike.library import Library
from gpucore.ir.dtypes import DType
from gpucore.ir.nodes import Atomic, AtomicCas, Number, ThreadIndex, TileProduct

Arithmetic = Literal["strict", "fast", "pinned"]
"""How floats are rounded.  ``pinned`` is for functions of the portable library inside a fast module: they are written for
strict arithmetic, so the compiler must neither contract nor reassociate in them what it may around them."""


class Dialect(Protocol):
    """A language, for the rendering of one module.

    The header defines ``i8`` to ``i64``, ``u8`` to ``u64``, ``f32``, ``f64`` and, where halves occur, ``f16`` and ``bf16`` as
    ``u16``: values of those two are bits.  Narrow integers are held as ``i32`` and ``u32``.

    Attributes
    ----------
    library : Library
        The helpers of the module.  It finds what :func:`gpucore.ir.clike.plain_helpers` names, in the language's own
        form where that is better, and whatever the dialect uses itself.
    reserved : frozenset[str]
        Identifiers that the language has taken: keywords, built-in functions, macros.
    wide : str
        The suffix of literals of 64 bits, ``"ll"`` in C and C++, ``"l"`` in OpenCL C.
    function, table : str
        What stands before the type of a device function and of a table of constants: ``"static"``, ``"__constant"``.
    function_once : str
        As ``function``, for one with many callers, which the compiler is not to inline.
    loop_once : str
        What stands before the head of a loop that the compiler is not to unroll; empty where the language has no such word.
    loop_unrolled : str
        What stands before the head of a loop that the compiler is to unroll; only for targets with products of tiles.
    zeros : str
        An initialiser that fills an array with zeros.
    static_shared : int
        Bytes of block memory that a kernel may declare; a kernel with more lays all of it out in one piece.
    barrier, fence : str
        The statements of :class:`gpucore.ir.Barrier` and :class:`gpucore.ir.Fence`.
    """

    library: Library
    reserved: frozenset[str]
    wide: str
    function: str
    function_once: str
    loop_once: str
    loop_unrolled: str
    table: str
    zeros: str
    static_shared: int
    barrier: str
    fence: str

    # text
    def header(self, kernel: str, math: str, *, halves: bool) -> str:
        """What a source begins with: a comment, typedefs; ``halves`` where types of 16-bit floats are wanted."""
        ...

    def cast(self, to: str, x: Expr) -> Expr:
        """A conversion as C does it, ``i32(x)`` or ``(i32)(x)``."""
        ...

    def float_of_bits(self, bits: int, dtype: DType) -> str:
        """A literal of f32 or f64 that decimals cannot spell: NaN and the infinities."""
        ...

    def constant(self, value: Number, dtype: DType) -> Expr:
        """A literal; :func:`gpucore.ir.clike.literal` unless there is a reason."""
        ...

    # declarations
    def kernel(self, name: str, parameters: Sequence[str], threads: int | None) -> str:
        """The head of a kernel up to its brace; ``threads`` is the size of the largest block, where there is one."""
        ...

    def pointer(self, element: str, name: str, *, constant: bool, restrict: bool) -> str:
        """A kernel's array parameter."""
        ...

    def shared(self, element: str, name: str, size: int) -> str:
        """The declaration of block memory."""
        ...

    def shared_block(self) -> str:
        """The declaration of the one piece of block memory, whose size is asked for at launch."""
        ...

    def shared_part(self, element: str, name: str, offset: int) -> str:
        """The declaration of block memory as a part of that piece, from a byte on."""
        ...

    # operations
    def operation(
        self, op: str, dtypes: Sequence[DType], result: DType, args: Sequence[Expr],
        constants: Sequence[Number | None], arithmetic: Arithmetic,
    ) -> Expr | None:  # fmt: skip
        """The language's own form of an operation, None where C's serves.

        C's serves for integers of every width, comparisons, choices, and sums, differences, products and quotients of f32
        and f64.  What else the target claims as native (roots, fma, rounding, conversions of floats to integers
        and from and to halves, ...) only the dialect knows.

        Parameters
        ----------
        op, dtypes, result :
            The operation, its operands' dtypes and its result's.
        args : Sequence[Expr]
        constants : Sequence
            The value of each operand that is a literal, else None.
        arithmetic : {"strict", "fast", "pinned"}
            Of the function that holds it.
        """
        ...

    def count_bits(self, op: str, x: Expr, held: str) -> Expr:
        """``popcount`` or ``clz`` of all bits of an expression of the type ``held`` (i32, u32, i64 or u64)."""
        ...

    def widened(self, dtype: DType, stored: Expr) -> Expr:
        """A narrow integer in memory as it is held; :func:`gpucore.ir.clike.widened` unless there is a reason."""
        ...

    def from_bits(self, dtype: DType, x: Expr) -> Expr:
        """The value of f32 or f64 with the bits of an expression of u32 or u64."""
        ...

    # threads
    def thread_index(self, statement: ThreadIndex, axis: int, extent: int | None) -> Expr:
        """A coordinate; ``axis`` counts from the fastest, ``extent`` is the block's along it where known."""
        ...

    def subgroup(self, op: str, dtype: DType, args: Sequence[str]) -> str:
        """A subgroup operation on operands of a dtype (any for ``size`` and ``lane``)."""
        ...

    def tile_product(self, statement: TileProduct, names: Sequence[str]) -> str:
        """A product of tiles, as a statement; ``names`` are those of the sum and of the left and right factors.

        Only for targets with the features ``tile.f16``, ``tile.bf16`` or ``tile.i8``.
        """
        ...

    def atomic(
        self, statement: Atomic | AtomicCas, pointer: Callable[[str], str], operands: Sequence[Expr],
        arithmetic: Arithmetic, *, used: bool,
    ) -> str:  # fmt: skip
        """An atomic operation, as the old element where that is ``used``.

        ``pointer(type)`` is the element's address, seen as a pointer to that type; ``operands`` are the value, or what is
        expected and desired.
        """
        ...

    def seen_as(self, address: str, element: str, memory_space: str) -> str:
        """An address as a pointer to another type."""
        ...
