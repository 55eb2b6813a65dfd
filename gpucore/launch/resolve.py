"""The first launch of a combination of kernel, launch shape and argument types.

Arguments are checked one by one with errors that name them, the kernel is compiled, and a function is
generated (:mod:`gpucore.launch.launcher`) that later launches of the combination run alone.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gpucore.compile.pipeline import Program, RangeKind
from gpucore.errors import LaunchError
from gpucore.hookspecs import LaunchConfig
from gpucore.lang.diagnostics import plural
from gpucore.lang.types import ArgumentType, ArrayType, ScalarType
from gpucore.launch.launcher import generate, overlap
from gpucore.launch.scalar_arguments import article, constant, converter, scalar_class, with_default_float
from gpucore.runtime.array import Array, Signature

if TYPE_CHECKING:
    from gpucore.launch.kernel import ConfiguredKernel, Kernel, Parameter, Specialization
    from gpucore.runtime.state import ContextState
    from gpucore.runtime.stream import Stream

Math = Literal["strict", "fast"]

__all__ = ["Plan", "classify", "find_state", "launch_variant", "make_plan", "range_config", "resolve"]

_LIMIT = 2**31


@dataclass
class Plan:
    """What a launch of one combination of types needs to know; input of the generator."""

    kernel: Kernel
    parameters: tuple[Parameter, ...]
    types: tuple[ArgumentType, ...]
    signatures: tuple[Signature | None, ...]
    state: ContextState
    stream: Stream | None
    config: LaunchConfig | None  # None: a launch of size zero, which does nothing
    extents: tuple[int, ...]
    program: Program | None
    written: frozenset[str]
    constants: tuple[Any, ...]
    call: Callable[..., Any] | None
    overlapping: Callable[[], Callable[..., Any]] | None


# --- shapes ------------------------------------------------------------------------------------------
def as_axes(value: Any, what: str, kernel: str) -> tuple[int, ...]:
    """A grid or block as a tuple of ints."""
    parts = value if isinstance(value, (tuple, list)) else (value,)
    axes = []
    for part in parts:
        try:
            if isinstance(part, bool):
                raise TypeError
            axes.append(operator.index(part))
        except TypeError:  # ndarrays have __index__ too, and refuse
            raise LaunchError(f"{kernel}: a {what} is an int or a tuple of ints, not {value!r}") from None
    if any(axis < 0 for axis in axes):
        raise LaunchError(f"{kernel}: the {what} {tuple(axes)} has a negative extent")
    return tuple(axes)


def check_config(grid: tuple[int, ...], block: tuple[int, ...], state: ContextState, kernel: str) -> None:
    """Compare a launch's shape with the device's limits.

    Raises
    ------
    LaunchError
    """
    device = state.device
    capabilities = device.capabilities
    ndim = len(grid)
    where = f"{device.backend}:{device.ordinal}"
    for axis, (extent, limit) in enumerate(zip(block, capabilities.max_block[3 - ndim :], strict=True)):
        if extent > limit:
            raise LaunchError(
                f"{kernel}: the block {block} is past the limit of {where}, {limit} on axis {axis}"
            )
    if math.prod(block) > capabilities.max_threads_per_block:
        raise LaunchError(
            f"{kernel}: the block {block} has {math.prod(block)} threads; {where} allows "
            f"{capabilities.max_threads_per_block}"
        )
    for axis, (extent, limit) in enumerate(zip(grid, capabilities.max_grid[3 - ndim :], strict=True)):
        if extent > limit:
            raise LaunchError(
                f"{kernel}: the grid {grid} is past the limit of {where}, {limit:,} on axis {axis}"
            )


def range_config(
    shape: tuple[int, ...], state: ContextState, kernel: str, items: int = 1
) -> tuple[RangeKind, LaunchConfig | None, int]:
    """Block and grid for a range launch, whether its ids are unravelled from one axis, and how many of the ``items``
    a thread may take it does take.
    """
    if 0 in shape:
        return ("nd" if len(shape) <= 3 else "linear"), None, 1
    capabilities = state.device.capabilities
    threads = max(1, min(capabilities.preferred_block, capabilities.max_threads_per_block))
    if len(shape) <= 3:
        block = _range_block(shape, threads, capabilities.max_block)
        spans = (block[0] * items, *block[1:])
        grid = tuple(-(-extent // span) for extent, span in zip(shape, spans, strict=True))
        limits = capabilities.max_grid[3 - len(shape) :]
        if all(extent <= limit for extent, limit in zip(grid, limits, strict=True)):
            return "nd", LaunchConfig(grid, block), items
    size = min(threads, capabilities.max_block[2])
    blocks = -(-math.prod(shape) // size)
    if blocks > capabilities.max_grid[2]:
        raise LaunchError(
            f"{kernel}: the range {shape} has more threads than {state.device.backend} can launch"
        )
    return "linear", LaunchConfig((blocks,), (size,)), 1


def range_items(specialization: Specialization, check: bool, state: ContextState) -> int:
    """Elements that a thread of a range launch may take: as many as the device likes, where the kernel is short.

    A checked launch names the thread at fault, so there a thread stays one element.
    """
    wanted = state.device.capabilities.range_items
    return wanted if wanted > 1 and not check and specialization.can_coarsen() else 1


def _range_block(shape: tuple[int, ...], threads: int, limits: tuple[int, int, int]) -> tuple[int, ...]:
    if len(shape) == 1:
        return (min(threads, limits[2]),)
    block = [1] * len(shape)
    left = threads
    for axis in range(len(shape) - 1, -1, -1):
        # the fastest axis gets a row of 32 threads, the next ones what is left, none much more than
        # its extent
        want = 32 if axis == len(shape) - 1 else left
        fit = 1 << (shape[axis] - 1).bit_length()
        block[axis] = max(1, min(want, fit, left, limits[3 - len(shape) + axis]))
        left //= block[axis]
    if left > 1:
        last = len(shape) - 1
        fit = 1 << (shape[last] - 1).bit_length()
        block[last] = max(block[last], min(block[last] * left, fit, limits[2]))
    return tuple(block)


# --- resolution --------------------------------------------------------------------------------------
def resolve(
    configured: ConfiguredKernel, stream: Stream | None, args: tuple[Any, ...]
) -> Callable[..., None]:
    """The generated function for these arguments, made where there is none yet.

    Raises
    ------
    LaunchError
        Naming kernel and argument.
    """
    kernel = configured.kernel
    kernel.check_count(args)
    state = find_state(kernel, stream, args)
    state.check()
    types, signatures, keys = classify(kernel, args, state)
    constants = kernel.kernel_source.constants()
    key = (None if stream is None else stream._state, keys, constants)
    functions = configured.functions
    found = functions.get(key)
    if found is not None:
        return found
    plan = make_plan(configured, stream, state, types, signatures, constants)
    function = generate(plan, configured, pack=False)
    if len(functions) >= 128:
        functions.pop(next(iter(functions)), None)
    functions[key] = function
    return function


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
            types.append(ArrayType(arg.dtype, arg.ndim))
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
            converter(type_.dtype, f"{kernel.__name__}: the argument {parameter.name!r}")(arg)
            keys[number] = type_.dtype
    return resolved, tuple(signatures), tuple(keys)


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
    if not 1 <= arg.ndim <= 4:
        raise LaunchError(f"{who} has {plural(arg.ndim, 'axis')}; kernels take arrays of 1 to 4")
    if not arg._sig.contiguous:
        raise LaunchError(
            f"{who} is a strided view; kernels take contiguous arrays, whatever the annotation: pass "
            f"{parameter.name}.contiguous(), which is a copy; what a kernel stores in it goes back with "
            f"{parameter.name}.copy_from(copy)"
        )


def _not_an_array(arg: Any, who: str, parameter: Parameter) -> str:
    wanted = "an Array" if parameter.dtype is None else f"an Array of {parameter.dtype}"
    if hasattr(arg, "__array_interface__") or hasattr(arg, "__dlpack__"):
        return (
            f"{who} is {wanted}, but a {type(arg).__module__}.{type(arg).__name__} was given; nothing "
            "is copied behind "
            "your back: make it an Array with context.array(...) or gpucore.from_dlpack(...)"
        )
    dtype = "" if parameter.dtype is None else f", gc.{parameter.dtype}"
    instead = (
        f"; make one: ctx.array({parameter.name}{dtype})"
        if isinstance(arg, (list, tuple, int, float))
        else ""
    )
    return f"{who} is {wanted}, not {type(arg).__name__}{instead}"


def options_of(signatures: tuple[Signature | None, ...], stream: Stream | None) -> tuple[bool, Math]:
    """Whether a launch is checked, and its math mode: as its arrays say, else its stream's context."""
    arrays = [signature for signature in signatures if signature is not None]
    if arrays:
        return any(signature.check for signature in arrays), arrays[0].math
    context = stream._context if stream is not None else None
    return (context.check, context.math) if context is not None else (False, "strict")


