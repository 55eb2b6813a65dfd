"""Memory that users ask for by name: page-locked, unified, and in pools.

Memory from the pool would be handed out in the order of a stream and wait for it. Here the host knows that a piece is free: the
work on it was waited for, and no ndarray stands on it.
"""

from __future__ import annotations

import ctypes
import math
import operator
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from gpucore.errors import LaunchError, NotSupportedError
from gpucore.runtime.memory_block import Owner, Reserve, size_class
from gpucore.runtime.memory_pool import Pool
from gpucore.runtime.stream import live_stream, refuse_recording

if TYPE_CHECKING:
    from gpucore.hookspecs import MemoryKind
    from gpucore.ir.dtypes import DType
    from gpucore.runtime.array import Array
    from gpucore.runtime.context import Context
    from gpucore.runtime.device import Device
    from gpucore.runtime.memory_block import Block
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream, Timeline

__all__ = [
    "MemoryPool",
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
        """A piece that nothing works on."""
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


class MemoryPool(Pool):
    """A pool for some of a context's arrays: ``ctx.options(pool=pool)`` gives a view of the context that allocates from it.

    Pinned memory stays with the context's own pool. What a pool holds counts towards the context's ``memory_limit``.

    Parameters
    ----------
    context : Context
    size : int
        Bytes that are taken from the driver at once; arrays are cut from them as long as they fit.
    limit : int, optional
        Bytes that the pool may hold, used and cached.
    kind : {"device", "unified"}
        Unified memory is seen by the host, too: ``array.host()``.

    Raises
    ------
    OutOfMemoryError
        Where there are not ``size`` bytes.
    NotSupportedError
        Where the device has no unified memory.
    """

    def __init__(
        self,
        context: Context,
        *,
        size: int = 0,
        limit: int | None = None,
        kind: Literal["device", "unified"] = "device",
    ) -> None:
        state = getattr(context, "_state", None)
        if not isinstance(getattr(state, "pool", None), Pool):
            raise TypeError(f"a MemoryPool is made for a Context, not for {context!r}")
        if kind not in ("device", "unified"):
            raise ValueError(f"a pool's kind is 'device' or 'unified', not {kind!r}")
        size, limit = _bytes("size", size), None if limit is None else _bytes("limit", limit)
        if limit is not None and (limit == 0 or size > limit):
            raise ValueError(f"a pool's limit of {limit} bytes is not enough for its size of {size}")
        state = context._state
        state.check()
        if kind == "unified":
            context._require("unified_memory")
        super().__init__(state, limit)
        self.kind: MemoryKind = kind
        self._closed = False
        self._reserve: Reserve | None = None
        # one queue for all pools of a context: whoever drains it asks each block for its pool
        self.returned = state.pool.returned
        with state.lock:
            state.add_pool(self)
            try:
                if size:
                    size = -(-size // 256) * 256
                    allocation = self._allocate_raw(size, size, kind, state.default_stream)
                    reserve, number = Reserve(allocation, size), id(allocation)
                    self._reserve, self._held[number] = reserve, (allocation, kind)
            except BaseException:
                state.remove_pool(self)
                raise

    def __del__(self) -> None:
        # its memory is given back by whoever next drains what finalizers noted, on a thread that may call the driver
        if not getattr(self, "_closed", True) and not self._state.closed:
            self._state.dead_pools.append(self)

    def __repr__(self) -> str:
        return f"<{self.name} used={self._used} cached={self._cached} limit={self.limit}{', closed' if self._closed else ''}>"

    @property
    def name(self) -> str:
        """How errors call it."""
        device = self._state.device
        pools = self._state.pools
        number = f" {pools.index(self)}" if self in pools else ""
        return f"MemoryPool{number} of {device.backend}:{device.ordinal}"

    @property
    def _cached(self) -> int:
        return super()._cached + (self._reserve.free if self._reserve is not None else 0)

    def reset_peak(self) -> None:
        """Let ``stats()["peak"]`` start again from what is used now."""
        self._peak = self._used

    def allocate(self, nbytes: int, kind: MemoryKind, stream: Stream) -> Owner:
        """A block, of the reserve where it fits."""
        if self._closed:
            raise LaunchError(f"{self.name} is closed")
        if kind not in ("device", self.kind):
            return self._state.pool.allocate(nbytes, kind, stream)
        kind = self.kind
        state = self._state
        with state.lock:
            if self._reserve is not None:
                if self.returned:
                    self.drain()
                size = size_class(nbytes)
                offset = self._reserve.take(size, stream)
                if offset is not None:
                    if kind == "unified":
                        stream._wait_idle()  # the host writes it when it likes, in no stream's order
                    return self._begin(
                        self._reserve.allocation,
                        size,
                        kind,
                        stream,
                        stream._timeline.epoch,
                        self._reserve,
                        offset,
                    )
            return super().allocate(nbytes, kind, stream)

    def close(self, why: str = "its pool was closed") -> None:
        """Wait for the work of the context, end the pool's arrays, and give all of it back; twice does nothing."""
        state = self._state
        with state.lock:
            if self._closed:
                return
            if not state.closed and state.device._dead is None:
                for stream in state.live_streams():
                    stream._wait_idle()
                super().close(why)
            self._closed = True
            self._piece_returned()
            if not self.lending:
                state.remove_pool(self)

    def _piece_returned(self) -> None:
        """Free the reserve of a closed pool once nobody outside uses a piece of it any more."""
        state, reserve = self._state, self._reserve
        if self._closed and reserve is not None and not self.lending and state.device._dead is None:
            self._reserve = None
            state.free(state.device._handle, reserve.allocation, None)

    def forget(self, why: str) -> None:
        """Drop everything without calling the driver."""
        super().forget(why)
        self._reserve = None
        self._closed = True


def _bytes(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"a pool's {name} is a whole number of bytes, such as 64 << 20, not {value!r}")
    number = operator.index(value)
    if number < 0:
        raise ValueError(f"a pool's {name} is not negative: {number}")
    return number
