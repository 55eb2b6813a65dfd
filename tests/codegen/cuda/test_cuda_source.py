"""The CUDA C++ that the renderer writes, as text."""

from __future__ import annotations

import re
import struct

import hand_modules as hand
import numpy as np
import pytest

import gpucore as gc
from gpucore.hookspecs import CompileOptions
from gpucore.ir import (
    Barrier,
    Break,
    Call,
    Const,
    Continue,
    DType,
    For,
    Function,
    GetVar,
    InitLocal,
    Load,
    Memory,
    Module,
    Op,
    Return,
    SetVar,
    Store,
    Value,
    Var,
    bf16,
    bool_,
    clike,
    f16,
    f32,
    f64,
    i8,
    i32,
    i64,
    u8,
    u32,
    u64,
)
from gpucore.ir.clike import Names
from gpucore.ir.passes import LowerOptions, lower
from gpucore.math import library
from gpucore_cuda.compiler import compile_module
from gpucore_cuda.renderer import render_module
from gpucore_cuda.renderer.dialect import CudaDialect
from gpucore_cuda.renderer.keys import NATIVE
from gpucore_cuda.targets import make_target

SM = make_target("sm_90")


def literal(value: int | float | bool, d: DType) -> str:
    return clike.literal(CudaDialect("sm_90", 90, None, guarded=False), value, d).text


def source(module: Module, **options) -> str:
    text = render_module(SM, module, CompileOptions(**options)).source
    compile_module(SM, module, CompileOptions(**options))  # whatever is asserted, it compiles
    return text


def body(text: str) -> list[str]:
    """The statements of the kernel, without directives."""
    inside = text[text.index("__global__") :]
    return [line.strip() for line in inside.splitlines()[1:] if line.strip() and not line.startswith("#")]


def test_a_line_of_python_becomes_a_line_of_cuda():
    text = source(hand.saxpy())
    assert "y[v0] = a * x[v0] + y[v0];" in text


def test_line_directives_name_the_python_lines():
    text = source(hand.saxpy()).splitlines()
    at = next(n for n, line in enumerate(text) if "a * x" in line)
    file, line = None, None
    for n in range(at + 1):
        found = re.match(r'#line (\d+)(?: "(.*)")?', text[n])
        if found:
            line, file = int(found[1]) - 1, found[2] or file
        elif line is not None:
            line += 1
    assert (file, line) == ("/src/kernels.py", 5)


def test_a_load_is_named_before_the_array_is_written():
    b = hand.Builder()
    x = Memory("x", f32, "global")
    zero, one = b.const(0, i64), b.const(1, i64)
    old = b.load(x, zero)
    b.store(x, zero, b.const(2.0, f32))
    b.store(x, one, old)
    lines = body(source(hand.module("swap", [x], b)))
    assert lines == ["const f32 v2 = x[0ll]; x[0ll] = 2.0f; x[1ll] = v2;", "}"]


def test_a_variable_is_read_before_it_is_set():
    b = hand.Builder()
    x, total = Memory("x", f32, "global"), Var("total", f32)
    zero = b.const(0, i64)
    b.out.append(SetVar(total, b.const(1.0, f32)))
    before = b.add(GetVar, f32, total)
    b.out.append(SetVar(total, b.const(2.0, f32)))
    b.store(x, zero, b.op("add", f32, before, b.add(GetVar, f32, total)))
    text = source(hand.module("order", [x], b, variables=[total]))
    assert text.index("const f32 v2 = total;") < text.index("total = 2.0f;")
    assert "x[0ll] = v2 + total;" in text


def test_a_load_is_not_carried_past_a_barrier():
    b = hand.Builder()
    x, tile = Memory("x", f32, "global"), Memory("tile", f32, "shared", 1, (32,))
    zero = b.const(0, i32)
    seen = b.load(tile, zero)
    b.out.append(Barrier())
    b.store(x, zero, seen)
    text = source(hand.module("wait", [x], b, memories=[tile]))
    assert text.index("= tile[0];") < text.index("__syncthreads();")


def test_what_a_loop_does_not_change_is_computed_before_it():
    b = hand.Builder()
    x, n = Memory("x", f32, "global"), Value("n", i32)
    a = b.op("mul", i32, n, n)
    i = b.value(i32)
    bounds = b.const(0, i32), n, b.const(1, i32)
    b.out.append(For(i, *bounds, b.block(lambda: b.store(x, i, b.op("cast", f32, b.op("add", i32, a, i))))))
    text = source(hand.module("hoist", [x, n], b))
    assert text.index("const i32 v0 = i32(u32(n) * u32(n));") < text.index("for (i32 v1 = 0; v1 < n; ++v1) {")


