"""Cache misses of launch functions: arguments checked one by one, and the launcher for their types found or made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpucore.errors import LaunchError
from gpucore.ir.dtypes import DType
from gpucore.ir.nodes import MOST_AXES
from gpucore.ir.records import RecordType
from gpucore.lang.diagnostics import article, plural
from gpucore.lang.types import ArgumentType, ArrayType, ScalarType
from gpucore.launch.arguments import (
    RecordConverter,
    constant,
    converter,
    scalar_class,
    with_default_float,
)
from gpucore.launch.configured import ConfiguredKernel, StreamLaunch
from gpucore.launch.launch_conditions import strictest
from gpucore.launch.launch_function import MISSING, Arguments
from gpucore.launch.launcher import Launcher
from gpucore.runtime.array import Array
from gpucore.runtime.geometry import Signature
from gpucore.runtime.stream import LaunchOptions, Stream, launch_options

if TYPE_CHECKING:
    from gpucore.launch.kernel import Kernel, Parameter
    from gpucore.runtime.state import ContextState

__all__ = ["cache_miss", "classify", "find_launcher", "find_state", "options_of", "relaunch"]


def cache_miss(
    called: ConfiguredKernel, args: tuple[Any, ...], more: tuple[Any, ...], named: dict[str, Any]
) -> None:
    """A call that a launch function was not made for: other types, another number of arguments, arguments by name."""
    configured, stream = (
        (called._base, called._stream) if isinstance(called, StreamLaunch) else (called, None)
    )
    if more or named or any(arg is MISSING for arg in args):
        kernel = configured.kernel
        pairs = list(zip(kernel.parameters, args, strict=True))
        named |= {p.name: arg for p, arg in pairs if p.keyword_only and arg is not MISSING}
        positional = [arg for p, arg in pairs if not p.keyword_only]
        # what follows a missing one are defaults
        given = next((n for n, arg in enumerate(positional) if arg is MISSING), len(positional))
        args = kernel.arrange((*positional[:given], *more), named)
    relaunch(configured, stream, args)
    if isinstance(called, StreamLaunch):
        called.__class__ = configured._stream_class


def relaunch(configured: ConfiguredKernel, stream: Stream | None, args: tuple[Any, ...]) -> None:
    """Launch arguments that the last launch function was not made for.

    Raises
    ------
    LaunchError
        Naming kernel and argument.
    """
    launcher = find_launcher(configured, stream, args)
    if stream is None:
        alternates = configured.alternates(launcher)
        prepared = configured.use(launcher)
        if launcher.take_first() and not any(p.keyword_only for p in configured.kernel.parameters):
            # the function that the next launches call; `known` is written when types come in turns
            type(configured).__call__(configured, *args)
        else:
            launcher.launch_known(configured, prepared, *args)
        if alternates:
            configured.take_turns(args)
    else:
        launcher.launch_known(configured, configured.use(launcher), stream, *args)


def find_launcher(configured: ConfiguredKernel, stream: Stream | None, args: tuple[Any, ...]) -> Launcher:
    """The launcher for the types of these arguments, made where there is none yet."""
    kernel = configured.kernel
    newest = kernel.launchers.newest(configured.kind, on_stream=stream is not None)
    if newest is not None and (newest.matches(*args) if stream is None else newest.matches(stream, *args)):
        return newest
    state = find_state(kernel, stream, args)
    state.check()
    types, signatures, keys = classify(kernel, args, state)
    constants = kernel.kernel_source.constants(types)
    options = options_of(signatures, stream)
    stream_state = None if stream is None else stream._state
    key = (configured.kind, stream_state, options, keys, constants)
    launcher = kernel.launchers.get(key)
    if launcher is None:
        launcher = make_launcher(configured, args, types, signatures, state, stream_state, options)
        launcher = kernel.launchers.add(key, launcher)
    return launcher


def make_launcher(
    configured: ConfiguredKernel,
    args: tuple[Any, ...],
    types: tuple[ArgumentType, ...],
    signatures: tuple[Signature | None, ...],
    state: ContextState,
    stream_state: ContextState | None,
    options: LaunchOptions,
) -> Launcher:
    """A launcher for these types, with the program for the shape of a configured kernel compiled."""
    kernel = configured.kernel
    check, math = options
    specialization = kernel.kernel_source.specialize(
        types, configured.kind.ndim, kernel.math or math, state.device._target
    )
    arguments = Arguments(
        kernel.__name__,
        kernel.parameters,
        types,
        signatures,
        kernel.kernel_source.watched(types),
        specialization.written,
        options,
    )
    launcher = Launcher(arguments, specialization, state, stream_state, check, configured, args)
    launcher.make_class(ConfiguredKernel if stream_state is None else StreamLaunch, cache_miss)
    return launcher


# --- arguments
def find_state(kernel: Kernel, stream: Stream | None, args: tuple[Any, ...]) -> ContextState:
    """The context of a launch: of its arrays, else of its stream."""
    state: ContextState | None = None
    first = ""
    for parameter, arg in zip(kernel.parameters, args, strict=True):
        if type(arg) is not Array:
            continue
        block = arg._block
        if block.home is None:
            raise LaunchError(f"{kernel.__name__}: the array {parameter.name!r} is gone: {block.why}")
        mine = arg.context._state
        if state is None:
            state, first = mine, parameter.name
        elif mine.device is not state.device:
            raise LaunchError(
                f"{kernel.__name__}: the array {parameter.name!r} is on {mine.device!r}, but {first!r} is on "
                f"{state.device!r}; copy one of them with .to(context)"
            )
    if stream is not None:
        stream._check()
        if state is not None and stream._state.device is not state.device:
            raise LaunchError(
                f"{kernel.__name__}: the stream is of {stream._state.device!r}, the arrays of "
                f"{state.device!r}"
            )
        state = state or stream._state
    if state is None:
        for parameter, arg in zip(kernel.parameters, args, strict=True):
            if parameter.kind == "array":
                who = f"{kernel.__name__}: the argument {parameter.name!r}"
                raise LaunchError(_not_an_array(arg, who, parameter))
        raise LaunchError(
            f"{kernel.__name__}: no array argument says on which device to run; pass an array or a stream: "
            "kernel[grid, block, stream](...)"
        )
    return state


def classify(
    kernel: Kernel, args: tuple[Any, ...], state: ContextState
) -> tuple[tuple[ArgumentType, ...], tuple[Signature | None, ...], tuple[Any, ...]]:
    """Types, array signatures and cache keys of the arguments, checked against the parameters."""
    types: list[ArgumentType] = []
    signatures: list[Signature | None] = []
    keys: list[Any] = []
    for parameter, arg in zip(kernel.parameters, args, strict=True):
        who = f"{kernel.__name__}: the argument {parameter.name!r}"
        if type(arg) is Array:
            _check_array(parameter, arg, who)
            types.append(ArrayType(arg.dtype, arg.ndim, arg._sig.layout))
            signatures.append(arg._sig)
            keys.append(arg._sig)
            continue
        signatures.append(None)
        if parameter.kind == "array":
            raise LaunchError(_not_an_array(arg, who, parameter))
        if parameter.kind == "constexpr":
            types.append(constant(arg, who))
            keys.append(types[-1])
            continue
        if (
            parameter.kind == "any"
            and hasattr(arg, "__array_interface__")
            and getattr(arg, "shape", ()) != ()
        ):
            raise LaunchError(_not_an_array(arg, who, parameter))
        dtype = parameter.dtype or scalar_class(arg, who)
        types.append(ScalarType(dtype))
        keys.append(None)
    resolved = with_default_float(kernel.parameters, args, types)
    for number, (parameter, arg, type_) in enumerate(zip(kernel.parameters, args, resolved, strict=True)):
        if isinstance(type_, ScalarType):
            _check_scalar(type_.dtype, f"{kernel.__name__}: the argument {parameter.name!r}", arg)
            keys[number] = type_.dtype
    return resolved, tuple(signatures), tuple(keys)


def _check_scalar(dtype: DType, who: str, arg: Any) -> None:
    if isinstance(dtype, RecordType):
        RecordConverter(dtype, who)(arg)
    else:
        converter(dtype, who)(arg)


def _check_array(parameter: Parameter, arg: Array[Any], who: str) -> None:
    if parameter.kind in ("scalar", "constexpr"):
        raise LaunchError(
            f"{who} is {article(parameter.dtype) if parameter.dtype else 'a compile-time value'}, but an array was given"
        )
    if parameter.dtype is not None and arg.dtype is not parameter.dtype:
        raise LaunchError(
            f"{who} wants dtype {parameter.dtype}, but the array holds {arg.dtype}; make one of "
            f"{parameter.dtype}: ctx.array({parameter.name}.numpy(), gc.{parameter.dtype})"
        )
    if parameter.rank is not None and arg.ndim != parameter.rank:
        raise LaunchError(
            f"{who} wants {plural(parameter.rank, 'axis')}, but the array has {arg.ndim}: {arg.shape}"
        )
    if not 1 <= arg.ndim <= MOST_AXES:
        raise LaunchError(f"{who} has {plural(arg.ndim, 'axis')}; kernels take arrays of 1 to {MOST_AXES}")
    if any(stride % arg.dtype.itemsize for stride in arg.strides):
        raise LaunchError(
            f"{who} has the strides {arg.strides}, which are no whole numbers of elements of {arg.dtype.itemsize} bytes; pass "
            f"{parameter.name}.contiguous(), which is a copy"
        )
    if not arg._sig.contiguous and not parameter.strided:
        element = f"{arg.dtype}" if isinstance(arg.dtype, RecordType) else f"gc.{arg.dtype}"
        raise LaunchError(
            f"{who} is a strided view; annotate the parameter as gc.Strided[{element}, {arg.ndim}], which takes views, or pass "
            f"{parameter.name}.contiguous(), which is a copy: what a kernel stores in it goes back with "
            f"{parameter.name}.copy_from(copy)"
        )


def _not_an_array(arg: Any, who: str, parameter: Parameter) -> str:
    expected = "an Array" if parameter.dtype is None else f"an Array of {parameter.dtype}"
    if hasattr(arg, "__array_interface__") or hasattr(arg, "__dlpack__"):
        return (
            f"{who} is {expected}, but a {type(arg).__module__}.{type(arg).__name__} was given; nothing "
            "is copied behind "
            "your back: make it an Array with context.array(...) or gpucore.from_dlpack(...)"
        )
    dtype = "" if parameter.dtype is None else f", gc.{parameter.dtype}"
    instead = (
        f"; make one: ctx.array({parameter.name}{dtype})"
        if isinstance(arg, (list, tuple, int, float))
        else ""
    )
    return f"{who} is {expected}, not {type(arg).__name__}{instead}"


def options_of(signatures: tuple[Signature | None, ...], stream: Stream | None) -> LaunchOptions:
    """How a launch is checked, and its math mode: as its arrays say, else its stream's context."""
    arrays = [signature for signature in signatures if signature is not None]
    if arrays:
        return launch_options(strictest(signature.check for signature in arrays), arrays[0].math)
    return stream._options if stream is not None else launch_options(False, "strict")
