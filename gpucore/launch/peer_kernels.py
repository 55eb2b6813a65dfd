"""Work on the memory of several devices.

To let a stream wait for another device takes the driver as long as half a launch.  Where one device writes into the memory of
all, again and again, most of these waits are for nothing: the next one covers them.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

import gpucore.lang.builtins as gc
from gpucore.errors import DeviceError, DeviceLostError, NotSupportedError, OutOfMemoryError
from gpucore.ir.dtypes import u32
from gpucore.lang.capture import func
from gpucore.lang.types import ArrayType
from gpucore.launch.calls import preparer
from gpucore.launch.kernel import Kernel, kernel
from gpucore.launch.shapes import LaunchShapes
from gpucore.runtime import peer
from gpucore.runtime.stream import Stream

if TYPE_CHECKING:
    import numpy.typing as npt

    from gpucore.hookspecs import StreamHandle
    from gpucore.ir.dtypes import DType
    from gpucore.launch.calls import Call
    from gpucore.runtime.context import Context
    from gpucore.runtime.device import Device
    from gpucore.runtime.state import ContextState

__all__ = ["FOLDS", "FOLDS_FOR_ALL", "MOST_PARTS", "FollowingStream", "prepare_call", "reaches"]


log = logging.getLogger("gpucore")

_SMALL = 2**31


@kernel
def _copy(out, a):  # type: ignore[no-untyped-def]
    i = gc.global_id(0)
    out[i] = a[i]


def prepare_call(context: Context, kernel: Kernel, dtype: DType, size: int, *, noalias: bool = True) -> Call:
    """The backend's call of a kernel on arrays of one axis, each with ``size`` elements of ``dtype``, launched over them.

    The arrays are given packed, as allocation, byte offset and size; after the last comes the size once more, which is the
    range. Allocations of a device that ``context``'s reaches are as good as its own: what launch functions check of arrays,
    whose they are above all, has to be known here.
    """
    state = context._state
    types = (ArrayType(dtype, 1),) * len(kernel.parameters)
    specialization = kernel.kernel_source.specialize(types, 1, "strict", state.device._target)
    shapes = LaunchShapes(
        kernel.__name__, specialization, state.device, check=False, small=size < _SMALL, is_range=True
    )
    shape = shapes.of((), (), (size,))
    program = specialization.program(state, shapes.variant(shape, noalias))
    return preparer(state, program)(shape.config)


# --- what was found -----------------------------------------------------------------------------------
class _Reach:
    """Which devices were seen to use which others' memory in kernels.

    Attributes
    ----------
    enabled : WeakKeyDictionary
        By device and other device as they are open: whether the one may use the other's memory, and the devices' generations,
        since access ends where one of them is reset.
    found : dict
        The same by what tells devices from others, which is kept when they are closed.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.enabled: weakref.WeakKeyDictionary[
            Device, weakref.WeakKeyDictionary[Device, tuple[bool, int, int]]
        ] = weakref.WeakKeyDictionary()
        self.found: dict[tuple[object, ...], bool] = {}


_reach = _Reach()


def reaches(here: Context, there: Context) -> bool:
    """Whether kernels on the one device may use the other's memory: tried once a pair, with patterns that are compared."""
    one, other = here.device, there.device
    if one is other:
        return True
    if not all("peer_memory" in device.capabilities for device in (one, other)):
        return False
    with _reach.lock:
        table = _reach.enabled.setdefault(one, weakref.WeakKeyDictionary())
        generations = one._generation, other._generation
        enabled, *known = table.get(other, (False,))
        if known != [*generations]:
            try:
                enabled = _enable(here, there)
            except OutOfMemoryError:
                return False  # this time
            table[other] = enabled, *generations
        return enabled


def _enable(here: Context, there: Context) -> bool:
    """Let an open device use another's memory, where that was seen to be right or is now."""
    state, one, other = here._state, here.device, there.device
    if peer.access(state, there._state).kind != "direct":
        return False
    key = (peer.identity(one), peer.identity(other), id(state.hooks.plugin))
    if _reach.found.get(key) is False:
        return False
    try:
        state.call(state.hooks.enable_peer_access, one._handle, other._handle)
        if key not in _reach.found:
            _reach.found[key] = _try(here, there)
        return _reach.found[key]
    except (DeviceLostError, OutOfMemoryError):
        raise
    except (DeviceError, NotSupportedError) as error:
        log.warning(
            "kernels on %s cannot use the memory of %s: %s", peer.of_device(one), peer.of_device(other), error
        )
        _reach.found[key] = False
        return False


