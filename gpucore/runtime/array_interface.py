"""Array interfaces of other libraries: attributes in the manner of NumPy's ``__array_interface__``.

A backend whose world has such an attribute names it in its capabilities; core fills it in and reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gpucore.errors import NotSupportedError
from gpucore.ir.dtypes import from_numpy
from gpucore.runtime.array import Array
from gpucore.runtime.geometry import c_strides
from gpucore.runtime.record_arrays import components

if TYPE_CHECKING:
    from gpucore.runtime.context import Context

__all__ = ["array_interface", "from_array_interface"]


def array_interface(array: Array[Any], name: str) -> dict[str, Any]:
    """The dictionary behind the attribute; AttributeError where the device has none of that name."""
    if array.context.device.capabilities.array_interface != name:
        raise AttributeError(f"an Array has no attribute {name!r}")
    array = components(array)
    if array.dtype.kind == "record" and array.dtype.numpy.names is not None:
        raise AttributeError(
            f"an Array of {array.dtype} has no attribute {name!r}: other libraries know no structs"
        )
    block = array._block_alive()
    # nothing tells which stream the reader uses, so the work on the memory is waited for
    block.join_streams()._wait_idle()
    block.exposed = True  # the reader holds the array for as long as it uses the memory
    address = 0
    if array.size:
        start = block.allocation.address
        assert start is not None  # the interface is for devices whose memory has addresses
        address = start + array._offset
    return {
        "shape": array.shape,
        "typestr": array.dtype.numpy.str,
        "data": (address, False),
        "strides": None if array._contiguous else array.strides,
        "version": 3,
    }


def from_array_interface(obj: Any, context: Context) -> Array[Any] | None:
    """An array over the memory that ``obj`` offers through the context's interface; None where it offers
    none.
    """
    name = context.device.capabilities.array_interface
    offered = getattr(obj, name, None) if name is not None else None
    if offered is None:
        return None
    address, read_only = offered["data"]
    if read_only:
        raise NotSupportedError("the memory is read-only, and arrays can be written", capability="read_only")
    dtype = from_numpy(np.dtype(offered["typestr"]))
    if dtype is None:
        raise NotSupportedError(f"{offered['typestr']!r} has no element type", capability="dtype")
    from gpucore.runtime.dlpack import adopt

    state = context._state
    stream = offered.get("stream")
    if isinstance(stream, int) and stream > 0:
        state.default_stream._follow(state.new_stream(0, stream, None))
    shape = tuple(offered["shape"])
    strides = offered.get("strides")
    return adopt(
        context, address, dtype, shape, tuple(strides) if strides else c_strides(shape, dtype.itemsize), obj
    )
