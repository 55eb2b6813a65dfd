"""Programs that ptxas is known to assemble wrongly are seen in their PTX, and rendered so that it does not."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

import gpucore as gc
from gpucore.hookspecs import CompileOptions
from gpucore.ir.passes import LowerOptions, lower
from gpucore.math import library
from gpucore_cuda import compiler
from gpucore_cuda.assembler import faults
from gpucore_cuda.compiler import compile_module, run_nvrtc
from gpucore_cuda.renderer import render_module
from gpucore_cuda.targets import make_target

pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-python is not installed")

LOST = "neg.s32 %r4, %r2; max.s32 %r5, %r1, %r4; max.s32 %r6, %r5, %r3;"
FUSED = "min.s32 %r4, %r1, 255; max.s32 %r5, %r4, 0; setp.eq.s32 %p1, %r5, 255;"
ROTATED = "shl.b64 %rd2, %rd1, 1; shr.s64 %rd3, %rd1, 63; sub.s64 %rd4, %rd3, %rd2;"


def function(body: str) -> str:
    return ".visible .entry k()\n{\n" + body.replace("; ", ";\n") + "\nret;\n}\n"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (LOST, "lost negation"),
        (LOST.replace("max", "min"), "lost negation"),
        (LOST.replace("max.s32 %r5, %r1, %r4", "max.s32 %r5, %r4, %r1"), "lost negation"),
        (LOST.replace("max.s32 %r6, %r5, %r3", "mov.u32 %r7, %r5; max.s32 %r6, %r3, %r7"), "lost negation"),
        (LOST.replace("neg.s32 %r4, %r2", "mul.lo.s32 %r4, %r2, -1"), "lost negation"),
        (LOST.replace("neg.s32 %r4, %r2", "sub.s32 %r4, 0, %r2"), "lost negation"),
        (
            LOST.replace("max.s32 %r5, %r1, %r4", "setp.gt.s32 %p1, %r1, %r4; selp.b32 %r5, %r1, %r4, %p1"),
            "lost negation",
        ),
        (FUSED, "fused comparison"),
        (FUSED.replace("setp.eq.s32 %p1, %r5, 255", "setp.ne.s32 %p1, %r1, %r5"), "fused comparison"),
        (FUSED.replace("max.s32 %r5, %r4, 0", "mov.u32 %r7, 0; max.s32 %r5, %r4, %r7"), "fused comparison"),
        (LOST.replace("neg.s32 %r4, %r2", "mov.u32 %r7, 0; sub.s32 %r4, %r7, %r2"), "lost negation"),
        ("max.s16 %rs3, %rs1, %rs2; setp.eq.s16 %p1, %rs3, %rs2;", "fused comparison"),
        ("abs.s32 %r2, %r1;", "abs"),
        ("abs.s64 %rd2, %rd1;", "abs"),
        ("neg.s16 %rs2, %rs1; cvt.s32.s16 %r1, %rs2;", "neg"),
        ("neg.s32 %r2, %r1; shr.s32 %r3, %r2, 31; add.s32 %r4, %r3, 12;", "widened negation"),
        ("sub.s32 %r2, 0, %r1; cvt.s64.s32 %rd1, %r2;", "widened negation"),
        ("selp.f32 %f2, 0f80000000, 0f3F800000, %p1;", "sign of zero"),
        ("selp.f32 %f2, 0f80000000, 0f40400000, %p1; abs.f32 %f3, %f2;", "sign of zero"),
        ("selp.f32 %f2, 0fC0000000, 0f00000000, %p1; abs.f32 %f3, %f2; neg.f32 %f4, %f3;", "sign of zero"),
        ("selp.f32 %f2, 0f00000000, 0fBF800000, %p1; cvt.rzi.u32.f32 %r1, %f2;", "unsigned minus one"),
        ("shl.b32 %r2, %r1, 31; neg.s32 %r3, %r2; red.global.add.u32 [%rd1], %r3;", "negated shift"),
        ("selp.f32 %f2, 0fBF800000, 0f80000000, %p1;", "sign of zero"),
        ("mov.f32 %f2, 0f80000000; @%p1 bra L; mov.f32 %f2, 0f3F800000;", "sign of zero"),
        (ROTATED, "halves of a rotation"),
        (ROTATED.replace("%rd3, %rd2", "%rd2, %rd3"), "halves of a rotation"),
        (ROTATED.replace("shr.s64", "shr.u64"), "halves of a rotation"),
        (ROTATED.replace("sub.s64", "add.s64"), "halves of a rotation"),
        (ROTATED.replace("%rd1, 1;", "%rd1, 4;").replace("63", "60"), "halves of a rotation"),
        (
            ROTATED.replace(
                "shr.s64 %rd3, %rd1, 63", "mov.u32 %r1, 63; mov.u64 %rd9, %rd1; shr.s64 %rd3, %rd9, %r1"
            ),
            "halves of a rotation",
        ),
        ("abs.f32 %f2, %f1; setp.gt.f32 %p1, %f2, 0fBF800000;", "size of NaN"),
        ("abs.f32 %f2, %f1; setp.ge.f32 %p1, %f2, 0f00000000;", "size of NaN"),
        ("abs.f32 %f2, %f1; setp.ge.and.f32 %p1, %f2, 0f80000000, %p2;", "size of NaN"),
        ("abs.f32 %f2, %f1; mov.f32 %f3, 0f00000000; setp.le.f32 %p1, %f3, %f2;", "size of NaN"),
        ("abs.f32 %f2, %f1; neg.f32 %f3, %f2; setp.lt.f32 %p1, %f3, 0f3F800000;", "size of NaN"),
        (
            "abs.f32 %f2, %f1; min.f32 %f3, %f2, %f9; selp.f32 %f4, 0f3F800000, %f3, %p2; "
            "mov.b32 %r1, %f4; mov.b32 %f5, %r1; setp.ge.f32 %p1, %f5, 0f00000000;",
            "size of NaN",
        ),
    ],
)
def test_a_fault_is_seen(body, fault):
    assert faults(function(body), 90) == (fault,)
    # each instruction may be the first behind a label, where a branch joins
    numbers = itertools.count()
    labelled = re.sub(r"; |^", lambda m: f"{m[0].strip()}\n$L__BB0_{next(numbers)}:\n\t", body)
    assert faults(function(labelled), 90) == (fault,)


@pytest.mark.parametrize(
    "body",
    [
        LOST.replace("max.s32 %r6", "min.s32 %r6"),  # not of one kind
        LOST.replace("s32 %r5", "u32 %r5").replace("s32 %r6", "u32 %r6"),
        LOST.replace("neg.s32 %r4, %r2", "sub.s32 %r4, %r3, %r2"),
        LOST.replace("max.s32 %r6, %r5, %r3;", ""),
        FUSED.replace("max.s32 %r5, %r4, 0", "max.s32 %r5, %r4, 1"),
        FUSED.replace("setp.eq.s32", "setp.lt.s32"),
        FUSED.replace("min.s32", "add.s32"),
        "neg.s32 %r2, %r1; add.s32 %r4, %r2, 12; shr.s32 %r3, %r1, 31;",
        "selp.f32 %f2, 0f80000000, 0f40400000, %p1; add.f32 %f3, %f2, %f1;",
        "abs.f32 %f2, %f1; neg.f32 %f3, %f2; abs.f64 %fd2, %fd1;",
        "min.u32 %r4, %r1, 255; setp.eq.s32 %p1, %r4, 255;",
        "selp.f32 %f2, 0f40000000, 0f00000000, %p1; abs.f32 %f3, %f2; neg.f32 %f4, %f3;",
        "abs.f32 %f2, %f1; setp.gt.f32 %p1, %f2, 0f00000000; setp.lt.f32 %p2, %f2, 0f3F800000;",
        "abs.f32 %f2, %f1; setp.lt.f32 %p1, %f2, 0f00000000; setp.le.f32 %p2, %f2, 0fBF800000;",
        "abs.f32 %f2, %f1; neg.f32 %f3, %f2; setp.gt.f32 %p1, %f3, 0fBF800000; setp.ge.f32 %p2, %f3, %f2;",
        "abs.f64 %fd2, %fd1; setp.ge.f64 %p1, %fd2, 0d0000000000000000;",
        ROTATED.replace("shr.s64", "shr.u64").replace("sub.s64", "add.s64"),  # a rotation
        ROTATED.replace("63", "62"),
        ROTATED.replace("shr.s64 %rd3, %rd1", "shr.s64 %rd3, %rd9"),
        "and.b32 %f2, %f1, 0x7fffffff; setp.ge.f32 %p1, %f2, 0f00000000;",
        # the barrier's number is the constant's text, and sets nothing
        "shr.s64 %rd3, %rd1, 1; bar.sync 0; shl.b64 %rd2, %rd1, 63; add.s64 %rd4, %rd2, 0;",
    ],
)
def test_what_is_assembled_rightly_is_left_alone(body):
    assert faults(function(body), 90) == ()


def test_registers_of_different_functions_are_told_apart():
    first, second = LOST.split("max.s32 %r6")
    assert faults(function(first) + function("max.s32 %r6" + second), 90) == ()


@pytest.mark.parametrize("capability", [75, 80])
def test_devices_without_the_fused_instructions_keep_their_programs(capability):
    assert faults(function(LOST + FUSED), capability) == ()


@gc.kernel
def bounds(x: gc.Array[gc.i32], o: gc.Array[gc.i32]):
    v = x[0]
    o[0] = max(min(max(1, gc.clz(v)), v), max(gc.clz(v), v * -1))


@gc.kernel
def clamped(x: gc.Array[gc.i32], o: gc.Array[gc.i32]):
    v = x[0]
    if v > 255:
        v = 255
    if v < 0:
        v = 0
    o[0] = 7 if v == 255 else 5
    o[1] = v


@gc.kernel
def clamped_narrow(x: gc.Array[gc.i16], o: gc.Array[gc.i32]):
    v = x[1]
    o[0] = 7 if max(min(x[0], v), 0) == v else 5


@gc.kernel
def sign_of_a_negative(x: gc.Array[gc.i32], o: gc.Array[gc.i32]):
    o[0] = (x[1] if x[1] > 3 else 0) + (-x[0] >> 31)


@gc.kernel
def size_of_a_zero(x: gc.Array[gc.f32], o: gc.Array[gc.f32]):
    o[0] = abs(gc.f32(-0.0) if x[0] >= 0 else gc.f32(3.0))


@gc.kernel
def magnitude(x: gc.Array[gc.i64], o: gc.Array[gc.i64]):
    v = x[0]
    o[0] = (-v if v < 0 else v) >> 7


@gc.kernel
def larger_of_two(x: gc.Array[gc.i16], y: gc.Array[gc.i16], o: gc.Array[gc.i32]):
    larger = x[0] if x[0] > y[0] else y[0]
    o[0] = 7 if larger == y[0] else 5
    o[1] = larger


@gc.kernel
def size_of_a_half(x: gc.Array[gc.f16], o: gc.Array[gc.i32]):
    o[0] = gc.i32(abs(x[0]) > gc.f16(-1.0))


@gc.kernel
def size_of_a_bfloat(x: gc.Array[gc.bf16], o: gc.Array[gc.i32]):
    o[0] = 7 if gc.bf16(-0.0) <= abs(x[0]) else 5


@gc.kernel
def negative_of_a_size(x: gc.Array[gc.f32], o: gc.Array[gc.i32]):
    o[0] = 7 if -abs(x[0]) < 1.0 else 5


@gc.kernel
def size_that_is_chosen(x: gc.Array[gc.f32], o: gc.Array[gc.i32]):
    size = gc.f32(3.0)
    if x[1] > 2.0:
        size = abs(x[0])
    o[0] = 7 if size >= 0.0 else 5


def lowered(kernel, *dtypes):
    target = make_target("sm_90")
    options = LowerOptions(native=target.native, library=library, atomics=target.atomics)
    return lower(kernel.ir(*(gc.Array[d] for d in dtypes)), options).module


def compiled(module, arch: str, *, guarded: bool):
    text = render_module(make_target(arch), module, CompileOptions(), guarded=guarded).source
    return text, run_nvrtc(text, arch, ("--std=c++17", "--fmad=false")).ptx.decode()


SUSPECTS = [
    (bounds, gc.i32, gc.i32),
    (clamped, gc.i32, gc.i32),
    (clamped_narrow, gc.i16, gc.i32),
    (magnitude, gc.i64, gc.i64),
    (sign_of_a_negative, gc.i32, gc.i32),
    (size_of_a_zero, gc.f32, gc.f32),
    (larger_of_two, gc.i16, gc.i16, gc.i32),
    (size_of_a_half, gc.f16, gc.i32),
    (size_of_a_bfloat, gc.bf16, gc.i32),
    (negative_of_a_size, gc.f32, gc.i32),
    (size_that_is_chosen, gc.f32, gc.i32),
]


@pytest.mark.parametrize("arch", ["sm_90", "sm_120"])
@pytest.mark.parametrize("suspect", SUSPECTS, ids=lambda s: s[0].__name__)
def test_a_guarded_program_gives_ptxas_no_occasion(suspect, arch):
    module = lowered(*suspect)
    plain, ptx = compiled(module, arch, guarded=False)
    assert arch != "sm_90" or faults(ptx, 90)  # elsewhere NVVM, which is newer, may give none either
    guarded, ptx = compiled(module, arch, guarded=True)
    assert guarded != plain
    assert faults(ptx, 90) == ()
    assert compile_module(make_target(arch), module, CompileOptions(block=(1,))).data[:4] == b"\x7fELF"


@gc.kernel
def ordinary(x: gc.Array[gc.i32], y: gc.Array[gc.u8], o: gc.Array[gc.i32]):
    i = gc.global_id(0)
    left = max(i - 1, 0)
    right = min(i + 1, x.shape[0] - 1)
    o[i] = x[left] - x[right] + y[i] if x[i] == 3 else -x[i]


def test_an_ordinary_program_is_not_guarded():
    _, ptx = compiled(lowered(ordinary, gc.i32, gc.u8, gc.i32), "sm_90", guarded=False)
    assert faults(ptx, 90) == ()


OPERATIONS = (
    "-x", "0 - x", "x * -1", "abs(x)", "x + y", "x - y", "x * y", "x // y", "x % y", "x << y", "x >> y", "~x",
    "min(x, y)", "max(x, y)", "gc.popcount(x)", "gc.clz(x)", "x if x > y else y", "-x if x < 0 else x",
)  # fmt: skip


@pytest.mark.parametrize("guarded", [False, True], ids=["plain", "guarded"])
@pytest.mark.parametrize("name", ["i8", "i16", "u8", "u16"])
def test_narrow_arithmetic_stays_away_from_instructions_of_16_bits(name, guarded):
    """Whatever NVVM makes of it: 16 bits are loaded, stored, converted, compared and moved, and no more."""
    d = getattr(gc, name)
    text = f"def every(a: gc.Array[gc.{name}], o: gc.Array[gc.{name}], w: gc.Array[gc.i64], f: gc.Array[gc.i32]):\n"
    text += "    x = a[0]\n    y = a[1]\n"
    for n, operation in enumerate(OPERATIONS):
        if d.is_signed or "-" not in operation:
            text += f"    o[{n}] = {operation}\n    w[{n}] = {operation}\n    f[{n}] = 1 if ({operation}) > y else 0\n"
    scope = {"gc": gc}
    exec(text, scope)
    module = lowered(gc.kernel(source=text)(scope["every"]), d, d, gc.i64, gc.i32)
    source, ptx = compiled(module, "sm_90", guarded=guarded)
    assert re.findall(r"\b(?:abs|labs|llabs)\(|[(=,] -[a-z]", source) == []
    assert re.findall(r"\b(?:abs|neg|add|sub|mul\.lo|mad\.lo|shl)\.[sub](?:8|16)\b", ptx) == []
    assert not guarded or faults(ptx, 90) == ()


@gc.kernel
def chosen(x: gc.Array[gc.f32], o: gc.Array[gc.f32]) -> None:
    i = gc.global_id(0)
    v = gc.f32(-0.0)
    if x[i] > 2.0:
        v = 1.0
    o[i] = v
    o[i + 1] = -gc.select(x[i] > 3.0, 1.0, 0.0)
    o[i + 2] = -gc.f32(x[i] > 4.0)
    o[i + 3] = gc.select(x[i] > 5.0, -1.0, -0.0)


@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90", "sm_120"])
def test_choices_between_a_negative_zero_and_a_one_are_rendered_without_the_fault(arch):
    target = make_target(arch)
    module = chosen.ir(*[np.zeros(8, np.float32)] * 2)
    low = lower(module, LowerOptions(native=target.native, library=library, small=True, noalias=True)).module
    plain = render_module(target, low, CompileOptions()).source
    guarded = render_module(target, low, CompileOptions(), guarded=True).source
    capability = int(arch.removeprefix("sm_"))
    assert "sign of zero" in faults(run_nvrtc(plain, arch, ["--fmad=false"]).ptx.decode(), capability)
    assert faults(run_nvrtc(guarded, arch, ["--fmad=false"]).ptx.decode(), capability) == ()


def known_number(d, word):
    """A kernel that compares numbers which NVVM finds to be NaN, though nothing in the kernel says so."""

    @gc.kernel
    def not_a_number(x: gc.i8, o: gc.Array[gc.i32]):
        zero = gc.cast(gc.f32(x) < gc.f32(-4294967296.0), d)
        infinity = zero + d(float("inf"))
        o[0] = 7 if gc.isnan(zero / zero) else 5
        product = zero * infinity
        o[1] = 7 if product == product else 5
        total = infinity + (-infinity)
        o[2] = 7 if total <= total else 5
        difference = infinity - infinity
        o[3] = 7 if difference >= difference else 5
        quotient = infinity / infinity
        o[4] = 7 if quotient != quotient else 5
        o[5] = 7 if zero / zero == zero / zero else 5
        o[6] = gc.i32(gc.i64(zero / zero)) + 5
        o[7] = gc.i32(gc.bitcast(zero / zero, word) >> 8)

    return not_a_number


@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_120"])
@pytest.mark.parametrize(("d", "word"), [(gc.f32, gc.u32), (gc.f64, gc.u64)], ids=["f32", "f64"])
def test_a_comparison_with_itself_is_computed_where_nvvm_knows_the_number(d, word, arch):
    """NVVM folds no sum, difference, product or quotient that is not finite, and took ``q != q`` of such for false."""
    target = make_target(arch)
    options = LowerOptions(native=target.native, library=library, atomics=target.atomics)
    module = lower(known_number(d, word).ir(gc.i8, gc.Array[gc.i32]), options).module
    source = render_module(target, module, CompileOptions()).source
    ptx = run_nvrtc(source, arch, ["--fmad=false"]).ptx.decode()
    right = [7, 5, 5, 5, 7, 5, 5, 0x7FC000 if d is gc.f32 else 0]
    for offset, number in re.findall(r"st\.global\.\w+\s+\[%\w+(?:\+(\d+))?\], (-?\d+);", ptx):
        assert int(number) == right[int(offset or 0) // 4]
    for register, number in re.findall(r"mov\.\w+\s+(%\w+), (-?\d+);", ptx):
        for offset in re.findall(rf"st\.global\.\w+\s+\[%\w+(?:\+(\d+))?\], {register};", ptx):
            assert int(number) == right[int(offset or 0) // 4]


def quotient_by_zero(d):
    """A kernel that asks for the sign of a quotient of which NVVM knows that neither operand is below 0."""

    @gc.kernel
    def sign(x: gc.Array[gc.u16], o: gc.Array[gc.i32]):
        zero = d(-0.0) if x[1] < 3 else d(2.0)
        o[0] = 7 if d(x[0]) / zero < d(0.0) else 5

    return sign


@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_120"])
@pytest.mark.parametrize("d", [gc.f32, gc.f64], ids=["f32", "f64"])
def test_the_sign_of_a_quotient_by_a_negative_zero_is_computed(d, arch):
    """NVVM took ``1.0 / -0.0 < 0.0`` for false, and computed no quotient."""
    target = make_target(arch)
    options = LowerOptions(native=target.native, library=library, atomics=target.atomics)
    module = lower(quotient_by_zero(d).ir(gc.Array[gc.u16], gc.Array[gc.i32]), options).module
    source = render_module(target, module, CompileOptions()).source
    assert f"div.rn.{d.name}" in run_nvrtc(source, arch, ["--fmad=false"]).ptx.decode()


@gc.func
def reversed_halves(a: gc.i32, b: gc.i32) -> gc.i32:
    kept = gc.local(2, gc.i32)
    kept[a & 1] = b
    if a > b:
        return 0
    return kept[b & 1] - kept[a & 1]


@gc.kernel
def arrays_of_two(x: gc.Array[gc.i32], o: gc.Array[gc.i32]):
    kept = gc.local(4, gc.i32)
    kept[x[0] & 3] = x[1]
    o[0] = reversed_halves(x[2], x[3])
    o[1] = kept[x[4] & 3]


@gc.kernel
def array_of_one(x: gc.Array[gc.i32], o: gc.Array[gc.i32]):
    kept = gc.local(4, gc.i32)
    kept[x[0] & 3] = x[1]
    o[1] = kept[x[4] & 3]


@pytest.mark.parametrize("arch", ["sm_75", "sm_90"])
def test_arrays_of_a_kernel_and_of_a_function_have_places_of_their_own(arch):
    """NVVM of NVRTC 13.0 gave both one place while both were in use."""
    target = make_target(arch)
    options = LowerOptions(native=target.native, library=library, atomics=target.atomics)
    alone = lower(array_of_one.ir(gc.Array[gc.i32], gc.Array[gc.i32]), options).module
    assert "i32 kept[4]" in render_module(target, alone, CompileOptions()).source
    module = lower(arrays_of_two.ir(gc.Array[gc.i32], gc.Array[gc.i32]), options).module
    source = render_module(target, module, CompileOptions()).source
    assert len(re.findall(r"^  struct \{ i32 a\[[24]\]; \} \w+", source, re.MULTILINE)) == 2
    ptx = run_nvrtc(source, arch, ["--fmad=false"]).ptx.decode()
    assert re.findall(r"__local_depot\d+\[(\d+)\]", ptx) in (["24"], [])


@gc.kernel
def difference_of_halves(x: gc.Array[gc.i64], o: gc.Array[gc.i64]):
    o[0] = (x[0] >> gc.i64(63)) - (x[0] << gc.i64(1))


@pytest.mark.parametrize("arch", ["sm_75", "sm_90", "sm_120"])
def test_the_difference_of_the_halves_of_a_rotation_is_not_optimised(arch):
    module = lowered(difference_of_halves, gc.i64, gc.i64)
    for guarded in (False, True):
        _, ptx = compiled(module, arch, guarded=guarded)
        assert faults(ptx, int(arch[3:])) == ("halves of a rotation",)
    asked = []
    run = compiler.run_nvrtc
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            compiler, "run_nvrtc", lambda s, a, flags, **how: asked.append(flags) or run(s, a, flags, **how)
        )
        compile_module(make_target(arch), module, CompileOptions())
    assert "--ptxas-options=-O0" in asked[-1]
