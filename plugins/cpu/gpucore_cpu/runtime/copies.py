"""Copies and fills in the order of a stream."""

from __future__ import annotations

import ctypes

from gpucore.errors import DeviceError
from gpucore.hookspecs import HostBuffer
from gpucore_cpu.runtime.memory import Allocation, address_of, repeated
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
    # holding the owners keeps the memory until the copy is done: another thread may free it meanwhile
    if isinstance(dst, Allocation):
        target, target_owner = (dst.host or 0) + dst_offset, dst.owner
    else:
        target, target_owner, host = address_of(dst) + dst_offset, dst, True
    if isinstance(src, Allocation):
        source, source_owner = (src.host or 0) + src_offset, src.owner
    else:
        source, source_owner, host = address_of(src) + src_offset, src, True
    if target_owner is None or source_owner is None:
        raise DeviceError("a copy from or to memory that was freed")
    if (
        stream.items
        or stream.error is not None
        or not (host or nbytes <= INLINE_BYTES)
        or stream.native.try_move(stream.gate, target, source, nbytes)
    ):
        _queue_move(target, source, nbytes, stream, host, (target_owner, source_owner))


def _queue_move(target: int, source: int, nbytes: int, stream: Stream, wait: bool, owners: object) -> None:
    def move(keep: object = owners) -> None:
        ctypes.memmove(target, source, nbytes)

    if wait:
        stream.finish(move)
    else:
        stream.submit(move, exclusive=True)


def fill(dst: Allocation, offset: int, nbytes: int, pattern: bytes, stream: Stream) -> None:
    """Repeat a pattern."""
    if nbytes == 0:
        return
    address, owner = (dst.host or 0) + offset, dst.owner
    if owner is None:
        raise DeviceError("a fill of memory that was freed")
    block = repeated(pattern, nbytes)
    if (
        stream.items
        or nbytes > INLINE_BYTES
        or stream.native.try_fill(stream.gate, address, nbytes, block, len(block))
    ):
        _queue_fill(address, nbytes, block, stream, owner)


def _queue_fill(address: int, nbytes: int, block: bytes, stream: Stream, owner: object) -> None:
    def repeat(keep: object = owner) -> None:
        stream.native.fill(address, nbytes, block, len(block))

    stream.submit(repeat, exclusive=True)