def test_a_loop_in_one_branch_names_nothing_that_the_other_needs():
    b = hand.Builder()
    x, n = Memory("x", i32, "global"), Value("n", i32)
    zero, one = b.const(0, i32), b.const(1, i32)
    square = b.op("mul", i32, n, n)
    i = b.value(i32)

    def looping() -> None:
        b.out.append(For(i, zero, n, one, b.block(lambda: b.store(x, i, i))))

    b.when(b.op("lt", bool_, n, zero), looping, lambda: b.store(x, zero, square))
    assert "x[0] = i32(u32(n) * u32(n));" in source(hand.module("branches", [x, n], b))


def test_local_memory_is_zero_on_paths_that_never_fill_it():
    b = hand.Builder()
    x, n = Memory("x", i32, "global"), Value("n", i32)
    scratch = Memory("scratch", i32, "local", 1, (8,))
    zero = b.const(0, i32)
    b.when(b.op("lt", bool_, n, zero), lambda: b.out.append(InitLocal(scratch)))
    b.store(x, zero, b.load(scratch, zero))
    assert "i32 scratch[8] = {};" in source(hand.module("sometimes", [x, n], b, memories=[scratch]))
    assert "i64 scratch[4];" in source(hand.loops()), "filled before its first use, inside the guard"


def test_continue_in_a_for_goes_to_the_next_iteration():
    b = hand.Builder()
    x = Memory("x", i32, "global")
    i = b.value(i32)

    def turn() -> None:
        b.when(b.op("eq", bool_, i, b.const(4, i32)), lambda: b.out.append(Continue()))
        b.when(b.op("eq", bool_, i, b.const(8, i32)), lambda: b.out.append(Break()))
        b.store(x, i, i)

    b.out.append(For(i, b.const(20, i32), b.const(0, i32), b.const(-2, i32), b.block(turn)))
    text = source(hand.module("skip", [x], b))
    assert "for (i32 v0 = 20; v0 > 0; v0 += -2) {" in text
    assert "continue;" in text


def test_a_step_that_is_not_known_counts_trips_first():
    text = source(hand.loops())
    assert "gc_trips_i64(" in text
    assert re.search(r"for \(u64 (\w+_trip) = 0; \1 < \w+_trips; \+\+\1\)", text)


@pytest.mark.parametrize(
    ("op", "dtype", "want"),
    [
        ("add", i32, "i32(u32(x0[v0]) + u32(x1[v0]))"),
        ("mul", u8, "u8(gc_wrap_u8(u32(x0[v0]) * u32(x1[v0])))"),
        ("sub", i64, "i64(u64(x0[v0]) - u64(x1[v0]))"),
        ("add", u32, "x0[v0] + x1[v0]"),
        ("shl.raw", i8, "i8(gc_wrap_i8(u32(x0[v0]) << i32(x1[v0])))"),
        ("quot.raw", i8, "i8(i32(x0[v0]) / i32(x1[v0]))"),
    ],
)
def test_integer_arithmetic_wraps_without_undefined_behaviour(op, dtype, want):
    assert f"out[v0] = {want};" in source(hand.elementwise(op, [dtype, dtype], dtype))


def test_no_alias_makes_restrict_and_const():
    head = source(hand.saxpy())
    assert "const f32* __restrict__ x" in head
    assert " f32* __restrict__ y" in head
    assert "__restrict__" not in source(hand.histogram())


def test_a_known_block_bounds_registers_and_becomes_a_literal():
    text = source(hand.saxpy(), block=(128,))
    assert "__launch_bounds__(128)" in text
    assert "blockIdx.x) * 128u + threadIdx.x" in text
    assert "__launch_bounds__" not in source(hand.saxpy())


def test_a_known_block_of_whole_warps_needs_no_lane_count():
    assert "gc_lanes() { return 32; }" in source(hand.subgroup("sum", f32, f32), block=(8, 32))
    assert "75u - " in source(hand.subgroup("sum", f32, f32), block=(3, 25))


