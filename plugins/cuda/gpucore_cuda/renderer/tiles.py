"""Products of tiles: ``mma.sync`` on the tensor cores, from sm_80 on.

The threads hold the elements as these instructions want them (PTX ISA, "Matrix fragments for mma.m16n8k16" and the like): a word
of a factor is what a thread has of an 8 by 8 part, of one of 8 by 16 for bytes.
"""

from __future__ import annotations

from gpucore.ir import TileProduct, i8
from gpucore.ir.clike import Dialect, Helper
from gpucore_cuda.renderer.helpers import FORCE

__all__ = ["OLDEST_WITH_TILES", "tile_product"]

OLDEST_WITH_TILES = 80
"""The first architecture with these shapes: Ampere."""

_TYPES = {"f16": ("f32", "f16"), "bf16": ("f32", "bf16"), "i8": ("s32", "s8")}
"""By the dtype of the factors: what PTX calls sums and factors."""


def _instruction(dtype: str, depth: int, left: int, right: int) -> tuple[str, Helper]:
    """The function around one ``mma`` with so many words of the factors."""
    total, factor = _TYPES[dtype]
    name = f"gc_mma_{dtype}_k{depth}"
    kind, constraint = ("f32", "f") if total == "f32" else ("i32", "r")
    numbers = iter(range(4, 4 + left + right))
    words = [", ".join(f"%{next(numbers)}" for _ in range(count)) for count in (left, right)]
    parameters = [f"{kind}& c{k}" for k in range(4)]
    parameters += [f"u32 a{k}" for k in range(left)] + [f"u32 b{k}" for k in range(right)]
    outputs = ", ".join(f'"+{constraint}"(c{k})' for k in range(4))
    inputs = ", ".join([f'"r"(a{k})' for k in range(left)] + [f'"r"(b{k})' for k in range(right)])
    return name, Helper(
        f"{FORCE} void {name}({', '.join(parameters)}) {{\n"
        f'  asm volatile("mma.sync.aligned.m16n8k{depth}.row.col.{total}.{factor}.{factor}.{total} "\n'
        f'               "{{%0, %1, %2, %3}}, {{{words[0]}}}, {{{words[1]}}}, {{%0, %1, %2, %3}};"\n'
        f"               : {outputs} : {inputs});\n}}"
    )


def _word(factor: str, memory: str) -> tuple[str, Helper]:
    """The function that makes a word of a factor, of elements or words in a thread's memory."""
    name = f"gc_tile_word_{factor}"
    if memory == "u32":
        return "gc_tile_word", Helper(f"{FORCE} u32 gc_tile_word(const u32* x, i32 w) {{ return x[w]; }}")
    if factor == "i8":
        text = " | ".join(f"u32(u8(x[4 * w + {k}])) << {8 * k}" for k in range(4))
    else:
        text = "u32(x[2 * w]) | u32(x[2 * w + 1]) << 16"
    return name, Helper(f"{FORCE} u32 {name}(const {factor}* x, i32 w) {{ return {text}; }}")


def tile_product(dialect: Dialect, statement: TileProduct, names: tuple[str, str, str]) -> str:
    """``total += left @ right`` as a call of a function for these shapes."""
    dtype, dtype_of_sum = statement.factor, statement.total.dtype.name
    m, n, k = statement.shape
    depth, each = (32, 4) if dtype is i8 else (16, 2)
    columns = k // (4 * each)  # words of a factor in a row of parts
    held = [memory.dtype.name for memory in (statement.left, statement.right)]
    words = [dialect.library.add(*_word(dtype.name, kind)) for kind in held]
    body = [
        f"  u32 a[{m // 8 * columns}], b[{n // 8 * columns}];",
        "  #pragma unroll",
        f"  for (i32 w = 0; w < {m // 8 * columns}; ++w) a[w] = {words[0]}(left, w);",
        "  #pragma unroll",
        f"  for (i32 w = 0; w < {n // 8 * columns}; ++w) b[w] = {words[1]}(right, w);",
    ]

    def products(call: str, step: str, left: str, right: str) -> list[str]:
        return [
            "  #pragma unroll",
            f"  for (i32 q = {step}) {{",
            "    #pragma unroll",
            f"    for (i32 i = 0; i < {m // 8}; i += 2) {{",
            "      #pragma unroll",
            f"      for (i32 j = 0; j < {n // 8}; ++j) {{",
            f"        {dtype_of_sum}* const c = total + 2 * (i * {n // 8} + j);",
            f"        {call}(c[0], c[1], c[{n // 4}], c[{n // 4 + 1}], {left}, {right});",
            "      }",
            "    }",
            "  }",
        ]

    whole = k // depth * 2 if dtype is i8 else columns
    at = f"a[i * {columns} + q"
    below = f"a[(i + 1) * {columns} + q"
    other = f"b[j * {columns} + q"
    if whole:
        call = dialect.library.add(*_instruction(dtype.name, depth, 4, 2))
        of_left = f"{at}], {below}], {at} + 1], {below} + 1]"
        body += products(call, f"0; q < {whole}; q += 2", of_left, f"{other}], {other} + 1]")
    if whole < columns:
        call = dialect.library.add(*_instruction(dtype.name, 16, 2, 1))
        body += products(call, f"{whole}; q < {columns}; ++q", f"{at}], {below}]", f"{other}]")
    name = f"gc_tile_{dtype.name}_{held[0]}_{held[1]}_{m}_{n}_{k}"
    dialect.library.add(
        name,
        Helper(
            f"{FORCE} void {name}({dtype_of_sum}* total, const {held[0]}* left, const {held[1]}* right) {{\n"
            + "\n".join(body)
            + "\n}"
        ),
    )
    return f"{name}({', '.join(names)});"
