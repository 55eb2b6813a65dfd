"""Memory shared with other libraries without a copy: DLPack, and interfaces such as NumPy's ``__array_interface__``.

The structures and the protocol follow DLPack 1.0 (``dlpack.h``) and the Python specification of the array API
standard. Which device type and number a backend's memory has is said by its capabilities.

A backend whose world has such an attribute names it in its capabilities; core fills it in and reads it.
"""

from __future__ import annotations

import ctypes
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from gpucore.errors import LaunchError, NotSupportedError
from gpucore.ir.dtypes import ALL, DType, from_numpy, index
from gpucore.runtime.array import Array
from gpucore.runtime.dlpack_exports import (
    DELETER,
    PLAIN,
    PLAIN_USED,
    VERSIONED,
    VERSIONED_USED,
    DataType,
    Device,
    Managed,
    ManagedVersioned,
    Version,
    api,
    exports,
)
from gpucore.runtime.geometry import c_strides
from gpucore.runtime.host_numbers import components

if TYPE_CHECKING:
    from gpucore.runtime.context import Context

__all__ = ["array_interface", "device_of", "export", "from_array_interface", "from_dlpack"]


_READ_ONLY, _COPIED = 1, 2
_HOST = (1, 0)
_CODES = {"int": 0, "uint": 1, "float": 2, "bool": 6}
_BFLOAT = 4
_COMPLEX = 5


# --- producer --------------------------------------------------------------------------------------
def device_of(array: Array[Any]) -> tuple[int, int]:
    """DLPack's device of an array."""
    device = array.context.device
    known: tuple[int, int] | None = device.capabilities.dlpack
    if known is None:
        raise NotSupportedError(
            f"memory of {device.backend} cannot be shared through DLPack", capability="dlpack"
        )
    return known


def export(array: Array[Any], stream: Any, max_version: Any, dl_device: Any, copy: bool | None) -> Any:
    """The capsule of ``Array.__dlpack__``."""
    device = device_of(array)
    if dl_device is not None:
        dl_device = _pair(dl_device, "dl_device is")
    if dl_device is not None and tuple(dl_device) != device:
        if tuple(dl_device) == _HOST and copy is not False:
            # asked for explicitly, so it is no hidden transfer
            return array.numpy().__dlpack__(max_version=max_version)
        raise BufferError(
            f"the array is on DLPack device {device}; it cannot be exported to {tuple(dl_device)}"
        )
    if copy:
        duplicate = array.context.empty(array.shape, array.dtype)
        array = duplicate.copy_from(array)
    block = array._block_alive()
    # what is pending on the memory comes before what the consumer does
    if stream != -1:
        _order_before(array, stream)
    versioned = max_version is not None and tuple(max_version) >= (1, 0)
    managed: ManagedVersioned | Managed = ManagedVersioned() if versioned else Managed()
    shape = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
    itemsize = array.dtype.itemsize
    strides = (ctypes.c_int64 * max(array.ndim, 1))(*(stride // itemsize for stride in array.strides))
    tensor = managed.tensor
    tensor.data = _address(array, block.allocation)
    tensor.device = Device(*device)
    tensor.ndim = array.ndim
    tensor.dtype = _data_type(array.dtype)
    tensor.shape = ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64))
    tensor.strides = ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64))
    tensor.byte_offset = 0
    if isinstance(managed, ManagedVersioned):
        managed.version = Version(1, 0)
        managed.flags = _COPIED if copy else 0
    block.exposed = True  # for as long as the array is held
    return exports.capsule(managed, shape, strides, array)


def _pair(device: Any, what: str) -> tuple[int, int]:
    """A device as DLPack writes it: its type and its number."""
    try:
        kind, number = device
        return operator.index(kind), operator.index(number)
    except (TypeError, ValueError):
        raise TypeError(
            f"{what} the type and the number of a device, such as (1, 0), not {device!r}"
        ) from None


def _address(array: Array[Any], allocation: Any) -> int:
    if allocation is None:
        return 0
    base = allocation.address if allocation.address is not None else allocation.host
    if base is None:
        raise NotSupportedError("the array's memory has no address to share", capability="dlpack")
    first: int = int(base) + array._offset
    return first


def _data_type(dtype: DType) -> DataType:
    if dtype.kind == "record":
        if dtype.numpy.kind == "c":
            return DataType(_COMPLEX, dtype.bits, 1)
        raise NotSupportedError(f"DLPack has no type for {dtype}", capability="dtype")
    code = _BFLOAT if dtype.name == "bf16" else _CODES[dtype.kind]
    return DataType(code, dtype.bits, 1)


def _order_before(array: Array[Any], stream: Any) -> None:
    """Make the consumer's stream come after the work on the array, or wait where that cannot be said."""
    home = array._block.join_streams()
    state = home._state
    if isinstance(stream, int) and stream > 0 and "import_stream" in state.device.capabilities:
        other = state.new_stream(0, stream, None)
        other._follow(home)
        return
    home._wait_idle()