def test_fast_modules_contract_but_not_inside_the_portable_library():
    a = Value("a", f32)

    def square(name: str) -> Function:
        made = (Op(Value("b", f32), "mul", (a, a)), Op(Value("c", f32), "add", (Value("b", f32), a)))
        return Function(name, (a,), f32, (), (), (*made, Return(Value("c", f32))))

    b = hand.Builder()
    x, zero = Memory("x", f32, "global"), b.const(0, i64)
    loaded = b.load(x, zero)
    calls = [b.add(Call, f32, name, (loaded,)) for name in ("mine", "soft.mine.f32")]
    b.store(x, zero, b.op("add", f32, *calls))
    made = hand.module("both", [x], b, math="fast")
    made = Module(made.kernel, (square("mine"), square("soft.mine.f32")), math="fast")
    text = source(made)
    assert "mine(f32 a) {\n  return a * a + a;" in text
    assert "soft_mine_f32(f32 a) {\n  return __fadd_rn(__fmul_rn(a, a), a);" in text


@pytest.mark.parametrize(("last", "held"), [(2.0, "f64"), (float("inf"), "u64"), (float("nan"), "u64")])
def test_constant_tables_become_device_memory(last, held):
    b = hand.Builder()
    x = Memory("x", f64, "global")
    table = Memory("table", f64, "const", 1, (3,), (0.5, -1.0, last))
    i = b.id()
    b.store(x, i, b.load(table, b.op("rem.raw", i64, i, b.const(3, i64))))
    text = source(hand.module("look", [x], b, memories=[table]))
    assert f"static __device__ const {held} table[3]" in text
    assert ("__longlong_as_double(table[" in text) == (held == "u64")


def test_strict_float_atomics_keep_subnormals_and_fast_ones_are_the_device_s():
    assert "gc_atomic_add_f32(&out[0ll], x[v0])" in source(hand.atomic("add", f32))
    assert "gc_atomic_add_f32(&out[0ll], -(x[v0]))" in source(hand.atomic("sub", f32))
    assert "= atomicAdd(&out[0ll], x[v0])" in source(hand.atomic("add", f32, math="fast"))
    assert "= atomicAdd(&out[0ll], x[v0])" in source(hand.atomic("add", f64))
    assert "= atomicAdd(&total[0ll], x[v1])" in source(hand.shared_atomic_add())


@pytest.mark.parametrize("dtype", (i32, u32, i64, u64), ids=str)
def test_subtracting_atomically_negates_without_a_sign(dtype):
    """``atomicSub`` is undefined for the least number: NVRTC made 0 of ``x << 31``."""
    text = source(hand.atomic("sub", dtype))
    assert "atomicSub" not in text
    assert re.search(r"atomicAdd\(.*, 0u - ", text)


def test_identifiers_clash_with_nothing():
    awkward = [
        "float",
        "exp",
        "threadIdx",
        "asm",
        "u32",
        "gc_lane",
        "x__y",
        "_Z",
        "9lives",
        "a.b",
        "a_b",
        "expf",
        "é",
    ]
    names = Names(reserved=CudaDialect.reserved)
    given = [names("value", n) for n in awkward]
    assert len(set(given)) == len(given)
    b = hand.Builder()
    arrays = [Memory(n, f32, "global") for n in awkward]
    i = b.id()
    for array in arrays:
        b.store(array, i, b.load(arrays[0], i))
    source(hand.module("float", arrays, b))
    source(hand.module("printf", arrays, b))


@pytest.mark.parametrize(
    "value", [0.1, 1.0, -0.0, 1e-45, 1.1754942e-38, 3.4028235e38, 16777217.0, 1 / 3, -2.5e-20]
)
def test_float_literals_read_back_exactly(value):
    exact = struct.unpack("<f", struct.pack("<f", value))[0]
    text = literal(exact, f32)
    assert text.endswith("f")
    number = text[:-1]
    read = float.fromhex(number) if "x" in number else float(number)
    assert struct.pack("<f", read) == struct.pack("<f", exact)
    assert float(literal(value, f64)) == value


def test_literals_at_the_ends_of_integer_types():
    assert literal(-(2**31), i32) == "(-2147483647 - 1)"
    assert literal(-(2**63), i64) == "(-9223372036854775807ll - 1)"
    assert literal(2**64 - 1, u64) == "18446744073709551615ull"
    assert literal(-1, i8) == "-1"


def test_half_literals_are_their_bits():
    assert literal(1.0, f16) == "u16(0x3c00u)"
    assert literal(-2.0, bf16) == "u16(0xc000u)"
    assert literal(float("nan"), f16) == "u16(0x7e00u)"