def _try(here: Context, there: Context) -> bool:
    """Copy a pattern from the other device's memory, and another into it, by a kernel.

    In memory that no pool keeps, and without a look at what the program's own kernels found.
    """
    state, other = here._state, there._state
    seed = [here.device.ordinal, there.device.ordinal, 1]
    pattern = np.random.default_rng(seed).integers(0, 2**32, peer.PATTERN_BYTES // 4, np.uint32)
    back = pattern[::-1].copy()
    with contextlib.ExitStack() as stack:
        with_pattern, written = (peer.borrow(other, stack) for _ in range(2))
        result, with_back = (peer.borrow(state, stack) for _ in range(2))
        for owner, allocation, content in (
            (other, with_pattern, pattern), (other, written, pattern), (state, result, back), (state, with_back, back)
        ):  # fmt: skip
            peer.move(owner, allocation, memoryview(content).cast("B"))
        for stream in (other.default_stream, state.default_stream):
            stream._wait_idle()
        call = prepare_call(here, _copy, u32, pattern.size)
        stream = state.default_stream
        for target, source in ((result, with_pattern), (written, with_back)):
            call(stream._handle, target, 0, pattern.size, source, 0, pattern.size, pattern.size)
        stream._wait_idle()
        return _holds(state, result, pattern) and _holds(other, written, back)


def _holds(state: ContextState, allocation: Any, expected: npt.NDArray[np.uint32]) -> bool:
    found = np.zeros_like(expected)
    handle = state.default_stream._handle
    state.copy(state.device._handle, memoryview(found).cast("B"), 0, allocation, 0, found.nbytes, handle)
    return bool((found == expected).all())


MOST_PARTS = 4
"""Arrays that one launch combines."""


def _folds(combine: Callable[[float, float], float]) -> dict[int, Kernel]:
    @kernel
    def fold2(out, a, b):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        out[i] = combine(a[i], b[i])

    @kernel
    def fold3(out, a, b, c):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        out[i] = combine(combine(a[i], b[i]), c[i])

    @kernel
    def fold4(out, a, b, c, d):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        out[i] = combine(combine(combine(a[i], b[i]), c[i]), d[i])

    return {2: fold2, 3: fold3, 4: fold4}


def _folds_for_all(combine: Callable[[float, float], float]) -> dict[int, Kernel]:
    @kernel
    def fold2_for_all(out, out1, a, b):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        combined = combine(a[i], b[i])
        out[i] = combined
        out1[i] = combined

    @kernel
    def fold3_for_all(out, out1, out2, a, b, c):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        combined = combine(combine(a[i], b[i]), c[i])
        out[i] = combined
        out1[i] = combined
        out2[i] = combined

    @kernel
    def fold4_for_all(out, out1, out2, out3, a, b, c, d):  # type: ignore[no-untyped-def]
        i = gc.global_id(0)
        combined = combine(combine(combine(a[i], b[i]), c[i]), d[i])
        out[i] = combined
        out1[i] = combined
        out2[i] = combined
        out3[i] = combined

    return {2: fold2_for_all, 3: fold3_for_all, 4: fold4_for_all}


@func
def _sum(a, b):  # type: ignore[no-untyped-def]
    return a + b


_COMBINE: dict[str, Callable[[float, float], float]] = {"sum": _sum, "min": gc.min, "max": gc.max}

FOLDS = {name: _folds(combine) for name, combine in _COMBINE.items()}
"""By operation and number of arrays: kernels ``(out, a, b, ...)`` that combine them from left to right."""

FOLDS_FOR_ALL = {name: _folds_for_all(combine) for name, combine in _COMBINE.items()}
"""The same with as many results as arrays: kernels ``(out, out1, ..., a, b, ...)``."""


class FollowingStream(Stream):
    """A stream of the context's whose handle is given out only after it has been made to wait for its leader.

    Everything that is done with a stream needs its handle, so nobody sees it before the leader's work that it comes after.  Its
    context keeps it: a wait that is due is not lost with the group.

    Parameters
    ----------
    leader : Stream
        Of any device.
    """

    __slots__ = ("_bare", "_due", "_leader", "_met")

    _bare: StreamHandle

    def __init__(self, context: Context, leader: Stream) -> None:
        state = context._state
        state.check()
        self._leader = leader
        self._due = self._met = 0
        handle = state.new_stream_handle(0)
        with state.lock:
            super().__init__(state, handle, 0, None)
            state.kept_streams.append(self)

    def follow_leader(self) -> None:
        """Come after all that the leader was given so far."""
        self._due += 1

    @property
    def _handle(self) -> StreamHandle:
        due = self._due
        if due != self._met:
            self._meet()
            # another thread may do the same, and yet another let more be due: too many waits do no harm
            self._met = due
        return self._bare

    @_handle.setter
    def _handle(self, handle: StreamHandle) -> None:
        self._bare = handle

    def _meet(self) -> None:
        leader, state = self._leader, self._state
        owner = leader._state
        if self._why is not None or leader._why is not None:
            return  # ended streams were waited for
        if owner.device._dead is not None and owner.device is not state.device:
            return  # what a lost device had to do will never be done
        event = owner.take_event()
        try:
            owner.record_event(owner.device._handle, event, leader._handle)
            if all("peer_events" in device.capabilities for device in (owner.device, state.device)):
                state.wait_event(state.device._handle, self._bare, event)
            else:
                owner.synchronize_event(owner.device._handle, event)
        finally:
            owner.give_event(event)
