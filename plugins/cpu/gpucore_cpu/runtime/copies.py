"""Copies and fills in the order of a stream."""

from __future__ import annotations

import ctypes

from gpucore.hookspecs import HostBuffer
from gpucore_cpu.runtime import memory
from gpucore_cpu.runtime.memory import Allocation, address_of
from gpucore_cpu.runtime.streams import Stream

__all__ = ["copy", "fill"]

INLINE_BYTES = 1 << 16
"""A copy or fill of at most that size runs in the caller's thread when the stream is idle."""


def copy(
    dst: Allocation | HostBuffer,
    dst_offset: int,
    src: Allocation | HostBuffer,
    src_offset: int,
    nbytes: int,
    stream: Stream,
) -> None:
    """Copy; a host buffer on either side is pageable, so the call returns when it has been read or
    written."""
    if nbytes == 0:
        return
    host = False
    if isinstance(dst, Allocation):
        target = (dst.host or 0) + dst_offset
    else:
        target, host = address_of(dst) + dst_offset, True
    if isinstance(src, Allocation):
        source = (src.host or 0) + src_offset
    else:
        source, host = address_of(src) + src_offset, True
    if host:
        # in order means after all that is queued; ctypes gives the GIL up meanwhile
        if stream.pending or stream._error is not None:
            stream.synchronize()
        ctypes.memmove(target, source, nbytes)
    elif nbytes <= INLINE_BYTES and not stream.pending:
        ctypes.memmove(target, source, nbytes)
    else:
        stream.submit(lambda: _move(target, source, nbytes))


def _move(target: int, source: int, nbytes: int) -> None:
    ctypes.memmove(target, source, nbytes)


def fill(dst: Allocation, offset: int, nbytes: int, pattern: bytes, stream: Stream) -> None:
    """Repeat a pattern."""
    if nbytes == 0:
        return
    address = (dst.host or 0) + offset
    if nbytes <= INLINE_BYTES and not stream.pending:
        memory.fill(address, nbytes, pattern)
    else:
        stream.submit(lambda: memory.fill(address, nbytes, pattern))
