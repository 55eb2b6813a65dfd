"""Bound launches: arguments checked and packed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpucore.errors import DeviceLostError, LaunchError
from gpucore.launch.launcher import generate, record_use
from gpucore.launch.resolve import classify, find_state, make_plan
from gpucore.runtime.array import Array
from gpucore.runtime.process_bound import ProcessBound
from gpucore.runtime.stream import Stream

if TYPE_CHECKING:
    from gpucore.launch.kernel import ConfiguredKernel
    from gpucore.runtime.error_records import Record
    from gpucore.runtime.state import ContextState

__all__ = ["BoundLaunch", "bind_launch"]


class BoundLaunch(ProcessBound):
    """A launch with its arguments frozen: calling it costs the driver call.

    Addresses, shapes, scalars and captured constants stay as they were at ``bind``; contents of arrays may
    change. It keeps its arrays alive.
    """

    __slots__ = (
        "_arrays",
        "_call",
        "_device",
        "_handle",
        "_kept",
        "_name",
        "_pinned",
        "_state",
        "_stream",
        "_version",
    )

    def __init__(
        self, name: str, state: ContextState, stream: Stream, arrays: tuple[Array[Any], ...],
        call: Callable[[Any], Any] | None, pinned: bool, kept: object,
    ) -> None:  # fmt: skip
        self._kept = kept  # the program, which would be unloaded once its kernel is dropped
        self._name = name
        self._state = state
        self._device = state.device
        self._stream = stream
        self._arrays = arrays
        self._call = call
        self._pinned = pinned
        self._handle = stream._handle
        home = all(array._block.home is stream for array in arrays)
        # -1 never matches: another stream's use of the memory is recorded anew each time
        self._version = state.version if home else -1

    def __repr__(self) -> str:
        return f"<BoundLaunch of {self._name} on {self._device.backend}:{self._device.ordinal}>"

    def __call__(self, stream: Stream | None = None) -> None:
        """Enqueue the launch, on its own stream or on ``stream``."""
        device = self._device
        if stream is None and self._version == self._state.version and device._dead is None:
            handle = self._handle
        else:
            handle = self._slow(stream)
        if self._call is None:
            return
        try:
            self._call(handle)
        except DeviceLostError as error:
            device._recent.append(self._name)
            raise device._lose(error) from error

    def _slow(self, stream: Stream | None) -> Any:
        state = self._state
        state.check()
        target = self._stream if stream is None else stream
        if not isinstance(target, Stream):
            raise LaunchError(f"{self._name}: a bound launch runs on a Stream, not on {target!r}")
        target._check()
        if target._state.device is not self._device:
            raise LaunchError(f"{self._name}: the stream belongs to another device than the arrays")
        home = True
        version = state.version
        for array in self._arrays:
            block = array._block
            if block.home is not target:
                home = False
                record_use(block, target, f"{self._name}: a bound array")
        if self._pinned and target is not self._stream:
            raise LaunchError(f"{self._name}: a checked launch that was bound to one stream runs on that one")
        if home and stream is None:
            self._version = version
        return target._handle


def bind_launch(configured: ConfiguredKernel, stream: Stream | None, args: tuple[Any, ...]) -> BoundLaunch:
    """Resolve, check and pack the arguments once."""
    kernel = configured.kernel
    kernel.check_count(args)
    state = find_state(kernel, stream, args)
    state.check()
    types, signatures, _ = classify(kernel, args, state)
    plan = make_plan(configured, stream, state, types, signatures, kernel.kernel_source.constants())
    pack = generate(plan, configured, pack=True)
    call, slots = pack(*args, sure=True) if stream is None else pack(stream, *args, sure=True)
    target = state.default_stream if stream is None else stream
    arrays = tuple(arg for arg in args if type(arg) is Array)
    bound: Callable[[Any], Any] | None
    if call is None:
        bound = None
    elif hasattr(call, "bind"):
        bound = call.bind(*slots)
    else:

        def bound(handle: Any) -> None:
            call(handle, *slots)

    pinned = plan.program is not None and any(param.name == "$error" for param in plan.program.params)
    if pinned and bound is not None:
        assert plan.program is not None
        bound = _recorded(bound, state.error_record(target, plan.program))
    return BoundLaunch(kernel.__name__, state, target, arrays, bound, pinned, pack)


def _recorded(call: Callable[[Any], Any], record: Record) -> Callable[[Any], Any]:
    def recorded(handle: Any) -> None:
        with record:
            call(handle)

    return recorded