def fits_32_bits(signatures: tuple[Signature | None, ...], config: LaunchConfig, items: int) -> bool:
    """Whether every array and every axis of the launch has fewer than 2**31 elements."""
    threads = [g * b for g, b in zip(config.grid, config.block, strict=True)]
    threads[0] *= items
    arrays = all(signature.small for signature in signatures if signature is not None)
    return arrays and all(count < _LIMIT for count in (*threads, math.prod(threads)))


def make_plan(
    configured: ConfiguredKernel,
    stream: Stream | None,
    state: ContextState,
    types: tuple[ArgumentType, ...],
    signatures: tuple[Signature | None, ...],
    constants: tuple[Any, ...],
) -> Plan:
    """Everything about a launch of these types: program, launch shape, call."""
    kernel = configured.kernel
    check, default_math = options_of(signatures, stream)
    shape = configured.shape
    kind: RangeKind = None
    config: LaunchConfig | None
    items = 1
    if shape is None:
        check_config(configured.grid, configured.block, state, kernel.__name__)
        config = None if 0 in configured.grid else LaunchConfig(configured.grid, configured.block)
    ndim = len(configured.grid if shape is None else shape)
    specialization = kernel.kernel_source.specialize(
        types, ndim, kernel.math or default_math, state.device._target
    )
    if shape is not None:
        specialization.check_range(kernel.__name__, shape)
        items = range_items(specialization, check, state)
        kind, config, items = range_config(shape, state, kernel.__name__, items)
    plan = Plan(
        kernel, kernel.parameters, types, signatures, state, stream, config, shape or (), None, specialization.written,
        constants, None, None,
    )  # fmt: skip
    if config is None:
        return plan
    small = fits_32_bits(signatures, config, items)

    def prepared(noalias: bool) -> tuple[Program, Callable[..., Any]]:
        program = specialization.program(
            state, specialization.variant(check, kind, small, noalias, config.block, items)
        )
        return program, _prepare(state, program, config)

    plan.program, plan.call = prepared(True)
    # two arrays that may overlap matter where one of them is written
    if sum(signature is not None for signature in signatures) > 1 and plan.written:
        made: list[Callable[..., Any]] = []

        def overlapping() -> Callable[..., Any]:
            if not made:
                made.append(prepared(False)[1])
            return made[0]

        plan.overlapping = overlapping
    return plan


