"""Page-locked host memory under ndarrays."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections import deque

    from gpucore.ir.dtypes import DType
    from gpucore.runtime.device import Device
    from gpucore.runtime.memory_block import Block, Owner
    from gpucore.runtime.state import ContextState

__all__ = ["PinnedMemory", "host_address", "pinned_location", "pinned_ndarray"]


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
