"""Kernels as a user holds them, configured, called, bound, looked into; and the interface of what they come from."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Protocol, overload

from gpucore.errors import KernelTypeError, LaunchError, without_internals
from gpucore.lang.diagnostics import plural
from gpucore.lang.types import REQUIRED, Parameter
from gpucore.launch.configured import ConfiguredKernel, P
from gpucore.launch.launcher import Launchers
from gpucore.launch.shapes import MOST_RANGE_AXES, as_axes, is_plain
from gpucore.runtime.stream import Stream

if TYPE_CHECKING:
    from gpucore.compile.pipeline import Program, RangeKind, Variant
    from gpucore.hookspecs import Target
    from gpucore.ir.bounds.analysis import Bounds
    from gpucore.ir.nodes import Module as IRModule
    from gpucore.ir.passes.checks import Check
    from gpucore.lang.types import ArgumentType
    from gpucore.launch.launch_conditions import BoundsSummary
    from gpucore.launch.specialization import LanguageSource
    from gpucore.runtime.state import ContextState

__all__ = ["ConfiguredKernel", "Kernel", "KernelSource", "Parameter", "Specialization", "kernel"]


Math = Literal["strict", "fast"]


class Specialization(Protocol):
    """A kernel compiled for certain argument types."""

    @property
    def written(self) -> frozenset[str]: ...
    @property
    def needs_block(self) -> bool: ...
    @property
    def can_coarsen(self) -> bool: ...
    @property
    def block_multiple(self) -> int: ...
    @property
    def sized_module(self) -> IRModule | None: ...
    def check_range(self, name: str, shape: tuple[int, ...]) -> None: ...
    def variant(
        self, check: Check, kind: RangeKind, small: bool, noalias: bool, block: tuple[int, ...], items: int
    ) -> Variant: ...
    def program(self, state: ContextState, variant: Variant) -> Program: ...
    def bounds(self, *, is_range: bool, small: bool, block: tuple[int, ...] | None) -> Bounds:
        """What is known of its accesses."""

    def bounds_summary(
        self,
        state: ContextState,
        candidates: Sequence[Variant],
        *,
        is_range: bool,
        small: bool,
        block: tuple[int, ...] | None,
    ) -> BoundsSummary | None:
        """What launches need to know of them; None for code that nobody looks into.

        Parameters
        ----------
        candidates : Sequence[Variant]
            With whose code it may be kept.
        """


class KernelSource(Protocol):
    """Where a kernel comes from: its parameters, captured constants and specializations."""

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...
    def watched(self, types: tuple[ArgumentType, ...]) -> Sequence[tuple[Any, str, Any]]: ...
    def constants(self, types: tuple[ArgumentType, ...]) -> tuple[Any, ...]: ...
    def specialize(
        self, types: tuple[ArgumentType, ...], ndim: int, math: Math, target: Target | None
    ) -> Specialization: ...


_MOST_SHAPES = 1 << 14
"""Launch shapes that a kernel remembers: the first launch of one costs no more than a few others, and each holds up to 1 KB."""


def _without_axes(function: Callable[..., object]) -> inspect.Signature:
    """The signature of a function without its ``*axes``."""
    whole = inspect.signature(function)
    return whole.replace(parameters=[p for p in whole.parameters.values() if p.kind is not p.VAR_POSITIONAL])


class Kernel(Generic[P]):
    """A function that runs on devices, one thread for each point of a grid; made by ``gpucore.kernel``.

    ``kernel[grid, block](...)`` launches a grid of blocks, ``kernel.over(shape)(...)`` one thread an index of
    a shape.
    """

    def __init__(
        self,
        source: KernelSource,
        name: str,
        *,
        math: Math | None = None,
        subgroup: int | None = None,
        function: Any = None,
    ) -> None:
        if function is not None:
            functools.update_wrapper(self, function)
            if self.__doc__ is None:  # else help() describes the class
                code = function.__code__
                names = ", ".join(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
                self.__doc__ = (
                    f"A kernel: launch it with {name}.over(shape)({names}) or {name}[grid, block]({names})."
                )
        self.__name__ = name
        self.kernel_source = source
        self.math: Math | None = math
        self.subgroup = subgroup
        self.launchers = Launchers()
        self.latest: ConfiguredKernel[P] | None = (
            None  # the launch shape that was prepared last, for explanations
        )
        # by grid and block, and by range; an axis alone as an int
        self._configured: dict[Any, ConfiguredKernel[P]] = {}
        self._ranges: dict[Any, ConfiguredKernel[P]] = {}

    def __repr__(self) -> str:
        try:
            parameters = self.parameters
        except KernelTypeError:  # an annotation that is none: its launch says so, a look at it need not
            return f"<Kernel {self.__name__}>"
        names = ", ".join(p.name for p in parameters)
        typed = ", ".join(str(p) for p in parameters if str(p) != p.name)
        return f"<Kernel {self.__name__}({names}){f' with {typed}' if typed else ''}>"

    def __dir__(self) -> list[str]:
        inside = {"arrange", "kernel_source", "latest", "launchers", "takes_named"}
        return [name for name in super().__dir__() if name not in inside]

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
                grid, block = config
                if type(grid) is int is type(block):
                    return found
                if len(grid) == 2:  # is_plain() without a call
                    (rows, columns), (height, width) = config
                    if type(rows) is int is type(columns) and type(height) is int is type(width):
                        return found
                if is_plain(grid, block):
                    return found
            elif type(config) is tuple and len(config) == 3 and type(config[2]) is Stream:
                grid, block, stream = config
                found = self._configured.get((grid, block))
                if found is not None and ((type(grid) is int is type(block)) or is_plain(grid, block)):
                    made: ConfiguredKernel[P] = found._stream_class(found, stream)
                    return made
        except TypeError:  # lists cannot be looked up
            pass
        return self._configure(config)

    def _configure(self, config: Any) -> ConfiguredKernel[P]:
        if type(config) is tuple and len(config) == 2:
            rows, threads = config
            if type(rows) is int is type(threads) and rows >= 0 < threads:
                return self._remembered(self._configured, config, (rows,), (threads,), None)
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
        # a tuple of one int means the same as its int, and shares everything with it
        key = (grid[0], block[0]) if len(grid) == 1 else (grid, block)
        found = self._remembered(self._configured, key, grid, block, None)
        if len(config) == 3 and config[2] is not None:
            return self._on_stream(found, config[2])
        return found

    @overload
    def over(self, shape: int, *, stream: Stream | None = None) -> ConfiguredKernel[P]: ...
    @overload
    def over(self, shape: Sequence[int], *, stream: Stream | None = None) -> ConfiguredKernel[P]: ...
    def over(
        self, shape: int | Sequence[int], *axes: object, stream: Stream | None = None
    ) -> ConfiguredKernel[P]:
        """One thread for each index of ``shape``; the block is chosen, threads past the shape do nothing.

        Several axes are one tuple: ``kernel.over((4, 6))``.
        """
        if axes:
            raise LaunchError(
                f"{self.__name__}: a range of several axes is one tuple: .over({(shape, *axes)!r})"
            )
        try:
            found = self._ranges[shape]
        except (KeyError, TypeError, ValueError):  # lists and ndarrays cannot be looked up
            found = None
        if found is None or not (type(shape) is int or is_plain(shape)):
            found = self._over(shape)
        return found if stream is None else self._on_stream(found, stream)

    # what help() shows: without the axes, which are there for their message
    over.__dict__["__signature__"] = _without_axes(over)

    def _over(self, shape: int | Sequence[int]) -> ConfiguredKernel[P]:
        if type(shape) is int and shape >= 0:
            return self._remembered(self._ranges, shape, (), (), (shape,))
        if type(shape) is not int:
            if hasattr(shape, "__gpucore_array__"):
                raise LaunchError(
                    f"{self.__name__}: a range is an int or a tuple of ints; write .over(array.shape)"
                )
            if isinstance(shape, (str, bytes)):
                raise LaunchError(f"{self.__name__}: a range is an int or a tuple of ints, not {shape!r}")
            if isinstance(shape, Sequence) or getattr(shape, "shape", ()) != ():
                shape = tuple(shape)  # type: ignore[arg-type]
        axes = as_axes(shape, "range", self.__name__)
        if not 1 <= len(axes) <= MOST_RANGE_AXES:
            raise LaunchError(f"{self.__name__}: a range has 1 to {MOST_RANGE_AXES} axes, not {len(axes)}")
        return self._remembered(self._ranges, axes[0] if len(axes) == 1 else axes, (), (), axes)

    def _remembered(
        self,
        table: dict[Any, ConfiguredKernel[P]],
        key: Any,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        shape: tuple[int, ...] | None,
    ) -> ConfiguredKernel[P]:
        found = table.get(key)
        if found is None:
            while len(table) >= _MOST_SHAPES:
                table.pop(next(iter(table)), None)
            found = table.setdefault(key, ConfiguredKernel(self, grid, block, shape))
            self.launchers.lend(found)
        return found

    def _on_stream(self, configured: ConfiguredKernel[P], stream: Any) -> ConfiguredKernel[P]:
        if not isinstance(stream, Stream):
            raise LaunchError(f"{self.__name__}: a launch's third setting is a Stream, not {stream!r}")
        made: ConfiguredKernel[P] = configured._stream_class(configured, stream)
        return made

    # --- arguments
    def _refuse_count(self, count: int) -> NoReturn:
        """Say how many arguments the kernel takes by position."""
        most = len(self.parameters)
        least = sum(parameter.default is REQUIRED for parameter in self.parameters)
        taken = plural(most, "argument") if least == most else f"{least} to {plural(most, 'argument')}"
        names = ", ".join(
            parameter.name if parameter.default is REQUIRED else f"{parameter.name}={parameter.default!r}"
            for parameter in self.parameters
        )
        raise LaunchError(
            f"{self.__name__} takes {taken} ({names}), but {count} {'was' if count == 1 else 'were'} given"
        )

    @functools.cached_property
    def takes_named(self) -> bool:
        """Whether some argument is given by name only: then positions alone do not say what is what."""
        return any(parameter.keyword_only for parameter in self.parameters)

    def arrange(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Positional and named arguments and defaults as one tuple in the order of the parameters.

        Raises
        ------
        LaunchError
            Where their number or a name is wrong.
        """
        names = [parameter.name for parameter in self.parameters]
        if not kwargs and len(args) == len(names) and not self.takes_named:
            return args
        positional = [parameter.name for parameter in self.parameters if not parameter.keyword_only]
        if len(args) > len(positional):
            if self.takes_named:
                raise LaunchError(
                    f"{self.__name__} takes {plural(len(positional), 'argument')} by position, but {len(args)} "
                    f"{'was' if len(args) == 1 else 'were'} given; write {names[len(positional)]}=..."
                )
            self._refuse_count(len(args))
        values = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in names:
                from gpucore._messages import did_you_mean

                raise LaunchError(f"{self.__name__} has no parameter {name!r}{did_you_mean(name, names)}")
            if name in values:
                raise LaunchError(f"{self.__name__}: the argument {name!r} is given twice")
            values[name] = value
        for parameter in self.parameters:
            if parameter.default is not REQUIRED:
                values.setdefault(parameter.name, parameter.default)
        missing = [name for name in names if name not in values]
        if missing and not kwargs and not self.takes_named:
            self._refuse_count(len(args))
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
