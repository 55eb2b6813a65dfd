"""Products of tiles for devices without tensor cores, over shared memory and barriers.

Thread ``4 * g + t`` of a group has, of each 8 by 8 part of a sum or of a left factor of 16 bits, the elements ``(g, 2 * t)`` and
``(g, 2 * t + 1)``; of each 8 by 16 part of a left factor of 8 bits ``(g, 4 * t)`` to ``(g, 4 * t + 3)``. Of a right factor it
has what it would have of its transpose. This is how the instructions ``mma`` of PTX lay them out (PTX ISA, "Matrix fragments").
"""

from gpucore.ir.dtypes import f32, i32, u8, u16, u32
from gpucore.lang.builtins import barrier, bitcast, constexpr, dot4, static_range, subgroup_shuffle
from gpucore.lang.capture import func

__all__ = ["product", "product_by_lanes"]


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


@func
def product_by_lanes(
    total,
    left,
    right,
    linear,
    m: constexpr,
    n: constexpr,
    k: constexpr,
    kind: constexpr,
    per: constexpr,
    packed: constexpr,
):
    """The same, to the bit, where a group is a subgroup."""
    row, column = linear % 32 // 4 * 4, linear % 4 * 8
    for step in range(k // (4 * per)):
        for i in range(m // 8):
            own = word(left, i * (k // (4 * per)) + step, packed[0], per)
            for j in range(n // 8):
                other = word(right, j * (k // (4 * per)) + step, packed[1], per)
                at = 2 * (i * (n // 8) + j)
                total[at], total[at + 1] = shuffled(
                    own, other, total[at], total[at + 1], row, column, kind, per
                )


@func
def shuffled(own, other, first, second, row, column, kind: constexpr, per: constexpr):
    """Two elements of a sum with the products of a part of both factors, whose words the threads of the group have."""
    if per == 4:
        for e in static_range(4):
            x = subgroup_shuffle(own, i32(row + e))
            first = dot4(x, subgroup_shuffle(other, i32(column + e)), first)
            second = dot4(x, subgroup_shuffle(other, i32(column + 4 + e)), second)
    else:
        low, high = f32(bitcast(u16(own), kind)), f32(bitcast(u16(own >> 16), kind))
        lower, upper = f32(bitcast(u16(other), kind)), f32(bitcast(u16(other >> 16), kind))
        for e in static_range(4):
            a, b = subgroup_shuffle(low, i32(row + e)), subgroup_shuffle(high, i32(row + e))
            first += a * subgroup_shuffle(lower, i32(column + e))
            first += b * subgroup_shuffle(upper, i32(column + e))
            second += a * subgroup_shuffle(lower, i32(column + 4 + e))
            second += b * subgroup_shuffle(upper, i32(column + 4 + e))
    return first, second
