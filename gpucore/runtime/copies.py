"""Copies between host and devices, and fills."""

from __future__ import annotations

import itertools
import numbers
import operator
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gpucore.errors import LaunchError
from gpucore.ir.dtypes import from_numpy
from gpucore.ir.records import RecordType
from gpucore.runtime.host_numbers import components, fill_records, is_real, scalar_bytes
from gpucore.runtime.stream import live_stream, refuse_recording
from gpucore.runtime.user_memory import pinned_location

if TYPE_CHECKING:
    from gpucore.runtime.array import Array
    from gpucore.runtime.context import Context
    from gpucore.runtime.memory_block import Block
    from gpucore.runtime.stream import Stream

_bytes_of = operator.methodcaller("tobytes")  # a call that Python makes without a frame


def host_bytes(host: npt.NDArray[Any]) -> memoryview:
    """The bytes of a C-contiguous ndarray that is not empty."""
    try:
        return host.data.cast("B")
    except ValueError:  # of a dtype without a buffer format
        return host.reshape(-1).view(np.uint8).data


def refuse_mask(host: object, role: str) -> None:
    """Refuse a masked array: an Array has no mask, and its values below one would come to light."""
    if isinstance(host, np.ma.MaskedArray):
        raise TypeError(
            f"the {role} is a masked array, and an Array has no mask; give .filled(value), or .data and the mask, "
            "np.ma.getmaskarray(...), as an array of its own"
        )


def _check_host(array: Array[Any], host: Any, role: str) -> npt.NDArray[Any]:
    if not isinstance(host, np.ndarray):
        raise TypeError(f"the {role} is an ndarray or an Array, not {type(host).__name__}")
    if host.__class__ is not np.ndarray:
        refuse_mask(host, role)
    # subclasses may give other meanings to what is asked of it below
    plain: npt.NDArray[Any] = host if host.__class__ is np.ndarray else host.view(np.ndarray)
    if (
        host.dtype is not array._sig.numpy
        and from_numpy(host.dtype) is not array.dtype
        and not _alike(array, host)
    ):
        raise TypeError(f"the {role} has dtype {host.dtype}, the array {array.dtype}; convert it first")
    if host.shape != array.shape:
        raise ValueError(f"the {role} has shape {host.shape}, the array {array.shape}")
    return plain


def _alike(array: Array[Any], host: npt.NDArray[Any]) -> bool:
    """Whether an ndarray holds the structs of the array."""
    return isinstance(array.dtype, RecordType) and host.dtype == array.dtype.numpy


def _writer(array: Array[Any], stream: Stream | None) -> Stream:
    """The stream in whose order the array is used now."""
    block = array._block
    home = block.home
    if home is None:
        array._block_alive()
    elif stream is None and not block.users and not home.state.recorders:
        # what ``Block.join_streams`` does where no other stream is concerned
        if home.state.device._dead is not None:
            home.state.check()
        own = home.reference()
        if own is None:
            return block.join_streams()
        block.last_use_epoch = home.epoch
        return own
    array.context._state.check()
    if stream is None:
        return block.join_streams()
    live_stream(stream)
    if stream._state.device is not array.context.device:
        raise LaunchError("the stream belongs to another device than the array")
    block.record_use(stream)
    return stream


def _copy(
    st: Stream, target: Any, target_offset: int, source: Any, source_offset: int, nbytes: int, *arrays: Any
) -> None:
    """The backend's copy, called without what stands in between: on a small one that would be most of the time.

    ``arrays`` are what keeps the memory of both sides, for who records the copy.
    """
    state = st._state
    if state.recorders:
        recorder = state.recorders.get(get_ident())
        if recorder is not None:
            recorder.copy(st, target, target_offset, source, source_offset, nbytes, arrays)
            return
    device = state.device
    try:
        state.hooks.copy(device._handle, target, target_offset, source, source_offset, nbytes, st._handle)
    except Exception as error:
        device._judge(state.hooks.copy, error)
        raise


