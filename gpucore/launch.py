"""The launch path: one generated function for each kernel, launch shape and combination of argument types.

The first launch of a combination resolves it slowly: arguments are checked one by one with errors that name them, the
kernel is compiled and a function is generated.  Later launches run that function alone.  It compares the identity of
each array's signature (dtype, rank, device, contiguity and context in one), checks scalars, records the streams that use
memory, picks the variant for overlapping arrays, and makes the one call that the backend prepared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpucore.array import Array, Signature
from gpucore.compiler import Program, RangeKind
from gpucore.errors import DeviceLostError, LaunchError
from gpucore.hookspecs import LaunchConfig
from gpucore.scalars import converter, pack_half, scalar_class

if TYPE_CHECKING:
    from gpucore._state import ContextState
    from gpucore.ir.dtypes import DType
    from gpucore.kernels import ConfiguredKernel, Kernel, Parameter
    from gpucore.memory import Block
    from gpucore.stream import Stream

__all__ = ["ArrayType", "BoundLaunch", "Plan", "range_config", "resolve"]

_LIMIT = 2**31


@dataclass(frozen=True, slots=True)
class ArrayType:
    """The type of an array argument."""

    dtype: DType
    rank: int


@dataclass(frozen=True, slots=True)
class ScalarType:
    """The type of a scalar argument."""

    dtype: DType


@dataclass(frozen=True, slots=True)
class ConstValue:
    """The value of a constexpr argument."""

    value: Any


ArgumentType = ArrayType | ScalarType | ConstValue


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
    check: bool
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
        if isinstance(part, bool) or not hasattr(part, "__index__"):
            raise LaunchError(f"{kernel}: a {what} is an int or a tuple of ints, not {value!r}")
        axes.append(part.__index__())
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
    shape: tuple[int, ...], state: ContextState, kernel: str
) -> tuple[RangeKind, LaunchConfig | None]:
    """Block and grid for a range launch, and whether its ids are unravelled from one axis."""
    if 0 in shape:
        return ("nd" if len(shape) <= 3 else "linear"), None
    capabilities = state.device.capabilities
    threads = max(1, min(capabilities.preferred_block, capabilities.max_threads_per_block))
    if len(shape) <= 3:
        block = _range_block(shape, threads, capabilities.max_block)
        grid = tuple(-(-extent // size) for extent, size in zip(shape, block, strict=True))
        limits = capabilities.max_grid[3 - len(shape) :]
        if all(extent <= limit for extent, limit in zip(grid, limits, strict=True)):
            return "nd", LaunchConfig(grid, block)
    size = min(threads, capabilities.max_block[2])
    blocks = -(-math.prod(shape) // size)
    if blocks > capabilities.max_grid[2]:
        raise LaunchError(
            f"{kernel}: the range {shape} has more threads than {state.device.backend} can launch"
        )
    return "linear", LaunchConfig((blocks,), (size,))


def _range_block(shape: tuple[int, ...], threads: int, limits: tuple[int, int, int]) -> tuple[int, ...]:
    if len(shape) == 1:
        return (min(threads, limits[2]),)
    block = [1] * len(shape)
    left = threads
    for axis in range(len(shape) - 1, -1, -1):
        # the fastest axis gets a row of 32 threads, the next ones what is left, none much more than its extent
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
    constants = kernel.front.constants()
    key = (None if stream is None else stream._state, keys, constants)
    functions = configured.functions
    found = functions.get(key)
    if found is not None:
        return found
    plan = make_plan(configured, stream, state, types, signatures, constants, args)
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
                f"{kernel.__name__}: the stream is of {stream._state.device!r}, the arrays of {state.device!r}"
            )
        state = state or stream._state
    if state is None:
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
            try:
                hash(arg)
            except TypeError:
                raise LaunchError(
                    f"{who} is a compile-time value and must be hashable, not {arg!r}"
                ) from None
            types.append(ConstValue(arg))
            keys.append((type(arg), arg, math.copysign(1, arg) if isinstance(arg, float) else 1))
            continue
        if (
            parameter.kind == "any"
            and hasattr(arg, "__array_interface__")
            and getattr(arg, "shape", ()) != ()
        ):
            raise LaunchError(_not_an_array(arg, who, parameter))
        dtype = parameter.dtype or scalar_class(arg, who)
        converter(dtype, who)(arg)
        types.append(ScalarType(dtype))
        keys.append(dtype)
    return tuple(types), tuple(signatures), tuple(keys)


def _check_array(parameter: Parameter, arg: Array[Any], who: str) -> None:
    if parameter.kind in ("scalar", "constexpr"):
        raise LaunchError(f"{who} is a {parameter.dtype or 'compile-time value'}, but an array was given")
    if parameter.dtype is not None and arg.dtype is not parameter.dtype:
        raise LaunchError(f"{who} wants dtype {parameter.dtype}, but the array holds {arg.dtype}")
    if parameter.rank is not None and arg.ndim != parameter.rank:
        raise LaunchError(f"{who} wants {parameter.rank} axes, but the array has {arg.ndim}: {arg.shape}")
    if not 1 <= arg.ndim <= 4:
        raise LaunchError(f"{who} has {arg.ndim} axes; kernels take arrays of 1 to 4")
    if not arg._sig.contiguous:
        raise LaunchError(
            f"{who} is a strided view; kernels take contiguous arrays: pass {parameter.name}.contiguous()"
        )


def _not_an_array(arg: Any, who: str, parameter: Parameter) -> str:
    wanted = "an Array" if parameter.dtype is None else f"an Array of {parameter.dtype}"
    if hasattr(arg, "__array_interface__") or hasattr(arg, "__dlpack__"):
        return (
            f"{who} is {wanted}, but a {type(arg).__module__}.{type(arg).__name__} was given; nothing is copied behind "
            "your back: make it an Array with context.array(...) or gpucore.from_dlpack(...)"
        )
    return f"{who} is {wanted}, not {type(arg).__name__}"


def make_plan(
    configured: ConfiguredKernel,
    stream: Stream | None,
    state: ContextState,
    types: tuple[ArgumentType, ...],
    signatures: tuple[Signature | None, ...],
    constants: tuple[Any, ...],
    args: tuple[Any, ...],
) -> Plan:
    """Everything about a launch of these types: program, launch shape, call."""
    kernel = configured.kernel
    arrays = [signature for signature in signatures if signature is not None]
    options = arrays[0] if arrays else stream
    assert options is not None
    if isinstance(options, Signature):
        check = any(signature.check for signature in arrays)
        default_math = options.math
    else:
        context = options._context
        check, default_math = (context.check, context.math) if context is not None else (False, "strict")
    shape = configured.shape
    kind: RangeKind = None
    config: LaunchConfig | None
    if shape is not None:
        kind, config = range_config(shape, state, kernel.__name__)
        ndim = len(shape)
    else:
        check_config(configured.grid, configured.block, state, kernel.__name__)
        ndim = len(configured.grid)
        config = None if 0 in configured.grid else LaunchConfig(configured.grid, configured.block)
    typed = kernel.front.typed(types, ndim, kernel.math or default_math, state)
    if shape is not None:
        typed.check_range(kernel.__name__)
    plan = Plan(
        kernel, kernel.parameters, types, signatures, state, stream, config, shape or (), check, None,
        typed.written, constants, None, None,
    )  # fmt: skip
    if config is None:
        return plan
    threads = [g * b for g, b in zip(config.grid, config.block, strict=True)]
    small = all(signature.small for signature in arrays) and all(
        t < _LIMIT for t in (*threads, math.prod(threads))
    )
    # two arrays that may overlap matter where one of them is written
    alone = len(arrays) < 2 or not plan.written

    def prepared(noalias: bool) -> tuple[Program, Callable[..., Any]]:
        program = typed.program(state, check, kind, small, noalias, config.block)
        return program, _prepare(state, program, config)

    plan.program, plan.call = prepared(True)
    if not alone:
        made: list[Callable[..., Any]] = []

        def overlapping() -> Callable[..., Any]:
            if not made:
                made.append(prepared(False)[1])
            return made[0]

        plan.overlapping = overlapping
    return plan


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


# --- overlap -----------------------------------------------------------------------------------------
def extent_of(array: Array[Any]) -> tuple[int, int]:
    """First byte and end of a contiguous array, in its block or, where known, in the device's address space."""
    allocation = array._block.allocation
    base = getattr(allocation, "address", None) or 0
    return base + array._offset, base + array._offset + array.nbytes


