"""Kernels with a launch shape: called, bound, pickled.

Calling one is calling the launch function of its launcher: the class of a configured kernel is made by the launcher of its last
launch, with that function as its ``__call__``. A class is the only place where Python looks for it, and with a function in
between, which hands the arguments on, a launch with one argument takes 1.4 times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from gpucore.errors import USER_ERRORS, DeviceLostError, LaunchError, without_internals
from gpucore.launch.calls import bind_arguments, nothing, record_use
from gpucore.launch.shapes import ShapeKind, shape_kind
from gpucore.runtime import ProcessBound
from gpucore.runtime.array import Array
from gpucore.runtime.stream import Stream

if TYPE_CHECKING:
    import numpy.typing as npt

    from gpucore.launch.calls import Call
    from gpucore.launch.explain import AccessCheck
    from gpucore.launch.in_turn import Turns
    from gpucore.launch.kernel import Kernel
    from gpucore.launch.launcher import Launcher

# a kernel's parameters, for type checkers; any where nothing says
if TYPE_CHECKING:
    from typing_extensions import ParamSpec

    P = ParamSpec("P", default=...)
else:
    from typing import ParamSpec

    P = ParamSpec("P")

__all__ = ["BoundLaunch", "ConfiguredKernel", "P", "StreamLaunch"]

_MOST_OTHERS = 8


class _OfTheKernel:
    """A method of kernels that configured ones have not.

    Not ``__getattr__``, with which Python looks up every attribute slowly, those of a launch too.
    """

    def __init__(self, arguments: str) -> None:
        self._arguments = arguments

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, configured: ConfiguredKernel[Any] | None, owner: type[Any]) -> Any:
        if configured is None:
            return self
        raise AttributeError(
            f"a configured launch has no attribute {self._name!r}; of the kernel it is "
            f"{configured.kernel.__name__}.{self._name}{self._arguments}",
            name=self._name,
            obj=configured,
        )


class ConfiguredKernel(Generic[P]):
    """A kernel with its launch shape: call it with the arguments, or ``bind`` them."""

    __slots__ = (
        "_others", "_overlapping", "_prepared", "_prepared_on_stream", "_repeated", "_stream_class", "_turns",
        "block", "grid", "kernel", "shape",
    )  # fmt: skip

    def __init__(
        self, kernel: Kernel[P], grid: tuple[int, ...], block: tuple[int, ...], shape: tuple[int, ...] | None
    ) -> None:
        self.kernel = kernel
        self.grid = grid
        self.block = block
        self.shape = shape
        # what the launchers of the last launches have prepared for this shape; see gpucore.launch.launch_function
        self._prepared: tuple[Any, ...] = ()
        self._prepared_on_stream: tuple[Any, ...] = ()
        self._repeated = False  # whether the last launch had the arguments of the one before
        self._stream_class: type[Any] = StreamLaunch
        self._others: dict[Launcher, tuple[Any, ...]] | None = None
        self._overlapping: dict[Any, Any] | None = None
        self._turns: Turns | None = None

    def __repr__(self) -> str:
        shape = f"over {self.shape}" if self.shape is not None else f"grid {self.grid}, block {self.block}"
        return f"<{self.kernel.__name__}, {shape}>"

    def __dir__(self) -> list[str]:
        inside = {"alternates", "keep", "kind", "prepared_by", "remember", "take_turns", "use"}
        return [name for name in super().__dir__() if name not in inside]

    def __reduce__(self) -> tuple[Any, ...]:
        if self.shape is not None:
            return (type(self.kernel).over, (self.kernel, self.shape))
        return (type(self.kernel).__getitem__, (self.kernel, (self.grid, self.block)))

    ir = _OfTheKernel("(*args)")
    source = _OfTheKernel("(target, *args)")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Enqueue the launch.

        Raises
        ------
        LaunchError
            Naming the kernel and the argument that does not fit.
        """
        from gpucore.launch.argument_checks import relaunch

        try:
            relaunch(self, None, self.kernel.arrange(args, kwargs))
        except USER_ERRORS as error:
            raise error.with_traceback(None) from None

    @without_internals
    def bind(self, *args: P.args, **kwargs: P.kwargs) -> BoundLaunch:
        """Freeze the arguments; the result launches with them again and again."""
        return bind_launch(self, None, self.kernel.arrange(args, kwargs))

    @without_internals
    def interpret(
        self, *args: Any, subgroup_size: int = 32, detect_races: bool = True, **kwargs: Any
    ) -> None:
        """Run in place with the interpreter that defines what a kernel means.

        Parameters
        ----------
        *args, **kwargs
            The arguments of a launch; arrays are ndarrays or Arrays. Arrays are copied to the host, and those that
            the kernel writes are copied back.
        subgroup_size : int, optional
            Threads of a subgroup.
        detect_races : bool, optional
            Whether two accesses to one element without order between them are an error.

        Raises
        ------
        LaunchError
            Where an argument does not fit.
        DataRaceError, BarrierDivergenceError, KernelBoundsError, KernelAssertionError, KernelDivisionError
        """
        from gpucore.launch.explain import interpret_configured

        arranged = self.kernel.arrange(args, kwargs)
        interpret_configured(self, arranged, subgroup_size=subgroup_size, detect_races=detect_races)

    @without_internals
    def run(self, /, *, on: str = "cpu", **arguments: Any) -> dict[str, npt.NDArray[Any]]:
        """Run once on ndarrays, anywhere: open the device, copy, launch, copy back.

        Parameters
        ----------
        on : str, optional
            ``"interpret"`` for the interpreter, or a backend selector as :class:`gpucore.Context` takes.
        **arguments
            The kernel's arguments by name: ndarrays (or Arrays, which are copied) and numbers. They stay as they are.

        Returns
        -------
        dict[str, ndarray]
            The arrays that the kernel writes, by name, in the order of its parameters.

        Raises
        ------
        LaunchError
            Where an argument is missing, unknown or does not fit.
        BackendNotFoundError, BackendUnavailableError
            Where ``on`` names no device.
        """
        from gpucore.launch.explain import run_on_ndarrays

        return run_on_ndarrays(self, on, arguments)

    @without_internals
    def checks(self, *args: Any, **kwargs: Any) -> list[AccessCheck]:
        """Where each access of a launch with these arguments is checked, under ``check="auto"``.

        Parameters
        ----------
        *args, **kwargs
            The arguments of a launch; arrays may be ndarrays too. Nothing runs.

        Returns
        -------
        list[AccessCheck]
            In source order, with ``array``, ``line``, ``where`` (``"proven"``, ``"launch"`` or ``"device"``) and ``reason``.

        Raises
        ------
        LaunchError
            Where an argument does not fit.
        """
        from gpucore.launch.explain import access_checks

        return access_checks(self, self.kernel.arrange(args, kwargs))

    @property
    def kind(self) -> ShapeKind:
        """What launchers distinguish."""
        extents = self.grid if self.shape is None else self.shape
        return shape_kind(len(extents), self.shape is not None, 0 in extents)

    def prepared_by(self, launcher: Launcher) -> tuple[Any, ...]:
        """What a launcher has prepared for this shape."""
        now = self._prepared_on_stream if launcher.on_stream else self._prepared
        if now and now[0] is launcher:
            return now
        return (self._others or {}).get(launcher) or launcher.unprepared

    def use(self, launcher: Launcher) -> tuple[Any, ...]:
        """Make a launcher that of the next launch; what it has prepared for this shape."""
        now = self._prepared_on_stream if launcher.on_stream else self._prepared
        prepared = self.prepared_by(launcher)
        if now and now is not prepared:
            self.remember(now)
        if self._others:
            self._others.pop(launcher, None)
        if launcher.on_stream:
            self._prepared_on_stream = prepared
            self._stream_class = launcher.launch_class
        else:
            self._prepared = prepared
            self.__class__ = launcher.launch_class
        return prepared

    def alternates(self, launcher: Launcher) -> bool:
        """Whether a launcher comes again after one of another context."""
        now = self._prepared
        return bool(now and now[0].state is not launcher.state and launcher in (self._others or {}))

    def take_turns(self, args: tuple[Any, ...]) -> None:
        """From now on remember a launch for each of several contexts, which alternate."""
        by_position = [parameter for parameter in self.kernel.parameters if not parameter.keyword_only]
        for number, arg in enumerate(args[: len(by_position)]):
            if type(arg) is Array:
                from gpucore.launch.in_turn import Turns

                self._turns = Turns(number, len(by_position))
                self.__class__ = self._turns.launch_class
                return

    def keep(self, prepared: tuple[Any, ...]) -> None:
        """Keep what a launcher has prepared for this shape, without making it that of the next launch."""
        launcher = prepared[0]
        if self._prepared and self._prepared[0] is launcher:
            self._prepared = prepared
        elif self._prepared_on_stream and self._prepared_on_stream[0] is launcher:
            self._prepared_on_stream = prepared
        else:
            self.remember(prepared)

    def remember(self, prepared: tuple[Any, ...]) -> None:
        """Keep what a launcher has prepared for this shape until its types come again."""
        others = self._others
        if others is None:
            others = self._others = {}
        others[prepared[0]] = prepared
        for launcher in list(others):
            if launcher.state.closed or len(others) > _MOST_OTHERS:
                others.pop(launcher, None)