def test_nan_and_infinity_are_spelled_as_bits():
    b = hand.Builder()
    x, y = Memory("x", f32, "global"), Memory("y", f64, "global")
    for n, value in enumerate((float("nan"), float("inf"), float("-inf"))):
        at = b.const(n, i64)
        b.store(x, at, b.add(Const, f32, value))
        b.store(y, at, b.add(Const, f64, value))
    text = source(hand.module("specials", [x, y], b))
    assert "mov.b32 %0, 0x7fc00000;" in text and "mov.b64 %0, 0x7ff8000000000000;" in text
    assert "__uint_as_float(0xff800000u)" in text


@gc.kernel
def natural(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    y[gc.global_id(0)] = gc.log(x[gc.global_id(0)])


@gc.kernel
def of_one_more(x: gc.Array[gc.f32], y: gc.Array[gc.f32]):
    y[gc.global_id(0)] = gc.log1p(x[gc.global_id(0)])


@pytest.mark.parametrize(("kernel", "function"), [(natural, "log_f32"), (of_one_more, "log1p_f32")])
def test_logarithms_let_nvrtc_load_ahead(kernel, function):
    """NVRTC makes branches of choices with a NaN that is hidden from it, and loads nothing before a branch of another element."""
    options = LowerOptions(frozenset(NATIVE), library, noalias=True)
    text = source(lower(kernel.ir(gc.Array[gc.f32], gc.Array[gc.f32]), options).module)
    assert f" {function}(" in text and "gc_nan" not in text


def test_an_unused_load_is_dropped_and_unused_atomics_are_not():
    b = hand.Builder()
    x = Memory("x", f32, "global")
    b.out.append(Load(b.value(f32), x, (b.const(0, i64),)))
    assert body(source(hand.module("nothing", [x], b))) == ["}"]
    assert "atomicAdd(&counts" in source(hand.histogram())


def test_a_store_into_a_half_converts_by_instruction():
    text = source(hand.elementwise("cast", [f32], f16))
    assert "cvt.rn.f16.f32" in text
    rounding = hand.elementwise("cast", [f32], bf16)
    older = render_module(make_target("sm_75"), rounding, CompileOptions()).source
    newer = render_module(make_target("sm_80"), rounding, CompileOptions()).source
    assert "cvt.rn.bf16.f32" in newer
    assert "cvt.rn.bf16.f32" not in older


def test_store_operands_are_ordered():
    """The index and the value may both read memory; neither is moved past an earlier write."""
    b = hand.Builder()
    x, where = Memory("x", i64, "global"), Memory("where", i64, "global")
    zero = b.const(0, i64)
    at = b.load(where, zero)
    b.out.append(Store(where, (zero,), zero))
    b.store(x, at, b.load(where, zero))
    text = source(hand.module("both_read", [x, where], b))
    assert text.index("= where[0ll]; where[0ll] = 0ll;") < text.index("] = where[0ll];")


def test_arrays_that_threads_hand_on_at_barriers_are_not_restricted():
    @gc.kernel
    def handed_on(x: gc.Array[gc.f32], y: gc.Array[gc.f32], z: gc.Array[gc.f32]):
        t = gc.thread_id(0)
        y[t] = x[t]
        gc.barrier()
        z[t] = y[t ^ 1]

    array = gc.Array[gc.f32]
    options = LowerOptions(frozenset(NATIVE), library, noalias=True)
    text = source(lower(handed_on.ir(array, array, array), options).module)
    assert "const f32* __restrict__ x" in text
    assert " f32* y" in text
    assert " f32* z" in text


@gc.kernel
def sum_of_block(x: gc.Array[gc.f32]) -> None:
    x[gc.global_id(0)] = gc.block_sum(x[gc.global_id(0)])


@gc.kernel
def scan_of_block(x: gc.Array[gc.f32]) -> None:
    x[gc.global_id(0)] = gc.block_inclusive_sum(x[gc.global_id(0)])


@pytest.mark.parametrize("kernel", (sum_of_block, scan_of_block), ids=lambda k: k.__name__)
def test_sums_and_scans_of_blocks_are_shuffles(kernel: gc.Kernel) -> None:
    source = kernel.source("cuda", np.zeros(64, np.float32))
    assert "__shfl_sync" in source
    # one element a warp of a block of 1536, and one
    assert "[49]" in source and "[1536]" not in source
