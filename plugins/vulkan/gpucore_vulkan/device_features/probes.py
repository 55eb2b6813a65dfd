"""What the device's arithmetic really does, found by running it.

At the first opening of a device small kernels compute every operation that a renderer might leave to the
driver on operands chosen to hurt: special values, denormals, ties, operands whose fused and unfused results
differ.  An operation is native when every bit is as IEEE-754 wants.  Denormals are tried as the driver has
them and with ``DenormPreserve``, which some drivers honour without advertising it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from gpucore.hookspecs import Target
from gpucore.ir import (
    Atomic,
    Barrier,
    DType,
    Extent,
    Function,
    Load,
    Memory,
    Module,
    Op,
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
    u64,
)  # fmt: skip
from gpucore_vulkan.device_features import probe_loops, probe_places
from gpucore_vulkan.device_features.probe_answers import ProbeAnswers
from gpucore_vulkan.device_features.probe_combinations import REMEDIES, combination_cases
from gpucore_vulkan.device_features.probe_operations import (
    COUNT,
    Bits,
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
from gpucore_vulkan.device_features.probe_runner import (
    BLOCK,
    ProbeRunner,
    case_key,
    input_names,
    same_bits,
)  # fmt: skip
from gpucore_vulkan.device_features.probe_sequences import (
    choice_cases,
    conversion_cases,
    integer_conversion_cases,
    narrow_cases,
)  # fmt: skip
from gpucore_vulkan.device_features.targets import chosen_code

if TYPE_CHECKING:
    from gpucore_vulkan.device import Device

__all__ = ["explain", "explore"]


# --- kernels ---------------------------------------------------------------------------------
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


def _lanes_right(runner: ProbeRunner, target: Target, width: int) -> bool:
    threads = min(3 * width + 1, runner.device.physical.invocations)
    linear = np.arange(threads)
    given: list[Bits] = [np.zeros(threads, np.int32), np.zeros(threads, np.uint64)]
    lanes, ballots = runner.arrays(target, _lanes_module(), given, 1, threads)
    count = np.minimum(threads - linear // width * width, width)
    full = np.array([(1 << int(c)) - 1 for c in count], np.uint64)
    return bool(np.array_equal(lanes, linear % width) and np.array_equal(ballots, full))


def _atomic_module(kind: DType) -> Module:
    """Float atomic additions, each thread on an element of its own, in global and in shared memory."""
    target, other = Memory("target", kind, "global"), Memory("other", kind, "global")
    result, tile = Memory("result", kind, "global"), Memory("tile", kind, "shared", 1, (BLOCK,))
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


def _atomic_right(runner: ProbeRunner, target: Target, kind: DType) -> bool:
    a, b = operands(kind, 1), operands(kind, 2)
    expected = a + b
    found = runner.arrays(target, _atomic_module(kind), [a, b, np.zeros_like(a)], COUNT // BLOCK, BLOCK)
    return bool(same_bits(found[0], expected).all() and same_bits(found[2], expected).all())


# --- the whole ---------------------------------------------------------------------------------------
def explore(device: Device, base: Target) -> ProbeAnswers:
    runner = ProbeRunner(device)
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
        return {case_key(case, cases[0]) for case in cases[1]}

    def run(name: str, cases: Group, *remedies: str) -> None:
        """Run a group; where something is wrong, run it again with each remedy and keep those that fix it.

        A remedy for denormals is tried where nothing but denormals was wrong.
        """
        asked.update(wanted(cases))
        good, flushed = runner.cases(dataclasses.replace(base, features=frozenset(features)), name, *cases)
        for remedy in remedies:
            if good == wanted(cases):
                break
            if remedy in features or (remedy.startswith("DenormPreserve") and not flushed):
                continue
            more = dataclasses.replace(base, features=frozenset(features | {remedy}))
            again, still = runner.cases(more, name, *cases)
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
            good, flushed = runner.cases(more, f"probe_fma_{kind.name}", *cases)
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
        if runner.cases(refined, "probe_sqrt_f32", *root_cases())[0]:
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
        if not features.issuperset(REMEDIES):
            run("probe_combinations", combination_cases(narrow), *REMEDIES)
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
            if f"add.{kind.name}" in base.atomics and not _atomic_right(runner, final, kind)
        )
    subgroups = physical.has_subgroups
    if subgroups:
        subgroups = all(
            _lanes_right(runner, dataclasses.replace(final, features=_width(final.features, width)), width)
            for width in physical.subgroup_sizes
        )
    if subgroups:
        features |= chosen_code(physical)
    wrong = tuple(sorted(inexact_keys & BASELINE))

    def alone(target: Target, module: Module, arrays: list[Bits]) -> list[Bits]:
        return runner.arrays(target, module, arrays, 1, 1)

    features |= probe_places.explore(alone, final)
    limit, more = probe_loops.explore(alone, final)
    return ProbeAnswers(native, frozenset(features | more), wrong, inexact, subgroups, limit)


def explain(device: Device, target: Target) -> list[str]:
    """Of every operation that is not exact on the device: one operand, what came and what should have come."""
    runner = ProbeRunner(device)
    lines: list[str] = []
    with np.errstate(all="ignore"):
        groups = [float_cases(f32), fma_cases(f32), constant_cases(f32)]
        groups += [half_cases(f32), rounding_cases(f32, f16)]
        if "shaderFloat64" in device.physical.features:
            groups += [float_cases(f64), fma_cases(f64), constant_cases(f64), half_cases(f64)]
        groups += [integer_cases(True), widening_cases()]
        for inputs, cases in groups:
            found, wanted = runner.run_cases(target, "explain", inputs, cases)
            for case, result, expected in zip(cases, found, wanted, strict=True):
                wrong = np.flatnonzero(~same_bits(result, expected))
                if wrong.size:
                    n = int(wrong[0])
                    operands_ = [inputs[name][1][n] for name in input_names(case, inputs)]
                    text = ", ".join(float(o).hex() if o.dtype.kind == "f" else str(o) for o in operands_)
                    lines.append(
                        f"{case_key(case, inputs)}: {wrong.size} of {COUNT} wrong, ({text}) gave {result[n]!r}, "
                        f"not {expected[n]!r}"
                    )
    return lines


def _width(features: frozenset[str], width: int) -> frozenset[str]:
    return frozenset(f for f in features if not f.startswith("SubgroupSize")) | {f"SubgroupSize{width}"}


def _usable(group: Group, double: bool) -> Group:
    return group if double else (group[0], [c for c in group[1] if c.result is not f64])
