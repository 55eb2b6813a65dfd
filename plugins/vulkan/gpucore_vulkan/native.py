"""What the device's arithmetic really does, found by running it.

At the first opening of a device small kernels compute every operation that a renderer might leave to the
driver on operands chosen to hurt: special values, denormals, ties, operands whose fused and unfused results
differ.  An operation is native when every bit is as IEEE-754 wants.  Denormals are tried as the driver has
them and with ``DenormPreserve``, which some drivers honour without advertising it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gpucore.errors import CompileError, DeviceLostError
from gpucore.hookspecs import CompileOptions, LaunchConfig, Target
from gpucore.ir import (
    Atomic,
    Barrier,
    Const,
    DType,
    Extent,
    Function,
    If,
    Load,
    Memory,
    Module,
    Op,
    Stmt,
    Store,
    Subgroup,
    ThreadIndex,
    Value,
    bool_,
    f16,
    f32,
    f64,
    i8,
    i16,
    i32,
    u8,
    u16,
    u32,
    u64,
)  # fmt: skip
from gpucore.ir.ops import op_key
from gpucore_vulkan import looping
from gpucore_vulkan.exactness import (
    COUNT,
    Bits,
    Case,
    Group,
    constant_cases,
    float_cases,
    fma_cases,
    from_half_cases,
    half_cases,
    integer_cases,
    operands,
    root_cases,
    rounding_cases,
    to_integer_cases,
    widening_cases,
)  # fmt: skip
from gpucore_vulkan.findings import Findings
from gpucore_vulkan.sequences import (
    choice_cases,
    conversion_cases,
    integer_conversion_cases,
    narrow_cases,
)  # fmt: skip

if TYPE_CHECKING:
    from gpucore_vulkan.device import Device

__all__ = ["explain", "explore"]

_BLOCK: Final = 64


# --- kernels -----------------------------------------------------------------------------------------
def _module(name: str, inputs: dict[str, tuple[DType, Bits]], cases: list[Case]) -> Module:
    """A kernel that loads the inputs at its thread's place and stores every case's result."""
    arrays = {key: Memory(key, kind, "global") for key, (kind, _) in inputs.items()}
    outputs = [
        Memory(f"out{n}", u32 if c.result is bool_ else c.result, "global") for n, c in enumerate(cases)
    ]
    i, n, inside = Value("i", i32), Value("n", i32), Value("inside", bool_)
    body: list[Stmt] = []
    values: dict[str, Value] = {}
    for key, memory in arrays.items():
        values[key] = Value(f"v.{key}", memory.dtype)
        body.append(Load(values[key], memory, (i,)))
    for number, case in enumerate(cases):
        named = dict(values)

        def computed(result: Value, op: str, args: tuple[str | float, ...], named: dict[str, Value]) -> None:
            kind = _operand_kind(args, result.dtype, named)
            given: list[Value] = []
            for place, argument in enumerate(args):
                if isinstance(argument, str):
                    given.append(named[argument])
                    continue
                given.append(Value(f"{result.name}.{place}", kind))
                body.append(Const(given[-1], int(argument) if kind.is_integer else argument))
            body.append(Op(result, op, tuple(given)))

        for step in case.before:
            value = Value(f"t{number}.{step.name}", step.result)
            computed(value, step.op, step.args, named)
            named[step.name] = value
        result = Value(f"r{number}", case.result)
        computed(result, case.op, case.args, named)
        if case.result is bool_:
            word = Value(f"w{number}", u32)
            body.append(Op(word, "cast", (result,)))
            result = word
        body.append(Store(outputs[number], (i,), result))
    kernel = Function(
        name,
        (*arrays.values(), *outputs),
        None,
        (),
        (),
        (
            ThreadIndex(i, "global_id", 0),
            Extent(n, next(iter(arrays.values())), 0),
            Op(inside, "lt", (i, n)),
            If(inside, tuple(body)),
        ),
    )
    return Module(kernel)


def _names(case: Case, inputs: dict[str, tuple[DType, Bits]]) -> list[str]:
    """The inputs that a case reads."""
    used = [*case.args, *(a for step in case.before for a in step.args)]
    return [a for a in used if isinstance(a, str) and a in inputs]


def _operand_kind(args: tuple[str | float, ...], result: DType, named: dict[str, Value]) -> DType:
    """The dtype of an operation's constants: that of its other operands, conditions aside."""
    kinds = [named[a].dtype for a in args if isinstance(a, str) and named[a].dtype is not bool_]
    return kinds[0] if kinds else result


def _key(case: Case, inputs: dict[str, tuple[DType, Bits]]) -> str:
    if case.key:
        return case.key
    kind = next(inputs[a][0] for a in case.args if isinstance(a, str))
    return op_key(case.op, (kind,), case.result)


