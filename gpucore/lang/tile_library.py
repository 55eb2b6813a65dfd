"""Products of tiles for devices without tensor cores, over shared memory and barriers.

Thread ``4 * g + t`` of a group has, of each 8 by 8 part of a sum or of a left factor of 16 bits, the elements ``(g, 2 * t)`` and
``(g, 2 * t + 1)``; of each 8 by 16 part of a left factor of 8 bits ``(g, 4 * t)`` to ``(g, 4 * t + 3)``. Of a right factor it
has what it would have of its transpose. This is how the instructions ``mma`` of PTX lay them out (PTX ISA, "Matrix fragments").
"""

from gpucore.ir.dtypes import f32, u8, u16, u32
from gpucore.lang.builtins import barrier, bitcast, constexpr, dot4
from gpucore.lang.capture import func

__all__ = ["product"]


@func
def word(tile, at, packed: constexpr, per: constexpr):
    """What the thread has of a part of a factor, two or four elements, in one word."""
    if packed:
        found = tile[at]
    elif per == 2:
        found = u32(bitcast(tile[2 * at], u16)) | u32(bitcast(tile[2 * at + 1], u16)) << 16
    else:
        low = u32(bitcast(tile[4 * at], u8)) | u32(bitcast(tile[4 * at + 1], u8)) << 8
        high = u32(bitcast(tile[4 * at + 2], u8)) | u32(bitcast(tile[4 * at + 3], u8)) << 8
        found = low | high << 16
    return found


@func
def product(
    total,
    left,
    right,
    rows,
    columns,
    linear,
    m: constexpr,
    n: constexpr,
    k: constexpr,
    kind: constexpr,
    per: constexpr,
    packed: constexpr,
):
    """Add ``left @ right``, whose words hold ``per`` elements of the dtype ``kind`` each.

    Sums of bytes are exact and wrap. To those of floats the products are added one after another, each sum rounded to f32.
    """
    row, column = linear // 4 * 4, linear // 32 * 32 + linear % 4 * 8
    for step in range(k // (4 * per)):
        for i in range(m // 8):
            rows[linear] = word(left, i * (k // (4 * per)) + step, packed[0], per)
            for j in range(n // 8):
                columns[linear] = word(right, j * (k // (4 * per)) + step, packed[1], per)
                barrier()
                at = 2 * (i * (n // 8) + j)
                first, second = total[at], total[at + 1]
                for e in range(4):
                    x, y, z = rows[row + e], columns[column + e], columns[column + 4 + e]
                    if per == 4:
                        first = dot4(x, y, first)
                        second = dot4(x, z, second)
                    else:
                        low, high = f32(bitcast(u16(x), kind)), f32(bitcast(u16(x >> 16), kind))
                        first += low * f32(bitcast(u16(y), kind))
                        first += high * f32(bitcast(u16(y >> 16), kind))
                        second += low * f32(bitcast(u16(z), kind))
                        second += high * f32(bitcast(u16(z >> 16), kind))
                total[at], total[at + 1] = first, second
                barrier()
