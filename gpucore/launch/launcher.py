"""The launch functions: Python written for one kernel, launch shape and combination of argument types.

The function compares the identity of each array's signature (dtype, rank, device, contiguity and context in
one), checks scalars, records the streams that use memory, picks the variant for overlapping arrays, and makes
the one call that the backend prepared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpucore.errors import USER_ERRORS, DeviceLostError, LaunchError
from gpucore.lang.types import ConstValue, ScalarType, exact, float_rule
from gpucore.launch.scalar_arguments import converter, pack_half, scalar_class
from gpucore.runtime.array import Array

if TYPE_CHECKING:
    from gpucore.ir.dtypes import DType
    from gpucore.launch.kernel import ConfiguredKernel
    from gpucore.launch.resolve import Plan
    from gpucore.runtime.memory_pool import Block
    from gpucore.runtime.stream import Stream

__all__ = ["generate", "overlap", "record_use"]


def extent_of(array: Array[Any]) -> tuple[int, int]:
    """First byte and end of a contiguous array, in its block or in the device's address space where known."""
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


def record_use(block: Block, stream: Stream, who: str) -> None:
    """Record the use of a block by a stream that is not its home."""
    if block.home is None:
        raise LaunchError(f"{who} is gone: {block.why}")
    block.record_use(stream)


def generate(plan: Plan, configured: ConfiguredKernel, *, pack: bool) -> Callable[..., Any]:
    """Write and compile the launch function of a plan.

    With ``pack`` it gives ``(call, slots)`` instead of calling.
    """
    kernel, state = plan.kernel, plan.state
    device = state.device
    names: dict[str, Any] = {
        "DEVICE": device, "LOST": DeviceLostError, "SLOW": configured.relaunch, "RECORD_USE": record_use,
        "OVERLAP": overlap, "NOTE": device._recent.append, "NAME": kernel.__name__, "CALL": plan.call,
        "PROGRAM": plan.program, "ALIKE": _alike, "sure": False,
    }  # fmt: skip
    params = [f"p{number}" for number in range(len(plan.parameters))]
    given = plan.stream is not None
    head = ", ".join([*(["st"] if given else []), *params, "sure=False"])
    lines = [f"def launch({head}):"]

    def add(text: str, depth: int = 1) -> None:
        lines.append("    " * depth + text)

    # 1. is this the combination that the function was made for?
    same: list[str] = []
    default = float_rule(plan.parameters, plan.types).default
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
            if type(argument.value) in (int, bool, str):
                names[f"K{number}"] = type(argument.value)
                same.append(f"p{number}.__class__ is K{number} and p{number} == C{number}")
            else:
                same.append(f"(p{number} is C{number} or ALIKE(p{number}, C{number}))")
        elif plan.parameters[number].dtype is None:
            assert isinstance(argument, ScalarType)
            same.append(_scalar_guard(number, argument.dtype, default, names))
    same += _constant_guards(plan, names)
    if same:
        add("try:")
        add(f"same = {' and '.join(same)}", 2)
        add("except (AttributeError, KeyError, ValueError):")
        add("same = False", 2)
        # called with what it was looked up for, it must not look for itself again
        add("if not same and not sure:")
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
        add(f"RECORD_USE(b{number}, {stream}, WHO{number})", 2)
    if plan.config is None:
        add("return (None, ())" if pack else "return")
    else:
        _overlap_lines(plan, arrays, names, add)
        _call_lines(plan, names, slots, stream, add, pack)
    source = "\n".join(lines)
    code = compile(source, f"<gpucore launch of {kernel.__name__}>", "exec")
    exec(code, names)
    function: Callable[..., Any] = names["launch"]
    if not pack and not given:
        function.__dict__["direct"] = _direct(lines[1:], params, names)
    return function


def _direct(body: list[str], params: list[str], names: dict[str, Any]) -> Callable[..., Any]:
    """The launch function as a method: what ``ConfiguredKernel.__call__`` becomes, one call less on the hot path.

    Other counts of arguments, and arguments by name, go the general way.
    """
    missing = object()
    names["NONE"], names["USER_ERRORS"], names["GENERAL"] = missing, USER_ERRORS, _general(missing)
    defaults = "".join(f", {p}=NONE" for p in params)
    odd = " or ".join([*([f"{params[-1]} is NONE"] if params else []), "more", "named"])
    given = f"({', '.join(params)}{',' if params else ''})"
    lines = [
        f"def __call__(self{defaults}, *more, **named):",
        "    try:",
        f"        if {odd}:",
        f"            return GENERAL(self, {given}, more, named)",
        *(f"    {line}" for line in body),
        "    except USER_ERRORS as error:",
        "        raise error.with_traceback(None) from None",
    ]
    exec(compile("\n".join(lines), f"<gpucore launch of {names['NAME']}>", "exec"), names)
    method: Callable[..., Any] = names["__call__"]
    return method


