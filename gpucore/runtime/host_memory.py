"""Memory of the host that devices reach: page-locked under ndarrays, kept for pipelines to use again, unified arrays.

Memory from the pool would be handed out in the order of a stream and wait for it, which takes the overlap away. Here the host
knows that a piece is free: the work on it was waited for, and no ndarray stands on it any more.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import NotSupportedError
from gpucore.runtime.stream import live_stream, refuse_recording

if TYPE_CHECKING:
    from gpucore.ir.dtypes import DType
    from gpucore.runtime.array import Array
    from gpucore.runtime.device import Device
    from gpucore.runtime.memory_block import Block, Owner
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream
    from gpucore.runtime.timeline import Timeline

__all__ = [
    "PinnedMemory",
    "PinnedRing",
    "host_address",
    "host_view",
    "pinned_location",
    "pinned_ndarray",
    "prefetch",
]


class PinnedMemory:
    """What an ndarray of ``Context.pinned`` stands on; found again through the ndarray's bases.

    Views of an ndarray stand on it, too, so all of them are gone once it is: then its owner goes to ``free``, where given.
    """

    __slots__ = ("_free", "_interface", "_owner")

    def __init__(self, owner: Owner, nbytes: int, free: deque[Owner] | None = None) -> None:
        self._owner = owner
        self._free = free
        owner.block.exposed = True
        self._interface = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (owner.block.host_address, False),
            "version": 3,
        }

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return self._interface

    def __del__(self) -> None:
        free = getattr(self, "_free", None)
        if free is not None:
            free.append(self._owner)

    @property
    def block(self) -> Block:
        """The pool's block."""
        return self._owner.block


def pinned_ndarray(state: ContextState, shape: tuple[int, ...], dtype: DType) -> npt.NDArray[Any]:
    """A new ndarray in page-locked memory."""
    nbytes = math.prod(shape) * dtype.itemsize
    if not nbytes:
        return np.empty(shape, dtype.numpy)
    memory = PinnedMemory(state.pool.allocate(nbytes, "pinned", state.default_stream), nbytes)
    result: npt.NDArray[Any] = np.asarray(memory).view(dtype.numpy).reshape(shape)
    return result


def host_address(host: npt.NDArray[Any]) -> int:
    """Where an ndarray's elements lie."""
    buffer: Any = host  # NumPy's stubs differ in whether an ndarray is a buffer
    try:
        # a sixth of what __array_interface__ costs
        return ctypes.addressof(_BYTE.from_buffer(buffer))
    except (TypeError, ValueError):  # read-only, or of a dtype without a buffer format
        address: int = host.__array_interface__["data"][0]
        return address


_BYTE = ctypes.c_char


def pinned_location(host: npt.NDArray[Any], device: Device) -> tuple[Block, int] | None:
    """The pinned block and the byte offset in it of a contiguous ndarray, None where it is pageable."""
    base: Any = host.base
    while isinstance(base, np.ndarray):
        base = base.base
    if base.__class__ is not PinnedMemory:
        return None
    block: Block = base._owner.block
    if block.home is None or block.home.state.device is not device:
        return None
    return block, host_address(host) - block.host_address + block.offset


class PinnedRing:
    """Pieces of pinned memory by size, each handed out as an ndarray and taken back when nothing stands on it any more.

    Attributes
    ----------
    streams : set[Timeline]
        Whose work on the pieces is waited for before they are given back.
    made : int
        Pieces that were allocated.
    nbytes : int
        Their bytes.
    """

    def __init__(self, state: ContextState) -> None:
        self._state = state
        self._free: dict[int, deque[Owner]] = {}
        self._lock = (
            threading.RLock()
        )  # for the two numbers: a source's thread and its workers take, and the consumer
        self.streams: set[Timeline] = set()
        self.made = 0
        self.nbytes = 0

    def take(self, shape: tuple[int, ...], dtype: DType) -> tuple[npt.NDArray[Any], Block]:
        """An ndarray with undefined contents, of at least one element, and the memory that it begins.

        Raises
        ------
        OutOfMemoryError
        """
        nbytes = dtype.itemsize
        for extent in shape:
            nbytes *= extent
        free = self._free.setdefault(nbytes, deque())
        owner = self._idle(free)
        if owner is None:
            owner = self._state.pool.allocate(nbytes, "pinned", self._state.default_stream)
            self._count(1, owner)
        raw: npt.NDArray[np.uint8] = np.asarray(PinnedMemory(owner, nbytes, free))
        array: npt.NDArray[Any] = np.ndarray(shape, dtype.numpy, raw)
        return array, owner.block

    def close(self) -> None:
        """Let the pieces go; those that ndarrays stand on follow with these."""
        rings, self._free = self._free, {}
        for free in rings.values():
            free.clear()

    def _idle(self, free: deque[Owner]) -> Owner | None:
        """A piece that nothing works on: one that other streams than the pipeline's used goes back to the pool, which waits."""
        while free:
            try:
                owner = free.popleft()
            except IndexError:
                break  # another thread was faster
            if self.streams.issuperset(owner.block.users):
                return owner
            self._count(-1, owner)
        return None

    def _count(self, pieces: int, owner: Owner) -> None:
        with self._lock:
            self.made += pieces
            self.nbytes += pieces * owner.block.nbytes


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