def overlap(a: Array[Any], b: Array[Any]) -> bool:
    """Whether two contiguous arrays share memory."""
    if not a.size or not b.size:
        return False
    if a._block is not b._block and not (a._block.outside or b._block.outside):
        return False
    first, second = extent_of(a), extent_of(b)
    return first[0] < second[1] and second[0] < first[1]


# --- generation --------------------------------------------------------------------------------------
def touch(block: Block, stream: Stream, who: str) -> None:
    """Record the use of a block by a stream that is not its home."""
    if block.home is None:
        raise LaunchError(f"{who} is gone: {block.why}")
    block.touch(stream)


def generate(plan: Plan, configured: ConfiguredKernel, *, pack: bool) -> Callable[..., Any]:
    """Write and compile the launch function of a plan.

    With ``pack`` it gives ``(call, slots)`` instead of calling.
    """
    kernel, state = plan.kernel, plan.state
    device = state.device
    names: dict[str, Any] = {
        "DEVICE": device, "LOST": DeviceLostError, "SLOW": configured.again, "TOUCH": touch, "OVERLAP": overlap,
        "NOTE": device._recent.append, "NAME": kernel.__name__, "CALL": plan.call, "PROGRAM": plan.program,
    }  # fmt: skip
    params = [f"p{number}" for number in range(len(plan.parameters))]
    given = plan.stream is not None
    head = ", ".join((["st"] if given else []) + params)
    lines = [f"def launch({head}):"]

    def add(text: str, depth: int = 1) -> None:
        lines.append("    " * depth + text)

    # 1. is this the combination that the function was made for?
    same: list[str] = []
    if given:
        assert plan.stream is not None
        names["STATE"] = plan.stream._state
        same.append("st._state is STATE")
    for number, (argument, signature) in enumerate(zip(plan.types, plan.signatures, strict=True)):
        if signature is not None:
            names[f"S{number}"] = signature
            same.append(f"p{number}._sig is S{number}")
        elif isinstance(argument, ConstValue):
            names[f"C{number}"] = argument.value
            names[f"K{number}"] = type(argument.value)
            exact = "is" if isinstance(argument.value, float) else "=="
            same.append(f"p{number}.__class__ is K{number} and p{number} {exact} C{number}")
        elif plan.parameters[number].dtype is None:
            assert isinstance(argument, ScalarType)
            same.append(_scalar_guard(number, argument.dtype, names))
    if plan.kernel.front.has_constants:
        names["CONSTANTS"], names["KNOWN"] = plan.kernel.front.constants, plan.constants
        same.append("CONSTANTS() == KNOWN")
    if same:
        add("try:")
        add(f"same = {' and '.join(same)}", 2)
        add("except AttributeError:")
        add("same = False", 2)
        add("if not same:")
        arguments = f"({', '.join(params)}{',' if len(params) == 1 else ''})"
        add(f"return SLOW({'st' if given else 'None'}, {arguments}, {pack})", 2)
    add("if DEVICE._dead is not None:")
    add("raise DEVICE._failure()", 2)
    if given:
        add("if st._why is not None:")
        add("st._check()", 2)
        stream = "st"
    else:
        names["ST"], names["H"] = state.default_stream, state.default_stream._handle
        stream = "ST"

    # 2. scalars
    slots = _scalars(plan, names, add)

    # 3. memory: liveness, streams, overlap
    arrays = [number for number, signature in enumerate(plan.signatures) if signature is not None]
    for number in arrays:
        names[f"WHO{number}"] = f"{kernel.__name__}: the array {plan.parameters[number].name!r}"
        add(f"b{number} = p{number}._block")
        add(f"if b{number}.home is not {stream}:")
        add(f"TOUCH(b{number}, {stream}, WHO{number})", 2)
    if plan.config is None:
        add("return (None, ())" if pack else "return")
    else:
        _overlap_lines(plan, arrays, names, add)
        _call_lines(plan, names, slots, stream, add, pack)
    source = "\n".join(lines)
    code = compile(source, f"<gpucore launch of {kernel.__name__}>", "exec")
    exec(code, names)
    function: Callable[..., Any] = names["launch"]
    return function