# --- consumer --------------------------------------------------------------------------------------
def from_dlpack(obj: Any, *, context: Context | None = None, copy: bool | None = None) -> Array[Any]:
    """An array over the memory of another library's array, without a copy where that is possible.

    Parameters
    ----------
    obj : object
        With ``__dlpack__`` and ``__dlpack_device__``.
    context : Context, optional
        Where the array is to be; without it the default context.
    copy : bool, optional
        True always copies, False never does: where the memory cannot be shared that is an error.

    Raises
    ------
    NotSupportedError
        When ``copy=False`` and the context's device cannot use the memory.
    """
    from gpucore.runtime.context import Context
    from gpucore.runtime.context_options import default_context

    if context is None:
        context = default_context()
    elif not isinstance(context, Context):
        raise TypeError(f"context= takes a Context, not {type(context).__name__}: {context!r}")
    if isinstance(obj, Array) and obj.context._state.device is context.device:
        if copy:
            return context.array(obj)
        return Array._make(context, obj._owner, obj.dtype, obj.shape, obj.strides, obj._offset)
    if not hasattr(obj, "__dlpack_device__"):
        shared = from_array_interface(obj, context)
        if shared is None:
            raise TypeError(f"a {type(obj).__name__} has no __dlpack__ to share its memory with")
        return context.array(shared) if copy else shared
    theirs = _pair(obj.__dlpack_device__(), f"__dlpack_device__ of a {type(obj).__name__} gives")
    ours = context.device.capabilities.dlpack
    if theirs == ours and "import_memory" in context.device.capabilities and not (copy and theirs == _HOST):
        shared = _share(obj, context, theirs)
        return context.array(shared) if copy else shared
    if copy is False:
        raise NotSupportedError(
            f"memory of DLPack device {theirs} cannot be shared with {context.device!r}; pass copy=True or leave copy out",
            capability="import_memory",
        )
    if theirs[0] == _HOST[0]:
        import numpy as np

        return context.array(np.from_dlpack(obj))
    raise NotSupportedError(
        f"memory of DLPack device {theirs} cannot be reached from {context.device!r}; copy it to the "
        "host first",
        capability="import_memory",
    )


class _Borrowed:
    """Memory of another library; gives it back when the last array over it is gone."""

    _managed: Managed | ManagedVersioned | None = None  # where an interrupt ends its making

    def __init__(self, managed: Managed | ManagedVersioned) -> None:
        self._managed = managed

    # bound here: at the interpreter's end the module's names go before its objects
    def __del__(self, DELETER: Any = DELETER, addressof: Any = ctypes.addressof) -> None:
        managed = self._managed
        if managed is not None and managed.deleter:
            DELETER(managed.deleter)(addressof(managed))


def _capsule(obj: Any, stream: int | None) -> Any:
    arguments: dict[str, Any] = {} if stream is None else {"stream": stream}
    try:
        return obj.__dlpack__(max_version=(1, 0), **arguments)
    except TypeError:
        return obj.__dlpack__(**arguments)  # a producer from before DLPack 1.0


def _share(obj: Any, context: Context, theirs: tuple[int, ...]) -> Array[Any]:
    state = context._state
    state.check()
    # 1 is the oldest stream of devices that number theirs; the producer orders its work before that one
    oldest = 1 if theirs[0] != _HOST[0] and "import_stream" in context.device.capabilities else None
    capsule = _capsule(obj, oldest)
    managed: Managed | ManagedVersioned
    if api.PyCapsule_IsValid(capsule, VERSIONED):
        managed = ManagedVersioned.from_address(api.PyCapsule_GetPointer(capsule, VERSIONED))
        if managed.version.major > 1:
            raise NotSupportedError(
                f"DLPack version {managed.version.major} is not known", capability="dlpack"
            )
        read_only = bool(managed.flags & _READ_ONLY)
        used = VERSIONED_USED
    elif api.PyCapsule_IsValid(capsule, PLAIN):
        managed = Managed.from_address(api.PyCapsule_GetPointer(capsule, PLAIN))
        read_only, used = False, PLAIN_USED
    else:
        raise LaunchError("the object's __dlpack__ gave no DLPack capsule, or one that was used before")
    if read_only:
        raise NotSupportedError(
            "the memory is read-only and arrays can be written; pass copy=True", capability="read_only"
        )
    tensor = managed.tensor
    dtype = _element(tensor.dtype)
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    if tensor.strides:
        strides = tuple(tensor.strides[axis] * dtype.itemsize for axis in range(tensor.ndim))
    else:
        strides = c_strides(shape, dtype.itemsize)
    api.PyCapsule_SetName(capsule, used)
    borrowed = _Borrowed(managed)
    if oldest is not None:
        state.default_stream._follow(state.new_stream(0, oldest, None))
    return adopt(context, (tensor.data or 0) + tensor.byte_offset, dtype, shape, strides, borrowed)


def adopt(
    context: Context,
    address: int,
    dtype: DType,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    owner: object,
) -> Array[Any]:
    """An array over outside memory at ``address``, that of its first element."""
    state = context._state
    if 0 in shape:
        return context.empty(shape, dtype)
    low = sum(min((extent - 1) * stride, 0) for extent, stride in zip(shape, strides, strict=True))
    high = sum(max((extent - 1) * stride, 0) for extent, stride in zip(shape, strides, strict=True))
    nbytes = high - low + dtype.itemsize
    allocation = state.call(state.hooks.import_memory, state.device._handle, address + low, nbytes, owner)
    kept = state.pool.adopt(allocation, nbytes, state.default_stream)
    return Array._make(context, kept, dtype, shape, strides, -low)


def _element(data_type: Any) -> DType:
    for dtype in ALL:
        if dtype is not index:
            mine = _data_type(dtype)
            if (mine.code, mine.bits, 1) == (data_type.code, data_type.bits, data_type.lanes):
                return dtype
    raise NotSupportedError(
        f"DLPack type code {data_type.code} with {data_type.bits} bits and {data_type.lanes} lanes has "
        "no element type",
        capability="dtype",
    )


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

    state = context._state
    stream = offered.get("stream")
    if isinstance(stream, int) and stream > 0:
        state.default_stream._follow(state.new_stream(0, stream, None))
    shape = tuple(offered["shape"])
    strides = offered.get("strides")
    return adopt(
        context, address, dtype, shape, tuple(strides) if strides else c_strides(shape, dtype.itemsize), obj
    )
