"""What the threads of a block do together: ``gc.block_sum`` and its family, over shared memory and barriers.

Threads are numbered by their linear ids, ``count`` of them. Sums follow trees over these numbers that have nothing to do with
the width of a subgroup, so that a block of a shape gives the same bits on every device.

All functions take the block's scratch memory, one element a thread, and leave it free for the next: the barriers within
also order what the threads did before against what they do after.
"""

from gpucore.ir.dtypes import i32
from gpucore.lang.builtins import barrier, constexpr, max, min, select
from gpucore.lang.capture import func

__all__ = ["MOST_THREADS", "broadcast", "scan", "tree"]

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
def tree(op: constexpr, x, scratch, linear, count):
    """``x`` of all threads, combined: for ``m`` in 1, 2, 4, ... below ``count``, ``x[l] = op(x[l], x[l + m])`` of every
    ``l`` that ``2 * m`` divides; the result is ``x[0]``.

    Three of these steps are taken between two barriers, by the threads whose ids 8 m divides.
    """
    assert count <= MOST_THREADS, "block functions are for blocks of at most 1536 threads"
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
def scan(inclusive: constexpr, x, zero, scratch, linear, count):
    """Sums over the threads before: for ``m`` in 1, 2, 4, ... below ``count``, ``x[l] = x[(l & -m) - 1] + x[l]`` of every
    ``l`` with that bit.

    This is J. Sklansky's scan (*Conditional-sum addition logic*, 1960). Who reads in a step is not read in it, so one
    barrier a step is enough.
    """
    assert count <= MOST_THREADS, "block functions are for blocks of at most 1536 threads"
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
def broadcast(x, thread, scratch, linear, count):
    """``x`` of one thread, or the thread's own."""
    assert count <= MOST_THREADS, "block functions are for blocks of at most 1536 threads"
    scratch[linear] = x
    barrier()
    result = scratch[select((thread >= 0) & (thread < count), thread, linear)]
    barrier()
    return result
