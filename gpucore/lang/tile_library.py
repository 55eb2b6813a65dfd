"""Products of tiles for devices without tensor cores, over shared memory and barriers.

Thread ``4 * g + t`` of a group has, of each 8 by 8 part of a sum or of a left factor of 16 bits, the elements ``(g, 2 * t)`` and
``(g, 2 * t + 1)``; of each 8 by 16 part of a left factor of 8 bits ``(g, 4 * t)`` to ``(g, 4 * t + 3)``. Of a right factor it
has what it would have of its transpose. This is how the instructions ``mma`` of PTX lay them out (PTX ISA, "Matrix fragments").
"""

from gpucore.ir.dtypes import f32, i32, u8, u32
from gpucore.lang.builtins import barrier, bitcast, constexpr, dot4
from gpucore.lang.capture import func

__all__ = ["product_of_bytes", "product_of_halves"]


@func
def product_of_halves(total, left, right, rows, columns, m: constexpr, n: constexpr, k: constexpr, linear):
    """Add ``left @ right``: for each element the products one after another, each sum rounded to f32."""
    row, column = linear // 4 * 8, linear // 32 * 64 + linear % 4 * 16
    for step in range(k // 8):
        for i in range(m // 8):
            own = 2 * (i * (k // 8) + step)
            rows[2 * linear] = left[own]
            rows[2 * linear + 1] = left[own + 1]
            for j in range(n // 8):
                other = 2 * (j * (k // 8) + step)
                columns[2 * linear] = right[other]
                columns[2 * linear + 1] = right[other + 1]
                barrier()
                at = 2 * (i * (n // 8) + j)
                first, second = total[at], total[at + 1]
                for e in range(8):
                    x = f32(rows[row + e])
                    first += x * f32(columns[column + e])
                    second += x * f32(columns[column + 8 + e])
                total[at], total[at + 1] = first, second
                barrier()


@func
def word(tile, at):
    """Four bytes as one word."""
    low = u32(bitcast(tile[at], u8)) | u32(bitcast(tile[at + 1], u8)) << 8
    high = u32(bitcast(tile[at + 2], u8)) | u32(bitcast(tile[at + 3], u8)) << 8
    return bitcast(low | high << 16, i32)


@func
def product_of_bytes(total, left, right, rows, columns, m: constexpr, n: constexpr, k: constexpr, linear):
    """Add ``left @ right``, exactly; sums wrap."""
    row, column = linear // 4 * 4, linear // 32 * 32 + linear % 4 * 8
    for step in range(k // 16):
        for i in range(m // 8):
            rows[linear] = word(left, 4 * (i * (k // 16) + step))
            for j in range(n // 8):
                columns[linear] = word(right, 4 * (j * (k // 16) + step))
                barrier()
                at = 2 * (i * (n // 8) + j)
                first, second = total[at], total[at + 1]
                for e in range(4):
                    first = dot4(rows[row + e], columns[column + e], first)
                    second = dot4(rows[row + e], columns[column + 4 + e], second)
                total[at], total[at + 1] = first, second
                barrier()