def upload(array: Array[Any], source: Any, stream: Stream | None) -> None:
    """Host to device."""
    signature = array._sig
    if signature.vector:
        upload(components(array), source, stream)
        return
    if (
        source.__class__ is not np.ndarray
        or source.dtype is not signature.numpy
        or source.shape != array.shape
    ):
        source = _check_host(array, source, "source")
    st = _writer(array, stream)
    if not array.size:
        return
    if not signature.contiguous:
        _write_strided(array, source, st)
        return
    if not source.flags.c_contiguous:
        source = np.ascontiguousarray(source)
    if source.base is not None:  # not memory of NumPy's own
        pinned = pinned_location(source, st._state.device)
        if pinned is not None:
            block, offset = pinned
            if block.home is not st._timeline:
                block.record_use(st)
            _copy(st, array._packed[0], array._offset, block.allocation, offset, array.nbytes, array, source)
            return
    memory = host_bytes(source) if signature.numpy is None else source.data.cast("B")
    _copy(st, array._packed[0], array._offset, memory, 0, array.nbytes)


def download(array: Array[Any], target: Any, stream: Stream | None, *, block: bool) -> None:
    """Device to host; to pinned memory asynchronous unless ``block``."""
    signature = array._sig
    if signature.vector:
        download(components(array), target, stream, block=block)
        return
    if (
        target.__class__ is not np.ndarray
        or target.dtype is not signature.numpy
        or target.shape != array.shape
    ):
        target = _check_host(array, target, "target")
    flags = target.flags
    if not flags.writeable:
        raise ValueError("the target is a read-only ndarray")
    if block and array.context._state.recorders:
        refuse_recording(
            array.context._state,
            "numpy()",
            "record array.copy_to(pinned) instead, or call it after graph.launch()",
        )
    others = array._block.users
    users = tuple(others) if others and stream is None else ()
    st = _writer(array, stream)
    waited = True
    if not array.size:
        waited = block
        if block:
            st._wait_idle()
    elif signature.contiguous and flags.c_contiguous:
        pinned = None if target.base is None else pinned_location(target, st._state.device)
        if pinned is None:
            memory = host_bytes(target) if signature.numpy is None else target.data.cast("B")
            _copy(st, memory, 0, array._packed[0], array._offset, array.nbytes)
        else:
            home, offset = pinned
            if home.home is not st._timeline:
                home.record_use(st)
            _copy(st, home.allocation, offset, array._packed[0], array._offset, array.nbytes, target, array)
            waited = block
            if block:
                st._wait_idle()
    else:
        target[...] = _read_staged(array, st)
    state = st._state
    if state.pool.returned or state.dead_events or state.dead_streams:
        state.drain()
    if waited:
        if users:
            for user in users:
                user.stream()._read_records()
        records = st._records
        if records is not None and (records.unread or list(map(_bytes_of, records.claims)) != records.clean):
            records.read()


def copy_pinned(
    array: Array[Any], host: npt.NDArray[Any], block: Block, offset: int, stream: Stream, *, up: bool
) -> None:
    """Copy between a contiguous array and a contiguous ndarray in pinned memory, ``offset`` bytes into ``block``.

    What :func:`upload` and :func:`download` do once they have looked at everything; the caller sees to the order of the array's
    memory.
    """
    if block.home is not stream._timeline:
        block.record_use(stream)
    device, pinned = array._packed[0], block.allocation
    if up:
        _copy(stream, device, array._offset, pinned, offset, array.nbytes, array, host)
    else:
        _copy(stream, pinned, offset, device, array._offset, array.nbytes, host, array)


def edges(array: Array[Any]) -> npt.NDArray[Any]:
    """What NumPy would print of an array: all of it, or of long axes both ends with one element of filling between them.

    It waits for the work on the array; errors that kernels reported stay for the next call that waits.
    """
    array = components(array)
    settings = np.get_printoptions()
    ends = int(settings["edgeitems"])
    if array.size <= int(settings["threshold"]):
        return _peek(array)
    shape = tuple(min(extent, 2 * ends + 1) for extent in array.shape)
    shown = np.zeros(shape, array.dtype.numpy)
    parts = [
        (slice(None),) if extent <= 2 * ends + 1 else (slice(ends), slice(-ends, None))
        for extent in array.shape
    ]
    for corner in itertools.product(*parts):
        shown[corner] = _peek(array[corner])
    return shown


def _peek(array: Array[Any]) -> npt.NDArray[Any]:
    st = _writer(array, None)
    return _read_staged(array, st) if array.size else np.empty(array.shape, array.dtype.numpy)