def _scalar_guard(number: int, dtype: DType, names: dict[str, Any]) -> str:
    """For a parameter without an annotation: the Python class and the range that chose its dtype."""
    names["CLASS_OF"] = scalar_class
    names[f"T{number}"] = dtype
    if dtype.name == "f32":
        return f"p{number}.__class__ is float"
    if dtype.name == "i32":
        return f"p{number}.__class__ is int and -2147483648 <= p{number} <= 2147483647"
    return f"CLASS_OF(p{number}, '') is T{number}"


def _scalars(plan: Plan, names: dict[str, Any], add: Callable[..., None]) -> dict[str, str]:
    """Emit conversions; the expression that stands for each scalar, by parameter name."""
    low = {param.name: param for param in plan.program.params} if plan.program is not None else {}
    slots: dict[str, str] = {}
    for number, (parameter, argument) in enumerate(zip(plan.parameters, plan.types, strict=True)):
        if not isinstance(argument, ScalarType):
            continue
        dtype = argument.dtype
        who = f"{plan.kernel.__name__}: the argument {parameter.name!r}"
        convert = converter(dtype, who)
        names[f"V{number}"] = convert
        plain = {"float": "float", "int": "int", "uint": "int", "bool": "bool"}[dtype.kind]
        test = f"p{number}.__class__ is not {plain}"
        if convert.low is not None:
            names[f"L{number}"], names[f"U{number}"] = convert.low, convert.high
            test += f" or not L{number} <= p{number} <= U{number}"
        add(f"if {test}:")
        add(f"p{number} = V{number}(p{number})", 2)
        slots[parameter.name] = f"p{number}"
        lowered = low.get(parameter.name)
        if lowered is not None and dtype.name in ("f16", "bf16"):
            names[f"B{number}"] = pack_half(dtype, lowered.dtype)
            add(f"p{number} = B{number}(p{number})")
    return slots