def _general(missing: object) -> Callable[..., Any]:
    def general(
        configured: ConfiguredKernel, given: tuple[Any, ...], more: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        configured.launch((*(value for value in given if value is not missing), *more), named)

    return general


def _constant_guards(plan: Plan, names: dict[str, Any]) -> list[str]:
    """Captured constants are looked at where they live; one that is another object is compared in full."""
    guards = []
    seen: set[tuple[int, str]] = set()
    for number, (place, name, value) in enumerate(plan.kernel.kernel_source.watched()):
        if (id(place), name) in seen:
            continue
        seen.add((id(place), name))
        names[f"W{number}"], names[f"D{number}"] = value, place
        read = f"D{number}[{name!r}]" if isinstance(place, dict) else f"D{number}.{name}"
        guards.append(f"({read} is W{number} or ALIKE({read}, W{number}))")
    return guards


def _alike(now: Any, then: Any) -> bool:
    """Whether a constant that is another object now would compile to the same code."""
    return isinstance(then, (int, float, str, tuple)) and bool(exact(now) == exact(then))


def _scalar_guard(number: int, dtype: DType, default: DType, names: dict[str, Any]) -> str:
    """For a parameter without an annotation: the Python class and the range that chose its dtype."""
    names["CLASS_OF"], names["FLOAT"] = scalar_class, default
    names[f"T{number}"] = dtype
    general = f"CLASS_OF(p{number}, '', FLOAT) is T{number}"
    if dtype is default:
        return f"(p{number}.__class__ is float or {general})"
    if dtype.name == "i32":
        return f"(p{number}.__class__ is int and -2147483648 <= p{number} <= 2147483647 or {general})"
    return general


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
        assert first is not None
        assert second is not None
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
    """Put the slots in the order of the compiled kernel's parameters, and call."""
    assert plan.program is not None
    numbers = {parameter.name: number for number, parameter in enumerate(plan.parameters)}
    slots: list[str] = []
    unpack: list[str] = []
    given: list[str] = []  # what makes a launch the same as the last one
    record = False
    for param in plan.program.params:
        if param.name == "$error":
            record = True
            names["RECORD"] = plan.state.error_record
            slots += ["ea", "eo", "en"]
        elif param.name.startswith("$extent"):
            slots.append(str(plan.extents[int(param.name.removeprefix("$extent"))]))
        elif param.rank:
            number = numbers[param.name]
            mine = [f"a{number}", f"o{number}", *(f"n{number}_{axis}" for axis in range(param.rank))]
            unpack.append(f"{', '.join(mine)} = p{number}._packed")
            given.append(f"p{number}._packed")
            slots += mine
        else:
            slots.append(scalars[param.name])
            given.append(scalars[param.name])
    if pack:
        for line in (*unpack, *([f"ea, eo, en = RECORD({stream}, PROGRAM).packed"] if record else [])):
            add(line)
        add(f"return call, ({''.join(f'{slot}, ' for slot in slots)})")
        return
    handle = "H" if stream == "ST" else "st._handle"
    launch = f"call({', '.join([handle, *slots])})"
    add("NOTE(NAME)")
    add("try:")
    if record:
        for line in (*unpack, f"with RECORD({stream}, PROGRAM) as (ea, eo, en):"):
            add(line, 2)
        add(launch, 3)
    elif not given or not hasattr(plan.call, "bind"):
        for line in (*unpack, launch):
            add(line, 2)
    else:
        _repeat_lines(names, given, unpack, launch, f"call.bind({', '.join(slots)})", handle, add)
    add("except LOST as error:")
    add("raise DEVICE._lose(error) from error", 2)


def _repeat_lines(
    names: dict[str, Any],
    given: list[str],
    unpack: list[str],
    launch: str,
    bind: str,
    handle: str,
    add: Callable[..., None],
) -> None:
    """A launch with the objects of the last one uses what was packed for it; the second one in a row packs.

    The slots of an array are one tuple for its life, and LAST keeps what it compares with: no other object can have
    its identity.  LAST holds one tuple, which is replaced as a whole, so a thread never sees half of it.
    """
    names["LAST"] = [(*(object() for _ in given), None)]
    parts = [f"g{number}" for number in range(len(given))]
    for part, value in zip(parts, given, strict=True):
        add(f"{part} = {value}", 2)
    add(f"{', '.join(f'm{number}' for number in range(len(given)))}, ready = LAST[0]", 2)
    add(f"if {' and '.join(f'{part} is m{number}' for number, part in enumerate(parts))}:", 2)
    add("if ready is None:", 3)
    for line in (*unpack, f"ready = {bind}", f"LAST[0] = ({', '.join(parts)}, ready)"):
        add(line, 4)
    add(f"ready({handle})", 3)
    add("else:", 2)
    for line in (*unpack, launch, f"LAST[0] = ({', '.join(parts)}, None)"):
        add(line, 3)
