"""Tiles: matrices that 32 threads hold together, their loads, products and stores.

A tile is a local memory of each thread with its share of the elements; :mod:`gpucore.lang.block_library` says which. Loads and
stores are accesses as any others. A product is an :class:`gpucore.ir.nodes.TileProduct`, or code for devices that have none.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal as Choice

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bf16, f16, f32, i8, i32, index, u32
from gpucore.lang.block_library import MOST_THREADS, product, product_by_lanes
from gpucore.lang.conversions import Conversions
from gpucore.lang.expressions import Evaluator
from gpucore.lang.functions import Functions
from gpucore.lang.operands import (
    Array,
    Items,
    Literal,
    Object,
    Operand,
    Tile,
    TileUse,
    Typed,
    as_constant,
    describe,
)
from gpucore.lang.state import FunctionState
from gpucore.lang.subscripts import Subscripts
from gpucore.lang.threads import Blocks
from gpucore.lang.variables import Memories

__all__ = ["Tiles"]

MOST_ELEMENTS = 8192
"""Of a tile: 256 for each of its threads."""

_MULTIPLES: dict[TileUse, tuple[int, int]] = {"a": (16, 16), "b": (16, 8), "c": (16, 8)}
"""What the rows and columns of a left factor, a right factor and a sum are multiples of."""

_FACTORS = (f16, bf16, i8)


def sum_dtype(factor: DType) -> DType:
    """The dtype of the sums of products of a dtype."""
    return i32 if factor is i8 else f32


@dataclass(frozen=True, slots=True)
class Tiles:
    """Lowers ``gc.tile`` and ``total += a @ b``."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    functions: Functions
    memories: Memories
    subscripts: Subscripts
    blocks: Blocks

    def builtins(self) -> Mapping[str, Callable[[ast.Call], Operand]]:
        """What lowers a call of each builtin."""
        loads: tuple[TileUse, ...] = ("a", "b", "c")
        return {
            "tile.zeros": self.zeros,
            "tile.store": self.store,
            **{f"tile.load_{use}": partial(self.load, use) for use in loads},
        }

    # --- sums and factors
    def zeros(self, node: ast.Call) -> Operand:
        shape, kind = self.evaluator.arguments(node, 2)
        dtype = self.conversions.dtype_of(kind, node.args[1])
        if dtype not in (f32, i32):
            self.state.source.type_error(
                node.args[1],
                f"a tile sums up in f32 (products of f16 and bf16) or i32 (of i8), not in {dtype}",
                "Write gc.f32 or gc.i32; gc.tile.store converts.",
            )
        tile = self._made("c", self._shape("c", shape, node.args[0]), dtype, packed=False)
        self.state.writer.emit(ir.InitLocal(tile.memory, self.state.writer.location))
        return tile

    def load(self, use: TileUse, node: ast.Call) -> Operand:
        operand, place, shape, *kind = self.evaluator.arguments(node, 3, 3 if use == "c" else 4)
        array = self._array(operand, node.args[0])
        found = array.memory.dtype
        dtype = self.conversions.dtype_of(kind[0], node.args[3]) if kind else found
        if kind:
            self._check_words(use, found, dtype, node)
        self._check_elements(use, dtype, node)
        tile = self._made(use, self._shape(use, shape, node.args[2]), dtype, packed=bool(kind))
        writer = self.state.writer
        for slot, indices in self._elements(tile, array, place, node):
            value = writer.load(array.memory, indices)
            writer.emit(ir.Store(tile.memory, (slot,), value, writer.location))
        return tile

    def _check_elements(self, use: TileUse, dtype: DType, node: ast.Call) -> None:
        allowed = (f32, i32) if use == "c" else _FACTORS
        if dtype not in allowed:
            *others, last = map(str, allowed)
            cure = "Convert it on the host, or by element into gc.shared."
            if dtype is u32:
                cure = f"Name the dtype of words: gc.tile.load_{use}(array, index, shape, gc.f16)."
            elif dtype in (f32, i32):
                cure = "Sums are loaded by load_c."
            self.state.source.type_error(
                node.args[0],
                f"gc.tile.load_{use} takes an array of {', '.join(others)} or {last}, not of {dtype}",
                cure,
            )

    def _check_words(self, use: TileUse, found: DType, dtype: DType, node: ast.Call) -> None:
        if found is not u32:
            self.state.source.type_error(
                node.args[0],
                f"words that hold several elements are u32, not {found}",
                f"Leave gc.{dtype} out where the array holds elements, or pass x.view(np.uint32).",
            )
        if dtype not in _FACTORS:
            self.state.source.type_error(
                node.args[3],
                f"words hold f16, bf16 or i8, not {dtype}",
                f"Write gc.tile.load_{use}(array, index, shape, gc.f16).",
            )

    def store(self, node: ast.Call) -> Operand:
        operand, place, tile = self.evaluator.arguments(node, 3)
        array = self._array(operand, node.args[0])
        if not isinstance(tile, Tile) or tile.use != "c":
            self.state.source.type_error(
                node.args[2],
                f"gc.tile.store writes a tile of sums, not {describe(tile)}",
                "Pass what gc.tile.zeros or gc.tile.load_c gave.",
            )
        writer = self.state.writer
        for slot, indices in self._elements(tile, array, place, node):
            value = self.conversions.stored(
                Typed(writer.load(tile.memory, (slot,))), array.memory.dtype, node.args[2]
            )
            writer.emit(ir.Store(array.memory, indices, value, writer.location))
        return Object(None)

    def _made(self, use: TileUse, shape: tuple[int, int], dtype: DType, *, packed: bool) -> Tile:
        self.state.impure("tiles")
        held, each = (u32, 32 // dtype.bits) if packed else (dtype, 1)
        return Tile(self.memories.tile(held, shape[0] * shape[1] // 32 // each), use, shape, dtype)

    def _array(self, operand: Operand, node: ast.AST) -> Array:
        if (
            not isinstance(operand, Array)
            or operand.rank != 2
            or operand.memory.space not in ("global", "shared")
        ):
            self.state.source.type_error(
                node,
                f"a tile is a part of an array of two axes that threads share, not of {describe(operand)}",
                "Pass a parameter, gc.shared((64, 64), gc.f16), or a part of one such as x[k].",
            )
        return operand

    def _shape(self, use: TileUse, operand: Operand, node: ast.AST) -> tuple[int, int]:
        shape = as_constant(operand)
        rows, columns = _MULTIPLES[use]
        if (
            not isinstance(shape, tuple)
            or len(shape) != 2
            or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in shape)
        ):
            self.state.source.type_error(
                node,
                "the shape of a tile is two positive numbers that are known when the kernel is compiled",
                f"Write ({rows}, 16), or use gc.constexpr parameters.",
            )
        if shape[0] % rows or shape[1] % columns:
            what = {"a": "a left factor", "b": "a right factor", "c": "a sum"}[use]
            self.state.source.type_error(
                node,
                f"{what} has a multiple of {rows} rows and a multiple of {columns} columns, not {shape[0]} by {shape[1]}",
                f"Write ({-(-shape[0] // rows) * rows}, {-(-shape[1] // columns) * columns}).",
            )
        if shape[0] * shape[1] > MOST_ELEMENTS:
            self.state.source.type_error(
                node,
                f"a tile has at most {MOST_ELEMENTS:,} elements, {MOST_ELEMENTS // 32} for each of its threads, not "
                f"{shape[0] * shape[1]:,}",
                "Use several tiles, or more groups of threads.",
            )
        return shape[0], shape[1]

    def _elements(
        self, tile: Tile, array: Array, place: Operand, node: ast.Call
    ) -> Iterator[tuple[ir.Value, tuple[ir.Value, ...]]]:
        """For each of the thread's elements its place in the tile's memory, and its indices in the array."""
        if not isinstance(place, Items) or len(place.items) != 2:
            self.state.source.type_error(
                node.args[1], "a tile begins at a row and a column", "Write the index as a tuple: (i, j)."
            )
        writer = self.state.writer

        def number(value: int) -> ir.Value:
            return writer.constant(value, index)

        first = [self.conversions.as_index(item, node.args[1], "an index") for item in place.items]
        lane = writer.op("mod", self.blocks.linear(), number(32))
        each = 32 // tile.dtype.bits if tile.use != "c" else 2
        wide = 1 if tile.packed else each
        outer = writer.op("floordiv", lane, number(4))
        inner = writer.op("mul", writer.op("mod", lane, number(4)), number(wide))
        # of a right factor the threads have what they would have of its transpose
        axes = (1, 0) if tile.use == "b" else (0, 1)
        bases = [writer.op("add", first[axes[0]], outer), writer.op("add", first[axes[1]], inner)]
        # loops over the parts, so that proofs of the accesses and their code are few
        counts = [tile.shape[axes[0]] // 8, tile.shape[axes[1]] // (4 * each)]
        places = [writer.value(index), writer.value(index)]
        bounds = [(number(0), number(count), number(1)) for count in counts]
        writer.open()
        row = writer.op("add", bases[0], writer.op("mul", places[0], number(8)))
        writer.open()
        column = writer.op("add", bases[1], writer.op("mul", places[1], number(4 * wide)))
        part = writer.op("add", writer.op("mul", places[0], number(counts[1])), places[1])
        slot = writer.op("mul", part, number(wide))
        for element in range(wide):
            found = [row, writer.op("add", column, number(element))]
            parts: list[tuple[Operand, ast.expr]] = [(Typed(found[axis]), node.args[1]) for axis in axes]
            yield writer.op("add", slot, number(element)), self.subscripts.element(array, parts, node)
        for variable, (start, stop, step) in zip(reversed(places), reversed(bounds), strict=True):
            writer.emit(ir.For(variable, start, stop, step, writer.close(), writer.location))

    # --- products
    def add_product(self, total: Tile, node: ast.BinOp) -> None:
        """``total += left @ right``."""
        left, right = self.evaluator.expression(node.left), self.evaluator.expression(node.right)
        self._check_factors(total, left, right, node)
        assert isinstance(left, Tile)
        assert isinstance(right, Tile)
        (m, k), n = left.shape, right.shape[1]
        writer = self.state.writer
        linear, per = Typed(self.blocks.linear()), 32 // left.dtype.bits
        operands: dict[str, Operand] = {
            "total": Array(total.memory), "left": Array(left.memory), "right": Array(right.memory), "linear": linear,
            "m": Literal(m), "n": Literal(n), "k": Literal(k), "kind": Object(left.dtype), "per": Literal(per),
            "packed": Items((Literal(left.packed), Literal(right.packed))),
        }  # fmt: skip
        scratch = {use: self.memories.scratch(u32, MOST_THREADS, use) for use in ("rows", "columns")}
        location = writer.location
        native, lanes = writer.asked(f"tile.{left.dtype}"), writer.asked("tile=lanes")
        writer.open()
        self.functions.at_the_call(product, **operands, **scratch)
        plain = writer.close()
        writer.open()
        self.functions.at_the_call(product_by_lanes, **operands)
        without = ir.If(lanes, writer.close(), plain, location)
        memories = total.memory, left.memory, right.memory
        product_itself = ir.TileProduct(*memories, left.dtype, (m, n, k), location)
        writer.emit(ir.If(native, (product_itself,), (without,), location))

    def _check_factors(self, total: Tile, left: Operand, right: Operand, node: ast.BinOp) -> None:
        error = self.state.source.type_error
        sides: tuple[tuple[Choice["a", "b"], Operand, ast.expr], ...] = (
            ("a", left, node.left),
            ("b", right, node.right),
        )
        for use, operand, at in sides:
            if not isinstance(operand, Tile) or operand.use != use:
                side = "left" if use == "a" else "right"
                error(at, f"the {side} factor of a product of tiles is no {describe(operand).removeprefix('a ')}",
                      f"Load it with gc.tile.load_{use}.")  # fmt: skip
        assert isinstance(left, Tile)
        assert isinstance(right, Tile)
        if total.use != "c":
            error(node, f"a product is added to a tile of sums, not to {describe(total)}",
                  "Start with total = gc.tile.zeros(shape, dtype).")  # fmt: skip
        a, b, c = left.dtype, right.dtype, total.dtype
        if a is not b:
            error(node, f"the factors are of one dtype, not of {a} and {b}", "Convert one of the arrays.")
        if c is not sum_dtype(a):
            error(node, f"products of {a} are summed up in {sum_dtype(a)}, not in {c}",
                  f"Write gc.tile.zeros({total.shape}, gc.{sum_dtype(a)}).")  # fmt: skip
        if left.shape[1] != right.shape[0] or (left.shape[0], right.shape[1]) != total.shape:
            shapes = " @ ".join(" by ".join(map(str, t.shape)) for t in (left, right))
            error(node, f"the shapes do not fit: {shapes} is added to {total.shape[0]} by {total.shape[1]}",
                  "The product of (m, k) and (k, n) is added to (m, n).")  # fmt: skip