def _overlap_lines(plan: Plan, arrays: list[int], names: dict[str, Any], add: Callable[..., None]) -> None:
    add("call = CALL")
    if plan.overlapping is None:
        return
    names["OVERLAPPING"] = plan.overlapping
    pairs = [
        (a, b)
        for place, a in enumerate(arrays)
        for b in arrays[place + 1 :]
        if plan.parameters[a].name in plan.written or plan.parameters[b].name in plan.written
    ]
    tests = []
    for a, b in pairs:
        first, second = plan.signatures[a], plan.signatures[b]
        assert first is not None and second is not None
        outside = first.outside or second.outside
        tests.append(f"OVERLAP(p{a}, p{b})" if outside else f"b{a} is b{b} and OVERLAP(p{a}, p{b})")
    if tests:
        add(f"if {' or '.join(tests)}:")
        add("call = OVERLAPPING()", 2)


def _call_lines(
    plan: Plan,
    names: dict[str, Any],
    scalars: dict[str, str],
    stream: str,
    add: Callable[..., None],
    pack: bool,
) -> None:
    """Unpack the slots in the order of the compiled kernel's parameters and call."""
    assert plan.program is not None
    numbers = {parameter.name: number for number, parameter in enumerate(plan.parameters)}
    slots: list[str] = []
    for param in plan.program.params:
        if param.name == "$error":
            names["RECORD"] = plan.state.error_record
            add(f"ea, eo, en = RECORD({stream}, PROGRAM)")
            slots += ["ea", "eo", "en"]
        elif param.name.startswith("$extent"):
            slots.append(str(plan.extents[int(param.name.removeprefix("$extent"))]))
        elif param.rank:
            number = numbers[param.name]
            mine = [f"a{number}", f"o{number}", *(f"n{number}_{axis}" for axis in range(param.rank))]
            add(f"{', '.join(mine)} = p{number}._slots")
            slots += mine
        else:
            slots.append(scalars[param.name])
    if pack:
        add(f"return call, ({''.join(f'{slot}, ' for slot in slots)})")
        return
    handle = "H" if stream == "ST" else "st._handle"
    add("NOTE(NAME)")
    add("try:")
    add(f"call({', '.join([handle, *slots])})", 2)
    add("except LOST as error:")
    add("raise DEVICE._lose(error) from error", 2)


# --- bound launches ----------------------------------------------------------------------------------
class BoundLaunch:
    """A launch with its arguments frozen: calling it costs the driver call.

    Addresses, shapes, scalars and captured constants stay as they were at ``bind``; contents of arrays may change.
    It keeps its arrays alive.
    """

    __slots__ = (
        "_arrays",
        "_call",
        "_device",
        "_handle",
        "_name",
        "_record",
        "_state",
        "_stream",
        "_version",
    )

    def __init__(
        self, name: str, state: ContextState, stream: Stream, arrays: tuple[Array[Any], ...],
        call: Callable[[Any], Any] | None, record: Any,
    ) -> None:  # fmt: skip
        self._name = name
        self._state = state
        self._device = state.device
        self._stream = stream
        self._arrays = arrays
        self._call = call
        self._record = record
        self._handle = stream._handle
        home = all(array._block.home is stream for array in arrays)
        # -1 never matches: another stream's use of the memory is recorded anew each time
        self._version = state.version if home and record is None else -1

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
        target._check()
        if target._state.device is not self._device:
            raise LaunchError(f"{self._name}: the stream belongs to another device than the arrays")
        home = True
        version = state.version
        for array in self._arrays:
            block = array._block
            if block.home is not target:
                home = False
                touch(block, target, f"{self._name}: a bound array")
        if self._record is not None:
            if target is not self._stream:
                raise LaunchError(
                    f"{self._name}: a checked launch that was bound to one stream runs on that one"
                )
            self._record()
        elif home and stream is None:
            self._version = version
        return target._handle


def bind_launch(configured: ConfiguredKernel, stream: Stream | None, args: tuple[Any, ...]) -> BoundLaunch:
    """Resolve, check and pack the arguments once."""
    kernel = configured.kernel
    kernel.check_count(args)
    state = find_state(kernel, stream, args)
    state.check()
    types, signatures, _ = classify(kernel, args, state)
    plan = make_plan(configured, stream, state, types, signatures, kernel.front.constants(), args)
    pack = generate(plan, configured, pack=True)
    call, slots = pack(*args) if stream is None else pack(stream, *args)
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

    record: Callable[[], Any] | None = None
    if plan.program is not None and any(param.name == "$error" for param in plan.program.params):
        program = plan.program

        def record() -> None:
            state.error_record(target, program)

    return BoundLaunch(kernel.__name__, state, target, arrays, bound, record)
