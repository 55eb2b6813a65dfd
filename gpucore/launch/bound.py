"""Bound launches: arguments checked and packed once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpucore.errors import DeviceLostError, LaunchError
from gpucore.launch.argument_checks import find_launcher
from gpucore.launch.calls import bind_arguments, nothing
from gpucore.launch.launcher import record_use
from gpucore.runtime.array import Array
from gpucore.runtime.graph_nodes import scalar_name
from gpucore.runtime.handles import ProcessBound
from gpucore.runtime.stream import Stream

if TYPE_CHECKING:
    from gpucore.launch.calls import Call
    from gpucore.launch.configured import ConfiguredKernel
    from gpucore.launch.launcher import Launcher

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
        "_launcher",
        "_name",
        "_state",
        "_stream",
        "_unbound",
        "_version",
    )

    def __init__(
        self, name: str, launcher: Launcher, stream: Stream, arrays: tuple[Array[Any], ...], call: Call,
        unbound: tuple[Call, tuple[Any, ...]],
    ) -> None:  # fmt: skip
        state = launcher.state
        self._name = name
        self._launcher = launcher  # keeps the program loaded
        self._state = state
        self._device = state.device
        self._stream = stream
        self._arrays = arrays
        self._call = call
        self._unbound = (
            unbound  # the call and its packed arguments, of which a backend builds the node of a graph
        )
        self._handle = self._target(stream)
        home = all(array._block.home is stream._timeline for array in arrays)
        # -1 never matches: another stream's use of the memory is recorded anew each time
        # and so are launches that somebody looks at
        self._version = state.version if home and not state.observation.active else -1

    def _target(self, stream: Stream) -> Any:
        """What the call takes: the stream where there is an error record, which goes with it, else the backend's handle."""
        return stream if self._launcher.recorded else stream._handle

    def __repr__(self) -> str:
        return f"<BoundLaunch of {self._name} on {self._device.backend}:{self._device.ordinal}>"

    def __call__(self, stream: Stream | None = None) -> None:
        """Enqueue the launch, on its own stream or on ``stream``."""
        if stream is None and self._version == self._state.version and self._device._dead is None:
            handle, call = self._handle, self._call
        else:
            handle, call = self._slow(stream)
        try:
            call(handle)
        except DeviceLostError as error:
            self._device._recent.append(self._name)
            raise self._device._lose(error) from error
        except Exception as error:
            self._device._judge_launch(self._name, error)
            raise

    def _slow(self, stream: Stream | None) -> tuple[Any, Call]:
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
        observation = state.observation
        for array in self._arrays:
            block = array._block
            if block.home is not target._timeline:
                home = False
                record_use(block, target, f"{self._name}: a bound array")
        if observation.active and self._call is not nothing:
            return target, self._observed
        if home and stream is None:
            self._version = version
        return self._target(target), self._call

    def _observed(self, stream: Stream) -> None:
        """The launch by way of who looks at it."""
        call, packed = self._unbound
        self._state.observation.launch(
            self._name, stream, call, self._target(stream), packed, self._launcher, None, self._arrays
        )


def bind_launch(configured: ConfiguredKernel, stream: Stream | None, args: tuple[Any, ...]) -> BoundLaunch:
    """Resolve, check and pack the arguments once."""
    for arg in args:
        name = scalar_name(arg)
        if name is not None:
            raise LaunchError(
                f"{configured.kernel.__name__}: a bound launch packs its arguments, so that {name!r} of the graph could not "
                "change in it; launch the kernel itself while recording"
            )
    launcher = find_launcher(configured, stream, args)
    state = launcher.state
    prepared = configured.prepared_by(launcher)
    if prepared[1] is None and not launcher.kind.is_empty:
        # where conditions decide, for what they most likely say
        prepared = (launcher, launcher.prepare(configured), *prepared[2:])
        configured.keep(prepared)
    if stream is None:
        call, packed = launcher.pack(configured, prepared, *args)
        target = state.default_stream
    else:
        call, packed = launcher.pack(configured, prepared, stream, *args)
        target = stream
    arrays = tuple(arg for arg in args if type(arg) is Array)
    call = call or nothing
    bound = nothing if call is nothing else bind_arguments(call, *packed)
    return BoundLaunch(configured.kernel.__name__, launcher, target, arrays, bound, (call, packed))