# --- strided views: run by run where the runs are few, else the whole span staged on the host
_MOST_RUNS = 1024


def _span(array: Array[Any]) -> tuple[int, int]:
    """The first byte that the view covers, and the number of bytes to the last."""
    low = high = 0
    for extent, stride in zip(array.shape, array.strides, strict=True):
        reach = (extent - 1) * stride
        low += min(reach, 0)
        high += max(reach, 0)
    return array._offset + low, high - low + array.dtype.itemsize


def _staged(array: Array[Any], st: Stream) -> tuple[npt.NDArray[Any], npt.NDArray[Any], int]:
    """The span's bytes on the host, the view of them, and where the span starts."""
    start, nbytes = _span(array)
    raw = np.empty(nbytes, np.uint8)
    _copy(st, host_bytes(raw), 0, array._packed[0], start, nbytes)
    view: npt.NDArray[Any] = np.ndarray(
        array.shape, array.dtype.numpy, buffer=raw.data, offset=array._offset - start, strides=array.strides
    )
    return raw, view, start


def _runs(array: Array[Any]) -> tuple[int, list[int]] | None:
    """The bytes of a contiguous run, and where each run starts, in C order; None where there are very many."""
    nbytes, axis = array.dtype.itemsize, array.ndim
    while axis and (array.shape[axis - 1] == 1 or array.strides[axis - 1] == nbytes):
        axis -= 1
        nbytes *= array.shape[axis]
    outer = array.shape[:axis]
    if array.size * array.dtype.itemsize // nbytes > _MOST_RUNS:
        return None
    strides = array.strides[:axis]
    starts = [
        array._offset + sum(i * stride for i, stride in zip(index, strides, strict=True))
        for index in np.ndindex(*outer)
    ]
    return nbytes, starts


def _read_staged(array: Array[Any], st: Stream) -> npt.NDArray[Any]:
    """The elements in host memory of their own, which may be strided as the array is."""
    span = _span(array)[1]
    runs = _runs(array) if span > 4 * array.nbytes else None
    if runs is None:
        return _staged(array, st)[1]
    # far apart: what lies between is not worth copying
    nbytes, starts = runs
    host = np.empty(array.shape, array.dtype.numpy)
    raw = host_bytes(host)
    for number, start in enumerate(starts):
        _copy(st, raw, number * nbytes, array._packed[0], start, nbytes)
    return host


def _write_strided(array: Array[Any], host: npt.NDArray[Any], st: Stream) -> None:
    runs = _runs(array)
    if runs is None:
        # too many pieces: what lies between them is read, and written back as it was
        raw, view, start = _staged(array, st)
        view[...] = host
        _copy(st, array._packed[0], start, host_bytes(raw), 0, raw.nbytes)
        return
    nbytes, starts = runs
    source = host_bytes(np.ascontiguousarray(host))
    for number, start in enumerate(starts):
        _copy(st, array._packed[0], start, source, number * nbytes, nbytes)


def make_contiguous(array: Array[Any]) -> Array[Any]:
    """A contiguous copy of a strided view."""
    context = array.context
    result = context.empty(array.shape, array.dtype)
    if array.size:
        st = _writer(array, None)
        upload(result, _read_staged(components(array), st), None)
    return result


# --- device to device
def device_to_device(target: Array[Any], source: Array[Any], stream: Stream | None) -> None:
    """Copy one array into another, on one device or across."""
    if target.dtype is not source.dtype:
        raise TypeError(f"the source has dtype {source.dtype}, the target {target.dtype}; convert it first")
    if target.shape != source.shape:
        raise ValueError(f"the source has shape {source.shape}, the target {target.shape}")
    if target.context is not source.context and target.context.device is not source.context.device:
        _across(target, source, stream)
        return
    if target.context._state is not source.context._state and not _records_here(target, source):
        # each context's program sees its own stream alone, as with two devices
        st, source_st = _writer(target, stream), _writer(source, None)
        st._follow(source_st)
        _within_device(target, source, st)
        source_st._follow(st)
        return
    st = _writer(target, stream)
    if (
        target.size
        and target._sig.contiguous
        and source._sig.contiguous
        and source._block is not target._block
    ):
        src = source._block
        if src.home is not st._timeline:
            source._block_alive().record_use(st)
        _copy(
            st, target._packed[0], target._offset, source._packed[0], source._offset, target.nbytes, target, source
        )  # fmt: skip
        return
    _within_device(target, source, st)


