"""Kernels as a user holds them: configured with a launch shape, called, bound, looked into."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, overload

from gpucore.errors import USER_ERRORS, KernelTypeError, LaunchError, without_internals
from gpucore.lang.diagnostics import plural
from gpucore.lang.types import REQUIRED, Parameter
from gpucore.launch.kernel_source import KernelSource, Specialization
from gpucore.runtime.stream import Stream

if TYPE_CHECKING:
    from gpucore.ir.nodes import Module as IRModule
    from gpucore.launch.bound import BoundLaunch
    from gpucore.launch.specialization import LanguageSource

# a kernel's parameters, for type checkers; any where nothing says
if TYPE_CHECKING:
    from typing_extensions import ParamSpec

    P = ParamSpec("P", default=...)
else:
    from typing import ParamSpec

    P = ParamSpec("P")

__all__ = ["ConfiguredKernel", "Kernel", "KernelSource", "Parameter", "Specialization", "kernel"]

Math = Literal["strict", "fast"]


class Kernel(Generic[P]):
    """A function that runs on devices, one thread for each point of a grid; made by ``gpucore.kernel``.

    ``kernel[grid, block](...)`` launches a grid of blocks, ``kernel.over(shape)(...)`` one thread an index of
    a shape.
    """

    def __init__(
        self,
        front: KernelSource,
        name: str,
        *,
        math: Math | None = None,
        subgroup: int | None = None,
        function: Any = None,
    ) -> None:
        if function is not None:
            functools.update_wrapper(self, function)
        self.__name__ = name
        self.kernel_source = front
        self.math: Math | None = math
        self.subgroup = subgroup
        self._configured: dict[Any, ConfiguredKernel[P]] = {}
        self._ranges: dict[Any, ConfiguredKernel[P]] = {}

    def __repr__(self) -> str:
        return f"<Kernel {self.__name__}({', '.join(p.name for p in self.parameters)})>"

    def __reduce__(self) -> str:
        # by reference, as functions are: the other process has the same module
        qualified = getattr(self, "__qualname__", self.__name__)
        if "<locals>" in qualified or not hasattr(self, "__wrapped__"):
            raise TypeError(
                f"the kernel {self.__name__} cannot be pickled: the other process finds a kernel by its module and "
                "name, so define it at the top level of a module"
            )
        return qualified

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        name = self.__name__
        raise LaunchError(
            f"{name} is a kernel: launch it with {name}[grid, block](...) or {name}.over(shape)(...)"
        )

    @functools.cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters, in order."""
        return self.kernel_source.parameters

    # --- launching
    def __getitem__(self, config: Any) -> ConfiguredKernel[P]:
        """``kernel[grid, block]`` or ``kernel[grid, block, stream]``; ints or tuples in array order."""
        try:
            found = self._configured.get(config)
            if found is not None:
                # 2.0 and True are found under 2 and 1, but are no extents
                grid, block = config
                if type(grid) is int is type(block):
                    return found
                if len(grid) == 2:
                    (rows, columns), (height, width) = config
                    if type(rows) is int is type(columns) and type(height) is int is type(width):
                        return found
                if _is_plain(config):
                    return found
            elif type(config) is tuple and len(config) == 3 and type(config[2]) is Stream:
                grid, block, stream = config
                found = self._configured.get((grid, block))
                if found is not None and (type(grid) is int is type(block) or _is_plain((grid, block))):
                    return StreamKernel(found, stream)
        except TypeError:  # lists cannot be looked up
            pass
        return self._configure(config)

    def _configure(self, config: Any) -> ConfiguredKernel[P]:
        from gpucore.launch.resolve import as_axes

        name = self.__name__
        if not isinstance(config, tuple) or len(config) not in (2, 3):
            raise LaunchError(
                f"{name}[...] wants a grid and a block, and perhaps a stream: {name}[grid, block, stream]"
            )
        grid, block = as_axes(config[0], "grid", name), as_axes(config[1], "block", name)
        if len(grid) != len(block):
            raise LaunchError(f"{name}: the grid {grid} and the block {block} differ in their number of axes")
        if not 1 <= len(grid) <= 3:
            raise LaunchError(f"{name}: a grid has 1 to 3 axes, not {len(grid)}")
        if 0 in block:
            raise LaunchError(f"{name}: the block {block} has no threads")
        # a row of length one means the same as its only number, and shares everything with it
        found = self._remember(
            self._configured, (grid, block), lambda: ConfiguredKernel(self, grid, block, None)
        )
        if _is_plain(config[:2]):
            self._remember(self._configured, config[:2], lambda: found)
        if len(config) == 3 and config[2] is not None:
            return self._on_stream(found, config[2])
        return found

    def over(self, shape: int | Sequence[int], *, stream: Stream | None = None) -> ConfiguredKernel[P]:
        """One thread for each index of ``shape``; the block is chosen, threads past the shape do nothing."""
        try:
            found = self._ranges.get(shape)
        except (TypeError, ValueError):  # lists and ndarrays cannot be looked up
            found = None
        if found is None or not (type(shape) is int or _is_plain((shape,))):
            found = self._over(shape)
        return found if stream is None else self._on_stream(found, stream)

    def _over(self, shape: int | Sequence[int]) -> ConfiguredKernel[P]:
        from gpucore.launch.resolve import as_axes

        if hasattr(shape, "__gpucore_array__"):
            raise LaunchError(
                f"{self.__name__}: a range is an int or a tuple of ints; write .over(array.shape)"
            )
        if isinstance(shape, Sequence) or getattr(shape, "shape", ()) != ():
            shape = tuple(shape)  # type: ignore[arg-type]
        axes = as_axes(shape, "range", self.__name__)
        if not 1 <= len(axes) <= 4:
            raise LaunchError(f"{self.__name__}: a range has 1 to 4 axes, not {len(axes)}")
        found = self._remember(self._ranges, axes, lambda: ConfiguredKernel(self, (), (), axes))
        if type(shape) is int:
            self._remember(self._ranges, shape, lambda: found)
        return found

    @staticmethod
    def _remember(
        table: dict[Any, ConfiguredKernel[P]], key: Any, make: Callable[[], ConfiguredKernel[P]]
    ) -> ConfiguredKernel[P]:
        found = table.get(key)
        if found is None:
            while len(table) >= 512:
                table.pop(next(iter(table)), None)
            found = table.setdefault(key, make())
        return found

    def _on_stream(self, configured: ConfiguredKernel[P], stream: Any) -> ConfiguredKernel[P]:
        if not isinstance(stream, Stream):
            raise LaunchError(f"{self.__name__}: a launch's third setting is a Stream, not {stream!r}")
        return StreamKernel(configured, stream)

    def latest(self) -> ConfiguredKernel[P] | None:
        """The launch shape that was used last by a first launch, for explanations."""
        tables = (*self._configured.values(), *self._ranges.values())
        used = [configured for configured in tables if configured.functions]
        return used[-1] if used else None

    # --- arguments
    def check_count(self, args: tuple[Any, ...]) -> None:
        """Raise where the number of arguments is wrong."""
        if len(args) != len(self.parameters):
            names = ", ".join(parameter.name for parameter in self.parameters)
            raise LaunchError(
                f"{self.__name__} takes {len(self.parameters)} arguments ({names}), but {len(args)} "
                "were given"
            )

    @functools.cached_property
    def takes_named(self) -> bool:
        """Whether some argument is given by name only: then positions alone do not say what is what."""
        return any(parameter.keyword_only for parameter in self.parameters)

    def arrange(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Positional and named arguments and defaults as one tuple in the order of the parameters."""
        names = [parameter.name for parameter in self.parameters]
        if not kwargs and len(args) == len(names) and not self.takes_named:
            return args
        positional = [parameter.name for parameter in self.parameters if not parameter.keyword_only]
        if len(args) > len(positional):
            if self.takes_named:
                raise LaunchError(
                    f"{self.__name__} takes {plural(len(positional), 'argument')} by position, but {len(args)} were given; "
                    f"write {names[len(positional)]}=..."
                )
            self.check_count(args)
        values = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names:
                from gpucore._suggestions import did_you_mean

                raise LaunchError(f"{self.__name__} has no parameter {name!r}{did_you_mean(name, names)}")
            if name in values:
                raise LaunchError(f"{self.__name__}: the argument {name!r} is given twice")
            values[name] = value
        for parameter in self.parameters:
            if parameter.default is not REQUIRED:
                values.setdefault(parameter.name, parameter.default)
        missing = [name for name in names if name not in values]
        if missing and not kwargs and not self.takes_named:
            self.check_count(args)
        if missing:
            raise LaunchError(f"{self.__name__}: missing arguments: {', '.join(missing)}")
        return tuple(values[name] for name in names)

    # --- looking inside
    @property
    def portable(self) -> bool:
        """Whether every device gives the same bits; ``portability_note`` says why not."""
        return self._language().portability()[0]

    @property
    def portability_note(self) -> str:
        """Why the same bits are not promised; empty where they are."""
        return self._language().portability()[1]

    @without_internals
    def ir(self, *args: Any, ndim: int | None = None, **kwargs: Any) -> IRModule:
        """The typed IR for these arguments.

        Parameters
        ----------
        *args
            Arrays, ndarrays, numbers, or types as in annotations.
        ndim : int, optional
            Axes of the launch; without it the fewest that the kernel's ids need.
        """
        values = self.arrange(args, kwargs)
        return self._language().module(values, ndim, self.math or "strict")

    @without_internals
    def source(self, target: str, *args: Any) -> str:
        """What the renderer of the backend named ``target`` makes of the kernel; needs no device."""
        if not isinstance(target, str):
            raise TypeError(
                f"source() takes the name of a backend, such as 'cpu', and then the arguments; not a {type(target).__name__}"
            )
        return self._language().render(self, target, self.arrange(args, {}))

    @without_internals
    def interpret(
        self,
        grid: Any,
        block: Any,
        *args: Any,
        subgroup_size: int = 32,
        detect_races: bool = True,
        **kwargs: Any,
    ) -> None:
        """Run on ndarrays, in place, with the interpreter that defines what a kernel means.

        Arguments may be given by name, as in a launch.

        Raises
        ------
        DataRaceError, BarrierDivergenceError, KernelBoundsError, KernelAssertionError, KernelDivisionError
        """
        if any(hasattr(part, "__array_interface__") or isinstance(part, float) for part in (grid, block)):
            names = ", ".join(parameter.name for parameter in self.parameters)
            raise LaunchError(
                f"{self.__name__}.interpret wants the grid and the block before the arguments: "
                f"{self.__name__}.interpret(grid, block, {names})"
            )
        configured = self._configure((grid, block))
        args = self.arrange(args, kwargs)
        self._language().interpret(
            self,
            configured.grid,
            configured.block,
            args,
            subgroup_size=subgroup_size,
            detect_races=detect_races,
        )

    def _language(self) -> LanguageSource:
        from gpucore.launch.specialization import LanguageSource

        if not isinstance(self.kernel_source, LanguageSource):
            raise LaunchError(f"{self.__name__} is native code; there is no IR of it")
        return self.kernel_source


def _is_plain(config: tuple[Any, ...]) -> bool:
    """Whether a configuration is hashable by value: ints and tuples of ints."""
    return all(
        type(part) is int or (type(part) is tuple and all(type(axis) is int for axis in part))
        for part in config
    )


class ConfiguredKernel(Generic[P]):
    """A kernel with its launch shape: call it with the arguments, or ``bind`` them."""

    __slots__ = ("_count", "_fast", "_fast_on_stream", "block", "functions", "grid", "kernel", "shape")

    def __init__(
        self, kernel: Kernel[P], grid: tuple[int, ...], block: tuple[int, ...], shape: tuple[int, ...] | None
    ) -> None:
        self.kernel = kernel
        self.grid = grid
        self.block = block
        self.shape = shape
        self.functions: dict[Any, Callable[..., None]] = {}
        self._count = -1  # the first call counts the parameters, so that annotations are resolved late
        self._fast: Callable[..., None] = self._start
        self._fast_on_stream: Callable[..., None] = self._start_on_stream

    def __repr__(self) -> str:
        shape = f"over {self.shape}" if self.shape is not None else f"grid {self.grid}, block {self.block}"
        return f"<{self.kernel.__name__}, {shape}>"

    def __reduce__(self) -> tuple[Any, ...]:
        if self.shape is not None:
            return (Kernel.over, (self.kernel, self.shape))
        return (Kernel.__getitem__, (self.kernel, (self.grid, self.block)))

    def __getattr__(self, name: str) -> Any:
        how = {"interpret": "(grid, block, *args)", "ir": "(*args)", "source": "(target, *args)"}.get(name)
        hint = f"; of the kernel it is {self.kernel.__name__}.{name}{how}" if how else ""
        raise AttributeError(f"a configured launch has no attribute {name!r}{hint}", name=name, obj=self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Enqueue the launch.

        Raises
        ------
        LaunchError
            Naming the kernel and the argument that does not fit.
        """
        try:
            self.launch(args, kwargs)
        except USER_ERRORS as error:
            raise error.with_traceback(None) from None

    def launch(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Enqueue the launch of whatever was given."""
        if kwargs or len(args) != self._count:
            args = self._arrange(args, kwargs)
        self._fast(*args)

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> BoundLaunch:
        """Freeze the arguments; the result launches with them again and again."""
        return bind(self, None, args, kwargs)

    def _arrange(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        kernel = self.kernel
        args = kernel.arrange(args, kwargs)
        if not kernel.takes_named:
            self._count = len(args)
        return args

    def _start(self, *args: Any) -> None:
        self.relaunch(None, args)

    def _start_on_stream(self, stream: Stream, *args: Any) -> None:
        self.relaunch(stream, args)

    def relaunch(self, stream: Stream | None, args: tuple[Any, ...], pack: bool = False) -> None:
        """Launch arguments that the last generated function was not made for."""
        from gpucore.launch.resolve import resolve

        function = resolve(self, stream, args)
        if stream is None:
            function(*args, sure=True)
            self._fast = function
            self._specialise(function)
        else:
            function(stream, *args, sure=True)
            self._fast_on_stream = function

    def _specialise(self, function: Callable[..., None]) -> None:
        """Let calling this object be calling the function: its class gets a ``__call__`` made for its arguments."""
        direct = function.__dict__.get("direct")
        if direct is None or isinstance(self, StreamKernel) or self.kernel.takes_named:
            return
        made = function.__dict__.get("class")
        if made is None:
            members = {"__slots__": (), "__call__": direct, "__module__": __name__}
            made = function.__dict__["class"] = type("ConfiguredKernel", (ConfiguredKernel,), members)
        self.__class__ = made


class StreamKernel(ConfiguredKernel[P]):
    """A configured kernel on one stream."""

    __slots__ = ("_base", "_stream")

    def __init__(self, base: ConfiguredKernel[P], stream: Stream) -> None:
        self.kernel, self.grid, self.block, self.shape = base.kernel, base.grid, base.block, base.shape
        self._base = base
        self._stream = stream

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            f"this launch of {self.kernel.__name__} has a stream, which is a queue of this process: pickle "
            "kernel[grid, block] without it"
        )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Enqueue the launch on the stream."""
        base = self._base
        given: tuple[Any, ...] = args
        try:
            if kwargs or len(given) != base._count:
                given = base._arrange(given, kwargs)
            base._fast_on_stream(self._stream, *given)
        except USER_ERRORS as error:
            raise error.with_traceback(None) from None

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> BoundLaunch:
        """Freeze the arguments; the result launches on this stream, where none is named."""
        return bind(self._base, self._stream, args, kwargs)


@without_internals
def bind(
    configured: ConfiguredKernel[P], stream: Stream | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> BoundLaunch:
    """A bound launch of these arguments."""
    from gpucore.launch.bound import bind_launch

    kernel = configured.kernel
    return bind_launch(configured, stream, kernel.arrange(args, kwargs))


# --- decorators ------------------------------------------------------------------------------------
@overload
def kernel(function: Callable[P, None], /) -> Kernel[P]: ...
@overload
def kernel(
    *, math: Math | None = None, subgroup: int | None = None, source: str | None = None
) -> Callable[[Callable[P, None]], Kernel[P]]: ...
def kernel(
    function: Callable[..., None] | None = None,
    /,
    *,
    math: Math | None = None,
    subgroup: int | None = None,
    source: str | None = None,
) -> Kernel | Callable[[Callable[..., None]], Kernel]:
    """Make a function a kernel.  Nothing is compiled until the first launch.

    Parameters
    ----------
    math : {"strict", "fast"}, optional
        Instead of the context's.
    subgroup : int, optional
        The width of subgroups that the kernel counts on.
    source : str, optional
        The function's source text, where Python cannot find it.

    Raises
    ------
    KernelSyntaxError
        When there is no source.
    """
    import sys

    frame = sys._getframe(1)
    if math not in (None, "strict", "fast"):
        raise KernelTypeError(f"math is 'strict' or 'fast', not {math!r}")

    if subgroup is not None and (type(subgroup) is not int or subgroup < 1):
        raise KernelTypeError(f"subgroup is the number of lanes, such as 32, not {subgroup!r}")
    if not isinstance(source, (str, type(None))):
        raise KernelTypeError(f"source is the kernel's text, not {source!r}")

    def decorate(wrapped: Callable[..., None], frame: Any = None) -> Kernel:
        from gpucore.lang import capture
        from gpucore.launch.specialization import LanguageSource

        # a frame's variables may be large arrays: it is handed over only where annotations wait to be resolved in it
        annotations = getattr(wrapped, "__annotations__", {}).values()
        waiting = source is not None or any(isinstance(annotation, str) for annotation in annotations)
        here = sys._getframe(1) if frame is None else frame
        captured = capture(wrapped, source=source, frame=here if waiting else None)
        return Kernel(
            LanguageSource(captured, subgroup, math),
            wrapped.__name__,
            math=math,
            subgroup=subgroup,
            function=wrapped,
        )

    if function is not None:
        return decorate(function, frame)
    return decorate
