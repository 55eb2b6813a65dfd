"""Unified memory: arrays that the host reads and writes where they lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import NotSupportedError
from gpucore.runtime.pinned_memory import PinnedMemory
from gpucore.runtime.stream import live_stream, refuse_recording

if TYPE_CHECKING:
    from gpucore.runtime.array import Array
    from gpucore.runtime.memory_block import Block
    from gpucore.runtime.stream import Stream

__all__ = ["host_view", "prefetch"]


def _unified(array: Array[Any], what: str) -> Block:
    block = array._block_alive()
    if block.kind != "unified":
        raise NotSupportedError(
            f"{what} is for arrays in unified memory, which ctx.unified(shape, dtype) makes; read this one with numpy()",
            capability="unified_memory",
        )
    return block


def host_view(array: Array[Any]) -> npt.NDArray[Any]:
    """An ndarray on the memory of an array, once all work on it is done."""
    if not array.size:
        return np.empty(array.shape, array.dtype.numpy)
    block = _unified(array, "host()")
    state = array.context._state
    state.check()
    if state.recorders:
        refuse_recording(state, "host()")
    users = tuple(block.users)
    stream = block.join_streams()
    stream._wait_idle()
    stream._read_records()
    for user in users:
        user.stream()._read_records()
    assert array._owner is not None
    memory = np.asarray(PinnedMemory(array._owner, block.nbytes))
    view: npt.NDArray[Any] = np.ndarray(
        array.shape,
        array.dtype.numpy,
        buffer=memory.data,
        offset=array._offset - block.offset,
        strides=array.strides,
    )
    return view


def prefetch(array: Array[Any], where: str, stream: Stream | None) -> None:
    """Move the memory to where it is used next, in stream order, on devices that move it at all."""
    if where not in ("device", "host"):
        raise ValueError(f"prefetch() takes 'device' or 'host', not {where!r}")
    if not array.size:
        return
    block = _unified(array, "prefetch()")
    state = array.context._state
    state.check()
    if state.recorders:
        refuse_recording(state, "prefetch()")
    if stream is None:
        stream = block.join_streams()
    else:
        live_stream(stream)
        block.record_use(stream)
    if "unified_prefetch" in state.device.capabilities:
        state.call(
            state.hooks.prefetch_memory, state.device._handle, block.allocation, array._offset, array.nbytes,
            where == "host", stream._handle,
        )  # fmt: skip