def _records_here(*arrays: Array[Any]) -> bool:
    """Whether this thread records a graph in the context of one of them."""
    return any(get_ident() in array.context._state.recorders for array in arrays)


def _within_device(target: Array[Any], source: Array[Any], st: Stream) -> None:
    """Copy between arrays of one device in the order of a stream that the target was taken for."""
    src = source._block
    if src.home is not st._timeline:
        source._block_alive().record_use(st)
    if not target.size:
        return
    if not (target._sig.contiguous and source._sig.contiguous):
        # a copy of its own: writing may stage the target's bytes, which may be the source's too
        upload(target, np.array(_read_staged(components(source), st)), st)
        return
    if src is target._block and abs(target._offset - source._offset) < target.nbytes:
        if target._offset == source._offset and st._recorder() is None:
            return  # a graph's names may come to stand for two arrays
        # overlapping: through memory of its own, all in the order of the stream
        between = source.context.empty(source.shape, source.dtype)
        between._block.record_use(st)
        _copy(st, between._packed[0], 0, source._packed[0], source._offset, source.nbytes, between, source)
        _copy(st, target._packed[0], target._offset, between._packed[0], 0, target.nbytes, target, between)
        between.free()
        return
    _copy(
        st,
        target._packed[0],
        target._offset,
        source._packed[0],
        source._offset,
        target.nbytes,
        target,
        source,
    )


def _across(target: Array[Any], source: Array[Any], stream: Stream | None) -> None:
    """Between devices: directly where that is right, else through the host."""
    from gpucore.runtime import peer

    for array in (target, source):
        recorder = array.context._state.recorders.get(get_ident())
        if recorder is not None:
            recorder.refuse(
                "a copy between devices",
                "a graph is of one device: copy to pinned memory, and from there on the other device",
            )
    there, here = target.context.device, source.context.device
    st = _writer(target, stream if stream is not None and stream._state.device is there else None)
    source_st = _writer(source, stream if stream is not None and stream._state.device is here else None)
    if not target.size:
        return
    if target._sig.contiguous and source._sig.contiguous:
        peer.copy_bytes(
            target._packed[0], target._offset, st, source._packed[0], source._offset, source_st, target.nbytes
        )
        return
    upload(target, _read_staged(source, source_st), st)


def to_context(array: Array[Any], context: Context, stream: Stream | None) -> Array[Any]:
    """A copy in another context."""
    result = context.empty(array.shape, array.dtype)
    device_to_device(result, array, stream)
    return result


# --- fill
def fill(array: Array[Any], value: Any, stream: Stream | None) -> None:
    """Set every element."""
    dtype = array.dtype
    if isinstance(dtype, RecordType):
        fill_records(array, value, stream)
        return
    if not isinstance(value, (int, float, np.generic, np.ndarray, numbers.Real)):
        raise TypeError(f"fill() takes a number, not {type(value).__name__}: {value!r}")
    if isinstance(value, (np.generic, np.ndarray)) and not is_real(value.dtype):
        raise TypeError(f"fill() takes a real number, not {value!r}")
    pattern = scalar_bytes(value, dtype)
    st = _writer(array, stream)
    if not array.size:
        return
    if not array._sig.contiguous:
        _write_strided(array, np.broadcast_to(np.frombuffer(pattern, dtype.numpy), array.shape), st)
        return
    state = st._state
    if state.recorders:
        recorder = state.recorders.get(get_ident())
        if recorder is not None:
            if hasattr(value, "graph_name"):
                recorder.refuse(f"a fill with {value.graph_name!r} of the graph", "let a kernel store it")
            recorder.fill(st, array._packed[0], array._offset, array.nbytes, pattern, array)
            return
    device = state.device
    try:
        state.hooks.fill(device._handle, array._packed[0], array._offset, array.nbytes, pattern, st._handle)
    except Exception as error:
        device._judge(state.hooks.fill, error)
        raise


__all__ = ["copy_pinned", "device_to_device", "download", "fill", "upload"]