def _same(found: Bits, expected: Bits) -> Bits:
    """Where the bits are alike, any NaN like any other."""
    if expected.dtype.kind != "f":
        return np.asarray(found == expected)
    word = f"u{expected.dtype.itemsize}"
    return np.asarray(np.where(np.isnan(expected), np.isnan(found), found.view(word) == expected.view(word)))


def _denormal(values: Bits) -> Bits:
    """Where numbers are denormal, or the least that is not, to which some denormals are rounded."""
    if values.dtype.kind != "f":
        return np.zeros(values.shape, bool)
    return np.asarray((values != 0) & (np.abs(values) <= np.finfo(values.dtype).tiny))


class _Bench:
    """Runs probe kernels on one device."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def arrays(self, target: Target, module: Module, arrays: list[Bits], grid: int, block: int) -> list[Bits]:
        """Run a kernel whose parameters are these arrays; what they hold afterwards."""
        from gpucore_vulkan.compiler import compile_module
        from gpucore_vulkan.launching import Executable, prepare_launch
        from gpucore_vulkan.transfers import copy

        device = self.device
        stream = device.create_stream()
        executable = Executable(device, compile_module(target, module, CompileOptions()))
        pieces = [device.memory.alloc(array.nbytes, "device") for array in arrays]
        try:
            slots: list[Any] = []
            for piece, array in zip(pieces, arrays, strict=True):
                copy(device, piece, 0, array.data.cast("B"), 0, array.nbytes, stream)
                slots += [piece, 0, array.size]
            prepare_launch(device, executable, LaunchConfig((grid,), (block,)))(stream, *slots)
            found = [np.empty_like(array) for array in arrays]
            for piece, array in zip(pieces, found, strict=True):
                copy(device, array.data.cast("B"), 0, piece, 0, array.nbytes, stream)
            return found
        finally:
            if device.lost is None:
                stream.synchronize()
                for piece in pieces:
                    device.memory.free(piece)
                executable.close()
                device.destroy_stream(stream)

    def _run_cases(
        self, target: Target, name: str, inputs: dict[str, tuple[DType, Bits]], cases: list[Case]
    ) -> tuple[list[Bits], list[Bits]]:
        """What the cases gave and what they should have given."""
        module = _module(name, inputs, cases)
        given = [np.ascontiguousarray(values) for _, values in inputs.values()]
        wanted: list[Bits] = [
            c.expected.astype(np.uint32) if c.result is bool_ else c.expected for c in cases
        ]
        arrays: list[Bits] = [*given, *(np.zeros_like(w) for w in wanted)]
        found = self.arrays(target, module, arrays, -(-COUNT // _BLOCK), _BLOCK)[len(given) :]
        return found, wanted

    def cases(
        self, target: Target, name: str, inputs: dict[str, tuple[DType, Bits]], cases: list[Case]
    ) -> tuple[set[str], bool]:
        """The keys of the cases whose every bit is right, and whether denormals alone made another one
        wrong."""
        try:
            found, wanted = self._run_cases(target, name, inputs, cases)
        except DeviceLostError:
            raise
        except CompileError:
            return set(), False
        right: dict[str, bool] = {}
        flushed = False
        for case, result, expected in zip(cases, found, wanted, strict=True):
            key = _key(case, inputs)
            wrong = ~_same(result, expected)
            right[key] = right.get(key, True) and not wrong.any()
            if wrong.any():
                small = _denormal(expected)
                for name in _names(case, inputs):
                    small |= _denormal(inputs[name][1])
                flushed |= bool(small[wrong].all())
        return {key for key, good in right.items() if good}, flushed


# --- more kernels ---------------------------------------------------------------------------------
def _lanes_module() -> Module:
    """Each thread's lane and the ballot of its subgroup."""
    lanes, ballots = Memory("lanes", i32, "global"), Memory("ballots", u64, "global")
    i, n, lane = Value("i", i32), Value("n", i32), Value("lane", i32)
    truth, bits = Value("truth", bool_), Value("bits", u64)
    body = (
        ThreadIndex(i, "thread_id", 0),
        Extent(n, lanes, 0),
        Op(truth, "lt", (i, n)),
        Subgroup(lane, "lane", ()),
        Subgroup(bits, "ballot", (truth,)),
        Store(lanes, (i,), lane),
        Store(ballots, (i,), bits),
    )
    return Module(Function("lanes", (lanes, ballots), None, (), (), body))


