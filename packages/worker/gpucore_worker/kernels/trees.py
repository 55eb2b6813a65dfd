"""Sums and maxima over the 64 threads of a block, for processors: the trees of ``gc.block_sum`` and ``gc.block_max``, to the bit.

Every thread takes part in each step, with the value of a thread further on: on a processor these are whole vectors, read and
written in a row, where a tree that leaves threads out reads lane by lane.
"""

from __future__ import annotations

import gpucore as gc

__all__ = ["THREADS", "greatest_of_rows", "sum_of_rows"]

THREADS = 64


@gc.func
def sum_of_rows(x, scratch, thread):
    """The sum over a block of ``THREADS`` threads in one row."""
    for m in (1, 2, 4, 8, 16, 32):
        scratch[thread] = x
        gc.barrier()
        if thread < THREADS - m:
            x += scratch[thread + m]
        gc.barrier()
    scratch[thread] = x
    gc.barrier()
    found = scratch[0]
    gc.barrier()
    return found


@gc.func
def greatest_of_rows(x, scratch, thread):
    """The greatest number in a block of ``THREADS`` threads in one row."""
    for m in (1, 2, 4, 8, 16, 32):
        scratch[thread] = x
        gc.barrier()
        if thread < THREADS - m:
            x = max(x, scratch[thread + m])
        gc.barrier()
    scratch[thread] = x
    gc.barrier()
    found = scratch[0]
    gc.barrier()
    return found