class StreamLaunch(ConfiguredKernel[P]):
    """A configured kernel on one stream."""

    __slots__ = ("_base", "_stream")

    def __init__(self, base: ConfiguredKernel[P], stream: Stream) -> None:
        self._base = base
        self._stream = stream

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            f"this launch of {self.kernel.__name__} has a stream, which is a queue of this process: pickle "
            "kernel[grid, block] without it"
        )

    # of the kernel that it is on a stream
    block = property(lambda self: self._base.block)
    grid = property(lambda self: self._base.grid)
    kernel = property(lambda self: self._base.kernel)
    shape = property(lambda self: self._base.shape)

    def interpret(self, *args: Any, **options: Any) -> None:
        """Refused: the interpreter has no streams."""
        raise self._no_stream("interpret")

    def run(self, /, *, on: str = "cpu", **arguments: Any) -> dict[str, npt.NDArray[Any]]:
        """Refused: a stream belongs to one device, and ``run`` opens the one that it is told."""
        raise self._no_stream("run")

    def _no_stream(self, method: str) -> LaunchError:
        return LaunchError(
            f"{self.kernel.__name__}: {method} takes no stream; write .over(shape).{method}(...) or "
            f"[grid, block].{method}(...)"
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Enqueue the launch on the stream."""
        from gpucore.launch.argument_checks import relaunch

        try:
            relaunch(self._base, self._stream, self.kernel.arrange(args, kwargs))
            self.__class__ = self._base._stream_class
        except USER_ERRORS as error:
            raise error.with_traceback(None) from None

    @without_internals
    def bind(self, *args: P.args, **kwargs: P.kwargs) -> BoundLaunch:
        """Freeze the arguments; the result launches on this stream, where none is named."""
        return bind_launch(self._base, self._stream, self.kernel.arrange(args, kwargs))


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
    from gpucore.launch.argument_checks import find_launcher
    from gpucore.runtime.graph_nodes import scalar_name

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