def _lanes_right(bench: _Bench, target: Target, width: int) -> bool:
    threads = min(3 * width + 1, bench.device.physical.invocations)
    linear = np.arange(threads)
    given: list[Bits] = [np.zeros(threads, np.int32), np.zeros(threads, np.uint64)]
    lanes, ballots = bench.arrays(target, _lanes_module(), given, 1, threads)
    count = np.minimum(threads - linear // width * width, width)
    full = np.array([(1 << int(c)) - 1 for c in count], np.uint64)
    return bool(np.array_equal(lanes, linear % width) and np.array_equal(ballots, full))


def _atomic_module(kind: DType) -> Module:
    """Float atomic additions, each thread on an element of its own, in global and in shared memory."""
    target, other = Memory("target", kind, "global"), Memory("other", kind, "global")
    result, tile = Memory("result", kind, "global"), Memory("tile", kind, "shared", 1, (_BLOCK,))
    i, t = Value("i", i32), Value("t", i32)
    a, b, old, last, total = (Value(name, kind) for name in ("a", "b", "old", "last", "total"))
    body = (
        ThreadIndex(i, "global_id", 0),
        ThreadIndex(t, "thread_id", 0),
        Load(a, target, (i,)),
        Load(b, other, (i,)),
        Store(tile, (t,), a),
        Barrier(),
        Atomic(old, "add", target, (i,), b),
        Atomic(last, "add", tile, (t,), b),
        Barrier(),
        Load(total, tile, (t,)),
        Store(result, (i,), total),
    )
    return Module(Function("probe_atomic", (target, other, result), None, (), (tile,), body))


def _atomic_right(bench: _Bench, target: Target, kind: DType) -> bool:
    a, b = operands(kind, 1), operands(kind, 2)
    expected = a + b
    found = bench.arrays(target, _atomic_module(kind), [a, b, np.zeros_like(a)], COUNT // _BLOCK, _BLOCK)
    return bool(_same(found[0], expected).all() and _same(found[2], expected).all())


# --- the whole ---------------------------------------------------------------------------------------
def explore(device: Device, base: Target) -> Findings:
    from gpucore_vulkan.features import has_subgroups

    bench = _Bench(device)
    physical = device.physical
    double = "shaderFloat64" in physical.features
    half = {"shaderFloat16", "storageBuffer16BitAccess"} <= physical.features
    narrow = physical.features >= {
        "shaderInt8", "shaderInt16", "storageBuffer8BitAccess", "storageBuffer16BitAccess"
    }  # fmt: skip
    inexact_keys: set[str] = set()
    asked: set[str] = set()
    features = set(base.features)

    def wanted(cases: Group) -> set[str]:
        return {_key(case, cases[0]) for case in cases[1]}

    def run(name: str, cases: Group, *remedies: str) -> None:
        """Run a group; where something is wrong, run it again with each remedy and keep those that mend it.

        A remedy for denormals is tried where nothing but denormals was wrong.
        """
        asked.update(wanted(cases))
        good, flushed = bench.cases(dataclasses.replace(base, features=frozenset(features)), name, *cases)
        for remedy in remedies:
            if good == wanted(cases):
                break
            if remedy in features or (remedy.startswith("DenormPreserve") and not flushed):
                continue
            more = dataclasses.replace(base, features=frozenset(features | {remedy}))
            again, still = bench.cases(more, name, *cases)
            if len(again) > len(good):
                features.add(remedy)
                good, flushed = again, still
        inexact_keys.update(wanted(cases) - good)

    def run_fused(kind: DType) -> None:
        """Look for a way of writing fma that is right, the cheapest first.

        Where denormals alone are wrong, the ways are tried again with operands that may lead to denormals sent
        elsewhere.
        """
        cases = fma_cases(kind)
        asked.update(wanted(cases))
        hidden, plain = "OpaqueConstants", f"PlainFma{kind.bits}"
        tried = [frozenset(way) for way in ((), (plain,), (hidden,), (plain, hidden))]
        for way in tried:
            more = dataclasses.replace(base, features=frozenset(features | way))
            good, flushed = bench.cases(more, f"probe_fma_{kind.name}", *cases)
            if good == wanted(cases):
                features.update(way)
                return
            if flushed and kind is f32 and double and "GuardedFma32" not in way:
                tried.append(way | {"GuardedFma32"})
        inexact_keys.update(wanted(cases))

    def run_roots() -> None:
        """Where the driver's square root of f32 is not exact, try the one that an exact fma allows."""
        if "sqrt.f32" not in inexact_keys or "fma.f32" in inexact_keys:
            return
        refined = dataclasses.replace(base, features=frozenset(features | {"RefinedSqrt32"}))
        if bench.cases(refined, "probe_sqrt_f32", *root_cases())[0]:
            features.add("RefinedSqrt32")
            inexact_keys.discard("sqrt.f32")

    with np.errstate(all="ignore"):
        for kind in (f32, f64) if double else (f32,):
            run(f"probe_{kind.name}", _usable(float_cases(kind), double), f"DenormPreserve{kind.bits}")
            run(f"probe_constants_{kind.name}", constant_cases(kind), "OpaqueConstants")
            run_fused(kind)
            run(f"probe_choices_{kind.name}", choice_cases(kind), "OpaqueOnes")
        run_roots()
        if narrow:
            for small in (i8, i16, u8, u16):
                run(f"probe_narrow_{small.name}", narrow_cases(small), "OpaqueNarrowing")
            for kind in (f32, f64) if double else (f32,):
                row = conversion_cases(kind, double)
                run(f"probe_conversions_{kind.name}", row, "OpaqueConversions", "SplitConversions")
            run(
                "probe_conversions", integer_conversion_cases(double), "OpaqueConversions", "SplitConversions"
            )
            run("probe_from_integers", integer_cases(double))
            run("probe_f32_to_integers", to_integer_cases(f32))
            if double:
                run("probe_f64_to_integers", to_integer_cases(f64))
            run("probe_widening", widening_cases(), "OpaqueWidening")
        if double:
            run("probe_f64_f32_rounding", rounding_cases(f64, f32), "OpaqueRounding")
        if half:
            run("probe_f16_to_f32", from_half_cases(False), "DenormPreserve16")
            run("probe_f32_to_f16", half_cases(f32), "DenormPreserve16")
            run("probe_f16_f32_rounding", rounding_cases(f32, f16), "OpaqueRounding")
            if double:
                run("probe_f16_to_f64", from_half_cases(True), "DenormPreserve16")
                run("probe_f64_to_f16", half_cases(f64), "DenormPreserve16")
                if "cast.f64.f16" not in inexact_keys:
                    run("probe_f16_f64_rounding", rounding_cases(f64, f16), "OpaqueRounding")
    from gpucore.ir.ops import BASELINE

    native = frozenset(asked - inexact_keys - BASELINE)
    if {"cast.f16.f32", "cast.f32.f16"} <= native:
        native |= {
            "select.f16",
            "bitcast.raw.f16.u16",
            "bitcast.raw.u16.f16",
            "bitcast.raw.f16.i16",
            "bitcast.raw.i16.f16",
        }
    else:
        native = frozenset(k for k in native if "f16" not in k)
    final = dataclasses.replace(base, features=frozenset(features))
    with np.errstate(all="ignore"):
        inexact = frozenset(
            f"add.{kind.name}"
            for kind in (f32, f64)
            if f"add.{kind.name}" in base.atomics and not _atomic_right(bench, final, kind)
        )
    subgroups = has_subgroups(physical)
    if subgroups:
        subgroups = all(
            _lanes_right(bench, dataclasses.replace(final, features=_width(final.features, width)), width)
            for width in physical.subgroup_sizes
        )
    wrong = tuple(sorted(inexact_keys & BASELINE))
    limit, more = looping.explore(
        lambda target, module, arrays: bench.arrays(target, module, arrays, 1, 1), final
    )
    return Findings(native, frozenset(features | more), wrong, inexact, subgroups, limit)


def explain(device: Device) -> list[str]:
    """Of every operation that is not exact on the device: one operand, what came and what should have come."""
    from gpucore_vulkan.features import device_target

    bench, target = _Bench(device), device_target(device)
    lines: list[str] = []
    with np.errstate(all="ignore"):
        groups = [float_cases(f32), fma_cases(f32), constant_cases(f32)]
        groups += [half_cases(f32), rounding_cases(f32, f16)]
        if "shaderFloat64" in device.physical.features:
            groups += [float_cases(f64), fma_cases(f64), constant_cases(f64), half_cases(f64)]
        groups += [integer_cases(True), widening_cases()]
        for inputs, cases in groups:
            found, wanted = bench._run_cases(target, "explain", inputs, cases)
            for case, result, expected in zip(cases, found, wanted, strict=True):
                wrong = np.flatnonzero(~_same(result, expected))
                if wrong.size:
                    n = int(wrong[0])
                    operands_ = [inputs[name][1][n] for name in _names(case, inputs)]
                    text = ", ".join(float(o).hex() if o.dtype.kind == "f" else str(o) for o in operands_)
                    lines.append(
                        f"{_key(case, inputs)}: {wrong.size} of {COUNT} wrong, ({text}) gave {result[n]!r}, "
                        f"not {expected[n]!r}"
                    )
    return lines


def _width(features: frozenset[str], width: int) -> frozenset[str]:
    return frozenset(f for f in features if not f.startswith("SubgroupSize")) | {f"SubgroupSize{width}"}


def _usable(group: Group, double: bool) -> Group:
    return group if double else (group[0], [c for c in group[1] if c.result is not f64])