def launch_variant(kernel: Kernel, args: tuple[Any, ...]) -> tuple[Any, ContextState, Any, str]:
    """What ``cache.explain`` looks at: the launch that ran last, or a range over the first array's shape."""
    kernel.check_count(args)
    state = find_state(kernel, None, args)
    types, signatures, _ = classify(kernel, args, state)
    check, default_math = options_of(signatures, None)
    configured = kernel.latest()
    guessed = configured is None
    if configured is None:
        first = next(arg for arg in args if type(arg) is Array)
        configured = kernel.over(first.shape)
    shape = configured.shape
    kind: RangeKind = None
    config: LaunchConfig | None
    items = 1
    specialization: Any = kernel.kernel_source.specialize(
        types, len(shape or configured.grid), kernel.math or default_math, state.device._target
    )
    if shape is not None:
        items = range_items(specialization, check, state)
        kind, config, items = range_config(shape, state, kernel.__name__, items)
        how = f"over {shape}" + (
            " (the shape of its first array: it was not launched yet)" if guessed else ""
        )
    else:
        config = LaunchConfig(configured.grid, configured.block)
        how = f"grid {configured.grid}, block {configured.block}"
    config = config or LaunchConfig((1,), (1,))
    arrays = [arg for arg in args if type(arg) is Array]
    apart = not any(overlap(a, b) for n, a in enumerate(arrays) for b in arrays[n + 1 :])
    small = fits_32_bits(signatures, config, items)
    variant = specialization.variant(
        check, kind, small, apart or not specialization.written, config.block, items
    )
    return specialization, state, variant, how


def _prepare(state: ContextState, program: Program, config: LaunchConfig) -> Callable[..., Any]:
    device = state.device
    if "launch" in state.hooks.wrapped:
        # somebody listens to launches: each one goes through the hook
        launch = state.hooks.launch

        def call(stream: Any, *slots: Any) -> None:
            launch(device._handle, program.executable, config, stream, slots)

        return call
    key = (state.hooks.wrapped and id(state), config.grid, config.block)
    found: Callable[..., Any] | None = program.prepared.get(key)
    if found is None:
        found = state.prepare(device._handle, program.executable, config)
        if len(program.prepared) >= 256:
            program.prepared.pop(next(iter(program.prepared)), None)
        program.prepared[key] = found
    return found
