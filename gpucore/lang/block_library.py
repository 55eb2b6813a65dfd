"""What the threads of a block do together, written in the language, over shared memory and barriers: ``gc.block_sum`` and
its family, and products of tiles for devices without tensor cores.

In sums and scans threads are numbered by their linear ids, ``count`` of them. Sums follow trees over these numbers that have
nothing to do with the width of a subgroup, so that a block of a shape gives the same bits on every device. Where the target
wants ``lanes``, the first five steps are shuffles in subgroups of 32, and the others are steps of every subgroup over what the
subgroups came to, ``few``.

These functions take the block's scratch memory, one element a thread or a subgroup, and leave it free for the next: the
barriers within also order what the threads did before against what they do after.

In products thread ``4 * g + t`` of a group has, of each 8 by 8 part of a sum or of a left factor of 16 bits, the elements
``(g, 2 * t)`` and ``(g, 2 * t + 1)``; of each 8 by 16 part of a left factor of 8 bits ``(g, 4 * t)`` to ``(g, 4 * t + 3)``.
Of a right factor it has what it would have of its transpose. This is how the instructions ``mma`` of PTX lay them out (PTX
ISA, "Matrix fragments").
"""

from __future__ import annotations

from gpucore.ir.dtypes import f32, i32, u8, u16, u32
from gpucore.lang.builtins import (
    barrier,
    bitcast,
    constexpr,
    dot4,
    max,
    min,
    select,
    static_range,
    subgroup_shuffle,
    subgroup_shuffle_xor,
)
from gpucore.lang.capture import func

__all__ = ["MOST_THREADS", "broadcast", "product", "product_by_lanes", "scan", "tree"]


MOST_THREADS = 1536
"""No device runs larger blocks."""


@func
def combined(op: constexpr, a, b, there):
    """Two neighbours of the tree, or the first where the second is past the end."""
    if op == "sum":
        both = a + b
    elif op == "min":
        both = min(a, b)
    else:
        both = max(a, b)
    return select(there, both, a)


@func
def tree(op: constexpr, x, lanes, few, scratch, linear, count):
    """``x`` of all threads, combined: for ``m`` in 1, 2, 4, ... below ``count``, ``x[l] = op(x[l], x[l + m])`` of every
    ``l`` that ``2 * m`` divides; the result is ``x[0]``.

    Three of these steps are taken between two barriers, by the threads whose ids 8 m divides.
    """
    assert count <= MOST_THREADS, "block functions are for blocks of at most 1536 threads"
    if lanes:
        lane, subgroups = linear % 32, (count + 31) // 32
        result = lane_tree(op, x, linear, count)
        if lane == 0:
            few[linear // 32] = result
        barrier()
        if count > 32:
            result = lane_tree(op, few[min(lane, subgroups - 1)], lane, subgroups)
        if count > 1024:
            rest = lane_tree(op, few[min(lane + 32, subgroups - 1)], lane + 32, subgroups)
            result = combined(op, result, rest, True)
        if (count > 32) & (count % 32 != 0):
            # the last subgroup has too few lanes
            if linear == 0:
                few[48] = result
            barrier()
            result = few[48]
        else:
            result = subgroup_shuffle(result, 0)
    else:
        scratch[linear] = x
        barrier()
        m = i32(1)
        while m < count:
            if linear & (8 * m - 1) == 0:
                x0 = scratch[linear]
                x1 = scratch[select(linear + m < count, linear + m, linear)]
                x2 = scratch[select(linear + 2 * m < count, linear + 2 * m, linear)]
                x3 = scratch[select(linear + 3 * m < count, linear + 3 * m, linear)]
                x4 = scratch[select(linear + 4 * m < count, linear + 4 * m, linear)]
                x5 = scratch[select(linear + 5 * m < count, linear + 5 * m, linear)]
                x6 = scratch[select(linear + 6 * m < count, linear + 6 * m, linear)]
                x7 = scratch[select(linear + 7 * m < count, linear + 7 * m, linear)]
                x01 = combined(op, x0, x1, linear + m < count)
                x23 = combined(op, x2, x3, linear + 3 * m < count)
                x45 = combined(op, x4, x5, linear + 5 * m < count)
                x67 = combined(op, x6, x7, linear + 7 * m < count)
                x0123 = combined(op, x01, x23, linear + 2 * m < count)
                x4567 = combined(op, x45, x67, linear + 6 * m < count)
                scratch[linear] = combined(op, x0123, x4567, linear + 4 * m < count)
            barrier()
            m = 8 * m
        result = scratch[0]
    barrier()
    return result


@func
def lane_tree(op: constexpr, x, linear, count):
    """The tree's first five steps, by shuffles; lane 0 has the result."""
    for e in static_range(5):
        if 1 << e < count:
            x = combined(op, x, subgroup_shuffle_xor(x, 1 << e), linear + (1 << e) < count)
    return x


@func
def scan(inclusive: constexpr, x, zero, lanes, few, scratch, linear, count):
    """Sums over the threads before: for ``m`` in 1, 2, 4, ... below ``count``, ``x[l] = x[(l & -m) - 1] + x[l]`` of every
    ``l`` with that bit.

    This is J. Sklansky's scan (*Conditional-sum addition logic*, 1960). Who reads in a step is not read in it, so one
    barrier a step is enough.
    """
    assert count <= MOST_THREADS, "block functions are for blocks of at most 1536 threads"
    if lanes:
        lane, subgroup = linear % 32, linear // 32
        result = lane_scan(x, lane)
        if lane == min(31, count - 1):
            few[subgroup] = result
        barrier()
        if (count % 32 == 0) & (count <= 1024):
            own = few[min(lane, count // 32 - 1)]
            for e in static_range(5):
                if 32 << e < count:
                    mine = subgroup_shuffle(own, (subgroup & -(1 << e)) - 1)
                    result = select(subgroup & (1 << e) != 0, mine + result, result)
                    own = lane_step(own, lane, 1 << e)
            before = subgroup_shuffle(own, subgroup - 1)
        else:
            # the last subgroup has too few lanes
            m = i32(1)
            while 32 * m < count:
                if subgroup & m != 0:
                    result = few[(subgroup & -m) - 1] + result
                    if lane == 31:
                        few[subgroup] = result
                barrier()
                m = 2 * m
            before = few[max(subgroup - 1, 0)]
        if not inclusive:
            result = select(lane > 0, subgroup_shuffle(result, lane - 1), select(linear > 0, before, zero))
    else:
        scratch[linear] = x
        barrier()
        m = i32(1)
        while m < count:
            if linear & m != 0:
                scratch[linear] = scratch[(linear & -m) - 1] + scratch[linear]
            barrier()
            m = 2 * m
        if inclusive:
            result = scratch[linear]
        else:
            result = select(linear > 0, scratch[max(linear - 1, 0)], zero)
    barrier()
    return result


@func
def lane_scan(x, lane):
    """The scan's first five steps, by shuffles."""
    for e in static_range(5):
        x = lane_step(x, lane, 1 << e)
    return x


@func
def lane_step(x, lane, m: constexpr):
    """One step of it."""
    return select(lane & m != 0, subgroup_shuffle(x, (lane & -m) - 1) + x, x)


@func
def broadcast(x, thread, scratch, linear, count):
    """``x`` of one thread, or the thread's own."""
    assert count <= MOST_THREADS, "block functions are for blocks of at most 1536 threads"
    scratch[linear] = x
    barrier()
    result = scratch[select((thread >= 0) & (thread < count), thread, linear)]
    barrier()
    return result


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
